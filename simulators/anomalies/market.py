"""What anomalies do to the market tape: reclaim waves, zone outages, price spikes. Ticks are those of that tape.

Where anomalies overlap, pool states take the worse of both, reclaim shares the larger, zones that are out unite, and
price rises multiply, capped at the on-demand price. Nothing changes outside an anomaly's window.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from simulators.anomalies.demand import rise_and_hold, wobble
from simulators.anomalies.kinds import Anomaly
from simulators.catalogue import Catalogue
from simulators.market import MarketTape
from simulators.records import DRY, TIGHT, ZONES

Arrays = dict[str, NDArray[Any]]
_TICKS_PER_HOUR = 60
_TIGHT_TICKS = 30
_SILENT_SHARE = 0.3
_MEAN_LEAD_TICKS = 10.0
_LONGEST_LEAD_TICKS = 240
_RECOVERY_SPREAD = 0.3
_SHARE_SPREAD = (0.85, 1.15)


def market_effects(anomalies: Sequence[Anomaly], market: MarketTape, catalogue: Catalogue) -> MarketTape:
    """Return a market tape with a set of anomalies played into it; the given one stays as it is.

    Anomalies of the demand tape are ignored here; `demand_effects` applies them.

    Args:
        anomalies: In any order; they may overlap.
        market: A drawn or replayed tape of whole hours.
        catalogue: Types of the tape's pools, for their families and on-demand prices.

    Raises:
        ValueError: The tape's pools are not the catalogue's, or an anomaly of the market ends beyond the tape.
    """
    ticks, pools = market.pool_state.shape
    if pools != ZONES * len(catalogue.types):
        raise ValueError(f"the market tape has {pools} pools, the catalogue {ZONES * len(catalogue.types)}")
    tape: Arrays = {item.name: getattr(market, item.name).copy() for item in fields(market)}
    for anomaly in sorted(anomalies, key=lambda item: (item.start_tick, item.kind, item.seed)):
        if anomaly.kind in _EFFECTS:
            anomaly.check_inside(ticks)
            _EFFECTS[anomaly.kind](anomaly, tape, catalogue)
    return MarketTape(**tape)


def pools_hit(anomaly: Anomaly, catalogue: Catalogue) -> NDArray[np.int64]:
    """Return the pools (type x zone) a reclaim wave, a price spike or a zone outage touches, ascending.

    A wave or spike hits one family, chosen by the anomaly's seed, in all zones; or, with ``whole_region``, every pool.

    Raises:
        ValueError: The kind has no pools.
    """
    pools: NDArray[np.int64] = np.arange(ZONES * len(catalogue.types))
    if anomaly.kind == "zone_outage":
        return np.flatnonzero(pools % ZONES == int(anomaly["zone"]))
    if anomaly.kind not in _EFFECTS:
        raise ValueError(f"{anomaly.kind}: this kind touches no spot pool")
    if anomaly["whole_region"]:
        return pools
    families = sorted({item.family for item in catalogue.types})
    family = families[int(np.random.default_rng([anomaly.seed, 0xFA]).integers(len(families)))]
    return np.flatnonzero(np.repeat([item.family == family for item in catalogue.types], ZONES))


def _zone_outage(anomaly: Anomaly, tape: Arrays, catalogue: Catalogue) -> None:
    window = slice(anomaly.start_tick, anomaly.end_tick)
    tape["pool_state"][window, pools_hit(anomaly, catalogue)] = DRY
    tape["zone_down"][window] |= np.uint8(1 << int(anomaly["zone"]))


def _reclaim_wave(anomaly: Anomaly, tape: Arrays, catalogue: Catalogue) -> None:
    """Take instances back pool by pool; each pool is tight before, dry after, and recovers near the window's end."""
    pools = pools_hit(anomaly, catalogue)
    rng = np.random.default_rng([anomaly.seed, 0xF0])
    hits = rng.integers(0, int(anomaly["stagger_share"] * anomaly.ticks), size=len(pools), endpoint=True)
    ends = anomaly.ticks - rng.integers(0, int(_RECOVERY_SPREAD * anomaly.ticks), size=len(pools), endpoint=True)
    hits[rng.integers(len(pools))] = 0
    ends[rng.integers(len(pools))] = anomaly.ticks
    shares = np.minimum(anomaly["taken_share"] * rng.uniform(*_SHARE_SPREAD, size=len(pools)), 1.0)
    silent = rng.random(len(pools)) < _SILENT_SHARE
    leads = np.where(
        silent, 0, np.minimum(rng.exponential(_MEAN_LEAD_TICKS, len(pools)), np.minimum(hits, _LONGEST_LEAD_TICKS))
    )
    state, reclaim, recommended = tape["pool_state"], tape["reclaim"], tape["rebalance_lead"]
    for pool, hit, end, share, lead in zip(pools, hits, ends, shares, leads.astype(int), strict=True):
        tick = anomaly.start_tick + hit
        tight = slice(max(anomaly.start_tick, tick - _TIGHT_TICKS), tick)
        state[tight, pool] = np.maximum(state[tight, pool], TIGHT)
        state[tick : anomaly.start_tick + end, pool] = DRY
        reclaim[tick, pool] = max(reclaim[tick, pool], max(1, round(255 * share)))
        if lead > 0 and recommended[tick - lead, pool] == 0:
            recommended[tick - lead, pool] = lead


def _cost_spike(anomaly: Anomaly, tape: Arrays, catalogue: Catalogue) -> None:
    pools = pools_hit(anomaly, catalogue)
    hours = slice(anomaly.start_tick // _TICKS_PER_HOUR, anomaly.end_tick // _TICKS_PER_HOUR)
    length = hours.stop - hours.start
    path = rise_and_hold(length, anomaly["rise_share"], 0.1) * wobble(anomaly, 0.05)[:length]
    on_demand = np.repeat([item.price_usd_per_hour / 3600.0 for item in catalogue.types], ZONES)[pools]
    price = tape["spot_usd_per_s"]
    raised = price[hours][:, pools] * (1.0 + anomaly["extra_price"] * path[:, None])
    price[hours, pools] = np.minimum(raised, on_demand)


_EFFECTS: Final[Mapping[str, Callable[[Anomaly, Arrays, Catalogue], None]]] = {
    "zone_outage": _zone_outage,
    "reclaim_wave": _reclaim_wave,
    "cost_spike": _cost_spike,
}
