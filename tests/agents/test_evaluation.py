"""The comparison and its report: what it says, and what it must not say."""

import html
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.bundle import load_bundle
from agents.evaluation import worlds as referee
from agents.evaluation.actions import constant_actions
from agents.evaluation.contest import BOUND, Contest, compare
from agents.evaluation.figures import figures
from agents.evaluation.headline import headline
from agents.evaluation.markdown import markdown
from agents.evaluation.plots import PLOTS
from agents.evaluation.report import report_content, write_report
from agents.evaluation.scoring import Lineup, conduct_findings
from agents.evaluation.worlds import Worlds, make_worlds
from agents.policies import ConstantPolicy
from agents.rollout import cost_ratio, play
from agents.rules import RuleBook
from envs.settings import TaskSettings, WorldSource
from envs.worlds import draw_scenarios
from simulators.physics import reference_rps_per_instance
from simulators.records import BILL_LINES, OUTCOME, RESPONSE_GRID_MS
from simulators.scenario import Scenario, generate
from telemetry.splits import load_splits
from telemetry.trace import load_trace

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = {
    "learned",
    "best_rule",
    "reference",
    "bound",
    "policies",
    "kind",
    "calibration",
    "trace_kind",
    "infeasible_minutes",
    "gap_closed",
    "bill_at_equal_bad_minutes",
    "seeds",
}
ADDED = {
    "first_line",
    "partial",
    "validation_total_over_reference",
    "market_seeds",
    "rows",
    "bound_over_reference",
    "tight_bound",
    "tight_bound_over_reference",
    "waterfall",
    "target_tracking",
    "by_kind",
    "per_trace",
    "apart",
    "front",
    "one_action",
}
STUDIES = {"perfect_forecasts", "shift", "cadence", "adherence"}
FIGURES = {
    "total_usd",
    "infra_usd",
    "slo_penalty_usd",
    "refunds_usd",
    "bad_minutes_fraction",
    "longest_bad_run_minutes",
    "slo_attainment_requests",
    "p95_ms",
    "p99_ms",
    "mean_utilization",
    "interruptions",
    "launches_per_day",
    "type_changes_per_day",
}


def scenarios_of(task: TaskSettings, patterns: tuple[str, ...], seed: int) -> list[Scenario]:
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    return [generate(name, days=1, seed=seed, rps_per_reference_instance=rps, mean_instances=6) for name in patterns]


@pytest.fixture(scope="module")
def scored_part(task: TaskSettings) -> Worlds:
    scenarios = scenarios_of(task, ("bursty", "diurnal", "steady"), 2_000_000)
    return make_worlds(scenarios, task, seeds=[2_000_000, 2_000_001], days=3)


@pytest.fixture(scope="module")
def validation_part(task: TaskSettings) -> Worlds:
    return make_worlds(scenarios_of(task, ("bursty", "ramp"), 1_000_000), task, seeds=[1_000_000], days=3)


@pytest.fixture(scope="module")
def contest(
    book: RuleBook, task: TaskSettings, scored_part: Worlds, validation_part: Worlds, bundle_folder: Path
) -> Contest:
    learned = load_bundle(bundle_folder).policy()
    return compare(book, task, scored_part, validation_part, learned={"ppo": learned}, shipped="ppo")


@pytest.fixture(scope="module")
def content(contest: Contest, book: RuleBook) -> dict[str, object]:
    """The report as a reader of the file gets it."""
    return json.loads(json.dumps(report_content(contest, book, seeds=[3])))


