import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.make_latency_table import RHO, curve, main
from simulators import latency
from simulators.latency import (
    RESPONSE_GRID,
    RHO_STEP,
    ROUTINGS,
    SERVERS_PER_TARGET,
    TARGETS,
    load_table_file,
    load_tail_table,
    overloaded_tail,
    quantile_from_tail,
    response_tail,
    servers_index,
    threshold_table,
    threshold_tail,
)
from simulators.queue_simulation import (
    LEAST_OUTSTANDING_REQUESTS,
    draw_requests,
    simulate_fleet,
    simulate_target,
)
from simulators.queueing import erlang_arrivals_response_tail, mmc_response_quantile, mmc_response_tail
from telemetry.compiled import compiled

FINE_GRID = np.geomspace(0.1, 3000.0, 700)
P99_OF_8_TARGETS_OF_2 = {  # least outstanding requests, round robin
    (0.7, 1.0): (4.7, 5.9),
    (0.8, 1.0): (4.8, 7.7),
    (0.9, 1.0): (5.5, 13.6),
    (0.8, 4.0): (9.6, 31.5),
}


def tabled_quantile(routing: str, cv2: float, servers: int, targets: int, rho: float, q: float) -> float:
    table = load_tail_table(routing, cv2)[servers_index(servers)]
    tail = [response_tail(table, targets, rho, x) for x in RESPONSE_GRID]
    return float(quantile_from_tail(tail, RESPONSE_GRID, q))


def simulated_tail(routing: str, cv2: float, servers: int, targets: int, rho: float) -> NDArray[np.float64]:
    """[700] P(response > FINE_GRID) from 3 seeds of 2 M requests that the table has not seen."""
    counts = np.zeros(FINE_GRID.size, dtype=np.int64)
    for seed in (501, 502, 503):
        if routing == "round_robin":
            gaps, works = draw_requests(2_200_000, cv2, seed, gap_phases=targets)
            seen, _ = simulate_target(gaps, works, servers, rho, 200_000, FINE_GRID)
        else:
            gaps, works = draw_requests(2_200_000, cv2, seed)
            seen, _ = simulate_fleet(LEAST_OUTSTANDING_REQUESTS, gaps, works, targets, servers, rho, 200_000, FINE_GRID)
        counts += seen
    return counts / 6e6


def plain_response_tail(table: NDArray[np.float32], targets: int, rho: float, x: float) -> float:
    """The same question answered slowly, with numpy's interpolation along one axis after another."""
    log2_targets = min(math.log2(targets), 6.0)
    by_target = np.apply_along_axis(
        lambda column: np.interp(log2_targets, np.arange(7.0), column), 0, table.astype(np.float64)
    )
    by_x = np.apply_along_axis(
        lambda column: np.interp(min(max(rho, 0.0), 0.98), np.arange(99) * RHO_STEP, column), 0, by_target
    )
    grid, logs = np.append(0.0, RESPONSE_GRID), np.append(0.0, by_x)
    if x > grid[-1]:
        slope = (logs[-1] - logs[-2]) / (grid[-1] - grid[-2])
        return math.exp(logs[-1] + slope * (x - grid[-1]))
    return math.exp(np.interp(x, grid, logs))


@pytest.mark.parametrize(("rho", "cv2"), list(P99_OF_8_TARGETS_OF_2))
def test_p99_of_eight_targets_by_routing(rho: float, cv2: float) -> None:
    for routing, p99 in zip(reversed(ROUTINGS), P99_OF_8_TARGETS_OF_2[rho, cv2], strict=True):
        assert tabled_quantile(routing, cv2, 2, 8, rho, 0.99) == pytest.approx(p99, rel=0.10)


def test_planted_fault_one_queue_for_the_whole_fleet_is_caught_at_90_percent() -> None:
    tabled = tabled_quantile("round_robin", 1.0, 2, 8, 0.9, 0.99)
    assert mmc_response_quantile(0.99, 0.9 * 16, 16) < 0.5 * tabled


