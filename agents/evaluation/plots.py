"""Pictures of a comparison, drawn from the content of its ``report.json`` alone.

Every picture is 8 inches wide at 100 dots an inch, labelled with units, in colours that colour-blind readers can tell
apart; kinds of policy differ by marker too.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from envs.picture import BLUE, DARK, GREEN, GREY, LIGHT, ORANGE, PURPLE, RED, make_figure
from telemetry.provenance import write_bytes

Json = dict[str, Any]
Point = tuple[float, float]

KIND_LABELS: Final = {
    "rl": "learned",
    "rule": "calibrated rule",
    "rule_per_trace": "rule calibrated per trace",
    "aws": "AWS policy",
    "planner": "planner",
    "constant": "constant action",
}
GROUP_LABELS: Final = {
    "requests": "request traces",
    "other": "other shapes",
    "pattern": "held-out patterns",
    "apart": "apart: too few requests a step",
}
WATERFALL_STEPS: Final = ("spot", "type", "size", "timing", "other")
_MARKERS: Final = {"rl": "*", "rule": "o", "rule_per_trace": "v", "aws": "s", "planner": "P", "constant": "."}
_COLOURS: Final = {
    "rl": RED,
    "rule": BLUE,
    "rule_per_trace": "#56B4E9",
    "aws": ORANGE,
    "planner": PURPLE,
    "constant": "#C4C4C4",
}
_SIZES: Final = {"rl": 190.0, "constant": 26.0}
_DEAREST_SHOWN: Final = 1.5
_DEAREST_OF_MEDIAN: Final = 2.5
_NARROWEST_AXIS_PERCENT: Final = 1.0
_LINEAR_BELOW_PERCENT: Final = 0.1
_LINE_OF_TEXT: Final = 0.04


def draw_plots(content: Json, out: Path) -> list[Path]:
    """Write every picture whose keys the content has; return their paths."""
    drawn = []
    for name, (keys, plot) in PLOTS.items():
        if all(content.get(key) for key in keys):
            plot(content, out / name)
            drawn.append(out / name)
    return drawn


def trace_groups(content: Json) -> dict[str, list[str]]:
    """Return the traces of each kind of demand."""
    if content.get("by_kind"):
        return {kind: list(item["traces"]) for kind, item in content["by_kind"].items()}
    groups: dict[str, list[str]] = {}
    for trace, kind in content["trace_kind"].items():
        groups.setdefault(kind, []).append(trace)
    return groups


def counted_traces(content: Json) -> list[str]:
    """Return the traces that the overall figures are over: all but those reported apart."""
    apart = set(content.get("apart") or ())
    return [trace for trace in content["reference"] if trace not in apart] or list(content["reference"])


def point(content: Json, name: str, traces: Sequence[str]) -> Point | None:
    """Return (bad minutes in %, bill over reference) of a policy, means over traces; None if it lacks one of them."""
    rows = content["policies"][name]
    if any(trace not in rows for trace in traces):
        return None
    bad = float(np.mean([rows[trace]["bad_minutes_fraction"] for trace in traces]))
    bill = float(np.mean([rows[trace]["infra_usd"] / content["reference"][trace] for trace in traces]))
    return 100.0 * bad, bill


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in one respect without losing in the other, by bad minutes."""
    best: list[Point] = []
    for item in sorted(points):
        if not best or item[1] < best[-1][1]:
            best.append(item)
    return best


def bound_over_reference(content: Json, traces: Sequence[str], key: str = "bound") -> float | None:
    """Return the mean of a bound over reference on some traces; None where it is not known on all."""
    bounds = content.get(key) or {}
    if any(trace not in bounds for trace in traces):
        return None
    return float(np.mean([bounds[trace] / content["reference"][trace] for trace in traces]))


