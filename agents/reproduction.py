"""From one configuration to a shipped bundle and its report: seeds trained, one or their mean chosen, all judged."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from agents.averaging import average_bundles
from agents.bundle import POLICY_FILE, Bundle, load_bundle
from agents.evaluation.actions import play_counted
from agents.evaluation.contest import Progress, name_best_rule
from agents.evaluation.playing import Desk
from agents.evaluation.plots import PLOTS
from agents.evaluation.scoring import bundle_lineup, score
from agents.evaluation.store import Store, as_played
from agents.evaluation.summaries import Json
from agents.evaluation.trace_rules import trace_books
from agents.evaluation.worlds import (
    DEFAULT_MARKET_SEEDS,
    TestDemand,
    Worlds,
    split_files,
    validation_source,
    validation_worlds,
    worlds_for_test,
)
from agents.experiment import TrainSettings, export_run, run_card
from agents.ground import GroundSettings
from agents.rollout import bad_fraction, cost_ratio
from agents.training_jobs import TrainingJob
from envs.settings import TaskSettings
from telemetry.provenance import write_bytes, write_json
from telemetry.splits import data_folder

BUNDLE_FOLDER: Final = "bundle"
MEAN: Final = "mean"
CHOICE_FILE: Final = "choice.json"
LARGEST_PICTURE_BYTES: Final = 200_000
_CAPTIONS: Final = {
    "cost_against_bad_minutes.png": "Bill against bad minutes of every policy",
    "gap_by_trace.png": "Totals of bound, best rule, AWS and the learned policy on each trace",
    "savings_waterfall.png": "Where the saving comes from",
    "shift.png": "Totals in other worlds",
    "cadence.png": "Totals by the time between decisions",
}


def seed_jobs(settings: TrainSettings, out: Path, seeds: int) -> list[TrainingJob]:
    """Return the training runs of the seeds 0, 1, ...; ValueError if the folder holds runs of other settings."""
    jobs = [TrainingJob(settings, seed, out / f"seed-{seed}") for seed in range(seeds)]
    for job in jobs:
        job.check_same()
    return jobs


def bundle_of(job: TrainingJob) -> Path:
    """Return where the bundle of a run lies once the run is finished."""
    return job.folder / BUNDLE_FOLDER


def run_seed(job: TrainingJob) -> None:
    """Train a seed, from its last checkpoint if there is one, and export it."""
    job.train()
    export_run(job.folder, bundle_of(job))


def average(jobs: Sequence[TrainingJob], out: Path) -> Path:
    """Write the bundle of the mean of the seeds' policies; return where it lies.

    Args:
        jobs: Finished and exported runs.
        out: Folder of the runs.
    """
    path = out / MEAN / BUNDLE_FOLDER
    average_bundles([bundle_of(job) for job in jobs], path, run_card([job.folder for job in jobs]))
    return path


def choose(bundles: Mapping[str, Bundle], validation: Worlds, out: Path) -> str:
    """Return the name of the bundle whose policy costs least on validation worlds; all are written to ``choice.json``.

    Args:
        bundles: By name, all of one task.
        validation: The judge's validation worlds.
        out: Folder of the file; what is played is kept there too.
    """
    desk = Desk(Store(out / "played"))
    first = next(iter(bundles.values()))
    best_rule, rules = name_best_rule(first.rules, first.task, validation, desk)
    played = {
        name: as_played(
            play_counted(item.policy(), validation, item.task, desk, str(item.manifest["files"][POLICY_FILE]))
        )
        for name, item in bundles.items()
    }
    totals = {name: cost_ratio(item) for name, item in played.items()}
    chosen = min(totals, key=lambda name: totals[name])
    content: Json = {
        "chosen": chosen,
        "policies": {
            name: {
                "validation_total_over_reference": round(totals[name], 6),
                "bad_minutes_fraction": round(bad_fraction(played[name]), 6),
                "policy": bundles[name].version,
            }
            for name in bundles
        },
        "best_rule": {"name": best_rule, "validation_total_over_reference": round(rules[best_rule], 6)},
    }
    write_json(out / CHOICE_FILE, content)
    return chosen


def ship(bundle: Path, out: Path) -> None:
    """Put a copy of a bundle folder in the place of another, whole or not at all.

    Raises:
        BundleError: The copy is no bundle; what was there before stays.
    """
    building, former = (out.with_name(f".{out.name}.{suffix}") for suffix in ("part", "former"))
    for path in (building, former):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(bundle, building)
    load_bundle(building)
    if out.exists():
        out.replace(former)
    building.replace(out)
    shutil.rmtree(former, ignore_errors=True)


def split_traces() -> list[Path]:
    """Return the trace files of the committed test split, whether they are there or not."""
    return split_files(data_folder() / "demand")


def missing_test_traces() -> list[str]:
    """Return the traces of the committed test split that are not in the folder of the public traces."""
    return [path.stem for path in split_traces() if not path.is_file()]


def judges_validation(task: TaskSettings) -> Worlds:
    """Return the worlds on which the judge names the best rule, with the divided traces that are there."""
    return validation_worlds(task, validation_source(split_traces()))


def judge(
    bundle: Path,
    also: Mapping[Path, Bundle],
    out: Path,
    *,
    markets: int = DEFAULT_MARKET_SEEDS,
    planner: bool = True,
    say: Progress,
) -> Json:
    """Run the whole comparison on the committed test split, with every study; return the content of ``report.json``.

    Args:
        bundle: The shipped one.
        also: The other seeds, or of a mean all of them.
        out: Folder of the report.
        markets: Markets per trace.
        planner: Also play the planner.
        say: Told what is being played.

    Raises:
        ValueError: A trace is broken, or not there.
    """
    apart: dict[str, float] = {}
    lineup = bundle_lineup(load_bundle(bundle), also)
    demand = TestDemand(split_traces(), patterns=True)
    scenarios = demand.scenarios(lineup.task, on_broken=_refuse, say=say, apart=apart)
    books = trace_books(demand.files, lineup.book, GroundSettings(task=lineup.task), trials=0)
    return score(
        replace(lineup, trace_books=books),
        worlds_for_test(scenarios, lineup.task, markets=markets, apart=apart),
        judges_validation(lineup.task),
        out,
        perfect=partial(demand.scenarios, lineup.task, forecasts="perfect", on_broken=_refuse),
        studies=True,
        planner=planner,
        say=say,
    )


def _refuse(message: str) -> None:
    raise ValueError(message)


def copy_pictures(report: Path, images: Path) -> dict[str, str]:
    """Copy the pictures of a report that are small enough; return their captions by path from the pages' folder."""
    shown = {}
    for name in PLOTS:
        path = report / name
        if path.exists() and path.stat().st_size <= LARGEST_PICTURE_BYTES:
            write_bytes(images / f"agent_{name}", path.read_bytes())
            shown[f"{images.name}/agent_{name}"] = _CAPTIONS[name]
    return shown
