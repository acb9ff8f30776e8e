"""Sampled futures: marginals of the forecast, tied steps, nothing after the origin, bounded and repeatable."""

import numpy as np
import pytest

from forecasting.demand.boosted import LEVELS
from forecasting.demand.events import EventForecaster, KnownEvent
from forecasting.demand.forecaster import DemandForecaster
from forecasting.demand.futures import (
    MOST_TIMES_HIGHEST,
    SEASON_ROOM,
    correlated_scores,
    error_correlation,
    normal_scores,
    sample_futures,
    season_bounds,
)

DAY = 288


def demand(days: int, seed: int = 0, tie: float = 0.9) -> np.ndarray:
    steps = np.arange(days * DAY)
    rng = np.random.default_rng(seed)
    noise = np.zeros(len(steps))
    for step in steps[1:]:
        noise[step] = tie * noise[step - 1] + np.sqrt(1.0 - tie**2) * rng.normal()
    return np.asarray(200.0 * np.exp(0.6 * np.sin(2.0 * np.pi * steps / DAY) + 0.1 * noise))


@pytest.fixture(scope="module")
def history() -> np.ndarray:
    return demand(8)


@pytest.fixture(scope="module")
def forecaster(history: np.ndarray) -> DemandForecaster:
    forecaster = DemandForecaster(step_s=300)
    forecaster.feed(history)
    return forecaster


def test_marginals_of_the_first_block_follow_the_quantiles(forecaster: DemandForecaster, history: np.ndarray) -> None:
    draws = 4000
    paths = sample_futures(forecaster, 48, draws, 1, history=history)
    rows = forecaster.forecast(range(1, 49))
    for place, level in enumerate(LEVELS):
        share = (paths <= rows[:, place]).mean(axis=0)
        assert (np.abs(share - level) < 4.5 * np.sqrt(level * (1.0 - level) / draws)).all(), level


def test_scores_are_the_inverse_of_drawing(forecaster: DemandForecaster, history: np.ndarray) -> None:
    tie = np.linspace(0.5, 0.95, 47)
    path = sample_futures(forecaster, 48, 1, 3, history=history, correlation=tie)[0]
    scores = normal_scores(path, forecaster.forecast(range(1, 49)))
    np.testing.assert_allclose(scores, correlated_scores(tie, np.random.default_rng([3, 0, 0xF7])), atol=1e-6)


def test_tied_scores_have_the_asked_correlation_and_stay_standard() -> None:
    rng = np.random.default_rng(0)
    tie = np.array([0.2, 0.9, 0.6])
    scores = np.array([correlated_scores(tie, rng) for _ in range(20_000)])
    np.testing.assert_allclose(scores.std(axis=0), 1.0, atol=0.03)
    for place, wanted in enumerate(tie):
        assert np.corrcoef(scores[:, place], scores[:, place + 1])[0, 1] == pytest.approx(wanted, abs=0.03)


def test_the_correlation_of_a_series_is_found() -> None:
    tied, loose = error_correlation(demand(8), 300), error_correlation(demand(8, tie=0.0), 300)
    assert tied.shape == loose.shape == (47,)
    assert tied[10:].mean() == pytest.approx(0.9, abs=0.07)
    assert loose[10:].mean() < 0.3
    np.testing.assert_array_equal(error_correlation(demand(8)[: 3 * DAY], 300), error_correlation(np.zeros(DAY), 300))


def test_the_seed_decides_and_more_draws_keep_the_first(forecaster: DemandForecaster, history: np.ndarray) -> None:
    before = forecaster.forecast([1, 48])
    few, many = (sample_futures(forecaster, 150, draws, 5, history=history) for draws in (2, 4))
    np.testing.assert_array_equal(few, many[:2])
    assert not np.array_equal(few[0], few[1])
    assert not np.array_equal(few, sample_futures(forecaster, 150, 2, 6, history=history))
    np.testing.assert_array_equal(forecaster.forecast([1, 48]), before)


