"""Score every shipped model beside its rivals: forecasts, anomalies, root cause, drift, capacity, realism."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import track

from scripts.command import UsageError, clear_errors
from telemetry.splits import data_folder

_Item = TypeVar("_Item")


def evaluate_models(
    out: Annotated[Path, typer.Option(help="Folder of models.json, models.md and the plots.")],
    suite: Annotated[
        list[str] | None, typer.Option(help="forecast, anomaly, rca, drift, scaling or realism; repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="A few series and incidents: a trial of the program.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of splits, resampling and random scores.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of the traces; FLEETGYM_DATA or ../shared/data.")] = None,
) -> None:
    """Run the suites; those that are not run keep their entry in OUT/models.json."""
    with clear_errors("evaluate_models"):
        from agents.model_report import PAGE_NAME, load_report, run_suite, save_report, summary_table
        from simulators.model_evaluation import SUITES, Request
        from telemetry.provenance import write_record

        names = list(dict.fromkeys(suite or SUITES))
        unknown = [name for name in names if name not in SUITES]
        if unknown:
            raise UsageError(f"--suite {unknown[0]}: expected one of {', '.join(SUITES)}")
        folder = data or data_folder()
        report = load_report(out)
        for name in names:
            report[name] = run_suite(name, Request(folder, quick, seed, _watch), out)
            save_report(report, out)
            typer.echo(summary_table({name: report[name]}))
        write_record(out, config={"suite": names, "quick": quick, "data": str(folder)}, seed=seed)
        typer.echo(f"report: {out / PAGE_NAME}")


def _watch(items: Sequence[_Item]) -> Iterable[_Item]:
    return track(items, "Forecasting", console=Console(stderr=True), disable=not sys.stderr.isatty())


if __name__ == "__main__":
    typer.run(evaluate_models)
