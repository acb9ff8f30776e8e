"""The reference's sections 6 and 7: who serves what, which minute is bad, and CPU credits."""

import math
from dataclasses import dataclass

from reference.reference_model import TICK_S, Fleet, Instance, Outcome, World, old_enough, single

from simulators.latency import overloaded_tail, response_tail
from simulators.records import METRIC_RING, RESPONSE_GRID_MS

MINUTES_PER_DAY = 1440


def serving_seconds(fleet: Fleet, item: Instance) -> int:
    first = max(fleet.now, item.serves_from)
    last = min(fleet.now + TICK_S, item.off_s)
    return max(0, last - first)


def cpu_share(world: World, item: Instance) -> float:
    """Share of its CPU that an instance gets in a tick; only burstable ones in standard mode get less than all."""
    if not is_burstable(world, item) or world.physics["unlimited_credits"]:
        return 1.0
    return min(
        1.0, float(world.physics["baseline"][item.type]) + item.credits / float(world.physics["vcpu"][item.type])
    )


def is_burstable(world: World, item: Instance) -> bool:
    return float(world.physics["credits_per_s"][item.type]) > 0


@dataclass
class Served:
    """What one instance did with one tick of traffic."""

    rejected: float
    busy_share: float
    slower: dict[float, float]


def serve_one(
    fleet: Fleet, world: World, item: Instance, seconds: int, rate: float, targets: int, times: set[float]
) -> Served:
    kind, scale = item.type, float(world.work_scale[fleet.tick])
    cpu_s = float(world.physics["service_s"][kind]) * scale
    scale = scale / cpu_share(world, item)
    service_s = float(world.physics["service_s"][kind]) * scale
    capacity = world.capacity(kind, scale)
    utilization = rate / capacity
    table = world.log_tails[int(world.physics["servers"][kind])]
    before, requests = item.backlog, rate * seconds
    after = rejected = 0.0
    if before > 0 or utilization > 1:
        after = max(0.0, before + requests - capacity * seconds)
        rejected = min(requests, max(0.0, after - float(world.physics["queue_limit_requests"][kind])))
        after -= rejected
        item.backlog = single(after)
    admitted = requests - rejected
    waits = before / capacity / service_s, after / capacity / service_s
    slower = {}
    for x in times:
        if waits == (0.0, 0.0):
            tail = response_tail(table, targets, utilization, x / service_s)
        else:
            tail = overloaded_tail(table, targets, utilization, waits[0], waits[1], x / service_s)
        slower[x] = admitted * tail
    worked = min(before + admitted, capacity * seconds)
    return Served(rejected, worked * cpu_s / (seconds * float(world.physics["vcpu"][kind])), slower)


def rates(fleet: Fleet, world: World, arrivals: float, seconds: dict[int, int]) -> dict[int, float]:
    """Requests per second of each serving instance, by serial."""
    if not world.physics["least_outstanding"]:
        return {serial: arrivals * 60 / sum(seconds.values()) for serial in seconds}
    capacity = {item.serial: world.capacity(item.type) for item in fleet.instances}
    together = sum(served_s * capacity[serial] for serial, served_s in seconds.items())
    return {serial: arrivals * 60 * capacity[serial] / together for serial in seconds}


def serve(fleet: Fleet, world: World, outcome: Outcome, *, detail: bool) -> dict[int, float]:
    """Play the traffic of the tick; return the busy vCPU-seconds of the instances that served, by serial."""
    physics, ring = world.physics, fleet.tick % METRIC_RING
    arrivals = float(world.demand_rps[fleet.tick]) + sum(fleet.retry_rps)
    seconds = {item.serial: serving_seconds(fleet, item) for item in fleet.instances}
    seconds = {serial: served_s for serial, served_s in seconds.items() if served_s > 0}
    total_s = sum(seconds.values())
    targets = max(1, math.floor(total_s / 60 + 0.5))
    rate = rates(fleet, world, arrivals, seconds)
    times = {float(physics["slo_s"]), float(physics["timeout_s"])}
    times |= {ms / 1000 for ms in RESPONSE_GRID_MS} if detail else set()
    slower = dict.fromkeys(times, 0.0)
    rejected = 0.0 if seconds else arrivals * 60
    busy_shares, busy_vcpu_s = [], {}
    for item in fleet.instances:
        if item.serial not in seconds:
            work_off(fleet, world, item)
            continue
        served_s, vcpu = seconds[item.serial], float(physics["vcpu"][item.type])
        served = serve_one(fleet, world, item, served_s, rate[item.serial], targets, times)
        rejected += served.rejected
        for x in times:
            slower[x] += served.slower[x]
        busy_vcpu_s[item.serial] = served.busy_share * vcpu * served_s
        outcome["busy_vcpu_s"] += busy_vcpu_s[item.serial]
        outcome["in_service_vcpu_s"] += vcpu * served_s
        if old_enough(fleet, world, item):
            busy_shares.append(served.busy_share)
    fleet.cpu_targets[ring] = len(busy_shares)
    fleet.request_targets[ring] = math.floor(total_s / 60 + 0.5)
    fleet.cpu_utilization[ring] = sum(busy_shares) / len(busy_shares) if busy_shares else math.nan
    fleet.requests_per_target[ring] = arrivals * 60 / (total_s / 60) if seconds else math.nan
    answer(fleet, world, outcome, arrivals, rejected, slower, detail=detail)
    return busy_vcpu_s


