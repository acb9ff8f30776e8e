"""How fast a fleet reacts to load: the alarm clock of target tracking, launches, saturation and backlogs."""

import numpy as np
import pytest
from facts import fact

from simulators.menu import ScalingPolicy
from simulators.physics import Physics, Workload
from simulators.validation.relief import (
    HALVING_MINUTE,
    INSTANCES,
    PROFILES,
    STEP_MINUTE,
    TARGET,
    backlog_drain_minutes,
    checks,
    doubled_and_halved,
    figure,
    play_load,
    reaction,
    reactions,
    rounds,
    table,
)

FLEETS = 12
CPU, REQUESTS, FAST = (policy.name for policy in PROFILES)


@fact("LT-15")
@pytest.mark.parametrize("name", [CPU, REQUESTS])
def test_a_doubling_is_relieved_within_minutes(name: str) -> None:
    found = reactions(FLEETS)[name]
    assert 4.0 <= found.first.min() <= found.first.max() <= 8.0
    assert 4.0 <= found.relieved.min() <= found.relieved.max() <= 8.0
    assert 5.0 <= found.relieved.mean() <= 6.0


@fact("TT-02")
@pytest.mark.parametrize("delay_s", [0, 60, 120])
@pytest.mark.parametrize("policy", PROFILES[:2], ids=lambda policy: policy.name)
def test_the_third_breaching_minute_adds_and_the_fifteenth_removes(policy: ScalingPolicy, delay_s: int) -> None:
    minutes = play_load(policy, doubled_and_halved(), physics=Physics(metric_delay_s=delay_s), seeds=3)
    found = reaction(minutes)
    assert (found.decided == 3 + delay_s / 60).all()
    assert (found.saving == 15 + delay_s / 60).all()
    assert (np.diff(minutes.desired[STEP_MINUTE - 15 : STEP_MINUTE], axis=0) == 0).all()


@fact("TT-12")
def test_the_points_of_a_policy_are_its_clock() -> None:
    found = reactions(FLEETS)
    assert (found[CPU].decided - found[FAST].decided == 2.0).all()
    assert (found[CPU].saving - found[FAST].saving == 10.0).all()
    slow = PROFILES[0].model_copy(update={"out_points": 15, "in_points": 40})
    assert (reaction(play_load(slow, doubled_and_halved(), seeds=2)).decided == 16.0).all()


@fact("Q-11")
def test_cpu_saturates_and_needs_three_rounds_where_requests_need_one() -> None:
    assert rounds()[REQUESTS] == (60,)
    by_cpu = rounds()[CPU]
    assert by_cpu[:2] == (20, 40)
    assert len(by_cpu) == 3
    assert by_cpu[-1] in (60, 61)


def test_below_saturation_both_metrics_ask_for_the_same_at_once() -> None:
    asked = rounds(1.8)
    assert asked[CPU] == asked[REQUESTS] == (18,)


@fact("Q-07")
def test_a_backlog_drains_at_the_spare_capacity() -> None:
    assert backlog_drain_minutes() == pytest.approx(5.0, abs=0.01)


def test_the_fluid_backlog_grows_by_arrivals_less_capacity() -> None:
    load = np.full(40, 0.8 * INSTANCES)
    load[20:25] = 1.2 * INSTANCES
    workload = Workload(max_retries=0, timeout_s=60.0, queue_limit_s=120.0, memory_mib_per_request=0.0)
    fixed = Physics(min_instances=INSTANCES, max_instances=INSTANCES)
    minutes = play_load(ScalingPolicy(name="m", kind="manual"), load, workload=workload, physics=fixed, seeds=1)
    capacity_rps = 40.0
    growth = np.diff(minutes.backlog_requests[19:25, 0])
    assert growth == pytest.approx(np.full(5, 0.2 * INSTANCES * capacity_rps * 60.0), rel=1e-5)
    assert (minutes.backlog_requests[:20] == 0.0).all()
    assert minutes.utilization[22, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", [CPU, REQUESTS])
def test_a_halving_is_answered_once(name: str) -> None:
    assert reactions(FLEETS)[name].smallest.min() >= INSTANCES


@pytest.mark.parametrize("name", [CPU, REQUESTS])
def test_without_metric_delay_a_halving_is_answered_once(name: str) -> None:
    policy = next(policy for policy in PROFILES if policy.name == name)
    minutes = play_load(policy, doubled_and_halved(), physics=Physics(metric_delay_s=0), seeds=3)
    assert (reaction(minutes).smallest >= INSTANCES).all()
    assert not minutes.is_bad[HALVING_MINUTE:].any()


def test_checks_see_a_slower_launch() -> None:
    slow = reaction(play_load(PROFILES[0], doubled_and_halved(), physics=Physics(app_median_s=600.0), seeds=3))
    assert slow.first.min() > 8.0
    assert slow.relieved.min() > 8.0


def test_the_same_fleets_do_the_same_and_others_differ() -> None:
    first, second = (play_load(PROFILES[0], doubled_and_halved(), seeds=6) for _ in range(2))
    assert all((one == other).all() for one, other in zip(vars(first).values(), vars(second).values(), strict=True))
    assert len({tuple(column) for column in first.in_service.T.tolist()}) > 1


def test_the_exports_are_complete() -> None:
    found = checks(FLEETS)
    assert len({check.name for check in found}) == len(found)
    assert [check.name for check in found if not check.holds and "smallest" not in check.name] == []
    frame = table(FLEETS)
    assert set(frame["profile"]) == {CPU, REQUESTS, FAST}
    assert (frame["least"] <= frame["mean"]).all()
    assert len(figure().axes) == 2
    assert pytest.approx(0.5) == TARGET
