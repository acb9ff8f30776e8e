"""``CreateAutoScalingGroup`` bodies and refresh ``Preferences``: limits, launch specification, Spot share, refresh.

A member of a body is read, kept (it changes nothing in the simulation and is written back) or refused.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, get_args

from simulators.aws_documents import Json, Part, check_shape, to_percent, to_share
from simulators.aws_scaling import DEFAULT_COOLDOWN_S, LONGEST_WARMUP_S, GroupTimes
from simulators.catalogue import MAX_SPOT_POOLS, LaunchSpecification, OnDemandAllocation, SpotAllocation
from simulators.records import MAX_CHECKPOINTS, MAX_INSTANCES, MAX_MEMBERS, ZONES

MOST_TYPES: Final = 40
"""Quota of instance types in one mixed instances policy."""
SPOT_STRATEGIES: Final[tuple[str, ...]] = get_args(SpotAllocation)
ON_DEMAND_STRATEGIES: Final[tuple[str, ...]] = get_args(OnDemandAllocation)
TERMINATION_POLICIES: Final = (
    "Default",
    "AllocationStrategy",
    "OldestLaunchTemplate",
    "OldestLaunchConfiguration",
    "ClosestToNextInstanceHour",
    "NewestInstance",
    "OldestInstance",
)
DEFAULT_SPOT_POOLS: Final = 2
DEFAULT_MIN_HEALTHY: Final = 90
DEFAULT_CHECKPOINT_DELAY_S: Final = 3600

_GROUP_READ = (
    "AutoScalingGroupName",
    "MixedInstancesPolicy",
    "MinSize",
    "MaxSize",
    "CapacityRebalance",
    "DefaultInstanceWarmup",
)
_GROUP_KEPT = (
    "DesiredCapacity",
    "DesiredCapacityType",
    "DefaultCooldown",
    "AvailabilityZones",
    "AvailabilityZoneIds",
    "VPCZoneIdentifier",
    "AvailabilityZoneDistribution",
    "LoadBalancerNames",
    "TargetGroupARNs",
    "TrafficSources",
    "HealthCheckType",
    "HealthCheckGracePeriod",
    "TerminationPolicies",
    "MaxInstanceLifetime",
    "NewInstancesProtectedFromScaleIn",
    "DeletionProtection",
    "ServiceLinkedRoleARN",
    "Tags",
)
_REFRESH_READ = (
    "MinHealthyPercentage",
    "MaxHealthyPercentage",
    "InstanceWarmup",
    "CheckpointPercentages",
    "CheckpointDelay",
)
_REFRESH_KEPT = ("SkipMatching", "ScaleInProtectedInstances", "StandbyInstances", "AutoRollback", "BakeTime")
_OVERRIDE_KEPT = ("LaunchTemplateSpecification", "ImageId", "WeightedCapacity")


@dataclass(frozen=True)
class ReadGroup:
    """What a group body amounts to.

    Attributes:
        name: Name of the group.
        physics: Overrides of :class:`simulators.physics.Physics`.
        candidate: Its types and allocation strategies.
        spot_fraction: Share of Spot above the on-demand base, 0..1.
        times: Times that policies and refreshes fall back on.
        kept: Members the simulation does not read.
        overrides: What else an override holds, by instance type.
        template: The launch template specification.
    """

    name: str
    physics: dict[str, Any]
    candidate: LaunchSpecification
    spot_fraction: float
    times: GroupTimes
    kept: Json
    overrides: Mapping[str, Json]
    template: Json


def read_group(part: Part, types: Collection[str]) -> ReadGroup:
    """Return what a ``CreateAutoScalingGroup`` body amounts to.

    Args:
        part: The body.
        types: Names of the instance types that are simulated.

    Raises:
        AwsPolicyError: A group AWS would refuse, or one that is not simulated.
    """
    check_shape(part, "autoscaling", "CreateAutoScalingGroup")
    kept = part.understood(_GROUP_READ, _GROUP_KEPT, where="of a simulated group")
    low, high = _read_limits(part)
    _check_unsimulated(part)
    if "MixedInstancesPolicy" not in part:
        part.fail("MixedInstancesPolicy", "a value: the instance types have to stand in the document")
    mixed = part.child("MixedInstancesPolicy")
    if "LaunchTemplate" not in mixed:
        mixed.fail("LaunchTemplate", "a value: its Overrides name the instance types")
    template = mixed.child("LaunchTemplate")
    overrides = _read_overrides(template, types)
    distribution = mixed.child("InstancesDistribution")
    distribution.understood(_DISTRIBUTION, where="of a simulated distribution")
    base = int(distribution.in_range("OnDemandBaseCapacity", 0, MAX_INSTANCES, 0))
    percent = distribution.in_range("OnDemandPercentageAboveBaseCapacity", 0, 100, 100)
    return ReadGroup(
        name=part.get("AutoScalingGroupName"),
        physics={
            "min_instances": low,
            "max_instances": high,
            "on_demand_base": base,
            "capacity_rebalancing": part.get("CapacityRebalance", False),
        },
        candidate=_read_candidate(part.get("AutoScalingGroupName"), tuple(overrides), distribution),
        spot_fraction=to_share(100 - percent),
        times=_read_times(part),
        kept=kept,
        overrides=overrides,
        template=template.get("LaunchTemplateSpecification", {}),
    )


def _read_limits(part: Part) -> tuple[int, int]:
    low = int(part.in_range("MinSize", 1, MAX_INSTANCES))
    high = int(part.in_range("MaxSize", 1, MAX_INSTANCES))
    if low > high:
        part.fail("MinSize", f"at most MaxSize, {high}")
    part.in_range("DesiredCapacity", low, high)
    return low, high


def _read_times(part: Part) -> GroupTimes:
    warmup = part.in_range("DefaultInstanceWarmup", -1, LONGEST_WARMUP_S)
    return GroupTimes(
        default_warmup_s=None if warmup == -1 else warmup,
        default_cooldown_s=part.in_range("DefaultCooldown", 0, 86_400, DEFAULT_COOLDOWN_S),
        grace_s=part.in_range("HealthCheckGracePeriod", 0, float("inf"), 0),
    )


def _check_unsimulated(part: Part) -> None:
    """Refuse settings whose values AWS would refuse or whose effects are not simulated."""
    part.one_of("DesiredCapacityType", ("units",), "units")
    kinds = part.get("HealthCheckType", "EC2").split(",")
    if not set(kinds) <= {"EC2", "EBS", "ELB", "VPC_LATTICE"}:
        part.fail("HealthCheckType", "EC2, EBS, ELB, VPC_LATTICE, or several with commas between them")
    part.child("AvailabilityZoneDistribution").one_of(
        "CapacityDistributionStrategy", ("balanced-best-effort",), "balanced-best-effort"
    )
    if part.get("NewInstancesProtectedFromScaleIn", False):
        part.fail("NewInstancesProtectedFromScaleIn", "false: protection is not simulated")
    lifetime = part.get("MaxInstanceLifetime", 0)
    if lifetime != 0:
        longest = "it left out: a maximum lifetime is not simulated"
        part.fail("MaxInstanceLifetime", longest if lifetime >= 86_400 else "0, or 86400 or more")
    _check_termination(part)
    zones = _zones(part)
    if len(zones) != ZONES:
        part.fail(
            next((name for name in _ZONE_NAMES if name in part), "AvailabilityZones"),
            f"{ZONES} zones, one subnet in each",
        )


_ZONE_NAMES = ("AvailabilityZones", "AvailabilityZoneIds", "VPCZoneIdentifier")


def _zones(part: Part) -> set[str]:
    for name in _ZONE_NAMES[:2]:
        if name in part:
            return set(part.get(name))
    return {subnet.strip() for subnet in part.get("VPCZoneIdentifier", "").split(",") if subnet.strip()}


def _check_termination(part: Part) -> None:
    policies = part.get("TerminationPolicies", ["Default"])
    for place, policy in enumerate(policies):
        custom = policy.startswith("arn:") and ":lambda:" in policy
        if not custom and policy not in TERMINATION_POLICIES:
            part.fail("TerminationPolicies", f"{', '.join(TERMINATION_POLICIES)}, or the ARN of a Lambda function")
        if custom and place > 0:
            part.fail("TerminationPolicies", "the Lambda function first")
        if policy == "Default" and place < len(policies) - 1:
            part.fail("TerminationPolicies", "Default last")
    if policies != ["Default"]:
        part.fail("TerminationPolicies", "Default: other termination policies are not simulated")


_DISTRIBUTION = (
    "OnDemandAllocationStrategy",
    "OnDemandBaseCapacity",
    "OnDemandPercentageAboveBaseCapacity",
    "SpotAllocationStrategy",
    "SpotInstancePools",
)


def _read_overrides(template: Part, types: Collection[str]) -> dict[str, Json]:
    """Return what else each override holds, by instance type, in the order of priority."""
    template.understood(("LaunchTemplateSpecification", "Overrides"), where="of a launch template")
    parts = template.children("Overrides")
    if not 1 <= len(parts) <= MOST_TYPES:
        template.fail("Overrides", f"1 to {MOST_TYPES} instance types (AWS's limit)")
    overrides: dict[str, Json] = {}
    for part in parts:
        kept = part.understood(("InstanceType",), _OVERRIDE_KEPT, where="of a simulated override: give instance types")
        name = part.get("InstanceType")
        if name not in types:
            close = get_close_matches(str(name), types)
            part.fail("InstanceType", f"a simulated type{', for example ' + ', '.join(close) if close else ''}")
        if name in overrides:
            part.fail("InstanceType", "each type once")
        part.one_of("WeightedCapacity", ("1",), "1")
        overrides[name] = kept
    if len(parts) > MAX_MEMBERS:
        template.fail("Overrides", f"at most {MAX_MEMBERS} types in the simulation, not {len(parts)}")
    return overrides


def _read_candidate(name: str, types: tuple[str, ...], distribution: Part) -> LaunchSpecification:
    spot = distribution.one_of("SpotAllocationStrategy", SPOT_STRATEGIES, "lowest-price")
    if "SpotInstancePools" in distribution and spot != "lowest-price":
        distribution.fail("SpotInstancePools", "it left out without the lowest-price strategy")
    return LaunchSpecification(
        name,
        types,
        spot_allocation=spot,
        spot_pools=int(distribution.in_range("SpotInstancePools", 1, MAX_SPOT_POOLS, DEFAULT_SPOT_POOLS)),
        on_demand_allocation=distribution.one_of("OnDemandAllocationStrategy", ON_DEMAND_STRATEGIES, "prioritized"),
    )


def write_group(
    name: str, physics: Json, candidate: LaunchSpecification, spot_fraction: float, kept: Json
) -> dict[str, Any]:
    """Return a ``CreateAutoScalingGroup`` body.

    Args:
        name: Name of the group.
        physics: Overrides of :class:`simulators.physics.Physics`, as read.
        candidate: Types and strategies.
        spot_fraction: Share of Spot above the on-demand base, whole percent.
        kept: ``group``, ``overrides`` and ``template`` of what was read.

    Raises:
        ValueError: A Spot share that is not whole percent.
    """
    distribution: dict[str, Any] = {
        "OnDemandAllocationStrategy": candidate.on_demand_allocation,
        "OnDemandBaseCapacity": physics["on_demand_base"],
        "OnDemandPercentageAboveBaseCapacity": _whole_percent(1.0 - spot_fraction),
        "SpotAllocationStrategy": candidate.spot_allocation,
    }
    if candidate.spot_allocation == "lowest-price":
        distribution["SpotInstancePools"] = candidate.spot_pools
    others = kept.get("overrides", {})
    return {
        "AutoScalingGroupName": name,
        "MixedInstancesPolicy": {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": kept.get("template", {}),
                "Overrides": [{"InstanceType": member, **others.get(member, {})} for member in candidate.types],
            },
            "InstancesDistribution": distribution,
        },
        "MinSize": physics["min_instances"],
        "MaxSize": physics["max_instances"],
        "CapacityRebalance": physics["capacity_rebalancing"],
        "DefaultInstanceWarmup": physics["instance_warmup_s"],
        **_kept_group(physics, kept.get("group", {})),
    }


def _kept_group(physics: Json, kept: Json) -> dict[str, Any]:
    """Return the kept members, without a desired capacity that the limits no longer hold."""
    desired = kept.get("DesiredCapacity", physics["min_instances"])
    if physics["min_instances"] <= desired <= physics["max_instances"]:
        return dict(kept)
    return {name: value for name, value in kept.items() if name != "DesiredCapacity"}


def read_refresh(part: Part, times: GroupTimes, warmup_s: int) -> tuple[dict[str, Any], Json]:
    """Return what refresh ``Preferences`` amount to as overrides of the physics, and what to keep of them.

    Args:
        part: The preferences, empty for AWS's defaults.
        times: Times of the group.
        warmup_s: Warm-up of the group's policies, with which a given refresh has to agree.

    Raises:
        AwsPolicyError: Preferences AWS would refuse, or that are not simulated.
    """
    check_shape(part, "autoscaling", "RefreshPreferences")
    kept = part.understood(_REFRESH_READ, _REFRESH_KEPT, where="of a simulated refresh")
    if part.get("AutoRollback", False):
        part.fail("AutoRollback", "false: a roll-back is not simulated")
    if part.get("BakeTime", 0):
        part.fail("BakeTime", "0: a bake time is not simulated")
    low, high = part.get("MinHealthyPercentage", DEFAULT_MIN_HEALTHY), _read_ceiling(part)
    if high - low > 100:
        part.fail("MaxHealthyPercentage", f"at most 100 above MinHealthyPercentage, {low}")
    part.in_range("InstanceWarmup", 0, LONGEST_WARMUP_S)
    found = times.refresh_warmup_s(part.get("InstanceWarmup"))
    if part.value and found != warmup_s:
        part.fail("InstanceWarmup", f"{warmup_s} s as for the policies: a group has one warm-up, not {found} s")
    checkpoints = tuple(to_share(percent) for percent in _read_checkpoints(part))
    delay = part.get("CheckpointDelay", DEFAULT_CHECKPOINT_DELAY_S)
    if "CheckpointDelay" in part and (not checkpoints or delay % 60):
        part.fail("CheckpointDelay", "whole minutes, beside CheckpointPercentages")
    return {
        "min_healthy_fraction": to_share(low),
        "max_healthy_fraction": to_share(high),
        "checkpoints": checkpoints,
        "checkpoint_delay_s": delay,
    }, kept


def _read_ceiling(part: Part) -> int:
    name = "MaxHealthyPercentage"
    if name not in part:
        return 100
    if "MinHealthyPercentage" not in part:
        part.fail("MinHealthyPercentage", f"a value, because {name} is given")
    if part.get(name) == 100:
        part.fail(name, "above 100, or left out: given as 100 it may launch first, which is not simulated")
    return int(part.get(name))


def _read_checkpoints(part: Part) -> list[int]:
    percentages = list(part.get("CheckpointPercentages", []))
    if percentages != sorted(set(percentages)):
        part.fail("CheckpointPercentages", "rising percentages")
    if len(percentages) > MAX_CHECKPOINTS:
        part.fail("CheckpointPercentages", f"at most {MAX_CHECKPOINTS} in the simulation, not {len(percentages)}")
    return percentages


def write_refresh(physics: Json, kept: Json) -> dict[str, Any]:
    """Return refresh ``Preferences``; the warm-up is the group's ``DefaultInstanceWarmup``.

    Raises:
        ValueError: Shares that are not whole percent.
    """
    body: dict[str, Any] = {"MinHealthyPercentage": _whole_percent(physics["min_healthy_fraction"])}
    if physics["max_healthy_fraction"] > 1.0:
        body["MaxHealthyPercentage"] = _whole_percent(physics["max_healthy_fraction"])
    if physics["checkpoints"]:
        body["CheckpointPercentages"] = [_whole_percent(share) for share in physics["checkpoints"]]
        body["CheckpointDelay"] = physics["checkpoint_delay_s"]
    return {**body, **kept}


def _whole_percent(share: float) -> int:
    percent = to_percent(share)
    if not isinstance(percent, int):
        raise ValueError(f"AWS takes whole percent, not {percent}")
    return percent