def test_the_report_has_the_keys_of_its_contract(content: dict, contest: Contest) -> None:
    assert set(content) == CONTRACT | ADDED
    traces = [scenario.name for scenario in contest.worlds.scenarios]
    best_constant = contest.names("constant")[0]
    for key in ("reference", "bound", "trace_kind", "infeasible_minutes"):
        assert list(content[key]) == traces, key
    assert set(content["policies"]) == set(content["kind"]) == set(contest.played)
    for name, by_trace in content["policies"].items():
        assert list(by_trace) == traces, name
        for row in by_trace.values():
            assert set(row) == FIGURES
            counted = {key: value for key, value in row.items() if key not in ("p95_ms", "p99_ms")}
            assert all(isinstance(value, float) and math.isfinite(value) for value in counted.values())
            if content["kind"][name] != "constant" or name == best_constant:
                assert 50.0 <= row["p95_ms"] <= row["p99_ms"]
            else:
                assert row["p95_ms"] is None
                assert row["p99_ms"] is None
    assert set(content["kind"].values()) == {"rl", "rule", "aws", "constant"}
    assert set(content["gap_closed"]) == {"vs", "value", "ci95", "wins", "of"}
    assert set(content["bill_at_equal_bad_minutes"]) == {"vs", "value", "ci95"}
    assert content["gap_closed"]["vs"] == content["best_rule"]
    assert len(content["gap_closed"]["ci95"]) == 2
    assert content["learned"] == "ppo"
    assert content["seeds"] == [3]
    assert set(content["trace_kind"].values()) <= {"requests", "other"}


def test_totals_are_bill_and_penalty_before_refunds(content: dict) -> None:
    refunds = 0.0
    for by_trace in content["policies"].values():
        for row in by_trace.values():
            assert row["total_usd"] == pytest.approx(row["infra_usd"] + row["slo_penalty_usd"], rel=1e-12)
            assert 0.0 <= row["bad_minutes_fraction"] <= 1.0
            assert 0.0 <= row["slo_attainment_requests"] <= 1.0
            refunds += row["refunds_usd"]
    assert refunds > 0.0


def test_gap_closed_is_the_ratio_of_sums_of_the_reports_own_figures(content: dict) -> None:
    reference, rule = content["reference"], content["policies"][content["best_rule"]]
    ours, bound = content["policies"]["ppo"], content["bound"]
    saved = sum((rule[t]["total_usd"] - ours[t]["total_usd"]) / reference[t] for t in reference)
    possible = sum((rule[t]["total_usd"] - bound[t]) / reference[t] for t in reference)
    gap = content["gap_closed"]
    assert gap["value"] == pytest.approx(saved / possible, abs=2e-6)
    assert gap["ci95"][0] <= gap["value"] <= gap["ci95"][1]
    assert gap["wins"] == sum(ours[t]["total_usd"] < rule[t]["total_usd"] for t in reference)
    assert gap["of"] == 3


def test_nobody_is_below_the_bound(content: dict) -> None:
    for name, by_trace in content["policies"].items():
        for trace, row in by_trace.items():
            assert row["total_usd"] >= content["tight_bound"][trace] >= content["bound"][trace], (name, trace)


def test_the_best_rule_is_named_on_validation_alone(
    contest: Contest, book: RuleBook, task: TaskSettings, validation_part: Worlds
) -> None:
    ratios = {
        rule.name: cost_ratio(play(book.policy(rule.name, task), validation_part.bank, task, validation_part.windows))
        for rule in book.rules
    }
    assert contest.validation == ratios
    assert contest.best_rule == min(ratios, key=lambda name: ratios[name])


def test_every_constant_action_of_the_menu_is_scored(contest: Contest, book: RuleBook, task: TaskSettings) -> None:
    actions = constant_actions(book, task)
    ranks = {1} | {rule.candidate for rule in book.rules if rule.is_constant and rule.candidate}
    assert len(actions) == len(book.rules) * 11 * len(ranks)
    assert set(contest.names("constant")) == set(actions)
    some = list(actions)[7 * 11 - 3]
    alone = play(ConstantPolicy(actions[some]), contest.worlds.bank, task, contest.worlds.windows)
    np.testing.assert_array_equal(alone.total_usd, contest.played[some].total_usd)


