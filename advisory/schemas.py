"""What goes in and out of ``POST /v1/recommendations``: typed bodies with units and ranges.

A request can carry every field of the TELEMETRY record (``simulators.records``). What an operator cannot be
asked for is derived from what is there (``advisory.reading``), and ``telemetry`` replaces a derived value by
an exact one.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from simulators.records import LEAD_MINUTES, MAX_INSTANCES, QUANTILE_LEVELS, SLOTS

MAX_DEMAND_POINTS: Final = 20_000
_FIRST_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = datetime(2100, 1, 1, tzinfo=UTC)


def _in_this_century(value: datetime) -> datetime:
    if not _FIRST_TIME <= value <= _LAST_TIME:
        raise ValueError("expected a time from 2000-01-01 to 2100-01-01")
    return value


Time = Annotated[AwareDatetime, AfterValidator(_in_this_century)]
Rate = Annotated[float, Field(ge=0, le=1e7)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Instances = Annotated[int, Field(ge=0, le=SLOTS)]
Price = Annotated[float, Field(gt=0, le=1000)]
Minutes = Annotated[float, Field(ge=0, le=1e7)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class _RequestPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class DemandHistory(_RequestPart):
    """Recent demand on a regular step; a day or more lets the service forecast."""

    requests_per_second: list[Rate] = Field(
        min_length=1,
        max_length=MAX_DEMAND_POINTS,
        description="Mean demand of each step, requests per second, newest last, without gaps",
    )
    step_s: Literal[60, 300] = Field(description="Length of a step, seconds")
    last_timestamp: Time = Field(
        description="Start of the newest step, ISO 8601 with an offset; day and week are taken in UTC"
    )


class FleetState(_RequestPart):
    """The Auto Scaling group as it stands."""

    launch_specification: Name = Field(
        description="Launch specification of the bundle (see GET /v1/model), or an instance type of one"
    )
    desired: int = Field(ge=0, le=MAX_INSTANCES, description="Desired capacity, instances")
    in_service: Instances | None = Field(
        default=None, description="Instances taking requests; desired less pending if left out"
    )
    pending: Instances = Field(default=0, description="Instances launched that do not take requests yet")
    draining: Instances = Field(default=0, description="Instances on their way out; not counted in in_service")
    spot_instances: Instances | None = Field(
        default=None,
        description="Spot instances among in_service and pending; follows from spot_percent if left out",
    )
    spot_percent: Percent | None = Field(
        default=None,
        description="Spot share asked of the group, percent; follows from spot_instances if left out",
    )
    scaling_policy: Name | None = Field(
        default=None, description="Scaling policy of the bundle's menu in force; the manual one if left out"
    )
    type_counts: dict[Name, Instances] | None = Field(
        default=None,
        max_length=32,
        description="Instances in service or pending by type; all of the launch specification if left out",
    )
    leaving: Instances = Field(
        default=0, description="Those of in_service or pending that go as soon as their replacement serves"
    )
    commitment_usd_per_hour: float = Field(
        default=0.0, ge=0, le=1e5, description="Compute Savings Plan commitment that this group uses first"
    )
    commitment_used: Share = Field(default=0.0, description="Share of the commitment used at the present size")
    refreshing: bool = Field(default=False, description="Whether a rolling replacement of instances runs")


class Metrics(_RequestPart):
    """What monitoring shows for the newest visible minute."""

    cpu_utilization: Share | None = Field(
        default=None,
        description="Mean CPU utilisation, 0 to 1; null: missing; estimated from demand if left out",
    )
    requests_per_target: float | None = Field(
        default=None,
        ge=0,
        le=1e9,
        description="Requests per target and minute; demand over in_service if left out",
    )
    late_fraction: float = Field(
        default=0.0, ge=0, le=1.001, description="Share of requests slower than the objective; room for rounding"
    )
    error_fraction: float = Field(
        default=0.0, ge=0, le=1000, description="Failed requests over requests; retries can push it above 1"
    )
    bad_recent: Share = Field(
        default=0.0, description="Share of minutes that missed the objective, mean over about a day"
    )
    minutes_since_bad: Minutes = Field(
        default=1440.0, description="Minutes since one missed it; 1440 stands for a day or more"
    )


class Market(_RequestPart):
    """What is known of the spot market, by instance type."""

    spot_usd_per_hour: dict[Name, Price] = Field(
        default={},
        max_length=64,
        description="Spot price, USD per hour, mean over zones; the catalogue's average if left out",
    )
    minutes_since_launch_failure: dict[Name, Minutes] = Field(
        default={},
        max_length=64,
        description="Minutes since a spot launch was last refused; a day or more if left out",
    )
    minutes_since_interruption: dict[Name, Minutes] = Field(
        default={},
        max_length=64,
        description="Minutes since a spot instance was last taken back; a day or more if left out",
    )


class Constraints(_RequestPart):
    """Limits that every recommendation keeps."""

    min_instances: int | None = Field(
        default=None, ge=1, le=MAX_INSTANCES, description="Least desired capacity, instances"
    )
    max_instances: int | None = Field(
        default=None, ge=1, le=MAX_INSTANCES, description="Largest desired capacity, instances"
    )
    max_spot_percent: Percent | None = Field(default=None, description="Largest spot share, percent")
    allowed_launch_specifications: list[Name] | None = Field(
        default=None, min_length=1, max_length=32, description="Launch specifications that may be recommended"
    )
    max_change: int | None = Field(
        default=None,
        ge=0,
        le=MAX_INSTANCES,
        description="Largest change of desired capacity, instances; the two limits above come first",
    )
    keep_type: bool = Field(default=False, description="Never recommend another launch specification")

    @model_validator(mode="after")
    def _range(self) -> "Constraints":
        low, high = self.min_instances, self.max_instances
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_instances {low} is above max_instances {high}; expected at most as many")
        return self


class ExactTelemetry(_RequestPart):
    """Exact values in place of what the service derives."""

    capacity_rps: Rate | None = Field(
        default=None, description="Requests per second that the instances in service can serve"
    )
    forecast_rps: list[list[Rate]] | None = Field(
        default=None,
        description="Demand quantiles, requests per second: "
        f"a row for each lead of {list(LEAD_MINUTES)} minutes, "
        f"a column for each level of {list(QUANTILE_LEVELS)}",
    )
    forecast_available: bool = Field(default=True, description="False where forecast_rps only repeats the last value")
    anomaly_score: Share | None = Field(
        default=None, description="Anomaly score of the newest demand, 0 to 1, high is anomalous"
    )

    @model_validator(mode="after")
    def _quantiles(self) -> "ExactTelemetry":
        rows, columns = len(LEAD_MINUTES), len(QUANTILE_LEVELS)
        if self.forecast_rps is None:
            return self
        if [len(row) for row in self.forecast_rps] != [columns] * rows:
            raise ValueError(f"forecast_rps has the wrong shape; expected {rows} rows of {columns} numbers")
        if any(row != sorted(row) for row in self.forecast_rps):
            raise ValueError("forecast_rps falls with the level in some row; expected quantiles in rising order")
        return self


class RecommendationRequest(_RequestPart):
    """A fleet, its demand and its market at the moment of a decision."""

    demand: DemandHistory
    fleet: FleetState
    metrics: Metrics = Field(default_factory=Metrics)
    market: Market = Field(default_factory=Market)
    constraints: Constraints = Field(default_factory=Constraints)
    mean_demand_rps: float | None = Field(
        default=None,
        gt=1e-9,
        le=1e7,
        description="Usual mean demand, requests per second; mean of the history if left out",
    )
    cpu_ms_per_request: float | None = Field(
        default=None,
        ge=0.1,
        le=10_000,
        description="CPU time of a request on one m6i vCPU, milliseconds; the trained workload's if left out",
    )
    telemetry: ExactTelemetry = Field(default_factory=ExactTelemetry)
    detail: bool = Field(default=False, description="Also return the forecast, the anomaly score and the observation")


class _ResponsePart(BaseModel):
    model_config = ConfigDict(frozen=True)


class RecommendedFleet(_ResponsePart):
    """What the group should be set to."""

    capacity: int = Field(description="Desired capacity, instances")
    change: int = Field(description="Capacity less the present desired capacity, instances")
    launch_specification: str
    instance_types: list[str]
    spot_percent: float = Field(description="Spot share of the group, percent; fractions favour on demand")
    scaling_policy: str = Field(description="Menu entry to scale by until the next decision")
    capacity_after_replacement: int | None = Field(
        description="Capacity the policy will want once every old instance type is gone; null where it stays"
    )


class Expected(_ResponsePart):
    """What the simulator's tables expect of a fleet once all of it is in service."""

    hourly_cost_usd: float = Field(description="Instances only, USD per hour")
    current_hourly_cost_usd: float = Field(description="Of the instances in service or pending now, USD per hour")
    saving_usd_per_hour: float = Field(description="Current less recommended; negative where the advice costs more")
    saving_percent: float | None = Field(description="Saving over current cost, percent; null without instances")
    demand_rps: float = Field(description="Demand the next three are for: the 0.9 forecast quantile of 15 minutes")
    p95_ms: float = Field(description="95th percentile response time, milliseconds; 60000 means that or more")
    late_fraction: float = Field(description="Share of requests slower than the objective, 0 to 1")
    utilization: float = Field(description="Work over vCPU capacity; above 1 the fleet falls behind")


