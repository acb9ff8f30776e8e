"""From a score to alarms: hysteresis and a refractory period, O(1) per row, compiled.

An alarm starts where the score reaches ``on`` and ends after the score has stayed below ``off`` for ``hold`` rows.
For ``rest`` rows after its end no new one starts, unless the score passes the highest one of the last alarm.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

# Slots of an alarm's state: in alarm, rows below the lower threshold, rows of rest left, highest score of the alarm.
_ON, _BELOW, _REST, _PEAK = range(4)
ALARM_SIZE = 4


class AlarmRule(NamedTuple):
    """When an alarm starts and ends.

    Attributes:
        on: Score at which it starts.
        off: Score below which it may end, at most ``on``.
        hold: Rows below ``off`` that end it, 1 or more.
        rest: Rows after its end without a new one, 0 or more.
    """

    on: float
    off: float
    hold: float
    rest: float


def checked_rule(rule: AlarmRule) -> AlarmRule:
    """Return the rule.

    Raises:
        ValueError: thresholds out of order, or negative lengths.
    """
    if not rule.off <= rule.on or rule.hold < 1.0 or rule.rest < 0.0:
        raise ValueError(f"{rule}: off must not exceed on, hold must be 1 or more, rest 0 or more")
    return rule


def alarms(scores: npt.ArrayLike, rule: AlarmRule) -> npt.NDArray[np.bool_]:
    """Return bool[T], whether each row of a series of scores is in alarm."""
    series = np.ascontiguousarray(scores, dtype=np.float64)
    on = np.zeros(len(series), dtype=np.bool_)
    _alarm_all(np.zeros(ALARM_SIZE), checked_rule(rule), series, on)
    return on


@compiled
def alarm_step(state: FloatArray, rule: AlarmRule, score: float) -> bool:
    """Take the score of the next row and return whether it is in alarm; ``state`` is float64[ALARM_SIZE]."""
    if state[_ON] > 0.0:
        state[_PEAK] = max(state[_PEAK], score)
        state[_BELOW] = state[_BELOW] + 1.0 if score < rule.off else 0.0
        if state[_BELOW] >= rule.hold:
            state[_ON], state[_BELOW], state[_REST] = 0.0, 0.0, rule.rest
            return False
        return True
    resting = state[_REST] > 0.0
    state[_REST] = max(state[_REST] - 1.0, 0.0)
    if score >= rule.on and not (resting and score <= state[_PEAK]):
        state[_ON], state[_BELOW], state[_PEAK] = 1.0, 0.0, score
        return True
    return False


@compiled
def _alarm_all(state: FloatArray, rule: AlarmRule, scores: FloatArray, on: npt.NDArray[np.bool_]) -> None:
    for index in range(len(scores)):
        on[index] = alarm_step(state, rule, scores[index])