def test_figures_by_hand() -> None:
    totals = np.zeros(2, OUTCOME)
    totals["ticks"], totals["requests"] = 1440, [1000.0, 3000.0]
    totals["on_demand_usd"], totals["spot_usd"] = [1.0, 3.0], [0.5, 0.5]
    totals["slo_penalty_usd"], totals["refund_usd"] = [2.0, 0.0], [0.2, 0.4]
    totals["late_requests"], totals["bad_minutes"] = [100.0, 100.0], [36, 0]
    totals["busy_vcpu_s"], totals["in_service_vcpu_s"] = [10.0, 50.0], [40.0, 80.0]
    totals["launches"], totals["interruptions"], totals["type_changes"] = [4, 8], [1, 0], [2, 2]
    grid = np.array(RESPONSE_GRID_MS)
    totals["slower_requests"] = totals["requests"][:, None] * np.exp(-grid / 100.0)
    found = figures(totals, np.array([12, 0]))
    by_hand = {
        "total_usd": 3.5,
        "infra_usd": 2.5,
        "slo_penalty_usd": 1.0,
        "refunds_usd": 0.3,
        "bad_minutes_fraction": 36 / 2880,
        "longest_bad_run_minutes": 6.0,
        "slo_attainment_requests": 0.95,
        "mean_utilization": 0.5,
        "interruptions": 0.5,
        "launches_per_day": 6.0,
        "type_changes_per_day": 2.0,
    }
    for name, value in by_hand.items():
        assert found[name] == pytest.approx(value), name
    assert found["p95_ms"] == pytest.approx(100 * math.log(20), rel=0.03)
    assert found["p99_ms"] == pytest.approx(100 * math.log(100), rel=0.03)


def test_a_policy_that_really_costs_less_is_called_a_win(contest: Contest) -> None:
    """The same fleets with half the bill: the headline can also say yes."""
    best = contest.names("constant", "rule", "aws")[0]
    item = contest.played[best]
    totals = item.totals.copy()
    for line in (*BILL_LINES, "slo_penalty_usd"):
        totals[line] *= 0.5
    better = replace(contest, played=dict(contest.played), kinds=dict(contest.kinds))
    better.played["ppo"] = replace(item, totals=totals, daily_usd=item.daily_usd * 0.5)
    assert headline(better).startswith("The learned policy costs")
    worse = replace(contest, played=dict(contest.played))
    worse.played["ppo"] = replace(item, daily_usd=item.daily_usd * 1.5)
    assert headline(worse).startswith("The learned policy loses to")


def test_the_page_repeats_the_figures(contest: Contest, book: RuleBook, tmp_path: Path) -> None:
    content = write_report(contest, book, tmp_path, seeds=[3])
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(content))
    page = (tmp_path / "report.md").read_text()
    assert page == markdown(content)
    assert page.splitlines()[2] == headline(contest) == content["first_line"]
    totals = sorted(row["total"] for row in content["rows"])
    assert content["bound_over_reference"] < totals[0]
    assert f"| {BOUND} | bound | {content['bound_over_reference']:.4f} |" in page
    for row in content["rows"]:
        assert row["total"] == pytest.approx(row["bill"] + row["penalty"], abs=2e-6)
        assert f"| {row['name']} | {row['kind']} | {row['total']:.4f} | {row['bill']:.4f} |" in page
    positions = [page.index(f"| {row['name']} | {row['kind']} |") for row in content["rows"]]
    by_page = [
        row["total"] for _, row in sorted(zip(positions, content["rows"], strict=True), key=lambda pair: pair[0])
    ]
    assert by_page == totals


