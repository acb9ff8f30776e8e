"""The reward: four named terms, in units of the reference cost of a decision, and their weighted total.

The reference cost is what on-demand m6i.large at 60 % utilisation costs for the window's mean demand. By default the
total is minus all USD (bill before refunds, and penalty) over that cost, about -0.25 a step.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import literal_unroll
from numpy.typing import NDArray

from envs.settings import RewardWeights
from simulators.records import BILL_LINES
from telemetry.compiled import compiled

TERMS: Final = ("cost_savings", "sla_compliance", "performance_impact", "resource_efficiency")
Terms = dict[str, NDArray[np.float64]]
RewardFunction = Callable[[NDArray[np.void], Terms], NDArray[np.float64]]
"""Rewards [B] of the latest decision, for its [B] OUTCOME records and the four terms."""


@compiled
def _score(outcomes: NDArray[np.void], rows: NDArray[np.float64]) -> None:
    for index in range(outcomes.shape[0]):
        outcome = outcomes[index]
        usd = 0.0
        for line in literal_unroll(BILL_LINES):
            usd += outcome[line]
        scored = 1.0 if outcome.reference_usd > 0.0 else 0.0
        per_reference = 1.0 / outcome.reference_usd if scored else 0.0
        requests = max(outcome.requests, 1e-9)
        vcpu_s = max(outcome.in_service_vcpu_s, 1e-9)
        rows[0, index] = -usd * per_reference
        rows[1, index] = -outcome.slo_penalty_usd * per_reference
        rows[2, index] = -(outcome.late_requests + outcome.failed_requests) / requests * scored
        rows[3, index] = (outcome.busy_vcpu_s / vcpu_s - 1.0) * scored
        rows[4, index] = usd


def score(outcomes: NDArray[np.void]) -> tuple[Terms, NDArray[np.float64]]:
    """Return each term and the bill before refunds in USD, [B]; all terms are 0 where nothing was scored.

    ``cost_savings``: minus the bill over the reference cost. ``sla_compliance``: minus the penalty over it.
    ``performance_impact``: minus the share of requests late or failed. ``resource_efficiency``: busy over in-service
    vCPU time, less 1.
    """
    rows = np.empty((len(TERMS) + 1, len(outcomes)))
    _score(outcomes, rows)
    return dict(zip(TERMS, rows[:-1], strict=True)), rows[-1]


def total_reward(terms: Terms, weights: RewardWeights) -> NDArray[np.float64]:
    """Return the weighted sum of the terms, [B]."""
    total = np.zeros_like(terms["cost_savings"])
    for name in TERMS:
        weight = getattr(weights, name)
        if weight:
            total += terms[name] if weight == 1.0 else weight * terms[name]
    return total
