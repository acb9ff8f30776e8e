"""Play a policy through given windows of given worlds and add up what happened."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.policies import Policy
from envs.action import decode
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.menu import menu_records
from simulators.records import OUTCOME

_COUNTS = tuple(name for name in OUTCOME.names or () if name != "slower_requests")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Windows:
    """Which stretch of which world each fleet plays.

    Attributes:
        worlds: [B] world indices.
        starts: [B] first ticks.
        ends: [B] one past the last ticks.
        seeds: [B] fleet seeds.
    """

    worlds: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    seeds: NDArray[np.uint64]

    def __len__(self) -> int:
        """Number of fleets."""
        return len(self.worlds)

    def repeat(self, times: int) -> "Windows":
        """Return every window ``times`` times over, block by block."""
        return Windows(
            np.tile(self.worlds, times),
            np.tile(self.starts, times),
            np.tile(self.ends, times),
            np.tile(self.seeds, times),
        )


@dataclass(frozen=True)
class Played:
    """What a policy did in its windows.

    Attributes:
        totals: [B] OUTCOME records summed over the window.
        daily_usd: [B, days] bill and penalty of each day of the window.
        daily_infra_usd: [B, days] the bill of each day alone.
        daily_reference_usd: [B, days] reference cost of each day.
        longest_bad_run: [B] minutes.
    """

    totals: NDArray[np.void]
    daily_usd: NDArray[np.float64]
    daily_infra_usd: NDArray[np.float64]
    daily_reference_usd: NDArray[np.float64]
    longest_bad_run: NDArray[np.int64]

    @property
    def total_usd(self) -> NDArray[np.float64]:
        """[B] bill before refunds, and penalty."""
        totals = self.totals
        return np.asarray(infra_usd(totals) + totals["slo_penalty_usd"])


def whole_windows(bank: Bank, seed: int = 0) -> Windows:
    """Return every world of a bank from its first playable tick to its last; seeds differ by world."""
    worlds = np.arange(len(bank.worlds))
    tapes = bank.tapes[bank.worlds["tape"]]
    return Windows(
        worlds,
        tapes["first_tick"].astype(np.int64),
        tapes["last_tick"].astype(np.int64),
        (worlds + seed).astype(np.uint64),
    )


def random_windows(bank: Bank, count: int, days: int, seed: int) -> Windows:
    """Return ``count`` random windows of whole days, worlds in turn, from the playable parts of a bank."""
    rng = np.random.default_rng([seed, 0x57A7])
    worlds = np.resize(rng.permutation(len(bank.worlds)), count)
    tapes = bank.tapes[bank.worlds["tape"][worlds]]
    first, room = tapes["first_tick"].astype(np.int64), tapes["last_tick"] - tapes["first_tick"] - days * 1440
    if (room < 0).any():
        raise ValueError(f"a demand tape is shorter than {days} days")
    starts = first + (rng.random(count) * (room // 5 + 1)).astype(np.int64) * 5
    seeds = rng.integers(0, 2**62, count).astype(np.uint64)
    return Windows(worlds.astype(np.int64), starts, starts + days * 1440, seeds)


def play(
    policy: Policy,
    bank: Bank,
    task: TaskSettings,
    windows: Windows,
    *,
    detail: bool = False,
    progress: Progress | None = None,
    watch: Callable[[FleetBatch], None] | None = None,
) -> Played:
    """Play a policy through its windows, all fleets side by side.

    Args:
        policy: Decides for the whole batch.
        bank: World tapes.
        task: Action settings and menu.
        windows: What to play.
        detail: Also count requests slower than each grid time.
        progress: Called with (decisions done, decisions in all).
        watch: Called after every decision with the batch, for those who draw or log.
    """
    fleets = FleetBatch(bank, menu_records(task.menu), len(windows))
    indices = np.arange(len(windows))
    fleets.reset(indices, windows.worlds, windows.starts, windows.ends, windows.seeds)
    totals = np.zeros(len(windows), OUTCOME)
    step = task.decision_minutes
    longest = int((windows.ends - windows.starts).max())
    decisions, days = -(-longest // step), -(-longest // 1440)
    daily_usd, daily_infra, daily_reference = (np.zeros((len(windows), days)) for _ in range(3))
    for number in range(decisions):
        decode(policy.act(fleets.readings), fleets.readings, fleets.decisions, task)
        fleets.step(step, detail=detail)
        outcomes = fleets.outcomes
        for name in _COUNTS:
            totals[name] += outcomes[name]
        if detail:
            totals["slower_requests"] += outcomes["slower_requests"]
        day = number * step // 1440
        infra = infra_usd(outcomes)
        daily_infra[:, day] += infra
        daily_usd[:, day] += infra + outcomes["slo_penalty_usd"]
        daily_reference[:, day] += outcomes["reference_usd"]
        if watch is not None:
            watch(fleets)
        if progress is not None:
            progress(number + 1, decisions)
    runs = fleets.state["longest_bad_run"].astype(np.int64)
    return Played(totals, daily_usd, daily_infra, daily_reference, runs)


def over_reference(played: Played, usd: NDArray[np.float64]) -> float:
    """Return the mean over windows of USD over reference USD; every window counts the same, whatever its size."""
    return float((usd / played.totals["reference_usd"]).mean())


def cost_ratio(played: Played) -> float:
    """Return bill and penalty over reference, the mean over windows."""
    return over_reference(played, played.total_usd)


def bad_fraction(played: Played) -> float:
    """Return the share of bad minutes over all windows."""
    return float(played.totals["bad_minutes"].sum() / max(1, played.totals["ticks"].sum()))
