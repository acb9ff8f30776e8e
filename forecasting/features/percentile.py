"""The exact 95th percentile of a sliding window in logarithmic work per reading (compiled).

Two heaps share the window's readings: the lower part with its greatest on top, the upper part with its least on top.
Every slot of the window knows where it lies, so that the oldest reading can be taken out of the middle of a heap. The
percentile lies between the two tops.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL: Final = 0.95
_LOWER, _UPPER = 0, 1


@compiled
def _before(values: FloatArray, side: int, first: int, second: int) -> bool:
    """Return whether a slot belongs nearer the top of a heap than another."""
    if side == _LOWER:
        return bool(values[first] > values[second])
    return bool(values[first] < values[second])


@compiled
def _rise(values: FloatArray, heap: IntArray, places: IntArray, side: int, at: int) -> int:
    """Lift the slot at a place of a heap as far as it belongs and return its new place."""
    slot = heap[at]
    while at > 0 and _before(values, side, slot, heap[(at - 1) // 2]):
        parent = (at - 1) // 2
        heap[at] = heap[parent]
        places[heap[at]] = at
        at = parent
    heap[at] = slot
    places[slot] = at
    return at


@compiled
def _sink(values: FloatArray, heap: IntArray, places: IntArray, side: int, at: int, size: int) -> None:
    """Lower the slot at a place of a heap as far as it belongs."""
    slot = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _before(values, side, heap[child + 1], heap[child]):
            child += 1
        if not _before(values, side, heap[child], slot):
            break
        heap[at] = heap[child]
        places[heap[at]] = at
        at = child
    heap[at] = slot
    places[slot] = at


@compiled
def _put(values: FloatArray, heaps: IntArray, places: IntArray, sides: IntArray, sizes: IntArray, slot: int) -> None:
    """Put a slot into the heap that ``sides`` names."""
    side = sides[slot]
    heaps[side, sizes[side]] = slot
    sizes[side] += 1
    _rise(values, heaps[side], places, side, sizes[side] - 1)


@compiled
def _take(values: FloatArray, heaps: IntArray, places: IntArray, sides: IntArray, sizes: IntArray, slot: int) -> None:
    """Take a slot out of its heap."""
    side, at = sides[slot], places[slot]
    heap = heaps[side]
    sizes[side] -= 1
    last = heap[sizes[side]]
    if last != slot:
        heap[at] = last
        places[last] = at
        at = _rise(values, heap, places, side, at)
        _sink(values, heap, places, side, at, sizes[side])


@compiled
def replace_oldest(
    values: FloatArray, heaps: IntArray, places: IntArray, sides: IntArray, sizes: IntArray, row: int, value: float
) -> None:
    """Let the reading of a row take the place of the one a window's width ago.

    Args:
        values: [width] readings by row modulo width, NaN where missing or not yet there.
        heaps: [2, width] slots, lower and upper part.
        places: [width] where in its heap each slot lies.
        sides: [width] which heap that is.
        sizes: [2] slots in each heap.
        row: Number of the row.
        value: Its reading; NaN is a missing one.
    """
    slot = row % len(values)
    if not math.isnan(values[slot]):
        _take(values, heaps, places, sides, sizes, slot)
    values[slot] = value
    if not math.isnan(value):
        sides[slot] = _LOWER
        if sizes[_UPPER] > 0 and value >= values[heaps[_UPPER, 0]]:
            sides[slot] = _UPPER
        _put(values, heaps, places, sides, sizes, slot)
    count = sizes[_LOWER] + sizes[_UPPER]
    wanted = math.floor(LEVEL * (count - 1)) + 1 if count > 0 else 0
    while sizes[_LOWER] != wanted:
        source = _LOWER if sizes[_LOWER] > wanted else _UPPER
        moved = heaps[source, 0]
        _take(values, heaps, places, sides, sizes, moved)
        sides[moved] = _UPPER if source == _LOWER else _LOWER
        _put(values, heaps, places, sides, sizes, moved)


@compiled
def percentile(values: FloatArray, heaps: IntArray, sizes: IntArray, least_count: float) -> float:
    """Return the percentile, interpolated between neighbours; NaN where too few readings are known."""
    count = sizes[_LOWER] + sizes[_UPPER]
    if count < least_count or count == 0:
        return math.nan
    low = values[heaps[_LOWER, 0]]
    rank = LEVEL * (count - 1)
    share = rank - math.floor(rank)
    if share == 0.0 or sizes[_UPPER] == 0:
        return float(low)
    return float(low + share * (values[heaps[_UPPER, 0]] - low))
