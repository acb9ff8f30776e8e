"""Curves of every rollout: what the fleets earned and paid, and what the policy did."""

from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.advice import AdvisedCodec
from agents.monitoring.actions import ACTION_PARTS, action_shares, advice_shares, as_choices, part_entropies
from envs.action import MAX_SCALE
from envs.episodes import Episodes
from envs.reward import score
from envs.settings import TaskSettings
from simulators.records import OUTCOME

CURVE_METRICS: Final = ("rollout/return", "cost/total_over_reference", "slo/bad_minutes_percent")
"""Curves of every run that sum it up."""
_ENTROPY_SAMPLE: Final = 2048
_DAY_MINUTES: Final = 1440


class CurvesCallback(BaseCallback):
    """Logs return, reward terms, USD, bad minutes, entropies and action distributions of every rollout.

    Each decision of a rollout counts once, whether its episode has ended or not. Curves: ``rollout/return`` (mean
    reward times the decisions of an episode), ``reward/<term>`` per decision, ``cost/*_over_reference`` and
    ``cost/*_usd_per_day`` of a fleet, ``slo/bad_minutes_percent``, ``entropy/<part>`` in nats, ``action/*``,
    ``policy_share/<name>``, ``advice/*`` where the policy sees a rule's action, ``train/ent_coef``, histograms
    ``action/<part>``.

    Args:
        task: Minutes of a decision, names of the menu.
    """

    def __init__(self, task: TaskSettings) -> None:
        super().__init__()
        self._task = task
        self._outcomes: NDArray[np.void] = np.zeros((0, 0), OUTCOME)
        self._reward_sum = 0.0
        self._steps = 0

    def _on_training_start(self) -> None:
        self._episodes: Episodes = self.training_env.get_attr("episodes")[0]
        self._outcomes = np.zeros((cast(PPO, self.model).n_steps, self.training_env.num_envs), OUTCOME)

    def _on_rollout_start(self) -> None:
        self._reward_sum, self._steps = 0.0, 0

    def _on_step(self) -> bool:
        self._outcomes[self._steps] = self._episodes.fleets.outcomes
        self._reward_sum += float(self.locals["rewards"].sum())
        self._steps += 1
        return True

    def _on_rollout_end(self) -> None:
        outcomes = self._outcomes[: self._steps].reshape(-1)
        model = cast(PPO, self.model)
        buffer = model.rollout_buffer
        observations = buffer.observations.reshape(outcomes.size, -1)
        actions = as_choices(self.model.action_space, buffer.actions.reshape(outcomes.size, -1))
        values = self._earnings(outcomes) | action_shares(actions, self._task)
        sample = observations[:: -(-len(observations) // _ENTROPY_SAMPLE)]
        values |= {f"entropy/{name}": nats for name, nats in part_entropies(model, sample).items()}
        if isinstance(self._episodes.codec, AdvisedCodec):
            values |= advice_shares(actions, self._episodes.codec.advised(observations))
        values["train/ent_coef"] = float(model.ent_coef)
        for name, value in values.items():
            self.logger.record(name, value)
        for part, name in enumerate(ACTION_PARTS):
            choices = actions[:, part] - (MAX_SCALE if part == 0 else 0)
            self.logger.record(f"action/{name}", torch.as_tensor(choices), exclude=("stdout", "log", "json", "csv"))

    def _earnings(self, outcomes: NDArray[np.void]) -> dict[str, float]:
        terms, infra_usd = score(outcomes)
        usd = {"infra": float(infra_usd.sum()), "penalty": float(outcomes["slo_penalty_usd"].sum())}
        usd["total"] = usd["infra"] + usd["penalty"]
        decisions, minutes = len(outcomes), max(1.0, float(outcomes["ticks"].sum()))
        episode_decisions = self._episodes.episode_ticks / self._task.decision_minutes
        values = {"rollout/return": self._reward_sum / decisions * episode_decisions}
        values |= {f"reward/{name}": float(term.mean()) for name, term in terms.items()}
        reference = float(outcomes["reference_usd"].sum())
        if reference > 0.0:
            values |= {f"cost/{name}_over_reference": value / reference for name, value in usd.items()}
        values |= {f"cost/{name}_usd_per_day": value / minutes * _DAY_MINUTES for name, value in usd.items()}
        values["slo/bad_minutes_percent"] = 100.0 * float(outcomes["bad_minutes"].sum()) / minutes
        values["action/specification_changed_percent"] = 100.0 * float(outcomes["type_changes"].sum()) / decisions
        return values
