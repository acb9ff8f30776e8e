import copy
import itertools
from pathlib import Path

import numpy as np
import pytest

from forecasting.anomaly import streams
from forecasting.anomaly.detector import AnomalyDetector, read_series, score_series
from forecasting.anomaly.streams import DEVIATIONS, STREAMS

DAY = 288


def daily(days: int = 10, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    time = np.arange(days * DAY)
    rng = np.random.default_rng(seed)
    return (100.0 + 60.0 * np.sin(2.0 * np.pi * time / DAY)) * np.exp(noise * rng.normal(size=len(time)))


def test_one_value_at_a_time_equals_the_whole_series() -> None:
    values = daily(4)
    values[[200, 300]] = np.nan, 900.0
    stream, whole = AnomalyDetector(), read_series(AnomalyDetector(), values)
    for index, value in enumerate(values):
        reading = stream.read(value)
        assert reading.score == whole.score[index]
        assert reading.extent == whole.extent[index]
        assert reading.event == whole.event[index]
        assert reading.alarm == whole.alarm[index]
    np.testing.assert_array_equal(reading.rarities, whole.rarities[-1])


def test_the_future_changes_no_output() -> None:
    values = daily()
    other = values.copy()
    other[1500:] *= 3.0
    first, second = read_series(AnomalyDetector(), values), read_series(AnomalyDetector(), other)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[:1500], two[:1500])
    assert second.score[1500] > first.score[1500]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("spike", ("range_long", "ewma_fast", "season")),
        ("night_peak", ("season",)),
        ("level", ("shift",)),
        ("flat", ("flatline",)),
        ("noise", ("volatility",)),
        ("zero", ("season", "range_long")),
    ],
)
def test_each_fault_is_rare_in_the_stream_made_for_it(fault: str, expected: tuple[str, ...]) -> None:
    values = daily(12)
    at = slice(10 * DAY + 200, 10 * DAY + 236)
    ordinary = read_series(AnomalyDetector(), values).rarities[9 * DAY : 10 * DAY + 200]
    if fault == "spike":
        values[at.start] *= 5.0
    elif fault == "night_peak":
        values[at] = values[at] * 2.2
    elif fault == "level":
        values[at] *= 1.35
    elif fault == "flat":
        values[at] = values[at.start]
    elif fault == "noise":
        values[at] *= np.exp(0.4 * np.random.default_rng(1).normal(size=36))
    else:
        values[at] = 0.0
    rarities = read_series(AnomalyDetector(), values).rarities[at]
    for name in expected:
        stream = STREAMS.index(name)
        assert rarities[:, stream].max() > 1.5
        assert rarities[:, stream].max() >= np.quantile(ordinary[:, stream], 0.99)


def test_planted_spikes_rank_first_and_ordinary_days_stay_below_the_alarm() -> None:
    values = daily(14)
    spikes = np.array([2100, 2700, 3300, 3900])
    values[spikes] *= np.array([3.0, 4.0, 0.05, 5.0])
    reading = read_series(AnomalyDetector(), values)
    assert reading.score[spikes].min() > np.delete(reading.score, spikes)[2 * DAY :].max()
    assert reading.event[spikes].min() > 0.5
    assert reading.alarm[spikes].all()
    assert not read_series(AnomalyDetector(), daily(14, seed=4)).alarm[4 * DAY :].any()


def test_rarities_are_calibrated_on_noise_of_any_tail() -> None:
    """About one value in a hundred is as rare as one in a hundred, in the streams without memory of their own."""
    rng = np.random.default_rng(1)
    for values in (rng.normal(50.0, 3.0, 20_000), rng.standard_t(3, 20_000), rng.gamma(0.5, 1.0, 20_000)):
        rarities = read_series(AnomalyDetector(), values).rarities[4000:]
        for name in ("ewma_fast", "ewma_slow", "robust", "season"):
            assert 0.006 < (rarities[:, STREAMS.index(name)] > 2.0).mean() < 0.016


def test_unit_and_sign_do_not_matter() -> None:
    values = daily(5)
    np.testing.assert_allclose(
        score_series(AnomalyDetector(), -(2.0**20) * values), score_series(AnomalyDetector(), values), atol=1e-6
    )


