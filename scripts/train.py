"""Train PPO: on one machine by stable-baselines3, or on a Ray cluster by RLlib."""

import importlib.util
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scripts.command import ConfigOption, SetOption, UsageError, clear_errors, load_config, progress_bar


class Engine(StrEnum):
    """What samples and updates."""

    SB3 = "sb3"
    RLLIB = "rllib"


def train(
    out: Annotated[Path, typer.Option(help="Run folder.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the agent and its fleets.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    engine: Annotated[
        Engine, typer.Option(help="sb3 on this machine, or rllib on Ray (docs/scale-out.md).")
    ] = Engine.SB3,
    address: Annotated[
        str | None, typer.Option(help="rllib: HOST:PORT of a Ray cluster, or auto; one on this machine if left out.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="rllib: processes that sample.")] = 2,
) -> None:
    """Train into a run folder; watch it with: tensorboard --logdir RUN."""
    with clear_errors("train"):
        if engine is Engine.RLLIB:
            _require_ray()
        elif address is not None:
            raise UsageError("--address: only with --engine rllib")
        elif resume and (out / Engine.RLLIB).is_dir():
            raise UsageError(f"{out}: trained by RLlib; resume it with --engine rllib")
        from agents.experiment import TrainSettings, missing_traces, run_training

        settings = load_config(TrainSettings, config, set_)
        missing = missing_traces(settings)
        if missing:
            typer.echo(f"train: without the traces that are not there: {', '.join(missing)}", err=True)
        with progress_bar("training", settings.ppo.n_timesteps) as show:
            if engine is Engine.RLLIB:
                from agents.rllib import Cluster, run_rllib_training

                cluster = Cluster(address, workers)
                best_rule = run_rllib_training(settings, out, seed=seed, cluster=cluster, resume=resume, show=show)
            else:
                _, _, _, best_rule = run_training(settings, out, seed=seed, resume=resume, show=show)
        typer.echo(f"{out}: trained; the best rule on validation is {best_rule}")


def _require_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "--engine rllib needs Ray, in an environment of its own: python -m venv .venv-ray && "
            ".venv-ray/bin/pip install torch && .venv-ray/bin/pip install --editable '.[serve,train,scale]'"
        )


if __name__ == "__main__":
    typer.run(train)
