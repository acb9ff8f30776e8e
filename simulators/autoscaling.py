"""Scaling policies that act on every tick: what each wants desired capacity to be.

Policies see what an account shows: metrics of the last visible minute, the census of the group, the forecast of the
current row. Those that state an absolute want (static, scheduled, forecast) take the decision's scale part as an
offset; the others are incremental. Sources: EC2 Auto Scaling user guide (target tracking, step and simple scaling,
scheduled and predictive scaling, default instance warm-up); alarm counts 3 of 3 and 15 of 15 and the low ratios 0.70
(CPU) and 0.90 (request count) are the ones seen in public captures of the managed alarms, and stay fields of the
policy. The algorithm of AWS's predictive scaling is not published: ours is predictive-like (``forecasting.hourly``).
"""

import math

import numpy as np

from simulators.adjustments import (
    alarm_fires,
    alarm_push,
    in_step,
    predictive_capacity,
    step_capacity,
    target_tracking_in,
    target_tracking_out,
)
from simulators.bank import Bank
from simulators.records import (
    LEAD_MINUTES,
    MAX_POLICIES,
    METRIC_RING,
    POLICY_FORECAST,
    POLICY_PREDICTIVE,
    POLICY_SCHEDULED,
    POLICY_STATIC,
    POLICY_STEP,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    QUANTILE_LEVELS,
    TICKS_PER_ROW,
)
from telemetry.compiled import Record, compiled_in_place, signed

NO_OPINION = -(2**31)
_WEEK_MINUTES = 7 * 1440


@compiled_in_place
def is_absolute(kind: int) -> bool:
    """Say whether a policy states the size itself, so that the decision's scale part is an offset to it."""
    return kind in (POLICY_STATIC, POLICY_SCHEDULED, POLICY_FORECAST)


@compiled_in_place
def demand_quantile(bank: Bank, row: int, lead: int, level: float) -> float:
    """Return the forecast at a fractional position in QUANTILE_LEVELS (0 is the lowest level), requests per second."""
    lower = min(int(level), len(QUANTILE_LEVELS) - 2)
    share = level - lower
    first, second = bank.forecast_rps[row, lead, lower], bank.forecast_rps[row, lead, lower + 1]
    return float(first + share * (second - first))


@compiled_in_place
def visible_demand(bank: Bank, tape: Record, tick: int) -> float:
    """Return the demand of the last minute up to ``tick`` whose metrics were delivered, requests per second."""
    return float(bank.demand_rps[tape.start + max(0, bank.visible_tick[tape.start + tick])])


@compiled_in_place
def _forecast_demand(bank: Bank, tape: Record, physics: Record, policy: Record, tick: int) -> float:
    """Return the demand a forecast policy provides for: the worst of the visible minute and all leads up to its own."""
    worst = visible_demand(bank, tape, max(0, tick - 1 - physics.metric_delay_ticks))
    row = tape.row_start + tick // TICKS_PER_ROW
    for lead in range(min(policy.lead + 1, len(LEAD_MINUTES))):
        worst = max(worst, demand_quantile(bank, row, lead, policy.quantile))
    return worst


@compiled_in_place
def _remember(alarm: int, breaching: bool, points: int, periods: int) -> int:
    """Return an alarm's memory with one more minute: minutes in a row, or a history where it asks for M of N."""
    if points < periods:
        return alarm_push(alarm, breaching)
    return alarm + 1 if breaching else 0


@compiled_in_place
def _fires(alarm: int, points: int, periods: int) -> bool:
    if points < periods:
        return alarm_fires(alarm, points, periods)
    return alarm >= points


@compiled_in_place
def _watch(fleet: Record, policy: Record, place: int, metric: float, high: float, low: float) -> tuple[bool, bool]:
    """Advance the two alarms of a policy by one minute; return whether each is on.

    The high one counts minutes at or above ``high``, the low one at or below ``low``.
    """
    high_alarm = _remember(signed(fleet.high_alarm[place]), metric >= high, policy.out_points, policy.out_periods)
    low_alarm = _remember(signed(fleet.low_alarm[place]), metric <= low, policy.in_points, policy.in_periods)
    fleet.high_alarm[place], fleet.low_alarm[place] = high_alarm, low_alarm
    return (
        _fires(high_alarm, policy.out_points, policy.out_periods),
        _fires(low_alarm, policy.in_points, policy.in_periods),
    )


