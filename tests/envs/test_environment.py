"""The environment as Gymnasium and its users see it."""

import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from pydantic import BaseModel
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from agents.experiment import TrainSettings
from envs import ENVIRONMENT_ID
from envs.core import InfrastructureEnv
from envs.settings import EnvSettings, TaskSettings, WorldSource
from envs.vector import InfrastructureVectorEnv
from envs.worlds import draw_scenarios, make_bank
from scripts.command import UsageError, load_config
from simulators.bank import Bank
from simulators.records import EVENT_REBALANCE, EVENT_RECLAIM, EVENT_ZONE_DOWN
from simulators.scenario import Forecasts

ROOT = Path(__file__).resolve().parents[2]


def random_actions(env: InfrastructureVectorEnv, steps: int, seed: int) -> np.ndarray:
    """[steps, B, 4]; large scale steps are rare, so that fleets live through ordinary and absurd sizes."""
    rng = np.random.default_rng(seed)
    nvec = env.single_action_space.nvec  # type: ignore[attr-defined]
    actions = np.stack([rng.integers(0, size, (steps, env.num_envs)) for size in nvec], axis=2)
    usual = rng.random((steps, env.num_envs)) < 0.8
    actions[..., 0] = np.where(usual, rng.integers(17, 22, usual.shape), actions[..., 0])
    return actions


def test_gymnasium_finds_nothing_to_complain_about(settings: EnvSettings, bank: Bank) -> None:
    check_env(InfrastructureEnv(settings, bank=bank), skip_render_check=True)
    check_env(InfrastructureEnv(settings, bank=bank, render_mode="ansi"), skip_render_check=True)


def test_stable_baselines_finds_nothing_to_complain_about(settings: EnvSettings, bank: Bank) -> None:
    sb3_check_env(InfrastructureEnv(settings, bank=bank), warn=True, skip_render_check=True)


def test_make_and_make_vec_give_the_environment(settings: EnvSettings) -> None:
    env = gymnasium.make(ENVIRONMENT_ID, settings=settings)
    assert isinstance(env.unwrapped, InfrastructureEnv)
    observation, _ = env.reset(seed=5)
    batch = gymnasium.make_vec(ENVIRONMENT_ID, num_envs=3, settings=settings)
    assert isinstance(batch, InfrastructureVectorEnv)
    np.testing.assert_array_equal(batch.reset(seed=5)[0][0], observation)
    env.step(env.action_space.sample())


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.strip()


def test_importing_the_package_registers_the_environment_and_compiles_nothing() -> None:
    code = f"""
import sys
import gymnasium
assert {ENVIRONMENT_ID!r} not in gymnasium.registry
import envs
assert not {{"numba", "torch", "simulators"}} & set(sys.modules)
spec = gymnasium.spec({ENVIRONMENT_ID!r})
print(spec.entry_point, spec.vector_entry_point)
"""
    assert in_a_fresh_process(code) == "envs.core:InfrastructureEnv envs.vector:InfrastructureVectorEnv"


def test_the_module_prefix_needs_no_import() -> None:
    code = f"""
import gymnasium
from envs.settings import EnvSettings, WorldSource
source = WorldSource(patterns=("steady",), days=1, scenarios_per_source=1, markets=1)
env = gymnasium.make("envs:{ENVIRONMENT_ID}", settings=EnvSettings(source=source))
print(type(env.unwrapped).__name__)
"""
    assert in_a_fresh_process(code) == "InfrastructureEnv"


