"""Sliding statistics against NumPy on every window, and the two-stack turns that they go through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.features.percentile import percentile, replace_oldest
from forecasting.features.sliding import FIELDS, MAX, MEAN, MIN, STD, TREND, clear, slide, statistic, window_aggregate

READING = st.floats(-1e6, 1e6) | st.just(float("nan")) | st.sampled_from([0.0, 1.0, 2.0])


@given(readings=st.lists(READING, min_size=1, max_size=60), width=st.integers(1, 17))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_percentiles_are_numpys(readings: list[float], width: int) -> None:
    values = np.full(width, np.nan)
    heaps = np.zeros((2, width), np.int64)
    places, sides, sizes = np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(2, np.int64)
    for row, reading in enumerate(readings):
        replace_oldest(values, heaps, places, sides, sizes, row, reading)
        window = np.array(readings[max(0, row - width + 1) : row + 1])
        known = window[~np.isnan(window)]
        found = percentile(values, heaps, sizes, 1.0)
        if len(known) == 0:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(np.quantile(known, 0.95), rel=1e-12, abs=1e-12)


@given(readings=st.lists(READING, min_size=1, max_size=60), width=st.integers(1, 17))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_statistics_are_those_of_the_window(readings: list[float], width: int) -> None:
    suffixes, newest, single = np.zeros((width, FIELDS)), np.zeros(FIELDS), np.zeros(FIELDS)
    clear(newest)
    ring = np.full(width + 3, np.nan)
    whole = np.zeros(FIELDS)
    turned = 0
    for row, reading in enumerate(readings):
        ring[row % len(ring)] = reading
        turned = slide(suffixes, newest, single, ring, row, turned)
        window_aggregate(suffixes, newest, row, turned, whole)
        window = np.array(readings[max(0, row - width + 1) : row + 1])
        at = np.flatnonzero(~np.isnan(window))
        known = window[at]
        if len(known) == 0:
            assert np.isnan(statistic(whole, MEAN, 1.0, 1.0))
            continue
        close = {"rel": 1e-9, "abs": 1e-9 * max(1.0, float(np.abs(known).max()))}
        assert statistic(whole, MEAN, 1.0, 1.0) == pytest.approx(known.mean(), **close)
        assert statistic(whole, MIN, 1.0, 1.0) == known.min()
        assert statistic(whole, MAX, 1.0, 1.0) == known.max()
        if len(known) > 1:
            assert statistic(whole, STD, 1.0, 1.0) == pytest.approx(known.std(ddof=1), **close)
            slope = np.polynomial.polynomial.polyfit(at - at.mean(), known, 1)[1]
            assert statistic(whole, TREND, 1.0, 12.0) == pytest.approx(12.0 * slope, **close)
        else:
            assert np.isnan(statistic(whole, STD, 1.0, 1.0))
            assert np.isnan(statistic(whole, TREND, 1.0, 1.0))
        assert np.isnan(statistic(whole, MEAN, len(known) + 1.0, 1.0))
