from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from agents.policies import ConstantPolicy
from agents.rollout import Windows, play
from agents.rules import RULES_FILE, Rule, RuleBook, load_rules, save_rules
from envs.action import encode_action
from envs.settings import DEFAULT_MENU, ENVIRONMENT_VERSION, TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.menu import PolicyKind, ScalingPolicy, menu_records
from simulators.records import OUTCOME


def test_the_shipped_rules_are_a_menu_with_a_rule_of_every_kind(book: RuleBook, task: TaskSettings) -> None:
    assert [policy.name for policy in task.menu] == [rule.name for rule in book.rules]
    assert [rule.name for rule in book.rules] == [policy.name for policy in DEFAULT_MENU]
    assert {rule.policy.kind for rule in book.rules} == set(get_args(PolicyKind)) - {"predictive"}
    assert {other.kind for rule in book.rules for other in rule.policy.also} == {"predictive"}
    assert all(rule.policy.native for rule in book.rules if rule.kind == "aws")
    assert not any(rule.policy.native for rule in book.rules if rule.policy.kind == "forecast")


def test_each_rule_is_one_constant_action_that_does_what_its_policy_does(
    book: RuleBook, task: TaskSettings, bank: Bank
) -> None:
    """The same world driven past the action codec: the cheapest candidate found by hand, one policy in the menu."""
    start = int(bank.tapes["first_tick"][0])
    windows = Windows(np.zeros(1, np.int64), np.array([start]), np.array([start + 1440]), np.array([5], np.uint64))
    for rule in book.rules:
        if not rule.is_constant:
            continue
        fleets = FleetBatch(bank, menu_records([rule.policy]), 1)
        fleets.reset(np.zeros(1, np.int64), windows.worlds, windows.starts, windows.ends, windows.seeds)
        total = np.zeros((), OUTCOME)
        for _ in range(288):
            reading = fleets.readings[0]
            count, share = len(task.candidates), rule.spot_percent / 100
            price = [
                (
                    share * float(reading["candidate_spot_usd_per_hour"][k])
                    + (1 - share) * float(reading["candidate_on_demand_usd_per_hour"][k])
                )
                / float(reading["candidate_capacity_rps"][k])
                * (0.9 if k == int(reading["spec"]) else 1.0)
                for k in range(count)
            ]
            spec = int(reading["spec"])
            if rule.candidate:
                spec = sorted(range(count), key=lambda k: (price[k], k))[rule.candidate - 1]
            fleets.decisions[0] = (0, spec, 0, share)
            fleets.step(5)
            for name in OUTCOME.names or ():
                total[name] += fleets.outcomes[name][0]
        played = play(ConstantPolicy(book.action(rule.name, task)), bank, task, windows).totals[0]
        for name in OUTCOME.names or ():
            if name != "slower_requests":
                assert played[name] == total[name], (rule.name, name)


def test_a_book_comes_back_as_it_was_written(book: RuleBook, tmp_path: Path) -> None:
    for name in ("rules.yaml", "rules.json"):
        save_rules(book, tmp_path / name)
        assert load_rules(tmp_path / name) == book
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rules.json", "rules.yaml"]


def test_rules_of_another_environment_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES_FILE.read_text().replace(ENVIRONMENT_VERSION, "AWSInfrastructure-v7"))
    with pytest.raises(ValueError, match=r"rules\.yaml: .*'AWSInfrastructure-v7', this is 'AWSInfrastructure-v0'"):
        load_rules(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("spot_percent: 100", "spot_percent: 101", r"rules\.1\.spot_percent: .*less than or equal to 100.*101"),
        ("kind: target_tracking_cpu", "kind: magic", r"rules\.2\.policy\.kind: .*magic"),
        ("hold_minutes: 45", "hold_minute: 45", r"rules\.4\.policy\.hold_minute: .*not permitted.*45"),
        ("rules:", "rules: [", r"not YAML"),
        ("environment:", "enviroment:", r"enviroment: .*not permitted"),
    ],
)
def test_a_mistake_in_a_rule_file_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    shipped = yaml_of_a_book()
    assert old in shipped
    path = tmp_path / "mine.yaml"
    path.write_text(shipped.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"mine\.yaml: {message}"):
        load_rules(path)


def yaml_of_a_book() -> str:
    policies = (
        "{name: manual, kind: manual}",
        "{name: static, kind: static}",
        "{name: cpu, kind: target_tracking_cpu}",
        "{name: requests, kind: target_tracking_requests}",
        "{name: forecast, kind: forecast, hold_minutes: 45}",
    )
    rules = [
        f"- policy: {policy}\n  candidate: 1\n  spot_percent: {0 if number == 0 else 100}\n"
        for number, policy in enumerate(policies)
    ]
    return f"environment: {ENVIRONMENT_VERSION}\nrules:\n" + "".join(rules)


def test_the_file_of_these_mistakes_is_right_without_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml_of_a_book())
    assert [rule.name for rule in load_rules(path).rules] == ["manual", "static", "cpu", "requests", "forecast"]


def test_an_empty_or_missing_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("rules: []\n")
    with pytest.raises(ValueError, match=r"rules\.yaml: rules: .*at least 1"):
        load_rules(path)
    path.write_text("")
    with pytest.raises(ValueError, match=r"rules\.yaml: file: "):
        load_rules(path)


def test_an_unknown_rule_names_the_known_ones(book: RuleBook, task: TaskSettings) -> None:
    with pytest.raises(KeyError, match="unknown rule 'best'; known: manual, static"):
        book.action("best", task)


def test_a_rule_whose_spot_share_the_action_cannot_say_is_refused() -> None:
    book = RuleBook(rules=(Rule(policy=ScalingPolicy(name="a", kind="static"), spot_percent=35),))
    task = book.task(TaskSettings())
    with pytest.raises(ValueError, match="spot 35 %"):
        book.action("a", task)
    fine = book.task(TaskSettings(spot_step_percent=5))
    expected = encode_action(fine, scale=0, candidate=1, spot_percent=35, policy=0)
    np.testing.assert_array_equal(book.action("a", fine), expected)
