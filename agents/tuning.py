"""Search for PPO's hyper-parameters: a study of short training runs, each judged on validation worlds.

A trial trains with the base configuration and hyper-parameters of its own. Its value is the lowest cost over reference
that a validation found once it had learned, which is what a training run keeps. The study lives in one SQLite file
that a single process writes, so that workers never meet there and a stopped study goes on where it was.
"""

import csv
import fcntl
import io
import math
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from agents.calibration import first_difference
from agents.experiment import TrainSettings, run_training
from agents.ppo import PPOSettings
from telemetry.provenance import write_record, write_text

STUDY_FILE: Final = "study.db"
STUDY_NAME: Final = "ppo"
BEST_CONFIG_FILE: Final = "best.yaml"
TRIALS_FILE: Final = "trials.csv"
_BUSY_SECONDS: Final = 60.0
_IDENTITY: Final = "identity"
_SEED: Final = "seed"
_ERROR: Final = "error"
_UNSEARCHED: Final = ("n_timesteps",)

Value = bool | int | float | str | None
Parameters = dict[str, Value]
Report = Callable[[int, float], bool]
"""Told the step and the lowest cost over reference so far; returns True to prune the trial."""


class SearchRange(BaseModel):
    """All values from ``low`` to ``high``, both included; ``log`` draws their logarithm evenly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "SearchRange":
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} is not above 0, which log asks for")
        return self


class SearchChoices(BaseModel):
    """A few values, without an order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Value, ...] = Field(min_length=2)


def _kind(content: Any) -> str:
    named = content if isinstance(content, dict) else getattr(content, "__dict__", {})
    return "choices" if "choices" in named else "range"


Searched = Annotated[
    Annotated[SearchRange, Tag("range")] | Annotated[SearchChoices, Tag("choices")], Discriminator(_kind)
]


class TuneSettings(BaseModel):
    """Everything a study depends on, its seed apart.

    Attributes:
        train: What is tuned; its hyper-parameters are the first trial.
        space: Where each hyper-parameter is searched, by its name in ``train.ppo``, dotted inside a group
            (``exploration.scale_sigma``); the others stay those of ``train``.
        trials: Trials in all, the pruned and the failed included.
        trial_timesteps: Decisions a trial trains on, in place of ``train.ppo.n_timesteps``.
        validations: Steps of a trial: equal shares of its decisions, each with a validation.
        startup_trials: Trials that complete before any is pruned.
        warmup_steps: Steps of a trial before it may be pruned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: TrainSettings = TrainSettings()
    space: dict[str, Searched] = Field(min_length=1)
    trials: int = Field(50, ge=1)
    trial_timesteps: int = Field(500_000, ge=1)
    validations: int = Field(10, ge=2)
    startup_trials: int = Field(5, ge=1)
    warmup_steps: int = Field(3, ge=1)

    @field_validator("space")
    @classmethod
    def _searchable(cls, space: dict[str, SearchRange | SearchChoices], info: ValidationInfo) -> Any:
        if "train" in info.data:
            ppo = info.data["train"].ppo
            for name, searched in space.items():
                distribution, first = _distribution(ppo, name, searched), _values(ppo)[name]
                if not _holds(distribution, first):
                    raise ValueError(f"{name}: does not hold {first}, the value in train.ppo, which is tried first")
        return space

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the search space as Optuna knows it, by hyper-parameter."""
        return {name: _distribution(self.train.ppo, name, searched) for name, searched in self.space.items()}

    def first_parameters(self) -> Parameters:
        """Return the first trial's hyper-parameters: those of ``train``."""
        values = _values(self.train.ppo)
        return {name: values[name] for name in self.space}

    def whole_run(self, parameters: Parameters) -> TrainSettings:
        """Return ``train`` with other hyper-parameters; ValueError where they do not go together."""
        return self.train.model_copy(update={"ppo": _with_values(self.train.ppo, parameters)})

    def short_run(self, parameters: Parameters) -> TrainSettings:
        """Return what a trial trains with; ValueError as :meth:`whole_run`."""
        whole = self.whole_run(parameters)
        ppo = whole.ppo.model_copy(update={"n_timesteps": self.trial_timesteps})
        rollouts = math.ceil(self.trial_timesteps / (ppo.n_envs * ppo.n_steps))
        return whole.model_copy(update={"ppo": ppo, "validate_every": max(1, round(rollouts / self.validations))})


