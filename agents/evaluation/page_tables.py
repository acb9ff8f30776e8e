"""The tables of a report's page, made from the content of ``report.json``."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agents.evaluation.plots import (
    GROUP_LABELS,
    KIND_LABELS,
    WATERFALL_STEPS,
    bound_over_reference,
    counted_traces,
    point,
)

Json = dict[str, Any]
BOUND: Final = "clairvoyant bound"
TIGHT_BOUND: Final = "tighter bound"
_CONSTANTS_SHOWN: Final = 25


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, and what it is sorted by (empty cells sort last)."""

    text: str
    value: str | float | None


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first column heads its rows.

    Attributes:
        caption: What it holds.
        head: Column titles.
        rows: Cells, as many as titles.
        marked: First cells of the rows that are set in bold.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[str] = frozenset()

    def is_numeric(self, column: int) -> bool:
        """Say whether a column holds figures."""
        return not any(isinstance(row[column].value, str) for row in self.rows)


def without_empty_columns(table: Table) -> Table:
    """Return a table without the columns in which every cell is empty."""
    kept = [0, *(place for place in range(1, len(table.head)) if any(row[place].text for row in table.rows))]
    rows = [[row[place] for place in kept] for row in table.rows]
    return replace(table, head=[table.head[place] for place in kept], rows=rows)


def text(value: str) -> Cell:
    """Return a cell of words."""
    return Cell(value, value)


def figure(value: float | None, pattern: str = "{:.4f}") -> Cell:
    """Return a cell of a figure, empty for None."""
    return Cell("" if value is None else pattern.format(value), value)


def percent(value: float | None) -> Cell:
    """Return a cell of a share, in percent."""
    return figure(None if value is None else 100.0 * value, "{:.2f} %")


def interval(item: Json | None, scale: float = 1.0, pattern: str = "{:.3f}") -> Cell:
    """Return a cell of an estimate with its 95 % interval."""
    if not item or item.get("value") is None:
        return Cell("", None)
    low, high = item.get("ci95") or (None, None)
    value = scale * item["value"]
    if low is None or high is None:
        return Cell(pattern.format(value), value)
    return Cell(f"{pattern.format(value)} ({pattern.format(scale * low)} to {pattern.format(scale * high)})", value)


def main_rows(content: Json) -> list[Json]:
    """Return the rows of the main table, cheapest first; without them in the content, from its figures by trace."""
    rows = content.get("rows") or [
        row for name, kind in content["kind"].items() if kind != "constant" and (row := _row(content, name))
    ]
    return sorted(rows, key=lambda row: float(row["total"]))


def _row(content: Json, name: str) -> Json | None:
    traces = counted_traces(content)
    found = point(content, name, traces)
    if found is None:
        return None

    def share(key: str) -> float:
        usd = (content["policies"][name][trace][key] / content["reference"][trace] for trace in traces)
        return float(sum(usd)) / len(traces)

    row: Json = {"name": name, "kind": content["kind"][name], "bad_minutes_fraction": found[0] / 100.0}
    keys = {"total": "total_usd", "bill": "infra_usd", "penalty": "slo_penalty_usd", "refunds": "refunds_usd"}
    return row | {title: share(key) for title, key in keys.items()}


def policy_table(content: Json) -> Table:
    """Return total, bill, penalty, refunds and bad minutes of who matters, and the bounds."""
    rows = [_policy_cells(row) for row in main_rows(content)]
    for key, name in (("bound", BOUND), ("tight_bound", TIGHT_BOUND)):
        bound = bound_over_reference(content, counted_traces(content), key)
        if bound is not None:
            rows.append([text(name), text("bound"), figure(bound), *[figure(None)] * 4])
    marked = frozenset(name for name in (content.get("learned"), content["best_rule"]) if name is not None)
    caption = "Every policy over all traces; totals before refunds, over reference cost, every trace counting the same."
    return Table(caption, ("policy", "kind", "total", "bill", "penalty", "refunds", "bad minutes"), rows, marked)


def _policy_cells(row: Json) -> list[Cell]:
    kind = KIND_LABELS.get(str(row["kind"]), str(row["kind"]))
    amounts = [figure(row.get(key)) for key in ("total", "bill", "penalty", "refunds")]
    return [text(row["name"]), text(kind), *amounts, percent(row["bad_minutes_fraction"])]


def seeds_table(content: Json) -> Table:
    """Return what each run of the training came to."""
    head = ("seed", "policy", "total", "gap closed (95 %)", "bad minutes", "launches a day", "type changes a day")
    rows = [
        [
            figure(row["seed"], "{:.0f}"),
            text(row["name"]),
            figure(row["total"]),
            interval(row["gap_closed"]),
            percent(row["bad_minutes_fraction"]),
            figure(row["launches_per_day"], "{:.1f}"),
            figure(row["type_changes_per_day"], "{:.2f}"),
            figure(row["worst_trace"]["ratio"], "{:.3f}"),
            text(row["worst_trace"]["trace"]),
        ]
        for row in content["seeds_table"]
    ]
    caption = "Every run of the training; the worst trace is the one where its total is most above the best rule's."
    return Table(caption, (*head, "worst trace, over the best rule", "which"), rows)


def constant_table(content: Json) -> Table | None:
    """Return the cheapest constant actions of the menu, in hindsight; None if none was scored."""
    names = [name for name, kind in content["kind"].items() if kind == "constant"]
    rows = sorted((row for name in names if (row := _row(content, name))), key=lambda row: float(row["total"]))
    if not rows:
        return None
    shown = rows[:_CONSTANTS_SHOWN]
    head = ("constant action", "kind", "total", "bill", "penalty", "refunds", "bad minutes")
    caption = f"The {len(shown)} cheapest of {len(rows)} constant actions, chosen in hindsight."
    return Table(caption, head, [_policy_cells(row) for row in shown])


