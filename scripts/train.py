"""Train PPO on one machine."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.command import ConfigOption, SetOption, clear_errors, load_config, progress_bar


def train(
    out: Annotated[Path, typer.Option(help="Run folder.")],
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the agent and its fleets.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
) -> None:
    """Train into a run folder; watch it with: tensorboard --logdir RUN."""
    with clear_errors("train"):
        from agents.experiment import TrainSettings, missing_traces, run_training

        settings = load_config(TrainSettings, config, set_)
        missing = missing_traces(settings)
        if missing:
            typer.echo(f"train: without the traces that are not there: {', '.join(missing)}", err=True)
        with progress_bar("training", settings.ppo.n_timesteps) as show:
            _, _, _, best_rule = run_training(settings, out, seed=seed, resume=resume, show=show)
        typer.echo(f"{out}: trained; the best rule on validation is {best_rule}")


if __name__ == "__main__":
    typer.run(train)
