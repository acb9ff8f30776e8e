"""What forecast errors are usual: size by hour of the day, memory, thresholds (constants of compiled code)."""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.drift.resampling import DAY_S, REPLICATES, WATCHED_DAYS, replicates, sum_threshold

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

HOURS: Final = 24
CAP: Final = 4.0
LEVEL, SURPRISE = 0, 1
LEAST_REFERENCE_DAYS: Final = 3.0
_LARGEST_MEMORY: Final = 0.95
_SMALLEST_SHARE: Final = 0.05
_TAME_MEDIANS: Final = 6.0
_BLOCKS_S: Final = (DAY_S, 4 * 3600)


class ErrorReference(NamedTuple):
    """What is usual, learnt from the reference.

    Attributes:
        first_s: UTC second of the first error after the reference.
        step_s: Seconds per error.
        usual: [24] usual absolute error by UTC hour of the day.
        memory: phi, the correlation of an error with the one before, 0..0.95; 0 if no error is negative.
        means: [2] mean capped scores in the reference, before they are divided by it.
        reference: k.
        thresholds: [2] of the two charts.
    """

    first_s: float
    step_s: float
    usual: FloatArray
    memory: float
    means: FloatArray
    reference: float
    thresholds: FloatArray


def learn_reference(
    errors: FloatArray, *, start_s: int, step_s: int, false_alarms_per_day: float, smallest_growth: float, seed: int
) -> ErrorReference:
    """Return what is usual in a good time (see ``forecasting.drift.errors``).

    Thresholds are the larger of two: one from resampled whole days, which keep a day's memory, and one from resampled
    blocks of four hours at their hour of the day, which a short reference can combine in more ways.

    Args:
        errors: float64[N], finite or NaN.
        start_s: UTC second of the first.
        step_s: Seconds per error.
        false_alarms_per_day: Alarms a day that errors like these may raise.
        smallest_growth: Growth to look for.
        seed: Chooses the resampled blocks.

    Raises:
        ValueError: Fewer than three days of known errors.
    """
    known = int(np.isfinite(errors).sum())
    needed = math.ceil(LEAST_REFERENCE_DAYS * DAY_S / step_s)
    if known < needed:
        raise ValueError(
            f"{known} known errors of {step_s} s; the reference needs {needed}, {LEAST_REFERENCE_DAYS:g} days"
        )
    hour = (start_s + step_s * np.arange(len(errors))) // 3600 % HOURS
    usual = _usual_by_hour(errors, hour)
    z = errors / usual[hour]
    memory = _memory(z)
    k = math.log(smallest_growth) / (1.0 - 1.0 / smallest_growth)
    allowed = 0.5 * false_alarms_per_day * REPLICATES * WATCHED_DAYS
    thresholds = np.zeros(2)
    for block_s in _BLOCKS_S:
        watched = _watched_scores(errors, hour, memory, step_s=step_s, block_s=block_s, seed=seed)
        found = [sum_threshold(chart, reference=k, alarms=allowed) for chart in watched]
        thresholds = np.maximum(thresholds, found)
    first_s = float(start_s + step_s * len(errors))
    return ErrorReference(first_s, float(step_s), usual, memory, _means(_scores(z, memory)), k, thresholds)


def _usual_by_hour(errors: FloatArray, hour: IntArray) -> FloatArray:
    """Return the usual absolute error of each hour of the day, smoothed over its neighbours, above 0.

    Usual is the mean of absolute errors, each counted at most as six medians of its hour.
    """
    sizes = np.abs(errors)
    overall = _tame_mean(sizes)
    usual = np.full(HOURS, overall)
    for which in range(HOURS):
        own = sizes[hour == which]
        if np.isfinite(own).any():
            usual[which] = _tame_mean(own)
    usual = 0.5 * usual + 0.25 * (np.roll(usual, 1) + np.roll(usual, -1))
    return np.maximum(usual, max(_SMALLEST_SHARE * overall, 1e-12))


def _watched_scores(
    errors: FloatArray, hour: IntArray, memory: float, *, step_s: int, block_s: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return the scores of both charts over resampled days, each replicate judged by its own reference."""
    found: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    for reference, watched in replicates(len(errors), step_s=step_s, block_s=block_s, seed=seed):
        if not np.isfinite(errors[reference]).any():
            continue
        usual = _usual_by_hour(errors[reference], hour[reference])
        means = _means(_scores(errors[reference] / usual[hour[reference]], memory))
        for chart, scores in enumerate(_scores(errors[watched] / usual[hour[watched]], memory)):
            found[chart].append(scores / means[chart])
    return np.concatenate(found[LEVEL]), np.concatenate(found[SURPRISE])


def _means(scores: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Return the mean score of each chart; at least 0.05, so that a perfect reference divides nothing by 0."""
    return np.array(
        [max(float(np.nanmean(chart)), _SMALLEST_SHARE) if np.isfinite(chart).any() else 1.0 for chart in scores]
    )


def _tame_mean(sizes: FloatArray) -> float:
    known = sizes[np.isfinite(sizes)]
    median = float(np.median(known))
    return float(np.minimum(known, _TAME_MEDIANS * median).mean()) if median > 0.0 else float(known.mean())


def _memory(z: FloatArray) -> float:
    """Return the correlation of capped errors with those before, 0..0.95; 0 if no error is negative."""
    if not (z < 0.0).any():
        return 0.0
    tame = np.clip(z, -CAP, CAP)
    both = np.isfinite(tame[1:]) & np.isfinite(tame[:-1])
    late, early = tame[1:][both], tame[:-1][both]
    power = float((early**2).sum())
    if power == 0.0:
        return 0.0
    return float(np.clip((late * early).sum() / power, 0.0, _LARGEST_MEMORY))


def _scores(z: FloatArray, memory: float) -> tuple[FloatArray, FloatArray]:
    """Return the capped scores of both charts, NaN where unknown."""
    before = np.concatenate(([math.nan], z[:-1]))
    innovation = 1.0 / math.sqrt(1.0 - memory * memory)
    return np.minimum(np.abs(z), CAP), np.minimum(innovation * np.abs(z - memory * before), CAP)
