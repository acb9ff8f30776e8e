from dataclasses import replace

import numpy as np
import pytest

from forecasting.rootcause.deviations import CPU, ERROR, MEAN, P50, P95, RPS, measure_deviations
from forecasting.rootcause.incident import METRICS, Incident, Look, Topology

P95_COLUMN = METRICS.index("latency_p95_ms")


def test_an_effect_of_known_size_is_measured(played) -> None:
    found = measure_deviations(played(own_ms={"database": 12.0}, errors={"search": 0.05}, cpu={"cart": 1.5}))
    assert found.effect[3, P50] == pytest.approx(np.log(2.0), abs=0.02)
    assert found.effect[3, P95] == pytest.approx(np.log(2.0), abs=0.02)
    assert found.effect[3, MEAN] == pytest.approx(np.log(2.0), abs=0.02)
    assert found.effect[2, ERROR] == pytest.approx(np.log(0.0506 / 0.0006), abs=0.05)
    assert found.effect[1, CPU] == pytest.approx(np.log(1.5), abs=0.02)
    assert found.z[3, P95] > 20.0


def test_calm_metrics_do_not_deviate_although_load_swings(played) -> None:
    found = measure_deviations(played(seed=3))
    assert np.nanmax(np.abs(found.z)) < 6.0
    assert abs(found.load_effect) < 0.05
    assert abs(found.effect[:, RPS]).max() < 0.02


def test_a_surge_is_load_and_no_deviation_of_requests_from_it(played) -> None:
    found = measure_deviations(played(demand=1.6))
    assert found.load_effect == pytest.approx(np.log(1.6), abs=0.05)
    assert found.load_z > 5.0
    assert np.abs(found.effect[:, RPS]).max() < 0.02


def test_what_comes_after_the_window_changes_nothing(played) -> None:
    incident = played(own_ms={"database": 12.0}).seen(Look(20))
    values = incident.values.copy()
    values[incident.end_tick :] = 1e6
    changed = measure_deviations(replace(incident, values=values))
    for name, value in vars(measure_deviations(incident)).items():
        np.testing.assert_array_equal(getattr(changed, name), value)


def test_a_missing_series_is_unknown_and_disturbs_no_other(played) -> None:
    whole = played(own_ms={"database": 12.0})
    values = whole.values.copy()
    values[:, 1, P95_COLUMN] = np.nan
    found, before = measure_deviations(replace(whole, values=values)), measure_deviations(whole)
    assert np.isnan(found.effect[1, P95])
    assert np.isfinite(found.effect[1, MEAN])
    known = np.isfinite(found.effect)
    known[1, MEAN] = False
    np.testing.assert_allclose(found.effect[known], before.effect[known])


def test_infinite_and_negative_values_count_as_missing(played) -> None:
    whole = played()
    bad, absent = whole.values.copy(), whole.values.copy()
    bad[100:200, 0, P95_COLUMN], bad[1710, 2, P95_COLUMN] = -1.0, np.inf
    absent[100:200, 0, P95_COLUMN], absent[1710, 2, P95_COLUMN] = np.nan, np.nan
    first, second = (measure_deviations(replace(whole, values=values)) for values in (bad, absent))
    np.testing.assert_array_equal(first.z, second.z)


def test_a_few_outliers_in_the_past_change_little(played) -> None:
    whole = played(own_ms={"database": 12.0})
    values = whole.values.copy()
    values[[50, 400, 900], 3, P95_COLUMN] = 1e12
    found = measure_deviations(replace(whole, values=values))
    assert found.effect[3, P95] == pytest.approx(np.log(2.0), abs=0.05)
    assert found.z[3, P95] > 10.0


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
def test_constant_and_empty_telemetry_has_no_deviations(value: float) -> None:
    topology = Topology(("one", "two"), np.array([0]), np.array([1]))
    found = measure_deviations(Incident(np.full((300, 2, len(METRICS)), value), topology, 240, 300))
    assert np.nan_to_num(found.z).max() == pytest.approx(0.0, abs=1e-6)
    assert np.isfinite([found.load_effect, found.load_z, found.load_jump]).all()


def test_a_short_history_is_enough_to_measure(played) -> None:
    found = measure_deviations(played(own_ms={"database": 12.0}, start=90))
    assert found.effect[3, P50] == pytest.approx(np.log(2.0), abs=0.1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"values": np.zeros((100, 3, 2))}, "shape"),
        ({"start_tick": 10}, "ticks before the start"),
        ({"end_tick": 1700}, "empty"),
        ({"end_tick": 10**6}, "beyond"),
    ],
)
def test_what_cannot_be_measured_is_refused(played, change, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(played(), **change)


@pytest.mark.parametrize(
    ("names", "calls", "words"),
    [
        ((), ([], []), "unique"),
        (("a", "a"), ([], []), "unique"),
        (("a", "demand"), ([0], [1]), "demand"),
        (("a", "b"), ([0], [2]), "names service"),
        (("a", "b"), ([1], [1]), "itself"),
        (("a", "b"), ([0, 1], [1]), "shapes"),
    ],
)
def test_a_graph_that_is_none_is_refused(names, calls, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Topology(names, *(np.array(part, dtype=np.int64) for part in calls))
