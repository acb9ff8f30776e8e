"""The figures of a report: what one policy did on one trace, and what it costs at equal bad minutes."""

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.contest import Contest
from agents.evaluation.statistics import Estimate
from simulators.fleets import infra_usd
from simulators.latency import quantile_from_tail
from simulators.records import BILL_LINES, OUTCOME, RESPONSE_GRID_MS


def figures(totals: NDArray[np.void], longest_bad_run: NDArray[np.int64]) -> dict[str, float]:
    """Return one trace's figures: means over its market seeds (counts and USD), ratios of sums (shares).

    p95 and p99 are over all requests of the window, interpolated on RESPONSE_GRID_MS (its largest value means that
    or more); utilisation is busy over in-service vCPU time; attainment is requests answered within the objective over
    requests offered.
    """
    mean = {
        name: float(totals[name].mean()) for name in OUTCOME.names or () if name not in ("slower_requests", "ticks")
    }
    requests = max(float(totals["requests"].sum()), 1e-9)
    tail = totals["slower_requests"].sum(axis=0) / requests
    days = float(totals["ticks"].mean()) / 1440.0
    infra = sum(mean[line] for line in BILL_LINES)
    p95, p99 = (float(quantile_from_tail(tail, np.array(RESPONSE_GRID_MS), q)) for q in (0.95, 0.99))
    return {
        "total_usd": infra + mean["slo_penalty_usd"],
        "infra_usd": infra,
        "slo_penalty_usd": mean["slo_penalty_usd"],
        "refunds_usd": mean["refund_usd"],
        "bad_minutes_fraction": float(totals["bad_minutes"].sum() / max(1, totals["ticks"].sum())),
        "longest_bad_run_minutes": float(longest_bad_run.mean()),
        "slo_attainment_requests": 1.0 - float(totals["late_requests"].sum()) / requests,
        "p95_ms": p95,
        "p99_ms": p99,
        "mean_utilization": float(totals["busy_vcpu_s"].sum() / max(totals["in_service_vcpu_s"].sum(), 1e-9)),
        "interruptions": mean["interruptions"],
        "launches_per_day": mean["launches"] / days,
        "type_changes_per_day": mean["type_changes"] / days,
    }


def bill_at_equal_bad_minutes(contest: Contest, policy: str) -> Estimate:
    """Return by what share a policy's bill is below the best rule's at no more bad minutes.

    The rule is re-tuned along its own front (other target utilisations); the cheapest setting with no more bad
    minutes than the policy is taken, or NaN where none is that good. The interval resamples fleets of the chosen
    setting and the policy in pairs.
    """
    ours = contest.played[policy].totals
    limit = ours["bad_minutes"].sum()
    good = [item.totals for item in contest.front if item.totals["bad_minutes"].sum() <= limit]
    if not good:
        return Estimate(np.nan, np.nan, np.nan)

    def bill(totals: NDArray[np.void]) -> NDArray[np.float64]:
        return np.asarray(infra_usd(totals) / totals["reference_usd"])

    rival = min(good, key=lambda totals: float(bill(totals).sum()))
    ours_bill, rival_bill = bill(ours), bill(rival)
    rng = np.random.default_rng([0, 0xE9A1])
    picks = rng.integers(0, len(ours_bill), (2000, len(ours_bill)))
    ratios = 1.0 - ours_bill[picks].sum(axis=1) / rival_bill[picks].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(1.0 - ours_bill.sum() / rival_bill.sum()), float(low), float(high))
