"""``report.md``: the tables of a report, made from the content of its ``report.json`` alone."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from agents.evaluation.contest import BOUND
from agents.evaluation.summaries import Json

_GROUPS = {
    "requests": "Request traces",
    "other": "Other shapes",
    "pattern": "Held-out patterns",
    "apart": "Apart: too few requests a step",
}


def markdown(content: Json) -> str:
    """Return ``report.md``."""
    parts = [f"# Comparison\n\n{content['first_line']}\n", _method(content)]
    if content.get("findings"):
        parts.append(
            "**The judge finds fault with this report:**\n\n" + "\n".join(map("- {}".format, content["findings"]))
        )
    if content.get("gap_closed"):
        parts.append(_learned(content))
    parts += [
        _runs(content),
        _overall(content),
        _waterfall(content),
        _target_tracking(content),
        _by_kind(content),
        _by_trace(content),
    ]
    parts += [_shift(content), _cadence(content), _perfect(content), _planner(content)]
    parts += [_details(content), _calibration(content)]
    return "\n".join(part for part in parts if part) + "\n"


def sections(content: Json, names: Iterable[str]) -> list[str]:
    """Return some of the sections of ``report.md`` that a report has, each from its heading on.

    Args:
        content: Of ``report.json``.
        names: Of SECTIONS.
    """
    return [text for name in names if (text := SECTIONS[name](content))]


def _text(value: float | None, pattern: str = "{:.4f}") -> str:
    return "" if value is None else pattern.format(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _estimate(item: Json | None, show: Callable[[float], str] = "{:.3f}".format) -> str:
    if item is None or item["value"] is None:
        return ""
    low, high = item["ci95"]
    interval = "" if low is None else f" ({show(low)} to {show(high)})"
    return f"{show(item['value'])}{interval}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _method(content: Json) -> str:
    markets = len(next(iter(content["market_seeds"].values())))
    return (
        f"Best rule, named on validation worlds before the test worlds were played: **{content['best_rule']}**. "
        f"{len(content['reference'])} test scenarios x {markets} markets of their own; totals before refunds, over the "
        "cost of on-demand m6i.large at 60 % utilisation for mean demand, every scenario counting the same.\n"
    )


def _learned(content: Json) -> str:
    gap, equal = content["gap_closed"], content["bill_at_equal_bad_minutes"]
    lines = (
        f"Gap closed from the best rule to the bound: **{_estimate(gap) or 'undefined'}** (95 % interval), cheaper "
        f"than the rule on {gap['wins']} of {gap['of']} traces.\n"
    )
    if equal["value"] is None:
        return lines + "The best rule reaches the learned policy's bad minutes at no setting of its front.\n"
    low, high = (_percent(value) for value in equal["ci95"])
    return (
        f"{lines}Bill at no more bad minutes than the learned policy's: {_percent(equal['value'])} below the best "
        f"rule's (95 % interval {low} to {high}).\n"
    )


def _runs(content: Json) -> str:
    if not content.get("seeds_table"):
        return ""
    text, over = "", content.get("gap_closed_over_seeds")
    if over:
        text = f"Gap closed, mean over {over['seeds']} training seeds: **{_estimate(over)}** (95 % interval).\n\n"
    head = ("seed", "policy", "total", "gap closed", "bad minutes", "launches/day", "type changes/day", "worst trace")
    rows = [
        (
            str(row["seed"]),
            row["name"],
            _text(row["total"]),
            _estimate(row["gap_closed"]),
            _percent(row["bad_minutes_fraction"]),
            _text(row["launches_per_day"], "{:.1f}"),
            _text(row["type_changes_per_day"], "{:.2f}"),
            f"{row['worst_trace']['ratio']:.3f} of the best rule's total ({row['worst_trace']['trace']})",
        )
        for row in content["seeds_table"]
    ]
    return f"## Training seeds\n\n{text}{_table(head, rows)}"


def _overall(content: Json) -> str:
    head = ("policy", "kind", "total", "bill", "penalty", "refunds", "bad minutes")
    rows = [
        (row["name"], row["kind"], *(_text(row[key]) for key in head[2:6]), _percent(row["bad_minutes_fraction"]))
        for row in sorted(content["rows"], key=lambda row: float(row["total"]))
    ]
    for name, key in ((BOUND, "bound_over_reference"), (f"{BOUND}, tighter", "tight_bound_over_reference")):
        rows.append((name, "bound", _text(content[key]), "", "", "", ""))
    return _table(head, rows)


def _waterfall(content: Json) -> str:
    item = content.get("waterfall")
    if item is None:
        return ""
    steps = item["over_reference"]
    text = f"What {item['of']} saves against {item['vs']}, over reference; negative steps cost more."
    return f"## Where the saving comes from\n\n{text}\n\n{_table(tuple(steps), [tuple(map(_text, steps.values()))])}"


def _target_tracking(content: Json) -> str:
    item = content.get("target_tracking") or {}
    parts = []
    if item.get("calibrated"):
        head = ("against", "total lower by", "bad minutes fewer by", "bill at no more bad minutes lower by")
        rows = [
            (
                row["name"],
                _estimate(row["total_saved"], _percent),
                _percent(row["bad_minutes_less"]),
                _estimate(row["bill_at_equal_bad_minutes"], _percent) or "reaches them at no setting",
            )
            for row in item["calibrated"]
        ]
        parts.append(_table(head, rows))
    if item.get("on_demand"):
        steps = tuple(item["on_demand"][0]["waterfall"])
        head = ("against", "bill, ours and theirs", "lower by", "bad minutes, ours and theirs", *steps)
        rows = [
            (
                row["name"],
                " / ".join(map(_text, row["bill"])),
                _percent(row["bill_saved"]),
                " / ".join(map(_percent, row["bad_minutes_fraction"])),
                *map(_text, row["waterfall"].values()),
            )
            for row in item["on_demand"]
        ]
        parts.append(
            "With all instances on demand, where the saving of bill and penalty comes from, over reference:\n\n"
            + _table(head, rows)
        )
    return "## Against target tracking\n\n" + "\n".join(parts) if parts else ""


def _summaries(title: str, items: Json) -> str:
    """Return one table of several summaries: total and bad minutes of each policy in each."""
    names = list(next(iter(items.values()))["policies"])
    head = ("policy", *(f"{name}, total (bad)" for name in items))
    rows = []
    for name in names:
        cells = (item["policies"][name] for item in items.values())
        rows.append((name, *(f"{_text(cell['total'])} ({_percent(cell['bad_minutes_fraction'])})" for cell in cells)))
    rows.append((BOUND, *(_text(item["bound"]) for item in items.values())))
    if any(item["gap_closed"] for item in items.values()):
        rows.append(("gap closed", *(_estimate(item["gap_closed"]) for item in items.values())))
    return f"## {title}\n\n{_table(head, rows)}"


def _by_kind(content: Json) -> str:
    return _summaries("By kind of demand", {_GROUPS[key]: item for key, item in content["by_kind"].items()})


def _by_trace(content: Json) -> str:
    head = (
        "trace",
        "kind",
        "best rule",
        "AWS",
        "learned",
        "tighter bound",
        "bound",
        "gap closed",
        "infeasible minutes",
    )
    rows = []
    for trace, row in content["per_trace"].items():
        totals = (_text(row[key]) for key in ("best_rule", "aws", "learned", "tight_bound", "bound"))
        infeasible = f"{content['infeasible_minutes'][trace]:.0f}"
        rows.append((trace, row["kind"], *totals, _estimate(row["gap_closed"]), infeasible))
    return f"## By trace\n\n{_table(head, rows)}"


def _shift(content: Json) -> str:
    if "shift" not in content:
        return ""
    return _summaries("When the world is another one", content["shift"])


def _cadence(content: Json) -> str:
    if "cadence" not in content:
        return ""
    parts = []
    for key, title in (("cadence", "How often it decides"), ("adherence", "How much of the advice is followed")):
        items = content[key]
        head = ("policy", *(f"{name}, total (bad)" for name in next(iter(items.values()))))
        rows = [
            (
                policy,
                *(f"{_text(cell['total'])} ({_percent(cell['bad_minutes_fraction'])})" for cell in cells.values()),
            )
            for policy, cells in items.items()
        ]
        parts.append(f"## {title}\n\n{_table(head, rows)}")
    return "\n".join(parts)


def _perfect(content: Json) -> str:
    item = content.get("perfect_forecasts")
    if item is None:
        return ""
    return (
        f"## Perfect forecasts\n\n{item['rule']} costs {_text(item['own'])} of reference with its own forecasts, "
        f"{_text(item['perfect'])} with perfect ones; the bound is {_text(item['bound'])}. The first difference is "
        "noise of the forecasts, the second is left to decisions.\n"
    )


def _planner(content: Json) -> str:
    item = content.get("planner")
    return "" if item is None else _summaries("The planner", {"its windows": item}) + f"\n{item['windows']}\n"


def _details(content: Json) -> str:
    head = (
        "policy",
        "total",
        "bill",
        "bad minutes",
        "longest bad run",
        "served in time",
        "p95 ms",
        "p99 ms",
        "utilisation",
        "interruptions",
        "launches/day",
        "refunds",
    )
    shown = [row["name"] for row in content["rows"] if row["kind"] != "constant"]
    parts = ["## Details by trace\n"]
    for trace, reference in content["reference"].items():
        rows = [_detail(name, content["policies"][name][trace], reference) for name in shown]
        parts.append(f"### {trace} ({content['trace_kind'][trace]})\n\n{_table(head, rows)}")
    return "\n".join(parts)


def _detail(name: str, row: Json, reference: float) -> tuple[str, ...]:
    return (
        name,
        _text(row["total_usd"] / reference),
        _text(row["infra_usd"] / reference),
        _percent(row["bad_minutes_fraction"]),
        f"{row['longest_bad_run_minutes']:.0f} min",
        _percent(row["slo_attainment_requests"]),
        _text(row["p95_ms"], "{:.0f}"),
        _text(row["p99_ms"], "{:.0f}"),
        f"{100 * row['mean_utilization']:.0f} %",
        f"{row['interruptions']:.1f}",
        f"{row['launches_per_day']:.1f}",
        f"${row['refunds_usd']:.2f}",
    )


def _calibration(content: Json) -> str:
    lines = [f"- {name}: {sentence}" for name, sentence in content["calibration"].items()]
    lines.append(
        "\nNumbers come from a simulator built on AWS's documents and public measurements; nothing here was checked "
        "against a live account."
    )
    return "## Calibration\n\n" + "\n".join(lines)


SECTIONS: Final[dict[str, Callable[[Json], str]]] = {
    "traces": _by_trace,
    "seeds": _runs,
    "waterfall": _waterfall,
    "target_tracking": _target_tracking,
    "shift": _shift,
    "cadence": _cadence,
    "planner": _planner,
}
"""Sections by name; each is made of a report's content, empty where the content has nothing for it."""
