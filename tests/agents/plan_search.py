"""A search for schedules that cost less than a bound says: random ones, ones that know the tape, and hill climbing."""

from dataclasses import dataclass

import numpy as np

from agents.rollout import Windows
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.menu import ScalingPolicy, menu_records

MANUAL = menu_records([ScalingPolicy(name="manual", kind="manual")])


@dataclass(frozen=True)
class Plans:
    """What is asked for in each minute of a small world, [N, ticks] each: instances, candidate, spot share."""

    size: np.ndarray
    spec: np.ndarray
    spot: np.ndarray

    def __len__(self) -> int:
        return len(self.size)

    def pick(self, rows: np.ndarray) -> "Plans":
        return Plans(self.size[rows], self.spec[rows], self.spot[rows])


def joined(first: Plans, second: Plans) -> Plans:
    parts = zip((first.size, first.spec, first.spot), (second.size, second.spec, second.spot), strict=True)
    return Plans(*(np.concatenate(pair) for pair in parts))


def whole_window(bank: Bank) -> Windows:
    """The one world of a bank from its first tick to its last."""
    return Windows(np.array([0]), np.array([0]), bank.tapes["length"][:1].astype(np.int64), np.zeros(1, np.uint64))


def play_plans(bank: Bank, plans: Plans) -> np.ndarray:
    """[N, ticks] bill before refunds, and penalty; every fleet starts empty, all with the same luck."""
    bank.physics["min_instances"] = 0
    count, ticks = plans.size.shape
    fleets = FleetBatch(bank, MANUAL, count)
    zeros = np.zeros(count, np.int64)
    fleets.reset(np.arange(count), zeros, zeros, np.full(count, ticks), np.ones(count, np.uint64))
    for name in ("live", "desired", "serial", "settled_until_s", "priced_until_s"):
        fleets.state[name] = 0
    cost = np.empty((count, ticks))
    for tick in range(ticks):
        fleets.decisions["scale"] = plans.size[:, tick] - fleets.state["desired"]
        fleets.decisions["spec"] = plans.spec[:, tick]
        fleets.decisions["spot_fraction"] = plans.spot[:, tick]
        fleets.step(1)
        cost[:, tick] = infra_usd(fleets.outcomes) + fleets.outcomes["slo_penalty_usd"]
    return cost


def _knowing(bank: Bank, rng: np.random.Generator, count: int) -> Plans:
    """Schedules that know the tape: the most that any of the next minutes needs at some utilisation, or nothing."""
    ticks = int(bank.tapes[0]["length"])
    physics, demand = bank.physics[0], bank.demand_rps[:ticks].astype(np.float64)
    spec = rng.integers(0, int(physics["num_candidates"]), count)
    capacity = physics["candidate_capacity_rps"][spec]
    need = demand / (capacity * rng.uniform(0.8, 1.0, count))[:, None]
    refused = np.quantile(demand, rng.uniform(0.6, 1.0, (count, 1))) if demand.min() < demand.max() else np.inf
    need[(demand > refused) & (rng.random((count, 1)) < 0.3)] = 0.0
    ahead, held = rng.integers(0, 5, count), rng.integers(0, 8, count)
    size = need.copy()
    for back in range(1, 8):
        later, earlier = np.roll(need, -back, axis=1), np.roll(need, back, axis=1)
        later[:, -back:] = earlier[:, :back] = 0.0
        size = np.maximum(size, np.where((ahead >= back)[:, None], later, 0.0))
        size = np.maximum(size, np.where((held >= back)[:, None], earlier, 0.0))
    size = np.ceil(size).clip(0, int(physics["max_instances"])).astype(np.int64)
    spot = rng.choice([0.0, 0.5, 1.0, 1.0, 1.0, 1.0], count)
    return Plans(size, np.repeat(spec[:, None], ticks, axis=1), np.repeat(spot[:, None], ticks, axis=1))


def _random(bank: Bank, rng: np.random.Generator, count: int) -> Plans:
    """Sizes, candidates and spot shares that are drawn anew every few minutes."""
    ticks, physics = int(bank.tapes[0]["length"]), bank.physics[0]
    largest = max(2, int(2.0 * bank.demand_rps[:ticks].max() / physics["candidate_capacity_rps"][0]))
    block = np.minimum(np.arange(ticks) // rng.integers(1, 30, (count, 1)), ticks - 1)
    rows = np.arange(count)[:, None]
    size = rng.integers(0, min(largest, int(physics["max_instances"])) + 1, (count, ticks))[rows, block]
    spec = rng.integers(0, int(physics["num_candidates"]), (count, ticks))[rows, block]
    return Plans(size, spec, rng.choice([0.0, 0.5, 1.0], (count, ticks))[rows, block])


def _changed(bank: Bank, best: Plans, rng: np.random.Generator, count: int) -> Plans:
    """Copies of good schedules with stretches moved, sized up or down, bought elsewhere or joined with another's."""
    plans, ticks = best.pick(rng.integers(0, len(best), count)), best.size.shape[1]
    size, spec, spot = plans.size.copy(), plans.spec.copy(), plans.spot.copy()
    tick = np.arange(ticks)
    for _ in range(3):
        first = rng.integers(0, ticks, (count, 1))
        inside = (tick >= first) & (tick < first + rng.geometric(0.1, (count, 1)))
        kind = rng.integers(0, 8, (count, 1))
        size = np.where(inside & (kind <= 2), size + rng.integers(-2, 3, (count, 1)), size)
        size = np.where(inside & (kind == 3), np.roll(size, rng.choice([-1, 1]), axis=1), size)
        size = np.where(inside & (kind == 4), 0, size)
        spec = np.where(inside & (kind == 5), rng.integers(0, int(bank.physics[0]["num_candidates"])), spec)
        spot = np.where(inside & (kind == 6), rng.choice([0.0, 1.0], (count, 1)), spot)
        size = np.where(inside & (kind == 7), best.size[rng.integers(0, len(best), count)], size)
    return Plans(size.clip(0, int(bank.physics[0]["max_instances"])), spec, spot)


@dataclass(frozen=True)
class Found:
    """The cheapest schedules first: cost of every minute of the best ones, and how many were played."""

    cost_usd: np.ndarray
    lowest_by_tick: np.ndarray
    tried: int

    @property
    def best_usd(self) -> float:
        return float(self.cost_usd[0].sum())


def search(bank: Bank, *, seed: int = 0, rounds: int = 10, count: int = 250, kept: int = 25) -> Found:
    """Try ``rounds * count`` schedules, the later ones close to the best so far."""
    rng = np.random.default_rng(seed)
    plans = joined(_knowing(bank, rng, count - count // 5), _random(bank, rng, count // 5))
    cost = play_plans(bank, plans)
    lowest = cost.min(axis=0)
    for _ in range(rounds - 1):
        order = np.argsort(cost.sum(axis=1), kind="stable")[:kept]
        plans, cost = plans.pick(order), cost[order]
        fresh = _changed(bank, plans, rng, count)
        plans, cost = joined(plans, fresh), np.concatenate([cost, play_plans(bank, fresh)])
        lowest = np.minimum(lowest, cost.min(axis=0))
    order = np.argsort(cost.sum(axis=1), kind="stable")[:kept]
    return Found(cost[order], lowest, rounds * count)
