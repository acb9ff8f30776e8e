"""The stable-baselines3 view of the batch."""

import numpy as np
import pytest

from envs.episodes import Episodes
from envs.reward import TERMS
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd

COUNT = 12


def actions_of(step: int) -> np.ndarray:
    rng = np.random.default_rng([step, 5])
    actions = np.column_stack([rng.integers(0, size, COUNT) for size in (39, 9, 11, 7)])
    actions[:, 0] = np.where(rng.random(COUNT) < 0.8, 19, actions[:, 0])
    return actions


def test_ends_are_staggered_and_each_is_told_with_its_true_last_observation(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureVecEnv(settings, COUNT, bank=bank, seed=40)
    twin = Episodes(settings, COUNT, stagger=True, bank=bank)
    twin.seed(np.arange(40, 40 + COUNT, dtype=np.uint64))
    twin.begin(np.arange(COUNT))
    np.testing.assert_array_equal(env.reset(), twin.observe())
    sums = {name: np.zeros(COUNT) for name in ("r", "infra_usd", "slo_penalty_usd", "reference_usd", "bad_minutes")}
    sums |= {f"reward/{name}": np.zeros(COUNT) for name in TERMS}
    lengths = np.zeros(COUNT, np.int64)
    ends: list[int] = []
    for step in range(420):
        actions = actions_of(step)
        observations, rewards, dones, infos = env.step(actions)
        twin_rewards, terms = twin.act(actions)
        outcome = twin.fleets.outcomes
        last = twin.observe()
        np.testing.assert_array_equal(dones, twin.truncated)
        np.testing.assert_array_equal(rewards, twin_rewards.astype(np.float32))
        sums["r"] += twin_rewards
        sums["infra_usd"] += infra_usd(outcome)
        for name in ("slo_penalty_usd", "reference_usd", "bad_minutes"):
            sums[name] += outcome[name]
        for name in TERMS:
            sums[f"reward/{name}"] += terms[name]
        lengths += 1
        for index in range(COUNT):
            if not dones[index]:
                assert infos[index] == {}
                continue
            ends.append(step)
            assert infos[index]["TimeLimit.truncated"] is True
            np.testing.assert_array_equal(infos[index]["terminal_observation"], last[index])
            episode = infos[index]["episode"]
            assert set(episode) == {"l", *sums}
            assert episode["l"] == lengths[index]
            for name, total in sums.items():
                assert episode[name] == pytest.approx(total[index], rel=1e-9, abs=1e-12)
                total[index] = 0.0
            lengths[index] = 0
        if dones.any():
            twin.begin(np.flatnonzero(dones))
        np.testing.assert_array_equal(observations, twin.observe())
    assert len(ends) >= COUNT + 3
    assert len(set(ends)) > COUNT // 2


def test_infos_without_an_end_are_one_shared_list(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureVecEnv(settings, 3, bank=bank, stagger=False)
    env.reset()
    first = env.step(np.tile([19, 0, 0, 2], (3, 1)))[3]
    second = env.step(np.tile([19, 0, 0, 2], (3, 1)))[3]
    assert first is second
    assert first == [{}, {}, {}]


def test_a_seed_set_before_reset_decides_the_episodes(settings: EnvSettings, bank: Bank) -> None:
    first = InfrastructureVecEnv(settings, 3, bank=bank, seed=8)
    second = InfrastructureVecEnv(settings, 3, bank=bank)
    assert second.seed(8) == [8, 9, 10]
    np.testing.assert_array_equal(first.reset(), second.reset())
    second.seed(9)
    np.testing.assert_array_equal(first.reset()[1:], second.reset()[:2])


def test_single_environments_cannot_be_touched(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureVecEnv(settings, 2, bank=bank)
    assert env.get_attr("num_envs", [0]) == [2]
    assert env.env_is_wrapped(object) == [False, False]
    with pytest.raises(ValueError, match="share their settings"):
        env.set_attr("episodes", None)
    with pytest.raises(ValueError, match="no single environments"):
        env.env_method("reset")
    env.close()
