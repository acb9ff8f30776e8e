"""One fleet, one tick at a time: the phases of a minute in order, and the batch loop over them.

A tick plays market, policy, reconciliation, service, billing and retirement, in that order. Everything a step needs
is a table look-up or integer fleet arithmetic; randomness is counter-based (``simulators.draws``).
"""

import math

import numpy as np
from numpy.typing import NDArray

from simulators.adjustments import refresh_batch, within_limits
from simulators.autoscaling import is_absolute, visible_demand, want
from simulators.bank import Bank
from simulators.billing import bill, bill_settled, retire
from simulators.draws import AGE, uniform
from simulators.fleet import (
    census,
    choose_victim,
    is_member,
    launch_one,
    market_events,
    market_tick,
    rebalance_zones,
    release_leaving,
    set_leaving,
    stop,
    unsettle,
)
from simulators.physics import REFERENCE_UTILIZATION
from simulators.records import (
    FOREVER,
    LEAD_MINUTES,
    MAX_TYPES,
    METRIC_RING,
    ON_DEMAND,
    QUANTILE_LEVELS,
    TICK_S,
    TICKS_PER_ROW,
    WANTED,
    ZONES,
)
from simulators.service import count_settled, count_slots, serve
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
    fleet.spec, fleet.policy, fleet.offset, fleet.backlogged = 0, 0, 0, 0
    fleet.refreshing, fleet.refresh_total, fleet.refresh_stage, fleet.refresh_hold_tick = 0, 0, 0, 0
    fleet.cooldown_until, fleet.commitment_hour = tick, -1
    _reset_policy(fleet)
    fleet.bad_run, fleet.longest_bad_run, fleet.ticks_since_bad = 0, 0, _DAY_MINUTES
    fleet.spot_fraction, fleet.lost_requests, fleet.bad_recent = 0.0, 0.0, 0.0
    fleet.retry_rps[:] = 0.0
    fleet.last_launch_failure[:] = tick - LONG_AGO
    fleet.last_interruption[:] = tick - LONG_AGO
    for back in range(1, METRIC_RING + 1):
        demand_rps = float(bank.demand_rps[tape.start + max(0, tick - back)])
        ring = (tick - back) % METRIC_RING
        busy = demand_rps * physics.service_s[kind] / (count * physics.vcpu[kind])
        fleet.cpu_utilization[ring] = min(1.0, busy)
        fleet.requests_per_target[ring] = demand_rps * TICK_S / count
        fleet.cpu_targets[ring], fleet.request_targets[ring] = count, count
        fleet.late_fraction[ring] = 0.0
        fleet.error_fraction[ring] = 0.0
    for slot in range(count):
        age_s = 3600 + int(82800.0 * uniform(seed, AGE, slot))
        fleet.launch_s[slot] = tick * TICK_S - age_s
        fleet.off_s[slot] = FOREVER
        fleet.slot_serial[slot] = slot
        fleet.backlog_requests[slot] = 0.0
        fleet.credits[slot] = 0.0
        fleet.billing_delay_s[slot] = _WARM_BILLING_DELAY_S
        fleet.ready_delay_s[slot] = _WARM_READY_DELAY_S
        fleet.type[slot] = kind
        fleet.zone[slot] = slot % ZONES
        fleet.market[slot] = ON_DEMAND
        fleet.state[slot] = WANTED
    unsettle(fleet)


@compiled_in_place
def _reset_policy(fleet: Record) -> None:
    fleet.high_alarm[:] = 0
    fleet.low_alarm[:] = 0
    fleet.below_ticks, fleet.below_want = 0, 0


@compiled_in_place
def decide(fleet: Record, physics: Record, menu: NDArray[np.void], decision: Record, outcome: Record) -> None:
    """Apply a decision: policy, spot share, launch specification, and the scale part.

    With an incremental policy the scale part is one SetDesiredCapacity; with an absolute one it is the offset until
    the next decision. A new specification starts a rolling replacement of what does not match it.
    """
    if fleet.policy != decision.policy:
        _reset_policy(fleet)
    fleet.policy = decision.policy
    fleet.spot_fraction = decision.spot_fraction
    if decision.spec != fleet.spec:
        fleet.spec = decision.spec
        fleet.refreshing, fleet.refresh_total, fleet.refresh_stage, fleet.refresh_hold_tick = 1, 0, 0, 0
        outcome.type_changes += 1
        unsettle(fleet)
    if is_absolute(menu[fleet.policy].kind):
        fleet.offset = decision.scale
    else:
        fleet.offset = 0
        _set_desired(fleet, physics, outcome, fleet.desired + decision.scale)


