"""The table of definitions in numbers, for one step: what the compiled stream and the batch both compute.

Rows of windows and lags follow from hours here and nowhere else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.features.definitions import (
    LEAST_KNOWN_SHARE,
    OPERATIONS,
    STATISTICS,
    Combination,
    Feature,
    Lag,
    Window,
)
from forecasting.features.observations import LONGEST_STEP_S
from telemetry.compiled import compiled

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LAG, WINDOW, FIRST_COMBINATION = 0, 1, 2
_RATIO, _MEAN, _SHARE = (FIRST_COMBINATION + OPERATIONS.index(name) for name in ("ratio", "mean", "share"))
_HOUR_S: Final = 3600


class Steps(NamedTuple):
    """What to compute, feature by feature, in table order.

    Attributes:
        kind: [F] LAG, WINDOW or FIRST_COMBINATION plus the operation.
        first: [F] metric, window or feature.
        second: [F] rows of the lag, code of the statistic, or feature.
        scale: [F] factor of a window's statistic.
        least: [F] least divisor of a combination.
    """

    kind: IntArray
    first: IntArray
    second: IntArray
    scale: FloatArray
    least: FloatArray


@dataclass(frozen=True)
class Plan:
    """A table of features at one step.

    Attributes:
        step_s: Seconds per row.
        names: [F] feature names.
        metrics: [M] names of the metrics they need.
        windows: [W] (metric, rows) of the windows they need.
        percentiles: [W] whether a window needs its percentile.
        steps: What to compute.
        longest: Rows that a feature may look back, its own included.
    """

    step_s: int
    names: tuple[str, ...]
    metrics: tuple[str, ...]
    windows: tuple[tuple[int, int], ...]
    percentiles: tuple[bool, ...]
    steps: Steps
    longest: int


def make_plan(features: Sequence[Feature], step_s: int) -> Plan:
    """Return the plan of a table of features.

    Args:
        features: Parts before the combinations that use them, names unique.
        step_s: Seconds per row, 1 to 3600.

    Raises:
        ValueError: A step out of range, no feature, a name twice, or a combination of a feature that is not above it.
    """
    if not 1 <= step_s <= LONGEST_STEP_S:
        raise ValueError(f"step_s is {step_s}; expected 1 to {LONGEST_STEP_S} seconds")
    if not features:
        raise ValueError("no features to compute")
    metrics: list[str] = []
    windows: dict[tuple[int, int], bool] = {}
    lines: list[tuple[int, int, int, float, float]] = []
    places: dict[str, int] = {}
    longest = 1
    for feature in features:
        rule = feature.rule
        if feature.name in places:
            raise ValueError(f"feature {feature.name!r} is defined twice")
        if isinstance(rule, Combination):
            for part in (rule.first, rule.second):
                if part not in places:
                    raise ValueError(f"feature {feature.name!r} needs {part!r}, which is not above it")
            kind = FIRST_COMBINATION + OPERATIONS.index(rule.operation)
            lines.append((kind, places[rule.first], places[rule.second], 1.0, rule.least))
        else:
            if rule.metric not in metrics:
                metrics.append(rule.metric)
            metric = metrics.index(rule.metric)
            if isinstance(rule, Lag):
                rows = lag_rows(rule.hours, step_s)
                longest = max(longest, rows + 1)
                lines.append((LAG, metric, rows, 1.0, 0.0))
            else:
                key = (metric, window_rows(rule, step_s))
                windows[key] = windows.get(key, False) or rule.statistic == "p95"
                longest = max(longest, key[1])
                code = STATISTICS.index(rule.statistic)
                lines.append((WINDOW, list(windows).index(key), code, rule.scale, 0.0))
        places[feature.name] = len(places)
    kind_, first, second, scale, least = zip(*lines, strict=True)
    steps = Steps(
        np.array(kind_, dtype=np.int64),
        np.array(first, dtype=np.int64),
        np.array(second, dtype=np.int64),
        np.array(scale, dtype=np.float64),
        np.array(least, dtype=np.float64),
    )
    return Plan(step_s, tuple(places), tuple(metrics), tuple(windows), tuple(windows.values()), steps, longest)


def window_rows(window: Window, step_s: int) -> int:
    """Return how many rows are stamped within the window's hours, the newest included; at least 1."""
    return max(1, window.hours * _HOUR_S // step_s)


def lag_rows(hours: int, step_s: int) -> int:
    """Return the fewest rows that are at least so many hours."""
    return -(-hours * _HOUR_S // step_s)


def least_known(rows: int) -> int:
    """Return how many readings of a window have to be known."""
    return max(1, math.ceil(LEAST_KNOWN_SHARE * rows))


@compiled
def combine(kind: int, first: float, second: float, least: float) -> float:
    """Return a combination of two features; NaN where a part is missing or the divisor is too small."""
    if kind == _MEAN:
        return 0.5 * (first + second)
    divisor = second
    if kind == _SHARE:
        divisor = first + second
    if not divisor >= max(least, 5e-324):
        return math.nan
    return first / divisor


@compiled
def combine_all(kind: int, first: FloatArray, second: FloatArray, least: float, into: FloatArray) -> None:
    """Combine two columns of features, row by row."""
    for row in range(len(into)):
        into[row] = combine(kind, first[row], second[row], least)
