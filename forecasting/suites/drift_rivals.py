"""Plain detectors of growing errors, to be read beside the project's own: they know no hour and no memory.

Both take absolute errors and believe them independent, as textbooks and stream libraries do.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

_OVERSHOOT: Final = 1.166
_HOUR_S: Final = 3600


def plain_cusum(
    reference: FloatArray, errors: FloatArray, *, step_s: int, false_alarms_per_day: float, growth: float
) -> npt.NDArray[np.bool_]:
    """Return the alarms of a CUSUM of hourly mean absolute errors, standardised by the whole reference.

    ``k`` is half of the growth to find, in standard deviations; the threshold has the wanted time between alarms for
    independent normal values by Siegmund's (1985) approximation ``(exp(2kb) - 2kb - 1) / (2 k^2)``, ``b = h + 1.166``.

    Args:
        reference: float64[N], errors of a good time.
        errors: float64[M], errors that follow.
        step_s: Seconds per error; an hour is whole steps.
        false_alarms_per_day: What the threshold is made for.
        growth: Growth of the error to find.

    Returns:
        bool[M], at the last step of the hour.
    """
    per_hour = _HOUR_S // step_s
    usual = _hourly(np.abs(reference), per_hour)
    center, spread = float(usual.mean()), float(usual.std())
    k = 0.5 * (growth - 1.0) * center / spread
    threshold = _siegmund(k, 24.0 / false_alarms_per_day)
    hours = _hourly(np.abs(errors), per_hour)
    alarms = np.zeros(len(errors), dtype=np.bool_)
    total = 0.0
    for hour, value in enumerate(hours):
        total = max(0.0, total + (value - center) / spread - k)
        if total > threshold:
            alarms[(hour + 1) * per_hour - 1] = True
            total = 0.0
    return alarms


def page_hinkley(
    reference: FloatArray, errors: FloatArray, *, allowance: float = 0.005, threshold: float = 50.0
) -> npt.NDArray[np.bool_]:
    """Return the alarms of a Page-Hinkley test of absolute errors over their mean in the reference.

    Allowance and threshold are what stream libraries preset. The test starts afresh at an alarm, its mean included.

    Args:
        reference: float64[N], errors of a good time; the test runs over them first.
        errors: float64[M], errors that follow.
        allowance: What is taken off each excess over the running mean.
        threshold: Rise of the sum over its least value that alarms.
    """
    sizes = np.abs(np.concatenate((reference, errors))) / np.abs(reference).mean()
    alarms = np.zeros(len(sizes), dtype=np.bool_)
    _page_hinkley(sizes, allowance, threshold, alarms)
    return alarms[len(reference) :]


def _hourly(sizes: FloatArray, per_hour: int) -> FloatArray:
    hours = len(sizes) // per_hour
    return np.asarray(sizes[: hours * per_hour].reshape(hours, per_hour).mean(axis=1))


def _siegmund(k: float, run_length: float) -> float:
    """Return the threshold with a mean run length, by bisection."""
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = 0.5 * (low + high)
        exponent = min(2.0 * k * (middle + _OVERSHOOT), 700.0)
        if (math.exp(exponent) - exponent - 1.0) / (2.0 * k * k) < run_length:
            low = middle
        else:
            high = middle
    return high


@compiled
def _page_hinkley(sizes: FloatArray, allowance: float, threshold: float, alarms: npt.NDArray[np.bool_]) -> None:
    count, mean, total, least = 0.0, 0.0, 0.0, 0.0
    for at in range(len(sizes)):
        count += 1.0
        mean += (sizes[at] - mean) / count
        total += sizes[at] - mean - allowance
        least = min(least, total)
        if total - least > threshold:
            alarms[at] = True
            count, mean, total, least = 0.0, 0.0, 0.0, 0.0
