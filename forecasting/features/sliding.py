"""Statistics of a sliding window in constant work per reading, without ever subtracting (compiled).

A window is kept as two stacks. Readings since the last turn are merged into one aggregate; those before it have one
aggregate for every suffix, so that dropping the oldest reading is stepping to the next suffix. When no suffix is left
the window is turned: the suffixes of all its readings are made at once. A reading is merged at most twice, so the work
is constant on average and one pass over the window at a turn. Nothing is subtracted, so an outlier leaves no rounding
error behind once it has left the window, and sums never drift.

An aggregate is (count, mean, sum of squares about it, least, greatest, mean position, sum of squares of positions,
sum of products of position and value), merged as Chan, Golub & LeVeque (1983) merge variances. Positions are rows,
counted from the turn so that they stay small.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

FIELDS: Final = 8
_COUNT, _MEAN, _SQUARES, _LEAST, _GREATEST, _PLACE, _PLACE_SQUARES, _PRODUCTS = range(FIELDS)
MEAN, STD, MIN, MAX, P95, TREND = range(6)
"""Codes of the statistics, in the order of ``definitions.STATISTICS``."""


@compiled
def clear(aggregate: FloatArray) -> None:
    """Make an aggregate empty."""
    aggregate[:] = 0.0
    aggregate[_LEAST] = math.inf
    aggregate[_GREATEST] = -math.inf


@compiled
def _set_single(aggregate: FloatArray, value: float, place: float) -> None:
    clear(aggregate)
    if not math.isnan(value):
        aggregate[_COUNT] = 1.0
        aggregate[_MEAN] = value
        aggregate[_LEAST] = value
        aggregate[_GREATEST] = value
        aggregate[_PLACE] = place


@compiled
def merge(into: FloatArray, other: FloatArray) -> None:
    """Merge ``other`` into ``into``; the order does not matter."""
    if other[_COUNT] == 0.0:
        return
    if into[_COUNT] == 0.0:
        into[:] = other
        return
    total = into[_COUNT] + other[_COUNT]
    apart = other[_MEAN] - into[_MEAN]
    places_apart = other[_PLACE] - into[_PLACE]
    share = other[_COUNT] / total
    weight = into[_COUNT] * share
    into[_SQUARES] += other[_SQUARES] + apart * apart * weight
    into[_PLACE_SQUARES] += other[_PLACE_SQUARES] + places_apart * places_apart * weight
    into[_PRODUCTS] += other[_PRODUCTS] + apart * places_apart * weight
    into[_MEAN] += apart * share
    into[_PLACE] += places_apart * share
    into[_COUNT] = total
    into[_LEAST] = min(into[_LEAST], other[_LEAST])
    into[_GREATEST] = max(into[_GREATEST], other[_GREATEST])


@compiled
def slide(
    suffixes: FloatArray, newest: FloatArray, single: FloatArray, readings: FloatArray, row: int, turned: int
) -> int:
    """Take the reading of a row into a window.

    Args:
        suffixes: [width, FIELDS] aggregates of the readings before the last turn, by row modulo width.
        newest: [FIELDS] aggregate of the readings since.
        single: [FIELDS] working space.
        readings: [R] ring of readings by row modulo R, the row's own included; R is at least the width.
        row: Number of the row, 0 first.
        turned: First row since the last turn.

    Returns:
        The new value of ``turned``.
    """
    width = len(suffixes)
    _set_single(single, readings[row % len(readings)], float(row - turned))
    merge(newest, single)
    oldest = row - width + 1
    if oldest < turned:
        return turned
    turned = row + 1
    for earlier in range(row, oldest - 1, -1):
        suffix = suffixes[earlier % width]
        _set_single(suffix, readings[earlier % len(readings)], float(earlier - turned))
        if earlier < row:
            merge(suffix, suffixes[(earlier + 1) % width])
    clear(newest)
    return turned


@compiled
def window_aggregate(suffixes: FloatArray, newest: FloatArray, row: int, turned: int, into: FloatArray) -> None:
    """Write the aggregate of the window that ends at ``row`` into ``into``."""
    into[:] = newest
    oldest = row - len(suffixes) + 1
    if 0 <= oldest < turned:
        merge(into, suffixes[oldest % len(suffixes)])


@compiled
def statistic(aggregate: FloatArray, code: int, least_count: float, rows_per_hour: float) -> float:
    """Return a statistic of an aggregate, NaN where too few readings are known; :data:`P95` is not one of them.

    Args:
        aggregate: [FIELDS].
        code: One of the module's codes.
        least_count: Readings that have to be known.
        rows_per_hour: Turns a slope per row into one per hour.
    """
    count = aggregate[_COUNT]
    if count < least_count:
        return math.nan
    if code == MEAN:
        return float(aggregate[_MEAN])
    if code == MIN:
        return float(aggregate[_LEAST])
    if code == MAX:
        return float(aggregate[_GREATEST])
    if count < 2.0:
        return math.nan
    if code == STD:
        return math.sqrt(aggregate[_SQUARES] / (count - 1.0))
    return float(aggregate[_PRODUCTS] / aggregate[_PLACE_SQUARES] * rows_per_hour)
