"""The report of the model evaluation: every suite as JSON, Markdown and plots, suite by suite.

Suites that are not run again keep what the file says of them.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pandas as pd

from agents.fidelity import checks_table, plain, read_entries
from agents.influence_report import markdown_table
from simulators.model_evaluation import SUITES, TITLES, Request
from telemetry.provenance import git_commit, write_json, write_text

JSON_NAME: Final = "models.json"
PAGE_NAME: Final = "models.md"
_RESOLUTION_DPI: Final = 110


def run_suite(name: str, request: Request, out: Path) -> dict[str, Any]:
    """Run one suite, write its plots into ``out`` and return its entry of the report.

    Raises:
        ValueError: There is no such suite, or its data is missing.
    """
    if name not in SUITES:
        raise ValueError(f"unknown suite {name!r}; known: {', '.join(SUITES)}")
    started, cpu = time.perf_counter(), time.process_time()
    found = SUITES[name](request)
    entry: dict[str, Any] = {
        "quick": request.quick,
        "seed": request.seed,
        "git_commit": git_commit(),
        "checks": [plain(asdict(check)) | {"holds": bool(check.holds)} for check in found.checks],
        "tables": {title: _records(table) for title, table in found.tables.items()},
        "notes": list(found.notes),
        "figures": [],
    }
    out.mkdir(parents=True, exist_ok=True)
    for title, figure in found.figures.items():
        entry["figures"].append(f"{title}.png")
        figure.savefig(out / f"{title}.png", dpi=_RESOLUTION_DPI)
    return entry | {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }


def load_report(folder: Path) -> dict[str, Any]:
    """Return the suites in a folder's report; empty if there is none.

    Raises:
        ValueError: The file is not a report; names it.
    """
    return read_entries(folder / JSON_NAME, "suites", "a report of the model evaluation")


def save_report(suites: Mapping[str, Any], folder: Path) -> None:
    """Write a report as JSON and as Markdown, suites in their order."""
    ordered = {name: suites[name] for name in SUITES if name in suites}
    write_json(folder / JSON_NAME, {"suites": ordered})
    write_text(folder / PAGE_NAME, report_page(ordered))


def report_page(suites: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown."""
    sections = ["# Models: figures", summary_table(suites)]
    for name, entry in suites.items():
        sections.append(f"## {TITLES[name]}")
        sections += [f"- {note}" for note in entry["notes"]]
        if entry["checks"]:
            sections.append(checks_table(entry["checks"]))
        for title, rows in entry["tables"].items():
            sections.append(f"### {title}")
            if rows:
                header = list(rows[0])
                sections.append(markdown_table(header, [[_cell(row[key]) for key in header] for row in rows]))
        sections += [f"![{Path(figure).stem}]({figure})" for figure in entry["figures"]]
    return "\n\n".join(sections) + "\n"


def summary_table(suites: Mapping[str, Any]) -> str:
    """Return a row per suite: how many checks hold, which do not, how long it took."""
    rows = []
    for name, entry in suites.items():
        failed = [check["name"] for check in entry["checks"] if not check["holds"]]
        held = f"{len(entry['checks']) - len(failed)} of {len(entry['checks'])}"
        quick = " (quick: figures mean little)" if entry["quick"] else ""
        rows.append((TITLES[name] + quick, held, "; ".join(failed) or "-", f"{entry['cpu_seconds']:.0f} s"))
    return markdown_table(("suite", "checks that hold", "do not hold", "CPU"), rows)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [plain(row) for row in table.to_dict("records")]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
