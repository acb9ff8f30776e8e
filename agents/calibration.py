"""Calibrate rules on training worlds: the same Optuna budget for each, one setting for everything (pooled)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import optuna

from agents.policies import ConstantPolicy
from agents.rollout import Windows, bad_fraction, over_reference, play
from agents.rules import Rule, RuleBook
from envs.action import encode_action
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.records import LEAD_MINUTES

_MOST_EXPENSIVE_RANK: Final = 4
PENALTY_WEIGHTS: Final = {"forecast-lean": 0.3, "forecast-cautious": 3.0}
"""Entries calibrated for another price of a bad minute: neighbours of the forecast rule along its own front."""


def suggest_rule(trial: optuna.Trial, rule: Rule, task: TaskSettings) -> Rule:
    """Return a rule of the same kind with the trial's parameters."""
    policy: dict[str, float | int] = {}
    kind = rule.policy.kind
    if kind == "manual":
        return rule
    policy["target_utilization"] = trial.suggest_float("target_utilization", 0.3, 0.95)
    if kind == "static":
        policy["mean_demand_ratio"] = trial.suggest_float("mean_demand_ratio", 0.5, 6.0, log=True)
    if kind == "forecast":
        policy["quantile"] = trial.suggest_float("quantile", 0.5, 3.0)
        policy["lead"] = trial.suggest_int("lead", 0, len(LEAD_MINUTES) - 1)
        policy["hold_minutes"] = trial.suggest_int("hold_minutes", 0, 60)
    if kind in ("static", "forecast"):
        policy["spot_margin"] = trial.suggest_float("spot_margin", 0.0, 0.8)
    step = task.spot_step_percent
    return rule.model_copy(
        update={
            "policy": rule.policy.model_copy(update=policy),
            "candidate": trial.suggest_int("candidate", 0, min(_MOST_EXPENSIVE_RANK, len(task.candidates))),
            "spot_percent": trial.suggest_int("spot_percent", 0, 100, step=step),
        }
    )


def _parameters(rule: Rule) -> dict[str, float | int]:
    """Return a rule as the parameters that ``suggest_rule`` would read."""
    return {**rule.policy.model_dump(), "candidate": rule.candidate, "spot_percent": rule.spot_percent}


@dataclass(frozen=True)
class Tried:
    """A rule that was played, and what it cost over reference."""

    rule: Rule
    bill: float
    penalty: float
    bad: float

    def cost(self, penalty_weight: float) -> float:
        """Return bill plus weighted penalty over reference."""
        return self.bill + penalty_weight * self.penalty


def try_rule(rule: Rule, bank: Bank, task: TaskSettings, windows: Windows) -> Tried:
    """Play a rule through windows."""
    alone = task.model_copy(update={"menu": (rule.policy,)})
    action = encode_action(alone, scale=0, candidate=rule.candidate, spot_percent=rule.spot_percent, policy=0)
    played = play(ConstantPolicy(action), bank, alone, windows)
    totals = played.totals
    return Tried(
        rule,
        over_reference(played, infra_usd(totals)),
        over_reference(played, totals["slo_penalty_usd"]),
        bad_fraction(played),
    )


def calibrate(
    book: RuleBook,
    bank: Bank,
    task: TaskSettings,
    windows: Windows,
    *,
    trials: int,
    seed: int = 0,
    on_trial: Callable[[], None] | None = None,
) -> RuleBook:
    """Calibrate every rule of a book with the same budget; the result has the same names in the same order.

    Rules of one policy kind share what they tried: each takes the best of the pool at its own price of a bad minute.
    The search starts from the rules as given, so none gets worse on these windows.

    Args:
        book: Rules to start from.
        bank: Training worlds.
        task: Settings of the action.
        windows: What every trial plays.
        trials: Optuna trials per rule.
        seed: Of the search.
        on_trial: Called after every trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pools: dict[str, list[Tried]] = {}
    for rule in book.rules:
        pool = pools.setdefault(rule.policy.kind, [])
        weight = PENALTY_WEIGHTS.get(rule.name, 1.0)

        def objective(
            trial: optuna.Trial, rule: Rule = rule, pool: list[Tried] = pool, weight: float = weight
        ) -> float:
            tried = try_rule(suggest_rule(trial, rule, task), bank, task, windows)
            pool.append(tried)
            if on_trial is not None:
                on_trial()
            return tried.cost(weight)

        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
        for start in (rule, *(tried.rule for tried in _best_of(pool, weight))):
            study.enqueue_trial(_parameters(start), skip_if_exists=True)
        study.optimize(objective, n_trials=1 if rule.policy.kind == "manual" else trials)
    rules, sentences = [], {}
    for rule in book.rules:
        best = _best_of(pools[rule.policy.kind], PENALTY_WEIGHTS.get(rule.name, 1.0))[0]
        policy = best.rule.policy.model_copy(update={"name": rule.name})
        rules.append(best.rule.model_copy(update={"policy": policy, "kind": rule.kind}))
        sentences[rule.name] = _sentence(best, rule, windows, len(pools[rule.policy.kind]))
    return RuleBook(rules=tuple(rules), calibration=sentences)


def _best_of(pool: list[Tried], weight: float) -> list[Tried]:
    return [min(pool, key=lambda tried: tried.cost(weight))] if pool else []


def _sentence(best: Tried, rule: Rule, windows: Windows, tried: int) -> str:
    weight = PENALTY_WEIGHTS.get(rule.name, 1.0)
    days = int(np.sum(windows.ends - windows.starts) // 1440)
    weighted = "" if weight == 1.0 else f", chosen with the penalty weighted {weight:g}"
    return (
        f"pooled, best of {tried} trials of its kind on {len(windows)} training windows ({days} days){weighted}: "
        f"{best.cost(1.0):.4f} of reference, {100 * best.bad:.2f} % bad minutes"
    )
