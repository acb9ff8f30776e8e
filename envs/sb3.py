"""The batch of fleets as a stable-baselines3 ``VecEnv``; Python touches single fleets only at episode ends."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from envs.action import action_space
from envs.box import ActionBox
from envs.episodes import Episodes
from envs.masks import ActionMasks, MaskedCodec
from envs.observation import ObservationEncoder
from envs.paired import Decider, PairedEpisodes
from envs.reward import TERMS, RewardFunction
from envs.settings import EnvSettings
from simulators.bank import Bank

_SUMS = (*(f"reward/{name}" for name in TERMS), "infra_usd", "slo_penalty_usd", "reference_usd", "bad_minutes")


class InfrastructureVecEnv(VecEnv):
    """Adapter to stable-baselines3 with staggered episode ends.

    ``infos`` is one shared list of empty dictionaries except where an episode ended: there it holds
    ``terminal_observation``, ``TimeLimit.truncated``, and ``episode`` with return ``r``, length ``l`` and the sums of
    each reward term and USD line.

    Args:
        settings: Task, worlds and episode length.
        num_envs: Number of environments.
        bank: World bank to play in; drawn from the settings if None.
        seed: The first environment's; the others follow upwards.
        stagger: Shorten first episodes by a random share.
        codec: Turns telemetry into observations; the task's ``ObservationCodec`` if None.
        reward: Rewards decisions; the task's weighted terms if None.
        rival: Decides for a second batch in the same worlds, whose rewards are subtracted; none if None.
        continuous: Actions are points of an ``ActionBox`` that stand for the integers.
    """

    def __init__(
        self,
        settings: EnvSettings,
        num_envs: int,
        *,
        bank: Bank | None = None,
        seed: int = 0,
        stagger: bool = True,
        codec: ObservationEncoder | None = None,
        reward: RewardFunction | None = None,
        rival: Decider | None = None,
        continuous: bool = False,
    ) -> None:
        make = Episodes if rival is None else partial(PairedEpisodes, rival)
        self.episodes = make(settings, num_envs, stagger=stagger, bank=bank, codec=codec, reward=reward)
        self.render_mode = None
        choices = action_space(settings.task)
        super().__init__(num_envs, self.episodes.codec.space, ActionBox(choices.nvec) if continuous else choices)
        self._masks = codec.masks if isinstance(codec, MaskedCodec) else ActionMasks(settings.task)
        self._nothing: list[dict[str, Any]] = [{} for _ in range(num_envs)]
        self._actions: NDArray[np.int64] = np.zeros((num_envs, 4), np.int64)
        self._returns = np.zeros(num_envs)
        self._lengths = np.zeros(num_envs, np.int64)
        self._sums = np.zeros((len(_SUMS), num_envs))
        self._own_seed = seed

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the first environment's seed; the others follow upwards."""
        self._own_seed = self._own_seed if seed is None else seed
        return [self._own_seed + index for index in range(self.num_envs)]

    def reset(self) -> VecEnvObs:
        """Start a first episode everywhere."""
        self.episodes.seed(np.arange(self._own_seed, self._own_seed + self.num_envs, dtype=np.uint64))
        self.episodes.begin(np.arange(self.num_envs))
        self._returns[:], self._lengths[:], self._sums[:] = 0.0, 0, 0.0
        return self.episodes.observe()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions of the next step."""
        space = self.action_space
        self._actions = space.integers(actions) if isinstance(space, ActionBox) else actions

    def step_wait(self) -> VecEnvStepReturn:
        """Play them."""
        rewards, terms = self.episodes.act(np.asarray(self._actions, np.int64))
        outcomes = self.episodes.fleets.outcomes
        self._returns += rewards
        self._lengths += 1
        for row, name in enumerate(TERMS):
            self._sums[row] += terms[name]
        self._sums[len(TERMS)] += self.episodes.infra_usd
        for row, name in enumerate(("slo_penalty_usd", "reference_usd", "bad_minutes"), len(TERMS) + 1):
            self._sums[row] += outcomes[name]
        done = self.episodes.truncated
        observations = self.episodes.observe()
        if not done.any():
            return observations, rewards.astype(np.float32), done, self._nothing
        infos = list(self._nothing)
        ended = np.flatnonzero(done)
        for index in ended:
            infos[index] = self._episode_info(int(index), observations[index])
        self._returns[ended], self._lengths[ended], self._sums[:, ended] = 0.0, 0, 0.0
        return self.episodes.begin_ended(observations), rewards.astype(np.float32), done, infos

    def _episode_info(self, index: int, last: NDArray[np.float32]) -> dict[str, Any]:
        episode: dict[str, float] = {"r": float(self._returns[index]), "l": int(self._lengths[index])}
        episode |= {name: float(self._sums[row, index]) for row, name in enumerate(_SUMS)}
        return {"terminal_observation": last.copy(), "TimeLimit.truncated": True, "episode": episode}

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which choices the present observations leave, [B, sum of choices]."""
        return self._masks(self.episodes.fleets.readings)

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of this object once per environment asked for."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: environments of a batch share their settings."""
        raise ValueError(f"cannot set {attr_name!r} of single environments: they share their settings")

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Return the ``action_masks`` of each environment asked for; refuse the rest: there are none to call.

        Raises:
            ValueError: Another method.
        """
        if method_name == "action_masks":
            masks = self.action_masks()
            return [masks[index] for index in self._get_indices(indices)]
        raise ValueError(f"cannot call {method_name!r}: the batch holds no single environments")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Say that no environment is wrapped."""
        return [False for _ in self._get_indices(indices)]
