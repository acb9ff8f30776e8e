"""Settings of the environment: what differs between one task and another."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators.catalogue import (
    DEFAULT_CANDIDATES,
    Catalogue,
    InstanceType,
    LaunchSpecification,
    OnDemandAllocation,
    SpotAllocation,
    with_own_types,
)
from simulators.menu import ScalingPolicy, ScheduledSize, Step
from simulators.physics import WorldSettings
from simulators.randomization import Randomization
from simulators.records import MAX_MEMBERS
from simulators.regions import in_region
from simulators.scenario import AnomalyScores, Forecasts
from telemetry.splits import Split

ENVIRONMENT_VERSION = "AWSInfrastructure-v0"

_PREDICTED = ScalingPolicy(name="predicted", kind="predictive", target_utilization=0.5)

DEFAULT_MENU: tuple[ScalingPolicy, ...] = (
    ScalingPolicy(name="manual", kind="manual"),
    ScalingPolicy(name="static", kind="static"),
    ScalingPolicy(
        name="scheduled",
        kind="scheduled",
        schedule=tuple(
            ScheduledSize(minute_of_week=1440 * day + 60 * hour, mean_demand_ratio=ratio)
            for day in range(7)
            for hour, ratio in ((8, 1.5), (22, 0.8))
        ),
    ),
    ScalingPolicy(
        name="step",
        kind="step",
        high_threshold=0.7,
        low_threshold=0.35,
        out_points=2,
        adjustment="percent",
        min_magnitude=1,
        steps_out=(Step(lower=0.0, upper=0.15, change=10.0), Step(lower=0.15, change=30.0)),
        steps_in=(Step(upper=0.0, change=-10.0),),
    ),
    ScalingPolicy(name="target-tracking-cpu", kind="target_tracking_cpu"),
    ScalingPolicy(name="target-tracking-requests", kind="target_tracking_requests", low_ratio=0.9),
    ScalingPolicy(name="predictive", kind="target_tracking_requests", low_ratio=0.9, also=(_PREDICTED,)),
    ScalingPolicy(name="aws-best-practice", kind="target_tracking_requests", low_ratio=0.9, also=(_PREDICTED,)),
    ScalingPolicy(name="forecast", kind="forecast", target_utilization=0.7),
    ScalingPolicy(name="forecast-lean", kind="forecast", target_utilization=0.75, quantile=1.5),
    ScalingPolicy(name="forecast-cautious", kind="forecast", target_utilization=0.6, quantile=2.5),
    ScalingPolicy(name="spot-hedge", kind="forecast", target_utilization=0.6, spot_margin=0.2),
)
"""The menu where no rules are loaded; ``configs/rules.yaml`` holds the calibrated entries under the same names."""


class RewardWeights(BaseModel):
    """Weights of the four reward terms; the default total is minus all USD over the reference cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cost_savings: float = 1.0
    sla_compliance: float = 1.0
    performance_impact: float = 0.0
    resource_efficiency: float = 0.0


