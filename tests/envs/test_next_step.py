import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs.action import encode_action
from envs.episodes import Episodes
from envs.next_step import NextStepVectorEnv
from envs.settings import EnvSettings, WorldSource
from envs.vector import InfrastructureVectorEnv
from envs.worlds import make_bank
from simulators.bank import Bank

DECISIONS_A_DAY = 288


@pytest.fixture(scope="module")
def settings() -> EnvSettings:
    source = WorldSource(patterns=("bursty",), days=2, scenarios_per_source=1, markets=1, mean_instances=6)
    return EnvSettings(source=source)


@pytest.fixture(scope="module")
def bank(settings: EnvSettings) -> Bank:
    return make_bank(settings.source, settings.task)


def test_it_plays_what_the_native_batch_plays(settings: EnvSettings, bank: Bank) -> None:
    task = settings.task
    action = np.tile(encode_action(task, scale=0, candidate=1, spot_percent=50, policy=8), (3, 1))
    native = InfrastructureVectorEnv(3, settings, bank=bank)
    env = NextStepVectorEnv(Episodes(settings, 3, bank=bank), first_seed=7)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    expected, _ = native.reset(seed=7)
    observations, _ = env.reset()
    np.testing.assert_array_equal(observations, expected)
    for decision in range(1, DECISIONS_A_DAY + 1):
        expected, rewards, _, truncated, infos = native.step(action)
        observations, own, terminated, ended, _ = env.step(action)
        np.testing.assert_array_equal(own, rewards)
        np.testing.assert_array_equal(ended, truncated)
        assert not terminated.any()
        assert ended.all() == (decision == DECISIONS_A_DAY)
        if not ended.any():
            np.testing.assert_array_equal(observations, expected)
    np.testing.assert_array_equal(observations, infos["final_obs"])
    first, own, _, ended, _ = env.step(action)
    np.testing.assert_array_equal(first, expected)
    assert not own.any()
    assert not ended.any()
    expected, rewards, *_ = native.step(action)
    observations, own, *_ = env.step(action)
    np.testing.assert_array_equal(observations, expected)
    np.testing.assert_array_equal(own, rewards)


def test_one_fleet_starts_anew_while_the_others_go_on(settings: EnvSettings, bank: Bank) -> None:
    action = np.tile(encode_action(settings.task, scale=0, candidate=0, spot_percent=0, policy=8), (4, 1))
    env = NextStepVectorEnv(Episodes(settings, 4, stagger=True, bank=bank), first_seed=0)
    env.reset()
    lengths = np.zeros(4, np.int64)
    seen: list[int] = []
    starting = np.zeros(4, np.bool_)
    for _ in range(2 * DECISIONS_A_DAY + 2):
        _, rewards, _, ended, _ = env.step(action)
        assert (rewards[starting] == 0.0).all()
        assert (rewards[~starting] != 0.0).all()
        lengths += ~starting
        seen += lengths[ended].tolist()
        lengths[ended] = 0
        starting = ended
    assert len(set(seen)) > 1, "first episodes are shortened at random"
    assert seen.count(DECISIONS_A_DAY) >= 4


def test_a_step_before_the_first_reset_is_refused(settings: EnvSettings, bank: Bank) -> None:
    env = NextStepVectorEnv(Episodes(settings, 1, bank=bank), first_seed=0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.zeros((1, 4), np.int64))
