import math

import numpy as np
import pytest
from facts import fact

from simulators.latency import RESPONSE_GRID, quantile_from_tail
from simulators.queue_simulation import (
    LEAST_OUTSTANDING_REQUESTS,
    ROUND_ROBIN,
    draw_requests,
    log_tail_from_counts,
    relative_half_width,
    simulate_fleet,
    simulate_target,
)
from simulators.queueing import (
    erlang_arrivals_response_tail,
    erlang_b,
    erlang_c,
    mmc_mean_response,
    mmc_response_quantile,
    mmc_response_tail,
    service_log_tail,
)

FINE_GRID = np.geomspace(0.1, 3000.0, 700)
SEEDS = (11, 12, 13)
P99_OF_8_TARGETS_OF_2 = {  # central queue, least outstanding requests, round robin, random
    (0.7, 1.0): (4.6, 4.7, 5.9, 7.9),
    (0.8, 1.0): (4.7, 4.8, 7.7, 12.0),
    (0.9, 1.0): (5.4, 5.5, 13.6, 24.6),
    (0.8, 4.0): (8.8, 9.6, 31.5, 35.0),
}


def simulated_p99s(rho: float, cv2: float, requests: int = 2_000_000) -> tuple[float, ...]:
    """p99 of 8 targets of 2 servers: central queue, least outstanding requests, round robin, random."""
    warm_up = requests // 10
    counts = np.zeros((4, FINE_GRID.size), dtype=np.int64)
    for seed in SEEDS:
        gaps, works = draw_requests(requests + warm_up, cv2, seed)
        counts[0] += simulate_target(gaps, works, 16, rho, warm_up, FINE_GRID)[0]
        for row, routing in ((1, LEAST_OUTSTANDING_REQUESTS), (2, ROUND_ROBIN)):
            counts[row] += simulate_fleet(routing, gaps, works, 8, 2, rho, warm_up, FINE_GRID)[0]
        # A target that is picked at random sees Poisson arrivals of its own.
        counts[3] += simulate_target(gaps, works, 2, rho, warm_up, FINE_GRID)[0]
    return tuple(quantile_from_tail(counts / (requests * len(SEEDS)), FINE_GRID, 0.99))


@fact("Q-01")
def test_erlang_b_and_c_of_four_servers_at_80_percent_and_of_thousands() -> None:
    assert erlang_c(4, 3.2) == pytest.approx(0.5964, abs=5e-5)
    blocked = erlang_b(4, 3.2)
    assert erlang_c(4, 3.2) == pytest.approx(blocked / (1.0 - 0.8 * (1.0 - blocked)), rel=1e-12)
    assert 0.0 < erlang_c(5000, 4900.0) < erlang_c(5000, 4990.0) < 1.0


@fact("Q-02")
def test_mean_of_four_servers_at_80_percent() -> None:
    assert mmc_mean_response(3.2, 4) == pytest.approx(1.746, abs=5e-4)
    assert mmc_mean_response(32.0, 4, service_rate=10.0) == pytest.approx(0.1746, abs=5e-5)


def test_erlang_b_is_the_truncated_poisson_probability() -> None:
    terms = [7.0**k / math.factorial(k) for k in range(11)]
    assert erlang_b(10, 7.0) == pytest.approx(terms[-1] / sum(terms), rel=1e-12)
    assert 0.0 < erlang_b(2000, 1990.0) < 0.1


@fact("Q-03")
def test_percentiles_of_four_servers_at_80_percent() -> None:
    assert mmc_response_quantile(0.95, 3.2, 4) == pytest.approx(4.74, abs=0.005)
    assert mmc_response_quantile(0.99, 3.2, 4) == pytest.approx(6.89, abs=0.005)
    assert mmc_response_quantile(0.99, 32.0, 4, service_rate=10.0) == pytest.approx(0.689, abs=0.0005)
    rates = (1.0, 0.8)  # of service, and at which waits decay
    times = np.array([0.0, 1.0, 4.74, 6.89])
    decays = [np.exp(-rate * times) for rate in rates]
    waits = erlang_c(4, 3.2)
    closed = (1.0 - waits) * decays[0] + waits * (rates[1] * decays[0] - rates[0] * decays[1]) / (rates[1] - rates[0])
    np.testing.assert_allclose(mmc_response_tail(times, 3.2, 4), closed, rtol=1e-12)