def work_off(fleet: Fleet, world: World, item: Instance) -> None:
    if world.gone_s(item) > fleet.now:
        capacity = world.capacity(item.type, float(world.work_scale[fleet.tick]) / cpu_share(world, item))
        item.backlog = single(max(0.0, item.backlog - capacity * 60))


def answer(
    fleet: Fleet,
    world: World,
    outcome: Outcome,
    arrivals: float,
    rejected: float,
    slower: dict[float, float],
    *,
    detail: bool,
) -> None:
    """Split the minute into late, retried and failed requests."""
    physics, tick = world.physics, fleet.tick
    demand = float(world.demand_rps[tick])
    first_share = demand / arrivals if arrivals else 0.0
    late = first_share * (slower[float(physics["slo_s"])] + rejected)
    given_up = slower[float(physics["timeout_s"])] + rejected
    unanswered = given_up + float(world.fault_fraction[tick]) * (arrivals * 60 - given_up)
    share = unanswered / (arrivals * 60) if arrivals else 0.0
    attempts = [demand, *fleet.retry_rps]
    last = int(physics["max_retries"])
    failed = attempts[last] * 60 * share + fleet.lost_requests
    fleet.lost_requests = 0.0
    fleet.retry_rps = [attempts[k] * share if k < last else 0.0 for k in range(len(fleet.retry_rps))]
    outcome["requests"] += demand * 60
    outcome["late_requests"] += late
    outcome["failed_requests"] += failed
    outcome["retried_requests"] += sum(fleet.retry_rps) * 60
    if detail:
        for position, ms in enumerate(RESPONSE_GRID_MS):
            outcome["slower_requests"][position] += first_share * (slower[ms / 1000] + rejected)
    judge(fleet, world, outcome, demand, late, failed)


def judge(fleet: Fleet, world: World, outcome: Outcome, demand: float, late: float, failed: float) -> None:
    """Whether the minute is bad, and what it costs."""
    physics, ring = world.physics, fleet.tick % METRIC_RING
    requests = demand * 60
    fleet.late_fraction[ring] = late / requests if requests else 0.0
    fleet.error_fraction[ring] = min(1.0, failed / requests) if requests else 0.0
    cost = float(physics["reference_usd_per_request"]) * world.reference_demand_rps * 60
    outcome["reference_usd"] += cost
    bad = demand > 0 and verdict(fleet, world, ring)
    fleet.bad_run = fleet.bad_run + 1 if bad else 0
    fleet.longest_bad_run = max(fleet.longest_bad_run, fleet.bad_run)
    shown = fleet.tick - int(physics["metric_delay_ticks"])
    if shown < 0 or world.delivered[shown]:
        shown_bad = verdict(fleet, world, shown % METRIC_RING)
        fleet.ticks_since_bad = 0 if shown_bad else fleet.ticks_since_bad + 1
        fleet.bad_recent += (shown_bad - fleet.bad_recent) / MINUTES_PER_DAY
    if bad:
        weight = demand / world.reference_demand_rps if physics["traffic_penalty"] else 1.0
        outcome["bad_minutes"] += 1
        outcome["slo_penalty_usd"] += float(physics["penalty_multiple"]) * cost * weight


def verdict(fleet: Fleet, world: World, ring: int) -> bool:
    too_late = fleet.late_fraction[ring] > float(world.physics["slo_late_fraction"])
    return too_late or fleet.error_fraction[ring] >= float(world.physics["slo_error_fraction"])


# 7: credits


def billed_seconds(fleet: Fleet, world: World, item: Instance) -> int:
    first = max(fleet.now, item.billed_from)
    return max(0, min(fleet.now + TICK_S, world.gone_s(item)) - first)


def settle_credits(fleet: Fleet, world: World, outcome: Outcome, busy_vcpu_s: dict[int, float]) -> None:
    physics = world.physics
    for item in fleet.instances:
        if not is_burstable(world, item):
            continue
        earned = float(physics["credits_per_s"][item.type]) * billed_seconds(fleet, world, item)
        most = float(physics["max_credits"][item.type])
        least = -most if physics["unlimited_credits"] else 0.0
        balance = min(most, item.credits + earned - busy_vcpu_s.get(item.serial, 0.0) / 60)
        if physics["unlimited_credits"]:
            outcome["credit_usd"] += max(0.0, least - balance) * float(physics["credit_usd"])
        item.credits = single(max(least, balance))
