"""What is wrong with a table of observations or features: names, types, ranges, units, gaps, stamps.

Errors name column, row (0 first) and value. Nothing is repaired here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.features.definitions import FEATURES, Feature
from forecasting.features.infrastructure import CATEGORIES, categories
from forecasting.features.local_time import CALENDAR_RANGES
from forecasting.features.observations import METRIC_BY_NAME, METRICS, PLACES, TIMESTAMP, Metric, complaint

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LATEST_STAMP_S: Final = 4_102_444_800
"""2100-01-01: a stamp beyond is one in milliseconds read as seconds."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        column: Column name.
        row: Row of the table, 0 first; None if it is about the whole column.
        value: What stands there, as text.
        what: What is wrong with it.
    """

    column: str
    row: int | None
    value: str
    what: str

    def __str__(self) -> str:
        where = f"column {self.column!r}" + ("" if self.row is None else f", row {self.row}")
        return f"{where}: {self.what}" + (f" (got {self.value})" if self.value else "")


def check_observations(observations: pd.DataFrame, *, step_s: int) -> None:
    """Raise what :func:`observation_problems` finds first; missing readings and old tables are fine.

    Raises:
        ValueError: The first problem, and how many there are.
    """
    _refuse(observation_problems(observations, step_s=step_s))


def observation_problems(
    observations: pd.DataFrame,
    *,
    step_s: int,
    largest_missing_share: float = 1.0,
    now: pd.Timestamp | None = None,
    oldest_s: float = math.inf,
) -> Iterator[Problem]:
    """Yield everything that is wrong with a table of observations, one problem per column and kind.

    Args:
        observations: The table (see ``forecasting.features.observations``).
        step_s: Seconds per row that are expected.
        largest_missing_share: Share of a column's rows that may be missing, rows that were left out included.
        now: Time of the check; None does not look at the age.
        oldest_s: Age in seconds that the newest row may have.
    """
    yield from _unknown(observations, (TIMESTAMP, *METRIC_BY_NAME, *PLACES))
    wrong_stamps = list(_stamp_problems(observations, step_s))
    yield from wrong_stamps
    rows = len(observations)
    if not wrong_stamps and rows:
        seconds = stamp_seconds(observations[TIMESTAMP])
        rows = int(seconds[-1] - seconds[0]) // step_s + 1
        if now is not None and now.timestamp() - seconds[-1] > oldest_s:
            age = now.timestamp() - float(seconds[-1])
            yield Problem(TIMESTAMP, len(seconds) - 1, str(observations[TIMESTAMP].iloc[-1]), f"is {age:.0f} s old")
    for metric in METRICS:
        if metric.name in observations:
            yield from _number_problems(observations[metric.name], metric, rows, largest_missing_share)
    for name in PLACES:
        if name in observations:
            yield from _text_problems(observations[name])


def feature_problems(
    table: pd.DataFrame, *, features: Sequence[Feature] = FEATURES, largest_missing_share: float = 1.0
) -> Iterator[Problem]:
    """Yield everything that is wrong with a table of features: columns, types, ranges, missing shares."""
    expected = [Metric(name, "1", low, high) for name, (low, high) in CALENDAR_RANGES.items()]
    expected += [Metric(feature.name, feature.unit, feature.low, feature.high) for feature in features]
    names = [metric.name for metric in expected]
    yield from _unknown(table, (TIMESTAMP, *names, *CATEGORIES))
    for metric in expected:
        if metric.name in table:
            yield from _number_problems(table[metric.name], metric, len(table), largest_missing_share)
        else:
            yield Problem(metric.name, None, "", "is not in the table")


def check_features(
    table: pd.DataFrame, *, features: Sequence[Feature] = FEATURES, largest_missing_share: float = 1.0
) -> None:
    """Raise what :func:`feature_problems` finds first.

    Raises:
        ValueError: The first problem, and how many there are.
    """
    _refuse(feature_problems(table, features=features, largest_missing_share=largest_missing_share))


def stamp_seconds(stamps: "pd.Series[Any]") -> IntArray:
    """Return whole UTC seconds since 1970 of a column of stamps with a time zone."""
    return (
        pd.DatetimeIndex(stamps).tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
    )


def _refuse(problems: Iterator[Problem]) -> None:
    found = list(problems)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise ValueError(f"{found[0]}{more}")


def _unknown(table: pd.DataFrame, known: Sequence[str]) -> Iterator[Problem]:
    for name, count in table.columns.value_counts().items():
        if name not in known:
            yield Problem(str(name), None, "", "is not a known column")
        elif count > 1:
            yield Problem(str(name), None, "", f"stands {count} times in the table")


def _stamp_problems(table: pd.DataFrame, step_s: int) -> Iterator[Problem]:
    """Yield what is wrong with the stamps: the first row of each kind."""
    if TIMESTAMP not in table:
        yield Problem(TIMESTAMP, None, "", "is not in the table")
        return
    stamps = table[TIMESTAMP]
    if not isinstance(stamps.dtype, pd.DatetimeTZDtype):
        yield Problem(TIMESTAMP, None, str(stamps.dtype), "expected times with a time zone")
        return
    if stamps.isna().any():
        yield Problem(TIMESTAMP, int(np.argmax(stamps.isna())), "NaT", "is missing")
        return
    seconds = stamp_seconds(stamps)
    far = (seconds < 0) | (seconds > LATEST_STAMP_S)
    if far.any():
        row = int(np.argmax(far))
        yield Problem(TIMESTAMP, row, str(stamps.iloc[row]), "lies outside 1970..2100; is its unit right?")
    steps = np.diff(seconds)
    kinds = (
        ("repeats the time of the row above", steps == 0),
        ("goes back in time", steps < 0),
        (f"is not whole steps of {step_s} s after the row above", (steps > 0) & (steps % step_s != 0)),
    )
    for what, odd in kinds:
        if odd.any():
            row = int(np.argmax(odd)) + 1
            yield Problem(TIMESTAMP, row, str(stamps.iloc[row]), f"{what} ({int(odd.sum())} such rows)")


def _number_problems(
    column: "pd.Series[Any]", metric: Metric, rows: int, largest_missing_share: float
) -> Iterator[Problem]:
    """Yield what is wrong with a numeric column: its type, the first value out of range, too many missing."""
    if not pd.api.types.is_numeric_dtype(column.dtype) and not column.isna().all():
        is_text = [isinstance(value, str) for value in column]
        row = int(np.argmax(is_text)) if any(is_text) else 0
        yield Problem(metric.name, row, repr(column.iloc[row]), f"expected numbers, column is {column.dtype}")
        return
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(values)
    wrong = known & ~((values >= metric.low) & (values <= metric.high) & np.isfinite(values))
    if wrong.any():
        row = int(np.argmax(wrong))
        what = complaint(metric, float(values[row])) or ""
        yield Problem(metric.name, row, "", f"{what} ({int(wrong.sum())} such rows)")
    share = 1.0 - known.sum() / max(rows, 1)
    if share > largest_missing_share:
        what = f"{share:.1%} of {rows} steps are missing; at most {largest_missing_share:.1%} may be"
        yield Problem(metric.name, None, "", what)


def _text_problems(column: "pd.Series[Any]") -> Iterator[Problem]:
    """Yield the first text that is not written like AWS writes it."""
    for row, value in enumerate(column):
        if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, str):
            yield Problem(str(column.name), row, repr(value), "expected a text")
            return
        try:
            categories(**{str(column.name): value}, **{name: None for name in PLACES if name != column.name})
        except ValueError as error:
            yield Problem(str(column.name), row, "", str(error))
            return
