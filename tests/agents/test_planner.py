"""The planner as a policy: deterministic, blind to the future, and better than the rules where the optimum is plain."""

from collections.abc import Callable

import numpy as np
import pytest

from agents.planner import Planner, PlannerSettings
from agents.rollout import Windows, cost_ratio, play, random_windows, whole_windows
from agents.rules import RuleBook
from envs.action import decode
from envs.settings import TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.menu import menu_records
from simulators.records import DECISION

SMALL = PlannerSettings(futures=8, tail_futures=4, size_steps=2, choice_futures=4, choice_minutes=60)


def short_windows(bank: Bank, decisions: int) -> Windows:
    windows = whole_windows(bank)
    windows.ends[:] = windows.starts + 5 * decisions
    return windows


class Recorded:
    """A policy and what it answered."""

    def __init__(self, policy: Planner) -> None:
        self._policy = policy
        self.actions: list[np.ndarray] = []

    def act(self, readings: np.ndarray) -> np.ndarray:
        self.actions.append(self._policy.act(readings))
        return self.actions[-1]


def played_actions(bank: Bank, task: TaskSettings, book: RuleBook, windows: Windows, **changes: int) -> np.ndarray:
    recorded = Recorded(Planner(task, book, SMALL.model_copy(update=changes)))
    play(recorded, bank, task, windows)
    return np.stack(recorded.actions)


def test_the_same_seed_gives_the_same_actions_alone_or_in_a_batch(
    bank: Bank, task: TaskSettings, book: RuleBook
) -> None:
    windows = short_windows(bank, 8)
    together = played_actions(bank, task, book, windows)
    np.testing.assert_array_equal(together, played_actions(bank, task, book, windows, chunk=1))
    last = Windows(windows.worlds[-1:], windows.starts[-1:], windows.ends[-1:], windows.seeds[-1:])
    np.testing.assert_array_equal(together[:, -1:], played_actions(bank, task, book, last))
    assert (together != played_actions(bank, task, book, windows, seed=1)).any()


def test_what_is_hidden_or_yet_to_come_changes_no_action(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    decisions = 8
    windows = short_windows(bank, decisions)
    rng = np.random.default_rng(0)
    demand, state = bank.demand_rps.copy(), bank.pool_state.copy()
    for tape in bank.tapes:
        first = int(tape["start"] + tape["first_tick"]) + 5 * decisions
        rng.shuffle(demand[first : int(tape["start"] + tape["length"])])
    rng.shuffle(state[:, int(windows.ends.max()) :], axis=1)
    other = bank._replace(demand_rps=demand, pool_state=state)
    np.testing.assert_array_equal(played_actions(bank, task, book, windows), played_actions(other, task, book, windows))


def test_a_planner_keeps_to_its_batch(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    planner = Planner(task, book, SMALL)
    readings = FleetBatch(bank, menu_records(task.menu), 2).readings
    readings[:] = warm_readings(bank, task)[:2]
    planner.act(readings)
    with pytest.raises(ValueError, match="plays 2 fleets, got readings of 1"):
        planner.act(readings[:1])


def warm_readings(bank: Bank, task: TaskSettings) -> np.ndarray:
    windows = whole_windows(bank)
    fleets = FleetBatch(bank, menu_records(task.menu), len(windows))
    fleets.reset(np.arange(len(windows)), windows.worlds, windows.starts, windows.ends, windows.seeds)
    return fleets.readings


@pytest.mark.parametrize("changes", [{"decision_minutes": 60}, {"decision_minutes": 1440}, {"spot_step_percent": 100}])
def test_other_cadences_and_coarse_spot_shares_can_be_played(
    bank: Bank, task: TaskSettings, book: RuleBook, changes: dict[str, int]
) -> None:
    other = task.model_copy(update=changes)
    windows = short_windows(bank, 2)
    windows.ends[:] = windows.starts + 2 * min(other.decision_minutes, 60)
    assert cost_ratio(play(Planner(other, book, SMALL), bank, other, windows)) < 1.5


@pytest.fixture(scope="module")
def asked(bank: Bank, task: TaskSettings, book: RuleBook) -> Callable[..., int]:
    """The size that a fresh planner asks for, given a forecast of the worst demand at each lead."""

    def ask(rise: float, spread: float, from_lead: int = 0) -> int:
        readings = warm_readings(bank, task)[:1].copy()
        now = float(readings["demand_rps"][0])
        readings["demand_mean_rps"] = now
        level = now * np.where(np.arange(7) >= from_lead, 1.0 + rise, 1.0)
        readings["forecast_rps"] = level[:, None] * np.exp(spread * np.array([-1.3, 0.0, 1.3, 2.3]))
        readings["forecast_available"] = 1.0
        actions = Planner(task, book, SMALL.model_copy(update={"futures": 24})).act(readings)
        fleets = FleetBatch(bank, menu_records(task.menu), 1)
        windows = whole_windows(bank)
        one = slice(0, 1)
        fleets.reset(np.arange(1), windows.worlds[one], windows.starts[one], windows.ends[one], windows.seeds[one])
        forecast = bank.forecast_rps.copy()
        forecast[:] = readings["forecast_rps"][0]
        fleets.bank = bank._replace(forecast_rps=forecast)
        decisions = np.zeros(1, DECISION)
        decode(actions, readings, decisions, task)
        fleets.decisions[:] = decisions
        fleets.step(5)
        return int(fleets.readings["desired"][0] * fleets.readings["candidate_capacity_rps"][0, decisions["spec"][0]])

    return ask


def test_it_provides_for_a_certain_rise_and_not_for_one_that_is_an_hour_away(asked: Callable[..., int]) -> None:
    flat = asked(0.0, 0.02)
    assert asked(1.0, 0.02) > 1.6 * flat
    assert asked(1.0, 0.02, from_lead=5) < 1.25 * flat


def test_it_provides_more_where_demand_is_less_certain(asked: Callable[..., int]) -> None:
    assert asked(0.0, 0.25) > 1.15 * asked(0.0, 0.01)


@pytest.mark.slow
def test_it_beats_every_rule_on_training_worlds(task: TaskSettings, book: RuleBook) -> None:
    source = WorldSource(patterns=("steady", "diurnal", "ramp"), days=1, scenarios_per_source=1, markets=1)
    worlds = make_bank(source, task)
    windows = random_windows(worlds, count=3, days=1, seed=5)
    windows.ends[:] = windows.starts + 360
    planned = play(Planner(task, book, SMALL), worlds, task, windows)
    for rule in book.rules:
        constant = play(book.policy(rule.name, task), worlds, task, windows)
        assert cost_ratio(planned) < cost_ratio(constant), rule.name
