"""Planner, predictor and the scaling requirements, trained on small tables of the simulator."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from forecasting.capacity.columns import (
    CAPACITY_COLUMNS,
    LEVELS,
    PERFORMANCE_COLUMNS,
    PLAN_MINUTES,
    demand_column,
)
from forecasting.capacity.performance import PerformancePredictor
from forecasting.capacity.performance_training import PredictorSettings, train_performance_predictor
from forecasting.capacity.planner import CapacityPlanner, capacity_features
from forecasting.capacity.planner_training import PlannerSettings, train_capacity_planner
from forecasting.capacity.requirements import STEP_MINUTES, CapacityModels, predict_scaling_requirements
from forecasting.capacity.scaling import FleetState
from forecasting.suites.scaling import example_request, plan_table, rival_plans, scaling_suite
from simulators.tables import capacity_table, performance_table

pytestmark = pytest.mark.slow
LEADS = [float(minutes) for minutes in PLAN_MINUTES]


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return capacity_table(700, seed=21)


@pytest.fixture(scope="module")
def states() -> pd.DataFrame:
    return performance_table(1500, seed=21)


@pytest.fixture(scope="module")
def models(cases: pd.DataFrame, states: pd.DataFrame) -> CapacityModels:
    planner = train_capacity_planner(cases, 0, PlannerSettings(rounds=60, high_rounds=30))
    return CapacityModels(planner, train_performance_predictor(states, 0, PredictorSettings(epochs=15, batch=128)))


FLEET = FleetState(
    instance_type="m6i.large",
    vcpu=2,
    memory_gib=8.0,
    service_ms=40.0,
    capacity_rps=50.0,
    in_service=10,
    demand_rps=250.0,
    price_usd_per_hour=0.096,
    spot_usd_per_hour=0.04,
)


def _forecast(*medians: float) -> np.ndarray:
    return np.array(medians)[:, None] * np.array([0.9, 1.0, 1.1, 1.2])[None, :]


def test_models_reload_to_the_same_answers(models: CapacityModels, cases, states, tmp_path) -> None:
    models.planner.save(tmp_path / "models" / "planner.onnx")
    models.predictor.save(tmp_path / "models" / "predictor.onnx")
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["planner.onnx", "predictor.onnx"]
    planner = CapacityPlanner.load(tmp_path / "models" / "planner.onnx")
    predictor = PerformancePredictor.load(tmp_path / "models" / "predictor.onnx")
    assert (planner.plan(cases).instances == models.planner.plan(cases).instances).all()
    assert (predictor.predict(states).p95_ms == models.predictor.predict(states).p95_ms).all()


def test_training_again_gives_the_same_planner(models: CapacityModels, cases) -> None:
    again = train_capacity_planner(cases, 0, PlannerSettings(rounds=60, high_rounds=30))
    assert again.content == models.planner.content


def test_no_answer_improves_under_more_pressure(models: CapacityModels) -> None:
    table = performance_table(300, seed=22)
    before = models.predictor.predict(table)
    for column, factor in (("demand_rps", 1.3), ("backlog_s", 2.0), ("retry_ratio", 2.0), ("in_service", 0.7)):
        worse = table.copy()
        worse[column] = worse[column] * factor
        after = models.predictor.predict(worse)
        for name in ("p95_ms", "p99_ms", "error_rate", "bad_probability"):
            assert (getattr(after, name) >= getattr(before, name) * (1.0 - 1e-5)).all(), (column, name)


def test_answers_are_in_order_and_finite(models: CapacityModels, states) -> None:
    found = models.predictor.predict(states)
    assert (found.p95_low_ms <= found.p95_ms).all()
    assert (found.p95_ms <= found.p95_high_ms).all()
    assert (found.p95_ms <= found.p99_ms).all()
    assert ((found.error_rate >= 0) & (found.error_rate <= 1)).all()
    assert np.isfinite(list(vars(found).values())).all()


def test_models_beat_what_needs_no_model(models: CapacityModels, cases) -> None:
    table, unseen = performance_table(500, seed=23), capacity_table(250, seed=23)
    answers = models.predictor.predict(table)
    is_bad = table["is_bad"] > 0
    assert (answers.is_bad == is_bad).mean() > max(is_bad.mean(), 1 - is_bad.mean()) + 0.2
    plans = rival_plans(cases, unseen) | {"planner": models.planner.plan(unseen).adequate}
    found = plan_table(plans, unseen["instances"].to_numpy()).set_index("plan")["within one"]
    assert found["planner"] > found.drop("planner").filter(like="rule").max()


def test_a_budget_limits_a_plan_and_says_so(models: CapacityModels, cases) -> None:
    poor = cases.assign(max_usd_per_hour=2.0 * cases["price_usd_per_hour"])
    free, held = models.planner.plan(cases), models.planner.plan(poor)
    usd = held.usd_per_hour / held.instances
    assert (held.adequate == free.adequate).all()
    assert ((held.usd_per_hour <= poor["max_usd_per_hour"] * (1 + 1e-9)) | (held.instances == 1)).all()
    assert (held.within_budget == (held.adequate * usd <= poor["max_usd_per_hour"] * (1 + 1e-6))).all()
    without = cases.drop(columns=["price_usd_per_hour", "spot_usd_per_hour", "max_usd_per_hour"])
    assert np.isnan(models.planner.plan(without).usd_per_hour).all()


@pytest.mark.parametrize("column", [item.name for item in CAPACITY_COLUMNS])
def test_a_case_that_cannot_be_is_refused_by_name(models: CapacityModels, cases, column: str) -> None:
    for wrong in (np.nan, -1.0):
        with pytest.raises(ValueError, match=f"column {column}, row 1"):
            models.planner.plan(cases.head(3).assign(**{column: [cases[column][0], wrong, cases[column][2]]}))
    with pytest.raises(ValueError, match=f"lacks columns: {column}"):
        models.planner.plan(cases.head(3).drop(columns=column))


def test_a_state_that_cannot_be_is_refused(models: CapacityModels, states) -> None:
    for column in PERFORMANCE_COLUMNS:
        with pytest.raises(ValueError, match=f"column {column.name}, row 0"):
            models.predictor.predict(states.head(1).assign(**{column.name: np.nan}))


def test_what_lies_beyond_training_is_flagged(models: CapacityModels, cases, states) -> None:
    assert models.predictor.predict(states.head(1).assign(demand_rps=1e12)).extrapolates.all()
    beyond = models.planner.plan(cases.head(1).assign(boot_s=900.0))
    assert beyond.extrapolates.all()
    assert np.isfinite(beyond.high).all()
    huge = cases.head(1).assign(**{demand_column(30, level): 1e12 for level in LEVELS})
    assert not models.planner.plan(huge).is_enough.any()
    assert models.planner.plan(huge).extrapolates.all()


def test_crossing_quantiles_are_refused(models: CapacityModels, cases) -> None:
    with pytest.raises(ValueError, match="row 0: the forecast quantiles cross"):
        models.planner.plan(cases.head(2).assign(**{demand_column(10, 0.9): 0.0}))


def test_a_model_for_other_features_is_refused(models: CapacityModels) -> None:
    with pytest.raises(ValueError, match="made for the features"):
        PerformancePredictor(models.planner.content)
    with pytest.raises(ValueError, match="not a model"):
        CapacityPlanner(b"no model")


def test_training_needs_rows_and_sizes(cases, states) -> None:
    with pytest.raises(ValueError, match="200 rows"):
        train_capacity_planner(cases.head(50), 0)
    with pytest.raises(ValueError, match="200 rows"):
        train_performance_predictor(states.head(50), 0)
    with pytest.raises(ValueError, match="column instances, row 0"):
        train_capacity_planner(cases.assign(instances=np.nan), 0)


def test_the_timeline_follows_the_demand(models: CapacityModels) -> None:
    found = predict_scaling_requirements(
        FLEET, _forecast(250.0, 250.0, 900.0, 900.0, 250.0), models, lead_minutes=[30, 60, 90, 150, 180]
    )
    minutes = np.arange(0, 240, STEP_MINUTES)
    assert [step.minute for step in found.performance_forecast] == minutes.tolist()
    assert [step.minute for step in found.confidence_intervals] == minutes.tolist()
    sizes = _sizes(found, minutes)
    assert sizes[9:14].min() > 1.8 * sizes[:3].max()
    assert sizes[-1] < 0.6 * sizes.max()
    for step in found.scaling_timeline:
        assert step.order_minute <= step.minute
        assert step.change <= 0 or step.is_late or step.order_minute < step.minute
    assert found.resource_requirements.peak_instances == sizes.max()
    assert found.resource_requirements.instance_hours == pytest.approx(sizes.sum() * STEP_MINUTES / 60)
    cost = found.cost_impact
    assert cost.planned_usd == pytest.approx(sizes.sum() * STEP_MINUTES / 60 * 0.096)
    assert cost.present_usd == pytest.approx(10 * 4 * 0.096)
    assert cost.difference_usd == pytest.approx(cost.planned_usd - cost.present_usd)
    assert 5 <= cost.present_bad_steps <= len(minutes)
    for interval in found.confidence_intervals:
        assert interval.instances_low <= interval.instances_high
        assert interval.p95_low_ms <= interval.p95_high_ms
    assert set(found.to_dict()) >= {
        "scaling_timeline",
        "resource_requirements",
        "performance_forecast",
        "cost_impact",
        "confidence_intervals",
    }


def _sizes(found, minutes: np.ndarray) -> np.ndarray:
    """Rebuild the size at every step from the entries of the timeline."""
    at, sizes = [step.minute for step in found.scaling_timeline], [step.instances for step in found.scaling_timeline]
    return np.array([sizes[np.searchsorted(at, minute, side="right") - 1] for minute in minutes])


def test_no_instance_goes_before_the_demand_does(models: CapacityModels) -> None:
    high, low = _forecast(400.0, 400.0, 100.0, 100.0), _forecast(400.0, 400.0, 400.0, 400.0)
    leads = [30, 120, 150, 200]
    falling, steady = (
        predict_scaling_requirements(replace(FLEET, demand_rps=400.0), demand, models, lead_minutes=leads)
        for demand in (high, low)
    )
    minutes = np.arange(0, 240, STEP_MINUTES)
    until = minutes <= 120
    assert _sizes(falling, minutes)[until].min() >= _sizes(steady, minutes)[until].min() - 1
    assert _sizes(falling, minutes)[-1] < _sizes(steady, minutes)[-1]


def test_demand_beyond_the_horizon_changes_no_step(models: CapacityModels) -> None:
    leads = [30, 60, 120, 300]
    near, far = _forecast(300.0, 400.0, 300.0, 300.0), _forecast(300.0, 400.0, 300.0, 3000.0)
    found = [
        predict_scaling_requirements(FLEET, demand, models, lead_minutes=leads, horizon_hours=1.5)
        for demand in (near, far)
    ]
    assert found[0] == found[1]


def test_a_request_of_a_table_row_is_answered(models: CapacityModels, cases) -> None:
    fleet, demand = example_request(cases)
    found = predict_scaling_requirements(fleet, demand, models, lead_minutes=LEADS, horizon_hours=0.5)
    assert found.scaling_timeline[0].instances == models.planner.plan(cases.head(1)).instances[0]


def test_more_demand_than_a_fleet_can_serve_is_said(models: CapacityModels) -> None:
    found = predict_scaling_requirements(FLEET, _forecast(1e9), models, lead_minutes=[60], horizon_hours=1)
    assert not found.resource_requirements.is_enough
    assert found.extrapolates
    none = predict_scaling_requirements(
        replace(FLEET, demand_rps=0.0), _forecast(0.0), models, lead_minutes=[60], horizon_hours=1
    )
    assert none.scaling_timeline[-1].instances == 1


def test_a_horizon_that_cannot_be_is_refused(models: CapacityModels) -> None:
    for hours in (0.0, 25.0, float("nan")):
        with pytest.raises(ValueError, match="horizon_hours"):
            predict_scaling_requirements(FLEET, _forecast(1.0), models, lead_minutes=[60], horizon_hours=hours)


def test_features_do_not_depend_on_the_other_rows(cases) -> None:
    whole, alone = capacity_features(cases), capacity_features(cases.iloc[[17]])
    assert (whole.values[17] == alone.values[0]).all()


def test_the_suite_reports_figures_beside_targets(models: CapacityModels, cases, states) -> None:
    found = scaling_suite(models, states, performance_table(300, seed=31), cases, capacity_table(200, seed=31))
    assert len(found.checks) == 6
    assert all(np.isfinite(check.measured) for check in found.checks)
    assert found.checks[1].measured > 0.75
    assert set(found.figures) == {"scaling_p95", "scaling_plans"}
    assert all(len(table) for table in found.tables.values())
