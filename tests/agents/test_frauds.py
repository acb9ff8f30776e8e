"""Planted frauds: each is caught, and its honest twin passes."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from honest_report import honest_report

from agents.evaluation import causality
from agents.evaluation.audit import check_bills, check_report
from agents.evaluation.bound import bound_usd
from agents.evaluation.causality import (
    Recorded,
    changed_future,
    check_annotation_causality,
    check_no_line,
    check_policy_causality,
    check_resampling_causality,
    check_scenarios,
)
from agents.evaluation.conduct import (
    check_calibrated_on,
    check_decides,
    check_recorded_cost,
    check_reward,
    recorded_cost,
)
from agents.evaluation.contest import Contest
from agents.evaluation.figures import figures
from agents.evaluation.report import report_content
from agents.evaluation.waterfall import waterfall_content
from agents.evaluation.worlds import make_worlds, scored_scenario
from agents.policies import ConstantPolicy
from agents.rollout import Played, Windows, cost_ratio, play, random_windows, whole_windows
from agents.rules import RuleBook
from envs.action import encode_action
from envs.episodes import Episodes
from envs.settings import EnvSettings, RewardWeights, TaskSettings
from forecasting.annotate import annotate
from simulators.bank import Bank
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy
from simulators.physics import reference_rps_per_instance
from simulators.records import ZONES
from simulators.scenario import Forecasts, Scenario, generate
from simulators.worlds import build_bank, cross
from telemetry.resample import TickSeries, to_ticks
from telemetry.splits import load_splits
from telemetry.trace import Trace, load_trace

TICK = 2880 + 720


# A policy that peeks at the tape


class ByTelemetry:
    """Scales with the demand it is told of, and remembers the most it has seen."""

    def __init__(self, task: TaskSettings) -> None:
        self._base = encode_action(task, scale=0, candidate=1, spot_percent=50, policy=2)
        self._most: np.ndarray | None = None

    def act(self, readings: np.ndarray) -> np.ndarray:
        demand = readings["demand_rps"]
        self._most = demand if self._most is None else np.maximum(self._most, demand)
        actions = np.tile(self._base, (len(readings), 1))
        actions[:, 0] += np.clip(np.round(4 * demand / self._most) - 2, -2, 2).astype(int)
        return actions


class Peeking(ByTelemetry):
    """The same, but it looks an hour ahead in the tape of its world."""

    def __init__(self, task: TaskSettings, bank: Bank, windows: Windows) -> None:
        super().__init__(task)
        tapes = bank.tapes[bank.worlds["tape"][windows.worlds]]
        self._demand, self._at = bank.demand_rps, tapes["start"] + windows.starts

    def act(self, readings: np.ndarray) -> np.ndarray:
        actions = super().act(readings)
        coming = np.array([self._demand[at : at + 60].mean() for at in self._at])
        actions[:, 0] += coming > 1.2 * readings["demand_rps"]
        self._at = self._at + 5
        return actions


class PeekingAtPrices(ByTelemetry):
    """The same, but it looks at what spot costs two hours later."""

    def __init__(self, task: TaskSettings, bank: Bank, windows: Windows) -> None:
        super().__init__(task)
        self._prices = bank.spot_usd_per_s[bank.worlds["market"][windows.worlds]].mean(axis=2)
        self._tick = windows.starts.copy()

    def act(self, readings: np.ndarray) -> np.ndarray:
        actions = super().act(readings)
        rows, hours = np.arange(len(readings)), self._tick // 60
        actions[:, 2] = np.where(self._prices[rows, hours + 2] > self._prices[rows, hours], 0, 10)
        self._tick = self._tick + 5
        return actions


@pytest.fixture(scope="module")
def windows(bank: Bank) -> Windows:
    """Six hours on both sides of the tick at which the future changes."""
    count = len(bank.worlds)
    starts = np.full(count, TICK - 360)
    return Windows(np.arange(count), starts, starts + 720, np.arange(count, dtype=np.uint64))


def test_worlds_with_another_future_have_the_same_past(bank: Bank) -> None:
    other = changed_future(bank, TICK)
    for tape in bank.tapes:
        start, row = int(tape["start"]), int(tape["row_start"])
        for name, at in (("demand_rps", start + TICK), ("demand_total", start + TICK + 1)):
            one, two = getattr(bank, name), getattr(other, name)
            np.testing.assert_array_equal(one[start:at], two[start:at])
            assert (one[at : start + int(tape["length"])] != two[at : start + int(tape["length"])]).all(), name
        rows = row + TICK // 5 + 1
        np.testing.assert_array_equal(bank.forecast_rps[row:rows], other.forecast_rps[row:rows])
        assert (bank.forecast_rps[rows] != other.forecast_rps[rows]).all()
    for name in ("pool_state", "reclaim", "events", "zone_down", "rebalance_lead"):
        np.testing.assert_array_equal(getattr(bank, name)[:, :TICK], getattr(other, name)[:, :TICK])
    hours = TICK // 60 + 1
    np.testing.assert_array_equal(bank.spot_usd_per_s[:, :hours], other.spot_usd_per_s[:, :hours])
    assert (bank.spot_usd_per_s[:, hours:] != other.spot_usd_per_s[:, hours:]).any()


def test_a_tape_that_has_ended_by_then_has_no_future_to_change(bank: Bank) -> None:
    tapes = bank.tapes.copy()
    tapes["length"][0] = TICK
    start = int(tapes["start"][0])
    other = changed_future(bank._replace(tapes=tapes), TICK)
    length = int(bank.tapes["length"][0])
    np.testing.assert_array_equal(bank.demand_rps[start : start + length], other.demand_rps[start : start + length])
    assert (bank.demand_rps != other.demand_rps).any(), "the others have one"


@pytest.mark.parametrize("peek", [Peeking, PeekingAtPrices])
def test_a_policy_that_peeks_is_caught(peek: type, bank: Bank, task: TaskSettings, windows: Windows) -> None:
    before = bank.demand_rps.copy()
    found = check_policy_causality(lambda own: peek(task, own, windows), bank, task, windows, TICK)
    assert found
    assert all("it peeks" in line for line in found)
    np.testing.assert_array_equal(bank.demand_rps, before)


def test_honest_policies_do_not_peek(bank: Bank, book: RuleBook, task: TaskSettings, windows: Windows) -> None:
    honest = [ByTelemetry(task), *(book.policy(rule.name, task) for rule in book.rules)]
    for policy in honest:
        assert check_policy_causality(lambda _, item=policy: copy.deepcopy(item), bank, task, windows, TICK) == []


def test_a_policy_that_draws_without_a_seed_is_caught(bank: Bank, task: TaskSettings, windows: Windows) -> None:
    class Unseeded(ByTelemetry):
        rng = np.random.default_rng(0)

        def act(self, readings: np.ndarray) -> np.ndarray:
            actions = super().act(readings)
            actions[:, 2] = self.rng.integers(0, 11, len(readings))
            return actions

    found = check_policy_causality(lambda _: Unseeded(task), bank, task, windows, TICK)
    assert len(found) == len(windows)
    assert "or draws at random without a seed" in found[0]


def test_telemetry_that_tells_the_future_is_caught(
    bank: Bank, task: TaskSettings, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics delivered ten minutes before their minute is over: the policy is honest, the judge's worlds are not."""
    monkeypatch.setattr(causality, "changed_future", lambda own, tick: changed_future(own, tick - 10))
    found = check_policy_causality(lambda _: ByTelemetry(task), bank, task, windows, TICK)
    assert len(found) == len(windows)
    assert all("telemetry tells of what begins at tick" in line and "demand_rps" in line for line in found)