def plot_pareto(content: Json, path: Path) -> None:
    """Draw the bill against bad minutes of every policy: over all traces, and for each kind of demand.

    Policies dearer than 1.5 times the reference are not shown.
    """
    panels = {"all traces": counted_traces(content)}
    groups = trace_groups(content)
    if len(groups) > 1:
        panels |= {GROUP_LABELS.get(kind, kind): traces for kind, traces in groups.items()}
    small = -(-(len(panels) - 1) // 2)
    figure = make_figure(8.0, 5.2 + 3.4 * small)
    grid = figure.add_gridspec(1 + small, 2, height_ratios=(5.2, *[3.4] * small))
    for position, (title, traces) in enumerate(panels.items()):
        place = grid[0, :] if position == 0 else grid[1 + (position - 1) // 2, (position - 1) % 2]
        axes = figure.add_subplot(place)
        _pareto_panel(axes, content, traces, whole=position == 0)
        axes.set_title(f"{title} ({len(traces)})", fontsize=10, loc="left")
    _save(figure, path)


def _pareto_panel(axes: Any, content: Json, traces: Sequence[str], *, whole: bool) -> None:
    points = {name: found for name in content["policies"] if (found := point(content, name, traces)) is not None}
    shown = {name: item for name, item in points.items() if item[1] <= _DEAREST_SHOWN}
    for kind, label in reversed(KIND_LABELS.items()):
        own = [item for name, item in shown.items() if content["kind"][name] == kind]
        if own:
            style = {"marker": _MARKERS[kind], "color": _COLOURS[kind], "s": _SIZES.get(kind, 48.0)}
            edge = {} if kind == "constant" else {"edgecolors": "white", "linewidths": 0.6}
            axes.scatter(*zip(*own, strict=True), label=label, zorder=2 if kind == "constant" else 4, **style, **edge)
    if shown:
        front = pareto_front(shown.values())
        axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=1, label="Pareto front", zorder=3)
    if whole:
        _rule_front(axes, content)
    for key, label, dashes in (("bound", "clairvoyant bound", "--"), ("tight_bound", "tighter bound", ":")):
        bound = bound_over_reference(content, traces, key)
        if bound is not None:
            axes.axhline(bound, color=GREEN, linestyle=dashes, linewidth=1.3, label=label)
    named = {name: item for name, item in shown.items() if content["kind"][name] != "constant"}
    _pareto_axes(axes, named, whole=whole)


def _rule_front(axes: Any, content: Json) -> None:
    settings = (content.get("front") or {}).get(content["best_rule"])
    if settings:
        line = sorted((100.0 * bad, bill) for bad, bill in settings if bill <= _DEAREST_SHOWN)
        if line:
            label = "best rule at other settings"
            axes.plot(*zip(*line, strict=True), color=BLUE, linewidth=1, linestyle="-.", label=label, zorder=3)


def _pareto_axes(axes: Any, named: dict[str, Point], *, whole: bool) -> None:
    shares = [item[0] for item in named.values()]
    right = 1.6 * max([_NARROWEST_AXIS_PERCENT, *shares])
    left = 0.5 * min([right, *shares])
    if left < _LINEAR_BELOW_PERCENT:
        axes.set_xscale("symlog", linthresh=_LINEAR_BELOW_PERCENT)
        left = -0.01
    else:
        axes.set_xscale("log")
    axes.set_xlim(left, right)
    ticks = [value for value in (0, 0.05, 0.1, 0.3, 1, 2, 3, 5, 10, 20, 30, 50, 100) if left <= value <= right]
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, max(0.6, 1.15 * max([0.0, *(item[1] for item in named.values())])))
    axes.set_xlabel("bad minutes, %", fontsize=9)
    axes.set_ylabel("bill over reference cost", fontsize=9)
    _plain(axes)
    if whole:
        _name_at_the_side(axes, named)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(-0.05, -0.11), ncols=4, frameon=False)


def _name_at_the_side(axes: Any, points: dict[str, Point]) -> None:
    """Write the names right of the axes, by height, with lines to their points."""
    ordered = sorted(points.items(), key=lambda item: item[1][1])
    top = axes.get_ylim()[1]
    heights: list[float] = []
    for _, (_, bill) in ordered:
        heights.append(max(bill / top, heights[-1] + _LINE_OF_TEXT if heights else 0.0))
    for (name, item), height in zip(ordered, heights, strict=True):
        axes.annotate(
            name,
            item,
            xytext=(1.015, height),
            textcoords="axes fraction",
            fontsize=8,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.6},
            parse_math=False,
        )


