"""The scaling-policy menu: every calibrated rule's policy, as settings and as the kernel's records."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators.records import (
    LEAD_MINUTES,
    MAX_INSTANCES,
    MAX_POLICIES,
    MAX_SCHEDULED,
    MAX_STEPS,
    POLICY,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_PREDICTIVE,
    POLICY_SCHEDULED,
    POLICY_STATIC,
    POLICY_STEP,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    QUANTILE_LEVELS,
)

PolicyKind = Literal[
    "manual",
    "static",
    "scheduled",
    "predictive",
    "target_tracking_cpu",
    "target_tracking_requests",
    "step",
    "forecast",
]

_KINDS: Final[dict[PolicyKind, int]] = {
    "manual": POLICY_MANUAL,
    "static": POLICY_STATIC,
    "scheduled": POLICY_SCHEDULED,
    "predictive": POLICY_PREDICTIVE,
    "target_tracking_cpu": POLICY_TARGET_CPU,
    "target_tracking_requests": POLICY_TARGET_REQUESTS,
    "step": POLICY_STEP,
    "forecast": POLICY_FORECAST,
}
_CONTROLLED: Final[frozenset[PolicyKind]] = frozenset({"forecast"})
ADJUSTMENTS: Final = ("change", "percent", "exact")

Points = Annotated[int, Field(ge=1, le=120)]
Periods = Annotated[int, Field(ge=1, le=32)]


class Step(BaseModel):
    """One step adjustment.

    Attributes:
        lower: Metric less threshold from which it holds; None is minus infinity.
        upper: Metric less threshold up to which it holds; None is infinity.
        change: Instances, percent, or the new size, as the policy's ``adjustment`` says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lower: float | None = None
    upper: float | None = None
    change: float


class ScheduledSize(BaseModel):
    """A scheduled action: from a minute of the week on, this size.

    Attributes:
        minute_of_week: Monday 00:00 is 0.
        instances: The size; an AWS group knows only this.
        mean_demand_ratio: In its place, demand to provide for over mean demand, as a static policy does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    minute_of_week: int = Field(ge=0, lt=7 * 1440)
    instances: int | None = Field(None, ge=0, le=MAX_INSTANCES)
    mean_demand_ratio: float | None = Field(None, gt=0, le=20)

    @model_validator(mode="after")
    def _one_size(self) -> "ScheduledSize":
        if (self.instances is None) == (self.mean_demand_ratio is None):
            raise ValueError(f"minute {self.minute_of_week}: give either instances or mean_demand_ratio")
        return self


class ScalingPolicy(BaseModel):
    """One menu entry; a kind reads only the fields that it names.

    Attributes:
        name: Unique in its menu.
        kind: Manual needs nothing; static is a fixed size; scheduled follows a weekly timetable; predictive raises
            capacity to an hourly load forecast; target tracking on CPU or on requests per target; step (or, with a
            cooldown, simple) scaling on an alarm; forecast follows the demand forecast's quantiles.
        target_utilization: Utilisation aimed at: target tracking, predictive, static, forecast, scheduled ratios.
        target_requests_per_minute: Target tracking on requests, predictive: requests per target and minute, instead of
            utilisation.
        out_points: Breaching minutes before target tracking or a step adds capacity: in a row, or of ``out_periods``.
        out_periods: Minutes looked at for them, at most 32; None asks for minutes in a row.
        in_points: The same before they remove capacity.
        in_periods: Minutes looked at for them.
        low_ratio: Target tracking: the low threshold over the target (0.70 for CPU, 0.90 for request counts).
        disable_scale_in: Target tracking: never remove capacity.
        metric: Step: CPU utilisation, or requests per target and minute.
        high_threshold: Step: the alarm that adds is on at this metric and above; None for no such alarm.
        low_threshold: Step: the alarm that removes is on at this metric and below; None for no such alarm.
        steps_out: Step: adjustments of the high alarm.
        steps_in: Step: adjustments of the low alarm.
        adjustment: Step: change in instances, in percent of capacity, or the exact size.
        min_magnitude: Step, percent: change by at least so many instances.
        cooldown_minutes: Simple scaling: wait so long after the last launch or stop; 0 is step scaling.
        buffer_minutes: Predictive: act so long before the hour begins.
        schedule: Scheduled: the timetable.
        quantile: Forecast: fractional position in the levels (0 is 0.1, 1 is 0.5, 2 is 0.9, 3 is 0.99).
        lead: Forecast: index of the longest forecast lead looked at.
        hold_minutes: Forecast: how long it waits before it removes capacity.
        spot_margin: Static, forecast, scheduled ratios: extra capacity at 100 % spot, share.
        mean_demand_ratio: Static: demand provided for, over mean demand.
        also: Policies that act beside this one; the largest size wins, and only if all agree is capacity removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    kind: PolicyKind
    target_utilization: float = Field(0.6, gt=0.05, lt=1.0)
    target_requests_per_minute: float | None = Field(None, gt=0)
    out_points: Points = 3
    out_periods: Periods | None = None
    in_points: Points = 15
    in_periods: Periods | None = None
    low_ratio: float = Field(0.7, gt=0, lt=1)
    disable_scale_in: bool = False
    metric: Literal["cpu", "requests"] = "cpu"
    high_threshold: float | None = None
    low_threshold: float | None = None
    steps_out: tuple[Step, ...] = Field((), max_length=MAX_STEPS)
    steps_in: tuple[Step, ...] = Field((), max_length=MAX_STEPS)
    adjustment: Literal["change", "percent", "exact"] = "change"
    min_magnitude: int = Field(0, ge=0, le=MAX_INSTANCES)
    cooldown_minutes: int = Field(0, ge=0, le=1440)
    buffer_minutes: int = Field(5, ge=0, lt=60)
    schedule: tuple[ScheduledSize, ...] = Field((), max_length=MAX_SCHEDULED)
    quantile: float = Field(2.0, ge=0, le=len(QUANTILE_LEVELS) - 1)
    lead: int = Field(2, ge=0, le=len(LEAD_MINUTES) - 1)
    hold_minutes: int = Field(10, ge=0, le=240)
    spot_margin: float = Field(0.0, ge=0, le=1)
    mean_demand_ratio: float = Field(1.5, gt=0, le=20)
    also: tuple["ScalingPolicy", ...] = Field((), max_length=MAX_POLICIES - 1)

    @model_validator(mode="after")
    def _consistent(self) -> "ScalingPolicy":
        for points, periods in ((self.out_points, self.out_periods), (self.in_points, self.in_periods)):
            if periods is not None and points > periods:
                raise ValueError(f"{self.name}: {points} breaching minutes of the last {periods} cannot be")
        if self.kind == "scheduled" and not self.schedule:
            raise ValueError(f"{self.name}: a scheduled policy needs a schedule")
        minutes = [entry.minute_of_week for entry in self.schedule]
        if minutes != sorted(set(minutes)):
            raise ValueError(f"{self.name}: the schedule's minutes do not rise: {minutes}")
        if self.kind == "step" and self.high_threshold is None and self.low_threshold is None:
            raise ValueError(f"{self.name}: a step policy needs a high or a low threshold")
        for name, threshold, steps in (
            ("high", self.high_threshold, self.steps_out),
            ("low", self.low_threshold, self.steps_in),
        ):
            if (threshold is None) != (not steps):
                raise ValueError(f"{self.name}: its {name} alarm needs a threshold and steps")
            check_steps(self.name, steps)
        if any(policy.also for policy in self.also):
            raise ValueError(f"{self.name}: policies beside it cannot have others beside them")
        return self

    @property
    def native(self) -> bool:
        """Whether an Auto Scaling group runs this policy by itself between decisions."""
        return self.kind not in _CONTROLLED and all(policy.native for policy in self.also)