def test_a_check_that_could_show_nothing_is_refused(bank: Bank, task: TaskSettings, windows: Windows) -> None:
    with pytest.raises(ValueError, match="choose a tick inside"):
        check_policy_causality(lambda _: ByTelemetry(task), bank, task, windows, TICK + 600)


# A forecaster fed the future


def scenario(forecasts: Forecasts = "quantiles") -> Scenario:
    return generate("bursty", days=2, seed=4, rps_per_reference_instance=20.0, mean_instances=8, forecasts=forecasts)


@pytest.mark.parametrize("forecasts", ["quantiles", "point", "none"])
def test_honest_forecasts_follow_from_the_past(forecasts: Forecasts) -> None:
    given = scenario(forecasts)
    for tick in (1440, TICK, len(given.demand_rps)):
        assert check_annotation_causality(given, tick) == []
    assert check_scenarios([given]) == []


def test_forecasts_made_of_the_future_are_caught() -> None:
    found = check_annotation_causality(scenario("perfect"), TICK)
    assert len(found) == len(check_scenarios([scenario(), scenario("perfect")])) == 1
    assert found[0].startswith("bursty#4: forecasts of tick")


def test_a_forecaster_that_sees_a_smoothed_tape_is_caught() -> None:
    """A centred mean over seven minutes: three of them have not happened yet."""
    given = scenario()
    smooth = np.convolve(given.demand_rps.astype(np.float64), np.ones(7) / 7.0, mode="same")
    found = check_annotation_causality(replace(given, annotation=annotate(smooth)), TICK)
    assert [line.split(" of tick")[0] for line in found] == ["bursty#4: forecasts", "bursty#4: anomaly scores"]