@pytest.mark.parametrize("servers", SERVERS_PER_TARGET)
def test_one_target_with_exponential_work_is_mmc(servers: int) -> None:
    times = np.array([0.2, 1.0, 3.0, 7.0, 20.0])
    for routing in ROUTINGS:
        table = load_tail_table(routing, 1.0)[servers_index(servers)]
        for rho in (0.0, 0.33, 0.5, 0.77, 0.9, 0.95):
            exact = mmc_response_tail(times, rho * servers, servers)
            tabled = [response_tail(table, 1, rho, x) for x in times]
            seen = exact > 1e-3
            np.testing.assert_allclose(np.array(tabled)[seen], exact[seen], rtol=0.05)


def test_round_robin_with_exponential_work_is_erlang_arrivals_off_the_grid_too() -> None:
    for targets in (2, 3, 6, 8, 12, 24):
        for rho in (0.4, 0.66, 0.88):
            exact = erlang_arrivals_response_tail(RESPONSE_GRID, rho * 4, 4, targets)
            expected = quantile_from_tail(exact, RESPONSE_GRID, 0.99)
            tabled = tabled_quantile("round_robin", 1.0, 4, targets, rho, 0.99)
            assert tabled == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("routing", "cv2", "servers", "targets", "rho", "tolerance"),
    [
        ("round_robin", 4.0, 2, 6, 0.83, 0.10),
        ("round_robin", 4.0, 4, 24, 0.43, 0.10),
        ("round_robin", 2.0, 2, 12, 0.78, 0.10),
        ("round_robin", 1.0, 1, 40, 0.91, 0.10),
        ("least_outstanding_requests", 1.0, 2, 12, 0.87, 0.10),
        ("least_outstanding_requests", 4.0, 1, 5, 0.72, 0.10),
        # Farthest from the grid in all three directions at once, where busy periods are long.
        ("least_outstanding_requests", 3.0, 4, 3, 0.92, 0.15),
        ("least_outstanding_requests", 1.5, 2, 24, 0.64, 0.10),
    ],
)
def test_quantiles_off_the_grid_agree_with_a_fresh_simulation(
    routing: str, cv2: float, servers: int, targets: int, rho: float, tolerance: float
) -> None:
    fresh = simulated_tail(routing, cv2, servers, targets, rho)
    for q in (0.5, 0.95, 0.99):
        expected = quantile_from_tail(fresh, FINE_GRID, q)
        assert tabled_quantile(routing, cv2, servers, targets, rho, q) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("cv2", [1.0, 1.7, 4.0])
def test_table_is_monotone_in_response_time_and_utilization(routing: str, cv2: float) -> None:
    table = load_tail_table(routing, cv2)
    assert table.shape == (len(SERVERS_PER_TARGET), len(TARGETS), 99, len(RESPONSE_GRID))
    assert table.dtype == np.float32
    assert np.all(np.isfinite(table))
    assert np.all(table <= 0.0)
    assert np.all(np.diff(table, axis=3) <= 0.0)
    assert np.all(np.diff(table, axis=2) >= 0.0)


def test_more_targets_never_make_round_robin_worse() -> None:
    tail = np.exp(load_tail_table("round_robin", 1.0))
    assert np.all(np.diff(tail, axis=1) <= 1e-6)
    simulated = np.exp(load_tail_table("round_robin", 4.0))
    assert np.all(np.diff(simulated[:, :, :91], axis=1) <= 0.01)
    assert np.all(np.diff(simulated, axis=1) <= 0.05)


def test_least_outstanding_requests_has_the_lower_p99() -> None:
    for cv2 in (1.0, 2.5, 4.0):
        for servers in SERVERS_PER_TARGET:
            for targets in (2, 8, 32):
                blind, aware = (tabled_quantile(r, cv2, servers, targets, 0.85, 0.99) for r in ROUTINGS)
                assert aware < blind


