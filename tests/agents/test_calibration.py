import numpy as np
import optuna
import pytest

from agents import calibration
from agents.calibration import PENALTY_WEIGHTS, calibrate, suggest_rule, try_rule
from agents.rollout import Windows, random_windows
from agents.rules import Rule, RuleBook
from envs.settings import DEFAULT_MENU, TaskSettings
from simulators.bank import Bank

TRIALS = 6


@pytest.fixture(scope="module")
def plain_book() -> RuleBook:
    """Rules nobody has calibrated."""
    return RuleBook(rules=tuple(Rule(policy=policy, candidate=1, spot_percent=50) for policy in DEFAULT_MENU))


@pytest.fixture(scope="module")
def plain_task(plain_book: RuleBook) -> TaskSettings:
    return plain_book.task(TaskSettings())


@pytest.fixture(scope="module")
def windows(bank: Bank) -> Windows:
    return random_windows(bank, 6, 1, seed=0)


@pytest.fixture(scope="module")
def calibrated(plain_book: RuleBook, bank: Bank, plain_task: TaskSettings, windows: Windows) -> RuleBook:
    return calibrate(plain_book, bank, plain_task, windows, trials=TRIALS, seed=1)


def test_no_rule_gets_worse_on_its_own_windows(
    plain_book: RuleBook, calibrated: RuleBook, bank: Bank, plain_task: TaskSettings, windows: Windows
) -> None:
    better = 0
    for before, after in zip(plain_book.rules, calibrated.rules, strict=True):
        weight = PENALTY_WEIGHTS.get(before.name, 1.0)
        old = try_rule(before, bank, plain_task, windows).cost(weight)
        new = try_rule(after, bank, plain_task, windows).cost(weight)
        assert new <= old, before.name
        better += new < old
    assert better >= 2


def test_names_kinds_and_order_stay(plain_book: RuleBook, calibrated: RuleBook) -> None:
    for before, after in zip(plain_book.rules, calibrated.rules, strict=True):
        assert (after.name, after.kind, after.policy.kind) == (before.name, before.kind, before.policy.kind)
    assert calibrated.rules[0] == plain_book.rules[0]
    assert set(calibrated.calibration) == {rule.name for rule in plain_book.rules}


def test_every_rule_but_manual_has_the_same_budget(
    plain_book: RuleBook, bank: Bank, plain_task: TaskSettings, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def counting(trial: optuna.Trial, rule: object, plain_task: TaskSettings) -> object:
        tried.append(rule.name)  # type: ignore[attr-defined]
        return suggest_rule(trial, rule, plain_task)  # type: ignore[arg-type]

    monkeypatch.setattr(calibration, "suggest_rule", counting)
    advanced = []
    calibrate(plain_book, bank, plain_task, windows, trials=2, on_trial=lambda: advanced.append(1))
    for rule in plain_book.rules:
        assert tried.count(rule.name) == (1 if rule.policy.kind == "manual" else 2), rule.name
    assert len(advanced) == len(tried)


def test_a_seed_gives_the_same_book_twice(
    plain_book: RuleBook, calibrated: RuleBook, bank: Bank, plain_task: TaskSettings, windows: Windows
) -> None:
    assert calibrate(plain_book, bank, plain_task, windows, trials=TRIALS, seed=1) == calibrated
    assert calibrate(plain_book, bank, plain_task, windows, trials=TRIALS, seed=2) != calibrated


def test_a_calibrated_rule_can_be_said_by_the_action(calibrated: RuleBook, plain_task: TaskSettings) -> None:
    own = calibrated.task(plain_task)
    for rule in calibrated.rules:
        assert calibrated.action(rule.name, own).shape == (4,)


def test_the_figures_of_a_try_are_those_of_the_play(
    plain_book: RuleBook, bank: Bank, plain_task: TaskSettings, windows: Windows
) -> None:
    from agents.policies import ConstantPolicy
    from agents.rollout import bad_fraction, cost_ratio, play

    rule = plain_book.rules[plain_book.index("forecast")]
    tried = try_rule(rule, bank, plain_task, windows)
    played = play(ConstantPolicy(plain_book.action("forecast", plain_task)), bank, plain_task, windows)
    assert tried.cost(1.0) == pytest.approx(cost_ratio(played), rel=1e-12)
    assert tried.bad == bad_fraction(played)
    assert tried.cost(3.0) == pytest.approx(tried.bill + 3 * tried.penalty)
    assert np.isfinite(tried.cost(0.3))