@compiled_in_place
def _track(fleet: Record, policy: Record, place: int, metric: float, target: float, count: int) -> int:
    """Return what target tracking wants.

    A missing metric counts toward neither alarm and resets nothing; capacity is computed from the ``count`` instances
    that the metric was taken over, and any that is still warming blocks scale-in.
    """
    if math.isnan(metric):
        return int(fleet.desired)
    above, below = np.nextafter(target, np.inf), np.nextafter(policy.low_ratio * target, -np.inf)
    out, low = _watch(fleet, policy, place, metric, above, below)
    if out:
        return max(int(fleet.desired), target_tracking_out(count, metric, target))
    if policy.disable_scale_in:
        return NO_OPINION
    if low and fleet.warm == fleet.active:
        return min(int(fleet.desired), target_tracking_in(count, metric, target))
    return int(fleet.desired)


@compiled_in_place
def _step(fleet: Record, policy: Record, place: int, metric: float, tick: int) -> int:
    """Return what step scaling wants, or simple scaling, which waits for launches and its cooldown.

    Instances that are warming up do not count where capacity is added, so a breach that lasts adds them once; they
    block scale-in.
    """
    if math.isnan(metric):
        return int(fleet.desired)
    out, low = _watch(fleet, policy, place, metric, policy.high_threshold, policy.low_threshold)
    simple = policy.cooldown_ticks > 0
    if simple and (fleet.in_service < fleet.active or fleet.going > 0):
        fleet.cooldown_until = tick + 1 + policy.cooldown_ticks
    if simple and tick < fleet.cooldown_until:
        return int(fleet.desired)
    wanted = int(fleet.desired)
    if out:
        counted = wanted if simple else wanted - int(fleet.active - fleet.warm)
        for step in range(policy.num_steps_out):
            lower, upper = policy.step_out_lower[step], policy.step_out_upper[step]
            if in_step(metric - policy.high_threshold, lower, upper, True):
                change = policy.step_out_change[step]
                wanted = max(wanted, step_capacity(counted, change, policy.adjustment, policy.min_magnitude))
    elif low and fleet.warm == fleet.active:
        for step in range(policy.num_steps_in):
            lower, upper = policy.step_in_lower[step], policy.step_in_upper[step]
            if in_step(metric - policy.low_threshold, lower, upper, False):
                change = policy.step_in_change[step]
                wanted = min(wanted, step_capacity(wanted, change, policy.adjustment, policy.min_magnitude))
    if wanted == fleet.desired and policy.num_steps_in == 0:
        return NO_OPINION
    if simple and wanted != fleet.desired:
        fleet.cooldown_until = tick + policy.cooldown_ticks
    return wanted


@compiled_in_place
def _hold(fleet: Record, policy: Record, want: int) -> int:
    """Let desired capacity fall only after ``hold_ticks`` below it, and only to the highest want of that time."""
    if want >= fleet.desired:
        fleet.below_ticks, fleet.below_want = 0, 0
        return want
    fleet.below_ticks += 1
    fleet.below_want = max(int(fleet.below_want), want)
    if fleet.below_ticks <= policy.hold_ticks:
        return int(fleet.desired)
    lowest = int(fleet.below_want)
    fleet.below_ticks, fleet.below_want = 0, 0
    return lowest


@compiled_in_place
def instances_for(demand_rps: float, capacity_rps: float, policy: Record, spot_fraction: float) -> int:
    """Return how many instances serve a demand at the policy's utilisation, with its margin for the spot share."""
    need = demand_rps / (policy.target_utilization * capacity_rps)
    return math.ceil(need * (1.0 + policy.spot_margin * spot_fraction) - 1e-9)


@compiled_in_place
def scheduled_entry(policy: Record, minute_of_week: int) -> int:
    """Return the index of the last scheduled action; before the week's first one, that of the week's last."""
    last = int(policy.num_scheduled) - 1
    for entry in range(policy.num_scheduled):
        if policy.scheduled_minute[entry] <= minute_of_week:
            last = entry
    return last


@compiled_in_place
def scheduled_size(
    policy: Record, minute_of_week: int, mean_demand_rps: float, capacity_rps: float, spot_fraction: float
) -> int:
    """Return the size of the schedule at a minute of the week."""
    entry = scheduled_entry(policy, minute_of_week)
    ratio = policy.scheduled_ratio[entry]
    if math.isnan(ratio):
        return int(policy.scheduled_instances[entry])
    return instances_for(ratio * mean_demand_rps, capacity_rps, policy, spot_fraction)