@fact("Q-04")
def test_one_server_is_exponential() -> None:
    times = np.linspace(0.0, 40.0, 9)
    np.testing.assert_allclose(mmc_response_tail(times, 0.8, 1), np.exp(-0.2 * times), rtol=1e-9)
    for probability, means in ((0.5, 0.693), (0.9, 2.303), (0.95, 2.996), (0.99, 4.605)):
        assert mmc_response_quantile(probability, 0.8, 1) == pytest.approx(5.0 * means, rel=1e-3)


def test_tail_where_wait_and_service_rates_meet_is_the_limit() -> None:
    waits = erlang_c(4, 3.0)
    times = np.array([0.5, 2.0, 8.0])
    np.testing.assert_allclose(mmc_response_tail(times, 3.0, 4), np.exp(-times) * (1.0 + waits * times))
    np.testing.assert_allclose(mmc_response_tail(times, 3.0, 4), mmc_response_tail(times, 3.0 - 1e-6, 4), rtol=1e-5)


def test_tail_integrates_to_the_mean() -> None:
    times = np.linspace(0.0, 80.0, 80_001)
    for servers in (1, 2, 8):
        tail = mmc_response_tail(times, 0.8 * servers, servers)
        assert np.trapezoid(tail, times) == pytest.approx(mmc_mean_response(0.8 * servers, servers), rel=1e-4)


@fact("Q-10")
@pytest.mark.parametrize(
    ("servers", "p99s"),
    [
        (2, (5.7, 8.3, 11.9, 23.3)),
        (4, (4.8, 5.5, 6.9, 12.2)),
        (8, (4.6, 4.8, 5.2, 7.1)),
        (16, (4.6, 4.6, 4.7, 5.3)),
    ],
)
def test_p99_by_servers_and_utilization(servers: int, p99s: tuple[float, ...]) -> None:
    for rho, p99 in zip((0.5, 0.7, 0.8, 0.9), p99s, strict=True):
        assert mmc_response_quantile(0.99, rho * servers, servers) == pytest.approx(p99, abs=0.06)


def allen_cunneen_wait(rho: float, servers: int, gaps_cv2: float, work_cv2: float) -> float:
    """Mean wait of G/G/c in mean service times, with the waiting probability of Sakasegawa (1977)."""
    waits = rho ** (math.sqrt(2.0 * (servers + 1)) - 1.0)
    return (gaps_cv2 + work_cv2) / 2.0 * waits / (servers * (1.0 - rho))


@pytest.mark.parametrize(
    ("targets", "cv2", "tolerance"), [(1, 1.0, 0.05), (1, 4.0, 0.20), (8, 1.0, 0.35), (8, 4.0, 0.35)]
)
def test_simulated_mean_wait_is_near_the_approximation_of_allen_and_cunneen(
    targets: int, cv2: float, tolerance: float
) -> None:
    assert allen_cunneen_wait(0.8, 4, 1.0, 1.0) == pytest.approx(0.771, abs=1e-3)
    gaps, works = draw_requests(2_200_000, cv2, 31, gap_phases=targets)
    _, mean = simulate_target(gaps, works, 4, 0.8, 200_000, RESPONSE_GRID)
    assert allen_cunneen_wait(0.8, 4, 1.0 / targets, cv2) == pytest.approx(mean - 1.0, rel=tolerance)


