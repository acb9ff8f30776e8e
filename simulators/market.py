"""Spot markets: pool states, bulk reclaims and prices, drawn before any fleet steps.

A pool is an instance type in a zone. It is AMPLE, then TIGHT, then DRY, and back. What the generator reproduces, and
where it comes from:

- calm pools go dry at the rate of their Spot Advisor band, hot pools within hours, with heavy-tailed spells (lognormal
  parameters fitted on the public availability traces of Wu et al., "Can't Be Late", NSDI 2024);
- reclaims are bulk: in the same traces most drops take every remaining instance;
- a pool that goes dry drags the same type in sibling zones with it, more often than other sizes of the family;
- the price is a slow mean-reverting level that says nothing about the state of the pool (Spot Advisor 2025-06: the
  median discount is the same in every interruption band), capped at the on-demand price.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from simulators.catalogue import Catalogue, InstanceType
from simulators.records import AMPLE, DRY, TIGHT, ZONES

_MINUTES_PER_DAY = 1440
_PARTIAL_SHARES = (25, 229)
_MONTH_HOURS = 720.0
_BAND_MONTHLY_INTERRUPTION = (0.025, 0.075, 0.125, 0.175, 0.30)


class MarketSettings(BaseModel):
    """Parameters of the spot market.

    Attributes:
        hot_share_by_band: Chance that a family is hot for the whole tape, by Spot Advisor band 0..4 (assumption).
        hot_up: Lognormal (mu, sigma) of ln hours a hot pool stays up (us-west-2 V100 pools, 2023).
        dry: Lognormal (mu, sigma) of ln hours a pool stays dry (same pools).
        tight_minutes: Length of the tight spell before a pool goes dry, at most (assumption).
        reclaim_all: Chance that a reclaim takes every instance of the pool (68-72 % in two 16-node pools).
        sibling_zone: Chance that the same type in another zone follows within five minutes (0.26 measured).
        sibling_size: Chance that another size of the family in the same zone follows.
        daily_price_sigma: Daily standard deviation of the log price (assumption, 1-2 %).
        zone_price_sigma: Standard deviation of a zone's log price around the type's (assumption).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hot_share_by_band: tuple[float, float, float, float, float] = (0.02, 0.05, 0.10, 0.20, 0.35)
    hot_up: tuple[float, float] = (0.28, 1.74)
    dry: tuple[float, float] = (-0.68, 0.96)
    tight_minutes: int = Field(30, ge=0)
    reclaim_all: float = Field(0.6, ge=0, le=1)
    sibling_zone: float = Field(0.26, ge=0, le=1)
    sibling_size: float = Field(0.10, ge=0, le=1)
    daily_price_sigma: float = Field(0.015, ge=0, le=0.2)
    zone_price_sigma: float = Field(0.05, ge=0, le=0.5)


@dataclass(frozen=True)
class MarketTape:
    """One drawn market.

    Attributes:
        spot_usd_per_s: [hours, K x Z] price.
        pool_state: [ticks, K x Z] AMPLE, TIGHT or DRY.
        reclaim: [ticks, K x Z] share of the pool's instances given notice, in 1/255.
    """

    spot_usd_per_s: NDArray[np.float32]
    pool_state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    rebalance_lead: NDArray[np.uint8] = None
    zone_down: NDArray[np.uint8] = None

    def __post_init__(self):
        if self.rebalance_lead is None:
            object.__setattr__(self, "rebalance_lead", np.zeros_like(self.reclaim))
            object.__setattr__(self, "zone_down", np.zeros(len(self.reclaim), np.uint8))


def calm_up_hours(catalogue: Catalogue, item: InstanceType, settings: MarketSettings) -> float:
    """Return the mean hours between drops that a calm pool starts itself.

    Chosen so that an instance is interrupted as often as its Spot Advisor band says: a drop takes only a share of the
    pool's instances, and pools are dragged along by the drops of their siblings.
    """
    hazard = -np.log(1.0 - _BAND_MONTHLY_INTERRUPTION[item.interruption_band]) / _MONTH_HOURS
    lost = settings.reclaim_all + (1.0 - settings.reclaim_all) * np.mean(_PARTIAL_SHARES) / 255.0
    sizes = sum(other.family == item.family for other in catalogue.types) - 1
    drops = 1.0 + (ZONES - 1) * settings.sibling_zone + sizes * settings.sibling_size
    return float(lost * drops / hazard)


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
    rng = np.random.default_rng([seed, 0x5B07])
    drops = _draw_drops(catalogue, days, rng, settings)
    state, reclaim = _play_drops(drops, days, len(catalogue.types) * ZONES, settings)
    return MarketTape(_draw_prices(catalogue, days, rng, settings), state, reclaim)


