"""Play many policies through the same worlds, scenario by scenario, in two threads, keeping what is done."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import pairwise
from threading import Event
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.store import Store, as_arrays, as_played, identity
from agents.evaluation.worlds import Worlds
from agents.policies import ConstantPolicy, Policy, SideBySide
from agents.rollout import Played, play
from envs.settings import TaskSettings
from simulators.fleets import FleetBatch
from simulators.records import TELEMETRY

_THREADS: Final = 2
_FLEETS_AT_ONCE: Final = 800
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entry:
    """A policy in a comparison.

    Attributes:
        name: In reports.
        policy: Decides for any batch; remembers nothing between decisions.
        identity: What it is, in words: all that its decisions depend on.
    """

    name: str
    policy: Policy
    identity: str


@dataclass(frozen=True)
class Desk:
    """What every part of a comparison needs: where results are kept, and whether to stop.

    Attributes:
        store: Of results.
        stopped: Set when the comparison is interrupted; running plays end at their next decision.
    """

    store: Store = field(default_factory=Store)
    stopped: Event = field(default_factory=Event)

    def check(self) -> None:
        """Raise KeyboardInterrupt if the comparison is to stop."""
        if self.stopped.is_set():
            raise KeyboardInterrupt

    def in_threads(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``work`` of each item, in order, two at a time; an error or interrupt ends what is running."""

        def one(item: Item) -> Result:
            self.check()
            return work(item)

        with ThreadPoolExecutor(_THREADS) as pool:
            waiting = [pool.submit(one, item) for item in items]
            try:
                return [item.result() for item in waiting]
            except BaseException:
                self.stopped.set()
                pool.shutdown(cancel_futures=True)
                raise

    def play(self, policy: Policy, worlds: Worlds, task: TaskSettings, *, detail: bool = False) -> Played:
        """Play one policy through all worlds side by side, once; nothing is kept."""

        def watch(_: FleetBatch) -> None:
            self.check()

        return play(policy, worlds.bank, task, worlds.windows, detail=detail, watch=watch)


def play_all(
    entries: Sequence[Entry],
    worlds: Worlds,
    task: TaskSettings,
    desk: Desk,
    *,
    detail: bool = False,
    scenarios: Sequence[int] | None = None,
) -> list[Played]:
    """Play policies through all worlds of some scenarios.

    Args:
        entries: Policies of one task.
        worlds: Where.
        task: Action settings and menu.
        desk: Where results are kept.
        detail: Also count requests slower than each grid time.
        scenarios: Indices of those played; all of them if None.

    Returns:
        What each policy did, in order; fleets scenario by scenario as in ``worlds``.
    """
    scenarios = range(len(worlds.scenarios)) if scenarios is None else scenarios
    jobs = [(scenario, chunk) for scenario in scenarios for chunk in _chunks(len(entries), len(worlds.seeds))]

    def one(job: tuple[int, slice]) -> list[Played]:
        scenario, chunk = job
        return _play_chunk(entries[chunk], worlds, scenario, task, desk, detail)

    parts: dict[int, list[Played]] = {number: [] for number in range(len(entries))}
    for (_, chunk), played in zip(jobs, desk.in_threads(one, jobs), strict=True):
        for number, item in zip(range(len(entries))[chunk], played, strict=True):
            parts[number].append(item)
    return [join(parts[number]) for number in range(len(entries))]


def _chunks(entries: int, seeds: int) -> Iterator[slice]:
    size = max(1, _FLEETS_AT_ONCE // seeds)
    edges = [*range(0, entries, size), entries]
    return (slice(first, last) for first, last in pairwise(edges))


def _play_chunk(
    entries: Sequence[Entry], worlds: Worlds, scenario: int, task: TaskSettings, desk: Desk, detail: bool
) -> list[Played]:
    windows = worlds.windows_of(scenario)
    count = len(windows)

    def watch(_: FleetBatch) -> None:
        desk.check()

    def make() -> Played:
        policy = _together([entry.policy for entry in entries], count)
        return play(policy, worlds.bank, task, windows.repeat(len(entries)), detail=detail, watch=watch)

    key = identity(
        worlds.identities[scenario], task.model_dump_json(), str(detail), *(entry.identity for entry in entries)
    )
    played = as_played(desk.store.get(key, lambda: as_arrays(make())))
    return [rows(played, slice(number * count, (number + 1) * count)) for number in range(len(entries))]


def _together(policies: Sequence[Policy], fleets: int) -> Policy:
    """Return policies side by side; constants as one array of actions."""
    if not all(isinstance(policy, ConstantPolicy) for policy in policies):
        return SideBySide(policies)
    actions = [policy.act(np.zeros(1, TELEMETRY))[0] for policy in policies]
    return ConstantPolicy(np.repeat(np.stack(actions), fleets, axis=0))


def rows(played: Played, part: slice | NDArray[np.int64]) -> Played:
    """Return what some fleets did."""
    return Played(**{item.name: getattr(played, item.name)[part] for item in fields(Played)})


def join(parts: Sequence[Played]) -> Played:
    """Return what fleets of several plays did, as one; days that a window lacks are 0."""
    days = max(part.daily_usd.shape[1] for part in parts)

    def padded(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return values if values.ndim == 1 else np.pad(values, ((0, 0), (0, days - values.shape[1])))

    return Played(
        **{item.name: np.concatenate([padded(getattr(part, item.name)) for part in parts]) for item in fields(Played)}
    )
