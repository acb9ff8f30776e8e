"""Requests of one tick: dispatch to targets, queueing, backlog, time-outs, retries, and the minute's verdict.

The balancer holds no queue: every target gets its share at once (round robin: the same for each target, weak or
strong; least outstanding requests: in proportion to capacity), and each target is a queue of its own. Below
saturation the response tail is the stationary one of ``simulators.latency``; above it, or with work left over, a
fluid backlog adds the wait. A client gives up after ``timeout_s`` but its work stays queued; it tries again in the
next tick, up to ``max_retries`` times, and so does one that was rejected or got an error.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.billing import billed_span, spend_credits, spot_cost
from simulators.fleet import end_second
from simulators.latency import overloaded_tail, response_tail, threshold_tail
from simulators.records import METRIC_RING, RESPONSE_GRID_MS, SPOT, TICK_S
from telemetry.compiled import Record, compiled_in_place

_GRID_S: Final = np.array(RESPONSE_GRID_MS) / 1000.0

SERVING_S: Final = 0
WARM_TARGETS: Final = 1
ARRIVAL_RPS: Final = 2
UTILIZATION: Final = 3
LATE: Final = 4
TIMED_OUT: Final = 5
PRESENT: Final = 6
LAST_BACKLOG: Final = 7
LAST_SECONDS: Final = 8
LAST_LATE: Final = 9
LAST_TIMED_OUT: Final = 10
LAST_CPU_SHARE: Final = 11
CPU_SHARE: Final = 12
SCRATCH_ROWS: Final = 13
"""Rows of the work space, a column for each type: sums of the tick, and what the last overloaded instance of the type
got. Row PRESENT lists the types that serve at all."""


@compiled_in_place
def serving_seconds(fleet: Record, slot: int, tick: int) -> float:
    """Return for how many seconds of a tick an instance takes requests."""
    start = max(fleet.launch_s[slot] + fleet.ready_delay_s[slot], tick * TICK_S)
    return max(0.0, float(min(fleet.off_s[slot], (tick + 1) * TICK_S) - start))


@compiled_in_place
def capacity_rps(physics: Record, kind: int, scale: float) -> float:
    """Return the requests per second a type serves at a work scale: the least of what CPU, memory and network allow."""
    return min(physics.parallel[kind] / (physics.service_s[kind] * scale), physics.network_rps[kind])


@compiled_in_place
def throttle(fleet: Record, physics: Record, slot: int) -> float:
    """Return the share of its CPU that an instance gets in a tick: in standard mode baseline plus what credits add."""
    kind = fleet.type[slot]
    if physics.unlimited_credits or physics.credits_per_s[kind] <= 0.0:
        return 1.0
    return min(1.0, physics.baseline[kind] + max(0.0, float(fleet.credits[slot])) / physics.vcpu[kind])


@compiled_in_place
def count_settled(fleet: Record, physics: Record, scratch: NDArray[np.float64]) -> None:
    """Write serving seconds and warm targets by type for a tick in which no slot changes."""
    for kind in range(physics.num_types):
        scratch[SERVING_S, kind] = TICK_S * fleet.serving_count[kind]
        scratch[WARM_TARGETS, kind] = fleet.warm_count[kind]


@compiled_in_place
def count_slots(
    fleet: Record, bank: Bank, world: Record, physics: Record, tick: int, scratch: NDArray[np.float64]
) -> tuple[float, float, float, float, float]:
    """Write serving seconds and warm targets by type, slot by slot; return what ``bill`` needs."""
    scratch[: WARM_TARGETS + 1, : physics.num_types] = 0.0
    warm_before = tick * TICK_S - physics.instance_warmup_s
    billed_s, on_demand_usd, spot_usd, list_usd, capacity_requests = 0.0, 0.0, 0.0, 0.0, 0.0
    for slot in range(fleet.live):
        kind = fleet.type[slot]
        seconds = serving_seconds(fleet, slot, tick)
        if seconds > 0.0:
            scratch[SERVING_S, kind] += seconds
            scratch[WARM_TARGETS, kind] += fleet.launch_s[slot] <= warm_before
        start, end = billed_span(fleet, physics, slot, tick)
        if end <= start:
            continue
        billed_s += end - start
        listed = (end - start) * float(physics.on_demand_usd_per_s[kind])
        list_usd += listed
        capacity_requests += (end - start) * physics.capacity_rps[kind]
        if fleet.market[slot] == SPOT:
            spot_usd += spot_cost(fleet, bank, world, slot, start, end)
        else:
            on_demand_usd += listed
    return billed_s, on_demand_usd, spot_usd, list_usd, capacity_requests


@compiled_in_place
def serve(
    fleet: Record,
    bank: Bank,
    world: Record,
    physics: Record,
    outcome: Record,
    tick: int,
    detail: bool,
    scratch: NDArray[np.float64],
) -> float:
    """Serve one tick: update backlogs, the retry streams, the metric rings, the verdict and the request counts.

    Args:
        fleet: FLEET record, changed in place.
        bank: World tapes.
        world: WORLD record of the fleet.
        physics: PHYSICS record of the world.
        outcome: OUTCOME record; counts are added.
        tick: Tick of the demand tape.
        detail: Also fill ``slower_requests`` (16 more table look-ups per type).
        scratch: [SCRATCH_ROWS, K] work space; serving seconds and warm targets are written already.

    Returns:
        Requests that reached the load balancer, per second.
    """
    tape = bank.tapes[world.tape]
    at = tape.start + tick
    demand_rps = float(bank.demand_rps[at])
    arrival_rps = demand_rps
    for attempt in range(physics.max_retries):
        arrival_rps += fleet.retry_rps[attempt]
    first_share = demand_rps / arrival_rps if arrival_rps > 0.0 else 1.0
    present = 0
    for kind in range(physics.num_types):
        if scratch[SERVING_S, kind] > 0.0:
            scratch[PRESENT, present] = kind
            present += 1
    total_s, saturated = _dispatch(bank, world, physics, arrival_rps, at, present, scratch)
    targets = _targets(total_s)
    if fleet.backlogged or saturated or (physics.burstable and not physics.unlimited_credits):
        late, timed_out, rejected, busy_vcpu_s, cpu_sum = _serve_by_instance(
            fleet, bank, world, physics, outcome, tick, targets, first_share, detail, scratch
        )
    else:
        late, timed_out, busy_vcpu_s, cpu_sum = _serve_by_type(
            bank, world, physics, outcome, at, targets, first_share, detail, present, scratch
        )
        rejected = 0.0
        if physics.burstable:
            _spend_by_type(fleet, physics, outcome, tick, scratch)
    if total_s <= 0.0:
        rejected = arrival_rps * TICK_S

    warm = 0.0
    for position in range(present):
        kind = int(scratch[PRESENT, position])
        warm += scratch[WARM_TARGETS, kind]
        outcome.in_service_vcpu_s += scratch[SERVING_S, kind] * physics.vcpu[kind]
    outcome.busy_vcpu_s += busy_vcpu_s
    ring = tick % METRIC_RING
    fleet.cpu_targets[ring] = int(warm)
    fleet.request_targets[ring] = int(total_s / TICK_S + 0.5)
    fleet.cpu_utilization[ring] = cpu_sum / warm if warm > 0.0 else np.nan
    fleet.requests_per_target[ring] = arrival_rps * TICK_S / (total_s / TICK_S) if total_s > 0.0 else np.nan
    late_first = first_share * (late + rejected)
    unanswered = timed_out + rejected
    unanswered += bank.fault_fraction[at] * max(0.0, arrival_rps * TICK_S - unanswered)
    _count_requests(fleet, physics, outcome, demand_rps, arrival_rps, late_first, unanswered, ring)
    if detail:
        for level in range(_GRID_S.shape[0]):
            outcome.slower_requests[level] += first_share * rejected
    _judge(fleet, physics, outcome, tape, demand_rps, ring)
    _deliver(fleet, bank, tape, physics, tick)
    return arrival_rps


@compiled_in_place
def _targets(total_s: float) -> int:
    return max(1, int(total_s / TICK_S + 0.5))


@compiled_in_place
def _dispatch(
    bank: Bank, world: Record, physics: Record, arrival_rps: float, at: int, present: int, scratch: NDArray[np.float64]
) -> tuple[float, bool]:
    """Share the arrivals out; fills rate, utilisation and steady late and time-out shares by type.

    Returns:
        Serving seconds of all targets, and whether any type is beyond saturation.
    """
    scale = float(bank.work_scale[at])
    total_s, weight_s = 0.0, 0.0
    for position in range(present):
        kind = int(scratch[PRESENT, position])
        total_s += scratch[SERVING_S, kind]
        weight = physics.capacity_rps[kind] if physics.least_outstanding else 1.0
        weight_s += scratch[SERVING_S, kind] * weight
    targets, saturated = _targets(total_s), False
    for position in range(present):
        kind = int(scratch[PRESENT, position])
        weight = physics.capacity_rps[kind] if physics.least_outstanding else 1.0
        rate = arrival_rps * TICK_S * weight / weight_s
        service_s = physics.service_s[kind] * scale
        utilization = rate / capacity_rps(physics, kind, scale)
        scratch[ARRIVAL_RPS, kind] = rate
        scratch[UTILIZATION, kind] = utilization
        scratch[CPU_SHARE, kind] = rate * service_s / physics.vcpu[kind]
        if scale == 1.0:
            late, timed_out = bank.late_log_tails, bank.timeout_log_tails
            scratch[LATE, kind] = threshold_tail(late[world.physics, kind], targets, utilization)
            scratch[TIMED_OUT, kind] = threshold_tail(timed_out[world.physics, kind], targets, utilization)
        else:
            table = bank.log_tails[world.physics, physics.servers[kind]]
            scratch[LATE, kind] = response_tail(table, targets, utilization, physics.slo_s / service_s)
            scratch[TIMED_OUT, kind] = response_tail(table, targets, utilization, physics.timeout_s / service_s)
        saturated = saturated or utilization > 1.0
    return total_s, saturated


@compiled_in_place
def _serve_by_type(
    bank: Bank,
    world: Record,
    physics: Record,
    outcome: Record,
    at: int,
    targets: int,
    first_share: float,
    detail: bool,
    present: int,
    scratch: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Serve a tick in which nobody holds a backlog or gets one; all instances of a type fare alike.

    Returns:
        Late and timed-out requests, busy vCPU seconds, and the sum of utilisation over warm targets.
    """
    late, timed_out, busy_vcpu_s, cpu_sum = 0.0, 0.0, 0.0, 0.0
    for position in range(present):
        kind = int(scratch[PRESENT, position])
        seconds = scratch[SERVING_S, kind]
        requests = scratch[ARRIVAL_RPS, kind] * seconds
        late += requests * scratch[LATE, kind]
        timed_out += requests * scratch[TIMED_OUT, kind]
        busy_vcpu_s += scratch[CPU_SHARE, kind] * seconds * physics.vcpu[kind]
        cpu_sum += scratch[CPU_SHARE, kind] * scratch[WARM_TARGETS, kind]
        if detail:
            table = bank.log_tails[world.physics, physics.servers[kind]]
            service_s = physics.service_s[kind] * bank.work_scale[at]
            for level in range(_GRID_S.shape[0]):
                tail = response_tail(table, targets, scratch[UTILIZATION, kind], _GRID_S[level] / service_s)
                outcome.slower_requests[level] += first_share * requests * tail
    return late, timed_out, busy_vcpu_s, cpu_sum