def plot_waterfall(content: Json, path: Path) -> None:
    """Draw how the total of the rival becomes that of the policy: what spot, type, size, timing and the rest save."""
    item = content["waterfall"]
    totals = {row["name"]: row["total"] for row in content["rows"]}
    level = totals[item["vs"]]
    figure = make_figure(8.0, 4.0)
    axes = figure.add_subplot()
    axes.bar([item["vs"]], [level], color=GREY, width=0.6)
    labels = [item["vs"], *WATERFALL_STEPS, item["of"]]
    heights = [level]
    for position, name in enumerate(WATERFALL_STEPS, start=1):
        saved = item["over_reference"][name]
        axes.bar(position, -saved, bottom=level, color=GREEN if saved >= 0 else RED, width=0.6)
        axes.plot([position - 0.7, position + 0.3], [level, level], color=DARK, linewidth=0.7)
        heights.append(max(level, level - saved))
        level -= saved
        axes.text(position, heights[-1], f"{-saved:+.4f}", ha="center", va="bottom", fontsize=8.5)
    last = len(labels) - 1
    axes.bar(last, level, color=BLUE, width=0.6)
    for position, height in ((0, heights[0]), (last, level)):
        axes.text(position, height, f"{height:.4f}", ha="center", va="bottom", fontsize=8.5)
    axes.set_xticks(range(len(labels)), [label.replace("-", "-\n", 1) for label in labels], fontsize=8.5)
    axes.set_ylabel("total over reference cost", fontsize=9)
    axes.set_ylim(0, 1.12 * max(*heights, level))
    axes.set_title("savings are green, losses red", fontsize=9, loc="left")
    _plain(axes)
    _save(figure, path)