def test_who_and_what_is_compared_is_looked_at_first(book: RuleBook, task: TaskSettings, scored_part: Worlds) -> None:
    honest = Lineup(book, task, makers={"rule": lambda: book.policy("forecast", task)})
    assert conduct_findings(honest, scored_part) == []
    tuned = book.model_copy(update={"calibrated_on": {"split": "test"}})
    found = conduct_findings(replace(honest, book=tuned, trace_books={"bursty#2000000": tuned}), scored_part)
    assert [line.split(":")[0] for line in found] == ["rules", "rules of bursty#2000000"]
    assert all("expected 'train'" in line for line in found)
    annotation = replace(
        scored_part.scenarios[0].annotation, forecast_rps=scored_part.scenarios[0].annotation.forecast_rps[::-1]
    )
    clairvoyant = replace(scored_part, scenarios=[replace(scored_part.scenarios[0], annotation=annotation)])
    assert conduct_findings(honest, clairvoyant)


def test_rules_alone_can_be_compared(book: RuleBook, task: TaskSettings, validation_part: Worlds) -> None:
    alone = compare(book, task, validation_part, validation_part, learned={})
    assert alone.learned is None
    assert "gap_closed" not in report_content(alone, book, seeds=[])
    assert headline(alone).startswith(f"The best rule, named on validation worlds, is {alone.best_rule}: ")
    assert alone.names("aws")[0] in headline(alone)


def write_trace(path: Path, *, days: float = 4.0, seed: int = 0, name: str = "requests_per_second") -> None:
    rng = np.random.default_rng(seed)
    steps = int(days * 288)
    stamps = np.datetime64("2026-01-05T00:00:00") + np.arange(steps) * np.timedelta64(300, "s")
    values = 100 * (1.2 + np.sin(2 * np.pi * np.arange(steps) / 288)) * rng.lognormal(0, 0.05, steps)
    lines = [f"{stamp}Z,{value:.3f}" for stamp, value in zip(stamps, values, strict=True)]
    path.write_text(f"timestamp,{name}\n" + "\n".join(lines) + "\n")


