"""Drift of a distribution: the population stability index (PSI) of the last day against a reference (compiled).

Bins are the tenths of the reference, by its quantiles, and one for missing values. With ``p`` the shares of the
reference and ``q`` those of the window, each with half a value added per bin, ``PSI = sum((q - p) log(q / p))``. The
usual reading is 0.1 for a small shift and 0.25 for a large one. That holds for independent values; a day of demand is
never like the mix of two weeks, so the threshold is the larger of 0.25 and what resampled days of the reference pass at
the allowed rate. An alarm is raised when the index rises above the threshold, and again when it has stayed there for
another whole window.

It serves inputs and predictions alike. A window is hours; a step costs the same whatever its length.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.drift.resampling import DAY_S, REPLICATES, WATCHED_DAYS, level_threshold, replicates
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BINS: Final = 10
LARGE_SHIFT: Final = 0.25
LEAST_REFERENCE_DAYS: Final = 3.0
_PRIOR: Final = 0.5

# Slots of the counters.
_ROW, _QUIET_UNTIL = range(2)


class _Reference(NamedTuple):
    """Edges between the bins, shares of the reference ([B + 1], missing last) and the threshold."""

    edges: FloatArray
    shares: FloatArray
    threshold: float


class _State(NamedTuple):
    """Bins of the window's values by row modulo its rows (-1: none yet), how many lie in each bin, counters."""

    bins: IntArray
    counts: FloatArray
    counters: IntArray


