"""What the pooled model knows of a series beside the seasonal profile: recent values, moving means, usual changes.

All of it is compiled and takes a fixed number of operations per value. Windows are hours, so that five-minute and
hourly series fill the same features. A missing value is held at the last one.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

MEAN_HOURS: Final = (0.25, 1.0, 4.0, 12.0, 24.0, 96.0)
CHANGE_HOURS: Final = (1.0, 6.0, 48.0)
DAY_CHANGE_HOURS: Final = 120.0
LONGEST_LEAD_S: Final = 14_400
"""Leads beyond it are left to the seasonal experts."""

_DAY_S: Final = 86_400
_SMOOTH_S: Final = 1_800
_LARGEST_RISE: Final = 1_000.0
_SEEN, _LAST, _DAY_CHANGE, _DAYS_COMPARED = range(4)


class MemorySettings(NamedTuple):
    """Lengths in steps: a day, half the smoothing window, and the rates of the moving means."""

    step_s: float
    day: int
    smooth: int
    mean_rates: FloatArray
    change_rates: FloatArray
    day_change_rate: float


class Memory(NamedTuple):
    """State. Letters: R slots of the ring.

    Attributes:
        scalars: values seen (missing ones count once something was seen), last value, moving mean of the change against
            the day before, how many of those were seen.
        ring: float64[R], the last values, by step modulo R; a week, the smoothing window and one more.
        running: float64[R], sums of all values up to each step, for the mean of a window.
        means: float64[6], moving means over MEAN_HOURS.
        changes: float64[3], moving means of the absolute change per step over CHANGE_HOURS.
    """

    scalars: FloatArray
    ring: FloatArray
    running: FloatArray
    means: FloatArray
    changes: FloatArray


def memory_settings(step_s: int) -> MemorySettings:
    """Return the lengths for a step of ``step_s`` seconds (1 to 3600)."""
    return MemorySettings(
        step_s=float(step_s),
        day=round(_DAY_S / step_s),
        smooth=max(1, _SMOOTH_S // step_s),
        mean_rates=np.minimum(1.0, step_s / 3600.0 / np.array(MEAN_HOURS)),
        change_rates=np.minimum(1.0, step_s / 3600.0 / np.array(CHANGE_HOURS)),
        day_change_rate=step_s / 3600.0 / DAY_CHANGE_HOURS,
    )


def empty_memory(settings: MemorySettings) -> Memory:
    """Return the memory of a series of which nothing was seen."""
    slots = 7 * settings.day + settings.smooth + 2
    return Memory(np.zeros(4), np.zeros(slots), np.zeros(slots), np.zeros(len(MEAN_HOURS)), np.zeros(len(CHANGE_HOURS)))


@compiled
def tame(memory: Memory, value: float) -> float:
    """Return the value as it is learned: at most a thousand times the mean of about four days."""
    scalars = memory.scalars
    if scalars[_SEEN] * memory.means[-1] > 0.0:
        return float(min(value, _LARGEST_RISE * memory.means[-1]))
    return value


@compiled
def remember(memory: Memory, settings: MemorySettings, value: float) -> None:
    """Take the value of the next step; NaN holds the last one. Nothing happens before the first known value."""
    scalars, slots = memory.scalars, len(memory.ring)
    if math.isnan(value):
        if scalars[_SEEN] == 0.0:
            return
        value = scalars[_LAST]
    step = int(scalars[_SEEN])
    for index in range(len(memory.means)):
        memory.means[index] += max(settings.mean_rates[index], 1.0 / (step + 1.0)) * (value - memory.means[index])
    if step > 0:
        change = abs(value - scalars[_LAST])
        for index in range(len(memory.changes)):
            memory.changes[index] += max(settings.change_rates[index], 1.0 / step) * (change - memory.changes[index])
    if step >= settings.day:
        scalars[_DAYS_COMPARED] += 1.0
        against_yesterday = abs(value - memory.ring[(step - settings.day) % slots])
        rate = max(settings.day_change_rate, 1.0 / scalars[_DAYS_COMPARED])
        scalars[_DAY_CHANGE] += rate * (against_yesterday - scalars[_DAY_CHANGE])
    before = memory.running[(step - 1) % slots] if step > 0 else 0.0
    memory.running[step % slots] = before + value
    memory.ring[step % slots] = value
    scalars[_SEEN] = step + 1.0
    scalars[_LAST] = value


@compiled
def spread_scale(memory: Memory, settings: MemorySettings) -> float:
    """Return the unit of the model's features and errors: what the series usually moves by, above 0."""
    scalars = memory.scalars
    daily = 0.7 * scalars[_DAY_CHANGE] if scalars[_SEEN] > 1.5 * settings.day else 0.0
    return float(daily + 0.9 * memory.changes[-1] + 0.01 * abs(memory.means[-1]) + 1e-12)


@compiled
def value_ago(memory: Memory, steps: int) -> float:
    """Return the value ``steps`` before the last one; NaN before the series began or beyond the ring."""
    seen = int(memory.scalars[_SEEN])
    if steps < 0 or steps >= seen or steps >= len(memory.ring):
        return math.nan
    return float(memory.ring[(seen - 1 - steps) % len(memory.ring)])


@compiled
def mean_around(memory: Memory, settings: MemorySettings, steps: int) -> float:
    """Return the mean from half an hour before to half an hour after the value ``steps`` ago, as far as it is known."""
    seen, slots = int(memory.scalars[_SEEN]), len(memory.ring)
    oldest, newest = steps + settings.smooth, max(steps - settings.smooth, 0)
    if oldest + 1 >= seen or oldest + 1 >= slots:
        return math.nan
    total = memory.running[(seen - 1 - newest) % slots] - memory.running[(seen - 2 - oldest) % slots]
    return float(total / (oldest - newest + 1))


@compiled
def steps_seen(memory: Memory) -> int:
    """Return how many steps were seen since the first known value."""
    return int(memory.scalars[_SEEN])


@compiled
def last_value(memory: Memory) -> float:
    """Return the last known value; 0 before any."""
    return float(memory.scalars[_LAST])
