"""How fast the environment steps and PPO learns, and how fast they could: measured in one process, in turn."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from agents.lean_policy import LeanPolicy
from agents.ppo import PPOSettings
from agents.rollout_buffer import GatheringRolloutBuffer
from envs.action import decode
from envs.core import InfrastructureEnv
from envs.observation import schema_hash
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings
from envs.vector import InfrastructureVectorEnv
from envs.worlds import make_bank
from simulators.autoscaling import is_absolute
from simulators.bank import Bank
from simulators.records import TICK_S

_COUNTED = ("launches", "interruptions", "type_changes", "retried_requests", "launch_failures", "bad_minutes")


def action_mix(settings: EnvSettings, envs: int, steps: int) -> NDArray[np.int64]:
    """Return the fixed mix of actions, [steps, envs, 4]: mostly "carry on", some of everything.

    One decision in ten changes the size by up to two, one in a hundred the policy and the spot share, one in five
    hundred the candidate; the others repeat the fleet's last choice.
    """
    task = settings.task
    rng = np.random.default_rng(20_260_720)
    actions = np.empty((steps, envs, 4), np.int64)
    policy = rng.integers(1, len(task.menu), envs)
    spot = rng.integers(0, task.num_spot_levels, envs)
    for step in range(steps):
        actions[step] = np.stack([np.full(envs, 19), np.zeros(envs, np.int64), spot, policy], axis=1)
        sized = rng.random(envs) < 0.1
        actions[step, sized, 0] += rng.integers(-2, 3, int(sized.sum()))
        changed = rng.random(envs) < 0.01
        policy[changed] = rng.integers(1, len(task.menu), int(changed.sum()))
        spot[changed] = rng.integers(0, task.num_spot_levels, int(changed.sum()))
        retyped = rng.random(envs) < 0.002
        actions[step, retyped, 1] = rng.integers(1, len(task.candidates) + 1, int(retyped.sum()))
    return actions


def vector_speed(settings: EnvSettings, envs: int, steps: int) -> dict[str, Any]:
    """Step the native vector environment on one thread; observations and rewards included.

    The same seed and actions are played six times: once to warm up and count what happens, five times on the clock;
    the median counts.
    """
    env = InfrastructureVectorEnv(envs, settings, stagger=True)
    actions = action_mix(settings, envs, steps)
    events = dict.fromkeys(_COUNTED, 0.0)
    env.reset(seed=0)
    for step in range(steps):
        env.step(actions[step])
        for name in _COUNTED:
            events[name] += float(env.episodes.fleets.outcomes[name].sum())
    speeds = [envs * steps / _seconds(env, actions) for _ in range(5)]
    return {
        "env_steps_per_second_per_core": float(np.median(speeds)),
        "env_steps_per_second_runs": speeds,
        "vector_envs": envs,
        "steps_measured": envs * steps,
        "ticks_per_step": settings.task.decision_minutes,
        "events": events,
        "bytes_per_fleet": int(env.episodes.fleets.state.dtype.itemsize),
        "config_hash": schema_hash(settings.task),
    }


def _seconds(env: InfrastructureVectorEnv, actions: NDArray[np.int64]) -> float:
    env.reset(seed=0)
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    return time.perf_counter() - began


def two_core_speed(settings: EnvSettings, envs: int, steps: int) -> dict[str, float]:
    """Step two vector environments in two threads at once, and one of them alone; return speeds and their ratio.

    Three times in turn; the median counts. The kernel holds no interpreter lock.
    """
    pair = [InfrastructureVectorEnv(envs, settings, stagger=True) for _ in range(2)]
    actions = action_mix(settings, envs, steps)
    alone, together = [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            alone.append(envs * steps / _seconds(pair[0], actions))
            began = time.perf_counter()
            list(pool.map(lambda env: _seconds(env, actions), pair))
            together.append(2 * envs * steps / (time.perf_counter() - began))
    one, two = float(np.median(alone)), float(np.median(together))
    return {"env_steps_per_second": two, "one_thread_env_steps_per_second": one, "speed_up": two / one}


def time_by_part(settings: EnvSettings, envs: int, steps: int, passes: int = 5) -> dict[str, float]:
    """Return the nanoseconds one decision of one fleet takes, by part; the action mix of ``vector_speed``.

    Every decision counts with the fastest of its passes. ``ticks`` is what the kernel takes beyond a step of no ticks,
    which applies the decision and reads the telemetry (``telemetry``); ``glue`` is what is left of the environment's
    step: checks, reward terms, infos and the starts of episodes.
    """
    env = InfrastructureVectorEnv(envs, settings, stagger=True)
    actions = action_mix(settings, envs, steps)
    timed = [np.concatenate([_part_seconds(env, actions), _telemetry_seconds(env, actions)]) for _ in range(passes)]
    whole, decoding, kernel, observation, telemetry = np.min(timed, axis=0).mean(axis=1) / envs * 1e9
    parts = {
        "decode": decoding,
        "ticks": kernel - telemetry,
        "telemetry": telemetry,
        "observation": observation,
        "glue": whole - decoding - kernel - observation,
        "step": whole,
    }
    return {name: float(value) for name, value in parts.items()}


def _part_seconds(env: InfrastructureVectorEnv, actions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [4, steps] the seconds of a whole step and, played again, of decoding, kernel and observation."""
    episodes, fleets, task = env.episodes, env.episodes.fleets, env.settings.task
    marks = np.zeros((4, len(actions)))
    whole = np.zeros(len(actions))
    env.reset(seed=0)
    for step, action in enumerate(actions):
        began = time.perf_counter()
        env.step(action)
        whole[step] = time.perf_counter() - began
    env.reset(seed=0)
    for step, action in enumerate(actions):
        marks[0, step] = time.perf_counter()
        decode(action, fleets.readings, fleets.decisions, task)
        marks[1, step] = time.perf_counter()
        fleets.step(task.decision_minutes)
        marks[2, step] = time.perf_counter()
        last = episodes.observe()
        marks[3, step] = time.perf_counter()
        episodes.begin_ended(last)
    return np.concatenate([whole[None], np.diff(marks, axis=0)])


