"""The learned policy's part of the page of results, made from a report: who wins, and where it does not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agents.evaluation.markdown import sections
from agents.evaluation.plots import counted_traces
from agents.evaluation.summaries import Json
from agents.evaluation.target_tracking import TARGET_TRACKING

_RIVALS: Final = ("rule", "aws", "rule_per_trace")
_ROW: Final = "| {} |"


def agent_section(content: Json, made: str, pictures: Mapping[str, str]) -> str:
    """Return Markdown whose first line says plainly who wins, and on which traces a rule or the planner does.

    Args:
        content: Of ``report.json``, with a learned policy.
        made: How long it took, on which machine, from which commit.
        pictures: Pictures to show: caption by path from the page.
    """
    parts = [f"{_verdict(content)} {' '.join(_still_cheaper(content))}", content["first_line"]]
    parts += sections(content, ("traces", "seeds"))
    parts.append(_target_tracking(content))
    parts += sections(content, ("target_tracking",))
    parts += sections(content, ("shift", "cadence", "waterfall", "planner"))
    parts += [f"![{caption}]({path})" for path, caption in pictures.items()]
    return "\n\n".join(part.strip().replace("\n## ", "\n### ") for part in _one_level_down([*parts, made]))


def _one_level_down(parts: Sequence[str]) -> Iterator[str]:
    for part in parts:
        if part:
            yield f"#{part}" if part.startswith("## ") else part


def _total(content: Json, name: str, trace: str) -> float:
    return float(content["policies"][name][trace]["total_usd"] / content["reference"][trace])


def _total_and_bad(content: Json, name: str, trace: str) -> str:
    bad = content["policies"][name][trace]["bad_minutes_fraction"]
    return f"{_total(content, name, trace):.4f} ({100 * bad:.2f} %)"


def _mean(content: Json, name: str) -> float:
    traces = counted_traces(content)
    return sum(_total(content, name, trace) for trace in traces) / len(traces)


def _verdict(content: Json) -> str:
    ours, rule, gap = content["learned"], content["best_rule"], content["gap_closed"]
    low, high = gap["ci95"]
    relation = "is not told apart from"
    if low is not None and low > 0.0:
        relation = "costs less than"
    if high is not None and high < 0.0:
        relation = "costs more than"
    interval = "" if low is None else f" (95 % interval {low:.3f} to {high:.3f})"
    return (
        f"**{ours} {relation} the best rule, {rule}: {_mean(content, ours):.4f} against {_mean(content, rule):.4f} of "
        f"reference; it closes {gap['value']:.3f}{interval} of the gap to the bound and is cheaper on {gap['wins']} of "
        f"{gap['of']} traces.**"
    )


def _still_cheaper(content: Json) -> Iterator[str]:
    """Name the cheapest rule on each trace where one is below the learned policy; then where the planner is."""
    ours, traces = content["learned"], list(content["reference"])
    rivals = [name for name, kind in content["kind"].items() if kind in _RIVALS]
    found = []
    for trace in traces:
        name = min(rivals, key=lambda name: _total(content, name, trace))
        if _total(content, name, trace) < _total(content, ours, trace):
            found.append(
                f"{name} on {trace} ({_total(content, name, trace):.3f} against {_total(content, ours, trace):.3f})"
            )
    yield f"A rule is still cheaper: {'; '.join(found)}." if found else "No rule is cheaper on any trace."
    played = content.get("planner", {}).get("per_trace", {})
    better = [trace for trace, totals in played.items() if totals["planner"] < totals[ours]]
    if played:
        yield f"The planner, on its own windows, is cheaper on {', '.join(better) or 'no trace'}."


def _target_tracking(content: Json) -> str:
    """Return the learned policy beside AWS's target tracking on each trace."""
    ours = content["learned"]
    names = [name for name in content["kind"] if name.startswith(TARGET_TRACKING) and content["kind"][name] == "aws"]
    if not names:
        return ""
    lines = [
        _ROW.format(" | ".join(("trace", *(f"{name} (bad)" for name in (ours, *names)), "saved against the best")))
    ]
    lines.append("|" + " --- |" * (len(names) + 3))
    for trace in content["reference"]:
        best = min(_total(content, name, trace) for name in names)
        cells = [_total_and_bad(content, name, trace) for name in (ours, *names)]
        lines.append(
            _ROW.format(" | ".join((trace, *cells, f"{100 * (1 - _total(content, ours, trace) / best):.1f} %")))
        )
    return "## Beside target tracking, trace by trace\n\n" + "\n".join(lines)
