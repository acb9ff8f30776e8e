"""States of spot pools: AMPLE, TIGHT, DRY and back, with bulk reclaims and their announcements.

Each pool waits for its next drop, and then for its recovery, on a clock of its own that runs fast or slowly with the
pressure on the pool. Pressure is common to a family and, in all zones, to a type, so sibling pools are short at the
same time while each keeps its heavy-tailed spells. A drop may also take siblings along within minutes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from simulators.catalogue import InstanceType
from simulators.market_settings import (
    BAND_MONTHLY_INTERRUPTION,
    MONTH_HOURS,
    Contagion,
    HotGroup,
    MarketSettings,
    Pressure,
    Reclaims,
)
from simulators.records import DRY, TIGHT, ZONES
from telemetry.compiled import compiled

CALM = -1
_STEP_TICKS = 10
_BURN_IN_DAYS = 5
_MAX_LEAD_TICKS = 240
_LEAST_TIGHT_TICKS = 2.0


class Pools(NamedTuple):
    """What each pool of one market is; arrays of length P = types x zones.

    Attributes:
        family: Number of the family.
        kind: Index of the type.
        regime: Index of the hot group, or CALM; drops spread within a regime only.
        tightness: Recorded share of time without capacity, 0..1; scales the daily rhythm.
        up_mu: Location of ln minutes to the next drop; for a calm pool ln of the mean minutes.
        up_sigma: Spread of ln minutes; unused for a calm pool.
        dry_mu: Location of ln minutes to the recovery.
        dry_sigma: Spread of ln minutes.
    """

    family: NDArray[np.int64]
    kind: NDArray[np.int64]
    regime: NDArray[np.int64]
    tightness: NDArray[np.float64]
    up_mu: NDArray[np.float64]
    up_sigma: NDArray[np.float64]
    dry_mu: NDArray[np.float64]
    dry_sigma: NDArray[np.float64]


class Rules(NamedTuple):
    """Numbers of the settings that the walk through the ticks needs."""

    sibling_zone: float
    sibling_size: float
    contagion_ticks: int
    dry_correlation: float
    take_all: float
    partial_a: float
    partial_b: float
    notice_ticks: int
    sudden: float
    lead_ticks: float
    tight_mu: float
    tight_sigma: float


class PoolTape(NamedTuple):
    """[ticks, P] state, share reclaimed in 1/255, minutes until the reclaim a recommendation announces."""

    state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    lead: NDArray[np.uint8]


def hourly_interruptions(band: int) -> float:
    """Return the hazard of one instance, per hour, that a Spot Advisor band 0..4 stands for (at mid-band)."""
    return float(-np.log(1.0 - BAND_MONTHLY_INTERRUPTION[band]) / MONTH_HOURS)


def draw_regimes(
    types: Sequence[InstanceType], bands: Sequence[int], rng: np.random.Generator, settings: MarketSettings
) -> NDArray[np.int64]:
    """Return [K] the index of the hot group of each type, or CALM."""
    families = sorted({item.family for item in types})
    luck = dict(zip(families, rng.random(len(families)), strict=True))
    weights = np.array([group.weight for group in settings.hot_groups.values()])
    groups = rng.choice(len(weights), size=len(families), p=weights / weights.sum())
    group = dict(zip(families, groups, strict=True))
    return np.array(
        [
            group[item.family] if luck[item.family] < settings.hot_share_by_band[band] else CALM
            for item, band in zip(types, bands, strict=True)
        ],
        np.int64,
    )


def lay_out_pools(
    types: Sequence[InstanceType], bands: Sequence[int], regimes: NDArray[np.int64], settings: MarketSettings
) -> Pools:
    """Return what each pool is, given the regime of each type."""
    families = sorted({item.family for item in types})
    groups = list(settings.hot_groups.values())
    laws = [
        _hot_law(groups[regime], settings) if regime != CALM else (0.0, 0.0, 0.0, *settings.calm_dry)
        for regime in regimes.tolist()
    ]
    tightness, up_mu, up_sigma, dry_mu, dry_sigma = np.repeat(np.array(laws), ZONES, axis=0).T.copy()
    pools = Pools(
        family=np.repeat([families.index(item.family) for item in types], ZONES),
        kind=np.repeat(np.arange(len(types)), ZONES),
        regime=np.repeat(regimes, ZONES),
        tightness=tightness,
        up_mu=up_mu + np.log(60.0),
        up_sigma=up_sigma,
        dry_mu=dry_mu + np.log(60.0),
        dry_sigma=dry_sigma,
    )
    calm = pools.regime == CALM
    pools.up_mu[calm] = np.log(60.0 * _calm_up_hours(pools, np.repeat(bands, ZONES), settings)[calm])
    return pools


def _hot_law(group: HotGroup, settings: MarketSettings) -> tuple[float, ...]:
    return (1.0 - group.availability, *(settings.hot_up or group.up), *group.dry)


def _calm_up_hours(pools: Pools, bands: NDArray[np.int64], settings: MarketSettings) -> NDArray[np.float64]:
    """Return [P] mean hours between the drops a calm pool starts itself.

    With these an instance is interrupted as often as the band of its type says: a drop takes only a share of the
    instances, pools are taken along by drops of siblings, and pressure raises the mean rate by exp(gain^2 / 2).
    """
    wanted = np.array([hourly_interruptions(band) for band in bands.tolist()]) / settings.reclaims.mean_share
    spread = np.array([_follow_chances(pool, pools, settings.contagion) for pool in range(len(bands))])
    own = np.linalg.solve(np.eye(len(bands)) + spread.T, wanted)
    own = np.maximum(own, 0.1 * wanted)
    return np.asarray(np.exp(settings.pressure.up_gain**2 / 2.0) / own)


def _follow_chances(pool: int, pools: Pools, contagion: Contagion) -> NDArray[np.float64]:
    """Return [P] the chance of each pool to follow a drop of one."""
    others = np.arange(len(pools.kind))
    related = (pools.regime == pools.regime[pool]) & (pools.family == pools.family[pool])
    same_type = related & (pools.kind == pools.kind[pool]) & (others != pool)
    other_size = related & (pools.kind != pools.kind[pool]) & (others % ZONES == pool % ZONES)
    return np.asarray(contagion.sibling_zone * same_type + contagion.sibling_size * other_size)


def draw_pressure(
    pools: Pools, hours: NDArray[np.float64], rng: np.random.Generator, settings: Pressure
) -> NDArray[np.float64]:
    """Return [H, P] the pressure at evenly spaced hours: mean 0, variance 1, and the rhythm on top."""
    step = float(hours[1] - hours[0])
    kinds, families = int(pools.kind.max()) + 1, int(pools.family.max()) + 1
    type_share = 1.0 - settings.region_share - settings.family_share
    region = _slow_noise(len(hours), 1, settings.region_hours / step, rng)
    family = _slow_noise(len(hours), families, settings.family_hours / step, rng)[:, pools.family]
    kind = _slow_noise(len(hours), kinds, settings.type_hours / step, rng)[:, pools.kind]
    day_phase, week_phase = rng.random((2, families))[:, pools.family]
    rhythm = np.sin(2.0 * np.pi * (hours[:, None] / 24.0 - day_phase))
    rhythm += settings.weekly * np.sin(2.0 * np.pi * (hours[:, None] / 168.0 - week_phase))
    return np.asarray(
        np.sqrt(settings.region_share) * region
        + np.sqrt(settings.family_share) * family
        + np.sqrt(type_share) * kind
        + settings.daily * pools.tightness * rhythm
    )


def _slow_noise(length: int, columns: int, steps: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return [length, columns] independent stationary AR(1) series of unit variance and correlation time ``steps``."""
    keep = np.exp(-1.0 / steps)
    noise = np.sqrt(1.0 - keep**2) * rng.standard_normal((length, columns))
    noise[0] /= np.sqrt(1.0 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise, axis=0))


