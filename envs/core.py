"""``fleetgym/AWSInfrastructure-v0``: one EC2 fleet behind a load balancer as a Gymnasium environment."""

from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.action import action_space, integers
from envs.episodes import Episodes
from envs.history import FleetHistory
from envs.observation import ObservationEncoder
from envs.picture import FleetPicture
from envs.rendering import render_text
from envs.reward import RewardFunction
from envs.settings import EnvSettings
from simulators.bank import Bank
from simulators.records import OUTCOME

Observation = NDArray[np.float32]
Action = NDArray[np.int64]
Frame = str | NDArray[np.uint8]

_COUNTS = ("bad_minutes", "launches", "launch_failures", "interruptions", "type_changes", "clamps")


class InfrastructureEnv(gymnasium.Env[Observation, Action]):
    """One fleet; a step is a decision every five minutes, an episode a day.

    The action is described in ``envs.action``, the observation in ``envs.observation``, the reward in ``envs.reward``,
    the world in docs/semantics.md. An episode is never terminated; it is truncated when its time is over.

    Args:
        settings: Task, worlds and episode length; defaults if None.
        bank: World bank to play in; drawn from the settings if None.
        render_mode: ``ansi`` (text), ``rgb_array`` (a picture of the episode so far; needs matplotlib) or None.
        codec: Turns telemetry into observations; the task's ``ObservationCodec`` if None.
        reward: Rewards decisions; the task's weighted terms if None.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 12}  # noqa: RUF012  (Gymnasium declares it so)

    def __init__(
        self,
        settings: EnvSettings | None = None,
        *,
        bank: Bank | None = None,
        render_mode: str | None = None,
        codec: ObservationEncoder | None = None,
        reward: RewardFunction | None = None,
    ) -> None:
        if render_mode not in (None, "ansi", "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not supported; expected 'ansi', 'rgb_array' or None")
        self.settings = settings or EnvSettings()
        self.render_mode = render_mode
        self.episodes = Episodes(self.settings, 1, bank=bank, codec=codec, reward=reward)
        self.action_space = action_space(self.settings.task)
        self.observation_space = cast(gymnasium.Space[Observation], self.episodes.codec.space)
        self._history = FleetHistory()
        self._picture: FleetPicture | None = None
        if render_mode == "rgb_array":
            self._picture = FleetPicture(self.settings.task, self.episodes.episode_ticks)
        self._seeded = False
        self._first = np.zeros(1, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the next episode; with a seed, the first episode of that seed."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            own = seed if seed is not None else int(self.np_random.integers(2**62))
            self.episodes.seed(np.array([own], np.uint64))
            self._seeded = True
        self.episodes.begin(self._first)
        self.episodes.fleets.outcomes = np.zeros(1, OUTCOME)
        self._history = FleetHistory()
        self._remember()
        return self.episodes.observe()[0], {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one decision and play its minutes.

        Raises:
            ValueError: The action is outside the space; the message names part and value.
            gymnasium.error.ResetNeeded: The episode is over, or none has begun.
        """
        if not self._seeded or self.episodes.truncated[0]:
            raise gymnasium.error.ResetNeeded("the episode is over or has not begun: call reset() first")
        batch = integers(action).reshape(1, -1)
        rewards, terms = self.episodes.act(batch)
        self._remember()
        outcome = self.episodes.fleets.outcomes
        info: dict[str, Any] = {f"reward/{name}": float(value[0]) for name, value in terms.items()}
        info["infra_usd"] = float(self.episodes.infra_usd[0])
        info["slo_penalty_usd"] = float(outcome["slo_penalty_usd"][0])
        info["refund_usd"] = float(outcome["refund_usd"][0])
        info |= {name: int(outcome[name][0]) for name in _COUNTS}
        return self.episodes.observe()[0], float(rewards[0]), False, bool(self.episodes.truncated[0]), info

    def _remember(self) -> None:
        if self._picture is not None:
            self._history.record(self.episodes.fleets)

    def render(self) -> Frame | None:
        """Return the fleet as text (``ansi``) or the episode so far as [560, 960, 3] RGB (``rgb_array``).

        Raises:
            gymnasium.error.ResetNeeded: A picture is asked for before an episode has begun.
        """
        if self._picture is not None:
            if not len(self._history):
                raise gymnasium.error.ResetNeeded("no episode has begun: call reset() before render()")
            return self._picture.draw(self._history)
        if self.render_mode is None:
            return None
        fleets = self.episodes.fleets
        return render_text(fleets.readings[0], fleets.outcomes[0], self.settings.task)