def check_steps(name: str, steps: Sequence[Step]) -> None:
    """Refuse step adjustments that overlap, leave gaps or are open at both ends.

    Raises:
        ValueError: With the step and its bounds.
    """
    ordered = sorted(steps, key=lambda step: -np.inf if step.lower is None else step.lower)
    for step in ordered:
        if step.lower is None and step.upper is None:
            raise ValueError(f"{name}: a step is open at both ends")
        if step.lower is not None and step.upper is not None and step.lower >= step.upper:
            raise ValueError(f"{name}: a step's bounds {step.lower}..{step.upper} are not in order")
    for step, following in pairwise(ordered):
        if step.upper is None or following.lower is None or step.upper != following.lower:
            raise ValueError(
                f"{name}: steps {step.lower}..{step.upper} and {following.lower}..{following.upper} "
                "overlap or leave a gap"
            )


def menu_records(menu: Sequence[ScalingPolicy]) -> NDArray[np.void]:
    """Return the menu as POLICY records: its [M] entries first, then the policies that act beside them.

    Raises:
        ValueError: An empty menu, or a name that stands twice.
    """
    names = [policy.name for policy in menu]
    if not menu:
        raise ValueError("the scaling-policy menu is empty")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"scaling policy {name!r} stands twice in the menu")
    records = np.zeros(len(menu) + sum(len(policy.also) for policy in menu), POLICY)
    records["also"] = -1
    following = len(menu)
    for position, policy in enumerate(menu):
        _write(records[position], policy)
        for place, other in enumerate(policy.also):
            records[position]["also"][place] = following
            _write(records[following], other)
            following += 1
    return records


_SAME: Final = (
    "lead",
    "out_points",
    "in_points",
    "disable_scale_in",
    "min_magnitude",
    "target_utilization",
    "low_ratio",
    "quantile",
    "spot_margin",
    "mean_demand_ratio",
)


def _write(record: np.void, policy: ScalingPolicy) -> None:
    for name in _SAME:
        record[name] = getattr(policy, name)
    record["kind"] = _KINDS[policy.kind]
    record["out_periods"] = policy.out_periods or policy.out_points
    record["in_periods"] = policy.in_periods or policy.in_points
    record["hold_ticks"] = policy.hold_minutes
    record["cooldown_ticks"] = policy.cooldown_minutes
    record["buffer_ticks"] = policy.buffer_minutes
    record["by_requests"] = policy.metric == "requests"
    record["adjustment"] = ADJUSTMENTS.index(policy.adjustment)
    record["target_requests_per_minute"] = policy.target_requests_per_minute or np.nan
    record["high_threshold"] = np.inf if policy.high_threshold is None else policy.high_threshold
    record["low_threshold"] = -np.inf if policy.low_threshold is None else policy.low_threshold
    record["num_scheduled"] = len(policy.schedule)
    for position, entry in enumerate(policy.schedule):
        record["scheduled_minute"][position] = entry.minute_of_week
        record["scheduled_instances"][position] = entry.instances or 0
        record["scheduled_ratio"][position] = entry.mean_demand_ratio or np.nan
    for side, steps in (("out", policy.steps_out), ("in", policy.steps_in)):
        record[f"num_steps_{side}"] = len(steps)
        for position, step in enumerate(steps):
            record[f"step_{side}_lower"][position] = -np.inf if step.lower is None else step.lower
            record[f"step_{side}_upper"][position] = np.inf if step.upper is None else step.upper
            record[f"step_{side}_change"][position] = step.change
