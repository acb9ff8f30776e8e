"""Limits relative to the rule: what they count, how their prices move, and that prices outlive an interruption."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from stable_baselines3.common.callbacks import BaseCallback

from agents.constraints import ConstrainedReward, Constraint, Counted
from agents.ppo import STATE_FILE, PPOSettings, TrainingRun, make_model
from agents.rules import RuleBook
from envs.paired import PairedEpisodes
from envs.reward import TERMS
from envs.settings import EnvSettings, RewardWeights
from simulators.bank import Bank
from simulators.records import OUTCOME


def test_what_is_counted_is_told_by_every_decision() -> None:
    assert set(get_args(Counted)) <= set(OUTCOME.names or ())
    assert all(np.issubdtype(OUTCOME[name], np.integer) for name in get_args(Counted))


def test_another_count_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(
        ValidationError, match=r"constraints\.crashes[\s\S]*bad_minutes[\s\S]*launches[\s\S]*type_changes"
    ):
        PPOSettings.model_validate({"constraints": {"crashes": {}}})
    with pytest.raises(ValidationError, match="limit"):
        PPOSettings.model_validate({"constraints": {"launches": {"limit": -1.0}}})


def test_the_reward_is_the_weighted_terms_less_the_priced_counts() -> None:
    rng = np.random.default_rng(1)
    outcomes = np.zeros(50, OUTCOME)
    outcomes["bad_minutes"], outcomes["launches"] = rng.integers(0, 6, 50), rng.integers(0, 9, 50)
    outcomes["type_changes"] = rng.integers(0, 2, 50)
    terms = {name: -rng.random(50) for name in TERMS}
    weights = RewardWeights(cost_savings=1.0, sla_compliance=0.5, performance_impact=0.0, resource_efficiency=2.0)
    reward = ConstrainedReward(weights, {"bad_minutes": Constraint(price=0.7), "type_changes": Constraint(price=0.1)})
    by_hand = terms["cost_savings"] + 0.5 * terms["sla_compliance"] + 2.0 * terms["resource_efficiency"]
    by_hand = by_hand - 0.7 * outcomes["bad_minutes"] - 0.1 * outcomes["type_changes"]
    assert reward(outcomes, terms) == pytest.approx(by_hand)
    reward.update({"bad_minutes": (0.0, 10.0)})
    assert reward(outcomes, terms) == pytest.approx(by_hand), "a step of 0 leaves the price"
    reward.prices["type_changes"] = 0.4
    assert reward(outcomes, terms) == pytest.approx(by_hand - 0.3 * outcomes["type_changes"])


@pytest.mark.parametrize(
    ("limit", "price", "step", "own", "rule", "expected"),
    [
        (1.0, 0.5, 0.1, 30.0, 20.0, 0.55),
        (1.0, 0.5, 0.1, 10.0, 20.0, 0.45),
        (1.0, 0.5, 0.1, 20.0, 20.0, 0.5),
        (1.5, 0.5, 0.1, 30.0, 20.0, 0.5),
        (0.5, 0.5, 0.1, 20.0, 20.0, 0.55),
        (1.0, 0.05, 0.1, 0.0, 20.0, 0.0),
        (1.0, 0.0, 0.1, 5.0, 20.0, 0.0),
        (1.0, 0.2, 0.1, 3.0, 0.0, 0.4),
        (1.0, 0.2, 0.0, 90.0, 20.0, 0.2),
    ],
)
def test_a_price_rises_beyond_the_limit_and_falls_below_it(
    limit: float, price: float, step: float, own: float, rule: float, expected: float
) -> None:
    reward = ConstrainedReward(RewardWeights(), {"launches": Constraint(limit=limit, price=price, step=step)})
    reward.update({"launches": (own, rule)})
    assert reward.prices == {"launches": pytest.approx(expected)}


@pytest.mark.parametrize(("advised", "paired"), [(False, True), (True, False)])
def test_limits_without_a_rule_to_hold_them_against_are_refused(
    settings: EnvSettings, bank: Bank, book: RuleBook, tiny_ppo: PPOSettings, advised: bool, paired: bool
) -> None:
    ppo = tiny_ppo.model_copy(update={"constraints": {"launches": Constraint()}, "paired": paired})
    advisor = book.policy("forecast", settings.task) if advised else None
    with pytest.raises(ValueError, match=r"ppo\.constraints are limits relative to the advising rule"):
        make_model(settings, ppo, bank=bank, advisor=advisor, seed=0)


class Counting(BaseCallback):
    """Adds up what both batches did, rollout by rollout."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names
        self.rollouts: list[dict[str, tuple[int, int]]] = []

    def _on_rollout_start(self) -> None:
        self.rollouts.append(dict.fromkeys(self._names, (0, 0)))

    def _on_step(self) -> bool:
        episodes = self.training_env.get_attr("episodes")[0]
        for name, (own, rule) in self.rollouts[-1].items():
            own += int(episodes.fleets.outcomes[name].sum())
            rule += int(episodes.rivals.outcomes[name].sum())
            self.rollouts[-1][name] = own, rule
        return True


