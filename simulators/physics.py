"""The constants of the physics as typed settings, and their compiled record.

Defaults follow AWS's documentation or public measurements, named beside each field; what is only reported or assumed
stays a setting.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators.catalogue import REFERENCE_TYPE, Catalogue
from simulators.latency import servers_index
from simulators.records import MAX_CANDIDATES, MAX_INSTANCES, MAX_MEMBERS, MAX_TYPES, PHYSICS

REFERENCE_UTILIZATION = 0.6


class Workload(BaseModel):
    """What one request asks of an instance.

    Attributes:
        cpu_ms_per_request: CPU time on one vCPU of the reference type (m6i), milliseconds.
        cv2: Squared coefficient of variation of that time; 1 is exponential work.
        timeout_s: The client gives up after this long and tries once more.
        queue_limit_s: Work an instance lets queue before it rejects requests at once (assumption; keeps overload
            bounded).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_ms_per_request: float = Field(50.0, ge=1.0, le=1000.0)
    cv2: float = Field(1.0, ge=1.0, le=4.0)
    timeout_s: float = Field(5.0, ge=1.0, le=60.0)
    queue_limit_s: float = Field(10.0, ge=1.0, le=120.0)


class ServiceObjective(BaseModel):
    """When a minute is bad, and what a bad minute costs.

    Attributes:
        p95_ms: A minute is bad when more than ``late_fraction`` of its requests take longer than this.
        late_fraction: 0.05, the complement of the 95th percentile.
        error_fraction: A minute is bad when this share of its requests fails, or more.
        penalty_multiple: Penalty of a bad minute in units of the reference cost of a minute.
        penalty: ``flat``, or ``traffic`` to scale the penalty by the minute's share of mean demand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    p95_ms: float = Field(250.0, gt=0)
    late_fraction: float = Field(0.05, gt=0, lt=1)
    error_fraction: float = Field(0.001, gt=0, lt=1)
    penalty_multiple: float = Field(10.0, ge=0)
    penalty: Literal["flat", "traffic"] = "flat"


class Physics(BaseModel):
    """How the fleet behaves between an order and its effect.

    Attributes:
        min_instances: Smallest desired capacity.
        max_instances: Largest desired capacity.
        metric_delay_s: A finished minute becomes visible this much later (no published figure; 60-120 s is usual).
        drain_s: Deregistration delay of the target group (ALB default 300 s).
        notice_s: Spot interruption notice (EC2: 120 s).
        instance_warmup_s: Policies wait this long for a new instance (the default cooldown, 300 s, where unset).
        boot_median_s: API call to SSH, lognormal median (public boot-time measurements of 2021-2025).
        boot_sigma: Its lognormal sigma.
        unbilled_boot_share: Share of boot before the state ``running``, which is not billed (reported: 88 %).
        app_median_s: Start-up of the application, lognormal median (assumption).
        app_sigma: Its lognormal sigma.
        register_s: The first health check comes within one interval: uniform on [0, this] (ALB default 30 s).
        routing: Routing algorithm of the target group.
        capacity_rebalancing: Replace a spot instance at its notice rather than at its end.
        tight_failure_probability: Chance that a tight spot pool refuses launches in a minute (assumption).
        min_healthy_fraction: Instance refresh keeps this share of desired capacity (default 90 %).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_instances: int = Field(1, ge=1, le=MAX_INSTANCES)
    max_instances: int = Field(MAX_INSTANCES, ge=1, le=MAX_INSTANCES)
    metric_delay_s: int = Field(60, ge=0, le=120, multiple_of=60)
    drain_s: int = Field(300, ge=0, le=3600)
    notice_s: int = Field(120, ge=0, le=600)
    instance_warmup_s: int = Field(300, ge=0, le=3600)
    boot_median_s: float = Field(24.0, gt=0, le=600)
    boot_sigma: float = Field(0.20, ge=0, le=1)
    unbilled_boot_share: float = Field(0.88, ge=0, le=1)
    app_median_s: float = Field(60.0, ge=0, le=1800)
    app_sigma: float = Field(0.5, ge=0, le=1)
    register_s: int = Field(30, ge=0, le=300)
    routing: Literal["round_robin", "least_outstanding_requests"] = "round_robin"
    capacity_rebalancing: bool = True
    tight_failure_probability: float = Field(0.3, ge=0, le=1)
    min_healthy_fraction: float = Field(0.9, ge=0, le=1)

    @property
    def metric_delay_ticks(self) -> int:
        """Ticks between the end of a minute and its metric."""
        return self.metric_delay_s // 60

    @model_validator(mode="after")
    def _bounds(self) -> "Physics":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances {self.min_instances} is above max_instances {self.max_instances}")
        return self


