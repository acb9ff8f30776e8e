"""The world bank: which demand tape meets which market under which physics, laid out before training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.latency import load_tail_table, threshold_table
from simulators.market import MarketTape
from simulators.physics import WorldSettings, physics_record
from simulators.records import EVENT_REBALANCE, EVENT_RECLAIM, EVENT_ZONE_DOWN, TAPE, WORLD, ZONES
from simulators.scenario import Scenario


@dataclass(frozen=True)
class WorldPlan:
    """Which tapes make one world.

    Attributes:
        scenario: Index of the demand tape.
        market: Index of the market tape.
        market_phase: Ticks by which the market tape is shifted.
        settings: Index of the physics settings.
    """

    scenario: int
    market: int
    market_phase: int = 0
    settings: int = 0


def cross(scenarios: int, markets: int) -> list[WorldPlan]:
    """Return every scenario x market pair, scenario by scenario, each market from its own start."""
    return [WorldPlan(scenario, market) for scenario in range(scenarios) for market in range(markets)]


def build_bank(
    scenarios: Sequence[Scenario],
    markets: Sequence[MarketTape],
    plans: Sequence[WorldPlan],
    *,
    catalogue: Catalogue,
    settings: Sequence[WorldSettings] = (WorldSettings(),),
) -> Bank:
    """Lay scenarios, markets and physics out as one bank.

    Args:
        scenarios: Demand tapes, any lengths.
        markets: Market tapes of one common length; a world that outlasts one plays it again.
        plans: The worlds.
        catalogue: Types and candidates.
        settings: Physics settings the plans refer to.

    Raises:
        ValueError: Nothing to build from, or market tapes of different lengths.
    """
    if not scenarios or not markets or not plans:
        raise ValueError("a world bank needs at least one scenario, one market and one world")
    lengths = {len(market.pool_state) for market in markets}
    if len(lengths) > 1:
        raise ValueError(f"market tapes have different lengths: {sorted(lengths)} ticks")
    demand = np.concatenate([item.demand_rps for item in scenarios])
    physics = np.concatenate([physics_record(catalogue, item) for item in settings])
    log_tails = np.stack([load_tail_table(item.physics.routing, item.workload.cv2) for item in settings])
    prices = np.stack([market.spot_usd_per_s for market in markets])
    return Bank(
        worlds=_world_records(plans),
        tapes=_tape_records(scenarios),
        physics=physics,
        demand_rps=demand,
        demand_total=np.concatenate(([0.0], np.cumsum(demand, dtype=np.float64))),
        work_scale=np.concatenate([item.work_scale for item in scenarios]),
        fault_fraction=np.concatenate([item.fault_fraction for item in scenarios]),
        visible_tick=np.concatenate([_visible_ticks(item) for item in scenarios]),
        scored=np.concatenate([item.scored for item in scenarios]).astype(np.uint8),
        forecast_rps=np.concatenate([item.annotation.forecast_rps for item in scenarios]),
        forecast_available=np.concatenate([item.annotation.available for item in scenarios]).astype(np.uint8),
        anomaly_score=np.concatenate([item.annotation.anomaly_score for item in scenarios]),
        predictive_rps=np.concatenate([item.predictive_rps for item in scenarios]),
        spot_usd_per_s=prices,
        pool_state=np.stack([market.pool_state for market in markets]),
        reclaim=np.stack([market.reclaim for market in markets]),
        candidate_spot_usd_per_hour=_candidate_prices(prices, catalogue),
        rebalance_lead=np.stack([market.rebalance_lead for market in markets]),
        zone_down=np.stack([market.zone_down for market in markets]),
        events=np.stack([_events(market) for market in markets]),
        log_tails=log_tails,
        late_log_tails=_threshold_tables(physics, log_tails, "slo_s"),
        timeout_log_tails=_threshold_tables(physics, log_tails, "timeout_s"),
    )


def _events(market: MarketTape) -> NDArray[np.uint8]:
    """Return [ticks] which kinds of event a market tape holds in each tick, as EVENT_* bits."""
    return np.asarray(
        EVENT_RECLAIM * market.reclaim.any(axis=1)
        + EVENT_REBALANCE * market.rebalance_lead.any(axis=1)
        + EVENT_ZONE_DOWN * (market.zone_down > 0),
        np.uint8,
    )


def _visible_ticks(scenario: Scenario) -> NDArray[np.int32]:
    """Return [T] the last tick up to each whose metrics were delivered, -1 where none was."""
    ticks = np.where(scenario.metric_gap, -1, np.arange(len(scenario.metric_gap), dtype=np.int32))
    return np.maximum.accumulate(ticks).astype(np.int32)


def _candidate_prices(spot_usd_per_s: NDArray[np.float32], catalogue: Catalogue) -> NDArray[np.float64]:
    """Return [markets, hours, C]: for each candidate the lowest, over its types, of the mean price over zones."""
    markets, hours, pools = spot_usd_per_s.shape
    by_type = spot_usd_per_s.astype(np.float64).reshape(markets, hours, pools // ZONES, ZONES).mean(axis=3) * 3600.0
    members = [[catalogue.index[name] for name in item.types] for item in catalogue.candidates]
    return np.stack([by_type[:, :, kinds].min(axis=2) for kinds in members], axis=2)


def _threshold_tables(physics: NDArray[np.void], log_tails: NDArray[np.float32], threshold: str) -> NDArray[np.float64]:
    """Return [P, K, targets, utilisation]: each type's log tail at a response time of its physics record."""
    records = []
    for record, tables in zip(physics, log_tails, strict=True):
        kinds = range(int(record["num_types"]))
        records.append(
            [
                threshold_table(tables[record["servers"][kind]], float(record[threshold] / record["service_s"][kind]))
                for kind in kinds
            ]
        )
    return np.array(records)


def _world_records(plans: Sequence[WorldPlan]) -> NDArray[np.void]:
    worlds = np.zeros(len(plans), WORLD)
    for position, plan in enumerate(plans):
        worlds[position] = (plan.scenario, plan.market, plan.settings, plan.market_phase)
    return worlds


def _tape_records(scenarios: Sequence[Scenario]) -> NDArray[np.void]:
    tapes = np.zeros(len(scenarios), TAPE)
    start = row_start = hour_start = 0
    for position, scenario in enumerate(scenarios):
        tapes[position] = (
            start,
            row_start,
            hour_start,
            len(scenario.demand_rps),
            scenario.first_tick,
            scenario.last_tick,
            scenario.minute_of_week,
            scenario.mean_demand_rps,
            scenario.reference_demand_rps,
        )
        start += len(scenario.demand_rps)
        row_start += len(scenario.annotation.forecast_rps)
        hour_start += len(scenario.predictive_rps)
    return tapes
