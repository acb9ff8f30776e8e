import numpy as np
import pytest

from envs import reward
from envs.episodes import Episodes
from envs.reward import TERMS, Terms, score, total_reward
from envs.settings import EnvSettings, RewardWeights
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.records import BILL_LINES, OUTCOME

SEED_WEIGHTS = RewardWeights(cost_savings=1.0, sla_compliance=1.0, performance_impact=0.5, resource_efficiency=0.25)


@pytest.fixture
def outcomes() -> np.ndarray:
    """One decision that can be computed by hand, and one in which nothing was scored."""
    made = np.zeros(2, OUTCOME)
    for name, value in {
        "on_demand_usd": 0.01,
        "spot_usd": 0.01,
        "commitment_usd": 0.005,
        "credit_usd": 0.001,
        "volume_usd": 0.002,
        "balancer_usd": 0.002,
        "refund_usd": 0.005,
        "slo_penalty_usd": 0.4,
        "reference_usd": 0.2,
        "requests": 1000.0,
        "late_requests": 30.0,
        "failed_requests": 20.0,
        "busy_vcpu_s": 450.0,
        "in_service_vcpu_s": 600.0,
    }.items():
        made[name][0] = value
    return made


def check_terms_by_hand(outcomes: np.ndarray) -> None:
    terms, usd = reward.score(outcomes)
    np.testing.assert_array_equal(usd, infra_usd(outcomes))
    by_hand = {
        "cost_savings": -0.15,
        "sla_compliance": -2.0,
        "performance_impact": -0.05,
        "resource_efficiency": -0.25,
    }
    assert tuple(terms) == TERMS == tuple(by_hand)
    for name, value in by_hand.items():
        np.testing.assert_allclose(terms[name], [value, 0.0], rtol=1e-12)


def test_terms_by_hand(outcomes: np.ndarray) -> None:
    check_terms_by_hand(outcomes)


def test_a_swapped_sign_is_caught(outcomes: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TERMS:

        def swapped(outcomes: np.ndarray, name: str = name) -> tuple[Terms, np.ndarray]:
            terms, usd = score(outcomes)
            return terms | {name: -terms[name]}, usd

        monkeypatch.setattr(reward, "score", swapped)
        with pytest.raises(AssertionError):
            check_terms_by_hand(outcomes)


def test_refunds_do_not_count(outcomes: np.ndarray) -> None:
    before = total_reward(score(outcomes)[0], RewardWeights())
    outcomes["refund_usd"] *= 100
    np.testing.assert_array_equal(total_reward(score(outcomes)[0], RewardWeights()), before)
    np.testing.assert_allclose(infra_usd(outcomes), [0.03, 0.0])


def test_the_total_is_the_weighted_sum(outcomes: np.ndarray) -> None:
    terms, _ = score(outcomes)
    np.testing.assert_allclose(total_reward(terms, RewardWeights())[0], -(0.03 + 0.4) / 0.2)
    np.testing.assert_allclose(total_reward(terms, SEED_WEIGHTS)[0], -0.15 - 2.0 - 0.5 * 0.05 - 0.25 * 0.25)


def test_rewards_over_an_episode_are_minus_all_usd_over_reference(settings: EnvSettings, bank: Bank) -> None:
    episodes = Episodes(settings, 6, bank=bank)
    episodes.seed(np.arange(6, dtype=np.uint64))
    episodes.begin(np.arange(6))
    rng = np.random.default_rng(3)
    bad = 0
    for _ in range(100):
        actions = np.column_stack([rng.integers(0, size, 6) for size in (39, 9, 11, 7)])
        rewards, terms = episodes.act(actions)
        outcome = episodes.fleets.outcomes
        usd = sum(outcome[line] for line in BILL_LINES) + outcome["slo_penalty_usd"]
        np.testing.assert_allclose(rewards, -usd / outcome["reference_usd"], rtol=1e-12)
        np.testing.assert_array_equal(rewards, terms["cost_savings"] + terms["sla_compliance"])
        assert (rewards < 0).all()
        bad += int(outcome["bad_minutes"].sum())
    assert bad > 0


def test_the_reference_cost_of_a_decision_follows_from_the_price_list(settings: EnvSettings, bank: Bank) -> None:
    episodes = Episodes(settings, 1, bank=bank)
    episodes.seed(np.zeros(1, np.uint64))
    episodes.begin(np.arange(1))
    episodes.act(np.array([[19, 0, 0, 0]]))
    tape = bank.tapes[bank.worlds["tape"][episodes.fleets.state["world"][0]]]
    # an m6i.large has 2 vCPUs at 50 ms a request: 24 requests/s at 60 %, for $0.096 an hour
    usd = float(tape["reference_demand_rps"]) / 24.0 * 0.096 / 12.0
    assert episodes.fleets.outcomes["reference_usd"][0] == pytest.approx(usd, rel=1e-9)


def test_a_sensible_rule_earns_about_minus_a_quarter_a_step(settings: EnvSettings, bank: Bank) -> None:
    episodes = Episodes(settings, 16, bank=bank)
    episodes.seed(np.arange(16, dtype=np.uint64))
    episodes.begin(np.arange(16))
    total = np.zeros(16)
    for _ in range(288):
        total += episodes.act(np.tile([19, 1, 10, 4], (16, 1)))[0]
    assert -0.6 < total.mean() / 288 < -0.1
