"""``report.json`` and ``report.md`` of a comparison."""

import math
from pathlib import Path
from typing import Any

from agents.evaluation.contest import BOUND, Contest
from agents.evaluation.figures import bill_at_equal_bad_minutes, figures
from agents.evaluation.statistics import Estimate
from agents.rollout import bad_fraction
from agents.rules import RuleBook
from simulators.fleets import infra_usd
from telemetry.provenance import write_json, write_text

Json = dict[str, Any]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _text(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _estimate(item: Estimate, versus: str) -> Json:
    return {"vs": versus, "value": _number(item.value), "ci95": [_number(item.low), _number(item.high)]}


def _per_trace(contest: Contest, name: str) -> dict[str, dict[str, float]]:
    played, worlds = contest.played[name], contest.worlds
    return {
        scenario.name: figures(worlds.of(played.totals, index), worlds.of(played.longest_bad_run, index))
        for index, scenario in enumerate(worlds.scenarios)
    }


def report_content(contest: Contest, book: RuleBook, *, seeds: list[int]) -> Json:
    """Return the content of ``report.json``."""
    worlds, rule = contest.worlds, contest.best_rule
    reference = contest.played[rule].totals["reference_usd"]
    bound = contest.bound_daily.sum(axis=1)
    per_policy = {name: _per_trace(contest, name) for name in contest.played}
    content: Json = {
        "learned": contest.learned,
        "best_rule": rule,
        "validation_total_over_reference": {name: round(value, 6) for name, value in contest.validation.items()},
        "reference": {s.name: float(worlds.of(reference, i).mean()) for i, s in enumerate(worlds.scenarios)},
        "bound": {s.name: float(worlds.of(bound, i).mean()) for i, s in enumerate(worlds.scenarios)},
        "policies": per_policy,
        "kind": contest.kinds,
        "calibration": dict(book.calibration),
        "trace_kind": {scenario.name: scenario.kind for scenario in worlds.scenarios},
        "infeasible_minutes": {
            s.name: float(worlds.of(contest.played[rule].totals["infeasible_minutes"], i).mean())
            for i, s in enumerate(worlds.scenarios)
        },
        "market_seeds": worlds.seeds,
        "seeds": seeds,
    }
    if contest.learned is not None:
        gap = contest.paired().gap_closed(contest.learned, rule, BOUND)
        ours, theirs = per_policy[contest.learned], per_policy[rule]
        wins = sum(ours[trace]["total_usd"] < theirs[trace]["total_usd"] for trace in ours)
        content["gap_closed"] = {**_estimate(gap, rule), "wins": wins, "of": len(ours)}
        equal = bill_at_equal_bad_minutes(contest, contest.learned)
        content["bill_at_equal_bad_minutes"] = _estimate(equal, rule)
    return content


def headline(contest: Contest) -> str:
    """Return the report's first line: whether the learned policy beats the best constant action."""
    if contest.learned is None:
        return f"The best rule, named on validation worlds, is {contest.best_rule}."
    constant = contest.names("constant", "rule", "aws")[0]
    gap = contest.paired().difference(contest.learned, constant)
    if gap.high < 0:
        return (
            f"The learned policy costs {-gap.value:.4f} of reference less than {constant}, the best constant action "
            f"in hindsight (95 % interval {-gap.high:.4f} to {-gap.low:.4f})."
        )
    if gap.low > 0:
        return (
            f"The learned policy loses to {constant}, the best constant action in hindsight, by {gap.value:.4f} of "
            f"reference (95 % interval {gap.low:.4f} to {gap.high:.4f})."
        )
    return (
        f"The learned policy equals rule {constant}: the difference of {gap.value:+.4f} of reference is inside its "
        f"95 % interval ({gap.low:+.4f} to {gap.high:+.4f})."
    )


def table_rows(contest: Contest) -> list[tuple[str, str, float, float, float, float]]:
    """Return (name, kind, total, bill, penalty over reference, bad-minute share) of who matters, cheapest first.

    Those are learned policies, rules, and the best constant action in hindsight; the bound is the last row.
    """
    shown = contest.names("rl", "rule", "aws") + contest.names("constant")[:1]
    rows = []
    for name in shown:
        totals = contest.played[name].totals
        bill = contest.over_reference(infra_usd(totals))
        penalty = contest.over_reference(totals["slo_penalty_usd"])
        rows.append((name, contest.kinds[name], bill + penalty, bill, penalty, bad_fraction(contest.played[name])))
    rows.sort(key=lambda row: row[2])
    bound = contest.over_reference(contest.bound_daily.sum(axis=1))
    return [*rows, (BOUND, "bound", bound, math.nan, math.nan, math.nan)]


def _cell(value: float, pattern: str = "{:.4f}") -> str:
    return "" if math.isnan(value) else pattern.format(value)


def markdown(contest: Contest, content: Json) -> str:
    """Return ``report.md``."""
    lines = [f"# Comparison\n\n{headline(contest)}\n"]
    lines.append(
        f"Best rule, named on validation worlds before the test worlds were played: **{contest.best_rule}**. "
        f"{len(contest.worlds.scenarios)} test scenarios x {len(contest.worlds.seeds)} markets; totals before refunds, "
        "over the cost of on-demand m6i.large at 60 % utilisation for mean demand, every scenario counting the same.\n"
    )
    if contest.learned is not None:
        gap, equal = content["gap_closed"], content["bill_at_equal_bad_minutes"]
        low, high = gap["ci95"]
        lines.append(
            f"Gap closed from the best rule to the bound: **{_text(gap['value'])}** "
            f"(95 % interval {_text(low)} to {_text(high)}), cheaper than the rule on {gap['wins']} of {gap['of']} "
            "traces."
        )
        if equal["value"] is None:
            lines.append("The best rule reaches the learned policy's bad minutes at no target utilisation tried.\n")
        else:
            lines.append(
                f"Bill at no more bad minutes than the learned policy's: {100 * equal['value']:.1f} % below the best "
                f"rule's (95 % interval {100 * equal['ci95'][0]:.1f} to {100 * equal['ci95'][1]:.1f} %).\n"
            )
    lines.append("| policy | kind | total | bill | penalty | bad minutes |\n| --- | --- | --- | --- | --- | --- |")
    for name, kind, total, bill, penalty, bad in table_rows(contest):
        cells = (name, kind, _cell(total), _cell(bill), _cell(penalty), _cell(100 * bad, "{:.2f} %"))
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("\n## By trace\n")
    shown = contest.names("rl", "rule", "aws")
    for scenario in contest.worlds.scenarios:
        reference = content["reference"][scenario.name]
        lines.append(f"### {scenario.name} ({scenario.kind})\n")
        lines.append(
            "| policy | total | bill | bad minutes | longest bad run | served in time | p95 ms | p99 ms | utilisation "
            "| interruptions | launches/day | refunds |\n|" + " --- |" * 12
        )
        for name in shown:
            row = content["policies"][name][scenario.name]
            lines.append(
                f"| {name} | {row['total_usd'] / reference:.4f} | {row['infra_usd'] / reference:.4f} "
                f"| {100 * row['bad_minutes_fraction']:.2f} % | {row['longest_bad_run_minutes']:.0f} min "
                f"| {100 * row['slo_attainment_requests']:.2f} % | {row['p95_ms']:.0f} | {row['p99_ms']:.0f} "
                f"| {100 * row['mean_utilization']:.0f} % | {row['interruptions']:.1f} | {row['launches_per_day']:.1f} "
                f"| ${row['refunds_usd']:.2f} |"
            )
        lines.append(f"| {BOUND} | {content['bound'][scenario.name] / reference:.4f} |" + " |" * 10)
        minutes = content["infeasible_minutes"][scenario.name]
        lines.append(f"\nMinutes beyond 99 of the largest candidate: {minutes:.0f}.\n")
    lines.append("## Calibration\n")
    lines += [f"- {name}: {sentence}" for name, sentence in content["calibration"].items()]
    lines.append(
        "\nNumbers come from a simulator built on AWS's documents and public measurements; nothing here was checked "
        "against a live account."
    )
    return "\n".join(lines) + "\n"


def write_report(contest: Contest, book: RuleBook, out: Path, *, seeds: list[int]) -> Json:
    """Write ``report.json`` and ``report.md``; return the former's content."""
    content = report_content(contest, book, seeds=seeds)
    write_json(out / "report.json", content)
    write_text(out / "report.md", markdown(contest, content))
    return content
