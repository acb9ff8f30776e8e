"""A second, tighter clairvoyant bound: whole instances that are paid for until they have drained.

``agents.evaluation.bound`` lets capacity appear and vanish from minute to minute. It cannot vanish: an instance that
served in minute s and is stopped later drains, and is billed until ``drain_s`` after its stop. So

1. an instance that serves at any second of minute s is billed for all 60 seconds of minute t = s + j, for every j from
   1 to ``drain_s // 60``, at no less than the lowest price of its type in minute t, unless AWS takes it away sooner:
   - a reclaim in minute r >= s leaves it ``notice_s``, which covers the minutes before ``r + notice_s // 60``;
   - an outage of its zone that begins in minute r, s < r <= t, ends it at once, draining or not;
2. so where no pool reclaims in s .. t - notice_s // 60 and no outage begins in s + 1 .. t, and minute s is good, the
   instances of minute t cost at least C(d_s), the cheapest whole fleet for the demand of s at the prices of t
   (``agents.evaluation.whole_fleet``), and at least what the first bound's program says of the same;
3. the cost G(t, 0) of a good minute t itself is that of the first bound (its instances may serve a part of it only),
   and infinite where no whole fleet that fits makes it good.

Each of these bounds holds by itself, so the instances of minute t cost at least the largest G(t, j) = 60 C over all j
for which minute t - j is good. Which minutes are good is a choice, made for the least of

    sum over t of [largest G(t, j) with t - j good] + sum over bad minutes of their penalty.

A minute whose penalty is at least what all its G(s + j, j) amount to together is good in some optimum, since a term
added to a maximum of non-negative terms raises it by at most itself. Any other minute may be bad: its G with j >= 1 are
left out, and it adds the smaller of its penalty and of what G(t, 0) exceeds the rest by. That leaves a lower bound,
never below the first one.

Only the sum over a window is a bound: a minute that is bad before a stretch of it makes the stretch cheaper. Savings
Plan, balancer, volumes and refunds are treated as in the first bound.
"""

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.bound import (
    Minutes,
    Programs,
    best_shadow_price,
    good_minute,
    lowest_prices,
    used_types,
    window_minutes,
)
from agents.evaluation.whole_fleet import WholeFleet
from agents.rollout import Windows
from simulators.bank import Bank
from simulators.records import TICK_S, ZONES


class TightPrograms:
    """What does not depend on prices, kept between calls over the same bank, for each physics record and work scale."""

    def __init__(self) -> None:
        self.minutes: Programs = {}
        self.fleets: dict[tuple[int, float], WholeFleet] = {}

    def whole_fleet(self, bank: Bank, world: np.void, scale: float) -> WholeFleet:
        """Return the whole fleets of a world's physics at a work scale."""
        index = int(world["physics"])
        if (index, scale) not in self.fleets:
            self.fleets[index, scale] = WholeFleet(bank.log_tails[index], bank.physics[index], scale)
        return self.fleets[index, scale]


