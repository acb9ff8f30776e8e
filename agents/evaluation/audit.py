"""The judge checks its own report: every figure that follows from others is worked out again from the file.

Each check returns findings, one line each, naming what, where and the value; an honest report has none. A finding does
not say why a figure is wrong, but where a common mistake would give just this figure, it names the mistake.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from agents.evaluation.actions import MOSTLY
from agents.evaluation.contest import Contest
from simulators.records import BILL_LINES

Json = Mapping[str, Any]

KINDS: Final = ("rl", "rule", "rule_per_trace", "aws", "planner", "constant")
POOLED_KINDS: Final = ("rule", "aws")
NO_MORE_THAN: Final = 0.01
"""Decisions that change a total by no more than this share of it are worth nothing."""

_SHARES: Final = ("bad_minutes_fraction", "slo_attainment_requests", "mean_utilization")
_MAY_BE_MISSING: Final = ("p95_ms", "p99_ms")
_ROUNDED: Final = 2e-6
_EXACT: Final = 1e-9


def check_report(content: Json) -> list[str]:
    """Return what is wrong with a report's content, as ``report.json`` holds it."""
    checks = (_figures, _totals, _below_bound, _names, _best_rule, _gap, _runs, _intervals, _steps, _disguises)
    return [finding for check in checks for finding in check(content)]


def check_bills(contest: Contest, content: Json) -> list[str]:
    """Return where a report's bills are not the sum of the bill lines of what was played, refunds apart."""
    findings = []
    for name, played in contest.played.items():
        for index, scenario in enumerate(contest.worlds.scenarios):
            totals = contest.worlds.of(played.totals, index)
            bill = float(sum(totals[line].mean() for line in BILL_LINES))
            penalty, refunds = float(totals["slo_penalty_usd"].mean()), float(totals["refund_usd"].mean())
            row = content["policies"][name][scenario.name]
            where = f"policies.{name}.{scenario.name}"
            findings += _differs(f"{where}.infra_usd", row["infra_usd"], bill, {"less refunds": bill - refunds})
            findings += _differs(f"{where}.slo_penalty_usd", row["slo_penalty_usd"], penalty)
            findings += _differs(f"{where}.refunds_usd", row["refunds_usd"], refunds)
            daily = float(contest.worlds.of(played.daily_usd, index).sum(axis=1).mean())
            findings += _differs(f"{where}: sum of the days in USD", daily, bill + penalty)
    return findings


def _rows(content: Json) -> Iterator[tuple[str, str, Json]]:
    for name, by_trace in content["policies"].items():
        for trace, row in by_trace.items():
            yield name, trace, row


def _differs(
    where: str, found: float, expected: float, mistakes: Mapping[str, float] | None = None, *, within: float = _EXACT
) -> list[str]:
    """Return a finding if a figure is not what it should be; known mistakes that give it are named."""
    room = within * max(1.0, abs(expected))
    if abs(found - expected) <= room:
        return []
    named = [name for name, value in (mistakes or {}).items() if abs(found - value) <= room]
    return [f"{where} is {found:.6g}; expected {expected:.6g}" + (f" (it is {named[0]})" if named else "")]


def _figures(content: Json) -> Iterator[str]:
    """Every figure is a finite number of at least 0, and a share is at most 1."""
    for trace, usd in content["reference"].items():
        if not (math.isfinite(usd) and usd > 0.0):
            yield f"reference.{trace} is {usd}; expected USD above 0"
    for name, trace, row in _rows(content):
        if trace not in content["reference"]:
            yield f"policies.{name}.{trace}: no such trace under reference"
        for key, value in row.items():
            if value is None and key in _MAY_BE_MISSING:
                continue
            most = 1.0 + _EXACT if key in _SHARES else math.inf
            if value is None or not math.isfinite(value) or not 0.0 <= value <= most:
                yield f"policies.{name}.{trace}.{key} is {value}; expected a number from 0 to {most:.0f}"
    for name, by_trace in content["policies"].items():
        for trace in content["reference"]:
            if trace not in by_trace:
                yield f"policies.{name}: {trace} is missing"


def _totals(content: Json) -> Iterator[str]:
    """A total is bill and penalty before refunds."""
    for name, trace, row in _rows(content):
        total = row["infra_usd"] + row["slo_penalty_usd"]
        mistakes = {"after refunds": total - row["refunds_usd"], "the bill alone": row["infra_usd"]}
        yield from _differs(f"policies.{name}.{trace}.total_usd", row["total_usd"], total, mistakes)


def _below_bound(content: Json) -> Iterator[str]:
    for name, trace, row in _rows(content):
        bound = content["bound"].get(trace)
        if bound is not None and row["total_usd"] < bound * (1.0 - _EXACT):
            yield (
                f"policies.{name}.{trace}.total_usd is {row['total_usd']:.6g}, below the bound of {bound:.6g}"
                + (" (after refunds?)" if row["total_usd"] + row["refunds_usd"] >= bound else "")
            )


def _names(content: Json) -> Iterator[str]:
    kinds, policies, learned = content["kind"], content["policies"], content["learned"]
    for name in {*kinds, *policies}:
        if name not in policies or name not in kinds:
            yield f"{name}: stands under only one of policies and kind"
        elif kinds[name] not in KINDS:
            yield f"kind.{name} is {kinds[name]!r}; expected one of {', '.join(KINDS)}"
    if learned is not None and kinds.get(learned) != "rl":
        yield f"learned is {learned!r}, of kind {kinds.get(learned)!r}; expected a policy of kind 'rl'"


