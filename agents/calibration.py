"""Calibrate rules: the same Optuna budget for each, one setting per rule for everything it is calibrated on.

A rule's study plays its settings through fixed windows of training worlds and minimises bill plus weighted penalty over
reference; half of the settings are Optuna's, half neighbours of the best so far. The best few are then played through
further windows of the same worlds, and the best there is taken, so that what was lucky in the first does not win.
Studies can be kept in a file and go on where they stopped.
"""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from agents.ground import Ground
from agents.policies import SideBySide
from agents.rollout import Windows, play
from agents.rules import Rule, RuleBook
from agents.search_space import Parameters, neighbour, parameters_of, search_space, starting_points, with_parameters
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd
from telemetry.provenance import write_text

PENALTY_WEIGHTS: Final = {"forecast-lean": 0.3, "forecast-cautious": 3.0}
"""Rules calibrated for another price of a bad minute: neighbours of the forecast rule along its own front."""

FINALISTS: Final = 10
FRONT_SIZE: Final = 12
SIDE_BY_SIDE: Final = 6
_STARTUP_TRIALS: Final = 30
_IDENTITY: Final = "identity"


@dataclass(frozen=True)
class Tried:
    """A rule that was played, and what it cost: means over windows of USD over reference USD, share of bad minutes."""

    rule: Rule
    bill: float
    penalty: float
    bad: float

    def cost(self, penalty_weight: float = 1.0) -> float:
        """Return bill plus weighted penalty over reference."""
        return self.bill + penalty_weight * self.penalty


@dataclass(frozen=True)
class Calibrated:
    """A calibrated rule.

    Attributes:
        rule: The setting taken.
        tried: Every setting that the study played, in order.
        final: The setting on the further windows.
        sentence: How it was found and what it costs, for the rule book.
        origin: Split, source, seeds and windows of the ground.
    """

    rule: Rule
    tried: list[Tried]
    final: Tried
    sentence: str = ""
    origin: dict[str, Any] = field(default_factory=dict)

    def front(self) -> tuple[Rule, ...]:
        """Return at most FRONT_SIZE settings that no other beats in both bill and bad minutes, by rising bill."""
        best: list[Tried] = []
        for item in sorted(self.tried, key=lambda tried: (tried.bill, tried.bad)):
            if not best or item.bad < best[-1].bad:
                best.append(item)
        chosen = np.unique(np.linspace(0, len(best) - 1, min(FRONT_SIZE, len(best))).round().astype(int))
        return tuple(best[index].rule for index in chosen)


def try_rules(rules: Sequence[Rule], bank: Bank, task: TaskSettings, windows: Windows) -> list[Tried]:
    """Play rules side by side, each through every window; their names may repeat."""
    menu = tuple(rule.policy.model_copy(update={"name": str(index)}) for index, rule in enumerate(rules))
    own = task.model_copy(update={"menu": menu})
    policy = SideBySide([rule.acting(index, own) for index, rule in enumerate(rules)])
    totals = play(policy, bank, own, windows.repeat(len(rules))).totals
    tried = []
    for rule, part in zip(rules, np.split(totals, len(rules)), strict=True):
        reference = part["reference_usd"]
        bill, penalty = (infra_usd(part) / reference).mean(), (part["slo_penalty_usd"] / reference).mean()
        tried.append(Tried(rule, float(bill), float(penalty), float(part["bad_minutes"].sum() / part["ticks"].sum())))
    return tried


def study_identity(rule: Rule, ground: Ground) -> dict[str, Any]:
    """Return what must agree for two studies of a rule to be the same; JSON."""
    space = {name: repr(item) for name, item in search_space(rule, ground.task).items()}
    task = ground.task.model_dump(mode="json", exclude={"menu"})
    content = {"rule": rule.name, "space": space, "scope": ground.scope, "task": task, "origin": ground.origin}
    return dict(json.loads(json.dumps(content)))


def open_study(rule: Rule, ground: Ground, name: str, storage: Path | None) -> optuna.Study:
    """Return a rule's study, new or as a storage file holds it.

    Raises:
        ValueError: The stored study has another search space or other worlds; names file, study and key.
    """
    backend = None if storage is None else JournalStorage(JournalFileBackend(str(storage)))
    study = optuna.create_study(study_name=name, storage=backend, load_if_exists=True)
    identity, stored = study_identity(rule, ground), study.user_attrs.get(_IDENTITY)
    if stored is None:
        study.set_user_attr(_IDENTITY, identity)
    elif stored != identity:
        key, found, expected = first_difference(stored, identity)
        raise ValueError(
            f"{storage}: study {name!r} has another {key}: {found}; expected {expected}; give another --storage"
        )
    return study


def first_difference(stored: dict[str, Any], expected: dict[str, Any]) -> tuple[str, Any, Any]:
    """Return the path of the first key that differs, and both values."""
    key = next(key for key in expected | stored if stored.get(key) != expected.get(key))
    found, wanted = stored.get(key), expected.get(key)
    if isinstance(found, dict) and isinstance(wanted, dict):
        inner, found, wanted = first_difference(found, wanted)
        key = f"{key}.{inner}"
    return key, found, wanted


