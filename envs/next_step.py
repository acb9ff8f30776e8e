"""The native batch as a Gymnasium vector environment whose ended episodes start anew in the next step."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.action import action_space, integers
from envs.episodes import Episodes


class NextStepVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """Fleets with Gymnasium's ``NEXT_STEP`` autoreset, for libraries that know no other.

    The step that ends an episode returns its last observation. The step after it ignores that fleet's action, rewards
    0 and returns the first observation of its next episode.

    Args:
        episodes: The batch.
        first_seed: Seed of the first environment; the others follow upwards.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(self, episodes: Episodes, first_seed: int) -> None:
        self.episodes = episodes
        self.num_envs = len(episodes.fleets)
        self.render_mode = None
        self._first_seed = first_seed
        self._begun = False
        self.single_action_space: gymnasium.Space[Any] = action_space(episodes.task)
        self.single_observation_space: gymnasium.Space[Any] = episodes.codec.space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start the next episode everywhere; the first one on the first call. ``seed`` and ``options`` are ignored."""
        if not self._begun:
            self.episodes.seed(np.arange(self._first_seed, self._first_seed + self.num_envs, dtype=np.uint64))
            self._begun = True
        self.episodes.begin(np.arange(self.num_envs))
        return self.episodes.observe(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Apply one decision everywhere, or start the next episode where the last step ended one.

        Raises:
            ValueError: An action outside the space, with the environment's index.
            gymnasium.error.ResetNeeded: No episode has begun.
        """
        if not self._begun:
            raise gymnasium.error.ResetNeeded("no episode has begun: call reset() first")
        ended = np.flatnonzero(self.episodes.truncated)
        rewards, _ = self.episodes.act(integers(actions))
        rewards[ended] = 0.0
        self.episodes.begin(ended)
        return self.episodes.observe(), rewards, np.zeros(self.num_envs, np.bool_), self.episodes.truncated, {}
