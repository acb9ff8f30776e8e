"""One fleet, one tick at a time: the phases of a minute in order, and the batch loop over them.

A tick plays market, policy, reconciliation, service, billing and retirement, in that order. Everything a step needs
is a table look-up or integer fleet arithmetic; randomness is counter-based (``simulators.draws``).
"""

import math

import numpy as np
from numpy.typing import NDArray

from simulators.autoscaling import want
from simulators.bank import Bank
from simulators.billing import bill, retire
from simulators.draws import AGE, uniform
from simulators.fleet import is_active, is_member, launch_one, reclaim, terminate_one
from simulators.physics import REFERENCE_UTILIZATION
from simulators.records import (
    FOREVER,
    LEAD_MINUTES,
    METRIC_RING,
    ON_DEMAND,
    POLICY_MANUAL,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    QUANTILE_LEVELS,
    SPOT,
    TICK_S,
    TICKS_PER_ROW,
    ZONES,
)
from simulators.service import serve
from telemetry.compiled import Record, compiled_in_place

LONG_AGO = 1_000_000
_WARM_BILLING_DELAY_S = 21
_WARM_READY_DELAY_S = 100
_DAY_MINUTES = 1440


@compiled_in_place
def reset(fleet: Record, bank: Bank, world_index: int, tick: int, end_tick: int, seed: np.uint64) -> None:
    """Start a fleet at a tick: warm, paid for, as large as reference target tracking would have it.

    On-demand instances of candidate 0, enough to serve the highest demand of the last 15 minutes at 60 %
    utilisation, spread over the zones, one hour to one day old.
    """
    world = bank.worlds[world_index]
    physics = bank.physics[world.physics]
    tape = bank.tapes[world.tape]
    peak = 0.0
    for before in range(max(0, tick - 15), tick + 1):
        peak = max(peak, float(bank.demand_rps[tape.start + before]))
    kind = physics.members[0, 0]
    need = math.ceil(peak / (REFERENCE_UTILIZATION * physics.capacity_rps[kind]) - 1e-9)
    count = min(max(need, physics.min_instances), physics.max_instances)

    fleet.seed, fleet.world, fleet.tick, fleet.end_tick = seed, world_index, tick, end_tick
    fleet.serial, fleet.live, fleet.desired = count, count, count
    fleet.spec, fleet.policy, fleet.offset, fleet.refreshing = 0, 0, 0, 0
    fleet.high_points, fleet.low_points, fleet.below_ticks, fleet.below_want = 0, 0, 0, 0
    fleet.bad_run, fleet.longest_bad_run, fleet.ticks_since_bad = 0, 0, _DAY_MINUTES
    fleet.spot_fraction, fleet.retry_rps, fleet.lost_requests, fleet.bad_recent = 0.0, 0.0, 0.0, 0.0
    fleet.last_launch_failure[:] = tick - LONG_AGO
    fleet.last_interruption[:] = tick - LONG_AGO
    for back in range(1, METRIC_RING + 1):
        demand_rps = float(bank.demand_rps[tape.start + max(0, tick - back)])
        ring = (tick - back) % METRIC_RING
        fleet.cpu_utilization[ring] = min(1.0, demand_rps / (count * physics.capacity_rps[kind]))
        fleet.requests_per_target[ring] = demand_rps * TICK_S / count
        fleet.late_fraction[ring] = 0.0
        fleet.error_fraction[ring] = 0.0
    for slot in range(count):
        age_s = 3600 + int(82800.0 * uniform(seed, AGE, slot))
        fleet.launch_s[slot] = tick * TICK_S - age_s
        fleet.off_s[slot] = FOREVER
        fleet.slot_serial[slot] = slot
        fleet.backlog_requests[slot] = 0.0
        fleet.price_usd_per_s[slot] = 0.0
        fleet.billing_delay_s[slot] = _WARM_BILLING_DELAY_S
        fleet.ready_delay_s[slot] = _WARM_READY_DELAY_S
        fleet.grace_s[slot] = 0
        fleet.type[slot] = kind
        fleet.zone[slot] = slot % ZONES
        fleet.market[slot] = ON_DEMAND
        fleet.reclaimed[slot] = 0