def _draw_drops(
    catalogue: Catalogue, days: int, rng: np.random.Generator, settings: MarketSettings
) -> list[tuple[int, int, int, int]]:
    """Return drops as (minute, pool, dry minutes, share in 1/255), contagion included, in time order."""
    families = sorted({item.family for item in catalogue.types})
    band = {item.family: item.interruption_band for item in catalogue.types}
    hot = {family: rng.random() < settings.hot_share_by_band[band[family]] for family in families}
    drops: list[tuple[int, int, int, int]] = []
    for index, item in enumerate(catalogue.types):
        for zone in range(ZONES):
            hour = 0.0 if hot[item.family] else -rng.exponential(24.0)
            while hour < 24.0 * days:
                if hot[item.family]:
                    hour += rng.lognormal(*settings.hot_up)
                else:
                    hour += rng.exponential(calm_up_hours(catalogue, item, settings))
                if 0.0 <= hour < 24.0 * days:
                    for drop in _with_siblings(catalogue, index, zone, int(hour * 60), rng, settings):
                        drops.append(drop)
                    hour += drops[-1][2] / 60.0
    return sorted(drop for drop in drops if drop[0] < days * _MINUTES_PER_DAY)


def _with_siblings(
    catalogue: Catalogue, index: int, zone: int, minute: int, rng: np.random.Generator, settings: MarketSettings
) -> list[tuple[int, int, int, int]]:
    """Return the drops one drop entails; the pool's own comes last."""
    pools = []
    item = catalogue.types[index]
    for other, sibling in enumerate(catalogue.types):
        for other_zone in range(ZONES):
            if other == index and other_zone != zone and rng.random() < settings.sibling_zone:
                pools.append(other * ZONES + other_zone)
            smaller = other != index and sibling.family == item.family and other_zone == zone
            if smaller and rng.random() < settings.sibling_size:
                pools.append(other * ZONES + other_zone)
    drops = []
    for position, pool in enumerate([*pools, index * ZONES + zone]):
        dry = max(1, int(60.0 * rng.lognormal(*settings.dry)))
        share = 255 if rng.random() < settings.reclaim_all else int(rng.integers(*_PARTIAL_SHARES, endpoint=True))
        delay = 0 if position == len(pools) else int(rng.integers(0, 6))
        drops.append((minute + delay, pool, dry, share))
    return drops


def _play_drops(
    drops: list[tuple[int, int, int, int]], days: int, pools: int, settings: MarketSettings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    minutes = days * _MINUTES_PER_DAY
    state = np.full((minutes, pools), AMPLE, np.uint8)
    reclaim = np.zeros((minutes, pools), np.uint8)
    for minute, pool, dry, share in drops:
        if state[minute, pool] == DRY:
            continue
        tight = slice(max(0, minute - settings.tight_minutes), minute)
        state[tight, pool] = np.maximum(state[tight, pool], TIGHT)
        state[minute : minute + dry, pool] = DRY
        reclaim[minute, pool] = share
    return state, reclaim


def _draw_prices(
    catalogue: Catalogue, days: int, rng: np.random.Generator, settings: MarketSettings
) -> NDArray[np.float32]:
    """Draw hourly prices: a zone level around the type's saving, with a slow mean-reverting log walk."""
    hours, pools = 24 * days, len(catalogue.types) * ZONES
    list_price = np.repeat([item.price_usd_per_hour for item in catalogue.types], ZONES)
    level = np.repeat([np.log(1.0 - item.spot_saving) for item in catalogue.types], ZONES)
    level = level + settings.zone_price_sigma * rng.standard_normal(pools)
    reversion = np.exp(-1.0 / (7 * 24.0))
    shock = settings.daily_price_sigma / np.sqrt(24.0)
    walk = np.empty((hours, pools))
    walk[0] = shock / np.sqrt(1.0 - reversion**2) * rng.standard_normal(pools)
    noise = shock * rng.standard_normal((hours, pools))
    for hour in range(1, hours):
        walk[hour] = reversion * walk[hour - 1] + noise[hour]
    price = list_price * np.minimum(1.0, np.exp(level + walk))
    return (price / 3600.0).astype(np.float32)
