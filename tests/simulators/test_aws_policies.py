"""AWS's own JSON: what loads, what it means, what comes back, and every refusal with the place it names."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from aws_bodies import (
    LABEL,
    SHIPPED,
    Document,
    action,
    alarm,
    distribution,
    group_of,
    predictive,
    shipped,
    simple,
    smallest,
    step,
    tracking,
)
from facts import fact
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from simulators.adjustments import PERCENT_CHANGE_IN_CAPACITY, alarm_state, in_step, step_capacity
from simulators.aws_documents import AwsPolicyError
from simulators.aws_groups import MOST_TYPES
from simulators.aws_policies import group_document, load_group, parse_group, save_group
from simulators.aws_scaling import MOST_POLICIES, GroupTimes
from simulators.aws_schedules import MOST_ACTIONS, recurrence_minutes
from simulators.aws_steps import MOST_STEPS
from simulators.catalogue import TYPES, Catalogue
from simulators.menu import ScalingPolicy, ScheduledSize, Step
from simulators.physics import Physics, WorldSettings, physics_record


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_a_shipped_document_loads_fits_a_world_and_comes_back_as_it_is(path: Path) -> None:
    group = load_group(path)
    assert group_document(group) == json.loads(path.read_text())
    record = physics_record(Catalogue(candidates=(group.candidate,)), WorldSettings(physics=Physics(**group.physics)))
    assert record["num_members"][0, 0] == len(group.candidate.types)


def test_the_best_practice_document_follows_the_guide() -> None:
    group = load_group(SHIPPED / "best-practice.json")
    assert len(group.candidate.types) >= 10
    assert group.candidate.spot_allocation == "price-capacity-optimized"
    assert group.physics["capacity_rebalancing"] is True
    assert group.physics["instance_warmup_s"] == 180
    assert [group.policy.kind, *(policy.kind for policy in group.policy.also)] == [
        "target_tracking_requests",
        "predictive",
    ]
    assert group.policy.native


@fact("SS-02")
def test_the_shipped_step_document_is_the_published_example() -> None:
    policy = load_group(SHIPPED / "step.json").policy
    assert policy.high_threshold == policy.low_threshold == 0.5
    sizes = [10]
    for cpu in (0.6, 0.7, 0.4, 0.3):
        steps, above = (policy.steps_out, True) if cpu > 0.5 else (policy.steps_in, False)
        (found,) = [
            each
            for each in steps
            if in_step(
                cpu - 0.5,
                -math.inf if each.lower is None else each.lower,
                math.inf if each.upper is None else each.upper,
                above,
            )
        ]
        sizes.append(step_capacity(sizes[-1], found.change, PERCENT_CHANGE_IN_CAPACITY, policy.min_magnitude))
    assert sizes == [10, 11, 14, 13, 10]


def test_without_botocore_the_import_works_and_reading_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['botocore'] = None\n"
        "from simulators.aws_policies import load_group\n"
        "try: load_group(sys.argv[1])\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    path = SHIPPED / "step.json"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == "reading AWS documents needs botocore: pip install 'fleetgym[aws]'", result.stderr


def test_the_examples_of_the_page_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    root = SHIPPED.parents[1]
    page = (root / "docs" / "aws-policies.md").read_text()
    monkeypatch.chdir(root)
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)  # type: ignore[index]
    assert names["physics"].max_instances == 60
    assert names["group"].spot_fraction == 0.7
    document = shipped("step")
    document["ScalingPolicies"][1]["StepAdjustments"][2]["MetricIntervalLowerBound"] = -9
    with pytest.raises(AwsPolicyError) as refusal:
        parse_group(document, source="step.json")
    assert str(refusal.value) in " ".join(page.split())


def test_saving_writes_what_loads_again(tmp_path: Path) -> None:
    group = load_group(SHIPPED / "step.json")
    save_group(tmp_path / "again.json", group)
    assert load_group(tmp_path / "again.json") == group
    assert [path.name for path in tmp_path.iterdir()] == ["again.json"]


@fact("MI-01")
def test_a_mixed_group_is_on_demand_unless_told_otherwise() -> None:
    group = distribution()
    assert group.physics["on_demand_base"] == 0
    assert group.on_demand_fraction == 1.0
    assert group_document(group)["AutoScalingGroup"]["MixedInstancesPolicy"]["InstancesDistribution"] == {
        "OnDemandAllocationStrategy": "prioritized",
        "OnDemandBaseCapacity": 0,
        "OnDemandPercentageAboveBaseCapacity": 100,
        "SpotAllocationStrategy": "lowest-price",
        "SpotInstancePools": 2,
    }


@fact("MI-03")
def test_spot_allocation_strategies_and_their_default() -> None:
    assert distribution().candidate.spot_allocation == "lowest-price"
    assert distribution().candidate.spot_pools == 2
    assert distribution(SpotInstancePools=20).candidate.spot_pools == 20
    for strategy in (
        "capacity-optimized",
        "capacity-optimized-prioritized",
        "price-capacity-optimized",
        "lowest-price",
    ):
        assert distribution(SpotAllocationStrategy=strategy).candidate.spot_allocation == strategy
    for wrong in ({"SpotAllocationStrategy": "cheapest"}, {"SpotInstancePools": 21}, {"SpotInstancePools": 0}):
        with pytest.raises(AwsPolicyError, match=r"InstancesDistribution\.Spot"):
            distribution(**wrong)
    with pytest.raises(AwsPolicyError, match=r"SpotInstancePools.*lowest-price"):
        distribution(SpotAllocationStrategy="capacity-optimized", SpotInstancePools=2)


@fact("MI-04")
def test_on_demand_allocation_strategies_and_their_default() -> None:
    assert distribution().candidate.on_demand_allocation == "prioritized"
    assert distribution(OnDemandAllocationStrategy="lowest-price").candidate.on_demand_allocation == "lowest-price"
    with pytest.raises(AwsPolicyError, match=r"OnDemandAllocationStrategy.*prioritized"):
        distribution(OnDemandAllocationStrategy="diversified")


@fact("IR-02")
def test_refresh_defaults_are_those_of_the_api() -> None:
    physics = group_of().physics
    assert (physics["min_healthy_fraction"], physics["max_healthy_fraction"]) == (0.9, 1.0)
    assert physics["checkpoints"] == ()
    checkpoints = {"CheckpointPercentages": [20, 50], "InstanceWarmup": 300}
    physics = group_of(RefreshPreferences=checkpoints).physics
    assert (physics["checkpoints"], physics["checkpoint_delay_s"]) == ((0.2, 0.5), 3600)
    longest = {**checkpoints, "CheckpointDelay": 172_800}
    assert group_of(RefreshPreferences=longest).physics["checkpoint_delay_s"] == 172_800
    with pytest.raises(AwsPolicyError, match=r"RefreshPreferences\.CheckpointDelay: 172860; expected 0 to 172800"):
        group_of(RefreshPreferences={**longest, "CheckpointDelay": 172_860})


@fact("SS-07")
def test_without_a_warm_up_the_default_cooldown_counts() -> None:
    assert group_of(tracking()).physics["instance_warmup_s"] == 300
    document = smallest()
    document["AutoScalingGroup"]["DefaultCooldown"] = 120
    assert parse_group(document).physics["instance_warmup_s"] == 120


@fact("SS-08")
@pytest.mark.parametrize(
    ("estimated", "default", "policy", "refresh"),
    [(None, None, 300, 77), (None, 60, 60, 60), (40, 60, 40, 60), (40, None, 40, 77), (0, 60, 0, 60), (None, 0, 0, 0)],
)
def test_the_precedence_of_warm_ups(estimated: int | None, default: int | None, policy: int, refresh: int) -> None:
    times = GroupTimes(default_warmup_s=default, grace_s=77)
    assert times.policy_warmup_s(estimated) == policy
    assert times.refresh_warmup_s(None) == refresh
    assert times.refresh_warmup_s(11) == 11
    document = {**smallest(), "ScalingPolicies": [tracking()]}
    if estimated is not None:
        document["ScalingPolicies"][0]["EstimatedInstanceWarmup"] = estimated
    document["AutoScalingGroup"]["DefaultInstanceWarmup"] = -1 if default is None else default
    assert parse_group(document).physics["instance_warmup_s"] == policy


@pytest.mark.parametrize("seconds", [-2, 3601])
@fact("SS-08")
def test_a_default_warm_up_lies_in_an_hour(seconds: int) -> None:
    document = smallest()
    document["AutoScalingGroup"]["DefaultInstanceWarmup"] = seconds
    with pytest.raises(AwsPolicyError, match=r"DefaultInstanceWarmup: .*expected -1 to 3600"):
        parse_group(document)


@fact("TT-01")
def test_the_predefined_metrics_of_target_tracking() -> None:
    cpu = group_of(tracking()).policy
    assert (cpu.kind, cpu.target_utilization, cpu.low_ratio) == ("target_tracking_cpu", 0.5, 0.7)
    requests = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": LABEL}
    counted = group_of(tracking(PredefinedMetricSpecification=requests, TargetValue=1000)).policy
    assert (counted.kind, counted.target_requests_per_minute) == ("target_tracking_requests", 1000.0)
    for network in ("ASGAverageNetworkIn", "ASGAverageNetworkOut"):
        with pytest.raises(AwsPolicyError, match="network traffic"):
            group_of(tracking(PredefinedMetricSpecification={"PredefinedMetricType": network}))
    with pytest.raises(AwsPolicyError, match=r"expected one of ASGAverageCPUUtilization, .*ALBRequestCountPerTarget"):
        group_of(tracking(PredefinedMetricSpecification={"PredefinedMetricType": "ASGAverageMemory"}))


def test_the_managed_alarms_and_the_scale_in_switch_are_carried_over() -> None:
    policy = group_of(tracking(DisableScaleIn=True)).policy
    assert policy.disable_scale_in
    assert (policy.out_points, policy.out_periods, policy.in_points, policy.in_periods) == (3, 3, 15, 15)
    assert not group_of(tracking()).policy.disable_scale_in


def test_the_groups_own_cpu_as_a_customised_metric_is_the_predefined_one() -> None:
    body = tracking()
    del body["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]
    body["TargetTrackingConfiguration"]["CustomizedMetricSpecification"] = {
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "g"}],
        "Statistic": "Average",
    }
    assert group_of(body).policy == group_of(tracking()).policy
    body["TargetTrackingConfiguration"]["CustomizedMetricSpecification"]["Period"] = 10
    with pytest.raises(AwsPolicyError, match=r"CustomizedMetricSpecification\.Period: 10; expected 60"):
        group_of(body)


@fact("PS-04")
def test_only_forecast_and_scale_acts_and_only_one_policy_does() -> None:
    body = predictive()
    acting = group_of(body).policy
    assert (acting.kind, acting.metric, acting.target_utilization) == ("predictive", "cpu", 0.4)
    del body["PredictiveScalingConfiguration"]["Mode"]
    watching = group_of(body, predictive("q", Mode="ForecastOnly"), tracking())
    assert watching.policy.name == "t"
    assert watching.policy.also == ()
    assert [item["PolicyName"] for item in watching.inactive] == ["p", "q"]
    assert parse_group(group_document(watching)) == watching
    with pytest.raises(AwsPolicyError, match=r"ScalingPolicies\[1\].*Mode.*one predictive policy acts"):
        group_of(predictive("p"), predictive("q"))


@fact("PS-06")
def test_the_metric_pairs_of_predictive_scaling() -> None:
    counted = group_of(predictive(metric="ALBRequestCount")).policy
    assert (counted.metric, counted.target_requests_per_minute) == ("requests", 40.0)
    for network in ("ASGNetworkIn", "ASGNetworkOut"):
        with pytest.raises(AwsPolicyError, match="network traffic"):
            group_of(predictive(metric=network))
    with pytest.raises(AwsPolicyError, match="ASGCPUUtilization, ASGNetworkIn, ASGNetworkOut, ALBRequestCount"):
        group_of(predictive(metric="ASGMemory"))


def test_predictive_capacity_is_advanced_by_five_minutes_unless_told_otherwise() -> None:
    assert group_of(predictive()).policy.buffer_minutes == 5
    assert group_of(predictive(SchedulingBufferTime=3540)).policy.buffer_minutes == 59


@fact("SS-01")
@pytest.mark.parametrize(
    ("steps", "where", "expected"),
    [
        (((0, 10, 1), (5, None, 2)), "[1].MetricIntervalLowerBound: 5", "overlap nor leave gaps"),
        (((0, 10, 1), (15, None, 2)), "[1].MetricIntervalLowerBound: 15", "overlap nor leave gaps"),
        (((10, None, 2), (0, 9, 1)), "[0].MetricIntervalLowerBound: 10", "the end 9"),
        (((0, None, 1), (10, None, 2)), "[1].MetricIntervalLowerBound: 10", "no end"),
        (((None, None, 1),), "[0]", "one bound"),
        (((10, 10, 1),), "[0].MetricIntervalUpperBound: 10", "more than the lower bound 10"),
        (((0, 10, 1), (10, 20, 2)), "[1].MetricIntervalUpperBound: 20", "without upper bound"),
        (((-10, 0, 1), (0, None, 2)), "[0].MetricIntervalLowerBound: -10", "without lower bound"),
    ],
)
def test_steps_that_overlap_gap_or_stay_open_are_refused(steps: Any, where: str, expected: str) -> None:
    place = "ScalingPolicies[0].StepAdjustments"
    with pytest.raises(AwsPolicyError, match=f"{re.escape(place + where)}.*{re.escape(expected)}"):
        group_of(step("s", *steps), Alarms=[alarm()])


@fact("SS-01")
def test_steps_keep_their_bounds_relative_to_the_threshold() -> None:
    out = ((0, 10, 0), (10, 20, 1), (20, None, 3))
    into = ((None, -20, -3), (-20, -10, -1), (-10, 0, 0))
    low = alarm("in", Threshold=30, ComparisonOperator="LessThanOrEqualToThreshold", EvaluationPeriods=15)
    policy = group_of(step("out", *out), step("in", *into), Alarms=[alarm("out", DatapointsToAlarm=2), low]).policy
    assert policy.name == "out / in"
    assert (policy.high_threshold, policy.low_threshold) == (0.7, 0.3)
    assert (policy.out_points, policy.out_periods, policy.in_points, policy.in_periods) == (2, 3, 15, 15)
    assert policy.steps_out[1] == Step(lower=0.1, upper=0.2, change=1)
    assert policy.steps_in[0] == Step(lower=None, upper=-0.2, change=-3)


@fact("SS-04")
@pytest.mark.parametrize(
    ("name", "adjustment"),
    [("ChangeInCapacity", "change"), ("PercentChangeInCapacity", "percent"), ("ExactCapacity", "exact")],
)
def test_adjustment_types(name: str, adjustment: str) -> None:
    group = group_of(step(AdjustmentType=name), Alarms=[alarm()])
    assert group.policy.adjustment == adjustment
    assert group_document(group)["ScalingPolicies"][0]["AdjustmentType"] == name
    with pytest.raises(
        AwsPolicyError, match=r"AdjustmentType.*ChangeInCapacity, PercentChangeInCapacity, ExactCapacity"
    ):
        group_of(step(AdjustmentType="Double"), Alarms=[alarm()])


def test_simple_scaling_waits_for_its_cooldown_or_the_groups() -> None:
    own = group_of(simple(Cooldown=120), Alarms=[alarm()]).policy
    assert (own.kind, own.cooldown_minutes, own.steps_out) == ("step", 2, (Step(lower=0.0, change=2.0),))
    assert group_of(simple(), Alarms=[alarm()]).policy.cooldown_minutes == 5


def test_steps_of_one_direction_and_other_adjustments_stay_apart() -> None:
    low = alarm("in", ComparisonOperator="LessThanThreshold", Threshold=30)
    group = group_of(
        step("out", AdjustmentType="PercentChangeInCapacity"), step("in", (None, 0, -1)), Alarms=[alarm("out"), low]
    )
    assert [group.policy.name, *(policy.name for policy in group.policy.also)] == ["out", "in"]
    assert group.policy.steps_in == ()
    assert parse_group(group_document(group)) == group
    assert group_document(group)["Alarms"][1]["ComparisonOperator"] == "LessThanThreshold"


@fact("AL-04")
def test_an_alarm_looks_back_a_day_at_most_and_starts_without_data() -> None:
    with pytest.raises(AwsPolicyError, match=r"Alarms\[0\]\.EvaluationPeriods: 289; expected at most 86400 s"):
        group_of(step(), Alarms=[alarm(Period=300, EvaluationPeriods=289)])
    with pytest.raises(AwsPolicyError, match=r"Alarms\[0\]\.Period: 300; expected 60"):
        group_of(step(), Alarms=[alarm(Period=300, EvaluationPeriods=288)])
    assert alarm_state([None] * 5, 3, 3) == "INSUFFICIENT_DATA"


@fact("AL-06")
@pytest.mark.parametrize(
    "changes",
    [
        {"ComparisonOperator": "GreaterThanUpperThreshold"},
        {"ComparisonOperator": "LessThanLowerOrGreaterThanUpperThreshold"},
        {"ThresholdMetricId": "ad1"},
    ],
)
def test_anomaly_detection_drives_no_scaling(changes: Document) -> None:
    with pytest.raises(AwsPolicyError, match=r"Alarms\[0\].*an anomaly-detection alarm cannot drive Auto Scaling"):
        group_of(step(), Alarms=[alarm(**changes)])


@fact("AS-15")
@pytest.mark.parametrize(
    ("quota", "most", "document"),
    [
        ("StepAdjustments", MOST_STEPS, lambda n: {"ScalingPolicies": [step("s", *((i, i + 1, 1) for i in range(n)))]}),
        ("ScalingPolicies", MOST_POLICIES, lambda n: {"ScalingPolicies": [tracking(f"t{i}") for i in range(n)]}),
        ("ScheduledActions", MOST_ACTIONS, lambda n: {"ScheduledActions": [action(f"a{i}") for i in range(n)]}),
    ],
)
def test_quotas(quota: str, most: int, document: Callable[[int], Document]) -> None:
    expected = {"StepAdjustments": 20, "ScalingPolicies": 50, "ScheduledActions": 125}[quota]
    assert most == expected
    sections = document(most + 1)
    with pytest.raises(AwsPolicyError, match=f"{quota}: .*quota"):
        parse_group({**smallest(), **sections, "Alarms": [alarm()] if quota == "StepAdjustments" else []})
    with pytest.raises(AwsPolicyError, match=r"^((?!quota).)*$"):
        parse_group({**smallest(), **document(most), "Alarms": [alarm()] if quota == "StepAdjustments" else []})


@fact("AS-15")
def test_a_mixed_group_has_at_most_40_types() -> None:
    assert MOST_TYPES == 40
    document = smallest()
    template = document["AutoScalingGroup"]["MixedInstancesPolicy"]["LaunchTemplate"]
    for count, reason in ((41, "1 to 40 instance types"), (40, "types in the simulation")):
        template["Overrides"] = [{"InstanceType": item.name} for item in TYPES[:count]]
        with pytest.raises(AwsPolicyError, match=reason):
            parse_group(document)


@fact("AS-09")
@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (["Cheapest"], "OldestLaunchTemplate"),
        (["Default", "OldestInstance"], "Default last"),
        (["OldestInstance", "arn:aws:lambda:us-east-1:1:function:f"], "Lambda function first"),
        (["arn:aws:lambda:us-east-1:1:function:f", "NewestInstance", "Default"], "not simulated"),
        (["AllocationStrategy", "ClosestToNextInstanceHour", "OldestLaunchConfiguration"], "not simulated"),
    ],
)
def test_termination_policies_have_names_and_an_order(policies: list[str], expected: str) -> None:
    document = smallest()
    document["AutoScalingGroup"]["TerminationPolicies"] = policies
    with pytest.raises(AwsPolicyError, match=f"TerminationPolicies: .*{expected}"):
        parse_group(document)
    document["AutoScalingGroup"]["TerminationPolicies"] = ["Default"]
    assert group_document(parse_group(document))["AutoScalingGroup"]["TerminationPolicies"] == ["Default"]


@fact("AS-16")
def test_a_maximum_lifetime_is_none_or_a_day() -> None:
    document = smallest()
    for seconds, expected in ((86_399, "0, or 86400 or more"), (86_400, "not simulated")):
        document["AutoScalingGroup"]["MaxInstanceLifetime"] = seconds
        with pytest.raises(AwsPolicyError, match=f"MaxInstanceLifetime: {seconds}; expected .*{expected}"):
            parse_group(document)
    document["AutoScalingGroup"]["MaxInstanceLifetime"] = 0
    parse_group(document)


MINUTES_OF_DAYS = [1440 * day for day in range(7)]


@pytest.mark.parametrize(
    ("recurrence", "minutes"),
    [
        ("0 0 * * *", MINUTES_OF_DAYS),
        ("30 8 * * 1", [510]),
        ("30 8 * * MON-FRI", [1440 * day + 510 for day in range(5)]),
        ("0 9 * * 0", [6 * 1440 + 540]),
        ("0 9 * * 7", [6 * 1440 + 540]),
        ("0 */12 * * sat", [5 * 1440, 5 * 1440 + 720]),
        ("5,10 1-2 * * 2", [1440 + 65, 1440 + 70, 1440 + 125, 1440 + 130]),
        ("0 20/2 * * 6", [5 * 1440 + 1200, 5 * 1440 + 1320]),
    ],
)
def test_recurrences_fall_on_minutes_of_the_week(recurrence: str, minutes: list[int]) -> None:
    assert recurrence_minutes(recurrence) == minutes


@pytest.mark.parametrize("recurrence", ["0 8 * *", "0 8 1 * *", "0 8 * 6 *", "60 8 * * *", "0 24 * * *", "0 8 * * 5-1"])
@pytest.mark.parametrize("field", ["", "x", "*/0", "-1", "1-"])
def test_recurrences_that_do_not_repeat_weekly_are_refused(recurrence: str, field: str) -> None:
    with pytest.raises(ValueError, match=r"cron|daily and weekly"):
        recurrence_minutes(recurrence)
    if field:
        with pytest.raises(ValueError, match="cron field"):
            recurrence_minutes(f"{field} 8 * * *")


def test_scheduled_actions_become_one_weekly_timetable() -> None:
    group = group_of(ScheduledActions=[action("up", "0 8 * * 1-5", 9), action("down", "0 20 * * *", 3)])
    assert group.policy.kind == "scheduled"
    assert len(group.policy.schedule) == 12
    assert group.policy.schedule[0] == ScheduledSize(minute_of_week=480, instances=9)
    written = group_document(group)["ScheduledActions"]
    assert [(body["ScheduledActionName"], body["Recurrence"]) for body in written] == [
        ("up", "0 8 * * 1,2,3,4,5"),
        ("down", "0 20 * * *"),
    ]


def test_a_policy_arn_names_its_policy() -> None:
    arn = "arn:aws:autoscaling:us-east-1:1:scalingPolicy:4f54:autoScalingGroupName/g:policyName/s"
    group = group_of(step(), Alarms=[alarm(AlarmActions=[arn, "arn:aws:sns:us-east-1:1:topic"])])
    assert group_document(group)["Alarms"][0]["AlarmActions"] == [arn, "arn:aws:sns:us-east-1:1:topic"]


def test_a_changed_policy_is_written_with_the_groups_names() -> None:
    group = load_group(SHIPPED / "best-practice.json")
    new = ScalingPolicy(
        name="busy",
        kind="step",
        metric="requests",
        high_threshold=1500.0,
        low_threshold=500.0,
        steps_out=(Step(lower=0.0, change=25.0),),
        steps_in=(Step(upper=0.0, change=-10.0),),
        adjustment="percent",
        in_points=15,
    )
    changed_group = replace(group, policy=new, spot_fraction=0.5)
    document = group_document(changed_group)
    assert [body["PolicyName"] for body in document["ScalingPolicies"]] == ["busy-out", "busy-in"]
    assert document["Alarms"][0]["Dimensions"][1]["Value"] == "targetgroup/shop/943f017f100becff"
    loaded = parse_group(document)
    assert loaded.policy.steps_out == new.steps_out
    assert (loaded.policy.high_threshold, loaded.policy.in_points) == (1500.0, 15)
    assert loaded.spot_fraction == 0.5


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (ScalingPolicy(name="x", kind="forecast"), "no counterpart of the kind forecast"),
        (ScalingPolicy(name="x", kind="static"), "no counterpart of the kind static"),
        (ScalingPolicy(name="x", kind="target_tracking_requests", target_requests_per_minute=9.0), "resource label"),
        (ScalingPolicy(name="x", kind="target_tracking_cpu", out_points=2), "3 of 3 and 15 of 15"),
        (
            ScalingPolicy(name="x", kind="step", high_threshold=0.5, steps_out=(Step(lower=0.0, change=1.5),)),
            "whole adjustments",
        ),
        (
            ScalingPolicy(
                name="x", kind="step", high_threshold=0.5, cooldown_minutes=5, steps_out=(Step(lower=0.1, change=1.0),)
            ),
            "simple scaling",
        ),
        (
            ScalingPolicy(
                name="x", kind="step", metric="requests", high_threshold=9.0, steps_out=(Step(lower=0.0, change=1.0),)
            ),
            "resource label",
        ),
    ],
)
def test_what_aws_has_no_counterpart_for_is_not_written(policy: ScalingPolicy, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        group_document(replace(group_of(), policy=policy))
    with pytest.raises(ValueError, match="whole percent"):
        group_document(replace(group_of(), spot_fraction=0.333))


def test_limits_that_moved_drop_a_desired_capacity_outside_of_them() -> None:
    document = smallest()
    document["AutoScalingGroup"]["DesiredCapacity"] = 18
    group = parse_group(document)
    assert group_document(group)["AutoScalingGroup"]["DesiredCapacity"] == 18
    smaller = replace(group, physics={**group.physics, "max_instances": 10})
    assert "DesiredCapacity" not in group_document(smaller)["AutoScalingGroup"]


def of_steps(bounds: list[int], above: bool, change: int) -> tuple[Step, ...]:
    """Steps from 0 outwards at these distances from the threshold, in percent of CPU."""
    edges = [0.0, *(bound / 100 for bound in bounds), None]
    pairs = list(pairwise(edges))
    if above:
        return tuple(Step(lower=low, upper=high, change=change) for low, high in pairs)
    return tuple(
        Step(lower=None if far is None else -far, upper=-near if near else 0.0, change=-change)
        for near, far in reversed(pairs)
    )


rising = st.lists(st.integers(1, 49), max_size=6, unique=True).map(sorted)
step_policies = st.builds(
    lambda bounds, sides, change, kind, points, high: ScalingPolicy(
        name="steps",
        kind="step",
        high_threshold=high / 100 if sides != "in" else None,
        low_threshold=(high - 40) / 100 if sides != "out" else None,
        steps_out=of_steps(bounds, True, change) if sides != "in" else (),
        steps_in=of_steps(bounds, False, change) if sides != "out" else (),
        adjustment=kind,
        out_points=min(points),
        out_periods=max(points),
        in_points=15,
        in_periods=20,
    ),
    rising,
    st.sampled_from(("out", "in", "both")),
    st.integers(0, 50),
    st.sampled_from(("change", "percent")),
    st.tuples(st.integers(1, 32), st.integers(1, 32)),
    st.integers(41, 99),
)
tracking_policies = st.builds(
    lambda target, shrinks: ScalingPolicy(
        name="cpu",
        kind="target_tracking_cpu",
        target_utilization=target / 1000,
        out_periods=3,
        in_periods=15,
        disable_scale_in=shrinks,
    ),
    st.integers(51, 999),
    st.booleans(),
)
schedules = st.builds(
    lambda sizes: ScalingPolicy(
        name="scheduled actions",
        kind="scheduled",
        schedule=tuple(ScheduledSize(minute_of_week=minute, instances=sizes[minute]) for minute in sorted(sizes)),
    ),
    st.dictionaries(st.integers(0, 10079), st.integers(2, 20), min_size=1, max_size=16),
)


@hypothesis_settings(max_examples=150, deadline=None)
@given(step_policies, tracking_policies, schedules, st.integers(0, 100), st.integers(0, 20), st.integers(0, 3600))
def test_what_is_written_is_what_is_read(
    steps: ScalingPolicy, target: ScalingPolicy, schedule: ScalingPolicy, spot: int, base: int, warmup: int
) -> None:
    group = group_of()
    group = replace(
        group,
        policy=target.model_copy(update={"also": (steps, schedule)}),
        spot_fraction=spot / 100,
        physics={**group.physics, "on_demand_base": base, "instance_warmup_s": warmup},
    )
    document = group_document(group)
    found = parse_group(document)
    assert group_document(found) == document
    one_sided = not (steps.steps_out and steps.steps_in)
    read, expected = found.policy.also[0].model_dump(), steps.model_dump()
    if one_sided:
        idle = ("in_points", "in_periods") if steps.steps_out else ("out_points", "out_periods")
        for name in idle:
            del read[name], expected[name]
    assert {**read, "name": ""} == {**expected, "name": ""}
    assert found.policy.also[1] == schedule
    assert found.policy.model_copy(update={"also": ()}) == target
    assert (found.spot_fraction, found.physics) == (pytest.approx(group.spot_fraction), group.physics)
