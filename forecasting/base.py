"""What a demand forecaster and an anomaly detector are: streams that only ever see the past.

Both are fed one value per step with ``update`` and keep what they need. A future value cannot leak, because
nothing but ``update`` and ``fit`` takes values. A NaN is a missing step: time moves on by one step and
everything else holds.
"""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Forecaster(Protocol):
    """Predicts quantiles of a non-negative series some steps ahead."""

    @property
    def ready(self) -> bool:
        """Whether enough has been seen for more than the last value repeated."""

    def fit(self, history: npt.ArrayLike) -> Self:
        """Choose the parameters on ``history`` (float64[N], one value per step) and end at its last value."""

    def update(self, value: float) -> None:
        """Take the value of the next step."""

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]: quantiles that many steps after the last value.

        Leads are 1 or more. Rows do not decrease with the level and are never negative.
        """


class Detector(Protocol):
    """Says of each value how unusual it is, given those before it."""

    def fit(self, history: npt.ArrayLike) -> Self:
        """Take ``history`` (float64[N]) as normal behaviour and end at its last value."""

    def update(self, value: float) -> float:
        """Take the next value and return its score: 0 ordinary or unknown, towards 1 the more unusual."""