@compiled_in_place
def _serve_by_instance(
    fleet: Record,
    bank: Bank,
    world: Record,
    physics: Record,
    outcome: Record,
    tick: int,
    targets: int,
    first_share: float,
    detail: bool,
    scratch: NDArray[np.float64],
) -> tuple[float, float, float, float, float]:
    """Serve a tick in which some instance holds a backlog or gets one, each instance by itself.

    Returns:
        Late, timed-out and rejected requests, busy vCPU seconds, and the sum of busy shares over warm targets.
    """
    late, timed_out, rejected, busy_vcpu_s, cpu_sum = 0.0, 0.0, 0.0, 0.0, 0.0
    scale = float(bank.work_scale[bank.tapes[world.tape].start + tick])
    scratch[LAST_BACKLOG, :] = -1.0
    fleet.backlogged = 0
    for slot in range(fleet.live):
        kind = fleet.type[slot]
        seconds = serving_seconds(fleet, slot, tick)
        share = throttle(fleet, physics, slot)
        own_scale = scale / share
        if seconds <= 0.0:
            if end_second(fleet, physics, slot) > tick * TICK_S:
                done = capacity_rps(physics, kind, own_scale) * TICK_S
                fleet.backlog_requests[slot] = max(0.0, fleet.backlog_requests[slot] - done)
            busy = 0.0
        else:
            table = bank.log_tails[world.physics, physics.servers[kind]]
            own_late, own_timed_out, own_rejected, busy = _serve_instance(
                fleet, physics, outcome, slot, seconds, own_scale, targets, first_share, detail, table, scratch
            )
            busy *= share
            late += own_late
            timed_out += own_timed_out
            rejected += own_rejected
            busy_vcpu_s += busy * seconds * physics.vcpu[kind]
            if fleet.launch_s[slot] <= tick * TICK_S - physics.instance_warmup_s:
                cpu_sum += busy
        fleet.backlogged += fleet.backlog_requests[slot] > 0.0
        if physics.burstable:
            spend_credits(fleet, physics, outcome, tick, slot, busy * seconds * physics.vcpu[kind])
    return late, timed_out, rejected, busy_vcpu_s, cpu_sum


