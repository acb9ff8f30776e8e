"""Demand ahead: forecast quantiles of any forecaster, checked and read at any minute."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecasting.capacity.columns import LEVELS

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class DemandForecast:
    """Quantiles of demand ahead.

    Attributes:
        lead_minutes: [L] minutes from now, rising.
        levels: [Q] quantile levels, rising; they have to hold the lowest and the highest of ``LEVELS`` or will be held
            flat beyond their own.
        demand_rps: [L, Q] requests per second, not falling with the level.
    """

    lead_minutes: FloatArray
    levels: FloatArray
    demand_rps: FloatArray

    def at(self, now_rps: float, minutes: ArrayLike) -> FloatArray:
        """Return [minutes, ``LEVELS``] the quantiles at some minutes, linear in time from the demand of now.

        Beyond the last lead its quantiles are held.
        """
        leads = np.concatenate([[0.0], self.lead_minutes])
        values = np.vstack([np.full((1, len(self.levels)), now_rps), self.demand_rps])
        at_levels = np.array([np.interp(LEVELS, self.levels, row) for row in values])
        wanted = np.asarray(minutes, np.float64)
        return np.column_stack([np.interp(wanted, leads, at_levels[:, level]) for level in range(len(LEVELS))])


def read_forecast(demand_rps: ArrayLike, lead_minutes: Sequence[float], levels: Sequence[float]) -> DemandForecast:
    """Check forecast quantiles and return them.

    Args:
        demand_rps: float[L, Q] quantiles, requests per second.
        lead_minutes: [L] minutes from now.
        levels: [Q] quantile levels.

    Raises:
        ValueError: A shape, an order, a NaN, a negative demand, or quantiles that cross.
    """
    values = np.asarray(demand_rps, np.float64)
    leads, held = np.asarray(lead_minutes, np.float64), np.asarray(levels, np.float64)
    if values.ndim != 2 or values.shape != (len(leads), len(held)) or not values.size:
        raise ValueError(
            f"demand_rps: expected shape ({len(leads)}, {len(held)}) as leads and levels, got {values.shape}"
        )
    if not (np.isfinite(leads).all() and (np.diff(leads, prepend=0.0) > 0).all()):
        raise ValueError(f"lead_minutes: expected rising minutes above 0, got {leads.tolist()}")
    if not ((held > 0) & (held < 1)).all() or (np.diff(held) <= 0).any():
        raise ValueError(f"levels: expected rising levels between 0 and 1, got {held.tolist()}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("demand_rps: expected finite values, not negative")
    if (np.diff(values, axis=1) < -1e-9 * values[:, :-1]).any():
        row = int(np.argmax((np.diff(values, axis=1) < 0).any(axis=1)))
        raise ValueError(f"demand_rps: the quantiles at lead {leads[row]:g} cross: {values[row].tolist()}")
    return DemandForecast(leads, held, np.maximum.accumulate(values, axis=1))
