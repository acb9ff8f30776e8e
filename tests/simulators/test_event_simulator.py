"""The compiled simulation, the table, the formulas and the fluid picture, against the event simulator on SimPy."""

import math

import numpy as np
import pytest
from facts import fact
from numpy.typing import NDArray
from reference.event_simulator import (
    ANSWERED,
    REJECTED,
    TIMED_OUT,
    Change,
    Fleet,
    Log,
    draw_works,
    poisson_arrivals,
    simulate,
)

from simulators.latency import (
    RESPONSE_GRID,
    ROUTINGS,
    load_tail_table,
    overloaded_tail,
    quantile_from_tail,
    response_tail,
    servers_index,
)
from simulators.queue_simulation import LEAST_OUTSTANDING_REQUESTS, ROUND_ROBIN, draw_requests, simulate_fleet
from simulators.queueing import fluid_backlog, mmc_mean_response

SECOND_OF_WORK = 0.1
CAPACITY_RPS = 40.0
TIMEOUT_S = 2.0


def steady(fleet: Fleet, utilization: float, cv2: float, requests: int, seed: int) -> tuple[Log, NDArray[np.float64]]:
    """Run Poisson traffic of unit work; returns the log and the responses after the first tenth."""
    rate = utilization * fleet.targets * fleet.servers
    arrivals = poisson_arrivals([(requests / rate, rate)], seed)
    log, _ = simulate(fleet, arrivals, draw_works(arrivals.size, 1.0, cv2, seed))
    return log, log.responses_s()[requests // 10 :]


@pytest.mark.parametrize("routing", [ROUND_ROBIN, LEAST_OUTSTANDING_REQUESTS])
@pytest.mark.parametrize(("targets", "servers", "cv2"), [(3, 2, 4.0), (8, 1, 1.0), (1, 4, 4.0)])
def test_compiled_simulation_gives_every_request_the_same_response(
    routing: int, targets: int, servers: int, cv2: float
) -> None:
    gaps, works = draw_requests(6_000, cv2, 21)
    arrivals = np.cumsum(gaps) / (targets * servers * 0.9)
    log, _ = simulate(Fleet(targets, servers, routing == LEAST_OUTSTANDING_REQUESTS), arrivals, works)
    responses = log.responses_s()
    counts, mean = simulate_fleet(routing, gaps, works, targets, servers, 0.9, 0, RESPONSE_GRID)
    np.testing.assert_array_equal(counts, np.sum(responses[:, None] > RESPONSE_GRID, axis=0))
    assert mean == pytest.approx(responses.mean(), rel=1e-9)


def test_one_request_after_another_by_hand() -> None:
    arrivals, works = np.array([0.0, 1.0, 2.0, 3.0]), np.array([10.0, 10.0, 1.0, 1.0])
    turns, _ = simulate(Fleet(2, 1), arrivals, works)
    np.testing.assert_allclose(turns.responses_s(), [10.0, 10.0, 9.0, 9.0])
    one_place, _ = simulate(Fleet(1, 2), arrivals, works)
    np.testing.assert_allclose(one_place.responses_s(), [10.0, 10.0, 9.0, 9.0])
    short = np.array([10.0, 0.5, 1.0, 1.0])
    emptiest, _ = simulate(Fleet(2, 1, least_outstanding=True), arrivals, short)
    np.testing.assert_allclose(emptiest.responses_s(), [10.0, 0.5, 1.0, 1.0])


def test_a_client_that_leaves_leaves_its_work_behind() -> None:
    arrivals, works = np.array([0.0, 1.0]), np.array([10.0, 0.5])
    log, watch = simulate(Fleet(1, 1, timeout_s=3.0, retries=1), arrivals, works, watch_every_s=5.0, until_s=40.0)
    assert log.outcome == [TIMED_OUT, TIMED_OUT, TIMED_OUT, TIMED_OUT]
    assert log.sent_s == [0.0, 1.0, 3.0, 4.0]
    assert watch.in_system == [0, 4, 3, 2, 2, 0, 0, 0]  # 10, 0.5, 10 and 0.5 seconds of work, one after another


def test_a_full_queue_rejects_at_once_and_the_next_attempt_may_fit() -> None:
    arrivals, works = np.array([0.0, 0.1, 0.2]), np.array([1.0, 1.0, 1.0])
    fleet = Fleet(1, 1, timeout_s=60.0, queue_limit=1, retries=1, retry_delay_s=2.0)
    log, _ = simulate(fleet, arrivals, works)
    assert [(log.request[k], log.attempt[k], log.outcome[k]) for k in range(4)] == [
        (2, 0, REJECTED),
        (0, 0, ANSWERED),
        (1, 0, ANSWERED),
        (2, 1, ANSWERED),
    ]


def test_targets_come_and_go_and_finish_what_they_have() -> None:
    changes = (Change(2.0, 1, True), Change(3.0, 0, False))
    arrivals, works = np.array([0.0, 0.5, 2.5, 3.5, 4.0]), np.array([9.0, 1.0, 1.0, 1.0, 1.0])
    log, _ = simulate(Fleet(2, 1, starting=1, changes=changes), arrivals, works)
    # The first two queue in target 0. Target 1 gets the one whose turn it is, then everything.
    np.testing.assert_allclose(log.responses_s(), [9.0, 9.5, 8.5, 1.0, 1.5])
    none, _ = simulate(Fleet(1, 1, starting=0, timeout_s=5.0), arrivals, works)
    assert set(none.outcome) == {REJECTED}


@pytest.mark.slow
def test_mean_and_little_s_law() -> None:
    arrivals = poisson_arrivals([(20_000.0, 3.2)], 3)
    log, watch = simulate(
        Fleet(1, 4), arrivals, draw_works(arrivals.size, 1.0, 1.0, 3), watch_every_s=0.5, until_s=20_000.0
    )
    mean = float(np.mean(log.response_s))
    assert mean == pytest.approx(mmc_mean_response(3.2, 4), rel=0.04)
    assert np.mean(watch.in_system) == pytest.approx(arrivals.size / 20_000.0 * mean, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("routing", "cv2", "servers", "targets", "utilization", "tolerance"),
    [
        ("round_robin", 1.0, 2, 8, 0.85, 0.06),
        ("round_robin", 4.0, 4, 5, 0.6, 0.05),
        ("least_outstanding_requests", 1.0, 2, 3, 0.85, 0.05),
        ("least_outstanding_requests", 4.0, 4, 12, 0.85, 0.05),
    ],
)
def test_table_agrees_with_the_event_simulator(
    routing: str, cv2: float, servers: int, targets: int, utilization: float, tolerance: float
) -> None:
    fleet = Fleet(targets, servers, routing == ROUTINGS[LEAST_OUTSTANDING_REQUESTS])
    _, responses = steady(fleet, utilization, cv2, 160_000, 17)
    table = load_tail_table(routing, cv2)[servers_index(servers)]
    tails = [response_tail(table, targets, utilization, x) for x in RESPONSE_GRID]
    for q in (0.5, 0.95, 0.99):
        tabled = float(quantile_from_tail(tails, RESPONSE_GRID, q))
        assert tabled == pytest.approx(float(np.quantile(responses, q)), rel=tolerance * (2.0 if q == 0.99 else 1.0))


@pytest.mark.slow
def test_planted_fault_another_routing_or_other_work_is_caught() -> None:
    _, responses = steady(Fleet(8, 2), 0.85, 1.0, 60_000, 18)
    p99 = float(np.quantile(responses, 0.99))
    for routing, cv2 in (("least_outstanding_requests", 1.0), ("round_robin", 4.0)):
        table = load_tail_table(routing, cv2)[servers_index(2)]
        tails = [response_tail(table, 8, 0.85, x) for x in RESPONSE_GRID]
        assert float(quantile_from_tail(tails, RESPONSE_GRID, 0.99)) != pytest.approx(p99, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("utilization", [1.1, 1.25, 1.5])
def test_fluid_backlog_follows_the_event_simulator_through_overload(utilization: float) -> None:
    """Five minutes of overload at 160 requests per second, fed with the work that really came each minute."""
    capacity = 160.0
    arrivals = poisson_arrivals([(300.0, utilization * capacity)], 5)
    works = draw_works(arrivals.size, SECOND_OF_WORK, 1.0, 5)
    _, watch = simulate(Fleet(8, 2), arrivals, works, watch_every_s=60.0, until_s=301.0)
    came = np.bincount((arrivals // 60.0).astype(int), weights=works, minlength=5) / SECOND_OF_WORK
    backlog, found = 0.0, []
    for minute in range(5):
        backlog = fluid_backlog(backlog, came[minute] / 60.0, capacity, 60.0)
        found.append(backlog)
    left = np.array(watch.work_s[1:]) / SECOND_OF_WORK
    np.testing.assert_allclose(found[1:], left[1:], rtol=0.05)
    assert found[0] == pytest.approx(left[0], rel=0.10)
    assert fluid_backlog(0.0, utilization * capacity, capacity, 300.0) == pytest.approx(left[-1], rel=0.10)


@fact("Q-07")
def test_a_backlog_drains_in_its_size_over_the_spare_capacity() -> None:
    """+20 % for 5 min, then 30 % to spare: 200 s, by formula and request by request, arrivals evenly spaced."""
    capacity = 40.0
    backlog = fluid_backlog(0.0, 1.2 * capacity, capacity, 300.0)
    assert backlog == pytest.approx(0.2 * capacity * 300.0)
    drain_s = backlog / (0.3 * capacity)
    assert drain_s == pytest.approx(200.0)
    assert fluid_backlog(backlog, 0.7 * capacity, capacity, drain_s) == pytest.approx(0.0, abs=1e-9)
    assert fluid_backlog(backlog, 0.7 * capacity, capacity, 0.99 * drain_s) > 0.0
    assert fluid_backlog(backlog, 0.7 * capacity, capacity, 1e6) == 0.0

    busy = np.arange(0.0, 300.0, 1.0 / (1.2 * capacity))
    calm = np.arange(300.0, 700.0, 1.0 / (0.7 * capacity))
    arrivals = np.concatenate([busy, calm])
    log, _ = simulate(Fleet(2, 2), arrivals, np.full(arrivals.size, SECOND_OF_WORK))
    waits = log.responses_s() - SECOND_OF_WORK
    assert waits[busy.size - 1] == pytest.approx(backlog / capacity, abs=0.1)
    assert arrivals[np.flatnonzero(waits > 0.05)[-1]] == pytest.approx(300.0 + drain_s, abs=1.0)


@pytest.mark.slow
def test_late_share_while_a_backlog_builds_and_drains() -> None:
    """Minute by minute the share of slow requests, 5 minutes at 120 % and then 70 %, fluid wait plus table."""
    capacity, targets, slow_s = 160.0, 8, 1.0
    steps = [(120.0, 0.7 * capacity), (300.0, 1.2 * capacity), (360.0, 0.7 * capacity)]
    late, came = np.zeros(13), np.zeros(13)
    for seed in range(3):
        arrivals = poisson_arrivals(steps, seed)
        log, _ = simulate(Fleet(targets, 2), arrivals, draw_works(arrivals.size, SECOND_OF_WORK, 1.0, seed))
        minutes = (arrivals // 60.0).astype(int)
        late += np.bincount(minutes, log.responses_s() > slow_s, minlength=13)
        came += np.bincount(minutes, minlength=13)
    table = load_tail_table("round_robin", 1.0)[servers_index(2)]
    backlog, modelled = 0.0, []
    for minute in range(13):
        rate = steps[0][1] if minute < 2 or minute >= 7 else steps[1][1]
        ahead = backlog + (rate - capacity) * 60.0
        after = fluid_backlog(backlog, rate, capacity, 60.0)
        if backlog == after == 0.0:
            modelled.append(response_tail(table, targets, rate / capacity, slow_s / SECOND_OF_WORK))
        else:
            wait, wait_after = (requests / capacity / SECOND_OF_WORK for requests in (backlog, ahead))
            slow = slow_s / SECOND_OF_WORK
            modelled.append(overloaded_tail(table, targets, rate / capacity, wait, wait_after, slow))
        backlog = after
    # The minute in which the backlog ends depends on how many requests happened to come before.
    np.testing.assert_allclose(modelled, late / came, atol=0.12)
    assert abs(np.sum(modelled) - np.sum(late / came)) < 0.25


def spiked(queue_limit: float, retries: int = 3) -> Log:
    """80 % load, a minute of 150 %, and again 80 % for ten minutes; 2 targets of 2, clients wait 2 s."""
    steps = [(120.0, 0.8 * CAPACITY_RPS), (60.0, 1.5 * CAPACITY_RPS), (600.0, 0.8 * CAPACITY_RPS)]
    arrivals = poisson_arrivals(steps, 1)
    works = draw_works(arrivals.size, SECOND_OF_WORK, 1.0, 1)
    fleet = Fleet(2, 2, timeout_s=TIMEOUT_S, retries=retries, queue_limit=queue_limit)
    return simulate(fleet, arrivals, works, watch_every_s=60.0, until_s=780.0)[0]


@pytest.mark.slow
@fact("Q-08")
def test_three_retries_keep_the_event_simulator_saturated_after_a_spike() -> None:
    retrying = spiked(queue_limit=math.inf)
    assert retrying.answered_per_s(60.0, 120.0) == pytest.approx(0.8 * CAPACITY_RPS, rel=0.1)
    assert retrying.answered_per_s(480.0, 780.0) < 0.05 * CAPACITY_RPS
    # Negative control: without retries the same spike passes.
    assert spiked(math.inf, retries=0).answered_per_s(480.0, 780.0) == pytest.approx(0.8 * CAPACITY_RPS, rel=0.1)


@pytest.mark.slow
@fact("Q-08", "Q-09")
def test_shedding_lets_the_event_simulator_recover_and_keeps_goodput_at_capacity() -> None:
    per_target = CAPACITY_RPS / 2.0 * (TIMEOUT_S - SECOND_OF_WORK) / 2.0
    log = spiked(queue_limit=per_target)
    assert log.answered_per_s(300.0, 780.0) == pytest.approx(0.8 * CAPACITY_RPS, rel=0.1)
    arrivals = poisson_arrivals([(300.0, 2.0 * CAPACITY_RPS)], 2)
    works = draw_works(arrivals.size, SECOND_OF_WORK, 1.0, 2)
    goodput = {}
    for limit in (per_target, math.inf):
        fleet = Fleet(2, 2, timeout_s=TIMEOUT_S, queue_limit=limit)
        served, _ = simulate(fleet, arrivals, works, watch_every_s=60.0, until_s=300.0)
        goodput[limit] = served.answered_per_s(100.0, 300.0)
    assert goodput[per_target] == pytest.approx(CAPACITY_RPS, rel=0.05)
    assert goodput[math.inf] < 0.05 * CAPACITY_RPS
