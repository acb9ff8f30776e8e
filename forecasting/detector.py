"""Streaming anomaly detector: the distance of a value from a moving level, and how rare that distance is.

Distance. ``d = |y - level| / deviation`` where level and deviation are exponentially weighted over about
``memory`` steps and both are taken before the value is learnt.

Rarity. ``q``, the 0.98 quantile of past distances, is followed by subgradient steps, and so is the mean
excess above it. Beyond ``q`` the tail is exponential: ``p = 0.02 * exp(-(d - q) / excess)``; below it ``p``
falls evenly from 1 to 0.02. The score is ``n / (n + 2)`` with ``n = -log10 p``: 0.46 at the 98 % quantile,
0.5 for one value in a hundred, 0.75 for one in a million; it never saturates, so ranks stay. The first move
of a series that stood still so far counts as one value among all those seen.

It knows no season: a steep daily rise looks more unusual than it is, and a level that stays changed is new
only once.
"""

import math
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from telemetry.compiled import compiled

_TAIL = 0.02
_TAIL_RATE = 0.05
_HALF_SCORE = 2.0
_LARGEST_FIRST = 1000.0

# Slots of the state.
_SEEN, _LEVEL, _DEVIATION, _DISTANCE, _QUANTILE, _EXCESS = range(6)


class DetectorSettings(NamedTuple):
    """Steps over which level and deviation forget (``memory``) and steps without a score (``warm_up``)."""

    memory: float
    warm_up: float


class LevelDetector:
    """Detector of values far from the moving level of a series (see the module for the formulae).

    Any real-valued series will do: negative values are fine, and steps need not be regular.

    Args:
        memory: steps over which level and deviation forget, 1 or more.
        warm_up: values that are learnt before the first score above 0.

    Raises:
        ValueError: a parameter outside its range.
    """

    def __init__(self, *, memory: float = 24.0, warm_up: int = 100) -> None:
        if memory < 1.0 or warm_up < 2:
            raise ValueError(f"memory {memory} must be at least 1 and warm_up {warm_up} at least 2")
        self.settings = DetectorSettings(float(memory), float(warm_up))
        self.state = np.zeros(6)

    def fit(self, history: npt.ArrayLike) -> Self:
        """Learn ``history`` from scratch, without scores."""
        self.state = np.zeros(6)
        score_series(self, history)
        return self

    def update(self, value: float) -> float:
        """Take the next value and return its score, 0..1; a missing one (NaN) scores 0 and is not learnt."""
        return float(_score(self.state, self.settings, float(value)))


def score_series(detector: LevelDetector, values: npt.ArrayLike) -> FloatArray:
    """Feed a series and return the score of each value, float64[T], in one compiled call."""
    series = np.ascontiguousarray(values, dtype=np.float64)
    scores = np.empty(len(series))
    _score_all(detector.state, detector.settings, series, scores)
    return scores


@compiled
def _score(state: FloatArray, settings: DetectorSettings, value: float) -> float:
    if math.isnan(value):
        return 0.0
    state[_SEEN] += 1.0
    if state[_SEEN] == 1.0:
        state[_LEVEL] = value
        return 0.0
    gap = abs(value - state[_LEVEL])
    floor = 1e-6 * abs(state[_LEVEL]) + 1e-12
    distance = gap / max(state[_DEVIATION], floor)
    rate = max(1.0 / state[_SEEN], 1.0 / settings.memory)
    state[_LEVEL] += rate * (value - state[_LEVEL])
    state[_DEVIATION] += rate * (gap - state[_DEVIATION])
    if state[_SEEN] <= 3.0:
        return 0.0
    rarity = _rarity(state, distance)
    _learn_tail(state, distance)
    if state[_SEEN] <= settings.warm_up:
        return 0.0
    return rarity / (rarity + _HALF_SCORE)


@compiled
def _rarity(state: FloatArray, distance: float) -> float:
    """Return -log10 of the share of past distances at least this large."""
    quantile = state[_QUANTILE]
    if distance == 0.0:
        return 0.0
    if quantile == 0.0:
        return math.log10(state[_SEEN])
    if distance <= quantile:
        return -math.log10(1.0 - (1.0 - _TAIL) * distance / quantile)
    beyond = (distance - quantile) / max(state[_EXCESS], 0.1 * quantile)
    return float(-math.log10(_TAIL) + beyond / math.log(10.0))


@compiled
def _learn_tail(state: FloatArray, distance: float) -> None:
    """Move the tail's quantile and mean excess; one distance counts at most as a few times the quantile."""
    tame = min(distance, 5.0 * state[_QUANTILE] if state[_QUANTILE] > 0.0 else _LARGEST_FIRST)
    state[_DISTANCE] += max(1.0 / state[_SEEN], 0.001) * (tame - state[_DISTANCE])
    if state[_QUANTILE] == 0.0:
        state[_QUANTILE] = 3.0 * state[_DISTANCE]
        state[_EXCESS] = state[_DISTANCE]
        return
    step = _TAIL_RATE * state[_DISTANCE]
    if distance > state[_QUANTILE]:
        state[_EXCESS] += _TAIL_RATE * (tame - state[_QUANTILE] - state[_EXCESS])
        state[_QUANTILE] += step * (1.0 - _TAIL)
    else:
        state[_QUANTILE] = max(state[_QUANTILE] - step * _TAIL, 1e-12)


@compiled
def _score_all(state: FloatArray, settings: DetectorSettings, values: FloatArray, scores: FloatArray) -> None:
    for index in range(len(values)):
        scores[index] = _score(state, settings, values[index])
