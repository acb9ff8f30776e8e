"""The published arithmetic of EC2 Auto Scaling and of CloudWatch alarms, example by example."""

import math
from fractions import Fraction
from itertools import pairwise, product
from typing import get_args

import pytest
from facts import fact
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from simulators.adjustments import (
    CHANGE_IN_CAPACITY,
    EXACT_CAPACITY,
    PERCENT_CHANGE_IN_CAPACITY,
    AlarmState,
    MissingData,
    alarm_fires,
    alarm_push,
    alarm_state,
    in_step,
    on_demand_count,
    percent_change,
    predictive_capacity,
    refresh_batch,
    step_capacity,
    surge_limit,
    target_tracking_in,
    target_tracking_out,
    within_limits,
)

INFINITY = math.inf
STEPS_OUT = ((0.0, 10.0, 0.0), (10.0, 20.0, 10.0), (20.0, INFINITY, 30.0))
STEPS_IN = ((-10.0, 0.0, 0.0), (-20.0, -10.0, -10.0), (-INFINITY, -20.0, -30.0))


def stepped(capacity: int, metric: float) -> int:
    """Capacity after the published pair of step policies (alarm threshold 50 %) saw one metric."""
    above = metric > 50.0
    for lower, upper, change in STEPS_OUT if above else STEPS_IN:
        if in_step(metric - 50.0, lower, upper, above):
            return step_capacity(capacity, change, PERCENT_CHANGE_IN_CAPACITY, 0)
    raise AssertionError(f"no step holds {metric}")


@fact("SS-02")
def test_the_published_step_example_gives_its_sequence() -> None:
    sizes = [10]
    for metric in (60.0, 70.0, 40.0, 30.0):
        sizes.append(stepped(sizes[-1], metric))
    assert sizes == [10, 11, 14, 13, 10]
    assert stepped(10, 59.9) == stepped(10, 40.1) == 10


@pytest.mark.parametrize(("near", "far"), [(10.0, 20.0)])
def test_a_step_holds_its_near_bound_and_leaves_the_far_one_to_the_next(near: float, far: float) -> None:
    assert in_step(near, near, far, True)
    assert not in_step(far, near, far, True)
    assert in_step(-near, -far, -near, False)
    assert not in_step(-far, -far, -near, False)
    assert in_step(0.0, -far, 0.0, False)
    assert in_step(1e9, far, INFINITY, True)
    assert in_step(-1e9, -INFINITY, -far, False)


def test_a_step_of_shares_holds_its_bound_in_spite_of_binary_fractions() -> None:
    assert 0.6 - 0.5 < 0.1
    assert in_step(0.6 - 0.5, 0.1, 0.2, True)
    assert not in_step(0.6 - 0.5, 0.0, 0.1, True)
    assert in_step(0.3 - 0.4, -0.2, -0.1, False)
    assert not in_step(0.3 - 0.4, -0.1, 0.0, False)


@given(st.floats(-100, 100), st.booleans())
def test_steps_that_meet_cover_every_breach_once(breach: float, above: bool) -> None:
    bounds = [-INFINITY, -20.0, -5.0, 0.0, 5.0, 20.0, INFINITY]
    assert sum(in_step(breach, low, high, above) for low, high in pairwise(bounds)) == 1


@fact("SS-03")
@pytest.mark.parametrize(
    ("capacity", "percent", "change"),
    [(100, 12.7, 12), (100, 0.67, 1), (100, -0.58, -1), (100, -6.67, -6), (4, -58.0, -2), (10, 10.0, 1), (10, 0.0, 0)],
)
def test_percentages_are_rounded_as_published(capacity: int, percent: float, change: int) -> None:
    assert percent_change(capacity, percent, 0) == change


@fact("SS-03")
def test_the_least_magnitude_raises_a_percentage_and_never_an_idle_one() -> None:
    assert step_capacity(4, 25.0, PERCENT_CHANGE_IN_CAPACITY, 0) == 5
    assert step_capacity(4, 25.0, PERCENT_CHANGE_IN_CAPACITY, 2) == 6
    assert step_capacity(4, -25.0, PERCENT_CHANGE_IN_CAPACITY, 2) == 2
    assert step_capacity(4, 75.0, PERCENT_CHANGE_IN_CAPACITY, 2) == 7
    assert step_capacity(4, 0.0, PERCENT_CHANGE_IN_CAPACITY, 2) == 4


@given(st.integers(0, 99), st.integers(-300, 300))
def test_percentages_are_exact_in_whole_numbers(capacity: int, percent: int) -> None:
    exact = Fraction(capacity * percent, 100)
    rounded = math.trunc(exact) if abs(exact) >= 1 else (exact > 0) - (exact < 0)
    assert percent_change(capacity, float(percent), 0) == rounded


