"""A second implementation of docs/semantics.md: one instance, one rule, one number at a time.

Written from the document and the record layouts, not from the compiled kernel, so that the two can be held
against each other. Each function bears the name of the section it plays. Only draws and response-time tails
are shared with the kernel; both have tests of their own. Taken over from the kernel, because the document is
silent: which fields of an outcome a tick fills (terminations count every instance that is gone), infeasible
minutes, ticks that are not scored, and the memory of bad minutes.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simulators import draws
from simulators.bank import Bank
from simulators.latency import overloaded_tail, response_tail
from simulators.records import (
    AMPLE,
    DRY,
    FOREVER,
    METRIC_RING,
    ON_DEMAND,
    OUTCOME,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_STATIC,
    POLICY_TARGET_CPU,
    QUANTILE_LEVELS,
    RESPONSE_GRID_MS,
    SLOTS,
    SPOT,
    TIGHT,
    ZONES,
)

TICK_S = 60
HOUR_S = 3600
SHORTEST_RUN_S = 60
FREE_FIRST_HOUR_S = 3600
MINUTES_PER_DAY = 1440


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
    grace_s: int = 0
    reclaimed: bool = False
    backlog: float = 0.0

    @property
    def billed_from(self) -> int:
        return self.launch_s + self.billing_delay_s

    @property
    def serves_from(self) -> int:
        return self.launch_s + self.ready_delay_s

    @property
    def wanted(self) -> bool:
        return self.off_s == FOREVER

    @property
    def gone_s(self) -> int:
        return FOREVER if self.wanted else self.off_s + self.grace_s


@dataclass
class World:
    """The tapes one fleet steps through, cut out of the bank."""

    physics: Any
    demand_rps: Any
    work_scale: Any
    scored: Any
    forecast_rps: Any
    spot_usd_per_s: Any
    pool_state: Any
    reclaim: Any
    log_tails: Any
    phase: int
    mean_demand_rps: float
    reference_demand_rps: float

    def market_tick(self, tick: int) -> int:
        return (tick + self.phase) % len(self.pool_state)

    def spot_price(self, second: int, pool: int) -> float:
        hour = ((second // 60 + self.phase) // 60) % len(self.spot_usd_per_s)
        return float(self.spot_usd_per_s[hour, pool])

    def capacity(self, kind: int) -> float:
        """Requests per second of a type at a work scale of 1."""
        return float(self.physics["vcpu"][kind]) / float(self.physics["service_s"][kind])

    def members(self, spec: int) -> list[int]:
        return [int(kind) for kind in self.physics["members"][spec][: self.physics["num_members"][spec]]]


@dataclass
class Fleet:
    seed: int
    tick: int
    serial: int
    desired: int
    spec: int
    policy: int
    offset: int
    refreshing: bool
    high_points: int
    low_points: int
    below_ticks: int
    below_want: int
    bad_run: int
    longest_bad_run: int
    ticks_since_bad: int
    bad_recent: float
    spot_fraction: float
    retry_rps: float
    lost_requests: float
    cpu: list[float]
    per_target: list[float]
    late: list[float]
    errors: list[float]
    last_launch_failure: list[int]
    last_interruption: list[int]
    instances: list[Instance] = field(default_factory=list)

    @property
    def now(self) -> int:
        return self.tick * TICK_S


Outcome = dict[str, Any]


def no_outcome() -> Outcome:
    zero: Outcome = {name: 0 for name in OUTCOME.names or ()}
    zero["slower_requests"] = [0.0] * len(RESPONSE_GRID_MS)
    return zero


def world_of(bank: Bank, index: int) -> World:
    record = bank.worlds[index]
    tape = bank.tapes[record["tape"]]
    ticks = slice(int(tape["start"]), int(tape["start"]) + int(tape["length"]))
    rows = slice(int(tape["row_start"]), int(tape["row_start"]) + -(-int(tape["length"]) // 5))
    market, physics = int(record["market"]), int(record["physics"])
    return World(
        physics=bank.physics[physics],
        demand_rps=bank.demand_rps[ticks],
        work_scale=bank.work_scale[ticks],
        scored=bank.scored[ticks],
        forecast_rps=bank.forecast_rps[rows],
        spot_usd_per_s=bank.spot_usd_per_s[market],
        pool_state=bank.pool_state[market],
        reclaim=bank.reclaim[market],
        log_tails=bank.log_tails[physics],
        phase=int(record["market_phase"]),
        mean_demand_rps=float(tape["mean_demand_rps"]),
        reference_demand_rps=float(tape["reference_demand_rps"]),
    )


def fleet_of(record: np.void) -> Fleet:
    """Read a kernel record: the slots before ``live`` are the instances."""
    fleet = Fleet(
        seed=int(record["seed"]),
        refreshing=bool(record["refreshing"]),
        cpu=record["cpu_utilization"].tolist(),
        per_target=record["requests_per_target"].tolist(),
        late=record["late_fraction"].tolist(),
        errors=record["error_fraction"].tolist(),
        last_launch_failure=record["last_launch_failure"].tolist(),
        last_interruption=record["last_interruption"].tolist(),
        **{name: int(record[name]) for name in COUNTERS},
        **{name: float(record[name]) for name in AMOUNTS},
    )
    for slot in range(int(record["live"])):
        fleet.instances.append(
            Instance(
                serial=int(record["slot_serial"][slot]),
                reclaimed=bool(record["reclaimed"][slot]),
                backlog=float(record["backlog_requests"][slot]),
                **{name: int(record[name][slot]) for name in INSTANCE_INTEGERS},
            )
        )
    return fleet


COUNTERS = (
    "tick",
    "serial",
    "desired",
    "spec",
    "policy",
    "offset",
    "high_points",
    "low_points",
    "below_ticks",
    "below_want",
    "bad_run",
    "longest_bad_run",
    "ticks_since_bad",
)
AMOUNTS = ("spot_fraction", "retry_rps", "lost_requests", "bad_recent")
INSTANCE_INTEGERS = (
    "launch_s",
    "off_s",
    "billing_delay_s",
    "ready_delay_s",
    "grace_s",
    "type",
    "zone",
    "market",
)


def uniform(fleet: Fleet, purpose: int, counter: int) -> float:
    return float(draws.uniform(np.uint64(fleet.seed), purpose, counter))


def normal(fleet: Fleet, purpose: int, counter: int) -> float:
    return float(draws.standard_normal(np.uint64(fleet.seed), purpose, counter))


def round_up(value: float) -> int:
    """Ceiling of a number that decimal arithmetic would make whole: 10 x (1 - 0.7) is 3."""
    return math.ceil(value - 1e-9)


def round_down(value: float) -> int:
    return math.floor(value + 1e-9)


# Instances


def launch(fleet: Fleet, world: World, kind: int, zone: int, market: int) -> Instance:
    physics, serial = world.physics, fleet.serial
    boot = float(physics["boot_median_s"]) * math.exp(float(physics["boot_sigma"]) * normal(fleet, draws.BOOT, serial))
    app = float(physics["app_median_s"]) * math.exp(float(physics["app_sigma"]) * normal(fleet, draws.APP, serial))
    register = float(physics["register_s"]) * uniform(fleet, draws.REGISTER, serial)
    fleet.serial += 1
    instance = Instance(
        serial=serial,
        launch_s=fleet.now,
        billing_delay_s=math.floor(float(physics["unbilled_boot_share"]) * boot),
        ready_delay_s=math.ceil(boot + app + register),
        type=kind,
        zone=zone,
        market=market,
    )
    fleet.instances.append(instance)
    return instance


def stop(fleet: Fleet, world: World, instance: Instance) -> None:
    instance.off_s = fleet.now
    instance.grace_s = int(world.physics["drain_s"]) if instance.serves_from <= fleet.now else 0


def is_active(fleet: Fleet, world: World, instance: Instance) -> bool:
    if instance.wanted:
        return True
    return instance.reclaimed and not world.physics["capacity_rebalancing"] and instance.gone_s > fleet.now


def active(fleet: Fleet, world: World) -> list[Instance]:
    return [instance for instance in fleet.instances if is_active(fleet, world, instance)]


def is_warm(fleet: Fleet, world: World, instance: Instance) -> bool:
    serving = instance.serves_from <= fleet.now < instance.off_s
    return serving and fleet.now - instance.launch_s >= world.physics["instance_warmup_s"]


# A decision


def set_desired(fleet: Fleet, world: World, outcome: Outcome, want: int) -> None:
    fleet.desired = min(max(want, int(world.physics["min_instances"])), int(world.physics["max_instances"]))
    outcome["clamps"] += fleet.desired != want


def decide(fleet: Fleet, world: World, menu: Any, decision: Any, outcome: Outcome) -> None:
    if int(decision["policy"]) != fleet.policy:
        fleet.policy = int(decision["policy"])
        fleet.high_points = fleet.low_points = fleet.below_ticks = fleet.below_want = 0
    if int(decision["spec"]) != fleet.spec:
        fleet.spec = int(decision["spec"])
        fleet.refreshing = True
        outcome["type_changes"] += 1
    fleet.spot_fraction = float(decision["spot_fraction"])
    if menu[fleet.policy]["kind"] in (POLICY_STATIC, POLICY_FORECAST):
        fleet.offset = int(decision["scale"])
    else:
        fleet.offset = 0
        set_desired(fleet, world, outcome, fleet.desired + int(decision["scale"]))


# A tick, 1: reclaim


def reclaim(fleet: Fleet, world: World, outcome: Outcome) -> None:
    shares = world.reclaim[world.market_tick(fleet.tick)]
    for instance in fleet.instances:
        if instance.market != SPOT or not instance.wanted:
            continue
        share = int(shares[instance.type * ZONES + instance.zone]) / 255
        key = instance.serial * 2**24 + fleet.tick
        if share > 0 and uniform(fleet, draws.RECLAIM, key) < share:
            instance.off_s = fleet.now + math.floor(60 * uniform(fleet, draws.NOTICE, key))
            instance.grace_s = int(world.physics["notice_s"])
            instance.reclaimed = True
            fleet.last_interruption[instance.type] = fleet.tick
            outcome["interruptions"] += 1


# A tick, 2: policy


def visible_minute(fleet: Fleet, world: World) -> int:
    return max(0, fleet.tick - 1 - int(world.physics["metric_delay_ticks"]))


def dependable_rps(fleet: Fleet, world: World, running: list[Instance]) -> float:
    """Capacity to count on: the weakest target's under round robin, else the mean of the specification."""
    capacities = [world.capacity(kind) for kind in world.members(fleet.spec)]
    if world.physics["least_outstanding"]:
        return sum(capacities) / len(capacities)
    return min(capacities + [world.capacity(item.type) for item in running])


