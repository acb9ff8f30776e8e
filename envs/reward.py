"""The reward: four named terms, in units of the reference cost of a decision, and their weighted total.

The reference cost is what on-demand m6i.large at 60 % utilisation costs for the window's mean demand. By default the
total is minus all USD (bill before refunds, and penalty) over that cost, about -0.25 a step.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from envs.settings import RewardWeights
from simulators.fleets import infra_usd

TERMS: Final = ("cost_savings", "sla_compliance", "performance_impact", "resource_efficiency")
Terms = dict[str, NDArray[np.float64]]


def reward_terms(outcomes: NDArray[np.void]) -> Terms:
    """Return each term, [B]; all are 0 for a decision in which nothing was scored.

    ``cost_savings``: minus the bill over the reference cost. ``sla_compliance``: minus the penalty over it.
    ``performance_impact``: minus the share of requests late or failed. ``resource_efficiency``: busy over in-service
    vCPU time, less 1.
    """
    reference = outcomes["reference_usd"]
    scored = reference > 0.0
    per_reference = np.where(scored, 1.0 / np.where(scored, reference, 1.0), 0.0)
    requests = np.maximum(outcomes["requests"], 1e-9)
    vcpu_s = np.maximum(outcomes["in_service_vcpu_s"], 1e-9)
    return {
        "cost_savings": -infra_usd(outcomes) * per_reference,
        "sla_compliance": -outcomes["slo_penalty_usd"] * per_reference,
        "performance_impact": -(outcomes["late_requests"] + outcomes["failed_requests"]) / requests * scored,
        "resource_efficiency": (outcomes["busy_vcpu_s"] / vcpu_s - 1.0) * scored,
    }


def total_reward(terms: Terms, weights: RewardWeights) -> NDArray[np.float64]:
    """Return the weighted sum of the terms, [B]."""
    total = np.zeros_like(terms["cost_savings"])
    for name in TERMS:
        weight = getattr(weights, name)
        if weight:
            total += weight * terms[name]
    return total