@fact("SS-04")
def test_the_three_adjustment_types() -> None:
    assert step_capacity(3, 5.0, CHANGE_IN_CAPACITY, 0) == 8
    assert step_capacity(3, 5.0, EXACT_CAPACITY, 0) == 5
    assert step_capacity(10, 10.0, PERCENT_CHANGE_IN_CAPACITY, 0) == 11
    assert step_capacity(3, -5.0, CHANGE_IN_CAPACITY, 0) == 0


@fact("AS-01")
def test_an_overshooting_policy_is_moved_to_the_maximum() -> None:
    assert within_limits(step_capacity(2, 3.0, CHANGE_IN_CAPACITY, 0), 1, 3) == 3


@fact("AS-01")
@given(st.integers(0, 99), st.floats(-400, 400), st.sampled_from((0, 1, 2)), st.integers(1, 50), st.integers(0, 49))
def test_no_adjustment_leaves_the_limits(capacity: int, change: float, kind: int, low: int, span: int) -> None:
    wanted = step_capacity(capacity, change, kind, 1)
    assert low <= within_limits(wanted, low, low + span) <= low + span


@pytest.mark.parametrize(("max_size", "surge"), [(1, 2), (9, 10), (10, 11), (11, 13), (99, 109), (100, 110)])
def test_zone_rebalancing_may_exceed_the_maximum_by_a_tenth_and_at_least_by_one(max_size: int, surge: int) -> None:
    assert surge_limit(max_size) == surge


@fact("MI-02")
@pytest.mark.parametrize(
    ("base", "percent", "counts"),
    [(10, 50, (10, 15, 20, 25)), (12, 0, (10, 12, 12, 12)), (0, 60, (6, 12, 18, 24))],
)
def test_the_published_table_of_mixed_groups(base: int, percent: int, counts: tuple[int, ...]) -> None:
    assert tuple(on_demand_count(desired, base, percent / 100) for desired in (10, 20, 30, 40)) == counts


@fact("MI-02")
def test_fractions_of_a_mixed_group_favour_on_demand() -> None:
    assert on_demand_count(7, 0, 0.5) == 4
    assert on_demand_count(10, 0, 1.0 - 0.7) == 3
    for desired, base, percent in product(range(100), (0, 1, 5, 99), range(0, 101, 7)):
        above = Fraction(max(desired - base, 0) * percent, 100)
        assert on_demand_count(desired, base, percent / 100) == min(desired, base) + math.ceil(above)


@fact("TT-04")
@pytest.mark.parametrize(("counted", "metric", "size"), [(10, 75.0, 15), (4, 55.0, 5), (1, 51.0, 2), (10, 50.0, 10)])
def test_target_tracking_adds_rounded_up(counted: int, metric: float, size: int) -> None:
    assert target_tracking_out(counted, metric, 50.0) == size


@fact("TT-04")
@pytest.mark.parametrize(("desired", "metric", "size"), [(10, 30.0, 6), (10, 33.0, 7), (10, 0.0, 0), (1, 0.0, 1)])
def test_target_tracking_removes_rounded_down(desired: int, metric: float, size: int) -> None:
    assert target_tracking_in(desired, metric, 50.0) == size


@fact("TT-05")
def test_target_tracking_holds_where_one_less_would_breach() -> None:
    assert target_tracking_in(2, 34.0, 50.0) == 2
    assert target_tracking_in(2, 24.0, 50.0) == 1


@fact("TT-05")
@given(st.integers(2, 99), st.integers(0, 100), st.integers(5, 95))
def test_what_target_tracking_leaves_stays_on_target(desired: int, metric: int, target: int) -> None:
    left = target_tracking_in(desired, metric / 100, target / 100)
    assert left == desired or Fraction(metric * desired, target) <= left


@fact("PS-07")
def test_the_published_capacity_forecast() -> None:
    assert predictive_capacity(10 * 30.0, 60.0) == 5
    assert predictive_capacity(10 * 30.1, 60.0) == 6


@fact("IR-03")
@pytest.mark.parametrize(
    ("desired", "healthy", "stopped"),
    [(10, 0.9, 1), (10, 0.8, 2), (4, 0.9, 1), (1, 0.9, 1), (10, 1.0, 1), (10, 0.0, 10), (99, 0.9, 9)],
)
def test_a_refresh_stops_down_to_the_healthy_floor_and_one_at_least(desired: int, healthy: float, stopped: int) -> None:
    assert refresh_batch(desired, healthy, 1.0, desired) == (stopped, 0)


