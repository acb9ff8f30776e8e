"""Step and simple scaling policies with the CloudWatch alarms that invoke them.

AWS keeps three things apart: a policy that adds, one that removes, and an alarm for each. Here an adding and a removing
policy on the same metric with the same kind of adjustment become one :class:`ScalingPolicy`, and are written apart
again. Comparisons: the simulated alarm is on *at* its threshold, as ``GreaterThanOrEqualToThreshold`` is; the strict
operators differ from it only where a metric equals the threshold exactly.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

from simulators.adjustments import LONGEST_ALARM
from simulators.aws_documents import Json, Part, check_shape, to_percent, to_share
from simulators.menu import ScalingPolicy, Step
from simulators.records import MAX_INSTANCES, MAX_STEPS

MOST_STEPS: Final = 20
"""Default quota of step adjustments per policy."""
LONGEST_ALARM_S: Final = 86_400
ADJUSTMENTS: Final = {"ChangeInCapacity": "change", "PercentChangeInCapacity": "percent", "ExactCapacity": "exact"}
METRICS: Final = {
    ("AWS/EC2", "CPUUtilization", "Average", "AutoScalingGroupName"): "cpu",
    ("AWS/ApplicationELB", "RequestCountPerTarget", "Sum", "TargetGroup"): "requests",
}

_PERIOD_S = 60
_ABOVE = ("GreaterThanOrEqualToThreshold", "GreaterThanThreshold")
_BELOW = ("LessThanOrEqualToThreshold", "LessThanThreshold")
_POLICY_ARN = re.compile(r"arn:[^:]*:autoscaling:.*:scalingPolicy:.*:policyName/(?P<name>.+)")
_ALARM_READ = (
    "AlarmName",
    "Namespace",
    "MetricName",
    "Statistic",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "TreatMissingData",
    "ActionsEnabled",
)
_ALARM_KEPT = (
    "AlarmName",
    "AlarmDescription",
    "AlarmActions",
    "OKActions",
    "InsufficientDataActions",
    "Dimensions",
    "ComparisonOperator",
    "Tags",
)


@dataclass(frozen=True)
class Alarm:
    """What an alarm watches for.

    Attributes:
        metric: CPU utilisation, or requests per target and minute.
        above: Whether it is on at and above its threshold, else at and below.
        threshold: CPU share, or requests per target and minute.
        points: Breaching minutes that switch it on.
        periods: Of so many minutes.
        kept: Members of its body that the simulation does not read.
    """

    metric: Literal["cpu", "requests"]
    above: bool
    threshold: float
    points: int
    periods: int
    kept: Json


def read_alarms(document: Part, policies: frozenset[str], group: str) -> dict[str, Alarm]:
    """Return the document's alarms by the name of the scaling policy each one invokes.

    Args:
        document: The whole document; its ``Alarms`` are read.
        policies: Names of the policies an alarm may invoke.
        group: Name of the group.

    Raises:
        AwsPolicyError: An alarm AWS would refuse, or one that is not simulated.
    """
    alarms: dict[str, Alarm] = {}
    names: set[str] = set()
    for part in document.children("Alarms"):
        check_shape(part, "cloudwatch", "PutMetricAlarm")
        if part.get("AlarmName") in names:
            part.fail("AlarmName", "a name of its own")
        names.add(part.get("AlarmName"))
        invoked = _invoked(part, policies)
        if invoked in alarms:
            part.fail("AlarmActions", f"one alarm for each policy; {invoked!r} has one already")
        alarms[invoked] = _read_alarm(part, group)
    return alarms


def _invoked(part: Part, policies: frozenset[str]) -> str:
    invoked = []
    for action in part.get("AlarmActions", []):
        arn = _POLICY_ARN.fullmatch(action)
        if arn or not action.startswith("arn:"):
            invoked.append(arn["name"] if arn else action)
    if len(invoked) != 1 or invoked[0] not in policies:
        part.fail("AlarmActions", "one step or simple scaling policy of this document, by name or ARN")
    for name in ("OKActions", "InsufficientDataActions"):
        if any(_POLICY_ARN.fullmatch(action) or action in policies for action in part.get(name, [])):
            part.fail(name, "no scaling policy: only the alarm state acts in the simulation")
    return invoked[0]


def _read_alarm(part: Part, group: str) -> Alarm:
    if "ThresholdMetricId" in part or part.get("ComparisonOperator") not in (*_ABOVE, *_BELOW):
        given = "ThresholdMetricId" if "ThresholdMetricId" in part else "ComparisonOperator"
        part.fail(
            given, f"one of {', '.join((*_ABOVE, *_BELOW))}: an anomaly-detection alarm cannot drive Auto Scaling"
        )
    kept = part.understood(_ALARM_READ, _ALARM_KEPT, where="of a simulated alarm on one metric")
    for name in ("Period", "EvaluationPeriods", "Threshold"):
        if name not in part:
            part.fail(name, "a value: it is required")
    period, periods = part.get("Period"), part.get("EvaluationPeriods")
    if period * periods > LONGEST_ALARM_S:
        part.fail("EvaluationPeriods", f"at most {LONGEST_ALARM_S} s together with a Period of {period} s")
    if period != _PERIOD_S:
        part.fail("Period", f"{_PERIOD_S}: simulated alarms read one-minute points (detailed monitoring)")
    part.in_range("EvaluationPeriods", 1, LONGEST_ALARM)
    points = int(part.in_range("DatapointsToAlarm", 1, periods, periods))
    treatment = part.one_of("TreatMissingData", ("missing", "ignore", "breaching", "notBreaching"), "missing")
    if treatment != "missing":
        part.fail("TreatMissingData", "missing: a minute without a metric does nothing in the simulation")
    if part.get("ActionsEnabled", True) is not True:
        part.fail("ActionsEnabled", "true")
    metric = read_metric(part, group)
    above = part.get("ComparisonOperator") in _ABOVE
    return Alarm(metric, above, _threshold(part, metric), points, periods, kept)


def _threshold(part: Part, metric: str) -> float:
    if metric != "cpu":
        return float(part.in_range("Threshold", 0.0, float("inf")))
    if part.get("Threshold") == 100 and part.get("ComparisonOperator") == "GreaterThanThreshold":
        part.fail("Threshold", "below 100 %, which CPU utilisation never exceeds")
    return to_share(part.in_range("Threshold", 0.0, 100.0))


def read_metric(part: Part, group: str) -> Literal["cpu", "requests"]:
    """Return which simulated metric a CloudWatch metric is.

    Raises:
        AwsPolicyError: Another metric, another statistic, or another group's.
    """
    dimensions = {item["Name"]: item["Value"] for item in part.get("Dimensions", [])}
    for (namespace, name, statistic, dimension), metric in METRICS.items():
        if (part.get("Namespace"), part.get("MetricName")) != (namespace, name):
            continue
        part.one_of("Statistic", (statistic,))
        if dimension not in dimensions or set(dimensions) - {dimension, "LoadBalancer"}:
            part.fail("Dimensions", f"the dimension {dimension}")
        if dimensions.get("AutoScalingGroupName", group) != group:
            part.fail("Dimensions", f"the document's group, {group!r}")
        return "cpu" if metric == "cpu" else "requests"
    part.fail("MetricName", " or ".join(f"{namespace} {name}" for namespace, name, *_ in METRICS))


def read_step_policy(part: Part, alarm: Alarm, cooldown_s: int) -> ScalingPolicy:
    """Return one step or simple scaling policy, which has one direction.

    Args:
        part: Its ``PutScalingPolicy`` body, of a shape that was checked.
        alarm: The alarm that invokes it.
        cooldown_s: The group's default cooldown.

    Raises:
        AwsPolicyError: A policy AWS would refuse, or one that is not simulated.
    """
    simple = part.get("PolicyType", "SimpleScaling") == "SimpleScaling"
    adjustment = ADJUSTMENTS[part.one_of("AdjustmentType", ADJUSTMENTS)]
    if "MinAdjustmentMagnitude" in part and adjustment != "percent":
        part.fail("MinAdjustmentMagnitude", "it left out without PercentChangeInCapacity")
    fields: dict[str, Any] = {
        "name": part.get("PolicyName"),
        "kind": "step",
        "metric": alarm.metric,
        "adjustment": adjustment,
        "min_magnitude": part.in_range("MinAdjustmentMagnitude", 1, MAX_INSTANCES) or 0,
    }
    if simple:
        cooldown = part.in_range("Cooldown", 60, 86_400, cooldown_s)
        if cooldown % 60:
            part.fail("Cooldown", "whole minutes")
        fields["cooldown_minutes"] = cooldown // 60
        steps: tuple[Step, ...] = (_simple_step(part, adjustment, alarm.above),)
    else:
        part.one_of("MetricAggregationType", ("Average",), "Average")
        steps = _read_steps(part, adjustment, alarm)
    side = "out" if alarm.above else "in"
    fields[f"steps_{side}"] = steps
    fields["high_threshold" if alarm.above else "low_threshold"] = alarm.threshold
    fields[f"{side}_points"], fields[f"{side}_periods"] = alarm.points, alarm.periods
    return ScalingPolicy(**fields)


def _simple_step(part: Part, adjustment: str, above: bool) -> Step:
    if "ScalingAdjustment" not in part:
        part.fail("ScalingAdjustment", "a value: simple scaling needs it")
    change = _read_change(part, adjustment, above)
    return Step(lower=0.0, upper=None, change=change) if above else Step(lower=None, upper=0.0, change=change)


def _read_change(part: Part, adjustment: str, above: bool) -> float:
    change = part.get("ScalingAdjustment")
    if adjustment == "exact":
        part.in_range("ScalingAdjustment", 0, MAX_INSTANCES)
    elif change < 0 if above else change > 0:
        direction = "0 or more, because the alarm is on above" if above else "0 or less, because the alarm is on below"
        part.fail("ScalingAdjustment", f"{direction} its threshold")
    return float(change)


def _read_steps(part: Part, adjustment: str, alarm: Alarm) -> tuple[Step, ...]:
    parts = part.children("StepAdjustments")
    if not 1 <= len(parts) <= MOST_STEPS:
        part.fail("StepAdjustments", f"1 to {MOST_STEPS} steps (AWS's quota)")
    if len(parts) > MAX_STEPS:
        part.fail("StepAdjustments", f"at most {MAX_STEPS} steps in the simulation, not {len(parts)}")
    _check_bounds(parts)
    return tuple(
        Step(
            lower=_in_units(low, alarm.metric),
            upper=_in_units(high, alarm.metric),
            change=_read_change(step, adjustment, alarm.above),
        )
        for step, (low, high) in zip(parts, map(_bounds, parts), strict=True)
    )


def _in_units(bound: float | None, metric: str) -> float | None:
    return to_share(bound) if bound is not None and metric == "cpu" else bound


def _bounds(step: Part) -> tuple[float | None, float | None]:
    return step.get("MetricIntervalLowerBound"), step.get("MetricIntervalUpperBound")


def _check_bounds(steps: list[Part]) -> None:
    """Refuse step adjustments that overlap, leave gaps, or are open at both ends or at a wrong one."""
    for step in steps:
        low, high = _bounds(step)
        if low is None and high is None:
            step.fail("", "one bound at least")
        if low is not None and high is not None and low >= high:
            step.fail("MetricIntervalUpperBound", f"more than the lower bound {low:g}")
    rising = sorted(steps, key=lambda step: step.get("MetricIntervalLowerBound", float("-inf")))
    for step, following in pairwise(rising):
        end = step.get("MetricIntervalUpperBound")
        if end is None or following.get("MetricIntervalLowerBound") != end:
            meets = "no end" if end is None else f"the end {end:g}"
            following.fail("MetricIntervalLowerBound", f"{meets} of {step.path}: steps neither overlap nor leave gaps")
    first, last = rising[0], rising[-1]
    if first.get("MetricIntervalLowerBound", 0.0) < 0.0:
        first.fail("MetricIntervalLowerBound", "a step without lower bound below the negative ones")
    if last.get("MetricIntervalUpperBound", 0.0) > 0.0:
        last.fail("MetricIntervalUpperBound", "a step without upper bound above the positive ones")


def write_step_policy(
    policy: ScalingPolicy, group: str, kept: list[Json], dimensions: list[Json]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a step policy as request bodies: its scaling policies, one for each direction, and their alarms.

    Args:
        policy: Of kind ``step``.
        group: Name of the group.
        kept: For each direction, in this order, names and alarm members to keep; empty for new ones.
        dimensions: Dimensions of the policy's metric, for alarms that keep none; empty where they are not known.

    Raises:
        ValueError: Unknown dimensions, changes that are not whole, or simple scaling with bounded steps.
    """
    directions = [above for above, steps in ((True, policy.steps_out), (False, policy.steps_in)) if steps]
    bodies, alarms = [], []
    for place, above in enumerate(directions):
        names = kept[place] if len(kept) == len(directions) else {}
        suffix = "" if len(directions) == 1 else "-out" if above else "-in"
        name = names.get("PolicyName", policy.name + suffix)
        bodies.append({"AutoScalingGroupName": group, "PolicyName": name, **_write_adjustment(policy, above)})
        alarms.append(_write_alarm(policy, above, name, dimensions, names.get("Alarm", {})))
    return bodies, alarms