def billed_after(bank: Bank, world: np.void, first_tick: int, last_tick: int) -> NDArray[np.bool_]:
    """Return whether what served ``lag`` minutes before a minute is surely billed in all of it, [lags, ticks].

    Lags 1, 2, ... to the drain's whole minutes; minutes before the window do not count.
    """
    physics = bank.physics[world["physics"]]
    market, phase = int(world["market"]), int(world["market_phase"])
    ticks = np.arange(first_tick, last_tick)
    rows = (ticks + phase) % bank.reclaim.shape[1]
    pools = np.concatenate([np.arange(kind * ZONES, (kind + 1) * ZONES) for kind in used_types(physics)])
    down = bank.zone_down[market]
    begins = (down[rows] & ~down[(ticks - 1 + phase) % len(down)]) > 0
    reclaims = _counted(bank.reclaim[market][rows][:, pools].any(axis=1))
    outages = _counted(begins)
    noticed, at = int(physics["notice_s"]) // 60, np.arange(len(ticks))
    lags = np.arange(1, int(physics["drain_s"]) // 60 + 1)[:, None]
    served = at - lags
    start = np.maximum(served, 0)
    reclaimed = reclaims[np.maximum(at - noticed + 1, start)] - reclaims[start]
    outage = outages[at + 1] - outages[start + 1]
    return np.asarray((served >= 0) & (reclaimed == 0) & (outage == 0))


def _counted(events: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of events before each minute, [ticks + 1]."""
    return np.concatenate(([0], np.cumsum(events)))


def good_minutes_usd(
    bank: Bank,
    world: np.void,
    minutes: Minutes,
    prices_usd_per_s: NDArray[np.float64],
    billed: NDArray[np.bool_],
    programs: TightPrograms,
) -> NDArray[np.float64]:
    """Return G: what the instances of a minute cost if the minute ``lag`` before is good, [lags from 0, ticks] USD.

    Args:
        bank: World tapes.
        world: WORLD record.
        minutes: Minutes of the window.
        prices_usd_per_s: [hours, types in use] lowest prices.
        billed: [lags from 1, ticks] of ``billed_after``.
        programs: Kept between calls.
    """
    usd = np.zeros((len(billed) + 1, len(minutes.hour)))
    asked = minutes.scored & (minutes.demand_rps > 0.0)
    for scale in np.unique(minutes.work_scale):
        served = np.flatnonzero(asked & (minutes.work_scale == scale))
        fleet = programs.whole_fleet(bank, world, float(scale))
        whole = fleet.usd_per_s(prices_usd_per_s)
        per_request = good_minute(bank, world, float(scale), programs.minutes).usd_per_request(prices_usd_per_s)
        step = np.searchsorted(fleet.demand_rps, minutes.demand_rps[served], side="right") - 1
        for lag in range(len(usd)):
            kept = served + lag < usd.shape[1]
            at, demand = served[kept] + lag, minutes.demand_rps[served[kept]]
            mixed, fleet_usd = per_request[minutes.hour[at]] * demand, whole[minutes.hour[at], step[kept]]
            rate = np.maximum(mixed, fleet_usd) if lag > 0 else np.where(np.isinf(fleet_usd), np.inf, mixed)
            booked = minutes.scored[at] & (billed[lag - 1, at] if lag > 0 else True)
            usd[lag, at] = np.where(booked, TICK_S * rate, 0.0)
    return usd


def least_total_usd(usd: NDArray[np.float64], penalty_usd: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a lower bound on instances and penalties over all choices of good minutes, [ticks] USD.

    Args:
        usd: [lags from 0, ticks] of ``good_minutes_usd``.
        penalty_usd: [ticks] penalty of a bad minute.
    """
    lags, ticks = usd.shape
    together = usd[0].copy()
    for lag in range(1, lags):
        together[: ticks - lag] += usd[lag, lag:]
    may_be_bad = penalty_usd < together
    cost = np.where(may_be_bad, 0.0, usd[0])
    for lag in range(1, lags):
        np.maximum(cost[lag:], np.where(may_be_bad[: ticks - lag], 0.0, usd[lag, lag:]), out=cost[lag:])
    more = np.minimum(penalty_usd, np.maximum(usd[0] - cost, 0.0))
    return np.asarray(cost + np.where(may_be_bad, more, 0.0))


def tight_bound_per_tick(
    bank: Bank, world_index: int, first_tick: int, last_tick: int, programs: TightPrograms | None = None
) -> NDArray[np.float64]:
    """Return the tighter bound of one window, spread over its ticks: [ticks] USD, whose sum is the bound.

    ``programs`` keeps what does not depend on the window between calls over the same bank.
    """
    world = bank.worlds[world_index]
    physics = bank.physics[world["physics"]]
    minutes = window_minutes(bank, world, first_tick, last_tick)
    billed = billed_after(bank, world, first_tick, last_tick)
    kept = TightPrograms() if programs is None else programs

    def cost_usd(on_demand_share: float) -> NDArray[np.float64]:
        prices = lowest_prices(bank, world, physics, first_tick, last_tick, on_demand_share)
        good = good_minutes_usd(bank, world, minutes, prices, billed, kept)
        cost: NDArray[np.float64] = least_total_usd(good, minutes.penalty_usd) + minutes.balancer_usd
        return cost * minutes.scored

    return best_shadow_price(physics, minutes, cost_usd)


def tight_bound_usd(bank: Bank, windows: Windows) -> NDArray[np.float64]:
    """Return the tighter bound of each window, [B] USD."""
    programs = TightPrograms()
    return np.array(
        [
            tight_bound_per_tick(bank, int(world), int(start), int(end), programs).sum()
            for world, start, end in zip(windows.worlds, windows.starts, windows.ends, strict=True)
        ]
    )
