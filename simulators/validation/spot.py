"""Validation of the simulated spot market against public traces and the Spot Advisor.

About 10,000 pool-weeks: markets of 42 days with only one kind of hot pool, probed as the recorded pools of that kind
were, and markets of the shipped mixture. Ranges are those measured in the traces of Wu et al., "Can't Be Late", NSDI
2024, where nothing else is said.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from simulators.catalogue import Catalogue
from simulators.market import MarketTape, draw_market
from simulators.market_settings import SAVING_LEVELS, Advisor, MarketSettings, fitted
from simulators.records import ZONES
from simulators.spot_prices import sample_bands, sample_savings
from simulators.validation.recorded_spells import GROUPS, recorded_series, recorded_spells
from simulators.validation.spot_hot_pools import DAYS, only_hot
from simulators.validation.spot_statistics import (
    Spells,
    TapeStatistics,
    contagion,
    hazard_by_age,
    log_moments,
    measure_tape,
    pooled,
    price_state_correlation,
    probe,
    share_within_notice_time,
    spells,
    variation,
)
from telemetry.check import Check
from telemetry.splits import data_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOT_TAPES: Final = 8
MIXED_TAPES: Final = 16
FIRST_SEED: Final = 5000
_TRACES = "availability traces of Wu et al., NSDI 2024"
_ADVISOR = "Spot Instance Advisor, 2025-06-28"
_GPU = ("v100_us_west_2", "v100_us_east_2", "v100_us_east_1")
_TIGHTEST, _LEAST_TIGHT = "v100_us_east_1", "v100_us_west_2"


@dataclass(frozen=True)
class Measured:
    """Statistics of many tapes of one kind.

    Attributes:
        tapes: What each tape shows, probed as the recorded pools were.
        minute_spells: Spells of all tapes, seen every minute.
        within_notice_time: Share of reclaimed instances whose notice comes within 180 s of the drop, by tape.
        price_correlation: Correlation of price and dryness, by pool.
        pool_weeks: Simulated pools times weeks.
    """

    tapes: tuple[TapeStatistics, ...]
    minute_spells: Spells
    within_notice_time: NDArray[np.float64]
    price_correlation: NDArray[np.float64]
    pool_weeks: float

    @property
    def spells(self) -> Spells:
        """Spells of all tapes, as probed."""
        return pooled([tape.spells for tape in self.tapes])

    @property
    def variation(self) -> float:
        """Median over pools of the coefficient of variation of up spells."""
        return float(np.median(np.concatenate([tape.variation for tape in self.tapes])))

    @property
    def autocorrelation(self) -> NDArray[np.float64]:
        """Mean at 1, 6, 12 and 24 h."""
        return np.asarray(np.mean([tape.autocorrelation for tape in self.tapes], axis=0))

    @property
    def daily_amplitude(self) -> float:
        """Mean over pools."""
        return float(np.mean([tape.daily_amplitude for tape in self.tapes]))

    @property
    def tight(self) -> float:
        """Share of pool time that is TIGHT."""
        return float(np.mean([tape.tight for tape in self.tapes]))

    @property
    def batches(self) -> NDArray[np.float64]:
        """Share taken by each drop."""
        return np.concatenate([tape.batches for tape in self.tapes])

    @property
    def contagion_counts(self) -> NDArray[np.int64]:
        """Summed over tapes."""
        return np.asarray(np.sum([tape.contagion_counts for tape in self.tapes], axis=0))

    def correlation(self, kind: str) -> float:
        """Return the mean over pairs of pools: ``sibling_zone``, ``sibling_size`` or ``other_family``."""
        return float(np.mean(np.concatenate([getattr(tape.correlations, kind) for tape in self.tapes])))


def measure(tapes: Iterable[MarketTape], catalogue: Catalogue, step_s: int) -> Measured:
    """Measure tapes, probed every ``step_s`` seconds; each is let go once it is measured."""
    statistics, minutes, within, prices, pool_weeks = [], [], [], [], 0.0
    for tape in tapes:
        statistics.append(measure_tape(tape, catalogue, step_s=step_s))
        up = probe(tape, 60)
        minutes += [spells(up[:, pool], 60) for pool in range(up.shape[1])]
        within.append(share_within_notice_time(tape))
        prices.append(price_state_correlation(tape))
        pool_weeks += up.size / (7 * 1440)
    return Measured(tuple(statistics), pooled(minutes), np.array(within), np.concatenate(prices), pool_weeks)


@cache
def hot_markets(name: str) -> Measured:
    """Measure markets in which every pool is of one hot group."""
    settings = only_hot(MarketSettings(), MarketSettings().hot_groups[name])
    return measure(_draw(settings, HOT_TAPES), Catalogue(), GROUPS[name].step_s)


@cache
def mixed_markets() -> Measured:
    """Measure markets of the shipped mixture of calm and hot pools."""
    return measure(_draw(MarketSettings(), MIXED_TAPES), Catalogue(), 60)


def _draw(settings: MarketSettings, tapes: int) -> Iterator[MarketTape]:
    for seed in range(FIRST_SEED, FIRST_SEED + tapes):
        yield draw_market(Catalogue(), days=DAYS, seed=seed, settings=settings)


def checks(data: Path | None = None) -> list[Check]:
    """Return the figures of the simulated spot market beside their ranges.

    Args:
        data: Folder that holds spot/; default FLEETGYM_DATA or ../shared/data. Where the recorded traces are absent
            the comparisons with recorded spells (names starting with ``KS``) are left out.
    """
    folder = data or data_folder()
    groups = {name: hot_markets(name) for name in GROUPS}
    mixed = mixed_markets()
    weeks = mixed.pool_weeks + sum(group.pool_weeks for group in groups.values())
    lines = [Check("simulated pool-weeks", weeks, 10_000, np.inf, "1", "size of this validation")]
    lines += _memory_checks(groups)
    lines += _batch_checks(mixed)
    lines += _correlation_checks(groups, mixed)
    lines += _rhythm_checks(groups)
    lines += _regime_checks(groups)
    lines += _price_checks(mixed)
    lines += _advisor_checks()
    lines += [line for name in GROUPS for line in _recorded_checks(name, groups[name], folder)]
    return lines


def _memory_checks(groups: dict[str, Measured]) -> list[Check]:
    lines = [
        Check(f"variation of up spells, {name}", group.variation, 1.5, 2.7, "1", _TRACES)
        for name, group in groups.items()
    ]
    hazard = hazard_by_age(np.concatenate([groups[name].minute_spells.up for name in _GPU]))
    steps = hazard[1:] / hazard[:-1]
    lines.append(Check("hazard by age, greatest step up", float(steps.max()), 0, 1, "1", _TRACES))
    lines.append(Check("hazard after 32 h / in the first 15 min", hazard[-1] / hazard[0], 0, 0.05, "1", _TRACES))
    return lines


def _batch_checks(mixed: Measured) -> list[Check]:
    batches, within = mixed.batches, float(np.nanmean(mixed.within_notice_time))
    kim = "Kim et al., arXiv 2604.16457"
    return [
        Check("drops that take all", float((batches > 0.999).mean()), 0.5, 0.7, "1", _TRACES),
        Check("mean share taken by a drop", float(batches.mean()), 0.61, 0.86, "1", _TRACES),
        Check("reclaimed within 180 s of the drop", within, 0.9, 1, "1", kim),
    ]


def _correlation_checks(groups: dict[str, Measured], mixed: Measured) -> list[Check]:
    ranges = {"sibling_zone": (0.25, 0.59), "sibling_size": (0.10, 0.36), "other_family": (-0.05, 0.05)}
    lines = [
        Check(f"correlation {kind}, {name}", group.correlation(kind), *limits, "1", _TRACES)
        for name, group in groups.items()
        for kind, limits in ranges.items()
    ]
    seen = contagion(np.sum([group.contagion_counts for group in groups.values()], axis=0))
    lines.append(Check("sibling zone drops within 5 min of a drop", seen.given_a_drop, 0.15, 0.40, "1", _TRACES))
    lines.append(Check("sibling zone drops within 5 min of any time", seen.at_any_time, 0.03, 0.15, "1", _TRACES))
    lines.append(Check("contagion lift", seen.lift, 2.4, 4.4, "1", _TRACES))
    return lines


def _rhythm_checks(groups: dict[str, Measured]) -> list[Check]:
    lines = [
        Check(f"24 h amplitude, {name}", groups[name].daily_amplitude, low, high, "1", _TRACES)
        for name, (low, high) in {_TIGHTEST: (0.08, 0.21), _LEAST_TIGHT: (0.02, 0.05)}.items()
    ]
    mean = np.mean([groups[name].autocorrelation for name in _GPU], axis=0)
    ranges = {1: (0.46, 0.69), 6: (0.20, 0.31), 12: (0.05, 0.17), 24: (0.08, 0.39)}
    for value, (lag, limits) in zip(mean.tolist(), ranges.items(), strict=True):
        lines.append(Check(f"autocorrelation at {lag} h, mean of V100 groups", value, *limits, "1", _TRACES))
    return lines


def _regime_checks(groups: dict[str, Measured]) -> list[Check]:
    hot = groups["r5_us_east_1"].spells.up.mean()
    return [
        Check("mean up spell of a hot pool, r5", float(hot), 0.5, 3, "h", _TRACES),
        Check("mean time between drops of calm pools", calm_hours_between_drops(), 720, np.inf, "h", _ADVISOR),
        *(
            Check(f"TIGHT share of time, {name}", group.tight, 0.03, 0.17, "1", _TRACES)
            for name, group in groups.items()
        ),
    ]


@cache
def calm_hours_between_drops() -> float:
    """Return pool hours per drop over markets without hot pools."""
    settings = MarketSettings(hot_share_by_band=(0, 0, 0, 0, 0))
    tapes = [measure_tape(tape, Catalogue()) for tape in _draw(settings, 4)]
    drops = sum(len(tape.batches) for tape in tapes)
    return len(tapes) * DAYS * 24 * ZONES * len(Catalogue().types) / drops


def _price_checks(mixed: Measured) -> list[Check]:
    correlation = float(mixed.price_correlation.mean())
    return [Check("correlation of price and dryness", correlation, -0.05, 0.05, "1", _ADVISOR)]


def _advisor_checks() -> list[Check]:
    lines = []
    levels = (0.10, 0.25, 0.50, 0.75, 0.90)
    settings = MarketSettings(resample=True, hot_share_by_band=(0, 0, 0, 0, 0))
    markets = [draw_market(Catalogue(), days=7, seed=seed, settings=settings) for seed in range(200)]
    list_price = np.repeat([item.price_usd_per_hour for item in Catalogue().types], ZONES)
    discounts = np.concatenate([1 - tape.spot_usd_per_s.mean(axis=0) * 3600 / list_price for tape in markets])
    rng = np.random.default_rng(FIRST_SEED)
    everywhere = sample_savings(20_000, rng, Advisor(**fitted()["advisor"]["all"]))
    for place, sample in (("us-east-1", discounts), ("all", everywhere)):
        published = fitted()["advisor"][place]["saving_quantiles"]
        for level in levels:
            middle = published[SAVING_LEVELS.index(level)]
            measured = float(np.quantile(sample, level))
            name = f"discount at quantile {level}, {place}"
            lines.append(Check(name, measured, middle - 0.02, middle + 0.02, "1", _ADVISOR))
    for place in ("us-east-1", "all"):
        advisor = Advisor(**fitted()["advisor"][place])
        shares = np.bincount(sample_bands(20_000, rng, advisor), minlength=5) / 20_000
        for band, (share, published) in enumerate(zip(shares, advisor.band_shares, strict=True)):
            name = f"share of band {band}, {place}"
            lines.append(Check(name, float(share), published - 0.02, published + 0.02, "1", _ADVISOR))
    return lines


def _recorded_checks(name: str, simulated: Measured, folder: Path) -> list[Check]:
    if not (folder / "spot" / GROUPS[name].file).exists():
        return []
    recorded = recorded_spells(folder, GROUPS[name])
    lines = []
    for part in ("up", "dry"):
        test = ks_2samp(getattr(simulated.spells, part), getattr(recorded, part))
        lines.append(Check(f"KS distance of {part} spells, {name}", test.statistic, 0, 0.10, "1", _TRACES))
        lines.append(Check(f"KS p-value of {part} spells, {name}", test.pvalue, 0.01, 1, "1", _TRACES))
    return lines


def table(data: Path | None = None) -> pd.DataFrame:
    """Return recorded and simulated figures of each kind of hot pool, side by side."""
    folder = data or data_folder()
    rows = {}
    for name, group in GROUPS.items():
        simulated = hot_markets(name)
        series = recorded_series(folder, group)
        rows[name, "recorded"] = _figures(recorded_spells(folder, group), float(np.mean(np.concatenate(series))))
        share = float(np.mean([tape.availability for tape in simulated.tapes]))
        rows[name, "simulated"] = _figures(simulated.spells, share)
    return pd.DataFrame(rows).T


def _figures(part: Spells, availability: float) -> dict[str, float]:
    figures = {"spells": float(len(part.up)), "availability": availability}
    for name, hours in zip(part._fields, part, strict=True):
        mu, sigma = log_moments(hours)
        figures |= {
            f"{name} mean h": float(hours.mean()),
            f"{name} median h": float(np.median(hours)),
            f"{name} p90 h": float(np.quantile(hours, 0.9)),
            f"{name} variation": variation(hours),
            f"{name} mu": mu,
            f"{name} sigma": sigma,
        }
    return figures


def figure(data: Path | None = None) -> "Figure":
    """Draw the survival of up and dry spells, recorded and simulated, for each kind of hot pool."""
    from matplotlib.figure import Figure

    folder = data or data_folder()
    canvas = Figure(figsize=(10, 8), layout="constrained")
    axes = canvas.subplots(2, 2, sharex=True, sharey=True)
    for axis, (name, group) in zip(axes.flat, GROUPS.items(), strict=True):
        for source, part in (("recorded", recorded_spells(folder, group)), ("simulated", hot_markets(name).spells)):
            for kind, hours, colour in (("up", part.up, "C0"), ("dry", part.dry, "C1")):
                order = np.sort(hours)
                alive = 1.0 - np.arange(len(order)) / len(order)
                axis.loglog(order, alive, colour, ls="-" if source == "recorded" else ":", label=f"{kind}, {source}")
        axis.set(title=name, xlabel="spell, hours", ylabel="share longer", ylim=(1e-3, 1.1))
    axes.flat[0].legend()
    return canvas
