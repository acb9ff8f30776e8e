"""The six patterns: what each is named for can be measured in it."""

import numpy as np
import pytest

from simulators.patterns import PATTERNS, draw_pattern
from telemetry.splits import load_splits

DAYS = 6


def smooth(path: np.ndarray, minutes: int) -> np.ndarray:
    return path[: len(path) // minutes * minutes].reshape(-1, minutes).mean(axis=1)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_path_is_positive_of_mean_one_and_follows_its_seed(name: str) -> None:
    first, again, other = (draw_pattern(name, days=2, seed=seed) for seed in (5, 5, 6))
    assert first.shape == (2880,)
    assert np.isfinite(first).all()
    assert (first > 0).all()
    assert first.mean() == pytest.approx(1.0)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_patterns_of_one_seed_do_not_share_their_luck() -> None:
    noises = [np.diff(np.log(draw_pattern(name, days=1, seed=0))) for name in PATTERNS]
    for index, first in enumerate(noises):
        for second in noises[index + 1 :]:
            assert abs(np.corrcoef(first, second)[0, 1]) < 0.25


def test_steady_stays_near_its_level() -> None:
    for seed in range(5):
        path = draw_pattern("steady", days=DAYS, seed=seed)
        assert np.abs(path - 1).max() < 0.35
        assert path.std() == pytest.approx(0.05, abs=0.02)


def test_diurnal_repeats_every_day_and_rests_at_the_weekend() -> None:
    for seed in range(5):
        hours = smooth(draw_pattern("diurnal", days=7, seed=seed), 60).reshape(7, 24)
        weekdays = hours[:5]
        assert np.corrcoef(weekdays[:-1].ravel(), weekdays[1:].ravel())[0, 1] > 0.7
        assert weekdays.mean(axis=0).max() > 1.8 * weekdays.mean(axis=0).min()
        assert hours[5:].mean() < hours[:5].mean()


def test_bursts_come_often_and_go_within_the_hour() -> None:
    rates, steepest = [], []
    for seed in range(5):
        path = draw_pattern("bursty", days=DAYS, seed=seed)
        five = smooth(path, 5)
        calm = np.convolve(np.pad(five, 24, mode="edge"), np.ones(49) / 49, mode="valid")
        above = five > 1.35 * calm
        rates.append(np.count_nonzero(np.diff(above.astype(int)) == 1) / DAYS)
        steepest.append((path[5:] / path[:-5]).max())
    assert 4 < np.mean(rates) < 25
    assert min(steepest) > 1.4


def test_a_flash_crowd_is_many_times_the_ordinary_load() -> None:
    peaks, days_with = [], 0
    for seed in range(8):
        path = draw_pattern("flash_crowd", days=DAYS, seed=seed)
        usual = np.median(path)
        peaks.append(path.max() / usual)
        days_with += int((path.reshape(DAYS, 1440).max(axis=1) > 3 * usual).sum())
    assert np.median(peaks) > 4.5
    assert 0.3 < days_with / (8 * DAYS) < 0.95


def test_a_ramp_grows_or_falls_by_a_steady_share_a_day() -> None:
    slopes = []
    for seed in range(12):
        daily = np.log(smooth(draw_pattern("ramp", days=10, seed=seed), 1440))
        slopes.append(np.polyfit(np.arange(10), daily, 1)[0])
    sizes = np.abs(slopes)
    assert ((sizes > 0.02) & (sizes < 0.18)).all()
    assert min(slopes) < 0 < max(slopes)


def test_on_off_knows_two_levels_held_for_an_hour_or_more() -> None:
    for seed in range(4):
        path = draw_pattern("on_off", days=DAYS, seed=seed)
        high = path > 0.5 * (path.min() + path.max())
        assert path[high].mean() / path[~high].mean() == pytest.approx(1.7 / 0.3, rel=0.1)
        lengths = np.diff(np.flatnonzero(np.diff(high.astype(int))))
        assert lengths.min() >= 45


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown pattern 'sawtooth'; known: steady, diurnal"):
        draw_pattern("sawtooth", days=1, seed=0)
    with pytest.raises(ValueError, match="at least 1 day, got 0"):
        draw_pattern("steady", days=0, seed=0)


def test_the_split_file_names_each_pattern_once() -> None:
    patterns = load_splits().patterns
    named = [*patterns.train, *patterns.validate_, *patterns.test]
    assert sorted(named) == sorted(PATTERNS)
