"""The demand forecaster: seasonal experts, the pooled trees on top of them, a blend by recent loss, calibration last.

A stream: one value per step, a fixed amount of work per value, nothing but the past. The compiled core below is the
only implementation: one value at a time and whole series run the same functions.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.demand.blend import EXPERTS, MEMBERS, TREES, Blend, BlendSettings, combine, empty_blend, settle, wait
from forecasting.demand.boosted import LEVELS, Boosted, expert_leads, nearest_tracked, tracked_leads
from forecasting.demand.design import FEATURES, write_row
from forecasting.demand.memory import (
    LONGEST_LEAD_S,
    Memory,
    MemorySettings,
    empty_memory,
    memory_settings,
    remember,
    spread_scale,
    steps_seen,
    tame,
)
from forecasting.demand.seasonal_naive import SeasonalNaive, Settings, State, empty_state, learn, predict_quantiles
from forecasting.shipped import shipped_boosted
from forecasting.trees import predict_row
from telemetry.compiled import compiled

IntArray = npt.NDArray[np.int64]

READY_S: Final = 86_400
"""Seconds of history from which a forecast is more than the last value."""

_BLEND_POWER: Final = 6.0
_LOSS_DAYS: Final = 5.0
_CALIBRATION_RATE: Final = 0.04
_USUAL_SCORES_PER_DAY: Final = 288.0 / 7.0
_SPREAD_DAYS: Final = 2.0


class CoreSettings(NamedTuple):
    """Settings of the parts."""

    experts: Settings
    memory: MemorySettings
    blend: BlendSettings


class CoreState(NamedTuple):
    """States of the parts, and room to work in: float64[M, Q], float64[Q], float64[Q], float64[F]."""

    experts: State
    memory: Memory
    blend: Blend
    members: FloatArray
    blended: FloatArray
    calibrated: FloatArray
    row: FloatArray


class DemandForecaster:
    """Forecaster of a non-negative series with shipped knowledge of many others.

    Args:
        step_s: seconds per step, 1 to 3600.
        longest_s: how far ahead forecasts are wanted, in seconds; beyond four hours the experts forecast alone.
        boosted: the pooled model; the shipped one by default.

    Raises:
        ValueError: a step outside its range.
    """

    def __init__(self, *, step_s: int, longest_s: int = LONGEST_LEAD_S, boosted: Boosted | None = None) -> None:
        experts = SeasonalNaive(step_s=step_s, leads=expert_leads(step_s, longest_s), levels=LEVELS)
        beyond = experts.settings.leads[experts.settings.leads * step_s > LONGEST_LEAD_S]
        tracked = np.array([*tracked_leads(step_s), *beyond])
        per_day = 86_400.0 / step_s / len(tracked)
        self.boosted = shipped_boosted() if boosted is None else boosted
        self.settings = CoreSettings(
            experts=experts.settings,
            memory=memory_settings(step_s),
            blend=BlendSettings(
                leads=tracked,
                levels=np.array(LEVELS),
                longest_trees_lead=max(1, LONGEST_LEAD_S // step_s),
                power=_BLEND_POWER,
                loss_scores=max(_LOSS_DAYS * per_day, 10.0),
                calibration_rate=min(0.2, _CALIBRATION_RATE * math.sqrt(_USUAL_SCORES_PER_DAY / per_day)),
                spread_scores=max(_SPREAD_DAYS * per_day, 10.0),
            ),
        )
        self.state = _empty(self.settings)

    @property
    def step_s(self) -> int:
        """Seconds per step."""
        return int(self.settings.memory.step_s)

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return steps_seen(self.state.memory) * self.settings.memory.step_s >= READY_S

    def fit(self, history: npt.ArrayLike) -> Self:
        """Choose the experts' profile rates on ``history`` and run through it, so that blend and calibration know it.

        Args:
            history: float64[N], one value per step, NaN where missing.

        Raises:
            ValueError: negative or infinite values.
        """
        values = checked_demand(history)
        experts = SeasonalNaive(step_s=self.step_s, leads=self.settings.experts.leads.tolist(), levels=LEVELS)
        self.settings = self.settings._replace(experts=experts.fit(values).settings)
        self.state = _empty(self.settings)
        self.feed(values)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step; NaN if it is missing.

        Raises:
            ValueError: a negative or infinite value.
        """
        _take(self.state, self.settings, self.boosted, float(checked_demand([value])[0]))

    def feed(self, values: npt.ArrayLike) -> None:
        """Take several steps at once: the same as :meth:`update` for each."""
        _feed(self.state, self.settings, self.boosted, checked_demand(values))

    def forecast(self, leads: Sequence[int], levels: Sequence[float] = LEVELS) -> FloatArray:
        """Return float64[len(leads), len(levels)]: quantiles that many steps after the last value, 0 before any.

        Raises:
            ValueError: a lead below 1, or a level other than 0.1, 0.5, 0.9 and 0.99.
        """
        if min(leads) < 1:
            raise ValueError(f"leads are {list(leads)}; expected steps from 1 on")
        unknown = [level for level in levels if level not in LEVELS]
        if unknown:
            raise ValueError(f"level {unknown[0]} is not forecast; this forecaster has {list(LEVELS)}")
        rows = np.empty((len(leads), len(LEVELS)))
        _forecast(self.state, self.settings, self.boosted, np.asarray(leads, dtype=np.int64), rows)
        return rows[:, [LEVELS.index(level) for level in levels]]


