"""The fidelity report: every validation of the simulator, run part by part, as JSON, Markdown and figures.

A part is a set of checks beside their ranges (``simulators.validation``) or the influence study. Parts that were not
run again keep what the file says of them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from agents.influence import Influence, Ranking, Row, baseline, run_study
from agents.influence_report import influence_page, largest_table, markdown_table, tornado
from agents.variations import load_variations
from telemetry.check import Check
from telemetry.provenance import git_commit, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JSON_NAME: Final = "fidelity.json"
PAGE_NAME: Final = "fidelity.md"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"
QUICK_VARIATIONS: Final = ("no drain", "metric delay 0 s", "notice only", "public IPv4 addresses")
_HEADLINE_ROWS: Final = 15
_RESOLUTION_DPI: Final = 110

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Request:
    """What a run is asked for.

    Attributes:
        data: Folder that holds demand/ and spot/, the real traces; parts that need them are skipped where it does not.
        quick: Few fleets, few variations, and only the parts that take seconds.
        seed: Of the resampling of worlds.
        progress: Called with the share of the part that is done, in percent.
    """

    data: Path
    quick: bool = False
    seed: int = 0
    progress: Progress = lambda _: None


@dataclass(frozen=True)
class Finding:
    """What one part found.

    Attributes:
        checks: Figures beside their ranges.
        table: Figures that have no range.
        figure: To be drawn beside the report.
        study: The influence study.
        skipped: Why it was not run; empty if it was.
    """

    checks: Sequence[Check] = ()
    table: pd.DataFrame | None = None
    figure: "Figure | None" = None
    study: Influence | None = None
    skipped: str = ""


def _latency(request: Request) -> Finding:
    if request.quick:
        return _left_out()
    from simulators.validation import response_times

    table = response_times.table()
    return Finding(response_times.checks(), table, response_times.figure(table))


def _spot(request: Request) -> Finding:
    if request.quick:
        return _left_out()
    from simulators.validation import spot
    from simulators.validation.recorded_spells import GROUPS

    checks = spot.checks(request.data)
    if not all((request.data / "spot" / group.file).exists() for group in GROUPS.values()):
        return Finding(checks)
    return Finding(checks, spot.table(request.data).reset_index(), spot.figure(request.data))


def _relief(request: Request) -> Finding:
    from simulators.validation import relief

    fleets = 5 if request.quick else relief.SEEDS
    return Finding(relief.checks(fleets), relief.table(fleets), relief.figure())


def _realism(request: Request) -> Finding:
    if request.quick:
        return _left_out()
    from simulators.validation import realism
    from telemetry.splits import load_splits

    demand = request.data / "demand"
    missing = [name for name in load_splits().divided.traces if not (demand / f"{name}.parquet").exists()]
    if missing:
        return Finding(skipped=f"{demand} holds no {missing[0]}.parquet; set FLEETGYM_DATA or --data")
    return Finding(realism.checks(demand), realism.table(demand), realism.figure(demand))


def _influence(request: Request) -> Finding:
    variations = load_variations()
    if request.quick:
        variations = tuple(item for item in variations if item.name in QUICK_VARIATIONS)

    def advance(done: int) -> None:
        request.progress(round(100 * done / len(variations)))

    setup = baseline(draws=1 if request.quick else 2)
    study = run_study(setup, variations, seed=request.seed, progress=advance)
    return Finding(study=study, figure=tornado(study))


def _left_out() -> Finding:
    return Finding(skipped="takes minutes, left out of --quick")


PARTS: Final[Mapping[str, Callable[[Request], Finding]]] = {
    "latency": _latency,
    "spot": _spot,
    "relief": _relief,
    "realism": _realism,
    "influence": _influence,
}
TITLES: Final[Mapping[str, str]] = {
    "latency": "Response times against queueing theory and simulation",
    "spot": "Spot market against public traces",
    "relief": "Reaction to load",
    "realism": "Generated demand against traces",
    "influence": "Influence of mechanisms and numbers",
}


def run_part(name: str, request: Request, out: Path) -> dict[str, Any]:
    """Run one part, write its figure into ``out`` and return its entry of the report.

    Raises:
        ValueError: There is no such part.
    """
    if name not in PARTS:
        raise ValueError(f"unknown part {name!r}; known: {', '.join(PARTS)}")
    started = time.perf_counter()
    found = PARTS[name](request)
    entry: dict[str, Any] = {
        "skipped": found.skipped,
        "quick": request.quick,
        "git_commit": git_commit(),
        "checks": [_check_entry(check) for check in found.checks],
        "table": [] if found.table is None else _records(found.table),
    }
    if found.study is not None:
        entry["influence"] = plain(asdict(found.study))
    if found.figure is not None:
        entry["figure"] = f"{name}.png"
        out.mkdir(parents=True, exist_ok=True)
        found.figure.savefig(out / entry["figure"], dpi=_RESOLUTION_DPI)
    entry["seconds"] = round(time.perf_counter() - started, 1)
    return entry


def _check_entry(check: Check) -> dict[str, Any]:
    content: dict[str, Any] = plain(asdict(check))
    return content | {"holds": bool(check.holds)}


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [plain(row) for row in table.to_dict("records")]


def plain(value: Any) -> Any:
    """Return content as JSON takes it: numbers that are not finite as None, NumPy scalars as Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not isfinite(value) else value


