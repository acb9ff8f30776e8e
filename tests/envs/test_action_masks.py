"""Which choices a mask leaves, against the decisions they stand for."""

import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecFrameStack

from agents.rollout import random_windows
from envs.action import KEEP, MAX_SCALE, action_space, decode
from envs.masks import ActionMasks, MaskedCodec
from envs.observation import ObservationCodec
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.menu import menu_records
from simulators.records import DECISION


def by_steps(task: TaskSettings) -> TaskSettings:
    """The task with only those policies that change the size by steps."""
    menu = [policy for policy in task.menu if policy.kind not in ("static", "scheduled", "forecast")]
    return task.model_copy(update={"menu": tuple(menu)})


def specs(task: TaskSettings, readings: np.ndarray, choice: int) -> np.ndarray:
    """[spot levels, B] candidates that a choice asks for."""
    decisions = np.zeros(len(readings), DECISION)
    found = []
    for level in range(task.num_spot_levels):
        decode(np.tile([MAX_SCALE, choice, level, 0], (len(readings), 1)), readings, decisions, task)
        found.append(decisions["spec"].copy())
    return np.array(found)


@pytest.mark.parametrize("order", ["price", "fixed"])
def test_a_specification_is_masked_exactly_where_it_is_the_present_one_at_every_spot_share(
    task: TaskSettings, random_readings: np.ndarray, order: str
) -> None:
    task = task.model_copy(update={"candidate_order": order})
    own = ActionMasks(task)(random_readings)[:, 2 * MAX_SCALE + 1 :][:, : len(task.candidates) + 1]
    masked = 0
    for choice in range(len(task.candidates) + 1):
        same = (specs(task, random_readings, choice) == random_readings["spec"]).all(axis=0)
        np.testing.assert_array_equal(own[:, choice], ~same if choice != KEEP else np.ones(len(same), np.bool_))
        masked += int(same.sum()) if choice != KEEP else 0
    assert masked == len(random_readings) if order == "fixed" else 40 < masked < len(random_readings)


@pytest.mark.parametrize(("smallest", "largest"), [(1, 99), (3, 12), (5, 5)])
def test_sizes_beyond_the_group_are_masked_where_policies_go_by_steps(
    task: TaskSettings, random_readings: np.ndarray, smallest: int, largest: int
) -> None:
    physics = task.world.physics.model_copy(update={"min_instances": smallest, "max_instances": largest})
    task = by_steps(task).model_copy(update={"world": task.world.model_copy(update={"physics": physics})})
    random_readings["desired"] = np.clip(random_readings["desired"], smallest, largest)
    left = ActionMasks(task)(random_readings)[:, : 2 * MAX_SCALE + 1]
    for reading, own in zip(random_readings, left, strict=True):
        for choice in range(2 * MAX_SCALE + 1):
            assert own[choice] == (smallest <= reading["desired"] + choice - MAX_SCALE <= largest)


def test_offsets_to_an_absolute_want_are_never_masked(task: TaskSettings, random_readings: np.ndarray) -> None:
    random_readings["desired"] = 1
    assert ActionMasks(task)(random_readings)[:, : 2 * MAX_SCALE + 1].all()
    assert ActionMasks(task, "native")(random_readings)[:, : 2 * MAX_SCALE + 1].all()


@pytest.mark.parametrize("desired", [0, 150])
def test_a_size_outside_the_limits_leaves_the_step_back_toward_them(
    task: TaskSettings, random_readings: np.ndarray, desired: int
) -> None:
    random_readings["desired"] = desired
    left = ActionMasks(by_steps(task))(random_readings)[:, : 2 * MAX_SCALE + 1]
    expected = np.arange(2 * MAX_SCALE + 1) > MAX_SCALE if desired == 0 else np.arange(2 * MAX_SCALE + 1) == 0
    np.testing.assert_array_equal(left, np.tile(expected, (len(left), 1)))


def test_native_leaves_what_a_group_runs_by_itself(task: TaskSettings, random_readings: np.ndarray) -> None:
    left = ActionMasks(task, "native")(random_readings)[:, -len(task.menu) :]
    np.testing.assert_array_equal(left, np.tile([policy.native for policy in task.menu], (len(left), 1)))
    assert ActionMasks(task)(random_readings)[:, -len(task.menu) :].all()
    controlled = task.model_copy(update={"menu": tuple(item for item in task.menu if not item.native)})
    with pytest.raises(ValueError, match="no scaling policy of the menu"):
        ActionMasks(controlled, "native")


def test_no_decision_is_taken_away(settings: EnvSettings, bank: Bank) -> None:
    """What is masked, played in the kernel, does what its permitted twin does."""
    task = by_steps(settings.task)
    rng = np.random.default_rng(0)
    count = 64
    actions = np.column_stack([rng.integers(0, size, count) for size in action_space(task).nvec])
    twins = [FleetBatch(bank, menu_records(task.menu), count) for _ in range(2)]
    windows = random_windows(bank, count, 1, seed=3)
    for fleets in twins:
        fleets.reset(np.arange(count), windows.worlds, windows.starts, windows.ends, windows.seeds)
    masks = ActionMasks(task)
    edges = np.concatenate(([0], np.cumsum(action_space(task).nvec)))[:-1]
    changed = 0
    for _ in range(12):
        readings = twins[0].readings
        permitted = masks.canonical(actions, readings)
        left = masks(readings)
        assert all(left[index, edges + permitted[index]].all() for index in range(count))
        changed += int((permitted != actions).any(axis=1).sum())
        for fleets, own in zip(twins, (actions, permitted), strict=True):
            decode(own, fleets.readings, fleets.decisions, task)
            fleets.step(task.decision_minutes)
        assert all(
            one.tobytes() == other.tobytes() for one, other in zip(*(item.readings for item in twins), strict=True)
        )
        np.testing.assert_array_equal(*(infra_usd(item.outcomes) for item in twins))
    assert changed > count


def test_the_batch_answers_as_maskable_ppo_asks(settings: EnvSettings, bank: Bank) -> None:
    masks = ActionMasks(settings.task, "native")
    codec = MaskedCodec(ObservationCodec(settings.task), masks)
    env = InfrastructureVecEnv(settings, 5, bank=bank, codec=codec)
    env.reset()
    assert env.has_attr("action_masks")
    expected = masks(env.episodes.fleets.readings)
    np.testing.assert_array_equal(np.stack(env.env_method("action_masks")), expected)
    np.testing.assert_array_equal(env.env_method("action_masks", indices=3), expected[3:4])
    np.testing.assert_array_equal(np.stack(VecFrameStack(env, 2).env_method("action_masks")), expected)
    plain = InfrastructureVecEnv(settings, 5, bank=bank)
    plain.reset()
    np.testing.assert_array_equal(
        np.stack(plain.env_method("action_masks")), ActionMasks(settings.task)(plain.episodes.fleets.readings)
    )
