"""The default detector of one series: nine calibrated streams, combined; a score, an extent, an alarm; compiled.

Score. The mean over streams of ``min(-log10 p, 6)`` (``combine="mean"``), or twelve times the share of streams with
``p <= 1 %`` (``combine="vote"``), is ``n``; the score is ``n / (n + 2)``, 0 ordinary, towards 1 the more unusual. A
missing value scores 0.

Extent. The same mean over the streams that remember how a series used to be (range of 28 days, level of a day, median,
season, volatility), smoothed over 12 hours: how far into something unusual the series is. It rises late and stays.

Event. The score where it is at least as high as all since the last event, or the last event is half a day old; else 0.
An alarm is an event above a threshold. For one stated threshold, with hysteresis, see ``forecasting.anomaly.alarm``.

The score of a value that was new once is lower the second time. Steps should be regular; an irregular series is read as
regular, as by the rest of this floor.
"""

import math
from typing import Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.alarm import ALARM_SIZE, AlarmRule, alarm_step, checked_rule
from forecasting.anomaly.streams import (
    SEEN,
    STREAMS,
    Streams,
    StreamSettings,
    empty_streams,
    observe,
    stream_settings,
)
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

DEFAULT_ON: Final = 0.5
DEFAULT_OFF: Final = 0.3
LEAST_EVENT: Final = 0.4
_HALF_SCORE: Final = 2.0
_LARGEST: Final = 6.0
_VOTE: Final = 2.0
_VOTE_SCALE: Final = 12.0
_LASTING: Final = tuple(STREAMS.index(name) for name in ("range_long", "ewma_slow", "robust", "season", "volatility"))
_EXTENT_H: Final = 12.0
_EVENT_REST_H: Final = 12.0
MEAN, _VOTES = range(2)
_COMBINE: Final = {"mean": MEAN, "vote": _VOTES}


class DetectorSettings(NamedTuple):
    """What does not change while a detector runs.

    Attributes:
        streams: Lengths of the streams.
        combine: 0 mean of tails, 1 votes.
        warm_up: Values learnt before the first score above 0.
        extent: Memory of the extent, steps.
        event_rest: Steps that an event silences lower ones.
        alarm: When an alarm starts and ends.
    """

    streams: StreamSettings
    combine: int
    warm_up: float
    extent: float
    event_rest: float
    alarm: AlarmRule


class DetectorState(NamedTuple):
    """What a detector has seen.

    Attributes:
        streams: State of the streams.
        rarities: float64[9], the newest ``-log10 p`` of each.
        outputs: float64[5], newest score, extent, event, then the score of the last event and its age in steps.
        alarm: float64[4], state of the alarm.
    """

    streams: Streams
    rarities: FloatArray
    outputs: FloatArray
    alarm: FloatArray


_SCORE, _EXTENT, _EVENT, _PEAK, _AGE = range(5)


class Reading(NamedTuple):
    """What a detector says of one value (floats), or of a series (arrays of one entry a value).

    Attributes:
        score: 0..1, how unusual the value is.
        extent: 0..1, how far into something unusual the series is.
        event: The score where something new happens, else 0.
        alarm: Whether the alarm is on.
        rarities: float64[..., 9], ``-log10 p`` of each stream of `STREAMS`.
    """

    score: npt.NDArray[np.float64] | float
    extent: npt.NDArray[np.float64] | float
    event: npt.NDArray[np.float64] | float
    alarm: npt.NDArray[np.bool_] | bool
    rarities: FloatArray


class AnomalyDetector:
    """Streaming detector of unusual values in a series (see the module for the formulae).

    Any real-valued series will do. An infinite or huge value counts as 1e15.

    Args:
        step_s: Seconds between values, 1 to 86,400.
        combine: ``mean`` of the tails or ``vote``.
        warm_up: Values learnt before the first score above 0, 2 or more.
        on: Score at which an alarm starts.
        off: Score below which it ends, after an hour.

    Raises:
        ValueError: a parameter outside its range.
    """

    def __init__(
        self,
        step_s: float = 300.0,
        *,
        combine: Literal["mean", "vote"] = "mean",
        warm_up: int = 100,
        on: float = DEFAULT_ON,
        off: float = DEFAULT_OFF,
    ) -> None:
        if warm_up < 2:
            raise ValueError(f"warm_up {warm_up} must be at least 2")
        if combine not in _COMBINE:
            raise ValueError(f"combine is {combine!r}; expected one of {', '.join(_COMBINE)}")
        streams = stream_settings(step_s)
        hour = max(round(3600.0 / step_s), 1)
        self.settings = DetectorSettings(
            streams=streams,
            combine=_COMBINE[combine],
            warm_up=float(warm_up),
            extent=max(_EXTENT_H * 3600.0 / step_s, 12.0),
            event_rest=max(_EVENT_REST_H * 3600.0 / step_s, 12.0),
            alarm=checked_rule(AlarmRule(on, off, float(hour), float(hour))),
        )
        self.state = _empty(self.settings)

    def fit(self, history: npt.ArrayLike) -> Self:
        """Learn ``history`` (float64[N]) from scratch and end at its last value."""
        self.state = _empty(self.settings)
        score_series(self, history)
        return self

    def update(self, value: float) -> float:
        """Take the next value and return its score, 0..1; a missing one (NaN) scores 0 and is not learnt.

        Missing values before the first known one do not count as time.
        """
        _step(self.state, self.settings, float(value))
        return float(self.state.outputs[_SCORE])

    def read(self, value: float) -> Reading:
        """Take the next value and return all there is to say about it."""
        on = _step(self.state, self.settings, float(value))
        score, extent, event = (float(self.state.outputs[at]) for at in (_SCORE, _EXTENT, _EVENT))
        return Reading(score, extent, event, bool(on), self.state.rarities.copy())


