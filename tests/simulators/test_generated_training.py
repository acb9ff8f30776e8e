"""Forecasters trained on real and on generated weeks: features of the past only, a model that learns, known traces."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.metrics.forecast import wape
from simulators.validation.generated_training import checks, demand_features, table, train_median

MONDAY = pd.Timestamp("2024-01-01", tz="UTC")


def daily(days: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(288 * days) / 288
    return 100.0 * (1.5 + np.sin(turn)) * np.exp(0.05 * rng.standard_normal(288 * days))


def test_features_are_relative_and_of_the_past() -> None:
    demand = daily(4, 0)
    features, scale = demand_features(demand, MONDAY)
    assert np.isnan(scale[:287]).all()
    np.testing.assert_allclose(scale[287:], pd.Series(demand).rolling(288).mean()[287:])
    larger, larger_scale = demand_features(7.0 * demand, MONDAY)
    np.testing.assert_allclose(larger, features)
    np.testing.assert_allclose(larger_scale, 7.0 * scale)
    changed = demand.copy()
    changed[900:] = 1e6
    np.testing.assert_array_equal(demand_features(changed, MONDAY)[0][:900], features[:900])


def test_demand_of_zero_has_no_scale() -> None:
    assert np.isnan(demand_features(np.zeros(600), MONDAY)[1]).all()


def test_a_trained_model_beats_the_last_value() -> None:
    demand, lead = daily(12, 1), 48
    features, scale = demand_features(demand, MONDAY)
    cut = 8 * 288
    model = train_median(features[:cut], scale[:cut], demand[:cut], lead)
    origins = np.arange(cut, len(demand) - lead)
    error = wape(demand[origins + lead], model.predict(features[origins]) * scale[origins])
    assert error < 0.08 < wape(demand[origins + lead], demand[origins])


@pytest.mark.slow
@pytest.mark.traces
def test_generated_weeks_teach_nearly_as_much_as_real_ones(traces_dir: Path) -> None:
    rows = table(traces_dir)
    assert len(rows) == 10
    assert np.isfinite(rows.drop(columns="trace").to_numpy(dtype=float)).all()
    np.testing.assert_allclose(rows["ratio"], rows["generated"] / rows["real"])
    first = checks(traces_dir)[0]
    assert first.holds, first.measured