def draw_pool_tape(pools: Pools, ticks: int, rng: np.random.Generator, settings: MarketSettings) -> PoolTape:
    """Draw states, reclaims and recommendations of all pools, started some days early so that the start is typical."""
    burn_in = _BURN_IN_DAYS * 1440
    hours = np.arange(-(-(ticks + burn_in) // _STEP_TICKS)) * _STEP_TICKS / 60.0
    pressure = draw_pressure(pools, hours, rng, settings.pressure)
    up_speed = np.exp(settings.pressure.up_gain * pressure)
    dry_speed = np.exp(-settings.pressure.dry_gain * pressure)
    shape = (ticks, len(pools.kind))
    tape = PoolTape(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    rules = _rules(settings.contagion, settings.reclaims)
    _walk(tape, rng, pools, rules, up_speed, dry_speed, burn_in)
    return tape


def _rules(contagion: Contagion, reclaims: Reclaims) -> Rules:
    return Rules(
        contagion.sibling_zone,
        contagion.sibling_size,
        contagion.minutes,
        contagion.dry_correlation,
        reclaims.take_all,
        *reclaims.partial,
        reclaims.notice_minutes,
        reclaims.sudden,
        reclaims.lead_minutes,
        *reclaims.tight,
    )


@compiled
def _walk(
    tape: PoolTape,
    rng: np.random.Generator,
    pools: Pools,
    rules: Rules,
    up_speed: NDArray[np.float64],
    dry_speed: NDArray[np.float64],
    burn_in: int,
) -> None:
    """Play all pools tick by tick; tick ``burn_in`` of the walk is tick 0 of the tape."""
    ticks, size = tape.state.shape
    is_dry = np.zeros(size, np.bool_)
    left = np.zeros(size)
    tight = np.zeros(size)
    taken_along = np.full(size, -1)
    luck_of_first = np.zeros(size)
    dry_until = np.full(size, -1)
    for pool in range(size):
        _begin_up(pool, rng, pools, rules, left, tight)
    for now in range(ticks + burn_in):
        step, tick = now // _STEP_TICKS, now - burn_in
        for pool in range(size):
            if is_dry[pool]:
                left[pool] -= dry_speed[step, pool]
                if left[pool] <= 0.0 and now >= dry_until[pool]:
                    is_dry[pool] = False
                    _begin_up(pool, rng, pools, rules, left, tight)
            else:
                left[pool] -= up_speed[step, pool]
                own = left[pool] <= 0.0
                if own or taken_along[pool] == now:
                    luck = rng.standard_normal()
                    if not own:
                        share = rules.dry_correlation
                        luck = share * luck_of_first[pool] + np.sqrt(1.0 - share * share) * luck
                    is_dry[pool] = True
                    left[pool] = np.exp(pools.dry_mu[pool] + pools.dry_sigma[pool] * luck)
                    taken_along[pool] = -1
                    dry_until[pool] = now + _reclaim(tape, rng, rules, tick, pool)
                    if own:
                        _take_along(
                            tape, rng, pools, rules, now, burn_in, pool, luck, is_dry, taken_along, luck_of_first
                        )
            if tick >= 0:
                if is_dry[pool]:
                    tape.state[tick, pool] = DRY
                elif taken_along[pool] > now or left[pool] <= tight[pool] * up_speed[step, pool]:
                    tape.state[tick, pool] = TIGHT


@compiled
def _begin_up(
    pool: int,
    rng: np.random.Generator,
    pools: Pools,
    rules: Rules,
    left: NDArray[np.float64],
    tight: NDArray[np.float64],
) -> None:
    """Draw the time to the next drop and how long the pool is tight before it."""
    if pools.regime[pool] == CALM:
        left[pool] = np.exp(pools.up_mu[pool]) * rng.standard_exponential()
    else:
        left[pool] = np.exp(pools.up_mu[pool] + pools.up_sigma[pool] * rng.standard_normal())
    tight[pool] = max(_LEAST_TIGHT_TICKS, np.exp(rules.tight_mu + rules.tight_sigma * rng.standard_normal()))


@compiled
def _take_along(
    tape: PoolTape,
    rng: np.random.Generator,
    pools: Pools,
    rules: Rules,
    now: int,
    burn_in: int,
    first: int,
    luck: float,
    is_dry: NDArray[np.bool_],
    taken_along: NDArray[np.int64],
    luck_of_first: NDArray[np.float64],
) -> None:
    """Draw which siblings follow a drop, 1 to ``contagion_ticks`` ticks later; they are tight until then."""
    for pool in range(len(pools.kind)):
        related = pools.regime[pool] == pools.regime[first] and pools.family[pool] == pools.family[first]
        if not related or pool == first or is_dry[pool] or taken_along[pool] >= 0:
            continue
        chance = 0.0
        if pools.kind[pool] == pools.kind[first]:
            chance = rules.sibling_zone
        elif pool % ZONES == first % ZONES:
            chance = rules.sibling_size
        if chance > 0.0 and rng.random() < chance:
            taken_along[pool] = now + 1 + int(rng.random() * rules.contagion_ticks)
            luck_of_first[pool] = luck
            if now >= burn_in:
                tape.state[now - burn_in, pool] = TIGHT


@compiled
def _reclaim(tape: PoolTape, rng: np.random.Generator, rules: Rules, tick: int, pool: int) -> int:
    """Spread one reclaim over 1 to ``notice_ticks`` ticks, with its recommendation; return over how many.

    The shares are of what is left: an instance is spared by all of them with the chance the whole batch spares it.
    """
    share = 1.0
    if rng.random() >= rules.take_all:
        a = rng.standard_gamma(rules.partial_a)
        share = a / (a + rng.standard_gamma(rules.partial_b))
    lead = 0
    if rng.random() >= rules.sudden:
        lead = min(_MAX_LEAD_TICKS, int(np.ceil(rules.lead_ticks * rng.standard_exponential())))
    spread = 1 + int(rng.random() * rules.notice_ticks)
    for part in range(spread):
        when = tick + part
        if when < 0 or when >= tape.state.shape[0]:
            continue
        chance = (share / spread) / (1.0 - share * part / spread)
        tape.reclaim[when, pool] = max(1, round(255.0 * chance))
        announced = when - lead
        if lead > 0 and announced >= 0 and tape.lead[announced, pool] == 0:
            tape.lead[announced, pool] = lead
    return spread
