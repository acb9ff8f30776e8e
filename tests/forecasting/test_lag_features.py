import numpy as np
import pytest

from forecasting.rivals.lag_features import NAMES, lag_features, scales

HOUR_S = 3600
DAY = 24


def series(days: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hours = np.arange(days * DAY)
    return 50.0 + 20.0 * np.sin(2 * np.pi * hours / DAY) + rng.gamma(2.0, 3.0, len(hours))


def column(rows: np.ndarray, name: str) -> np.ndarray:
    return rows[..., NAMES.index(name)]


def test_features_against_their_definition() -> None:
    values, origins, leads = series(12), np.array([200, 251]), (1, 4)
    rows = lag_features(values, origins, leads, step_s=HOUR_S, start_s=0)
    assert rows.shape == (2, 2, len(NAMES))
    mean, spread = scales(values, origins, HOUR_S)
    for at, origin in enumerate(origins):
        day = values[origin - DAY + 1 : origin + 1]
        assert mean[at] == pytest.approx(day.mean())
        assert spread[at] == pytest.approx(day.std() + 0.02 * day.mean())
        for place, lead in enumerate(leads):
            target = origin + lead
            expected = {
                "lead hours": lead,
                "last value": (values[origin] - mean[at]) / spread[at],
                "two steps before": (values[origin - 2] - mean[at]) / spread[at],
                "mean of 4 h": (values[origin - 3 : origin + 1].mean() - mean[at]) / spread[at],
                "7 days ago": (values[target - 7 * DAY] - mean[at]) / spread[at],
                "origin against 1 days ago": (values[origin] - values[origin - DAY]) / spread[at],
                "median of the week": (np.median(values[target - DAY * np.arange(1, 8)]) - mean[at]) / spread[at],
                "day of the week": (target // DAY + 3) % 7,
            }
            for name, value in expected.items():
                assert column(rows[at, place], name) == pytest.approx(value), name


def test_the_future_changes_no_feature() -> None:
    values, origins = series(12), np.array([180, 199])
    before = lag_features(values, origins, (1, 2, 3, 4), step_s=HOUR_S, start_s=0)
    changed = values.copy()
    changed[200:] = 1e6
    np.testing.assert_allclose(
        lag_features(changed, origins, (1, 2, 3, 4), step_s=HOUR_S, start_s=0), before, rtol=1e-6, atol=1e-6
    )
    changed = values.copy()
    changed[199] += 1.0
    assert not np.allclose(lag_features(changed, origins, (1,), step_s=HOUR_S, start_s=0)[1], before[1, :1])


def test_features_do_not_depend_on_the_unit() -> None:
    values, origins = series(12), np.array([200])
    plain = lag_features(values, origins, (1, 4), step_s=HOUR_S, start_s=0)
    np.testing.assert_allclose(
        lag_features(1000.0 * values, origins, (1, 4), step_s=HOUR_S, start_s=0), plain, rtol=1e-6, atol=1e-5
    )


def test_a_young_series_has_gaps_and_no_infinities() -> None:
    rows = lag_features(series(2), np.array([30]), (1, 4), step_s=HOUR_S, start_s=0)
    assert np.isnan(column(rows, "7 days ago")).all()
    assert np.isfinite(column(rows, "1 days ago")).all()
    for flat in (np.zeros(60), np.full(60, 5.0)):
        assert not np.isinf(lag_features(flat, np.array([50]), (1, 4), step_s=HOUR_S, start_s=0)).any()
