"""When to train again: after a drift alarm, and only if forecasts have in fact become worse.

Worse is the sum of losses over the sum of usual ones in a shadow window of the newest hours. A changed input that does
not hurt retrains nothing; a bad hour without drift does not either.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LARGEST_LOSS: Final = 4.0
"""A loss counts at most as so many usual ones."""


@dataclass(frozen=True)
class TriggerSettings:
    """When a retraining is asked for.

    Attributes:
        step_s: Seconds per step, 1 to 3600.
        shadow_hours: Hours over which losses are compared with the usual ones.
        least_growth: Growth of the loss that counts as worse.
        memory_hours: How long an alarm is remembered.
        rest_hours: Least time between two requests.

    Raises:
        ValueError: A setting out of range.
    """

    step_s: int
    shadow_hours: int = 24
    least_growth: float = 1.15
    memory_hours: int = 24
    rest_hours: int = 24

    def __post_init__(self) -> None:
        if not 1 <= self.step_s <= 3600:
            raise ValueError(f"step_s is {self.step_s}; expected 1 to 3600 seconds")
        for name in ("shadow_hours", "memory_hours", "rest_hours"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 hour or more")
        if self.least_growth <= 0.0:
            raise ValueError(f"least_growth is {self.least_growth}; expected above 0")

    def rows(self, hours: int) -> int:
        """Return how many steps some hours have."""
        return max(1, hours * 3600 // self.step_s)


class RetrainTrigger:
    """Asks for a retraining when there was a drift alarm and forecasts are worse; constant work per step.

    Args:
        settings: When to ask.
    """

    def __init__(self, settings: TriggerSettings) -> None:
        self.settings = settings
        self._losses = np.zeros((settings.rows(settings.shadow_hours), 2))
        self._sums = np.zeros(2)
        self._row = 0
        self._alarm_row: int | None = None
        self._request_row: int | None = None

    @property
    def growth(self) -> float:
        """Losses of the shadow window over the usual ones; NaN until it is whole or while nothing is known."""
        if self._row < len(self._losses) or self._sums[1] <= 0.0:
            return math.nan
        return float(self._sums[0] / self._sums[1])

    def update(self, *, alarm: bool, loss: float, usual_loss: float) -> bool:
        """Take a step and return whether to train again now.

        Args:
            alarm: Whether a detector raised an alarm at this step.
            loss: Loss of the newest forecast, 0 or more; NaN where unknown.
            usual_loss: What it usually is at this hour, above 0.

        Raises:
            ValueError: A negative or infinite loss, or a usual one that is not above 0.
        """
        if loss < 0.0 or math.isinf(loss) or not 0.0 < usual_loss < math.inf:
            raise ValueError(f"loss {loss}, usual {usual_loss}; expected 0 or more (or NaN), and above 0")
        place = self._row % len(self._losses)
        before = self._losses[place].copy()
        self._losses[place] = (0.0, 0.0) if math.isnan(loss) else (min(loss, LARGEST_LOSS * usual_loss), usual_loss)
        self._sums += self._losses[place] - before
        if place == 0:
            self._sums = self._losses.sum(axis=0)
        self._row += 1
        if alarm:
            self._alarm_row = self._row
        if not self._within(self._alarm_row, self.settings.memory_hours):
            return False
        if self._within(self._request_row, self.settings.rest_hours) or not self.growth >= self.settings.least_growth:
            return False
        self._request_row = self._row
        return True

    def fill(self, losses: FloatArray, usual_losses: FloatArray) -> None:
        """Take the losses of a good time without asking for anything, so that the shadow window starts whole.

        Args:
            losses: float64[N], 0 or more; NaN where unknown.
            usual_losses: float64[N], above 0.
        """
        for loss, usual in zip(losses.tolist(), usual_losses.tolist(), strict=True):
            self.update(alarm=False, loss=loss, usual_loss=usual)

    def as_json(self) -> dict[str, Any]:
        """Return settings and state as JSON values."""
        return {
            "settings": asdict(self.settings),
            "losses": self._losses.tolist(),
            "row": self._row,
            "alarm_row": self._alarm_row,
            "request_row": self._request_row,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the trigger that :meth:`as_json` described.

        Raises:
            ValueError: The content is not one.
        """
        try:
            trigger = cls(TriggerSettings(**content["settings"]))
            losses = np.array(content["losses"], dtype=np.float64)
            trigger._row = int(content["row"])
            trigger._alarm_row, trigger._request_row = content["alarm_row"], content["request_row"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a retrain trigger: {error!r}") from error
        if losses.shape != trigger._losses.shape:
            raise ValueError(f"not a retrain trigger: losses of shape {losses.shape}")
        trigger._losses, trigger._sums = losses, losses.sum(axis=0)
        return trigger

    def _within(self, row: int | None, hours: int) -> bool:
        return row is not None and self._row - row < self.settings.rows(hours)
