"""Train every shipped model from public traces and the simulator: one command makes all weights anew."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from scripts.command import UsageError, clear_errors, progress_bar
from telemetry.splits import data_folder


def train_models(
    out: Annotated[Path, typer.Option(help="Folder of the weights; forecasting/weights ships.")],
    only: Annotated[list[str] | None, typer.Option(help="forecast, anomaly, rca or scaling; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the traces; FLEETGYM_DATA or ../shared/data.")] = None,
) -> None:
    """Write the weights and their card; models that are not trained again keep theirs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with clear_errors("train_models"):
        from agents.model_card import write_card
        from simulators.model_training import TRAININGS

        names = list(dict.fromkeys(only or TRAININGS))
        unknown = [name for name in names if name not in TRAININGS]
        if unknown:
            raise UsageError(f"--only {unknown[0]}: expected one of {', '.join(TRAININGS)}")
        folder = data or data_folder()
        seconds = {}
        with progress_bar("training", len(names)) as show:
            for done, name in enumerate(names):
                started = time.process_time()
                TRAININGS[name](folder, out, seed)
                seconds[name] = round(time.process_time() - started, 1)
                show(done + 1)
                typer.echo(f"{name}: {seconds[name]:.0f} s of CPU")
        write_card(out, seconds, seed)
        typer.echo(f"weights: {out}")


if __name__ == "__main__":
    typer.run(train_models)
