"""Parts of a comparison: worlds of their own, kept results, interruption, other worlds, other ways to use a policy."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.evaluation import playing, store
from agents.evaluation.actions import CountedActions, Habit, constant_actions, constant_entry, habit, rule_entries
from agents.evaluation.cadence import HalfFollowed, cadence_and_adherence, draws
from agents.evaluation.contest import Contest, compare
from agents.evaluation.headline import headline
from agents.evaluation.planner_study import planner_table
from agents.evaluation.playing import Desk, Entry, play_all
from agents.evaluation.report import report_content
from agents.evaluation.scoring import Lineup, score
from agents.evaluation.shift import AS_TESTED, VARIANTS, Variant, shift_table
from agents.evaluation.store import Store
from agents.evaluation.studies import Players, perfect_forecasts
from agents.evaluation.summaries import groups
from agents.evaluation.trace_rules import PER_TRACE, trace_books
from agents.evaluation.worlds import Worlds, load_scenarios, make_worlds, market_seed
from agents.ground import GroundSettings
from agents.policies import ConstantPolicy, SideBySide
from agents.rollout import Played, Windows, cost_ratio, play
from agents.rules import RuleBook, save_books
from envs.action import KEEP, MAX_SCALE, encode_action
from envs.settings import TaskSettings
from simulators.fleets import infra_usd
from simulators.market import MarketSettings, draw_market
from simulators.physics import reference_rps_per_instance
from simulators.records import AMPLE, TELEMETRY
from simulators.scenario import Scenario, generate
from telemetry.splits import load_splits

SEEDS = [2_000_000, 2_000_001, 2_000_002]


def scenario_of(task: TaskSettings, name: str, forecasts: str = "quantiles") -> Scenario:
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    return generate(name, days=1, seed=2_000_000, rps_per_reference_instance=rps, mean_instances=6, forecasts=forecasts)


@pytest.fixture(scope="module")
def small(book: RuleBook) -> RuleBook:
    """Three rules, one with a front, so that everything constant is quickly played."""
    keep = {"static", "target-tracking-cpu", "forecast"}
    rules = tuple(rule for rule in book.rules if rule.name in keep)
    forecast = rules[2]
    lean = forecast.policy.model_copy(update={"target_utilization": 0.9})
    front = (forecast.model_copy(update={"policy": lean}), forecast)
    return book.model_copy(update={"rules": rules, "fronts": {"forecast": front}})


@pytest.fixture(scope="module")
def own(small: RuleBook) -> TaskSettings:
    return small.task(TaskSettings(spot_step_percent=50))


@pytest.fixture(scope="module")
def worlds(own: TaskSettings) -> Worlds:
    return make_worlds([scenario_of(own, name) for name in ("bursty", "on_off")], own, seeds=SEEDS, days=3)


@pytest.fixture(scope="module")
def validation(own: TaskSettings) -> Worlds:
    return make_worlds([scenario_of(own, "ramp")], own, seeds=[1_000_000], days=3)


@pytest.fixture(scope="module")
def contest(small: RuleBook, own: TaskSettings, worlds: Worlds, validation: Worlds) -> Contest:
    return compare(small, own, worlds, validation, learned={"guest": Restless(own)}, shipped="guest")


class Restless:
    """Not a constant: it asks for more instances in even hours."""

    def __init__(self, task: TaskSettings) -> None:
        self._actions = np.stack(
            [encode_action(task, scale=scale, candidate=1, spot_percent=100, policy=2) for scale in (0, 2)]
        )

    def act(self, readings: np.ndarray) -> np.ndarray:
        return self._actions[(readings["minute_of_week"] // 60 % 2).astype(np.int64)]


def same(first: Played, second: Played) -> bool:
    return all(np.array_equal(value, vars(second)[name]) for name, value in vars(first).items())


# Worlds of their own.


def test_no_two_scenarios_share_a_market(worlds: Worlds) -> None:
    seeds = [seed for found in worlds.market_seeds.values() for seed in found]
    assert len(set(seeds)) == len(seeds) == len(worlds.bank.worlds)
    assert set(seeds) <= set(load_splits().seed_range("test"))
    assert len(set(worlds.windows.seeds.tolist())) == len(seeds)
    prices = worlds.bank.spot_usd_per_s[worlds.bank.worlds["market"]]
    assert not any(np.array_equal(prices[0], other) for other in prices[1:])


def test_a_market_stays_in_the_split_of_its_seed() -> None:
    for split in ("train", "validate", "test"):
        own = load_splits().seed_range(split)
        assert all(market_seed(f"trace {number}", own[number]) in own for number in range(200))
    with pytest.raises(ValueError, match="market seed 3000000 belongs to no split"):
        market_seed("trace", 3_000_000)


def test_a_scenario_alone_is_played_as_among_others(small: RuleBook, own: TaskSettings, worlds: Worlds) -> None:
    alone = make_worlds(worlds.scenarios[1:], own, seeds=SEEDS, days=3)
    assert alone.identities == worlds.identities[1:]
    entries = rule_entries(small.rules, own)
    together = play_all(entries, worlds, own, Desk(), detail=True)
    for entry, one, among in zip(entries, play_all(entries, alone, own, Desk(), detail=True), together, strict=True):
        part = playing.rows(among, slice(len(SEEDS), None))
        assert same(one, part), entry.name


def test_fewer_seeds_are_a_part_of_the_same_worlds(small: RuleBook, own: TaskSettings, worlds: Worlds) -> None:
    entry = rule_entries(small.rules, own)[2:]
    (whole,), (part,) = (play_all(entry, item, own, Desk()) for item in (worlds, worlds.fewer(2)))
    assert same(part, playing.rows(whole, worlds.rows_of([0, 1], 2)))


# Playing together.


def test_policies_side_by_side_do_what_they_do_alone(own: TaskSettings, worlds: Worlds, monkeypatch) -> None:
    action = encode_action(own, scale=0, candidate=1, spot_percent=50, policy=1)
    entries = [Entry("restless", Restless(own), "restless"), constant_entry("constant", action)]
    alone = [play(entry.policy, worlds.bank, own, worlds.windows, detail=True) for entry in entries]
    for fleets in (800, 3):
        monkeypatch.setattr(playing, "_FLEETS_AT_ONCE", fleets)
        together = play_all(entries, worlds, own, Desk(), detail=True)
        assert [same(one, other) for one, other in zip(alone, together, strict=True)] == [True, True]


def test_blocks_go_to_their_policies_in_order() -> None:
    policies = [ConstantPolicy(np.full(4, number)) for number in range(3)]
    assert SideBySide(policies).act(np.zeros(6, TELEMETRY))[:, 0].tolist() == [0, 0, 1, 1, 2, 2]


# Kept results.


def test_what_was_played_is_not_played_again(
    small: RuleBook, own: TaskSettings, worlds: Worlds, tmp_path: Path, monkeypatch, capsys
) -> None:
    entries = rule_entries(small.rules, own)
    desk = Desk(Store(tmp_path))
    first = play_all(entries, worlds, own, desk)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2

    def refuse(*_: object, **__: object) -> Played:
        raise AssertionError("played again")

    with monkeypatch.context() as patch:
        patch.setattr(playing, "play", refuse)
        again = play_all(entries, worlds, own, desk)
        assert all(same(one, other) for one, other in zip(first, again, strict=True))
        others: list[Callable[[], object]] = [
            lambda: play_all(entries[:2], worlds, own, desk),
            lambda: play_all(entries, worlds.fewer(2), own, desk),
            lambda: play_all(entries, worlds, own.model_copy(update={"decision_minutes": 10}), desk),
            lambda: play_all(entries, worlds, own, desk, detail=True),
            lambda: play_all([replace(entries[0], identity="another"), *entries[1:]], worlds, own, desk),
        ]
        for other in others:
            with pytest.raises(AssertionError, match="played again"):
                other()
            desk = Desk(Store(tmp_path))
    files[0].write_bytes(b"torn")
    mended = play_all(entries, worlds, own, desk)
    assert all(same(one, other) for one, other in zip(first, mended, strict=True))
    assert f"{files[0]}: cannot be read" in capsys.readouterr().err
    monkeypatch.setattr(store, "sources_digest", lambda: "other sources")
    play_all(entries, worlds, own, desk)
    assert len(list(tmp_path.iterdir())) == 4


def test_other_worlds_have_another_identity(own: TaskSettings, worlds: Worlds) -> None:
    scenario = worlds.scenarios[0]
    demand = scenario.demand_rps.copy()
    demand[-1] += 1.0
    world = own.world.model_copy(update={"physics": own.world.physics.model_copy(update={"boot_sigma": 0.9})})
    changed = [
        make_worlds([replace(scenario, demand_rps=demand)], own, seeds=SEEDS, days=3),
        make_worlds([scenario], own, seeds=SEEDS[:2], days=3),
        make_worlds([scenario], own, seeds=SEEDS, days=4),
        make_worlds([scenario], own.model_copy(update={"world": world}), seeds=SEEDS, days=3),
        make_worlds([scenario], own, seeds=SEEDS, days=3, market=MarketSettings(hot_share_by_band=(1.0,) * 5)),
        make_worlds([scenario_of(own, "bursty", "perfect")], own, seeds=SEEDS, days=3),
    ]
    found = [item.identities[0] for item in changed]
    assert len({*found, worlds.identities[0]}) == len(found) + 1
    assert make_worlds([scenario], own, seeds=SEEDS, days=3).identities[0] == worlds.identities[0]


# Interruption.


@pytest.mark.slow
def test_an_interrupted_comparison_reports_what_there_is_and_goes_on(
    small: RuleBook, own: TaskSettings, worlds: Worlds, validation: Worlds, tmp_path: Path
) -> None:
    lineup = Lineup(small, own, {"guest": Restless(own)}, "guest", {"guest": "restless"})

    def run(out: Path, stop_at: str | None = None) -> dict:
        def say(line: str) -> None:
            if line == stop_at:
                raise KeyboardInterrupt

        return score(lineup, worlds, validation, out, say=say)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", "the rules")
    assert not (tmp_path / "cut" / "report.json").exists()
    for stop_at in ("guest", "the clairvoyant bound", "every constant action"):
        content = run(tmp_path / "cut", stop_at)
        assert content["partial"] is True
        assert content["first_line"].startswith("PARTIAL, interrupted: ")
        assert json.loads((tmp_path / "cut" / "report.json").read_text()) == content
        page = (tmp_path / "cut" / "report.md").read_text()
        assert page.splitlines()[2] == content["first_line"]
        assert "constant" not in content["kind"].values()
        assert (content["learned"] == "guest") == (stop_at != "guest")
        assert (content["bound"] == {}) == (stop_at != "every constant action")
    whole, resumed = run(tmp_path / "whole"), run(tmp_path / "cut")
    assert whole["partial"] is False
    assert "constant" in whole["kind"].values()
    files = [(tmp_path / name / "report.json").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    assert resumed["first_line"] == whole["first_line"]


def test_the_same_seeds_give_the_same_report(
    contest: Contest, small: RuleBook, own: TaskSettings, worlds: Worlds, validation: Worlds
) -> None:
    again = compare(small, own, worlds, validation, learned={"guest": Restless(own)}, shipped="guest")
    first, second = (json.dumps(report_content(item, small, seeds=[])) for item in (contest, again))
    assert first == second


def test_a_policy_that_fails_ends_the_comparison(own: TaskSettings, worlds: Worlds) -> None:
    class Broken:
        def act(self, readings: np.ndarray) -> np.ndarray:
            raise ValueError("no idea")

    with pytest.raises(ValueError, match="no idea"):
        play_all([Entry("broken", Broken(), "broken")], worlds, own, Desk())


# What a policy does most.


def test_actions_count_until_the_window_ends(own: TaskSettings) -> None:
    ends = np.array([50, 10])
    windows = Windows(np.arange(2), np.zeros(2, np.int64), ends, np.arange(2, dtype=np.uint64))
    actions = np.stack([encode_action(own, scale=0, candidate=1, spot_percent=0, policy=policy) for policy in (0, 1)])
    counted = CountedActions(ConstantPolicy(actions), windows, own)
    for _ in range(10):
        counted.act(np.zeros(2, TELEMETRY))
    assert counted.counts.sum() == 12
    found = habit("guest", counted.counts, {"known": actions[0]}, own)
    assert (found.name, found.share, found.is_constant) == ("known", 10 / 12, False)
    np.testing.assert_array_equal(found.action, actions[0])
    assert habit("guest", counted.counts, {}, own).name == "what guest does most"


@pytest.mark.parametrize("which", ["best constant", "best rule", "unlisted"])
def test_a_constant_passed_as_learned_is_no_win(
    contest: Contest, small: RuleBook, own: TaskSettings, worlds: Worlds, validation: Worlds, which: str
) -> None:
    """The planted fraud: hindsight's best constant, the named rule, or another constant, sold as a learned policy."""
    best = contest.names("constant", "rule", "aws")[0]
    listed = {rule.name: small.action(rule.name, own) for rule in small.rules} | constant_actions(small, own)
    unlisted = encode_action(own, scale=3, candidate=2, spot_percent=50, policy=2)
    action = {"best constant": listed[best], "best rule": listed[contest.best_rule], "unlisted": unlisted}[which]
    fraud = compare(small, own, worlds, validation, learned={"ppo": ConstantPolicy(action)}, shipped="ppo")
    line = headline(fraud)
    assert line.startswith(("The learned policy equals rule", "The learned policy loses to"))
    known = next((name for name, other in constant_actions(small, own).items() if (other == action).all()), None)
    name = known or "what ppo does most"
    assert line.endswith(f"It is one constant action: {name}, 100.0 % of its decisions.")
    assert fraud.kinds[name] == "constant"
    np.testing.assert_array_equal(fraud.played[name].daily_usd, fraud.played["ppo"].daily_usd)
    if which == "best constant":
        assert line.startswith("The learned policy equals rule")
        assert "+0.0000" in line
    if which == "best rule":
        gap = report_content(fraud, small, seeds=[])["gap_closed"]
        assert (gap["value"], gap["ci95"], gap["wins"]) == (0.0, [0.0, 0.0], 0)


