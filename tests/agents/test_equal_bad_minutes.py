"""The bill at no more bad minutes: the strongest rival that the front allows, and no stronger one."""

from types import SimpleNamespace

import numpy as np
import pytest

from agents.evaluation.contest import Contest
from agents.evaluation.figures import Setting, bill_at_equal_bad_minutes, cheapest_within, setting
from agents.evaluation.target_tracking import on_demand_name, target_tracking_content
from agents.evaluation.worlds import Worlds
from agents.rollout import Played
from simulators.records import OUTCOME

SEEDS = 3
DAYS = (5, 9)


def flat(cost: float, bad: float) -> Setting:
    return Setting([np.full((SEEDS, days), cost) for days in DAYS], bad)


def test_the_cheapest_setting_that_is_no_worse_is_taken() -> None:
    front = [flat(0.5, 0.001), flat(0.3, 0.010), flat(0.4, 0.010), flat(0.2, 0.050)]
    found = cheapest_within(front, 0.010)
    assert found is not None
    assert (found.cost, found.bad) == pytest.approx((0.3, 0.010))


def test_two_settings_in_turn_reach_the_limit_between_them() -> None:
    front = [flat(0.5, 0.001), flat(0.3, 0.011)]
    found = cheapest_within(front, 0.006)
    assert found is not None
    assert (found.cost, found.bad) == pytest.approx((0.4, 0.006))
    for item in found.bill:
        np.testing.assert_allclose(item, 0.4)


def test_a_dominated_setting_changes_nothing_and_a_better_one_makes_the_rival_cheaper() -> None:
    front = [flat(0.5, 0.001), flat(0.3, 0.011)]
    worse, better = (
        cheapest_within([*front, flat(0.6, 0.009)], 0.006),
        cheapest_within([*front, flat(0.31, 0.006)], 0.006),
    )
    assert worse is not None
    assert better is not None
    assert worse.cost == pytest.approx(0.4)
    assert better.cost == pytest.approx(0.31)


def test_no_setting_is_good_enough() -> None:
    assert cheapest_within([flat(0.3, 0.02)], 0.01) is None
    assert cheapest_within([], 0.01) is None


def played(bill_usd: float, bad_minutes: int, *, noise: float = 0.0) -> Played:
    """Fleets of two traces, whose reference costs 1 and 100 USD a day."""
    rng = np.random.default_rng(int(1000 * bill_usd))
    days = max(DAYS)
    scale = np.repeat([1.0, 100.0], SEEDS)[:, None]
    open_day = np.repeat([np.arange(days) < count for count in DAYS], SEEDS, axis=0)
    daily = bill_usd * scale * open_day * rng.lognormal(0.0, noise, (2 * SEEDS, days))
    totals = np.zeros(2 * SEEDS, OUTCOME)
    totals["ticks"] = 1440 * np.repeat(DAYS, SEEDS)
    totals["bad_minutes"] = bad_minutes * np.repeat(DAYS, SEEDS)
    totals["reference_usd"] = (scale * open_day).sum(axis=1)
    totals["on_demand_usd"] = daily.sum(axis=1)
    totals["slo_penalty_usd"] = 0.5 * daily.sum(axis=1)
    return Played(totals, daily * 1.5, daily, scale * open_day, np.zeros(2 * SEEDS, np.int64))


def contest_of(ours: Played, front: list[Played]) -> Contest:
    scenarios = [
        SimpleNamespace(name=name, first_tick=10, last_tick=10 + 1440 * days)
        for name, days in zip("ab", DAYS, strict=True)
    ]
    worlds = Worlds(scenarios, list(range(SEEDS)), None)  # type: ignore[arg-type]
    contest = Contest(worlds, "rule", {}, played={"rule": played(0.5, 20), "ours": ours}, learned="ours")
    contest.fronts = {"rule": front}
    return contest


