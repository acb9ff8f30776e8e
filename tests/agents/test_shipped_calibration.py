"""The shipped rules are what the record of their calibration says, and cost on their worlds what they state."""

import csv
import json

import pytest
import yaml

from agents.calibration import try_rules
from agents.evaluation.conduct import check_calibrated_on, check_recorded_cost
from agents.ground import GroundSettings, pooled_ground
from agents.rules import CONFIGS, RuleBook, load_books
from agents.search_space import parameters_of
from envs.settings import WorldSource

BUDGET = 300


@pytest.fixture(scope="module")
def trials() -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    rows = csv.DictReader((CONFIGS / "calibration" / "pooled_trials.csv").read_text().splitlines())
    for row in rows:
        found.setdefault(row["rule"], []).append(json.loads(row["parameters"]))
    return found


def test_every_rule_had_the_same_budget(book: RuleBook, trials: dict[str, list[dict[str, object]]]) -> None:
    assert set(trials) == {rule.name for rule in book.rules}
    assert {name: len(rows) for name, rows in trials.items() if name != "manual"} == {
        name: BUDGET for name in trials if name != "manual"
    }


def test_every_shipped_rule_and_front_is_one_of_its_trials(
    book: RuleBook, trials: dict[str, list[dict[str, object]]]
) -> None:
    for rule in book.rules:
        for setting in (rule, *book.fronts.get(rule.name, ())):
            point = {
                name: round(value, 6) if isinstance(value, float) else value
                for name, value in parameters_of(setting).items()
            }
            assert point in trials[rule.name], setting.policy


def test_rules_of_traces_were_calibrated_on_their_histories(book: RuleBook) -> None:
    assert check_calibrated_on(book.calibrated_on) == []
    for trace, own in load_books().items():
        assert own.calibrated_on["trace"] == trace
        assert check_calibrated_on(own.calibrated_on) == []
        assert [rule.name for rule in own.rules] == [rule.name for rule in book.rules]


@pytest.mark.slow
def test_the_stated_costs_can_be_played_again(book: RuleBook) -> None:
    settings = yaml.safe_load((CONFIGS / "calibrate.yaml").read_text())
    ground = pooled_ground(GroundSettings.model_validate({k: v for k, v in settings.items() if k != "trials"}))
    source = WorldSource.model_validate(book.calibrated_on["source"]).model_dump(mode="json")
    assert ground.origin == {**book.calibrated_on, "source": source}
    names = ("spot-hedge", "aws-best-practice")
    rules = [book.rules[book.index(name)] for name in names]
    for name, played in zip(names, try_rules(rules, ground.bank, ground.task, ground.final), strict=True):
        assert check_recorded_cost(name, book.calibration[name], played.cost()) == []
