"""Many fleets, each in a small world of its own, brought into a state and played on from there.

Axis letters: B fleets of a batch, T ticks. A fleet starts whole and warm, meets a lead-in at the demand of its last
minutes, launches what is to be on its way at the end of it, and is then at tick ``START``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecasting.annotate import Annotation
from simulators.adjustments import on_demand_count
from simulators.bank import Bank
from simulators.catalogue import TYPES, Catalogue, LaunchSpecification
from simulators.fleets import FleetBatch
from simulators.latency import load_tail_table, threshold_table
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, menu_records
from simulators.records import (
    AMPLE,
    LEAD_MINUTES,
    MAX_INSTANCES,
    METRIC_RING,
    QUANTILE_LEVELS,
    TICKS_PER_ROW,
    ZONES,
)
from simulators.scenario import Scenario
from simulators.tables.services import Service
from simulators.worlds import WorldPlan, build_bank

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

QUIET_MINUTES: Final = 6
"""Ticks at low demand in which the spot part of a fleet starts."""
START: Final = 16
"""Tick at which the window begins."""
BATCH: Final = 256
_QUIET_UTILIZATION: Final = 0.2
_SPOT_USD_PER_S: Final = 1e-5
_MENU: Final = menu_records([ScalingPolicy(name="manual", kind="manual")])
_CATALOGUE: Final = Catalogue(types=TYPES[:2], candidates=(LaunchSpecification.single(TYPES[0].name),))


@dataclass(frozen=True)
class Fleets:
    """What a batch is to look like at ``START``.

    Attributes:
        in_service: [B] instances that serve.
        booting: [B] instances launched shortly before.
        launched_ago: [B] minutes since their launch; 0: the first step of the window launches them.
        spot_share: [B] share of spot, 0..1.
        now_rps: [B] demand of the ten minutes before.
        window_rps: [B, window] demand of each minute from ``START`` on.
        seeds: [B] seeds of the fleets.
    """

    in_service: IntArray
    booting: IntArray
    launched_ago: IntArray
    spot_share: FloatArray
    now_rps: FloatArray
    window_rps: FloatArray
    seeds: NDArray[np.uint64]

    def rows(self, which: IntArray) -> "Fleets":
        """Return some of the fleets."""
        return Fleets(*(np.asarray(values)[which] for values in vars(self).values()))


def batches(services: Sequence[Service]) -> Iterator[IntArray]:
    """Yield the rows of each batch: services of one routing and one variability share a latency table."""
    keys = [(item.settings.physics.routing, item.settings.workload.cv2) for item in services]
    for key in sorted(set(keys)):
        rows = np.array([row for row, other in enumerate(keys) if other == key])
        for first in range(0, len(rows), BATCH):
            yield rows[first : first + BATCH]


def start_fleets(
    services: Sequence[Service], records: NDArray[np.void], fleets: Fleets, *, reclaim_minute: int | None = None
) -> FleetBatch:
    """Return a batch at ``START``.

    Args:
        services: [B] of one routing and one variability.
        records: [B] their PHYSICS records; copied.
        fleets: What they are to look like.
        reclaim_minute: Minute of the window in which every spot instance of zone 0 gets its notice; none if absent.
    """
    physics = records.copy()
    batch = FleetBatch(_bank(services, physics, fleets, reclaim_minute), _MENU, len(services))
    everyone = np.arange(len(services))
    on_demand = np.array(
        [on_demand_count(int(n), 0, 1.0 - share) for n, share in zip(fleets.in_service, fleets.spot_share, strict=True)]
    )
    first = np.maximum(on_demand, 1)
    physics["min_instances"], physics["max_instances"] = first, first
    zeros = np.zeros(len(services), np.int64)
    batch.reset(everyone, everyone, zeros, zeros + START + fleets.window_rps.shape[1], fleets.seeds)
    physics["min_instances"], physics["max_instances"] = 1, MAX_INSTANCES
    batch.decisions["spot_fraction"] = fleets.spot_share
    for tick in range(START):
        launching = np.where(fleets.launched_ago == START - tick, fleets.booting, 0)
        batch.decisions["scale"] = launching + (fleets.in_service - first if tick == 0 else 0)
        batch.step(1)
    batch.decisions["scale"] = np.where(fleets.launched_ago == 0, fleets.booting, 0)
    return batch


def _bank(services: Sequence[Service], physics: NDArray[np.void], fleets: Fleets, reclaim_minute: int | None) -> Bank:
    capacity = physics["capacity_rps"][:, 0] * fleets.in_service
    quiet = np.minimum(fleets.now_rps, _QUIET_UTILIZATION * capacity)
    lead_in = np.repeat(fleets.now_rps[:, None], START, axis=1)
    lead_in[:, :QUIET_MINUTES] = quiet[:, None]
    demand = np.maximum(np.concatenate([lead_in, fleets.window_rps], axis=1), 1e-6)
    scenarios = [_scenario(row) for row in demand]
    plans = [WorldPlan(row, 0, settings=row) for row in range(len(demand))]
    market = _market(demand.shape[1], reclaim_minute)
    bank = build_bank(scenarios, [market], plans, catalogue=_CATALOGUE, settings=[services[0].settings])
    return bank._replace(
        physics=physics,
        log_tails=np.repeat(bank.log_tails, len(demand), axis=0),
        late_log_tails=_thresholds(services, physics, "slo_s"),
        timeout_log_tails=_thresholds(services, physics, "timeout_s"),
    )


def _thresholds(services: Sequence[Service], physics: NDArray[np.void], threshold: str) -> FloatArray:
    """Return [B, 2, targets, utilisation] log tails at a response time, of type 0 of each service."""
    settings = services[0].settings
    tables = load_tail_table(settings.physics.routing, settings.workload.cv2)
    found = np.zeros((len(physics), 2, *tables.shape[1:3]))
    for row, record in enumerate(physics):
        multiple = float(record[threshold] / record["service_s"][0])
        found[row, 0] = threshold_table(tables[record["servers"][0]], multiple)
    return found


def _scenario(demand_rps: FloatArray) -> Scenario:
    ticks = len(demand_rps)
    rows = -(-ticks // TICKS_PER_ROW)
    return Scenario(
        name="row",
        demand_rps=demand_rps.astype(np.float32),
        work_scale=np.ones(ticks, np.float32),
        scored=np.ones(ticks, np.bool_),
        annotation=Annotation(
            np.zeros((rows, len(LEAD_MINUTES), len(QUANTILE_LEVELS)), np.float32),
            np.zeros(rows, np.bool_),
            np.zeros(rows, np.float32),
        ),
        minute_of_week=0,
        mean_demand_rps=float(demand_rps.mean()),
        reference_demand_rps=float(demand_rps.mean()),
        first_tick=0,
        last_tick=ticks,
        kind="requests",
        fault_fraction=np.zeros(ticks, np.float32),
        metric_gap=np.zeros(ticks, np.bool_),
        predictive_rps=np.zeros(-(-ticks // 60), np.float32),
    )


def _market(ticks: int, reclaim_minute: int | None) -> MarketTape:
    """Return a market that never refuses a launch; at most it takes back one zone, once."""
    pools = len(_CATALOGUE.types) * ZONES
    prices = np.full((-(-ticks // 60), pools), _SPOT_USD_PER_S, np.float32)
    reclaim = np.zeros((ticks, pools), np.uint8)
    if reclaim_minute is not None:
        reclaim[START + reclaim_minute - 1, ::ZONES] = 255
    return MarketTape(prices, np.full((ticks, pools), AMPLE, np.uint8), reclaim)


@dataclass(frozen=True)
class FleetStates:
    """What batches show at ``START``, [B] each; see ``forecasting.capacity.columns``."""

    in_service: FloatArray
    booting: FloatArray
    backlog_s: FloatArray
    utilization: FloatArray
    retry_ratio: FloatArray


def read_states(batch: FleetBatch, records: NDArray[np.void], now_rps: FloatArray) -> FleetStates:
    """Return the state of fleets before their window."""
    state = batch.state
    live = np.arange(state["backlog_requests"].shape[1])[None, :] < state["live"][:, None]
    backlog = np.where(live, state["backlog_requests"], 0.0).sum(axis=1)
    in_service = batch.readings["in_service"]
    last = (START - 1) % METRIC_RING
    return FleetStates(
        in_service=in_service.copy(),
        booting=batch.readings["pending"] + batch.decisions["scale"],
        backlog_s=backlog / np.maximum(records["capacity_rps"][:, 0] * in_service, 1e-9),
        utilization=np.clip(np.nan_to_num(state["cpu_utilization"][:, last], nan=0.0), 0.0, 1.0),
        retry_ratio=state["retry_rps"].sum(axis=1) / now_rps,
    )
