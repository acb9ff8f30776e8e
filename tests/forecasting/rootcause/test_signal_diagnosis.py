from dataclasses import replace

import numpy as np
import pytest

from forecasting.rootcause.incident import Look
from forecasting.rootcause.model import load_kind_model, save_model
from forecasting.rootcause.signal_diagnosis import diagnose_signals, train_signal_kinds
from forecasting.rootcause.signals import EVIDENCE, SIGNALS, LabelledEvent, SignalEvent, signal_evidence
from simulators.anomalies import KINDS
from simulators.validation.incident_tables import event_tables

START, END = 4 * 1440, 4 * 1440 + 90
FAULTS = ("flash_crowd", "slow_dependency", "zone_outage", "reclaim_wave", "metric_gap", "cost_spike", "bad_deploy")


def calm(seed: int) -> np.ndarray:
    """Four days of a service at 50 % CPU whose fleet follows a daily swing of demand; no formula of the simulator."""
    rng = np.random.default_rng(seed)
    ticks = np.arange(END)
    demand = 200.0 * (1.0 + 0.4 * np.sin(2.0 * np.pi * ticks / 1440.0)) * np.exp(0.02 * rng.standard_normal(END))
    values = np.empty((END, len(SIGNALS)))
    values[:, 0] = demand
    values[:, 4] = np.ceil(np.convolve(np.pad(demand, 2, mode="edge"), np.ones(5) / 5.0, mode="valid") / 10.0)
    values[:, 1] = demand / values[:, 4] / 20.0 * np.exp(0.02 * rng.standard_normal(END))
    values[:, 2] = 90.0 * (1.0 + values[:, 1] ** 2) * np.exp(0.03 * rng.standard_normal(END))
    values[:, 3] = 2e-4 * np.exp(0.2 * rng.standard_normal(END))
    values[:, 5] = 0.0
    values[:, 6] = 0.05 * np.exp(0.01 * np.cumsum(rng.standard_normal(END)) / 40.0)
    return values


def struck(kind: str, seed: int = 0) -> SignalEvent:
    values, window = calm(seed), slice(START, END)
    age = np.arange(END - START)
    if kind == "flash_crowd":
        values[window, 0] *= 1.0 + 2.0 * np.minimum(age / 10.0, np.exp(-(age - 10.0) / 30.0))
        values[window, 1] = np.minimum(1.0, values[window, 0] / values[window, 4] / 20.0)
    elif kind == "slow_dependency":
        values[window, 1:3] *= 1.6
    elif kind == "zone_outage":
        values[window, 4] = np.round(values[window, 4] * 2.0 / 3.0)
        values[window, 1:3] *= 1.5
    elif kind == "reclaim_wave":
        values[START + 10, 5] = 9.0
        values[START + 10 : END, 4] -= 9.0
        values[START + 10 : END, 1:3] *= 1.4
    elif kind == "metric_gap":
        values[window, :6] = np.nan
    elif kind == "cost_spike":
        values[window, 6] *= 1.6
    elif kind == "bad_deploy":
        values[window, 3] += 0.05
        values[window, 1:3] *= 1.2
    return SignalEvent(values, START, END, minute_of_day=7)


@pytest.fixture(scope="module")
def model():
    return train_signal_kinds([LabelledEvent(struck(kind, seed), kind) for seed in range(5) for kind in FAULTS], seed=1)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_clear_anomaly_of_each_sort_is_named_without_training(kind: str) -> None:
    verdict = diagnose_signals(struck(kind, 50))
    assert verdict.pattern_match == kind
    assert verdict.primary_cause == KINDS[kind].cause
    assert verdict.recommended_actions


@pytest.mark.parametrize("kind", FAULTS)
def test_a_trained_model_names_it_too_from_the_first_half_hour_alone(model, kind: str) -> None:
    verdict = diagnose_signals(struck(kind, 51).seen(Look(30)), model)
    assert verdict.patterns[0].name == kind
    assert sum(item.probability for item in verdict.candidates) == pytest.approx(1.0)


