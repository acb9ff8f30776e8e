import numpy as np
import pytest

from agents.policies import ConstantPolicy
from agents.rollout import Windows, bad_fraction, cost_ratio, play, random_windows, whole_windows
from agents.rules import RuleBook
from envs.core import InfrastructureEnv
from envs.episodes import Episodes
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.records import OUTCOME


def windows_of(episodes: Episodes) -> Windows:
    """The worlds, ticks and seeds that a batch of environments has drawn."""
    state = episodes.fleets.state
    return Windows(
        state["world"].astype(np.int64),
        state["tick"].astype(np.int64),
        state["end_tick"].astype(np.int64),
        state["seed"].copy(),
    )


class Replayed:
    """Plays a list of actions, one per decision."""

    def __init__(self, actions: np.ndarray) -> None:
        self._actions = iter(actions)

    def act(self, readings: np.ndarray) -> np.ndarray:
        return next(self._actions)


def random_actions(steps: int, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    actions = np.stack([rng.integers(0, size, (steps, count)) for size in (39, 9, 11, 7)], axis=2)
    actions[..., 0] = np.where(rng.random((steps, count)) < 0.8, 19, actions[..., 0])
    return actions


def test_totals_are_those_of_environments_that_play_the_same(settings: EnvSettings, bank: Bank) -> None:
    count, steps = 3, 288
    envs = [InfrastructureEnv(settings, bank=bank) for _ in range(count)]
    for index, env in enumerate(envs):
        env.reset(seed=20 + index)
    drawn = [windows_of(env.episodes) for env in envs]
    windows = Windows(*(np.concatenate([getattr(item, name) for item in drawn]) for name in drawn[0].__annotations__))
    actions = random_actions(steps, count, seed=6)
    played = play(Replayed(actions), bank, settings.task, windows)
    for index, env in enumerate(envs):
        total = {name: 0.0 for name in ("infra_usd", "slo_penalty_usd", "refund_usd", "bad_minutes", "launches")}
        rewards = 0.0
        for step in range(steps):
            _, reward, _, over, info = env.step(actions[step, index])
            rewards += reward
            for name in total:
                total[name] += info[name]
        assert over
        row = played.totals[index]
        assert float(infra_usd(played.totals)[index]) == pytest.approx(total["infra_usd"], rel=1e-12)
        for name in ("slo_penalty_usd", "refund_usd", "bad_minutes", "launches"):
            assert row[name] == pytest.approx(total[name], rel=1e-12)
        assert played.total_usd[index] == pytest.approx(total["infra_usd"] + total["slo_penalty_usd"], rel=1e-12)
        per_decision = row["reference_usd"] / steps
        assert rewards == pytest.approx(-played.total_usd[index] / per_decision, rel=1e-9)


def test_days_add_up_to_the_window(book: RuleBook, task: TaskSettings, bank: Bank) -> None:
    played = play(ConstantPolicy(book.action("forecast", task)), bank, task, whole_windows(bank))
    assert played.daily_usd.shape == (len(bank.worlds), 2)
    np.testing.assert_allclose(played.daily_usd.sum(axis=1), played.total_usd, rtol=1e-12)
    np.testing.assert_allclose(played.daily_reference_usd.sum(axis=1), played.totals["reference_usd"], rtol=1e-12)
    assert cost_ratio(played) == pytest.approx(np.mean(played.total_usd / played.totals["reference_usd"]))
    assert bad_fraction(played) == played.totals["bad_minutes"].sum() / (2880 * len(bank.worlds))


def test_windows_of_different_lengths_stand_still_at_their_ends(book: RuleBook, task: TaskSettings, bank: Bank) -> None:
    start = int(bank.tapes["first_tick"][0])
    lengths = np.array([60, 1440, 303])
    windows = Windows(np.zeros(3, np.int64), np.full(3, start), start + lengths, np.full(3, 9, np.uint64))
    policy = ConstantPolicy(book.action("forecast", task))
    together = play(policy, bank, task, windows)
    assert together.totals["ticks"].tolist() == lengths.tolist()
    for index in range(3):
        one = Windows(*(getattr(windows, name)[index : index + 1] for name in windows.__annotations__))
        alone = play(policy, bank, task, one)
        for name in OUTCOME.names or ():
            np.testing.assert_array_equal(alone.totals[name][0], together.totals[name][index])


def test_unscored_minutes_are_played_but_count_nowhere(book: RuleBook, task: TaskSettings, bank: Bank) -> None:
    start = int(bank.tapes["first_tick"][0])
    scored = bank.scored.copy()
    gap = slice(start + 200, start + 500)
    scored[gap] = 0
    windows = Windows(np.zeros(1, np.int64), np.array([start]), np.array([start + 1440]), np.array([1], np.uint64))
    task = task.model_copy(update={"decision_minutes": 1})
    policy = ConstantPolicy(book.action("target-tracking-cpu", task))
    ticks: dict[bool, list[np.ndarray]] = {True: [], False: []}
    instances: dict[bool, list[float]] = {True: [], False: []}
    totals = {}
    for whole, chosen in ((True, bank), (False, bank._replace(scored=scored))):

        def watch(fleets: FleetBatch, whole: bool = whole) -> None:
            ticks[whole].append(fleets.outcomes.copy())
            instances[whole].append(float(fleets.readings["in_service"][0]))

        totals[whole] = play(policy, chosen, task, windows, watch=watch).totals[0]
    assert instances[True] == instances[False]
    inside = np.concatenate([item for minute, item in enumerate(ticks[False]) if 200 <= minute < 500])
    for name in OUTCOME.names or ():
        assert not inside[name].any(), name
        outside = sum(item[name].sum() for minute, item in enumerate(ticks[True]) if not 200 <= minute < 500)
        if name != "slower_requests":
            assert totals[False][name] == pytest.approx(outside, rel=1e-9), name
    assert totals[False]["ticks"] == 1140
    assert totals[True]["ticks"] == 1440


def test_whole_and_random_windows_stay_inside_the_playable_part(bank: Bank) -> None:
    whole = whole_windows(bank)
    tapes = bank.tapes[bank.worlds["tape"]]
    np.testing.assert_array_equal(whole.starts, tapes["first_tick"])
    np.testing.assert_array_equal(whole.ends, tapes["last_tick"])
    assert len(set(whole.seeds.tolist())) == len(whole)
    some = random_windows(bank, 50, 1, seed=2)
    own = bank.tapes[bank.worlds["tape"][some.worlds]]
    assert (some.starts >= own["first_tick"]).all()
    assert (some.ends <= own["last_tick"]).all()
    assert (some.ends - some.starts == 1440).all()
    assert set(some.worlds.tolist()) == set(range(len(bank.worlds)))
    again = random_windows(bank, 50, 1, seed=2)
    np.testing.assert_array_equal(some.starts, again.starts)
    assert (random_windows(bank, 50, 1, seed=3).starts != some.starts).any()
    with pytest.raises(ValueError, match="shorter than 3 days"):
        random_windows(bank, 5, 3, seed=0)


def test_repeated_windows_come_block_by_block(bank: Bank) -> None:
    windows = whole_windows(bank)
    twice = windows.repeat(2)
    assert len(twice) == 2 * len(windows)
    np.testing.assert_array_equal(twice.seeds[len(windows) :], windows.seeds)