def test_variability_moves_from_one_table_to_the_other_without_a_jump() -> None:
    for end, near in ((1.0, 1.002), (4.0, 3.998)):
        np.testing.assert_allclose(
            np.exp(load_tail_table("round_robin", near)),
            np.exp(load_tail_table("round_robin", end)),
            atol=0.005,
        )
    p99s = [tabled_quantile("round_robin", cv2, 2, 8, 0.8, 0.99) for cv2 in (1.0, 1.5, 2.0, 3.0, 4.0)]
    assert p99s == sorted(p99s)


def test_compiled_look_up_agrees_with_plain_interpolation() -> None:
    rng = np.random.default_rng(1)
    table = load_tail_table("least_outstanding_requests", 2.0)[1]
    for _ in range(300):
        targets = int(rng.integers(1, 100))
        rho, x = rng.uniform(-0.1, 1.2), 10.0 ** rng.uniform(-1.5, 3.4)
        expected = plain_response_tail(table, targets, rho, x)
        assert response_tail(table, targets, rho, x) == pytest.approx(expected, rel=1e-4, abs=1e-12)
    for x in (*RESPONSE_GRID, 0.4999999, 0.5000001):
        assert response_tail(table, 7, 0.5, x) == pytest.approx(plain_response_tail(table, 7, 0.5, x), rel=1e-4)


def test_edges_of_the_look_up() -> None:
    table = load_tail_table("round_robin", 1.0)[0]
    assert response_tail(table, 4, 0.5, 0.0) == 1.0
    assert response_tail(table, 4, 0.5, -3.0) == 1.0
    assert response_tail(table, 4, 5.0, 10.0) == response_tail(table, 4, 0.98, 10.0)
    assert response_tail(table, 400, 0.7, 4.0) == response_tail(table, 32, 0.7, 4.0)
    assert response_tail(table, 0, 0.7, 4.0) == response_tail(table, 1, 0.7, 4.0)
    assert 0.0 <= response_tail(table, 4, 0.98, 1e9) < 1e-9
    assert [servers_index(vcpu) for vcpu in (1, 2, 3, 4, 7, 8, 16, 96)] == [0, 1, 1, 2, 2, 3, 3, 3]


def test_backlog_wait_is_added_at_five_moments_of_the_tick() -> None:
    table = load_tail_table("round_robin", 1.0)[1]
    waits = (1.0, 3.0, 5.0, 7.0, 9.0)
    expected = np.mean([response_tail(table, 8, 0.98, 8.0 - wait) for wait in waits])
    assert overloaded_tail(table, 8, 1.7, 0.0, 10.0, 8.0) == pytest.approx(expected, rel=1e-12)
    assert overloaded_tail(table, 8, 1.7, 10.0, 0.0, 8.0) == pytest.approx(expected, rel=1e-12)
    assert overloaded_tail(table, 8, 0.6, 0.0, 0.0, 5.0) == pytest.approx(response_tail(table, 8, 0.6, 5.0))
    assert overloaded_tail(table, 8, 1.2, 50.0, 60.0, 8.0) == 1.0


def test_quantiles_of_an_exponential_are_exact_and_cut_at_the_end_of_the_grid() -> None:
    tails = np.exp(-RESPONSE_GRID / np.array([[0.1], [2.0], [9.0]]))
    np.testing.assert_allclose(quantile_from_tail(tails[1:], RESPONSE_GRID, 0.99), [9.2103, 41.447], rtol=1e-4)
    assert quantile_from_tail(tails[0], RESPONSE_GRID, 0.5) == pytest.approx(0.0693, abs=1e-4)
    assert quantile_from_tail(np.ones(24), RESPONSE_GRID, 0.95) == RESPONSE_GRID[-1]
    assert quantile_from_tail(np.zeros(24), RESPONSE_GRID, 0.95) < RESPONSE_GRID[0]
    assert quantile_from_tail([1.0, 1.0, 0.05, 0.0], [10.0, 20.0, 30.0, 40.0], 0.95) == pytest.approx(30.0)


