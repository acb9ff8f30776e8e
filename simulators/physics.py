"""The constants of the physics as typed settings, and their compiled record.

Defaults follow AWS's documentation or public measurements, named beside each field; what is only reported or assumed
stays a setting.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulators.catalogue import REFERENCE_TYPE, Catalogue, InstanceType
from simulators.charges import (
    HOURS_PER_MONTH,
    LCU_USD_PER_HOUR,
    LOAD_BALANCER_USD_PER_HOUR,
    VOLUME_USD_PER_GB_MONTH,
    load_balancer_capacity_units,
)
from simulators.latency import servers_index
from simulators.records import (
    CAPACITY_OPTIMIZED,
    CAPACITY_OPTIMIZED_PRIORITIZED,
    LOWEST_PRICE,
    MAX_CANDIDATES,
    MAX_CHECKPOINTS,
    MAX_INSTANCES,
    MAX_MEMBERS,
    MAX_RETRIES,
    MAX_TYPES,
    PHYSICS,
    PRICE_CAPACITY_OPTIMIZED,
)

REFERENCE_UTILIZATION = 0.6
_ALLOCATIONS = {
    "price-capacity-optimized": PRICE_CAPACITY_OPTIMIZED,
    "capacity-optimized": CAPACITY_OPTIMIZED,
    "capacity-optimized-prioritized": CAPACITY_OPTIMIZED_PRIORITIZED,
    "lowest-price": LOWEST_PRICE,
}
_MIB_PER_GIB = 1024.0
_SECONDS_PER_HOUR = 3600.0


class Workload(BaseModel):
    """What one request asks of an instance.

    Attributes:
        cpu_ms_per_request: CPU time on one vCPU of the reference type (m6i), milliseconds.
        cv2: Squared coefficient of variation of that time; 1 is exponential work.
        timeout_s: The client gives up after this long and tries again.
        max_retries: How often it tries again, 0 to 3.
        queue_limit_s: Work an instance lets queue before it rejects requests at once (assumption; keeps overload
            bounded).
        base_memory_mib: Memory an instance needs before it serves anything.
        memory_mib_per_request: Memory a request holds while it is queued or served; an instance that is full sheds.
        kb_per_request: Network traffic of a request and its answer, kilobytes.
        requests_per_connection: Requests a client sends over one connection to the load balancer.
        arm64_allowed: Whether the service runs on Graviton types.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_ms_per_request: float = Field(50.0, ge=1.0, le=1000.0)
    cv2: float = Field(1.0, ge=1.0, le=4.0)
    timeout_s: float = Field(5.0, ge=1.0, le=60.0)
    max_retries: int = Field(1, ge=0, le=MAX_RETRIES)
    queue_limit_s: float = Field(10.0, ge=1.0, le=120.0)
    base_memory_mib: float = Field(1024.0, ge=0)
    memory_mib_per_request: float = Field(4.0, ge=0)
    kb_per_request: float = Field(4.0, ge=0)
    requests_per_connection: float = Field(10.0, ge=1)
    arm64_allowed: bool = True


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
        capacity_rebalancing: Replace a spot instance at its rebalance recommendation or notice, not at its end.
        zone_rebalancing: Even the zones out, launching before terminating (AZRebalance).
        on_demand_base: Instances that are on demand before the spot share counts (default 0).
        tight_failure_probability: Chance that a tight spot pool refuses launches in a minute (assumption).
        min_healthy_fraction: Instance refresh keeps this share of desired capacity (default 90 %).
        max_healthy_fraction: Above 1, instance refresh launches before it terminates, up to this share (default 100 %).
        checkpoints: Shares of the fleet at which an instance refresh pauses; it ends at the last one (default none).
        checkpoint_delay_s: How long it pauses there (default 3600 s).
        credits: Mode of burstable types; the T3 and T4g default is ``unlimited``.
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
    zone_rebalancing: bool = True
    on_demand_base: int = Field(0, ge=0, le=MAX_INSTANCES)
    tight_failure_probability: float = Field(0.3, ge=0, le=1)
    min_healthy_fraction: float = Field(0.9, ge=0, le=1)
    max_healthy_fraction: float = Field(1.0, ge=1, le=2)
    checkpoints: tuple[float, ...] = Field((), max_length=MAX_CHECKPOINTS)
    checkpoint_delay_s: int = Field(3600, ge=0, le=172_800, multiple_of=60)
    credits: Literal["unlimited", "standard"] = "unlimited"

    @property
    def metric_delay_ticks(self) -> int:
        """Ticks between the end of a minute and its metric."""
        return self.metric_delay_s // 60

    @model_validator(mode="after")
    def _bounds(self) -> "Physics":
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances {self.min_instances} is above max_instances {self.max_instances}")
        if self.max_healthy_fraction - self.min_healthy_fraction > 1.0:
            raise ValueError(
                f"max_healthy_fraction {self.max_healthy_fraction} is more than 1 above "
                f"min_healthy_fraction {self.min_healthy_fraction}"
            )
        if any(not 0.0 < share <= 1.0 for share in self.checkpoints) or sorted(set(self.checkpoints)) != list(
            self.checkpoints
        ):
            raise ValueError(f"checkpoints {self.checkpoints} do not rise within 0..1")
        return self


