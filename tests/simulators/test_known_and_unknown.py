"""What is known in advance may be forecast; what is not never leaks into a row made before it."""

import numpy as np
import pytest

from forecasting.demand.events import KnownEvent
from simulators.anomalies import Anomaly, demand_effects, draw_anomalies, make_anomaly
from simulators.scenario import Scenario, make_scenario

DAYS = 4
FIELDS = ("forecast_rps", "available", "anomaly_score")


def demand() -> np.ndarray:
    minutes = np.arange(DAYS * 1440)
    noise = np.random.default_rng(3).lognormal(0.0, 0.08, len(minutes))
    return np.asarray(300.0 * (1.5 + np.sin(2.0 * np.pi * minutes / 1440.0)) * noise)


def scenario(anomalies: tuple[Anomaly, ...], events: tuple[KnownEvent, ...] = ()) -> Scenario:
    whole = slice(0, DAYS * 1440)
    return make_scenario("made", demand(), history=whole, window=whole, anomalies=anomalies, events=events)


def first_difference(left: Scenario, right: Scenario) -> int:
    """Return the first row that differs, or the number of rows."""
    rows = len(left.annotation.available)
    different = np.zeros(rows, np.bool_)
    for name in FIELDS:
        pair = getattr(left.annotation, name) != getattr(right.annotation, name)
        different |= pair.reshape(rows, -1).any(axis=1)
    return int(different.argmax()) if different.any() else rows


@pytest.mark.parametrize("events", [(), (KnownEvent("sale", 300, 650, 700, 1.5),)])
def test_rows_before_the_first_anomaly_are_those_of_a_world_without_any(events: tuple[KnownEvent, ...]) -> None:
    anomalies = draw_anomalies(
        ("flash_crowd", "retry_storm", "metric_gap", "bot_traffic"),
        ticks=DAYS * 1440,
        rate_per_week=40.0,
        seed=1,
        first_tick=2 * 1440,
    )
    assert len({item.kind for item in anomalies}) > 2
    start = min(item.start_tick for item in anomalies)
    changed = first_difference(scenario(anomalies, events), scenario((), events))
    assert start < 5 * changed < start + 60


def test_a_leak_would_be_found() -> None:
    crowd = make_anomaly("flash_crowd", 3 * 1440, 3 * 1440 + 60, extra_demand=4.0)
    start = crowd.start_tick
    leaked = (KnownEvent("crowd", start // 5 - 12, start // 5, crowd.end_tick // 5, 3.0),)
    assert 5 * first_difference(scenario((crowd,), leaked), scenario(())) < start


def test_an_announced_crowd_is_forecast_and_the_demand_is_the_same() -> None:
    crowd = make_anomaly("bot_traffic", 3 * 1440, 3 * 1440 + 180, extra_demand=2.0)
    factor = float(demand_effects((crowd,), DAYS * 1440).demand_factor[crowd.start_tick + 60])
    event = KnownEvent("crowd", 600, crowd.start_tick // 5, crowd.end_tick // 5, factor)
    known, unknown = scenario((crowd,), (event,)), scenario((crowd,))
    np.testing.assert_array_equal(known.demand_rps, unknown.demand_rps)
    row, lead = crowd.start_tick // 5, 4
    coming = known.demand_rps[crowd.start_tick + 55 : crowd.start_tick + 60].mean()
    assert known.annotation.forecast_rps[row, lead, 1] == pytest.approx(coming, rel=0.2)
    assert unknown.annotation.forecast_rps[row, lead, 1] < 0.6 * coming