def _write_adjustment(policy: ScalingPolicy, above: bool) -> dict[str, Any]:
    steps = policy.steps_out if above else policy.steps_in
    body: dict[str, Any] = {
        "AdjustmentType": next(name for name, value in ADJUSTMENTS.items() if value == policy.adjustment)
    }
    if policy.adjustment == "percent" and policy.min_magnitude:
        body["MinAdjustmentMagnitude"] = policy.min_magnitude
    if policy.cooldown_minutes:
        if [(step.lower, step.upper) for step in steps] != [(0.0, None) if above else (None, 0.0)]:
            raise ValueError(f"scaling policy {policy.name!r}: simple scaling (a cooldown) has one step, from 0 on")
        return {
            "PolicyType": "SimpleScaling",
            **body,
            "ScalingAdjustment": _whole(policy.name, steps[0].change),
            "Cooldown": 60 * policy.cooldown_minutes,
        }
    return {
        "PolicyType": "StepScaling",
        **body,
        "MetricAggregationType": "Average",
        "StepAdjustments": [_write_step(policy, step) for step in steps],
    }


def _write_step(policy: ScalingPolicy, step: Step) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name, bound in (("MetricIntervalLowerBound", step.lower), ("MetricIntervalUpperBound", step.upper)):
        if bound is not None:
            body[name] = to_percent(bound) if policy.metric == "cpu" else bound
    return {**body, "ScalingAdjustment": _whole(policy.name, step.change)}


