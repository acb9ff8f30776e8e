"""Target tracking as AWS documents it, played by the kernel: arithmetic, alarms, reaction times."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from facts import fact
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from reference.tiny_worlds import BOTH, CLOCKWORK, INSTANT, OneFleet, tiny_bank

from simulators.menu import ScalingPolicy
from simulators.physics import Physics, Workload, WorldSettings

RPS_AT_60_PERCENT = 24.0
"""Demand one reference instance (40 requests per second) serves at 60 % utilisation."""
CPU = ScalingPolicy(name="cpu", kind="target_tracking_cpu")
REQUESTS = ScalingPolicy(name="requests", kind="target_tracking_requests", low_ratio=0.9)


def fleet_of(instances: int, policy: ScalingPolicy = CPU, player: type[OneFleet] = OneFleet) -> OneFleet:
    """A warm fleet of ``instances`` at 60 % utilisation."""
    fleet = player(tiny_bank(np.full(60, instances * RPS_AT_60_PERCENT)), policy)
    assert fleet.state["desired"] == instances
    return fleet


def wanted(instances: int, metric: float, target: float, player: type[OneFleet] = OneFleet) -> int:
    """Desired capacity after a minute in which both alarms are due."""
    fleet = fleet_of(instances, CPU.model_copy(update={"target_utilization": target}), player)
    fleet.inject(cpu_utilization=metric, high_alarm=(2, 0, 0), low_alarm=(14, 0, 0))
    fleet.step(1)
    return int(fleet.state["desired"])


@fact("TT-04", "TT-05")
@BOTH
@pytest.mark.parametrize(
    ("instances", "metric", "target", "expected"),
    [(10, 0.75, 0.50, 15), (4, 0.55, 0.50, 5), (10, 0.30, 0.50, 6), (2, 0.34, 0.50, 2)],
)
def test_documented_examples(
    player: type[OneFleet], instances: int, metric: float, target: float, expected: int
) -> None:
    assert wanted(instances, metric, target, player) == expected


def exact_want(instances: int, metric: Fraction, target: Fraction) -> int:
    """Round up what is added, down what is removed, and keep an instance whose removal would breach."""
    if metric > target:
        return min(99, max(instances, -(-instances * metric // target)))
    if metric < target * Fraction(7, 10) and instances > 1 and metric * instances / (instances - 1) <= target:
        return max(1, instances - (instances - instances * metric / target) // 1)
    return instances


@fact("TT-04")
@hypothesis_settings(max_examples=150, deadline=None)
@given(st.integers(1, 99), st.integers(1, 100), st.integers(20, 90))
def test_arithmetic_is_exact_in_decimal_numbers(instances: int, metric: int, target: int) -> None:
    expected = exact_want(instances, Fraction(metric, 100), Fraction(target, 100))
    assert wanted(instances, metric / 100, target / 100) == expected


def minutes_until_desired_changes(fleet: OneFleet, limit: int = 60) -> int | None:
    """Minutes played before the one in which desired capacity moves; None where it never does."""
    start = int(fleet.state["desired"])
    for minute in range(limit):
        fleet.step(1)
        if fleet.state["desired"] != start:
            return minute
    return None


def step_load(before: float, after: float, *, at: int = 30, ticks: int = 180) -> np.ndarray[Any, np.dtype[Any]]:
    return np.where(np.arange(ticks) < at, before, after)


@fact("TT-02", "CW-10")
@pytest.mark.parametrize("delay", [0, 1, 2])
def test_scale_out_waits_for_three_visible_breaches(delay: int) -> None:
    settings = WorldSettings(physics=Physics(metric_delay_s=60 * delay))
    fleet = OneFleet(tiny_bank(step_load(230.0, 300.0), settings=settings), CPU, tick=20)
    third_breach_ends = 10 + 3
    assert minutes_until_desired_changes(fleet) == third_breach_ends + delay
    assert fleet.state["desired"] == 13


@fact("TT-02", "CW-10")
@pytest.mark.parametrize("delay", [0, 1, 2])
def test_scale_in_waits_for_fifteen_visible_low_minutes(delay: int) -> None:
    settings = WorldSettings(physics=Physics(metric_delay_s=60 * delay))
    fleet = OneFleet(tiny_bank(step_load(230.0, 120.0), settings=settings), CPU, tick=20)
    fifteenth_low_ends = 10 + 15
    assert minutes_until_desired_changes(fleet) == fifteenth_low_ends + delay
    assert fleet.state["desired"] == 5


@fact("TT-03")
@pytest.mark.parametrize(
    ("policy", "share_of_target", "minute"),
    [
        (CPU, 0.80, None),
        (CPU, 0.71, None),
        (CPU, 0.69, 10 + 15 + 1),
        (REQUESTS, 0.91, None),
        (REQUESTS, 0.89, 10 + 15 + 1),
    ],
)
def test_nothing_is_removed_above_the_low_threshold(
    policy: ScalingPolicy, share_of_target: float, minute: int | None
) -> None:
    fleet = OneFleet(tiny_bank(step_load(230.0, 240.0 * share_of_target)), policy, tick=20)
    assert minutes_until_desired_changes(fleet, limit=80) == minute


def test_an_interrupted_breach_starts_again() -> None:
    demand = step_load(230.0, 300.0)
    demand[32] = 200.0
    fleet = OneFleet(tiny_bank(demand), CPU, tick=20)
    assert minutes_until_desired_changes(fleet) == 10 + 3 + 3 + 1


@fact("LT-15")
@pytest.mark.parametrize("policy", [CPU, REQUESTS], ids=lambda policy: policy.name)
def test_relief_from_a_doubling_comes_after_four_to_eight_minutes(policy: ScalingPolicy) -> None:
    relief = []
    for seed in range(20):
        fleet = OneFleet(tiny_bank(step_load(230.0, 460.0)), policy, tick=29, seed=seed)
        before = fleet.step(1)["in_service_vcpu_s"]
        for minute in range(1, 20):
            if fleet.step(1)["in_service_vcpu_s"] > before:
                relief.append(minute)
                break
    assert len(relief) == 20
    assert min(relief) >= 4
    assert max(relief) <= 8


@fact("LT-15", "LT-11")
def test_a_halving_saves_nothing_before_a_quarter_of_an_hour_and_a_drain() -> None:
    fleet = OneFleet(tiny_bank(step_load(230.0, 115.0)), CPU, tick=30)
    billed = [float(fleet.step(1)["billed_instance_s"]) for _ in range(30)]
    assert set(billed[: 15 + 5]) == {600.0}
    assert billed[15 + 1 + 5 + 1] < 600.0


@fact("Q-11")
@BOTH
def test_cpu_saturates_at_three_times_capacity_and_needs_three_rounds(player: type[OneFleet]) -> None:
    """Ten instances, three times what they serve, target 50 %: 20, 40, 60; request counts ask for 60 at once."""
    physics = INSTANT.model_copy(update={"instance_warmup_s": 300})
    settings = WorldSettings(physics=physics, workload=Workload(max_retries=0, queue_limit_s=1.0))
    demand = np.select([np.arange(60) < 10, np.arange(60) < 20], [240.0, 199.0], 1200.0)
    rounds = {}
    for kind in ("target_tracking_cpu", "target_tracking_requests"):
        policy = ScalingPolicy(name=kind, kind=kind, target_utilization=0.5, out_points=1)
        fleet = player(tiny_bank(demand, settings=settings), policy, tick=10)
        fleet.inject(cpu_utilization=0.5, requests_per_target=1200.0)
        found = []
        for _ in range(40):
            fleet.step(1)
            found.append(int(fleet.state["desired"]))
        assert found[:10] == [10] * 10
        rounds[kind] = sorted(set(found) - {10})
    assert rounds["target_tracking_cpu"] == [20, 40, 60]
    assert rounds["target_tracking_requests"] == [60]


def rounds_to(fleet: OneFleet, size: int) -> list[int]:
    """Desired capacity after each change, until it reaches ``size``."""
    seen = [int(fleet.state["desired"])]
    for _ in range(120):
        fleet.step(1)
        if fleet.state["desired"] != seen[-1]:
            seen.append(int(fleet.state["desired"]))
        if seen[-1] >= size:
            return seen[1:]
    raise AssertionError(f"stuck at {seen}")


def test_cpu_saturates_in_a_sixfold_step_and_needs_several_rounds() -> None:
    demand = step_load(46.0, 276.0)
    needed = 12
    cpu = OneFleet(tiny_bank(demand), CPU, tick=29)
    rounds = rounds_to(cpu, needed)
    assert rounds[0] == 4
    assert len(rounds) >= 3


def test_request_count_asks_for_the_right_size_in_one_round() -> None:
    demand = step_load(46.0, 276.0)
    at_once = OneFleet(tiny_bank(demand), REQUESTS.model_copy(update={"out_points": 1}), tick=29)
    assert rounds_to(at_once, 12) == [12]
    usual = OneFleet(tiny_bank(demand), REQUESTS, tick=29)
    first = rounds_to(usual, 12)
    assert len(first) == 1
    assert first[0] <= 24, "retries can at most double the requests"


@fact("TT-09")
@BOTH
@pytest.mark.parametrize(("policy", "ring"), [(CPU, "cpu_utilization"), (REQUESTS, "requests_per_target")])
def test_a_missing_metric_changes_nothing(player: type[OneFleet], policy: ScalingPolicy, ring: str) -> None:
    fleet = fleet_of(10, policy, player)
    fleet.inject(high_alarm=(2, 0, 0), low_alarm=(14, 0, 0), **{ring: np.nan})
    fleet.step(1)
    assert fleet.state["desired"] == 10
    assert fleet.state["high_alarm"].tolist() == [2, 0, 0]
    assert fleet.state["low_alarm"].tolist() == [14, 0, 0]


@fact("TT-09")
@BOTH
@pytest.mark.parametrize(("load", "points"), [(300.0, 3), (120.0, 15)])
def test_nothing_is_done_while_metrics_are_missing(player: type[OneFleet], load: float, points: int) -> None:
    """Ten minutes without metrics, in a breach: the action comes when the points that it asks for are back."""
    gap = (np.arange(180) >= 31) & (np.arange(180) < 41)
    fleet = player(tiny_bank(step_load(230.0, load), metric_gap=gap), CPU, tick=20)
    breaching_before_the_gap = 1
    assert minutes_until_desired_changes(fleet) == (41 - 20) + points - breaching_before_the_gap + 1


@fact("TT-06")
@BOTH
def test_without_scale_in_a_policy_only_adds(player: type[OneFleet]) -> None:
    only_out = CPU.model_copy(update={"disable_scale_in": True})
    for metric, expected in ((0.30, 10), (0.90, 15)):
        fleet = fleet_of(10, only_out, player)
        fleet.inject(cpu_utilization=metric, high_alarm=(2, 0, 0), low_alarm=(14, 0, 0))
        fleet.step(1)
        assert fleet.state["desired"] == expected


@fact("TT-08")
@BOTH
def test_a_warming_instance_blocks_scale_in_but_not_scale_out(player: type[OneFleet]) -> None:
    for metric, expected in ((0.30, 10), (0.75, 12)):
        fleet = fleet_of(10, CPU, player)
        fleet.state["launch_s"][0] = -200
        fleet.inject(cpu_utilization=metric, cpu_targets=9, high_alarm=(2, 0, 0), low_alarm=(14, 0, 0))
        fleet.step(1)
        assert fleet.state["desired"] == expected


@fact("TT-08")
@BOTH
def test_a_warming_instance_is_left_out_of_the_metric(player: type[OneFleet]) -> None:
    fleet = fleet_of(10, CPU, player)
    fleet.state["launch_s"][0] = -200
    fleet.state["type"][0] = 7
    fleet.inject()
    fleet.step(1)
    assert fleet.state["cpu_utilization"][0] == pytest.approx(0.6)


@fact("TT-08")
@BOTH
def test_two_breaches_in_one_warm_up_make_one_scaling_activity(player: type[OneFleet]) -> None:
    fleet = player(tiny_bank(step_load(230.0, 300.0)), CPU, tick=29)
    launches = [int(fleet.step(1)["launches"]) for _ in range(9)]
    assert [count for count in launches if count] == [3]


def test_static_size_follows_its_offset_until_the_next_decision() -> None:
    static = ScalingPolicy(name="static", kind="static", mean_demand_ratio=1.0)
    fleet = OneFleet(tiny_bank(np.full(60, 240.0), settings=WorldSettings(physics=CLOCKWORK)), static)
    fleet.step(3, scale=4)
    assert fleet.state["desired"] == 14
    fleet.step(3, scale=0)
    assert fleet.state["desired"] == 10


@pytest.mark.parametrize("hold", [0, 5])
def test_forecast_policy_falls_only_after_its_hold(hold: int) -> None:
    forecast = ScalingPolicy(name="forecast", kind="forecast", hold_minutes=hold, quantile=1.0)
    fleet = OneFleet(tiny_bank(step_load(240.0, 120.0)), forecast, tick=20)
    first_low_visible = 30 + 2 - 20
    assert minutes_until_desired_changes(fleet) == first_low_visible + hold
    assert fleet.state["desired"] == 5
