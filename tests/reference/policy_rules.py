"""The reference's section 2: what each policy wants, and how alarms remember."""

import math
from typing import Any

from reference.reference_model import (
    MINUTES_PER_WEEK,
    Fleet,
    Instance,
    Outcome,
    World,
    active,
    in_service,
    round_down,
    round_up,
    warm,
)

from simulators.records import (
    METRIC_RING,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_PREDICTIVE,
    POLICY_SCHEDULED,
    POLICY_STATIC,
    POLICY_STEP,
    POLICY_TARGET_CPU,
    QUANTILE_LEVELS,
)

STATES_A_SIZE = (POLICY_STATIC, POLICY_SCHEDULED, POLICY_FORECAST)
REMEMBERED_MINUTES = 32
IN_INSTANCES, IN_PERCENT, EXACT = 0, 1, 2


def set_desired(fleet: Fleet, world: World, outcome: Outcome, want: int) -> None:
    fleet.desired = min(max(want, int(world.physics["min_instances"])), int(world.physics["max_instances"]))
    outcome["clamps"] += fleet.desired != want


def apply_policy(fleet: Fleet, world: World, menu: Any, outcome: Outcome) -> None:
    main = menu[fleet.policy]
    beside = [menu[index] for index in main["also"] if index >= 0]
    wants = []
    nobody_else = True
    for place, policy in enumerate([main, *beside]):
        want = opinion(fleet, world, policy, place, fleet.offset if place == 0 else 0)
        if want is not None:
            wants.append(want)
            nobody_else = nobody_else and policy["kind"] == POLICY_PREDICTIVE
    if nobody_else:
        wants.append(fleet.desired)
    set_desired(fleet, world, outcome, max(wants))


def opinion(fleet: Fleet, world: World, policy: Any, place: int, offset: int) -> int | None:
    """The size a policy wants, None where it has no opinion."""
    kind = policy["kind"]
    if kind == POLICY_MANUAL:
        return fleet.desired
    if kind == POLICY_STATIC:
        demand = float(policy["mean_demand_ratio"]) * world.mean_demand_rps
        return instances_for(fleet, world, policy, demand) + offset
    if kind == POLICY_SCHEDULED:
        return scheduled_size(fleet, world, policy) + offset
    if kind == POLICY_PREDICTIVE:
        return predicted_size(fleet, world, policy)
    if kind == POLICY_FORECAST:
        return follow_forecast(fleet, world, policy, offset)
    metric = visible_metric(fleet, world, policy)
    if math.isnan(metric):
        return fleet.desired
    if kind == POLICY_STEP:
        return follow_steps(fleet, world, policy, place, metric)
    return track_target(fleet, world, policy, place, metric)


# What can be seen


def visible_minute(fleet: Fleet, world: World) -> int:
    return max(0, fleet.tick - 1 - int(world.physics["metric_delay_ticks"]))


def visible_demand(fleet: Fleet, world: World) -> float:
    minute = visible_minute(fleet, world)
    while not world.delivered[minute]:
        minute -= 1
    return float(world.demand_rps[minute])


def visible_metric(fleet: Fleet, world: World, policy: Any) -> float:
    minute = visible_minute(fleet, world)
    if not world.delivered[minute]:
        return math.nan
    by_cpu = policy["kind"] == POLICY_TARGET_CPU or (policy["kind"] == POLICY_STEP and not policy["by_requests"])
    return (fleet.cpu_utilization if by_cpu else fleet.requests_per_target)[ring_place(fleet, world)]


def ring_place(fleet: Fleet, world: World) -> int:
    """Where the newest delivered metrics lie; before the tape began they are those the episode started with."""
    return (fleet.tick - 1 - int(world.physics["metric_delay_ticks"])) % METRIC_RING


def dependable_rps(fleet: Fleet, world: World) -> float:
    """Capacity to count on: the weakest target's under round robin, else the mean of the specification."""
    capacities = [world.capacity(kind) for kind in world.members(fleet.spec)]
    if world.physics["least_outstanding"]:
        return sum(capacities) / len(capacities)
    return min(capacities + [world.capacity(item.type) for item in fleet.instances if item.wanted or item.leaving])


# Policies that state a size


def instances_for(fleet: Fleet, world: World, policy: Any, demand_rps: float) -> int:
    margin = 1 + float(policy["spot_margin"]) * fleet.spot_fraction
    return round_up(demand_rps / (float(policy["target_utilization"]) * dependable_rps(fleet, world)) * margin)


def scheduled_size(fleet: Fleet, world: World, policy: Any) -> int:
    minute = (world.first_minute_of_week + fleet.tick) % MINUTES_PER_WEEK
    entries = range(int(policy["num_scheduled"]))
    begun = [entry for entry in entries if policy["scheduled_minute"][entry] <= minute]
    entry = begun[-1] if begun else entries[-1]
    ratio = float(policy["scheduled_ratio"][entry])
    if not math.isnan(ratio):
        return instances_for(fleet, world, policy, ratio * world.mean_demand_rps)
    return int(policy["scheduled_instances"][entry])


def predicted_size(fleet: Fleet, world: World, policy: Any) -> int:
    hour = (fleet.tick + int(policy["buffer_ticks"])) // 60
    if hour >= len(world.hourly_forecast_rps) or math.isnan(world.hourly_forecast_rps[hour]):
        return 0
    target_rps = float(policy["target_requests_per_minute"]) / 60
    if math.isnan(target_rps):
        target_rps = float(policy["target_utilization"]) * dependable_rps(fleet, world)
    return round_up(float(world.hourly_forecast_rps[hour]) / target_rps)