def _telemetry_seconds(env: InfrastructureVectorEnv, actions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [1, steps] the seconds of a step of no ticks; it is undone before the decision is played."""
    episodes, fleets, task = env.episodes, env.episodes.fleets, env.settings.task
    seconds = np.zeros((1, len(actions)))
    env.reset(seed=0)
    for step, action in enumerate(actions):
        decode(action, fleets.readings, fleets.decisions, task)
        state, readings = fleets.state.copy(), fleets.readings.copy()
        began = time.perf_counter()
        fleets.step(0)
        seconds[0, step] = time.perf_counter() - began
        fleets.state[:], fleets.readings[:] = state, readings
        fleets.step(task.decision_minutes)
        episodes.begin(np.flatnonzero(episodes.truncated))
    return seconds


def settled_share(settings: EnvSettings, envs: int, steps: int) -> float:
    """Return the share of simulated minutes in which no instance changes, so that none is looked at; 0..1.

    The action mix is played minute by minute.
    """
    env = InfrastructureVectorEnv(envs, settings, stagger=True)
    fleets, settled, minutes = env.episodes.fleets, 0, settings.task.decision_minutes
    absolute = np.array([is_absolute(kind) for kind in fleets.menu["kind"]])
    env.reset(seed=0)
    for action in action_mix(settings, envs, steps):
        decode(action, fleets.readings, fleets.decisions, settings.task)
        for _ in range(minutes):
            before = {name: fleets.state[name].copy() for name in ("serial", "state", "off_s")}
            still = fleets.state["settled_until_s"] >= (fleets.state["tick"] + 1) * TICK_S
            fleets.step(1)
            for name, column in before.items():
                still &= (fleets.state[name] == column).reshape(envs, -1).all(axis=1)
            settled += int(still.sum())
            fleets.decisions["scale"] *= absolute[fleets.decisions["policy"]]
        env.episodes.begin(np.flatnonzero(env.episodes.truncated))
    return settled / (envs * steps * minutes)


def single_speed(settings: EnvSettings, steps: int) -> float:
    """Step ``gymnasium.make`` of the environment; return steps per second."""
    env = gymnasium.make("fleetgym/AWSInfrastructure-v0", settings=settings)
    actions = action_mix(settings, 1, steps)[:, 0]
    env.reset(seed=0)
    env.step(actions[0])
    began = time.perf_counter()
    for action in actions:
        if env.step(action)[3]:
            env.reset()
    return steps / (time.perf_counter() - began)


class FreeVecEnv(VecEnv):
    """An environment that costs nothing: the same spaces, constant observations, no reward, no episode end."""

    def __init__(self, like: VecEnv) -> None:
        self.render_mode = None
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        self._observation = np.zeros((like.num_envs, *(like.observation_space.shape or ())), np.float32)
        self._reward = np.zeros(like.num_envs, np.float32)
        self._done = np.zeros(like.num_envs, np.bool_)
        self._infos: list[dict[str, Any]] = [{} for _ in range(like.num_envs)]

    def reset(self) -> VecEnvObs:
        """Return the constant observation."""
        return self._observation

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take no notice of the actions."""

    def step_wait(self) -> VecEnvStepReturn:
        """Return constants."""
        return self._observation, self._reward, self._done, self._infos

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of this object once per environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse."""
        raise ValueError(f"cannot set {attr_name!r}")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Refuse."""
        raise ValueError(f"cannot call {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Say that nothing is wrapped."""
        return [False for _ in self._get_indices(indices)]


def _learning_speed(model: PPO, rollouts: int) -> float:
    decisions = rollouts * model.n_steps * model.n_envs
    began = time.process_time()
    model.learn(decisions, reset_num_timesteps=False)
    return decisions / (time.process_time() - began)


def ppo_speed(make: Callable[[], PPO], passes: int) -> dict[str, float]:
    """Train a model and its like on an environment that costs nothing, a rollout each in turn.

    Both figures are medians over the passes, decisions per second of processor time; their ratio is the median of the
    passes' own.
    """
    model, ceiling = make(), make()
    ceiling.set_env(FreeVecEnv(cast(VecEnv, ceiling.env)))
    for item in (model, ceiling):
        item.learn(item.n_steps * item.n_envs)
    ours, free = np.array([[_learning_speed(item, 1) for item in (model, ceiling)] for _ in range(passes)]).T
    return {
        "ppo_steps_per_second": float(np.median(ours)),
        "ppo_ceiling_steps_per_second": float(np.median(free)),
        "ppo_share_of_ceiling": float(np.median(ours / free)),
    }


def steps_from_defaults(
    settings: EnvSettings, ppo: PPOSettings, make: Callable[[], PPO], passes: int
) -> dict[str, dict[str, float]]:
    """Return how fast PPO learns, from stable-baselines3's defaults to ours, one change at a time.

    The defaults play eight environments in a ``DummyVecEnv``; each row keeps the changes of the rows before it, and the
    last is the model of ``make``. Medians of ``passes`` over one rollout, in turn; the first also starts everything up.

    Returns:
        By step: ``steps_per_second`` of processor time, ``over_previous`` and ``over_defaults``.
    """
    bank = make_bank(settings.source, settings.task)
    fleets = InfrastructureVecEnv(settings, ppo.n_envs, bank=bank)
    kwargs: dict[str, Any] = {"policy": "MlpPolicy", "env": _dummy_env(settings, bank), "device": "cpu", "seed": 0}
    changes: dict[str, dict[str, Any]] = {
        "stable-baselines3's defaults, 8 environments in a Python loop": {},
        "8 fleets in one native batch": {"env": InfrastructureVecEnv(settings, 8, bank=bank)},
        f"{ppo.n_envs} fleets, {ppo.n_steps} decisions of each": {"env": fleets, "n_steps": ppo.n_steps},
        f"minibatches of {ppo.batch_size}": {"batch_size": ppo.batch_size},
        f"{ppo.n_epochs} epochs": {"n_epochs": ppo.n_epochs},
        "one distribution for all parts, fused Adam": {"policy": LeanPolicy},
        "minibatches gathered once": {"rollout_buffer_class": GatheringRolloutBuffer},
    }
    models = {}
    for name, change in changes.items():
        kwargs |= change
        models[name] = PPO(**kwargs)
    models["as trained: starts at a rule"] = make()
    speeds = [[_learning_speed(model, 1) for model in models.values()] for _ in range(passes)]
    medians = np.median(speeds, axis=0)
    over_previous = medians / np.concatenate([medians[:1], medians[:-1]])
    rows = zip(models, medians, over_previous, medians / medians[0], strict=True)
    return {
        name: {"steps_per_second": float(speed), "over_previous": float(step), "over_defaults": float(whole)}
        for name, speed, step, whole in rows
    }


def _dummy_env(settings: EnvSettings, bank: Bank) -> DummyVecEnv:
    factories: list[Callable[[], InfrastructureEnv]] = [lambda: InfrastructureEnv(settings, bank=bank)] * 8
    return DummyVecEnv(list(factories))


def cartpole_speed(envs: int, steps: int) -> float:
    """Step Gymnasium's SyncVectorEnv of CartPole; return environment steps per second."""
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1") for _ in range(envs)])
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(steps)]
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    return envs * steps / (time.perf_counter() - began)
