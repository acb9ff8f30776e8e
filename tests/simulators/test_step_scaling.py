"""Step and simple scaling as AWS documents them, played by the kernel and by the reference."""

from typing import Any

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import BOTH, CLOCKWORK, INSTANT, OneFleet, tiny_bank

from simulators.menu import ScalingPolicy, Step
from simulators.physics import Physics, WorldSettings

RPS_OF_ONE = 24.0
PUBLISHED = ScalingPolicy(
    name="published",
    kind="step",
    high_threshold=0.5,
    low_threshold=0.5,
    steps_out=(Step(lower=0, upper=0.1, change=0), Step(lower=0.1, upper=0.2, change=10), Step(lower=0.2, change=30)),
    steps_in=(
        Step(lower=-0.1, upper=0, change=0),
        Step(lower=-0.2, upper=-0.1, change=-10),
        Step(upper=-0.2, change=-30),
    ),
    adjustment="percent",
    out_points=1,
    in_points=1,
)
"""The policy of the user guide: threshold 50 %, and +10 %, +30 %, -10 %, -30 %."""
ADD_ONE = ScalingPolicy(
    name="add one",
    kind="step",
    high_threshold=0.5,
    low_threshold=0.2,
    steps_out=(Step(lower=0, change=1),),
    steps_in=(Step(upper=0, change=-1),),
    out_points=1,
    in_points=1,
)
SIMPLE = ADD_ONE.model_copy(update={"cooldown_minutes": 5})


def group(
    player: type[OneFleet], policy: ScalingPolicy, instances: int = 10, physics: Physics = INSTANT, **changes: Any
) -> OneFleet:
    settings = WorldSettings(physics=physics.model_copy(update=changes))
    return player(tiny_bank(np.full(240, RPS_OF_ONE * instances), settings=settings), policy)


def sizes(fleet: OneFleet, metrics: list[float]) -> list[int]:
    """Desired capacity after each of some minutes whose visible CPU metric is given."""
    found = []
    for metric in metrics:
        fleet.inject(cpu_utilization=metric)
        fleet.step(1)
        found.append(int(fleet.state["desired"]))
    return found


@fact("SS-02")
@BOTH
def test_the_published_sequence(player: type[OneFleet]) -> None:
    assert sizes(group(player, PUBLISHED), [0.60, 0.70, 0.40, 0.30]) == [11, 14, 13, 10]


@fact("SS-02")
@BOTH
def test_bounds_belong_to_the_step_nearer_the_threshold_only_on_its_own_side(player: type[OneFleet]) -> None:
    for metric, size in ((0.55, 10), (0.599, 10), (0.6, 11), (0.699, 11), (0.41, 10), (0.4, 9), (0.31, 9), (0.29, 7)):
        assert sizes(group(player, PUBLISHED), [metric]) == [size], metric


@fact("SS-03")
@BOTH
@pytest.mark.parametrize(
    ("instances", "percent", "magnitude", "expected"),
    [(10, 127, 0, 22), (10, 6.7, 0, 11), (10, -5.8, 0, 9), (10, -66.7, 0, 4), (4, 25, 2, 6), (4, 25, 0, 5)],
)
def test_a_change_in_percent_is_rounded_toward_zero_and_to_one(
    player: type[OneFleet], instances: int, percent: float, magnitude: int, expected: int
) -> None:
    steps = {"steps_out": (Step(lower=0, change=percent),), "steps_in": (Step(upper=0, change=percent),)}
    policy = PUBLISHED.model_copy(update={**steps, "min_magnitude": magnitude})
    assert sizes(group(player, policy, instances), [0.9 if percent > 0 else 0.1]) == [expected]


@BOTH
def test_an_exact_size_and_a_change_in_instances(player: type[OneFleet]) -> None:
    exact = ADD_ONE.model_copy(update={"adjustment": "exact", "steps_out": (Step(lower=0, change=17),)})
    assert sizes(group(player, exact), [0.9, 0.9]) == [17, 17]
    three = ADD_ONE.model_copy(update={"steps_out": (Step(lower=0, change=3),)})
    assert sizes(group(player, three), [0.9, 0.9, 0.1]) == [13, 16, 15]