class WorldSettings(BaseModel):
    """Everything that turns a demand tape into a world: physics, workload and objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    physics: Physics = Physics()
    workload: Workload = Workload()
    objective: ServiceObjective = ServiceObjective()


def service_s(catalogue: Catalogue, workload: Workload) -> NDArray[np.float64]:
    """Return the mean service time of a request on one vCPU of each type, [K] seconds."""
    return np.array([workload.cpu_ms_per_request / 1000.0 / item.speed for item in catalogue.types])


def reference_rps_per_instance(catalogue: Catalogue, workload: Workload) -> float:
    """Return the demand one reference instance serves at 60 % utilisation, requests per second."""
    item = catalogue[REFERENCE_TYPE]
    return REFERENCE_UTILIZATION * item.vcpu / (workload.cpu_ms_per_request / 1000.0 / item.speed)


def reference_usd_per_request(catalogue: Catalogue, workload: Workload) -> float:
    """Return what a request costs on an on-demand reference instance at 60 % utilisation, USD."""
    price = catalogue[REFERENCE_TYPE].price_usd_per_hour
    return price / 3600.0 / reference_rps_per_instance(catalogue, workload)


def physics_record(catalogue: Catalogue, settings: WorldSettings) -> NDArray[np.void]:
    """Return the compiled record of one workload profile, an array of one PHYSICS.

    Raises:
        ValueError: The catalogue holds more types, candidates or members than a record can.
    """
    _check_sizes(catalogue)
    physics, workload, objective = settings.physics, settings.workload, settings.objective
    record = np.zeros(1, PHYSICS)
    for name, value in physics.model_dump(exclude={"routing", "metric_delay_s"}).items():
        record[name] = value
    record["metric_delay_ticks"] = physics.metric_delay_ticks
    record["least_outstanding"] = physics.routing == "least_outstanding_requests"
    record["num_types"] = len(catalogue.types)
    record["num_candidates"] = len(catalogue.candidates)
    record["traffic_penalty"] = objective.penalty == "traffic"
    record["slo_s"] = objective.p95_ms / 1000.0
    record["slo_late_fraction"] = objective.late_fraction
    record["slo_error_fraction"] = objective.error_fraction
    record["penalty_multiple"] = objective.penalty_multiple
    record["timeout_s"] = workload.timeout_s
    record["queue_limit_s"] = workload.queue_limit_s
    record["reference_usd_per_request"] = reference_usd_per_request(catalogue, workload)
    times = service_s(catalogue, workload)
    for position, item in enumerate(catalogue.types):
        record["vcpu"][0, position] = item.vcpu
        record["service_s"][0, position] = times[position]
        record["capacity_rps"][0, position] = item.vcpu / times[position]
        record["on_demand_usd_per_s"][0, position] = item.price_usd_per_hour / 3600.0
        record["servers"][0, position] = servers_index(item.vcpu)
    record["candidate_capacity_rps"] = np.nan
    record["candidate_on_demand_usd_per_hour"] = np.nan
    for position, candidate in enumerate(catalogue.candidates):
        members = [catalogue.index[name] for name in candidate.types]
        record["num_members"][0, position] = len(members)
        record["members"][0, position, : len(members)] = members
        record["is_member"][0, position, members] = 1
        capacities = record["capacity_rps"][0, members]
        weakest_counts = physics.routing == "round_robin"
        record["candidate_capacity_rps"][0, position] = capacities.min() if weakest_counts else capacities.mean()
        prices = np.array([catalogue.types[member].price_usd_per_hour for member in members])
        per_unit = prices / capacities
        record["candidate_on_demand_usd_per_hour"][0, position] = prices[int(np.argmin(per_unit))]
    return record


def _check_sizes(catalogue: Catalogue) -> None:
    longest = max(len(candidate.types) for candidate in catalogue.candidates)
    for what, count, limit in (
        ("instance types", len(catalogue.types), MAX_TYPES),
        ("launch specifications", len(catalogue.candidates), MAX_CANDIDATES),
        ("types in one launch specification", longest, MAX_MEMBERS),
    ):
        if count > limit:
            raise ValueError(f"the catalogue has {count} {what}; at most {limit} fit")
