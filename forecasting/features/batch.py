"""Features of a table of observations at once, in pandas and NumPy.

Every window statistic is taken over its window afresh: slower than the stream, and with nothing to go wrong. The two
share the table of definitions, the row counts of windows and lags, and the rule of each combination.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.features.definitions import FEATURES, STATISTICS, Feature
from forecasting.features.infrastructure import CATEGORIES, categories
from forecasting.features.local_time import ServicePlace, calendar_table
from forecasting.features.observations import PLACES, TIMESTAMP
from forecasting.features.percentile import LEVEL
from forecasting.features.plan import LAG, WINDOW, Plan, combine_all, least_known, make_plan
from forecasting.features.validator import check_observations, stamp_seconds

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_CHUNK_VALUES = 2_000_000


def feature_table(
    observations: pd.DataFrame,
    *,
    step_s: int,
    place: ServicePlace | None = None,
    features: Sequence[Feature] = FEATURES,
) -> pd.DataFrame:
    """Return every feature at every observation; a row sees the rows above it and itself only.

    Args:
        observations: Column ``timestamp`` (with a time zone, rising by whole steps) and columns of
            ``observations.METRICS`` and ``PLACES``; absent ones are missing, other columns are refused.
        step_s: Seconds per row, 1 to 3600; rows that were left out are missing.
        place: Whose clock and calendar; UTC without holidays by default.
        features: Which numeric features.

    Returns:
        A row per observation: ``timestamp``, the calendar, the numbers of ``features`` and the category features.

    Raises:
        ValueError: What ``validator.check_observations`` refuses, with column, row and value.
    """
    plan = make_plan(features, step_s)
    check_observations(observations, step_s=step_s)
    seconds = stamp_seconds(observations[TIMESTAMP])
    place = place or ServicePlace()
    columns: dict[str, object] = {TIMESTAMP: observations[TIMESTAMP].to_numpy()}
    columns |= calendar_table(seconds, place)
    rows = (seconds - seconds[0]) // step_s if len(seconds) else seconds
    columns |= dict(zip(plan.names, _numbers(observations, rows, plan), strict=True))
    columns |= _categories(observations)
    return pd.DataFrame(columns)


def _numbers(observations: pd.DataFrame, rows: IntArray, plan: Plan) -> Iterator[FloatArray]:
    """Yield each numeric feature at the observed rows of the grid."""
    length = int(rows[-1]) + 1 if len(rows) else 0
    grid = np.full((len(plan.metrics), length), np.nan)
    for metric, name in enumerate(plan.metrics):
        if name in observations:
            grid[metric, rows] = observations[name].to_numpy(dtype=np.float64, na_value=np.nan)
    found: list[FloatArray] = []
    moments: dict[int, dict[str, FloatArray]] = {}
    steps = plan.steps
    for kind, first, second, scale, least in zip(*(column.tolist() for column in steps), strict=True):
        column = np.full(length, np.nan)
        if kind == LAG:
            column[second:] = grid[first, : max(0, length - second)]
        elif kind == WINDOW:
            metric, width = plan.windows[first]
            name = STATISTICS[second]
            if name in ("min", "max", "p95"):
                column = scale * _ordered(grid[metric], width, name)
            else:
                if first not in moments:
                    moments[first] = _moments(grid[metric], width, 3600.0 / plan.step_s)
                column = scale * moments[first][name]
        else:
            combine_all(kind, found[first], found[second], least, column)
        found.append(column)
        yield column[rows]


def _ordered(values: FloatArray, width: int, name: str) -> FloatArray:
    """Return the least, the greatest or the 95th percentile of every window."""
    windows = pd.Series(values).rolling(width, min_periods=least_known(width))
    if name == "p95":
        return windows.quantile(LEVEL).to_numpy()
    return (windows.min() if name == "min" else windows.max()).to_numpy()


def _moments(values: FloatArray, width: int, rows_per_hour: float) -> dict[str, FloatArray]:
    """Return mean, standard deviation and trend of every window, each from its own readings."""
    length = len(values)
    found = {name: np.full(length, np.nan) for name in ("mean", "std", "trend")}
    padded = np.concatenate((np.full(width - 1, np.nan), values))
    place = np.arange(width, dtype=np.float64)
    at_once = max(1, _CHUNK_VALUES // width)
    for begin in range(0, length, at_once):
        end = min(length, begin + at_once)
        windows = np.lib.stride_tricks.sliding_window_view(padded[begin : end + width - 1], width)
        known = ~np.isnan(windows)
        count = known.sum(axis=1)
        enough = count >= least_known(width)
        two = enough & (count >= 2)
        size = np.maximum(count, 1)
        mean = np.where(known, windows, 0.0).sum(axis=1) / size
        apart = np.where(known, windows - mean[:, None], 0.0)
        places_apart = np.where(known, place - ((known * place).sum(axis=1) / size)[:, None], 0.0)
        squares = (places_apart**2).sum(axis=1)
        slope = (places_apart * apart).sum(axis=1) / np.where(two, squares, 1.0) * rows_per_hour
        deviation = np.sqrt((apart**2).sum(axis=1) / np.maximum(count - 1, 1))
        found["mean"][begin:end] = np.where(enough, mean, np.nan)
        found["std"][begin:end] = np.where(two, deviation, np.nan)
        found["trend"][begin:end] = np.where(two, slope, np.nan)
    return found


def _categories(observations: pd.DataFrame) -> dict[str, list[str]]:
    """Return the category features of every observation."""
    texts = [
        [text if isinstance(text, str) else None for text in observations[name]]
        if name in observations
        else [None] * len(observations)
        for name in PLACES
    ]
    known = {pair: categories(*pair) for pair in set(zip(*texts, strict=True))}
    return {name: [known[pair][name] for pair in zip(*texts, strict=True)] for name in CATEGORIES}
