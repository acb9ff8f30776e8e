"""Training runs as jobs: begun or resumed as their folder has it, timed, never mixed with other settings."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stable_baselines3 import PPO

from agents.experiment import CONFIG_FILE, TrainSettings, run_training, with_divided_traces
from agents.ppo import STATE_FILE, make_model
from agents.rules import RuleBook
from envs.settings import TaskSettings
from envs.worlds import make_bank
from telemetry.provenance import write_json

MINUTES_FILE: Final = "minutes.json"


@dataclass(frozen=True)
class TrainingJob:
    """One training run.

    Attributes:
        settings: Of the run.
        seed: Of the agent and its fleets.
        folder: Everything is written there.
    """

    settings: TrainSettings
    seed: int
    folder: Path

    def check_same(self) -> None:
        """Raise ValueError if the folder holds a run of other settings, naming the first key that differs."""
        path = self.folder / CONFIG_FILE
        if not path.exists():
            return
        before, now = json.loads(path.read_text()), json.loads(self.settings.model_dump_json())
        key = _difference(before, now)
        if key is not None:
            raise ValueError(f"{path}: trained with another {key}; give another --out, or the same settings")

    def train(self) -> tuple[PPO, TaskSettings, RuleBook, str]:
        """Train, or go on from the last checkpoint; return what ``run_training`` does."""
        with _timed(self.folder / MINUTES_FILE):
            return run_training(self.settings, self.folder, seed=self.seed, resume=(self.folder / STATE_FILE).exists())

    def minutes(self) -> float:
        """Return how long training took, interrupted starts included."""
        path = self.folder / MINUTES_FILE
        return float(json.loads(path.read_text())) if path.exists() else 0.0


def decisions_per_second(settings: TrainSettings, rollouts: int) -> float:
    """Return how fast a run trains, measured over some rollouts after a first one; validation is left out."""
    book = settings.rule_book()
    task = book.task(settings.env.task)
    env = with_divided_traces(settings).model_copy(update={"task": task})
    advisor = None if settings.advisor is None else book.policy(book.rules[-1].name, task)
    model = make_model(env, settings.ppo, bank=make_bank(env.source, task), advisor=advisor, seed=0)
    per_rollout = settings.ppo.n_envs * settings.ppo.n_steps
    model.learn(per_rollout)
    began = time.perf_counter()
    model.learn(rollouts * per_rollout)
    return rollouts * per_rollout / (time.perf_counter() - began)


def _difference(before: Any, now: Any, prefix: str = "") -> str | None:
    """Return the dotted key of the first value that differs between two groups of settings."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return None if before == now else prefix
    for key in [*before, *(key for key in now if key not in before)]:
        found = _difference(before.get(key), now.get(key), f"{prefix}.{key}" if prefix else key)
        if found is not None:
            return found
    return None


@contextmanager
def _timed(path: Path) -> Iterator[None]:
    """Add the minutes that something takes to those in a file, even if it is interrupted."""
    before, began = float(json.loads(path.read_text())) if path.exists() else 0.0, time.monotonic()
    try:
        yield
    finally:
        write_json(path, round(before + (time.monotonic() - began) / 60.0, 2))