def instances_for(fleet: Fleet, policy: Any, demand_rps: float, dependable: float) -> int:
    margin = 1 + float(policy["spot_margin"]) * fleet.spot_fraction
    return round_up(demand_rps / (float(policy["target_utilization"]) * dependable) * margin)


def forecast_at(world: World, row: int, lead: int, position: float) -> float:
    levels = [float(value) for value in world.forecast_rps[row][lead]]
    low = min(math.floor(position), len(QUANTILE_LEVELS) - 2)
    return levels[low] + (position - low) * (levels[low + 1] - levels[low])


def apply_policy(fleet: Fleet, world: World, menu: Any, outcome: Outcome) -> None:
    policy = menu[fleet.policy]
    running = active(fleet, world)
    dependable = dependable_rps(fleet, world, running)
    if policy["kind"] == POLICY_MANUAL:
        return
    if policy["kind"] == POLICY_STATIC:
        demand = float(policy["mean_demand_ratio"]) * world.mean_demand_rps
        want = instances_for(fleet, policy, demand, dependable) + fleet.offset
        set_desired(fleet, world, outcome, want)
    elif policy["kind"] == POLICY_FORECAST:
        follow_forecast(fleet, world, policy, outcome, dependable)
    else:
        track_target(fleet, world, policy, outcome, dependable, running)


