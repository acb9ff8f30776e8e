"""What the slow reference knows: one object per instance, one per fleet, and the tapes of its world."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulators import draws
from simulators.bank import Bank
from simulators.records import (
    DRAINING,
    ENDED,
    FOREVER,
    LEAVING,
    MAX_POLICIES,
    MAX_RETRIES,
    OUTCOME,
    RECLAIMED,
    RESPONSE_GRID_MS,
    WANTED,
    ZONES,
)

TICK_S = 60
MINUTES_PER_WEEK = 7 * 1440
LONGEST_DELAY_S = 65_535
Outcome = dict[str, Any]


@dataclass
class Instance:
    serial: int
    launch_s: int
    billing_delay_s: int
    ready_delay_s: int
    type: int
    zone: int
    market: int
    off_s: int = FOREVER
    state: int = WANTED
    backlog: float = 0.0
    credits: float = 0.0

    @property
    def billed_from(self) -> int:
        return self.launch_s + self.billing_delay_s

    @property
    def serves_from(self) -> int:
        return self.launch_s + self.ready_delay_s

    @property
    def wanted(self) -> bool:
        return self.state == WANTED

    @property
    def leaving(self) -> bool:
        return self.state == LEAVING


@dataclass
class World:
    """The tapes one fleet steps through, cut out of the bank."""

    physics: Mapping[str, Any]
    demand_rps: Any
    work_scale: Any
    fault_fraction: Any
    delivered: list[bool]
    scored: Any
    forecast_rps: Any
    hourly_forecast_rps: Any
    spot_usd_per_s: Any
    pool_state: Any
    reclaim: Any
    rebalance_lead: Any
    zone_down: Any
    log_tails: Any
    phase: int
    first_minute_of_week: int
    mean_demand_rps: float
    reference_demand_rps: float

    def market_row(self, tick: int) -> int:
        return (tick + self.phase) % len(self.pool_state)

    def spot_price(self, second: int, pool: int) -> float:
        hour = ((second // 60 + self.phase) // 60) % len(self.spot_usd_per_s)
        return float(self.spot_usd_per_s[hour, pool])

    def zone_out(self, tick: int, zone: int) -> bool:
        return bool(int(self.zone_down[self.market_row(tick)]) & 2**zone)

    def reclaimed_share(self, tick: int, item: Instance) -> float:
        return int(self.reclaim[self.market_row(tick), item.type * ZONES + item.zone]) / 255

    def capacity(self, kind: int, scale: float = 1.0) -> float:
        """Requests per second of a type at a work scale."""
        by_cpu = float(self.physics["parallel"][kind]) / (float(self.physics["service_s"][kind]) * scale)
        return min(by_cpu, float(self.physics["network_rps"][kind]))

    def members(self, spec: int) -> list[int]:
        return [int(kind) for kind in self.physics["members"][spec][: self.physics["num_members"][spec]]]

    def gone_s(self, item: Instance) -> int:
        """Second after which nothing is left of an instance."""
        if item.state == DRAINING:
            return item.off_s + int(self.physics["drain_s"])
        if item.state == RECLAIMED:
            return item.off_s + int(self.physics["notice_s"])
        return item.off_s if item.state == ENDED else FOREVER


@dataclass
class Fleet:
    seed: int
    tick: int
    serial: int
    desired: int
    spec: int
    policy: int
    offset: int
    below_ticks: int
    below_want: int
    refreshing: int
    refresh_total: int
    refresh_stage: int
    refresh_hold_tick: int
    cooldown_until: int
    bad_run: int
    longest_bad_run: int
    ticks_since_bad: int
    commitment_hour: int
    commitment_left_usd: float
    lost_requests: float
    spot_fraction: float
    bad_recent: float
    high_alarm: list[int]
    low_alarm: list[int]
    retry_rps: list[float]
    cpu_utilization: list[float]
    requests_per_target: list[float]
    cpu_targets: list[int]
    request_targets: list[int]
    late_fraction: list[float]
    error_fraction: list[float]
    last_launch_failure: list[int]
    last_interruption: list[int]
    instances: list[Instance] = field(default_factory=list)

    @property
    def now(self) -> int:
        return self.tick * TICK_S


COUNTERS = (
    "seed",
    "tick",
    "serial",
    "desired",
    "spec",
    "policy",
    "offset",
    "below_ticks",
    "below_want",
    "refreshing",
    "refresh_total",
    "refresh_stage",
    "refresh_hold_tick",
    "cooldown_until",
    "bad_run",
    "longest_bad_run",
    "ticks_since_bad",
    "commitment_hour",
)
AMOUNTS = ("commitment_left_usd", "lost_requests", "spot_fraction", "bad_recent")
COUNTER_LISTS = (
    "high_alarm",
    "low_alarm",
    "cpu_targets",
    "request_targets",
    "last_launch_failure",
    "last_interruption",
)
AMOUNT_LISTS = ("retry_rps", "cpu_utilization", "requests_per_target", "late_fraction", "error_fraction")
INSTANCE_COUNTERS = ("launch_s", "off_s", "billing_delay_s", "ready_delay_s", "type", "zone", "market", "state")


def no_outcome() -> Outcome:
    zero: Outcome = {name: 0 for name in OUTCOME.names or ()}
    zero["slower_requests"] = [0.0] * len(RESPONSE_GRID_MS)
    return zero


def world_of(bank: Bank, index: int) -> World:
    record = bank.worlds[index]
    tape = bank.tapes[record["tape"]]
    length = int(tape["length"])
    ticks = slice(int(tape["start"]), int(tape["start"]) + length)
    rows = slice(int(tape["row_start"]), int(tape["row_start"]) + -(-length // 5))
    hours = slice(int(tape["hour_start"]), int(tape["hour_start"]) + -(-length // 60))
    market, physics = int(record["market"]), int(record["physics"])
    return World(
        physics=bank.physics[physics],
        demand_rps=bank.demand_rps[ticks],
        work_scale=bank.work_scale[ticks],
        fault_fraction=bank.fault_fraction[ticks],
        delivered=[bool(last == tick) for tick, last in enumerate(bank.visible_tick[ticks])],
        scored=bank.scored[ticks],
        forecast_rps=bank.forecast_rps[rows],
        hourly_forecast_rps=bank.predictive_rps[hours],
        spot_usd_per_s=bank.spot_usd_per_s[market],
        pool_state=bank.pool_state[market],
        reclaim=bank.reclaim[market],
        rebalance_lead=bank.rebalance_lead[market],
        zone_down=bank.zone_down[market],
        log_tails=bank.log_tails[physics],
        phase=int(record["market_phase"]),
        first_minute_of_week=int(tape["minute_of_week"]),
        mean_demand_rps=float(tape["mean_demand_rps"]),
        reference_demand_rps=float(tape["reference_demand_rps"]),
    )


def fleet_of(record: np.void) -> Fleet:
    """Read a kernel record: the slots before ``live`` are the instances; what the kernel keeps summed up is left."""
    fleet = Fleet(
        **{name: int(record[name]) for name in COUNTERS},
        **{name: float(record[name]) for name in AMOUNTS},
        **{name: record[name].tolist() for name in (*COUNTER_LISTS, *AMOUNT_LISTS)},
    )
    for slot in range(int(record["live"])):
        fleet.instances.append(
            Instance(
                serial=int(record["slot_serial"][slot]),
                backlog=float(record["backlog_requests"][slot]),
                credits=float(record["credits"][slot]),
                **{name: int(record[name][slot]) for name in INSTANCE_COUNTERS},
            )
        )
    assert len(fleet.high_alarm) == MAX_POLICIES
    assert len(fleet.retry_rps) == MAX_RETRIES
    return fleet


def uniform(fleet: Fleet, purpose: int, counter: int) -> float:
    return float(draws.uniform(np.uint64(fleet.seed), purpose, counter))


def normal(fleet: Fleet, purpose: int, counter: int) -> float:
    return float(draws.standard_normal(np.uint64(fleet.seed), purpose, counter))


def round_up(value: float) -> int:
    """Ceiling of a number that decimal arithmetic would make whole: 10 x (1 - 0.7) is 3."""
    return math.ceil(value - 1e-9)


def round_down(value: float) -> int:
    return math.floor(value + 1e-9)


def single(value: float) -> float:
    """A number as it is stored in four bytes."""
    return float(np.float32(value))


# Instances


def is_active(fleet: Fleet, world: World, item: Instance) -> bool:
    if item.state == RECLAIMED and not world.physics["capacity_rebalancing"]:
        return world.gone_s(item) > fleet.now
    return item.wanted


def active(fleet: Fleet, world: World) -> list[Instance]:
    return [item for item in fleet.instances if is_active(fleet, world, item)]


def in_service(fleet: Fleet) -> list[Instance]:
    return [item for item in fleet.instances if (item.wanted or item.leaving) and item.serves_from <= fleet.now]


def warm(fleet: Fleet, world: World) -> list[Instance]:
    """Active instances that serve and were launched a warm-up ago; one under notice is not among them."""
    return [
        item
        for item in active(fleet, world)
        if item.wanted and item.serves_from <= fleet.now and old_enough(fleet, world, item)
    ]


def old_enough(fleet: Fleet, world: World, item: Instance) -> bool:
    return fleet.now - item.launch_s >= int(world.physics["instance_warmup_s"])


def launch(fleet: Fleet, world: World, kind: int, zone: int, market: int) -> Instance:
    physics, serial = world.physics, fleet.serial
    boot = float(physics["boot_median_s"]) * math.exp(float(physics["boot_sigma"]) * normal(fleet, draws.BOOT, serial))
    app = float(physics["app_median_s"]) * math.exp(float(physics["app_sigma"]) * normal(fleet, draws.APP, serial))
    register = float(physics["register_s"]) * uniform(fleet, draws.REGISTER, serial)
    fleet.serial += 1
    item = Instance(
        serial=serial,
        launch_s=fleet.now,
        billing_delay_s=min(LONGEST_DELAY_S, math.floor(float(physics["unbilled_boot_share"]) * boot)),
        ready_delay_s=min(LONGEST_DELAY_S, math.ceil(boot + app + register)),
        type=kind,
        zone=zone,
        market=market,
    )
    fleet.instances.append(item)
    return item


def stop(fleet: Fleet, item: Instance) -> None:
    item.off_s = fleet.now
    item.state = DRAINING if item.serves_from <= fleet.now else ENDED
