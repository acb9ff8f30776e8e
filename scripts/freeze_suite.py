"""Build every world of a suite and write the hashes into its file."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import clear_errors
from simulators.suite import freeze


def freeze_suite(
    name: Annotated[str, typer.Argument(help="Name of the suite.")] = "fleetgym-suite-1",
    traces: Annotated[Path | None, typer.Option(help="Folder of the traces; replayed hashes stay without it.")] = None,
    replace_released: Annotated[bool, typer.Option(help="Change a suite that results were published on.")] = False,
) -> None:
    """Freeze a suite as the code draws it now."""
    with clear_errors("freeze_suite"):
        suite = freeze(name, traces=traces, replace_released=replace_released)
        for entry in suite.entries:
            typer.echo(f"{entry.hash}  {entry.id}")


if __name__ == "__main__":
    typer.run(freeze_suite)