def test_scatter_of_blocks_is_that_of_independent_requests_when_they_are_independent() -> None:
    rng = np.random.default_rng(41)
    counts = np.stack([rng.binomial(100_000, [0.5, 0.02, 0.004]) for _ in range(400)])
    expected = 1.966 * math.sqrt(0.98 / (0.02 * 400 * 100_000))
    assert relative_half_width(counts, 100_000) == pytest.approx(expected, rel=0.1)
    assert relative_half_width(counts[:, 2:], 100_000) == 0.0


def test_lognormal_work_has_mean_one_and_the_stated_variability() -> None:
    times = np.geomspace(1e-4, 1e5, 40_001)
    tail = np.exp(service_log_tail(times, 4.0))
    assert np.trapezoid(tail, times) == pytest.approx(1.0, rel=1e-3)
    assert np.trapezoid(2.0 * times * tail, times) - 1.0 == pytest.approx(4.0, rel=1e-3)
    np.testing.assert_array_equal(service_log_tail(times, 1.0), -times)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="offered_load < servers"):
        erlang_c(2, 2.0)
    with pytest.raises(ValueError, match="servers >= 1"):
        erlang_b(0, 1.0)
    with pytest.raises(ValueError, match="probability"):
        mmc_response_quantile(1.0, 0.5, 1)
    with pytest.raises(ValueError, match="phases"):
        erlang_arrivals_response_tail(1.0, 0.5, 1, 1)
    with pytest.raises(ValueError, match="cv2"):
        service_log_tail(1.0, 0.5)


@pytest.mark.parametrize(("servers", "rho"), [(1, 0.8), (4, 0.8), (16, 0.9)])
def test_simulated_single_queue_agrees_with_theory(servers: int, rho: float) -> None:
    counts, means = np.zeros(RESPONSE_GRID.size, dtype=np.int64), []
    for seed in SEEDS:
        gaps, works = draw_requests(1_050_000, 1.0, seed)
        seen, mean = simulate_target(gaps, works, servers, rho, 50_000, RESPONSE_GRID)
        counts += seen
        means.append(mean)
    assert np.mean(means) == pytest.approx(mmc_mean_response(rho * servers, servers), rel=0.03)
    exact = mmc_response_tail(RESPONSE_GRID, rho * servers, servers)
    often = exact > 0.05
    np.testing.assert_allclose(counts[often] / 3e6, exact[often], rtol=0.06)


@pytest.mark.parametrize(("targets", "servers", "rho"), [(2, 1, 0.8), (8, 2, 0.9), (4, 8, 0.5), (16, 4, 0.35)])
def test_round_robin_target_agrees_with_erlang_arrivals_and_with_the_whole_fleet(
    targets: int, servers: int, rho: float
) -> None:
    exact = erlang_arrivals_response_tail(RESPONSE_GRID, rho * servers, servers, targets)
    often = exact > 0.05
    gaps, works = draw_requests(1_100_000, 1.0, 4, gap_phases=targets)
    one, _ = simulate_target(gaps, works, servers, rho, 100_000, RESPONSE_GRID)
    np.testing.assert_allclose(one[often] / 1e6, exact[often], rtol=0.05)
    gaps, works = draw_requests(1_100_000, 1.0, 5)
    fleet, _ = simulate_fleet(ROUND_ROBIN, gaps, works, targets, servers, rho, 100_000, RESPONSE_GRID)
    np.testing.assert_allclose(fleet[often] / 1e6, exact[often], rtol=0.10)


def test_heavy_work_on_one_server_has_the_mean_of_pollaczek_and_khinchine() -> None:
    gaps, works = draw_requests(2_200_000, 4.0, 6)
    _, mean = simulate_target(gaps, works, 1, 0.7, 200_000, RESPONSE_GRID)
    assert mean == pytest.approx(1.0 + 0.7 / 0.3 * (1.0 + 4.0) / 2.0, rel=0.05)


