"""The benchmark's figures hang together; how fast anything is stays untested."""

import numpy as np
import pytest

from agents.speed import action_mix, settled_share, time_by_part, two_core_speed, vector_speed
from envs.episodes import Episodes
from envs.settings import EnvSettings


def test_the_mix_of_actions_is_fixed_and_mostly_carries_on(settings: EnvSettings) -> None:
    first, second = action_mix(settings, 64, 200), action_mix(settings, 64, 200)
    np.testing.assert_array_equal(first, second)
    assert np.mean(first[..., 0] != 19) == pytest.approx(0.08, abs=0.01)
    assert np.mean(first[..., 1] != 0) == pytest.approx(0.002, abs=0.001)


def test_the_parts_of_a_step_add_up(settings: EnvSettings) -> None:
    parts = time_by_part(settings, 4, 6, passes=1)
    assert parts["step"] == pytest.approx(sum(value for name, value in parts.items() if name != "step"))
    assert min(value for name, value in parts.items() if name not in ("glue", "ticks")) > 0


def test_figures_of_the_vector_environment(settings: EnvSettings) -> None:
    figures = vector_speed(settings, 8, 30)
    assert figures["env_steps_per_second_per_core"] == np.median(figures["env_steps_per_second_runs"])
    assert figures["bytes_per_fleet"] == Episodes(settings, 1).fleets.state.nbytes
    assert figures["events"]["launches"] > 0
    two = two_core_speed(settings, 8, 30)
    assert two["speed_up"] == two["env_steps_per_second"] / two["one_thread_env_steps_per_second"]


def test_most_minutes_change_no_instance_but_some_do(settings: EnvSettings) -> None:
    assert 0.5 < settled_share(settings, 16, 60) < 0.99