def test_quantile_of_a_mixed_fleet_lies_between_those_of_its_parts() -> None:
    tails = np.exp(-RESPONSE_GRID / np.array([[1.0], [4.0]]))
    fast, slow = quantile_from_tail(tails, RESPONSE_GRID, 0.95)
    mixed = quantile_from_tail(0.7 * tails[0] + 0.3 * tails[1], RESPONSE_GRID, 0.95)
    assert fast < mixed < slow
    assert mixed != pytest.approx(0.7 * fast + 0.3 * slow, rel=0.05)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="routing: expected one of round_robin"):
        load_tail_table("weighted_random", 1.0)
    for cv2 in (0.5, 4.5, math.nan):
        with pytest.raises(ValueError, match="cv2: expected 1 to 4"):
            load_tail_table("round_robin", cv2)
    with pytest.raises(ValueError, match="q: expected"):
        quantile_from_tail(np.ones(24), RESPONSE_GRID, 1.0)
    with pytest.raises(ValueError, match="tail: expected last axis of 24"):
        quantile_from_tail(np.ones(23), RESPONSE_GRID, 0.5)


def test_table_file_states_how_it_was_made_and_is_refused_when_it_is_another(tmp_path: Path) -> None:
    arrays, metadata = load_table_file()
    assert metadata["seeds"] >= 3
    assert metadata["requests_per_seed"] >= 2_000_000
    assert latency.TABLE_PATH.stat().st_size < 500_000
    with pytest.raises(FileNotFoundError, match="make_latency_table"):
        load_table_file(tmp_path / "none.npz")
    other = tmp_path / "other.npz"
    np.savez(other, **arrays, metadata=json.dumps({**metadata, "version": 99}))
    with pytest.raises(ValueError, match="expected version 1, got 99"):
        load_table_file(other)
    np.savez(other, **{**arrays, "servers": np.array([1, 2, 3, 4])}, metadata=json.dumps(metadata))
    with pytest.raises(ValueError, match="axis servers"):
        load_table_file(other)


def test_exact_part_of_the_shipped_table_is_what_the_script_makes() -> None:
    arrays, _ = load_table_file()
    np.testing.assert_array_equal(arrays["rho"], RHO)
    for servers, targets in ((0, 0), (2, 3), (3, 5)):
        made = curve(0, 1.0, SERVERS_PER_TARGET[servers], TARGETS[targets], 0, 0)
        np.testing.assert_allclose(arrays["log_tail"][0, 0, servers, targets], made, rtol=1e-6)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_in_the_same_table(tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    work = tmp_path / "work.npz"
    main(whole, work, 20_000, 1)
    with np.load(work) as kept:
        settings, log_tail = kept["settings"], kept["log_tail"].copy()
    log_tail[1, 0, 1, 1] = np.nan
    np.savez(work, settings=settings, log_tail=log_tail)
    main(resumed, work, 20_000, 1)
    first, again = load_table_file(whole)[0], load_table_file(resumed)[0]
    np.testing.assert_array_equal(first["log_tail"], again["log_tail"])


def test_look_up_runs_inside_compiled_code() -> None:
    @compiled
    def mean_tail(table: NDArray[np.float32], x: float) -> float:
        total = 0.0
        for targets in range(1, 100):
            total += response_tail(table, targets, targets / 100.0, x)
        return total / 99.0

    table = load_tail_table("round_robin", 1.0)[servers_index(4)]
    assert 0.0 < mean_tail(table, 5.0) < 1.0


@pytest.mark.parametrize("x", [0.2, 0.5, 1.3, 4.9, 8.8, 170.0, 3000.0])
def test_a_threshold_table_reads_what_the_whole_table_reads(x: float) -> None:
    rng = np.random.default_rng(1)
    for routing, cv2 in (("round_robin", 1.0), ("least_outstanding_requests", 2.5)):
        tables = load_tail_table(routing, cv2)
        for servers in range(4):
            at_x = threshold_table(tables[servers], x)
            for _ in range(50):
                targets, rho = int(rng.integers(1, 140)), float(rng.uniform(-0.1, 1.2))
                expected = response_tail(tables[servers], targets, rho, x)
                assert threshold_tail(at_x, targets, rho) == pytest.approx(expected, rel=1e-9, abs=1e-300)
