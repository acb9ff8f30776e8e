"""``PutScalingPolicy`` bodies and the scaling policies they amount to: target tracking, step, simple, predictive.

AWS creates and keeps to itself the alarms of target tracking: three of three minutes above the target, fifteen of
fifteen below a low threshold. That threshold, 0.70 of the target for CPU and 0.90 for request counts, is what public
captures show; it is no part of a body.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from simulators.aws_documents import Json, Part, check_shape, to_percent, to_share
from simulators.aws_steps import Alarm, read_alarms, read_metric, read_step_policy, write_step_policy
from simulators.menu import ScalingPolicy
from simulators.records import MAX_POLICIES

MOST_POLICIES: Final = 50
"""Default quota of scaling policies per group."""
DEFAULT_COOLDOWN_S: Final = 300
LONGEST_WARMUP_S: Final = 3600
LOW_RATIOS: Final = {"cpu": 0.7, "requests": 0.9}

_TRACKED = {"ASGAverageCPUUtilization": "cpu", "ALBRequestCountPerTarget": "requests"}
_PAIRS = {"ASGCPUUtilization": "cpu", "ALBRequestCount": "requests"}
_LABEL = re.compile(r"(?P<balancer>app/[^/]+/[^/]+)/(?P<targets>targetgroup/[^/]+/[^/]+)")
_SAID = ("AutoScalingGroupName", "PolicyName", "PolicyType", "Enabled")
_STEP_NAMES = ("AdjustmentType", "MinAdjustmentMagnitude")
_READ = {
    "TargetTrackingScaling": ("TargetTrackingConfiguration", "EstimatedInstanceWarmup"),
    "StepScaling": (*_STEP_NAMES, "MetricAggregationType", "StepAdjustments", "EstimatedInstanceWarmup"),
    "SimpleScaling": (*_STEP_NAMES, "ScalingAdjustment", "Cooldown"),
    "PredictiveScaling": ("PredictiveScalingConfiguration",),
}
_WARMED = ("TargetTrackingScaling", "StepScaling")


@dataclass(frozen=True)
class GroupTimes:
    """The group-level times that policies fall back on, seconds.

    Attributes:
        default_warmup_s: ``DefaultInstanceWarmup``, None where unset or cleared with -1.
        default_cooldown_s: ``DefaultCooldown``.
        grace_s: ``HealthCheckGracePeriod``.
    """

    default_warmup_s: int | None = None
    default_cooldown_s: int = DEFAULT_COOLDOWN_S
    grace_s: int = 0

    def policy_warmup_s(self, estimated_s: int | None) -> int:
        """Return the warm-up of a policy: its own estimate, else the default warm-up, else the default cooldown."""
        if estimated_s is not None:
            return estimated_s
        return self.default_cooldown_s if self.default_warmup_s is None else self.default_warmup_s

    def refresh_warmup_s(self, instance_warmup_s: int | None) -> int:
        """Return the warm-up of an instance refresh: its own, else the default warm-up, else the grace period."""
        if instance_warmup_s is not None:
            return instance_warmup_s
        return self.grace_s if self.default_warmup_s is None else self.default_warmup_s


@dataclass(frozen=True)
class ReadPolicies:
    """What a document's scaling policies amount to.

    Attributes:
        acting: Those that act, in the document's order; adding and removing step policies joined.
        inactive: Bodies of those that do not act: ``ForecastOnly``, or ``Enabled`` false.
        warmup_s: The one warm-up all of them work with.
        kept: By name of the acting policy, what its bodies hold besides.
    """

    acting: tuple[ScalingPolicy, ...]
    inactive: tuple[Json, ...]
    warmup_s: int
    kept: dict[str, list[Json]]


def read_policies(document: Part, group: str, times: GroupTimes) -> ReadPolicies:
    """Return the document's scaling policies.

    Args:
        document: The whole document; its ``ScalingPolicies`` and ``Alarms`` are read.
        group: Name of the group.
        times: Times of the group.

    Raises:
        AwsPolicyError: A policy AWS would refuse, or one that is not simulated.
    """
    parts = document.children("ScalingPolicies")
    if len(parts) > MOST_POLICIES:
        document.fail("ScalingPolicies", f"at most {MOST_POLICIES} policies in a group (AWS's quota)")
    for part in parts:
        _check_body(part, group)
    names = [part.get("PolicyName") for part in parts]
    for part in parts:
        if names.count(part.get("PolicyName")) > 1:
            part.fail("PolicyName", "a name of its own")
    alarms = read_alarms(document, frozenset(part.get("PolicyName") for part in parts if _is_step(part)), group)
    acting, inactive, kept = [], [], {}
    for part in parts:
        policy, names_of_it = _read_policy(part, group, alarms, times)
        if policy is None or part.get("Enabled", True) is False:
            inactive.append(part.value)
        else:
            acting.append(policy)
            kept[policy.name] = [names_of_it]
    _refuse_second_forecast(parts)
    joined = _join_steps(acting, kept)
    return ReadPolicies(tuple(joined), tuple(inactive), _common_warmup_s(parts, times), kept)


def _is_step(part: Part) -> bool:
    return part.get("PolicyType", "SimpleScaling") in ("StepScaling", "SimpleScaling")


def _check_body(part: Part, group: str) -> None:
    check_shape(part, "autoscaling", "PutScalingPolicy")
    kind = part.one_of("PolicyType", _READ, "SimpleScaling")
    part.understood((*_SAID, *_READ[kind]), where=f"of a simulated {kind} policy")
    if part.get("AutoScalingGroupName") != group:
        part.fail("AutoScalingGroupName", f"the document's group, {group!r}")
    part.in_range("EstimatedInstanceWarmup", 0, LONGEST_WARMUP_S)
    if _is_step(part) and part.get("Enabled", True) is False:
        part.fail("Enabled", "true: leave a disabled step or simple policy out, with its alarm")


def _read_policy(
    part: Part, group: str, alarms: Mapping[str, Alarm], times: GroupTimes
) -> tuple[ScalingPolicy | None, Json]:
    """Return a policy (None where it only forecasts) and what to keep of its body."""
    name, kind = part.get("PolicyName"), part.get("PolicyType", "SimpleScaling")
    try:
        if kind == "TargetTrackingScaling":
            return _read_tracking(part, group)
        if kind == "PredictiveScaling":
            return _read_predictive(part)
        if name not in alarms:
            part.fail("PolicyName", "an alarm in Alarms whose AlarmActions name it")
        policy = read_step_policy(part, alarms[name], times.default_cooldown_s)
        return policy, {"PolicyName": name, "Alarm": alarms[name].kept}
    except ValidationError as error:
        fault = error.errors()[0]
        part.fail("", f"what the simulation can hold: {fault['loc']} {fault['msg']}")


def _read_tracking(part: Part, group: str) -> tuple[ScalingPolicy, Json]:
    if "TargetTrackingConfiguration" not in part:
        part.fail("TargetTrackingConfiguration", "a value: target tracking needs it")
    config = part.child("TargetTrackingConfiguration")
    given = [name for name in ("PredefinedMetricSpecification", "CustomizedMetricSpecification") if name in config]
    if len(given) != 1:
        config.fail("", "one of PredefinedMetricSpecification and CustomizedMetricSpecification")
    metric, kept = (
        _read_predefined(config.child(given[0]), _TRACKED)
        if given[0].startswith("Predefined")
        else (_read_customised(config.child(given[0]), group), {})
    )
    return ScalingPolicy(
        name=part.get("PolicyName"),
        kind="target_tracking_cpu" if metric == "cpu" else "target_tracking_requests",
        out_points=3,
        out_periods=3,
        in_points=15,
        in_periods=15,
        low_ratio=LOW_RATIOS[metric],
        disable_scale_in=config.get("DisableScaleIn", False),
        **_read_target(config, metric),
    ), kept


def _read_predefined(part: Part, understood: Mapping[str, str]) -> tuple[str, Json]:
    name = "PredefinedMetricType"
    if part.get(name) not in understood:
        part.fail(name, f"{' or '.join(understood)}: network traffic and 10-second metrics are not simulated")
    metric = understood[part.get(name)]
    if metric == "cpu" and "ResourceLabel" in part:
        part.fail("ResourceLabel", "it left out for a CPU metric")
    if metric == "requests" and not _LABEL.fullmatch(part.get("ResourceLabel", "")):
        part.fail("ResourceLabel", "app/NAME/ID/targetgroup/NAME/ID")
    return metric, {"ResourceLabel": part.get("ResourceLabel")} if metric == "requests" else {}


def _read_customised(part: Part, group: str) -> str:
    """Return the metric of a customised specification; only the group's own CPU utilisation is one."""
    part.understood(("Namespace", "MetricName", "Dimensions", "Statistic", "Period"), where="of a simulated metric")
    if part.get("Period", 60) != 60:
        part.fail("Period", "60: metrics of 10 and 30 s are not simulated")
    if read_metric(part, group) != "cpu":
        part.fail("MetricName", "CPUUtilization here; request counts as the predefined ALBRequestCountPerTarget")
    return "cpu"