def test_fleet_of_one_target_is_the_same_queue_under_either_routing() -> None:
    gaps, works = draw_requests(50_000, 4.0, 7)
    alone = simulate_target(gaps, works, 4, 0.9, 100, RESPONSE_GRID)
    for routing in (ROUND_ROBIN, LEAST_OUTSTANDING_REQUESTS):
        counts, mean = simulate_fleet(routing, gaps, works, 1, 4, 0.9, 100, RESPONSE_GRID)
        np.testing.assert_array_equal(counts, alone[0])
        assert mean == alone[1]


def test_least_outstanding_requests_agrees_with_a_plain_count_of_requests_in_each_target() -> None:
    gaps, works = draw_requests(3_000, 4.0, 8)
    now, turn, responses = 0.0, 0, []
    free_at = np.zeros((3, 2))
    departures: list[list[float]] = [[], [], []]
    for gap, work in zip(gaps, works, strict=True):
        now += gap / (6 * 0.95)
        turn = (turn + 1) % 3
        order = [(turn + step) % 3 for step in range(3)]
        target = min(order, key=lambda k: (sum(end > now for end in departures[k]), k < turn, k))
        server = int(np.argmin(free_at[target]))
        free_at[target, server] = max(now, free_at[target, server]) + work
        departures[target].append(free_at[target, server])
        responses.append(free_at[target, server] - now)
    counts, mean = simulate_fleet(LEAST_OUTSTANDING_REQUESTS, gaps, works, 3, 2, 0.95, 0, RESPONSE_GRID)
    np.testing.assert_array_equal(counts, [sum(r > x for r in responses) for x in RESPONSE_GRID])
    assert mean == pytest.approx(np.mean(responses), rel=1e-9)


def test_the_heap_grows_when_a_fleet_drowns() -> None:
    gaps = np.full(20_000, 0.01)
    works = np.ones(20_000)
    counts, mean = simulate_fleet(LEAST_OUTSTANDING_REQUESTS, gaps, works, 2, 1, 1.0, 0, RESPONSE_GRID)
    assert mean == pytest.approx(0.995 * 20_000 / 2 / 2, rel=0.01)
    assert counts[0] == 20_000


def test_same_seed_gives_the_same_draw_and_another_seed_another() -> None:
    first, again, other = (draw_requests(1_000, 4.0, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_sparse_tails_are_continued_downwards_and_never_below_the_work() -> None:
    for cv2 in (1.0, 4.0):
        gaps, works = draw_requests(110_000, cv2, 9)
        counts, _ = simulate_target(gaps, works, 2, 0.6, 10_000, RESPONSE_GRID)
        log_tail = log_tail_from_counts(counts, 100_000, cv2, RESPONSE_GRID)
        seen = counts >= 1_000
        np.testing.assert_allclose(np.exp(log_tail[seen]), counts[seen] / 100_000, rtol=1e-9)
        assert np.all(np.diff(log_tail) < 0.0)
        assert np.all(log_tail >= service_log_tail(RESPONSE_GRID, cv2))
    with pytest.raises(ValueError, match="got 0"):
        log_tail_from_counts(np.zeros(51, dtype=np.int64), 100_000, 1.0, RESPONSE_GRID)


@pytest.mark.slow
@fact("PM-07")
@pytest.mark.parametrize(("rho", "cv2"), list(P99_OF_8_TARGETS_OF_2))
def test_p99_of_eight_targets_by_routing(rho: float, cv2: float) -> None:
    assert simulated_p99s(rho, cv2) == pytest.approx(P99_OF_8_TARGETS_OF_2[rho, cv2], rel=0.10)


def test_planted_fault_one_queue_for_the_whole_fleet_is_caught_at_90_percent() -> None:
    one_queue = mmc_response_quantile(0.99, 0.9 * 16, 16)
    round_robin = P99_OF_8_TARGETS_OF_2[0.9, 1.0][2]
    assert one_queue != pytest.approx(round_robin, rel=0.10)
    exact = erlang_arrivals_response_tail(FINE_GRID, 1.8, 2, 8)
    assert quantile_from_tail(exact, FINE_GRID, 0.99) == pytest.approx(round_robin, rel=0.10)
