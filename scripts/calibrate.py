"""Calibrate every rule with the same budget: pooled on training worlds, or on the history of each trace."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from agents.ground import GroundSettings
from scripts.command import ConfigOption, SetOption, UsageError, clear_errors, load_config, progress_bar

UNTUNED = Path(__file__).resolve().parent.parent / "configs" / "rules_untuned.yaml"


class CalibrationSettings(GroundSettings):
    """What rules are calibrated on, and how long.

    Attributes:
        trials: Optuna trials per rule.
    """

    trials: int = Field(300, ge=1)


def calibrate(
    out: Annotated[Path, typer.Option(help="Rule book to write, .yaml or .json; with --traces one per trace, .yaml.")],
    start: Annotated[Path, typer.Option(help="Rule book to start from.")] = UNTUNED,
    traces: Annotated[
        Path | None, typer.Option(help="Trace files: calibrate on the history of each, not on training worlds.")
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option(help="Journal of the studies; a run with the same one goes on. Beside --out if absent."),
    ] = None,
    record: Annotated[Path | None, typer.Option(help="CSV file of all trials to write.")] = None,
    random: Annotated[bool, typer.Option(help="Draw settings at random: the yardstick of the search.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of worlds and search.")] = 0,
) -> None:
    """Write the calibrated rules and print how each did."""
    with clear_errors("calibrate"):
        settings = load_config(CalibrationSettings, config, set_)
        from agents.calibration import calibrated_book, write_record
        from agents.calibration_jobs import Job, run_jobs
        from agents.evaluation.worlds import trace_files
        from agents.rules import load_rules, save_books, save_rules

        if traces is not None and out.suffix != ".yaml":
            raise UsageError(f"--out {out}: expected a .yaml file for one book per trace")
        book = load_rules(start)
        storage = storage or out.with_suffix(".journal")
        storage.parent.mkdir(parents=True, exist_ok=True)
        files: list[Any] = [None] if traces is None else trace_files(traces)
        ground = GroundSettings.model_validate(settings.model_dump(exclude={"trials"}))
        jobs = [
            Job(rule, ground, file, settings.trials, seed, random, storage) for file in files for rule in book.rules
        ]
        results = {}
        with progress_bar("calibrating", len(jobs)) as show:
            for position, result in run_jobs(jobs, workers=workers):
                results[position] = result
                show(len(results))
                typer.echo(f"{_scope(jobs[position].trace)}: {result.rule.name} {result.final.cost():.4f}", err=True)
        ordered = [results[position] for position in range(len(jobs))]
        count = len(book.rules)
        books = {}
        for number, file in enumerate(files):
            part = {item.rule.name: item for item in ordered[number * count : (number + 1) * count]}
            books[_scope(file)] = calibrated_book(book, part)
        if traces is None:
            save_rules(books["pooled"], out)
        else:
            save_books(books, out)
        if record is not None:
            write_record(record, [(_scope(job.trace), item) for job, item in zip(jobs, ordered, strict=True)])
        for name, calibrated in books.items():
            for sentence in calibrated.calibration.items():
                typer.echo(f"{name}: {': '.join(sentence)}")


def _scope(trace: Path | None) -> str:
    return "pooled" if trace is None else trace.stem


if __name__ == "__main__":
    typer.run(calibrate)