def test_metrics_that_come_too_early_are_caught() -> None:
    given = scenario()
    early = annotate(given.demand_rps.astype(np.float64), delay_ticks=0)
    assert check_annotation_causality(replace(given, annotation=early), TICK)


def test_scores_and_hourly_forecasts_of_the_future_are_caught() -> None:
    given = scenario()
    scores = np.roll(given.annotation.anomaly_score, -12)
    found = check_annotation_causality(replace(given, annotation=replace(given.annotation, anomaly_score=scores)), TICK)
    assert [line.split(" of tick")[0] for line in found] == ["bursty#4: anomaly scores"]
    found = check_annotation_causality(replace(given, predictive_rps=np.roll(given.predictive_rps, -6)), TICK)
    assert [line.split(" of tick")[0] for line in found] == ["bursty#4: hourly forecasts"]


@pytest.mark.traces
@pytest.mark.slow
def test_the_forecasts_of_a_real_trace_follow_from_its_past(traces_dir: Path) -> None:
    given = scored_scenario(load_trace(traces_dir / "aws_elb_request_count_2014_5min.parquet"), TaskSettings())
    assert check_annotation_causality(given, given.first_tick // 60 * 60 + 1440) == []


# A linear interpolation


def coarse_trace(step_s: int = 300, steps: int = 600) -> Trace:
    rng = np.random.default_rng(8)
    values = 100.0 * np.exp(np.sin(np.arange(steps) / 40.0) + rng.normal(0, 0.1, steps))
    nothing = np.zeros(steps, np.bool_)
    start = np.datetime64("2026-01-05T00:00:00", "s")
    return Trace("coarse", start, step_s, values, nothing, ~nothing, "requests", ())


def lines(trace: Trace) -> TickSeries:
    """A straight line from the middle of each step to that of the next."""
    honest = to_ticks(trace)
    middle = (np.arange(len(trace.values)) + 0.5) * trace.step_s
    at = (np.arange(len(honest.values)) + 0.5) * 60
    return replace(honest, values=np.interp(at, middle, trace.values))


@pytest.mark.parametrize(("step_s", "early_s"), [(90, 60), (300, 120), (3600, 1800)])
def test_a_linear_interpolation_is_caught(step_s: int, early_s: int) -> None:
    trace = coarse_trace(step_s)
    (found,) = check_resampling_causality(lines, trace, 300)
    assert f"change with step 300, the first of them {early_s} s before it begins" in found


@pytest.mark.parametrize("step_s", [300, 3600])
def test_a_file_that_was_interpolated_is_caught_without_its_source(step_s: int) -> None:
    (found,) = check_no_line("coarse", lines(coarse_trace(step_s)).values)
    assert found.endswith("it was interpolated")


@pytest.mark.parametrize("step_s", [300, 90, 3600, 60, 15])
def test_the_judges_own_resampling_leads_nowhere(step_s: int) -> None:
    trace = coarse_trace(step_s)
    assert check_resampling_causality(to_ticks, trace, 300) == []
    assert check_no_line("coarse", to_ticks(trace).values) == []


def test_held_and_noisy_series_are_no_lines() -> None:
    rng = np.random.default_rng(9)
    assert check_no_line("held", np.repeat(rng.lognormal(0, 1, 50), 60)) == []
    assert check_no_line("still", np.full(100, 3.0)) == []
    assert check_no_line("noise", rng.lognormal(0, 1, 500)) == []
    assert check_no_line("ramp", np.arange(500.0)) != []


# A bound without refunds apart

HOT_MENU = (ScalingPolicy(name="ample", kind="static", target_utilization=0.25, mean_demand_ratio=1.0),)


@pytest.fixture(scope="module")
def hot_pool() -> tuple[Played, np.ndarray]:
    """Every pool is reclaimed every 50 minutes, one after the other: no spot instance outlives its first hour."""
    task = TaskSettings(menu=HOT_MENU)
    catalogue = task.catalogue()
    ticks, pools = 3 * 1440, len(catalogue.types) * ZONES
    reclaim = np.zeros((ticks, pools), np.uint8)
    for pool in range(pools):
        reclaim[(7 * pool) % 50 :: 50, pool] = 255
    listed = np.repeat([item.price_usd_per_hour for item in catalogue.types], ZONES) / 3600
    prices = np.tile(0.4 * listed, (ticks // 60, 1)).astype(np.float32)
    nothing = np.zeros_like(reclaim)
    market = MarketTape(prices, nothing, reclaim, nothing.copy(), np.zeros(ticks, np.uint8))
    rps = reference_rps_per_instance(catalogue, task.world.workload)
    demand = generate("steady", days=1, seed=3, rps_per_reference_instance=rps, mean_instances=10)
    bank = build_bank([demand], [market], cross(1, 1), catalogue=catalogue, settings=(task.world,))
    whole = whole_windows(bank)
    action = encode_action(task, scale=0, candidate=7, spot_percent=100, policy=0)
    return play(ConstantPolicy(action), bank, task, whole, detail=True), bound_usd(bank, whole)


def report_of(played: Played, bound: np.ndarray) -> dict:
    content = honest_report()
    row = figures(played.totals, played.longest_bad_run)
    for by_trace in content["policies"].values():
        by_trace["shop"] = dict(row)
    content["bound"]["shop"], content["reference"]["shop"] = float(bound[0]), float(played.totals["reference_usd"][0])
    del content["gap_closed"], content["waterfall"]
    content["kind"] = {name: "constant" if kind == "rl" else kind for name, kind in content["kind"].items()}
    content["learned"] = None
    return content


def test_refunds_inside_a_total_are_caught_by_the_bound_in_a_hot_pool(hot_pool: tuple[Played, np.ndarray]) -> None:
    played, bound = hot_pool
    honest = report_of(played, bound)
    assert check_report(honest) == []
    row = honest["policies"]["rule-b"]["shop"]
    assert row["refunds_usd"] > 0.5 * row["infra_usd"]
    netted = copy.deepcopy(honest)
    fraud = netted["policies"]["rule-b"]["shop"]
    fraud["infra_usd"] -= fraud["refunds_usd"]
    fraud["total_usd"] -= fraud["refunds_usd"]
    found = check_report(netted)
    assert len(found) == 1
    assert "below the bound" in found[0]
    assert found[0].endswith("(after refunds?)")


def test_a_total_that_hides_its_refunds_is_caught_at_once(hot_pool: tuple[Played, np.ndarray]) -> None:
    netted = report_of(*hot_pool)
    fraud = netted["policies"]["rule-b"]["shop"]
    fraud["total_usd"] -= 0.1 * fraud["refunds_usd"]
    assert any("total_usd" in line for line in check_report(netted))
    fraud["total_usd"] -= 0.9 * fraud["refunds_usd"]
    assert any("(it is after refunds)" in line for line in check_report(netted))


@pytest.fixture(scope="module")
def contest(book: RuleBook, task: TaskSettings) -> Contest:
    """Two rules and a policy that follows telemetry, on a day of two markets."""
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    demand = generate("bursty", days=1, seed=2_000_000, rps_per_reference_instance=rps, mean_instances=6)
    worlds = make_worlds([demand], task, seeds=[2_000_000, 2_000_001], days=3)
    names = ("target-tracking-cpu", "forecast")
    policies = {name: ConstantPolicy(book.action(name, task)) for name in names} | {"ppo": ByTelemetry(task)}
    played = {name: play(item, worlds.bank, task, worlds.windows, detail=True) for name, item in policies.items()}
    played["ppo"].totals["refund_usd"] += 0.01
    return Contest(
        worlds,
        best_rule="forecast",
        validation={rule.name: 0.3 if rule.name == "forecast" else 0.4 for rule in book.rules},
        kinds={"target-tracking-cpu": "aws", "forecast": "rule", "ppo": "rl"},
        played=played,
        bound_daily=bound_usd(worlds.bank, worlds.windows)[:, None],
        learned="ppo",
    )


def test_refunds_inside_a_bill_are_caught_in_any_market(contest: Contest, book: RuleBook) -> None:
    honest = json.loads(json.dumps(report_content(contest, book, seeds=[])))
    honest["waterfall"] = waterfall_content(contest, "ppo", "forecast")
    assert check_report(honest) == []
    assert check_bills(contest, honest) == []
    fraud = copy.deepcopy(honest)
    for item in fraud["policies"]["ppo"].values():
        item["infra_usd"] -= item["refunds_usd"]
        item["total_usd"] -= item["refunds_usd"]
    (found,) = check_bills(contest, fraud)
    assert found.startswith("policies.ppo.bursty#2000000.infra_usd is")
    assert found.endswith("(it is less refunds)")


# A rule tuned on test

HONEST_ORIGIN = {
    "split": "train",
    "source": {"split": "train", "patterns": ["steady", "bursty"], "traces": ["data/worldcup98_1min.parquet"]},
    "windows": 192,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "test"}, "split is 'test'"),
        ({"source": {"split": "test"}}, "source.split is 'test'"),
        ({"source": {"split": "train", "patterns": ["steady", "flash_crowd"]}}, "'flash_crowd', which is held out"),
        ({"source": {"traces": ["x/twitter_stream_2021_08_1min.parquet"]}}, "'twitter_stream_2021_08_1min', a test"),
        ({"source": {"models": ["google_cluster_2011_job_cpu_5min"]}}, "source.models holds 'google_cluster"),
        ({"market_seeds": [3, 2_000_000]}, "market_seeds holds 2000000"),
        ({"split": None}, "split is None"),
    ],
)
def test_a_rule_tuned_on_test_worlds_is_caught(change: dict, words: str) -> None:
    assert check_calibrated_on(HONEST_ORIGIN) == []
    found = check_calibrated_on(HONEST_ORIGIN | change)
    assert len(found) == 1
    assert words in found[0]


