"""The action as a point of a box."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from envs import CONTINUOUS_ID
from envs.action import PARTS, action_space
from envs.box import ActionBox, BoxAction
from envs.core import InfrastructureEnv
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank


@pytest.fixture(scope="module")
def box(task: TaskSettings) -> ActionBox:
    return ActionBox(action_space(task).nvec)


@pytest.mark.parametrize("choices", [[39, 9, 11, 12], [39, 2, 2, 1], [39, 13, 101, 3]])
def test_every_action_comes_back(choices: list[int]) -> None:
    box = ActionBox(np.array(choices))
    for part, count in enumerate(choices):
        actions = np.zeros((count, 4), np.int64)
        actions[:, part] = np.arange(count)
        points = box.points(actions)
        assert points.dtype == np.float32
        assert (np.abs(points) <= 1.0).all()
        np.testing.assert_array_equal(box.integers(points), actions)
    corners = np.array(list(itertools.product(*((0, count - 1) for count in choices))))
    np.testing.assert_array_equal(box.integers(box.points(corners)), corners)


def test_ordered_parts_are_linear_and_the_others_have_bins_of_equal_width(box: ActionBox) -> None:
    grid = np.linspace(-1.0, 1.0, 20_001)
    for part, count in enumerate(box.nvec):
        points = np.zeros((len(grid), 4))
        points[:, part] = grid
        found = box.integers(points)[:, part]
        assert (np.diff(found) >= 0).all()
        if PARTS[part] in ("scale", "spot"):
            expected = np.array([int(np.floor((value + 1.0) / 2.0 * (count - 1) + 0.5)) for value in grid])
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(np.bincount(found) / len(grid), 1.0 / count, atol=2e-4)
    np.testing.assert_array_equal(box.integers(np.full(4, -1.0)), np.zeros(4))
    np.testing.assert_array_equal(box.integers(np.full(4, 1.0)), box.nvec - 1)
    assert box.integers(np.zeros(4))[0] == 19


@pytest.mark.parametrize("value", [1.01, -3.0, float("nan"), float("inf")])
def test_points_outside_are_refused_by_part_and_value(box: ActionBox, value: float) -> None:
    points = np.zeros((3, 4), np.float32)
    points[1, 2] = value
    with pytest.raises(ValueError, match=rf"action 1: spot is {points[1, 2]}; expected -1 to 1"):
        box.integers(points)
    with pytest.raises(ValueError, match=r"^spot is"):
        box.integers(points[1])


def test_the_checkers_find_nothing_to_complain_about(settings: EnvSettings, bank: Bank) -> None:
    with pytest.warns(UserWarning, match="different from the unwrapped version") as complaints:
        check_env(BoxAction(InfrastructureEnv(settings, bank=bank)), skip_render_check=True)
    assert len(complaints) == 1
    sb3_check_env(BoxAction(InfrastructureEnv(settings, bank=bank)), warn=True, skip_render_check=True)


def test_make_gives_the_environment_with_points(settings: EnvSettings, task: TaskSettings) -> None:
    env = gymnasium.make(CONTINUOUS_ID, settings=settings)
    assert isinstance(env.action_space, Box)
    plain = InfrastructureEnv(settings)
    np.testing.assert_array_equal(env.reset(seed=3)[0], plain.reset(seed=3)[0])
    box = ActionBox(action_space(task).nvec)
    rng = np.random.default_rng(0)
    for _ in range(20):
        point = rng.uniform(-1.0, 1.0, 4).astype(np.float32)
        theirs, ours = env.step(point), plain.step(box.integers(point))
        np.testing.assert_array_equal(theirs[0], ours[0])
        assert theirs[1] == ours[1]


def test_another_action_space_is_refused() -> None:
    with pytest.raises(ValueError, match="BoxAction needs an action of 4 integers"):
        BoxAction(gymnasium.make("CartPole-v1"))


def test_the_batch_takes_points(settings: EnvSettings, bank: Bank, box: ActionBox) -> None:
    points = InfrastructureVecEnv(settings, 4, bank=bank, continuous=True)
    plain = InfrastructureVecEnv(settings, 4, bank=bank)
    assert points.action_space == box
    np.testing.assert_array_equal(points.reset(), plain.reset())
    rng = np.random.default_rng(1)
    for _ in range(20):
        actions = rng.uniform(-1.0, 1.0, (4, 4)).astype(np.float32)
        theirs, ours = points.step(actions), plain.step(box.integers(actions))
        np.testing.assert_array_equal(theirs[0], ours[0])
        np.testing.assert_array_equal(theirs[1], ours[1])
