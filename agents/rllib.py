"""PPO by Ray RLlib on its new API stack: environments in many processes, the network stable-baselines3's own.

A run differs from one of ``agents.ppo`` in who samples and who updates. Worlds, episodes, network, validation and run
folder are the same, so that a run is exported, evaluated and served in the same way.
"""

import logging
import math
import shutil
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import ray
import torch
from gymnasium.wrappers.vector import DictInfoToList
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchMultiCategorical
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from agents.experiment import ProgressCallback, TrainSettings, prepare, write_beginning, write_validation
from agents.monitoring import CheckpointCallback, ValidationCallback
from agents.policies import Policy
from agents.ppo import PPOSettings, TrainingRun, make_model
from agents.residual import ResidualPolicy
from envs import ENVIRONMENT_ID
from envs.next_step import NextStepVectorEnv
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings
from envs.worlds import make_bank

CHECKPOINT_FOLDER: Final = "rllib"
_POLICY: Final = "policy."
_OBJECT_STORE_BYTES: Final = 200_000_000
_CONNECT_SECONDS: Final = 10.0
_LIFETIME: Final = "num_env_steps_sampled_lifetime"
_KL_MARGIN: Final = 1.5


@dataclass(frozen=True)
class Cluster:
    """Where a run samples.

    Attributes:
        address: ``host:port`` of a running Ray cluster, or ``auto``; None starts one on this machine.
        workers: Processes that sample, at least 1.
    """

    address: str | None = None
    workers: int = 2


@dataclass(frozen=True)
class Recipe:
    """What every process makes its own network and fleets from.

    Attributes:
        settings: Environment to train in.
        ppo: Hyper-parameters.
        advisor: The rule it starts at, None for none.
        seed: Of the network.
        first_seed: Of the first fleet.
    """

    settings: EnvSettings
    ppo: PPOSettings
    advisor: Policy | None
    seed: int
    first_seed: int

    def model(self, fleets: int) -> PPO:
        """Return the untrained model with so many fleets."""
        ppo = self.ppo.model_copy(update={"n_envs": fleets, "batch_size": fleets * self.ppo.n_steps})
        bank = make_bank(self.settings.source, self.settings.task)
        return make_model(self.settings, ppo, bank=bank, advisor=self.advisor, seed=self.seed)

    def environment(self, fleets: int, worker: int) -> NextStepVectorEnv:
        """Return the fleets of one worker, counted from 0; all workers together play those of one batch."""
        episodes = cast(InfrastructureVecEnv, self.model(fleets).env).episodes
        return NextStepVectorEnv(episodes, self.first_seed + worker * fleets)


class FleetRunner(SingleAgentEnvRunner):  # type: ignore[misc]
    """RLlib's sampling process over its part of the native batch; ``env_config["recipe"]`` says which."""

    def make_env(self) -> None:
        """Make the fleets."""
        fleets = self.config.num_envs_per_env_runner
        env = self.config.env_config["recipe"].environment(fleets, max(self.worker_index - 1, 0))
        self.env = DictInfoToList(env)
        self.num_envs = fleets
        self._needs_initial_reset = True


class PolicyModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]
    """The stable-baselines3 policy as an RLModule; ``model_config["recipe"]`` says which."""

    def setup(self) -> None:
        """Make the policy and say how its logits divide into the parts of the action."""
        self.policy = self.model_config["recipe"].model(1).policy
        self.action_dist_cls = TorchMultiCategorical.get_partial_dist_cls(input_lens=self.action_space.nvec.tolist())

    def _logits(self, observations: torch.Tensor) -> torch.Tensor:
        parts = self.policy.get_distribution(observations).distribution
        return torch.cat([part.logits for part in parts], dim=1)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self._logits(batch[Columns.OBS])}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            actions, _, log_probability = self.policy(batch[Columns.OBS])
            logits = self._logits(batch[Columns.OBS])
        return {
            Columns.ACTIONS: actions,
            Columns.ACTION_LOGP: log_probability,
            Columns.ACTION_DIST_INPUTS: logits,
        }

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Return the value of each observation, [B]."""
        return cast(torch.Tensor, self.policy.predict_values(batch[Columns.OBS]).squeeze(-1))


class PolicyLearner(PPOTorchLearner):  # type: ignore[misc]
    """RLlib's PPO with what stable-baselines3 does beside it: its optimizer, its early stop, a narrowing spread.

    ``learner_config_dict`` holds ``target_kl`` (or None) and ``n_timesteps``.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register the optimizer the policy was made with."""
        module = self._module[module_id]
        parameters = self.get_parameters(module)
        policy = module.unwrapped().policy
        optimizer = policy.optimizer_class(parameters, **policy.optimizer_kwargs)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set the entropy bonus, which a checkpoint does not hold; forget the last early stop."""
        super().before_gradient_based_update(timesteps=timesteps)
        self._stopped = False
        self.entropy_coeff_schedulers_per_module[DEFAULT_MODULE_ID].update(timestep=timesteps.get(_LIFETIME, 0))

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """Return PPO's loss; notice where the policy has moved too far for this rollout."""
        target = self.config.learner_config_dict["target_kl"]
        if target is not None:
            distribution = (
                self.module[module_id].unwrapped().action_dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
            )
            with torch.no_grad():
                log_ratio = distribution.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP]
                divergence = (torch.exp(log_ratio) - 1.0 - log_ratio)[batch[Columns.LOSS_MASK]].mean()
            self._stopped = self._stopped or bool(divergence > _KL_MARGIN * target)
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return cast(torch.Tensor, loss)

    def apply_gradients(self, gradients_dict: dict[Any, Any]) -> None:
        """Step the optimizer, unless this rollout's updates have been stopped."""
        if not self._stopped:
            super().apply_gradients(gradients_dict)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Set learning rate and, in a residual policy, the spread of the next rollout."""
        super().after_gradient_based_update(timesteps=timesteps)
        left = max(0.0, 1.0 - timesteps.get(_LIFETIME, 0) / self.config.learner_config_dict["n_timesteps"])
        policy = self.module[DEFAULT_MODULE_ID].unwrapped().policy
        if isinstance(policy, ResidualPolicy):
            policy.explore(left)


def _check_settings(ppo: PPOSettings, workers: int) -> None:
    present = {
        "constraints": bool(ppo.constraints),
        "masks": ppo.masks,
        "continuous": ppo.continuous,
        "stack": ppo.stack > 1,
        "imitate": ppo.imitate is not None,
    }
    for name, given in present.items():
        if given:
            raise ValueError(f"ppo.{name}: not available with RLlib; train with --engine sb3, or leave it out")
    if ppo.n_envs % workers:
        raise ValueError(f"ppo.n_envs: {ppo.n_envs} fleets cannot be divided among {workers} workers; take a multiple")


def algorithm_config(recipe: Recipe, workers: int) -> PPOConfig:
    """Return RLlib's configuration of a run.

    Raises:
        ValueError: A setting that has no counterpart here, by name.
    """
    ppo = recipe.ppo
    _check_settings(ppo, workers)
    rollout = ppo.n_envs * ppo.n_steps
    end = ppo.n_timesteps
    config = (
        PPOConfig()
        .environment(ENVIRONMENT_ID, env_config={"recipe": recipe})
        .env_runners(
            env_runner_cls=FleetRunner,
            num_env_runners=workers,
            num_envs_per_env_runner=ppo.n_envs // workers,
            rollout_fragment_length=ppo.n_steps,
            sample_timeout_s=None,
        )
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=rollout,
            minibatch_size=min(ppo.batch_size, rollout),
            num_epochs=ppo.n_epochs,
            lr=[[0, ppo.learning_rate], [end, ppo.final_learning_rate]],
            entropy_coeff=[[0, ppo.ent_coef], [end, 0.0]],
            gamma=ppo.gamma,
            lambda_=ppo.gae_lambda,
            clip_param=ppo.clip_range,
            vf_loss_coeff=ppo.vf_coef,
            vf_clip_param=float("inf"),
            use_kl_loss=False,
            grad_clip=ppo.max_grad_norm,
            grad_clip_by="global_norm",
            learner_class=PolicyLearner,
            learner_config_dict={"target_kl": ppo.target_kl, "n_timesteps": end},
        )
        .rl_module(rl_module_spec=RLModuleSpec(module_class=PolicyModule, model_config={"recipe": recipe}))
        .debugging(seed=recipe.seed, log_level="ERROR")
    )
    return cast(PPOConfig, config)


@contextmanager
def ray_session(cluster: Cluster) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine; leave or stop it at the end, whatever happens.

    Raises:
        ValueError: An address of another form.
        ConnectionError: No cluster answers there.
    """
    _reach(cluster.address)
    where: dict[str, Any] = {"address": cluster.address}
    if cluster.address is None:
        where = {
            "address": "local",
            "num_cpus": cluster.workers,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    try:
        try:
            ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            line = str(error).partition("\n")[0]
            raise ConnectionError(f"Ray did not start or answer: {line}") from error
        yield
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    if address is None or address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise ValueError(f"--address {address}: expected HOST:PORT of a Ray cluster, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"--address {address}: no Ray cluster answers there ({error})") from error


class RLlibRun(TrainingRun):
    """A training run that samples on a Ray cluster; its folder also holds RLlib's own checkpoint.

    Args:
        cluster: Where it samples.
        args: As ``TrainingRun``.
    """

    def __init__(self, cluster: Cluster, *args: Any) -> None:
        super().__init__(*args)
        self._cluster = cluster
        self._algorithm: Algorithm | None = None

    def train(
        self,
        *,
        resume: bool = False,
        validation: ValidationCallback | None = None,
        extra: BaseCallback | None = None,
        prepare: Callable[[PPO], None] | None = None,
    ) -> PPO:
        """Train until ``n_timesteps``; with ``resume``, from the last checkpoint.

        Raises:
            FileNotFoundError: ``resume`` without a checkpoint of RLlib.
            ValueError: The checkpoint was trained with other settings, or a setting has no counterpart in RLlib.
            ConnectionError: The cluster cannot be reached.
        """
        if prepare is not None:
            raise ValueError("RLlib starts at the rule: going on from a bundle, or by imitation, has no counterpart")
        state = self.checkpoint_state() if resume else None
        model = make_model(self.settings, self.ppo, bank=self.bank, advisor=self.advisor, seed=self.seed)
        done = 0
        if state is not None:
            done = self._restore(model, state)
            if validation is not None and state["validation"] is not None:
                validation.restore(state["validation"])
        self._validation = validation
        first_seed = int(cast(InfrastructureVecEnv, model.env).seed()[0] or 0)
        recipe = Recipe(self.settings, self.ppo, self.advisor, self.seed, first_seed)
        with ray_session(self._cluster):
            self._algorithm = algorithm_config(recipe, self._cluster.workers).build_algo()
            if state is not None:
                self._algorithm.restore_from_path(str((self.folder / CHECKPOINT_FOLDER).resolve()))
            self.folder.mkdir(parents=True, exist_ok=True)
            model.set_logger(self._logger(done))
            parts = (CheckpointCallback(self._checkpoint), validation, extra)
            callbacks = CallbackList([part for part in parts if part is not None])
            try:
                if done < self.ppo.n_timesteps:
                    self._learn(model, callbacks)
            finally:
                self._checkpoint(model)
                model.logger.close()
                self._algorithm.stop()
        return model

    def _learn(self, model: PPO, callbacks: CallbackList) -> None:
        algorithm = cast(Algorithm, self._algorithm)
        callbacks.init_callback(model)
        callbacks.on_training_start({}, {})
        going_on = True
        while going_on and model.num_timesteps < self.ppo.n_timesteps:
            callbacks.on_rollout_start()
            result = algorithm.train()
            model.num_timesteps = int(result["env_runners"][_LIFETIME])
            _load_policy(algorithm, model)
            _log(model, result)
            going_on = callbacks.on_step()
            callbacks.on_rollout_end()
            model.logger.dump(model.num_timesteps)
        callbacks.on_training_end()

    def _checkpoint(self, model: PPO) -> None:
        """Save RLlib's state beside the model's; the state file, written last, names both."""
        folder = (self.folder / CHECKPOINT_FOLDER).resolve()
        building = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(building, ignore_errors=True)
        cast(Algorithm, self._algorithm).save_to_path(str(building))
        shutil.rmtree(folder, ignore_errors=True)
        building.replace(folder)
        super()._checkpoint(model)

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the state of the last checkpoint.

        Raises:
            FileNotFoundError: There is none, or none of RLlib.
            ValueError: It was trained with other settings.
        """
        state = super().checkpoint_state()
        if not (self.folder / CHECKPOINT_FOLDER).is_dir():
            raise FileNotFoundError(f"{self.folder}: no checkpoint of RLlib; resume this run with --engine sb3")
        return state


def _load_policy(algorithm: Algorithm, model: PPO) -> None:
    """Give the model the weights that were trained."""
    weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
    model.policy.load_state_dict(
        {name.removeprefix(_POLICY): torch.as_tensor(value) for name, value in weights.items()}
    )


def _log(model: PPO, result: dict[str, Any]) -> None:
    """Record the curves that RLlib knows, under stable-baselines3's names."""
    model.logger.record("time/total_timesteps", model.num_timesteps, exclude="tensorboard")
    sampled, learned = result["env_runners"], result["learners"][DEFAULT_MODULE_ID]
    curves: Collection[tuple[str, dict[str, Any], str]] = (
        ("rollout/return", sampled, "episode_return_mean"),
        ("train/policy_gradient_loss", learned, "policy_loss"),
        ("train/value_loss", learned, "vf_loss"),
        ("train/explained_variance", learned, "vf_explained_var"),
        ("train/entropy", learned, "entropy"),
        ("train/learning_rate", learned, "default_optimizer_learning_rate"),
        ("time/sampling_s", result["timers"], "env_runner_sampling_timer"),
        ("time/update_s", result["timers"], "learner_update_timer"),
    )
    for name, source, key in curves:
        if key in source and not math.isnan(source[key]):
            model.logger.record(name, float(source[key]))


def run_rllib_training(
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    cluster: Cluster,
    resume: bool = False,
    show: Callable[[int], None] = lambda _: None,
) -> str:
    """Train into a folder as ``agents.experiment.run_training`` does; return the best rule on validation.

    Raises:
        FileNotFoundError: ``resume`` without a checkpoint of RLlib.
        ValueError: The checkpoint belongs to other settings, a setting has no counterpart in RLlib, or the worlds
            cannot be made.
        ConnectionError: The cluster cannot be reached.
    """
    if settings.start_from is not None:
        raise ValueError(f"start_from {settings.start_from}: RLlib starts at the rule and cannot go on from a bundle")
    _check_settings(settings.ppo, cluster.workers)
    _reach(cluster.address)
    prepared = prepare(settings, folder)
    run = RLlibRun(cluster, folder, prepared.env, settings.ppo, prepared.bank, seed, prepared.advisor)
    if resume:
        run.checkpoint_state()
    write_beginning(folder, settings, prepared, seed)
    run.train(resume=resume, validation=prepared.validation, extra=ProgressCallback(show, settings.max_minutes))
    write_validation(folder, prepared)
    return prepared.best_rule
