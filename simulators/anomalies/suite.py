"""Labelled series for detectors: what an operator's metrics show of a service to which anomalies happen.

The fleet here is a deliberately simple stand-in (instances follow demand with a delay, latency follows utilisation by a
formula), so that a series costs milliseconds; the kernel's own telemetry is the real thing. Same seed, same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.stats import poisson

from simulators.anomalies.demand import DemandEffects, demand_effects
from simulators.anomalies.draw import draw_anomalies
from simulators.anomalies.kinds import KINDS, Anomaly
from simulators.anomalies.market import market_effects, pools_hit
from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, MarketTape, draw_market
from simulators.patterns import draw_pattern
from simulators.records import DRY, ZONES
from simulators.workload import WorkloadModel, sample_workload

METRICS: Final = (
    "demand_rps",
    "cpu_utilization",
    "latency_p95_ms",
    "error_fraction",
    "in_service",
    "interruptions",
    "spot_usd_per_hour",
)
"""Signals of a labelled series; all but the price are metrics, hence missing in a metric gap."""

CLEAN_DAYS: Final = 3
"""No anomaly starts before this day, so a detector has something to learn from."""

_DAY = 1440
_INSTANCE_RPS = 25.0
_TARGET_UTILIZATION = 0.5
_SCALE_OUT_TICKS = 5
_SCALE_IN_TICKS = 30
_REPLACE_TICKS = 6
_UNREPLACED = 0.4
_SPOT_SHARE = 0.5
_BASE_P95_MS = 90.0
_BASE_ERROR = 2e-4
_SOURCES: Final = ("diurnal", "steady", "ramp")
_NEVER_HOT: Final = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class LabelledSeries:
    """One service's metrics and the anomalies in them.

    Attributes:
        name: Source and seed.
        signals: [T] float32 by name (`METRICS`), one value a minute, NaN where the metric was not delivered.
        labels: The anomalies, by start.
    """

    name: str
    signals: Mapping[str, NDArray[np.float32]]
    labels: tuple[Anomaly, ...]

    def is_anomalous(self) -> NDArray[np.bool_]:
        """Return [T] True inside any label's window."""
        mask = np.zeros(len(self.signals["demand_rps"]), np.bool_)
        for label in self.labels:
            mask[label.start_tick : label.end_tick] = True
        return mask


def labelled_suite(
    seed: int,
    n: int,
    difficulty: Literal["easy", "hard", "mixed"],
    *,
    kinds: Sequence[str] = tuple(KINDS),
    days: int = 14,
    rate_per_week: float = 4.0,
    sources: Sequence[WorkloadModel | str] = _SOURCES,
) -> list[LabelledSeries]:
    """Return ``n`` labelled series; series ``i`` of a seed is the same whatever ``n`` is.

    Args:
        seed: Non-negative. Keep disjoint seeds for training and scoring.
        n: How many series, at least 1.
        difficulty: Ranges of `KINDS`; ``mixed`` tosses a coin for each anomaly.
        kinds: Kinds that occur.
        days: Length of a series; the first `CLEAN_DAYS` are clean.
        rate_per_week: Expected anomalies a week after that, all kinds together.
        sources: Patterns or workload models, taken in turn.

    Raises:
        ValueError: ``n`` below 1, ``days`` not above `CLEAN_DAYS`, no source, or as `draw_anomalies`.
    """
    if n < 1:
        raise ValueError(f"a labelled suite needs at least 1 series, got {n}")
    if days <= CLEAN_DAYS:
        raise ValueError(f"a labelled series needs more than its {CLEAN_DAYS} clean days, got {days}")
    if not sources:
        raise ValueError("a labelled suite needs at least one source")
    return [
        _draw_series(sources[index % len(sources)], index, seed, difficulty, kinds, days, rate_per_week)
        for index in range(n)
    ]


def _draw_series(
    source: WorkloadModel | str,
    index: int,
    seed: int,
    difficulty: Literal["easy", "hard", "mixed"],
    kinds: Sequence[str],
    days: int,
    rate_per_week: float,
) -> LabelledSeries:
    own = int(np.random.default_rng([seed, index, 0x5E]).integers(2**31))
    ticks = days * _DAY
    labels = draw_anomalies(
        kinds,
        ticks=ticks,
        rate_per_week=rate_per_week,
        seed=own,
        difficulty=difficulty,
        first_tick=CLEAN_DAYS * _DAY,
    )
    catalogue = Catalogue()
    calm = draw_market(catalogue, days=days, seed=own, settings=MarketSettings(hot_share_by_band=_NEVER_HOT))
    if isinstance(source, str):
        relative, name = draw_pattern(source, days=days, seed=own), source
    else:
        relative, name = sample_workload(source, days=days, seed=own), source.name
    labels = tuple(_aimed(label, _own_pools(catalogue, own), catalogue) for label in labels)
    signals = observe(relative, labels, calm, catalogue, seed=own)
    return LabelledSeries(f"{name}#{seed}.{index}", signals, labels)