@compiled_in_place
def _set_desired(fleet: Record, physics: Record, outcome: Record, value: int) -> None:
    inside = within_limits(value, physics.min_instances, physics.max_instances)
    outcome.clamps += inside != value
    fleet.desired = inside


@compiled_in_place
def _reconcile(fleet: Record, bank: Bank, world: Record, physics: Record, outcome: Record, tick: int) -> None:
    """Launch or stop instances until the wanted number is active, or no pool has room."""
    while fleet.active > fleet.desired:
        slot = choose_victim(fleet, physics, False)
        if slot < 0:
            return
        stop(fleet, slot, tick)
    while fleet.active < fleet.desired:
        if not launch_one(fleet, bank, world, physics, tick):
            outcome.launch_failures += 1
            return
        outcome.launches += 1


@compiled_in_place
def _refresh(fleet: Record, physics: Record, tick: int) -> None:
    """Start the next batch of a rolling replacement once everything wanted is warm and no checkpoint holds it.

    By default instances are stopped and launched together, so capacity dips (instance refresh, default preferences);
    with a ceiling above 100 % they serve on until their replacements do.
    """
    outdated = 0
    for slot in range(fleet.live):
        if fleet.state[slot] == WANTED and not is_member(physics, fleet.spec, fleet.type[slot]):
            outdated += 1
    fleet.refresh_total = max(int(fleet.refresh_total), outdated)
    if outdated == 0 and fleet.leaving == 0:
        fleet.refreshing = 0
    if outdated == 0 or fleet.leaving > 0 or fleet.warm < fleet.active or fleet.active < fleet.desired:
        return
    room = _room_to_checkpoint(fleet, physics, tick, outdated)
    if not fleet.refreshing or tick < fleet.refresh_hold_tick:
        return
    stopped, launched_first = refresh_batch(
        int(fleet.desired), physics.min_healthy_fraction, physics.max_healthy_fraction, min(outdated, room)
    )
    for moved in range(stopped + launched_first):
        slot = choose_victim(fleet, physics, True)
        if slot < 0:
            return
        if moved < stopped:
            stop(fleet, slot, tick)
        else:
            set_leaving(fleet, slot)


@compiled_in_place
def _room_to_checkpoint(fleet: Record, physics: Record, tick: int, outdated: int) -> int:
    """Return how many instances may be replaced before the next checkpoint; one just reached holds the refresh.

    The refresh ends at its last checkpoint.
    """
    if physics.num_checkpoints == 0:
        return outdated
    done = int(fleet.refresh_total) - outdated
    while fleet.refresh_stage < physics.num_checkpoints:
        stage = math.ceil(physics.checkpoints[fleet.refresh_stage] * fleet.refresh_total - 1e-9)
        if done < stage:
            return int(stage - done)
        fleet.refresh_stage += 1
        fleet.refresh_hold_tick = tick + physics.checkpoint_delay_ticks
    fleet.refreshing = 0
    return 0


