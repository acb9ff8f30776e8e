"""Validation of the reaction to load: how fast target tracking relieves, when it first saves, how a backlog drains.

A step of load hits ten m6i.large that target tracking holds at 50 % utilisation: a doubling that is halved an hour
later, or a rise to six times. Ranges come from the alarm clock of target tracking (three and fifteen one-minute
points, as public captures of its alarms show), a metric delay of a minute, and about 24 + 60 + 15 s from launch to
first request; the backlog's from the fluid limit of an overloaded queue.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simulators.catalogue import REFERENCE_TYPE, Catalogue, LaunchSpecification
from simulators.fleets import FleetBatch
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, menu_records
from simulators.physics import REFERENCE_UTILIZATION, Physics, Workload, WorldSettings, reference_rps_per_instance
from simulators.records import AMPLE, ZONES
from simulators.scenario import make_scenario
from simulators.worlds import WorldPlan, build_bank
from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTANCES: Final = 10
TARGET: Final = 0.5
SEEDS: Final = 50
STEP_MINUTE: Final = 60
HALVING_MINUTE: Final = 120
END_MINUTE: Final = 180
_JUST_BELOW: Final = 0.9998
_CATALOGUE: Final = Catalogue(candidates=(LaunchSpecification.single(REFERENCE_TYPE),))

PROFILES: Final = (
    ScalingPolicy(name="classic-1min CPU", kind="target_tracking_cpu", target_utilization=TARGET),
    ScalingPolicy(
        name="classic-1min requests", kind="target_tracking_requests", target_utilization=TARGET, low_ratio=0.9
    ),
    ScalingPolicy(name="fast", kind="target_tracking_cpu", target_utilization=TARGET, out_points=1, in_points=5),
)
"""Alarm clocks of target tracking: the classic three points out and fifteen in, and one and five.

AWS says since November 2024 that target tracking tunes its own responsiveness; how is not published. ``fast`` is as
quick as one-minute metrics allow.
"""


@dataclass(frozen=True)
class Minutes:
    """What fleets did, minute by minute; arrays [minutes, fleets].

    Attributes:
        desired: Desired capacity set in the minute.
        in_service: Instances serving at its end.
        is_bad: Whether the minute missed the objective.
        utilization: Busy share of the vCPU time in service, 0..1.
        backlog_requests: Requests queued at its end, all instances together.
    """

    desired: NDArray[np.int64]
    in_service: NDArray[np.int64]
    is_bad: NDArray[np.bool_]
    utilization: NDArray[np.float64]
    backlog_requests: NDArray[np.float64]


def play_load(
    policy: ScalingPolicy,
    load: NDArray[np.float64],
    *,
    workload: Workload | None = None,
    physics: Physics | None = None,
    seeds: int = SEEDS,
) -> Minutes:
    """Play a load through fleets that differ in their luck only: no spot, no reclaims, one instance type.

    Args:
        policy: Scales the fleets.
        load: [minutes] demand in units of what one instance serves when it is always busy.
        workload: Defaults if absent.
        physics: Defaults if absent.
        seeds: Number of fleets.
    """
    settings = WorldSettings(physics=physics or Physics(), workload=workload or Workload())
    capacity_rps = reference_rps_per_instance(_CATALOGUE, settings.workload) / REFERENCE_UTILIZATION
    lead_in = np.full(60, load[0])
    whole = slice(0, len(lead_in) + len(load))
    demand_rps = np.concatenate([lead_in, load]) * capacity_rps
    scenario = make_scenario("load", demand_rps, history=whole, window=slice(len(lead_in), whole.stop))
    bank = build_bank(
        [scenario], [_quiet_market(whole.stop)], [WorldPlan(0, 0)], catalogue=_CATALOGUE, settings=[settings]
    )
    fleets = FleetBatch(bank, menu_records([policy]), seeds)
    indices = np.arange(seeds)
    zeros = np.zeros(seeds, np.int64)
    fleets.reset(indices, zeros, zeros + len(lead_in), zeros + whole.stop, indices.astype(np.uint64))
    minutes = [_one_minute(fleets) for _ in load]
    return Minutes(*(np.array(values) for values in zip(*minutes, strict=True)))


def _quiet_market(ticks: int) -> MarketTape:
    pools = len(_CATALOGUE.types) * ZONES
    prices = np.full((-(-ticks // 60), pools), 1e-5, np.float32)
    return MarketTape(prices, np.full((ticks, pools), AMPLE, np.uint8), np.zeros((ticks, pools), np.uint8))


def _one_minute(fleets: FleetBatch) -> tuple[NDArray[np.generic], ...]:
    fleets.step(1)
    done, live = (
        fleets.outcomes,
        np.arange(fleets.state["backlog_requests"].shape[1])[None, :] < fleets.state["live"][:, None],
    )
    return (
        fleets.readings["desired"].astype(np.int64),
        fleets.readings["in_service"].astype(np.int64),
        done["bad_minutes"] > 0,
        done["busy_vcpu_s"] / np.maximum(done["in_service_vcpu_s"], 1e-9),
        np.where(live, fleets.state["backlog_requests"], 0.0).sum(axis=1),
    )


def doubled_and_halved() -> NDArray[np.float64]:
    """Return [minutes] the load: ten instances at just under 50 %, twice that for an hour, and half again."""
    load = np.full(END_MINUTE, INSTANCES * TARGET * _JUST_BELOW)
    load[STEP_MINUTE:HALVING_MINUTE] *= 2.0
    return load


@dataclass(frozen=True)
class Reaction:
    """What follows from a change of load, and how many minutes after it; arrays [fleets].

    Attributes:
        decided: From the doubling until desired capacity rises.
        first: Until the first new instance serves.
        relieved: Until the objective is met again for good.
        saving: From the halving until desired capacity falls.
        stopped: Until an instance has stopped serving; it is billed through its drain.
        largest: Instances desired at most between doubling and halving.
        smallest: Instances desired at least after the halving.
    """

    decided: NDArray[np.float64]
    first: NDArray[np.float64]
    relieved: NDArray[np.float64]
    saving: NDArray[np.float64]
    stopped: NDArray[np.float64]
    largest: NDArray[np.float64]
    smallest: NDArray[np.float64]


def reaction(minutes: Minutes) -> Reaction:
    """Return how fleets reacted to ``doubled_and_halved``."""
    up, down = slice(STEP_MINUTE, HALVING_MINUTE), slice(HALVING_MINUTE, END_MINUTE)
    before_up, before_down = STEP_MINUTE - 1, HALVING_MINUTE - 1
    bad = minutes.is_bad[up]
    relieved = np.where(bad.any(axis=0), len(bad) - np.argmax(bad[::-1], axis=0), 0)
    return Reaction(
        decided=_first(minutes.desired[up] > minutes.desired[before_up]),
        first=_first(minutes.in_service[up] > minutes.in_service[before_up]) + 1,
        relieved=relieved.astype(np.float64),
        saving=_first(minutes.desired[down] < minutes.desired[before_down]),
        stopped=_first(minutes.in_service[down] < minutes.in_service[before_down]),
        largest=minutes.desired[up].max(axis=0).astype(np.float64),
        smallest=minutes.desired[down].min(axis=0).astype(np.float64),
    )


def _first(happened: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return [fleets] the first minute at the start of which something had happened; NaN where it never did."""
    return np.where(happened.any(axis=0), np.argmax(happened, axis=0), np.nan)


