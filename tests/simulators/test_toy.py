"""The toy world: the optimum computed on paper is the one that trying every plan in the real kernel finds."""

from itertools import product

import numpy as np
import pytest

from simulators.toy import (
    OPTIMAL_BILL_USD,
    OPTIMAL_INSTANCES,
    OPTIMAL_PENALTY_USD,
    OPTIMAL_USD,
    PHASE_MINUTES,
    TOY_DEMAND_RPS,
    play_toy,
    toy_world,
)

INSTANCE_MINUTE_USD = 0.096 / 60
PLANS = np.array(list(product(range(1, 5), range(1, 5), range(1, 5), range(1, 11))))


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray, np.ndarray]:
    return play_toy(PLANS)


def test_no_plan_beats_the_one_found_on_paper(played: tuple[np.ndarray, np.ndarray]) -> None:
    bill, penalty = played
    total = bill + penalty
    best = int(np.argmin(total))
    assert tuple(PLANS[best]) == OPTIMAL_INSTANCES
    assert bill[best] == pytest.approx(OPTIMAL_BILL_USD, rel=1e-6)
    assert penalty[best] == pytest.approx(OPTIMAL_PENALTY_USD, rel=1e-6)
    assert pytest.approx(0.112 + 0.0853333, rel=1e-5) == OPTIMAL_USD
    runner_up = np.sort(total)[1]
    assert runner_up - total[best] > 5 * INSTANCE_MINUTE_USD


def test_every_plan_is_billed_for_its_instance_minutes(played: tuple[np.ndarray, np.ndarray]) -> None:
    minutes = PHASE_MINUTES * PLANS.sum(axis=1)
    np.testing.assert_allclose(played[0], minutes * INSTANCE_MINUTE_USD, rtol=1e-6)


def test_a_minute_is_bad_exactly_where_the_table_says(played: tuple[np.ndarray, np.ndarray]) -> None:
    enough = np.array([1, 2, 3, 9])
    serving = (PLANS[:, :3] >= enough[:3]).all(axis=1)
    bad_minutes = played[1] / (np.mean(TOY_DEMAND_RPS) / 120 * INSTANCE_MINUTE_USD)
    np.testing.assert_allclose(bad_minutes[serving], np.where(PLANS[serving, 3] >= 9, 0, 10), atol=1e-6)
    assert (bad_minutes[~serving] > 9.5).all()


def test_utilisations_leave_no_doubt() -> None:
    demand = np.array(TOY_DEMAND_RPS)
    served = demand / (200 * np.array([1, 2, 3, 9]))
    short = demand[1:] / (200 * np.array([1, 2, 8]))
    assert served.max() < 0.92
    assert short.min() > 1.01


def test_the_tape_is_tiny() -> None:
    scenario = toy_world().scenario
    assert (scenario.first_tick, scenario.last_tick) == (15, 55)
    assert scenario.reference_demand_rps == 640.0