def score_series(detector: AnomalyDetector, values: npt.ArrayLike) -> FloatArray:
    """Feed a series and return the score of each value, float64[T], in one compiled call."""
    return np.asarray(read_series(detector, values).score)


def read_series(detector: AnomalyDetector, values: npt.ArrayLike) -> Reading:
    """Feed a series (float64[T]) and return all there is to say about each value, in one compiled call."""
    series = np.ascontiguousarray(values, dtype=np.float64)
    outputs = np.empty((3, len(series)))
    alarms = np.empty(len(series), dtype=np.bool_)
    rarities = np.empty((len(series), len(STREAMS)))
    _run(detector.state, detector.settings, series, outputs, alarms, rarities)
    return Reading(outputs[0], outputs[1], outputs[2], alarms, rarities)


def _empty(settings: DetectorSettings) -> DetectorState:
    outputs = np.zeros(5)
    outputs[_AGE] = settings.event_rest
    return DetectorState(empty_streams(settings.streams), np.zeros(len(STREAMS)), outputs, np.zeros(ALARM_SIZE))


def one_column(reading: Reading) -> FloatArray:
    """Return one score per value for readers with room for one: events in 0.7 to 1, elsewhere the extent in 0 to 0.5.

    A threshold above one half finds beginnings, one below it whole spans. Events under 0.4 are left to the extent.
    """
    event, extent = np.asarray(reading.event), np.asarray(reading.extent)
    return np.where(event >= LEAST_EVENT, 0.5 + 0.5 * event, 0.5 * extent)


@compiled
def combined(rarities: FloatArray, combine: int) -> float:
    """Return ``n``, the combination of the streams' ``-log10 p``."""
    total = 0.0
    for stream in range(len(rarities)):
        if combine == MEAN:
            total += min(rarities[stream], _LARGEST)
        elif rarities[stream] >= _VOTE:
            total += _VOTE_SCALE
    return total / len(rarities)


@compiled
def lasting(rarities: FloatArray) -> float:
    """Return the mean ``-log10 p`` of the streams that remember how a series used to be."""
    total = 0.0
    for stream in _LASTING:
        total += min(rarities[stream], _LARGEST)
    return total / len(_LASTING)


@compiled
def _step(state: DetectorState, settings: DetectorSettings, value: float) -> bool:
    if math.isnan(value) and state.streams.scalars[SEEN] == 0.0:
        return False
    observe(state.streams, settings.streams, value, state.rarities)
    outputs = state.outputs
    outputs[_AGE] += 1.0
    if state.streams.scalars[SEEN] <= settings.warm_up:
        return False
    rarity = combined(state.rarities, settings.combine)
    outputs[_SCORE] = rarity / (rarity + _HALF_SCORE)
    if not math.isnan(value):
        level = lasting(state.rarities)
        outputs[_EXTENT] += (level / (level + _HALF_SCORE) - outputs[_EXTENT]) / settings.extent
    outputs[_EVENT] = 0.0
    if outputs[_SCORE] > 0.0 and (outputs[_SCORE] >= outputs[_PEAK] or outputs[_AGE] >= settings.event_rest):
        outputs[_EVENT] = outputs[_PEAK] = outputs[_SCORE]
        outputs[_AGE] = 0.0
    return alarm_step(state.alarm, settings.alarm, outputs[_SCORE])


@compiled
def _run(
    state: DetectorState,
    settings: DetectorSettings,
    values: FloatArray,
    outputs: FloatArray,
    alarms: npt.NDArray[np.bool_],
    rarities: FloatArray,
) -> None:
    for index in range(len(values)):
        alarms[index] = _step(state, settings, values[index])
        outputs[0, index] = state.outputs[_SCORE]
        outputs[1, index] = state.outputs[_EXTENT]
        outputs[2, index] = state.outputs[_EVENT]
        rarities[index] = state.rarities
