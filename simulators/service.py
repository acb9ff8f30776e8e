"""Requests of one tick: dispatch to targets, queueing, backlog, time-outs, retries, and the minute's verdict.

The balancer holds no queue: every target gets its share at once (round robin: the same for each target, weak or
strong; least outstanding requests: in proportion to capacity), and each target is a queue of its own. Below
saturation the response tail is the stationary one of ``simulators.latency``; above it, or with work left over, a
fluid backlog adds the wait. A client gives up after ``timeout_s`` but its work stays queued; it tries once more in the
next tick, and so does one that was rejected.
"""

from typing import Final

import numpy as np

from simulators.bank import Bank
from simulators.latency import overloaded_tail, response_tail, threshold_tail
from simulators.records import METRIC_RING, RESPONSE_GRID_MS, TICK_S
from telemetry.compiled import compiled_in_place

_GRID_S: Final = np.array(RESPONSE_GRID_MS) / 1000.0

SERVING_S: Final = 0
WARM_TARGETS: Final = 1
ARRIVAL_RPS: Final = 2
UTILIZATION: Final = 3
LATE: Final = 4
TIMED_OUT: Final = 5
SCRATCH_ROWS: Final = 6


@compiled_in_place
def serving_seconds(fleet: np.void, slot: int, tick: int) -> float:
    """Return for how many seconds of a tick an instance takes requests."""
    start = max(fleet.launch_s[slot] + fleet.ready_delay_s[slot], tick * TICK_S)
    return max(0.0, float(min(fleet.off_s[slot], (tick + 1) * TICK_S) - start))


@compiled_in_place
def drain_backlog(fleet: np.void, physics: np.void, slot: int, seconds: float) -> None:
    """Let an instance that takes no new requests work on its backlog."""
    done = physics.capacity_rps[fleet.type[slot]] * seconds
    fleet.backlog_requests[slot] = max(0.0, fleet.backlog_requests[slot] - done)


