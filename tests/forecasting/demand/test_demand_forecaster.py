"""The demand forecaster as a stream: no look-ahead, points equal series, free of scale, calibrated, robust."""

import copy
from typing import Any

import numpy as np
import pytest

from forecasting.demand.binned import BinnedForecaster, demand_forecaster
from forecasting.demand.boosted import LEVELS, expert_leads, tracked_leads
from forecasting.demand.forecaster import DemandForecaster, run_series

LEADS = [1, 2, 3, 6, 12, 24, 48]


def demand(days: int, seed: int = 0, step_s: int = 300, noise: float = 0.15) -> np.ndarray:
    steps = np.arange(days * 86_400 // step_s)
    rng = np.random.default_rng(seed)
    return 200.0 * np.exp(0.8 * np.sin(2.0 * np.pi * steps * step_s / 86_400.0) + rng.normal(0.0, noise, len(steps)))


def forecasts(values: np.ndarray, step_s: int = 300) -> np.ndarray:
    return run_series(DemandForecaster(step_s=step_s), values, LEADS if step_s == 300 else [1, 2, 4])[0]


def test_changing_the_future_changes_no_forecast_made_before_it() -> None:
    values = demand(3)
    other = values.copy()
    other[600:] *= 4.0
    before, after = forecasts(values), forecasts(other)
    np.testing.assert_array_equal(before[:600], after[:600])
    assert not np.array_equal(before[600], after[600])


def test_a_forecaster_fed_one_value_early_would_be_noticed() -> None:
    values = demand(3)
    other = values.copy()
    other[600:] *= 4.0
    early = np.roll(values, -1), np.roll(other, -1)
    assert not np.array_equal(forecasts(early[0])[599], forecasts(early[1])[599])


def test_one_value_at_a_time_equals_a_whole_series() -> None:
    values = demand(2)
    values[300:320] = np.nan
    stream, batch = DemandForecaster(step_s=300), DemandForecaster(step_s=300)
    at_once, ready = run_series(batch, values, LEADS)
    for index, value in enumerate(values):
        stream.update(value)
        if index in (0, 10, 287, 310, 575):
            np.testing.assert_array_equal(stream.forecast(LEADS), at_once[index])
            assert stream.ready == ready[index]
    assert not ready[286]
    assert ready[287]


def test_the_unit_of_the_series_does_not_matter() -> None:
    values = demand(3)
    off = np.abs(forecasts(values * 1e4) - 1e4 * forecasts(values)) / (1e4 * values.mean())
    assert np.median(off) < 1e-3
    assert np.quantile(off, 0.99) < 0.08, "by rounding a feature may fall to the other side of a tree's threshold"


def test_it_beats_the_same_time_yesterday_and_the_last_value() -> None:
    values = demand(8, seed=3)
    rows = forecasts(values)
    origins = np.arange(4 * 288, len(values) - 48)
    for place, lead in enumerate(LEADS):
        actual = values[origins + lead]
        own = np.abs(actual - rows[origins, place, 1]).mean()
        assert own < 0.9 * np.abs(actual - values[origins + lead - 288]).mean()
        assert own < 0.95 * np.abs(actual - values[origins]).mean()


@pytest.mark.parametrize("step_s", [300, 900, 3600])
def test_intervals_cover_what_they_promise_after_a_change_of_regime(step_s: int) -> None:
    """Noise triples half-way: calibration has to follow."""
    days = 30 if step_s < 3600 else 90
    values = demand(days, seed=1, step_s=step_s)
    half = len(values) // 2
    values[half:] = demand(days, seed=2, step_s=step_s, noise=0.45)[half:]
    leads = [1, 4]
    rows, _ = run_series(DemandForecaster(step_s=step_s), values, leads)
    origins = np.arange(half + half // 3, len(values) - 4)
    for place, lead in enumerate(leads):
        actual = values[origins + lead]
        inside = (actual >= rows[origins, place, 0]) & (actual <= rows[origins, place, 2])
        assert 0.74 <= inside.mean() <= 0.86


AWKWARD: dict[str, np.ndarray] = {
    "constant": np.full(900, 7.0),
    "zero": np.zeros(900),
    "missing": np.full(900, np.nan),
    "mostly missing": np.where(np.arange(900) % 50 == 0, 5.0, np.nan),
    "starts late": np.concatenate((np.full(400, np.nan), np.full(500, 3.0))),
    "one value": np.array([4.0]),
    "outlier": np.where(np.arange(900) == 700, 1e12, 5.0 + np.sin(np.arange(900))),
    "huge": np.full(900, 1e14),
    "tiny": np.full(900, 1e-9),
    "on and off": np.where(np.arange(900) % 40 < 20, 0.0, 100.0),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("step_s", [60, 300, 3600])
def test_awkward_series_give_finite_ordered_quantiles(name: str, step_s: int) -> None:
    forecaster = demand_forecaster(step_s).fit(AWKWARD[name])
    for leads in ([1, 2, 4], [1, 48, 500]):
        rows = forecaster.forecast(leads, LEVELS)
        assert np.isfinite(rows).all()
        assert (rows >= 0.0).all()
        assert (np.diff(rows, axis=1) >= 0.0).all()


def test_one_outlier_is_forgotten_within_days() -> None:
    values = demand(10)
    values[3 * 288] = 1e12
    rows = forecasts(values)
    assert rows[-1, :, 2].max() < 20.0 * values[-288:].max()


def test_what_cannot_be_demand_is_refused() -> None:
    forecaster = DemandForecaster(step_s=300)
    with pytest.raises(ValueError, match="value 1 is -2"):
        forecaster.feed([1.0, -2.0])
    with pytest.raises(ValueError, match="value 0 is inf"):
        forecaster.update(np.inf)
    with pytest.raises(ValueError, match="from 1 on"):
        forecaster.forecast([0])
    with pytest.raises(ValueError, match=r"level 0\.3"):
        forecaster.forecast([1], [0.3])
    with pytest.raises(ValueError, match="step_s"):
        DemandForecaster(step_s=4000)
    with pytest.raises(ValueError, match="step_s is 300"):
        BinnedForecaster(step_s=300)


def test_a_copy_goes_its_own_way() -> None:
    forecaster = DemandForecaster(step_s=300).fit(demand(2))
    other = copy.deepcopy(forecaster)
    before = forecaster.forecast(LEADS)
    other.feed(demand(1, seed=9) * 3.0)
    np.testing.assert_array_equal(forecaster.forecast(LEADS), before)


def test_leads_of_every_step() -> None:
    assert tracked_leads(300) == LEADS
    assert tracked_leads(3600) == [1, 2, 4]
    assert expert_leads(300) == list(range(1, 49))
    assert expert_leads(60)[:3] == [1, 5, 10]
    assert expert_leads(3600, 86_400) == [1, 2, 3, 4, 8, 16, 24]


class TestFinerThanFiveMinutes:
    def test_the_future_changes_nothing_before_it(self) -> None:
        values = demand(2, step_s=60)
        runs: list[Any] = []
        for factor in (1.0, 5.0):
            forecaster = BinnedForecaster(step_s=60)
            forecaster.feed(values[:2003])
            runs.append(forecaster.forecast([1, 60, 240]))
            forecaster.feed(values[2003:] * factor)
            runs.append(forecaster.forecast([1, 60, 240]))
        np.testing.assert_array_equal(runs[0], runs[2])
        assert not np.array_equal(runs[1], runs[3])

    def test_points_and_blocks_agree(self) -> None:
        values = demand(1, step_s=60)[:733]
        one, block = BinnedForecaster(step_s=60), BinnedForecaster(step_s=60)
        for value in values:
            one.update(value)
        block.feed(values)
        np.testing.assert_array_equal(one.forecast([1, 7, 200]), block.forecast([1, 7, 200]))

    @pytest.mark.parametrize("step_s", [10, 60])
    def test_counting_noise_inside_the_means_is_covered(self, step_s: int) -> None:
        rng = np.random.default_rng(4)
        days = 4
        rate = demand(days, seed=5, step_s=step_s, noise=0.0) / 20.0
        values = rng.poisson(rate).astype(float)
        forecaster = BinnedForecaster(step_s=step_s)
        forecaster.feed(values[: len(values) // 2])
        inside = []
        leads = list(range(1, 4 * 3600 // step_s, 7))
        every = 3600 // step_s
        for start in range(len(values) // 2, len(values) - 4 * 3600 // step_s, every):
            rows = forecaster.forecast(leads)
            actual = values[start - 1 + np.array(leads)]
            inside.append((actual >= rows[:, 0]) & (actual <= rows[:, 2]))
            forecaster.feed(values[start : start + every])
        assert 0.74 <= np.mean(inside) <= 0.88