def test_nothing_after_the_origin_counts(history: np.ndarray) -> None:
    paths = []
    for scale in (1.0, 5.0):
        whole = np.concatenate((history, scale * demand(1, seed=7)))
        forecaster = DemandForecaster(step_s=300)
        forecaster.feed(whole[: len(history)])
        paths.append(sample_futures(forecaster, 100, 1, 0, history=whole[: len(history)]))
    np.testing.assert_array_equal(paths[0], paths[1])


def test_a_long_path_keeps_the_level_and_the_season(forecaster: DemandForecaster, history: np.ndarray) -> None:
    paths = sample_futures(
        forecaster, 7 * DAY, 3, 2, history=history, correlation=error_correlation(history, 300)
    ).reshape(3, 7, DAY)
    assert paths.mean(axis=(0, 2)) == pytest.approx(np.full(7, history.mean()), rel=0.25)
    profile = history.reshape(-1, DAY).mean(axis=0)
    assert np.corrcoef(paths.mean(axis=(0, 1)), profile)[0, 1] > 0.95
    low, _, high = season_bounds(history, 300)
    assert (paths[:, 1:] >= low).all()
    assert (paths[:, 1:] <= high).all()
    assert high.max() == SEASON_ROOM * history[-7 * DAY :].max()


def test_real_continuations_lie_inside_the_sampled_band() -> None:
    series = demand(24, seed=4)
    forecaster, at, inside = DemandForecaster(step_s=300), 8 * DAY, []
    forecaster.feed(series[:at])
    while at + 48 <= len(series):
        low, high = np.quantile(sample_futures(forecaster, 48, 60, at, history=series[:at]), [0.1, 0.9], axis=0)
        coming = series[at : at + 48]
        inside.append(((low <= coming) & (coming <= high)).mean())
        forecaster.feed(coming)
        at += 48
    assert np.mean(inside) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("kind", ["zeros", "constant", "gaps", "outlier", "short"])
def test_paths_are_finite_and_bounded_on_any_history(kind: str) -> None:
    values = {"zeros": np.zeros(600), "constant": np.full(600, 7.0), "short": np.array([3.0])}.get(kind, demand(3))
    if kind == "gaps":
        values[200:500] = np.nan
    if kind == "outlier":
        values[400] = 1e12
    forecaster = DemandForecaster(step_s=300)
    forecaster.feed(values)
    paths = sample_futures(forecaster, 400, 2, 0, history=values)
    assert np.isfinite(paths).all()
    assert paths.min() >= 0.0
    assert paths.max() <= MOST_TIMES_HIGHEST * np.nanmax(values)


def test_an_announced_event_shows_in_the_futures(history: np.ndarray) -> None:
    event = KnownEvent("sale", 0, len(history) + 60, len(history) + 90, 3.0)
    inner = DemandForecaster(step_s=300)
    inner.feed(history)
    plain = sample_futures(inner, 140, 20, 1, history=history).mean(axis=0)
    known = EventForecaster(DemandForecaster(step_s=300), [event])
    known.feed(history)
    announced = sample_futures(known, 140, 20, 1, history=history).mean(axis=0)
    np.testing.assert_array_equal(plain[:48], announced[:48])
    assert (announced / plain)[60:90].mean() > 1.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"history": [np.nan]}, "history holds no known value"),
        ({"history": [-1.0]}, "value 0 is -1"),
        ({"correlation": np.full(47, 1.0)}, "expected 47 numbers from 0 to below 1"),
        ({"correlation": np.full(3, 0.5)}, "expected 47 numbers from 0 to below 1"),
    ],
)
def test_bad_input_is_refused_by_name(change: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"steps": 5, "draws": 1, "seed": 0, "history": [1.0]}
    with pytest.raises(ValueError, match=message):
        sample_futures(DemandForecaster(step_s=300), **(good | change))