def test_member_i_of_a_batch_is_the_single_environment_of_seed_s_plus_i(settings: EnvSettings, bank: Bank) -> None:
    count, steps, seed = 4, 330, 70
    batch = InfrastructureVectorEnv(count, settings, bank=bank)
    actions = random_actions(batch, steps, seed=1)
    singles = [InfrastructureEnv(settings, bank=bank) for _ in range(count)]
    together, _ = batch.reset(seed=seed)
    for index, env in enumerate(singles):
        np.testing.assert_array_equal(env.reset(seed=seed + index)[0], together[index])
    ends = 0
    for step in range(steps):
        together, rewards, terminated, truncated, infos = batch.step(actions[step])
        assert not terminated.any()
        for index, env in enumerate(singles):
            observation, reward, ended, over, info = env.step(actions[step, index])
            assert not ended
            assert over == truncated[index]
            assert reward == rewards[index]
            assert info["infra_usd"] == infos["infra_usd"][index]
            assert info["reward/cost_savings"] == infos["reward/cost_savings"][index]
            if over:
                ends += 1
                assert infos["_final_obs"][index]
                np.testing.assert_array_equal(infos["final_obs"][index], observation)
                observation, _ = env.reset()
            np.testing.assert_array_equal(observation, together[index])
    assert ends == count


def test_a_batch_does_not_care_about_its_order(settings: EnvSettings, bank: Bank) -> None:
    seeds = [9, 400, 3, 77, 12]
    order = np.array([3, 0, 4, 2, 1])
    first = InfrastructureVectorEnv(5, settings, bank=bank)
    second = InfrastructureVectorEnv(5, settings, bank=bank)
    actions = random_actions(first, 60, seed=2)
    ours, _ = first.reset(seed=seeds)
    theirs, _ = second.reset(seed=[seeds[place] for place in order])
    np.testing.assert_array_equal(ours[order], theirs)
    for action in actions:
        ours, rewards, *_ = first.step(action)
        theirs, other, *_ = second.step(action[order])
        np.testing.assert_array_equal(ours[order], theirs)
        np.testing.assert_array_equal(rewards[order], other)


def play(settings: EnvSettings, bank: Bank, seed: int) -> tuple[np.ndarray, np.ndarray]:
    env = InfrastructureVectorEnv(3, settings, bank=bank)
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in random_actions(env, 60, seed=0):
        observation, reward, *_ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
    return np.array(observations), np.array(rewards)


def test_one_seed_gives_the_same_bits_twice_and_another_gives_others(settings: EnvSettings, bank: Bank) -> None:
    first, second, other = play(settings, bank, 1), play(settings, bank, 1), play(settings, bank, 100)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (first[1] != other[1]).any(axis=0).all()


