"""What a rule would do, shown to a learned policy: its action stands beside the observation."""

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from agents.policies import Policy
from envs.action import PARTS, action_space
from envs.masks import ActionMasks
from envs.observation import BOUND, ObservationCodec
from envs.settings import TaskSettings


class AdvisedCodec:
    """Encodes telemetry as the task's observation and, behind it, the action that a rule would take.

    Args:
        task: Observation and action settings.
        advisor: The rule, or any policy that decides from one reading alone.

    Attributes:
        space: [F + 4]: F features in [-5, 5], then each part of the advised action over its largest value, 0..1.
    """

    def __init__(self, task: TaskSettings, advisor: Policy) -> None:
        self.plain = ObservationCodec(task)
        self._advisor = advisor
        self._largest = np.maximum(action_space(task).nvec - 1, 1).astype(np.float32)
        low = np.full(self.plain.space.shape[0] + len(PARTS), -BOUND, np.float32)
        low[-len(PARTS) :] = 0.0
        high = np.where(low < 0.0, np.float32(BOUND), np.float32(1.0))
        self.space = Box(low, high, dtype=np.float32)

    def encode(self, readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return fresh observations, [B, F + 4], for [B] TELEMETRY records."""
        out = np.empty((len(readings), *self.space.shape), np.float32)
        out[:, : -len(PARTS)] = self.plain.encode(readings)
        out[:, -len(PARTS) :] = self._advisor.act(readings) / self._largest
        return out

    def advised(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the actions [N, 4] that observations [N, F + 4] end with."""
        return np.asarray(np.rint(observations[:, -len(PARTS) :] * self._largest), np.int64)

    def as_dict(self, observation: NDArray[np.float32]) -> dict[str, float]:
        """Return one observation by component name; the advised action's parts are ``advice <part>``."""
        advice = {f"advice {part}": float(value) for part, value in zip(PARTS, observation[-len(PARTS) :], strict=True)}
        return self.plain.as_dict(observation[: -len(PARTS)]) | advice


class PermittedAdvisor:
    """An advisor that says the same in choices that the masks leave.

    Args:
        advisor: Decides.
        masks: What is permitted.
    """

    def __init__(self, advisor: Policy, masks: ActionMasks) -> None:
        self._advisor = advisor
        self._masks = masks

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return [B, 4] actions."""
        return self._masks.canonical(self._advisor.act(readings), readings)


def make_codec(
    task: TaskSettings, advisor: Policy | None, masks: ActionMasks | None = None
) -> ObservationCodec | AdvisedCodec:
    """Return the codec of a policy that has an advisor, or none; with masks, advice is in permitted choices."""
    if advisor is None:
        return ObservationCodec(task)
    return AdvisedCodec(task, advisor if masks is None else PermittedAdvisor(advisor, masks))