class Tariff(BaseModel):
    """What an account pays beside its instances, and what it has committed to.

    Attributes:
        commitment_usd_per_hour: Compute Savings Plan commitment, paid in every hour whether used or not.
        plan_discount: Its saving on the on-demand price (1-year Compute Savings Plan without upfront: 19 % seen).
        volume_gb: Root volume of each instance, gp3.
        volume_usd_per_gb_month: 0.08 in us-east-1.
        balancer_usd_per_hour: Application Load Balancer, 0.0225 in us-east-1.
        lcu_usd_per_hour: Per capacity unit, 0.008 in us-east-1.
        credit_usd_per_vcpu_hour: Surplus CPU credits of burstable types in unlimited mode, 0.05.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commitment_usd_per_hour: float = Field(0.0, ge=0)
    plan_discount: float = Field(0.19, ge=0, lt=1)
    volume_gb: float = Field(20.0, ge=0)
    volume_usd_per_gb_month: float = Field(VOLUME_USD_PER_GB_MONTH, ge=0)
    balancer_usd_per_hour: float = Field(LOAD_BALANCER_USD_PER_HOUR, ge=0)
    lcu_usd_per_hour: float = Field(LCU_USD_PER_HOUR, ge=0)
    credit_usd_per_vcpu_hour: float = Field(0.05, ge=0)


class WorldSettings(BaseModel):
    """Everything that turns a demand tape into a world: physics, workload, objective and tariff."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    physics: Physics = Physics()
    workload: Workload = Workload()
    objective: ServiceObjective = ServiceObjective()
    tariff: Tariff = Tariff()


def service_s(catalogue: Catalogue, workload: Workload) -> NDArray[np.float64]:
    """Return the mean service time of a request on one vCPU of each type, [K] seconds."""
    return np.array([workload.cpu_ms_per_request / 1000.0 / item.speed for item in catalogue.types])


def parallel_requests(item: InstanceType, workload: Workload) -> float:
    """Return how many requests a type can work on at once: one for each vCPU, fewer where memory holds fewer."""
    return min(float(item.vcpu), memory_slots(item, workload))


def memory_slots(item: InstanceType, workload: Workload) -> float:
    """Return how many requests, queued or in work, fit into the memory of a type.

    Raises:
        ValueError: The service itself does not fit, or not even one request beside it.
    """
    free_mib = item.memory_gib * _MIB_PER_GIB - workload.base_memory_mib
    if free_mib <= 0 or free_mib < workload.memory_mib_per_request:
        raise ValueError(
            f"{item.name} has {item.memory_gib:g} GiB; the service needs {workload.base_memory_mib:g} MiB and "
            f"{workload.memory_mib_per_request:g} MiB for a request"
        )
    return free_mib / workload.memory_mib_per_request if workload.memory_mib_per_request > 0 else np.inf


def network_rps(item: InstanceType, workload: Workload) -> float:
    """Return the requests per second that a type's baseline network bandwidth carries."""
    if workload.kb_per_request <= 0.0:
        return np.inf
    return item.network_gbps * 1e9 / 8.0 / (workload.kb_per_request * 1e3)


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
    derived = {"routing", "metric_delay_s", "checkpoints", "checkpoint_delay_s", "credits"}
    for name, value in physics.model_dump(exclude=derived).items():
        record[name] = value
    record["metric_delay_ticks"] = physics.metric_delay_ticks
    record["least_outstanding"] = physics.routing == "least_outstanding_requests"
    record["num_checkpoints"] = len(physics.checkpoints)
    record["checkpoints"][0, : len(physics.checkpoints)] = physics.checkpoints
    record["checkpoint_delay_ticks"] = physics.checkpoint_delay_s // 60
    record["unlimited_credits"] = physics.credits == "unlimited"
    record["num_types"] = len(catalogue.types)
    record["num_candidates"] = len(catalogue.candidates)
    record["traffic_penalty"] = objective.penalty == "traffic"
    record["slo_s"] = objective.p95_ms / 1000.0
    record["slo_late_fraction"] = objective.late_fraction
    record["slo_error_fraction"] = objective.error_fraction
    record["penalty_multiple"] = objective.penalty_multiple
    record["timeout_s"] = workload.timeout_s
    record["max_retries"] = workload.max_retries
    record["queue_limit_s"] = workload.queue_limit_s
    record["reference_usd_per_request"] = reference_usd_per_request(catalogue, workload)
    _write_tariff(record, settings)
    _write_types(record, catalogue, settings)
    _write_candidates(record, catalogue, settings)
    return record


