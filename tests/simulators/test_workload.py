"""The workload model: what is put in is found again, and what is sampled looks like it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.worlds import load_named_workload, shipped_workloads
from simulators.multiscale import FAST_MINUTES, SLOW_MINUTES, structure_functions
from simulators.realism import find_bursts, forecast_wape
from simulators.scenario import minute_of_week
from simulators.workload import WorkloadModel, fit_workload, load_workload, sample_workload, save_workload
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

HOURS = np.arange(168)
PLAIN = WorkloadModel(
    name="plain",
    profile=tuple((0.5 * np.sin(2 * np.pi * HOURS / 24)).tolist()),
    hour_shape=(0.0,) * 12,
    trend_per_week=0.0,
    noise_sizes=(0.02, 0.04, 0.0, 0.05, 0.05, 0.05, 0.0, 0.0),
    noise_freedom=8.0,
    noise_exponent=0.0,
    bursts_per_day=2.0,
    burst_heights=(0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4),
    burst_decay_minutes=15.0,
    peak=3.0,
    trace_days=0,
)
STILL = replace(PLAIN, noise_sizes=(0.0,) * 8, bursts_per_day=0.0)
FLAT = replace(STILL, profile=(0.0,) * 168)


def five_minute_log(path: np.ndarray) -> np.ndarray:
    return np.log(path.reshape(-1, 5).mean(axis=1))


def test_a_sample_is_positive_of_mean_one_and_follows_its_seed() -> None:
    first, again, other = (sample_workload(PLAIN, days=3, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (3 * 1440,)
    assert (first > 0).all()
    assert first.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_models_of_other_names_do_not_share_their_luck() -> None:
    first, second = (
        np.diff(np.log(sample_workload(replace(PLAIN, name=name), days=3, seed=1))) for name in ("this", "that")
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


def test_without_noise_a_sample_is_its_profile() -> None:
    found = five_minute_log(sample_workload(STILL, days=7, seed=0)).reshape(168, 12).mean(axis=1)
    wanted = np.array(STILL.profile)
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=0.02)


def test_the_shape_of_the_hour_and_the_trend_are_in_a_sample() -> None:
    shape = np.linspace(-0.11, 0.11, 12)
    model = replace(FLAT, hour_shape=tuple(shape), trend_per_week=0.7)
    found = five_minute_log(sample_workload(model, days=14, seed=0))
    trend = 0.7 * np.arange(len(found)) / 2016
    np.testing.assert_allclose(found - found[0], shape[np.arange(len(found)) % 12] - shape[0] + trend, atol=0.02)


def test_each_noise_scale_has_its_size_and_memory() -> None:
    for position, minutes in enumerate((*FAST_MINUTES, *SLOW_MINUTES[:2])):
        sizes = np.zeros(8)
        sizes[position] = 0.1
        found = []
        for seed in range(4):
            log_demand = five_minute_log(sample_workload(replace(FLAT, noise_sizes=tuple(sizes)), days=60, seed=seed))
            changes = [np.mean((log_demand[lag:] - log_demand[:-lag]) ** 2) for lag in (1, 12, 144)]
            found.append(changes)
        wanted = 0.01 * structure_functions(np.array([1, 12, 144]))[:, position]
        np.testing.assert_allclose(np.mean(found, axis=0), wanted, rtol=0.3, err_msg=f"{minutes} minutes")


def test_short_noise_shrinks_as_demand_grows() -> None:
    level = np.where(HOURS % 24 < 12, -1.0, 1.0)
    model = replace(
        FLAT, profile=tuple(level.tolist()), noise_sizes=(0.1, *(0.0,) * 7), noise_exponent=0.5, noise_freedom=50.0
    )
    change = np.abs(np.diff(five_minute_log(sample_workload(model, days=28, seed=0)))).reshape(-1)
    hour = np.arange(len(change)) // 12 % 24
    quiet, busy = np.median(change[(hour > 2) & (hour < 10)]), np.median(change[(hour > 14) & (hour < 22)])
    assert quiet / busy == pytest.approx(np.e, rel=0.1)


def test_bursts_come_at_their_rate_and_height_and_decay() -> None:
    model = replace(FLAT, bursts_per_day=2.0)
    found = find_bursts(sample_workload(model, days=100, seed=4))
    assert len(found.heights) / 100 == pytest.approx(2.0, rel=0.2)
    assert np.median(found.heights) == pytest.approx(1.0, abs=0.1)
    wanted = 15.0 * np.log(1.0 / found.threshold)
    assert np.median(found.minutes) == pytest.approx(wanted, abs=5.0)


def test_a_sample_never_passes_the_peak_of_the_trace() -> None:
    model = replace(PLAIN, peak=0.5, noise_sizes=(0.5,) * 8, bursts_per_day=20.0)
    path = sample_workload(model, days=5, seed=0).reshape(-1, 5).mean(axis=1)
    assert path.max() == pytest.approx(np.exp(0.5), rel=0.3)
    assert np.isclose(path, path.max(), rtol=1e-9).sum() > 5


def test_a_short_sample_is_some_weeks_of_a_path_as_long_as_the_trace() -> None:
    """With a trend, windows start at other levels, so their short noise differs; their profile does not."""
    model = replace(FLAT, trend_per_week=0.5, noise_exponent=0.5, noise_sizes=(0.1, *(0.0,) * 7), trace_days=58)
    usual = [np.median(np.abs(np.diff(five_minute_log(sample_workload(model, days=9, seed=s))))) for s in range(30)]
    assert max(usual) / min(usual) == pytest.approx(np.exp(0.5 * 0.5 * 7), rel=0.25)
    alone = [
        np.median(np.abs(np.diff(five_minute_log(sample_workload(replace(model, trace_days=9), days=9, seed=s)))))
        for s in range(10)
    ]
    assert max(alone) / min(alone) < 1.2
    days = five_minute_log(sample_workload(replace(STILL, trace_days=58), days=7, seed=3)).reshape(168, 12).mean(axis=1)
    np.testing.assert_allclose(days - days.mean(), STILL.profile, atol=0.03)


@pytest.mark.slow
def test_fitting_a_sample_finds_the_model_again() -> None:
    demand = sample_workload(replace(PLAIN, trend_per_week=0.1), days=42, seed=5)
    found = fit_workload("again", demand, minute_of_week=0)
    profile = np.array(found.profile)
    assert np.corrcoef(profile, PLAIN.profile)[0, 1] > 0.97
    assert np.ptp(profile) == pytest.approx(1.0, abs=0.2)
    assert found.trend_per_week == pytest.approx(0.1, abs=0.03)
    assert 0.8 < found.bursts_per_day < 2.5
    assert found.burst_heights[2] == pytest.approx(1.0, rel=0.2)
    assert found.burst_decay_minutes == pytest.approx(15.0, rel=0.5)
    assert found.trace_days == 42


@pytest.mark.slow
def test_samples_of_a_fit_are_as_hard_to_forecast_as_what_it_was_fitted_to() -> None:
    demand = sample_workload(PLAIN, days=28, seed=6)
    found = fit_workload("again", demand, minute_of_week=0)
    errors = np.mean([forecast_wape(sample_workload(found, days=28, seed=seed)) for seed in range(6)], axis=0)
    np.testing.assert_allclose(errors / forecast_wape(demand), 1.0, atol=0.12)


@pytest.mark.slow
def test_the_profile_starts_on_monday_whatever_the_first_minute_is() -> None:
    demand = sample_workload(replace(STILL, noise_sizes=(0.01, *(0.0,) * 7)), days=15, seed=6)
    shift = 1440 * 2 + 60 * 5
    whole = np.array(fit_workload("a", demand, minute_of_week=0).profile)
    later = np.array(fit_workload("b", demand[shift:], minute_of_week=shift).profile)
    np.testing.assert_allclose(whole - whole.mean(), later - later.mean(), atol=0.05)
    wrong = np.array(fit_workload("c", demand[shift:], minute_of_week=0).profile)
    assert np.abs(wrong - whole).max() > 0.3


def test_a_short_series_falls_back_on_the_hour_of_the_day() -> None:
    demand = sample_workload(replace(PLAIN, bursts_per_day=0.0), days=2, seed=7)
    profile = np.array(fit_workload("short", demand, minute_of_week=0).profile).reshape(7, 24)
    np.testing.assert_array_equal(profile[2], profile[5])
    assert np.isfinite(profile).all()


def test_what_cannot_be_fitted_or_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match="x: a workload model needs two days of demand, got 2879 minutes"):
        fit_workload("x", np.ones(2879), minute_of_week=0)
    with pytest.raises(ValueError, match="x: the demand is zero everywhere"):
        fit_workload("x", np.zeros(2880), minute_of_week=0)
    with pytest.raises(ValueError, match="at least 1 day, got 0"):
        sample_workload(PLAIN, days=0, seed=0)


def test_constant_demand_is_a_model_without_noise() -> None:
    found = fit_workload("flat", np.full(3 * 1440, 7.0), minute_of_week=0)
    assert (set(found.noise_sizes), found.bursts_per_day, found.trend_per_week) == ({0.0}, 0.0, 0.0)
    path = sample_workload(found, days=1, seed=0)
    assert five_minute_log(path) == pytest.approx(0.0, abs=1e-9)


def test_a_model_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    save_workload(PLAIN, path)
    assert load_workload(path) == PLAIN
    assert [item.name for item in tmp_path.iterdir()] == ["plain.json"]
    assert load_named_workload(str(path)) == PLAIN


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not a workload model"), ('{"name": "x"}', "missing .*profile"), ('{"nam": 1}', "nam")],
)
def test_a_broken_model_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"broken\.json: .*{message}"):
        load_workload(path)


@pytest.mark.parametrize(("key", "expected"), [("profile", 168), ("hour_shape", 12), ("noise_sizes", 8)])
def test_a_list_of_another_length_is_refused(tmp_path: Path, key: str, expected: int) -> None:
    save_workload(replace(PLAIN, **{key: (0.0,) * 5}), tmp_path / "short.json")
    with pytest.raises(ValueError, match=rf"short\.json: {key} has 5 values, expected {expected}"):
        load_workload(tmp_path / "short.json")


def test_shipped_models_are_of_training_traces() -> None:
    names = shipped_workloads()
    assert sorted(names) == sorted(load_splits().divided.traces)
    for name in names:
        model = load_named_workload(name)
        path = sample_workload(model, days=7, seed=0)
        assert np.isfinite(path).all()
        assert path.max() < 200.0


@pytest.mark.traces
@pytest.mark.slow
@pytest.mark.parametrize("name", ["azure_vm_total_cpu_2017_5min", "tweets_AAPL_2015_5min"])
def test_shipped_models_are_fits_of_the_training_part(traces_dir: Path, name: str) -> None:
    ticks = to_ticks(load_trace(traces_dir / f"{name}.parquet"))
    part = load_splits().window(name, "train", len(ticks.values))
    found = fit_workload(name, ticks.values[part], minute_of_week=minute_of_week(ticks.start))
    shipped = load_named_workload(name)
    for key in ("profile", "hour_shape", "burst_heights"):
        np.testing.assert_allclose(getattr(found, key), getattr(shipped, key), atol=1e-3, err_msg=key)
    assert found.noise_exponent == pytest.approx(shipped.noise_exponent, abs=1e-3)
    total, wanted = (np.sum(np.square(model.noise_sizes)) for model in (found, shipped))
    assert total == pytest.approx(wanted, rel=0.05)
