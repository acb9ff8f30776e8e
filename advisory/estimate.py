"""What a fleet would cost and how it would answer, from the price list and the latency table.

Every target queues for itself behind the balancer, as in ``simulators.service``; the fleet is taken to be
whole, warm and without backlog. Above saturation the backlog of one decision is added as a fluid wait.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from advisory.reading import Situation, near_demand_rps
from advisory.served import ServedModel
from simulators.fleet import on_demand_target
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
    on_demand = on_demand_target(capacity, spot_fraction)
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


def expected_service(model: ServedModel, situation: Situation, parts: Sequence[Part], demand_rps: float) -> Service:
    """Return how a fleet answers a steady demand (requests of the trained workload per second)."""
    return Service(
        p95_ms=1000.0 * _p95_s(model, situation, parts, demand_rps),
        late_fraction=_tail(model, situation, parts, demand_rps, float(model.physics["slo_s"])),
        utilization=_utilization(model, parts, demand_rps),
    )


def _utilization(model: ServedModel, parts: Sequence[Part], demand_rps: float) -> float:
    """Return work over vCPU capacity; 0 without demand, infinite without instances."""
    physics = model.physics
    if demand_rps <= 0.0:
        return 0.0
    total = sum(part.instances * _weight(model, part) for part in parts)
    if total <= 0.0:
        return float("inf")
    busy = sum(part.instances * _weight(model, part) * physics["service_s"][part.kind] for part in parts)
    vcpu = sum(part.instances * physics["vcpu"][part.kind] for part in parts)
    return float(demand_rps / total * busy / vcpu)


def _weight(model: ServedModel, part: Part) -> float:
    """Return a target's share of the traffic: its capacity under least outstanding requests, else 1."""
    return float(model.physics["capacity_rps"][part.kind]) if model.physics["least_outstanding"] else 1.0


def _p95_s(model: ServedModel, situation: Situation, parts: Sequence[Part], demand_rps: float) -> float:
    tails = [_tail(model, situation, parts, demand_rps, float(x)) for x in _RESPONSE_S]
    return float(quantile_from_tail(np.array(tails), _RESPONSE_S, 0.95))


def _tail(
    model: ServedModel, situation: Situation, parts: Sequence[Part], demand_rps: float, response_s: float
) -> float:
    """Return the share of requests later than ``response_s``; 0 without demand, 1 without instances."""
    physics = model.physics
    if demand_rps <= 0.0:
        return 0.0
    total = sum(part.instances * _weight(model, part) for part in parts)
    if total <= 0.0:
        return 1.0
    targets = max(1, round(sum(part.instances for part in parts)))
    window_s = model.task.decision_minutes * 60.0
    late = 0.0
    for part in parts:
        service_s = float(physics["service_s"][part.kind])
        rate = demand_rps * _weight(model, part) / total
        utilization = rate * service_s / float(physics["vcpu"][part.kind])
        table = model.log_tails[physics["servers"][part.kind]]
        own_s = service_s * situation.work
        if utilization <= 1.0:
            tail = response_tail(table, targets, utilization, response_s / own_s)
        else:
            wait_s = min((utilization - 1.0) * window_s, float(physics["queue_limit_s"]))
            tail = overloaded_tail(table, targets, utilization, 0.0, wait_s / own_s, response_s / own_s)
        late += part.instances * _weight(model, part) / total * tail
    return late


def performance_risk(model: ServedModel, situation: Situation, parts: Sequence[Part]) -> int:
    """Return how soon a fleet misses the objective as demand climbs its forecast quantiles, 0..4.

    Over the next 15 minutes, 4 misses it at the 0.5 quantile, 3 at 0.9, 2 at 0.99; 1 keeps it at 0.99 with
    less than half of the late budget to spare, 0 with more.
    """
    slo_s, budget = float(model.physics["slo_s"]), float(model.physics["slo_late_fraction"])
    for risk, level in ((4, 0.5), (3, 0.9), (2, 0.99)):
        late = _tail(model, situation, parts, near_demand_rps(situation, level), slo_s)
        if late > budget:
            return risk
    return 1 if late > _HALF_BUDGET * budget else 0
