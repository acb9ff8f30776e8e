"""Turn a training run into a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import clear_errors


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that scripts/train.py wrote.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.")],
) -> None:
    """Write the bundle of the model that was best on validation; refuse if its outputs differ."""
    with clear_errors("export"):
        from agents.experiment import export_run

        difference = export_run(run, out)
        typer.echo(f"{out}: exported; logits agree within {difference:.1e}")


if __name__ == "__main__":
    typer.run(export)
