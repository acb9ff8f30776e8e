"""What a verdict is explained with: shares of the metrics that speak for it, and metrics that moved along."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from forecasting.rootcause.incident import FloatArray
from forecasting.rootcause.result import Correlation, Factor

LEAST_Z: Final = 2.0
"""Usual spreads from which a metric is said to have moved."""

_LEAST_CORRELATION = 0.6
_MOST_CORRELATED = 5


def shared_factors(rows: Sequence[tuple[str, float, float, float]]) -> tuple[Factor, ...]:
    """Return factors from (metric, z, ratio, weight) rows, the strongest first.

    Only metrics that moved count: an ordinary one may rule other causes out, but contributes nothing. Weights below 0
    count as 0; where none is above, the shares follow the deviations.
    """
    moved = [row for row in rows if abs(row[1]) >= LEAST_Z]
    weights = [max(weight, 0.0) for *_, weight in moved]
    if not sum(weights) > 0.0:
        weights = [abs(z) for _, z, _, _ in moved]
    total = sum(weights)
    found = [Factor(name, z, ratio, weight / total) for (name, z, ratio, _), weight in zip(moved, weights, strict=True)]
    return tuple(sorted((item for item in found if item.share > 0.0), key=lambda item: -item.share))


def correlated_metrics(lead: str, paths: Mapping[str, FloatArray]) -> tuple[Correlation, ...]:
    """Return the metrics whose path correlates with that of ``lead`` by 0.6 or more either way, at most five.

    Args:
        lead: a key of ``paths``.
        paths: float64[T] by name; NaN where missing.
    """
    rows = [Correlation(name, correlate(paths[lead], path)) for name, path in paths.items() if name != lead]
    rows = [row for row in rows if abs(row.correlation) >= _LEAST_CORRELATION]
    return tuple(sorted(rows, key=lambda row: -abs(row.correlation))[:_MOST_CORRELATED])


def correlate(one: FloatArray, other: FloatArray) -> float:
    """Return the correlation of two paths over what is known of both; 0 for fewer than six pairs or a constant."""
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 6:
        return 0.0
    first, second = one[both] - one[both].mean(), other[both] - other[both].mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float(np.clip((first * second).sum() / size, -1.0, 1.0)) if size > 1e-12 else 0.0