class PopulationDrift:
    """Detector of a changed distribution of one number (see the module); constant work per value.

    Args:
        step_s: Seconds per value, 1 to 3600.
        window_hours: Length of the window; whole days, or the daily course alone looks like drift.
        false_alarms_per_day: Alarms a day that days like those of the reference may raise.
        seed: Chooses the resampled days.

    Raises:
        ValueError: A parameter out of range.
    """

    def __init__(
        self, *, step_s: int, window_hours: int = 24, false_alarms_per_day: float = 0.015, seed: int = 0
    ) -> None:
        if not 1 <= step_s <= 3600:
            raise ValueError(f"step_s is {step_s}; expected 1 to 3600 seconds")
        if window_hours < 24 or window_hours % 24:
            raise ValueError(f"window_hours is {window_hours}; expected whole days")
        if not 0.001 <= false_alarms_per_day <= 10.0:
            raise ValueError(f"false_alarms_per_day is {false_alarms_per_day}; expected 0.001 to 10")
        self.step_s = step_s
        self.window_hours = window_hours
        self.false_alarms_per_day = false_alarms_per_day
        self.seed = seed
        self._reference: _Reference | None = None
        self._state = self._empty()

    def fit(self, values: npt.ArrayLike) -> Self:
        """Learn the distribution of a good time; the window that follows starts empty.

        Args:
            values: float64[N], one per step; NaN is missing. Two weeks are good, three days needed.

        Raises:
            ValueError: Fewer than three days, nothing known, or an infinite value.
        """
        series = _checked(values)
        needed = max(math.ceil(LEAST_REFERENCE_DAYS * DAY_S / self.step_s), self._rows())
        if len(series) < needed:
            raise ValueError(f"{len(series)} values of {self.step_s} s; the reference needs {needed}")
        known = series[~np.isnan(series)]
        if len(known) == 0:
            raise ValueError("every value of the reference is missing")
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
        bins = _bins(series, edges)
        shares = _shares(bins, len(edges) + 1)
        levels: list[FloatArray] = []
        for reference, watched in replicates(len(series), step_s=self.step_s, block_s=DAY_S, seed=self.seed):
            state = self._empty(len(edges) + 1)
            found = np.empty(len(watched))
            _run(state, edges, _shares(bins[reference], len(edges) + 1), bins[watched], found)
            levels.append(np.nan_to_num(found))
        allowed = self.false_alarms_per_day * REPLICATES * WATCHED_DAYS
        threshold = level_threshold(np.concatenate(levels), rest=self._rows(), alarms=allowed)
        self._reference = _Reference(edges, shares, max(threshold, LARGE_SHIFT))
        self._state = self._empty(len(edges) + 1)
        return self

    def update(self, value: float) -> bool:
        """Take the value of the next step and return whether it raises an alarm; NaN is a missing value.

        Raises:
            ValueError: An infinite value, or there is no reference yet.
        """
        return bool(self.run([value])[0])

    def run(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Take the values of several steps and return whether each raises an alarm, bool[N]."""
        series = _checked(values)
        known = self._known()
        levels = np.empty(len(series))
        before = int(self._state.counters[_ROW])
        _run(self._state, known.edges, known.shares, _bins(series, known.edges), levels)
        alarms = np.zeros(len(series), dtype=np.bool_)
        for index in np.flatnonzero(levels > known.threshold):
            row = before + int(index)
            if row >= self._state.counters[_QUIET_UNTIL]:
                alarms[index] = True
                self._state.counters[_QUIET_UNTIL] = row + self._rows()
        return alarms

    @property
    def index(self) -> float:
        """The PSI of the current window; NaN until a whole window was seen."""
        known = self._known()
        if self._state.counters[_ROW] < self._rows():
            return math.nan
        return float(_index(self._state.counts, known.shares))

    @property
    def threshold(self) -> float:
        """The index above which an alarm is raised."""
        return self._known().threshold

    def as_json(self) -> dict[str, Any]:
        """Return parameters, reference and state as JSON values."""
        known = self._known()
        return {
            "step_s": self.step_s,
            "window_hours": self.window_hours,
            "false_alarms_per_day": self.false_alarms_per_day,
            "seed": self.seed,
            "edges": known.edges.tolist(),
            "shares": known.shares.tolist(),
            "threshold": known.threshold,
            "bins": self._state.bins.tolist(),
            "counters": self._state.counters.tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the detector that :meth:`as_json` described.

        Raises:
            ValueError: The content is not one.
        """
        try:
            names = ("step_s", "window_hours", "false_alarms_per_day", "seed")
            detector = cls(**{name: content[name] for name in names})
            edges = np.array(content["edges"], dtype=np.float64)
            shares = np.array(content["shares"], dtype=np.float64)
            bins = np.array(content["bins"], dtype=np.int64)
            counters = np.array(content["counters"], dtype=np.int64)
            threshold = float(content["threshold"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a detector of population drift: {error!r}") from error
        if len(shares) != len(edges) + 2 or len(bins) != detector._rows() or len(counters) != 2:
            raise ValueError("not a detector of population drift: wrong number of bins, rows or counters")
        if bins.min() < -1 or bins.max() >= len(shares):
            raise ValueError("not a detector of population drift: a bin that does not exist")
        detector._reference = _Reference(edges, shares, threshold)
        counts = np.bincount(bins[bins >= 0], minlength=len(shares)).astype(np.float64)
        detector._state = _State(bins, counts, counters)
        return detector

    def _rows(self) -> int:
        return max(1, self.window_hours * 3600 // self.step_s)

    def _empty(self, bins: int = BINS) -> _State:
        return _State(np.full(self._rows(), -1, dtype=np.int64), np.zeros(bins + 1), np.zeros(2, dtype=np.int64))

    def _known(self) -> _Reference:
        if self._reference is None:
            raise ValueError("the detector has no reference yet; call fit with the values of a good time")
        return self._reference


def population_stability_index(reference: npt.ArrayLike, window: npt.ArrayLike) -> float:
    """Return the PSI of a window of values against a reference, both float arrays; NaN is a bin of its own.

    Raises:
        ValueError: One of them is empty or infinite, or nothing of the reference is known.
    """
    old, new = _checked(reference), _checked(window)
    known = old[~np.isnan(old)]
    if len(known) == 0 or len(new) == 0:
        raise ValueError("the index needs known values of the reference and a window of at least one value")
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS))
    counts = np.bincount(_bins(new, edges), minlength=len(edges) + 2).astype(np.float64)
    return float(_index(counts, _shares(_bins(old, edges), len(edges) + 1)))


def _checked(values: npt.ArrayLike) -> FloatArray:
    series = np.ascontiguousarray(values, dtype=np.float64)
    if np.isinf(series).any():
        raise ValueError(f"value {int(np.argmax(np.isinf(series)))} is infinite; expected finite numbers or NaN")
    return series


def _bins(values: FloatArray, edges: FloatArray) -> IntArray:
    """Return the bin of each value: that of the first edge not below it, and the last one for missing values."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values)).astype(np.int64)


def _shares(bins: IntArray, values: int) -> FloatArray:
    counts = np.bincount(bins, minlength=values + 1) + _PRIOR
    return np.asarray(counts / counts.sum())


@compiled
def _index(counts: FloatArray, shares: FloatArray) -> float:
    whole = counts.sum() + _PRIOR * len(counts)
    total = 0.0
    for which in range(len(counts)):
        share = (counts[which] + _PRIOR) / whole
        total += (share - shares[which]) * math.log(share / shares[which])
    return total


@compiled
def _run(state: _State, edges: FloatArray, shares: FloatArray, bins: IntArray, levels: FloatArray) -> None:
    """Take the bins of several values and write the index after each, NaN until the window is whole."""
    for at in range(len(bins)):
        row = state.counters[_ROW]
        place = row % len(state.bins)
        if state.bins[place] >= 0:
            state.counts[state.bins[place]] -= 1.0
        state.bins[place] = bins[at]
        state.counts[bins[at]] += 1.0
        state.counters[_ROW] = row + 1
        levels[at] = _index(state.counts, shares) if row + 1 >= len(state.bins) else math.nan
