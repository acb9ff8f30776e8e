"""What a planner believes: the present from a reading, demand from forecasts, spot pools from what was seen."""

import numpy as np
import pytest
from scipy.special import ndtri

from agents.planning.demand import (
    DemandPast,
    draw_shocks,
    forecast_rows,
    like_the_past,
    minute_demand,
    quantile_at,
    score_of,
    score_paths,
    step_correlations,
    step_quantiles,
)
from agents.planning.markets import HotLibrary, SpotEvidence, draw_library, draw_windows, hot_chance
from agents.planning.sizes import Sizes
from agents.planning.state import reconstruct
from agents.rollout import play, whole_windows
from agents.rules import RuleBook
from envs.action import decode
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.menu import menu_records
from simulators.records import DECISION, DRY, LEAD_MINUTES, QUANTILE_LEVELS, TELEMETRY

KNOWN = (
    "desired",
    "in_service",
    "pending",
    "draining",
    "leaving",
    "spot_in_use",
    "type_count",
    "refreshing",
    "spec",
    "policy",
    "spot_fraction",
    "dependable_rps",
    "cpu_utilization",
    "requests_per_target",
    "late_fraction",
    "error_fraction",
    "bad_recent",
    "minutes_since_bad",
    "minutes_since_launch_failure",
    "minutes_since_interruption",
)


def wandering_fleets(bank: Bank, task: TaskSettings, decisions: int, seed: int) -> FleetBatch:
    """Fleets in the middle of refreshes, drains, boots and interruptions."""
    rng = np.random.default_rng(seed)

    class Wandering:
        def act(self, readings: np.ndarray) -> np.ndarray:
            sizes = (39, len(task.candidates) + 1, task.num_spot_levels, len(task.menu))
            actions = np.stack([rng.integers(0, size, len(readings)) for size in sizes], axis=1)
            actions[:, 0] = np.clip(actions[:, 0], 14, 26)
            actions[rng.random(len(readings)) < 0.7, 1] = 0
            return actions

    seen: list[FleetBatch] = []
    windows = whole_windows(bank)
    windows.ends[:] = windows.starts + 5 * decisions
    play(Wandering(), bank, task, windows, watch=seen.append)
    return seen[-1]


@pytest.mark.parametrize("decisions", [1, 3, 20, 41])
def test_a_rebuilt_fleet_reads_as_the_one_it_was_rebuilt_from(bank: Bank, task: TaskSettings, decisions: int) -> None:
    fleets = wandering_fleets(bank, task, decisions, seed=decisions)
    physics = bank.physics[0]
    rebuilt = FleetBatch(bank, menu_records(task.menu), len(fleets))
    for index, reading in enumerate(fleets.readings):
        rebuilt.state[index : index + 1] = reconstruct(reading, physics, int(fleets.state["tick"][index]))
    rebuilt.state["world"] = fleets.state["world"]
    rebuilt.state["end_tick"] = rebuilt.state["tick"]
    rebuilt.step(0)
    for name in KNOWN:
        np.testing.assert_allclose(rebuilt.readings[name], fleets.readings[name], err_msg=name)


def test_an_overloaded_fleet_is_rebuilt_with_its_queues(bank: Bank, task: TaskSettings) -> None:
    fleets = wandering_fleets(bank, task, 3, seed=0)
    reading, physics = fleets.readings[0].copy(), bank.physics[0]
    reading["cpu_utilization"], reading["late_fraction"], reading["error_fraction"] = 0.5, 0.0, 0.0
    assert reconstruct(reading, physics, 60)["backlog_requests"].sum() == 0.0
    reading["cpu_utilization"], reading["late_fraction"] = 1.0, 1.0
    reading["demand_rps"] = 0.5 * reading["capacity_rps"]
    some = reconstruct(reading, physics, 60)
    reading["demand_rps"] = 2.0 * reading["capacity_rps"]
    full = reconstruct(reading, physics, 60)
    assert 0.0 < some["backlog_requests"].sum() < full["backlog_requests"].sum()
    assert full["retry_rps"][0, 0] == reading["demand_rps"]
    assert some["retry_rps"][0, 0] == 0.0