def _best_rule(content: Json) -> Iterator[str]:
    """The rule to beat is a pooled one, and the cheapest of all pooled ones on validation worlds."""
    best, validation = content["best_rule"], content["validation_total_over_reference"]
    kind = content["kind"].get(best)
    if kind not in POOLED_KINDS:
        yield f"best_rule is {best!r}, of kind {kind!r}; expected a pooled rule"
    pooled = {name for name, item in content["kind"].items() if item in POOLED_KINDS}
    for name in sorted(pooled - set(validation)):
        yield f"validation_total_over_reference: {name} is missing"
    cheapest = min(validation, key=lambda name: validation[name])
    if validation.get(best, math.inf) > validation[cheapest]:
        yield f"best_rule is {best!r}; {cheapest!r} costs less on validation, {validation[cheapest]:.6f} of reference"


def _gap(content: Json) -> Iterator[str]:
    """gap_closed is a ratio of sums over the traces that count, of totals over reference."""
    gap, learned, best = content.get("gap_closed"), content["learned"], content["best_rule"]
    if gap is None or learned is None:
        return
    apart = content.get("apart", ())
    traces = [trace for trace in content["reference"] if trace not in apart] or list(content["reference"])
    ours, rule = (content["policies"][name] for name in (learned, best))
    saved, possible = [], []
    for trace in traces:
        reference = content["reference"][trace]
        saved.append((rule[trace]["total_usd"] - ours[trace]["total_usd"]) / reference)
        possible.append((rule[trace]["total_usd"] - content["bound"][trace]) / reference)
    if gap["vs"] != best:
        yield f"gap_closed.vs is {gap['vs']!r}; expected the best rule, {best!r}"
    ratios = [one / other if other else math.nan for one, other in zip(saved, possible, strict=True)]
    mistakes = {"the average of ratios": float(np.mean(ratios)), "the median of ratios": float(np.median(ratios))}
    if gap["value"] is not None:
        expected = sum(saved) / sum(possible)
        yield from _differs("gap_closed.value", gap["value"], expected, mistakes, within=_ROUNDED)
    wins = sum(value > 0.0 for value in saved)
    if (gap["wins"], gap["of"]) != (wins, len(traces)):
        yield f"gap_closed.wins is {gap['wins']} of {gap['of']}; expected {wins} of {len(traces)}"


def _runs(content: Json) -> Iterator[str]:
    """Of several training runs all are reported, and the gap over them is the mean of theirs."""
    table, over = content.get("seeds_table"), content.get("gap_closed_over_seeds")
    if table is None:
        return
    seeds = [row["seed"] for row in table]
    if seeds != content["seeds"] and not content.get("partial"):
        yield f"seeds_table holds the seeds {seeds}; expected {content['seeds']}"
    if over is not None:
        mean = float(np.mean([row["gap_closed"]["value"] for row in table]))
        best = max(row["gap_closed"]["value"] for row in table)
        mistakes = {"the best run's": best}
        yield from _differs("gap_closed_over_seeds.value", over["value"], mean, mistakes, within=_ROUNDED)


def _intervals(content: Json) -> Iterator[str]:
    for key in ("gap_closed", "bill_at_equal_bad_minutes", "gap_closed_over_seeds"):
        item = content.get(key)
        if item is None or item["value"] is None or None in item["ci95"]:
            continue
        low, high = item["ci95"]
        if not low - _ROUNDED <= item["value"] <= high + _ROUNDED:
            yield f"{key}.value is {item['value']}, outside its interval of {low} to {high}"


def _steps(content: Json) -> Iterator[str]:
    """The steps of a saving add up to the difference of the two policies' totals."""
    steps = content.get("waterfall")
    if steps is None:
        return
    ours, theirs = (content["policies"][steps[role]] for role in ("of", "vs"))
    parts = {f"waterfall.usd.{trace}": part for trace, part in steps["usd"].items()}
    for where, part in {**parts, "waterfall.over_reference": steps["over_reference"]}.items():
        total = sum(value for name, value in part.items() if name != "total")
        yield from _differs(f"{where}.total", part["total"], total, within=5 * _ROUNDED)
    for trace, part in steps["usd"].items():
        saved = theirs[trace]["total_usd"] - ours[trace]["total_usd"]
        yield from _differs(f"waterfall.usd.{trace}.total", part["total"], saved, within=_ROUNDED)


def _disguises(content: Json) -> Iterator[str]:
    """A learned policy is no constant under another name."""
    policies, kinds = content["policies"], content["kind"]
    taken = content.get("one_action", {})
    constants = [name for name, kind in kinds.items() if kind in ("constant", "rule", "aws") and name in policies]
    for name in (name for name, kind in kinds.items() if kind == "rl"):
        habit = taken.get(name)
        if habit is not None and habit["share"] >= MOSTLY and _costs_the_same(content, name, habit["action"]):
            yield f"policies.{name} takes one action in {habit['share']:.4f} of its decisions: it is {habit['action']}"
        for other in constants:
            if all(_same(row, policies[other].get(trace)) for trace, row in policies[name].items()):
                yield f"policies.{name}: bill, penalty and launches of every trace are those of {other}: it is that"


def _costs_the_same(content: Json, name: str, constant: str) -> bool:
    """Whether a policy's total is that of a constant action, so that its other decisions are worth nothing."""
    policies, reference = content["policies"], content["reference"]
    if constant not in policies:
        return True
    totals = [
        sum(policies[who][trace]["total_usd"] / reference[trace] for trace in reference) for who in (name, constant)
    ]
    return bool(abs(totals[0] - totals[1]) <= NO_MORE_THAN * totals[1])


def _same(row: Json, other: Json | None) -> bool:
    keys = ("infra_usd", "slo_penalty_usd", "launches_per_day")
    return other is not None and all(row[key] == other[key] for key in keys)
