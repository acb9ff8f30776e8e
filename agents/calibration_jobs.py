"""Calibration studies in several processes: one rule on one ground is a job, and needs nothing of the others."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agents.calibration import Calibrated, search, take_best
from agents.ground import Ground, GroundSettings, history_ground, pooled_ground
from agents.rules import Rule


@dataclass(frozen=True)
class Job:
    """One study.

    Attributes:
        rule: To start from.
        ground: What it is calibrated on.
        trace: File of the trace whose history it is calibrated on; pooled training worlds if None.
        trials: Budget.
        seed: Of windows and search.
        random: Draw settings at random.
        storage: Journal file of studies.
    """

    rule: Rule
    ground: GroundSettings
    trace: Path | None
    trials: int
    seed: int = 0
    random: bool = False
    storage: Path | None = None


@lru_cache(maxsize=1)
def ground_of(settings: GroundSettings, trace: Path | None, seed: int) -> Ground:
    """Return what a job is calibrated on; kept for the next job on the same."""
    return pooled_ground(settings, seed=seed) if trace is None else history_ground(trace, settings, seed=seed)


def run_job(job: Job, on_trial: Callable[[], None] = lambda: None) -> Calibrated:
    """Run one study to its end and take the best setting."""
    ground = ground_of(job.ground, job.trace, job.seed)
    tried = search(
        job.rule,
        ground,
        trials=job.trials,
        seed=job.seed,
        random=job.random,
        storage=job.storage,
        on_trial=on_trial,
    )
    return take_best(job.rule.name, tried, ground)


def run_jobs(jobs: Sequence[Job], *, workers: int) -> Iterator[tuple[int, Calibrated]]:
    """Run jobs in processes of their own; yield position and result as they come."""
    if workers == 1:
        for position, job in enumerate(jobs):
            yield position, run_job(job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        running = {pool.submit(run_job, job): position for position, job in enumerate(jobs)}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