class Candidate(BaseModel):
    """A launch specification as a setting: a name, its instance types and how it chooses among them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    types: tuple[str, ...] = Field(min_length=1, max_length=MAX_MEMBERS)
    spot_allocation: SpotAllocation = "price-capacity-optimized"
    spot_pools: int = Field(2, ge=1, le=20)
    on_demand_allocation: OnDemandAllocation = "lowest-price"


class TaskSettings(BaseModel):
    """What the agent may do, what it sees and what it is paid; everything a bundle has to repeat.

    Attributes:
        region: Where prices and spot discounts are taken from.
        candidates: Launch specifications the action chooses from.
        types: Own instance types, beside those of the shipped table or in their place; us-east-1 list prices.
        menu: Scaling policies the action chooses from.
        decision_minutes: Minutes between two decisions, 1 to 1440.
        spot_step_percent: Resolution of the spot-percentage part of the action.
        candidate_order: ``price`` ranks candidates by current price per unit of capacity; ``fixed`` keeps their order.
        rank_hysteresis: The current candidate counts as this share cheaper when candidates are ranked.
        world: Physics, workload and objective.
        reward: Weights of the reward terms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str = "us-east-1"
    candidates: tuple[Candidate, ...] = tuple(
        Candidate(name=item.name, types=item.types) for item in DEFAULT_CANDIDATES
    )
    types: tuple[InstanceType, ...] = ()
    menu: tuple[ScalingPolicy, ...] = DEFAULT_MENU
    decision_minutes: int = Field(5, ge=1, le=1440)
    spot_step_percent: int = Field(10, ge=1, le=100)
    candidate_order: Literal["price", "fixed"] = "price"
    rank_hysteresis: float = Field(0.1, ge=0, lt=1)
    world: WorldSettings = WorldSettings()
    reward: RewardWeights = RewardWeights()

    @model_validator(mode="after")
    def _spot_steps(self) -> "TaskSettings":
        if 100 % self.spot_step_percent:
            raise ValueError(f"spot_step_percent {self.spot_step_percent} does not divide 100")
        return self

    def catalogue(self) -> Catalogue:
        """Return the Region's catalogue with these candidates; ValueError for an unknown type or Region."""
        specifications = tuple(LaunchSpecification(**candidate.model_dump()) for candidate in self.candidates)
        if self.types:
            return in_region(with_own_types(self.types, specifications), self.region)
        return in_region(Catalogue(candidates=specifications), self.region)

    @property
    def num_spot_levels(self) -> int:
        """Number of choices of the spot part of the action."""
        return 100 // self.spot_step_percent + 1


class WorldSource(BaseModel):
    """Which worlds an environment draws its episodes from.

    Attributes:
        split: Whose seeds and patterns may be used.
        patterns: Named patterns; those of the split if None.
        models: Names of shipped workload models (configs/workloads), or paths of fitted ones (.json).
        futures: Workload models of which a sample is continued by the forecaster's own predictive distribution.
        traces: Trace files whose part of the split is replayed.
        trace_repeats: How often each replayed trace counts among the scenarios when an episode is drawn.
        days: Playable days of each generated scenario.
        scenarios_per_source: Draws of each pattern, model and future.
        markets: Number of market tapes.
        first_seed: Position in the split's seed range at which the draws start.
        mean_instances: Reference instances that mean demand needs.
        forecasts: What the forecast part of the telemetry holds.
        anomaly_scores: Where its anomaly score comes from; ``perfect`` knows the labels of generated scenarios.
        anomalies_per_week: Expected anomalies in each generated scenario, and in each market, a week.
        anomaly_difficulty: How strong they are.
        randomization: Services and markets unlike the task's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split = "train"
    patterns: tuple[str, ...] | None = None
    models: tuple[str, ...] = ()
    futures: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    trace_repeats: int = Field(6, ge=1, le=100)
    days: int = Field(7, ge=1, le=60)
    scenarios_per_source: int = Field(4, ge=1, le=1000)
    markets: int = Field(6, ge=1, le=200)
    first_seed: int = Field(0, ge=0)
    mean_instances: float = Field(20.0, ge=1, le=90)
    forecasts: Forecasts = "quantiles"
    anomaly_scores: AnomalyScores = "detector"
    anomalies_per_week: float = Field(0.0, ge=0, le=100)
    anomaly_difficulty: Literal["easy", "hard", "mixed"] = "mixed"
    randomization: Randomization = Randomization()


class EnvSettings(BaseModel):
    """A task, the worlds it is played in, and the length of an episode."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSettings = TaskSettings()
    source: WorldSource = WorldSource()
    episode_days: int = Field(1, ge=1, le=30)


def menu_names(menu: Sequence[ScalingPolicy]) -> list[str]:
    """Return the names of a menu in order."""
    return [policy.name for policy in menu]