def search(
    rule: Rule,
    ground: Ground,
    *,
    trials: int,
    seed: int = 0,
    random: bool = False,
    storage: Path | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> list[Tried]:
    """Play at most ``trials`` settings of a rule, its starting points first; return all that were played.

    Args:
        rule: The setting to start from.
        ground: What it is played on.
        trials: Budget; trials that the storage holds count.
        seed: Of the sampler.
        random: Draw settings at random instead (a yardstick for the search).
        storage: Journal file of studies; in memory if None.
        on_trial: Called after every trial, stored ones included.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = search_space(rule, ground.task)
    name = f"{ground.scope}: {rule.name}{', at random' if random else ''}"
    study = open_study(rule, ground, name, storage)
    tried = [_stored(rule, trial) for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
    study.sampler = _sampler(seed + len(tried), random)
    for _ in tried:
        on_trial()
    if not tried and not random:
        for start in starting_points(rule):
            study.enqueue_trial(start, skip_if_exists=True)
    budget = trials if space else 1
    weight = PENALTY_WEIGHTS.get(rule.name, 1.0)
    while len(tried) < budget:
        if not random and len(tried) >= _STARTUP_TRIALS:
            best = parameters_of(min(tried, key=lambda item: item.cost(weight)).rule)
            rng = np.random.default_rng([seed, len(tried)])
            for _ in range(SIDE_BY_SIDE // 2):
                study.enqueue_trial(neighbour(best, space, rng))
        asked = [study.ask(space) for _ in range(min(SIDE_BY_SIDE, budget - len(tried)))]
        played = try_rules(
            [with_parameters(rule, trial.params) for trial in asked], ground.bank, ground.task, ground.search
        )
        for trial, item in zip(asked, played, strict=True):
            for key in ("bill", "penalty", "bad"):
                trial.set_user_attr(key, getattr(item, key))
            study.tell(trial, item.cost(weight))
            on_trial()
        tried += played
    return tried


def _sampler(seed: int, random: bool) -> optuna.samplers.BaseSampler:
    if random:
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=_STARTUP_TRIALS,
        multivariate=True,
        constant_liar=True,
    )


def _stored(rule: Rule, trial: optuna.trial.FrozenTrial) -> Tried:
    figures = trial.user_attrs
    parameters: Parameters = trial.params
    return Tried(with_parameters(rule, parameters), figures["bill"], figures["penalty"], figures["bad"])


def take_best(name: str, tried: list[Tried], ground: Ground) -> Calibrated:
    """Play the best few settings, at most a third of them, through the further windows and take the best there."""
    weight = PENALTY_WEIGHTS.get(name, 1.0)
    count = min(FINALISTS, -(-len(tried) // 3))
    finalists = sorted(tried, key=lambda item: item.cost(weight))[:count]
    again = try_rules([item.rule for item in finalists], ground.bank, ground.task, ground.final)
    final = min(again, key=lambda item: item.cost(weight))
    return Calibrated(final.rule, tried, final, _sentence(final, len(tried), weight, ground), ground.origin)


def calibrated_book(start: RuleBook, results: dict[str, Calibrated]) -> RuleBook:
    """Return the book of rules calibrated on one ground, in the order of the one they started from."""
    return RuleBook(
        calibrated_on=results[start.rules[0].name].origin,
        calibration={name: item.sentence for name, item in results.items()},
        rules=tuple(results[rule.name].rule for rule in start.rules),
        fronts={name: item.front() for name, item in results.items() if len(item.tried) > 1},
    )


def calibrate(
    start: RuleBook,
    ground: Ground,
    *,
    trials: int,
    seed: int = 0,
    storage: Path | None = None,
    on_trial: Callable[[], None] = lambda: None,
) -> RuleBook:
    """Calibrate every rule of a book in turn, with the same budget.

    Args:
        start: Rules to start from; the result has the same names in the same order.
        ground: What they are calibrated on.
        trials: Settings played per rule.
        seed: Of the searches.
        storage: Journal file of studies; in memory if None.
        on_trial: Called after every trial.
    """
    results = {}
    for rule in start.rules:
        tried = search(rule, ground, trials=trials, seed=seed, storage=storage, on_trial=on_trial)
        results[rule.name] = take_best(rule.name, tried, ground)
    return calibrated_book(start, results)


def _sentence(final: Tried, tried: int, weight: float, ground: Ground) -> str:
    days = sum(int((windows.ends - windows.starts).sum()) for windows in (ground.search, ground.final)) / 1440
    weighted = "" if weight == 1.0 else f", chosen with the penalty weighted {weight:g}"
    return (
        f"{ground.scope}, best of {tried} settings on {len(ground.search) + len(ground.final)} training "
        f"windows ({days:.0f} days){weighted}: {final.cost():.4f} of reference, "
        f"{100 * final.bad:.2f} % bad minutes"
    )


def write_record(path: Path, results: Sequence[tuple[str, Calibrated]]) -> None:
    """Write every trial of some studies as CSV: scope, rule, number, bill, penalty, bad minutes, parameters as JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("scope", "rule", "trial", "bill", "penalty", "bad_minutes_fraction", "parameters"))
    for scope, result in results:
        for number, item in enumerate(result.tried):
            parameters = {
                name: round(value, 6) if isinstance(value, float) else value
                for name, value in parameters_of(item.rule).items()
            }
            figures = (f"{value:.6f}" for value in (item.bill, item.penalty, item.bad))
            writer.writerow((scope, item.rule.name, number, *figures, json.dumps(parameters)))
    write_text(path, text.getvalue())
