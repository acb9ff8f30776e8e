"""Both bounds on every world of a comparison, by day."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.bound import Programs, bound_per_tick
from agents.evaluation.playing import Desk
from agents.evaluation.store import identity
from agents.evaluation.tight_bound import TightPrograms, tight_bound_per_tick
from agents.evaluation.worlds import Worlds
from simulators.bank import Bank

Bound = Callable[[Bank, int, int, int], NDArray[np.float64]]


def bound_daily(worlds: Worlds, desk: Desk) -> NDArray[np.float64]:
    """Return the bound of each day of each fleet's window, [fleets, days] USD; 0 on days its window lacks."""
    programs = Programs()
    return _daily("bound", partial(bound_per_tick, programs=programs), worlds, desk)


def tight_bound_daily(worlds: Worlds, desk: Desk) -> NDArray[np.float64]:
    """Return the tighter bound as ``bound_daily`` does; only its sum over a window is a bound."""
    programs = TightPrograms()
    return _daily("tight bound", partial(tight_bound_per_tick, programs=programs), worlds, desk)


def _daily(name: str, bound: Bound, worlds: Worlds, desk: Desk) -> NDArray[np.float64]:
    windows, count = worlds.windows, len(worlds.seeds)

    def of_scenario(scenario: int) -> NDArray[np.float64]:
        daily = np.zeros((count, worlds.days_of(scenario)))
        for seed, row in enumerate(worlds.rows_of([scenario], count)):
            desk.check()
            ticks = bound(worlds.bank, int(row), int(windows.starts[row]), int(windows.ends[row]))
            np.add.at(daily[seed], np.arange(len(ticks)) // 1440, ticks)
        return daily

    def kept(scenario: int) -> NDArray[np.float64]:
        key = identity(name, worlds.identities[scenario])
        return desk.store.get(key, lambda: {"daily": of_scenario(scenario)})["daily"]

    found = desk.in_threads(kept, range(len(worlds.scenarios)))
    days = max(item.shape[1] for item in found)
    return np.concatenate([np.pad(item, ((0, 0), (0, days - item.shape[1]))) for item in found])
