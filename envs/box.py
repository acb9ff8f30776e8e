"""The action as a point of a box, for algorithms that know continuous actions only.

``Box(-1, 1, (4,))``. Scale and spot share are ordered: -1 is the first choice, 1 the last, and a point stands for the
nearest choice. Launch specification and scaling policy are not: each choice is a bin of equal width.
"""

from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from envs.action import PARTS

_BINNED: Final = np.array([False, True, False, True])


class ActionBox(Box):
    """The box, and the integers its points stand for.

    A point x is at ``(x + 1) / 2 * spans + offsets`` between the centres of the choices, which lie at 0, 1, 2, ...

    Args:
        choices: [4] number of choices of each part.

    Attributes:
        nvec: As given.
        spans: [4] choices that the box is long.
        offsets: [4] place of -1.
    """

    def __init__(self, choices: NDArray[np.int64]) -> None:
        super().__init__(-1.0, 1.0, (len(PARTS),), np.float32)
        self.nvec = np.asarray(choices, np.int64)
        self.spans = np.where(_BINNED, self.nvec, np.maximum(self.nvec - 1, 1)).astype(np.float64)
        self.offsets = np.where(_BINNED, -0.5, 0.0)

    def __repr__(self) -> str:
        """Name the choices too."""
        return f"ActionBox({self.nvec.tolist()})"

    def integers(self, points: NDArray[Any]) -> NDArray[np.int64]:
        """Return the integers that points stand for, [..., 4].

        Raises:
            ValueError: A point outside the box or NaN, with its index, part and value.
        """
        points = np.asarray(points)
        outside = np.argwhere(~((points >= -1.0) & (points <= 1.0)))
        if len(outside):
            *index, part = outside[0]
            place = f"action {index[0]}: " if index else ""
            raise ValueError(f"{place}{PARTS[part]} is {points[tuple(outside[0])]}; expected -1 to 1")
        places = (points.astype(np.float64) + 1.0) / 2.0 * self.spans + self.offsets
        return np.clip(np.floor(places + 0.5), 0, self.nvec - 1).astype(np.int64)

    def points(self, integers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the points in the middle of what stands for given integers, [..., 4]."""
        return ((integers - self.offsets) / self.spans * 2.0 - 1.0).astype(np.float32)


class BoxAction(gymnasium.ActionWrapper[Any, NDArray[Any], NDArray[np.int64]], RecordConstructorArgs):
    """An environment whose actions are points of an ``ActionBox``.

    Args:
        env: The environment with integers.

    Raises:
        ValueError: It has another action space.
    """

    def __init__(self, env: gymnasium.Env[Any, NDArray[np.int64]]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        choices = env.action_space
        if not isinstance(choices, MultiDiscrete) or choices.shape != (len(PARTS),):
            raise ValueError(f"BoxAction needs an action of {len(PARTS)} integers, got {choices}")
        self._box = ActionBox(choices.nvec)
        self.action_space = self._box

    def action(self, action: NDArray[Any]) -> NDArray[np.int64]:
        """Return the integers that a point stands for."""
        return self._box.integers(action)
