"""Scaling policies that act on every tick: what each wants desired capacity to be.

Policies see what an account shows: metrics of the last visible minute, the census of the group, the forecast of the
current row. Those that state an absolute want (static, forecast) take the decision's scale part as an offset; target
tracking and manual are incremental. Sources: EC2 Auto Scaling user guide (target tracking; default instance warm-up);
alarm counts 3 of 3 and 15 of 15 and the low ratios 0.70 (CPU) and 0.90 (request count) are the ones seen in public
captures of the managed alarms, and stay fields of the policy.
"""

import math

from simulators.bank import Bank
from simulators.records import (
    LEAD_MINUTES,
    METRIC_RING,
    POLICY_FORECAST,
    POLICY_STATIC,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    QUANTILE_LEVELS,
    TICKS_PER_ROW,
)
from telemetry.compiled import Record, compiled_in_place


@compiled_in_place
def demand_quantile(bank: Bank, row: int, lead: int, level: float) -> float:
    """Return the forecast at a fractional position in QUANTILE_LEVELS (0 is the lowest level), requests per second."""
    lower = min(int(level), len(QUANTILE_LEVELS) - 2)
    share = level - lower
    first, second = bank.forecast_rps[row, lead, lower], bank.forecast_rps[row, lead, lower + 1]
    return float(first + share * (second - first))


@compiled_in_place
def _forecast_demand(bank: Bank, tape: Record, physics: Record, policy: Record, tick: int) -> float:
    """Return the demand a forecast policy provides for: the worst of the visible minute and all leads up to its own."""
    visible = max(0, tick - 1 - physics.metric_delay_ticks)
    worst = float(bank.demand_rps[tape.start + visible])
    row = tape.row_start + tick // TICKS_PER_ROW
    for lead in range(min(policy.lead + 1, len(LEAD_MINUTES))):
        worst = max(worst, demand_quantile(bank, row, lead, policy.quantile))
    return worst


@compiled_in_place
def target_tracking_out(counted: int, metric: float, target: float) -> int:
    """Return the capacity that brings an average metric back to target, rounded up: 10 at 75 of 50 gives 15."""
    return math.ceil(counted * metric / target - 1e-9)


@compiled_in_place
def target_tracking_in(desired: int, metric: float, target: float) -> int:
    """Return the capacity after scale-in: remove floor(n - n m / T), and nothing where one less would breach."""
    if desired <= 1 or metric * desired / (desired - 1) > target:
        return desired
    return desired - math.floor(desired - desired * metric / target + 1e-9)


@compiled_in_place
def _track(fleet: Record, policy: Record, metric: float, target: float, warm: int, warming: int) -> int:
    """Advance the two managed alarms by one minute and return the new desired capacity.

    A missing metric counts toward neither alarm and resets nothing; capacity is computed from the warm instances,
    and any that is still warming blocks scale-in.
    """
    if math.isnan(metric):
        return int(fleet.desired)
    fleet.high_points = fleet.high_points + 1 if metric > target else 0
    fleet.low_points = fleet.low_points + 1 if metric < policy.low_ratio * target else 0
    if fleet.high_points >= policy.out_points:
        return max(int(fleet.desired), target_tracking_out(warm, metric, target))
    if fleet.low_points >= policy.in_points and warming == 0:
        return target_tracking_in(int(fleet.desired), metric, target)
    return int(fleet.desired)


@compiled_in_place
def _hold(fleet: Record, policy: Record, want: int) -> int:
    """Let desired capacity fall only after ``hold_ticks`` below it, and only to the highest want of that time."""
    if want >= fleet.desired:
        fleet.below_ticks, fleet.below_want = 0, 0
        return want
    fleet.below_ticks += 1
    fleet.below_want = max(fleet.below_want, want)
    if fleet.below_ticks <= policy.hold_ticks:
        return int(fleet.desired)
    lowest = fleet.below_want
    fleet.below_ticks, fleet.below_want = 0, 0
    return int(lowest)


@compiled_in_place
def instances_for(demand_rps: float, capacity_rps: float, policy: Record, spot_fraction: float) -> int:
    """Return how many instances serve a demand at the policy's utilisation, with its margin for the spot share."""
    need = demand_rps / (policy.target_utilization * capacity_rps)
    return math.ceil(need * (1.0 + policy.spot_margin * spot_fraction) - 1e-9)


@compiled_in_place
def want(
    fleet: Record,
    bank: Bank,
    world: Record,
    physics: Record,
    policy: Record,
    tick: int,
    warm: int,
    warming: int,
    capacity_rps: float,
) -> int:
    """Return the desired capacity a policy asks for at the start of a tick, before the group's limits.

    Args:
        fleet: FLEET record; alarm and hold counters advance.
        bank: World tapes.
        world: WORLD record.
        physics: PHYSICS record.
        policy: POLICY record of the current menu entry.
        tick: Tick of the demand tape.
        warm: Active instances that serve and were launched at least the warm-up time ago; the group's metric.
        warming: Active instances that are not warm.
        capacity_rps: What one target can be counted on for: the weakest one's capacity under round robin.
    """
    tape = bank.tapes[world.tape]
    ring = (tick - 1 - physics.metric_delay_ticks) % METRIC_RING
    if policy.kind == POLICY_TARGET_CPU:
        return _track(fleet, policy, fleet.cpu_utilization[ring], policy.target_utilization, warm, warming)
    if policy.kind == POLICY_TARGET_REQUESTS:
        target = policy.target_utilization * capacity_rps * 60.0
        return _track(fleet, policy, fleet.requests_per_target[ring], target, warm, warming)
    if policy.kind == POLICY_STATIC:
        demand_rps = policy.mean_demand_ratio * tape.mean_demand_rps
        return instances_for(demand_rps, capacity_rps, policy, fleet.spot_fraction) + fleet.offset
    if policy.kind == POLICY_FORECAST:
        demand_rps = _forecast_demand(bank, tape, physics, policy, tick)
        need = instances_for(demand_rps, capacity_rps, policy, fleet.spot_fraction) + fleet.offset
        return _hold(fleet, policy, need)
    return int(fleet.desired)
