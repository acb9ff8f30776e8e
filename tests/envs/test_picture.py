"""``render_mode="rgb_array"`` and the history behind it."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RenderCollection
from report_example import history_of

from envs import ENVIRONMENT_ID
from envs.core import InfrastructureEnv
from envs.history import LIFE_CYCLE, life_cycle
from envs.picture import BLUE, ORANGE, RED, FleetPicture
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank
from simulators.records import FLEET, FOREVER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def env(settings: EnvSettings, bank: Bank) -> InfrastructureEnv:
    return InfrastructureEnv(settings, bank=bank, render_mode="rgb_array")


def frame(env: InfrastructureEnv) -> np.ndarray:
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    return picture


def pixels(picture: np.ndarray, colour: str) -> int:
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted) <= 2).all(axis=2).sum())


def test_gymnasium_accepts_the_environment_with_its_pictures(settings: EnvSettings) -> None:
    check_env(gymnasium.make(ENVIRONMENT_ID, settings=settings, render_mode="rgb_array").unwrapped)


def test_a_frame_is_an_rgb_picture_that_changes_with_the_fleet(env: InfrastructureEnv) -> None:
    env.reset(seed=1)
    first = frame(env)
    assert (first.shape, first.dtype) == ((560, 960, 3), np.uint8)
    assert first.shape[0] % 2 == first.shape[1] % 2 == 0
    np.testing.assert_array_equal(frame(env), first)
    env.step(np.array([25, 1, 5, 0]))
    second = frame(env)
    assert (second != first).any()
    env.step(np.array([19, 1, 5, 0]))
    assert (frame(env) != second).any()
    env.reset(seed=1)
    np.testing.assert_array_equal(frame(env), first)


def test_wrappers_that_record_get_every_frame(settings: EnvSettings, bank: Bank) -> None:
    env = RenderCollection(InfrastructureEnv(settings, bank=bank, render_mode="rgb_array"))
    env.reset(seed=2)
    for _ in range(3):
        env.step(np.array([19, 0, 0, 0]))
    frames = env.render()
    assert isinstance(frames, list)
    assert [item.shape for item in frames] == [(560, 960, 3)] * 4
    assert InfrastructureEnv.metadata["render_modes"] == ["ansi", "rgb_array"]
    assert InfrastructureEnv.metadata["render_fps"] > 0


def test_a_picture_before_the_first_episode_is_refused(env: InfrastructureEnv) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\) before render\(\)"):
        env.render()


def test_stages_of_life_by_hand() -> None:
    fleet = np.zeros(1, FLEET)[0]
    fleet["tick"], fleet["live"] = 10, 5
    fleet["off_s"][:6] = [FOREVER, FOREVER, FOREVER, 700, 500, FOREVER]
    fleet["launch_s"][:6] = [0, 100, 590, 0, 0, 0]
    fleet["ready_delay_s"][:6] = [60, 500, 60, 60, 60, 60]
    fleet["market"][:6] = [0, 1, 1, 1, 0, 0]
    assert life_cycle(fleet) == {"on_demand": 1, "spot": 1, "pending": 1, "draining": 2}


def test_the_history_agrees_with_telemetry_and_outcomes(env: InfrastructureEnv) -> None:
    rng = np.random.default_rng(5)
    env.reset(seed=4)
    bill, bad = 0.0, 0
    seen = set()
    for _ in range(150):
        action = np.array([rng.integers(14, 25), rng.integers(0, 9), rng.integers(0, 11), 0])
        info = env.step(action)[4]
        bill, bad = bill + info["infra_usd"], bad + info["bad_minutes"]
        fleets = env.episodes.fleets
        reading, stages = fleets.readings[0], life_cycle(fleets.state[0])
        assert stages["on_demand"] + stages["spot"] == reading["in_service"]
        assert stages["pending"] == reading["pending"]
        assert stages["draining"] == reading["draining"]
        assert stages["spot"] <= reading["spot_in_use"] <= stages["spot"] + stages["pending"]
        seen |= {name for name in LIFE_CYCLE if stages[name]}
    assert seen == set(LIFE_CYCLE)
    history = env._history
    assert len(history) == 151
    assert history["bill_usd"].sum() == pytest.approx(bill)
    assert history["bad_minutes"].sum() == bad > 0
    assert (history["demand_rps"] > 0).all()


def test_what_is_drawn_is_what_happened(task: TaskSettings) -> None:
    """More spot paints more orange, bad minutes paint red, and the axis follows a fleet that outgrows it."""
    picture = FleetPicture(task, 60)
    hour = {"capacity_rps": [100.0] * 13, "demand_rps": [50.0] * 13}
    base = picture.draw(history_of(on_demand=[10.0] * 13, spot=[0.0] * 13, **hour))
    half = picture.draw(history_of(on_demand=[5.0] * 13, spot=[5.0] * 13, **hour))
    assert pixels(half, ORANGE) - pixels(base, ORANGE) == pytest.approx(
        pixels(base, BLUE) - pixels(half, BLUE), rel=0.02
    )
    assert pixels(half, ORANGE) - pixels(base, ORANGE) > 10_000
    bad = picture.draw(history_of(on_demand=[10.0] * 13, bad_minutes=[0.0, 5.0] * 6 + [0.0], **hour))
    assert pixels(bad, RED) > pixels(base, RED)
    grown = picture.draw(history_of(on_demand=[10.0] * 12 + [60.0], **hour))
    assert pixels(grown, BLUE) < pixels(base, BLUE)
    np.testing.assert_array_equal(picture.draw(history_of(on_demand=[10.0] * 13, spot=[0.0] * 13, **hour)), base)


def test_the_environment_works_without_matplotlib_and_says_what_a_picture_needs() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
import gymnasium
from envs import ENVIRONMENT_ID
from envs.core import InfrastructureEnv
from envs.picture import make_figure
try:
    make_figure(1, 1)
except gymnasium.error.DependencyNotInstalled as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "pictures need matplotlib: pip install --editable '.[train]'", done.stderr


def test_importing_the_environment_does_not_import_matplotlib() -> None:
    code = "import sys, envs.core; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