def test_a_rule_of_one_trace_may_see_its_history_alone() -> None:
    origin = {"split": "history", "trace": "worldcup98_1min", "ticks": [1440, 7000], "market_seeds": [0, 1]}
    history = {"worldcup98_1min": load_splits().window("worldcup98_1min", "train", 10_000).stop}
    assert check_calibrated_on(origin, history=history) == []
    found = check_calibrated_on(origin | {"ticks": [1440, 7001]}, history=history)
    assert found == [
        "calibrated_on.ticks of worldcup98_1min end at 7001; its history ends at 7000, what follows is not training"
    ]


def test_a_rule_that_claims_other_windows_than_it_was_tuned_on_is_caught(
    book: RuleBook, task: TaskSettings, bank: Bank
) -> None:
    """The stated cost was reached elsewhere: on the training windows it claims, the rule costs something else."""
    name = "target-tracking-cpu"
    rule = ConstantPolicy(book.action(name, task))
    honest, elsewhere = (cost_ratio(play(rule, bank, task, random_windows(bank, 4, 1, seed=seed))) for seed in (0, 1))
    sentence = "pooled, best of 300 settings on 4 training windows: {:.4f} of reference, 0.80 % bad minutes"
    assert recorded_cost(sentence.format(honest)) == pytest.approx(honest, abs=6e-5)
    assert check_recorded_cost(name, sentence.format(honest), honest) == []
    found = check_recorded_cost(name, sentence.format(elsewhere), honest)
    assert found == [f"calibration.{name} states {elsewhere:.4f} of reference; played again it costs {honest:.4f}"]
    assert check_recorded_cost(name, "by hand", honest) == [f"calibration.{name} states no cost: 'by hand'"]