def test_a_policy_that_moves_is_not_called_constant(contest: Contest) -> None:
    assert contest.habits["guest"].share == pytest.approx(0.5, abs=0.05)
    assert "one constant action" not in headline(contest)


def test_a_policy_whose_rare_decisions_matter_is_told_from_the_constant_it_mostly_takes(contest: Contest) -> None:
    """Guest and constant cost differently here; with its figures it would be that constant."""
    constant = contest.names("constant")[0]
    mostly = Habit(constant, contest.habits["guest"].action, 0.995)
    moving = replace(contest, learned="guest", habits={"guest": mostly})
    alone = f"It takes one action in 99.5 % of its decisions, {constant}; that alone costs "
    assert alone in headline(moving)
    same = replace(moving, played={**contest.played, "guest": contest.played[constant]})
    assert headline(same).endswith(f"It is one constant action: {constant}, 99.5 % of its decisions.")


# Fronts, groups, traces apart, rules per trace.


def test_a_front_is_played_in_its_order(contest: Contest) -> None:
    assert {name: len(front) for name, front in contest.fronts.items()} == {
        "static": 1,
        "target-tracking-cpu": 1,
        "forecast": 2,
    }
    lean, itself = contest.fronts["forecast"]
    np.testing.assert_array_equal(itself.daily_usd, contest.played["forecast"].daily_usd)
    assert infra_usd(lean.totals).sum() < infra_usd(itself.totals).sum()