def forecast_at(world: World, row: int, lead: int, position: float) -> float:
    levels = [float(value) for value in world.forecast_rps[row][lead]]
    low = min(math.floor(position), len(QUANTILE_LEVELS) - 2)
    return levels[low] + (position - low) * (levels[low + 1] - levels[low])


def follow_forecast(fleet: Fleet, world: World, policy: Any, offset: int) -> int:
    demand = visible_demand(fleet, world)
    for lead in range(int(policy["lead"]) + 1):
        demand = max(demand, forecast_at(world, fleet.tick // 5, lead, float(policy["quantile"])))
    need = instances_for(fleet, world, policy, demand) + offset
    if need >= fleet.desired:
        fleet.below_ticks = fleet.below_want = 0
        return need
    fleet.below_want = max(fleet.below_want, need)
    fleet.below_ticks += 1
    if fleet.below_ticks <= policy["hold_ticks"]:
        return fleet.desired
    want = fleet.below_want
    fleet.below_ticks = fleet.below_want = 0
    return want


# Policies with alarms


def alarm_is_on(memory: list[int], place: int, breaching: bool, asked: int, of: int) -> bool:
    """Tell an alarm of one more minute: in a row a count is kept, else the last 32 minutes, the newest in bit 0."""
    if asked == of:
        memory[place] = memory[place] + 1 if breaching else 0
        return memory[place] >= asked
    history = [breaching] + [bool(memory[place] >> age & 1) for age in range(REMEMBERED_MINUTES - 1)]
    memory[place] = sum(2**age for age, breached in enumerate(history) if breached)
    return sum(history[:of]) >= asked


def alarms(fleet: Fleet, policy: Any, place: int, high: bool, low: bool) -> tuple[bool, bool]:
    out_asked, out_of = int(policy["out_points"]), int(policy["out_periods"])
    in_asked, in_of = int(policy["in_points"]), int(policy["in_periods"])
    return (
        alarm_is_on(fleet.high_alarm, place, high, out_asked, out_of),
        alarm_is_on(fleet.low_alarm, place, low, in_asked, in_of),
    )


def tracked_target(fleet: Fleet, world: World, policy: Any) -> float:
    if policy["kind"] == POLICY_TARGET_CPU:
        return float(policy["target_utilization"])
    if not math.isnan(policy["target_requests_per_minute"]):
        return float(policy["target_requests_per_minute"])
    return float(policy["target_utilization"]) * dependable_rps(fleet, world) * 60


def track_target(fleet: Fleet, world: World, policy: Any, place: int, metric: float) -> int | None:
    target, desired = tracked_target(fleet, world, policy), fleet.desired
    by_cpu = policy["kind"] == POLICY_TARGET_CPU
    counted = (fleet.cpu_targets if by_cpu else fleet.request_targets)[ring_place(fleet, world)]
    low_threshold = float(policy["low_ratio"]) * target
    high_on, low_on = alarms(fleet, policy, place, metric > target, metric < low_threshold)
    if high_on:
        return max(desired, round_up(counted * metric / target))
    if policy["disable_scale_in"]:
        return None
    if low_on and warming(fleet, world) == 0:
        one_less_breaches = counted <= 1 or metric * counted / (counted - 1) > target
        return min(desired, counted if one_less_breaches else counted - round_down(counted - counted * metric / target))
    return desired


def warming(fleet: Fleet, world: World) -> int:
    return len(active(fleet, world)) - len(warm(fleet, world))


def follow_steps(fleet: Fleet, world: World, policy: Any, place: int, metric: float) -> int | None:
    high, low = float(policy["high_threshold"]), float(policy["low_threshold"])
    high_on, low_on = alarms(fleet, policy, place, metric >= high, metric <= low)
    desired, cooldown = fleet.desired, int(policy["cooldown_ticks"])
    if cooldown > 0:
        if len(in_service(fleet)) < len(active(fleet, world)) or going(fleet):
            fleet.cooldown_until = fleet.tick + 1 + cooldown
        if fleet.tick < fleet.cooldown_until:
            return desired
    want = desired
    if high_on:
        counted = desired if cooldown > 0 else desired - warming(fleet, world)
        want = max(desired, stepped(policy, "out", counted, metric - high, desired))
    elif low_on and warming(fleet, world) == 0:
        want = min(desired, stepped(policy, "in", desired, metric - low, desired))
    if cooldown > 0 and want != desired:
        fleet.cooldown_until = fleet.tick + cooldown
    if want == desired and policy["num_steps_in"] == 0:
        return None
    return want


def going(fleet: Fleet) -> list[Instance]:
    return [item for item in fleet.instances if not item.wanted and not item.leaving]


def stepped(policy: Any, side: str, capacity: int, breach: float, otherwise: int) -> int:
    """The capacity after the step that a breach falls into; ``otherwise`` where it falls into none."""
    for step in range(int(policy[f"num_steps_{side}"])):
        lower = float(policy[f"step_{side}_lower"][step])
        upper = float(policy[f"step_{side}_upper"][step])
        inside = lower <= breach + 1e-9 < upper if side == "out" else lower < breach - 1e-9 <= upper
        if inside:
            return adjusted(policy, capacity, float(policy[f"step_{side}_change"][step]))
    return otherwise


def adjusted(policy: Any, capacity: int, change: float) -> int:
    if policy["adjustment"] == EXACT:
        return int(change)
    if policy["adjustment"] == IN_INSTANCES:
        return capacity + int(change)
    size = round_down(abs(capacity * change / 100))
    if capacity * change != 0 or (change != 0 and policy["min_magnitude"] > 0):
        size = max(size, 1, int(policy["min_magnitude"]))
    return capacity + size if change > 0 else capacity - size
