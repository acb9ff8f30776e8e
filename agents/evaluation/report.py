"""``report.json`` and ``report.md`` of a comparison."""

from collections.abc import Sequence
from pathlib import Path

from agents.evaluation.audit import check_bills, check_report
from agents.evaluation.contest import Contest
from agents.evaluation.figures import bill_at_equal_bad_minutes, figures
from agents.evaluation.headline import headline
from agents.evaluation.markdown import markdown
from agents.evaluation.summaries import (
    Json,
    bound_content,
    estimate_content,
    front_content,
    gap_content,
    groups,
    row_content,
    summary,
    tight_bound_content,
    tight_bound_over_reference,
    trace_table,
)
from agents.evaluation.target_tracking import target_tracking_content
from agents.evaluation.waterfall import waterfall_content
from agents.rules import RuleBook
from telemetry.provenance import write_json, write_text


def _per_trace(contest: Contest, name: str) -> dict[str, dict[str, float | None]]:
    """Return the figures of a policy by trace; response times are None where they were not counted."""
    played, worlds = contest.played[name], contest.worlds
    found: dict[str, dict[str, float | None]] = {}
    for index, scenario in enumerate(worlds.scenarios):
        totals = worlds.of(played.totals, index)
        found[scenario.name] = dict(figures(totals, worlds.of(played.longest_bad_run, index)))
        if totals["slower_requests"].sum() == 0.0:
            found[scenario.name] |= {"p95_ms": None, "p99_ms": None}
    return found


def _trace_calibration(contest: Contest) -> dict[str, str]:
    where = ", ".join(contest.own_rules)
    sentence = f"as above, on the history of the trace it is scored on; pooled where that is none of {where}"
    return dict.fromkeys(contest.names("rule_per_trace"), sentence)


def report_content(contest: Contest, book: RuleBook, *, seeds: list[int], studies: Json | None = None) -> Json:
    """Return the content of ``report.json``.

    Args:
        contest: Played.
        book: The rules.
        seeds: Of the learned policy's training.
        studies: Further keys: what was played beside the comparison.
    """
    worlds, rule = contest.worlds, contest.best_rule
    of, scenarios = worlds.of, list(enumerate(worlds.scenarios))
    totals = contest.played[rule].totals
    bound = contest.bound_daily.sum(axis=1)
    shown = contest.names("rl", "rule", "aws", "rule_per_trace", "planner") + contest.names("constant")[:1]
    content: Json = {
        "first_line": headline(contest),
        "partial": contest.partial,
        "learned": contest.learned,
        "best_rule": rule,
        "validation_total_over_reference": {name: round(value, 6) for name, value in contest.validation.items()},
        "reference": {item.name: float(of(totals["reference_usd"], index).mean()) for index, item in scenarios},
        "bound": {item.name: float(of(bound, index).mean()) for index, item in scenarios if contest.has_bound},
        "tight_bound": tight_bound_content(contest),
        "policies": {name: _per_trace(contest, name) for name in contest.played},
        "kind": contest.kinds,
        "calibration": dict(book.calibration) | _trace_calibration(contest),
        "trace_kind": {item.name: item.kind for _, item in scenarios},
        "apart": worlds.apart,
        "infeasible_minutes": {
            item.name: float(of(totals["infeasible_minutes"], index).mean()) for index, item in scenarios
        },
        "market_seeds": worlds.market_seeds,
        "seeds": seeds,
        "rows": [{"name": name, "kind": contest.kinds[name], **row_content(contest, name)} for name in shown],
        "bound_over_reference": bound_content(contest),
        "tight_bound_over_reference": tight_bound_over_reference(contest),
        "by_kind": {kind: summary(contest, shown, indices) for kind, indices in groups(contest).items()},
        "per_trace": trace_table(contest),
        "front": front_content(contest),
        "one_action": {
            name: {"action": item.name, "share": round(item.share, 6)} for name, item in contest.habits.items()
        },
    }
    if contest.learned is not None:
        content["gap_closed"] = gap_content(contest, contest.learned)
        equal = bill_at_equal_bad_minutes(contest, contest.learned, contest.counted)
        content["bill_at_equal_bad_minutes"] = estimate_content(equal, rule)
        content["target_tracking"] = target_tracking_content(contest, contest.learned)
    ours = contest.learned or rule
    rivals = [name for name in (rule, *contest.names("aws")) if name != ours]
    if rivals:
        content["waterfall"] = waterfall_content(contest, ours, rivals[0], contest.counted)
    return content | (studies or {})


def write_report(
    contest: Contest,
    book: RuleBook,
    out: Path,
    *,
    seeds: list[int],
    studies: Json | None = None,
    findings: Sequence[str] = (),
) -> Json:
    """Write ``report.json`` and ``report.md``; return the former's content.

    Its ``findings`` say what is wrong: those given, about who and what was compared, and those about the report itself.
    """
    content = report_content(contest, book, seeds=seeds, studies=studies)
    content["findings"] = [*findings, *check_report(content), *check_bills(contest, content)]
    write_json(out / "report.json", content)
    write_text(out / "report.md", markdown(content))
    return content
