"""The results table in the repository, made of the submissions beside it and of nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.submissions import Submission, mean_over_reference, read_submission
from simulators.suite import Suite

LEADERBOARD: Final = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md"
_RESAMPLES: Final = 4000

_HEADER: Final = """\
# Who runs the fleet best: {suite}

Written by `python scripts/submit.py` from the files in `benchmarks/submissions/`; [how to join](benchmark.md#joining).

Totals are bill before refunds plus penalty over the reference cost, the mean over the {generated} generated entries of
`{suite}`, each counting the same; lower is better. *Behind the first*: the difference of two totals with its 95 %
interval, resampling the {cells} demands (the calm and the hot market of a size share one). *Replayed*: the same total
over the {replayed} days of real traces. All of it is simulated; nothing was checked against a live account.
"""


def load_submissions(folder: Path, suite: Suite) -> list[Submission]:
    """Return the checked submissions of a folder, best first.

    Raises:
        ValueError: One of them is not right, or two have one name; names the file.
    """
    found: dict[str, Submission] = {}
    for path in sorted(folder.glob("*.json")):
        submission = read_submission(path, suite)
        name = submission.details.policy
        if name in found:
            raise ValueError(f"{path}: key 'details.policy': {name!r} is in another submission too")
        found[name] = submission
    return sorted(found.values(), key=lambda item: item.total_over_reference)


def leaderboard(submissions: Sequence[Submission], suite: Suite) -> str:
    """Return the page: who stands where, then by pattern. ``submissions`` are sorted, best first."""
    cells = _cells(suite)
    lines = [
        _HEADER.format(
            suite=suite.name, generated=len(suite.generated), replayed=len(suite.replayed), cells=len(cells)
        ),
        "| | policy | kind | by | total | behind the first | bill | penalty | bad minutes | refunds | replayed |",
        "|" + " --- |" * 11,
    ]
    for place, item in enumerate(submissions, start=1):
        lines.append(_row(place, item, submissions[0], suite))
    if submissions:
        first = submissions[0]
        bound, replayed = mean_over_reference(first.entries, suite, "bound_usd"), _replayed(first, suite, "bound_usd")
        lines.append(f"| | clairvoyant bound | bound | | {bound:.4f} | | | | | | {replayed} |")
        lines += ["", "## By pattern", "", *_by_pattern(submissions, suite)]
        lines += ["", "## What they say", "", *(_sentence(item) for item in submissions)]
    return "\n".join(lines) + "\n"


def _row(place: int, item: Submission, first: Submission, suite: Suite) -> str:
    details = item.details
    name = f"[{details.policy}]({details.link})" if details.link else details.policy
    bad = np.mean([item.entries[entry.id].bad_minutes_fraction for entry in suite.generated])
    parts = (mean_over_reference(item.entries, suite, field) for field in ("infra_usd", "slo_penalty_usd"))
    bill, penalty = (f"{value:.4f}" for value in parts)
    refunds = mean_over_reference(item.entries, suite, "refunds_usd")
    cells = (
        str(place),
        name,
        details.kind,
        ", ".join(details.authors),
        f"{item.total_over_reference:.4f}",
        "" if item is first else _behind(item, first, suite),
        bill,
        penalty,
        f"{100 * bad:.2f} %",
        f"{refunds:.4f}",
        _replayed(item, suite, "total_usd"),
    )
    return "| " + " | ".join(cells) + " |"


def _sentence(item: Submission) -> str:
    commit = f"commit {item.git_commit[:12]}" if item.git_commit else "outside a repository"
    note = f" {item.details.note}" if item.details.note else ""
    return f"- **{item.details.policy}** (`{item.reference}`, {commit}).{note}"


def _over_reference(item: Submission, names: Sequence[str], field: str = "total_usd") -> NDArray[np.float64]:
    """Return [names] USD over reference USD."""
    return np.array([getattr(item.entries[name], field) / item.entries[name].reference_usd for name in names])


def _replayed(item: Submission, suite: Suite, field: str) -> str:
    """Return the mean over the replayed entries, or how many of them were not there."""
    if item.absent:
        return f"{len(item.absent)} absent"
    return f"{_over_reference(item, [entry.id for entry in suite.replayed], field).mean():.4f}"


def _cells(suite: Suite) -> list[list[str]]:
    """Return the generated entries by demand: pattern and seed."""
    cells: dict[tuple[str, int], list[str]] = {}
    for entry in suite.generated:
        cells.setdefault((entry.pattern, entry.seed), []).append(entry.id)
    return list(cells.values())


def _behind(item: Submission, first: Submission, suite: Suite) -> str:
    """Return the difference of two totals with its 95 % interval, resampling demands."""
    cells = _cells(suite)
    gaps = np.array([(_over_reference(item, cell) - _over_reference(first, cell)).sum() for cell in cells])
    sizes = np.array([len(cell) for cell in cells])
    picks = np.random.default_rng([0, 0x1EAD]).integers(0, len(cells), (_RESAMPLES, len(cells)))
    low, high = np.quantile(gaps[picks].sum(axis=1) / sizes[picks].sum(axis=1), [0.025, 0.975])
    return f"{gaps.sum() / sizes.sum():.4f} ({low:.4f} to {high:.4f})"


def _by_pattern(submissions: Sequence[Submission], suite: Suite) -> list[str]:
    """Return a table of totals over reference: a row a submission, a column a pattern, then calm and hot markets."""
    groups: dict[str, list[str]] = {}
    for entry in suite.generated:
        groups.setdefault(entry.pattern.replace("_", " "), []).append(entry.id)
    for market in ("calm", "hot"):
        groups[f"{market} market"] = [entry.id for entry in suite.generated if entry.market == market]
    lines = ["| policy | " + " | ".join(groups) + " |", "|" + " --- |" * (len(groups) + 1)]
    rows = [(item.details.policy, item, "total_usd") for item in submissions]
    for name, item, field in (*rows, ("clairvoyant bound", submissions[0], "bound_usd")):
        cells = [f"{_over_reference(item, names, field).mean():.4f}" for names in groups.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines
