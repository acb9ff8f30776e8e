"""One fleet in a world small enough to compute by hand, played by the kernel or by the reference."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from reference import fleet_reference
from reference.reference_model import (
    AMOUNT_LISTS,
    AMOUNTS,
    COUNTER_LISTS,
    COUNTERS,
    INSTANCE_COUNTERS,
    Fleet,
    fleet_of,
    no_outcome,
    world_of,
)

from forecasting.annotate import Annotation
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.fleets import FleetBatch
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, menu_records
from simulators.physics import Physics, WorldSettings
from simulators.records import FOREVER, LEAD_MINUTES, OUTCOME, QUANTILE_LEVELS, ZONES
from simulators.scenario import Scenario
from simulators.worlds import WorldPlan, build_bank

CATALOGUE = Catalogue(Catalogue().types[:12])
MANUAL = ScalingPolicy(name="manual", kind="manual")

INSTANT = Physics(
    boot_median_s=0.01, boot_sigma=0.0, app_median_s=0.0, app_sigma=0.0, register_s=0, instance_warmup_s=0
)
"""Launches of one second that need no warm-up."""

CLOCKWORK = Physics(
    boot_median_s=50.0,
    boot_sigma=0.0,
    unbilled_boot_share=0.5,
    app_median_s=35.0,
    app_sigma=0.0,
    register_s=0,
)
"""No luck in launches: billed 25 s after the call, serving 85 s after it."""


def tiny_bank(
    demand_rps: ArrayLike,
    *,
    settings: WorldSettings | None = None,
    catalogue: Catalogue = CATALOGUE,
    spot_usd_per_hour: ArrayLike = 0.036,
    pool_state: ArrayLike = 0,
    reclaim: NDArray[np.uint8] | None = None,
    rebalance_lead: NDArray[np.uint8] | None = None,
    zone_down: ArrayLike = 0,
    fault_fraction: ArrayLike = 0.0,
    metric_gap: ArrayLike = False,
    predictive_rps: ArrayLike = np.nan,
    minute_of_week: int = 0,
) -> Bank:
    """A bank of one world. Prices are [hours] or one number; states [ticks, pools]; tapes [ticks] or one number."""
    demand = np.asarray(demand_rps, dtype=np.float32)
    ticks, pools = len(demand), len(catalogue.types) * ZONES
    rows, hours = -(-ticks // 5), -(-ticks // 60)
    flat = np.repeat(demand[::5], len(LEAD_MINUTES) * len(QUANTILE_LEVELS))
    scenario = Scenario(
        name="tiny",
        demand_rps=demand,
        work_scale=np.ones(ticks, np.float32),
        scored=np.ones(ticks, np.bool_),
        annotation=Annotation(
            flat.reshape(rows, len(LEAD_MINUTES), len(QUANTILE_LEVELS)),
            np.ones(rows, np.bool_),
            np.zeros(rows, np.float32),
        ),
        minute_of_week=minute_of_week,
        mean_demand_rps=float(demand.mean()),
        reference_demand_rps=float(demand.mean()),
        first_tick=0,
        last_tick=ticks,
        kind="requests",
        fault_fraction=np.broadcast_to(np.asarray(fault_fraction, np.float32), ticks),
        metric_gap=np.broadcast_to(np.asarray(metric_gap, np.bool_), ticks),
        predictive_rps=np.broadcast_to(np.asarray(predictive_rps, np.float32), hours),
    )
    hourly = np.broadcast_to(np.reshape(spot_usd_per_hour, (-1, 1)), (hours, pools))
    market = MarketTape(
        (hourly / 3600.0).astype(np.float32),
        np.broadcast_to(np.asarray(pool_state, np.uint8), (ticks, pools)).copy(),
        np.zeros((ticks, pools), np.uint8) if reclaim is None else reclaim,
        np.zeros((ticks, pools), np.uint8) if rebalance_lead is None else rebalance_lead,
        np.broadcast_to(np.asarray(zone_down, np.uint8), ticks).copy(),
    )
    return build_bank(
        [scenario], [market], [WorldPlan(0, 0)], catalogue=catalogue, settings=[settings or WorldSettings()]
    )


def reclaim_all_at(ticks: int, at: int, catalogue: Catalogue = CATALOGUE) -> NDArray[np.uint8]:
    """Every pool takes every instance back in one tick."""
    share = np.zeros((ticks, len(catalogue.types) * ZONES), np.uint8)
    share[at] = 255
    return share


class OneFleet:
    """A single fleet driven minute by minute; ``empty`` starts it without instances."""

    def __init__(
        self,
        bank: Bank,
        *policies: ScalingPolicy,
        tick: int = 0,
        seed: int = 1,
        empty: bool = False,
    ) -> None:
        if empty:
            bank.physics["min_instances"] = 0
        self.batch = FleetBatch(bank, menu_records(policies or (MANUAL,)), 1)
        end = int(bank.tapes["last_tick"][0])
        first = [np.array([value]) for value in (0, 0, tick, end)]
        self.batch.reset(*first, np.array([seed], np.uint64))
        if empty:
            self.inject(live=0, desired=0, serial=0)

    @property
    def state(self) -> Any:
        return self.batch.state[0]

    @property
    def reading(self) -> Any:
        return self.batch.readings[0]

    def inject(self, **fields: Any) -> None:
        """Write fields of the state; what the kernel has summed up over the slots no longer holds then."""
        for name, value in fields.items():
            self.state[name] = value
        self.state["settled_until_s"] = self.state["priced_until_s"] = 0

    def slots(self, name: str) -> NDArray[Any]:
        return np.asarray(self.state[name][: self.state["live"]])

    def gone_down(self) -> NDArray[np.bool_]:
        """Which slots no longer take requests, or will not."""
        return self.slots("off_s") != FOREVER

    def step(
        self,
        ticks: int = 1,
        *,
        scale: int = 0,
        spec: int | None = None,
        spot: float | None = None,
        policy: int | None = None,
    ) -> Any:
        """Decide (what is not named stays) and play; return a copy of the outcome."""
        state = self.state
        self.batch.decisions[0] = (
            scale,
            state["spec"] if spec is None else spec,
            state["policy"] if policy is None else policy,
            state["spot_fraction"] if spot is None else spot,
        )
        return self._play(ticks)

    def _play(self, ticks: int) -> Any:
        self.batch.step(ticks)
        return self.batch.outcomes[0].copy()


class OneReference(OneFleet):
    """The same fleet played by the slow reference; its telemetry is not kept up."""

    def _play(self, ticks: int) -> Any:
        world, menu = world_of(self.batch.bank, 0), self.batch.menu
        fleet, book = fleet_of(self.state), no_outcome()
        fleet_reference.decide(fleet, world, menu, self.batch.decisions[0], book)
        for _ in range(ticks):
            fleet_reference.play_tick(fleet, world, menu, book)
        write_fleet(fleet, self.state)
        outcome = np.zeros(1, OUTCOME)[0]
        for name, value in book.items():
            outcome[name] = value
        return outcome


BOTH = pytest.mark.parametrize("player", [OneFleet, OneReference], ids=["kernel", "reference"])
"""Play a test twice, by the kernel and by the reference."""


def write_fleet(fleet: Fleet, record: np.void) -> None:
    """Write a reference fleet into a record; its instances fill the first slots."""
    for name in (*COUNTERS, *AMOUNTS, *COUNTER_LISTS, *AMOUNT_LISTS):
        record[name] = getattr(fleet, name)
    record["live"] = len(fleet.instances)
    for slot, item in enumerate(fleet.instances):
        record["slot_serial"][slot] = item.serial
        record["backlog_requests"][slot] = item.backlog
        record["credits"][slot] = item.credits
        for name in INSTANCE_COUNTERS:
            record[name][slot] = getattr(item, name)
    record["backlogged"] = sum(item.backlog > 0 for item in fleet.instances)
    record["settled_until_s"] = record["priced_until_s"] = 0