@compiled_in_place
def decide(fleet: Record, physics: Record, menu: NDArray[np.void], decision: Record, outcome: Record) -> None:
    """Apply a decision: policy, spot share, launch specification, and the scale part.

    With an incremental policy the scale part is one SetDesiredCapacity; with an absolute one it is the offset until
    the next decision. A new specification starts a rolling replacement of what does not match it.
    """
    if fleet.policy != decision.policy:
        fleet.high_points, fleet.low_points, fleet.below_ticks, fleet.below_want = 0, 0, 0, 0
    fleet.policy = decision.policy
    fleet.spot_fraction = decision.spot_fraction
    if decision.spec != fleet.spec:
        fleet.spec = decision.spec
        fleet.refreshing = 1
        outcome.type_changes += 1
    kind = menu[fleet.policy].kind
    if kind in (POLICY_MANUAL, POLICY_TARGET_CPU, POLICY_TARGET_REQUESTS):
        fleet.offset = 0
        _set_desired(fleet, physics, outcome, fleet.desired + decision.scale)
    else:
        fleet.offset = decision.scale


@compiled_in_place
def _set_desired(fleet: Record, physics: Record, outcome: Record, value: int) -> None:
    inside = min(max(value, physics.min_instances), physics.max_instances)
    if inside != value:
        outcome.clamps += 1
    fleet.desired = inside


@compiled_in_place
def _census(fleet: Record, physics: Record, tick: int, zone_active: NDArray[np.int64]) -> tuple[int, int, int, float]:
    """Count the active instances: (all, on demand, in service and warm, dependable capacity); fills ``zone_active``."""
    zone_active[:] = 0
    active, on_demand, warm = 0, 0, 0
    capacity_rps = physics.candidate_capacity_rps[fleet.spec]
    warm_before = tick * TICK_S - physics.instance_warmup_s
    for slot in range(fleet.live):
        if not is_active(fleet, physics, slot):
            continue
        active += 1
        zone_active[fleet.zone[slot]] += 1
        on_demand += fleet.market[slot] == ON_DEMAND
        if not physics.least_outstanding:
            capacity_rps = min(capacity_rps, physics.capacity_rps[fleet.type[slot]])
        serving = fleet.launch_s[slot] + fleet.ready_delay_s[slot] <= tick * TICK_S < fleet.off_s[slot]
        warm += serving and fleet.launch_s[slot] <= warm_before
    return active, on_demand, warm, capacity_rps


@compiled_in_place
def _reconcile(
    fleet: Record,
    bank: Bank,
    world: Record,
    physics: Record,
    outcome: Record,
    tick: int,
    active: int,
    on_demand: int,
    zone_active: NDArray[np.int64],
) -> int:
    """Launch or stop instances until the wanted number is live, or no pool has room; return how many are active."""
    while active > fleet.desired:
        slot = terminate_one(fleet, physics, tick, zone_active, on_demand, False)
        if slot < 0:
            return active
        on_demand -= fleet.market[slot] == ON_DEMAND
        active -= 1
    while active < fleet.desired:
        market = launch_one(fleet, bank, world, physics, tick, zone_active, on_demand)
        if market < 0:
            outcome.launch_failures += 1
            return active
        on_demand += market == ON_DEMAND
        active += 1
        outcome.launches += 1
    return active


@compiled_in_place
def _refresh(
    fleet: Record,
    physics: Record,
    tick: int,
    active: int,
    on_demand: int,
    warm: int,
    zone_active: NDArray[np.int64],
) -> tuple[int, int]:
    """Stop the next batch of a rolling replacement once everything wanted is warm; return (all, on demand) left.

    At most ``desired - ceil(min_healthy_fraction * desired)`` instances, at least one, are replaced at a time: stopped
    and launched together, so capacity dips (instance refresh, default preferences).
    """
    outdated = 0
    for slot in range(fleet.live):
        if fleet.off_s[slot] == FOREVER and not is_member(physics, fleet.spec, fleet.type[slot]):
            outdated += 1
    if outdated == 0:
        fleet.refreshing = 0
        return active, on_demand
    if warm < active or active < fleet.desired:
        return active, on_demand
    floor = math.ceil(physics.min_healthy_fraction * fleet.desired - 1e-9)
    for _ in range(min(outdated, max(1, fleet.desired - floor))):
        slot = terminate_one(fleet, physics, tick, zone_active, on_demand, True)
        if slot < 0:
            break
        on_demand -= fleet.market[slot] == ON_DEMAND
        active -= 1
    return active, on_demand