def test_the_shipped_rules_were_not_tuned_on_test(book: RuleBook) -> None:
    assert book.calibrated_on
    assert check_calibrated_on(book.calibrated_on) == []
    assert all(recorded_cost(book.calibration[rule.name]) for rule in book.rules if rule.name in book.calibration)


# A learned policy that is a constant


def test_a_learned_policy_that_is_a_constant_is_caught(
    bank: Bank, book: RuleBook, task: TaskSettings, windows: Windows
) -> None:
    fraud, honest = Recorded(ConstantPolicy(book.action("forecast", task))), Recorded(ByTelemetry(task))
    for policy in (fraud, honest):
        play(policy, bank, task, windows)
    found = check_decides("ppo", fraud.actions)
    assert found == [f"ppo takes the action {book.action('forecast', task).tolist()} in 100.0 % of its decisions"]
    assert check_decides("ppo", honest.actions) == []


# A reward whose sign is swapped


def episodes(bank: Bank, task: TaskSettings, weights: RewardWeights) -> Episodes:
    return Episodes(EnvSettings(task=task.model_copy(update={"reward": weights})), 16, bank=bank)


def test_a_swapped_reward_is_caught(bank: Bank, task: TaskSettings) -> None:
    assert check_reward(episodes(bank, task, RewardWeights()), decisions=100) == []
    swapped = RewardWeights(cost_savings=-1.0, sla_compliance=-1.0)
    found = check_reward(episodes(bank, task, swapped), decisions=100)
    assert found == ["reward: episodes that cost more are paid more; its sign is swapped"]
    assert check_reward(episodes(bank, task, swapped), decisions=100, exact=False) == found


def test_a_reward_that_forgets_the_penalty_is_caught_unless_it_is_meant_to(bank: Bank, task: TaskSettings) -> None:
    half = RewardWeights(cost_savings=1.0, sla_compliance=0.5)
    found = check_reward(episodes(bank, task, half), decisions=100)
    assert len(found) == 1
    assert "minus its USD over reference" in found[0]
    assert check_reward(episodes(bank, task, half), decisions=100, exact=False) == []