def trace_table(content: Json) -> Table:
    """Return for each trace its kind, the totals of who matters, the bound, the gap closed and infeasible minutes."""
    roles = ("best_rule", "aws", "learned", "bound", "tight_bound")
    titles = ("best rule", "AWS's cheapest", "learned", BOUND, TIGHT_BOUND)
    head = ("trace", "kind", *titles, "gap closed (95 %)", "infeasible minutes")
    rows = []
    for trace in content["reference"]:
        row = (content.get("per_trace") or {}).get(trace) or _trace_row(content, trace)
        infeasible = (content.get("infeasible_minutes") or {}).get(trace)
        totals = [figure(row.get(role)) for role in roles]
        kind = GROUP_LABELS.get(row["kind"], row["kind"])
        rows.append([text(trace), text(kind), *totals, interval(row.get("gap_closed")), figure(infeasible, "{:.0f}")])
    return without_empty_columns(
        Table("Total over reference cost on each trace, mean over its market seeds.", head, rows)
    )


def _trace_row(content: Json, trace: str) -> Json:
    def total(name: str | None) -> float | None:
        row = content["policies"].get(name, {}).get(trace) if name else None
        return None if row is None else row["total_usd"] / content["reference"][trace]

    aws = next((row["name"] for row in main_rows(content) if row["kind"] == "aws"), None)
    return {
        "kind": content["trace_kind"][trace],
        "best_rule": total(content["best_rule"]),
        "aws": total(aws),
        "learned": total(content.get("learned")),
        "bound": bound_over_reference(content, [trace]),
        "tight_bound": bound_over_reference(content, [trace], "tight_bound"),
    }


_DETAILS: Final = (
    ("bad minutes", "bad_minutes_fraction", 100.0, "{:.2f} %"),
    ("longest bad run", "longest_bad_run_minutes", 1.0, "{:.0f} min"),
    ("served in time", "slo_attainment_requests", 100.0, "{:.3f} %"),
    ("p95, ms", "p95_ms", 1.0, "{:.0f}"),
    ("p99, ms", "p99_ms", 1.0, "{:.0f}"),
    ("utilisation", "mean_utilization", 100.0, "{:.0f} %"),
    ("interruptions", "interruptions", 1.0, "{:.1f}"),
    ("launches a day", "launches_per_day", 1.0, "{:.1f}"),
    ("type changes a day", "type_changes_per_day", 1.0, "{:.1f}"),
    ("refunds, USD", "refunds_usd", 1.0, "{:.2f}"),
)


def detail_tables(content: Json) -> list[Table]:
    """Return a table for each trace with every figure of every policy that is no mere constant action."""
    tables = []
    for trace, reference in content["reference"].items():
        rows = []
        for name, kind in content["kind"].items():
            row = content["policies"][name].get(trace)
            if kind == "constant" or row is None:
                continue
            usd = [figure(row[key] / reference) for key in ("total_usd", "infra_usd", "slo_penalty_usd")]
            rest = [
                figure(None if row.get(key) is None else scale * row[key], pattern)
                for _, key, scale, pattern in _DETAILS
            ]
            rows.append([text(name), *usd, *rest])
        rows.sort(key=lambda cells: float(cells[1].value or 0.0))
        head = ("policy", "total", "bill", "penalty", *(title for title, *_ in _DETAILS))
        table = Table(f"Every figure on {trace}; reference cost {reference:.2f} USD.", head, rows)
        tables.append(without_empty_columns(table))
    return tables


def summaries_table(caption: str, items: Json) -> Table:
    """Return total and bad minutes of each policy in several summaries, the bound, and the gap closed."""
    names = list(next(iter(items.values()))["policies"])
    rows = [[text(name), *(_total_and_bad(item["policies"].get(name)) for item in items.values())] for name in names]
    if any(item.get("bound") is not None for item in items.values()):
        rows.append([text(BOUND), *(figure(item.get("bound")) for item in items.values())])
    if any(item.get("gap_closed") for item in items.values()):
        rows.append([text("gap closed (95 %)"), *(interval(item.get("gap_closed")) for item in items.values())])
    return Table(caption, ("policy", *(GROUP_LABELS.get(name, name) for name in items)), rows)


def cells_table(caption: str, items: Json) -> Table:
    """Return total and bad minutes of each policy under several conditions."""
    head = ("policy", *next(iter(items.values())))
    return Table(
        caption,
        head,
        [[text(name), *(_total_and_bad(cells.get(key)) for key in head[1:])] for name, cells in items.items()],
    )


def _total_and_bad(cell: Json | None) -> Cell:
    if cell is None:
        return Cell("", None)
    return Cell(f"{cell['total']:.4f} ({100 * cell['bad_minutes_fraction']:.2f} % bad)", cell["total"])


def waterfall_table(content: Json) -> Table:
    """Return what each step saves on each trace, USD."""
    item = content["waterfall"]
    head = ("trace", *WATERFALL_STEPS, "all")
    rows = [
        [text(trace), *(figure(steps[name], "{:.2f}") for name in (*WATERFALL_STEPS, "total"))]
        for trace, steps in item["usd"].items()
    ]
    caption = f"USD that {item['of']} saves against {item['vs']} on each trace (negative: loses)."
    return Table(caption, head, rows)