@compiled_in_place
def advance(
    fleet: Record,
    bank: Bank,
    menu: NDArray[np.void],
    outcome: Record,
    detail: bool,
    scratch: NDArray[np.float64],
    zone_active: NDArray[np.int64],
) -> None:
    """Play one tick of one fleet and add what happened to ``outcome``."""
    tick = fleet.tick
    world = bank.worlds[fleet.world]
    physics = bank.physics[world.physics]
    outcome.interruptions += reclaim(fleet, bank, world, physics, tick)
    active, on_demand, warm, capacity_rps = _census(fleet, physics, tick, zone_active)
    policy = menu[fleet.policy]
    value = want(fleet, bank, world, physics, policy, tick, warm, active - warm, capacity_rps)
    _set_desired(fleet, physics, outcome, value)
    if fleet.refreshing:
        active, on_demand = _refresh(fleet, physics, tick, active, on_demand, warm, zone_active)
    if active != fleet.desired:
        active = _reconcile(fleet, bank, world, physics, outcome, tick, active, on_demand, zone_active)
    serve(fleet, bank, world, physics, outcome, tick, detail, scratch)
    bill(fleet, bank, world, physics, outcome, tick)
    if fleet.live > active or not physics.capacity_rebalancing:
        retire(fleet, physics, outcome, tick)
    outcome.infeasible_minutes += _infeasible(bank, world, physics, tick)
    fleet.tick = tick + 1


@compiled_in_place
def _infeasible(bank: Bank, world: Record, physics: Record, tick: int) -> bool:
    """Say whether the largest fleet of the largest candidate, fully busy, could not serve a tick's demand."""
    largest = 0.0
    for spec in range(physics.num_candidates):
        largest = max(largest, physics.candidate_capacity_rps[spec])
    tape = bank.tapes[world.tape]
    at = tape.start + tick
    return bool(bank.demand_rps[at] * bank.work_scale[at] > physics.max_instances * largest)


