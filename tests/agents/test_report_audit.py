"""What does not follow from the rest of a report is found, the average of ratios among it."""

import copy

import pytest
from honest_report import honest_report, repair, row

from agents.evaluation.audit import check_report


def test_an_honest_report_passes() -> None:
    assert check_report(honest_report()) == []


def test_an_average_of_ratios_is_caught_and_named() -> None:
    fraud = honest_report()
    fraud["gap_closed"]["value"] = round((3.0 / 23.0 + 8.0 / 10.0) / 2, 6)
    fraud["gap_closed"]["ci95"] = [0.1, 0.9]
    (found,) = check_report(fraud)
    assert found.startswith("gap_closed.value is 0.465217; expected 0.158")
    assert found.endswith("(it is the average of ratios)")


def test_traces_reported_apart_do_not_count() -> None:
    content = honest_report() | {"apart": {"radio": "counting noise"}}
    assert len(check_report(content)) == 2
    content["gap_closed"] |= {"value": round(3.0 / 23.0, 6), "wins": 1, "of": 1}
    assert check_report(content) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("best_rule", "rule-b", "'rule-a' costs less on validation"),
        ("best_rule", "ppo", "expected a pooled rule"),
        ("learned", "rule-b", "expected a policy of kind 'rl'"),
        ("kind.rule-b", "magic", "expected one of rl"),
        ("kind.ghost", "rule", "stands under only one"),
        ("gap_closed.vs", "rule-b", "expected the best rule"),
        ("gap_closed.wins", 1, "expected 2 of 2"),
        ("gap_closed.ci95", [0.5, 0.6], "outside its interval"),
        ("policies.ppo.shop.total_usd", 28.0, "(it is the bill alone)"),
        ("policies.ppo.shop.p99_ms", float("nan"), "p99_ms is nan"),
        ("policies.ppo.shop.bad_minutes_fraction", 1.5, "expected a number from 0 to 1"),
        ("policies.ppo.shop.infra_usd", -1.0, "infra_usd is -1.0"),
        ("bound.radio", 243.0, "below the bound of 243"),
        ("reference.radio", 0.0, "expected USD above 0"),
        ("waterfall.usd.shop.size", 0.5, "waterfall.usd.shop.total is 3"),
        ("waterfall.over_reference.total", 0.9, "waterfall.over_reference.total is 0.9"),
    ],
)
def test_what_does_not_follow_from_the_rest_is_found(path: str, value: object, words: str) -> None:
    fraud = honest_report()
    *keys, last = path.split(".")
    part = fraud
    for key in keys:
        part = part[key]
    part[last] = value
    if path == "reference.radio":
        del fraud["gap_closed"]
    assert any(words in line for line in check_report(fraud))


def test_a_missing_trace_is_found() -> None:
    fraud = honest_report()
    del fraud["policies"]["rule-b"]["radio"]
    assert check_report(fraud) == ["policies.rule-b: radio is missing"]
    fraud["policies"]["rule-b"]["other"] = row(1.0, 1.0)
    assert any("other: no such trace" in line for line in check_report(fraud))


def test_a_rule_reported_as_learned_is_caught_in_the_report() -> None:
    fraud = honest_report()
    fraud["policies"]["ppo"] = copy.deepcopy(fraud["policies"]["rule-b"])
    repair(fraud)
    assert check_report(fraud) == [
        "policies.ppo: bill, penalty and launches of every trace are those of rule-b: it is that"
    ]
    mostly = honest_report() | {"one_action": {"ppo": {"action": "rule-a, 70 % spot", "share": 0.995}}}
    assert check_report(mostly) == ["policies.ppo takes one action in 0.9950 of its decisions: it is rule-a, 70 % spot"]
    assert check_report(honest_report() | {"one_action": {"ppo": {"action": "rule-a", "share": 0.6}}}) == []
    matters = honest_report() | {"one_action": {"ppo": {"action": "rule-b", "share": 0.995}}}
    assert check_report(matters) == []