def _whole(name: str, change: float) -> int:
    if change != int(change):
        raise ValueError(f"scaling policy {name!r}: AWS takes whole adjustments, not {change}")
    return int(change)


def _write_alarm(policy: ScalingPolicy, above: bool, name: str, dimensions: list[Json], kept: Json) -> dict[str, Any]:
    operators = _ABOVE if above else _BELOW
    if not kept.get("Dimensions", dimensions):
        raise ValueError(f"scaling policy {policy.name!r}: a request metric needs the target group's resource label")
    threshold = policy.high_threshold if above else policy.low_threshold
    points, periods = (policy.out_points, policy.out_periods) if above else (policy.in_points, policy.in_periods)
    namespace, metric, statistic, _ = next(key for key, value in METRICS.items() if value == policy.metric)
    return {
        "AlarmName": name,
        "AlarmActions": [name],
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": dimensions,
        "Statistic": statistic,
        "Period": _PERIOD_S,
        "EvaluationPeriods": periods or points,
        "DatapointsToAlarm": points,
        "Threshold": to_percent(threshold or 0.0) if policy.metric == "cpu" else threshold,
        "TreatMissingData": "missing",
        **kept,
        "ComparisonOperator": kept["ComparisonOperator"]
        if kept.get("ComparisonOperator") in operators
        else operators[0],
    }
