"""Fit the shipped workload models to the training part of the training traces."""

from pathlib import Path
from typing import Annotated

import typer

from envs.worlds import WORKLOADS
from scripts.command import clear_errors
from simulators.scenario import minute_of_week
from simulators.workload import fit_workload, save_workload
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace


def fit_workloads(
    traces: Annotated[Path, typer.Option(help="Folder of the demand traces.")],
    out: Annotated[Path, typer.Option(help="Folder of the models.")] = WORKLOADS,
) -> None:
    """Write one workload model per training trace."""
    with clear_errors("fit_workloads"):
        splits = load_splits()
        for name in splits.divided.traces:
            ticks = to_ticks(load_trace(traces / f"{name}.parquet"))
            part = splits.window(name, "train", len(ticks.values))
            model = fit_workload(name, ticks.values[part], minute_of_week=minute_of_week(ticks.start))
            save_workload(model, out / f"{name}.json")
            typer.echo(f"{out / name}.json")


if __name__ == "__main__":
    typer.run(fit_workloads)
