"""Overload, retries, shedding and errors in the kernel and in the reference."""

from typing import Any

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import BOTH, INSTANT, MANUAL, OneFleet, tiny_bank

from simulators.catalogue import Catalogue, LaunchSpecification
from simulators.menu import ScalingPolicy
from simulators.physics import Workload, WorldSettings

RPS_OF_ONE = 24.0
CAPACITY_OF_ONE = 40.0
INSTANCES = 10
ONE_TYPE = Catalogue(Catalogue().types[:1], (LaunchSpecification.single("m6i.large"),))


def group(player: type[OneFleet], demand: Any, workload: Workload, **tapes: Any) -> OneFleet:
    """Ten instances that nobody adds to; 400 requests per second is what they serve."""
    bank = tiny_bank(demand, settings=WorldSettings(physics=INSTANT, workload=workload), **tapes)
    fleet = player(bank, MANUAL)
    fleet.step(1, scale=INSTANCES - int(fleet.state["desired"]))
    fleet.step(9)
    assert fleet.state["desired"] == INSTANCES
    return fleet


def answered_share(fleet: OneFleet, ticks: int) -> list[float]:
    """Share of each minute's requests that did not fail."""
    outcomes = [fleet.step(1) for _ in range(ticks)]
    return [1 - float(outcome["failed_requests"] / outcome["requests"]) for outcome in outcomes]


def spike(ticks: int = 120) -> Any:
    """Three quarters of capacity, one and a half times capacity for five minutes, three quarters again."""
    minute = np.arange(ticks)
    return np.where((minute >= 20) & (minute < 25), 600.0, 300.0)


@fact("Q-08")
@BOTH
@pytest.mark.parametrize(("retries", "queue_limit_s", "recovers"), [(3, 60.0, False), (3, 1.0, True), (0, 60.0, True)])
def test_retries_keep_an_overload_alive_that_shedding_ends(
    player: type[OneFleet], retries: int, queue_limit_s: float, recovers: bool
) -> None:
    """The load is back where it was; with three retries and long queues the group never is."""
    workload = Workload(max_retries=retries, queue_limit_s=queue_limit_s, timeout_s=5.0, memory_mib_per_request=1.0)
    share = answered_share(group(player, spike(), workload), 100)
    assert min(share[:10]) > 0.999
    assert min(share[10:20]) < 0.999
    if recovers:
        assert min(share[60:]) > 0.999
    else:
        assert max(share[30:]) < 0.01


@fact("Q-08")
@BOTH
def test_what_times_out_has_used_capacity(player: type[OneFleet]) -> None:
    """Beyond saturation every vCPU is busy although hardly an answer comes in time."""
    workload = Workload(max_retries=0, queue_limit_s=60.0, memory_mib_per_request=1.0)
    fleet = group(player, np.full(120, 600.0), workload)
    fleet.step(20)
    outcome = fleet.step(1)
    assert outcome["failed_requests"] == pytest.approx(outcome["requests"], rel=1e-3)
    assert outcome["busy_vcpu_s"] == pytest.approx(outcome["in_service_vcpu_s"])


@fact("Q-09")
@BOTH
@pytest.mark.parametrize("load", [1.2, 1.5, 2.0, 4.0])
def test_a_short_queue_keeps_goodput_at_capacity(player: type[OneFleet], load: float) -> None:
    goodput = {}
    demand = np.full(120, load * INSTANCES * CAPACITY_OF_ONE)
    for queue_limit_s in (2.0, 60.0):
        workload = Workload(max_retries=0, queue_limit_s=queue_limit_s, timeout_s=5.0, memory_mib_per_request=1.0)
        fleet = group(player, demand, workload)
        fleet.step(30)
        outcome = fleet.step(1)
        goodput[queue_limit_s] = float(outcome["requests"] - outcome["failed_requests"]) / 60
    assert goodput[2.0] == pytest.approx(INSTANCES * CAPACITY_OF_ONE, rel=0.02)
    assert goodput[60.0] < 0.01 * INSTANCES * CAPACITY_OF_ONE


