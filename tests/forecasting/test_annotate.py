from collections.abc import Callable

import numpy as np
import pytest

from forecasting.annotate import (
    Annotation,
    annotate,
    annotation_forecaster,
    visible_bins,
)
from forecasting.anomaly.detector import AnomalyDetector
from forecasting.demand.boosted import LEADS_MINUTES, LEVELS

Annotate = Callable[[np.ndarray], Annotation]


def demand(days: int = 4, seed: int = 0) -> np.ndarray:
    minutes = np.arange(days * 1440)
    noise = np.random.default_rng(seed).normal(0.0, 0.1, len(minutes))
    return 500.0 * np.exp(np.sin(2.0 * np.pi * minutes / 1440.0) + noise)


def first_row_changed_by_the_future(run: Annotate, values: np.ndarray, row: int, visible: int) -> int | None:
    """Multiply everything after tick ``visible``; return the first row up to ``row`` to notice, or None."""
    other = values.copy()
    other[visible + 1 :] *= 3.0
    before, after = run(values), run(other)
    for index in range(row + 1):
        for name in ("forecast_rps", "available", "anomaly_score"):
            if not np.array_equal(getattr(before, name)[index], getattr(after, name)[index]):
                return index
    return None


@pytest.mark.parametrize("delay", [0, 1, 7])
@pytest.mark.parametrize("row", [3, 288, 700])
def test_no_row_sees_beyond_its_last_visible_tick(delay: int, row: int) -> None:
    values = demand()
    visible = 5 * row - 1 - delay
    assert first_row_changed_by_the_future(lambda v: annotate(v, delay_ticks=delay), values, row, visible) is None


def test_the_check_catches_a_forecaster_that_is_fed_the_future() -> None:
    values = demand()

    def one_tick_early(ticks: np.ndarray) -> Annotation:
        return annotate(ticks, delay_ticks=0)

    def centred_mean(ticks: np.ndarray) -> Annotation:
        return annotate(np.convolve(ticks, np.ones(7) / 7.0, mode="same"))

    for faulty in (one_tick_early, centred_mean):
        assert first_row_changed_by_the_future(faulty, values, 700, 5 * 700 - 2) == 700


def test_the_newest_visible_tick_does_count() -> None:
    values = demand()
    assert first_row_changed_by_the_future(annotate, values, 700, 5 * 700 - 3) == 700


def test_rows_equal_a_stream_fed_bin_by_bin() -> None:
    values = demand(3)
    values[2000:2030] = np.nan
    annotation = annotate(values, delay_ticks=2)
    stream, detector = annotation_forecaster(), AnomalyDetector(step_s=300)
    leads = [minutes // 5 for minutes in LEADS_MINUTES]
    for row in range(len(values) // 5):
        begin, end = max(5 * row - 7, 0), max(5 * row - 2, 0)
        seen = values[begin:end][~np.isnan(values[begin:end])]
        value = seen.sum() / len(seen) if len(seen) else np.nan
        stream.update(value)
        score = detector.update(value)
        assert annotation.anomaly_score[row] == pytest.approx(score, abs=1e-7)
        assert annotation.available[row] == stream.ready
        if stream.ready:
            expected = stream.forecast(leads, LEVELS).astype(np.float32)
            np.testing.assert_allclose(annotation.forecast_rps[row], expected, rtol=1e-7)


def test_before_it_is_ready_the_last_visible_value_stands() -> None:
    values = demand(2)
    annotation = annotate(values)
    assert annotation.forecast_rps.shape == (576, 7, 4)
    assert (annotation.forecast_rps[0] == 0.0).all()
    for row in (1, 5, 200):
        assert not annotation.available[row]
        np.testing.assert_array_equal(annotation.forecast_rps[row], np.float32(values[5 * row - 2]))
    assert annotation.available.argmax() == 288, "row 1 brings the first bin, row 288 the last of a day"


def test_bins_end_at_the_last_visible_tick() -> None:
    values = np.arange(30, dtype=np.float64)
    bins, last = visible_bins(values, ticks_per_row=5, delay_ticks=1)
    np.testing.assert_array_equal(bins, [np.nan, 1.5, 6.0, 11.0, 16.0, 21.0])
    np.testing.assert_array_equal(last, [0.0, 3.0, 8.0, 13.0, 18.0, 23.0])
    values[4:9] = np.nan
    bins, last = visible_bins(values, ticks_per_row=5, delay_ticks=1)
    assert np.isnan(bins[2])
    assert last[2] == 3.0


def test_a_lead_counts_from_the_last_visible_minute() -> None:
    """On a course that repeats daily the medians fit the five minutes that end at each lead, not those beside them."""
    minutes = np.arange(8 * 1440)
    course = 500.0 * np.exp(np.sin(2.0 * np.pi * minutes / 1440.0))
    annotation = annotate(course)
    for row in (5 * 288, 6 * 288 + 100):
        medians = annotation.forecast_rps[row, :, 1]
        errors = {}
        for shift in (-5, 0, 5):
            ends = [5 * row - 1 + lead + shift for lead in LEADS_MINUTES]
            actual = np.array([course[end - 5 : end].mean() for end in ends])
            errors[shift] = np.abs(medians / actual - 1.0).mean()
        assert errors[0] < 0.005
        assert min(errors[-5], errors[5]) > 2.0 * errors[0]


def test_a_fitted_forecaster_continues_and_is_left_alone() -> None:
    history = demand(3)
    fitted = annotation_forecaster().fit(visible_bins(history, ticks_per_row=5, delay_ticks=0)[0])
    before = fitted.state.memory.ring.copy()
    annotation = annotate(demand(1, seed=5), forecaster=fitted)
    assert annotation.available.all()
    np.testing.assert_array_equal(fitted.state.memory.ring, before)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide every lead"):
        annotate(demand(1), ticks_per_row=7)
    with pytest.raises(ValueError, match="step is 300 s; these rows need 60 s"):
        annotate(demand(1), ticks_per_row=1, forecaster=annotation_forecaster())
    with pytest.raises(ValueError, match="negative"):
        annotate(-demand(1))
    with pytest.raises(ValueError, match="delay_ticks is -1"):
        annotate(demand(1), delay_ticks=-1)
