"""Forecasts of series finer than five minutes: means of about five minutes are forecast, then spread out again.

The model knows five-minute and coarser series. A finer one is averaged to the least whole number of its steps that
makes five minutes; a forecast of one of its steps lies between those of the two nearest means, and is widened by how
far single values lie from their mean. That law is tracked per level, by subgradient steps of the pinball loss, in units
of the square root of the mean, as counting noise goes; the two spreads add like those of independent errors.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.demand.boosted import LEVELS, Boosted
from forecasting.demand.forecaster import DemandForecaster, checked_demand
from forecasting.demand.memory import LONGEST_LEAD_S
from telemetry.compiled import compiled

LEAST_STEP_S: Final = 300
_RATE: Final = 0.01
_MEDIAN: Final = LEVELS.index(0.5)
_FILLED, _KNOWN, _SUM, _SPREAD, _SEEN = range(5)


class _Bin(NamedTuple):
    """State.

    Attributes:
        scalars: steps in the open bin, known ones, their sum; moving mean absolute deviation, values seen.
        values: float64[width], the open bin.
        deviations: float64[Q], tracked quantiles of (value - mean) / sqrt(mean).
    """

    scalars: FloatArray
    values: FloatArray
    deviations: FloatArray


class BinnedForecaster:
    """Forecaster of a series with steps below five minutes; the interface of ``DemandForecaster``.

    Args:
        step_s: seconds per step, 1 to 299.
        longest_s: how far ahead forecasts are wanted, in seconds.
        boosted: the pooled model; the shipped one by default.

    Raises:
        ValueError: a step outside its range.
    """

    def __init__(self, *, step_s: int, longest_s: int = LONGEST_LEAD_S, boosted: Boosted | None = None) -> None:
        if not 1 <= step_s < LEAST_STEP_S:
            raise ValueError(f"step_s is {step_s}; expected 1 to {LEAST_STEP_S - 1} seconds")
        self.width = -(-LEAST_STEP_S // step_s)
        self.means = DemandForecaster(step_s=self.width * step_s, longest_s=longest_s, boosted=boosted)
        self._bin = _empty(self.width)

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return self.means.ready

    def fit(self, history: npt.ArrayLike) -> Self:
        """Choose the experts' rates on the means of ``history`` (float64[N], NaN where missing) and run through it."""
        values = checked_demand(history)
        self._bin = _empty(self.width)
        self.means.fit(self._close_bins(values))
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step; NaN if it is missing."""
        self.feed([value])

    def feed(self, values: npt.ArrayLike) -> None:
        """Take several steps at once."""
        self.means.feed(self._close_bins(checked_demand(values)))

    def forecast(self, leads: Sequence[int], levels: Sequence[float] = LEVELS) -> FloatArray:
        """Return float64[len(leads), len(levels)]: quantiles that many steps after the last value."""
        places = (self._bin.scalars[_FILLED] + np.asarray(leads, dtype=np.float64)) / self.width + 0.5 * (
            1.0 - 1.0 / self.width
        )
        first = np.maximum(np.floor(places), 1.0).astype(np.int64)
        share = np.clip(places - first, 0.0, 1.0)[:, None]
        wanted = np.unique(np.concatenate((first, first + 1)))
        rows = self.means.forecast(wanted.tolist(), LEVELS)
        near, far = rows[np.searchsorted(wanted, first)], rows[np.searchsorted(wanted, first + 1)]
        spread = self._spread_out((1.0 - share) * near + share * far)
        unknown = [level for level in levels if level not in LEVELS]
        if unknown:
            raise ValueError(f"level {unknown[0]} is not forecast; this forecaster has {list(LEVELS)}")
        return spread[:, [LEVELS.index(level) for level in levels]]

    def _spread_out(self, rows: FloatArray) -> FloatArray:
        middle = rows[:, _MEDIAN, None]
        own = self._bin.deviations * np.sqrt(np.maximum(middle, 0.0))
        wide = np.hypot(rows - middle, own - own[:, _MEDIAN, None])
        sides = np.sign(np.array(LEVELS) - LEVELS[_MEDIAN])
        return np.maximum(np.maximum.accumulate(middle + own[:, _MEDIAN, None] + sides * wide, axis=1), 0.0)

    def _close_bins(self, values: FloatArray) -> FloatArray:
        """Take values; return the means of the bins they complete."""
        means = np.empty(len(values) // self.width + 1)
        return means[: _close_bins(self._bin, values, means)]


def demand_forecaster(
    step_s: int, *, longest_s: int = LONGEST_LEAD_S, boosted: Boosted | None = None
) -> DemandForecaster | BinnedForecaster:
    """Return the forecaster for a step of 1 s to 1 h."""
    kind = BinnedForecaster if step_s < LEAST_STEP_S else DemandForecaster
    return kind(step_s=step_s, longest_s=longest_s, boosted=boosted)


def _empty(width: int) -> _Bin:
    return _Bin(np.zeros(5), np.full(width, np.nan), np.zeros(len(LEVELS)))


@compiled
def _close_bins(state: _Bin, values: FloatArray, means: FloatArray) -> int:
    scalars, width, closed = state.scalars, len(state.values), 0
    for value in values:
        place = int(scalars[_FILLED])
        state.values[place] = value
        scalars[_FILLED] += 1.0
        if not math.isnan(value):
            scalars[_KNOWN] += 1.0
            scalars[_SUM] += value
        if place + 1 == width:
            mean = scalars[_SUM] / scalars[_KNOWN] if 2.0 * scalars[_KNOWN] >= width else math.nan
            if mean > 0.0:
                _learn_deviations(state, mean)
            means[closed] = mean
            closed += 1
            scalars[_FILLED] = scalars[_KNOWN] = scalars[_SUM] = 0.0
    return closed


@compiled
def _learn_deviations(state: _Bin, mean: float) -> None:
    """Move the tracked quantiles of (value - mean) / sqrt(mean) toward those of a bin."""
    scalars = state.scalars
    for value in state.values:
        if math.isnan(value):
            continue
        scalars[_SEEN] += 1.0
        off = (value - mean) / math.sqrt(mean)
        scalars[_SPREAD] += max(1.0 / scalars[_SEEN], 0.001) * (abs(off) - scalars[_SPREAD])
        for level in range(len(LEVELS)):
            below = 1.0 if off < state.deviations[level] else 0.0
            state.deviations[level] += _RATE * scalars[_SPREAD] * (LEVELS[level] - below)
