"""Episodes over a batch of fleets: which world each starts in, and stepping them with actions.

Everything about an episode follows from the environment's seed and the number of the episode, never from its
neighbours in a batch: one environment alone and the same one among thousands play the same bits.
"""

import numpy as np
from numpy.typing import NDArray

from envs.action import decode
from envs.observation import ObservationCodec, ObservationEncoder
from envs.reward import RewardFunction, Terms, score, total_reward
from envs.settings import EnvSettings
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.draws import EPISODE, uniform
from simulators.fleets import FleetBatch
from simulators.menu import menu_records
from simulators.records import TICKS_PER_ROW
from telemetry.compiled import compiled


@compiled
def _draw_episodes(
    seeds: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    indices: NDArray[np.int64],
    worlds: NDArray[np.void],
    tapes: NDArray[np.void],
    episode_ticks: int,
    stagger_ticks: int,
    plans: NDArray[np.int64],
    fleet_seeds: NDArray[np.uint64],
) -> None:
    """Draw world, first and last tick (``plans`` [3, N]) and seed of the next episode of some environments.

    Where ``stagger_ticks`` is not 0 a first episode lasts a random multiple of it.
    """
    for position in range(indices.shape[0]):
        seed, number = seeds[indices[position]], numbers[indices[position]]
        world = int(uniform(seed, EPISODE, number * 8) * worlds.shape[0])
        tape = tapes[worlds[world].tape]
        room = (int(tape.last_tick) - int(tape.first_tick) - episode_ticks) // TICKS_PER_ROW + 1
        start = int(tape.first_tick) + TICKS_PER_ROW * int(uniform(seed, EPISODE, number * 8 + 1) * room)
        ticks = episode_ticks
        if stagger_ticks:
            share = uniform(seed, EPISODE, number * 8 + 3) if number == 0 else 1.0
            ticks = max(stagger_ticks, int(share * ticks / stagger_ticks) * stagger_ticks)
        plans[0, position], plans[1, position], plans[2, position] = world, start, start + ticks
        fleet_seeds[position] = np.uint64(uniform(seed, EPISODE, number * 8 + 2) * 2.0**63)
        numbers[indices[position]] += 1


class Episodes:
    """A batch of environments in lockstep.

    Args:
        settings: Task, worlds and episode length.
        size: Number of environments.
        stagger: Shorten each environment's first episode by a random share, so that ends spread over time.
        bank: World bank; drawn from the settings if None.
        codec: Turns telemetry into observations; the task's ``ObservationCodec`` if None.
        reward: Rewards decisions; the task's weighted terms if None.

    Attributes:
        fleets: The batch they play in.
        reward: As given.
        infra_usd: [B] bill before refunds of the latest decision, USD.
    """

    def __init__(
        self,
        settings: EnvSettings,
        size: int,
        *,
        stagger: bool = False,
        bank: Bank | None = None,
        codec: ObservationEncoder | None = None,
        reward: RewardFunction | None = None,
    ) -> None:
        self.settings = settings
        self.task = settings.task
        self.codec: ObservationEncoder = codec or ObservationCodec(self.task)
        self.reward = reward
        bank = bank or make_bank(settings.source, settings.task)
        self.fleets = FleetBatch(bank, menu_records(self.task.menu), size)
        self.infra_usd = np.zeros(size)
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
        plans = np.empty((3, len(indices)), np.int64)
        seeds = np.empty(len(indices), np.uint64)
        stagger_ticks = self.task.decision_minutes if self._stagger else 0
        _draw_episodes(
            self._seeds,
            self._numbers,
            indices,
            bank.worlds,
            bank.tapes,
            self.episode_ticks,
            stagger_ticks,
            plans,
            seeds,
        )
        self._reset(indices, plans, seeds)

    def _reset(self, indices: NDArray[np.int64], plans: NDArray[np.int64], seeds: NDArray[np.uint64]) -> None:
        """Start fleets in their worlds, from their first to their last ticks (``plans``, [3, N])."""
        self.fleets.reset(indices, plans[0], plans[1], plans[2], seeds)

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
        terms, self.infra_usd = score(self.fleets.outcomes)
        if self.reward is not None:
            return self.reward(self.fleets.outcomes, terms), terms
        return total_reward(terms, self.task.reward), terms

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Which environments have played their episode's time, [B]."""
        return self.fleets.finished
