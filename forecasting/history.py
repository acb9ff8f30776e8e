"""Series to train on, and the last values of a running one: what forecasters that look at a window keep."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray


@dataclass(frozen=True)
class History:
    """A series to train on.

    Attributes:
        values: float64[N], NaN where there is no reading.
        step_s: seconds per step.
        start_s: seconds since 1970 of the first step.
    """

    values: FloatArray = field(repr=False)
    step_s: int
    start_s: int


class HeldHistory:
    """The newest values of a series; a missing one repeats the one before.

    Args:
        size: most values to keep.

    Raises:
        ValueError: a size below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"size is {size}; expected at least 1")
        self._size = size
        self._buffer = np.zeros(2 * size)
        self._end = 0
        self.seen = 0
        """Steps taken so far, missing ones included, from the first known value on."""

    def append(self, value: float) -> None:
        """Take the value of the next step; NaN if it is missing (before any known one it is dropped).

        Raises:
            ValueError: a negative or infinite value.
        """
        if value < 0.0 or math.isinf(value):
            raise ValueError(f"a value of {value}; expected a finite number from 0 on, or NaN")
        if math.isnan(value):
            if self.seen == 0:
                return
            value = float(self._buffer[self._end - 1])
        if self._end == len(self._buffer):
            self._buffer[: self._size - 1] = self._buffer[self._end - self._size + 1 :]
            self._end = self._size - 1
        self._buffer[self._end] = value
        self._end += 1
        self.seen += 1

    def values(self) -> FloatArray:
        """Return the kept values, oldest first (a view: it holds until the next value)."""
        return self._buffer[max(0, self._end - self._size) : self._end]

    def restart(self, history: npt.ArrayLike) -> None:
        """Forget everything and take a whole history."""
        self._end, self.seen = 0, 0
        for value in checked(history):
            self.append(float(value))


def checked(history: npt.ArrayLike) -> FloatArray:
    """Return a history as float64[N].

    Raises:
        ValueError: it is not one-dimensional, or holds a negative or infinite value.
    """
    values = np.asarray(history, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"a history of shape {values.shape}; expected one value per step")
    bad = np.flatnonzero((values < 0.0) | np.isinf(values))
    if bad.size:
        raise ValueError(f"a value of {values[bad[0]]} at step {bad[0]}; expected finite numbers from 0 on, or NaN")
    return values


def held(history: npt.ArrayLike) -> FloatArray:
    """Return a history with gaps held; missing values at its start repeat the first known one, or are 0 without any."""
    values = checked(history)
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    newest = np.maximum.accumulate(np.where(known, np.arange(len(values)), int(np.argmax(known))))
    return np.asarray(values[newest])


def require_leads(leads: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return leads as int64[L].

    Raises:
        ValueError: there is none, or one is below 1.
    """
    steps = np.asarray(leads, dtype=np.int64)
    if steps.size == 0 or steps.min() < 1:
        raise ValueError(f"leads are {steps.tolist()}; expected steps from 1 on")
    return steps
