"""Forecast a series from rolling origins: what the shipped forecaster would have said, and when."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from forecasting.results import write_result
from forecasting.rolling import duration_s, rolling_forecasts
from telemetry.trace import load_trace


def forecast(
    series: Annotated[Path, typer.Option(help="Trace file, .parquet or .csv.")],
    out: Annotated[Path, typer.Option(help="Result file, .parquet or .csv; the record goes beside it as .json.")],
    origins: Annotated[str, typer.Option(help="Time between origins, like 6h.")] = "6h",
    horizon: Annotated[str, typer.Option(help="How far each forecast reaches, like 4h.")] = "4h",
) -> None:
    """Write rolling-origin forecasts: origin, timestamp, q0.1, q0.5, q0.9 on the series' own step."""
    try:
        trace = load_trace(series)
        for repair in trace.repairs:
            typer.echo(f"{series}: {repair}", err=True)
        table = rolling_forecasts(trace, every_s=duration_s(origins), horizon_s=duration_s(horizon), watch=_watch)
        options = {
            "series": str(series),
            "origins": origins,
            "horizon": horizon,
            "repairs": list(trace.repairs),
        }
        write_result(table, out, options)
    except ValueError as error:
        typer.echo(f"forecast: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"forecast: {error}", err=True)
        raise typer.Exit(1) from error


def _watch(origins: Sequence[int]) -> Iterable[int]:
    return track(origins, "Forecasting", console=Console(stderr=True), disable=not sys.stderr.isatty())


if __name__ == "__main__":
    typer.run(forecast)
