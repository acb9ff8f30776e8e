"""From preferences over the action's parts to a decision that keeps the constraints, and its capacity.

The capacity is what the simulated group would set (``simulators.autoscaling``). Policies with an absolute
want (static, scheduled, forecast) take the scale part as an offset; the others add it to the present desired capacity
once.

The group's controller lowers capacity for a forecast policy only after ``hold_minutes`` below it, and then
to the highest need of that time. The service keeps no state between requests, so it reads that time from the
demand history.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from advisory.guardrails import Preference, choose_specification, choose_spot, limit_capacity, limit_change
from advisory.reading import RequestError, Situation, dependable_rps
from advisory.schemas import BoundApplied, Constraints
from advisory.served import ServedModel
from envs.action import KEEP, MAX_SCALE, decode
from simulators.autoscaling import instances_for, scheduled_size
from simulators.records import (
    DECISION,
    POLICY_FORECAST,
    POLICY_SCHEDULED,
    POLICY_STATIC,
    QUANTILE_LEVELS,
    TICKS_PER_ROW,
)


class Want(NamedTuple):
    """Capacity a policy asks for, before the limits.

    Attributes:
        capacity: Instances.
        demand_rps: Demand it provides for, in requests of the trained workload; None where the want is
            incremental.
        dependable_rps: What one instance is counted on for.
        need_now: Instances needed now; less than ``capacity`` while scale-in waits.
    """

    capacity: int
    demand_rps: float | None
    dependable_rps: float
    need_now: int


@dataclass(frozen=True)
class Decision:
    """A decision after all constraints.

    Attributes:
        choices: Value of each part of the action.
        scale: Instances to add, or the offset.
        spec: Launch specification.
        spot_fraction: 0..1.
        policy: Menu index.
        want: What the policy asks for.
        capacity: After the limits.
        replaces: Whether instances of other types than the specification's are there to be replaced.
        capacity_after_replacement: Capacity once those are gone; None where nothing is replaced or capacity
            is incremental.
        bounds: Constraints that changed something.
    """

    choices: tuple[int, int, int, int]
    scale: int
    spec: int
    spot_fraction: float
    policy: int
    want: Want
    capacity: int
    replaces: bool
    capacity_after_replacement: int | None
    bounds: tuple[BoundApplied, ...]


def provided_demand_rps(policy: np.void, demand_rps: float, forecast_rps: NDArray[np.float64]) -> float:
    """Return the demand a forecast policy provides for: the worst of the visible minute and its leads.

    Args:
        policy: POLICY record.
        demand_rps: Of the visible minute.
        forecast_rps: [leads, levels].
    """
    positions = np.arange(len(QUANTILE_LEVELS))
    ahead = [float(np.interp(policy["quantile"], positions, row)) for row in forecast_rps[: policy["lead"] + 1]]
    return max(demand_rps, *ahead)


def wanted_capacity(
    model: ServedModel,
    situation: Situation,
    *,
    policy: int,
    scale: int,
    spec: int,
    spot_fraction: float,
    replaced: bool,
) -> Want:
    """Return what a menu entry asks for.

    Args:
        model: Whose menu and physics count.
        situation: Demand, forecast and fleet.
        policy: Menu index.
        scale: Instances to add, or the offset.
        spec: Launch specification.
        spot_fraction: 0..1.
        replaced: Count only on the specification's own types, as after a rolling replacement.
    """
    record, entry = situation.record, model.menu[policy]
    desired = int(record["desired"])
    used = np.zeros_like(record["type_count"], np.bool_) if replaced else record["type_count"] > 0
    each_rps = dependable_rps(model, spec, used)
    if entry["kind"] == POLICY_STATIC:
        demand_rps = float(entry["mean_demand_ratio"] * record["mean_demand_rps"])
        need = instances_for(demand_rps, each_rps, entry, spot_fraction) + scale
        return Want(need, demand_rps, each_rps, need)
    if entry["kind"] == POLICY_SCHEDULED:
        minute, mean_rps = int(record["minute_of_week"]), float(record["mean_demand_rps"])
        need = int(scheduled_size(entry, minute, mean_rps, each_rps, spot_fraction)) + scale
        return Want(need, None, each_rps, need)
    if entry["kind"] != POLICY_FORECAST:
        return Want(desired + scale, None, each_rps, desired + scale)

    def need_for(provided_rps: float) -> int:
        return int(instances_for(provided_rps, each_rps, entry, spot_fraction)) + scale

    demand_rps = provided_demand_rps(entry, float(record["demand_rps"]), record["forecast_rps"])
    need = need_for(demand_rps)
    if replaced or need >= desired:
        return Want(need, demand_rps, each_rps, need)
    rows = min(math.ceil(entry["hold_ticks"] / TICKS_PER_ROW), len(situation.past_demand_rps))
    past = zip(
        situation.past_demand_rps[len(situation.past_demand_rps) - rows :],
        situation.past_forecast_rps[len(situation.past_forecast_rps) - rows :],
        strict=True,
    )
    earlier = [need_for(provided_demand_rps(entry, float(visible), forecast)) for visible, forecast in past]
    highest = max([need, *earlier])
    return Want(min(desired, highest), demand_rps, each_rps, need)


def specification_meanings(model: ServedModel, situation: Situation, spot_level: int) -> list[int]:
    """Return the launch specification that each choice of the action stands for at a spot level."""
    count = len(model.task.candidates) + 1
    actions = np.zeros((count, 4), np.int64)
    actions[:, 1], actions[:, 2] = np.arange(count), spot_level
    decisions = np.zeros(count, DECISION)
    decode(actions, np.repeat(situation.records, count), decisions, model.task)
    return [int(spec) for spec in decisions["spec"]]


def _allowed(model: ServedModel, situation: Situation, constraints: Constraints) -> tuple[set[int], str]:
    """Return the launch specifications that may be taken, and the constraint that says so."""
    names, current = model.specification_names, int(situation.record["spec"])
    allowed = set(range(len(names)))
    for place, name in enumerate(constraints.allowed_launch_specifications or []):
        if name not in names:
            pointer = f"#/constraints/allowed_launch_specifications/{place}"
            raise RequestError(pointer, name, f"one of {', '.join(names)}")
    if constraints.allowed_launch_specifications is not None:
        allowed = {names.index(name) for name in constraints.allowed_launch_specifications}
    if not constraints.keep_type:
        return allowed, "allowed_launch_specifications"
    if current not in allowed:
        expected = f"false, because allowed_launch_specifications leaves out the current {names[current]}"
        raise RequestError("#/constraints/keep_type", True, expected)
    return {current}, "keep_type"


def capacity_range(model: ServedModel, constraints: Constraints) -> tuple[int, int]:
    """Return the least and the largest desired capacity: the request's, else those of the task.

    Raises:
        RequestError: One limit of the request contradicts the task's other one.
    """
    low, high = int(model.physics["min_instances"]), int(model.physics["max_instances"])
    low = low if constraints.min_instances is None else constraints.min_instances
    high = high if constraints.max_instances is None else constraints.max_instances
    if low > high:
        raise RequestError("#/constraints", constraints.model_dump(), f"room between {low} and {high} instances")
    return low, high


def decide(
    model: ServedModel, situation: Situation, constraints: Constraints, preferences: list[Preference]
) -> Decision:
    """Return the most preferred decision that keeps the constraints.

    Args:
        model: Whose action space counts.
        situation: What the decision answers to.
        constraints: Limits.
        preferences: One per part of the action, each [choices of the part], the more the better.

    Raises:
        RequestError: The constraints leave nothing, or name what the bundle does not know.
    """
    low, high = capacity_range(model, constraints)
    allowed, constraint = _allowed(model, situation, constraints)
    spot = choose_spot(preferences[2], constraints.max_spot_percent)
    meanings = specification_meanings(model, situation, spot.value)
    chosen = choose_specification(preferences[1], meanings, allowed, model.specification_names, constraint)
    spec = meanings[chosen.value]
    spot_fraction = spot.value / (model.task.num_spot_levels - 1)
    scale, policy = int(np.argmax(preferences[0])) - MAX_SCALE, int(np.argmax(preferences[3]))

    def wanted(replaced: bool) -> Want:
        return wanted_capacity(
            model,
            situation,
            policy=policy,
            scale=scale,
            spec=spec,
            spot_fraction=spot_fraction,
            replaced=replaced,
        )

    want = wanted(replaced=False)
    desired = int(situation.record["desired"])
    changed = limit_change(want.capacity, desired, constraints.max_change)
    limited = limit_capacity(changed.value, low, high)
    after, replaces = None, _outdated(model, situation, spec)
    if replaces and want.demand_rps is not None:
        after = limit_capacity(wanted(replaced=True).capacity, low, high).value
    found = (spot.bound, chosen.bound, changed.bound, limited.bound)
    return Decision(
        choices=(scale + MAX_SCALE, chosen.value, spot.value, policy),
        scale=scale,
        spec=spec,
        spot_fraction=spot_fraction,
        policy=policy,
        want=want,
        capacity=limited.value,
        replaces=replaces,
        capacity_after_replacement=after,
        bounds=tuple(bound for bound in found if bound is not None),
    )


def _outdated(model: ServedModel, situation: Situation, spec: int) -> bool:
    """Say whether an instance of the fleet is not of a launch specification's types."""
    counts = situation.record["type_count"].copy()
    counts[model.members(spec)] = 0.0
    return bool(counts.any())


def rule_preferences(model: ServedModel, situation: Situation) -> list[Preference]:
    """Return preferences that take what the best calibrated rule would do, or what is closest to it."""
    task = model.task
    action = model.bundle.rules.policy(model.bundle.spec["best_rule"], task).act(situation.records)[0]
    sizes = (2 * MAX_SCALE + 1, len(task.candidates) + 1, task.num_spot_levels, len(task.menu))
    parts = [-np.abs(np.arange(size) - choice).astype(np.float64) for size, choice in zip(sizes, action, strict=True)]
    if action[1] != KEEP:
        parts[1][KEEP] = -len(parts[1])
    return list(parts)