class BoundApplied(_ResponsePart):
    """A constraint that changed the advice."""

    constraint: str
    effect: str


class Confidence(_ResponsePart):
    """Probability that the policy gives to each chosen part of its action, 0 to 1, before constraints."""

    scale: float
    launch_specification: float
    spot_percent: float
    scaling_policy: float


class RuleAdvice(_ResponsePart):
    """What the best calibrated rule would do under the same constraints."""

    name: str
    capacity: int
    launch_specification: str
    spot_percent: float
    scaling_policy: str
    hourly_cost_usd: float
    performance_risk: int


class ForecastDetail(_ResponsePart):
    """The forecast behind the advice."""

    lead_minutes: list[int]
    levels: list[float]
    requests_per_second: list[list[float]] = Field(description="A row for each lead, a column for each level")
    available: bool = Field(description="False where the last value is repeated")
    anomaly_score: float


class Recommendation(_ResponsePart):
    """Advice for one decision."""

    request_id: str
    policy_version: str = Field(description="First 12 hex digits of the policy's SHA-256")
    environment: str
    recommendation: RecommendedFleet
    expected: Expected = Field(description="Of the recommended capacity, all of it of the recommended types")
    expected_after_replacement: Expected | None = Field(
        description="Of capacity_after_replacement; null where that is null"
    )
    performance_risk: int = Field(
        ge=0,
        le=4,
        description="4 misses the objective at the 0.5 quantile of the next 15 minutes' demand, 3 at 0.9, "
        "2 at 0.99; 1 keeps it there with less than half of the late budget to spare, 0 with more. In a "
        "replacement: the worst of old types, new types, and the fleet it ends with",
    )
    current_performance_risk: int = Field(ge=0, le=4, description="The same for the instances in service now")
    reasons: list[str]
    bounds_applied: list[BoundApplied]
    confidence: Confidence
    rule: RuleAdvice
    limits: list[str] = Field(description="What the estimate leaves out")
    forecast: ForecastDetail | None = Field(default=None, description="With detail")
    observation: dict[str, float] | None = Field(
        default=None, description="With detail: what the policy saw, by component"
    )