def _values(ppo: PPOSettings) -> Parameters:
    """Return every hyper-parameter by its dotted name."""

    def flat(content: dict[str, Any], group: str) -> Iterator[tuple[str, Value]]:
        for name, value in content.items():
            if isinstance(value, dict):
                yield from flat(value, f"{group}{name}.")
            else:
                yield f"{group}{name}", value

    return dict(flat(ppo.model_dump(), ""))


def _with_values(ppo: PPOSettings, parameters: Parameters) -> PPOSettings:
    content = ppo.model_dump()
    for name, value in parameters.items():
        *groups, key = name.split(".")
        inner = content
        for group in groups:
            inner = inner[group]
        inner[key] = value
    return PPOSettings.model_validate(content)


def _distribution(ppo: PPOSettings, name: str, searched: SearchRange | SearchChoices) -> BaseDistribution:
    known = [item for item in _values(ppo) if item not in _UNSEARCHED]
    if name not in known:
        raise ValueError(f"{name}: not a hyper-parameter that is searched; known: {', '.join(known)}")
    if isinstance(searched, SearchChoices):
        return CategoricalDistribution([_checked(ppo, name, choice) for choice in searched.choices])
    low, high = (_checked(ppo, name, value) for value in (searched.low, searched.high))
    if isinstance(low, float) and isinstance(high, float):
        return FloatDistribution(low, high, log=searched.log)
    if isinstance(low, int) and isinstance(high, int) and not isinstance(low, bool):
        return IntDistribution(low, high, log=searched.log)
    raise ValueError(f"{name}: takes choices, not a range")


def _checked(ppo: PPOSettings, name: str, value: Value) -> Value:
    """Return a value as PPOSettings takes it."""
    try:
        return _values(_with_values(ppo, {name: value}))[name]
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors()[0]['msg']} (got {value!r})") from error


def _holds(distribution: BaseDistribution, value: Value) -> bool:
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return isinstance(value, int | float) and distribution.low <= value <= distribution.high
    return isinstance(distribution, CategoricalDistribution) and value in distribution.choices


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: with its value, pruned (neither), or with an error in one line."""

    value: float | None = None
    error: str | None = None


class _Watch:
    """Turns validations into steps; the first policy is left out, as it is the same in every trial."""

    def __init__(self, timesteps: int, validations: int, report: Report) -> None:
        self._timesteps, self._validations = timesteps, validations
        self._report = report
        self._step = 0
        self.best = math.inf
        self.pruned = False

    def __call__(self, timesteps: int, ratio: float) -> bool:
        if timesteps == 0 or self.pruned:
            return self.pruned
        self.best = min(self.best, ratio)
        step = timesteps * self._validations // self._timesteps
        if self._step < step < self._validations:
            self._step = step
            self.pruned = self._report(step, self.best)
        return self.pruned


def run_trial(settings: TuneSettings, parameters: Parameters, seed: int, folder: Path, report: Report) -> Outcome:
    """Train a trial in a folder; hyper-parameters that cannot be trained with are an outcome, not an exception."""
    watch = _Watch(settings.trial_timesteps, settings.validations, report)
    try:
        run_training(settings.short_run(parameters), folder, seed=seed, report=watch)
    except ValueError as error:
        return Outcome(error=str(error).partition("\n")[0])
    return Outcome() if watch.pruned else Outcome(watch.best)


@contextmanager
def open_study(folder: Path, settings: TuneSettings, *, seed: int) -> Iterator[optuna.Study]:
    """Open the study of a folder, new or as it was left; trials that were running then are failed and queued again.

    Args:
        folder: Holds the study and its results.
        settings: Space, base configuration and pruning.
        seed: Of the sampler; a trial trains with this plus its number.

    Raises:
        ValueError: The study is of another space or base configuration, named; or another process has it open.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _only_process(folder):
        storage = _open_storage(folder / STUDY_FILE)
        try:
            study = optuna.create_study(
                study_name=STUDY_NAME,
                storage=storage,
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(settings.startup_trials, settings.warmup_steps),
            )
            _check_identity(study, settings, folder / STUDY_FILE)
            study.sampler = optuna.samplers.TPESampler(
                seed=seed + len(study.trials), multivariate=True, constant_liar=True
            )
            if not study.trials:
                study.enqueue_trial(settings.first_parameters())
            queue_interrupted(study)
            write_record(folder, config=settings.model_dump(mode="json"), seed=seed)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder}: another process is tuning in this folder") from error
        yield
    finally:
        os.close(descriptor)