@compiled_in_place
def advance(
    fleet: Record,
    bank: Bank,
    menu: NDArray[np.void],
    outcome: Record,
    detail: bool,
    scratch: NDArray[np.float64],
) -> None:
    """Play one tick of one fleet and add what happened to ``outcome``."""
    tick = fleet.tick
    tick_end = (tick + 1) * TICK_S
    world = bank.worlds[fleet.world]
    physics = bank.physics[world.physics]
    tape = bank.tapes[world.tape]
    if bank.events[world.market, market_tick(bank, world, tick)]:
        market_events(fleet, bank, world, physics, outcome, tick)
    if fleet.settled_until_s < tick_end:
        census(fleet, physics, tick)
    _set_desired(fleet, physics, outcome, want(fleet, bank, tape, physics, menu, tick))
    if fleet.leaving:
        release_leaving(fleet, tick)
    if fleet.refreshing:
        _refresh(fleet, physics, tick)
    elif physics.zone_rebalancing and fleet.leaving == 0 and fleet.in_service == fleet.desired == fleet.active:
        rebalance_zones(fleet, bank, world, physics, tick)
    if fleet.active != fleet.desired:
        _reconcile(fleet, bank, world, physics, outcome, tick)
    settled = tick_end <= fleet.settled_until_s
    if settled:
        count_settled(fleet, physics, scratch)
        usage = bill_settled(fleet, bank, world, physics, tick)
    else:
        usage = count_slots(fleet, bank, world, physics, tick, scratch)
    arrival_rps = serve(fleet, bank, world, physics, outcome, tick, detail, scratch)
    bill(fleet, physics, outcome, tick + world.market_phase, arrival_rps, usage)
    if not settled:
        retire(fleet, bank, world, physics, outcome, tick)
    outcome.infeasible_minutes += _infeasible(bank, tape, physics, tick)
    fleet.tick = tick + 1


@compiled_in_place
def _infeasible(bank: Bank, tape: Record, physics: Record, tick: int) -> bool:
    """Say whether the largest fleet of the largest candidate, fully busy, could not serve a tick's demand."""
    at = tape.start + tick
    work = bank.demand_rps[at] * bank.work_scale[at]
    return bool(work > physics.max_instances * physics.largest_candidate_rps)


@compiled_in_place
def read_telemetry(fleet: Record, bank: Bank, reading: Record) -> None:
    """Write what the account shows at the start of the fleet's next tick; nothing hidden, nothing of the future."""
    tick = fleet.tick
    world = bank.worlds[fleet.world]
    physics = bank.physics[world.physics]
    tape = bank.tapes[world.tape]
    newest = max(0, tick - 1 - physics.metric_delay_ticks)
    visible = max(0, bank.visible_tick[tape.start + newest])
    ring = (tick - 1 - physics.metric_delay_ticks) % METRIC_RING
    reading.minute_of_week = (tape.minute_of_week + tick) % (7 * _DAY_MINUTES)
    reading.mean_demand_rps = tape.mean_demand_rps
    reading.demand_rps = visible_demand(bank, tape, newest)
    end = tape.start + visible + 1
    for position, minutes in enumerate((5, 15, 60)):
        count = min(minutes, visible + 1)
        reading.demand_mean_rps[position] = (bank.demand_total[end] - bank.demand_total[end - count]) / count
    delivered = visible == newest
    reading.cpu_utilization = fleet.cpu_utilization[ring] if delivered else np.nan
    reading.requests_per_target = fleet.requests_per_target[ring] if delivered else np.nan
    reading.late_fraction = fleet.late_fraction[ring] if delivered else 0.0
    reading.error_fraction = fleet.error_fraction[ring] if delivered else 0.0
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
    if fleet.settled_until_s <= tick * TICK_S:
        census(fleet, physics, tick)
    in_service_rps = 0.0
    for kind in range(MAX_TYPES):
        reading.type_count[kind] = fleet.type_count[kind]
        in_service_rps += fleet.serving_count[kind] * physics.capacity_rps[kind]
    reading.in_service = fleet.in_service
    reading.pending = fleet.live - fleet.going - fleet.in_service
    reading.draining = fleet.going
    reading.leaving = fleet.leaving
    reading.spot_in_use = fleet.spot_in_use
    reading.capacity_rps = in_service_rps
    reading.dependable_rps = fleet.dependable_rps
    commitment = physics.commitment_usd_per_s
    used = fleet.on_demand_usd_per_s * (1.0 - physics.plan_discount)
    reading.commitment_usd_per_hour = commitment * 3600.0
    reading.commitment_used = min(1.0, used / commitment) if commitment > 0.0 else 0.0


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
) -> None:
    """Apply one decision to every fleet, play ``ticks`` ticks and read the telemetry after them.

    A fleet that has reached its end tick stands still, and its outcome has zero ticks. ``unscored`` (one OUTCOME) and
    ``scratch`` [SCRATCH_ROWS, MAX_TYPES] are work space.
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
            advance(fleet, bank, menu, book, detail, scratch)
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
