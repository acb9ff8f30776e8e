"""Compare rules, constant actions, the clairvoyant bound, and a bundle's policy or anyone's, on unseen worlds."""

import signal
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from scripts.command import UsageError, clear_errors, data_folder

_DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "default"


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the report; what is played is kept in it.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle whose rules, task and policy are compared; bundles/default, or the rules alone."),
    ] = None,
    traces: Annotated[Path | None, typer.Option(help="Folder of trace files, or one file.")] = None,
    split: Annotated[str | None, typer.Option(help="'test': the committed list, from --data.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the listed traces; FLEETGYM_DATA/demand or ../shared/data/demand.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="module:factory of a policy to score beside them.")] = None,
    markets: Annotated[int, typer.Option(min=1, help="Market seeds per trace.")] = 5,
    mean_instances: Annotated[float, typer.Option(help="Reference instances that mean demand needs.")] = 20.0,
    studies: Annotated[bool, typer.Option(help="Also other worlds, cadences and perfect forecasts.")] = True,
    planner: Annotated[bool, typer.Option("--planner", help="Also the planner, on two days of each trace.")] = False,
) -> None:
    """Write report.json, report.md and plots; print the headline and where they are. Run again, it goes on."""
    signal.signal(signal.SIGTERM, _interrupt)
    broken: list[str] = []
    apart: dict[str, float] = {}

    def on_broken(message: str) -> None:
        if message not in broken:
            broken.append(message)
            typer.echo(f"evaluate: {message}", err=True)

    with clear_errors("evaluate"):
        from agents.evaluation.scoring import score
        from agents.evaluation.worlds import (
            load_scenarios,
            split_scenarios,
            trace_files,
            validation_worlds,
            worlds_for_test,
        )
        from telemetry.provenance import write_record

        if (traces is None) == (split is None):
            raise UsageError("give either --traces FOLDER or --split test")
        if split not in (None, "test"):
            raise UsageError(f"--split {split}: expected 'test'")
        lineup = _lineup(bundle, policy)

        def scenarios(forecasts: Any, say: Any = lambda _: None) -> Any:
            if traces is None:
                folder = data or data_folder() / "demand"
                return split_scenarios(lineup.task, folder, forecasts=forecasts, on_broken=on_broken)
            return load_scenarios(
                trace_files(traces),
                lineup.task,
                mean_instances=mean_instances,
                forecasts=forecasts,
                on_broken=on_broken,
                say=say,
                apart=apart,
            )

        tested = scenarios("quantiles", lambda line: typer.echo(line, err=True))
        content = score(
            lineup,
            worlds_for_test(tested, lineup.task, markets=markets, apart=apart),
            validation_worlds(lineup.task, _validation_source()),
            out,
            perfect=(lambda: scenarios("perfect")) if studies else None,
            studies=studies,
            planner=planner,
            say=lambda line: typer.echo(f"playing {line}", err=True),
        )
        write_record(out, config=_resolved(bundle, traces, split, policy, markets, mean_instances), seed=None)
        typer.echo(content["first_line"])
        typer.echo(f"report: {out / 'report.md'}")
    if content["partial"]:
        typer.echo("evaluate: interrupted; the same command goes on from here", err=True)
    if broken or content["partial"]:
        raise typer.Exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _lineup(bundle: Path | None, policy: str | None) -> Any:
    """Return who is compared: a bundle's rules and policy, or the shipped rules; and anyone's policy."""
    from agents.bundle import load_bundle
    from agents.evaluation.scoring import Lineup, bundle_lineup
    from agents.policies import load_policy
    from agents.rules import load_rules
    from envs.settings import TaskSettings

    if bundle is None and _DEFAULT_BUNDLE.exists():
        bundle = _DEFAULT_BUNDLE
    if bundle is not None:
        lineup = bundle_lineup(load_bundle(bundle))
    else:
        book = load_rules()
        lineup = Lineup(book, book.task(TaskSettings()))
    if policy is None:
        return lineup
    guest = load_policy(policy, lineup.task)
    return replace(lineup, learned={**lineup.learned, policy: guest}, shipped=lineup.shipped or policy)


def _resolved(*values: Any) -> dict[str, Any]:
    names = ("bundle", "traces", "split", "policy", "markets", "mean_instances")
    return {name: str(value) if isinstance(value, Path) else value for name, value in zip(names, values, strict=True)}


def _validation_source() -> Any:
    """Return the worlds that name the best rule: patterns and shipped models with validation seeds."""
    from envs.settings import WorldSource
    from envs.worlds import shipped_workloads

    return WorldSource(models=tuple(shipped_workloads()))


if __name__ == "__main__":
    typer.run(evaluate)
