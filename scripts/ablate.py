"""Train the agent without each of its parts in turn, and say what each was worth."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.command import UsageError, clear_errors, load_config

_ROOT = Path(__file__).resolve().parent.parent
_PART = "ablations"
_PROBE_ROLLOUTS = 2


def ablate(
    out: Annotated[Path, typer.Option(help="Folder of runs, ablations.csv and ablations.md.")] = Path("runs/ablations"),
    config: Annotated[
        list[Path] | None,
        typer.Option(help="YAML list of rows (name, claim, set); repeatable; configs/ablations.yaml."),
    ] = None,
    base: Annotated[Path, typer.Option(help="Training configuration that rows change.")] = (
        _ROOT / "configs" / "train" / "default.yaml"
    ),
    rows: Annotated[list[str] | None, typer.Option(help="Only this row; repeatable.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds per row, counted from 0.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Decisions per run.")] = 2_000_000,
    jobs: Annotated[int, typer.Option(min=1, help="Rows at a time, one core each.")] = 2,
    table_only: Annotated[bool, typer.Option("--table-only", help="Train nothing; table of what is there.")] = False,
    page: Annotated[Path, typer.Option(help="Page with a part 'ablations' to rewrite.")] = (
        _ROOT / "docs" / "ablations.md"
    ),
) -> None:
    """Train and play every row with every seed, then write the table; run again, it goes on where it was stopped."""
    with clear_errors("ablate"):
        from agents.ablation import TABLE_FILE, load_rows, results, table, write_csv
        from agents.page_parts import check_part, rewrite_part
        from agents.processes import interrupt_on_termination
        from telemetry.provenance import write_text

        interrupt_on_termination()
        check_part(page, _PART)
        chosen = load_rows(config or [_ROOT / "configs" / "ablations.yaml"], rows or [])
        trials = _trials(chosen, base, seeds, steps, out)
        failed = [] if table_only else _run(trials, steps, jobs)
        found = results(trials)
        if not found:
            raise UsageError(f"{out}: holds no finished run of these rows")
        write_csv(found, out / TABLE_FILE)
        text = table(chosen, found)
        write_text(out / "ablations.md", text + "\n")
        rewrite_part(page, _PART, f"{_made(found, seeds, steps)}\n\n{text}")
        typer.echo(text)
        typer.echo(f"table: {out / TABLE_FILE}, {page}")
    if failed:
        _say(f"{', '.join(failed)} failed; the same command tries again")
        raise typer.Exit(1)


def _say(line: str) -> None:
    typer.echo(f"ablate: {line}", err=True)


def _trials(rows: list[Any], base: Path, seeds: int, steps: int, out: Path) -> list[Any]:
    """Return the trials of every row; UsageError for a key that the configuration does not have."""
    from agents.ablation import Trial, judges_worlds
    from agents.experiment import TrainSettings
    from agents.reproduction import missing_test_traces
    from agents.training_jobs import TrainingJob

    missing = missing_test_traces()
    if missing:
        _say(f"without {', '.join(missing)}, which are not there: the test worlds are not played")
    trials = []
    for row in rows:
        overrides = [f"{key}={json.dumps(value)}" for key, value in row.set.items()]
        try:
            settings = load_config(TrainSettings, base, [*overrides, f"ppo.n_timesteps={steps}"])
        except UsageError as error:
            raise UsageError(f"row {row.name!r}: {error}") from error
        for seed in range(seeds):
            job = TrainingJob(settings, seed, out / row.name / f"seed-{seed}")
            job.check_same()
            trials.append(Trial(row.name, job, judges_worlds))
    return trials


def _run(trials: list[Any], steps: int, jobs: int) -> list[str]:
    """Run what is not finished, a process for each row; return the rows that failed."""
    from itertools import groupby

    from agents.ablation import run_row
    from agents.processes import in_processes

    left = [trial for trial in trials if not trial.is_done]
    if not left:
        return []
    _print_budget(trials, left, steps, jobs)
    rows = [list(group) for _, group in groupby(left, key=lambda trial: trial.row)]
    failed = []
    for number, (position, succeeded) in enumerate(in_processes(run_row, rows, jobs=jobs), start=1):
        row = rows[position]
        if not succeeded:
            failed.append(row[0].row)
        minutes = sum(trial.job.minutes() for trial in row)
        state = f"{len(row)} seeds trained in {minutes:.1f} min and played" if succeeded else "failed"
        typer.echo(f"{row[0].row}: {state} ({number} of {len(rows)} rows)")
    return failed


def _print_budget(trials: list[Any], left: list[Any], steps: int, jobs: int) -> None:
    """Print runs, decisions, the speed of a short probe of the first one, and the hours that makes."""
    from agents.training_jobs import decisions_per_second

    rate = decisions_per_second(left[0].job.settings, _PROBE_ROLLOUTS)
    seeds = len({trial.job.seed for trial in trials})
    typer.echo(f"rows            {len({trial.row for trial in trials})}")
    typer.echo(f"seeds           {seeds}")
    typer.echo(f"decisions each  {steps:,}")
    typer.echo(f"runs left       {len(left)} of {len(trials)}")
    typer.echo(f"decisions/s     {rate:,.0f} (one run alone, {_PROBE_ROLLOUTS} rollouts)")
    at_a_time = min(jobs, len({trial.row for trial in left}))
    hours = len(left) * steps / rate / at_a_time / 3600
    typer.echo(f"hours           {hours:.1f} of training, {at_a_time} rows at a time")


def _made(found: list[dict[str, Any]], seeds: int, steps: int) -> str:
    from telemetry.provenance import git_commit, processor

    hours, commit = sum(item["training_minutes"] for item in found) / 60, (git_commit() or "unknown")[:12]
    return (
        f"{len(found)} runs ({seeds} seeds a row, {steps:,} decisions each), {hours:.1f} hours of training, one core "
        f"each, {processor()}, commit {commit}. Totals over reference, mean over scenarios; in brackets the range over "
        "seeds."
    )


if __name__ == "__main__":
    typer.run(ablate)
