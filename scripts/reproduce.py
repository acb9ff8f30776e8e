"""Reproduce the shipped agent: train several seeds, ship the best on validation of them and their mean, judge all."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.command import DEFAULT_BUNDLE, SetOption, clear_errors, load_config

_ROOT = Path(__file__).resolve().parent.parent
_PART = "agent"


def reproduce(
    out: Annotated[Path, typer.Option(help="Folder of runs, choice and report.")] = Path("runs/reproduce"),
    config: Annotated[Path, typer.Option(help="Training configuration.")] = _ROOT
    / "configs"
    / "train"
    / "default.yaml",
    set_: SetOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Training seeds, counted from 0.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Seeds trained at a time, one core each.")] = 2,
    markets: Annotated[int, typer.Option(min=1, help="Market seeds per test trace.")] = 5,
    planner: Annotated[bool, typer.Option(help="Also play the planner in the comparison.")] = True,
    bundle_out: Annotated[Path, typer.Option(help="Where the shipped bundle goes.")] = DEFAULT_BUNDLE,
    page: Annotated[Path, typer.Option(help="Page with a part 'agent' to rewrite.")] = _ROOT / "docs" / "results.md",
) -> None:
    """Do it all; run again, it goes on where it was stopped. Without the traces, exit 1 and no test split."""
    with clear_errors("reproduce"):
        from agents.bundle import load_bundle
        from agents.experiment import TrainSettings
        from agents.page_parts import check_part
        from agents.processes import interrupt_on_termination
        from agents.reproduction import MEAN, choose, judges_validation, missing_test_traces, seed_jobs, ship
        from telemetry.splits import data_folder

        interrupt_on_termination()
        folder = data_folder() / "demand"
        settings = load_config(TrainSettings, config, set_)
        missing = missing_test_traces()
        if missing:
            _say(
                f"{folder} lacks {', '.join(missing)}: training goes without the traces that are not there, in "
                "generated worlds; the test split will not be played"
            )
        else:
            check_part(page, _PART)
        runs = seed_jobs(settings, out, seeds)
        _train(runs, jobs)
        paths = _bundles(runs, out)
        bundles = {name: load_bundle(path) for name, path in paths.items()}
        _say("playing every policy on validation worlds")
        chosen = choose(bundles, judges_validation(next(iter(bundles.values())).task), out)
        ship(paths[chosen], bundle_out)
        typer.echo(f"{bundle_out}: {chosen}, the cheapest of {len(bundles)} on validation ({out / 'choice.json'})")
        if missing:
            _say(f"not judged: the test split needs {', '.join(missing)} in {folder}")
            raise typer.Exit(1)
        also = {path: bundles[name] for name, path in paths.items() if name not in (chosen, MEAN)}
        _judge(runs, paths[chosen], also, out / "report", page, markets=markets, planner=planner)


def _say(line: str) -> None:
    typer.echo(f"reproduce: {line}", err=True)


def _train(runs: list[Any], jobs: int) -> None:
    """Train and export what is not finished; exit 1 if a seed failed, which has said why."""
    from agents.processes import in_processes
    from agents.reproduction import bundle_of, run_seed

    left = [run for run in runs if not bundle_of(run).is_dir()]
    done = len(runs) - len(left)
    if done:
        typer.echo(f"{done} of {len(runs)} seeds were trained before")
    if left:
        typer.echo(
            f"training {len(left)} seeds, {jobs} at a time; curves: tensorboard --logdir {left[0].folder.parent}"
        )
    failed = []
    for position, succeeded in in_processes(run_seed, left, jobs=jobs):
        run = left[position]
        if not succeeded:
            failed.append(run.seed)
            continue
        done += 1
        typer.echo(f"seed {run.seed}: trained in {run.minutes():.1f} min ({done} of {len(runs)})")
    if failed:
        _say(f"seed {', '.join(map(str, failed))} failed; the same command tries again")
        raise typer.Exit(1)


def _bundles(runs: list[Any], out: Path) -> dict[str, Path]:
    """Return where the bundle of each seed lies, by name, and of several that of their mean."""
    from agents.reproduction import MEAN, average, bundle_of

    paths = {f"seed {run.seed}": bundle_of(run) for run in runs}
    if len(runs) > 1:
        paths[MEAN] = average(runs, out)
    return paths


def _judge(
    runs: list[Any],
    shipped: Path,
    also: dict[Path, Any],
    report: Path,
    page: Path,
    *,
    markets: int,
    planner: bool,
) -> None:
    """Compare on the test split and rewrite the page's part."""
    from agents.evaluation.results import agent_section
    from agents.page_parts import rewrite_part
    from agents.reproduction import copy_pictures, judge
    from telemetry.provenance import write_record

    began = time.monotonic()
    content = judge(shipped, also, report, markets=markets, planner=planner, say=lambda line: _say(line))
    if content["partial"]:
        raise KeyboardInterrupt
    write_record(report, config=runs[0].settings.model_dump(mode="json"), seed=None)
    made = _made(sum(run.minutes() for run in runs), len(runs), (time.monotonic() - began) / 60.0)
    pictures = copy_pictures(report, page.parent / "images")
    rewrite_part(page, _PART, agent_section(content, made, pictures))
    typer.echo(content["first_line"])
    typer.echo(f"report: {report / 'report.md'}; page: {page}")


def _made(training: float, seeds: int, judging: float) -> str:
    """Return how long it took, and on what."""
    from telemetry.provenance import git_commit, processor, versions

    found = versions()
    return (
        f"`make reproduce`, {datetime.now(UTC).date().isoformat()}: {training:.0f} minutes of training, one core each, "
        f"for {seeds} seeds, then {judging:.0f} minutes of comparison (less where it went on from an interrupted one); "
        f"{processor()}, {os.cpu_count()} cores, commit {(git_commit() or 'unknown')[:12]}, Python {found['python']}, "
        f"torch {found['torch']}, stable-baselines3 {found['stable-baselines3']}."
    )


if __name__ == "__main__":
    typer.run(reproduce)
