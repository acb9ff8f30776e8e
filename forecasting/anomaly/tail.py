"""How rare a deviation is among those a stream has seen: the one calibration of every stream, compiled, O(1).

A sketch counts past deviations in 256 bins, eight to an octave, and keeps their sums. Up to the 98 % quantile ``q`` the
tail probability is the share of past deviations above the value. Beyond it the tail is exponential,
``p = share(q) * exp(-(x - q) / excess)`` with the mean excess over ``q``. Zero is no deviation: a stream that is
nearly always zero has all its other values in the tail. What a deviation teaches is cut at ``q`` plus five excesses,
so one outlier cannot hide the next. When a sketch is full, all counts are halved: old deviations fade.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

BINS: Final = 256
LARGEST_RARITY: Final = 12.0
_PER_OCTAVE: Final = 8.0
_LOWEST_OCTAVE: Final = -10.0
_TAIL: Final = 0.02
_LEARNT_EXCESSES: Final = 5.0
_LEAST_EXCESS: Final = 0.1
_LN10: Final = math.log(10.0)

# A sketch is one row: counts, sums, then the total weight and the highest bin in use.
_TOTAL: Final = 2 * BINS
_TOP: Final = 2 * BINS + 1
SKETCH_SIZE: Final = 2 * BINS + 2


@compiled
def rarity(sketch: FloatArray, deviation: float) -> float:
    """Return ``-log10`` of the share of past deviations at least this large, 0 to 12.

    Args:
        sketch: float64[SKETCH_SIZE], zeros before the first deviation.
        deviation: 0 or more; zero is never rare.
    """
    if deviation <= 0.0 or sketch[_TOTAL] == 0.0:
        return 0.0
    quantile, weight, excess = _tail_of(sketch)
    if weight == 0.0:
        return min(math.log10(sketch[_TOTAL] + 1.0), LARGEST_RARITY)
    if deviation > quantile:
        share = (weight + 0.5) / (sketch[_TOTAL] + 1.0)
        return min((deviation - quantile) / (excess * _LN10) - math.log10(share), LARGEST_RARITY)
    place = _place(deviation)
    at = int(place)
    above = (1.0 - (place - at)) * sketch[at]
    for index in range(at + 1, int(sketch[_TOP]) + 1):
        above += sketch[index]
    return -math.log10(min((above + 0.5) / (sketch[_TOTAL] + 1.0), 1.0))


@compiled
def learn(sketch: FloatArray, deviation: float, full: float) -> None:
    """Take a deviation (0 or more) into a sketch that fades once it holds ``full`` of them."""
    if sketch[_TOTAL] >= full:
        for index in range(2 * BINS):
            sketch[index] *= 0.5
        sketch[_TOTAL] *= 0.5
    sketch[_TOTAL] += 1.0
    if deviation <= 0.0:
        return
    quantile, weight, excess = _tail_of(sketch)
    learnt = deviation if weight < 5.0 else min(deviation, quantile + _LEARNT_EXCESSES * excess)
    at = int(_place(learnt))
    sketch[at] += 1.0
    sketch[BINS + at] += learnt
    sketch[_TOP] = max(sketch[_TOP], at)


@compiled
def _place(deviation: float) -> float:
    """Return the bin of a deviation with its place inside the bin as the fraction."""
    octave = math.log2(deviation) - _LOWEST_OCTAVE
    return min(max(octave * _PER_OCTAVE, 0.0), BINS - 1e-6)


@compiled
def _tail_of(sketch: FloatArray) -> tuple[float, float, float]:
    """Return the 98 % quantile (a bin's lower edge), the weight above it, and the mean excess."""
    weight, total = 0.0, 0.0
    at = int(sketch[_TOP]) + 1
    lowest = at
    while at > 0 and weight < _TAIL * sketch[_TOTAL]:
        at -= 1
        if sketch[at] > 0.0:
            weight += sketch[at]
            total += sketch[BINS + at]
            lowest = at
    if weight == 0.0:
        return 0.0, 0.0, 0.0
    quantile = 2.0 ** (lowest / _PER_OCTAVE + _LOWEST_OCTAVE) if lowest > 0 else 0.0
    return quantile, weight, max(total / weight - quantile, _LEAST_EXCESS * quantile, 1e-12)
