"""The workload model: what is put in is found again, and what is sampled looks like it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.worlds import load_named_workload, shipped_workloads
from simulators.workload import WorkloadModel, fit_workload, load_workload, sample_workload, save_workload
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

HOURS = np.arange(168)
PLAIN = WorkloadModel(
    name="plain",
    profile=tuple((0.5 * np.sin(2 * np.pi * HOURS / 24)).tolist()),
    slow_sigma=0.15,
    slow_persistence=0.98,
    fast_sigma=0.06,
    fast_persistence=0.5,
    bursts_per_day=2.0,
    burst_heights=(0.6, 0.8, 1.0, 1.2, 1.5),
    burst_steps=3.0,
)


def five_minute_log(path: np.ndarray) -> np.ndarray:
    return np.log(path.reshape(-1, 5).mean(axis=1))


def test_a_sample_is_positive_of_mean_one_and_follows_its_seed() -> None:
    first, again, other = (sample_workload(PLAIN, days=3, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (3 * 1440,)
    assert (first > 0).all()
    assert first.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_without_noise_a_sample_is_its_profile() -> None:
    still = replace(PLAIN, slow_sigma=0.0, fast_sigma=0.0, bursts_per_day=0.0)
    found = five_minute_log(sample_workload(still, days=7, seed=0)).reshape(168, 12).mean(axis=1)
    wanted = np.array(still.profile)
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=0.02)


def test_the_fast_residual_has_its_size_and_persistence() -> None:
    only = replace(PLAIN, profile=(0.0,) * 168, slow_sigma=0.0, bursts_per_day=0.0)
    found = five_minute_log(sample_workload(only, days=60, seed=3))
    found -= found.mean()
    assert found.std() == pytest.approx(0.06, rel=0.1)
    assert np.corrcoef(found[1:], found[:-1])[0, 1] == pytest.approx(0.5, abs=0.05)


def test_bursts_come_at_their_rate_and_height() -> None:
    only = replace(PLAIN, profile=(0.0,) * 168, slow_sigma=0.0, fast_sigma=0.02)
    found = five_minute_log(sample_workload(only, days=60, seed=4))
    above = found - np.median(found) > 0.4
    starts = np.count_nonzero(np.diff(above.astype(int)) == 1)
    assert starts / 60 == pytest.approx(2.0, rel=0.3)
    assert above.sum() / starts == pytest.approx(3.0, rel=0.35)


def test_fitting_a_sample_finds_the_model_again() -> None:
    demand = sample_workload(PLAIN, days=70, seed=5)
    found = fit_workload("again", demand, minute_of_week=0)
    profile = np.array(found.profile)
    assert np.corrcoef(profile, PLAIN.profile)[0, 1] > 0.95
    assert np.ptp(profile) == pytest.approx(1.0, abs=0.35)
    assert found.slow_sigma == pytest.approx(0.15, rel=0.5)
    assert found.slow_persistence > 0.8
    assert found.fast_sigma == pytest.approx(0.06, rel=0.5)
    assert 0.5 < found.bursts_per_day < 5.0
    assert found.burst_heights[2] == pytest.approx(1.0, rel=0.4)


def test_the_profile_starts_on_monday_whatever_the_first_minute_is() -> None:
    still = replace(PLAIN, slow_sigma=0.0, bursts_per_day=0.0, fast_sigma=0.01)
    demand = sample_workload(still, days=28, seed=6)
    shift = 1440 * 2 + 60 * 5
    whole = np.array(fit_workload("a", demand, minute_of_week=0).profile)
    later = np.array(fit_workload("b", demand[shift:], minute_of_week=shift).profile)
    np.testing.assert_allclose(whole - whole.mean(), later - later.mean(), atol=0.05)
    wrong = np.array(fit_workload("c", demand[shift:], minute_of_week=0).profile)
    assert np.abs(wrong - whole).max() > 0.3


def test_a_short_series_falls_back_on_the_hour_of_the_day() -> None:
    demand = sample_workload(replace(PLAIN, slow_sigma=0.0, bursts_per_day=0.0), days=2, seed=7)
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
    assert (found.slow_sigma, found.fast_sigma, found.bursts_per_day) == (0.0, 0.0, 0.0)
    path = sample_workload(found, days=1, seed=0)
    assert np.abs(path - 1).max() < 0.2


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


def test_a_profile_of_another_length_is_refused(tmp_path: Path) -> None:
    save_workload(replace(PLAIN, profile=(0.0,) * 24), tmp_path / "day.json")
    with pytest.raises(ValueError, match="profile has 24 values, expected 168"):
        load_workload(tmp_path / "day.json")


def test_shipped_models_are_of_training_traces() -> None:
    names = shipped_workloads()
    assert sorted(names) == sorted(load_splits().divided.traces)
    for name in names:
        model = load_named_workload(name)
        path = sample_workload(model, days=7, seed=0)
        assert np.isfinite(path).all()
        assert path.max() < 60.0


@pytest.mark.traces
@pytest.mark.slow
def test_shipped_models_are_fits_of_the_training_part(traces_dir: Path) -> None:
    for name in shipped_workloads():
        trace = load_trace(traces_dir / f"{name}.parquet")
        ticks = to_ticks(trace)
        part = load_splits().window(name, "train", len(ticks.values))
        from simulators.scenario import minute_of_week

        found = fit_workload(name, ticks.values[part], minute_of_week=minute_of_week(ticks.start))
        shipped = load_named_workload(name)
        np.testing.assert_allclose(found.profile, shipped.profile, atol=1e-3, err_msg=name)
        assert found.bursts_per_day == pytest.approx(shipped.bursts_per_day, rel=1e-2, abs=1e-3), name
