import numpy as np
import pytest

from forecasting.metrics.forecast import coverage, mase, pinball_loss, wape, weighted_quantile_loss

ACTUAL = np.array([1.0, 4.0, 2.0, 8.0])


def test_a_perfect_forecast_scores_zero() -> None:
    for level in (0.1, 0.5, 0.9):
        assert pinball_loss(ACTUAL, ACTUAL, level) == 0.0
    assert wape(ACTUAL, ACTUAL) == 0.0
    assert mase(ACTUAL, ACTUAL, [1.0, 2.0, 3.0, 5.0], 1) == 0.0
    assert weighted_quantile_loss(ACTUAL, np.stack([ACTUAL, ACTUAL], axis=1), [0.1, 0.9]) == 0.0
    assert coverage(ACTUAL, ACTUAL, ACTUAL) == 1.0


def test_losses_by_hand() -> None:
    low = ACTUAL - 1.0
    assert pinball_loss(ACTUAL, low, 0.9) == pytest.approx(0.9)
    assert pinball_loss(low, ACTUAL, 0.9) == pytest.approx(0.1)
    assert wape(ACTUAL, low) == pytest.approx(4.0 / 15.0)
    assert mase(ACTUAL, low, [1.0, 3.0, 1.0], 1) == pytest.approx(0.5)
    assert weighted_quantile_loss(ACTUAL, np.stack([low, low], axis=1), [0.1, 0.9]) == pytest.approx(1.0 / 3.75)
    assert coverage(ACTUAL, ACTUAL - 1.0, np.array([0.0, 9.0, 9.0, 9.0])) == 0.75


def test_the_true_quantile_minimises_the_pinball_loss() -> None:
    sample = np.random.default_rng(0).gamma(2.0, 1.0, 20_001)
    true = np.quantile(sample, 0.9)
    best = pinball_loss(sample, np.full(len(sample), true), 0.9)
    for wrong in (0.8 * true, 1.2 * true):
        assert pinball_loss(sample, np.full(len(sample), wrong), 0.9) > best


def test_missing_pairs_do_not_count() -> None:
    actual = np.array([1.0, np.nan, 3.0])
    forecast = np.array([2.0, 5.0, np.nan])
    assert pinball_loss(actual, forecast, 0.5) == pytest.approx(0.5)
    assert wape(actual, forecast) == pytest.approx(1.0)
    assert coverage(actual, forecast - 1.0, forecast) == 1.0


def test_mase_needs_a_season() -> None:
    with pytest.raises(ValueError, match="not longer than a season"):
        mase(ACTUAL, ACTUAL, [1.0, 2.0], 2)
