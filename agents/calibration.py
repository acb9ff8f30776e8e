"""Calibrate rules on training worlds: the same Optuna budget for each, one setting for everything (pooled)."""

from collections.abc import Callable
from typing import Final

import numpy as np
import optuna

from agents.policies import ConstantPolicy
from agents.rollout import Windows, bad_fraction, cost_ratio, play
from agents.rules import Rule, RuleBook
from envs.action import encode_action
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.menu import ScalingPolicy
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


def score_rule(
    rule: Rule, bank: Bank, task: TaskSettings, windows: Windows, penalty_weight: float = 1.0
) -> tuple[float, float]:
    """Return (total USD over reference USD, share of bad minutes) of a rule, its penalty weighted as told."""
    alone = task.model_copy(update={"menu": (rule.policy,)})
    action = encode_action(alone, scale=0, candidate=rule.candidate, spot_percent=rule.spot_percent, policy=0)
    played = play(ConstantPolicy(action), bank, alone, windows)
    extra = (penalty_weight - 1.0) * played.totals["slo_penalty_usd"].sum() / played.totals["reference_usd"].sum()
    return cost_ratio(played) + float(extra), bad_fraction(played)


def calibrate_rule(
    rule: Rule,
    bank: Bank,
    task: TaskSettings,
    windows: Windows,
    *,
    trials: int,
    seed: int = 0,
    on_trial: Callable[[], None] | None = None,
) -> tuple[Rule, str]:
    """Search a rule's parameters; return the best rule and one sentence on how it was found.

    The search starts from the rule as given, so the result is never worse than it on these windows.
    """
    if rule.policy.kind == "manual":
        return rule, "nothing to calibrate: desired capacity stays where it is"
    weight = PENALTY_WEIGHTS.get(rule.name, 1.0)
    best: list[tuple[float, float, Rule]] = []

    def objective(trial: optuna.Trial) -> float:
        suggested = suggest_rule(trial, rule, task)
        ratio, bad = score_rule(suggested, bank, task, windows, weight)
        best.append((ratio, bad, suggested))
        if on_trial is not None:
            on_trial()
        return ratio

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    study.enqueue_trial(_parameters(rule), skip_if_exists=True)
    study.optimize(objective, n_trials=trials)
    ratio, bad, winner = min(best, key=lambda item: item[0])
    days = int(np.sum(windows.ends - windows.starts) // 1440)
    weighted = "" if weight == 1.0 else f" with the penalty weighted {weight:g}"
    sentence = (
        f"pooled, {trials} Optuna trials on {len(windows)} training windows ({days} days){weighted}: "
        f"{ratio:.4f} of reference, {100 * bad:.2f} % bad minutes"
    )
    return winner, sentence


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
    """Calibrate every rule of a book with the same budget; the result has the same names in the same order."""
    rules, sentences = [], {}
    for rule in book.rules:
        winner, sentences[rule.name] = calibrate_rule(
            rule, bank, task, windows, trials=trials, seed=seed, on_trial=on_trial
        )
        rules.append(winner)
    return RuleBook(rules=tuple(rules), calibration=sentences)