def test_the_metrics_that_moved_are_named_with_their_size() -> None:
    verdict = diagnose_signals(struck("cost_spike"))
    assert verdict.contributing_factors[0].metric == "spot_usd_per_hour"
    assert verdict.contributing_factors[0].ratio == pytest.approx(1.6, rel=0.03)
    outage = {item.metric: item for item in diagnose_signals(struck("zone_outage")).contributing_factors}
    assert outage["in_service"].ratio == pytest.approx(2.0 / 3.0, rel=0.1)
    slow = diagnose_signals(struck("slow_dependency"))
    assert {item.metric for item in slow.correlated_metrics} & {"cpu_utilization", "latency_p95_ms"}


def test_what_comes_after_the_window_changes_nothing() -> None:
    event = struck("flash_crowd").seen(Look(20))
    values = event.values.copy()
    values[event.end_tick :] = 1e9
    np.testing.assert_array_equal(signal_evidence(replace(event, values=values)), signal_evidence(event))


def test_evidence_of_demand_by_the_clock_has_the_size_of_the_change() -> None:
    values = calm(3)
    values[START:, 0] *= 1.5
    found = dict(zip(EVIDENCE, signal_evidence(SignalEvent(values, START, END)), strict=True))
    assert found["demand effect"] == pytest.approx(np.log(1.5), abs=0.02)
    assert found["demand jump at start"] == pytest.approx(np.log(1.5), abs=0.05)
    assert np.isnan(found["starts at night"])
    quiet = dict(zip(EVIDENCE, signal_evidence(SignalEvent(calm(3), START, END)), strict=True))
    assert abs(quiet["demand effect"]) < 0.02
    assert abs(quiet["price effect"]) < 0.05


@pytest.mark.parametrize("damage", ["all missing", "constant", "outlier", "infinite", "zeros", "short history"])
def test_damaged_signals_give_a_finite_verdict(model, damage: str) -> None:
    event = struck("bad_deploy")
    values = event.values.copy()
    start = event.start_tick
    if damage == "all missing":
        values[:] = np.nan
    elif damage == "constant":
        values[:] = 2.0
    elif damage == "outlier":
        values[1000, :] = 1e12
    elif damage == "infinite":
        values[START + 5, :] = np.inf
    elif damage == "zeros":
        values[:] = 0.0
    else:
        values, start = values[START - 60 :], 60
    event = SignalEvent(values, start, len(values))
    for used in (None, model):
        verdict = diagnose_signals(event, used)
        assert np.isfinite([item.probability for item in verdict.candidates]).all()
        assert np.isfinite([(item.deviation_z, item.ratio, item.share) for item in verdict.contributing_factors]).all()


def test_an_event_that_cannot_be_judged_is_refused() -> None:
    values = calm(0)
    with pytest.raises(ValueError, match="shape"):
        SignalEvent(values[:, :3], START, END)
    with pytest.raises(ValueError, match="ticks before"):
        SignalEvent(values, 20, END)
    with pytest.raises(ValueError, match="empty"):
        SignalEvent(values, START, START)
    with pytest.raises(ValueError, match="at least 30"):
        train_signal_kinds([LabelledEvent(struck("bad_deploy"), "bad_deploy")], seed=0)


def test_a_saved_model_of_kinds_gives_the_same_answers(model, tmp_path) -> None:
    save_model(tmp_path / "kinds.npz", model)
    loaded = load_kind_model(tmp_path / "kinds.npz", EVIDENCE)
    assert diagnose_signals(struck("zone_outage", 60), loaded) == diagnose_signals(struck("zone_outage", 60), model)


@pytest.mark.slow
def test_kinds_in_unseen_series_are_named_far_above_chance() -> None:
    learnt = train_signal_kinds(event_tables(101, 16, "easy") + event_tables(102, 16, "hard"), seed=0)
    tests = event_tables(401, 12, "mixed")
    right = [diagnose_signals(item.event, learnt).patterns[0].name == item.kind for item in tests]
    assert np.mean(right) >= 0.85
