"""Measure speed: environment, PPO, their ceilings and rivals, in one run."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from scripts.command import clear_errors, progress_bar


def benchmark(
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    envs: Annotated[int, typer.Option(help="Fleets of the vector environment.")] = 256,
    steps: Annotated[int, typer.Option(help="Decisions of each fleet that are timed.")] = 400,
) -> None:
    """Write the figures and print them."""
    with clear_errors("benchmark"):
        import torch

        from agents import speed
        from agents.ppo import PPOSettings
        from envs.settings import EnvSettings
        from telemetry.provenance import git_commit, versions, write_json

        torch.set_num_threads(1)
        settings = EnvSettings()
        with progress_bar("measuring", 5) as show:
            figures = speed.vector_speed(settings, envs, steps)
            show(1)
            figures["single_env_steps_per_second"] = speed.single_speed(settings, 20_000)
            show(2)
            figures |= speed.ppo_speed(settings, PPOSettings(), rollouts=6)
            show(3)
            figures["rivals"] = {"sync_vector_env_cartpole_steps_per_second": speed.cartpole_speed(64, 500)}
            show(4)
            figures["rivals"]["sb3_default_dummy_vec_env_8_ppo_steps_per_second"] = speed.default_ppo_speed(
                settings, 8192
            )
            show(5)
        figures["machine"] = {
            "processor": _processor(),
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        figures["versions"], figures["git_commit"] = versions(), git_commit()
        write_json(out, figures)
        for name, value in figures.items():
            if isinstance(value, float):
                typer.echo(f"{name}: {value:,.2f}")
        typer.echo(f"{out}: written")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    typer.run(benchmark)