def test_every_trace_counts_the_same_whatever_its_size() -> None:
    ours = played(0.4, 10)
    contest = contest_of(ours, [])
    found = setting(ours, contest.played["rule"], contest.worlds, [0, 1])
    assert found.cost == pytest.approx(0.4)
    assert found.bad == pytest.approx(10 / 1440)
    assert [item.shape for item in found.bill] == [(SEEDS, days) for days in DAYS]


def test_the_rule_is_calibrated_again_and_compared_by_its_bill_alone() -> None:
    found = bill_at_equal_bad_minutes(contest_of(played(0.4, 10), [played(0.6, 10), played(0.9, 5)]), "ours")
    assert found.value == pytest.approx(1 - 0.4 / 0.6)
    mixed = bill_at_equal_bad_minutes(contest_of(played(0.4, 10), [played(0.9, 0)]), "ours")
    assert mixed.value == pytest.approx(1 - 0.4 / 0.7)


def test_a_policy_with_the_rules_own_bad_minutes_meets_the_rule_itself() -> None:
    found = bill_at_equal_bad_minutes(contest_of(played(0.5, 20), [played(0.9, 5)]), "rule")
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_interval_is_that_of_the_other_figures() -> None:
    ours, rival = played(0.4, 10, noise=0.3), played(0.8, 10, noise=0.3)
    found = bill_at_equal_bad_minutes(contest_of(ours, [rival]), "ours")
    assert found.low < found.value < found.high
    again = bill_at_equal_bad_minutes(contest_of(ours, [rival]), "ours")
    assert found == again
    alone = bill_at_equal_bad_minutes(contest_of(ours, [rival]), "ours", [1])
    assert alone.value != found.value


def test_no_figure_where_the_front_does_not_reach() -> None:
    found = bill_at_equal_bad_minutes(contest_of(played(0.4, 3), [played(0.8, 10)]), "ours")
    assert np.isnan([found.value, found.low, found.high]).all()


def test_any_rule_can_be_the_rival_along_its_own_front() -> None:
    contest = contest_of(played(0.4, 10), [played(0.6, 10)])
    contest.played["other"] = played(0.7, 30)
    contest.fronts |= {"other": [played(0.8, 10)]}
    assert bill_at_equal_bad_minutes(contest, "ours", rival="other").value == pytest.approx(1 - 0.4 / 0.8)
    assert bill_at_equal_bad_minutes(contest, "ours").value == pytest.approx(1 - 0.4 / 0.6)


def test_target_tracking_is_met_with_spot_and_all_on_demand() -> None:
    contest = contest_of(played(0.4, 10), [])
    name = "target-tracking-cpu"
    contest.played |= {name: played(0.7, 30), on_demand_name(name): played(1.0, 20), "step": played(0.6, 20)}
    contest.kinds = {"rule": "rule", "ours": "rl", name: "aws", on_demand_name(name): "constant", "step": "aws"}
    contest.fronts = {name: [played(0.8, 10)]}
    found = target_tracking_content(contest, "ours")
    (calibrated,), (on_demand,) = found["calibrated"], found["on_demand"]
    assert calibrated["name"] == name
    assert calibrated["total_saved"]["value"] == pytest.approx(1 - 0.4 / 0.7)
    assert calibrated["bad_minutes_less"] == pytest.approx(2 / 3, abs=1e-4)
    assert calibrated["bill_at_equal_bad_minutes"]["value"] == pytest.approx(1 - 0.4 / 0.8)
    assert on_demand["bill_saved"] == pytest.approx(0.6)
    assert on_demand["bad_minutes_fraction"] == pytest.approx([10 / 1440, 20 / 1440], abs=1e-6)
    assert on_demand["waterfall"]["timing"] == pytest.approx(0.3)
    assert on_demand["waterfall"]["total"] == pytest.approx(0.9)


def test_without_target_tracking_there_is_nothing_to_say() -> None:
    contest = contest_of(played(0.4, 10), [])
    contest.kinds = {"rule": "rule", "ours": "rl"}
    assert target_tracking_content(contest, "ours") == {"calibrated": [], "on_demand": []}