def _read_target(config: Part, metric: str) -> dict[str, float]:
    value = config.get("TargetValue")
    if metric == "requests":
        if value <= 0:
            config.fail("TargetValue", "more than 0 requests per target and minute")
        return {"target_requests_per_minute": float(value)}
    if not 5.0 < value < 100.0:
        config.fail("TargetValue", "above 5 and below 100 percent")
    return {"target_utilization": to_share(value)}


def _read_predictive(part: Part) -> tuple[ScalingPolicy | None, Json]:
    if "PredictiveScalingConfiguration" not in part:
        part.fail("PredictiveScalingConfiguration", "a value: predictive scaling needs it")
    config = part.child("PredictiveScalingConfiguration")
    specifications = config.children("MetricSpecifications")
    if len(specifications) != 1:
        config.fail("MetricSpecifications", "one metric specification")
    specification = specifications[0]
    specification.understood(
        ("TargetValue", "PredefinedMetricPairSpecification"),
        where="of a simulated policy: give a predefined metric pair",
    )
    if "PredefinedMetricPairSpecification" not in specification:
        specification.fail("PredefinedMetricPairSpecification", "a predefined metric pair")
    metric, kept = _read_predefined(specification.child("PredefinedMetricPairSpecification"), _PAIRS)
    buffer_s = config.in_range("SchedulingBufferTime", 0, 3599, 300)
    if buffer_s % 60:
        config.fail("SchedulingBufferTime", "whole minutes")
    if config.get("MaxCapacityBreachBehavior", "HonorMaxCapacity") != "HonorMaxCapacity":
        config.fail("MaxCapacityBreachBehavior", "HonorMaxCapacity: raising the maximum is not simulated")
    if "MaxCapacityBuffer" in config:
        config.fail("MaxCapacityBuffer", "it left out without IncreaseMaxCapacity")
    policy = ScalingPolicy(
        name=part.get("PolicyName"),
        kind="predictive",
        metric="cpu" if metric == "cpu" else "requests",
        buffer_minutes=buffer_s // 60,
        **_read_target(specification, metric),
    )
    return (policy if _acts(part) else None), kept


