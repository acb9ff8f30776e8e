"""What a training run shows while it runs: curves for TensorBoard, checkpoints, validation against the best rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.rollout import Windows, bad_fraction, cost_ratio, play
from agents.trained import TorchPolicy
from envs.action import MAX_SCALE
from envs.observation import ObservationEncoder
from envs.reward import TERMS
from envs.settings import TaskSettings
from simulators.bank import Bank

ACTION_PARTS = ("scale", "specification", "spot", "policy")


class CurvesCallback(BaseCallback):
    """Logs returns, reward terms, USD, bad minutes and action distributions of every rollout.

    Curves: ``rollout/return``, ``reward/<term>`` per decision, ``cost/total_over_reference``,
    ``cost/infra_over_reference``, ``cost/penalty_over_reference``, ``cost/usd_per_day``, ``slo/bad_minutes_percent``,
    and histograms ``action/<part>``.
    """

    def __init__(self, task: TaskSettings) -> None:
        super().__init__()
        self._minutes = task.decision_minutes
        self._episodes: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        if self.locals["dones"].any():
            infos = self.locals["infos"]
            self._episodes += [infos[index]["episode"] for index in np.flatnonzero(self.locals["dones"])]
        return True

    def _on_rollout_end(self) -> None:
        actions = self.model.rollout_buffer.actions  # type: ignore[attr-defined]
        for part, name in enumerate(ACTION_PARTS):
            values = actions[..., part].reshape(-1) - (MAX_SCALE if part == 0 else 0)
            self.logger.record(f"action/{name}", torch.as_tensor(values), exclude=("stdout", "csv"))
        if not self._episodes:
            return
        total = {key: sum(episode[key] for episode in self._episodes) for key in self._episodes[0]}
        decisions = total["l"]
        self.logger.record("rollout/return", total["r"] / len(self._episodes))
        for name in TERMS:
            self.logger.record(f"reward/{name}", total[f"reward/{name}"] / decisions)
        reference = total["reference_usd"]
        usd = total["infra_usd"] + total["slo_penalty_usd"]
        self.logger.record("cost/total_over_reference", usd / reference)
        self.logger.record("cost/infra_over_reference", total["infra_usd"] / reference)
        self.logger.record("cost/penalty_over_reference", total["slo_penalty_usd"] / reference)
        self.logger.record("cost/usd_per_day", usd / (decisions * self._minutes / 1440.0))
        self.logger.record("slo/bad_minutes_percent", 100.0 * total["bad_minutes"] / (decisions * self._minutes))
        self._episodes.clear()


class CheckpointCallback(BaseCallback):
    """Saves the model after every ``every`` rollouts."""

    def __init__(self, save: Callable[[PPO], None], every: int = 10) -> None:
        super().__init__()
        self._save = save
        self._every = every
        self._rollouts = 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self._every == 0:
            self._save(self.model)  # type: ignore[arg-type]


class ValidationCallback(BaseCallback):
    """Plays the deterministic policy on validation worlds and logs its gap to the best rule and to the bound.

    Curves: ``validation/total_over_reference``, ``validation/bad_minutes_percent``, ``validation/gap_to_best_rule``
    (share of the rule's total saved, positive is better) and ``validation/gap_closed`` (of the way to the bound).
    The best model on validation is kept in ``best``.
    """

    def __init__(
        self,
        bank: Bank,
        task: TaskSettings,
        windows: Windows,
        *,
        codec: ObservationEncoder,
        rule_ratio: float,
        bound_ratio: float,
        every_rollouts: int,
        save_best: Callable[[PPO], None],
    ) -> None:
        super().__init__()
        self._bank, self._task, self._windows = bank, task, windows
        self._rule, self._bound = rule_ratio, bound_ratio
        self._every, self._rollouts = every_rollouts, 0
        self._codec = codec
        self._save_best = save_best
        self.best = np.inf
        self.history: list[tuple[int, float, float]] = []

    def state(self) -> dict[str, Any]:
        """Return what a resumed run has to know, as plain data."""
        return {"best": self.best if np.isfinite(self.best) else None, "history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where the run that wrote ``state`` stopped."""
        self.best = np.inf if state["best"] is None else float(state["best"])
        self.history = [(int(steps), float(ratio), float(bad)) for steps, ratio, bad in state["history"]]

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._every == 0:
            self.validate()
        self._rollouts += 1

    def _on_training_end(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Play the current policy on the validation windows and log it."""
        model: PPO = self.model  # type: ignore[assignment]
        played = play(TorchPolicy(model, self._codec), self._bank, self._task, self._windows)
        ratio, bad = cost_ratio(played), bad_fraction(played)
        self.history.append((int(model.num_timesteps), ratio, bad))
        self.logger.record("validation/total_over_reference", ratio)
        self.logger.record("validation/bad_minutes_percent", 100.0 * bad)
        self.logger.record("validation/gap_to_best_rule", 1.0 - ratio / self._rule)
        self.logger.record("validation/gap_closed", (self._rule - ratio) / (self._rule - self._bound))
        if ratio < self.best:
            self.best = ratio
            self._save_best(model)
