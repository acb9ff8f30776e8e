"""One Auto Scaling group as AWS describes it, loaded into the simulation and written back.

A document is a JSON object of request bodies as the AWS APIs take them: ``AutoScalingGroup``
(``CreateAutoScalingGroup``), ``ScalingPolicies`` (``PutScalingPolicy``), ``Alarms`` (``PutMetricAlarm`` of step and
simple policies), ``ScheduledActions`` (``PutScheduledUpdateGroupAction``) and ``RefreshPreferences`` (``Preferences``
of ``StartInstanceRefresh``). What is understood and what is refused stands in docs/aws-policies.md; nothing is
rounded, clamped or skipped without a word.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulators.aws_documents import AwsPolicyError, Json, Part, read_document
from simulators.aws_groups import read_group, read_refresh, write_group, write_refresh
from simulators.aws_scaling import read_policies, together, write_policies
from simulators.aws_schedules import read_actions, write_actions
from simulators.catalogue import TYPES, InstanceType, LaunchSpecification
from simulators.menu import ScalingPolicy
from simulators.physics import Physics
from telemetry.provenance import write_text

_OBJECTS = ("AutoScalingGroup", "RefreshPreferences")
_LISTS = ("ScalingPolicies", "Alarms", "ScheduledActions")


@dataclass(frozen=True)
class LoadedGroup:
    """An Auto Scaling group in the simulation's terms.

    Attributes:
        name: Name of the group.
        physics: Overrides of :class:`simulators.physics.Physics`: limits, warm-up, refresh, on-demand base, capacity
            rebalancing.
        candidate: Launch specification: types in order of priority, allocation strategies.
        spot_fraction: Share of Spot above the on-demand base, 0..1.
        policy: Its scaling policies as one menu entry; those beyond the first act beside it.
        inactive: Bodies of policies that do not act (``ForecastOnly``, not enabled), as they stood.
        kept: Names, templates, tags and the like, which the simulation does not read and writing puts back.
    """

    name: str
    physics: dict[str, Any]
    candidate: LaunchSpecification
    spot_fraction: float
    policy: ScalingPolicy
    inactive: tuple[Json, ...] = ()
    kept: Json = field(default_factory=dict)

    @property
    def on_demand_fraction(self) -> float:
        """Share of On-Demand above the base, 0..1."""
        return 1.0 - self.spot_fraction


def load_group(path: str | Path, types: Sequence[InstanceType] = TYPES) -> LoadedGroup:
    """Return the Auto Scaling group in a JSON file.

    Args:
        path: The file.
        types: Instance types that are simulated.

    Raises:
        AwsPolicyError: A document AWS would refuse, or one that is not simulated; the message names file, JSON path,
            value and what was expected.
        FileNotFoundError: No such file.
        ModuleNotFoundError: botocore is not installed.
    """
    return _read(read_document(path), types)


def parse_group(document: Json, types: Sequence[InstanceType] = TYPES, source: str = "document") -> LoadedGroup:
    """Return the Auto Scaling group in a document; like :func:`load_group`, with ``source`` for the file's name."""
    return _read(Part(source, "", document), types)


def _read(document: Part, types: Sequence[InstanceType]) -> LoadedGroup:
    _check_sections(document)
    group = read_group(document.child("AutoScalingGroup"), [item.name for item in types])
    policies = read_policies(document, group.name, group.times)
    limits = group.physics["min_instances"], group.physics["max_instances"]
    schedule, action_names = read_actions(document, group.name, *limits)
    refresh, refresh_kept = read_refresh(document.child("RefreshPreferences"), group.times, policies.warmup_s)
    acting = [*policies.acting, *([schedule] if schedule else [])]
    physics = {**group.physics, "instance_warmup_s": policies.warmup_s, **refresh}
    _check_physics(document, physics)
    return LoadedGroup(
        name=group.name,
        physics=physics,
        candidate=group.candidate,
        spot_fraction=group.spot_fraction,
        policy=together(document, acting, group.name),
        inactive=policies.inactive,
        kept={
            "group": group.kept,
            "template": group.template,
            "overrides": group.overrides,
            "policies": policies.kept,
            "actions": action_names,
            "refresh": refresh_kept,
        },
    )


def _check_sections(document: Part) -> None:
    sections = (*_OBJECTS, *_LISTS)
    document.understood(sections, where=f"of a group document: {', '.join(sections)}")
    if "AutoScalingGroup" not in document:
        document.fail("AutoScalingGroup", "a CreateAutoScalingGroup body")
    for name in _OBJECTS:
        if not isinstance(document.get(name, {}), dict):
            document.fail(name, "a JSON object")
    for name in _LISTS:
        items = document.get(name, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            document.fail(name, "a list of JSON objects")


def _check_physics(document: Part, physics: Json) -> None:
    try:
        Physics(**physics)
    except ValidationError as error:
        fault = error.errors()[0]
        raise AwsPolicyError(
            f"{document.source}: {'.'.join(map(str, fault['loc']))}: {fault['input']}; {fault['msg']}"
        ) from error


def group_document(group: LoadedGroup) -> dict[str, Any]:
    """Return a group as a document of AWS request bodies, every default written out.

    ``AlarmActions`` of new alarms name their policy; put the ARN that ``PutScalingPolicy`` returns in its place before
    calling ``PutMetricAlarm``. Warm-ups become the group's ``DefaultInstanceWarmup``.

    Raises:
        ValueError: A setting that AWS has no counterpart for: static and forecast policies, target tracking by share of
            capacity or with other alarm counts, shares that are not whole percent.
    """
    acting = [group.policy.model_copy(update={"also": ()}), *group.policy.also]
    kept_policies: Mapping[str, list[Json]] = group.kept.get("policies", {})
    scaling = [policy for policy in acting if policy.kind != "scheduled"]
    bodies, alarms = write_policies(scaling, group.name, kept_policies, _label(kept_policies.values()))
    actions = [
        body
        for policy in acting
        if policy.kind == "scheduled"
        for body in write_actions(policy, group.name, group.kept.get("actions", {}))
    ]
    return {
        "AutoScalingGroup": write_group(group.name, group.physics, group.candidate, group.spot_fraction, group.kept),
        "ScalingPolicies": [*bodies, *(dict(body) for body in group.inactive)],
        "Alarms": alarms,
        "ScheduledActions": actions,
        "RefreshPreferences": write_refresh(group.physics, group.kept.get("refresh", {})),
    }


def _label(kept: Iterable[list[Json]]) -> str | None:
    """Return a resource label that some policy of the group has."""
    labels = (names.get("ResourceLabel") for each in kept for names in each)
    return next((label for label in labels if label), None)


def save_group(path: str | Path, group: LoadedGroup) -> None:
    """Write a group as a JSON document, by a temporary file and a rename.

    Raises:
        ValueError: As for :func:`group_document`.
    """
    write_text(Path(path), json.dumps(group_document(group), indent=2) + "\n")