def _acts(part: Part) -> bool:
    mode = part.child("PredictiveScalingConfiguration").get("Mode", "ForecastOnly")
    return bool(mode == "ForecastAndScale" and part.get("Enabled", True))


def _refuse_second_forecast(parts: Sequence[Part]) -> None:
    acting = [part for part in parts if part.get("PolicyType") == "PredictiveScaling" and _acts(part)]
    for part in acting[1:]:
        part.child("PredictiveScalingConfiguration").fail(
            "Mode", f"ForecastOnly: one predictive policy acts, and {acting[0].path} does"
        )


def _common_warmup_s(parts: Sequence[Part], times: GroupTimes) -> int:
    """Return the warm-up that all policies share; it is one number in the simulation."""
    warmed = [part for part in parts if part.get("PolicyType") in _WARMED and part.get("Enabled", True)]
    first = times.policy_warmup_s(warmed[0].get("EstimatedInstanceWarmup") if warmed else None)
    for part in warmed:
        found = times.policy_warmup_s(part.get("EstimatedInstanceWarmup"))
        if found != first:
            part.fail(
                "EstimatedInstanceWarmup", f"{first} s as in {warmed[0].path}: a group has one warm-up, not {found} s"
            )
    return first


def _join_steps(acting: Sequence[ScalingPolicy], kept: dict[str, list[Json]]) -> list[ScalingPolicy]:
    """Join each adding step policy with the first removing one of the same metric and kind of adjustment."""
    joined: list[ScalingPolicy] = []
    for policy in acting:
        for place, other in enumerate(joined):
            if _complete_each_other(policy, other):
                out, into = (policy, other) if policy.steps_out else (other, policy)
                both = _both(out, into)
                kept[both.name] = [*kept.pop(out.name), *kept.pop(into.name)]
                joined[place] = both
                break
        else:
            joined.append(policy)
    return joined


def _complete_each_other(first: ScalingPolicy, second: ScalingPolicy) -> bool:
    if first.kind != "step" or second.kind != "step":
        return False
    same = all(
        getattr(first, name) == getattr(second, name)
        for name in ("metric", "adjustment", "min_magnitude", "cooldown_minutes")
    )
    sides = (first.steps_out, first.steps_in), (second.steps_out, second.steps_in)
    return same and all(bool(one) != bool(other) for one, other in zip(*sides, strict=True))


