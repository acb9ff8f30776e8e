"""The bound on the toy world: the optimum of the relaxed problem, solved independently, and below every real plan."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from agents.evaluation.bound import bound_per_tick
from agents.evaluation.tight_bound import tight_bound_per_tick
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.latency import response_tail
from simulators.menu import ScalingPolicy, menu_records
from simulators.scenario_files import world_bank
from simulators.toy import OPTIMAL_INSTANCES, PHASE_MINUTES, TOY_DEMAND_RPS, toy_catalogue, toy_world

PLANS = np.array(list(product(range(1, 13), repeat=4)))
CAPACITY_RPS = 200.0
INSTANCE_USD_PER_MINUTE = 0.096 / 60 + 20 * 0.08 / 730 / 60
PENALTY_USD = 640 / 120 * 0.096 / 60


@pytest.fixture(scope="module")
def bank() -> Bank:
    return world_bank(toy_world(), toy_catalogue())


@pytest.fixture(scope="module")
def total_usd(bank: Bank) -> np.ndarray:
    """[N] the whole bill and the penalty of every plan in the kernel."""
    fleets = FleetBatch(bank, menu_records([ScalingPolicy(name="manual", kind="manual")]), len(PLANS))
    zeros = np.zeros(len(PLANS), np.int64)
    fleets.reset(np.arange(len(PLANS)), zeros, zeros + 15, zeros + 55, np.arange(len(PLANS), dtype="u8"))
    total = np.zeros(len(PLANS))
    for phase in range(len(TOY_DEMAND_RPS)):
        fleets.decisions["scale"] = PLANS[:, phase] - fleets.state["desired"]
        fleets.step(PHASE_MINUTES)
        total += infra_usd(fleets.outcomes) + fleets.outcomes["slo_penalty_usd"]
    return total


def balancer_usd(demand_rps: float) -> float:
    units = max(demand_rps / 10 / 25, demand_rps * 4e3 * 3600 / 1e9)
    return (0.0225 + 0.008 * units) / 60


def fractional_minute_usd(bank: Bank, demand_rps: float) -> float:
    """The cheapest mixture of fractions of instances, each at a utilisation of its own, that makes a minute good.

    Nothing but the latency table is shared with the bound: late shares at 3,000 steps, by the best number of targets.
    """
    table, service_s = bank.log_tails[0][1], 0.010
    load = np.arange(1, 3001) / 3000
    tail = np.array([min(response_tail(table, n, u, 0.25 / service_s) for n in (1, 4, 16, 32, 64)) for u in load])
    cost = np.append(np.full(len(load), INSTANCE_USD_PER_MINUTE), 0.0)
    served = np.append(CAPACITY_RPS * load, 1.0)
    late = np.append(CAPACITY_RPS * load * tail, 1.0)
    limits = [-(1 - 0.001) * demand_rps, 0.05 * demand_rps]
    solution = linprog(cost, A_ub=np.stack([-served, late]), b_ub=limits, method="highs")
    assert solution.status == 0
    return float(solution.fun)


def test_the_bound_is_the_optimum_of_the_relaxed_problem(bank: Bank) -> None:
    """All sixteen choices of good and bad phases, each with its cheapest fractional fleets."""
    good = [fractional_minute_usd(bank, demand) for demand in TOY_DEMAND_RPS]
    always = sum(balancer_usd(demand) for demand in TOY_DEMAND_RPS)
    choices = {
        bad: PHASE_MINUTES * (always + sum(np.where(bad, PENALTY_USD, good)))
        for bad in product((False, True), repeat=4)
    }
    cheapest = min(choices, key=choices.__getitem__)
    assert cheapest == (False, False, False, True)
    found = bound_per_tick(bank, 0, 15, 55)
    assert found.sum() <= choices[cheapest]
    assert found.sum() == pytest.approx(choices[cheapest], rel=2e-3)


def test_no_plan_is_below_the_bound(bank: Bank, total_usd: np.ndarray) -> None:
    """20,736 plans, the best 1.29 times the bound: one rate for whole instances, and the one that must stay.

    Without drains the second bound adds nothing to the first.
    """
    first, tight = bound_per_tick(bank, 0, 15, 55).sum(), tight_bound_per_tick(bank, 0, 15, 55).sum()
    best = total_usd.min()
    assert tuple(PLANS[total_usd.argmin()]) == OPTIMAL_INSTANCES
    assert tight == pytest.approx(first, rel=1e-12)
    assert best / first == pytest.approx(1.29, abs=0.01)
