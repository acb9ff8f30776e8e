"""Calibrate every rule on training worlds, pooled, with the same budget each."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict, Field

from envs.settings import TaskSettings, WorldSource
from scripts.command import ConfigOption, SetOption, clear_errors, load_config, progress_bar


class CalibrationSettings(BaseModel):
    """What rules are calibrated on.

    Attributes:
        task: Task of the rules; its menu is replaced by theirs.
        source: Training worlds.
        trials: Optuna trials per rule.
        windows: Fleets played per trial.
        window_days: Length of each window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSettings = TaskSettings()
    source: WorldSource = WorldSource()
    trials: int = Field(60, ge=1)
    windows: int = Field(192, ge=1)
    window_days: int = Field(2, ge=1)


def calibrate(
    out: Annotated[Path, typer.Option(help="Rule book to write, .yaml or .json.")],
    start: Annotated[Path | None, typer.Option(help="Rule book to start from; the shipped one if absent.")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    seed: Annotated[int, typer.Option(help="Seed of worlds and search.")] = 0,
) -> None:
    """Write the calibrated rule book and print how each rule did."""
    with clear_errors("calibrate"):
        settings = load_config(CalibrationSettings, config, set_)
        from agents.calibration import calibrate as search
        from agents.rollout import random_windows
        from agents.rules import RULES_FILE, load_rules, save_rules
        from envs.worlds import make_bank

        book = load_rules(start or RULES_FILE)
        bank = make_bank(settings.source, settings.task)
        windows = random_windows(bank, settings.windows, settings.window_days, seed)
        done = [0]
        with progress_bar("calibrating", settings.trials * len(book.rules)) as show:

            def advance() -> None:
                done[0] += 1
                show(done[0])

            result = search(book, bank, settings.task, windows, trials=settings.trials, seed=seed, on_trial=advance)
        save_rules(result, out)
        for name, sentence in result.calibration.items():
            typer.echo(f"{name}: {sentence}")


if __name__ == "__main__":
    typer.run(calibrate)