def _both(out: ScalingPolicy, into: ScalingPolicy) -> ScalingPolicy:
    taken = {name: getattr(into, name) for name in ("steps_in", "low_threshold", "in_points", "in_periods")}
    return ScalingPolicy(**{**out.model_dump(), **taken, "name": f"{out.name} / {into.name}"})


def together(document: Part, policies: Sequence[ScalingPolicy], group: str) -> ScalingPolicy:
    """Return policies that act at the same time as one entry; without any, the size is set by hand.

    Raises:
        AwsPolicyError: More of them than one entry can hold.
    """
    if not policies:
        return ScalingPolicy(name=group, kind="manual")
    if len(policies) > MAX_POLICIES:
        acting = ", ".join(policy.name for policy in policies)
        document.fail("ScalingPolicies", f"at most {MAX_POLICIES} that act at the same time, not {acting}")
    return policies[0].model_copy(update={"also": tuple(policies[1:])})


def write_policies(
    policies: Sequence[ScalingPolicy], group: str, kept: Mapping[str, list[Json]], label: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return scaling policies as ``PutScalingPolicy`` and ``PutMetricAlarm`` bodies.

    Args:
        policies: Those that act, each on its own.
        group: Name of the group.
        kept: What :func:`read_policies` kept, by policy name.
        label: Resource label of the target group, for request metrics that keep none.

    Raises:
        ValueError: A policy that AWS has no counterpart for.
    """
    bodies: list[dict[str, Any]] = []
    alarms: list[dict[str, Any]] = []
    for policy in policies:
        names = kept.get(policy.name, [])
        if policy.kind == "step":
            steps, invoking = write_step_policy(policy, group, names, _dimensions(policy, group, label))
            bodies += steps
            alarms += invoking
        elif policy.kind != "manual":
            body = {"AutoScalingGroupName": group, "PolicyName": policy.name}
            own_label = names[0].get("ResourceLabel", label) if names else label
            bodies.append({**body, **_write_configuration(policy, own_label)})
    return bodies, alarms


def _dimensions(policy: ScalingPolicy, group: str, label: str | None) -> list[Json]:
    if policy.metric == "cpu":
        return [{"Name": "AutoScalingGroupName", "Value": group}]
    found = _LABEL.fullmatch(label or "")
    if found is None:
        return []
    return [
        {"Name": "LoadBalancer", "Value": found["balancer"]},
        {"Name": "TargetGroup", "Value": found["targets"]},
    ]


def _write_configuration(policy: ScalingPolicy, label: str | None) -> dict[str, Any]:
    if policy.kind == "predictive":
        pair = _write_metric(policy, policy.metric, _PAIRS, label)
        specification = {"TargetValue": _write_target(policy, policy.metric), "PredefinedMetricPairSpecification": pair}
        return {
            "PolicyType": "PredictiveScaling",
            "PredictiveScalingConfiguration": {
                "MetricSpecifications": [specification],
                "Mode": "ForecastAndScale",
                "SchedulingBufferTime": 60 * policy.buffer_minutes,
            },
        }
    if policy.kind not in ("target_tracking_cpu", "target_tracking_requests"):
        raise ValueError(f"scaling policy {policy.name!r}: AWS has no counterpart of the kind {policy.kind}")
    counts = (policy.out_points, policy.out_periods or policy.out_points)
    if counts != (3, 3) or (policy.in_points, policy.in_periods or policy.in_points) != (15, 15):
        raise ValueError(
            f"scaling policy {policy.name!r}: AWS sets target tracking's alarms to 3 of 3 and 15 of 15 itself"
        )
    metric = "cpu" if policy.kind == "target_tracking_cpu" else "requests"
    return {
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingConfiguration": {
            "PredefinedMetricSpecification": _write_metric(policy, metric, _TRACKED, label),
            "TargetValue": _write_target(policy, metric),
            "DisableScaleIn": policy.disable_scale_in,
        },
    }


def _write_metric(policy: ScalingPolicy, metric: str, names: Mapping[str, str], label: str | None) -> dict[str, Any]:
    body = {"PredefinedMetricType": next(name for name, value in names.items() if value == metric)}
    if metric == "cpu":
        return body
    if label is None:
        raise ValueError(f"scaling policy {policy.name!r}: a request metric needs the target group's resource label")
    return {**body, "ResourceLabel": label}


def _write_target(policy: ScalingPolicy, metric: str) -> float:
    if metric == "cpu":
        return to_percent(policy.target_utilization)
    if policy.target_requests_per_minute is None:
        raise ValueError(f"scaling policy {policy.name!r}: AWS needs target_requests_per_minute, not a utilisation")
    return policy.target_requests_per_minute
