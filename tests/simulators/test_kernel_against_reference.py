"""The compiled kernel against the slow reference, minute by minute, on random small worlds."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from reference import fleet_reference as reference
from reference.comparison import Largest, outcome_differences, state_differences
from reference.fleet_reference import Fleet, Instance, World
from reference.small_worlds import SETTINGS, Run, menu, small_bank, start_run
from reference.tiny_worlds import OneFleet, tiny_bank

from simulators.records import DECISION, OUTCOME, RESPONSE_GRID_MS, SPOT


def differences(run: Run, ticks: int, *, inject: bool, detail_every: int = 4) -> Iterator[str]:
    """Yield every difference over ``ticks`` random minutes of all fleets of a run.

    ``inject`` copies the kernel's state into the reference before each minute, so that one error shows once;
    without it both run freely.
    """
    policies, largest = menu(), Largest()
    worlds = [reference.world_of(run.bank, int(index)) for index in run.fleets["world"]]
    fleets = [reference.fleet_of(record) for record in run.fleets]
    for step in range(ticks):
        if inject:
            fleets = [reference.fleet_of(record) for record in run.fleets]
        detail = step % detail_every == 0
        run.decide()
        outcomes = run.step(detail=detail)
        for index, (fleet, world) in enumerate(zip(fleets, worlds, strict=True)):
            expected = reference.no_outcome()
            reference.decide(fleet, world, policies, run.decisions[index], expected)
            reference.play_tick(fleet, world, policies, expected, detail=detail)
            found = outcome_differences(outcomes[index], expected, largest)
            found += state_differences(run.fleets[index], fleet, world, largest)
            for difference in found:
                yield f"step {step}, fleet {index}: {difference}"


def rebalancing_worlds(bank: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    on = bank.physics["capacity_rebalancing"][bank.worlds["physics"]] == 1
    return np.flatnonzero(on)


def assert_equal(run: Run, ticks: int, *, inject: bool) -> None:
    found = list(differences(run, ticks, inject=inject))
    assert not found, f"{len(found)} differences, first: " + "\n".join(found[:5])


def test_kernel_plays_each_minute_like_the_reference() -> None:
    assert_equal(start_run(small_bank(), 60, seed=1), 30, inject=True)


def test_kernel_stays_with_the_reference_over_a_stretch() -> None:
    assert_equal(start_run(small_bank(), 12, seed=2), 60, inject=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_kernel_plays_each_minute_like_the_reference_for_long(seed: int) -> None:
    assert_equal(start_run(small_bank(), 60, seed=seed), 70, inject=True)


@pytest.mark.slow
def test_kernel_stays_with_the_reference_for_hours() -> None:
    assert_equal(start_run(small_bank(), 16, seed=5), 240, inject=False)


def test_the_random_runs_visit_what_the_rules_are_about() -> None:
    run = start_run(small_bank(), 60, seed=1)
    total = np.zeros(1, OUTCOME)
    most_backlog, longest = 0.0, 0
    for _ in range(120):
        run.decide()
        outcomes = run.step()
        for name in OUTCOME.names or ():
            total[name] += outcomes[name].sum(axis=0)
        most_backlog = max(most_backlog, float(run.fleets["backlog_requests"].max()))
        longest = max(longest, int(run.fleets["live"].max()))
    for name in OUTCOME.names or ():
        if name != "slower_requests":
            assert total[name][0] > 0, f"no {name} in 7200 random minutes"
    assert most_backlog > 100
    assert longest == 128
    assert len(SETTINGS) == len(run.bank.physics)


def drain_is_free(instance: Instance) -> int:
    return instance.off_s


def one_tick_less_delay(fleet: Fleet, world: World) -> int:
    return max(0, fleet.tick - int(world.physics["metric_delay_ticks"]))


def on_demand_rounded_down(fleet: Fleet) -> int:
    return math.floor(fleet.desired * (1 - fleet.spot_fraction) + 1e-9)


def price_of_the_moment(world: World, instance: Instance, second: int) -> float:
    if instance.market == SPOT:
        return world.spot_price(second, instance.type * 3 + instance.zone)
    return float(world.physics["on_demand_usd_per_s"][instance.type])


def tight_pools_never_refuse(fleet: Fleet, world: World, pool: int, state: int) -> bool:
    return state == 2


def one_at_a_time(world: World, desired: int) -> int:
    return 1


def strength_is_the_mean(fleet: Fleet, world: World, running: list[Instance]) -> float:
    capacities = [world.capacity(kind) for kind in world.members(fleet.spec)]
    return sum(capacities) / len(capacities)


FAULTS: tuple[tuple[str, Callable[..., Any], str], ...] = (
    ("billed_until", drain_is_free, "billed_instance_s"),
    ("visible_minute", one_tick_less_delay, "desired"),
    ("on_demand_wanted", on_demand_rounded_down, "instances"),
    ("price_usd_per_s", price_of_the_moment, "spot_usd"),
    ("refuses", tight_pools_never_refuse, "last_launch_failure"),
    ("replacement_batch", one_at_a_time, "instances"),
    ("dependable_rps", strength_is_the_mean, "desired"),
)


@pytest.mark.parametrize(("rule", "fault", "field"), FAULTS, ids=[fault[1].__name__ for fault in FAULTS])
def test_a_fault_planted_in_the_reference_is_caught(
    rule: str, fault: Callable[..., Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = small_bank()
    worlds = np.resize(rebalancing_worlds(bank), 30)
    monkeypatch.setattr(reference, rule, fault)
    run = start_run(bank, 30, seed=6, worlds=worlds)
    caught = (text for text in differences(run, 90, inject=True, detail_every=1000) if f": {field}" in text)
    assert next(caught, None) is not None, f"{fault.__name__} went unnoticed in {30 * 90} minutes"


def test_the_runs_with_planted_faults_agree_without_them() -> None:
    bank = small_bank()
    run = start_run(bank, 30, seed=6, worlds=np.resize(rebalancing_worlds(bank), 30))
    found = list(differences(run, 30, inject=True, detail_every=1000))
    assert not found, f"{len(found)} differences, first: " + "\n".join(found[:5])


def test_a_backlog_elsewhere_leaves_the_percentiles_of_a_busy_target_alone() -> None:
    fleet = OneFleet(tiny_bank(np.full(60, 2 * 40 * 0.98)))
    fleet.state["live"] = fleet.state["desired"] = 2
    fleet.state["backlog_requests"][0] = 200.0
    fleet.batch.step(1, detail=True)
    outcome = fleet.batch.outcomes[0]
    level = RESPONSE_GRID_MS.index(250)
    assert outcome["slower_requests"][level] == pytest.approx(outcome["late_requests"], rel=1e-6)


def test_slower_requests_say_the_same_as_late_requests() -> None:
    run = start_run(small_bank(), 60, seed=8)
    slo_ms = 1000 * run.bank.physics["slo_s"][run.bank.worlds["physics"][run.fleets["world"]]]
    level = RESPONSE_GRID_MS.index(250)
    for _ in range(80):
        run.decide()
        outcomes = run.step(detail=True)
        known = slo_ms == 250
        slower = outcomes["slower_requests"][known, level]
        np.testing.assert_allclose(slower, outcomes["late_requests"][known], rtol=1e-6, atol=1e-9)
        assert (np.diff(outcomes["slower_requests"], axis=1) <= 1e-9 * outcomes["requests"][:, None]).all()


def test_decisions_change_nothing_where_an_episode_is_over() -> None:
    run = start_run(small_bank(), 4, seed=7)
    run.fleets["end_tick"] = run.fleets["tick"]
    before = run.fleets.tobytes()
    run.decisions[:] = np.array([(5, 3, 2, 0.5)], DECISION)
    outcomes = run.step(5)
    assert run.fleets.tobytes() == before
    assert not outcomes["ticks"].any()
