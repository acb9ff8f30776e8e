"""The figures of a report: what one policy did on one trace, and what it costs at equal bad minutes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.contest import Contest
from agents.evaluation.statistics import Estimate, PairedTotals
from agents.evaluation.worlds import Worlds
from agents.rollout import Played
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


@dataclass(frozen=True)
class Setting:
    """A policy's bill and bad minutes on some traces, each over what the trace scales them by.

    Attributes:
        bill: One [seeds, days] array per trace: USD over its mean daily reference USD.
        bad: Share of bad minutes, mean over traces.
    """

    bill: list[NDArray[np.float64]]
    bad: float

    @property
    def cost(self) -> float:
        """Mean bill over traces."""
        return float(np.mean([item.mean() for item in self.bill]))

    def mixed(self, other: "Setting", share: float) -> "Setting":
        """Return this setting in force for a share of the time and another one for the rest."""
        pairs = zip(self.bill, other.bill, strict=True)
        bill = [share * one + (1.0 - share) * two for one, two in pairs]
        return Setting(bill, share * self.bad + (1.0 - share) * other.bad)


def setting(played: Played, reference: Played, worlds: Worlds, scenarios: Sequence[int]) -> Setting:
    """Return a policy's bill and bad minutes on some scenarios, every one counting the same.

    Args:
        played: What it did.
        reference: What any policy did on the same fleets; its reference cost is taken.
        worlds: Where.
        scenarios: Indices.
    """
    bill, bad = [], []
    for index in scenarios:
        scenario = worlds.scenarios[index]
        days = slice(0, -(-(scenario.last_tick - scenario.first_tick) // 1440))
        scale = worlds.of(reference.daily_reference_usd, index)[:, days].mean()
        bill.append(worlds.of(played.daily_infra_usd, index)[:, days] / scale)
        totals = worlds.of(played.totals, index)
        bad.append(float(totals["bad_minutes"].sum() / max(1, totals["ticks"].sum())))
    return Setting(bill, float(np.mean(bad)))


def cheapest_within(front: Sequence[Setting], bad: float) -> Setting | None:
    """Return the cheapest way to be no worse in bad minutes: one setting of a front, or two in turn; None if none is.

    Two settings in turn, one on each side of the limit, leave no advantage to a policy that falls between the settings
    that happened to be tried.
    """
    good = [item for item in front if item.bad <= bad]
    worse = [item for item in front if item.bad > bad]
    mixtures = [one.mixed(two, (two.bad - bad) / (two.bad - one.bad)) for one in good for two in worse]
    return min([*good, *mixtures], key=lambda item: item.cost, default=None)


def bill_at_equal_bad_minutes(
    contest: Contest, policy: str, scenarios: Sequence[int] | None = None, *, rival: str | None = None
) -> Estimate:
    """Return by what share a policy's bill is below a rule's at no more bad minutes, with its 95 % interval.

    The rule is calibrated again along its own front, to at most the policy's bad minutes (mean share over traces);
    NaN where no setting is that good. The interval takes that setting as given, and resamples as all others do.

    Args:
        contest: Played, the rule's front with it.
        policy: Name.
        scenarios: Indices of those that count; all if None.
        rival: The rule; the best one if None.
    """
    chosen = range(len(contest.worlds.scenarios)) if scenarios is None else scenarios
    reference = contest.played[contest.best_rule]
    ours = setting(contest.played[policy], reference, contest.worlds, chosen)
    rule = rival or contest.best_rule
    tried = [contest.played[rule], *contest.fronts.get(rule, [])]
    front = [setting(played, reference, contest.worlds, chosen) for played in tried]
    theirs = cheapest_within(front, ours.bad)
    if theirs is None:
        return Estimate(np.nan, np.nan, np.nan)
    return PairedTotals({"ours": ours.bill, "rival": theirs.bill}).saving("ours", "rival")
