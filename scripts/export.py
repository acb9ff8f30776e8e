"""Turn a training run, or the mean of several, into a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import clear_errors


def export(
    runs: Annotated[list[Path], typer.Argument(help="Run folder that scripts/train.py wrote; of several the mean.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
) -> None:
    """Write the bundle of each run's best model on validation, one or their mean; refuse if its outputs differ."""
    with clear_errors("export"):
        from agents.averaging import export_runs

        difference = export_runs(runs, out)
        typer.echo(f"{out}: exported; logits agree within {difference:.1e}")


if __name__ == "__main__":
    typer.run(export)
