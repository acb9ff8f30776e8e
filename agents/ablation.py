"""Ablations: what each part of the agent is worth, by training without it, several seeds each.

A row changes the base configuration in one respect. Every run is played on the judge's validation worlds, on the same
worlds with labelled anomalies in them, and on the committed test split; where a row trains with other forecasts or
anomaly scores, it is played with them too.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator
from scipy.stats import t

from agents.evaluation.figures import figures
from agents.evaluation.worlds import (
    TestDemand,
    Worlds,
    validation_source,
    validation_worlds,
    worlds_for_test,
)
from agents.experiment import VALIDATION_FILE
from agents.policies import Policy
from agents.ppo import MODEL_FILE, STATE_FILE, training_codec
from agents.reproduction import split_traces
from agents.rollout import play
from agents.trained import TorchPolicy
from agents.training_jobs import TrainingJob
from envs.settings import TaskSettings, WorldSource
from simulators.scenario import with_anomaly_scores
from telemetry.provenance import write_json, write_text

BASE: Final = "base"
RESULT_FILE: Final = "result.json"
TABLE_FILE: Final = "ablations.csv"
VALIDATION: Final = "validation"
ANOMALIES: Final = "anomalies"
TEST: Final = "test"
WORLDS: Final = (VALIDATION, ANOMALIES, TEST)
"""Where every run is played."""

_ANOMALIES_PER_WEEK: Final = 7.0
_CONDUCT: Final = ("bad_minutes_fraction", "launches_per_day", "type_changes_per_day")
_TAIL: Final = 0.025
WorldsOf = Callable[[TaskSettings, WorldSource], Mapping[str, Worlds]]
Json = dict[str, Any]


class Row(BaseModel):
    """One ablation.

    Attributes:
        name: Of the row and its folder.
        claim: What it tests, one sentence.
        set: Values by dotted key of the training configuration that differ from the base.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    claim: str = Field(min_length=1)
    set: dict[str, Any] = {}


class Rows(RootModel[tuple[Row, ...]]):
    """The rows of a file."""

    @model_validator(mode="after")
    def _names(self) -> "Rows":
        names = [row.name for row in self.root]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"row {name!r} is there twice")
        return self


def load_rows(paths: Sequence[Path], names: Sequence[str] = ()) -> list[Row]:
    """Read rows of ablations.

    Args:
        paths: YAML files, each a list of name, claim and set.
        names: The rows wanted; all if empty.

    Raises:
        OSError: A file cannot be read.
        ValueError: Not such a list, a name twice, or a wanted row that is not there; one line with file, key and value.
    """
    rows: list[Row] = []
    for path in paths:
        try:
            rows += Rows.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).root
            Rows(tuple(rows))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "file"
            raise ValueError(f"{path}: {key}: {first['msg']} (got {str(first['input'])[:80]!r})") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    known = {row.name: row for row in rows}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown row {unknown[0]!r}; known: {', '.join(known)}")
    return [known[name] for name in names] if names else rows


@dataclass(frozen=True)
class Trial:
    """One seed of one row.

    Attributes:
        row: Name of the row.
        job: Its training.
        worlds_of: Makes the worlds it is played in; a function of a module.
    """

    row: str
    job: TrainingJob
    worlds_of: WorldsOf

    @property
    def is_done(self) -> bool:
        """Whether it was trained and played."""
        return (self.job.folder / RESULT_FILE).exists()


