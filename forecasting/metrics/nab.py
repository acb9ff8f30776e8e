"""The score of the Numenta Anomaly Benchmark, written from its published formula.

A file has labelled windows. Of the detections in a window only the best one counts, worth
``sigma(y) / sigma(-1) * tp`` with ``sigma(y) = 2 / (1 + exp(5 y)) - 1`` and ``y = -(right - i + 1) / width``, so early
ones are worth more; a window without detection costs ``fn``. A detection outside costs up to ``fp``:
``sigma((i - right) / (width - 1)) * fp`` for the last window before it, the whole of ``fp`` three widths away or
before any window. The first 15 % of a file (of its first 5,000 rows) is probationary and counts nothing. The sum over
files is scaled: never detecting is 0, detecting every window at its first row and nothing else is 100.

Source: Lavin & Ahmad, "Evaluating real-time anomaly detection algorithms", ICMLA 2015; profiles of NAB 1.1.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

PROBATION_SHARE: Final = 0.15
_LONGEST_PROBATION: Final = PROBATION_SHARE * 5000
_FAR_BEHIND: Final = 3.0


class Profile(NamedTuple):
    """What a window found, a false detection and a window missed are worth."""

    tp: float
    fp: float
    fn: float


PROFILES: Final = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


class Sweep(NamedTuple):
    """Raw score of one file at every threshold that changes it.

    Attributes:
        thresholds: float64[K], falling; a row is detected where its score is at least the threshold.
        raw: float64[K + 1], ``raw[0]`` with nothing detected, ``raw[k + 1]`` at ``thresholds[k]``.
        windows: Windows that count, those with a row behind the probationary period.
    """

    thresholds: FloatArray
    raw: FloatArray
    windows: int

    def at(self, threshold: npt.ArrayLike) -> FloatArray:
        """Return the raw score at one or several thresholds."""
        return np.asarray(self.raw[np.searchsorted(-self.thresholds, -np.asarray(threshold), side="right")])


def scaled_sigmoid(position: npt.ArrayLike) -> FloatArray:
    """Return the worth of a detection at a relative position: -1 is a window's first row, 0 its end."""
    position = np.asarray(position, dtype=np.float64)
    return np.where(position >= _FAR_BEHIND, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, _FAR_BEHIND))) - 1.0)


def probation(rows: int) -> int:
    """Return how many rows at the start of a file of ``rows`` count nothing."""
    return int(np.ceil(min(np.floor(PROBATION_SHARE * rows), _LONGEST_PROBATION)))


def row_worths(rows: int, windows: npt.ArrayLike, profile: Profile) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return what a detection in each row is worth and the window it lies in (-1 outside).

    Args:
        rows: Length of the file.
        windows: int[W, 2], first and last row of each window, in order, not overlapping.
        profile: Weights.
    """
    worths = np.full(rows, -profile.fp)
    inside = np.full(rows, -1, dtype=np.int64)
    bounds = np.asarray(windows, dtype=np.int64).reshape(-1, 2)
    ends = [*bounds[1:, 0].tolist(), rows][: len(bounds)]
    for at, ((left, right), until) in enumerate(zip(bounds.tolist(), ends, strict=True)):
        width = right - left + 1
        within, behind = np.arange(left, right + 1), np.arange(right + 1, until)
        worths[within] = scaled_sigmoid(-(right - within + 1) / width) * profile.tp / scaled_sigmoid(-1.0)
        worths[behind] = scaled_sigmoid((behind - right) / max(width - 1, 1)) * profile.fp
        inside[within] = at
    return worths, inside


def sweep(scores: npt.ArrayLike, windows: npt.ArrayLike, profile: Profile) -> Sweep:
    """Return the raw score of one file at every threshold.

    Args:
        scores: float[T], any scale, finite; higher is more anomalous.
        windows: int[W, 2], first and last row of each labelled window.
        profile: Weights.

    Raises:
        ValueError: a score that is not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise ValueError("scores hold values that are not finite")
    start = probation(len(scores))
    worths, inside = row_worths(len(scores), windows, profile)
    worths, inside, scores = worths[start:], inside[start:], scores[start:]
    counted = np.unique(inside[inside >= 0])
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.diff(ranked, append=-np.inf) != 0.0)
    gains = np.where(inside < 0, worths, 0.0)[order]
    for window in counted:
        mine = np.flatnonzero(inside[order] == window)
        best = np.maximum.accumulate(np.concatenate(([-profile.fn], worths[order][mine])))
        gains[mine] += np.diff(best)
    nothing = -profile.fn * len(counted)
    return Sweep(ranked[last], np.concatenate(([nothing], nothing + np.cumsum(gains)[last])), len(counted))


def best_threshold(sweeps: Sequence[Sweep]) -> float:
    """Return the threshold with the best summed raw score; infinite where never detecting is best."""
    candidates = np.unique(np.concatenate([one.thresholds for one in sweeps]))
    candidates = np.append(candidates, np.inf)
    return float(candidates[int(np.argmax(sum(one.at(candidates) for one in sweeps)))])


def nab_score(sweeps: Sequence[Sweep], threshold: float, profile: Profile) -> float:
    """Return the scaled score of a set of files at one threshold: 0 never detecting, 100 perfect.

    Raises:
        ValueError: no file has a window.
    """
    windows = sum(one.windows for one in sweeps)
    if windows == 0:
        raise ValueError("no file has a labelled window behind its probationary period")
    raw = float(sum(one.at(threshold) for one in sweeps))
    nothing, perfect = -profile.fn * windows, profile.tp * windows
    return 100.0 * (raw - nothing) / (perfect - nothing)