@cache
def reactions(seeds: int = SEEDS) -> dict[str, Reaction]:
    """Return the reaction of each profile to a doubling and a halving."""
    return {policy.name: reaction(play_load(policy, doubled_and_halved(), seeds=seeds)) for policy in PROFILES}


@cache
def rounds(factor: float = 6.0) -> dict[str, tuple[int, ...]]:
    """Return the sizes that each metric asks for when the load rises ``factor`` times at once, until one is enough.

    Clients do not try again: a retry is one more request on the request metric.
    """
    load = np.full(STEP_MINUTE + 60, INSTANCES * TARGET * _JUST_BELOW)
    load[STEP_MINUTE:] *= factor
    asked = {}
    for policy in PROFILES[:2]:
        desired = play_load(policy, load, workload=Workload(max_retries=0), seeds=1).desired[STEP_MINUTE - 1 :, 0]
        raised = [int(size) for size in desired[1:][np.diff(desired) > 0]]
        enough = next((place for place, size in enumerate(raised) if size >= factor * INSTANCES), len(raised) - 1)
        asked[policy.name] = tuple(raised[: enough + 1])
    return asked


OVERLOAD: Final = 0.2
SPARE: Final = 0.2
OVERLOAD_MINUTES: Final = 5


def backlog_drain_minutes() -> float:
    """Return how long the backlog of five minutes at 120 % of capacity takes to drain at 80 %, minutes.

    Fluid limit: overload / spare capacity x length of the overload, five minutes. The queue is not bounded here.
    """
    load = np.full(STEP_MINUTE, INSTANCES * (1.0 - SPARE))
    load[20 : 20 + OVERLOAD_MINUTES] = INSTANCES * (1.0 + OVERLOAD)
    workload = Workload(max_retries=0, timeout_s=60.0, queue_limit_s=120.0, memory_mib_per_request=0.0)
    physics = Physics(min_instances=INSTANCES, max_instances=INSTANCES)
    minutes = play_load(ScalingPolicy(name="manual", kind="manual"), load, workload=workload, physics=physics, seeds=1)
    backlog = minutes.backlog_requests[20 + OVERLOAD_MINUTES - 1 :, 0]
    empty = int(np.argmax(backlog <= 1e-6 * backlog[0]))
    per_minute = reference_rps_per_instance(_CATALOGUE, workload) / REFERENCE_UTILIZATION * INSTANCES * SPARE * 60.0
    return empty - 1 + float(backlog[empty - 1]) / per_minute


