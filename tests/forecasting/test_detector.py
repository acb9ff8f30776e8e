import numpy as np
import pytest

from forecasting.detector import LevelDetector, score_series


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(50.0, 3.0, count)


def test_one_value_at_a_time_equals_the_whole_series() -> None:
    values = noise(500)
    values[[200, 300]] = np.nan, 400.0
    stream = LevelDetector()
    np.testing.assert_array_equal([stream.update(v) for v in values], score_series(LevelDetector(), values))


def test_scores_are_calibrated_on_noise_of_any_tail() -> None:
    """About 2 % of values lie beyond the tracked quantile; its score is n / (n + 2) with n = -log10 0.02."""
    rng = np.random.default_rng(1)
    mark = -np.log10(0.02) / (-np.log10(0.02) + 2.0)
    for values in (noise(20_000), rng.standard_t(3, 20_000), rng.gamma(0.5, 1.0, 20_000)):
        share = (score_series(LevelDetector(), values)[2000:] > mark).mean()
        assert 0.012 < share < 0.03


def test_spikes_rank_above_everything_ordinary() -> None:
    values = noise(5000)
    spikes = np.array([1000, 2200, 3100, 4700])
    values[spikes] += np.array([40.0, -40.0, 60.0, 35.0])
    scores = score_series(LevelDetector(), values)
    assert scores[spikes].min() > np.delete(scores, spikes).max()
    assert scores[spikes].min() > 0.6


def test_scores_stay_between_zero_and_one_and_start_at_zero() -> None:
    values = np.concatenate((noise(400), [1e12, -1e12], noise(400)))
    scores = score_series(LevelDetector(warm_up=150), values)
    assert (scores[:150] == 0.0).all()
    assert scores.min() >= 0.0
    assert scores.max() < 1.0
    assert np.isfinite(scores).all()


def test_unit_and_origin_do_not_matter() -> None:
    values = noise(1000)
    one = score_series(LevelDetector(), values)
    np.testing.assert_allclose(score_series(LevelDetector(), -1000.0 * values), one, atol=1e-9)


def test_a_constant_series_is_never_unusual_until_it_moves() -> None:
    values = np.full(600, 7.0)
    values[500] = 7.5
    scores = score_series(LevelDetector(), values)
    assert (scores[:500] == 0.0).all()
    assert scores[500] > 0.5


def test_the_future_changes_no_score() -> None:
    values = noise(1000)
    other = values.copy()
    other[600:] *= 30.0
    first, second = score_series(LevelDetector(), values), score_series(LevelDetector(), other)
    np.testing.assert_array_equal(first[:600], second[:600])
    assert first[600] != second[600]


def test_fit_learns_without_scoring() -> None:
    fitted = LevelDetector().fit(noise(300))
    assert fitted.update(500.0) > 0.6
    assert LevelDetector().update(500.0) == 0.0
    with pytest.raises(ValueError, match="warm_up 1"):
        LevelDetector(warm_up=1)
