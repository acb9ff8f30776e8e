"""The size from theory, against closed forms and slow pictures of its own."""

import math

import numpy as np
import pytest

from forecasting.capacity.fluid import (
    copes,
    late_share,
    ready_share,
    ready_shares,
    theory_size,
    tolerated_utilization,
    tolerated_utilizations,
)


def test_one_server_answers_as_the_textbook_says() -> None:
    for utilization in (0.1, 0.5, 0.9):
        for multiple in (0.5, 2.0, 10.0):
            found = late_share(utilization, 1, 1.0, multiple)
            assert found == pytest.approx(math.exp(-(1.0 - utilization) * multiple), rel=1e-4)


def test_many_servers_answer_as_a_simulated_queue() -> None:
    rng = np.random.default_rng(5)
    servers, utilization, number = 4, 0.8, 60_000
    arrivals = np.cumsum(rng.exponential(1.0 / (utilization * servers), number))
    work = rng.exponential(1.0, number)
    free = np.zeros(servers)
    responses = np.empty(number)
    for request in range(number):
        first = int(np.argmin(free))
        free[first] = max(free[first], arrivals[request]) + work[request]
        responses[request] = free[first] - arrivals[request]
    for multiple in (1.0, 3.0, 5.0):
        simulated = float((responses[2000:] > multiple).mean())
        assert late_share(utilization, servers, 1.0, multiple) == pytest.approx(simulated, abs=0.015)


def test_the_tolerated_utilization_is_where_five_percent_are_late() -> None:
    found = tolerated_utilization(2, 1.5, 6.0)
    assert late_share(found, 2, 1.5, 6.0) == pytest.approx(0.05, abs=1e-6)
    assert tolerated_utilization(2, 1.0, 1.0) == pytest.approx(0.0, abs=1e-6)
    rising = tolerated_utilizations(np.full(4, 4), np.full(4, 2.0), np.array([4.0, 6.0, 10.0, 20.0]))
    assert (np.diff(rising) > 0).all()


def test_half_serve_at_the_usual_time() -> None:
    assert ready_share(100.0, 100.0) == pytest.approx(0.5)
    assert ready_share(0.0, 100.0) == 0.0
    assert ready_shares(np.array([0.0, 100.0, 1e6]), 300.0).tolist() == pytest.approx([1.0, 0.63, 0.0], abs=0.05)


def _case(**changed: float) -> np.ndarray:
    values = {
        "in_service": 10.0,
        "booting": 0.0,
        "ready_in_s": 0.0,
        "boot_s": 90.0,
        "queue_s": 10.0,
        "timeout_s": 5.0,
        "max_retries": 1.0,
        "backlog_s": 0.0,
        "retry_ratio": 0.0,
        "spot_share": 0.0,
        "slo_s": 0.25,
        "reclaim_minute": 15.0,
        "extra_loss": 0.0,
    }
    return np.array(list((values | changed).values()))


def test_a_steady_demand_needs_demand_over_tolerated_utilization() -> None:
    demand = np.full(30, 6.0)
    size = theory_size(_case()[None], demand[None], np.array([0.75]), 5)[0]
    assert size == pytest.approx(8.0, abs=0.01)


def test_spot_needs_what_a_reclaimed_zone_leaves() -> None:
    demand = np.full(30, 6.0)
    size = theory_size(_case(spot_share=1.0)[None], demand[None], np.array([0.75]), 5)[0]
    assert size == pytest.approx(8.0 / (1.0 - 1.0 / 3.0), rel=0.08)


def test_a_group_that_shrinks_keeps_what_is_on_its_way() -> None:
    demand = np.full(30, 4.0)
    settled, starting = _case(in_service=20.0), _case(in_service=10.0, booting=10.0, ready_in_s=800.0)
    sizes = theory_size(np.array([settled, starting]), demand[None].repeat(2, axis=0), np.full(2, 0.8), 5)
    assert sizes[0] == pytest.approx(5.0, abs=0.01)
    assert sizes[1] > 12.0


def test_retries_keep_an_overload_alive() -> None:
    demand = np.full(30, 9.0)
    calm = theory_size(_case()[None], demand[None], np.array([0.95]), 5)[0]
    storm = _case(max_retries=3.0, retry_ratio=3.0, backlog_s=9.0)
    assert theory_size(storm[None], demand[None], np.array([0.95]), 5)[0] > 1.3 * calm
    assert not copes(calm + 0.1, storm, demand, 0.95, 5)
