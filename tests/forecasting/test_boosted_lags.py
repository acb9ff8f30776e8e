from pathlib import Path

import numpy as np
import pytest

from forecasting.history import History
from forecasting.metrics.forecast import coverage, mean_absolute_error
from forecasting.rivals.boosted_lags import BoostedLags, BoostingSettings, train, training_rows
from forecasting.rivals.lag_features import NAMES

pytest.importorskip("lightgbm")
HOUR_S = 3600
LEVELS = (0.1, 0.5, 0.9)
START = np.datetime64("2026-01-05", "s")
SMALL = BoostingSettings(origins_per_series=300, trees=60, leaves=15, rate=0.1, least_rows=20)


def wave(days: int, *, seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    return scale * np.maximum(100.0 + 60.0 * np.sin(2 * np.pi * hours / 24) + rng.normal(0.0, 5.0, len(hours)), 0.0)


def history(values: np.ndarray) -> History:
    return History(values, HOUR_S, int(START.astype(np.int64)))


@pytest.fixture(scope="module")
def models() -> BoostedLags:
    pool = [history(wave(40, seed=seed, scale=10.0**seed)) for seed in range(3)]
    return train(pool, levels=LEVELS, horizon_s=4 * HOUR_S, settings=SMALL)


def test_it_beats_the_last_value_on_a_series_of_another_size(models: BoostedLags) -> None:
    values = wave(20, seed=9, scale=1e4)
    forecaster = models.forecaster(step_s=HOUR_S, start=START).fit(values[:300])
    rows, last = [], []
    for at in range(300, 470):
        forecaster.update(values[at])
        rows.append(forecaster.forecast([4], LEVELS)[0])
        last.append(values[at])
    actual, quantiles = values[304:474], np.array(rows)
    assert mean_absolute_error(actual, quantiles[:, 1]) < 0.2 * mean_absolute_error(actual, last)
    assert 0.65 < coverage(actual, quantiles[:, 0], quantiles[:, 2]) < 0.95


def test_rows_of_an_origin_hold_its_lead_and_its_own_target() -> None:
    values = wave(12, seed=0)
    features, targets = training_rows([history(values)], horizon_s=4 * HOUR_S, settings=SMALL)
    assert features.shape == (300 * 4, len(NAMES))
    assert sorted(set(features[:, 0])) == [1.0, 2.0, 3.0, 4.0]
    assert np.isfinite(targets).all()
    gaps = values.copy()
    gaps[100:150] = np.nan
    fewer, _ = training_rows([history(gaps)], horizon_s=4 * HOUR_S, settings=SMALL)
    assert 0.6 * len(features) < len(fewer) < len(features)
    with pytest.raises(ValueError, match="nothing to train on"):
        training_rows([history(values[:20])], horizon_s=4 * HOUR_S, settings=SMALL)


def test_streaming_equals_fitting_on_the_longer_history(models: BoostedLags) -> None:
    values = wave(20, seed=5)
    streamed = models.forecaster(step_s=HOUR_S, start=START).fit(values[:200])
    for value in values[200:350]:
        streamed.update(value)
    whole = models.forecaster(step_s=HOUR_S, start=START).fit(values[:350])
    np.testing.assert_array_equal(streamed.forecast([1, 4], LEVELS), whole.forecast([1, 4], LEVELS))


def test_saved_models_forecast_the_same(models: BoostedLags, tmp_path: Path) -> None:
    models.save(tmp_path / "trees")
    values = wave(20, seed=5)
    pair = [
        m.forecaster(step_s=HOUR_S, start=START).fit(values) for m in (models, BoostedLags.load(tmp_path / "trees"))
    ]
    np.testing.assert_array_equal(*[forecaster.forecast([1, 2, 3, 4], LEVELS) for forecaster in pair])
    with pytest.raises(ValueError, match="no model files"):
        BoostedLags.load(tmp_path)


@pytest.mark.parametrize("past", [[], [5.0], [np.nan] * 60, [0.0] * 60, [7.0] * 60, [1e12] + [1.0] * 60])
def test_any_history_gives_ordered_finite_forecasts(models: BoostedLags, past: list[float]) -> None:
    rows = models.forecaster(step_s=HOUR_S, start=START).fit(past).forecast([1, 4], LEVELS)
    assert np.isfinite(rows).all()
    assert (rows >= 0.0).all()
    assert (np.diff(rows, axis=1) >= 0.0).all()


def test_bad_requests_are_named(models: BoostedLags) -> None:
    forecaster = models.forecaster(step_s=HOUR_S, start=START)
    with pytest.raises(ValueError, match="was not trained"):
        forecaster.forecast([1], [0.3])
    with pytest.raises(ValueError, match="whole part of a day"):
        models.forecaster(step_s=7000, start=START)
