"""Predictive and scheduled scaling, and several policies at once, played by the kernel and by the reference."""

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import BOTH, INSTANT, OneFleet, tiny_bank

from simulators.menu import ScalingPolicy, ScheduledSize, Step
from simulators.physics import WorldSettings

RPS_OF_ONE = 24.0
CPU = ScalingPolicy(name="cpu", kind="target_tracking_cpu", target_utilization=0.6, out_points=1, in_points=1)
NEVER_IN = CPU.model_copy(update={"name": "never in", "disable_scale_in": True})
REQUESTS = ScalingPolicy(name="requests", kind="target_tracking_requests", out_points=1, in_points=1)
PREDICTIVE = ScalingPolicy(name="predictive", kind="predictive")
ADD_TWO = ScalingPolicy(
    name="add two", kind="step", high_threshold=0.8, steps_out=(Step(lower=0, change=2),), out_points=1
)


def beside(first: ScalingPolicy, *others: ScalingPolicy) -> ScalingPolicy:
    return first.model_copy(update={"also": others})


def group(player: type[OneFleet], policy: ScalingPolicy, *, hourly: object = np.nan, instances: int = 10) -> OneFleet:
    bank = tiny_bank(
        np.full(240, RPS_OF_ONE * instances), settings=WorldSettings(physics=INSTANT), predictive_rps=hourly
    )
    return player(bank, policy)


def minutes_of_change(fleet: OneFleet, ticks: int) -> dict[int, int]:
    """Minutes in which desired capacity changed, and to what; CPU stays at its target."""
    found, before = {}, int(fleet.state["desired"])
    for minute in range(ticks):
        fleet.inject(cpu_utilization=0.6, requests_per_target=60 * RPS_OF_ONE)
        fleet.step(1)
        if fleet.state["desired"] != before:
            before = found[minute] = int(fleet.state["desired"])
    return found


@fact("PS-02")
@BOTH
@pytest.mark.parametrize(("buffer", "minute"), [(5, 55), (0, 60), (30, 30)])
def test_capacity_rises_a_buffer_before_the_hour(player: type[OneFleet], buffer: int, minute: int) -> None:
    policy = PREDICTIVE.model_copy(update={"buffer_minutes": buffer})
    hourly = RPS_OF_ONE * np.array([10, 14, 14, 19])
    assert minutes_of_change(group(player, policy, hourly=hourly), 240) == {minute: 14, minute + 120: 19}


@fact("PS-03")
@BOTH
@pytest.mark.parametrize("policy", [PREDICTIVE, beside(PREDICTIVE, NEVER_IN), beside(NEVER_IN, PREDICTIVE)])
def test_a_forecast_below_capacity_changes_nothing(player: type[OneFleet], policy: ScalingPolicy) -> None:
    """Alone, or beside a policy that never removes capacity and so has no opinion."""
    hourly = RPS_OF_ONE * np.array([10, 4, 7, 1])
    assert minutes_of_change(group(player, policy, hourly=hourly), 240) == {}


@BOTH
def test_without_a_forecast_nothing_changes(player: type[OneFleet]) -> None:
    assert minutes_of_change(group(player, PREDICTIVE), 240) == {}


@fact("PS-04")
@BOTH
@pytest.mark.parametrize(
    ("cpu", "forecast", "expected"), [(0.9, 12, 15), (0.9, 17, 17), (0.3, 7, 7), (0.3, 3, 5), (0.6, 13, 13)]
)
def test_the_larger_of_forecast_and_metric_counts(
    player: type[OneFleet], cpu: float, forecast: int, expected: int
) -> None:
    """Scale-in may go down to the forecast, and to what the metric asks for, whichever is more."""
    for policy in (beside(CPU, PREDICTIVE), beside(PREDICTIVE, CPU)):
        fleet = group(player, policy, hourly=RPS_OF_ONE * forecast)
        fleet.inject(cpu_utilization=cpu)
        fleet.step(1)
        assert fleet.state["desired"] == expected


HIGH, KEEP, LOW = 0.9, 0.55, 0.3