@pytest.mark.parametrize(
    ("desired", "healthy", "ceiling", "batch"),
    [
        (10, 1.0, 1.1, (0, 1)),
        (10, 0.9, 1.1, (1, 1)),
        (10, 1.0, 2.0, (0, 10)),
        (4, 1.0, 1.1, (0, 1)),
        (1, 0.9, 1.1, (0, 1)),
    ],
)
def test_a_ceiling_above_all_launches_first(
    desired: int, healthy: float, ceiling: float, batch: tuple[int, int]
) -> None:
    assert refresh_batch(desired, healthy, ceiling, desired) == batch


@given(st.integers(1, 99), st.integers(0, 100), st.integers(0, 100), st.integers(0, 99))
def test_a_refresh_always_moves_and_keeps_its_bounds(desired: int, low: int, spread: int, outdated: int) -> None:
    healthy, ceiling = low / 100, max(100, low + spread) / 100
    stopped, launched = refresh_batch(desired, healthy, ceiling, min(outdated, desired))
    assert 0 <= stopped + launched <= min(outdated, desired)
    if outdated:
        assert stopped + launched >= 1
    if stopped + launched > 1:
        assert desired - stopped >= Fraction(low * desired, 100)
        assert desired + launched <= Fraction(max(100, low + spread) * desired, 100)


def history_of(points: str) -> int:
    history = 0
    for point in points:
        history = alarm_push(history, point == "X")
    return history


@fact("AL-02")
def test_m_of_n_alarms_by_truth_table() -> None:
    for n in range(1, 6):
        for points in product("0X", repeat=6):
            recent = points[-n:]
            for m in range(1, n + 1):
                assert alarm_fires(history_of("".join(points)), m, n) == (recent.count("X") >= m)


@fact("AL-02")
def test_consecutive_alarms_are_m_equal_to_n() -> None:
    assert alarm_fires(history_of("0XXX"), 3, 3)
    assert not alarm_fires(history_of("XX0X"), 3, 3)
    assert alarm_fires(history_of("XX0X"), 3, 4)


def test_an_alarm_history_remembers_32_points() -> None:
    full = history_of("X" * 40)
    assert full == 2**32 - 1
    assert alarm_fires(full, 32, 32)
    assert not alarm_fires(alarm_push(full, False), 32, 32)
    assert alarm_fires(alarm_push(full, False), 31, 32)


RETAIN = "retain"
POINTS_3_OF_3 = """
0 - X - X | OK OK OK OK
0 - - - - | OK OK OK OK
- - - - - | INSUFFICIENT_DATA retain ALARM OK
0 X X - X | ALARM ALARM ALARM ALARM
- - X - - | ALARM retain ALARM OK
"""
POINTS_2_OF_3 = """
0 - X - X | ALARM ALARM ALARM ALARM
0 0 X 0 X | ALARM ALARM ALARM ALARM
0 - X - - | OK OK ALARM OK
- - - - 0 | OK OK ALARM OK
- - - X - | ALARM retain ALARM OK
"""
TREATMENTS: tuple[MissingData, ...] = ("missing", "ignore", "breaching", "notBreaching")


def points_of(text: str) -> list[bool | None]:
    return [{"0": False, "X": True, "-": None}[point] for point in text.split()]


@fact("AL-03")
@pytest.mark.parametrize(("table", "m"), [(POINTS_3_OF_3, 3), (POINTS_2_OF_3, 2)])
@pytest.mark.parametrize("current", get_args(AlarmState))
def test_the_published_tables_of_missing_data(table: str, m: int, current: AlarmState) -> None:
    rows = [row.partition("|") for row in table.strip().splitlines()]
    assert len(rows) == 5
    for points, _, states in rows:
        for treatment, state in zip(TREATMENTS, states.split(), strict=True):
            found = alarm_state(points_of(points), m, 3, treatment, current)
            assert found == (current if state == RETAIN else state), (points, treatment)


@fact("AL-03")
@pytest.mark.parametrize("points", ["- - - - X", "- - - X -"])
def test_a_lone_recent_breach_does_not_raise_an_alarm_of_three(points: str) -> None:
    assert alarm_state(points_of(points), 3, 3) == "INSUFFICIENT_DATA"


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=5, max_size=5), st.integers(1, 3), st.sampled_from(TREATMENTS))
def test_without_missing_points_the_reference_agrees_with_the_register(
    points: list[bool], m: int, treatment: MissingData
) -> None:
    history = history_of("".join("X" if point else "0" for point in points))
    assert (alarm_state(points, m, 3, treatment) == "ALARM") == alarm_fires(history, m, 3)
