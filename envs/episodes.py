"""Episodes over a batch of fleets: which world each starts in, and stepping them with actions.

Everything about an episode follows from the environment's seed and the number of the episode, never from its
neighbours in a batch: one environment alone and the same one among thousands play the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from envs.action import decode
from envs.observation import ObservationCodec
from envs.reward import Terms, reward_terms, total_reward
from envs.settings import EnvSettings
from envs.worlds import make_bank, playable_ticks
from simulators.bank import Bank
from simulators.draws import EPISODE, uniform
from simulators.fleets import FleetBatch
from simulators.menu import menu_records
from simulators.records import TICKS_PER_ROW
from telemetry.compiled import compiled


@compiled
def _draw_episodes(seeds: NDArray[np.uint64], numbers: NDArray[np.int64], draws: NDArray[np.float64]) -> None:
    for index in range(seeds.shape[0]):
        for part in range(draws.shape[1]):
            draws[index, part] = uniform(seeds[index], EPISODE, numbers[index] * 8 + part)


class Episodes:
    """A batch of environments in lockstep.

    Args:
        settings: Task, worlds and episode length.
        size: Number of environments.
        stagger: Shorten each environment's first episode by a random share, so that ends spread over time.
        bank: World bank; drawn from the settings if None.
    """

    def __init__(self, settings: EnvSettings, size: int, *, stagger: bool = False, bank: Bank | None = None) -> None:
        self.settings = settings
        self.task = settings.task
        self.codec = ObservationCodec(self.task)
        bank = bank or make_bank(settings.source, settings.task)
        self.fleets = FleetBatch(bank, menu_records(self.task.menu), size)
        self._stagger = stagger
        self._seeds = np.zeros(size, np.uint64)
        self._numbers = np.zeros(size, np.int64)
        self.episode_ticks = settings.episode_days * 1440
        self._check_length(bank)

    def _check_length(self, bank: Bank) -> None:
        lengths = bank.tapes["last_tick"] - bank.tapes["first_tick"]
        shortest = int(lengths[bank.worlds["tape"]].min())
        if shortest < self.episode_ticks:
            raise ValueError(
                f"an episode of {self.settings.episode_days} days needs {self.episode_ticks} playable minutes; "
                f"the shortest demand tape has {shortest}"
            )

    def seed(self, seeds: NDArray[np.uint64]) -> None:
        """Give every environment its seed and return it to its first episode."""
        self._seeds[:] = seeds
        self._numbers[:] = 0

    def begin(self, indices: NDArray[np.int64]) -> None:
        """Start the next episode of the environments at ``indices``."""
        bank = self.fleets.bank
        draws = np.empty((len(indices), 4))
        _draw_episodes(self._seeds[indices], self._numbers[indices], draws)
        worlds = (draws[:, 0] * len(bank.worlds)).astype(np.int64)
        first, last = playable_ticks(bank, worlds)
        room = (last - first - self.episode_ticks) // TICKS_PER_ROW + 1
        starts = first + TICKS_PER_ROW * (draws[:, 1] * room).astype(np.int64)
        ticks = np.full(len(indices), self.episode_ticks)
        if self._stagger:
            step = self.task.decision_minutes
            share = np.where(self._numbers[indices] == 0, draws[:, 3], 1.0)
            ticks = np.maximum(step, (share * ticks / step).astype(np.int64) * step)
        seeds = (draws[:, 2] * 2.0**63).astype(np.uint64)
        self.fleets.reset(indices, worlds, starts, starts + ticks, seeds)
        self._numbers[indices] += 1

    def observe(self) -> NDArray[np.float32]:
        """Return fresh observations of the whole batch, [B, F]."""
        return self.codec.encode(self.fleets.readings)

    def begin_ended(self, last: NDArray[np.float32]) -> NDArray[np.float32]:
        """Start the next episode where one has ended; return ``last`` with the first observations in their rows."""
        ended = np.flatnonzero(self.truncated)
        self.begin(ended)
        observations = last.copy()
        observations[ended] = self.codec.encode(self.fleets.readings[ended])
        return observations

    def act(self, actions: NDArray[np.int64], *, detail: bool = False) -> tuple[NDArray[np.float64], Terms]:
        """Play one decision of every environment; return rewards [B] and the terms behind them."""
        decode(actions, self.fleets.readings, self.fleets.decisions, self.task)
        self.fleets.step(self.task.decision_minutes, detail=detail)
        terms = reward_terms(self.fleets.outcomes)
        return total_reward(terms, self.task.reward), terms

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Which environments have played their episode's time, [B]."""
        return self.fleets.finished