def _open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Open the file so that those who read it, a dashboard for one, do not hold up who writes."""
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path}: not a study: {error}") from error
    return optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}})


def _check_identity(study: optuna.Study, settings: TuneSettings, path: Path) -> None:
    identity = {
        "space": {name: repr(item) for name, item in settings.distributions().items()},
        **settings.model_dump(mode="json", include={"train", "trial_timesteps", "validations"}),
    }
    stored = study.user_attrs.get(_IDENTITY)
    if stored is None:
        study.set_user_attr(_IDENTITY, identity)
    elif stored != identity:
        key, found, expected = first_difference(stored, identity)
        raise ValueError(f"{path}: the study has another {key}: {found}; expected {expected}; give another --out")


def queue_interrupted(study: optuna.Study) -> None:
    """Fail the trials that nobody runs any more and queue them again, with the same hyper-parameters and seed."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return trials that count: complete, pruned, or failed by an error of their own; not the interrupted."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or _ERROR in trial.user_attrs
    ]


def with_seed(trial: optuna.Trial, seed: int) -> int:
    """Return the seed a trial trains with: its number plus ``seed``, or what it had before it was interrupted."""
    if _SEED not in trial.user_attrs:
        trial.set_user_attr(_SEED, seed + trial.number)
    return int(trial.user_attrs[_SEED])


def finish(study: optuna.Study, trial: optuna.Trial, settings: TuneSettings, outcome: Outcome) -> FrozenTrial:
    """Tell the study how a trial ended and return it.

    Raises:
        ValueError: The base configuration's own hyper-parameters failed: nothing can be learnt from such a study.
    """
    if outcome.error is not None:
        if trial.params == settings.first_parameters():
            raise ValueError(f"the base configuration cannot be trained with: {outcome.error}")
        trial.set_user_attr(_ERROR, outcome.error)
        return study.tell(trial, state=TrialState.FAIL)
    if outcome.value is None:
        return study.tell(trial, state=TrialState.PRUNED)
    trial.report(outcome.value, settings.validations)
    return study.tell(trial, outcome.value)


def write_results(study: optuna.Study, settings: TuneSettings, folder: Path) -> FrozenTrial | None:
    """Write every trial that was begun as CSV and the best one's configuration as YAML; return the best, if any.

    The configuration, one for training, holds all hyper-parameters and whatever else differs from the defaults.
    """
    begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
    write_text(folder / TRIALS_FILE, _table(begun, list(settings.space)))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return None
    best = min(complete, key=lambda trial: trial.values[0])
    run = settings.whole_run(best.params)
    content = {**run.model_dump(mode="json", exclude_defaults=True), "ppo": run.ppo.model_dump(mode="json")}
    heading = (
        f"# Trial {best.number}, best of {len(finished_trials(study))}: {best.values[0]:.4f} of reference on "
        f"validation after {settings.trial_timesteps} decisions.\n"
    )
    write_text(folder / BEST_CONFIG_FILE, heading + yaml.safe_dump(content, sort_keys=False, width=110))
    return best


def _table(trials: list[FrozenTrial], names: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", "state", "cost_over_reference", "steps", "seconds", "seed", *names, "error"))
    for trial in trials:
        value = trial.values[0] if trial.values else None
        seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
        measured = (value, trial.last_step, seconds, trial.user_attrs.get(_SEED))
        parameters = (trial.params.get(name) for name in names)
        writer.writerow((trial.number, trial.state.name.lower(), *measured, *parameters, trial.user_attrs.get(_ERROR)))
    return text.getvalue()
