import numpy as np
import pytest

from forecasting.anomaly.alarm import AlarmRule, alarms
from forecasting.anomaly.ranker import ranker_scores, stream_features, train_ranker
from forecasting.anomaly.static_alarm import StaticAlarm, count_static, static_alarms, tune_static_alarms
from forecasting.anomaly.table_detector import TableDetector, read_table
from forecasting.anomaly.tables import FaultTable
from forecasting.suites.anomaly_faults import count_alarms, faults_part, ranked_alarms
from forecasting.trees import FlatTrees

DAY = 288
METRICS = ("demand_rps", "cpu_utilization", "latency_p95_ms", "error_fraction", "spot_usd_per_hour")


def service(seed: int, factor: float = 1.6) -> FaultTable:
    """Six days of five metrics that follow one demand; three faults of an hour in demand or in latency."""
    rng = np.random.default_rng(seed)
    time = np.arange(6 * DAY)
    demand = 100.0 + 40.0 * np.sin(2.0 * np.pi * time / DAY)
    latency = 50.0 + 0.2 * demand
    events, kinds = [], []
    for at in 3 * DAY + rng.permutation(3 * DAY - 20)[:3]:
        events.append((at * 300.0 + 60.0, (at + 12) * 300.0))
        kinds.append(("flash_crowd", "slow_dependency")[int(rng.integers(2))])
        (demand if kinds[-1] == "flash_crowd" else latency)[at : at + 12] *= factor
    columns = np.stack((demand, 0.005 * demand, latency, np.full(len(time), 0.001), np.ones(len(time))), axis=1)
    values = columns * np.exp(0.04 * rng.normal(size=columns.shape))
    return FaultTable(f"s{seed}", METRICS, values, 300.0, np.array(events), tuple(kinds))


@pytest.fixture(scope="module")
def trees() -> FlatTrees:
    pytest.importorskip("lightgbm", reason="the models extra is not installed")
    return train_ranker([service(seed) for seed in range(12)], 0)


@pytest.mark.slow
def test_faults_of_unseen_services_are_found_and_calm_ones_raise_no_alarm(trees: FlatTrees) -> None:
    tables = [service(seed) for seed in range(100, 106)]
    counts = count_alarms(tables, ranked_alarms(tables, trees))
    assert counts.recall > 0.8
    assert counts.precision > 0.8
    calm = [service(seed, factor=1.0) for seed in range(200, 204)]
    assert count_alarms(calm, ranked_alarms(calm, trees)).alarms <= 1


@pytest.mark.slow
def test_rows_one_by_one_equal_the_table_and_the_training_features(trees: FlatTrees) -> None:
    table = service(50)
    values = table.values.copy()
    values[900:910] = np.nan
    whole = read_table(TableDetector(300.0, 5, trees=trees), values)
    stream = TableDetector(300.0, 5, trees=trees)
    assert [stream.update(row) for row in values] == whole.score.tolist()
    holed = FaultTable(table.name, table.metrics, values, 300.0, table.events_s, table.kinds)
    np.testing.assert_allclose(ranker_scores(trees, holed), whole.score, atol=1e-12)


@pytest.mark.slow
def test_the_future_changes_no_feature_score_or_alarm(trees: FlatTrees) -> None:
    table = service(51)
    other = FaultTable("other", METRICS, table.values.copy(), 300.0, table.events_s, table.kinds)
    other.values[1000:] *= 5.0
    np.testing.assert_array_equal(stream_features(table)[:1000], stream_features(other)[:1000])
    one, two = (read_table(TableDetector(300.0, 5, trees=trees), each.values) for each in (table, other))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first[:1000], second[:1000])
    assert (one.score[1000:] != two.score[1000:]).any()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trees(trees: FlatTrees) -> None:
    again = train_ranker([service(seed) for seed in range(12)], 0)
    for one, other in zip(trees, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_suite_puts_every_rival_beside_the_ranker(trees: FlatTrees) -> None:
    train, scored = [service(seed) for seed in range(12)], {"easy": [service(seed) for seed in (300, 301)]}
    checks, tables, notes = faults_part(train, scored, 0, trees)
    table = tables["Simulated faults"]
    assert {"never alarming", "random alarms"} < set(table["detector"])
    never = table[table["detector"] == "never alarming"].iloc[0]
    assert never["F1"] == 0.0
    assert never["point accuracy"] == never["never-alarm accuracy"]
    assert {check.name for check in checks} >= {"event F1, easy", "false alarms a day, easy"}
    assert any("static alarm" in note.lower() for note in notes)


@pytest.mark.slow
def test_training_input_that_cannot_work_is_named() -> None:
    pytest.importorskip("lightgbm", reason="the models extra is not installed")
    with pytest.raises(ValueError, match="at least 10 tables"):
        train_ranker([service(0)], 0)
    with pytest.raises(ValueError, match="differ in their metrics"):
        train_ranker([service(seed) for seed in range(9)] + [service(9).only("demand_rps")], 0)
    none = [FaultTable("n", ("m",), np.zeros((600, 1)), 300.0, np.empty((0, 2)), ()) for _ in range(10)]
    with pytest.raises(ValueError, match="no fault"):
        train_ranker(none, 0)
    with pytest.raises(ValueError, match="no metric 'x'"):
        service(0).only("x")


def test_without_trees_a_fault_in_one_metric_of_many_stands_out() -> None:
    table = service(7, factor=1.0)
    values = table.values.copy()
    values[1500:1512, 2] *= 4.0
    reading = read_table(TableDetector(300.0, 5), values)
    assert 1500 <= int(np.argmax(reading.score)) < 1512
    assert (reading.score[: 2 * DAY] == 0.0).all()
    with pytest.raises(ValueError, match=r"needs \[T, 5\]"):
        read_table(TableDetector(300.0, 5), values[:, :3])
    with pytest.raises(ValueError, match="at least 1 metric"):
        TableDetector(300.0, 0)


def test_a_static_alarm_needs_m_of_n_rows_above_its_threshold() -> None:
    values = np.ones((3 * DAY, 1))
    values[[700, 702, 800, 801, 802]] = 2.0
    table = FaultTable("t", ("m",), values, 300.0, np.array([[800 * 300.0, 803 * 300.0]]), ("k",))
    on = static_alarms(table, {"m": StaticAlarm(1.5, 2, 3)})
    np.testing.assert_array_equal(np.flatnonzero(on), [702, 801, 802, 803])
    assert tune_static_alarms([table], ("m",), 0.0)["m"].m >= 2
    assert count_static([table], {"m": StaticAlarm(1.5, 3, 3)}).f1 == 1.0
    assert count_static([table], {"m": StaticAlarm(3.0, 1, 1)}).alarms == 0
    values[650] = np.nan
    assert static_alarms(table, {"m": StaticAlarm(1.5, 1, 1, True)})[650]
    assert not static_alarms(table, {"m": StaticAlarm(1.5, 1, 1)})[650]


def test_alarms_follow_hysteresis_and_rest() -> None:
    scores = np.array([0.0, 0.6, 0.3, 0.1, 0.3, 0.1, 0.1, 0.55, 0.7, 0.1, 0.1, 0.0, 0.0, 0.0, 0.6])
    on = alarms(scores, AlarmRule(0.5, 0.2, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(on), [1, 2, 3, 4, 5, 8, 9, 14])
    with pytest.raises(ValueError, match="off must not exceed on"):
        alarms(scores, AlarmRule(0.2, 0.5, 1, 0))