def run_trial(trial: Trial) -> None:
    """Train, play and write ``result.json``; of the training the best model and small files are kept."""
    folder = trial.job.folder
    model, task, book, _ = trial.job.train()
    advisor = json.loads((folder / VALIDATION_FILE).read_text())["advisor"]
    codec = training_codec(task, trial.job.settings.ppo, None if advisor is None else book.policy(advisor, task))
    worlds = trial.worlds_of(task, trial.job.settings.env.source)
    write_json(
        folder / RESULT_FILE,
        {
            "row": trial.row,
            "seed": trial.job.seed,
            "training_minutes": trial.job.minutes(),
            "played": {name: mean_figures(TorchPolicy(model, codec), item, task) for name, item in worlds.items()},
        },
    )
    for name in (MODEL_FILE, STATE_FILE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def run_row(trials: Sequence[Trial]) -> None:
    """Run the trials of a row one after the other, in the same worlds: they are made once."""
    for trial in trials:
        run_trial(trial)


def mean_figures(policy: Policy, worlds: Worlds, task: TaskSettings) -> dict[str, float]:
    """Return total over reference, share of bad minutes, launches and type changes a day; every scenario counts once.

    Scenarios that are reported apart do not count.
    """
    played = play(policy, worlds.bank, task, worlds.windows)
    found = []
    for index in worlds.counted:
        totals = worlds.of(played.totals, index)
        item = figures(totals, worlds.of(played.longest_bad_run, index))
        reference = float(totals["reference_usd"].mean())
        found.append({"total": item["total_usd"] / reference, **{name: item[name] for name in _CONDUCT}})
    return {name: round(float(np.mean([item[name] for item in found])), 6) for name in found[0]}


@lru_cache(maxsize=1)
def judges_worlds(task: TaskSettings, source: WorldSource) -> Mapping[str, Worlds]:
    """Return the judge's validation worlds, the same with anomalies, and, if every trace is there, its test worlds.

    Args:
        task: Of the policy.
        source: What it was trained in; its forecasts and anomaly scores are taken.
    """
    files, scores = split_traces(), source.anomaly_scores
    own = validation_source(files).model_copy(update={"forecasts": source.forecasts, "anomaly_scores": scores})
    troubled = own.model_copy(update={"anomalies_per_week": _ANOMALIES_PER_WEEK, "traces": ()})
    found = {VALIDATION: validation_worlds(task, own), ANOMALIES: validation_worlds(task, troubled)}
    if all(path.is_file() for path in files):
        apart: dict[str, float] = {}
        scenarios = TestDemand(files, patterns=True).scenarios(
            task, forecasts=source.forecasts, on_broken=_refuse, apart=apart
        )
        delay = task.world.physics.metric_delay_ticks
        scored = [with_anomaly_scores(item, scores, delay) for item in scenarios]
        found[TEST] = worlds_for_test(scored, task, apart=apart)
    return found


def _refuse(message: str) -> None:
    raise ValueError(message)


def results(trials: Iterable[Trial]) -> list[Json]:
    """Return what the finished trials came to, in their order."""
    return [json.loads((item.job.folder / RESULT_FILE).read_text()) for item in trials if item.is_done]


def write_csv(found: Sequence[Json], path: Path) -> None:
    """Write a line per trial; conduct is that on the test worlds, or on validation worlds without them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "seed", *(f"{name}_total" for name in WORLDS), *_CONDUCT, "training_minutes"))
    for item in found:
        totals = (item["played"].get(name, {}).get("total", "") for name in WORLDS)
        conduct = _conduct(item)
        writer.writerow(
            (item["row"], item["seed"], *totals, *(conduct[name] for name in _CONDUCT), item["training_minutes"])
        )
    write_text(path, text.getvalue())


def _conduct(item: Json) -> dict[str, float]:
    played = item["played"]
    return dict(played[TEST] if TEST in played else played[VALIDATION])


def table(rows: Sequence[Row], found: Sequence[Json]) -> str:
    """Return the rows as a Markdown table: means and ranges over seeds, differences to the base with a t interval.

    Differences are of the total, paired by seed; of the test worlds where every run was played there.
    """
    where = TEST if all(TEST in item["played"] for item in found) else VALIDATION
    by_row: dict[str, list[Json]] = {row.name: [item for item in found if item["row"] == row.name] for row in rows}
    base = _totals(by_row.get(BASE, []), where)
    head = ("row", "what it tests", *(f"{name}, total" for name in WORLDS), f"less the base ({where}, 95 %)")
    lines = ["| " + " | ".join((*head, "bad minutes", "launches/day", "type changes/day", "seeds")) + " |"]
    lines.append("|" + " --- |" * (len(head) + 4))
    for row in rows:
        items = by_row[row.name]
        cells = [_range([item["played"][name]["total"] for item in items if name in item["played"]]) for name in WORLDS]
        conduct = [_conduct(item) for item in items]
        cells.append("" if row.name == BASE else difference(_totals(items, where), base))
        cells.append(_range([100.0 * item["bad_minutes_fraction"] for item in conduct], "{:.2f}", " %"))
        cells += [_range([item[name] for item in conduct], "{:.1f}") for name in _CONDUCT[1:]]
        lines.append("| " + " | ".join((row.name, row.claim, *cells, str(len(items)))) + " |")
    return "\n".join(lines)


def _totals(items: Sequence[Json], where: str) -> dict[int, float]:
    return {int(item["seed"]): float(item["played"][where]["total"]) for item in items if where in item["played"]}


def difference(ours: Mapping[int, float], base: Mapping[int, float]) -> str:
    """Return the mean difference of two rows' totals, paired by seed, with its 95 % interval in words."""
    paired = np.array([value - base[seed] for seed, value in ours.items() if seed in base])
    if len(paired) == 0:
        return ""
    mean = float(paired.mean())
    if len(paired) == 1:
        return f"{mean:+.4f}"
    room = float(-t.ppf(_TAIL, len(paired) - 1) * paired.std(ddof=1) / np.sqrt(len(paired)))
    return f"{mean:+.4f} ({mean - room:+.4f} to {mean + room:+.4f})"


def _range(values: Sequence[float], pattern: str = "{:.4f}", unit: str = "") -> str:
    """Return mean (least to most) of some values, in words."""
    if not values:
        return ""
    mean = pattern.format(float(np.mean(values))) + unit
    return mean if len(values) == 1 else f"{mean} ({pattern.format(min(values))} to {pattern.format(max(values))})"
