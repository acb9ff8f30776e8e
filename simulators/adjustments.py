"""The arithmetic of EC2 Auto Scaling: roundings, steps, batches and alarms, as pure functions of numbers.

Every rule here is published with a worked example, and the tests hold the examples. Sources: Amazon EC2 Auto Scaling
User Guide (step and simple scaling; target tracking; mixed instances groups; instance refresh; predictive scaling) and
Amazon CloudWatch User Guide (evaluating an alarm; missing data). Quotients are compared with a tolerance of 1e-9, so
that 30 % of 10 is 3 and not 4.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

from telemetry.compiled import compiled_in_place

CHANGE_IN_CAPACITY: Final = 0
PERCENT_CHANGE_IN_CAPACITY: Final = 1
EXACT_CAPACITY: Final = 2
LONGEST_ALARM: Final = 32
"""Points an alarm history holds, hence the largest number of evaluation periods."""

MissingData = Literal["missing", "ignore", "breaching", "notBreaching"]
AlarmState = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

_TOLERANCE: Final = 1e-9
_ALL_POINTS: Final = 2**LONGEST_ALARM - 1


@compiled_in_place
def within_limits(capacity: int, min_size: int, max_size: int) -> int:
    """Return a capacity moved into the group's limits: 2 + 3 with a maximum of 3 is 3."""
    return min(max(capacity, min_size), max_size)


@compiled_in_place
def surge_limit(max_size: int) -> int:
    """Return how far zone rebalancing may exceed the maximum size: by 10 %, at least by one instance."""
    return max_size + max(math.ceil(0.1 * max_size - _TOLERANCE), 1)


@compiled_in_place
def on_demand_count(desired: int, base: int, on_demand_fraction: float) -> int:
    """Return how many of ``desired`` instances are on demand in a mixed instances group.

    Args:
        desired: Size of the group.
        base: ``OnDemandBaseCapacity``: the first so many are on demand.
        on_demand_fraction: ``OnDemandPercentageAboveBaseCapacity`` as a share, 0..1; its fractions favour on demand.
    """
    above = max(desired - base, 0)
    return min(desired, base) + math.ceil(above * on_demand_fraction - _TOLERANCE)


@compiled_in_place
def percent_change(capacity: int, percent: float, min_magnitude: int) -> int:
    """Return by how many instances a percentage changes a capacity.

    Rounded toward zero, but to one instance at least in the direction of the percentage; 0 % changes nothing.

    Args:
        capacity: Current capacity, instances.
        percent: Percentage, negative to remove.
        min_magnitude: ``MinAdjustmentMagnitude``; 0 where unset.
    """
    if percent == 0.0 or max(capacity, min_magnitude) == 0:
        return 0
    magnitude = max(math.floor(capacity * abs(percent) / 100.0 + _TOLERANCE), min_magnitude, 1)
    return magnitude if percent > 0.0 else -magnitude


@compiled_in_place
def step_capacity(capacity: int, change: float, adjustment: int, min_magnitude: int) -> int:
    """Return the capacity a scaling adjustment asks for, before the group's limits and never below 0.

    Args:
        capacity: Current capacity, instances.
        change: Whole instances, percent, or the new size.
        adjustment: CHANGE_IN_CAPACITY, PERCENT_CHANGE_IN_CAPACITY or EXACT_CAPACITY.
        min_magnitude: Least change of a percentage, instances.
    """
    if adjustment == EXACT_CAPACITY:
        return max(int(change), 0)
    if adjustment == PERCENT_CHANGE_IN_CAPACITY:
        return max(capacity + percent_change(capacity, change, min_magnitude), 0)
    return max(capacity + int(change), 0)


@compiled_in_place
def in_step(breach: float, lower: float, upper: float, above: bool) -> bool:
    """Return whether a breach falls into a step: its near bound belongs to the step, the far one to the next.

    A bound is met within 1e-9, because 0.6 - 0.5 is less than 0.1 in binary fractions.

    Args:
        breach: Metric minus threshold.
        lower: Lower bound of the step relative to the threshold, minus infinity where it is null.
        upper: Upper bound, infinity where it is null.
        above: Whether the policy's alarm watches for values above its threshold.
    """
    if above:
        return lower - _TOLERANCE <= breach < upper - _TOLERANCE
    return lower + _TOLERANCE < breach <= upper + _TOLERANCE