def plot_gap_by_trace(content: Json, path: Path) -> None:
    """Draw for each trace where best rule, AWS's cheapest policy and learned policy stand above the bound."""
    table = content["per_trace"]
    figure = make_figure(8.0, 1.3 + 0.42 * len(table))
    axes = figure.add_subplot()
    every = (
        ("aws", "AWS's cheapest", ORANGE, "s"),
        ("best_rule", "best rule", BLUE, "o"),
        ("learned", "learned", RED, "*"),
    )
    roles = [role for role in every if any(row.get(role[0]) is not None for row in table.values())]
    for place, row in enumerate(reversed(table.values())):
        _gap_row(axes, place, row, roles)
    axes.set_yticks(range(len(table)), list(reversed(table)), fontsize=8.5)
    axes.set_ylim(-0.5, len(table) - 0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("total over reference cost (right: gap closed from the best rule to the bound)", fontsize=9)
    _key(axes, [("clairvoyant bound", GREEN, "|"), *((label, colour, marker) for _, label, colour, marker in roles)])
    _plain(axes)
    _save(figure, path)


def _gap_row(axes: Any, place: int, row: Json, roles: Sequence[tuple[str, str, str, str]]) -> None:
    found = [row[role] for role in ("bound", *(role for role, *_ in roles)) if row.get(role) is not None]
    axes.plot([min(found), max(found)], [place, place], color=LIGHT, linewidth=3, zorder=1)
    if row.get("bound") is not None:
        axes.plot(row["bound"], place, marker="|", markersize=14, markeredgewidth=2.4, color=GREEN, zorder=2)
    for role, _, colour, marker in roles:
        if row.get(role) is not None:
            size = 13 if marker == "*" else 7
            axes.plot(row[role], place, marker=marker, color=colour, markersize=size, zorder=3)
    gap = row.get("gap_closed")
    if gap and gap["value"] is not None:
        label = f"{100 * gap['value']:+.0f} %"
        axes.text(1.01, place, label, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)


def plot_shift(content: Json, path: Path) -> None:
    """Draw the total of each policy and the bound in every world that is not as tested."""
    table = content["shift"]
    names = list(next(iter(table.values()))["policies"])
    figure = make_figure(8.0, 1.5 + 0.5 * len(table) + 0.2 * (len(names) // 3))
    axes = figure.add_subplot()
    palette = (BLUE, ORANGE, RED, PURPLE, "#56B4E9", "#999933", DARK, "#882255")
    markers = "osvD^P*X"
    key = [("clairvoyant bound", GREEN, "|")]
    for position, name in enumerate(names):
        colour, marker = palette[position % len(palette)], markers[position // len(palette) % len(markers)]
        if content["kind"].get(name) == "rl":
            marker = "*"
        xs = [item["policies"][name]["total"] for item in table.values()]
        offset = 0.28 * (0.5 - (position + 0.5) / len(names))
        axes.plot(xs, np.arange(len(xs)) - offset, marker=marker, color=colour, linestyle="", markersize=7, zorder=3)
        key.append((name, colour, marker))
    for place, item in enumerate(table.values()):
        if item.get("bound") is not None:
            axes.plot(item["bound"], place, marker="|", markersize=16, markeredgewidth=2.4, color=GREEN, zorder=2)
        axes.axhline(place, color="0.93", linewidth=8, zorder=0)
    axes.set_yticks(range(len(table)), list(table), fontsize=8.5)
    axes.invert_yaxis()
    totals = [cell["total"] for item in table.values() for cell in item["policies"].values()]
    right = min(1.08 * max(totals), _DEAREST_OF_MEDIAN * float(np.median(totals)))
    axes.set_xlim(0, right)
    axes.set_xlabel(
        "total over reference cost" + (" (dearer ones are off the axis)" * (max(totals) > right)), fontsize=9
    )
    _key(axes, key)
    _plain(axes)
    _save(figure, path)


def plot_cadence(content: Json, path: Path) -> None:
    """Draw the total of each policy by how often it decides, and with half of the advice ignored."""
    parts = [
        (key, title)
        for key, title in (("cadence", "how often it decides"), ("adherence", "advice followed"))
        if content.get(key)
    ]
    figure = make_figure(8.0, 3.6)
    for axes, (key, title) in zip(np.atleast_1d(figure.subplots(1, len(parts), sharey=True)), parts, strict=True):
        for position, (name, cells) in enumerate(content[key].items()):
            style = {"color": (BLUE, RED, PURPLE, ORANGE)[position % 4], "marker": "o*Ps"[position % 4]}
            axes.plot(list(cells), [cell["total"] for cell in cells.values()], label=name, linewidth=1.2, **style)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.15)
        axes.set_title(title, fontsize=10, loc="left")
        axes.legend(fontsize=8, frameon=False)
        _plain(axes)
    figure.axes[0].set_ylabel("total over reference cost", fontsize=9)
    _save(figure, path)


PLOTS: Final[dict[str, tuple[tuple[str, ...], Callable[[Json, Path], None]]]] = {
    "cost_against_bad_minutes.png": (("policies",), plot_pareto),
    "savings_waterfall.png": (("waterfall", "rows"), plot_waterfall),
    "gap_by_trace.png": (("per_trace",), plot_gap_by_trace),
    "shift.png": (("shift",), plot_shift),
    "cadence.png": (("cadence",), plot_cadence),
}
"""File of each picture: the keys of the content it needs, and what draws it."""


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8.5)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _key(axes: Any, entries: Sequence[tuple[str, str, str]]) -> None:
    """Put a legend of (label, colour, marker) above the axes."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=colour,
            marker=marker,
            linestyle="",
            markersize=8,
            markeredgewidth=2 if marker == "|" else 1,
            label=label,
        )
        for label, colour, marker in entries
    ]
    axes.legend(handles=handles, fontsize=8, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _save(figure: Any, path: Path) -> None:
    figure.set_layout_engine("constrained")
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    write_bytes(path, content.getvalue())
