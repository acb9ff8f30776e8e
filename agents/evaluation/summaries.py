"""A comparison, or a part of its scenarios, in a few figures."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from agents.evaluation.contest import BOUND, Contest
from agents.evaluation.statistics import Estimate
from simulators.fleets import infra_usd
from telemetry.splits import SPLITS, load_splits

Json = dict[str, Any]
APART: Final = "apart"
PATTERN: Final = "pattern"


def number(value: float) -> float | None:
    """Return a value as JSON has it: six decimals, None for NaN."""
    return None if math.isnan(value) else round(value, 6)


def estimate_content(item: Estimate, versus: str) -> Json:
    """Return an estimate with its interval as JSON has it."""
    return {"vs": versus, "value": number(item.value), "ci95": [number(item.low), number(item.high)]}


def gap_content(contest: Contest, policy: str | None, scenarios: Sequence[int] | None = None) -> Json | None:
    """Return the share of the way from the best rule to the bound that a policy goes; None where one is missing.

    ``wins`` counts the scenarios where it costs less than the rule.
    """
    if policy is None or policy not in contest.played or not contest.has_bound:
        return None
    chosen = contest.counted if scenarios is None else scenarios
    gap = contest.paired(chosen).gap_closed(policy, contest.best_rule, BOUND)
    of = contest.worlds.of
    ours, theirs = contest.played[policy].total_usd, contest.played[contest.best_rule].total_usd
    wins = sum(bool(of(ours, index).sum() < of(theirs, index).sum()) for index in chosen)
    return {**estimate_content(gap, contest.best_rule), "wins": wins, "of": len(chosen)}


def row_content(contest: Contest, name: str, scenarios: Sequence[int] | None = None) -> Json:
    """Return total, bill, penalty and refunds over reference, and the share of bad minutes, on some scenarios."""
    chosen = contest.counted if scenarios is None else scenarios
    totals = contest.played[name].totals
    bill = contest.over_reference(infra_usd(totals), chosen)
    penalty = contest.over_reference(totals["slo_penalty_usd"], chosen)
    part = totals[contest.worlds.rows_of(chosen, len(contest.worlds.seeds))]
    return {
        "total": round(bill + penalty, 6),
        "bill": round(bill, 6),
        "penalty": round(penalty, 6),
        "refunds": round(contest.over_reference(totals["refund_usd"], chosen), 6),
        "bad_minutes_fraction": round(float(part["bad_minutes"].sum() / max(1, part["ticks"].sum())), 6),
    }


def bound_content(contest: Contest, scenarios: Sequence[int] | None = None) -> float | None:
    """Return the bound over reference on some scenarios; None before it is known."""
    if not contest.has_bound:
        return None
    return round(contest.over_reference(contest.bound_daily.sum(axis=1), scenarios), 6)


def tight_bound_content(contest: Contest) -> dict[str, float]:
    """Return the tighter bound of each trace, USD, mean over its markets; nothing before it is known."""
    worlds, usd = contest.worlds, contest.tight_bound_daily.sum(axis=1)
    if not len(usd):
        return {}
    return {item.name: float(worlds.of(usd, index).mean()) for index, item in enumerate(worlds.scenarios)}


def tight_bound_over_reference(contest: Contest, scenarios: Sequence[int] | None = None) -> float | None:
    """Return the tighter bound over reference on some scenarios; None before it is known."""
    if not len(contest.tight_bound_daily):
        return None
    return round(contest.over_reference(contest.tight_bound_daily.sum(axis=1), scenarios), 6)


def summary(contest: Contest, names: Sequence[str], scenarios: Sequence[int] | None = None) -> Json:
    """Return totals and bad minutes of some policies on some scenarios, the bound, and the gap the learned one closes.

    Args:
        contest: Played.
        names: Policies.
        scenarios: Indices; those of the overall figures if None.
    """
    chosen = contest.counted if scenarios is None else scenarios
    rows = {name: row_content(contest, name, chosen) for name in names}
    return {
        "traces": [contest.worlds.scenarios[index].name for index in chosen],
        "policies": {name: {key: row[key] for key in ("total", "bad_minutes_fraction")} for name, row in rows.items()},
        "bound": bound_content(contest, chosen),
        "gap_closed": gap_content(contest, contest.learned, chosen),
    }


def groups(contest: Contest) -> dict[str, list[int]]:
    """Return the scenarios by what they are: requests, other shapes, held-out patterns, and those reported apart."""
    patterns = {name for split in SPLITS for name in load_splits().patterns.of(split)}
    found: dict[str, list[int]] = {}
    for index, scenario in enumerate(contest.worlds.scenarios):
        kind: str = PATTERN if scenario.name.partition("#")[0] in patterns else scenario.kind
        found.setdefault(APART if scenario.name in contest.worlds.apart else kind, []).append(index)
    return found


def trace_table(contest: Contest) -> dict[str, Json]:
    """Return for each trace the totals of the best rule, AWS's cheapest policy, the learned policy and the bound.

    AWS's policy is the one that is cheapest over all traces, in hindsight.
    """
    kinds = groups(contest)
    of_trace = {index: kind for kind, indices in kinds.items() for index in indices}
    aws = contest.names("aws")[:1]
    table = {}
    for index, scenario in enumerate(contest.worlds.scenarios):
        shown = {"best_rule": contest.best_rule, "aws": aws[0] if aws else None, "learned": contest.learned}
        row: Json = {"kind": of_trace[index]}
        for role, name in shown.items():
            row[role] = None if name is None else row_content(contest, name, [index])["total"]
        row["bound"] = bound_content(contest, [index])
        row["tight_bound"] = tight_bound_over_reference(contest, [index])
        row["gap_closed"] = gap_content(contest, contest.learned, [index])
        table[scenario.name] = row
    return table


def front_content(contest: Contest) -> dict[str, list[list[float]]]:
    """Return for each rule the (share of bad minutes, bill over reference) of each setting of its front."""
    content = {}
    for name, front in contest.fronts.items():
        points = []
        for played in front:
            bad = float(played.totals["bad_minutes"].sum() / max(1, int(np.sum(played.totals["ticks"]))))
            points.append([round(bad, 6), round(contest.over_reference(infra_usd(played.totals)), 6)])
        content[name] = points
    return content
