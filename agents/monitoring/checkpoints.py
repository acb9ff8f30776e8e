"""Checkpoints while a run trains."""

from collections.abc import Callable

from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback


class CheckpointCallback(BaseCallback):
    """Saves the model after every ``every`` rollouts.

    Raises:
        ValueError: ``every`` is below 1.
    """

    def __init__(self, save: Callable[[PPO], None], every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"checkpoints: every is {every}; expected at least 1 rollout")
        self._save = save
        self._every = every
        self._rollouts = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self._every == 0:
            self._save(self.model)  # type: ignore[arg-type]