@pytest.mark.parametrize(
    "values",
    [
        np.full(900, 7.0),
        np.zeros(900),
        np.full(900, np.nan),
        np.concatenate((daily(2), [1e12, -1e12, np.inf, -np.inf], daily(2))),
        np.concatenate((np.full(DAY, np.nan), daily(3))),
        np.array([]),
        np.array([3.0]),
        np.where(np.arange(900) % 2 == 0, 1e300, -1e300),
        np.array([1e-300] * 400 + [2e-300] * 400),
    ],
)
def test_bad_series_give_finite_scores(values: np.ndarray) -> None:
    for combine in ("mean", "vote"):
        reading = read_series(AnomalyDetector(combine=combine), values)
        for array in reading:
            assert np.isfinite(array).all()
        assert ((reading.score >= 0.0) & (reading.score < 1.0)).all()
        assert ((reading.extent >= 0.0) & (reading.extent < 1.0)).all()


def test_an_outlier_hides_no_later_one() -> None:
    values = daily(12)
    values[6 * DAY] = 1e12
    values[10 * DAY + 100] *= 4.0
    score = score_series(AnomalyDetector(), values)
    assert score[10 * DAY + 100] > 0.4
    assert score[8 * DAY : 10 * DAY + 100].max() < score[10 * DAY + 100]


def test_a_constant_series_is_never_unusual_until_it_moves() -> None:
    values = np.full(900, 7.0)
    values[800] = 7.5
    score = score_series(AnomalyDetector(), values)
    assert (score[:800] == 0.0).all()
    assert score[800] > 0.4


def test_lengths_are_hours_and_not_rows() -> None:
    """The same series in five-minute and in fifteen-minute rows is unusual at the same time."""
    fine = daily(12, noise=0.02)
    fine[10 * DAY : 10 * DAY + 24] *= 2.0
    coarse = fine.reshape(-1, 3).mean(axis=1)
    scores = score_series(AnomalyDetector(300.0), fine), score_series(AnomalyDetector(900.0), coarse)
    peaks = [int(np.argmax(score)) for score in scores]
    assert 10 * DAY <= peaks[0] < 10 * DAY + 24
    assert 10 * DAY <= 3 * peaks[1] < 10 * DAY + 24


def test_copies_go_their_own_way_and_fit_starts_anew() -> None:
    detector = AnomalyDetector().fit(daily(3))
    twin = copy.deepcopy(detector)
    assert detector.update(900.0) == twin.update(900.0) > 0.3
    twin.update(1.0)
    assert detector.state.streams.scalars[2] == 900.0
    again = detector.fit(daily(3))
    assert again.update(900.0) == AnomalyDetector().fit(daily(3)).update(900.0)
    assert AnomalyDetector().update(900.0) == 0.0


def test_the_extent_rises_and_stays_where_the_score_is_brief() -> None:
    values = daily(12)
    values[10 * DAY : 11 * DAY] *= 2.5
    reading = read_series(AnomalyDetector(), values)
    inside, before = reading.extent[10 * DAY + 72 : 11 * DAY], reading.extent[8 * DAY : 10 * DAY]
    assert inside.min() > before.max()
    assert inside.mean() > 1.5 * before.mean()


def test_an_event_silences_lower_ones_for_half_a_day() -> None:
    reading = read_series(AnomalyDetector(), daily(10, seed=2))
    happened = np.flatnonzero(reading.event > 0.0)
    for before, after in itertools.pairwise(happened):
        assert after - before >= DAY // 2 or reading.event[after] >= reading.event[before]


def test_parameters_outside_their_range_are_named() -> None:
    with pytest.raises(ValueError, match="warm_up 1"):
        AnomalyDetector(warm_up=1)
    with pytest.raises(ValueError, match="step_s is 0"):
        AnomalyDetector(0)
    with pytest.raises(ValueError, match="combine is 'max'"):
        AnomalyDetector(combine="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="off must not exceed on"):
        AnomalyDetector(on=0.2, off=0.4)


def test_every_stream_is_described() -> None:
    text = Path(streams.__file__).read_text()
    assert all(f"\n{name} " in text for name in STREAMS)
    assert DEVIATIONS[: len(STREAMS)] == STREAMS
