"""The card of the shipped model weights: what each was made from, how large it is, how it is checked."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agents.influence_report import markdown_table
from forecasting import shipped
from telemetry.forecast_series import load_series_list
from telemetry.provenance import git_commit, versions, write_text

CARD_FILE: Final = "card.md"
_SOURCES: Final = {
    shipped.DEMAND_FILE: ("demand quantiles", "first 70 % of the series below"),
    shipped.RANKER_FILE: ("anomalies over all metrics of a service", "simulated services with known faults"),
    shipped.CAUSES_FILE: ("cause in a service graph", "simulated incidents"),
    shipped.KINDS_FILE: ("kind of an anomaly in one service", "simulated services with known faults"),
    shipped.PLANNER_FILE: ("least adequate fleet", "fleets played by the kernel"),
    shipped.PERFORMANCE_FILE: ("p95, p99 and error rate of a fleet", "fleets played by the kernel"),
}


def write_card(folder: Path, cpu_seconds: Mapping[str, float], seed: int) -> None:
    """Write ``card.md`` beside the weights of a folder.

    Args:
        folder: Holds the weights that exist so far.
        cpu_seconds: Of this run's trainings, by name.
        seed: Of the training.
    """
    files = [name for name in _SOURCES if (folder / name).exists()]
    rows = [(f"`{name}`", *_SOURCES[name], _kilobytes(folder / name), _digest(folder / name)) for name in files]
    pooled = [entry for entry in load_series_list().series if entry.role == "pooled"]
    made = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in cpu_seconds.items())
    used = {name: version for name, version in versions().items() if version != "not installed"}
    sections = [
        "# Shipped model weights",
        "Made by `python scripts/train_models.py --out forecasting/weights`; scored by `scripts/evaluate_models.py` "
        "(docs/models.md). They load without pickle.",
        markdown_table(("file", "predicts", "trained on", "kB", "SHA-256, first 16 digits"), rows),
        f"Last training: seed {seed}, CPU {made}; source commit {git_commit()}; "
        + ", ".join(f"{name} {version}" for name, version in used.items())
        + ".",
        "## Series behind the demand weights",
        "Only their first 70 % by time, only files whose redistribution is settled; the World Cup 98 logs come with "
        "the notice in NOTICE. Whole-test traces of `configs/splits.yaml` are not among them.",
        markdown_table(("series", "file"), [(entry.name, entry.file) for entry in pooled]),
        "## Limits",
        "Demand weights know series of five minutes to one hour per step and leads up to four hours. The other models "
        "know the simulator only: what they say of a real account was not checked against one.",
    ]
    write_text(folder / CARD_FILE, "\n\n".join(sections) + "\n")


def _kilobytes(path: Path) -> str:
    return f"{path.stat().st_size / 1000.0:.0f}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