@pytest.fixture
def limited(tiny_ppo: PPOSettings) -> PPOSettings:
    """Four rollouts; launches may be as many as the rule's, bad minutes a tenth."""
    constraints = {
        "launches": Constraint(limit=1.0, price=0.02, step=0.01),
        "bad_minutes": Constraint(limit=0.1, price=0.2, step=0.05),
    }
    return tiny_ppo.model_copy(update={"constraints": constraints})


def prices_after(
    constraints: dict[Counted, Constraint], rollouts: list[dict[str, tuple[int, int]]]
) -> dict[str, float]:
    prices = {str(name): item.price for name, item in constraints.items()}
    for counts in rollouts:
        for name, item in constraints.items():
            own, rule = counts[name]
            prices[name] = max(0.0, prices[name] + item.step * (own / max(rule, 1) - item.limit))
    return prices


def constrained(run: TrainingRun, **arguments: object) -> dict[str, float]:
    model = run.train(**arguments)  # type: ignore[arg-type]
    episodes = model.env.get_attr("episodes")[0]  # type: ignore[union-attr]
    assert isinstance(episodes, PairedEpisodes)
    assert isinstance(episodes.reward, ConstrainedReward)
    return episodes.reward.prices


def test_prices_follow_the_counts_of_each_rollout_and_outlive_an_interruption(
    settings: EnvSettings, bank: Bank, book: RuleBook, limited: PPOSettings, tmp_path: Path
) -> None:
    advisor = book.policy("spot-hedge", settings.task)
    counting = Counting(list(limited.constraints))
    prices = constrained(TrainingRun(tmp_path, settings, limited, bank, 0, advisor), extra=counting)
    assert len(counting.rollouts) == 4
    assert sum(own for counts in counting.rollouts for own, _ in counts.values()) > 0
    assert prices == pytest.approx(prices_after(limited.constraints, counting.rollouts))
    assert prices["launches"] != limited.constraints["launches"].price
    state = json.loads((tmp_path / STATE_FILE).read_text())
    assert state["prices"] == prices
    curves = pd.read_csv(tmp_path / "tensorboard" / "progress.csv")
    assert curves["constraint/launches/price"].dropna().iloc[-1] == pytest.approx(prices["launches"])
    ratios = [own / max(rule, 1) for own, rule in (counts["launches"] for counts in counting.rollouts)]
    assert curves["constraint/launches/ratio"].dropna().tolist() == pytest.approx(ratios)

    again = TrainingRun(tmp_path, settings, limited, bank, 0, advisor)
    assert constrained(again, resume=True) == prices, "nothing is left to do"

    longer = limited.model_copy(update={"n_timesteps": limited.n_timesteps + 2 * limited.n_envs * limited.n_steps})
    counting_on = Counting(list(limited.constraints))
    later = constrained(TrainingRun(tmp_path, settings, longer, bank, 0, advisor), resume=True, extra=counting_on)
    assert len(counting_on.rollouts) == 2
    assert later == pytest.approx(prices_after(limited.constraints, counting.rollouts + counting_on.rollouts))


def test_a_launch_costs_its_price_beyond_the_rules_own(
    settings: EnvSettings, bank: Bank, book: RuleBook, limited: PPOSettings
) -> None:
    rule = book.policy("spot-hedge", settings.task)
    free, priced = limited.model_copy(update={"constraints": {}}), limited
    plain, dear = (make_model(settings, ppo, bank=bank, advisor=rule, seed=0).env for ppo in (free, priced))
    assert plain is not None
    assert dear is not None
    plain.reset()
    dear.reset()
    rng = np.random.default_rng(0)
    launched = 0
    for _ in range(40):
        actions = rng.integers(0, (39, 9, 11, 12), (limited.n_envs, 4))
        rewards, priced_rewards = plain.step(actions)[1], dear.step(actions)[1]
        episodes = dear.get_attr("episodes")[0]
        beyond = {name: episodes.fleets.outcomes[name] - episodes.rivals.outcomes[name] for name in priced.constraints}
        cost = 0.02 * beyond["launches"] + 0.2 * beyond["bad_minutes"]
        assert priced_rewards == pytest.approx(rewards - cost, abs=1e-5)
        launched += int(np.abs(beyond["launches"]).sum())
    assert launched > 0
