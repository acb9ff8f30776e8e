"""Tables for the models: against the kernel played by hand, brute force, and their own promises."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecasting.capacity.columns import (
    CAPACITY_COLUMNS,
    MAX_INSTANCES,
    PERFORMANCE_COLUMNS,
    RECLAIM_MINUTE,
    extrapolates,
    names,
    read_columns,
)
from simulators.catalogue import TYPES
from simulators.latency import load_tail_table, quantile_from_tail, response_tail
from simulators.physics import Physics, Workload, WorldSettings
from simulators.records import RESPONSE_GRID_MS
from simulators.tables import capacity_table, performance_table
from simulators.tables.capacity import draw_quantiles, is_adequate, least_adequate
from simulators.tables.fleets import Fleets, batches, read_states, start_fleets
from simulators.tables.services import Service, draw_services, service_records


def _fleets(rows: int, *, now_rps: float, window: np.ndarray, **changed: np.ndarray) -> Fleets:
    fleets = Fleets(
        in_service=np.full(rows, 6),
        booting=np.zeros(rows, np.int64),
        launched_ago=np.ones(rows, np.int64),
        spot_share=np.zeros(rows),
        now_rps=np.full(rows, now_rps),
        window_rps=window,
        seeds=np.arange(rows, dtype=np.uint64),
    )
    return replace(fleets, **changed)


SERVICE = Service(TYPES[0], WorldSettings(physics=Physics(), workload=Workload(cpu_ms_per_request=40.0)))


@pytest.fixture(scope="module")
def performance() -> pd.DataFrame:
    return performance_table(400, seed=7)


@pytest.fixture(scope="module")
def capacity() -> pd.DataFrame:
    return capacity_table(150, seed=7)


def test_a_calm_fleet_answers_as_the_latency_table_says() -> None:
    records = service_records([SERVICE])
    capacity_rps = records["capacity_rps"][0, 0]
    demand = 0.7 * 6 * capacity_rps
    batch = start_fleets([SERVICE], records, _fleets(1, now_rps=demand, window=np.full((1, 5), demand)))
    batch.step(5, detail=True)
    found = quantile_from_tail(
        batch.outcomes["slower_requests"] / batch.outcomes["requests"][:, None], RESPONSE_GRID_MS, 0.95
    )
    tails = load_tail_table("round_robin", 1.0)[1]
    service_ms = records["service_s"][0, 0] * 1000.0
    expected = quantile_from_tail(
        [response_tail(tails, 6, 0.7, ms / service_ms) for ms in RESPONSE_GRID_MS], RESPONSE_GRID_MS, 0.95
    )
    assert found[0] == pytest.approx(float(expected), rel=1e-4)


def test_a_fleet_looks_as_it_was_asked_to() -> None:
    rows = 4
    records = service_records([SERVICE] * rows)
    capacity_rps = records["capacity_rps"][0, 0]
    fleets = _fleets(
        rows,
        now_rps=1.2 * 6 * capacity_rps,
        window=np.full((rows, 5), 10.0),
        booting=np.array([0, 3, 3, 3]),
        launched_ago=np.array([1, 0, 1, 4]),
        spot_share=np.array([0.0, 0.0, 0.5, 0.0]),
    )
    batch = start_fleets([SERVICE] * rows, records, fleets)
    state = read_states(batch, records, fleets.now_rps)
    assert (state.in_service + state.booting).tolist() == [6, 9, 9, 9]
    assert state.booting[:3].tolist() == [0, 3, 3]
    assert (state.backlog_s[:3] > 1.0).all()
    assert (state.utilization[:3] > 0.99).all()
    spot = batch.state["market"][2, : batch.state["live"][2]].sum()
    assert spot == 4


def test_a_table_is_the_same_every_time_and_another_from_another_seed(performance: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(performance, performance_table(400, seed=7))
    other = performance_table(60, seed=8)
    assert not set(other["cpu_ms_per_request"]) & set(performance["cpu_ms_per_request"])


def test_tables_hold_what_the_models_need(performance: pd.DataFrame, capacity: pd.DataFrame) -> None:
    for table, columns in ((performance, PERFORMANCE_COLUMNS), (capacity, CAPACITY_COLUMNS)):
        values = read_columns(table, columns)
        assert extrapolates(values, columns).mean() < 0.05
        assert not table.isna().any().any()
    assert performance["is_bad"].mean() == pytest.approx(0.5, abs=0.15)
    assert ((performance["p99_ms"] >= performance["p95_ms"]) & (performance["p95_ms"] > 0)).all()
    late = performance["p95_ms"] > 250.0
    assert ((late | (performance["error_rate"] >= 0.001)) == (performance["is_bad"] > 0)).all()
    assert capacity["instances"].between(1, MAX_INSTANCES).all()
    assert set(names(CAPACITY_COLUMNS)) <= set(capacity.columns)


def test_bisection_finds_the_first_adequate_size() -> None:
    rng = np.random.default_rng(11)
    services = [service for service in draw_services(rng, 60, cpu_ms=(10.0, 60.0)) if service.item.vcpu <= 8][:24]
    for part in batches(services):
        chosen = [services[row] for row in part]
        records = service_records(chosen)
        rps = records["capacity_rps"][:, 0]
        now = 0.6 * 6 * rps
        window = now[:, None] * np.linspace(1.0, 1.6, 30)[None, :]
        fleets = replace(
            _fleets(len(part), now_rps=1.0, window=window), now_rps=now, spot_share=np.linspace(0.0, 1.0, len(part))
        )
        batch = start_fleets(chosen, records, fleets, reclaim_minute=RECLAIM_MINUTE)
        saved = batch.state.copy()
        found = least_adequate(batch, fleets.in_service)
        good = np.array([is_adequate(batch, saved, np.full(len(part), n) - 6) for n in range(1, 41)])
        first = np.where(good.any(axis=0), np.argmax(good, axis=0) + 1, 0)
        small = (first > 0) & (found <= 40)
        assert (found[small] >= first[small]).all()
        assert (good[found[small] - 1, np.flatnonzero(small)]).all()
        assert (found[small] == first[small]).mean() > 0.9


def test_a_reclaimed_zone_asks_for_more() -> None:
    records = service_records([SERVICE] * 2)
    demand = 6 * 6 * 0.6 * records["capacity_rps"][0, 0]
    fleets = _fleets(2, now_rps=demand, window=np.full((2, 30), demand), spot_share=np.array([0.0, 1.0]))
    fleets = replace(fleets, in_service=np.full(2, 36))
    batch = start_fleets([SERVICE] * 2, records, fleets, reclaim_minute=RECLAIM_MINUTE)
    without, with_spot = least_adequate(batch, fleets.in_service)
    assert without < with_spot < 2 * without


def test_drawn_quantiles_do_not_cross() -> None:
    quantiles = draw_quantiles(np.random.default_rng(0), np.full(500, 100.0))
    assert (np.diff(quantiles, axis=2) >= 0).all()
    assert (quantiles > 0).all()


@pytest.mark.parametrize("make", [performance_table, capacity_table])
def test_an_empty_table_is_refused(make) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        make(0, seed=1)
