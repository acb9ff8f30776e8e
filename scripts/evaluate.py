"""Compare rules, constant actions, the clairvoyant bound, and a bundle's policy or anyone's, on unseen worlds."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from scripts.command import DEFAULT_BUNDLE, UsageError, clear_errors
from telemetry.splits import data_folder


def evaluate(
    out: Annotated[Path, typer.Option(help="Folder of the report; what is played is kept in it.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Bundle whose rules, task and policy are compared; bundles/default, or the rules alone."),
    ] = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Bundle of another training seed, scored beside the bundle's; repeatable.")
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
    trials: Annotated[int, typer.Option(min=0, help="Settings tried per rule on a trace without own rules.")] = 30,
    planner: Annotated[bool, typer.Option("--planner", help="Also the planner, on two days of each trace.")] = False,
) -> None:
    """Write report.json, report.md and plots; print the headline and where they are. Run again, it goes on."""
    signal.signal(signal.SIGTERM, _interrupt)
    broken: list[str] = []
    apart: dict[str, float] = {}

    def say(line: str) -> None:
        typer.echo(line, err=True)

    def on_broken(message: str) -> None:
        if message not in broken:
            broken.append(message)
            say(f"evaluate: {message}")

    with clear_errors("evaluate"):
        demand = _demand(traces, split, data, mean_instances)
        from agents.evaluation.scoring import PLAYED_FOLDER, score
        from agents.evaluation.trace_rules import trace_books
        from agents.evaluation.worlds import validation_source, validation_worlds, worlds_for_test
        from agents.ground import GroundSettings
        from envs.settings import WorldSource
        from telemetry.provenance import write_record

        lineup = _lineup(bundle, also or [], policy)
        tested = demand.scenarios(lineup.task, on_broken=on_broken, say=say, apart=apart)
        names = {item.name for item in tested}
        usable = [path for path in demand.files if path.stem in names]
        books = trace_books(
            usable,
            lineup.book,
            GroundSettings(task=lineup.task, source=WorldSource(mean_instances=mean_instances)),
            trials=trials if split is None else 0,
            storage=out / PLAYED_FOLDER / "studies.journal",
            say=say,
        )
        content = score(
            replace(lineup, trace_books=books),
            worlds_for_test(tested, lineup.task, markets=markets, apart=apart),
            validation_worlds(lineup.task, validation_source(usable if split else ())),
            out,
            perfect=partial(demand.scenarios, lineup.task, forecasts="perfect", on_broken=on_broken),
            studies=studies,
            planner=planner,
            say=lambda line: say(f"playing {line}"),
        )
        write_record(out, config=_resolved(bundle, also, traces, split, policy, markets, mean_instances), seed=None)
        typer.echo(content["first_line"])
        typer.echo(f"report: {out / 'report.md'}")
    if content["partial"]:
        typer.echo("evaluate: interrupted; the same command goes on from here", err=True)
    if broken or content["partial"]:
        raise typer.Exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _lineup(bundle: Path | None, also: list[Path], policy: str | None) -> Any:
    """Return who is compared: a bundle's rules and policy, other training seeds, or the rules; and anyone's policy."""
    from agents.bundle import load_bundle
    from agents.evaluation.scoring import Lineup, bundle_lineup
    from agents.policies import load_policy
    from agents.rules import load_rules
    from envs.settings import TaskSettings

    if bundle is None and DEFAULT_BUNDLE.exists():
        bundle = DEFAULT_BUNDLE
    if bundle is not None:
        lineup = bundle_lineup(load_bundle(bundle), {path: load_bundle(path) for path in also})
    elif also:
        raise UsageError(f"--also {also[0]}: there is no bundle beside which it could be scored; give --bundle")
    else:
        book = load_rules()
        lineup = Lineup(book, book.task(TaskSettings()))
    if policy is None:
        return lineup
    guest = load_policy(policy, lineup.task)
    return replace(
        lineup,
        learned={**lineup.learned, policy: guest},
        shipped=lineup.shipped or policy,
        makers={**lineup.makers, policy: lambda: load_policy(policy, lineup.task)},
    )


def _resolved(*values: Any) -> dict[str, Any]:
    names = ("bundle", "also", "traces", "split", "policy", "markets", "mean_instances")
    return {name: _plain(value) for name, value in zip(names, values, strict=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _demand(traces: Path | None, split: str | None, data: Path | None, mean_instances: float) -> Any:
    """Return where the test scenarios come from: the committed split, or an operator's traces."""
    from agents.evaluation.worlds import TestDemand, split_files, trace_files

    if (traces is None) == (split is None):
        raise UsageError("give either --traces FOLDER or --split test")
    if traces is not None:
        return TestDemand(trace_files(traces), False, mean_instances)
    if split != "test":
        raise UsageError(f"--split {split}: expected 'test'")
    return TestDemand(split_files(data or data_folder() / "demand"), True, mean_instances)


if __name__ == "__main__":
    typer.run(evaluate)
