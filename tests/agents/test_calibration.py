import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.calibration import (
    FRONT_SIZE,
    PENALTY_WEIGHTS,
    Calibrated,
    Tried,
    calibrate,
    search,
    take_best,
    try_rules,
    write_record,
)
from agents.calibration_jobs import Job, run_jobs
from agents.ground import Ground, GroundSettings, history_ground, pooled_ground
from agents.rollout import bad_fraction, cost_ratio, play, random_windows
from agents.rules import CONFIGS, RuleBook, load_rules
from envs.settings import TaskSettings, WorldSource
from simulators.bank import Bank
from telemetry.splits import load_splits

TRIALS = 8


@pytest.fixture(scope="module")
def untuned() -> RuleBook:
    return load_rules(CONFIGS / "rules_untuned.yaml")


@pytest.fixture(scope="module")
def ground(bank: Bank) -> Ground:
    windows = (random_windows(bank, 6, 1, seed=number) for number in (0, 1))
    return Ground(bank, TaskSettings(), *windows, scope="pooled", origin={"split": "train"})


@pytest.fixture(scope="module")
def few(untuned: RuleBook) -> RuleBook:
    """One rule of each way of acting."""
    names = ("manual", "step", "aws-best-practice", "forecast", "spot-hedge")
    return untuned.model_copy(update={"rules": tuple(untuned.rules[untuned.index(name)] for name in names)})


@pytest.fixture(scope="module")
def calibrated(few: RuleBook, ground: Ground) -> RuleBook:
    return calibrate(few, ground, trials=TRIALS, seed=1)


def test_the_search_starts_from_the_rule_and_spends_its_budget(few: RuleBook, ground: Ground) -> None:
    for rule in few.rules:
        advanced: list[int] = []
        tried = search(rule, ground, trials=TRIALS, seed=1, on_trial=lambda: advanced.append(1))  # noqa: B023
        assert len(tried) == len(advanced) == (1 if rule.name == "manual" else TRIALS)
        first = try_rules([rule], ground.bank, ground.task, ground.search)[0]
        assert tried[0].cost() == pytest.approx(first.cost(), rel=1e-9)
        assert len({json.dumps(item.rule.model_dump(mode="json")) for item in tried}) == len(tried)


def test_names_kinds_and_order_stay(few: RuleBook, calibrated: RuleBook) -> None:
    for before, after in zip(few.rules, calibrated.rules, strict=True):
        assert (after.name, after.kind, after.policy.kind) == (before.name, before.kind, before.policy.kind)
        assert after.is_constant == before.is_constant
    assert calibrated.rules[0] == few.rules[0]
    assert set(calibrated.calibration) == {rule.name for rule in few.rules}
    assert calibrated.calibrated_on == {"split": "train"}


def test_the_best_of_the_finalists_on_further_windows_is_taken(few: RuleBook, ground: Ground) -> None:
    rule = few.rules[few.index("forecast")]
    tried = search(rule, ground, trials=TRIALS, seed=1)
    result = take_best(rule.name, tried, ground)
    finalists = sorted(tried, key=Tried.cost)[:3]
    again = try_rules([item.rule for item in finalists], ground.bank, ground.task, ground.final)
    assert result.final.cost() == min(item.cost() for item in again)


def test_a_seed_gives_the_same_book_twice(few: RuleBook, calibrated: RuleBook, ground: Ground) -> None:
    assert calibrate(few, ground, trials=TRIALS, seed=1) == calibrated
    assert calibrate(few, ground, trials=TRIALS, seed=2) != calibrated


def test_rules_side_by_side_play_what_each_plays_alone(untuned: RuleBook, ground: Ground) -> None:
    together = try_rules(untuned.rules, ground.bank, ground.task, ground.search)
    for rule, item in zip(untuned.rules, together, strict=True):
        assert try_rules([rule], ground.bank, ground.task, ground.search) == [item]


def test_the_figures_of_a_try_are_those_of_the_play(untuned: RuleBook, ground: Ground) -> None:
    task = untuned.task(ground.task)
    for name in ("forecast", "spot-hedge"):
        tried = try_rules([untuned.rules[untuned.index(name)]], ground.bank, ground.task, ground.search)[0]
        played = play(untuned.policy(name, task), ground.bank, task, ground.search)
        assert tried.cost() == pytest.approx(cost_ratio(played), rel=1e-12)
        assert tried.bad == bad_fraction(played)
        assert tried.cost(3.0) == pytest.approx(tried.bill + 3 * tried.penalty)