@fact("Q-07")
@BOTH
def test_a_backlog_grows_and_drains_like_a_fluid(player: type[OneFleet]) -> None:
    """Twenty percent too much for five minutes is worked off in 20 % over the spare share."""
    minute = np.arange(120)
    demand = np.where((minute >= 20) & (minute < 25), 480.0, 320.0)
    workload = Workload(max_retries=0, queue_limit_s=120.0, memory_mib_per_request=0.1)
    fleet = group(player, demand, workload)
    fleet.step(10)
    backlog = []
    for _ in range(15):
        fleet.step(1)
        backlog.append(float(fleet.slots("backlog_requests").sum()))
    grown = [80.0 * 60 * minutes for minutes in range(1, 6)]
    assert backlog[:5] == pytest.approx(grown, rel=1e-6)
    assert backlog[5:10] == pytest.approx([*grown[-2::-1], 0.0], rel=1e-6, abs=0.05)
    assert backlog[10:] == [0.0] * 5


@BOTH
@pytest.mark.parametrize("retries", [0, 1, 2, 3])
def test_a_request_is_tried_as_often_as_it_may_be(player: type[OneFleet], retries: int) -> None:
    """With a fifth of all attempts answered by an error, a request fails where all of its attempts did."""
    workload = Workload(max_retries=retries)
    fleet = group(player, np.full(120, 120.0), workload, fault_fraction=0.2)
    fleet.step(10)
    outcome = fleet.step(1)
    assert outcome["failed_requests"] / outcome["requests"] == pytest.approx(0.2 ** (retries + 1), rel=1e-3)
    assert outcome["retried_requests"] / outcome["requests"] == pytest.approx(
        sum(0.2**attempt for attempt in range(1, retries + 1)), rel=1e-3
    )


@BOTH
def test_a_minute_in_a_metric_gap_is_judged_but_not_seen(player: type[OneFleet]) -> None:
    gap = (np.arange(120) >= 20) & (np.arange(120) < 30)
    fault = np.where(gap, 0.5, 0.0)
    fleet = group(player, np.full(120, 120.0), Workload(), metric_gap=gap, fault_fraction=fault)
    fleet.step(10)
    seen = float(fleet.state["bad_recent"])
    assert fleet.step(10)["bad_minutes"] == 9, "the first errors are tried again"
    fleet.step(3)
    assert fleet.state["bad_recent"] <= seen
    assert fleet.state["ticks_since_bad"] > 20


@BOTH
def test_a_target_short_of_memory_or_network_serves_less(player: type[OneFleet]) -> None:
    busy = {}
    limits: dict[str, dict[str, float]] = {
        "cpu": {},
        "network": {"kb_per_request": ONE_TYPE.types[0].network_gbps * 1e6 / 8 / 20.0},
        "memory": {"base_memory_mib": 8186.0},
    }
    for name, changes in limits.items():
        workload = Workload(max_retries=0, queue_limit_s=1.0, **changes)
        bank = tiny_bank(
            np.full(60, 100.0),
            settings=WorldSettings(physics=INSTANT, workload=workload),
            catalogue=ONE_TYPE,
        )
        fleet = player(bank, ScalingPolicy(name="manual", kind="manual"))
        capacity = float(bank.physics["capacity_rps"][0, 0])
        fleet.step(1, scale=1 - int(fleet.state["desired"]))
        fleet.step(9)
        outcome = fleet.step(1)
        served = float(outcome["requests"] - outcome["failed_requests"]) / 60
        assert served == pytest.approx(capacity, rel=0.05)
        busy[name] = (capacity, float(outcome["busy_vcpu_s"]) / 120)
    assert busy["cpu"] == pytest.approx((40.0, 1.0))
    assert busy["network"] == pytest.approx((20.0, 0.5))
    assert busy["memory"] == pytest.approx((30.0, 0.75))
