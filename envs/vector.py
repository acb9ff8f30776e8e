"""The native vector environment: thousands of fleets in one compiled call."""

from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.action import action_space, integers
from envs.episodes import Episodes
from envs.observation import ObservationEncoder
from envs.reward import RewardFunction
from envs.settings import EnvSettings
from simulators.bank import Bank


class InfrastructureVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Many fleets; an episode that ends starts the next one in the same step.

    With seed ``s``, environment ``i`` plays what ``InfrastructureEnv`` plays with seed ``s + i``. At the end of an
    episode ``infos["final_obs"]`` holds the last observation of those that ended (rows of the others repeat the
    current one) and ``infos["_final_obs"]`` says which they are.

    Args:
        num_envs: Number of environments.
        settings: Task, worlds and episode length; defaults if None.
        bank: World bank to play in; drawn from the settings if None.
        stagger: Shorten first episodes by a random share.
        render_mode: Only None.
        codec: Turns telemetry into observations; the task's ``ObservationCodec`` if None.
        reward: Rewards decisions; the task's weighted terms if None.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self,
        num_envs: int = 1,
        settings: EnvSettings | None = None,
        *,
        bank: Bank | None = None,
        stagger: bool = False,
        render_mode: str | None = None,
        codec: ObservationEncoder | None = None,
        reward: RewardFunction | None = None,
    ) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode {render_mode!r} is not supported by the vector environment")
        self.settings = settings or EnvSettings()
        self.num_envs = num_envs
        self.render_mode = None
        self.episodes = Episodes(self.settings, num_envs, stagger=stagger, bank=bank, codec=codec, reward=reward)
        self.single_action_space = action_space(self.settings.task)
        self.single_observation_space = self.episodes.codec.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._seeded = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start a new episode everywhere; a seed ``s`` gives environment ``i`` the seed ``s + i``."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        if isinstance(seed, list):
            drawn = [int(self.np_random.integers(2**62)) if own is None else own for own in seed]
            self.episodes.seed(np.array(drawn, np.uint64))
        elif seed is not None or not self._seeded:
            first = seed if seed is not None else int(self.np_random.integers(2**62))
            self.episodes.seed(np.arange(first, first + self.num_envs, dtype=np.uint64))
        self._seeded = True
        self.episodes.begin(np.arange(self.num_envs))
        return self.episodes.observe(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Apply one decision everywhere.

        Raises:
            ValueError: An action outside the space, with the environment's index.
            gymnasium.error.ResetNeeded: No episode has begun.
        """
        if not self._seeded:
            raise ResetNeeded("no episode has begun: call reset() first")
        rewards, terms = self.episodes.act(integers(actions))
        outcomes = self.episodes.fleets.outcomes
        infos: dict[str, Any] = {f"reward/{name}": value for name, value in terms.items()}
        infos["infra_usd"] = self.episodes.infra_usd
        infos["slo_penalty_usd"] = outcomes["slo_penalty_usd"].copy()
        infos["bad_minutes"] = outcomes["bad_minutes"].copy()
        truncated = self.episodes.truncated
        observations = self.episodes.observe()
        if truncated.any():
            infos["final_obs"], infos["_final_obs"] = observations, truncated
            observations = self.episodes.begin_ended(observations)
        return observations, rewards, np.zeros(self.num_envs, np.bool_), truncated, infos
