"""A study's trials on Ray Tune, on this machine or a cluster: the study asks, asynchronous successive halving prunes.

Imported only where Ray is asked for. On a cluster every node needs FleetGym installed at the same version, and whatever
the configuration names by path. Sampler, first trial, seeds and results are those of a run without Ray: the study stays
in its file here, so Ray keeps no state of its own, and either engine goes on with what the other began.
"""

import math
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Final

import optuna
import ray
from optuna.trial import FrozenTrial
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from agents.tuning import Outcome, TuneSettings, finish, finished_trials, queue_interrupted, run_trial, with_seed

_REACH_SECONDS: Final = 5.0
_REDUCTION: Final = 2
"""At each halving one trial in so many goes on, as under the median."""

_METRIC: Final = "cost_over_reference"
_STEP: Final = "step"
_ERROR: Final = "error"
_ENVIRONMENT: Final = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


class _StudySearch(Searcher):  # type: ignore[misc]
    """Asks an open study and tells it how trials ended.

    Ray's own OptunaSearch would record a trial that the scheduler stopped as complete, with the value it had then.
    """

    def __init__(
        self, study: optuna.Study, settings: TuneSettings, seed: int, on_trial: Callable[[FrozenTrial], None]
    ) -> None:
        super().__init__(metric=_METRIC, mode="min")
        self._study, self._settings, self._seed = study, settings, seed
        self._on_trial = on_trial
        self._running: dict[str, optuna.Trial] = {}
        self.failure: ValueError | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if self.failure is not None:
            return str(Searcher.FINISHED)
        trial = self._study.ask(self._settings.distributions())
        self._running[trial_id] = trial
        return {"parameters": trial.params, "seed": with_seed(trial, self._seed)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note a step; Ray leaves out the one a trial ends with."""
        self._running[trial_id].report(result[_METRIC], result[_STEP])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self._running.pop(trial_id)
        if error:
            outcome = Outcome(error="its process failed")
        elif result is None:
            outcome = Outcome()
        elif result[_STEP] < self._settings.validations:
            trial.report(result[_METRIC], result[_STEP])
            outcome = Outcome()
        elif result.get(_ERROR):
            outcome = Outcome(error=result[_ERROR])
        else:
            outcome = Outcome(result[_METRIC])
        try:
            self._on_trial(finish(self._study, trial, self._settings, outcome))
        except ValueError as failure:
            self.failure = failure

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the study is in its own file."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _train(config: dict[str, Any], settings: TuneSettings) -> None:
    def report(step: int, value: float) -> bool:
        tune.report({_METRIC: value, _STEP: step})
        return False

    with TemporaryDirectory() as folder:
        outcome = run_trial(settings, config["parameters"], config["seed"], Path(folder), report)
    value = math.nan if outcome.value is None else outcome.value
    tune.report({_METRIC: value, _STEP: settings.validations, _ERROR: outcome.error})


def run_study_on_ray(
    study: optuna.Study,
    settings: TuneSettings,
    *,
    trials: int,
    workers: int,
    seed: int,
    address: str | None = None,
    on_trial: Callable[[FrozenTrial], None] = lambda _: None,
) -> None:
    """Go on with a study until ``trials`` have finished; what is cut short is queued again.

    Args:
        study: An open study.
        settings: Its settings.
        trials: Finished trials in all, those of earlier runs included.
        workers: Trials at a time, one core each.
        seed: A trial trains with this plus its number.
        address: Of a cluster, ``host:port`` or ``auto``; Ray is started on this machine if None.
        on_trial: Called with every trial that has finished.

    Raises:
        ValueError: The base configuration cannot be trained with, or ``address`` is none.
        ConnectionError: There is no cluster at ``address``, or Ray did not start.
    """
    left = trials - len(finished_trials(study))
    if left <= 0:
        return
    search = _StudySearch(study, settings, seed, on_trial)
    with _queueing(study), _ray(address, workers) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(partial(_train, settings=settings), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=AsyncHyperBandScheduler(
                    time_attr=_STEP,
                    metric=_METRIC,
                    mode="min",
                    grace_period=min(settings.warmup_steps, settings.validations),
                    max_t=settings.validations,
                    reduction_factor=_REDUCTION,
                ),
                num_samples=left,
                max_concurrent_trials=workers,
            ),
            run_config=tune.RunConfig(storage_path=str(scratch), verbose=0),
        )
        tuner.fit()
    if search.failure is not None:
        raise search.failure


@contextmanager
def _queueing(study: optuna.Study) -> Iterator[None]:
    try:
        yield
    finally:
        queue_interrupted(study)


@contextmanager
def _ray(address: str | None, workers: int) -> Iterator[Path]:
    """Connect to Ray, or start it; yields a folder that is removed with what was started."""
    os.environ.update(_ENVIRONMENT)
    if address not in (None, "auto"):
        _reach(str(address))
    scratch = Path(mkdtemp(prefix="tune"))
    here = {"num_cpus": workers, "include_dashboard": False, "_temp_dir": str(scratch)} if address is None else {}
    try:
        try:
            ray.init(address or "local", logging_level="ERROR", log_to_driver=False, **here)
        except Exception as error:  # Ray raises plain ones here
            what = "Ray did not start" if address is None else f"no Ray cluster at {address}"
            raise ConnectionError(f"{what}: {' '.join(str(error).split())}") from error
        yield scratch
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError(f"--address {address}: expected host:port or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"no Ray cluster at {address}: {error}") from error