@compiled_in_place
def _spend_by_type(fleet: Record, physics: Record, outcome: Record, tick: int, scratch: NDArray[np.float64]) -> None:
    for slot in range(fleet.live):
        kind = fleet.type[slot]
        seconds = serving_seconds(fleet, slot, tick)
        busy_vcpu_s = scratch[CPU_SHARE, kind] * seconds * physics.vcpu[kind] if seconds > 0.0 else 0.0
        spend_credits(fleet, physics, outcome, tick, slot, busy_vcpu_s)


@compiled_in_place
def _serve_instance(
    fleet: Record,
    physics: Record,
    outcome: Record,
    slot: int,
    seconds: float,
    scale: float,
    targets: int,
    first_share: float,
    detail: bool,
    table: NDArray[np.float32],
    scratch: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """Serve one target with its fluid backlog; return late, timed-out and rejected requests and its busy CPU share."""
    kind = fleet.type[slot]
    service_s = physics.service_s[kind] * scale
    capacity = capacity_rps(physics, kind, scale)
    requests = scratch[ARRIVAL_RPS, kind] * seconds
    before = float(fleet.backlog_requests[slot])
    after = max(0.0, before + requests - capacity * seconds)
    rejected = min(requests, max(0.0, after - physics.queue_limit_requests[kind]))
    after -= rejected
    fleet.backlog_requests[slot] = after
    admitted = requests - rejected
    wait, wait_after = before / capacity / service_s, after / capacity / service_s
    utilization = scratch[ARRIVAL_RPS, kind] / capacity
    cpu_share = scratch[ARRIVAL_RPS, kind] * service_s / physics.vcpu[kind]
    known = scratch[LAST_BACKLOG, kind] == before and scratch[LAST_SECONDS, kind] == seconds
    if wait <= 0.0 and wait_after <= 0.0 and cpu_share == scratch[CPU_SHARE, kind]:
        late_share, timeout_share = scratch[LATE, kind], scratch[TIMED_OUT, kind]
    elif known and scratch[LAST_CPU_SHARE, kind] == cpu_share:
        late_share, timeout_share = scratch[LAST_LATE, kind], scratch[LAST_TIMED_OUT, kind]
    else:
        slo, timeout = physics.slo_s / service_s, physics.timeout_s / service_s
        late_share = overloaded_tail(table, targets, utilization, wait, wait_after, slo)
        timeout_share = overloaded_tail(table, targets, utilization, wait, wait_after, timeout)
        scratch[LAST_BACKLOG, kind], scratch[LAST_SECONDS, kind] = before, seconds
        scratch[LAST_CPU_SHARE, kind] = cpu_share
        scratch[LAST_LATE, kind], scratch[LAST_TIMED_OUT, kind] = late_share, timeout_share
    if detail:
        for level in range(_GRID_S.shape[0]):
            tail = overloaded_tail(table, targets, utilization, wait, wait_after, _GRID_S[level] / service_s)
            outcome.slower_requests[level] += first_share * admitted * tail
    worked = min(before + admitted, capacity * seconds)
    busy = min(1.0, worked * service_s / seconds / physics.vcpu[kind])
    return admitted * late_share, admitted * timeout_share, rejected, busy


@compiled_in_place
def _count_requests(
    fleet: Record,
    physics: Record,
    outcome: Record,
    demand_rps: float,
    arrival_rps: float,
    late_first: float,
    unanswered: float,
    ring: int,
) -> None:
    """Book the minute's requests: attempts that went unanswered come back until they were the last, which fail."""
    requests = demand_rps * TICK_S
    share = unanswered / (arrival_rps * TICK_S) if arrival_rps > 0.0 else 0.0
    attempt_rps, retried_rps = demand_rps, 0.0
    for attempt in range(physics.max_retries):
        coming_rps = fleet.retry_rps[attempt]
        fleet.retry_rps[attempt] = share * attempt_rps
        retried_rps += share * attempt_rps
        attempt_rps = coming_rps
    failed = share * attempt_rps * TICK_S + fleet.lost_requests
    fleet.lost_requests = 0.0
    fleet.late_fraction[ring] = late_first / requests if requests > 0.0 else 0.0
    fleet.error_fraction[ring] = min(1.0, failed / requests) if requests > 0.0 else 0.0
    outcome.requests += requests
    outcome.late_requests += late_first
    outcome.failed_requests += failed
    outcome.retried_requests += retried_rps * TICK_S


@compiled_in_place
def _is_bad(fleet: Record, physics: Record, ring: int) -> bool:
    late = fleet.late_fraction[ring] > physics.slo_late_fraction
    return bool(late or fleet.error_fraction[ring] >= physics.slo_error_fraction)


@compiled_in_place
def _judge(fleet: Record, physics: Record, outcome: Record, tape: Record, demand_rps: float, ring: int) -> None:
    """Decide whether the minute was bad, and charge it."""
    reference_usd = physics.reference_usd_per_request * tape.reference_demand_rps * TICK_S
    outcome.reference_usd += reference_usd
    outcome.ticks += 1
    if demand_rps > 0.0 and _is_bad(fleet, physics, ring):
        share = demand_rps / tape.reference_demand_rps if physics.traffic_penalty else 1.0
        outcome.slo_penalty_usd += physics.penalty_multiple * reference_usd * share
        outcome.bad_minutes += 1
        fleet.bad_run += 1
        fleet.longest_bad_run = max(fleet.longest_bad_run, fleet.bad_run)
    else:
        fleet.bad_run = 0


@compiled_in_place
def _deliver(fleet: Record, bank: Bank, tape: Record, physics: Record, tick: int) -> None:
    """Let the minute that becomes visible at the end of a tick enter what the account remembers of bad minutes."""
    minute = tick - physics.metric_delay_ticks
    if minute >= 0 and bank.visible_tick[tape.start + minute] != minute:
        return
    bad = _is_bad(fleet, physics, minute % METRIC_RING)
    fleet.ticks_since_bad = 0 if bad else fleet.ticks_since_bad + 1
    fleet.bad_recent += ((1.0 if bad else 0.0) - fleet.bad_recent) / 1440.0