@compiled_in_place
def _predicted(fleet: Record, bank: Bank, tape: Record, policy: Record, tick: int) -> int:
    """Return the size the hourly load forecast needs, from the buffer before the hour on; 0 while there is none."""
    hours = (tape.length + 59) // 60
    hour = (tick + policy.buffer_ticks) // 60
    if hour >= hours or math.isnan(bank.predictive_rps[tape.hour_start + hour]):
        return 0
    target_rps = policy.target_requests_per_minute / 60.0
    if math.isnan(target_rps):
        target_rps = policy.target_utilization * fleet.dependable_rps
    return predictive_capacity(float(bank.predictive_rps[tape.hour_start + hour]), target_rps)


@compiled_in_place
def _opinion(
    fleet: Record, bank: Bank, tape: Record, physics: Record, policy: Record, place: int, tick: int, offset: int
) -> int:
    """Return the size that one policy wants, or NO_OPINION."""
    visible = max(0, tick - 1 - physics.metric_delay_ticks)
    delivered = bank.visible_tick[tape.start + visible] == visible
    ring = (tick - 1 - physics.metric_delay_ticks) % METRIC_RING
    cpu = fleet.cpu_utilization[ring] if delivered else np.nan
    requests = fleet.requests_per_target[ring] if delivered else np.nan
    if policy.kind == POLICY_TARGET_CPU:
        return _track(fleet, policy, place, cpu, policy.target_utilization, signed(fleet.cpu_targets[ring]))
    if policy.kind == POLICY_TARGET_REQUESTS:
        target = policy.target_requests_per_minute
        if math.isnan(target):
            target = policy.target_utilization * fleet.dependable_rps * 60.0
        return _track(fleet, policy, place, requests, target, signed(fleet.request_targets[ring]))
    if policy.kind == POLICY_STEP:
        return _step(fleet, policy, place, requests if policy.by_requests else cpu, tick)
    if policy.kind == POLICY_SCHEDULED:
        minute = (tape.minute_of_week + tick) % _WEEK_MINUTES
        size = scheduled_size(policy, minute, tape.mean_demand_rps, fleet.dependable_rps, fleet.spot_fraction)
        return size + offset
    if policy.kind == POLICY_PREDICTIVE:
        return _predicted(fleet, bank, tape, policy, tick)
    if policy.kind == POLICY_STATIC:
        demand_rps = policy.mean_demand_ratio * tape.mean_demand_rps
        return instances_for(demand_rps, fleet.dependable_rps, policy, fleet.spot_fraction) + offset
    if policy.kind == POLICY_FORECAST:
        demand_rps = _forecast_demand(bank, tape, physics, policy, tick)
        need = instances_for(demand_rps, fleet.dependable_rps, policy, fleet.spot_fraction) + offset
        return _hold(fleet, policy, need)
    return int(fleet.desired)


@compiled_in_place
def want(fleet: Record, bank: Bank, tape: Record, physics: Record, menu: Record, tick: int) -> int:
    """Return the desired capacity the current policy asks for at the start of a tick, before the group's limits.

    Where policies act beside it the largest want counts, so capacity is added if any wants it and removed only if all
    agree. Predictive scaling only raises: where no other policy has an opinion, desired capacity stays the least.

    Args:
        fleet: FLEET record whose census is of this tick; alarms and hold counters advance.
        bank: World tapes.
        tape: TAPE record.
        physics: PHYSICS record.
        menu: POLICY records.
        tick: Tick of the demand tape.
    """
    policy = menu[fleet.policy]
    wanted, predicted = NO_OPINION, NO_OPINION
    for place in range(MAX_POLICIES):
        index = int(fleet.policy) if place == 0 else int(policy.also[place - 1])
        if index < 0:
            continue
        offset = int(fleet.offset) if place == 0 else 0
        size = _opinion(fleet, bank, tape, physics, menu[index], place, tick, offset)
        if menu[index].kind == POLICY_PREDICTIVE:
            predicted = max(predicted, size)
        else:
            wanted = max(wanted, size)
    return max(predicted, int(fleet.desired) if wanted == NO_OPINION else wanted)
