"""A second implementation of docs/semantics.md: one instance, one rule, one number at a time.

Written from the document and the record layouts, not from the compiled kernel, so that the two can be held
against each other; only draws and response-time tails are shared with it, and both have tests of their own. The rules
stand in ``policy_rules``, ``group_rules``, ``service_rules`` and ``bill_rules``. Taken over from the kernel,
because the document is silent: that terminations count every instance that is gone, and infeasible minutes.
"""

from typing import Any

from reference import bill_rules, group_rules, policy_rules, service_rules
from reference.reference_model import Fleet, Outcome, World, in_service, no_outcome


def is_infeasible(fleet: Fleet, world: World) -> bool:
    """Whether the largest fleet of the strongest candidate could not serve the tick's demand."""
    strongest = 0.0
    for spec in range(int(world.physics["num_candidates"])):
        capacities = [world.capacity(kind) for kind in world.members(spec)]
        mean = sum(capacities) / len(capacities)
        strongest = max(strongest, mean if world.physics["least_outstanding"] else min(capacities))
    work = float(world.demand_rps[fleet.tick]) * float(world.work_scale[fleet.tick])
    return work > strongest * int(world.physics["max_instances"])


def decide(fleet: Fleet, world: World, menu: Any, decision: Any, outcome: Outcome) -> None:
    group_rules.decide(fleet, world, menu, decision, outcome)


def play_tick(fleet: Fleet, world: World, menu: Any, outcome: Outcome, *, detail: bool = False) -> None:
    """One minute; a tick that is not scored leaves the outcome alone."""
    book = outcome if world.scored[fleet.tick] else no_outcome()
    book["ticks"] += 1
    book["infeasible_minutes"] += is_infeasible(fleet, world)
    group_rules.play_market(fleet, world, book)
    policy_rules.apply_policy(fleet, world, menu, book)
    served_before_stops = len(in_service(fleet))
    group_rules.let_leave(fleet)
    if fleet.refreshing:
        group_rules.roll(fleet, world)
    else:
        group_rules.rebalance_zones(fleet, world, served_before_stops)
    group_rules.reconcile(fleet, world, book)
    arrivals = float(world.demand_rps[fleet.tick]) + sum(fleet.retry_rps)
    busy_vcpu_s = service_rules.serve(fleet, world, book, detail=detail)
    service_rules.settle_credits(fleet, world, book, busy_vcpu_s)
    bill_rules.bill(fleet, world, book, arrivals)
    bill_rules.retire(fleet, world, book)
    fleet.tick += 1
