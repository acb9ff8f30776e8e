"""Blend by recent loss, then online conformal calibration: what turns two members' quantiles into one forecast.

Blend. Each member's pinball loss at a tracked lead is a moving mean in units of the series' usual move. A member weighs
``loss ** -power``; between tracked leads losses are interpolated in the logarithm of the lead.

Calibration. Per tracked lead and level an offset, in the same unit, follows the errors of the blend by subgradient
steps of the pinball loss, so that in the long run the share of values below a quantile is its level whatever the
errors' law (Gibbs & Candes 2021, "Adaptive conformal inference under distribution shift"; Angelopoulos, Candes &
Tibshirani 2023, "Conformal PID control for time series prediction"). It comes last, after the blend.

Scores arrive late: a forecast waits in a ring until its value is known. At each step one tracked lead, in turn, is put
there, so that the work per value stays small. All of it is compiled.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

EXPERTS, TREES = 0, 1
MEMBERS: Final = 2

_WORST_OFFSET: Final = 8.0
_UNKNOWN_LOSS_RATIO: Final = 1.05


class BlendSettings(NamedTuple):
    """What stays fixed.

    Attributes:
        leads: int64[L], tracked leads in steps.
        levels: float64[Q], increasing.
        longest_trees_lead: steps; beyond it the trees have no say.
        power: how sharply the better member is preferred.
        loss_scores: scores over which losses forget.
        calibration_rate: size of an offset's step, in recent mean absolute errors.
        spread_scores: scores over which the mean absolute error forgets.
    """

    leads: IntArray
    levels: FloatArray
    longest_trees_lead: int
    power: float
    loss_scores: float
    calibration_rate: float
    spread_scores: float


class Blend(NamedTuple):
    """State. Letters: L tracked leads, S slots, M members, Q levels.

    Attributes:
        waiting: float64[L, S, M + 1, Q], members' quantiles and, last, the blend's before calibration; NaN where empty.
        unit: float64[L, S], usual move when the forecast was made.
        loss: float64[L, M], moving mean pinball loss.
        scored: float64[L], scores so far.
        spread: float64[L], moving mean absolute error of the blend's median.
        offsets: float64[L, Q].
    """

    waiting: FloatArray
    unit: FloatArray
    loss: FloatArray
    scored: FloatArray
    spread: FloatArray
    offsets: FloatArray


def empty_blend(settings: BlendSettings) -> Blend:
    """Return the state before any score."""
    leads, levels = len(settings.leads), len(settings.levels)
    slots = int(settings.leads[-1]) + 1
    return Blend(
        waiting=np.full((leads, slots, MEMBERS + 1, levels), np.nan),
        unit=np.ones((leads, slots)),
        loss=np.zeros((leads, MEMBERS)),
        scored=np.zeros(leads),
        spread=np.zeros(leads),
        offsets=np.zeros((leads, levels)),
    )


@compiled
def pinball(error: float, level: float) -> float:
    """Return the quantile loss of one error (value less forecast)."""
    return max(level * error, (level - 1.0) * error)


@compiled
def combine(
    state: Blend,
    settings: BlendSettings,
    lead: int,
    members: FloatArray,
    unit: float,
    blended: FloatArray,
    row: FloatArray,
) -> None:
    """Write the blend of members' quantiles at a lead, and the calibrated forecast.

    Args:
        state: the blend.
        settings: its settings.
        lead: steps ahead.
        members: float64[M, Q].
        unit: the series' usual move now.
        blended: float64[Q], written: before calibration.
        row: float64[Q], written: calibrated, not decreasing with the level, not below 0.
    """
    upper = min(int(np.searchsorted(settings.leads, lead)), len(settings.leads) - 1)
    lower, share = upper, 0.0
    if upper > 0 and lead < settings.leads[upper]:
        lower = upper - 1
        low, high = settings.leads[lower], settings.leads[upper]
        share = math.log(high / lead) / math.log(high / low)
    trees_weight = 0.0
    if lead <= settings.longest_trees_lead:
        of_experts = (1.0 - share) * state.loss[upper, EXPERTS] + share * state.loss[lower, EXPERTS]
        of_trees = (1.0 - share) * state.loss[upper, TREES] + share * state.loss[lower, TREES]
        if of_trees <= 0.0:
            of_experts, of_trees = _UNKNOWN_LOSS_RATIO, 1.0
        trees_weight = 1.0 / (1.0 + (of_trees / (of_experts + 1e-12)) ** settings.power)
    highest = 0.0
    for level in range(len(settings.levels)):
        value = (1.0 - trees_weight) * members[EXPERTS, level] + trees_weight * members[TREES, level]
        blended[level] = value
        offset = (1.0 - share) * state.offsets[upper, level] + share * state.offsets[lower, level]
        highest = max(highest, value + offset * unit)
        row[level] = highest


@compiled
def wait(
    state: Blend, settings: BlendSettings, at: int, step: int, members: FloatArray, unit: float, blended: FloatArray
) -> None:
    """Keep a forecast made after ``step`` at tracked lead ``at`` until its value is known."""
    slot = (step + settings.leads[at]) % state.waiting.shape[1]
    state.waiting[at, slot, :MEMBERS] = members
    state.waiting[at, slot, MEMBERS] = blended
    state.unit[at, slot] = unit


@compiled
def settle(state: Blend, settings: BlendSettings, step: int, value: float) -> None:
    """Score the forecasts that were made for ``step`` and learn from them; a missing value (NaN) drops them."""
    slot = step % state.waiting.shape[1]
    levels = len(settings.levels)
    for at in range(len(settings.leads)):
        waiting = state.waiting[at, slot]
        if math.isnan(waiting[MEMBERS, 0]):
            continue
        if not math.isnan(value):
            unit = state.unit[at, slot]
            state.scored[at] += 1.0
            rate = max(1.0 / state.scored[at], 1.0 / settings.loss_scores)
            for member in range(MEMBERS):
                loss = 0.0
                for level in range(min(levels, 3)):
                    loss += pinball((value - waiting[member, level]) / unit, settings.levels[level])
                state.loss[at, member] += rate * (min(loss, 50.0) - state.loss[at, member])
            off = min(abs(value - waiting[MEMBERS, 1]) / unit, 50.0)
            state.spread[at] += max(1.0 / state.scored[at], 1.0 / settings.spread_scores) * (off - state.spread[at])
            limit = _WORST_OFFSET * state.spread[at]
            step_size = settings.calibration_rate * state.spread[at]
            for level in range(levels):
                error = (value - waiting[MEMBERS, level]) / unit
                below = 1.0 if error < state.offsets[at, level] else 0.0
                moved = state.offsets[at, level] + step_size * (settings.levels[level] - below)
                state.offsets[at, level] = min(max(moved, -limit), limit)
        waiting[:] = np.nan
