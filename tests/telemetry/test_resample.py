from pathlib import Path

import numpy as np
import pytest

from telemetry.resample import NOISE_PHI, NOISE_SIGMA, fit_tick_noise, tick_noise, to_ticks
from telemetry.trace import Trace, load_trace


def trace_of(values: np.ndarray, step_s: int) -> Trace:
    none = np.zeros(len(values), dtype=np.bool_)
    start = np.datetime64("2024-01-01T00:00:00", "s")
    return Trace("made", start, step_s, values.astype(np.float64), none, ~none, "requests", ())


def demand(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).gamma(3.0, 40.0, count)


def test_fine_steps_are_averaged_over_complete_ticks() -> None:
    values = np.arange(130, dtype=np.float64)
    ticks = to_ticks(trace_of(values, 1))
    np.testing.assert_allclose(ticks.values, [29.5, 89.5])
    assert ticks.source_step_s == 1
    odd = to_ticks(trace_of(np.array([1.0, 2.0, 3.0]), 40))
    np.testing.assert_allclose(odd.values, [(40 * 1 + 20 * 2) / 60, (20 * 2 + 40 * 3) / 60])


def test_steps_of_a_tick_pass_unchanged() -> None:
    values = demand(50)
    np.testing.assert_array_equal(to_ticks(trace_of(values, 60)).values, values)


@pytest.mark.parametrize("step_s", [120, 300, 900, 3600])
def test_a_coarse_step_keeps_its_mean(step_s: int) -> None:
    values = demand(100)
    ticks = to_ticks(trace_of(values, step_s)).values.reshape(100, -1)
    np.testing.assert_allclose(ticks.mean(axis=1), values, rtol=1e-12)
    assert ticks.min() > 0.0
    assert (ticks.std(axis=1) > 0.0).all(), "ticks inside a step are not a flat line"


@pytest.mark.parametrize(("step_s", "touched"), [(300, 500), (90, 150), (3600, 6000)])
def test_the_future_changes_no_past_tick(step_s: int, touched: int) -> None:
    values = demand(200)
    other = values.copy()
    other[100:] *= 7.0
    before, after = (to_ticks(trace_of(v, step_s)).values for v in (values, other))
    np.testing.assert_array_equal(before[:touched], after[:touched])
    assert not np.isclose(before[touched:], after[touched:]).any()


def test_a_line_toward_the_next_value_would_be_caught() -> None:
    values = demand(200)
    other = values.copy()
    other[100:] *= 7.0
    centres = np.arange(200) * 5.0 + 2.0
    before, after = (np.interp(np.arange(1000.0), centres, v) for v in (values, other))
    assert not np.array_equal(before[:500], after[:500])


def test_changing_one_step_changes_only_its_own_ticks() -> None:
    values = demand(60)
    other = values.copy()
    other[20] += 50.0
    before, after = (to_ticks(trace_of(v, 300), seed=9).values.reshape(60, 5) for v in (values, other))
    changed = (before != after).any(axis=1)
    assert changed.nonzero()[0].tolist() == [20]


def test_the_seed_alone_chooses_the_noise() -> None:
    trace = trace_of(demand(40), 300)
    first, again, other = (to_ticks(trace, seed=seed).values for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert not np.isclose(first, other).any()


def test_noise_has_the_stated_law() -> None:
    log_noise = np.log(tick_noise(3, 4000, 60, phi=0.5, sigma=0.05))
    log_noise -= log_noise.mean()
    assert log_noise.std() == pytest.approx(0.05, rel=0.06)
    lag_one = (log_noise[:, 1:] * log_noise[:, :-1]).mean() / (log_noise**2).mean()
    assert lag_one == pytest.approx(0.5, abs=0.05)
    steps = tick_noise(3, 4000, 5, phi=0.5, sigma=0.05)[:, 0]
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.05, "steps are drawn apart"


def test_the_fit_finds_a_known_law() -> None:
    rates = 200.0 * tick_noise(8, 1, 40_000, phi=0.6, sigma=0.08)[0]
    phi, sigma = fit_tick_noise(rates)
    assert phi == pytest.approx(0.6, abs=0.03)
    assert sigma == pytest.approx(0.08, rel=0.04)
    with pytest.raises(ValueError, match="at least 100"):
        fit_tick_noise(np.ones(500))
    with pytest.raises(ValueError, match="do not vary"):
        fit_tick_noise(np.full(500, 99.0))


def test_gaps_and_marks_follow_the_values() -> None:
    trace = trace_of(demand(10), 300)
    trace.imputed[3] = True
    trace.scored[4] = False
    ticks = to_ticks(trace)
    assert ticks.imputed.nonzero()[0].tolist() == [15, 16, 17, 18, 19]
    assert (~ticks.scored).nonzero()[0].tolist() == [20, 21, 22, 23, 24]


def test_too_short_a_trace_is_refused() -> None:
    with pytest.raises(ValueError, match="less than a tick"):
        to_ticks(trace_of(np.ones(30), 1))
    with pytest.raises(ValueError, match="tick_s is 0"):
        to_ticks(trace_of(np.ones(30), 60), tick_s=0)


@pytest.mark.traces
def test_constants_are_those_of_the_world_cup(traces_dir: Path) -> None:
    values = load_trace(traces_dir / "worldcup98_1min.parquet").values
    phi, sigma = fit_tick_noise(values[: int(0.7 * len(values))])
    assert pytest.approx(phi, abs=1e-5) == NOISE_PHI
    assert pytest.approx(sigma, abs=1e-5) == NOISE_SIGMA


@pytest.mark.traces
def test_minutes_of_a_five_minute_step_look_like_real_minutes(traces_dir: Path) -> None:
    """The spread of minutes around their five-minute mean, real against drawn from the five-minute means."""
    values = load_trace(traces_dir / "worldcup98_1min.parquet").values
    real = values[: int(0.7 * len(values)) // 5 * 5].reshape(-1, 5)
    busy = real.min(axis=1) * 60 >= 1000
    made = to_ticks(trace_of(real.mean(axis=1), 300)).values.reshape(-1, 5)
    spreads = []
    for minutes in (real[busy], made[busy]):
        shares = minutes / minutes.mean(axis=1, keepdims=True)
        spreads.append(np.quantile(shares, 0.84) - np.quantile(shares, 0.16))
    assert spreads[1] == pytest.approx(spreads[0], rel=0.15)
