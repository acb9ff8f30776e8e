"""Observations of several decisions in a row, as stable-baselines3's ``VecFrameStack`` makes them."""

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.observation import ObservationEncoder


class StackedCodec:
    """Encodes telemetry as the latest observations of each fleet, oldest first, zeros where there was none yet.

    It remembers, so each play needs a fresh one; all its fleets start together.

    Args:
        codec: Encodes one reading.
        count: Observations side by side.

    Attributes:
        space: [count x F].
    """

    def __init__(self, codec: ObservationEncoder, count: int) -> None:
        single = codec.space
        if not isinstance(single, Box):
            raise ValueError(f"only vectors of numbers can be stacked, got {single}")
        self.space = Box(np.tile(single.low, count), np.tile(single.high, count), dtype=np.float32)
        self._codec = codec
        self._features = single.shape[0]
        self._stacks: NDArray[np.float32] | None = None

    def encode(self, readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return the stacks after one more decision, [B, count x F].

        Raises:
            ValueError: Readings of another number of fleets than before.
        """
        if self._stacks is None:
            self._stacks = np.zeros((len(readings), *self.space.shape), np.float32)
        if len(readings) != len(self._stacks):
            raise ValueError(f"these are stacks of {len(self._stacks)} fleets, got readings of {len(readings)}")
        self._stacks = np.roll(self._stacks, -self._features, axis=1)
        self._stacks[:, -self._features :] = self._codec.encode(readings)
        return self._stacks.copy()
