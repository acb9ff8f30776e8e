"""Measure speed: environment, PPO, their ceilings and rivals, in one run."""

import importlib
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from envs.settings import EnvSettings
from scripts.command import clear_errors, load_config, progress_bar

if TYPE_CHECKING:
    from stable_baselines3 import PPO

START_RULE = "spot-hedge"
SHIPPED = Path(__file__).resolve().parent.parent / "configs" / "train" / "default.yaml"
NUMPY_STEP = Path(__file__).resolve().parent.parent / "benchmarks" / "numpy_step.py"


def benchmark(
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    envs: Annotated[int, typer.Option(help="Fleets of the vector environment.")] = 256,
    steps: Annotated[int, typer.Option(help="Decisions of each fleet that are timed.")] = 400,
) -> None:
    """Write the figures and print them."""
    with clear_errors("benchmark"):
        import torch

        from agents import speed
        from agents.experiment import TrainSettings
        from agents.ppo import make_model
        from agents.rules import load_rules
        from envs.worlds import make_bank
        from telemetry.provenance import git_commit, processor, versions, write_json

        torch.set_num_threads(1)
        settings, book, ppo = EnvSettings(), load_rules(), load_config(TrainSettings, SHIPPED, None).ppo
        trained = settings.model_copy(update={"task": book.task(settings.task)})
        bank, rule = make_bank(trained.source, trained.task), book.policy(START_RULE, trained.task)

        def make() -> "PPO":
            return make_model(trained, ppo, bank=bank, advisor=rule, seed=0)

        with progress_bar("measuring", 6) as show:
            figures = speed.vector_speed(settings, envs, steps)
            figures["nanoseconds_per_step"] = speed.time_by_part(settings, envs, steps)
            figures["settled_share_of_ticks"] = speed.settled_share(settings, envs, steps)
            show(1)
            figures["two_cores"] = speed.two_core_speed(settings, envs, steps)
            show(2)
            figures["single_env_steps_per_second"] = speed.single_speed(settings, 20_000)
            show(3)
            figures |= speed.ppo_speed(make, passes=12)
            show(4)
            cartpole = speed.cartpole_speed(64, 500)
            figures["rivals"] = {
                "sync_vector_env_cartpole_steps_per_second": cartpole,
                "ours_over_cartpole": figures["env_steps_per_second_per_core"] / cartpole,
                "numpy_step": numpy_step(settings, envs),
            }
            show(5)
            figures["from_stable_baselines3_defaults"] = speed.steps_from_defaults(trained, ppo, make, passes=3)
            show(6)
        figures["machine"] = {
            "processor": processor(),
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        figures["versions"], figures["git_commit"] = versions(), git_commit()
        write_json(out, figures)
        _print(figures)
        typer.echo(f"{out}: written")


def numpy_step(settings: EnvSettings, envs: int) -> dict[str, float] | None:
    """Time the plain NumPy version of the kernel's step where a checkout has it (benchmarks/), else None."""
    if not NUMPY_STEP.exists():
        return None
    sys.path.insert(0, str(NUMPY_STEP.parent))
    times: dict[str, float] = importlib.import_module("numpy_step").step_nanoseconds(settings, envs, 100)
    return times


def _print(figures: dict[str, Any], prefix: str = "") -> None:
    for name, value in figures.items():
        if isinstance(value, float):
            typer.echo(f"{prefix}{name}: {value:,.2f}")
        elif isinstance(value, dict) and name not in ("machine", "versions"):
            _print(value, f"{prefix}{name}.")


if __name__ == "__main__":
    typer.run(benchmark)
