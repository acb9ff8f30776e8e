"""Planted faults in AWS documents: each is refused, with the file, the place, the value and what was expected."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_bodies import (
    LABEL,
    Document,
    alarm,
    group_of,
    predictive,
    shipped,
    simple,
    step,
    tracking,
)

from simulators.aws_documents import AwsPolicyError
from simulators.aws_policies import load_group


def changed(document: Document, path: str, value: Any) -> Document:
    """A copy with one member replaced, or removed where the value is None."""
    copied = copy.deepcopy(document)
    *places, last = re.findall(r"[A-Za-z]+|\d+", path)
    part: Any = copied
    for place in places:
        part = part[int(place)] if place.isdigit() else part.setdefault(place, {})
    if value is None:
        del part[last]
    else:
        part[int(last) if last.isdigit() else last] = value
    return copied


GROUP = "AutoScalingGroup."
MIXED = GROUP + "MixedInstancesPolicy."
FAULTS: list[tuple[str, Any, str, str]] = [
    # (path, value, place in the message, what was expected)
    (GROUP + "MinSize", 41, GROUP + "MinSize: 41", "at most MaxSize, 40"),
    (GROUP + "MinSize", 0, GROUP + "MinSize: 0", "1 to 99"),
    (GROUP + "MinSize", None, "AutoScalingGroup.MinSize: null", "required"),
    (GROUP + "MinSize", "2", 'MinSize: "2"', "type integer"),
    (GROUP + "MinSize", True, "MinSize: true", "type integer"),
    (GROUP + "MaxSize", 100, "MaxSize: 100", "1 to 99"),
    (GROUP + "DesiredCapacity", 1, "DesiredCapacity: 1", "2 to 40"),
    (GROUP + "Size", 3, GROUP + "Size: 3", "one of the members"),
    (GROUP + "LifecycleHookSpecificationList", [], "HookSpecificationList", "left out: not part of a simulated"),
    (GROUP + "InstanceMaintenancePolicy", {}, "InstanceMaintenancePolicy", "left out"),
    (GROUP + "PlacementGroup", "p", "PlacementGroup", "left out"),
    (GROUP + "VPCZoneIdentifier", "subnet-a,subnet-b", "VPCZoneIdentifier", "3 zones"),
    (GROUP + "HealthCheckType", "TCP", "HealthCheckType", "VPC_LATTICE"),
    (GROUP + "DesiredCapacityType", "vcpu", "DesiredCapacityType", "units"),
    (GROUP + "NewInstancesProtectedFromScaleIn", True, "NewInstancesProtectedFromScaleIn", "false"),
    (GROUP + "AvailabilityZoneDistribution.CapacityDistributionStrategy", "balanced-only", "Strategy", "best-effort"),
    (GROUP + "MixedInstancesPolicy", None, "MixedInstancesPolicy: left out", "instance types"),
    (MIXED + "LaunchTemplate", None, "LaunchTemplate: left out", "Overrides"),
    (MIXED + "LaunchTemplate.Overrides", [], "Overrides: []", "1 to 40"),
    (MIXED + "LaunchTemplate.Overrides[1].InstanceType", "m7.large", "Overrides[1].InstanceType", "for example m7"),
    (MIXED + "LaunchTemplate.Overrides[1].InstanceType", "m6a.large", "Overrides[1].InstanceType", "each type once"),
    (MIXED + "LaunchTemplate.Overrides[0].WeightedCapacity", "2", "WeightedCapacity", "one of 1"),
    (MIXED + "LaunchTemplate.Overrides[0].InstanceRequirements", {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 1}},
     "InstanceRequirements", "give instance types"),
    (MIXED + "InstancesDistribution.OnDemandPercentageAboveBaseCapacity", 101, "AboveBaseCapacity: 101", "0 to 100"),
    (MIXED + "InstancesDistribution.OnDemandBaseCapacity", -1, "OnDemandBaseCapacity: -1", "0 to 99"),
    (MIXED + "InstancesDistribution.SpotMaxPrice", "0.05", "SpotMaxPrice", "left out"),
    ("ScalingPolicies[0].StepAdjustments[2].ScalingAdjustment", -1, "[2].ScalingAdjustment: -1", "0 or more"),
    ("ScalingPolicies[1].StepAdjustments[0].ScalingAdjustment", 1, "[0].ScalingAdjustment: 1", "0 or less"),
    ("ScalingPolicies[1].StepAdjustments[2].MetricIntervalLowerBound", -9, "[1].StepAdjustments[2].MetricInterval",
     "neither overlap nor leave gaps"),
    ("ScalingPolicies[0].StepAdjustments[0].ScalingAdjustment", None, "[0].StepAdjustments[0].Scaling", "required"),
    ("ScalingPolicies[0].StepAdjustments[0].ScalingAdjustment", 1.5, "[0].ScalingAdjustment: 1.5", "type integer"),
    ("ScalingPolicies[0].AdjustmentType", None, "AdjustmentType: left out", "ExactCapacity"),
    ("ScalingPolicies[0].MetricAggregationType", "Maximum", "MetricAggregationType", "Average"),
    ("ScalingPolicies[0].MinAdjustmentMagnitude", 0, "MinAdjustmentMagnitude: 0", "1 to 99"),
    ("ScalingPolicies[0].Cooldown", 300, "ScalingPolicies[0].Cooldown", "left out"),
    ("ScalingPolicies[0].Enabled", False, "ScalingPolicies[0].Enabled", "true"),
    ("ScalingPolicies[0].PolicyType", "Magic", "PolicyType", "TargetTrackingScaling"),
    ("ScalingPolicies[0].AutoScalingGroupName", "other", "ScalingPolicies[0].AutoScalingGroupName", "'shop'"),
    ("ScalingPolicies[0].PolicyName", "remove", "ScalingPolicies[0].PolicyName", "a name of its own"),
    ("ScalingPolicies[0].EstimatedInstanceWarmup", 3601, "EstimatedInstanceWarmup: 3601", "0 to 3600"),
    ("ScalingPolicies[1].EstimatedInstanceWarmup", 60, "ScalingPolicies[1].EstimatedInstanceWarmup: 60", "one warm-up"),
    ("Alarms[0].AlarmActions", ["nobody"], "Alarms[0].AlarmActions", "policy of this document"),
    ("Alarms[0].AlarmActions", [], "Alarms[0].AlarmActions", "policy of this document"),
    ("Alarms[1].AlarmActions", ["add"], "Alarms[1].AlarmActions", "has one already"),
    ("Alarms[0].OKActions", ["remove"], "Alarms[0].OKActions", "no scaling policy"),
    ("Alarms[0].DatapointsToAlarm", 4, "DatapointsToAlarm: 4", "1 to 3"),
    ("Alarms[0].EvaluationPeriods", 33, "EvaluationPeriods: 33", "1 to 32"),
    ("Alarms[0].Threshold", 101, "Threshold: 101", "0 to 100"),
    ("Alarms[0].Threshold", None, "Threshold: left out", "required"),
    ("Alarms[0].Statistic", "Maximum", "Statistic", "Average"),
    ("Alarms[0].MetricName", "MemoryUsed", "MetricName", "AWS/EC2 CPUUtilization or AWS/ApplicationELB"),
    ("Alarms[0].Dimensions", [{"Name": "InstanceId", "Value": "i-1"}], "Dimensions", "AutoScalingGroupName"),
    ("Alarms[0].Dimensions[0].Value", "other", "Alarms[0].Dimensions", "'shop'"),
    ("Alarms[0].TreatMissingData", "breaching", "TreatMissingData", "missing"),
    ("Alarms[0].TreatMissingData", "hide", "TreatMissingData", "notBreaching"),
    ("Alarms[0].ActionsEnabled", False, "ActionsEnabled", "true"),
    ("Alarms[0].ExtendedStatistic", "p90", "ExtendedStatistic", "left out"),
    ("Alarms[1].AlarmName", "shop-add", "Alarms[1].AlarmName", "a name of its own"),
    ("Alarms", [], "ScalingPolicies[0].PolicyName", "an alarm in Alarms"),
    ("ScheduledActions[0].DesiredCapacity", 41, "ScheduledActions[0].DesiredCapacity: 41", "2 to 40"),
    ("ScheduledActions[0].DesiredCapacity", None, "ScheduledActions[0].DesiredCapacity: left out", "a size"),
    ("ScheduledActions[0].Recurrence", None, "ScheduledActions[0].Recurrence: left out", "single dates"),
    ("ScheduledActions[0].Recurrence", "0 8 1 * *", "ScheduledActions[0].Recurrence", "daily and weekly"),
    ("ScheduledActions[0].Recurrence", "*/5 8 * * *", "ScheduledActions: ", "at most 16 changes a week"),
    ("ScheduledActions[0].Recurrence", "30 20 * * 1", "ScheduledActions[1].Recurrence", "no other scheduled action"),
    ("ScheduledActions[0].TimeZone", "Europe/Oslo", "TimeZone", "UTC"),
    ("ScheduledActions[0].MaxSize", 50, "ScheduledActions[0].MaxSize: 50", "40, the group's"),
    ("ScheduledActions[0].StartTime", "2026-06-01T00:00:00Z", "StartTime", "left out"),
    ("ScheduledActions[0].StartTime", "soon", "StartTime", "a time as 2026"),
    ("ScheduledActions[1].ScheduledActionName", "working-days", "[1].ScheduledActionName", "a name of its own"),
    ("RefreshPreferences.MinHealthyPercentage", 101, "RefreshPreferences.MinHealthyPercentage: 101", "0 to 100"),
    ("RefreshPreferences.MaxHealthyPercentage", 201, "MaxHealthyPercentage: 201", "100 to 200"),
    ("RefreshPreferences.MaxHealthyPercentage", 191, "MaxHealthyPercentage: 191", "at most 100 above"),
    ("RefreshPreferences.MaxHealthyPercentage", 100, "MaxHealthyPercentage: 100", "above 100, or left out"),
    ("RefreshPreferences", {"MaxHealthyPercentage": 110}, "MinHealthyPercentage: left out", "MaxHealthyPercentage"),
    ("RefreshPreferences.InstanceWarmup", 60, "InstanceWarmup: 60", "300 s as for the policies"),
    ("RefreshPreferences.CheckpointPercentages", [50, 20], "CheckpointPercentages: [50, 20]", "rising"),
    ("RefreshPreferences.CheckpointPercentages", [0, 20], "CheckpointPercentages[0]: 0", "1 to 100"),
    ("RefreshPreferences.CheckpointPercentages", [1, 2, 3, 4, 5], "CheckpointPercentages", "at most 4"),
    ("RefreshPreferences.CheckpointDelay", 60, "CheckpointDelay: 60", "beside CheckpointPercentages"),
    ("RefreshPreferences.AutoRollback", True, "AutoRollback", "false"),
    ("RefreshPreferences.BakeTime", 60, "BakeTime", "0"),
    ("RefreshPreferences.AlarmSpecification", {}, "AlarmSpecification", "left out"),
    ("WarmPool", {}, "WarmPool", "left out: not part of a group document"),
    ("AutoScalingGroup", None, "AutoScalingGroup: left out", "CreateAutoScalingGroup body"),
    ("Alarms", {}, "Alarms: {}", "a list of JSON objects"),
    ("ScalingPolicies[0]", 3, "ScalingPolicies", "a list of JSON objects"),
    ("RefreshPreferences", [], "RefreshPreferences: []", "a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "place", "expected"), FAULTS)
def test_a_planted_fault_is_refused_where_it_stands(
    path: str, value: Any, place: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "planted.json"
    file.write_text(json.dumps(changed(shipped("step"), path, value)))
    with pytest.raises(AwsPolicyError) as refusal:
        load_group(file)
    message = str(refusal.value)
    assert message.startswith(f"{file}: ")
    assert place in message
    assert expected in message.partition("expected")[2]


TRACKING_FAULTS: list[tuple[Document, str, str]] = [
    (tracking(TargetValue=0), "TargetTrackingConfiguration.TargetValue: 0", "above 5 and below 100"),
    (tracking(TargetValue=100), "TargetValue: 100", "above 5 and below 100"),
    (
        tracking(PredefinedMetricSpecification={"PredefinedMetricType": "ALBRequestCountPerTarget"}),
        "ResourceLabel",
        "app/",
    ),
    (
        tracking(
            PredefinedMetricSpecification={"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": LABEL},
            TargetValue=-1,
        ),
        "TargetValue: -1",
        "more than 0",
    ),
    (
        tracking(
            PredefinedMetricSpecification={"PredefinedMetricType": "ASGAverageCPUUtilization", "ResourceLabel": LABEL}
        ),
        "ResourceLabel",
        "left out",
    ),
    (tracking(CustomizedMetricSpecification={}), "TargetTrackingConfiguration: ", "one of Predefined"),
    ({key: value for key, value in tracking().items() if key != "TargetTrackingConfiguration"}, "left out", "needs it"),
    (predictive(SchedulingBufferTime=3600), "SchedulingBufferTime: 3600", "0 to 3599"),
    (predictive(SchedulingBufferTime=90), "SchedulingBufferTime: 90", "whole minutes"),
    (predictive(MaxCapacityBreachBehavior="IncreaseMaxCapacity", MaxCapacityBuffer=10), "Behavior", "HonorMaxCapacity"),
    (predictive(MaxCapacityBuffer=10), "MaxCapacityBuffer: 10", "left out without IncreaseMaxCapacity"),
    (predictive(MaxCapacityBuffer=101), "MaxCapacityBuffer: 101", "0 to 100"),
    (predictive(Mode="Scale"), "Mode", "ForecastAndScale, ForecastOnly"),
    (predictive(MetricSpecifications=[]), "MetricSpecifications: []", "one metric specification"),
    (
        predictive(MetricSpecifications=[{"TargetValue": 40, "PredefinedLoadMetricSpecification": {}}]),
        "PredefinedLoadMetricSpecification",
        "required",
    ),
]


@pytest.mark.parametrize(("body", "place", "expected"), TRACKING_FAULTS)
def test_a_faulty_target_or_forecast_is_refused_where_it_stands(body: Document, place: str, expected: str) -> None:
    with pytest.raises(AwsPolicyError, match=r"^document: ScalingPolicies\[0\]") as refusal:
        group_of(body)
    assert place in str(refusal.value)
    assert expected in str(refusal.value).partition("expected")[2]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (simple(Cooldown=0), "Cooldown: 0; expected 60"),
        (simple(Cooldown=90), "Cooldown: 90; expected whole minutes"),
        (simple(MinAdjustmentMagnitude=2), "MinAdjustmentMagnitude: 2; expected it left out"),
        ({key: value for key, value in simple().items() if key != "ScalingAdjustment"}, "ScalingAdjustment: left out"),
        (simple(AdjustmentType="ExactCapacity", ScalingAdjustment=100), "ScalingAdjustment: 100; expected 0 to 99"),
    ],
)
def test_faulty_simple_scaling_is_refused(body: Document, place: str) -> None:
    with pytest.raises(AwsPolicyError, match=re.escape(f"ScalingPolicies[0].{place}")):
        group_of(body, Alarms=[alarm()])


def test_cpu_never_exceeds_100_percent() -> None:
    group_of(step(), Alarms=[alarm(Threshold=100)])
    with pytest.raises(AwsPolicyError, match="which CPU utilisation never exceeds"):
        group_of(step(), Alarms=[alarm(Threshold=100, ComparisonOperator="GreaterThanThreshold")])


def test_more_policies_than_act_at_once_are_refused() -> None:
    with pytest.raises(AwsPolicyError, match="at most 3 that act at the same time"):
        group_of(*(tracking(f"t{place}") for place in range(4)))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"AutoScalingGroup": {}, "AutoScalingGroup": {}}', '{"a": NaN}'])
def test_a_file_that_is_no_document_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(AwsPolicyError, match=re.escape(str(file))):
        load_group(file)


def test_not_a_number_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "nan.json"
    file.write_text(json.dumps(changed(shipped("step"), "Alarms[0].Threshold", float("nan"))))
    with pytest.raises(AwsPolicyError, match=r"Alarms\[0\]\.Threshold: NaN; expected a value of type double"):
        load_group(file)
