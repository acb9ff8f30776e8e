"""Spot prices: a slow mean-reverting level below the on-demand price that says nothing about the state of a pool."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from simulators.market_settings import SAVING_LEVELS, Advisor, Prices
from simulators.records import ZONES


def sample_savings(count: int, rng: np.random.Generator, advisor: Advisor) -> NDArray[np.float64]:
    """Draw average spot savings on the on-demand price, 0..1, as they are spread over all types of a Region."""
    drawn = np.interp(rng.random(count), SAVING_LEVELS, advisor.saving_quantiles)
    return np.asarray(np.maximum(drawn, 0.0))


def sample_bands(
    count: int, rng: np.random.Generator, advisor: Advisor, *, size: str | None = None
) -> NDArray[np.int64]:
    """Draw interruption bands 0..4 as they are spread over all types of a Region, or over those of one size.

    A size the advisor's table does not hold (``large``, ``xlarge``, ...) is drawn from all types.
    """
    shares = np.array(advisor.band_shares_by_size.get(size or "", advisor.band_shares))
    return rng.choice(len(shares), size=count, p=shares / shares.sum())


def draw_prices(
    list_usd_per_hour: ArrayLike, savings: ArrayLike, hours: int, rng: np.random.Generator, settings: Prices
) -> NDArray[np.float32]:
    """Draw [hours, K x Z] spot prices in USD per second, never above the on-demand price.

    Each zone has a level around the type's saving; the log price moves about it as an Ornstein-Uhlenbeck process.

    Args:
        list_usd_per_hour: [K] on-demand prices.
        savings: [K] average savings, 0..1 (below 1).
        hours: Length.
        rng: Source of randomness.
        settings: Size and pace of the moves.
    """
    levels = np.repeat(np.log(1.0 - np.asarray(savings)), ZONES)
    levels = levels + settings.zone_sigma * rng.standard_normal(len(levels))
    daily = np.exp(-1.0 / settings.reversion_days)
    spread = settings.daily_sigma / np.sqrt(2.0 * (1.0 - daily))
    keep = np.exp(-1.0 / (24.0 * settings.reversion_days))
    noise = spread * np.sqrt(1.0 - keep**2) * rng.standard_normal((hours, len(levels)))
    noise[0] /= np.sqrt(1.0 - keep**2)
    walk = lfilter([1.0], [1.0, -keep], noise, axis=0)
    price = np.repeat(np.asarray(list_usd_per_hour), ZONES) * np.minimum(1.0, np.exp(levels + walk))
    return np.asarray(price / 3600.0, np.float32)
