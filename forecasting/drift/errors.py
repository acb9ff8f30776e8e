"""Drift of forecast errors: a cumulative sum of errors that are normal for their hour of the day (compiled).

``z = e / s[h]``: the error over the usual absolute error of its hour of the day in the reference. Two charts sum how
far errors exceed the usual, each with scores of mean 1 in the reference:

- level: ``min(|z|, 4)``, which sees any growth, a lasting bias included;
- surprise: ``min(|z - phi z'| / sqrt(1 - phi^2), 4)``, what the error before (``z'``) does not
  explain. Forecast errors follow each other closely; without that memory a change of scale shows sooner.

Each chart is ``S = max(0, S + score - k)`` with ``k = log(g) / (1 - 1 / g)``, the best for a growth by ``g`` of
exponential errors, and alarms above a threshold that days of the reference, resampled, pass at half the allowed rate.
After an alarm both start again at 0. The cap keeps single outliers from alarming; a missing error (NaN) changes
nothing.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from forecasting.drift.reference import CAP, HOURS, LEVEL, SURPRISE, ErrorReference, learn_reference
from forecasting.drift.resampling import sum_step
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

# Slots of the state.
_ROW, _BEFORE, _LEVEL_SUM, _SURPRISE_SUM = range(4)


class ErrorDrift:
    """Detector of growing forecast errors (see the module for the formulae); constant work per error.

    Args:
        step_s: Seconds per error, 1 to 3600.
        false_alarms_per_day: Alarms a day that errors like those of the reference may raise.
        smallest_growth: Growth of the error that it looks for; larger ones are found sooner.
        seed: Chooses the resampled days.

    Raises:
        ValueError: A parameter out of range.
    """

    def __init__(
        self, *, step_s: int, false_alarms_per_day: float = 0.015, smallest_growth: float = 1.3, seed: int = 0
    ) -> None:
        if not 1 <= step_s <= 3600:
            raise ValueError(f"step_s is {step_s}; expected 1 to 3600 seconds")
        if not 0.001 <= false_alarms_per_day <= 10.0:
            raise ValueError(f"false_alarms_per_day is {false_alarms_per_day}; expected 0.001 to 10")
        if not 1.0 < smallest_growth <= 10.0:
            raise ValueError(f"smallest_growth is {smallest_growth}; expected above 1, up to 10")
        self.step_s = step_s
        self.false_alarms_per_day = false_alarms_per_day
        self.smallest_growth = smallest_growth
        self.seed = seed
        self.reference: ErrorReference | None = None
        self._state = np.zeros(4)

    def fit(self, errors: npt.ArrayLike, *, start_s: int) -> Self:
        """Learn what is usual from the errors of a good time and go on after the last one.

        Args:
            errors: float64[N], signed (actual minus forecast) or absolute, one per step; NaN is missing. Two weeks are
                good, three days needed.
            start_s: UTC second of the first.

        Raises:
            ValueError: Fewer than three days of known errors, or an infinite one.
        """
        values = _checked(errors)
        self.reference = learn_reference(
            values,
            start_s=start_s,
            step_s=self.step_s,
            false_alarms_per_day=self.false_alarms_per_day,
            smallest_growth=self.smallest_growth,
            seed=self.seed,
        )
        self._state = np.zeros(4)
        self._state[_BEFORE] = values[-1] / self.reference.usual[_hour(-1.0, self.reference)]
        return self

    def update(self, error: float) -> bool:
        """Take the error of the next step and return whether it raises an alarm; NaN is a missing error.

        Raises:
            ValueError: An infinite error, or there is no reference yet.
        """
        return bool(self.run([error])[0])

    def run(self, errors: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Take the errors of several steps and return whether each raises an alarm, bool[N]."""
        values = _checked(errors)
        alarms = np.zeros(len(values), dtype=np.bool_)
        _run(self._state, self._known(), values, alarms)
        return alarms

    @property
    def pressure(self) -> float:
        """How near the nearer chart is to its threshold, 0..1."""
        sums = self._state[_LEVEL_SUM:]
        return float((sums / self._known().thresholds).max())

    def usual_errors(self, steps: int = 1) -> FloatArray:
        """Return the usual absolute error of each of the next steps, in the errors' unit and above 0.

        A negative number of steps gives those of so many steps before, oldest first.
        """
        known = self._known()
        rows = self._state[_ROW] + (np.arange(steps) if steps >= 0 else np.arange(steps, 0))
        hour = ((known.first_s + rows * known.step_s) // 3600.0).astype(np.int64) % HOURS
        return np.asarray(known.usual[hour] * known.means[LEVEL])

    def as_json(self) -> dict[str, Any]:
        """Return parameters, reference and state as JSON values."""
        known = self._known()
        return {
            "step_s": self.step_s,
            "false_alarms_per_day": self.false_alarms_per_day,
            "smallest_growth": self.smallest_growth,
            "seed": self.seed,
            "reference": {
                name: value.tolist() if isinstance(value, np.ndarray) else value
                for name, value in known._asdict().items()
            },
            "row": self._state[_ROW],
            "before": None if math.isnan(self._state[_BEFORE]) else self._state[_BEFORE],
            "sums": self._state[_LEVEL_SUM:].tolist(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the detector that :meth:`as_json` described.

        Raises:
            ValueError: The content is not one.
        """
        try:
            detector = cls(
                step_s=content["step_s"],
                false_alarms_per_day=content["false_alarms_per_day"],
                smallest_growth=content["smallest_growth"],
                seed=content["seed"],
            )
            fields: dict[str, Any] = {
                name: np.array(value, dtype=np.float64) if isinstance(value, list) else float(value)
                for name, value in content["reference"].items()
            }
            reference = ErrorReference(**fields)
            before = math.nan if content["before"] is None else content["before"]
            state = np.array([content["row"], before, *content["sums"]], dtype=np.float64)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a detector of error drift: {error!r}") from error
        if reference.usual.shape != (HOURS,) or reference.thresholds.shape != (2,) or state.shape != (4,):
            raise ValueError("not a detector of error drift: wrong number of hours, thresholds or sums")
        detector.reference, detector._state = reference, state
        return detector

    def _known(self) -> ErrorReference:
        if self.reference is None:
            raise ValueError("the detector has no reference yet; call fit with the errors of a good time")
        return self.reference


def _checked(errors: npt.ArrayLike) -> FloatArray:
    values = np.ascontiguousarray(errors, dtype=np.float64)
    if np.isinf(values).any():
        raise ValueError(f"error {int(np.argmax(np.isinf(values)))} is infinite; expected finite numbers or NaN")
    return values


@compiled
def _hour(row: float, known: ErrorReference) -> int:
    return int((known.first_s + row * known.step_s) // 3600.0) % 24


@compiled
def _step(state: FloatArray, known: ErrorReference, error: float) -> bool:
    z = error / known.usual[_hour(state[_ROW], known)]
    before = state[_BEFORE]
    state[_ROW] += 1.0
    state[_BEFORE] = z
    if math.isnan(z):
        return False
    level = min(abs(z), CAP) / known.means[LEVEL]
    state[_LEVEL_SUM] = sum_step(state[_LEVEL_SUM], level, known.reference)
    if not math.isnan(before):
        innovation = abs(z - known.memory * before) / math.sqrt(1.0 - known.memory * known.memory)
        surprise = min(innovation, CAP) / known.means[SURPRISE]
        state[_SURPRISE_SUM] = sum_step(state[_SURPRISE_SUM], surprise, known.reference)
    if state[_LEVEL_SUM] > known.thresholds[LEVEL] or state[_SURPRISE_SUM] > known.thresholds[SURPRISE]:
        state[_LEVEL_SUM] = 0.0
        state[_SURPRISE_SUM] = 0.0
        return True
    return False


@compiled
def _run(state: FloatArray, known: ErrorReference, errors: FloatArray, alarms: npt.NDArray[np.bool_]) -> None:
    for index in range(len(errors)):
        alarms[index] = _step(state, known, errors[index])