def test_an_operators_trace_is_scored_on_its_last_part(task: TaskSettings, tmp_path: Path) -> None:
    write_trace(tmp_path / "shop.csv")
    scenario = referee.scored_scenario(load_trace(tmp_path / "shop.csv"), task)
    ticks = 4 * 1440
    assert (scenario.first_tick, scenario.last_tick) == (7 * ticks // 10, ticks)
    history = scenario.demand_rps[: scenario.first_tick].astype(np.float64)
    assert scenario.mean_demand_rps == pytest.approx(history.mean(), rel=1e-5)
    assert history.mean() == pytest.approx(20 * 24, rel=1e-4)
    assert scenario.reference_demand_rps == pytest.approx(
        scenario.demand_rps[scenario.first_tick :].astype(np.float64).mean(), rel=1e-5
    )


def test_a_trace_too_short_to_score_says_how_much_it_needs(task: TaskSettings, tmp_path: Path) -> None:
    write_trace(tmp_path / "shop.csv", days=3)
    with pytest.raises(ValueError, match=r"shop: 1296 minutes to play; at least one day \(1440\) is needed"):
        referee.scored_scenario(load_trace(tmp_path / "shop.csv"), task)


def training_and_scored_ticks(path: Path, task: TaskSettings) -> dict[str, range]:
    used = {}
    for split in ("train", "validate"):
        source = WorldSource(split=split, patterns=(), traces=(str(path),))
        scenario = draw_scenarios(source, task)[0]
        used[split] = range(scenario.first_tick, scenario.last_tick)
    scenario = referee.scored_scenario(load_trace(path), task)
    return used | {"test": range(scenario.first_tick, scenario.last_tick)}


@pytest.mark.parametrize("name", ["shop", "tweets_AAPL_2015_5min"])
def test_what_is_scored_was_never_trained_on(task: TaskSettings, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.csv"
    write_trace(path, days=12)
    used = training_and_scored_ticks(path, task)
    assert used["train"].stop <= used["validate"].start
    assert used["validate"].stop <= used["test"].start
    assert used["test"].stop == 12 * 1440
    listed = name != "shop"
    assert used["test"].start == (85 if listed else 70) * 12 * 1440 // 100


def test_a_trace_held_out_whole_cannot_be_trained_on(task: TaskSettings, tmp_path: Path) -> None:
    path = tmp_path / "tweets_AMZN_2015_5min.csv"
    write_trace(path, days=10)
    assert path.stem in load_splits().whole_test_traces
    with pytest.raises(ValueError, match="has no train part"):
        draw_scenarios(WorldSource(patterns=(), traces=(str(path),)), task)
    scenario = referee.scored_scenario(load_trace(path), task)
    assert (scenario.first_tick, scenario.last_tick) == (4320, 14400)


def test_generated_worlds_of_the_splits_have_seeds_of_their_own(task: TaskSettings) -> None:
    source = WorldSource(patterns=("steady",), days=1, scenarios_per_source=2, markets=1)
    names = {
        split: {item.name for item in draw_scenarios(source.model_copy(update={"split": split}), task)}
        for split in ("train", "validate")
    }
    tests = {item.name for item in referee.generated_test_scenarios(task, ["worldcup98_1min"], days=1)}
    assert names["train"].isdisjoint(names["validate"])
    seeds = {split: load_splits().seed_range(split) for split in ("train", "validate", "test")}
    for split, found in (*names.items(), ("test", tests)):
        assert all(int(name.rpartition("#")[2]) in seeds[split] for name in found)
    for found in referee.worlds_for_test(
        scenarios_of(task, ("steady",), 2_000_005), task, markets=2
    ).market_seeds.values():
        assert all(seed in seeds["test"] for seed in found)


def test_training_may_not_draw_the_held_out_patterns(task: TaskSettings) -> None:
    for split in ("train", "validate"):
        for pattern in load_splits().patterns.test:
            with pytest.raises(ValueError, match=f"'{pattern}' does not belong to the {split} split"):
                draw_scenarios(WorldSource(split=split, patterns=(pattern,)), task)


def evaluate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(Path.home()), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_scores_a_folder_and_names_what_is_broken(bundle_folder: Path, tmp_path: Path) -> None:
    traces, out = tmp_path / "traces", tmp_path / "report"
    traces.mkdir()
    write_trace(traces / "shop.csv", seed=1)
    write_trace(traces / "radio.csv", seed=2)
    (traces / "torn.csv").write_text("timestamp,requests_per_second\n2026-01-05T00:00:00Z,1\n2026-01-05T00:05:00Z,-4\n")
    done = evaluate(
        "--bundle", str(bundle_folder), "--traces", str(traces), "--out", str(out), "--markets", "2", "--trials", "2"
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "torn.csv" in done.stderr
    content = json.loads((out / "report.json").read_text())
    assert set(content) == CONTRACT | ADDED | STUDIES | {"findings"}
    assert content["findings"] == [] or "one action" in content["findings"][0]
    assert sorted(content["reference"]) == ["radio", "shop"]
    assert {len(seeds) for seeds in content["market_seeds"].values()} == {2}
    assert done.stdout.startswith("The learned policy")
    assert done.stdout.splitlines()[0] in (out / "report.md").read_text()
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == {*PLOTS, "day_shop.png", "day_radio.png"}
    assert done.stdout.splitlines()[0] in html.unescape((out / "report.html").read_text())
    assert (out / "day.gif").stat().st_size < 2_000_000
    assert (out / "record.json").exists()


def test_the_command_refuses_what_it_cannot_use(bundle_folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "report")
    for arguments, words in (
        (("--bundle", str(bundle_folder), "--out", out), "either --traces FOLDER or --split test"),
        (("--bundle", str(bundle_folder), "--out", out, "--split", "train"), "expected 'test'"),
        (("--bundle", str(tmp_path), "--out", out, "--split", "test"), "manifest.json is missing"),
        (("--bundle", str(bundle_folder), "--out", out, "--traces", str(tmp_path)), "holds no trace file"),
        (("--policy", "nowhere", "--out", out, "--split", "test"), "policy 'nowhere': expected module:factory"),
    ):
        done = evaluate(*arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "report").exists()