@fact("TT-07")
@BOTH
@pytest.mark.parametrize(
    ("cpu", "requests", "expected"),
    [
        (HIGH, HIGH, 15),
        (HIGH, KEEP, 15),
        (HIGH, LOW, 15),
        (KEEP, HIGH, 15),
        (KEEP, KEEP, 10),
        (KEEP, LOW, 10),
        (LOW, HIGH, 15),
        (LOW, KEEP, 10),
        (LOW, LOW, 5),
    ],
)
def test_any_policy_adds_and_all_must_agree_to_remove(
    player: type[OneFleet], cpu: float, requests: float, expected: int
) -> None:
    fleet = group(player, beside(CPU, REQUESTS))
    fleet.inject(cpu_utilization=cpu, requests_per_target=requests * 40 * 60)
    fleet.step(1)
    assert fleet.state["desired"] == expected


@fact("TT-07")
@BOTH
@pytest.mark.parametrize(("cpu", "requests", "expected"), [(LOW, LOW, 5), (LOW, KEEP, 10), (HIGH, LOW, 15)])
def test_a_policy_that_never_removes_is_not_asked_about_removing(
    player: type[OneFleet], cpu: float, requests: float, expected: int
) -> None:
    fleet = group(player, beside(NEVER_IN, REQUESTS))
    fleet.inject(cpu_utilization=cpu, requests_per_target=requests * 40 * 60)
    fleet.step(1)
    assert fleet.state["desired"] == expected


@fact("TT-07")
@BOTH
def test_the_largest_capacity_wins(player: type[OneFleet]) -> None:
    for cpu, expected in ((0.85, 15), (0.95, 16), (0.4, 7)):
        fleet = group(player, beside(CPU, ADD_TWO, NEVER_IN))
        fleet.inject(cpu_utilization=cpu)
        fleet.step(1)
        assert fleet.state["desired"] == expected


@BOTH
def test_a_policy_without_metrics_blocks_removing(player: type[OneFleet]) -> None:
    fleet = group(player, beside(CPU, REQUESTS))
    fleet.inject(cpu_utilization=LOW, requests_per_target=np.nan)
    fleet.step(1)
    assert fleet.state["desired"] == 10


@BOTH
def test_a_schedule_repeats_every_week(player: type[OneFleet]) -> None:
    week = 7 * 1440
    schedule = (ScheduledSize(minute_of_week=5, instances=4), ScheduledSize(minute_of_week=week - 10, instances=8))
    bank = tiny_bank(np.full(60, 96.0), settings=WorldSettings(physics=INSTANT), minute_of_week=week - 20)
    fleet = player(bank, ScalingPolicy(name="week", kind="scheduled", schedule=schedule))
    sizes = []
    for minute in range(40):
        fleet.step(1, scale=1 if minute >= 35 else 0)
        sizes.append(int(fleet.state["desired"]))
    assert sizes == [4] * 10 + [8] * 15 + [4] * 10 + [5] * 5


@BOTH
def test_a_schedule_in_shares_of_mean_demand(player: type[OneFleet]) -> None:
    """The size a static policy has for the same demand, and a margin that holds at the spot share."""
    schedule = (ScheduledSize(minute_of_week=0, mean_demand_ratio=0.5), ScheduledSize(minute_of_week=5, instances=7))
    bank = tiny_bank(np.full(60, 96.0), settings=WorldSettings(physics=INSTANT), minute_of_week=0)
    scheduled = player(bank, ScalingPolicy(name="day", kind="scheduled", schedule=schedule, spot_margin=0.5))
    static = player(bank, ScalingPolicy(name="same", kind="static", mean_demand_ratio=0.5, spot_margin=0.5))
    sizes = []
    for spot in (0.0, 1.0):
        for fleet in (scheduled, static):
            fleet.step(1, spot=spot)
            sizes.append(int(fleet.state["desired"]))
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]
    scheduled.step(10)
    assert int(scheduled.state["desired"]) == 7


def test_a_scheduled_size_is_one_or_the_other() -> None:
    for both in ({}, {"instances": 3, "mean_demand_ratio": 1.0}):
        with pytest.raises(ValueError, match="give either instances or mean_demand_ratio"):
            ScheduledSize.model_validate({"minute_of_week": 5, **both})
