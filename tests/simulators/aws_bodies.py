"""Request bodies of AWS APIs for the tests: the smallest that load, with changes."""

import json
from pathlib import Path
from typing import Any

from simulators.aws_policies import LoadedGroup, parse_group

Document = dict[str, Any]
SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "aws"
LABEL = "app/shop/50dc6c495c0c9188/targetgroup/shop/943f017f100becff"


def shipped(name: str) -> Document:
    document: Document = json.loads((SHIPPED / f"{name}.json").read_text())
    return document


def smallest() -> Document:
    """A group of one type with every default left to AWS."""
    return {
        "AutoScalingGroup": {
            "AutoScalingGroupName": "g",
            "MinSize": 2,
            "MaxSize": 20,
            "AvailabilityZones": ["us-east-1a", "us-east-1b", "us-east-1c"],
            "MixedInstancesPolicy": {"LaunchTemplate": {"Overrides": [{"InstanceType": "m7g.large"}]}},
        }
    }


def tracking(name: str = "t", **changes: Any) -> Document:
    config = {"PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"}, "TargetValue": 50}
    return {
        "AutoScalingGroupName": "g",
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingConfiguration": {**config, **changes},
    }


def predictive(name: str = "p", metric: str = "ASGCPUUtilization", **changes: Any) -> Document:
    pair = {"PredefinedMetricType": metric, **({"ResourceLabel": LABEL} if metric.startswith("ALB") else {})}
    config = {"MetricSpecifications": [{"TargetValue": 40, "PredefinedMetricPairSpecification": pair}]}
    return {
        "AutoScalingGroupName": "g",
        "PolicyName": name,
        "PolicyType": "PredictiveScaling",
        "PredictiveScalingConfiguration": {**config, "Mode": "ForecastAndScale", **changes},
    }


def simple(name: str = "s", **changes: Any) -> Document:
    body = {
        "AutoScalingGroupName": "g",
        "PolicyName": name,
        "AdjustmentType": "ChangeInCapacity",
        "ScalingAdjustment": 2,
    }
    return {**body, **changes}


def step(name: str = "s", *steps: tuple[float | None, float | None, int], **changes: Any) -> Document:
    names = ("MetricIntervalLowerBound", "MetricIntervalUpperBound")
    adjustments = [
        {
            **{key: value for key, value in zip(names, bounds, strict=True) if value is not None},
            "ScalingAdjustment": change,
        }
        for *bounds, change in steps or ((0, None, 1),)
    ]
    body = {"AutoScalingGroupName": "g", "PolicyName": name, "PolicyType": "StepScaling"}
    return {**body, "AdjustmentType": "ChangeInCapacity", "StepAdjustments": adjustments, **changes}


def alarm(invokes: str = "s", **changes: Any) -> Document:
    return {
        "AlarmName": f"alarm-{invokes}",
        "AlarmActions": [invokes],
        "Namespace": "AWS/EC2",
        "MetricName": "CPUUtilization",
        "Dimensions": [{"Name": "AutoScalingGroupName", "Value": "g"}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 3,
        "Threshold": 70,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        **changes,
    }


def action(name: str = "a", recurrence: str = "0 8 * * *", size: int = 5, **changes: Any) -> Document:
    body = {"AutoScalingGroupName": "g", "ScheduledActionName": name, "Recurrence": recurrence, "DesiredCapacity": size}
    return {**body, **changes}


def group_of(*policies: Document, **sections: Any) -> LoadedGroup:
    return parse_group({**smallest(), "ScalingPolicies": list(policies), **sections})


def distribution(**members: Any) -> LoadedGroup:
    document = smallest()
    document["AutoScalingGroup"]["MixedInstancesPolicy"]["InstancesDistribution"] = members
    return parse_group(document)