def follow_forecast(fleet: Fleet, world: World, policy: Any, outcome: Outcome, dependable: float) -> None:
    demand = float(world.demand_rps[visible_minute(fleet, world)])
    for lead in range(int(policy["lead"]) + 1):
        demand = max(demand, forecast_at(world, fleet.tick // 5, lead, float(policy["quantile"])))
    need = instances_for(fleet, policy, demand, dependable) + fleet.offset
    if need >= fleet.desired:
        fleet.below_ticks = fleet.below_want = 0
        set_desired(fleet, world, outcome, need)
        return
    fleet.below_want = max(fleet.below_want, need)
    fleet.below_ticks += 1
    if fleet.below_ticks > policy["hold_ticks"]:
        want = fleet.below_want
        fleet.below_ticks = fleet.below_want = 0
        set_desired(fleet, world, outcome, want)


def track_target(
    fleet: Fleet, world: World, policy: Any, outcome: Outcome, dependable: float, running: list[Instance]
) -> None:
    warm = sum(is_warm(fleet, world, item) for item in running)
    ring = visible_minute(fleet, world) % METRIC_RING
    target = float(policy["target_utilization"])
    if policy["kind"] == POLICY_TARGET_CPU:
        metric = fleet.cpu[ring]
    else:
        metric = fleet.per_target[ring]
        target = target * dependable * 60
    if math.isnan(metric):
        return
    fleet.high_points = fleet.high_points + 1 if metric > target else 0
    fleet.low_points = fleet.low_points + 1 if metric < float(policy["low_ratio"]) * target else 0
    desired = fleet.desired
    if fleet.high_points >= policy["out_points"]:
        set_desired(fleet, world, outcome, max(desired, round_up(warm * metric / target)))
    elif fleet.low_points >= policy["in_points"] and warm == len(running) and desired > 1:
        if metric * desired / (desired - 1) > target:
            return
        removed = round_down(desired - desired * metric / target)
        set_desired(fleet, world, outcome, desired - removed)


# A tick, 3: rolling replacement


def outdated(fleet: Fleet, world: World) -> list[Instance]:
    members = world.members(fleet.spec)
    return [item for item in fleet.instances if item.wanted and item.type not in members]


def replacement_batch(world: World, desired: int) -> int:
    return max(1, desired - round_up(float(world.physics["min_healthy_fraction"]) * desired))


def roll(fleet: Fleet, world: World) -> None:
    if not fleet.refreshing:
        return
    old = outdated(fleet, world)
    if not old:
        fleet.refreshing = False
        return
    running = active(fleet, world)
    if len(running) < fleet.desired or not all(is_warm(fleet, world, item) for item in running):
        return
    for _ in range(min(len(old), replacement_batch(world, fleet.desired))):
        leaving = next_to_stop(fleet, world, outdated(fleet, world))
        stop(fleet, world, leaving)


# A tick, 4: reconciliation


def on_demand_wanted(fleet: Fleet) -> int:
    return round_up(fleet.desired * (1 - fleet.spot_fraction))


def active_on_demand(fleet: Fleet, world: World) -> int:
    return sum(item.market == ON_DEMAND for item in active(fleet, world))


def active_in_zone(fleet: Fleet, world: World, zone: int) -> int:
    return sum(item.zone == zone for item in active(fleet, world))


def next_to_stop(fleet: Fleet, world: World, among: list[Instance]) -> Instance:
    market = ON_DEMAND if active_on_demand(fleet, world) > on_demand_wanted(fleet) else SPOT
    members = world.members(fleet.spec)

    def order(item: Instance) -> tuple[bool, int, bool, int, int]:
        return (
            item.market != market,
            -active_in_zone(fleet, world, item.zone),
            item.type in members,
            item.launch_s,
            item.serial,
        )

    return min(among, key=order)


def reconcile(fleet: Fleet, world: World, outcome: Outcome) -> None:
    while len(active(fleet, world)) > fleet.desired:
        candidates = [item for item in fleet.instances if item.wanted]
        if not candidates:
            break
        stop(fleet, world, next_to_stop(fleet, world, candidates))
    while len(active(fleet, world)) < fleet.desired:
        place = find_place(fleet, world)
        if place is None:
            outcome["launch_failures"] += 1
            break
        launch(fleet, world, *place)
        outcome["launches"] += 1


def find_place(fleet: Fleet, world: World) -> tuple[int, int, int] | None:
    """Type, zone and market of the next launch."""
    if len(fleet.instances) >= SLOTS:
        return None
    zones = sorted(range(ZONES), key=lambda zone: (active_in_zone(fleet, world, zone), zone))
    members = world.members(fleet.spec)
    if active_on_demand(fleet, world) < on_demand_wanted(fleet):
        prices = world.physics["on_demand_usd_per_s"]
        cheapest = min(members, key=lambda kind: float(prices[kind]) / world.capacity(kind))
        return cheapest, zones[0], ON_DEMAND
    for zone in zones:
        offers = []
        for kind in members:
            pool = kind * ZONES + zone
            state = int(world.pool_state[world.market_tick(fleet.tick), pool])
            if refuses(fleet, world, pool, state):
                fleet.last_launch_failure[kind] = fleet.tick
                continue
            offers.append((state, world.spot_price(fleet.now, pool) / world.capacity(kind), kind))
        if offers:
            return min(offers)[2], zone, SPOT
    return None


def refuses(fleet: Fleet, world: World, pool: int, state: int) -> bool:
    if state == DRY:
        return True
    if state == TIGHT:
        draw = uniform(fleet, draws.LAUNCH, fleet.tick * 4096 + pool)
        return draw < float(world.physics["tight_failure_probability"])
    assert state == AMPLE
    return False


# A tick, 5: service


def serving_seconds(fleet: Fleet, instance: Instance) -> int:
    first = max(fleet.now, instance.serves_from)
    last = min(fleet.now + TICK_S, instance.off_s)
    return max(0, last - first)


@dataclass
class Served:
    """What one instance did with one tick of traffic."""

    requests: float
    rejected: float
    busy_share: float
    slower: dict[float, float]


def serve_one(
    world: World, instance: Instance, seconds: int, rate: float, targets: int, scale: float, times: set[float]
) -> Served:
    kind = instance.type
    service_s = float(world.physics["service_s"][kind]) * scale
    vcpu = float(world.physics["vcpu"][kind])
    capacity = vcpu / service_s
    utilization = rate * service_s / vcpu
    table = world.log_tails[int(world.physics["servers"][kind])]
    requests = rate * seconds
    before = instance.backlog
    if before == 0 and utilization <= 1:
        slower = {x: requests * response_tail(table, targets, utilization, x / service_s) for x in times}
        return Served(requests, 0.0, utilization, slower)
    after = max(0.0, before + requests - capacity * seconds)
    rejected = min(requests, max(0.0, after - capacity * float(world.physics["queue_limit_s"])))
    after -= rejected
    admitted = requests - rejected
    waits = before / capacity / service_s, after / capacity / service_s
    slower = {}
    for x in times:
        if waits == (0.0, 0.0):
            tail = response_tail(table, targets, utilization, x / service_s)
        else:
            tail = overloaded_tail(table, targets, utilization, waits[0], waits[1], x / service_s)
        slower[x] = admitted * tail
    instance.backlog = float(np.float32(after))
    return Served(requests, rejected, min(1.0, (before + admitted) / (capacity * seconds)), slower)


def serve(fleet: Fleet, world: World, outcome: Outcome, *, detail: bool) -> None:
    physics, tick = world.physics, fleet.tick
    demand, scale = float(world.demand_rps[tick]), float(world.work_scale[tick])
    arrivals = demand + fleet.retry_rps
    seconds = [serving_seconds(fleet, item) for item in fleet.instances]
    total_s = sum(seconds)
    slo_s, timeout_s = float(physics["slo_s"]), float(physics["timeout_s"])
    times = {slo_s, timeout_s} | ({ms / 1000 for ms in RESPONSE_GRID_MS} if detail else set())
    slower = {x: 0.0 for x in times}
    rejected = arrivals * 60 if total_s == 0 else 0.0
    busy_shares = []
    weights = sum(s * world.capacity(item.type) for item, s in zip(fleet.instances, seconds, strict=True))
    for item, served_s in zip(fleet.instances, seconds, strict=True):
        vcpu = float(physics["vcpu"][item.type])
        if served_s == 0:
            capacity = vcpu / (float(physics["service_s"][item.type]) * scale)
            item.backlog = float(np.float32(max(0.0, item.backlog - capacity * 60)))
            continue
        if physics["least_outstanding"]:
            rate = arrivals * 60 * world.capacity(item.type) / weights
        else:
            rate = arrivals * 60 / total_s
        targets = max(1, math.floor(total_s / 60 + 0.5))
        served = serve_one(world, item, served_s, rate, targets, scale, times)
        rejected += served.rejected
        for x in times:
            slower[x] += served.slower[x]
        outcome["busy_vcpu_s"] += served.busy_share * vcpu * served_s
        outcome["in_service_vcpu_s"] += vcpu * served_s
        if fleet.now - item.launch_s >= physics["instance_warmup_s"]:
            busy_shares.append(served.busy_share)
    ring = tick % METRIC_RING
    fleet.cpu[ring] = sum(busy_shares) / len(busy_shares) if busy_shares else math.nan
    fleet.per_target[ring] = arrivals * 60 / (total_s / 60) if total_s else math.nan
    first_share = demand / arrivals if arrivals else 0.0
    late = first_share * (slower[slo_s] + rejected)
    given_up = slower[timeout_s] + rejected
    failed = (1 - first_share) * given_up + fleet.lost_requests
    fleet.lost_requests = 0.0
    fleet.retry_rps = first_share * given_up / 60
    outcome["requests"] += demand * 60
    outcome["late_requests"] += late
    outcome["failed_requests"] += failed
    outcome["retried_requests"] += first_share * given_up
    if detail:
        for position, ms in enumerate(RESPONSE_GRID_MS):
            outcome["slower_requests"][position] += first_share * (slower[ms / 1000] + rejected)
    judge(fleet, world, outcome, demand, late, failed)


def judge(fleet: Fleet, world: World, outcome: Outcome, demand: float, late: float, failed: float) -> None:
    """Whether the minute is bad, and what it costs."""
    physics, ring = world.physics, fleet.tick % METRIC_RING
    requests = demand * 60
    fleet.late[ring] = late / requests if requests else 0.0
    fleet.errors[ring] = min(1.0, failed / requests) if requests else 0.0
    cost = float(physics["reference_usd_per_request"]) * world.reference_demand_rps * 60
    outcome["reference_usd"] += cost
    late_bad = fleet.late[ring] > float(physics["slo_late_fraction"])
    error_bad = fleet.errors[ring] >= float(physics["slo_error_fraction"])
    bad = demand > 0 and (late_bad or error_bad)
    fleet.bad_run = fleet.bad_run + 1 if bad else 0
    fleet.longest_bad_run = max(fleet.longest_bad_run, fleet.bad_run)
    shown = (fleet.tick - int(physics["metric_delay_ticks"])) % METRIC_RING
    shown_bad = fleet.late[shown] > float(physics["slo_late_fraction"]) or fleet.errors[shown] >= float(
        physics["slo_error_fraction"]
    )
    fleet.ticks_since_bad = 0 if shown_bad else fleet.ticks_since_bad + 1
    fleet.bad_recent += (shown_bad - fleet.bad_recent) / MINUTES_PER_DAY
    if bad:
        weight = demand / world.reference_demand_rps if physics["traffic_penalty"] else 1.0
        outcome["bad_minutes"] += 1
        outcome["slo_penalty_usd"] += float(physics["penalty_multiple"]) * cost * weight


# A tick, 6: billing


def price_usd_per_s(world: World, instance: Instance, second: int) -> float:
    """What the instance pays at a second: list price, or the spot price at the start of its current hour."""
    if instance.market == ON_DEMAND:
        return float(world.physics["on_demand_usd_per_s"][instance.type])
    hours = (second - instance.billed_from) // HOUR_S
    return world.spot_price(instance.billed_from + hours * HOUR_S, instance.type * ZONES + instance.zone)


def billed_until(instance: Instance) -> int:
    return instance.gone_s


def bill(fleet: Fleet, world: World, outcome: Outcome) -> None:
    for item in fleet.instances:
        second = max(fleet.now, item.billed_from)
        end = min(fleet.now + TICK_S, billed_until(item))
        while second < end:
            hour_end = item.billed_from + ((second - item.billed_from) // HOUR_S + 1) * HOUR_S
            piece = min(end, hour_end) - second
            outcome[bill_line(item)] += piece * price_usd_per_s(world, item, second)
            outcome["billed_instance_s"] += piece
            second += piece


def bill_line(item: Instance) -> str:
    return "on_demand_usd" if item.market == ON_DEMAND else "spot_usd"


# A tick, 7: retirement


def retire(fleet: Fleet, world: World, outcome: Outcome) -> None:
    end = fleet.now + TICK_S
    for item in [item for item in fleet.instances if item.gone_s <= end]:
        fleet.instances.remove(item)
        if item.grace_s < float(world.physics["timeout_s"]):
            waiting = world.capacity(item.type) * float(world.physics["timeout_s"])
            fleet.lost_requests += min(item.backlog, waiting)
        outcome["terminations"] += 1
        ran = max(0, item.gone_s - item.billed_from)
        price = price_usd_per_s(world, item, item.billed_from)
        if item.reclaimed:
            if ran < FREE_FIRST_HOUR_S:
                outcome["refund_usd"] += ran * price
        elif 0 < ran < SHORTEST_RUN_S:
            outcome[bill_line(item)] += (SHORTEST_RUN_S - ran) * price


def is_infeasible(fleet: Fleet, world: World) -> bool:
    """Whether the largest fleet of the strongest candidate could not serve the tick's demand."""
    strongest = 0.0
    for spec in range(int(world.physics["num_candidates"])):
        capacities = [world.capacity(kind) for kind in world.members(spec)]
        mean = sum(capacities) / len(capacities)
        strongest = max(strongest, mean if world.physics["least_outstanding"] else min(capacities))
    work = float(world.demand_rps[fleet.tick]) * float(world.work_scale[fleet.tick])
    return work > strongest * int(world.physics["max_instances"])


def play_tick(fleet: Fleet, world: World, menu: Any, outcome: Outcome, *, detail: bool = False) -> None:
    """One minute; a tick that is not scored leaves the outcome alone."""
    book = outcome if world.scored[fleet.tick] else no_outcome()
    book["ticks"] += 1
    book["infeasible_minutes"] += is_infeasible(fleet, world)
    reclaim(fleet, world, book)
    apply_policy(fleet, world, menu, book)
    roll(fleet, world)
    reconcile(fleet, world, book)
    serve(fleet, world, book, detail=detail)
    bill(fleet, world, book)
    retire(fleet, world, book)
    fleet.tick += 1
