"""Score every row of a series for how unusual it is, given the rows above it."""

from pathlib import Path
from typing import Annotated

import typer

from forecasting.results import write_result
from forecasting.rolling import score_rows
from telemetry.trace import read_rows


def detect(
    series: Annotated[Path, typer.Option(help="Series file, .parquet or .csv; negative values are fine.")],
    out: Annotated[Path, typer.Option(help="Result file, .parquet or .csv; the record goes beside it as .json.")],
) -> None:
    """Write streaming anomaly scores: timestamp, value, score, event, extent (0..1), a row per input row."""
    try:
        table, notes = score_rows(read_rows(series))
        for note in notes:
            typer.echo(f"{series}: {note}", err=True)
        write_result(table, out, {"series": str(series), "notes": list(notes)})
    except ValueError as error:
        typer.echo(f"detect: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"detect: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(detect)
