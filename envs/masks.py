"""Action masks: which choices of each part of the action do something that no other choice does.

A choice is masked only where it is pointless whatever the other parts are, so a mask never takes away a decision:

- launch specification: the choice that names the present candidate at every spot share stands for the same as keeping
  it, and gives way to ``KEEP``. A rank that is the present candidate's at some spot shares only stays.
- scale: what would leave the group's limits, counted from desired capacity, is cut off there by the group. That holds
  for policies that change the size by steps; with a policy that states an absolute want the scale part is an offset to
  a want that moves within the decision, and none is known to be pointless. So sizes are masked only where no permitted
  policy of the menu is absolute.
- scaling policy: with ``native``, entries that someone has to keep acting for.

Every part keeps at least one choice. Masks read telemetry and settings only.
"""

from typing import Any, Literal

import numpy as np
from gymnasium import Space
from numpy.typing import NDArray

from envs.action import KEEP, MAX_SCALE, action_space, price_ranks
from envs.observation import ObservationEncoder
from envs.settings import TaskSettings
from simulators.autoscaling import is_absolute
from simulators.menu import menu_records
from telemetry.compiled import compiled

MenuPart = Literal["all", "native"]
"""The scaling policies a mask leaves: all, or those that an Auto Scaling group runs by itself between decisions."""


@compiled
def _own_choices(
    readings: NDArray[np.void], candidates: int, spot_levels: int, hysteresis: float, own: NDArray[np.int64]
) -> None:
    """Write the choice that names the present candidate at every spot share, ``KEEP`` where there is none, [B]."""
    prices, ranks = np.empty(candidates), np.empty(candidates, np.int64)
    for index in range(len(readings)):
        reading = readings[index]
        for level in range(spot_levels):
            price_ranks(reading, level / (spot_levels - 1), candidates, hysteresis, prices, ranks)
            choice = ranks[int(reading.spec)] + 1
            if level > 0 and choice != own[index]:
                own[index] = KEEP
                break
            own[index] = choice


class ActionMasks:
    """Masks for one task.

    Args:
        task: Settings of the action.
        menu: Scaling policies that are left.

    Raises:
        ValueError: ``native``, but no entry of the menu is.
    """

    def __init__(self, task: TaskSettings, menu: MenuPart = "all") -> None:
        self._task = task
        self._edges = np.cumsum(action_space(task).nvec)
        self._policies = np.array([menu == "all" or policy.native for policy in task.menu])
        if not self._policies.any():
            raise ValueError("no scaling policy of the menu is run by an Auto Scaling group itself")
        kinds = menu_records(task.menu)["kind"][: len(task.menu)]
        self._by_steps = not any(is_absolute(kind) for kind in kinds[self._policies])

    def __call__(self, readings: NDArray[np.void]) -> NDArray[np.bool_]:
        """Return what is permitted, [B, sum of choices], for [B] TELEMETRY records."""
        masks = np.ones((len(readings), self._edges[-1]), np.bool_)
        lowest, highest = self._scale_range(readings)
        scales = np.arange(self._edges[0])
        masks[:, : self._edges[0]] = (scales >= lowest[:, None]) & (scales <= highest[:, None])
        own = self._own(readings)
        named = np.flatnonzero(own != KEEP)
        masks[named, self._edges[0] + own[named]] = False
        masks[:, self._edges[2] :] = self._policies
        return masks

    def canonical(self, actions: NDArray[np.int64], readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return actions that do the same and are permitted, [B, 4]; the scaling policy stays as it is."""
        permitted = actions.copy()
        permitted[:, 0] = np.clip(actions[:, 0], *self._scale_range(readings))
        permitted[:, 1] = np.where(actions[:, 1] == self._own(readings), KEEP, actions[:, 1])
        return permitted

    def _scale_range(self, readings: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the lowest and the highest choice of the scale part that is not cut off, [B] each."""
        count = len(readings)
        if not self._by_steps:
            return np.zeros(count, np.int64), np.full(count, 2 * MAX_SCALE)
        physics, desired = self._task.world.physics, readings["desired"].astype(np.int64)
        lowest = np.clip(physics.min_instances - desired, -MAX_SCALE, MAX_SCALE) + MAX_SCALE
        highest = np.clip(physics.max_instances - desired, -MAX_SCALE, MAX_SCALE) + MAX_SCALE
        return lowest, highest

    def _own(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        task = self._task
        if task.candidate_order == "fixed":
            return readings["spec"].astype(np.int64) + 1
        own = np.empty(len(readings), np.int64)
        _own_choices(readings, len(task.candidates), task.num_spot_levels, task.rank_hysteresis, own)
        return own


class MaskedCodec:
    """An encoder, and the masks that go with its observations.

    Args:
        codec: Turns telemetry into observations.
        masks: Says what is permitted.

    Attributes:
        space: The encoder's.
        masks: As given.
    """

    def __init__(self, codec: ObservationEncoder, masks: ActionMasks) -> None:
        self.space: Space[Any] = codec.space
        self.masks = masks
        self._codec = codec

    def encode(self, readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return fresh observations, [B, ...], for [B] TELEMETRY records."""
        return self._codec.encode(readings)
