import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from forecasting.demand.seasonal_naive import SeasonalNaive, run_series
from forecasting.metrics.forecast import coverage, pinball_loss, wape
from telemetry.splits import load_splits
from telemetry.trace import load_trace

LEADS = [1, 2, 3, 6, 12, 24, 48]
LEVELS = (0.1, 0.5, 0.9)


def daily(days: int, *, sigma: float = 0.1, seed: int = 0, step_s: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """A daily course times log-normal noise; returns values and the noiseless course."""
    steps = np.arange(days * 86_400 // step_s)
    course = 100.0 * np.exp(np.sin(2.0 * np.pi * steps * step_s / 86_400))
    noise = np.random.default_rng(seed).normal(0.0, sigma, len(steps))
    return course * np.exp(noise), course


def forecaster(step_s: int = 300, leads: list[int] | None = None) -> SeasonalNaive:
    return SeasonalNaive(step_s=step_s, leads=leads or LEADS, levels=LEVELS)


def test_a_pure_season_is_forecast_exactly() -> None:
    _, course = daily(10)
    forecasts, ready = run_series(forecaster(), course)
    for at, lead in enumerate(LEADS):
        origins = np.arange(5 * 288, len(course) - lead)
        assert wape(course[origins + lead], forecasts[origins, at, 1]) < 0.005
    assert ready.nonzero()[0][0] == 287


def test_a_weekly_season_is_learnt_after_two_weeks() -> None:
    steps = np.arange(8 * 7 * 24)
    weekend = steps // 24 % 7 >= 5
    values = np.where(weekend, 40.0, 100.0) * np.exp(0.5 * np.sin(2.0 * np.pi * steps / 24.0))
    day_only = SeasonalNaive(step_s=3600, leads=[12], levels=[0.5], week_weight=0.0)
    with_week = SeasonalNaive(step_s=3600, leads=[12], levels=[0.5], week_weight=0.8)
    origins = np.arange(5 * 168, len(values) - 12)
    errors = [wape(values[origins + 12], run_series(f, values)[0][origins, 0, 0]) for f in (day_only, with_week)]
    assert errors[1] < 0.6 * errors[0]


def test_intervals_cover_what_they_say_on_a_known_law() -> None:
    values, _ = daily(40, sigma=0.2)
    forecasts, _ = run_series(forecaster(), values)
    for at, lead in enumerate(LEADS):
        origins = np.arange(10 * 288, len(values) - lead)
        covered = coverage(values[origins + lead], forecasts[origins, at, 0], forecasts[origins, at, 2])
        assert 0.75 <= covered <= 0.85, f"lead {lead}: {covered:.3f}"


def test_loss_comes_near_that_of_the_true_quantiles() -> None:
    values, course = daily(40, sigma=0.2)
    forecasts, _ = run_series(forecaster(), values)
    origins = np.arange(20 * 288, len(values) - 12)
    ours = truth = 0.0
    for column, level in enumerate(LEVELS):
        ours += pinball_loss(values[origins + 12], forecasts[origins, 4, column], level)
        best = course[origins + 12] * math.exp(0.2 * ndtri(level))
        truth += pinball_loss(values[origins + 12], best, level)
    assert truth < ours < 1.15 * truth


def test_quantiles_rise_with_the_level_and_stay_above_zero() -> None:
    rng = np.random.default_rng(4)
    values = rng.poisson(0.4, 3000) * rng.gamma(0.3, 30.0, 3000)
    forecasts, _ = run_series(forecaster(), values)
    assert np.isfinite(forecasts).all()
    assert forecasts.min() >= 0.0
    assert (np.diff(forecasts, axis=2) >= 0.0).all()


def test_one_point_at_a_time_equals_the_whole_series() -> None:
    values, _ = daily(4, seed=7)
    values[500:530] = np.nan
    batch, ready = run_series(forecaster(), values)
    stream = forecaster()
    for step, value in enumerate(values):
        stream.update(value)
        assert stream.ready == ready[step]
        np.testing.assert_array_equal(stream.forecast(LEADS, LEVELS), batch[step])
    fed = forecaster()
    fed.feed(values)
    np.testing.assert_array_equal(fed.forecast(LEADS, LEVELS), batch[-1])


@pytest.mark.parametrize("scale", [1e-6, 1e7])
def test_the_unit_does_not_matter(scale: float) -> None:
    values, _ = daily(5)
    one, _ = run_series(forecaster(), values)
    other, _ = run_series(forecaster(), values * scale)
    np.testing.assert_allclose(other / scale, one, rtol=1e-6)


def test_growth_by_orders_of_magnitude_is_followed() -> None:
    values, _ = daily(30, sigma=0.05)
    grown = values * np.exp(np.linspace(0.0, math.log(1000.0), len(values)))
    forecasts, _ = run_series(forecaster(), grown)
    origins = np.arange(15 * 288, len(grown) - 6)
    assert wape(grown[origins + 6], forecasts[origins, 3, 1]) < 0.08


def test_zeros_first_do_not_spoil_what_follows() -> None:
    values, _ = daily(12)
    late = values.copy()
    late[: 3 * 288] = 0.0
    forecasts, _ = run_series(forecaster(), late)
    assert (forecasts[: 3 * 288] == 0.0).all()
    origins = np.arange(9 * 288, len(late) - 12)
    assert wape(late[origins + 12], forecasts[origins, 4, 1]) < 0.15


def test_a_missing_value_moves_time_and_holds_the_rest() -> None:
    values, course = daily(8, sigma=0.01)
    stream = forecaster()
    stream.feed(values[: 6 * 288])
    stream.feed(np.full(72, np.nan))
    expected = course[6 * 288 + 72 + 11]
    assert stream.forecast([12], [0.5])[0, 0] == pytest.approx(expected, rel=0.1)


def test_before_a_day_the_last_value_is_the_forecast() -> None:
    stream = forecaster()
    stream.feed([5.0, 9.0])
    assert not stream.ready
    np.testing.assert_allclose(stream.forecast(LEADS, [0.5])[1:, 0], 9.0)


@pytest.mark.parametrize("step_s", [90, 420, 3600])
def test_any_step_works_even_one_that_does_not_divide_the_day(step_s: int) -> None:
    values, _ = daily(12, sigma=0.02, step_s=step_s)
    forecasts, _ = run_series(forecaster(step_s, [1, 4]), values)
    origins = np.arange(len(values) // 2, len(values) - 4)
    assert wape(values[origins + 4], forecasts[origins, 1, 1]) < 0.05


def test_a_second_is_a_step_too() -> None:
    values = np.random.default_rng(0).gamma(2.0, 1.0, 4000)
    stream = forecaster(1, [1, 60, 600])
    forecasts, ready = run_series(stream, values)
    assert np.isfinite(forecasts).all()
    assert not ready.any()
    origins = np.arange(2000, 3400)
    assert 0.7 < coverage(values[origins + 600], forecasts[origins, 2, 0], forecasts[origins, 2, 2]) < 0.9


def test_leads_between_tracked_ones_lie_between() -> None:
    values, _ = daily(10, sigma=0.0)
    stream = forecaster()
    stream.feed(values)
    rows = stream.forecast(list(range(12, 25)), [0.5])[:, 0]
    np.testing.assert_allclose(rows, values[11:24], rtol=0.02)
    np.testing.assert_array_equal(stream.forecast([12, 24], [0.5])[:, 0], rows[[0, -1]])


def test_fit_is_repeatable_and_ends_at_the_last_value() -> None:
    values, _ = daily(20, seed=3)
    one, two = forecaster().fit(values), forecaster().fit(values)
    np.testing.assert_array_equal(one.forecast(LEADS, LEVELS), two.forecast(LEADS, LEVELS))
    again = SeasonalNaive(
        step_s=300,
        leads=LEADS,
        levels=LEVELS,
        day_rate=one.settings.day_rate,
        week_weight=one.settings.week_weight,
    )
    again.feed(values)
    np.testing.assert_array_equal(one.forecast(LEADS, LEVELS), again.forecast(LEADS, LEVELS))
    assert forecaster().fit([3.0]).settings.day_rate == forecaster().settings.day_rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_s": 0}, "step_s is 0"),
        ({"leads": [2, 1]}, "leads are"),
        ({"leads": []}, "leads are"),
        ({"levels": [0.5, 1.0]}, "levels are"),
        ({"day_rate": 0.0}, "day_rate 0.0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SeasonalNaive(**({"step_s": 300, "leads": [1]} | arguments))  # type: ignore[arg-type]


def test_bad_calls_are_named() -> None:
    stream = forecaster()
    with pytest.raises(ValueError, match="a value of -1"):
        stream.update(-1.0)
    stream.update(1.0)
    with pytest.raises(ValueError, match=r"level 0\.25 is not tracked"):
        stream.forecast([1], [0.25])
    with pytest.raises(ValueError, match="steps from 1 on"):
        stream.forecast([0], [0.5])


def _naive_loss(values: np.ndarray, sources: np.ndarray, targets: np.ndarray) -> float:
    """Pinball loss of a naive forecast with the quantiles of its own log errors, known in hindsight."""
    small = 0.01 * values.mean()
    errors = np.log(values[targets] + small) - np.log(values[sources] + small)
    losses = []
    for level in LEVELS:
        forecast = (values[sources] + small) * np.exp(np.quantile(errors, level)) - small
        losses.append(pinball_loss(values[targets], np.maximum(forecast, 0.0), level))
    return float(np.mean(losses))


@pytest.mark.traces
def test_it_beats_both_naives_on_the_real_training_traces(traces_dir: Path) -> None:
    """Mean pinball loss over levels, last 70 % of each training part; naives have hindsight quantiles."""
    splits = load_splits()
    ratios = []
    lines = [f"{'pinball loss / persistence | / seasonal naive; cover':<58}" + "".join(f"{5 * x:>16}'" for x in LEADS)]
    for name in splits.traces("train"):
        values = load_trace(traces_dir / f"{name}.parquet").values
        values = values[splits.window(name, "train", len(values))]
        if name.endswith("_1min"):
            values = values[: len(values) // 5 * 5].reshape(-1, 5).mean(axis=1)
        forecasts, _ = run_series(forecaster(), values)
        line = f"{name:<58}"
        for at, lead in enumerate(LEADS):
            origins = np.arange(int(0.3 * len(values)), len(values) - lead)
            targets = origins + lead
            ours = np.mean([pinball_loss(values[targets], forecasts[origins, at, q], LEVELS[q]) for q in range(3)])
            persistence = _naive_loss(values, origins, targets)
            seasonal = _naive_loss(values, targets - 288, targets)
            ratios.append((ours / persistence, ours / seasonal))
            covered = coverage(values[targets], forecasts[origins, at, 0], forecasts[origins, at, 2])
            assert 0.70 <= covered <= 0.87, f"{name}, lead {lead}: {covered:.3f}"
            line += f"{ours / persistence:6.2f}{ours / seasonal:6.2f}{covered:5.2f}"
        lines.append(line)
    means = np.exp(np.log(ratios).mean(axis=0))
    print("\n".join(lines) + f"\ngeometric means {means[0]:.3f} {means[1]:.3f}")
    assert means[0] < 0.85
    assert means[1] < 0.60