@compiled_in_place
def target_tracking_out(counted: int, metric: float, target: float) -> int:
    """Return the capacity that brings an average metric back to target, rounded up: 10 at 75 of 50 gives 15."""
    return math.ceil(counted * metric / target - _TOLERANCE)


@compiled_in_place
def target_tracking_in(desired: int, metric: float, target: float) -> int:
    """Return the capacity after scale-in: remove floor(n - n m / T), and nothing where one less would breach."""
    if desired <= 1 or metric * desired / (desired - 1) > target:
        return desired
    return desired - math.floor(desired - desired * metric / target + _TOLERANCE)


@compiled_in_place
def predictive_capacity(load: float, target: float) -> int:
    """Return the instances a forecast load needs: the metric summed over the group, over its target per instance."""
    return math.ceil(load / target - _TOLERANCE)


@compiled_in_place
def refresh_batch(
    desired: int, min_healthy_fraction: float, max_healthy_fraction: float, outdated: int
) -> tuple[int, int]:
    """Return how many instances a refresh replaces at once: (stopped now, launched before an old one is stopped).

    Those stopped now leave ``ceil(min_healthy_fraction * desired)`` in service. A ceiling above 100 % launches first,
    up to ``floor(max_healthy_fraction * desired)``. One instance always moves, even where the two bounds leave no
    room: without a ceiling above 100 % it is stopped, else it is launched first.

    Args:
        desired: Size of the group.
        min_healthy_fraction: ``MinHealthyPercentage`` as a share, 0..1.
        max_healthy_fraction: ``MaxHealthyPercentage`` as a share, 1..2.
        outdated: Instances still to be replaced.
    """
    stop = desired - math.ceil(min_healthy_fraction * desired - _TOLERANCE)
    launch = math.floor(max_healthy_fraction * desired + _TOLERANCE) - desired
    if stop + launch < 1:
        if max_healthy_fraction > 1.0:
            launch = 1
        else:
            stop = 1
    stop = min(stop, outdated)
    return stop, min(launch, outdated - stop)


@compiled_in_place
def alarm_push(history: int, breaching: bool) -> int:
    """Return an alarm's history with one more point, the newest in bit 0; 0 is a history without a breach."""
    return ((history << 1) | (1 if breaching else 0)) & _ALL_POINTS


@compiled_in_place
def alarm_fires(history: int, m: int, n: int) -> bool:
    """Return whether at least ``m`` of the ``n`` newest points breach; n is at most LONGEST_ALARM."""
    recent = history & ((1 << n) - 1)
    breaches = 0
    while recent != 0:
        recent &= recent - 1
        breaches += 1
    return breaches >= m


def alarm_state(
    points: Sequence[bool | None],
    m: int,
    n: int,
    treat_missing: MissingData = "missing",
    current: AlarmState = "INSUFFICIENT_DATA",
) -> AlarmState:
    """Return the state of a CloudWatch alarm whose points may be missing.

    Points older than the ``n`` newest stand in for missing ones; only what is still absent then is treated as
    ``treat_missing`` says. Where that is ``missing``, too few points that all breach raise the alarm if the oldest of
    them is at least ``m`` periods old, because nothing since then has contradicted it.

    Args:
        points: The evaluation range, oldest first: breaching, not breaching, or None where the point is missing.
        m: Datapoints to alarm.
        n: Evaluation periods.
        treat_missing: ``TreatMissingData`` of the alarm.
        current: State before this evaluation, which ``ignore`` retains.
    """
    found = [point for point in points if point is not None]
    absent = n - len(found)
    if absent <= 0:
        return "ALARM" if sum(found[-n:]) >= m else "OK"
    if treat_missing in ("breaching", "notBreaching"):
        filled = absent if treat_missing == "breaching" else 0
        return "ALARM" if sum(found) + filled >= m else "OK"
    if sum(found) >= m:
        return "ALARM"
    if not all(found):
        return "OK"
    if treat_missing == "ignore":
        return current
    oldest_age = len(points) - next((place for place, point in enumerate(points) if point is not None), len(points))
    return "ALARM" if oldest_age >= m else "INSUFFICIENT_DATA"
