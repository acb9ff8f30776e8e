"""Compare a bundle's policy, or anyone's, with the rules, every constant action and the clairvoyant bound."""

import importlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from scripts.command import UsageError, clear_errors


def evaluate(
    bundle: Annotated[Path, typer.Option(help="Bundle whose rules, task and policy are compared.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    traces: Annotated[Path | None, typer.Option(help="Folder of trace files, or one file.")] = None,
    split: Annotated[str | None, typer.Option(help="'test': the committed list, from --data.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the listed traces; FLEETGYM_DATA/demand or ../shared/data/demand.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="module:factory of a policy to score beside them.")] = None,
    markets: Annotated[int, typer.Option(help="Market seeds per trace.")] = 5,
    mean_instances: Annotated[float, typer.Option(help="Reference instances that mean demand needs.")] = 20.0,
) -> None:
    """Write report.json, report.md and plots; print the headline and where they are."""
    broken: list[str] = []

    def on_broken(message: str) -> None:
        broken.append(message)
        typer.echo(f"evaluate: {message}", err=True)

    with clear_errors("evaluate"):
        from agents.bundle import LearnedPolicy, load_bundle
        from agents.evaluation.scoring import score
        from agents.evaluation.worlds import (
            load_scenarios,
            split_scenarios,
            trace_files,
            validation_worlds,
            worlds_for_test,
        )

        loaded = load_bundle(bundle)
        if (traces is None) == (split is None):
            raise UsageError("give either --traces FOLDER or --split test")
        if split not in (None, "test"):
            raise UsageError(f"--split {split}: expected 'test'")
        if traces is not None:
            scenarios = load_scenarios(
                trace_files(traces),
                loaded.task,
                mean_instances=mean_instances,
                on_broken=on_broken,
                say=lambda line: typer.echo(line, err=True),
            )
        else:
            scenarios = split_scenarios(loaded.task, data or _data_folder(), on_broken=on_broken)
        learned: dict[str, Any] = {"ppo": LearnedPolicy(loaded.policy_onnx, loaded.task)}
        if policy is not None:
            learned[policy] = _load_policy(policy)
        headline = score(
            loaded,
            worlds_for_test(scenarios, loaded.task, markets=markets),
            validation_worlds(loaded.task, _validation_source()),
            out,
            learned=learned,
            shipped="ppo",
            say=lambda line: typer.echo(f"playing {line}", err=True),
        )
        typer.echo(headline)
        typer.echo(f"report: {out / 'report.md'}")
    if broken:
        raise typer.Exit(1)


def _validation_source() -> Any:
    """Return the worlds that name the best rule: patterns and shipped models with validation seeds."""
    from envs.settings import WorldSource
    from envs.worlds import shipped_workloads

    return WorldSource(models=tuple(shipped_workloads()))


def _data_folder() -> Path:
    root = Path(__file__).resolve().parent.parent
    return Path(os.environ.get("FLEETGYM_DATA", root.parent / "shared" / "data")) / "demand"


def _load_policy(reference: str) -> Any:
    module, colon, factory = reference.partition(":")
    if not colon:
        raise UsageError(f"--policy {reference}: expected module:factory")
    try:
        return getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--policy {reference}: {error}") from error


if __name__ == "__main__":
    typer.run(evaluate)
