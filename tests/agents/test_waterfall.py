"""A saving in steps: they add up, change sign with the point of view, and each moves with its own cause alone."""

from dataclasses import astuple

import numpy as np
import pytest

from agents.evaluation.waterfall import Waterfall, mean_waterfall, waterfall
from agents.policies import ConstantPolicy
from agents.rollout import play, whole_windows
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.records import OUTCOME

STEPS = ("spot", "type", "size", "timing", "other")


def fleets(
    capacity: float = 1e6,
    usd_per_capacity: float = 2e-5,
    paid: float = 0.8,
    penalty: float = 3.0,
    balancer: float = 1.0,
) -> np.ndarray:
    """Two fleets whose means are these; the list price is split between on demand and spot."""
    totals = np.zeros(2, OUTCOME)
    spread = np.array([0.9, 1.1])
    totals["billed_capacity_requests"] = capacity * spread
    totals["list_usd"] = capacity * usd_per_capacity * spread
    totals["on_demand_usd"] = 0.25 * paid * totals["list_usd"]
    totals["spot_usd"] = 0.75 * paid * totals["list_usd"]
    totals["slo_penalty_usd"], totals["balancer_usd"] = penalty, balancer
    totals["refund_usd"] = 50.0
    return totals


def closes(found: Waterfall) -> None:
    assert sum(getattr(found, step) for step in STEPS) == pytest.approx(found.total, rel=1e-9, abs=1e-9)


def test_a_product_is_split_as_the_index_says() -> None:
    """Halved capacity, a third dearer, a quarter of the discount gone: shares of the logarithm of the ratio."""
    found = waterfall(fleets(5e5, 3e-5, 0.9), fleets(1e6, 2e-5, 0.8))
    before, after = 16.0, 13.5
    weight = (before - after) / np.log(before / after)
    assert found.size == pytest.approx(weight * np.log(2.0))
    assert found.type == pytest.approx(weight * np.log(2.0 / 3.0))
    assert found.spot == pytest.approx(weight * np.log(0.8 / 0.9))
    assert found.total == pytest.approx(before - after)
    closes(found)


@pytest.mark.parametrize(
    ("change", "step", "saved"),
    [
        ({"paid": 0.3}, "spot", 10.0),
        ({"usd_per_capacity": 1e-5}, "type", 8.0),
        ({"capacity": 7e5}, "size", 4.8),
        ({"penalty": 1.0}, "timing", 2.0),
        ({"balancer": 0.4}, "other", 0.6),
    ],
)
def test_what_changes_alone_moves_its_own_step_alone(change: dict[str, float], step: str, saved: float) -> None:
    found = waterfall(fleets(**change), fleets())
    for name in STEPS:
        assert getattr(found, name) == pytest.approx(saved if name == step else 0.0, abs=1e-9), name
    assert found.total == pytest.approx(saved)


def test_random_pairs_close_and_change_sign_with_the_point_of_view() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        one, other = (fleets(*rng.lognormal((13, -11, -1, 1, 0), 1.0)) for _ in range(2))
        there, back = waterfall(one, other), waterfall(other, one)
        closes(there)
        np.testing.assert_allclose(astuple(there), [-value for value in astuple(back)], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("nothing", "step"), [({"capacity": 0.0}, "size"), ({"usd_per_capacity": 0.0}, "type"), ({"paid": 0.0}, "spot")]
)
def test_a_factor_that_is_nothing_takes_the_whole_difference(nothing: dict[str, float], step: str) -> None:
    """The limit of the index as the factor goes to 0."""
    found = waterfall(fleets(**nothing), fleets())
    closes(found)
    assert getattr(found, step) == pytest.approx(16.0)
    nearly = waterfall(fleets(**{name: 1e-300 for name in nothing}), fleets())
    assert getattr(nearly, step) == pytest.approx(16.0, rel=0.03)
    closes(waterfall(fleets(), fleets(**nothing)))
    assert astuple(waterfall(fleets(**nothing), fleets(**nothing))) == (0.0,) * 6


def test_equal_bills_of_unlike_fleets_still_show_why() -> None:
    found = waterfall(fleets(capacity=2e6, paid=0.4), fleets())
    assert (found.size, found.spot) == pytest.approx((-16 * np.log(2), 16 * np.log(2)))
    assert found.total == pytest.approx(0.0, abs=1e-12)


def test_refunds_are_no_saving() -> None:
    """The planted mistake: with refunds taken off, the same pair would show another total."""
    refunded = fleets()
    refunded["refund_usd"] = 0.0
    assert waterfall(fleets(), refunded) == waterfall(fleets(), fleets())


def test_the_mean_over_traces_is_that_of_each_step() -> None:
    parts = [waterfall(fleets(paid=0.3), fleets()).over(20.0), waterfall(fleets(capacity=7e5), fleets()).over(10.0)]
    mean = mean_waterfall(parts)
    assert mean.spot == pytest.approx(0.25)
    assert mean.size == pytest.approx(0.24)
    closes(mean)
    assert list(mean.as_json()) == ["spot", "type", "size", "timing", "other", "total"]


def test_played_fleets_close_and_spot_is_named_where_only_the_spot_share_differs(
    book: RuleBook, task: TaskSettings, bank: Bank
) -> None:
    action = book.action("target-tracking-cpu", task)
    played = {}
    for percent in (0, 100):
        own = action.copy()
        own[2] = percent // task.spot_step_percent
        played[percent] = play(ConstantPolicy(own), bank, task, whole_windows(bank))
    found = waterfall(played[100].totals, played[0].totals)
    closes(found)
    assert found.total == pytest.approx(float((played[0].total_usd - played[100].total_usd).mean()))
    assert found.spot > 0.0
    assert found.spot > abs(found.size) + abs(found.type)