def checks(seeds: int = SEEDS) -> list[Check]:
    """Return the figures of the reaction to load beside their ranges (means over fleets)."""
    return [*_step_checks(seeds), *_overload_checks()]


def _step_checks(seeds: int) -> Iterator[Check]:
    clock = "sum of alarm clock, metric delay and launch"
    alarm = "15 of 15 points, public captures of target tracking alarms"
    rounding = "n x metric / target, of the instances that the metric was taken over"
    found = {
        name: {key: float(np.mean(value)) for key, value in vars(item).items()}
        for name, item in reactions(seeds).items()
    }
    for name in (policy.name for policy in PROFILES[:2]):
        yield Check(f"{name}: doubling to first relief", found[name]["first"], 4.0, 8.0, "min", clock)
        yield Check(f"{name}: doubling to relief", found[name]["relieved"], 4.0, 8.0, "min", clock)
        yield Check(f"{name}: halving to first scale-in", found[name]["saving"], 15.0, 20.0, "min", alarm)
        sizes = "instances"
        yield Check(f"{name}: largest size after the doubling", found[name]["largest"], 20.0, 22.0, sizes, rounding)
        yield Check(f"{name}: smallest size after the halving", found[name]["smallest"], 10.0, 12.0, sizes, rounding)
    sooner = found[PROFILES[0].name]["decided"] - found[PROFILES[2].name]["decided"]
    yield Check("fast: scale-out sooner than classic-1min", sooner, 2.0, 2.0, "min", "one point instead of three")
    sooner = found[PROFILES[0].name]["saving"] - found[PROFILES[2].name]["saving"]
    yield Check("fast: scale-in sooner than classic-1min", sooner, 10.0, 10.0, "min", "five points instead of fifteen")


def _overload_checks() -> Iterator[Check]:
    source = "ceil(n x metric / target), and CPU saturates at 100 %"
    by_cpu, by_requests = (rounds()[policy.name] for policy in PROFILES[:2])
    yield Check("six times the load: rounds of CPU tracking", len(by_cpu), 3, 3, "1", source)
    yield Check("six times the load: rounds of request tracking", len(by_requests), 1, 1, "1", source)
    for number, (size, size_asked) in enumerate(zip(by_cpu, (20, 40, 60), strict=False)):
        low, high = size_asked, size_asked + (number == 2)
        yield Check(f"six times the load: size {number + 1} by CPU", size, low, high, "instances", source)
    yield Check("six times the load: first size by requests", by_requests[0], 60, 60, "instances", source)
    expected = OVERLOAD / SPARE * OVERLOAD_MINUTES
    yield Check(
        "backlog of 5 min at 120 % drains at 80 % in",
        backlog_drain_minutes(),
        0.99 * expected,
        1.01 * expected,
        "min",
        "fluid limit: backlog / spare capacity",
    )


def table(seeds: int = SEEDS) -> pd.DataFrame:
    """Return what follows from doubling and halving the load, mean and extremes over fleets, by profile.

    Sizes are instances, all else minutes.
    """
    rows = []
    for name, item in reactions(seeds).items():
        for what, values in vars(item).items():
            rows.append((name, what, float(np.mean(values)), float(np.min(values)), float(np.max(values))))
    return pd.DataFrame(rows, columns=["profile", "what", "mean", "least", "most"])


def figure() -> "Figure":
    """Return instances in service and utilisation through doubling and halving, mean over fleets, by profile."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9, 5.5), layout="constrained")
    instances, busy = drawn.subplots(2, 1, sharex=True)
    at = np.arange(END_MINUTE) - STEP_MINUTE
    for policy in PROFILES:
        minutes = play_load(policy, doubled_and_halved(), seeds=SEEDS)
        instances.step(at, minutes.in_service.mean(axis=1), where="post", label=policy.name)
        busy.plot(at, 100.0 * minutes.utilization.mean(axis=1), label=policy.name)
    for axis, title in ((instances, "instances in service"), (busy, "CPU utilisation, %")):
        axis.axvline(0, color="0.6", linewidth=0.8)
        axis.axvline(HALVING_MINUTE - STEP_MINUTE, color="0.6", linewidth=0.8)
        axis.set_ylabel(title)
    instances.legend(fontsize=8)
    busy.set_xlabel("minutes since the load doubled")
    return drawn
