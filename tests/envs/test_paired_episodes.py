"""Episodes beside a rival's: the same worlds, the same luck, only the difference is rewarded."""

import numpy as np
import pytest

from agents.rules import RuleBook
from envs.episodes import Episodes
from envs.paired import Decider, PairedEpisodes
from envs.reward import TERMS, RewardFunction, Terms
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings, RewardWeights, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank

COUNT = 12
DECISIONS = 420


@pytest.fixture(scope="module")
def ruled(settings: EnvSettings, book: RuleBook) -> EnvSettings:
    return settings.model_copy(update={"task": book.task(settings.task)})


@pytest.fixture(scope="module")
def ruled_bank(ruled: EnvSettings) -> Bank:
    return make_bank(ruled.source, ruled.task)


@pytest.fixture(scope="module")
def rival(ruled: EnvSettings, book: RuleBook) -> Decider:
    """A rule that reads the telemetry: what it does depends on its own fleet."""
    return book.policy("spot-hedge", ruled.task).act


def begun(episodes: Episodes) -> Episodes:
    count = len(episodes.fleets)
    episodes.seed(np.arange(40, 40 + count, dtype=np.uint64))
    episodes.begin(np.arange(count))
    return episodes


def actions_of(step: int) -> np.ndarray:
    rng = np.random.default_rng([step, 5])
    actions = np.column_stack([rng.integers(0, size, COUNT) for size in (39, 9, 11, 12)])
    actions[:, 0] = np.where(rng.random(COUNT) < 0.8, 19, actions[:, 0])
    return actions


@pytest.mark.parametrize("name", ["spot-hedge", "target-tracking-cpu"])
def test_doing_what_the_rival_does_earns_nothing(
    ruled: EnvSettings, ruled_bank: Bank, book: RuleBook, name: str
) -> None:
    rule = book.policy(name, ruled.task)
    env = InfrastructureVecEnv(ruled, COUNT, bank=ruled_bank, seed=40, rival=rule.act)
    env.reset()
    ends = 0
    for _ in range(DECISIONS):
        _, rewards, dones, infos = env.step(rule.act(env.episodes.fleets.readings))
        assert not rewards.any()
        ends += int(dones.sum())
        assert all(infos[index]["episode"]["r"] == 0.0 for index in np.flatnonzero(dones))
    assert ends >= COUNT + 3


def bad_minutes_and_bill(outcomes: np.ndarray, terms: Terms) -> np.ndarray:
    return np.asarray(2.0 * terms["cost_savings"] - 0.3 * outcomes["bad_minutes"])


@pytest.mark.parametrize("reward", [None, bad_minutes_and_bill])
def test_the_reward_is_the_own_less_the_rivals_of_two_separate_batches(
    ruled: EnvSettings, ruled_bank: Bank, rival: Decider, reward: RewardFunction | None
) -> None:
    weights = RewardWeights(sla_compliance=0.5, performance_impact=0.25, resource_efficiency=0.125)
    settings = ruled.model_copy(update={"task": ruled.task.model_copy(update={"reward": weights})})
    paired = PairedEpisodes(rival, settings, COUNT, stagger=True, bank=ruled_bank, reward=reward)
    own, other = (Episodes(settings, COUNT, stagger=True, bank=ruled_bank, reward=reward) for _ in range(2))
    for episodes in (paired, own, other):
        begun(episodes)
    ends, earned = 0, np.zeros(COUNT)
    for step in range(DECISIONS):
        rewards, terms = paired.act(actions_of(step))
        mine, my_terms = own.act(actions_of(step))
        theirs, _ = other.act(rival(other.fleets.readings))
        np.testing.assert_array_equal(rewards, mine - theirs)
        for name in TERMS:
            np.testing.assert_array_equal(terms[name], my_terms[name])
        np.testing.assert_array_equal(paired.infra_usd, own.infra_usd)
        np.testing.assert_array_equal(paired.observe(), own.observe())
        np.testing.assert_array_equal(paired.fleets.outcomes, own.fleets.outcomes)
        np.testing.assert_array_equal(paired.rivals.outcomes, other.fleets.outcomes)
        np.testing.assert_array_equal(paired.truncated, own.truncated)
        np.testing.assert_array_equal(own.truncated, other.truncated)
        earned += rewards
        ended = np.flatnonzero(own.truncated)
        ends += len(ended)
        for episodes in (paired, own, other):
            episodes.begin_ended(episodes.observe())
    assert ends >= COUNT + 3
    assert (earned < 0).all(), "random actions are worse than the rule"


def test_a_rival_never_changes_what_the_own_fleet_meets(ruled: EnvSettings, ruled_bank: Bank, book: RuleBook) -> None:
    def wild(readings: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(int(readings["minute_of_week"][0]))
        return np.column_stack([rng.integers(0, size, len(readings)) for size in (39, 9, 11, 12)])

    alone = InfrastructureVecEnv(ruled, COUNT, bank=ruled_bank, seed=3)
    beside = InfrastructureVecEnv(ruled, COUNT, bank=ruled_bank, seed=3, rival=wild)
    np.testing.assert_array_equal(alone.reset(), beside.reset())
    differs = False
    for step in range(DECISIONS):
        own, own_rewards, own_dones, own_infos = alone.step(actions_of(step))
        same, rewards, dones, infos = beside.step(actions_of(step))
        np.testing.assert_array_equal(own, same)
        np.testing.assert_array_equal(own_dones, dones)
        differs |= bool((own_rewards != rewards).any())
        for index in np.flatnonzero(dones):
            mine, its = own_infos[index], infos[index]
            np.testing.assert_array_equal(mine["terminal_observation"], its["terminal_observation"])
            assert {**mine["episode"], "r": 0.0} == {**its["episode"], "r": 0.0}
    assert differs


def variance_ratio(settings: EnvSettings, rival: Decider, bank: Bank, strays: float) -> float:
    """Return the variance of a day's return beyond the rival's over that of the day's own return.

    The fleets do what the rival does, but for a share ``strays`` of decisions that ask for one instance more or less.
    """
    fleets, day = 64, 1440 // settings.task.decision_minutes
    paired = begun(PairedEpisodes(rival, settings, fleets, bank=bank))
    plain = begun(Episodes(settings, fleets, bank=bank))
    rng = np.random.default_rng(0)
    beyond, own = np.zeros(fleets), np.zeros(fleets)
    for _ in range(day):
        actions = rival(paired.fleets.readings).copy()
        actions[:, 0] += np.where(rng.random(fleets) < strays, rng.choice([-1, 1], fleets), 0)
        beyond += paired.act(actions)[0]
        own += plain.act(actions)[0]
    assert paired.truncated.all()
    assert beyond.std() > 0.0
    return float(beyond.var() / own.var())


def test_a_day_beside_the_rival_tells_far_more_than_a_day_alone(ruled: EnvSettings, rival: Decider) -> None:
    """The nearer to the rival, the more of the luck is shared."""
    source = WorldSource(patterns=("bursty",), days=2, scenarios_per_source=3, markets=3, mean_instances=20)
    settings = ruled.model_copy(update={"source": source})
    bank = make_bank(source, settings.task)
    near, far = (variance_ratio(settings, rival, bank, strays) for strays in (0.05, 0.2))
    assert near < 0.15
    assert far < 0.4
    assert near < far