@compiled_in_place
def read_telemetry(fleet: Record, bank: Bank, reading: Record) -> None:
    """Write what the account shows at the start of the fleet's next tick; nothing hidden, nothing of the future."""
    tick = fleet.tick
    world = bank.worlds[fleet.world]
    physics = bank.physics[world.physics]
    tape = bank.tapes[world.tape]
    visible = max(0, tick - 1 - physics.metric_delay_ticks)
    ring = (tick - 1 - physics.metric_delay_ticks) % METRIC_RING
    reading.minute_of_week = (tape.minute_of_week + tick) % (7 * _DAY_MINUTES)
    reading.mean_demand_rps = tape.mean_demand_rps
    reading.demand_rps = bank.demand_rps[tape.start + visible]
    end = tape.start + visible + 1
    for position, minutes in enumerate((5, 15, 60)):
        count = min(minutes, visible + 1)
        reading.demand_mean_rps[position] = (bank.demand_total[end] - bank.demand_total[end - count]) / count
    reading.cpu_utilization = fleet.cpu_utilization[ring]
    reading.requests_per_target = fleet.requests_per_target[ring]
    reading.late_fraction = fleet.late_fraction[ring]
    reading.error_fraction = fleet.error_fraction[ring]
    reading.bad_recent = fleet.bad_recent
    reading.minutes_since_bad = min(fleet.ticks_since_bad, _DAY_MINUTES)
    reading.desired = fleet.desired
    reading.refreshing = fleet.refreshing
    reading.spec = fleet.spec
    reading.policy = fleet.policy
    reading.spot_fraction = fleet.spot_fraction
    _read_group(fleet, physics, reading, tick)
    _read_market(fleet, bank, world, physics, reading, tick)
    rows = (tape.length + TICKS_PER_ROW - 1) // TICKS_PER_ROW
    row = tape.row_start + min(tick // TICKS_PER_ROW, rows - 1)
    for lead in range(len(LEAD_MINUTES)):
        for level in range(len(QUANTILE_LEVELS)):
            reading.forecast_rps[lead, level] = bank.forecast_rps[row, lead, level]
    reading.forecast_available = bank.forecast_available[row]
    reading.anomaly_score = bank.anomaly_score[row]


@compiled_in_place
def _read_group(fleet: Record, physics: Record, reading: Record, tick: int) -> None:
    in_service, pending, draining, spot, capacity_rps = 0, 0, 0, 0, 0.0
    weakest_rps = physics.candidate_capacity_rps[fleet.spec]
    reading.type_count[:] = 0.0
    for slot in range(fleet.live):
        if fleet.off_s[slot] != FOREVER:
            draining += 1
            continue
        kind = fleet.type[slot]
        reading.type_count[kind] += 1.0
        if not physics.least_outstanding:
            weakest_rps = min(weakest_rps, physics.capacity_rps[kind])
        spot += fleet.market[slot] == SPOT
        if fleet.launch_s[slot] + fleet.ready_delay_s[slot] <= tick * TICK_S:
            in_service += 1
            capacity_rps += physics.capacity_rps[kind]
        else:
            pending += 1
    reading.in_service = in_service
    reading.pending = pending
    reading.draining = draining
    reading.spot_in_use = spot
    reading.capacity_rps = capacity_rps
    reading.dependable_rps = weakest_rps


@compiled_in_place
def _read_market(fleet: Record, bank: Bank, world: Record, physics: Record, reading: Record, tick: int) -> None:
    hour = (tick + world.market_phase) // 60 % bank.candidate_spot_usd_per_hour.shape[1]
    for spec in range(physics.num_candidates):
        failure, interruption = tick - LONG_AGO, tick - LONG_AGO
        for member in range(physics.num_members[spec]):
            kind = physics.members[spec, member]
            failure = max(failure, fleet.last_launch_failure[kind])
            interruption = max(interruption, fleet.last_interruption[kind])
        reading.candidate_capacity_rps[spec] = physics.candidate_capacity_rps[spec]
        reading.candidate_on_demand_usd_per_hour[spec] = physics.candidate_on_demand_usd_per_hour[spec]
        reading.candidate_spot_usd_per_hour[spec] = bank.candidate_spot_usd_per_hour[world.market, hour, spec]
        reading.minutes_since_launch_failure[spec] = min(tick - failure, _DAY_MINUTES)
        reading.minutes_since_interruption[spec] = min(tick - interruption, _DAY_MINUTES)


@compiled_in_place
def step_batch(
    fleets: NDArray[np.void],
    bank: Bank,
    menu: NDArray[np.void],
    decisions: NDArray[np.void],
    outcomes: NDArray[np.void],
    readings: NDArray[np.void],
    ticks: int,
    detail: bool,
    unscored: NDArray[np.void],
    scratch: NDArray[np.float64],
    zone_active: NDArray[np.int64],
) -> None:
    """Apply one decision to every fleet, play ``ticks`` ticks and read the telemetry after them.

    A fleet that has reached its end tick stands still, and its outcome has zero ticks. ``unscored`` (one OUTCOME),
    ``scratch`` [SCRATCH_ROWS, MAX_TYPES] and ``zone_active`` [ZONES] are work space.
    """
    for index in range(fleets.shape[0]):
        fleet, outcome = fleets[index], outcomes[index]
        physics = bank.physics[bank.worlds[fleet.world].physics]
        if fleet.tick < fleet.end_tick:
            decide(fleet, physics, menu, decisions[index], outcome)
        start = bank.tapes[bank.worlds[fleet.world].tape].start
        for _ in range(ticks):
            if fleet.tick >= fleet.end_tick:
                break
            book = outcome if bank.scored[start + fleet.tick] else unscored[0]
            advance(fleet, bank, menu, book, detail, scratch, zone_active)
        read_telemetry(fleet, bank, readings[index])


@compiled_in_place
def reset_batch(
    fleets: NDArray[np.void],
    bank: Bank,
    indices: NDArray[np.int64],
    worlds: NDArray[np.int64],
    start_ticks: NDArray[np.int64],
    end_ticks: NDArray[np.int64],
    seeds: NDArray[np.uint64],
    readings: NDArray[np.void],
) -> None:
    """Reset the fleets at ``indices`` and read their telemetry."""
    for position in range(indices.shape[0]):
        index = indices[position]
        reset(fleets[index], bank, worlds[position], start_ticks[position], end_ticks[position], seeds[position])
        read_telemetry(fleets[index], bank, readings[index])