def test_patterns_stand_apart_from_traces(contest: Contest) -> None:
    assert groups(contest) == {"pattern": [0, 1]}
    renamed = replace(contest.worlds.scenarios[0], name="shop", kind="requests")
    worlds = replace(contest.worlds, scenarios=[renamed, contest.worlds.scenarios[1]])
    assert groups(replace(contest, worlds=worlds)) == {"requests": [0], "pattern": [1]}
    noisy = replace(contest, worlds=replace(worlds, apart={"shop": 12.0}))
    assert groups(noisy) == {"apart": [0], "pattern": [1]}
    assert noisy.counted == [1]
    one, both = (item.over_reference(item.played["forecast"].total_usd) for item in (noisy, contest))
    of_each = [contest.over_reference(contest.played["forecast"].total_usd, [index]) for index in (0, 1)]
    assert (one, both) == (of_each[1], pytest.approx(np.mean(of_each)))


def test_a_trace_of_few_requests_is_named(own: TaskSettings, tmp_path: Path) -> None:
    stamps = np.datetime64("2026-01-05T00:00:00") + np.arange(4 * 288) * np.timedelta64(300, "s")
    for name, rate in (("quiet", 0.1), ("busy", 0.2)):
        lines = [f"{stamp}Z,{rate}" for stamp in stamps]
        (tmp_path / f"{name}.csv").write_text("timestamp,requests_per_second\n" + "\n".join(lines) + "\n")
    apart: dict[str, float] = {}
    told: list[str] = []
    files = [tmp_path / "quiet.csv", tmp_path / "busy.csv"]
    load_scenarios(files, own, on_broken=pytest.fail, say=told.append, apart=apart)
    assert apart == {"quiet": pytest.approx(30.0)}
    assert told == [f"{files[0]}: 30.0 requests a step, below 50: reported apart"]