@compiled_in_place
def count_targets(
    fleet: np.void, physics: np.void, tick: int, scratch: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> bool:
    """Sum serving seconds and warm targets by type into ``scratch``; say whether any instance holds a backlog."""
    backlog = False
    scratch[: WARM_TARGETS + 1, : physics.num_types] = 0.0
    warm_before = tick * TICK_S - physics.instance_warmup_s
    for slot in range(fleet.live):
        backlog = backlog or fleet.backlog_requests[slot] > 0.0
        seconds = serving_seconds(fleet, slot, tick)
        if seconds > 0.0:
            scratch[SERVING_S, fleet.type[slot]] += seconds
            if fleet.launch_s[slot] <= warm_before:
                scratch[WARM_TARGETS, fleet.type[slot]] += 1.0
    return backlog


@compiled_in_place
def serve(
    fleet: np.void,
    bank: Bank,
    world: np.void,
    physics: np.void,
    outcome: np.void,
    tick: int,
    detail: bool,
    scratch: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    """Serve one tick: update backlogs, the retry stream, the metric rings, the verdict and the request counts.

    Args:
        fleet: FLEET record, changed in place.
        bank: World tapes.
        world: WORLD record of the fleet.
        physics: PHYSICS record of the world.
        outcome: OUTCOME record; counts are added.
        tick: Tick of the demand tape.
        detail: Also fill ``slower_requests`` (16 more table look-ups per type).
        scratch: [SCRATCH_ROWS, K] work space.
    """
    tape = bank.tapes[world.tape]
    demand_rps = float(bank.demand_rps[tape.start + tick])
    scale = float(bank.work_scale[tape.start + tick])
    log_tails = bank.log_tails[world.physics]
    arrival_rps = demand_rps + fleet.retry_rps
    first_share = demand_rps / arrival_rps if arrival_rps > 0.0 else 1.0

    backlog = count_targets(fleet, physics, tick, scratch)
    total_s, weight_s, warm = 0.0, 0.0, 0.0
    for kind in range(physics.num_types):
        seconds = scratch[SERVING_S, kind]
        total_s += seconds
        weight_s += seconds * (physics.capacity_rps[kind] if physics.least_outstanding else 1.0)
        warm += scratch[WARM_TARGETS, kind]
    targets = max(1, int(total_s / TICK_S + 0.5))

    saturated = False
    late, timed_out, rejected, busy_s, cpu_sum = 0.0, 0.0, 0.0, 0.0, 0.0
    for kind in range(physics.num_types):
        if scratch[SERVING_S, kind] <= 0.0:
            continue
        weight = physics.capacity_rps[kind] if physics.least_outstanding else 1.0
        rate = arrival_rps * TICK_S * weight / weight_s
        service_s = physics.service_s[kind] * scale
        utilization = rate * service_s / physics.vcpu[kind]
        table = log_tails[physics.servers[kind]]
        scratch[ARRIVAL_RPS, kind] = rate
        scratch[UTILIZATION, kind] = utilization
        if scale == 1.0:
            scratch[LATE, kind] = threshold_tail(bank.late_log_tails[world.physics, kind], targets, utilization)
            scratch[TIMED_OUT, kind] = threshold_tail(
                bank.timeout_log_tails[world.physics, kind], targets, utilization
            )
        else:
            scratch[LATE, kind] = response_tail(table, targets, utilization, physics.slo_s / service_s)
            scratch[TIMED_OUT, kind] = response_tail(table, targets, utilization, physics.timeout_s / service_s)
        saturated = saturated or utilization > 1.0
        if not backlog and utilization <= 1.0:
            seconds = scratch[SERVING_S, kind]
            requests = rate * seconds
            late += requests * scratch[LATE, kind]
            timed_out += requests * scratch[TIMED_OUT, kind]
            busy_s += utilization * seconds * physics.vcpu[kind]
            cpu_sum += utilization * scratch[WARM_TARGETS, kind]
            if detail:
                for level in range(_GRID_S.shape[0]):
                    tail = response_tail(table, targets, utilization, _GRID_S[level] / service_s)
                    outcome.slower_requests[level] += first_share * requests * tail
    if backlog or saturated:
        if backlog:
            late, timed_out, busy_s, cpu_sum = 0.0, 0.0, 0.0, 0.0
        for slot in range(fleet.live):
            kind = fleet.type[slot]
            seconds = serving_seconds(fleet, slot, tick)
            if seconds <= 0.0:
                drain_backlog(fleet, physics, slot, TICK_S / scale)
                continue
            if not backlog and scratch[UTILIZATION, kind] <= 1.0:
                continue
            slot_late, slot_timed_out, slot_rejected, slot_busy = _serve_saturated(
                fleet, physics, outcome, slot, seconds, scale, targets, first_share, detail, log_tails, scratch
            )
            late += slot_late
            timed_out += slot_timed_out
            rejected += slot_rejected
            busy_s += slot_busy * seconds * physics.vcpu[kind]
            if fleet.launch_s[slot] <= tick * TICK_S - physics.instance_warmup_s:
                cpu_sum += slot_busy
    if total_s <= 0.0:
        rejected = arrival_rps * TICK_S

    for kind in range(physics.num_types):
        outcome.in_service_vcpu_s += scratch[SERVING_S, kind] * physics.vcpu[kind]
    outcome.busy_vcpu_s += busy_s
    unanswered = timed_out + rejected
    requests = demand_rps * TICK_S
    late_first = first_share * (late + rejected)
    failed = (1.0 - first_share) * unanswered + fleet.lost_requests
    fleet.lost_requests = 0.0
    fleet.retry_rps = first_share * unanswered / TICK_S
    outcome.requests += requests
    outcome.late_requests += late_first
    outcome.failed_requests += failed
    outcome.retried_requests += first_share * unanswered
    if detail:
        for level in range(_GRID_S.shape[0]):
            outcome.slower_requests[level] += first_share * rejected

    late_fraction = late_first / requests if requests > 0.0 else 0.0
    error_fraction = min(1.0, failed / requests) if requests > 0.0 else 0.0
    ring = tick % METRIC_RING
    fleet.cpu_utilization[ring] = cpu_sum / warm if warm > 0.0 else np.nan
    fleet.requests_per_target[ring] = arrival_rps * TICK_S / (total_s / TICK_S) if total_s > 0.0 else np.nan
    fleet.late_fraction[ring] = late_fraction
    fleet.error_fraction[ring] = error_fraction
    _judge(fleet, physics, outcome, tape, demand_rps, late_fraction, error_fraction)
    _deliver(fleet, physics, tick)


@compiled_in_place
def _serve_saturated(
    fleet: np.void,
    physics: np.void,
    outcome: np.void,
    slot: int,
    seconds: float,
    scale: float,
    targets: int,
    first_share: float,
    detail: bool,
    log_tails: np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]],
    scratch: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> tuple[float, float, float, float]:
    """Serve one target with a fluid backlog; return late, timed-out and rejected requests and its busy share."""
    kind = fleet.type[slot]
    service_s = physics.service_s[kind] * scale
    capacity_rps = physics.vcpu[kind] / service_s
    requests = scratch[ARRIVAL_RPS, kind] * seconds
    before = float(fleet.backlog_requests[slot])
    after = max(0.0, before + requests - capacity_rps * seconds)
    rejected = min(requests, max(0.0, after - capacity_rps * physics.queue_limit_s))
    after -= rejected
    fleet.backlog_requests[slot] = after
    admitted = requests - rejected
    wait, wait_after = before / capacity_rps / service_s, after / capacity_rps / service_s
    table = log_tails[physics.servers[kind]]
    utilization = scratch[UTILIZATION, kind]
    if wait <= 0.0 and wait_after <= 0.0:
        late = admitted * scratch[LATE, kind]
        timed_out = admitted * scratch[TIMED_OUT, kind]
    else:
        late = admitted * overloaded_tail(table, targets, utilization, wait, wait_after, physics.slo_s / service_s)
        timed_out = admitted * overloaded_tail(
            table, targets, utilization, wait, wait_after, physics.timeout_s / service_s
        )
    if detail:
        for level in range(_GRID_S.shape[0]):
            tail = overloaded_tail(table, targets, utilization, wait, wait_after, _GRID_S[level] / service_s)
            outcome.slower_requests[level] += first_share * admitted * tail
    busy = min(1.0, (before + admitted) / (capacity_rps * seconds))
    return late, timed_out, rejected, busy


@compiled_in_place
def _judge(
    fleet: np.void,
    physics: np.void,
    outcome: np.void,
    tape: np.void,
    demand_rps: float,
    late_fraction: float,
    error_fraction: float,
) -> None:
    """Decide whether the minute was bad, and charge it."""
    reference_usd = physics.reference_usd_per_request * tape.reference_demand_rps * TICK_S
    outcome.reference_usd += reference_usd
    outcome.ticks += 1
    bad = late_fraction > physics.slo_late_fraction or error_fraction >= physics.slo_error_fraction
    if bad and demand_rps > 0.0:
        share = demand_rps / tape.reference_demand_rps if physics.traffic_penalty else 1.0
        outcome.slo_penalty_usd += physics.penalty_multiple * reference_usd * share
        outcome.bad_minutes += 1
        fleet.bad_run += 1
        fleet.longest_bad_run = max(fleet.longest_bad_run, fleet.bad_run)
    else:
        fleet.bad_run = 0


@compiled_in_place
def _deliver(fleet: np.void, physics: np.void, tick: int) -> None:
    """Let the minute that becomes visible at the end of a tick enter what the account remembers of bad minutes."""
    ring = (tick - physics.metric_delay_ticks) % METRIC_RING
    late = fleet.late_fraction[ring] > physics.slo_late_fraction
    bad = late or fleet.error_fraction[ring] >= physics.slo_error_fraction
    fleet.ticks_since_bad = 0 if bad else fleet.ticks_since_bad + 1
    fleet.bad_recent += ((1.0 if bad else 0.0) - fleet.bad_recent) / 1440.0