def forecast_reading(median: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """One reading whose forecast is normal at every lead."""
    readings = np.zeros(1, TELEMETRY)
    readings["forecast_rps"] = median[:, None] + sigma[:, None] * ndtri(np.array(QUANTILE_LEVELS))
    readings["forecast_available"] = 1.0
    return readings


LEADS = np.array(LEAD_MINUTES)
RANDOM_WALK = forecast_reading(500.0 + 0.5 * LEADS, 20.0 * np.sqrt(LEADS / 5.0))


def no_past(fleets: int) -> DemandPast:
    none = np.zeros((fleets, 0))
    return DemandPast(none, none, np.zeros(fleets), np.ones(fleets), np.ones(fleets))


def test_steps_have_the_quantiles_of_the_forecast_at_every_lead() -> None:
    steps = step_quantiles(RANDOM_WALK, 48)
    np.testing.assert_allclose(steps[0, LEADS // 5 - 1], RANDOM_WALK["forecast_rps"][0])
    assert (np.diff(steps, axis=2) > 0).all()


def test_paths_have_the_quantiles_of_the_forecast_at_every_step() -> None:
    steps = step_quantiles(RANDOM_WALK, 12)
    correlations = step_correlations(steps)
    shocks = draw_shocks(20_000, 12, seed=1, decision=0).shocks[None]
    means = quantile_at(steps[:, None], score_paths(correlations, np.zeros(1), shocks))
    seen = np.quantile(means[0], QUANTILE_LEVELS, axis=0).T
    spread = steps[0, :, 2] - steps[0, :, 1]
    np.testing.assert_allclose((seen - steps[0]) / spread[:, None], 0.0, atol=0.12)
    assert abs(np.corrcoef(np.diff(means[0, :, :2])[:, 0], means[0, :, 0] - means[0, :, 0].mean())[0, 1]) < 0.05


def test_a_later_forecast_of_a_random_walk_is_as_sharp_as_the_first() -> None:
    steps = step_quantiles(RANDOM_WALK, 14)
    correlations = step_correlations(steps)
    scores = score_paths(correlations, np.zeros(1), draw_shocks(64, 14, seed=2, decision=0).shocks[None])
    rows = forecast_rows(steps, correlations, scores, 8, 3)
    width = rows[..., 2] - rows[..., 0]
    exact = np.array([20.0, 20.0 * np.sqrt(2.0), 20.0 * np.sqrt(3.0)]) * (ndtri(0.9) - ndtri(0.1))
    np.testing.assert_allclose(width[0, :, 1:3], np.broadcast_to(exact, (64, 2, 3)), rtol=0.03)
    np.testing.assert_array_equal(rows[0, :, 0], np.broadcast_to(steps[0, [0, 1, 2]], (64, 3, 4)))


def test_minutes_keep_the_mean_of_their_step_and_a_score_is_the_inverse_of_a_quantile() -> None:
    steps = step_quantiles(RANDOM_WALK, 6)
    draws = draw_shocks(16, 6, seed=3, decision=0)
    scores = score_paths(step_correlations(steps), np.zeros(1), draws.shocks[None])
    demand = minute_demand(steps, scores, draws.noise, np.array([2.0]))
    means = quantile_at(steps[:, None], scores)
    np.testing.assert_allclose(demand.reshape(1, 16, 6, 5).mean(axis=3), means)
    np.testing.assert_allclose(score_of(steps[:, None], means), scores, atol=1e-9)
    rough = demand.reshape(16, 6, 5).std(axis=2).mean()
    smooth = minute_demand(steps, scores, draws.noise, np.array([0.5])).reshape(16, 6, 5).std(axis=2).mean()
    assert rough > 3.0 * smooth


def test_futures_repeat_bursts_that_forecasts_missed_before() -> None:
    draws = draw_shocks(200, 6, seed=4, decision=0)
    calm = np.zeros((1, 900))
    bursts = calm.copy()
    bursts[0, ::45], bursts[0, 1::45] = 8.0, 5.0
    past = DemandPast(bursts, bursts, np.zeros(1), np.ones(1), np.ones(1))
    shocks = like_the_past(draws, past)[0]
    burst = shocks[:, :-1] == 8.0
    assert 0.012 < burst.mean() < 0.032, "one step in 45, as in the past"
    assert (shocks[:, 1:][burst] == 5.0).all(), "a burst goes on as it did"
    assert like_the_past(draws, no_past(1)).max() < 8.0


def test_blind_forecasts_still_spread() -> None:
    readings = np.zeros(1, TELEMETRY)
    readings["forecast_rps"] = 300.0
    steps = step_quantiles(readings, 4)
    assert (steps[0, :, 2] > 1.1 * 300.0).all()
    assert (np.diff(steps[0, :, 2]) > 0).all()


@pytest.fixture(scope="module")
def library(task: TaskSettings) -> HotLibrary:
    return draw_library(task.catalogue())


def test_an_interruption_makes_a_type_hot_and_quiet_hours_make_it_calm(library: HotLibrary) -> None:
    kinds = len(library.prior)
    none = np.zeros((1, kinds))
    np.testing.assert_allclose(hot_chance(library, none, none)[0], library.prior)
    assert (hot_chance(library, none, none + 1) > 0.95).all()
    assert (hot_chance(library, none + 12.0, none) < 0.01 * library.prior).all()


def evidence_of(library: HotLibrary, chance: float, *, reclaim: int, refusal: int, in_use: bool) -> SpotEvidence:
    shape = (1, len(library.prior))
    return SpotEvidence(
        np.full(shape, chance), np.full(shape, reclaim), np.full(shape, refusal), np.full(shape, in_use)
    )


def test_windows_begin_as_what_was_seen(library: HotLibrary) -> None:
    def windows(chance: float, **seen: int) -> np.ndarray:
        evidence = evidence_of(library, chance, reclaim=10**6, refusal=10**6, in_use=True, **seen)
        return draw_windows(library, evidence, futures=40, minutes=30, rng=np.random.default_rng(0)).pool_state

    assert not windows(0.0).any()
    zones = windows(1.0).reshape(40, 30, -1, 3)
    assert (zones[:, 0] == 0).all(), "room at first"
    assert zones.any(), "not for ever"


def test_as_many_futures_are_hot_as_the_chance_says(library: HotLibrary) -> None:
    evidence = evidence_of(library, 0.25, reclaim=2, refusal=10**6, in_use=True)
    windows = draw_windows(library, evidence, futures=40, minutes=60, rng=np.random.default_rng(1))
    hot = (windows.pool_state.reshape(40, 60, -1, 3) == DRY).any(axis=(1, 3))
    np.testing.assert_allclose(hot.mean(axis=0), 0.25, atol=0.051)


def test_orders_give_the_size_they_are_asked_for(bank: Bank, task: TaskSettings) -> None:
    sizes = Sizes(task)
    fleets = wandering_fleets(bank, task, 6, seed=2)
    readings = fleets.readings.copy()
    spec = readings["spec"].astype(int)
    for asked in (3, 9, 14):
        actions = np.stack(
            [sizes.action(reading, kind, 1.0, asked) for reading, kind in zip(readings, spec, strict=True)]
        )
        decisions = np.zeros(len(readings), DECISION)
        decode(actions, readings, decisions, task)
        again = FleetBatch(bank, sizes.menu, len(fleets))
        again.state[:] = fleets.state
        again.state["end_tick"] += 100
        again.state["desired"] = np.minimum(again.state["desired"], asked)
        again.decisions[:] = decisions
        manual = task.menu[0].kind == "manual" and (decisions["policy"] == 0)
        again.step(1)
        assert (again.readings["desired"][~manual] == asked).all()


def test_a_choice_is_decoded_as_the_specification_it_meant(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    sizes = Sizes(book.task(task))
    readings = wandering_fleets(bank, task, 6, seed=3).readings.copy()
    for spec in range(len(task.candidates)):
        for spot in (0.0, 0.5, 1.0):
            actions = np.stack([sizes.action(reading, spec, spot, 8) for reading in readings])
            decisions = np.zeros(len(readings), DECISION)
            decode(actions, readings, decisions, task)
            assert (decisions["spec"] == spec).all()
            assert (decisions["spot_fraction"] == spot).all()


def test_tails_want_what_the_kernel_gives_them(bank: Bank, task: TaskSettings) -> None:
    sizes = Sizes(task)
    fleets = wandering_fleets(bank, task, 6, seed=4)
    for tail in (0, sizes.num_tails - 1):
        again = FleetBatch(bank, sizes.menu, len(fleets))
        again.state[:] = fleets.state
        again.state["end_tick"] += 100
        again.state["desired"] = 1
        spec = fleets.state["spec"].astype(int)
        again.decisions["spec"] = spec
        again.decisions["spot_fraction"] = 1.0
        again.decisions["policy"] = [sizes.tail_index(kind, tail) for kind in spec]
        wants = [sizes.wants(reading, kind, 1.0)[tail] for reading, kind in zip(fleets.readings, spec, strict=True)]
        again.step(1)
        np.testing.assert_array_equal(again.readings["desired"], np.clip(wants, 1, 99))


def test_the_planner_needs_a_manual_entry(task: TaskSettings) -> None:
    menu = tuple(policy for policy in task.menu if policy.kind != "manual")
    with pytest.raises(ValueError, match="needs a manual entry"):
        Sizes(task.model_copy(update={"menu": menu}))
