"""Spot markets: pool states, bulk reclaims, announcements, zone outages and prices, drawn before any fleet steps.

A pool is an instance type in a zone. What the generator reproduces, and where it comes from:

- two regimes: calm pools lose instances at the rate of their Spot Advisor band, hot pools within hours, with
  heavy-tailed spells (fitted on the public availability traces of Wu et al., "Can't Be Late", NSDI 2024);
- pools of a family are short together, sizes less than zones of one type, families not (same traces);
- reclaims are bulk and come within minutes (same traces; Kim et al., arXiv 2604.16457);
- the price is a slow mean-reverting level that says nothing about the state of the pool (Spot Advisor 2025-06: the
  median discount is the same in every interruption band), capped at the on-demand price.

``simulators.market_settings`` holds the numbers, ``simulators.validation.spot`` checks them.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulators.catalogue import Catalogue
from simulators.market_settings import MarketSettings, Outages
from simulators.records import ZONES
from simulators.spot_pools import draw_pool_tape, draw_regimes, lay_out_pools
from simulators.spot_prices import draw_prices, sample_bands, sample_savings

__all__ = ["MarketSettings", "MarketTape", "draw_market"]

_MINUTES_PER_DAY = 1440
_YEAR_HOURS = 8766.0
_LEFT_OUT: NDArray[np.uint8] = np.empty(0, np.uint8)


@dataclass(frozen=True)
class MarketTape:
    """One drawn or recorded market; a pool is ``type * ZONES + zone``.

    Attributes:
        spot_usd_per_s: [hours, K x Z] price.
        pool_state: [ticks, K x Z] AMPLE, TIGHT or DRY.
        reclaim: [ticks, K x Z] share of the pool's instances given notice in the tick, in 1/255.
        rebalance_lead: [ticks, K x Z] minutes until the reclaim that this tick's rebalance recommendation announces,
            1..240, or 0 for none. It goes to the instances that that reclaim will take. Left out: none.
        zone_down: [ticks] bit mask of the zones that are out. Left out: none.
    """

    spot_usd_per_s: NDArray[np.float32]
    pool_state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    rebalance_lead: NDArray[np.uint8] = field(default_factory=lambda: _LEFT_OUT)
    zone_down: NDArray[np.uint8] = field(default_factory=lambda: _LEFT_OUT)

    def __post_init__(self) -> None:
        if self.rebalance_lead is _LEFT_OUT:
            object.__setattr__(self, "rebalance_lead", np.zeros_like(self.reclaim))
        if self.zone_down is _LEFT_OUT:
            object.__setattr__(self, "zone_down", np.zeros(len(self.pool_state), np.uint8))


def draw_market(catalogue: Catalogue, *, days: int, seed: int, settings: MarketSettings | None = None) -> MarketTape:
    """Draw one market tape.

    Args:
        catalogue: Types whose pools exist.
        days: Length, whole days, at least 1.
        seed: Any non-negative integer; the same seed gives the same tape.
        settings: Parameters; defaults if absent.

    Returns:
        A tape of ``1440 * days`` ticks and ``24 * days`` hours.

    Raises:
        ValueError: ``days`` is below 1.
    """
    if days < 1:
        raise ValueError(f"a market tape needs at least 1 day, got {days}")
    settings = settings or MarketSettings()
    for_pools, for_prices, for_zones, for_types = (np.random.default_rng([seed, 0x5B07, part]) for part in range(4))
    types = catalogue.types
    bands = [item.interruption_band for item in types]
    savings = [item.spot_saving for item in types]
    if settings.resample:
        sizes = [item.name.partition(".")[2] for item in types]
        bands = [int(sample_bands(1, for_types, settings.advisor, size=size)[0]) for size in sizes]
        savings = sample_savings(len(types), for_types, settings.advisor).tolist()
    regimes = draw_regimes(types, bands, for_pools, settings)
    pools = lay_out_pools(types, bands, regimes, settings)
    ticks = days * _MINUTES_PER_DAY
    tape = draw_pool_tape(pools, ticks, for_pools, settings)
    list_prices = [item.price_usd_per_hour for item in types]
    prices = draw_prices(list_prices, savings, 24 * days, for_prices, settings.prices)
    return MarketTape(prices, tape.state, tape.reclaim, tape.lead, _draw_outages(ticks, for_zones, settings.outages))


def _draw_outages(ticks: int, rng: np.random.Generator, settings: Outages) -> NDArray[np.uint8]:
    """Return [ticks] the zones that are out, as bits; outages of different zones are independent."""
    down = np.zeros(ticks, np.uint8)
    for zone in range(ZONES):
        for _ in range(rng.poisson(settings.per_zone_year * ticks / 60.0 / _YEAR_HOURS)):
            start = int(rng.integers(ticks))
            down[start : start + int(60.0 * rng.uniform(*settings.hours))] |= np.uint8(1 << zone)
    return down
