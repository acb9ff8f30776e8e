"""Seven ways in which a value can be unlike those before it, as nine streams with O(1) state, compiled.

Every stream is measured against what was known before the value and learns it afterwards; then its deviation goes
through the calibration of ``forecasting.anomaly.tail``. Lengths are hours, at least a few steps. A missing value (NaN)
moves time on and teaches nothing.

==============  ====================================================================================================
stream          deviation
==============  ====================================================================================================
range_long      distance beyond the lowest or highest value of the last 28 days, over their range
range_short     the same over four days
ewma_fast       distance from a moving level of 2 h, over the moving mean distance
ewma_slow       the same over 24 h
robust          distance from the median so far, over the interquartile range so far (both followed by subgradient)
season          distance in log space from the profile of this time of day or week, over its mean
shift           mean of that residual over 1 h against 12 h, over the mean distance of the two
volatility      log ratio of the mean step-to-step change of 1 h to that of 24 h
flatline        how many steps the value has not moved, in a series that usually moves
==============  ====================================================================================================

The profile is the better (by recent error) of one by time of day and one by time of week, plus a level that follows
the residual over half a day. Values enter it as ``sign(v) * log1p(|v| / scale)``, with the scale a tenth of their
mean size, so drops to zero and negative values have a place.
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.tail import SKETCH_SIZE, learn, rarity
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

STREAMS: Final = (
    "range_long",
    "range_short",
    "ewma_fast",
    "ewma_slow",
    "robust",
    "season",
    "shift",
    "volatility",
    "flatline",
)
DEVIATIONS: Final = (*STREAMS, "residual", "residual_hour", "season_level")
"""What a stream state keeps of the newest value: the deviations with their sign, then log residuals without scaling."""

_RESIDUAL, _RESIDUAL_HOUR, _LEVEL = range(len(STREAMS), len(DEVIATIONS))
_RANGE_LONG, _RANGE_SHORT, _EWMA_FAST, _EWMA_SLOW, _ROBUST, _SEASON, _SHIFT, _VOLATILITY, _FLATLINE = range(9)

_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S
_SLOT_S: Final = 900.0
_BLOCKS: Final = 16
_LARGEST_VALUE: Final = 1e15
_LARGEST_DEVIATION: Final = 1e6
_LEAST_LOG_SPREAD: Final = 1e-4
_WEEK_HANDICAP: Final = 1.25
_ROBUST_START: Final = 64.0

# Slots of ``Streams.scalars``.
(
    STEP,
    SEEN,
    _LAST,
    _SIZE,
    _FAST_LEVEL,
    _FAST_SPREAD,
    _SLOW_LEVEL,
    _SLOW_SPREAD,
    _LOW,
    _MIDDLE,
    _HIGH,
    _ROBUST_SPREAD,
    _SEASON_LEVEL,
    _SEASON_SPREAD,
    _DAY_ERROR,
    _WEEK_ERROR,
    _SHIFT_FAST,
    _SHIFT_SLOW,
    _SHIFT_SPREAD,
    _CHANGE_FAST,
    _CHANGE_SLOW,
    _RUN,
    _STILL,
    _RESIDUALS,
) = range(24)
_SCALARS: Final = 24


class StreamSettings(NamedTuple):
    """Lengths in steps.

    Attributes:
        step_s: Seconds a step.
        range_long: Steps a block of the long range holds.
        range_short: Steps a block of the short range holds.
        fast: Memory of the fast level.
        slow: Memory of the slow level.
        hour: Memory of the short side of shift and volatility.
        half_day: Memory of the long side of the shift and of the seasonal level.
        visit_rate: Weight of one step in its slot of a profile.
        sketch: Deviations until a calibration fades.
    """

    step_s: float
    range_long: float
    range_short: float
    fast: float
    slow: float
    hour: float
    half_day: float
    visit_rate: float
    sketch: float


class Streams(NamedTuple):
    """State of one series. Letters: S streams, D slots a day, K slots a week, B blocks.

    Attributes:
        scalars: float64[24], levels and spreads.
        day: float64[2, D], profile of the day and visits of each slot.
        week: float64[2, K], the same for the week.
        ranges: float64[2, 2, B], least and greatest value of each block, of the long and the short window.
        sketches: float64[S, SKETCH_SIZE].
        signed: float64[12], `DEVIATIONS` of the newest value, with their direction where they have one.
    """

    scalars: FloatArray
    day: FloatArray
    week: FloatArray
    ranges: FloatArray
    sketches: FloatArray
    signed: FloatArray


def stream_settings(step_s: float) -> StreamSettings:
    """Return the lengths of all streams for steps of ``step_s`` seconds.

    Raises:
        ValueError: a step outside 1 s .. 1 day.
    """
    if not 1.0 <= step_s <= _DAY_S:
        raise ValueError(f"step_s is {step_s}; expected 1 to {_DAY_S:.0f} seconds")
    hours = 3600.0 / step_s
    per_visit = max(_SLOT_S / step_s, 1.0)
    return StreamSettings(
        step_s=float(step_s),
        range_long=max(math.ceil(28 * 24 * hours / _BLOCKS), 16),
        range_short=max(math.ceil(4 * 24 * hours / _BLOCKS), 4),
        fast=max(2.0 * hours, 6.0),
        slow=max(24.0 * hours, 24.0),
        hour=max(1.0 * hours, 4.0),
        half_day=max(12.0 * hours, 16.0),
        visit_rate=1.0 - 0.7 ** (1.0 / per_visit),
        sketch=max(28 * 24 * hours, 2000.0),
    )


def empty_streams(settings: StreamSettings) -> Streams:
    """Return the state before the first value."""
    slot_s = max(_SLOT_S, settings.step_s)
    ranges = np.empty((2, 2, _BLOCKS))
    ranges[:, 0], ranges[:, 1] = np.inf, -np.inf
    return Streams(
        scalars=np.zeros(_SCALARS),
        day=np.zeros((2, math.ceil(_DAY_S / slot_s))),
        week=np.zeros((2, math.ceil(_WEEK_S / slot_s))),
        ranges=ranges,
        sketches=np.zeros((len(STREAMS), SKETCH_SIZE)),
        signed=np.zeros(len(DEVIATIONS)),
    )


def stream_bank(settings: StreamSettings, metrics: int) -> Streams:
    """Return the states of several metrics before their first values: every array with a leading axis of metrics.

    Raises:
        ValueError: no metric.
    """
    if metrics < 1:
        raise ValueError(f"a bank of streams needs at least 1 metric, got {metrics}")
    return Streams(*(np.repeat(array[None], metrics, axis=0) for array in empty_streams(settings)))


@compiled
def observe(state: Streams, settings: StreamSettings, value: float, rarities: FloatArray) -> None:
    """Take the next value and write how rare it is in each stream (``-log10 p``) into ``rarities`` (float64[S])."""
    scalars = state.scalars
    rarities[:] = 0.0
    state.signed[:] = 0.0
    if math.isnan(value):
        scalars[STEP] += 1.0
        return
    value = min(max(value, -_LARGEST_VALUE), _LARGEST_VALUE)
    if scalars[SEEN] == 0.0:
        scalars[_LAST] = scalars[_FAST_LEVEL] = scalars[_SLOW_LEVEL] = value
        scalars[_LOW] = scalars[_MIDDLE] = scalars[_HIGH] = value
        scalars[_SIZE] = abs(value)
    scalars[SEEN] += 1.0
    _ranges(state, settings, value)
    _levels(state, settings, value)
    _robust(state, value)
    _season(state, settings, value)
    _changes(state, settings, value)
    for stream in range(len(rarities)):
        deviation = min(abs(state.signed[stream]), _LARGEST_DEVIATION)
        rarities[stream] = rarity(state.sketches[stream], deviation)
        if scalars[SEEN] > settings.hour:
            learn(state.sketches[stream], deviation, settings.sketch)
    scalars[_LAST] = value
    scalars[STEP] += 1.0


@compiled
def _rate(state: Streams, memory: float) -> float:
    return float(max(1.0 / state.scalars[SEEN], 1.0 / memory))


@compiled
def _floor(state: Streams) -> float:
    """Return the least difference that counts as one, from rounding to a millionth of the size of values."""
    return float(1e-6 * state.scalars[_SIZE] + 1e-12)


@compiled
def _ranges(state: Streams, settings: StreamSettings, value: float) -> None:
    step = state.scalars[STEP]
    for at, length in ((0, settings.range_long), (1, settings.range_short)):
        lows, highs = state.ranges[at, 0], state.ranges[at, 1]
        block = int(step // length) % _BLOCKS
        if step % length == 0.0:
            lows[block], highs[block] = np.inf, -np.inf
        low, high = lows.min(), highs.max()
        if low <= high:
            span = high - low + _floor(state)
            if value > high:
                state.signed[at] = (value - high) / span
            elif value < low:
                state.signed[at] = (value - low) / span
        lows[block], highs[block] = min(lows[block], value), max(highs[block], value)


@compiled
def _levels(state: Streams, settings: StreamSettings, value: float) -> None:
    scalars = state.scalars
    scalars[_SIZE] += _rate(state, settings.sketch) * (min(abs(value), 10.0 * scalars[_SIZE] + 1.0) - scalars[_SIZE])
    for stream, level, memory in ((_EWMA_FAST, _FAST_LEVEL, settings.fast), (_EWMA_SLOW, _SLOW_LEVEL, settings.slow)):
        gap = value - scalars[level]
        spread = scalars[level + 1] + _floor(state)
        state.signed[stream] = gap / spread if scalars[SEEN] > 3.0 else 0.0
        rate = _rate(state, memory)
        tame = gap if scalars[SEEN] < settings.hour else min(max(gap, -8.0 * spread), 8.0 * spread)
        scalars[level] += rate * gap
        scalars[level + 1] += rate * (abs(tame) - scalars[level + 1])


@compiled
def _robust(state: Streams, value: float) -> None:
    scalars = state.scalars
    width = scalars[_HIGH] - scalars[_LOW]
    gap = value - scalars[_MIDDLE]
    spread = width + 0.1 * scalars[_ROBUST_SPREAD] + _floor(state)
    state.signed[_ROBUST] = gap / spread if scalars[SEEN] > _ROBUST_START else 0.0
    scalars[_ROBUST_SPREAD] += (min(abs(gap), 20.0 * spread) - scalars[_ROBUST_SPREAD]) / scalars[SEEN]
    pace = (scalars[_ROBUST_SPREAD] + _floor(state)) * max(4.0 / (scalars[SEEN] + 3.0), 0.004)
    for at, share in ((_LOW, 0.25), (_MIDDLE, 0.5), (_HIGH, 0.75)):
        scalars[at] += pace * (share - 1.0 if value < scalars[at] else share if value > scalars[at] else 0.0)
    scalars[_LOW] = min(scalars[_LOW], scalars[_MIDDLE])
    scalars[_HIGH] = max(scalars[_HIGH], scalars[_MIDDLE])


@compiled
def _log_like(value: float, scale: float) -> float:
    return math.copysign(math.log1p(abs(value) / scale), value)


@compiled
def _season(state: Streams, settings: StreamSettings, value: float) -> None:
    """Score a value against the profiles and teach them; profiles hold values in the unit of the series."""
    scalars = state.scalars
    slot_s = max(_SLOT_S, settings.step_s)
    elapsed_s = scalars[STEP] * settings.step_s
    scale = 0.1 * scalars[_SIZE] + 1e-12
    z = _log_like(value, scale)
    day, week = int(elapsed_s % _DAY_S / slot_s), int(elapsed_s % _WEEK_S / slot_s)
    by_day = _log_like(state.day[0, day], scale)
    by_week = _log_like(state.week[0, week], scale)
    weekly = state.week[1, week] > 0.0 and scalars[_WEEK_ERROR] < scalars[_DAY_ERROR]
    if state.day[1, day] > 0.0 and elapsed_s >= _DAY_S:
        residual = z - (by_week if weekly else by_day)
        rate = _rate(state, settings.slow * 3.0)
        scalars[_DAY_ERROR] += rate * (min(abs(z - by_day), 3.0) - scalars[_DAY_ERROR])
        if state.week[1, week] > 0.0 and elapsed_s >= _WEEK_S:
            scalars[_WEEK_ERROR] += rate * (min(abs(z - by_week), 3.0) - scalars[_WEEK_ERROR])
        else:
            scalars[_WEEK_ERROR] = _WEEK_HANDICAP * scalars[_DAY_ERROR]
        _residual(state, settings, residual)
    _teach(state.day, day, value, z, scale, settings.visit_rate)
    _teach(state.week, week, value, z, scale, settings.visit_rate * 1.5)


@compiled
def _teach(profile: FloatArray, slot: int, value: float, z: float, scale: float, visit_rate: float) -> None:
    """Move a slot towards a value in log space; the first visits are averaged."""
    profile[1, slot] += 1.0
    if profile[1, slot] == 1.0:
        profile[0, slot] = value
        return
    old = _log_like(profile[0, slot], scale)
    moved = old + max(1.0 / profile[1, slot], visit_rate) * min(max(z - old, -1.0), 1.0)
    profile[0, slot] = math.copysign(math.expm1(min(abs(moved), 60.0)) * scale, moved)


@compiled
def _residual(state: Streams, settings: StreamSettings, residual: float) -> None:
    """Score a seasonal residual against its level, and its mean of an hour against that of half a day."""
    scalars = state.scalars
    scalars[_RESIDUALS] += 1.0
    seen = scalars[_RESIDUALS]
    gap = residual - scalars[_SEASON_LEVEL]
    state.signed[_SEASON] = _against(state, settings, _SEASON_SPREAD, gap)
    scalars[_SEASON_LEVEL] += max(1.0 / seen, 1.0 / settings.half_day) * gap
    scalars[_SHIFT_FAST] += max(1.0 / seen, 1.0 / settings.hour) * (residual - scalars[_SHIFT_FAST])
    difference = scalars[_SHIFT_FAST] - scalars[_SHIFT_SLOW]
    state.signed[_SHIFT] = _against(state, settings, _SHIFT_SPREAD, difference)
    scalars[_SHIFT_SLOW] += max(1.0 / seen, 1.0 / settings.half_day) * (residual - scalars[_SHIFT_SLOW])
    state.signed[_RESIDUAL] = gap
    state.signed[_RESIDUAL_HOUR] = difference
    state.signed[_LEVEL] = scalars[_SEASON_LEVEL]


@compiled
def _against(state: Streams, settings: StreamSettings, slot: int, gap: float) -> float:
    """Return a gap over its mean size so far, 0 for the first hour; then learn it, cut at eight times that size."""
    seen = state.scalars[_RESIDUALS]
    spread = state.scalars[slot] + _LEAST_LOG_SPREAD
    known = seen > settings.hour
    tame = min(abs(gap), 8.0 * spread) if known else abs(gap)
    state.scalars[slot] += max(1.0 / seen, 0.5 / settings.slow) * (tame - state.scalars[slot])
    return gap / spread if known else 0.0


@compiled
def _changes(state: Streams, settings: StreamSettings, value: float) -> None:
    scalars = state.scalars
    change = abs(value - scalars[_LAST])
    scalars[_CHANGE_FAST] += _rate(state, settings.hour) * (change - scalars[_CHANGE_FAST])
    if scalars[SEEN] > settings.hour and scalars[_CHANGE_SLOW] > _floor(state):
        ratio = (scalars[_CHANGE_FAST] + _floor(state)) / scalars[_CHANGE_SLOW]
        state.signed[_VOLATILITY] = math.log(ratio)
    tame = min(change, 20.0 * scalars[_CHANGE_SLOW]) if scalars[SEEN] > settings.hour else change
    tame = max(tame, 0.01 * change) if scalars[_CHANGE_SLOW] <= _floor(state) else tame
    scalars[_CHANGE_SLOW] += _rate(state, settings.slow) * (tame - scalars[_CHANGE_SLOW])
    still = change <= _floor(state)
    scalars[_RUN] = scalars[_RUN] + 1.0 if still else 0.0
    if scalars[_STILL] < 0.5:
        state.signed[_FLATLINE] = max(scalars[_RUN] - 2.0, 0.0) * (1.0 - scalars[_STILL])
    scalars[_STILL] += _rate(state, settings.slow) * ((1.0 if still else 0.0) - scalars[_STILL])


@compiled
def of_metric(bank: Streams, metric: int) -> Streams:
    """Return the state of one metric of a bank, sharing its memory."""
    return Streams(
        bank.scalars[metric],
        bank.day[metric],
        bank.week[metric],
        bank.ranges[metric],
        bank.sketches[metric],
        bank.signed[metric],
    )


@compiled
def observe_row(bank: Streams, settings: StreamSettings, row: FloatArray, rarities: FloatArray) -> None:
    """Take one value of each metric (float64[M]) and write rarities (float64[M, 9])."""
    for metric in range(len(row)):
        observe(of_metric(bank, metric), settings, row[metric], rarities[metric])


@compiled
def observe_table(
    bank: Streams, settings: StreamSettings, rows: FloatArray, rarities: FloatArray, signed: FloatArray
) -> None:
    """Take a table (float64[T, M]) and write rarities (float64[T, M, 9]) and deviations (float64[T, M, 12])."""
    for index in range(len(rows)):
        observe_row(bank, settings, rows[index], rarities[index])
        signed[index] = bank.signed