def run_series(
    forecaster: DemandForecaster, values: npt.ArrayLike, leads: Sequence[int]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Feed a series and return what is forecast after each value, in one compiled call.

    Args:
        forecaster: where to start from; it ends at the last value.
        values: float64[T], finite and non-negative, or NaN.
        leads: int[L], steps ahead.

    Returns:
        forecasts float64[T, L, 4] at LEVELS, and bool[T]: whether the forecaster was ready.
    """
    series = checked_demand(values)
    forecasts = np.empty((len(series), len(leads), len(LEVELS)))
    ready = np.zeros(len(series), dtype=np.bool_)
    _run(
        forecaster.state,
        forecaster.settings,
        forecaster.boosted,
        series,
        np.asarray(leads, dtype=np.int64),
        forecasts,
        ready,
    )
    return forecasts, ready


def checked_demand(values: npt.ArrayLike) -> FloatArray:
    """Return float64[N] of a demand series; ValueError if a value is negative or infinite, with its place."""
    series = np.ascontiguousarray(values, dtype=np.float64)
    wrong = np.flatnonzero((series < 0.0) | np.isinf(series))
    if wrong.size:
        value = series[wrong[0]]
        raise ValueError(f"value {wrong[0]} is {value}; expected a finite number from 0 on, or NaN where it is missing")
    return series


def _empty(settings: CoreSettings) -> CoreState:
    levels = len(LEVELS)
    return CoreState(
        experts=empty_state(settings.experts),
        memory=empty_memory(settings.memory),
        blend=empty_blend(settings.blend),
        members=np.zeros((MEMBERS, levels)),
        blended=np.zeros(levels),
        calibrated=np.zeros(levels),
        row=np.zeros(len(FEATURES)),
    )


@compiled
def _take(state: CoreState, settings: CoreSettings, boosted: Boosted, value: float) -> None:
    """Learn a value and, at one tracked lead in turn, make the forecast that will be scored."""
    if steps_seen(state.memory) == 0 and math.isnan(value):
        return
    value = tame(state.memory, value)
    step = steps_seen(state.memory)
    settle(state.blend, settings.blend, step, value)
    learn(state.experts, settings.experts, value)
    remember(state.memory, settings.memory, value)
    at = step % len(settings.blend.leads)
    unit = _forecast_one(state, settings, boosted, settings.blend.leads[at])
    wait(state.blend, settings.blend, at, step, state.members, unit, state.blended)


@compiled
def _forecast_one(state: CoreState, settings: CoreSettings, boosted: Boosted, lead: int) -> float:
    """Fill ``members``, ``blended`` and ``calibrated`` of the state for one lead; return the series' usual move."""
    members = state.members
    unit = spread_scale(state.memory, settings.memory)
    predict_quantiles(state.experts, settings.experts, lead, members[EXPERTS])
    members[TREES] = members[EXPERTS]
    if lead <= settings.blend.longest_trees_lead:
        at = nearest_tracked(settings.experts.leads, lead)
        write_row(state.experts, settings.experts, state.memory, settings.memory, at, lead, members[EXPERTS], state.row)
        highest = 0.0
        for level in range(len(boosted)):
            highest = max(highest, members[EXPERTS, 1] + unit * predict_row(boosted[level], state.row))
            members[TREES, level] = highest
    combine(state.blend, settings.blend, lead, members, unit, state.blended, state.calibrated)
    return unit


@compiled
def _forecast(state: CoreState, settings: CoreSettings, boosted: Boosted, leads: IntArray, rows: FloatArray) -> None:
    for index in range(len(leads)):
        if steps_seen(state.memory) == 0:
            rows[index] = 0.0
            continue
        _forecast_one(state, settings, boosted, leads[index])
        rows[index] = state.calibrated


@compiled
def _feed(state: CoreState, settings: CoreSettings, boosted: Boosted, values: FloatArray) -> None:
    for index in range(len(values)):
        _take(state, settings, boosted, values[index])


@compiled
def _run(
    state: CoreState,
    settings: CoreSettings,
    boosted: Boosted,
    values: FloatArray,
    leads: IntArray,
    forecasts: FloatArray,
    ready: npt.NDArray[np.bool_],
) -> None:
    for index in range(len(values)):
        _take(state, settings, boosted, values[index])
        ready[index] = steps_seen(state.memory) * settings.memory.step_s >= READY_S
        _forecast(state, settings, boosted, leads, forecasts[index])
