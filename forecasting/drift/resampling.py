"""Thresholds from the reference itself: days drawn again and again, counting the alarms that nothing caused (compiled).

A replicate draws days for a new reference, learns what is usual from them, and draws other days to watch. Both keep
the memory within a day and the hour of the day; learning anew in each replicate makes the threshold allow for what a
reference of this length cannot know. The threshold is the least one at which the days watched, all replicates
together, alarm no more often than asked.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DAY_S: Final = 86_400
REPLICATES: Final = 60
WATCHED_DAYS: Final = 60
_ROUNDS: Final = 30


def replicates(rows: int, *, step_s: int, block_s: int, seed: int) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield rows of a resampled reference and of resampled days to watch, for each replicate.

    Args:
        rows: Rows of the reference, a day or more.
        step_s: Seconds per row.
        block_s: Length of the blocks that the days to watch are drawn in; the reference is drawn in whole days.
        seed: Chooses the blocks.
    """
    per_day = max(1, round(DAY_S / step_s))
    days = max(1, rows // per_day)
    rng = np.random.default_rng(seed)
    block = np.arange(per_day) // max(1, round(block_s / step_s))
    for _ in range(REPLICATES):
        first = int(rng.integers(rows))
        known = rng.integers(days, size=(days, 1))
        watched = rng.integers(days, size=(WATCHED_DAYS, int(block[-1]) + 1))[:, block]
        clock = first + np.arange(per_day)
        yield (clock + per_day * known).ravel() % rows, (clock + per_day * watched).ravel() % rows


@compiled
def sum_step(total: float, score: float, reference: float) -> float:
    """Return the next value of a cumulative sum that rises with scores above ``reference`` and never falls below 0."""
    return max(0.0, total + score - reference)


@compiled
def _count_sum_alarms(scores: FloatArray, reference: float, threshold: float) -> int:
    total, alarms = 0.0, 0
    for score in scores:
        if not np.isnan(score):
            total = sum_step(total, score, reference)
            if total > threshold:
                alarms += 1
                total = 0.0
    return alarms


@compiled
def _count_crossings(levels: FloatArray, threshold: float, rest: int) -> int:
    """Return how often a series exceeds a threshold, at most once in ``rest`` rows."""
    alarms, quiet_until = 0, 0
    for row in range(len(levels)):
        if levels[row] > threshold and row >= quiet_until:
            alarms += 1
            quiet_until = row + rest
    return alarms


def sum_threshold(scores: FloatArray, *, reference: float, alarms: float) -> float:
    """Return the threshold of a cumulative sum that alarms at most ``alarms`` times.

    Args:
        scores: Scores of the days watched, mean about 1; NaN is missing.
        reference: What is taken off each score.
        alarms: Alarms allowed over all of them.
    """
    low, high = 0.0, 1.0
    while _count_sum_alarms(scores, reference, high) > alarms:
        low, high = high, 2.0 * high
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        if high - low <= 1e-3 * high:
            break
        if _count_sum_alarms(scores, reference, middle) > alarms:
            low = middle
        else:
            high = middle
    return high


def level_threshold(levels: FloatArray, *, rest: int, alarms: float) -> float:
    """Return the threshold that a series exceeds at most ``alarms`` times, counting once in ``rest`` rows."""
    low, high = 0.0, max(float(levels.max()), 1e-9)
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        if _count_crossings(levels, middle, rest) > alarms:
            low = middle
        else:
            high = middle
    return high
