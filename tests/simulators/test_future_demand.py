"""Futures of a history: the same for the same seed, blind to what came, with labelled anomalies, playable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simulators.anomalies import demand_effects
from simulators.futures import DEMAND_KINDS, future_demand, generate_future
from simulators.scenario import WARMUP_DAYS, minute_of_week
from simulators.workload import load_workload
from telemetry.trace import Trace

MODELS = Path(__file__).resolve().parents[2] / "configs" / "workloads"


def trace(days: int = 6) -> Trace:
    steps = np.arange(days * 288)
    values = 100.0 * np.exp(0.5 * np.sin(2 * np.pi * steps / 288) + np.random.default_rng(0).normal(0, 0.1, len(steps)))
    flags = np.ones(len(steps), np.bool_)
    return Trace("made", np.datetime64("2026-03-04T06:00", "s"), 300, values, ~flags, flags, "requests", ())


def test_the_future_depends_on_seed_and_history_only() -> None:
    whole, origin = trace(), 4 * 1440
    changed = replace(whole, values=np.where(np.arange(len(whole.values)) < 4 * 288, whole.values, 9.0))
    first = future_demand(whole, days=2, seed=3, origin_minute=origin, anomalies_per_week=20.0)
    second = future_demand(changed, days=2, seed=3, origin_minute=origin, anomalies_per_week=20.0)
    np.testing.assert_array_equal(first.demand_rps, second.demand_rps)
    assert first.labels == second.labels
    other = future_demand(whole, days=2, seed=4, origin_minute=origin)
    assert not np.array_equal(first.ordinary_rps, other.ordinary_rps)
    assert first.minute_of_week == minute_of_week(np.datetime64("2026-03-08T06:00", "s"))


def test_labels_explain_the_difference_and_touch_demand_only() -> None:
    future = future_demand(trace(), days=3, seed=1, anomalies_per_week=30.0)
    assert future.labels
    assert {item.kind for item in future.labels} <= set(DEMAND_KINDS)
    assert "reclaim_wave" not in DEMAND_KINDS
    factor = demand_effects(future.labels, 3 * 1440).demand_factor
    np.testing.assert_array_equal(future.demand_rps, future.ordinary_rps * factor)
    assert (factor != 1.0).any()
    assert np.isfinite(future.demand_rps).all()
    assert future.demand_rps.min() >= 0.0


def test_a_scenario_plays_the_future_after_the_end_of_the_history() -> None:
    future = future_demand(trace(), days=1, seed=2, anomalies_per_week=40.0)
    made = generate_future(trace(), days=1, seed=2, rps_per_reference_instance=50.0, anomalies_per_week=40.0)
    warm_up = WARMUP_DAYS * 1440
    assert made.name == "futures:made#2"
    assert (made.first_tick, made.last_tick) == (warm_up, warm_up + 1440)
    scale = made.demand_rps[0] / future.history_rps[-warm_up]
    whole = scale * np.concatenate((future.history_rps[-warm_up:], future.demand_rps))
    np.testing.assert_allclose(made.demand_rps, whole, rtol=1e-5)
    assert [item.start_tick - warm_up for item in made.labels] == [item.start_tick for item in future.labels]
    assert made.minute_of_week == (future.minute_of_week - warm_up) % (7 * 1440)


def test_a_workload_model_can_be_the_history() -> None:
    future = future_demand(load_workload(sorted(MODELS.glob("*.json"))[0]), days=1, seed=0)
    assert len(future.history_rps) == 14 * 1440
    assert len(future.demand_rps) == 1440
    assert future.labels == ()


def test_bad_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="days is 0"):
        future_demand(trace(), days=0, seed=0)
    with pytest.raises(ValueError, match="made: the history ends at minute 1440; expected 2 days"):
        future_demand(trace(1), days=1, seed=0)
    with pytest.raises(ValueError, match="made: the demand is zero everywhere"):
        future_demand(replace(trace(), values=np.zeros(6 * 288)), days=1, seed=0)
