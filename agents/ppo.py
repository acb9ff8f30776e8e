"""PPO by stable-baselines3 on the native batch: starts at a rule, is rewarded for doing better, free to leave it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger, make_output_format
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from agents.advice import make_codec
from agents.constraints import ConstrainedReward, Constraint, Counted, LagrangianCallback
from agents.continuous import ContinuousResidualPolicy
from agents.imitation import ImitationSettings
from agents.lean_policy import LeanPolicy
from agents.masked import MaskedResidualPolicy
from agents.monitoring import (
    CURVE_METRICS,
    VALIDATION_METRICS,
    CheckpointCallback,
    CurvesCallback,
    HyperParametersCallback,
    TimingCallback,
    ValidationCallback,
)
from agents.policies import Policy
from agents.residual import ExplorationSettings, ResidualActor, ResidualPolicy
from agents.rollout_buffer import GatheringRolloutBuffer
from envs.action import PARTS
from envs.masks import ActionMasks, MaskedCodec, MenuPart
from envs.observation import DESIRED_UNIT, ObservationEncoder, observation_features
from envs.paired import PairedEpisodes
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank
from telemetry.provenance import write_json

MODEL_FILE: Final = "model.zip"
STATE_FILE: Final = "state.json"


class PPOSettings(BaseModel):
    """Hyper-parameters of PPO; names are stable-baselines3's where it has one.

    Attributes:
        n_timesteps: Decisions in all.
        n_envs: Fleets side by side.
        n_steps: Decisions of each fleet per update.
        batch_size: Minibatch.
        n_epochs: Passes over a rollout.
        learning_rate: At the start; falls linearly to ``final_learning_rate``.
        final_learning_rate: At the end.
        gamma: Discount per decision.
        gae_lambda: Generalised advantage estimation.
        clip_range: Policy clip.
        ent_coef: Entropy bonus at the start; falls linearly to 0.
        vf_coef: Weight of the value loss.
        max_grad_norm: Gradient clip.
        target_kl: Stop an update's epochs beyond this divergence; None never stops.
        hidden: Units of the two hidden layers of policy and value.
        exploration: How far training strays from the advised action.
        relative_scale: A learned shift of the size counts in units of 1 + this x desired instances.
        paired: Reward what is better than the advising rule's own reward in the same world with the same luck.
        constraints: Limits on what the policy may do more of than the advising rule.
        native_only: Only scaling policies that an Auto Scaling group runs by itself.
        masks: MaskablePPO: choices that are pointless have no probability (``envs.masks``).
        continuous: A Gaussian over a box whose points stand for the integers (``envs.box``).
        stack: Observations of so many decisions side by side; such a policy cannot be exported.
        imitate: Whom to imitate before learning from rewards; None for nobody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_timesteps: int = Field(3_000_000, ge=1)
    n_envs: int = Field(256, ge=1)
    n_steps: int = Field(64, ge=2)
    batch_size: int = Field(2048, ge=2)
    n_epochs: int = Field(4, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    final_learning_rate: float = Field(5e-5, ge=0)
    gamma: float = Field(0.98, gt=0, lt=1)
    gae_lambda: float = Field(0.9, gt=0, le=1)
    clip_range: float = Field(0.2, gt=0)
    ent_coef: float = Field(0.002, ge=0)
    vf_coef: float = Field(0.5, ge=0)
    max_grad_norm: float = Field(0.5, gt=0)
    target_kl: float | None = Field(None, gt=0)
    hidden: int = Field(64, ge=4, le=1024)
    exploration: ExplorationSettings = ExplorationSettings()
    relative_scale: float = Field(0.1, ge=0)
    paired: bool = True
    constraints: dict[Counted, Constraint] = {}
    native_only: bool = False
    masks: bool = False
    continuous: bool = False
    stack: int = Field(1, ge=1, le=32)
    imitate: ImitationSettings | None = None

    @model_validator(mode="after")
    def _maskable(self) -> "PPOSettings":
        for name in ("masks", "native_only"):
            if self.continuous and getattr(self, name):
                raise ValueError(f"{name} bars single choices, which a continuous policy does not have")
        return self

    @property
    def permitted(self) -> MenuPart | None:
        """What the masks leave of the menu; None where there are no masks."""
        if not self.masks:
            return None
        return "native" if self.native_only else "all"

    @property
    def algorithm(self) -> type[PPO]:
        """PPO's class; MaskablePPO shares no base class with it below ``OnPolicyAlgorithm`` but has all its methods."""
        return cast(type[PPO], MaskablePPO) if self.masks else PPO


def _fleet_seed(seed: int) -> int:
    return seed * 1_000_000_007


def training_codec(task: TaskSettings, ppo: PPOSettings, advisor: Policy | None) -> ObservationEncoder:
    """Return what turns telemetry into a model's single observations, and brings its masks where it has them."""
    if ppo.permitted is None:
        return make_codec(task, advisor)
    masks = ActionMasks(task, ppo.permitted)
    return MaskedCodec(make_codec(task, advisor, masks), masks)


def _policy_class(ppo: PPOSettings, advised: bool) -> str | type[ActorCriticPolicy]:
    if not advised:
        return "MlpPolicy" if ppo.masks or ppo.continuous else LeanPolicy
    if ppo.continuous:
        return ContinuousResidualPolicy
    return cast(type[ActorCriticPolicy], MaskedResidualPolicy) if ppo.masks else ResidualPolicy


def _network(settings: EnvSettings, ppo: PPOSettings, advised: bool) -> dict[str, Any]:
    """Return what the policy class is built with."""
    layers = {"net_arch": [ppo.hidden, ppo.hidden]}
    if not advised:
        return layers
    names = [feature.name for feature in observation_features(settings.task)]
    native = tuple(index for index, entry in enumerate(settings.task.menu) if entry.native)
    return {
        **layers,
        "exploration": ppo.exploration.model_dump(),
        "desired_feature": (ppo.stack - 1) * (len(names) + len(PARTS)) + names.index("desired"),
        "desired_unit": DESIRED_UNIT,
        "relative_scale": ppo.relative_scale,
        "allowed_policies": native if ppo.native_only and not ppo.masks else (),
    }


def make_model(
    settings: EnvSettings,
    ppo: PPOSettings,
    *,
    bank: Bank,
    advisor: Policy | None,
    seed: int,
) -> PPO:
    """Return a PPO model over a fresh batch of fleets.

    Args:
        settings: Task and episodes.
        ppo: Hyper-parameters.
        bank: Training worlds.
        advisor: The rule that the first policy is, and whose reward is subtracted; None starts from noise.
        seed: Of network and fleets.

    Raises:
        ValueError: Constraints, but no advising rule to hold them against.
    """
    torch.set_num_threads(1)
    reward = None
    rival = advisor.act if advisor is not None and ppo.paired else None
    if ppo.constraints:
        if rival is None:
            raise ValueError(
                "ppo.constraints are limits relative to the advising rule: they need an advisor, and paired"
            )
        reward = ConstrainedReward(settings.task.reward, ppo.constraints)
    env: VecEnv = InfrastructureVecEnv(
        settings,
        ppo.n_envs,
        bank=bank,
        codec=training_codec(settings.task, ppo, advisor),
        reward=reward,
        rival=rival,
        continuous=ppo.continuous,
    )
    if ppo.stack > 1:
        env = VecFrameStack(env, ppo.stack)
    model = ppo.algorithm(
        _policy_class(ppo, advisor is not None),
        env,
        n_steps=ppo.n_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.n_epochs,
        learning_rate=lambda left: ppo.final_learning_rate + left * (ppo.learning_rate - ppo.final_learning_rate),
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        ent_coef=ppo.ent_coef,
        vf_coef=ppo.vf_coef,
        max_grad_norm=ppo.max_grad_norm,
        target_kl=ppo.target_kl,
        rollout_buffer_class=None if ppo.masks else GatheringRolloutBuffer,
        policy_kwargs=_network(settings, ppo, advisor is not None),
        seed=seed,
        device="cpu",
    )
    env.seed(_fleet_seed(seed))  # PPO has set its own
    return model


def load_model(path: Path, ppo: PPOSettings) -> PPO:
    """Read a model that was trained with these settings."""
    return ppo.algorithm.load(path, device="cpu")


def save_model(model: PPO, path: Path) -> None:
    """Write a model's .zip by a temporary file and a rename."""
    temporary = path.with_suffix(".tmp.zip")
    model.save(temporary)
    temporary.replace(path)


class ExplorationSchedule(BaseCallback):
    """Lowers the entropy bonus linearly to 0, and a residual policy's spread to its last value."""

    def __init__(self, first: float) -> None:
        super().__init__()
        self._first = first

    def _on_rollout_start(self) -> None:
        left = self.model._current_progress_remaining
        self.model.ent_coef = self._first * left  # type: ignore[attr-defined]
        if isinstance(self.model.policy, ResidualActor):
            self.model.policy.explore(left)

    def _on_step(self) -> bool:
        return True


class TrainingRun:
    """A training run in a folder: model, state, TensorBoard curves; can be interrupted and resumed.

    Args:
        folder: Where everything is written.
        settings: Environment to train in.
        ppo: Hyper-parameters.
        bank: Training worlds.
        seed: Of the agent and its fleets.
        advisor: The rule it starts at, None for none.
    """

    def __init__(
        self,
        folder: Path,
        settings: EnvSettings,
        ppo: PPOSettings,
        bank: Bank,
        seed: int,
        advisor: Policy | None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.ppo = ppo
        self.bank = bank
        self.seed = seed
        self.advisor = advisor
        self._validation: ValidationCallback | None = None

    def train(
        self,
        *,
        resume: bool = False,
        validation: ValidationCallback | None = None,
        extra: BaseCallback | None = None,
        prepare: Callable[[PPO], None] | None = None,
    ) -> PPO:
        """Train until ``n_timesteps``; with ``resume``, from the last checkpoint.

        Args:
            resume: Go on from the last checkpoint.
            validation: Plays validation worlds now and then.
            extra: One more callback.
            prepare: Given a new model before it learns from rewards.

        Raises:
            FileNotFoundError: ``resume`` without a checkpoint.
            ValueError: The checkpoint was trained with other settings.
        """
        state = self.checkpoint_state() if resume else None
        self.folder.mkdir(parents=True, exist_ok=True)
        model = make_model(self.settings, self.ppo, bank=self.bank, advisor=self.advisor, seed=self.seed)
        done = 0
        if state is not None:
            done = self._restore(model, state)
            if validation is not None and state["validation"] is not None:
                validation.restore(state["validation"])
        elif prepare is not None:
            prepare(model)
        self._validation = validation
        model.set_logger(self._logger(done))
        metrics = CURVE_METRICS if validation is None else (*VALIDATION_METRICS, *CURVE_METRICS)
        callbacks: list[BaseCallback] = [
            ExplorationSchedule(self.ppo.ent_coef),
            HyperParametersCallback({**self.ppo.model_dump(mode="json"), "seed": self.seed}, metrics),
            TimingCallback(validation),
            CurvesCallback(self.settings.task),
            CheckpointCallback(self._checkpoint),
        ]
        episodes = cast(InfrastructureVecEnv, model.env).episodes
        if isinstance(episodes, PairedEpisodes) and isinstance(episodes.reward, ConstrainedReward):
            callbacks.append(LagrangianCallback(episodes.reward, episodes))
        callbacks += [item for item in (validation, extra) if item is not None]
        left = max(0, self.ppo.n_timesteps - done)
        try:
            if left:
                model.learn(left, callback=CallbackList(callbacks), reset_num_timesteps=not resume)
        finally:
            self._checkpoint(model)
            model.logger.close()
        return model

    def _logger(self, done: int) -> Logger:
        """Log to TensorBoard and to a CSV file of each start's own."""
        folder = str(self.folder / "tensorboard")
        suffix = f"_from_{done}" if done else ""
        return Logger(folder, [make_output_format("tensorboard", folder), make_output_format("csv", folder, suffix)])

    def _identity(self) -> dict[str, object]:
        return {
            "settings": self.settings.model_dump(mode="json"),
            "ppo": self.ppo.model_dump(mode="json", exclude={"n_timesteps"}),
            "seed": self.seed,
        }

    def _checkpoint(self, model: PPO) -> None:
        save_model(model, self.folder / MODEL_FILE)
        validation = None if self._validation is None else self._validation.state()
        reward = cast(InfrastructureVecEnv, model.env).episodes.reward
        prices = reward.prices if isinstance(reward, ConstrainedReward) else {}
        progress = {"num_timesteps": int(model.num_timesteps), "validation": validation, "prices": prices}
        write_json(self.folder / STATE_FILE, {**self._identity(), **progress})

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the state of the last checkpoint.

        Raises:
            FileNotFoundError: There is no checkpoint.
            ValueError: It was trained with other settings.
        """
        path = self.folder / STATE_FILE
        if not path.exists() or not (self.folder / MODEL_FILE).exists():
            raise FileNotFoundError(f"{self.folder}: no checkpoint to resume from")
        state: dict[str, Any] = json.loads(path.read_text())
        for key, value in self._identity().items():
            if state[key] != value:
                raise ValueError(f"{path}: the checkpoint was trained with another {key}; resume with the same ones")
        return state

    def _restore(self, model: PPO, state: dict[str, Any]) -> int:
        """Load the checkpoint's parameters; its fleets start episodes that were not played yet."""
        model.set_parameters(str(self.folder / MODEL_FILE), device="cpu")
        reward = cast(InfrastructureVecEnv, model.env).episodes.reward
        if isinstance(reward, ConstrainedReward):
            reward.prices.update(state["prices"])
        done = int(state["num_timesteps"])
        model.num_timesteps = done
        cast(VecEnv, model.env).seed(_fleet_seed(self.seed) + done)
        return done
