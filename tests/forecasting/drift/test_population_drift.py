"""PSI by hand and as a stream, the retrain trigger, and the monitor that joins them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from forecasting.drift.monitor import DriftMonitor, DriftReport
from forecasting.drift.population import PopulationDrift, population_stability_index
from forecasting.drift.trigger import RetrainTrigger, TriggerSettings

HOURLY = 3600
HALF_A_DAY = TriggerSettings(HOURLY, shadow_hours=12, least_growth=1.1)
RNG = np.random.default_rng(0)


def demand(days: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    weekend = np.where(hours // 24 % 7 >= 5, 0.7, 1.0)
    return weekend * (10.0 + 5.0 * np.sin(2 * np.pi * hours / 24)) * np.exp(0.1 * rng.standard_normal(len(hours)))


def test_the_index_by_hand() -> None:
    reference = np.repeat(np.arange(10.0), 100)
    window = np.concatenate((np.zeros(30), np.full(20, np.nan)))
    old = np.array([100] * 10 + [0]) + 0.5
    new = np.array([30] + [0] * 9 + [20]) + 0.5
    p, q = old / old.sum(), new / new.sum()
    assert population_stability_index(reference, window) == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_the_same_values_have_no_index_and_a_shift_has_a_large_one() -> None:
    values = RNG.standard_normal(5000)
    assert population_stability_index(values, values) == pytest.approx(0.0, abs=1e-12)
    assert population_stability_index(values, RNG.standard_normal(5000)) < 0.02
    assert population_stability_index(values, values + 1.0) > 0.5
    assert population_stability_index(np.ones(10), np.ones(5)) < 0.1
    assert population_stability_index(np.ones(100), np.full(50, 2.0)) > 1.0


def test_the_streams_index_is_that_of_its_window() -> None:
    reference, values = demand(21, 1), demand(9, 2)
    values[50:60] = np.nan
    detector = PopulationDrift(step_s=HOURLY).fit(reference)
    for row, value in enumerate(values):
        detector.update(value)
        if row < 23:
            assert math.isnan(detector.index)
        else:
            wanted = population_stability_index(reference, values[row - 23 : row + 1])
            assert detector.index == pytest.approx(wanted, abs=1e-12)


def test_ordinary_days_raise_no_alarm_and_a_shift_does() -> None:
    alarms_of_ten = []
    for seed in range(10):
        series = demand(49, seed)
        detector = PopulationDrift(step_s=HOURLY).fit(series[: 21 * 24])
        assert detector.threshold > 0.25
        alarms_of_ten.append(detector.run(series[21 * 24 :]).sum())
    assert sum(alarms_of_ten) / 280 <= 0.03
    alarms = PopulationDrift(step_s=HOURLY).fit(demand(21, 1)).run(3.0 * demand(7, 4))
    assert int(np.argmax(alarms)) == 23
    assert alarms.sum() == math.ceil((7 * 24 - np.argmax(alarms)) / 24)
    gone = PopulationDrift(step_s=HOURLY).fit(demand(21, 1))
    assert gone.run(np.full(24, np.nan)).any()


def test_changing_the_future_changes_no_past_alarm() -> None:
    series = np.concatenate((demand(3, 5), 3.0 * demand(3, 6)))
    changed = series.copy()
    changed[120:] = 1e12
    first, second = (PopulationDrift(step_s=HOURLY).fit(demand(21, 1)).run(each) for each in (series, changed))
    assert first[:120].any()
    assert first[:120].tolist() == second[:120].tolist()


def test_json_keeps_a_population_detector() -> None:
    detector = PopulationDrift(step_s=HOURLY).fit(demand(21, 1))
    detector.run(demand(2, 2)[:40])
    copied = PopulationDrift.from_json(json.loads(json.dumps(detector.as_json())))
    assert copied.index == detector.index
    assert copied.run(2.0 * demand(5, 3)).tolist() == detector.run(2.0 * demand(5, 3)).tolist()
    content = detector.as_json()
    for broken in ({}, {**content, "edges": [1.0]}, {**content, "bins": [99] * 24}):
        with pytest.raises(ValueError, match="not a detector of population drift"):
            PopulationDrift.from_json(broken)


def test_bad_values_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="71 values of 3600 s; the reference needs 72"):
        PopulationDrift(step_s=HOURLY).fit(np.ones(71))
    with pytest.raises(ValueError, match="every value of the reference is missing"):
        PopulationDrift(step_s=HOURLY).fit(np.full(100, np.nan))
    with pytest.raises(ValueError, match="value 2 is infinite"):
        PopulationDrift(step_s=HOURLY).fit(demand(14, 0)).run([0.0, 1.0, -np.inf])
    with pytest.raises(ValueError, match="no reference yet"):
        PopulationDrift(step_s=HOURLY).update(1.0)
    with pytest.raises(ValueError, match="window_hours is 12"):
        PopulationDrift(step_s=HOURLY, window_hours=12)
    with pytest.raises(ValueError, match="needs known values"):
        population_stability_index([np.nan], [1.0])


def test_constant_inputs_never_drift_until_they_move() -> None:
    detector = PopulationDrift(step_s=HOURLY).fit(np.full(14 * 24, 7.0))
    assert not detector.run(np.full(100, 7.0)).any()
    assert detector.run(np.full(100, 8.0)).any()


def played(trigger: RetrainTrigger, losses: list[float], alarms: set[int]) -> list[int]:
    return [row for row, loss in enumerate(losses) if trigger.update(alarm=row in alarms, loss=loss, usual_loss=1.0)]


@pytest.mark.parametrize(
    ("losses", "alarms", "requests"),
    [
        ([1.0] * 60, {20}, []),
        ([2.0] * 60, set(), []),
        ([1.0] * 20 + [2.0] * 40, {20}, [21]),
        ([2.0] * 60, {0}, [11]),
        ([2.0] * 100, {20, 50}, [20, 50]),
        ([2.0] * 100, {20, 30}, [20, 44]),
        ([1.0] * 60 + [2.0] * 40, {20}, []),
        ([1.0] * 20 + [1e12] + [1.0] * 40, {20}, [20]),
        ([math.nan] * 60, {20}, []),
    ],
)
def test_training_again_needs_an_alarm_and_a_loss(losses: list[float], alarms: set[int], requests: list[int]) -> None:
    assert played(RetrainTrigger(HALF_A_DAY), losses, alarms) == requests


def test_a_filled_trigger_starts_whole_and_json_keeps_it() -> None:
    trigger = RetrainTrigger(HALF_A_DAY)
    assert math.isnan(trigger.growth)
    trigger.fill(np.ones(12), np.ones(12))
    assert trigger.growth == 1.0
    trigger.update(alarm=True, loss=1.05, usual_loss=1.0)
    copied = RetrainTrigger.from_json(json.loads(json.dumps(trigger.as_json())))
    assert copied.growth == pytest.approx(trigger.growth)
    assert played(copied, [2.0] * 30, {27}) == played(trigger, [2.0] * 30, {27}) != []
    for broken in ({}, {**trigger.as_json(), "losses": [[1.0, 1.0]]}):
        with pytest.raises(ValueError, match="not a retrain trigger"):
            RetrainTrigger.from_json(broken)
    with pytest.raises(ValueError, match="loss -1"):
        trigger.update(alarm=False, loss=-1.0, usual_loss=1.0)
    with pytest.raises(ValueError, match="usual 0"):
        trigger.update(alarm=False, loss=1.0, usual_loss=0.0)
    for options, complaint in (
        ({"shadow_hours": 0}, "shadow_hours is 0"),
        ({"least_growth": 0.0}, "least_growth is 0"),
    ):
        with pytest.raises(ValueError, match=complaint):
            TriggerSettings(HOURLY, **options)


def monitor() -> DriftMonitor:
    errors = np.random.default_rng(1).standard_normal(21 * 24)
    return DriftMonitor.of_reference(
        errors=errors,
        predictions=demand(21, 1),
        inputs={"load": demand(21, 1), "price": np.ones(21 * 24)},
        start_s=0,
        settings=TriggerSettings(HOURLY),
    )


def play(watched: DriftMonitor, days: int, *, error: float = 1.0, load: float = 1.0) -> list[DriftReport]:
    errors = error * np.random.default_rng(2).standard_normal(24 * days)
    loads = load * demand(days, 3)
    steps = zip(errors.tolist(), loads.tolist(), demand(days, 4).tolist(), strict=True)
    return [watched.update(error=e, prediction=p, inputs={"load": d, "price": 1.0}) for e, d, p in steps]


def test_the_monitor_tells_harmless_drift_from_a_loss() -> None:
    assert not any(report.error_alarm or report.retrain for report in play(monitor(), 7, error=0.6))
    shifted = play(monitor(), 7, error=0.6, load=3.0)
    assert any(report.input_alarms == ("load",) for report in shifted)
    assert not any(report.retrain for report in shifted)
    worse = play(monitor(), 7, error=2.0)
    assert any(report.error_alarm for report in worse)
    assert any(report.retrain for report in worse)
    calm = play(monitor(), 7)
    assert [report.input_alarms for report in worse] == [report.input_alarms for report in calm]


def test_a_saved_monitor_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    watched = monitor()
    play(watched, 2)
    watched.save(path)
    assert [str(each) for each in play(DriftMonitor.load(path), 5, error=2.0)] == [
        str(each) for each in play(watched, 5, error=2.0)
    ]
    for text in ("{", json.dumps({**json.loads(path.read_text()), "version": 9}), "{}"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"drift\.json: not a drift monitor"):
            DriftMonitor.load(path)


def test_the_monitor_refuses_bad_steps_and_takes_nothing() -> None:
    watched, other = monitor(), monitor()
    with pytest.raises(ValueError, match=r"inputs \['load'\]; expected \['load', 'price'\]"):
        watched.update(error=0.0, prediction=1.0, inputs={"load": 1.0})
    with pytest.raises(ValueError, match="price is inf"):
        watched.update(error=0.0, prediction=1.0, inputs={"load": 1.0, "price": math.inf})
    assert str(play(watched, 2)) == str(play(other, 2))
    with pytest.raises(ValueError, match="input load: 10 values"):
        DriftMonitor.of_reference(
            errors=np.ones(100),
            predictions=np.ones(100),
            inputs={"load": np.ones(10)},
            start_s=0,
            settings=TriggerSettings(HOURLY),
        )
