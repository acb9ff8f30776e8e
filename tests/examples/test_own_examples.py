"""The examples of one's own parts: each is run as the file it is, and does what it says."""

import ast
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from agents.policies import ConstantPolicy
from agents.rollout import play, random_windows
from envs.core import InfrastructureEnv
from envs.observation import ObservationCodec
from envs.reward import TERMS
from envs.sb3 import InfrastructureVecEnv
from envs.settings import Candidate, EnvSettings, TaskSettings, WorldSource
from envs.vector import InfrastructureVectorEnv
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.catalogue import TYPES
from simulators.records import OUTCOME, TELEMETRY

ROOT = Path(__file__).resolve().parents[2]
OWN = sorted(path for path in (ROOT / "examples").glob("own_*.py"))
SETTINGS = EnvSettings(source=WorldSource(patterns=("diurnal",), days=1, scenarios_per_source=1, markets=1))


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank(SETTINGS.source, SETTINGS.task)


def run(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, object], list[float]]:
    """Run an example as a command; return its names and the decimal numbers it printed."""
    names = runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    return names, [float(text) for text in re.findall(r"-?\d+\.\d+", capsys.readouterr().out)]


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert (ast.get_docstring(tree) or "").startswith("Own ")
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith(("import", "from"))]
    assert len(lines) <= 25


def test_each_of_the_five_own_parts_has_its_example() -> None:
    assert [path.stem for path in OWN] == [
        "own_catalogue",
        "own_observation",
        "own_reward",
        "own_rule",
        "own_scenario",
    ]


def test_an_own_rule_is_scored_beside_a_shipped_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bank: Bank
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    names, (own, shipped) = run("own_rule", capsys)
    assert 0.1 < shipped < own < 2.0

    task = SETTINGS.task
    readings = np.zeros(2, TELEMETRY)
    readings["dependable_rps"], readings["desired"] = 40.0, [10, 80]
    readings["demand_mean_rps"] = [[100, 240, 120], [100, 24, 12]]
    actions = names["OwnRule"](task).act(readings)  # type: ignore[operator]
    np.testing.assert_array_equal(actions, [[19, 1, 5, 0], [0, 1, 5, 0]])

    static = ConstantPolicy(np.array([19, 1, 5, 0]))
    windows = random_windows(bank, 4, 1, 0)
    followed, still = (play(item, bank, task, windows) for item in (names["OwnRule"](task), static))  # type: ignore[operator]
    assert followed.totals["bad_minutes"].sum() < still.totals["bad_minutes"].sum() / 2, "it follows demand"


def test_an_own_reward_charges_for_launches(capsys: pytest.CaptureFixture[str], bank: Bank) -> None:
    names, printed = run("own_reward", capsys)
    np.testing.assert_allclose(np.array(printed[1::2]), np.array(printed[::2]) - names["LAUNCH_PRICE"], atol=1.1e-3)
    outcomes = np.zeros(2, OUTCOME)
    outcomes["launches"] = [0, 3]
    terms = {name: np.array([-0.2, -0.4]) for name in TERMS}
    np.testing.assert_allclose(names["calm"](outcomes, terms), [-0.4, -0.95])  # type: ignore[operator]


