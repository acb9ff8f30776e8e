"""What a spot market looks like from outside: spells, correlations, contagion, rhythm, batches, prices.

The same functions measure simulated tapes and recorded availability, so that both are probed alike.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulators.catalogue import Catalogue
from simulators.market import MarketTape
from simulators.records import DRY, TIGHT, ZONES

NEAR_TICKS = 5
NOTICE_TICKS = 3
HAZARD_AGES_H = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 1e6)

_BoolArray = NDArray[np.bool_]
_Floats = NDArray[np.float64]


class Spells(NamedTuple):
    """Lengths, hours, of complete spells; those cut off at either end of the record are left out."""

    up: _Floats
    dry: _Floats


class Contagion(NamedTuple):
    """Chance that a given sibling zone of the same type drops within five minutes of a drop, and at any time."""

    given_a_drop: float
    at_any_time: float

    @property
    def lift(self) -> float:
        """How many times as likely."""
        return self.given_a_drop / self.at_any_time


def probe(tape: MarketTape, step_s: int) -> _BoolArray:
    """Return [probes, P] whether capacity could be had (not DRY), looked at every ``step_s`` seconds."""
    seconds = np.arange(0, 60 * len(tape.pool_state), step_s)
    return np.asarray(tape.pool_state[seconds // 60] != DRY)


def spells(up: _BoolArray, step_s: float) -> Spells:
    """Return the spells of one series of probes."""
    changes = np.flatnonzero(np.diff(up)) + 1
    lengths = np.diff(changes) * step_s / 3600.0
    is_up = up[changes[:-1]]
    return Spells(lengths[is_up], lengths[~is_up])


def pooled(parts: list[Spells]) -> Spells:
    """Return the spells of several series together."""
    return Spells(np.concatenate([part.up for part in parts]), np.concatenate([part.dry for part in parts]))


def log_moments(hours: _Floats) -> tuple[float, float]:
    """Return mean and standard deviation of ln hours."""
    logs = np.log(hours)
    return float(logs.mean()), float(logs.std())


def variation(hours: _Floats) -> float:
    """Return the coefficient of variation."""
    return float(hours.std() / hours.mean())


def hazard_by_age(up_hours: _Floats) -> _Floats:
    """Return drops per hour of up spells of each age (bins between ``HAZARD_AGES_H``)."""
    rates = []
    for low, high in pairwise(HAZARD_AGES_H):
        exposure = np.clip(np.minimum(up_hours, high) - low, 0.0, None).sum()
        rates.append(((up_hours > low) & (up_hours <= high)).sum() / exposure if exposure > 0 else np.nan)
    return np.array(rates)


def autocorrelation(up: _BoolArray, step_s: float, lag_hours: float) -> float:
    """Return the autocorrelation of one series of probes; NaN if it never changes."""
    series = up - up.mean()
    lag = round(lag_hours * 3600.0 / step_s)
    variance = float((series**2).mean())
    return float((series[:-lag] * series[lag:]).mean() / variance) if variance > 0 else np.nan


def daily_amplitude(up: _BoolArray, step_s: float) -> float:
    """Return the amplitude of the 24 h sine in one series of probes."""
    turns = np.arange(len(up)) * step_s / 86_400.0
    return float(2.0 * abs(((up - up.mean()) * np.exp(-2j * np.pi * turns)).mean()))


@dataclass(frozen=True)
class Correlations:
    """Correlations of availability over pairs of pools that change at all; each a list over pairs.

    Attributes:
        sibling_zone: Same type, another zone.
        sibling_size: Same family, another size, same zone.
        other_family: Another family, same zone.
    """

    sibling_zone: _Floats
    sibling_size: _Floats
    other_family: _Floats


def correlations(up: _BoolArray, catalogue: Catalogue) -> Correlations:
    """Return the correlations of [probes, P] availability between related pools."""
    families = [item.family for item in catalogue.types for _ in range(ZONES)]
    centred = up - up.mean(axis=0)
    spread = centred.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = centred.T @ centred / len(up) / np.outer(spread, spread)
    groups: tuple[list[float], list[float], list[float]] = ([], [], [])
    for pool in range(up.shape[1]):
        for other in range(pool):
            if pool // ZONES == other // ZONES:
                groups[0].append(matrix[pool, other])
            elif pool % ZONES == other % ZONES:
                groups[1 if families[pool] == families[other] else 2].append(matrix[pool, other])
    return Correlations(*(np.array([value for value in group if np.isfinite(value)]) for group in groups))


def drops(tape: MarketTape) -> _BoolArray:
    """Return [ticks, P] where a pool enters DRY (the first tick has no before)."""
    dry: _BoolArray = tape.pool_state == DRY
    entered = np.zeros(dry.shape, np.bool_)
    entered[1:] = dry[1:] & ~dry[:-1]
    return entered


def contagion_counts(tape: MarketTape) -> NDArray[np.int64]:
    """Return (sibling drops near a drop, drops x siblings, ticks near a sibling's drop, ticks x siblings)."""
    entered = drops(tape)
    near = entered.copy()
    for shift in range(1, NEAR_TICKS + 1):
        near[shift:] |= entered[:-shift]
        near[:-shift] |= entered[shift:]
    counts = np.zeros(4, np.int64)
    for pool in range(entered.shape[1]):
        for step in range(1, ZONES):
            sibling = pool // ZONES * ZONES + (pool + step) % ZONES
            counts[0] += (entered[:, pool] & near[:, sibling]).sum()
            counts[1] += entered[:, pool].sum()
            counts[2] += near[:, sibling].sum()
            counts[3] += len(near)
    return counts


def contagion(counts: NDArray[np.int64]) -> Contagion:
    """Return the contagion of summed ``contagion_counts``."""
    followed, drops_seen, near, ticks = counts.tolist()
    return Contagion(followed / drops_seen, near / ticks)


def batch_shares(tape: MarketTape) -> _Floats:
    """Return the share of a pool's instances that each drop takes, its notices counted over ``NOTICE_TICKS`` ticks."""
    ticks, pools = np.nonzero(drops(tape))
    whole = ticks + NOTICE_TICKS <= len(tape.reclaim)
    ticks, pools = ticks[whole], pools[whole]
    spared = np.ones(len(ticks))
    for part in range(NOTICE_TICKS):
        spared *= 1.0 - tape.reclaim[ticks + part, pools] / 255.0
    return 1.0 - spared


def share_within_notice_time(tape: MarketTape) -> float:
    """Return the share of all reclaims, weighted by size, that come within 180 s of their pool's drop."""
    entered = drops(tape)
    near = entered.copy()
    for part in range(1, NOTICE_TICKS):
        near[part:] |= entered[:-part]
    weights = tape.reclaim[1:].astype(np.float64)
    return float(weights[near[1:]].sum() / weights.sum()) if weights.any() else np.nan


def tight_share(tape: MarketTape) -> float:
    """Return the share of pool time in which some, not all, launches succeed."""
    return float((tape.pool_state == TIGHT).mean())


def price_state_correlation(tape: MarketTape) -> _Floats:
    """Return, for each pool that is ever dry, the correlation of its hourly log price with its hours' dry share."""
    dry = (tape.pool_state == DRY).reshape(-1, 60, tape.pool_state.shape[1]).mean(axis=1)
    price = np.log(tape.spot_usd_per_s.astype(np.float64))
    usable = (dry.std(axis=0) > 0) & (price.std(axis=0) > 0)
    return np.array([np.corrcoef(price[:, pool], dry[:, pool])[0, 1] for pool in np.flatnonzero(usable)])


@dataclass(frozen=True)
class TapeStatistics:
    """What one tape shows when it is probed every ``step_s`` seconds.

    Attributes:
        availability: Mean share of probes that find capacity.
        tight: Share of pool time that is TIGHT.
        spells: Complete spells of all pools.
        variation: [pools] coefficient of variation of the up spells of pools with at least 20 of them.
        autocorrelation: Mean over pools at 1, 6, 12 and 24 h.
        daily_amplitude: Mean over pools.
        correlations: Correlations of availability between related pools.
        contagion_counts: See ``contagion_counts``.
        batches: Shares taken by each drop.
    """

    availability: float
    tight: float
    spells: Spells
    variation: _Floats
    autocorrelation: _Floats
    daily_amplitude: float
    correlations: Correlations
    contagion_counts: NDArray[np.int64]
    batches: _Floats


def measure_tape(tape: MarketTape, catalogue: Catalogue, *, step_s: int = 60) -> TapeStatistics:
    """Measure one tape (drawn or replayed), probed every ``step_s`` seconds; longer than a day."""
    up = probe(tape, step_s)
    by_pool = [spells(up[:, pool], step_s) for pool in range(up.shape[1])]
    lags = [
        [autocorrelation(column, step_s, lag) for lag in (1, 6, 12, 24)] for column in up.T if 0 < column.mean() < 1
    ]
    return TapeStatistics(
        availability=float(up.mean()),
        tight=tight_share(tape),
        spells=pooled(by_pool),
        variation=np.array([variation(part.up) for part in by_pool if len(part.up) >= 20]),
        autocorrelation=np.mean(lags, axis=0) if lags else np.full(4, np.nan),
        daily_amplitude=float(np.mean([daily_amplitude(column, step_s) for column in up.T])),
        correlations=correlations(up, catalogue),
        contagion_counts=contagion_counts(tape),
        batches=batch_shares(tape),
    )
