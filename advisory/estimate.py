"""What a fleet would cost and how it would answer, from the price list and the latency table.

Every target queues for itself behind the balancer, as in ``simulators.service``; the fleet is taken to be
whole, warm and without backlog. Above saturation the backlog of one decision is added as a fluid wait.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from advisory.reading import Situation, near_demand_rps
from advisory.served import ServedModel
from simulators.adjustments import on_demand_count
from simulators.latency import overloaded_tail, quantile_from_tail, response_tail

_RESPONSE_S: Final = np.geomspace(0.001, 60.0, 120)
_HALF_BUDGET: Final = 0.5


class Part(NamedTuple):
    """Instances of one type that share a price.

    Attributes:
        kind: Type index.
        instances: Their number; fractional where a mixture is only known on average.
        usd_per_hour: Price of one.
    """

    kind: int
    instances: float
    usd_per_hour: float


class Service(NamedTuple):
    """How a fleet answers at a steady demand: p95 in milliseconds, late share, work over capacity."""

    p95_ms: float
    late_fraction: float
    utilization: float


def recommended_parts(
    model: ServedModel, situation: Situation, spec: int, capacity: int, spot_fraction: float
) -> list[Part]:
    """Return the fleet a launch specification gives: cheapest types per capacity, on demand rounded up."""
    members = model.members(spec)
    capacities = model.physics["capacity_rps"][members]
    listed = np.array([model.catalogue.types[kind].price_usd_per_hour for kind in members])
    spot = situation.spot_usd_per_hour[members]
    on_demand = on_demand_count(capacity, int(model.physics["on_demand_base"]), 1.0 - spot_fraction)
    cheapest, cheapest_spot = int(np.argmin(listed / capacities)), int(np.argmin(spot / capacities))
    parts = [
        Part(int(members[cheapest]), on_demand, float(listed[cheapest])),
        Part(int(members[cheapest_spot]), capacity - on_demand, float(spot[cheapest_spot])),
    ]
    return [part for part in parts if part.instances]


def current_parts(model: ServedModel, situation: Situation) -> list[Part]:
    """Return the instances in service or pending; each pays the fleet's mean of spot and list price."""
    record = situation.record
    wanted = float(record["in_service"] + record["pending"])
    spot_share = float(record["spot_in_use"]) / wanted if wanted else 0.0
    parts = []
    for kind, item in enumerate(model.catalogue.types):
        count = float(record["type_count"][kind])
        if count:
            price = spot_share * situation.spot_usd_per_hour[kind] + (1.0 - spot_share) * item.price_usd_per_hour
            parts.append(Part(kind, count, float(price)))
    return parts


def resized(parts: Sequence[Part], instances: float) -> list[Part]:
    """Return a fleet of the same mixture with another number of instances."""
    total = sum(part.instances for part in parts)
    return [part._replace(instances=part.instances * instances / total) for part in parts if instances > 0]


def hourly_cost_usd(parts: Sequence[Part]) -> float:
    """Return what a fleet costs, USD per hour."""
    return float(sum(part.instances * part.usd_per_hour for part in parts))


class _Target(NamedTuple):
    """The targets of one part of a fleet under a steady demand.

    Attributes:
        share: Of the requests.
        work: Offered to one of them over its vCPU capacity.
        vcpu: Of all of them.
        mean_service_s: Of a request of this service.
        wait: That a backlog adds by the end of a decision, in mean service times.
        table: Log response tails of their number of vCPU.
    """

    share: float
    work: float
    vcpu: float
    mean_service_s: float
    wait: float
    table: NDArray[np.float32]


def _targets(model: ServedModel, situation: Situation, parts: Sequence[Part], demand_rps: float) -> list[_Target]:
    """Return how a demand spreads over a fleet: evenly, or by capacity under least outstanding requests."""
    physics = model.physics
    window_s, queue_limit_s = model.task.decision_minutes * 60.0, float(physics["queue_limit_s"])
    by_capacity = bool(physics["least_outstanding"])
    weights = [float(physics["capacity_rps"][part.kind]) if by_capacity else 1.0 for part in parts]
    total = sum(part.instances * weight for part, weight in zip(parts, weights, strict=True))
    targets = []
    for part, weight in zip(parts, weights, strict=True):
        service_s, vcpu = float(physics["service_s"][part.kind]), float(physics["vcpu"][part.kind])
        work = demand_rps * weight / total * service_s / vcpu
        wait_s = min(max(0.0, work - 1.0) * window_s, queue_limit_s)
        targets.append(
            _Target(
                share=part.instances * weight / total,
                work=work,
                vcpu=part.instances * vcpu,
                mean_service_s=service_s * situation.work,
                wait=wait_s / (service_s * situation.work),
                table=model.log_tails[physics["servers"][part.kind]],
            )
        )
    return targets


def _later_than(response_s: float, targets: Sequence[_Target], count: int) -> float:
    """Return the share of requests answered later; all of them without targets."""
    if not targets:
        return 1.0
    late = 0.0
    for item in targets:
        x = response_s / item.mean_service_s
        if item.wait > 0.0:
            late += item.share * overloaded_tail(item.table, count, item.work, 0.0, item.wait, x)
        else:
            late += item.share * response_tail(item.table, count, item.work, x)
    return late


def _count(parts: Sequence[Part]) -> int:
    return max(1, round(sum(part.instances for part in parts)))


def expected_service(model: ServedModel, situation: Situation, parts: Sequence[Part], demand_rps: float) -> Service:
    """Return how a fleet of at least one instance answers a steady demand.

    Args:
        model: Whose physics and latency table count.
        situation: Whose requests are served.
        parts: The fleet.
        demand_rps: Requests of the trained workload per second.
    """
    targets, count = _targets(model, situation, parts, demand_rps), _count(parts)
    tails = np.array([_later_than(float(x), targets, count) for x in _RESPONSE_S])
    vcpu = sum(item.vcpu for item in targets)
    return Service(
        p95_ms=1000.0 * float(quantile_from_tail(tails, _RESPONSE_S, 0.95)),
        late_fraction=_later_than(float(model.physics["slo_s"]), targets, count),
        utilization=sum(item.work * item.vcpu for item in targets) / vcpu,
    )


def performance_risk(model: ServedModel, situation: Situation, parts: Sequence[Part]) -> int:
    """Return how soon a fleet misses the objective as demand climbs its forecast quantiles, 0..4.

    Over the next 15 minutes, 4 misses it at the 0.5 quantile, 3 at 0.9, 2 at 0.99; 1 keeps it at 0.99 with
    less than half of the late budget to spare, 0 with more.
    """
    slo_s, budget = float(model.physics["slo_s"]), float(model.physics["slo_late_fraction"])
    count, late = _count(parts), 0.0
    for risk, level in ((4, 0.5), (3, 0.9), (2, 0.99)):
        demand_rps = near_demand_rps(situation, level)
        late = _later_than(slo_s, _targets(model, situation, parts, demand_rps), count) if demand_rps else 0.0
        if late > budget:
            return risk
    return 1 if late > _HALF_BUDGET * budget else 0