@fact("AL-05")
@BOTH
def test_an_overload_that_lasts_keeps_adding_capacity(player: type[OneFleet]) -> None:
    """Not only where the alarm goes off, but every minute in which it is on."""
    fleet = group(player, ADD_ONE.model_copy(update={"out_points": 3}))
    assert sizes(fleet, [0.9] * 8) == [10, 10, 11, 12, 13, 14, 15, 16]


@fact("AL-05", "TT-08")
@BOTH
def test_a_breach_that_lasts_adds_what_is_still_warming_only_once(player: type[OneFleet]) -> None:
    fleet = group(player, ADD_ONE, physics=INSTANT, instance_warmup_s=300)
    assert sizes(fleet, [0.9] * 12) == [11] * 5 + [12] * 5 + [13] * 2


@BOTH
def test_nothing_is_removed_while_an_instance_is_warming(player: type[OneFleet]) -> None:
    fleet = group(player, ADD_ONE, instance_warmup_s=300)
    assert sizes(fleet, [0.9] + [0.1] * 6) == [11] * 5 + [10, 9]


@fact("AL-02")
@BOTH
def test_an_alarm_of_two_minutes_in_four(player: type[OneFleet]) -> None:
    policy = ADD_ONE.model_copy(update={"out_points": 2, "out_periods": 4})
    minutes = [0.9, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.9, 0.4, 0.4, 0.4, 0.9]
    assert sizes(group(player, policy), minutes) == [10, 10, 10, 11] + [11] * 8
    minutes = [0.9, 0.9, 0.4, 0.4, 0.4]
    assert sizes(group(player, policy), minutes) == [10, 11, 11, 11, 11]


def activities(fleet: OneFleet, metric: float, ticks: int) -> list[int]:
    """Minutes in which a group under a constant metric changed its desired capacity."""
    found = []
    for minute in range(ticks):
        fleet.inject(cpu_utilization=metric)
        before = int(fleet.state["desired"])
        fleet.step(1)
        if fleet.state["desired"] != before:
            found.append(minute)
    return found


@fact("SS-05")
@BOTH
def test_simple_scaling_waits_where_step_scaling_and_target_tracking_do_not(player: type[OneFleet]) -> None:
    tracking = ScalingPolicy(name="cpu", kind="target_tracking_cpu", target_utilization=0.85, out_points=1)
    step, tracked = (activities(group(player, policy), 0.9, 20) for policy in (ADD_ONE, tracking))
    simple = activities(group(player, SIMPLE), 0.9, 20)
    assert step == list(range(20))
    assert max(np.diff(tracked)) <= 2, "it waits for a metric of the new size, not for a cooldown"
    assert simple == [0, 5, 10, 15]


@fact("SS-06")
@BOTH
def test_the_cooldown_begins_when_the_last_instance_serves(player: type[OneFleet]) -> None:
    slow = INSTANT.model_copy(update={"app_median_s": 150.0})
    in_service_s = 151
    minutes = activities(group(player, SIMPLE, physics=slow), 0.9, 30)
    gaps_s = 60 * np.diff(minutes)
    assert len(minutes) > 2
    assert (gaps_s >= in_service_s + 300).all()
    assert (gaps_s < in_service_s + 300 + 60).all()


@fact("SS-06")
@BOTH
def test_the_cooldown_begins_after_draining(player: type[OneFleet]) -> None:
    minutes = activities(group(player, SIMPLE, drain_s=240), 0.1, 30)
    assert (60 * np.diff(minutes) == 240 + 300).all()
    assert len(minutes) > 2


@BOTH
def test_simple_scaling_waits_for_a_replacement_too(player: type[OneFleet]) -> None:
    """An instance lost to its zone is replaced; until that serves and the cooldown is over alarms are ignored."""
    settings = WorldSettings(physics=CLOCKWORK.model_copy(update={"zone_rebalancing": False}))
    down = np.where(np.arange(240) == 2, 1, 0)
    fleet = player(tiny_bank(np.full(240, 240.0), settings=settings, zone_down=down), SIMPLE)
    assert sizes(fleet, [0.4] * 3) == [10] * 3
    assert activities(fleet, 0.9, 10)[0] == 6
