"""The records around ``predict_scaling_requirements``: what it is asked about, and what it answers."""

from dataclasses import asdict, dataclass
from typing import Any

from forecasting.capacity.columns import SLO_P95_MS


@dataclass(frozen=True)
class FleetState:
    """The fleet, its service and its constraints now; ranges as in ``forecasting.capacity.columns``.

    Attributes:
        instance_type: Name, shown in the result.
        vcpu: Virtual CPUs of an instance.
        memory_gib: Memory of one.
        service_ms: Mean work of a request on one vCPU of the type, milliseconds.
        capacity_rps: Requests per second one always busy instance serves.
        in_service: Instances that take requests.
        demand_rps: First attempts per second in the last minute.
        price_usd_per_hour: List price of an instance.
        spot_usd_per_hour: Its spot price.
        queue_s: Work an instance lets queue before it rejects, seconds.
        least_outstanding: Whether the balancer routes by least outstanding requests.
        booting: Instances on their way.
        ready_in_s: Seconds until they usually serve.
        boot_s: Usual seconds from a launch to the first request.
        cv2: Squared coefficient of variation of the work per request.
        timeout_s: Seconds after which a client gives up.
        max_retries: How often it tries again.
        backlog_s: Work that is queued, seconds.
        utilization: CPU metric, 0..1.
        retry_ratio: Retries over first attempts.
        demand_level: Quantile level of the demand to plan for.
        slo_p95_ms: Objective of the plan, milliseconds.
        spot_share: Share of the instances that may be spot.
        max_usd_per_hour: Budget for instances.
    """

    instance_type: str
    vcpu: int
    memory_gib: float
    service_ms: float
    capacity_rps: float
    in_service: int
    demand_rps: float
    price_usd_per_hour: float
    spot_usd_per_hour: float
    queue_s: float = 10.0
    least_outstanding: bool = False
    booting: int = 0
    ready_in_s: float = 0.0
    boot_s: float = 100.0
    cv2: float = 1.0
    timeout_s: float = 5.0
    max_retries: int = 1
    backlog_s: float = 0.0
    utilization: float = 0.0
    retry_ratio: float = 0.0
    demand_level: float = 0.9
    slo_p95_ms: float = SLO_P95_MS
    spot_share: float = 0.0
    max_usd_per_hour: float = 1e9


@dataclass(frozen=True)
class ScalingStep:
    """One entry of the timeline.

    Attributes:
        minute: Minutes from now at which the instances should serve.
        instances: How many.
        change: Against the step before.
        order_minute: When to order the change: launches ahead of time, terminations at the step.
        is_late: Whether the launches would have had to be ordered before now.
    """

    minute: int
    instances: int
    change: int
    order_minute: float
    is_late: bool


@dataclass(frozen=True)
class Resources:
    """What the largest planned fleet and the whole plan take.

    Attributes:
        instance_type: Name.
        peak_instances: Most instances at any step.
        peak_minute: The first step that has them.
        peak_vcpu: Their virtual CPUs.
        peak_memory_gib: Their memory.
        on_demand_instances: Of them, on demand.
        spot_instances: Of them, spot.
        instance_hours: Over the horizon.
        within_budget: Whether the budget pays for the adequate fleet at every step.
        is_enough: Whether 99 instances are enough at every step.
    """

    instance_type: str
    peak_instances: int
    peak_minute: int
    peak_vcpu: int
    peak_memory_gib: float
    on_demand_instances: int
    spot_instances: int
    instance_hours: float
    within_budget: bool
    is_enough: bool


@dataclass(frozen=True)
class StepPerformance:
    """How the planned fleet answers at one step, at the planned level of demand."""

    minute: int
    p95_ms: float
    p99_ms: float
    error_rate: float
    bad_probability: float
    extrapolates: bool


@dataclass(frozen=True)
class CostImpact:
    """The plan against keeping the present fleet, instances only, USD over the horizon.

    Attributes:
        planned_usd: The plan.
        present_usd: The instances of now, in service and on their way, throughout.
        difference_usd: Plan less present.
        present_bad_steps: Steps at which the present fleet would more likely than not miss the objective.
        planned_bad_steps: Steps at which the planned one would.
    """

    planned_usd: float
    present_usd: float
    difference_usd: float
    present_bad_steps: int
    planned_bad_steps: int


@dataclass(frozen=True)
class Interval:
    """Limits between which a figure of a step lies in 80 % of cases, as far as forecast and models are calibrated.

    Attributes:
        minute: Of the step.
        demand_low_rps: 0.1 quantile of demand.
        demand_high_rps: 0.9 quantile.
        instances_low: Adequate at the low demand, less the planner's own error.
        instances_high: Adequate at the high demand, and that error more.
        p95_low_ms: p95 of the planned fleet at the low demand, less the predictor's own error.
        p95_high_ms: At the high demand, and that error more.
    """

    minute: int
    demand_low_rps: float
    demand_high_rps: float
    instances_low: int
    instances_high: int
    p95_low_ms: float
    p95_high_ms: float


@dataclass(frozen=True)
class ScalingRequirements:
    """The answer: see ``predict_scaling_requirements``."""

    scaling_timeline: tuple[ScalingStep, ...]
    resource_requirements: Resources
    performance_forecast: tuple[StepPerformance, ...]
    cost_impact: CostImpact
    confidence_intervals: tuple[Interval, ...]
    extrapolates: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dictionaries and lists."""
        return asdict(self)
