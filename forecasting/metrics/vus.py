"""VUS-PR: area under precision and recall of an anomaly score, averaged over tolerances at the ends of events.

For a tolerance of ``w`` rows, 0 up to the window ``W``: rows outside an event carry the grade ``sqrt(1 - d / w)`` at
distance ``d`` up to ``w // 2`` from it, rows of events 1; grades of neighbouring events add up, to 1 at most. At 250
thresholds, evenly spaced in rank: precision is the grade over the rows flagged, recall the grade over ``P + E / 2`` (P
rows of events, E the grade flagged outside them), times the share of tolerant events with a flagged row. The area is
summed by steps of recall, then averaged over ``w``.

A larger W raises every figure, so the window comes from the series by one rule and is printed.

Source: Paparrizos et al., VLDB 2022; as used by TSB-AD (Liu & Paparrizos, NeurIPS 2024). The code is our own.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_THRESHOLDS: Final = 250
_USED_ROWS: Final = 20_000
_LARGEST_LAG: Final = 400
_FIRST_LAG: Final = 3
_DEFAULT_WINDOW: Final = 125


def acf_window(values: npt.ArrayLike) -> int:
    """Return the window of a series: the lag of its highest autocorrelation peak, as TSB-AD chooses it.

    Lags 3 to 400 of the first 20,000 values; 125 without a peak, or where the best lies below lag 6 or above 303.

    Args:
        values: float[T], finite.
    """
    used = np.asarray(values, dtype=np.float64)[:_USED_ROWS]
    lags = min(_LARGEST_LAG, len(used) - 1)
    centred = used - used.mean()
    size = 1 << int(np.ceil(np.log2(max(2 * len(used), 2))))
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    correlation = np.fft.irfft(power, size)[: lags + 1]
    if correlation[0] <= 1e-12 * max(float((used**2).sum()), 1e-300):
        return _DEFAULT_WINDOW
    tail = (correlation / correlation[0])[_FIRST_LAG:]
    peaks = np.flatnonzero((tail[1:-1] > tail[:-2]) & (tail[1:-1] > tail[2:])) + 1
    if len(peaks) == 0:
        return _DEFAULT_WINDOW
    best = int(peaks[np.argmax(tail[peaks])])
    return best + _FIRST_LAG if 3 <= best <= 300 else _DEFAULT_WINDOW


def vus_pr(labels: npt.ArrayLike, scores: npt.ArrayLike, window: int) -> float:
    """Return the volume under precision and recall, 0..1.

    Args:
        labels: bool[T], rows inside an event.
        scores: float[T], higher is more anomalous, any scale.
        window: W, rows, 0 or more; see :func:`acf_window`.

    Raises:
        ValueError: no event, lengths that differ, a score that is not finite, or a negative window.
    """
    truth = np.asarray(labels, dtype=np.bool_)
    rank_by = np.ascontiguousarray(scores, dtype=np.float64)
    if truth.shape != rank_by.shape or not np.isfinite(rank_by).all():
        raise ValueError(f"labels {truth.shape} and scores {rank_by.shape} must have one shape, scores finite values")
    if not truth.any() or window < 0:
        raise ValueError(f"VUS-PR needs an event and a window of 0 or more, got {int(truth.sum())} rows and {window}")
    edges = np.diff(np.concatenate(([0], truth.astype(np.int8), [0])))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    ranked = -np.sort(-rank_by)
    thresholds = ranked[np.linspace(0, len(ranked) - 1, _THRESHOLDS).astype(np.int64)]
    first = np.searchsorted(-thresholds, -rank_by, side="left")
    return float(_volume(truth, first, starts, ends, window, _THRESHOLDS))


@compiled
def _volume(
    truth: npt.NDArray[np.bool_], first: IntArray, starts: IntArray, ends: IntArray, window: int, thresholds: int
) -> float:
    rows = len(truth)
    flagged = np.zeros(thresholds)
    hits = np.zeros(thresholds)
    positives = 0.0
    for row in range(rows):
        flagged[first[row]] += 1.0
        if truth[row]:
            hits[first[row]] += 1.0
            positives += 1.0
    grade = np.zeros(rows)
    total = 0.0
    for tolerance in range(window + 1):
        outside = np.zeros(thresholds)
        for at in range(len(starts)):
            _add_grades(grade, truth, starts[at], ends[at], tolerance)
        for at in range(len(starts)):
            _take_grades(grade, outside, first, starts[at], ends[at], tolerance)
        total += _area(flagged, hits, outside, _existence(first, starts, ends, tolerance, thresholds), positives)
    return total / (window + 1)


@compiled
def _add_grades(grade: FloatArray, truth: npt.NDArray[np.bool_], start: int, end: int, tolerance: int) -> None:
    for distance in range(1, tolerance // 2 + 1):
        worth = np.sqrt(1.0 - distance / tolerance)
        if start - distance >= 0 and not truth[start - distance]:
            grade[start - distance] += worth
        if end + distance < len(grade) and not truth[end + distance]:
            grade[end + distance] += worth


@compiled
def _take_grades(grade: FloatArray, outside: FloatArray, first: IntArray, start: int, end: int, tolerance: int) -> None:
    """Move the grades beside one event into the counts by threshold, leaving zeros behind."""
    reach = tolerance // 2
    for row in range(max(start - reach, 0), min(end + reach + 1, len(grade))):
        outside[first[row]] += min(grade[row], 1.0)
        grade[row] = 0.0


@compiled
def _existence(first: IntArray, starts: IntArray, ends: IntArray, tolerance: int, thresholds: int) -> FloatArray:
    """Return for each threshold the share of events, joined where their tolerances touch, that have a flagged row."""
    reach = tolerance // 2
    found = np.zeros(thresholds)
    groups = 0
    at = 0
    while at < len(starts):
        left = max(starts[at] - reach, 0)
        while at + 1 < len(starts) and ends[at] + reach >= starts[at + 1] - reach:
            at += 1
        right = min(ends[at] + reach, len(first) - 1)
        found[first[left : right + 1].min()] += 1.0
        groups += 1
        at += 1
    return np.cumsum(found) / groups


@compiled
def _area(flagged: FloatArray, hits: FloatArray, outside: FloatArray, existence: FloatArray, positives: float) -> float:
    area, recall_before = 0.0, 0.0
    rows, inside, beside = 0.0, 0.0, 0.0
    for at in range(len(flagged)):
        rows += flagged[at]
        inside += hits[at]
        beside += outside[at]
        caught = inside + beside
        recall = min(caught / (positives + 0.5 * beside), 1.0) * existence[at]
        area += (recall - recall_before) * caught / rows
        recall_before = recall
    return area