def test_a_trace_has_committed_rules_or_gets_its_own(small: RuleBook, own: TaskSettings, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stamps = np.datetime64("2026-01-05T00:00:00") + np.arange(5 * 288) * np.timedelta64(300, "s")
    files = [tmp_path / f"{name}.csv" for name in ("known", "new", "short")]
    for path, days in zip(files, (5, 5, 2), strict=True):
        rates = 20 * rng.lognormal(0, 0.3, days * 288)
        lines = [f"{stamp}Z,{rate:.3f}" for stamp, rate in zip(stamps, rates, strict=False)]
        path.write_text("timestamp,requests_per_second\n" + "\n".join(lines) + "\n")
    committed, told = tmp_path / "books.yaml", list[str]()
    save_books({"known": small, "elsewhere": small}, committed)
    settings = GroundSettings(task=own, trace_windows=2, trace_markets=1)

    def books(trials: int) -> dict[str, RuleBook]:
        storage = tmp_path / "played" / "studies.journal"
        return trace_books(files, small, settings, trials=trials, storage=storage, committed=committed, say=told.append)

    assert set(books(0)) == {"known"}
    assert told == []
    found = books(2)
    assert set(found) == {"known", "new"}
    assert found["known"].rules == small.rules
    assert found["new"].calibrated_on["trace"] == "new"
    assert told[1].startswith("calibrating the rules on the history of short")
    assert told[2].startswith("short keeps the pooled rules: ")
    assert books(2)["new"] == found["new"]


def test_rules_of_a_trace_are_played_on_it_alone(
    small: RuleBook, own: TaskSettings, worlds: Worlds, validation: Worlds, contest: Contest
) -> None:
    rules = tuple(rule.model_copy(update={"spot_percent": 0}) for rule in small.rules)
    books = {worlds.scenarios[1].name: small.model_copy(update={"rules": rules})}
    found = compare(small, own, worlds, validation, learned={}, trace_books=books)
    for rule in small.rules:
        name = f"{rule.name}{PER_TRACE}"
        assert found.kinds[name] == "rule_per_trace"
        first, second = slice(0, len(SEEDS)), slice(len(SEEDS), None)
        pooled = contest.played[rule.name]
        assert same(playing.rows(found.played[name], first), playing.rows(pooled, first))
        action = encode_action(own, scale=0, candidate=rule.candidate, spot_percent=0, policy=small.index(rule.name))
        alone = play(ConstantPolicy(action), worlds.bank, own, worlds.windows_of(1), detail=True)
        assert same(playing.rows(found.played[name], second), alone)


# Other worlds.


def test_variants_change_what_they_say(own: TaskSettings) -> None:
    before = Variant(own, own.catalogue(), MarketSettings())
    after = {name: change(before) for name, change in VARIANTS.items()}
    slow = after["boot and application start doubled"].task.world.physics
    assert slow.boot_median_s == 2 * own.world.physics.boot_median_s
    assert slow.app_median_s == 2 * own.world.physics.app_median_s
    for name, factor in (("arm64 compute units +20 %", 1.2), ("arm64 compute units -20 %", 0.8)):
        for old, new in zip(before.catalogue.types, after[name].catalogue.types, strict=True):
            expected = factor if old.architecture == "arm64" else 1.0
            assert new.speed == pytest.approx(expected * old.speed), old.name
    hot, calm = (
        draw_market(own.catalogue(), days=7, seed=2_000_000, settings=item.market).pool_state
        for item in (after["every spot pool hot"], before)
    )
    assert (hot != AMPLE).any(axis=0).all()
    assert (hot != AMPLE).mean() > 2 * (calm != AMPLE).mean()


@pytest.mark.slow
def test_the_shift_table_bounds_every_policy(contest: Contest, small: RuleBook, own: TaskSettings) -> None:
    table = shift_table(contest, Players(small, own, Restless(own)), Desk(), lambda _: None)
    assert list(table) == [AS_TESTED, *VARIANTS, "pattern bursty", "pattern on_off"]
    for name, item in table.items():
        assert set(item["policies"]) == {"static", "target-tracking-cpu", "forecast", "guest"}
        assert all(row["total"] >= item["bound"] > 0.0 for row in item["policies"].values()), name
        assert item["gap_closed"]["vs"] == contest.best_rule
    tested = table[AS_TESTED]
    assert table["arm64 compute units +20 %"]["bound"] < tested["bound"] < table["arm64 compute units -20 %"]["bound"]
    assert table["boot and application start doubled"]["bound"] == tested["bound"]
    assert table["boot and application start doubled"]["policies"] != tested["policies"]


def test_perfect_forecasts_change_the_forecast_rule_alone(
    contest: Contest, small: RuleBook, own: TaskSettings, worlds: Worlds
) -> None:
    scenarios = [scenario_of(own, item.name.partition("#")[0], "perfect") for item in worlds.scenarios]
    for rule in ("forecast", "static"):
        found = perfect_forecasts(replace(contest, best_rule=rule), Players(small, own), scenarios, Desk())
        assert found["rule"] == rule
        assert found["bound"] < min(found["own"], found["perfect"])
        assert (found["own"] == found["perfect"]) == (rule == "static")


def test_the_planner_has_a_table_of_its_own(
    contest: Contest, small: RuleBook, own: TaskSettings, worlds: Worlds
) -> None:
    made = []

    def make() -> Restless:
        made.append(Restless(own))
        return made[-1]

    long = [replace(item, first_tick=0) for item in worlds.scenarios]
    whole = replace(contest, worlds=replace(worlds, scenarios=long))
    table = planner_table(whole, Players(small, own), make, "settings", Desk())
    assert len(made) == 1
    assert set(table["policies"]) == {"static", "target-tracking-cpu", "forecast", "planner"}
    assert table["gap_closed"]["vs"] == contest.best_rule
    cut = make_worlds([replace(item, last_tick=2880) for item in long], own, seeds=SEEDS[:1], days=3)
    alone = play(Restless(own), cut.bank, own, cut.windows)
    assert table["policies"]["planner"]["total"] == pytest.approx(cost_ratio(alone), abs=1e-6)
    assert "first 2 days" in table["windows"]


# Seldom, or half followed.


def test_half_of_the_advice_is_ignored_and_leaves_everything_as_it_is(own: TaskSettings) -> None:
    seeds = np.arange(2000, dtype=np.uint64)
    readings = np.zeros(len(seeds), TELEMETRY)
    readings["policy"], readings["spot_fraction"], readings["spec"] = 2, 0.5, 3
    advice = encode_action(own, scale=5, candidate=1, spot_percent=100, policy=1)
    half = HalfFollowed(ConstantPolicy(advice), seeds, own)
    first, second = half.act(readings), half.act(readings)
    followed = (first == advice).all(axis=1)
    assert followed.mean() == pytest.approx(0.5, abs=0.04)
    assert (first[~followed] == [MAX_SCALE, KEEP, 1, 2]).all()
    again = (second == advice).all(axis=1)
    assert (followed & again).mean() == pytest.approx(0.25, abs=0.04)
    np.testing.assert_array_equal(draws(seeds[::-1], 7), draws(seeds, 7)[::-1])
    assert draws(seeds, 7).std() == pytest.approx(np.sqrt(1 / 12), rel=0.05)


def test_cadence_and_adherence_start_from_what_was_tested(contest: Contest, small: RuleBook, own: TaskSettings) -> None:
    found = cadence_and_adherence(contest, Players(small, own, Restless(own)), Desk())
    assert set(found["cadence"]) == set(found["adherence"]) == {contest.best_rule, "guest"}
    for name, cells in found["cadence"].items():
        assert list(cells) == ["5 min", "1 h", "1 day"]
        assert cells["5 min"] == found["adherence"][name]["all"]
    guest = found["cadence"]["guest"]
    assert guest["1 day"] != guest["5 min"] == guest["1 h"], "it changes its mind on the hour"
    assert found["adherence"]["guest"]["half"] != found["adherence"]["guest"]["all"]
