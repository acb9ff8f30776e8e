"""Features of one service as its readings come in: constant work per reading on average (compiled).

Nothing but ``update`` takes readings, so a feature cannot see the future. Memory is one week of readings per metric
with a lag of a week, and one day of aggregates per daily window.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.features.definitions import FEATURES, Feature
from forecasting.features.infrastructure import categories_of
from forecasting.features.local_time import CALENDAR, LocalClock, ServicePlace
from forecasting.features.observations import METRIC_BY_NAME, METRICS, PLACES, complaint
from forecasting.features.percentile import percentile, replace_oldest
from forecasting.features.plan import LAG, WINDOW, Plan, Steps, combine, least_known, make_plan
from forecasting.features.sliding import FIELDS, P95, clear, slide, statistic, window_aggregate
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class _State(NamedTuple):
    """What is kept; W windows, their rows one after another in arrays of length S, percentile windows padded.

    Attributes:
        readings: [M, R] ring of readings by row modulo R.
        metric: [W] metric of each window.
        begin: [W + 1] first entry of each window in ``suffixes``.
        least: [W] readings that have to be known.
        suffixes: [S, FIELDS], see ``sliding``.
        newest: [W, FIELDS].
        whole: [W, FIELDS] aggregate of each whole window at the newest row.
        turned: [W] first row since each window's last turn.
        slot: [W] index among percentile windows, -1 for the others.
        values: [P, S_p] readings of percentile windows.
        heaps: [P, 2, S_p].
        places: [P, S_p].
        sides: [P, S_p].
        sizes: [P, 2].
        single: [FIELDS] working space.
    """

    readings: FloatArray
    metric: IntArray
    begin: IntArray
    least: FloatArray
    suffixes: FloatArray
    newest: FloatArray
    whole: FloatArray
    turned: IntArray
    slot: IntArray
    values: FloatArray
    heaps: IntArray
    places: IntArray
    sides: IntArray
    sizes: IntArray
    single: FloatArray


def _empty(plan: Plan) -> _State:
    rows = np.array([width for _, width in plan.windows], dtype=np.int64)
    with_percentile = np.array(plan.percentiles, dtype=np.bool_)
    count = int(with_percentile.sum())
    slot = np.where(with_percentile, np.cumsum(with_percentile) - 1, -1)
    widest = int(rows[with_percentile].max(initial=1))
    state = _State(
        readings=np.full((len(plan.metrics), plan.longest), np.nan),
        metric=np.array([metric for metric, _ in plan.windows], dtype=np.int64),
        begin=np.concatenate((np.zeros(1, np.int64), np.cumsum(rows))),
        least=np.array([least_known(width) for _, width in plan.windows], dtype=np.float64),
        suffixes=np.zeros((int(rows.sum()), FIELDS)),
        newest=np.zeros((len(rows), FIELDS)),
        whole=np.zeros((len(rows), FIELDS)),
        turned=np.zeros(len(rows), dtype=np.int64),
        slot=slot.astype(np.int64),
        values=np.full((count, widest), np.nan),
        heaps=np.zeros((count, 2, widest), dtype=np.int64),
        places=np.zeros((count, widest), dtype=np.int64),
        sides=np.zeros((count, widest), dtype=np.int64),
        sizes=np.zeros((count, 2), dtype=np.int64),
        single=np.zeros(FIELDS),
    )
    for window in range(len(rows)):
        clear(state.newest[window])
    return state


@compiled
def _take(state: _State, row: int, readings: FloatArray) -> None:
    """Take the readings of a row into every ring and window."""
    for metric in range(len(readings)):
        state.readings[metric, row % state.readings.shape[1]] = readings[metric]
    for window in range(len(state.metric)):
        metric = state.metric[window]
        suffixes = state.suffixes[state.begin[window] : state.begin[window + 1]]
        state.turned[window] = slide(
            suffixes, state.newest[window], state.single, state.readings[metric], row, state.turned[window]
        )
        slot = state.slot[window]
        if slot >= 0:
            width = len(suffixes)
            replace_oldest(
                state.values[slot, :width],
                state.heaps[slot],
                state.places[slot],
                state.sides[slot],
                state.sizes[slot],
                row,
                readings[metric],
            )


@compiled
def _features(state: _State, steps: Steps, row: int, rows_per_hour: float, into: FloatArray) -> None:
    """Write the features at a row into ``into``."""
    for window in range(len(state.metric)):
        suffixes = state.suffixes[state.begin[window] : state.begin[window + 1]]
        window_aggregate(suffixes, state.newest[window], row, state.turned[window], state.whole[window])
    for feature in range(len(into)):
        kind, first, second = steps.kind[feature], steps.first[feature], steps.second[feature]
        if kind == LAG:
            known = row >= second
            into[feature] = state.readings[first, (row - second) % state.readings.shape[1]] if known else math.nan
        elif kind == WINDOW:
            if second == P95:
                slot = state.slot[first]
                value = percentile(state.values[slot], state.heaps[slot], state.sizes[slot], state.least[first])
            else:
                value = statistic(state.whole[first], second, state.least[first], rows_per_hour)
            into[feature] = steps.scale[feature] * value
        else:
            into[feature] = combine(kind, into[first], into[second], steps.least[feature])


@compiled
def _advance(
    state: _State, steps: Steps, row: int, missing: int, readings: FloatArray, rows_per_hour: float, into: FloatArray
) -> None:
    """Pass ``missing`` rows without readings, take those of ``row`` and write its features."""
    absent = np.full(len(readings), math.nan)
    for earlier in range(row - missing, row):
        _take(state, earlier, absent)
    _take(state, row, readings)
    _features(state, steps, row, rows_per_hour, into)


class FeatureStream:
    """Features of one service, one observation after another.

    Args:
        step_s: Seconds between observations, 1 to 3600. Memory grows as the step shrinks: about 2 MB at a minute.
        place: Whose clock and calendar; UTC without holidays by default.
        features: Which numeric features (``definitions.features_of`` makes smaller tables).

    Attributes:
        names: Names of the numbers that :meth:`push` returns: calendar first.
        metrics: Names of the readings that it takes, in its order.

    Raises:
        ValueError: A step out of range, or a table that cannot be computed.
    """

    def __init__(
        self, *, step_s: int, place: ServicePlace | None = None, features: Sequence[Feature] = FEATURES
    ) -> None:
        self._plan = make_plan(features, step_s)
        self._clock = LocalClock(place or ServicePlace())
        self._state = _empty(self._plan)
        self._row = -1
        self._newest_s: int | None = None
        self.names = (*CALENDAR, *self._plan.names)
        self.metrics = self._plan.metrics

    def update(self, second: int, observation: Mapping[str, float | str | None]) -> dict[str, float | str]:
        """Take an observation and return every feature at its time, categories included.

        Args:
            second: Stamp, UTC seconds since 1970; later than the one before by whole steps. Steps left out are missing.
            observation: Readings and texts by column name; an absent one is missing.

        Raises:
            ValueError: A stamp that is not later or not on the grid, an unknown column, a reading out of range, or a
                text that is no instance type or zone. Nothing is taken then.
        """
        for name in observation:
            if name not in METRIC_BY_NAME and name not in PLACES:
                raise ValueError(f"unknown column {name!r}; known: {', '.join((*METRIC_BY_NAME, *PLACES))}")
        texts = categories_of({name: _text(name, observation.get(name)) for name in PLACES})
        readings = {metric.name: _number(metric.name, observation.get(metric.name)) for metric in METRICS}
        numbers = self.push(second, np.array([readings[name] for name in self.metrics]))
        return {**dict(zip(self.names, numbers.tolist(), strict=True)), **texts}

    def push(self, second: int, readings: npt.ArrayLike) -> FloatArray:
        """Take the readings of :attr:`metrics` in their order and return the numbers of :attr:`names`.

        Args:
            second: Stamp, as in :meth:`update`.
            readings: float64[M]; NaN is missing.

        Raises:
            ValueError: As :meth:`update`.
        """
        values = np.ascontiguousarray(readings, dtype=np.float64)
        if values.shape != (len(self.metrics),):
            raise ValueError(f"readings have shape {values.shape}; expected ({len(self.metrics)},): {self.metrics}")
        for name, value in zip(self.metrics, values.tolist(), strict=True):
            wrong = complaint(METRIC_BY_NAME[name], value)
            if wrong:
                raise ValueError(f"column {name!r} at {second}: {wrong}")
        missing = self._missing_before(second)
        into = np.empty(len(self.names))
        into[: len(CALENDAR)] = self._clock.at(second)
        if missing > self._plan.longest:
            self._state, self._row, missing = _empty(self._plan), -1, 0
        self._row += missing + 1
        self._newest_s = second
        numbers = into[len(CALENDAR) :]
        _advance(self._state, self._plan.steps, self._row, missing, values, 3600.0 / self._plan.step_s, numbers)
        return into

    def _missing_before(self, second: int) -> int:
        """Return how many steps were left out before a stamp."""
        if self._newest_s is None:
            return 0
        later, step = second - self._newest_s, self._plan.step_s
        if later <= 0:
            raise ValueError(f"stamp {second} is not later than the one before, {self._newest_s}")
        if later % step:
            raise ValueError(f"stamp {second} is {later} s after the one before; expected whole steps of {step} s")
        return later // step - 1


def _number(name: str, value: float | str | None) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        raise ValueError(f"column {name!r}: {value!r} is a text; expected a number")
    return float(value)


def _text(name: str, value: float | str | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"column {name!r}: {value!r} is a number; expected a text")