def _write_tariff(record: NDArray[np.void], settings: WorldSettings) -> None:
    """Write what is paid beside the instances.

    One request per second makes 1 / requests_per_connection new connections per second and so many gigabytes an hour; a
    capacity unit is the largest of its dimensions, and connections shorter than a minute never make the active ones it.
    """
    tariff, workload = settings.tariff, settings.workload
    record["lcu_per_rps"] = load_balancer_capacity_units(
        new_connections_per_s=1.0 / workload.requests_per_connection,
        processed_gb_per_hour=workload.kb_per_request * 1e3 * _SECONDS_PER_HOUR / 1e9,
    )
    record["lcu_usd_per_s"] = tariff.lcu_usd_per_hour / _SECONDS_PER_HOUR
    record["balancer_usd_per_s"] = tariff.balancer_usd_per_hour / _SECONDS_PER_HOUR
    record["volume_usd_per_s"] = tariff.volume_gb * tariff.volume_usd_per_gb_month / HOURS_PER_MONTH / _SECONDS_PER_HOUR
    record["commitment_usd_per_s"] = tariff.commitment_usd_per_hour / _SECONDS_PER_HOUR
    record["plan_discount"] = tariff.plan_discount
    record["credit_usd"] = tariff.credit_usd_per_vcpu_hour / 60.0


def _write_types(record: NDArray[np.void], catalogue: Catalogue, settings: WorldSettings) -> None:
    workload = settings.workload
    times = service_s(catalogue, workload)
    for position, item in enumerate(catalogue.types):
        parallel = parallel_requests(item, workload)
        carried = network_rps(item, workload)
        capacity = min(parallel / times[position], carried)
        record["vcpu"][0, position] = item.vcpu
        record["service_s"][0, position] = times[position]
        record["parallel"][0, position] = parallel
        record["network_rps"][0, position] = carried
        record["capacity_rps"][0, position] = capacity
        waiting = memory_slots(item, workload) - parallel
        record["queue_limit_requests"][0, position] = min(capacity * workload.queue_limit_s, waiting)
        record["baseline"][0, position] = item.baseline
        record["credits_per_s"][0, position] = item.credits_per_hour / _SECONDS_PER_HOUR
        record["max_credits"][0, position] = item.max_credits
        record["burstable"] |= item.credits_per_hour > 0
        record["on_demand_usd_per_s"][0, position] = item.price_usd_per_hour / _SECONDS_PER_HOUR
        record["servers"][0, position] = servers_index(item.vcpu)


def _write_candidates(record: NDArray[np.void], catalogue: Catalogue, settings: WorldSettings) -> None:
    record["candidate_capacity_rps"] = np.nan
    record["candidate_on_demand_usd_per_hour"] = np.nan
    for position, candidate in enumerate(catalogue.candidates):
        members = [catalogue.index[name] for name in candidate.types]
        _check_architecture(catalogue, candidate.name, members, settings.workload)
        record["num_members"][0, position] = len(members)
        record["members"][0, position, : len(members)] = members
        record["is_member"][0, position, members] = 1
        record["spot_allocation"][0, position] = _ALLOCATIONS[candidate.spot_allocation]
        record["spot_pools"][0, position] = candidate.spot_pools
        record["on_demand_prioritized"][0, position] = candidate.on_demand_allocation == "prioritized"
        capacities = record["capacity_rps"][0, members]
        weakest_counts = settings.physics.routing == "round_robin"
        record["candidate_capacity_rps"][0, position] = capacities.min() if weakest_counts else capacities.mean()
        prices = np.array([catalogue.types[member].price_usd_per_hour for member in members])
        cheapest = 0 if candidate.on_demand_allocation == "prioritized" else int(np.argmin(prices / capacities))
        record["candidate_on_demand_usd_per_hour"][0, position] = prices[cheapest]
    record["largest_candidate_rps"] = np.nanmax(record["candidate_capacity_rps"])


def _check_architecture(catalogue: Catalogue, name: str, members: list[int], workload: Workload) -> None:
    for member in members:
        item = catalogue.types[member]
        if item.architecture == "arm64" and not workload.arm64_allowed:
            raise ValueError(
                f"launch specification {name!r} holds {item.name} (arm64); the workload allows x86_64 only"
            )


def _check_sizes(catalogue: Catalogue) -> None:
    longest = max(len(candidate.types) for candidate in catalogue.candidates)
    for what, count, limit in (
        ("instance types", len(catalogue.types), MAX_TYPES),
        ("launch specifications", len(catalogue.candidates), MAX_CANDIDATES),
        ("types in one launch specification", longest, MAX_MEMBERS),
    ):
        if count > limit:
            raise ValueError(f"the catalogue has {count} {what}; at most {limit} fit")