def test_a_study_goes_on_where_it_stopped(few: RuleBook, ground: Ground, tmp_path: Path) -> None:
    rule, storage = few.rules[few.index("forecast")], tmp_path / "studies.journal"
    first = search(rule, ground, trials=3, storage=storage)
    both = search(rule, ground, trials=TRIALS, storage=storage)
    assert both[:3] == first
    assert len(both) == TRIALS
    played: list[int] = []
    assert search(rule, ground, trials=TRIALS, storage=storage, on_trial=lambda: played.append(1)) == both
    assert len(played) == TRIALS


def test_a_study_of_another_space_or_other_worlds_is_refused(few: RuleBook, ground: Ground, tmp_path: Path) -> None:
    rule, storage = few.rules[few.index("forecast")], tmp_path / "studies.journal"
    search(rule, ground, trials=1, storage=storage)
    coarser = replace(ground, task=ground.task.model_copy(update={"spot_step_percent": 25}))
    with pytest.raises(
        ValueError, match=r"studies\.journal: study 'pooled: forecast' has another .*: .*10.*; expected .*25"
    ):
        search(rule, coarser, trials=1, storage=storage)
    with pytest.raises(ValueError, match=r"has another origin\.split: train; expected test"):
        search(rule, replace(ground, origin={"split": "test"}), trials=1, storage=storage)


def test_the_front_holds_what_nothing_beats(few: RuleBook, ground: Ground) -> None:
    rule = few.rules[few.index("forecast")]
    rng = np.random.default_rng(0)
    tried = [
        Tried(rule.model_copy(update={"spot_percent": int(percent)}), float(bill), 0.0, float(bad))
        for percent, bill, bad in zip(rng.integers(0, 100, 200), rng.random(200), rng.random(200), strict=True)
    ]
    front = Calibrated(rule, tried, tried[0]).front()
    assert 2 <= len(front) <= FRONT_SIZE
    kept = [next(item for item in tried if item.rule is chosen) for chosen in front]
    assert [item.bill for item in kept] == sorted(item.bill for item in kept)
    for item in kept:
        assert not any(other.bill < item.bill and other.bad < item.bad for other in tried)


def test_a_weighted_rule_is_chosen_at_its_own_price(few: RuleBook, ground: Ground) -> None:
    rule = few.rules[few.index("forecast")]
    cheap, safe = Tried(rule, 0.2, 0.3, 0.03), Tried(rule, 0.4, 0.05, 0.005)
    assert PENALTY_WEIGHTS["forecast-lean"] < 1 < PENALTY_WEIGHTS["forecast-cautious"]
    assert cheap.cost(PENALTY_WEIGHTS["forecast-lean"]) < safe.cost(PENALTY_WEIGHTS["forecast-lean"])
    assert cheap.cost(PENALTY_WEIGHTS["forecast-cautious"]) > safe.cost(PENALTY_WEIGHTS["forecast-cautious"])


def test_pooled_calibration_sees_the_training_split_only() -> None:
    settings = GroundSettings(source=WorldSource(split="validate"))
    with pytest.raises(ValueError, match="calibrated on the train split, not on 'validate'"):
        pooled_ground(settings)


def write_trace(path: Path, days: int) -> None:
    steps = np.arange(days * 288)
    stamps = np.datetime64("2026-01-05T00:00:00") + steps * np.timedelta64(300, "s")
    values = 100 * (1.5 + np.sin(2 * np.pi * steps / 288))
    rows = "\n".join(f"{stamp}Z,{value:.3f}" for stamp, value in zip(stamps, values, strict=True))
    path.write_text(f"timestamp,requests_per_second\n{rows}\n")


def test_a_trace_is_calibrated_on_its_history(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    write_trace(path, days=10)
    ground = history_ground(path, GroundSettings(trace_windows=5, trace_markets=2))
    assert ground.scope == "shop"
    assert ground.origin["ticks"] == [1440, 7 * 1440]
    for windows in (ground.search, ground.final):
        assert windows.starts.min() >= 1440
        assert windows.ends.max() <= 7 * 1440
    assert set(ground.origin["market_seeds"]) <= set(load_splits().seed_range("train"))


def test_jobs_in_processes_find_what_one_process_finds(few: RuleBook, tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    write_trace(path, days=6)
    settings = GroundSettings(trace_windows=3, trace_markets=2)
    jobs = [Job(rule, settings, path, 2, storage=tmp_path / "both.journal") for rule in few.rules[1:4]]
    apart = dict(run_jobs(jobs, workers=2))
    alone = dict(run_jobs([replace(job, storage=None) for job in jobs], workers=1))
    assert apart == alone
    write_record(tmp_path / "trials.csv", [("shop", apart[index]) for index in range(3)])
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["rule"] for row in rows] == [job.rule.name for job in jobs for _ in range(2)]
    assert float(rows[0]["bill"]) == pytest.approx(apart[0].tried[0].bill, abs=1e-6)