def observe(
    relative_demand: NDArray[np.float64],
    labels: Sequence[Anomaly],
    market: MarketTape,
    catalogue: Catalogue,
    *,
    seed: int,
    mean_rps: float = 250.0,
) -> dict[str, NDArray[np.float32]]:
    """Return the metrics an operator sees of a service under a set of anomalies, without look-ahead.

    Half of the fleet is spot, spread over all zones of one family drawn by the seed; instances follow work with a delay
    of five minutes and give it back after half an hour; what a zone or a reclaim takes is replaced after six minutes,
    but for two fifths that find no room elsewhere until the zone or pool is back.

    Args:
        relative_demand: [T] demand of mean about 1.
        labels: What happens.
        market: Tape of T ticks without the labels.
        catalogue: Its types.
        seed: Of noise and family.
        mean_rps: Requests per second of a relative demand of 1.
    """
    ticks = len(relative_demand)
    effects = demand_effects(labels, ticks)
    tape = market_effects(labels, market, catalogue)
    rng = np.random.default_rng([seed, 0x0B5])
    noise = rng.standard_normal((ticks, 3))
    chance = rng.random((ticks, 2))
    pools = _own_pools(catalogue, seed)
    demand = mean_rps * relative_demand * effects.demand_factor
    work = demand * effects.work_scale / _INSTANCE_RPS
    wanted = _follow(work)
    taken = (tape.reclaim[:, pools] / 255.0).mean(axis=1)
    in_service = np.maximum(np.round(wanted * (1.0 - _missing_share(labels, tape, pools))), 1.0)
    load = work / in_service
    latency = _BASE_P95_MS * effects.work_scale * (1.0 + np.minimum(load, 0.97) ** 3 / (1.0 - np.minimum(load, 0.97)))
    failing = 1.0 - (1.0 - _BASE_ERROR) * (1.0 - effects.fault_fraction) * np.minimum(1.0, 1.0 / load)
    hourly = 3600.0 * tape.spot_usd_per_s[:, pools].mean(axis=1)
    signals = {
        "demand_rps": demand,
        "cpu_utilization": np.minimum(load * np.exp(0.03 * noise[:, 0]), 1.0),
        "latency_p95_ms": latency * np.exp(0.05 * noise[:, 1]),
        "error_fraction": np.minimum(poisson.ppf(chance[:, 0], 60.0 * demand * failing) / (60.0 * demand), 1.0),
        "in_service": in_service,
        "interruptions": poisson.ppf(chance[:, 1], _SPOT_SHARE * wanted * taken),
        "spot_usd_per_hour": np.repeat(hourly, 60)[:ticks],
    }
    return _deliver(signals, effects)


def _deliver(signals: Mapping[str, NDArray[np.float64]], effects: DemandEffects) -> dict[str, NDArray[np.float32]]:
    delivered = {name: np.where(effects.metric_gap, np.nan, path).astype(np.float32) for name, path in signals.items()}
    return delivered | {"spot_usd_per_hour": signals["spot_usd_per_hour"].astype(np.float32)}


def _own_pools(catalogue: Catalogue, seed: int) -> NDArray[np.int64]:
    """Return the pools of the family that the fleet's spot half runs in."""
    families = sorted({item.family for item in catalogue.types})
    family = families[int(np.random.default_rng([seed, 0xF0]).integers(len(families)))]
    return np.flatnonzero(np.repeat([item.family == family for item in catalogue.types], ZONES))


def _aimed(label: Anomaly, pools: NDArray[np.int64], catalogue: Catalogue) -> Anomaly:
    """Return the label with the next seed whose pools include the fleet's: one that misses them would be unseen."""
    if label.kind not in ("reclaim_wave", "cost_spike"):
        return label
    while not np.isin(pools, pools_hit(label, catalogue)).all():
        label = replace(label, seed=label.seed + 1)
    return label


def _follow(work: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [T] instances wanted: the largest need of the last half hour, seen five minutes late."""
    need = np.ceil(work / _TARGET_UTILIZATION)
    late = np.concatenate((np.full(_SCALE_OUT_TICKS, need[0]), need[:-_SCALE_OUT_TICKS]))
    return np.asarray(maximum_filter1d(late, _SCALE_IN_TICKS, origin=_SCALE_IN_TICKS // 2 - 1, mode="nearest"))


def _missing_share(labels: Sequence[Anomaly], tape: MarketTape, pools: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return [T] share of the wanted instances that is not there.

    All of a loss is missing for `_REPLACE_TICKS`, then the part that finds no room elsewhere until its zone or pool is
    back.
    """
    ticks = len(tape.pool_state)
    missing = np.zeros(ticks)
    for label in labels:
        if label.kind == "zone_outage":
            _lose(missing, label.start_tick, label.end_tick, 1.0 / ZONES)
    for pool in pools:
        dry = tape.pool_state[:, pool] == DRY
        for tick in np.flatnonzero(tape.reclaim[:, pool]):
            back = np.flatnonzero(~dry[tick:])
            end = int(tick + back[0]) if len(back) else ticks
            _lose(missing, int(tick), end, _SPOT_SHARE * tape.reclaim[tick, pool] / 255.0 / len(pools))
    return np.minimum(missing, 0.9)


def _lose(missing: NDArray[np.float64], start: int, end: int, share: float) -> None:
    missing[start : start + _REPLACE_TICKS] += share
    missing[start + _REPLACE_TICKS : end] += _UNREPLACED * share