def test_resets_go_on_to_other_episodes_and_a_seed_returns_to_the_first(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureEnv(settings, bank=bank)
    first, _ = env.reset(seed=4)
    second, _ = env.reset()
    third, _ = env.reset()
    assert (first != second).any()
    assert (second != third).any()
    np.testing.assert_array_equal(env.reset(seed=4)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)


def test_an_episode_lasts_its_days_and_never_terminates(settings: EnvSettings, bank: Bank) -> None:
    longer = settings.model_copy(update={"episode_days": 2, "task": settings.task})
    for chosen, steps in ((settings, 288), (longer, 576)):
        env = InfrastructureEnv(chosen, bank=bank)
        env.reset(seed=0)
        flags = [env.step(np.array([19, 0, 0, 2]))[2:4] for _ in range(steps)]
        assert flags == [(False, False)] * (steps - 1) + [(False, True)]
        with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
            env.step(np.array([19, 0, 0, 2]))


def test_a_step_before_the_first_reset_is_refused(settings: EnvSettings, bank: Bank) -> None:
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        InfrastructureEnv(settings, bank=bank).step(np.array([19, 0, 0, 2]))
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        InfrastructureVectorEnv(2, settings, bank=bank).step(np.array([[19, 0, 0, 2]] * 2))


def test_staggered_ends_spread_over_the_first_day(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureVectorEnv(32, settings, bank=bank, stagger=True)
    env.reset(seed=0)
    action = np.tile([19, 0, 0, 2], (32, 1))
    ends = np.array([env.step(action)[3] for _ in range(600)])
    first = ends.argmax(axis=0) + 1
    assert len(np.unique(first)) > 20
    assert first.min() < 60
    assert first.max() > 220
    for index in range(32):
        assert np.diff(np.flatnonzero(ends[:, index])).tolist() in ([288], [288, 288])


LONGEST_LEAD_MINUTES = 255


def hide_the_rest(bank: Bank, first_unseen_tick: int) -> Bank:
    """Another future: demand, forecasts and market from a tick on, of tapes that all start at the same place.

    A rebalance recommendation announces a reclaim, so reclaims change only beyond the longest lead.
    """
    rng = np.random.default_rng(9)
    changed = {name: getattr(bank, name).copy() for name in bank._fields}
    for tape in bank.tapes:
        ticks = slice(tape["start"] + first_unseen_tick, tape["start"] + tape["length"])
        rows = slice(tape["row_start"] + -(-first_unseen_tick // 5), tape["row_start"] + tape["length"] // 5)
        for name, part in (
            ("demand_rps", ticks),
            ("work_scale", ticks),
            ("forecast_rps", rows),
            ("anomaly_score", rows),
        ):
            changed[name][part] = rng.permutation(changed[name][part])
    changed["demand_total"] = np.concatenate(([0.0], np.cumsum(changed["demand_rps"], dtype=np.float64)))
    changed["pool_state"][:, first_unseen_tick:] = rng.integers(
        0, 3, changed["pool_state"][:, first_unseen_tick:].shape
    )
    announced = first_unseen_tick + LONGEST_LEAD_MINUTES
    changed["reclaim"][:, announced:] = rng.permutation(changed["reclaim"][:, announced:], axis=1)
    changed["rebalance_lead"][:, first_unseen_tick:] = 0
    changed["zone_down"][:, first_unseen_tick:] = 0
    happens = [(EVENT_RECLAIM, "reclaim"), (EVENT_REBALANCE, "rebalance_lead")]
    changed["events"][:] = sum(event * changed[name].any(axis=2) for event, name in happens)
    changed["events"][changed["zone_down"] > 0] |= EVENT_ZONE_DOWN
    hour = -(-first_unseen_tick // 60)
    changed["spot_usd_per_s"][:, hour:] *= 1.5
    changed["candidate_spot_usd_per_hour"][:, hour:] *= 1.5
    return Bank(**changed)


def test_observations_do_not_know_the_future(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureVectorEnv(6, settings, bank=bank)
    env.reset(seed=3)
    decisions = 40
    states = env.episodes.fleets.state
    earliest = int(states["tick"].min())
    length = int((states["tick"].max() - earliest) / 5) + decisions
    actions = random_actions(env, length, seed=4)
    known = earliest + 5 * decisions
    other = InfrastructureVectorEnv(6, settings, bank=hide_the_rest(bank, known))
    ours, theirs = env.reset(seed=3)[0], other.reset(seed=3)[0]
    assert not np.array_equal(env.episodes.fleets.bank.demand_rps, other.episodes.fleets.bank.demand_rps)
    compared = differing = 0
    for action in actions:
        past = env.episodes.fleets.state["tick"] < known
        compared += int(past.sum())
        np.testing.assert_array_equal(ours[past], theirs[past])
        differing += int((ours[~past] != theirs[~past]).any(axis=1).sum())
        ours, theirs = env.step(action)[0], other.step(action)[0]
    assert compared >= decisions
    assert differing > 0


def test_true_pool_states_and_the_queue_stay_hidden(settings: EnvSettings, bank: Bank) -> None:
    rng = np.random.default_rng(0)
    hidden = bank._replace(pool_state=rng.permuted(bank.pool_state, axis=2), reclaim=rng.permuted(bank.reclaim, axis=2))
    first, second = (InfrastructureVectorEnv(16, settings, bank=item) for item in (bank, hidden))
    np.testing.assert_array_equal(first.reset(seed=1)[0], second.reset(seed=1)[0])
    on_demand = np.tile([19, 1, 0, 2], (16, 1))
    for _ in range(12):
        np.testing.assert_array_equal(first.step(on_demand)[0], second.step(on_demand)[0])


@pytest.mark.parametrize("forecasts", ["none", "point", "quantiles", "perfect"])
def test_the_forecast_switch_keeps_the_shape(forecasts: Forecasts) -> None:
    source = WorldSource(
        patterns=("bursty",), days=1, scenarios_per_source=1, markets=1, mean_instances=6, forecasts=forecasts
    )
    settings = EnvSettings(source=source)
    env = InfrastructureEnv(settings, bank=make_bank.__wrapped__(source, settings.task))
    observation, _ = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape
    named = env.episodes.codec.as_dict(observation)
    assert named["forecast_available"] == (0.0 if forecasts == "none" else 1.0)
    quantiles = [named[f"needed_30m_q{level}"] for level in (0.1, 0.5, 0.9, 0.99)]
    if forecasts == "quantiles":
        assert quantiles == sorted(quantiles)
        assert quantiles[0] < quantiles[-1]
    else:
        assert len(set(quantiles)) == 1


def test_futures_drawn_by_the_forecaster_make_worlds_of_their_own(task: TaskSettings) -> None:
    source = WorldSource(
        patterns=(), futures=("isp_traffic_eu_2005_5min",), days=1, scenarios_per_source=2, anomalies_per_week=14.0
    )
    first, second = draw_scenarios(source, task)
    assert [first.name, second.name] == [f"futures:isp_traffic_eu_2005_5min#{seed}" for seed in (0, 1)]
    assert first.last_tick - first.first_tick == 1440
    assert not np.array_equal(first.demand_rps, second.demand_rps)
    assert (draw_scenarios(source, task)[0].demand_rps == first.demand_rps).all()


def test_perfect_forecasts_are_the_demand_that_comes(settings: EnvSettings) -> None:
    source = settings.source.model_copy(update={"forecasts": "perfect", "markets": 1, "days": 1})
    bank = make_bank.__wrapped__(source, settings.task)
    for tape in bank.tapes:
        demand = bank.demand_rps[tape["start"] : tape["start"] + tape["length"]]
        for row in (300, 500, 700):
            last_visible = 5 * row - 2
            for lead, minutes in enumerate((5, 10, 15, 30, 60, 120, 240)):
                ends = last_visible + minutes
                coming = demand[ends - 4 : ends + 1].astype(np.float64).mean()
                assert bank.forecast_rps[tape["row_start"] + row, lead] == pytest.approx([coming] * 4, rel=1e-5)


def test_the_text_view_shows_the_fleet(settings: EnvSettings, bank: Bank) -> None:
    env = InfrastructureEnv(settings, bank=bank, render_mode="ansi")
    env.reset(seed=2)
    before = env.render()
    assert before is not None
    assert "policy manual" in before
    assert "last decision: $0.0000, penalty $0.0000" in before
    _, _, _, _, info = env.step(np.array([21, 1, 5, 8]))
    text = env.render()
    assert text is not None
    assert f"last decision: ${info['infra_usd']:.4f}" in text
    assert "spot 50 %, policy forecast" in text
    assert InfrastructureEnv(settings, bank=bank).render() is None
    with pytest.raises(ValueError, match="'human' is not supported"):
        InfrastructureEnv(settings, bank=bank, render_mode="human")
    with pytest.raises(ValueError, match="not supported by the vector"):
        InfrastructureVectorEnv(1, settings, bank=bank, render_mode="ansi")


@pytest.mark.parametrize(
    ("model", "override", "words"),
    [
        (EnvSettings, "episodes=3", ["unknown key 'episodes'", "episode_days", "source", "task"]),
        (EnvSettings, "task.desicion_minutes=5", ["unknown key 'task.desicion_minutes'", "decision_minutes"]),
        (EnvSettings, "task.world.physics.drain=5", ["unknown key 'task.world.physics.drain'", "drain_s"]),
        (EnvSettings, "task.decision_minutes=0", ["'task.decision_minutes'", "greater than or equal to 1", "0"]),
        (EnvSettings, "task.decision_minutes=soon", ["'task.decision_minutes'", "integer", "soon"]),
        (EnvSettings, "task.spot_step_percent=30", ["30 does not divide 100"]),
        (EnvSettings, "task.world.physics.min_instances=50", []),
        (EnvSettings, "source.forecasts=oracle", ["'source.forecasts'", "quantiles", "oracle"]),
        (EnvSettings, "source.split=all", ["'source.split'", "validate", "all"]),
        (TrainSettings, "ppo.gamma=1.5", ["'ppo.gamma'", "less than 1", "1.5"]),
        (TrainSettings, "ppo.n_step=1", ["unknown key 'ppo.n_step'", "n_steps"]),
        (EnvSettings, "task", ["--set task: expected key=value"]),
        (EnvSettings, "task=3", ["'task'"]),
    ],
)
def test_a_wrong_setting_is_named(model: type[BaseModel], override: str, words: list[str]) -> None:
    if not words:
        assert load_config(model, None, [override]) is not None
        return
    with pytest.raises(UsageError) as caught:
        load_config(model, None, [override])
    for word in words:
        assert word in str(caught.value)


def test_a_setting_file_is_read_and_named_in_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "env.yaml"
    path.write_text("task:\n  decision_minutes: 15\nsource:\n  markets: 2\n")
    settings = load_config(EnvSettings, path, ["source.markets=3"])
    assert (settings.task.decision_minutes, settings.source.markets) == (15, 3)
    path.write_text("task:\n  menus: []\n")
    with pytest.raises(UsageError, match=r"env.yaml: unknown key 'task.menus'; known here: .*menu"):
        load_config(EnvSettings, path, None)
    path.write_text("- a list\n")
    with pytest.raises(UsageError, match="expected keys and values, got list"):
        load_config(EnvSettings, path, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patterns": ("flash_crowd",)}, "'flash_crowd' does not belong to the train split"),
        ({"patterns": (), "models": ("nowhere",)}, "unknown workload model 'nowhere'; shipped: .*worldcup98"),
        ({"patterns": ()}, "names no pattern, no model, no future and no trace"),
    ],
)
def test_worlds_that_cannot_be_made_say_why(task: TaskSettings, changes: dict[str, object], message: str) -> None:
    source = WorldSource.model_validate({"days": 1, "markets": 1} | changes)
    with pytest.raises(ValueError, match=message):
        make_bank(source, task)


def test_an_episode_longer_than_its_tape_is_refused(settings: EnvSettings, bank: Bank) -> None:
    with pytest.raises(ValueError, match="3 days needs 4320 playable minutes; the shortest demand tape has 2880"):
        InfrastructureEnv(settings.model_copy(update={"episode_days": 3}), bank=bank)


def test_a_menu_with_a_name_twice_is_refused(settings: EnvSettings, bank: Bank) -> None:
    menu = (settings.task.menu[0], settings.task.menu[0])
    twice = settings.model_copy(update={"task": settings.task.model_copy(update={"menu": menu})})
    with pytest.raises(ValueError, match="'manual' stands twice"):
        InfrastructureEnv(twice, bank=bank)


@pytest.mark.parametrize("minutes", [1, 7, 60, 1440])
def test_any_cadence_plays_a_whole_day(settings: EnvSettings, bank: Bank, minutes: int) -> None:
    task = settings.task.model_copy(update={"decision_minutes": minutes})
    env = InfrastructureEnv(settings.model_copy(update={"task": task}), bank=bank)
    env.reset(seed=0)
    played, over = 0, False
    while not over:
        _, _, _, over, _ = env.step(np.array([19, 1, 5, 4]))
        played += int(env.episodes.fleets.outcomes["ticks"][0])
    assert played == 1440
