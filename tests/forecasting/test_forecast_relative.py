import numpy as np
import pytest

from forecasting.metrics.forecast import (
    accuracy,
    coverage_by_horizon,
    geometric_mean,
    mean_absolute_error,
    relative_mase,
    relative_wql,
    wape,
    weighted_quantile_loss,
)


def test_a_perfect_forecaster_scores_zero_and_the_reference_one() -> None:
    assert relative_mase([0.0, 0.0], [2.0, 5.0]) == 0.0
    assert relative_wql([0.0], [0.3]) == 0.0
    assert relative_mase([2.0, 5.0], [2.0, 5.0]) == pytest.approx(1.0)
    assert mean_absolute_error([1.0, 2.0], [1.0, 2.0]) == 0.0
    assert accuracy([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_halves_and_doubles_cancel_whatever_the_unit() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([2.0, 4.0, np.nan]) == pytest.approx(np.sqrt(8.0))
    assert relative_mase([1.0, 1000.0], [2.0, 500.0]) == pytest.approx(1.0)


def test_a_series_without_a_naive_error_does_not_count() -> None:
    assert relative_mase([1.0, 3.0], [2.0, 0.0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="0 known ratios"):
        relative_mase([1.0], [0.0])
    with pytest.raises(ValueError, match="none negative"):
        geometric_mean([-1.0, 2.0])


def test_accuracy_is_the_rest_of_wape() -> None:
    actual, forecast = np.array([2.0, 2.0]), np.array([1.0, 2.0])
    assert accuracy(actual, forecast) == pytest.approx(1.0 - wape(actual, forecast)) == pytest.approx(0.75)


def test_coverage_by_horizon_counts_each_lead_once() -> None:
    actual = np.array([[1.0, 5.0, 9.0], [1.0, 5.0, np.nan]])
    low, high = np.zeros_like(actual), np.array([[2.0, 4.0, 9.0], [0.5, 6.0, 9.0]])
    shares = coverage_by_horizon(actual, low, high, [5, 10, 30], [5, 15, 20, 60])
    np.testing.assert_allclose(shares, [0.5, 0.5, np.nan, 1.0])


def test_losses_per_unit_of_demand_need_demand() -> None:
    assert np.isnan(wape([0.0, 0.0], [1.0, 0.0]))
    assert np.isnan(weighted_quantile_loss([0.0, 0.0], [[1.0], [0.0]], [0.5]))
