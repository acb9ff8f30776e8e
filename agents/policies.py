"""Who decides: anything that turns telemetry into actions. Policies see TELEMETRY records and nothing else."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Policy(Protocol):
    """A decision maker over a batch of fleets."""

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return one action per fleet, [B, 4] integers inside the action space, for [B] TELEMETRY records."""
        ...


class ConstantPolicy:
    """Always the same action; each calibrated rule is one of these.

    Args:
        action: [4] integers, or [B, 4] to give each fleet its own.
    """

    def __init__(self, action: NDArray[np.int64]) -> None:
        self._action = np.asarray(action, np.int64)

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the action for every fleet."""
        return np.broadcast_to(self._action, (len(readings), 4))
