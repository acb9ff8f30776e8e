"""Columns: what is refused, what counts as extrapolation, and how a forecast becomes a path."""

import numpy as np
import pandas as pd
import pytest

from forecasting.capacity.columns import (
    CAPACITY_COLUMNS,
    LEVELS,
    PERFORMANCE_COLUMNS,
    PLAN_MINUTES,
    WINDOW_MINUTES,
    Column,
    extrapolates,
    level_path,
    minute_path,
    names,
    read_columns,
)

RATE = (Column("rate", 0.0, 10.0, 1.0, 5.0, "a rate"),)


def test_values_are_read_in_order() -> None:
    table = pd.DataFrame({"b": [1, 2], "rate": [3.0, 4.0]})
    assert read_columns(table, RATE).tolist() == [[3.0], [4.0]]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"other": [1.0]}), "lacks columns: rate"),
        (pd.DataFrame({"rate": ["x"]}), "rate is not numeric"),
        (pd.DataFrame({"rate": [1.0, np.nan]}), "rate, row 1"),
        (pd.DataFrame({"rate": [1.0, np.inf]}), "rate, row 1"),
        (pd.DataFrame({"rate": [-1.0]}), "rate, row 0"),
        (pd.DataFrame({"rate": [1e12]}), "rate, row 0"),
    ],
)
def test_wrong_values_are_named(table: pd.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_columns(table, RATE)


def test_only_values_outside_the_training_range_extrapolate() -> None:
    assert extrapolates(np.array([[1.0], [5.0], [0.9], [5.1]]), RATE).tolist() == [False, False, True, True]


def test_names_occur_once_and_training_lies_within_meaning() -> None:
    for columns in (PERFORMANCE_COLUMNS, CAPACITY_COLUMNS):
        assert len(set(names(columns))) == len(columns)
        for column in columns:
            assert column.low <= column.trained_low < column.trained_high <= column.high


def test_a_level_between_two_is_interpolated() -> None:
    quantiles = np.arange(4.0)[None, None, :].repeat(2, axis=1).repeat(6, axis=0)
    levels = np.array([0.1, 0.3, 0.5, 0.9, 0.945, 0.99])
    expected = np.interp(levels, LEVELS, np.arange(4.0))
    assert level_path(quantiles, levels)[:, 1] == pytest.approx(expected)


def test_a_path_is_linear_between_its_leads() -> None:
    now, path = np.array([7.0]), np.array([[1.0, 9.0, 4.0, 4.0, 20.0]])
    expected = np.interp(np.arange(1, WINDOW_MINUTES + 1), (0, *PLAN_MINUTES), [7.0, 1.0, 9.0, 4.0, 4.0, 20.0])
    assert minute_path(now, path)[0] == pytest.approx(expected)
