"""The service with an agent whose advisor, and best rule, reads the telemetry before it acts."""

from pathlib import Path

import numpy as np
import pytest
from advisory_requests import Client, fresh_fleets, request_of
from bundle_making import untrained_bundle

from advisory.app import create_app
from advisory.served import ServedModel, serve_bundle
from agents.advice import AdvisedCodec
from agents.rule_policies import Hedge
from agents.rules import RuleBook
from envs.action import action_space, decode
from envs.settings import TaskSettings
from simulators.bank import Bank

HEDGE = "spot-hedge"


@pytest.fixture(scope="module")
def hedging(rules: RuleBook) -> RuleBook:
    """The same rules, of which one looks for trouble with spot instances."""
    hedge = Hedge(avoid_minutes=600, fallback_minutes=600)
    changed = (rule.model_copy(update={"hedge": hedge}) if rule.name == HEDGE else rule for rule in rules.rules)
    return rules.model_copy(update={"rules": tuple(changed)})


@pytest.fixture(scope="module")
def path(hedging: RuleBook, task: TaskSettings, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_bundle(hedging, HEDGE, task, bank, tmp_path_factory.mktemp("hedging") / "bundle")


@pytest.fixture(scope="module")
def served(path: Path) -> ServedModel:
    return serve_bundle(path)


def test_over_http_it_sees_and_says_what_the_rule_would_do(
    path: Path, served: ServedModel, hedging: RuleBook, task: TaskSettings, bank: Bank
) -> None:
    client, rule = Client(create_app(path)), hedging.policy(HEDGE, task)
    codec = AdvisedCodec(task, rule)
    fleets, rng = fresh_fleets(bank, served.menu, 4, seed=7), np.random.default_rng(1)
    advised: set[tuple[int, ...]] = set()
    for _ in range(15):
        expected, actions = codec.encode(fleets.readings), rule.act(fleets.readings)
        decode(actions, fleets.readings, fleets.decisions, task)
        for index in range(len(fleets)):
            answer = client.recommend(request_of(fleets, index, task))
            assert answer.status_code == 200, answer.text
            body, decision = answer.json(), fleets.decisions[index]
            np.testing.assert_array_equal(np.array(list(body["observation"].values()), np.float32), expected[index])
            advice = body["rule"]
            assert advice["name"] == HEDGE
            assert advice["launch_specification"] == served.specification_names[int(decision["spec"])]
            assert advice["spot_percent"] == pytest.approx(100 * decision["spot_fraction"])
            assert advice["scaling_policy"] == HEDGE
            advised.add(tuple(actions[index].tolist()))
        decode(rng.integers(0, action_space(task).nvec, (4, 4)), fleets.readings, fleets.decisions, task)
        fleets.step(5)
    assert len(advised) > 1, "the rule should answer to trouble in these minutes"
