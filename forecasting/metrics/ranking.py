"""How well candidates are ranked: pure functions of the place of the truth, 1 being first.

A candidate with the same score as the truth stands before it, so constant scores earn nothing.
"""

import numpy as np
import numpy.typing as npt


def place_of(scores: npt.ArrayLike, truth: int) -> int:
    """Return the place of candidate ``truth`` by falling score, from 1; a score of NaN is the lowest.

    Args:
        scores: float[C], the higher the more suspect.
        truth: index of the true cause.

    Raises:
        ValueError: ``truth`` is no index of the scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not 0 <= truth < len(values):
        raise ValueError(f"the truth {truth} is no index of {len(values)} scores")
    values = np.where(np.isnan(values), -np.inf, values)
    return int(np.count_nonzero(values >= values[truth]))


def accuracy_at(places: npt.ArrayLike, k: int) -> float:
    """Return AC@k: the share of incidents whose cause stands among the first ``k``, 0..1.

    Raises:
        ValueError: no incident, or ``k`` below 1.
    """
    found = np.asarray(places)
    if not len(found) or k < 1:
        raise ValueError(f"AC@k needs at least one incident and a k of at least 1, got {len(found)} and {k}")
    return float(np.mean(found <= k))


def average_at(places: npt.ArrayLike, k: int) -> float:
    """Return Avg@k: the mean of AC@1 to AC@k."""
    return float(np.mean([accuracy_at(places, first) for first in range(1, k + 1)]))


def chance_at(candidates: npt.ArrayLike, k: int) -> float:
    """Return the AC@k to expect of a random order.

    Args:
        candidates: int[N], candidates of each incident, at least 1.
        k: as in :func:`accuracy_at`.
    """
    counts = np.asarray(candidates, dtype=np.float64)
    return float(np.mean(np.minimum(k / counts, 1.0)))


def reliability(confidence: npt.ArrayLike, right: npt.ArrayLike, edges: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return float64[bins, 3]: how many answers, their mean confidence, and the share that is right.

    Args:
        confidence: float[N], 0..1.
        right: bool[N].
        edges: float[bins + 1], rising; a bin includes its lower edge, the last one both. An empty bin has NaN means.
    """
    stated, truth = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    bounds = np.asarray(edges, dtype=np.float64)
    place = np.clip(np.searchsorted(bounds, stated, side="right") - 1, 0, len(bounds) - 2)
    rows = np.full((len(bounds) - 1, 3), np.nan)
    for at in range(len(rows)):
        inside = place == at
        rows[at, 0] = inside.sum()
        if inside.any():
            rows[at, 1:] = stated[inside].mean(), truth[inside].mean()
    return rows


def calibration_error(confidence: npt.ArrayLike, right: npt.ArrayLike, edges: npt.ArrayLike) -> float:
    """Return the mean distance of confidence and share right over the bins of :func:`reliability`, by their count."""
    rows = reliability(confidence, right, edges)
    rows = rows[rows[:, 0] > 0]
    return float(np.average(np.abs(rows[:, 1] - rows[:, 2]), weights=rows[:, 0]))