def load_report(folder: Path) -> dict[str, Any]:
    """Return the parts in a folder's report; empty if there is none.

    Raises:
        ValueError: The file is not a report; names it.
    """
    return read_entries(folder / JSON_NAME, "parts", "a fidelity report")


def read_entries(path: Path, key: str, what: str) -> dict[str, Any]:
    """Return the entries under a key of a JSON report; empty if there is no file.

    Raises:
        ValueError: The file is not such a report; names it.
    """
    if not path.exists():
        return {}
    try:
        entries: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))[key]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not {what}: {error!r}") from error
    return entries


def save_report(parts: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write a report as JSON and as Markdown; return its parts in their order."""
    ordered = {name: parts[name] for name in PARTS if name in parts}
    write_json(folder / JSON_NAME, {"parts": ordered})
    write_text(folder / PAGE_NAME, report_page(ordered))
    return ordered


def read_study(entry: Mapping[str, Any]) -> Influence:
    """Return the influence study of a report's entry."""
    content = dict(entry["influence"])
    content["rows"] = tuple(Row(**row) for row in content["rows"])
    content["rankings"] = tuple(Ranking(**item) for item in content["rankings"])
    return Influence(**content)


def report_page(parts: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown."""
    sections = ["# Fidelity: figures", summary_table(parts)]
    for name, entry in parts.items():
        sections.append(f"## {TITLES[name]}")
        if entry["skipped"]:
            sections.append(f"Not run: {entry['skipped']}.")
        if entry["checks"]:
            sections.append(checks_table(entry["checks"]))
        if entry["table"]:
            header = list(entry["table"][0])
            sections.append(markdown_table(header, [[_cell(row[key]) for key in header] for row in entry["table"]]))
        if "influence" in entry:
            sections.append(influence_page(read_study(entry)))
        if "figure" in entry:
            sections.append(f"![{TITLES[name]}]({entry['figure']})")
    return "\n\n".join(sections) + "\n"


def summary_table(parts: Mapping[str, Any]) -> str:
    """Return a row per part: how many checks hold, which do not, how long it took."""
    rows = []
    for name, entry in parts.items():
        failed = [check["name"] for check in entry["checks"] if not check["holds"]]
        held = f"{len(entry['checks']) - len(failed)} of {len(entry['checks'])}" if entry["checks"] else "-"
        remark = f"not run: {entry['skipped']}" if entry["skipped"] else "; ".join(failed)
        if "influence" in entry:
            study = read_study(entry)
            held = f"{len(study.rankings)} variations"
            remark = f"simplified and over 1 %: {'; '.join(study.to_model()) or 'none'}"
        rows.append((TITLES[name], held, remark or "-", f"{entry['seconds']:.0f} s"))
    return markdown_table(("part", "checks that hold", "do not hold, and remarks", "took"), rows)


def checks_table(checks: Sequence[Mapping[str, Any]]) -> str:
    """Return checks as a table, those that do not hold in bold."""
    rows = []
    for check in checks:
        low = -inf if check["low"] is None else check["low"]
        high = inf if check["high"] is None else check["high"]
        limits = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        limits = f"at least {low:.4g}" if high == inf else f"at most {high:.4g}" if low == -inf else limits
        unit = "" if check["unit"] == "1" else f" {check['unit']}"
        verdict = "yes" if check["holds"] else "**no**"
        rows.append((check["name"], f"{_cell(check['measured'])}{unit}", limits, verdict, check["source"]))
    return markdown_table(("what", "measured", "range", "holds", "source of the range"), rows)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def headline(parts: Mapping[str, Any]) -> str:
    """Return the figures that stand on the documentation page."""
    sections = [summary_table(parts)]
    failed = [check for entry in parts.values() for check in entry["checks"] if not check["holds"]]
    if failed:
        sections += ["Checks that do not hold:", checks_table(failed)]
    if "influence" in parts and "influence" in parts["influence"]:
        study = read_study(parts["influence"])
        sections += [
            f"The {_HEADLINE_ROWS} variations that move some policy's total most, of {len(study.rankings)} "
            f"({study.worlds} worlds of {study.world_days} days; policies not calibrated again):",
            largest_table(study, _HEADLINE_ROWS),
        ]
    return "\n\n".join(sections)


def write_figures(page: Path, parts: Mapping[str, Any]) -> None:
    """Write the headline figures between the two markers of a page.

    Raises:
        ValueError: The page does not hold both markers once, in order.
        OSError: It cannot be read.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{page}: expected one line {BEGIN} and, after it, one line {END}")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    write_text(page, f"{before}\n\n{headline(parts)}\n\n{after}")