@pytest.mark.parametrize("action", [[19, 1, 5, 0], [24, 3, 0, 4]])
def test_every_environment_takes_an_own_reward_and_an_own_observation(
    capsys: pytest.CaptureFixture[str], bank: Bank, action: list[int]
) -> None:
    calm = run("own_reward", capsys)[0]["calm"]
    needs = run("own_observation", capsys)[0]["Needs"]()  # type: ignore[operator]
    own = {"codec": needs, "reward": calm}
    single = InfrastructureEnv(SETTINGS, bank=bank, **own)  # type: ignore[arg-type]
    vector = InfrastructureVectorEnv(2, SETTINGS, bank=bank, **own)  # type: ignore[arg-type]
    batch = InfrastructureVecEnv(SETTINGS, 2, bank=bank, seed=5, stagger=False, **own)  # type: ignore[arg-type]
    first = single.reset(seed=5)[0]
    np.testing.assert_array_equal(vector.reset(seed=5)[0][0], first)
    np.testing.assert_array_equal(batch.reset()[0], first)
    assert single.observation_space == vector.single_observation_space == batch.observation_space == needs.space
    over = False
    while not over:
        seen, reward, _, over, info = single.step(np.array(action))
        both = np.tile(action, (2, 1))
        seen_by_vector, rewards, *_, infos = vector.step(both)
        seen_by_batch, batch_rewards, _, batch_infos = batch.step(both)
        expected = info["reward/cost_savings"] + info["reward/sla_compliance"] - 0.05 * info["launches"]
        assert reward == pytest.approx(expected)
        assert rewards[0] == reward
        assert batch_rewards[0] == np.float32(reward)
    np.testing.assert_array_equal(infos["final_obs"][0], seen)
    np.testing.assert_array_equal(batch_infos[0]["terminal_observation"], seen)
    np.testing.assert_array_equal(seen_by_vector[0], seen_by_batch[0])
    assert seen_by_vector[0].shape == (3,)
    assert (seen_by_vector[0] != seen).any(), "the next episode has begun"


def test_an_own_observation_shows_needs_in_instances(capsys: pytest.CaptureFixture[str], bank: Bank) -> None:
    names, printed = run("own_observation", capsys)
    assert min(printed) > 0.0
    env = InfrastructureEnv(SETTINGS, bank=bank)
    env.reset(seed=3)
    readings = env.episodes.fleets.readings
    own = names["Needs"]().encode(readings)[0]  # type: ignore[operator]
    named = ObservationCodec(SETTINGS.task).as_dict(env.episodes.observe()[0])
    assert own[0] == 50.0 * named["desired"] - 19.0 * named["missing"]
    assert own[2] == pytest.approx(50.0 * named["desired"] + 19.0 * named["needed_30m_q0.9"], rel=1e-4)


def test_an_own_catalogue_makes_the_fleet_cheaper(capsys: pytest.CaptureFixture[str]) -> None:
    names, (old, new) = run("own_catalogue", capsys)
    saving = 1.0 - 1.05 / 1.15
    assert 0.5 * saving < 1.0 - new / old < 1.5 * saving

    own = names["m10g"]
    assert own.name not in [item.name for item in TYPES]  # type: ignore[attr-defined]
    task = TaskSettings(types=(own,), candidates=(Candidate(name="own", types=("m10g.large",)),))
    assert TaskSettings.model_validate_json(task.model_dump_json()) == task
    assert [item.name for item in task.catalogue().types] == ["m6i.large", "m10g.large"]
    dearer = task.model_copy(update={"region": "sa-east-1"}).catalogue()
    assert dearer["m10g.large"].price_usd_per_hour == pytest.approx(1.59 * own.price_usd_per_hour)  # type: ignore[attr-defined]
    unknown = task.model_copy(update={"candidates": (Candidate(name="own", types=("m10g.xlarge",)),)})
    with pytest.raises(ValueError, match=r"'own' names unknown type 'm10g.xlarge'"):
        unknown.catalogue()


def test_an_own_price_takes_the_place_of_the_tables() -> None:
    listed = TaskSettings().catalogue()["m6i.large"]
    agreed = type(listed)(**{**vars(listed), "price_usd_per_hour": 0.08})
    candidates = (Candidate(name="m6i.large", types=("m6i.large",)),)
    assert TaskSettings(types=(agreed,), candidates=candidates).catalogue().types == (agreed,)


def test_an_own_scenario_is_played_under_two_rules(capsys: pytest.CaptureFixture[str]) -> None:
    names, (tracking, _, forecast, _) = run("own_scenario", capsys)
    scenario = names["canteen"]
    played = scenario.demand_rps[scenario.first_tick : scenario.last_tick]  # type: ignore[attr-defined]
    assert len(played) == 1440
    assert played[690:810].mean() == pytest.approx(900, rel=0.02)
    assert np.delete(played, np.s_[690:810]).mean() == pytest.approx(60, rel=0.02)
    assert forecast < tracking, "after a week the forecast knows the lunch hour"
