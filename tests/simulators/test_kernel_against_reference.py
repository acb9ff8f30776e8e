"""The compiled kernel against the slow reference, minute by minute, on random small worlds."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from reference import bill_rules, fleet_reference, group_rules, policy_rules, service_rules
from reference.comparison import Largest, outcome_differences, state_differences
from reference.reference_model import Fleet, Instance, World, fleet_of, no_outcome, world_of
from reference.small_worlds import CATALOGUE, SETTINGS, Run, menu, small_bank, start_run
from reference.tiny_worlds import OneFleet, tiny_bank

from simulators.records import (
    AMPLE,
    DECISION,
    DRAINING,
    FLEET,
    LEAVING,
    OUTCOME,
    RECLAIMED,
    RESPONSE_GRID_MS,
    SLOTS,
    SPOT,
    ZONES,
)

FREE_RUN = 1e-5
"""Numbers stored in four bytes may round either way; in a free run what follows from them differs as much."""


def differences(
    run: Run, ticks: int, *, inject: bool, detail_every: int = 4, **inputs: Callable[[World], Any]
) -> Iterator[str]:
    """Yield every difference over ``ticks`` random minutes of all fleets of a run.

    ``inject`` copies the kernel's state into the reference before each minute, so that one error shows once;
    without it both run freely. ``inputs`` replace tapes of the reference's worlds.
    """
    policies, largest = menu(), Largest(1e-9 if inject else FREE_RUN)
    worlds = [world_of(run.bank, int(index)) for index in run.fleets["world"]]
    worlds = [replace(world, **{name: made(world) for name, made in inputs.items()}) for world in worlds]
    fleets = [fleet_of(record) for record in run.fleets]
    for step in range(ticks):
        if inject:
            fleets = [fleet_of(record) for record in run.fleets]
        detail = step % detail_every == 0
        run.decide()
        outcomes = run.step(detail=detail)
        for index, (fleet, world) in enumerate(zip(fleets, worlds, strict=True)):
            expected = no_outcome()
            fleet_reference.decide(fleet, world, policies, run.decisions[index], expected)
            fleet_reference.play_tick(fleet, world, policies, expected, detail=detail)
            found = outcome_differences(outcomes[index], expected, largest)
            found += state_differences(run.fleets[index], fleet, largest)
            for difference in found:
                yield f"step {step}, fleet {index}: {difference}"


def assert_equal(run: Run, ticks: int, *, inject: bool) -> None:
    found = list(differences(run, ticks, inject=inject))
    assert not found, f"{len(found)} differences, first: " + "\n".join(found[:5])


def test_kernel_plays_each_minute_like_the_reference() -> None:
    assert_equal(start_run(small_bank(), 75, seed=1), 20, inject=True)


def test_kernel_stays_with_the_reference_over_a_stretch() -> None:
    assert_equal(start_run(small_bank(), 20, seed=2), 60, inject=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_kernel_plays_each_minute_like_the_reference_for_long(seed: int) -> None:
    assert_equal(start_run(small_bank(), 75, seed=seed), 90, inject=True)


@pytest.mark.slow
def test_kernel_stays_with_the_reference_for_hours() -> None:
    assert_equal(start_run(small_bank(), 25, seed=5), 240, inject=False)


def test_what_is_kept_summed_up_says_the_same_as_counting_every_minute() -> None:
    """A fleet that forgets its sums before every minute fares like one that keeps them."""
    keeping, counting = (start_run(small_bank(), 75, seed=12) for _ in range(2))
    kept = 0
    for _ in range(150):
        kept += int((keeping.fleets["settled_until_s"] >= 60 * (keeping.fleets["tick"] + 1)).sum())
        counting.fleets["settled_until_s"] = counting.fleets["priced_until_s"] = 0
        outcomes = []
        for run in (keeping, counting):
            run.decide()
            outcomes.append(run.step())
        for name in OUTCOME.names or ():
            np.testing.assert_allclose(outcomes[0][name], outcomes[1][name], rtol=1e-9, atol=1e-12, err_msg=name)
        for name in FLEET.names or ():
            if name not in ("settled_until_s", "priced_until_s", "spot_usd_per_s", "on_demand_usd_per_s"):
                same = keeping.fleets[name], counting.fleets[name]
                np.testing.assert_allclose(*same, rtol=1e-6, atol=1e-9, err_msg=name)
    assert kept > 75 * 150 / 5, "hardly a minute was played from kept sums"


def test_the_random_runs_visit_what_the_rules_are_about() -> None:
    run = start_run(small_bank(), 75, seed=1)
    total = np.zeros(1, OUTCOME)
    seen: dict[str, bool] = {}
    strategies = set()

    def note(**facts: Any) -> None:
        for name, true in facts.items():
            seen[name] = seen.get(name, False) or bool(np.any(true))

    for _ in range(150):
        run.decide()
        outcomes = run.step()
        for name in OUTCOME.names or ():
            total[name] += outcomes[name].sum(axis=0)
        fleets = run.fleets
        filled = np.arange(SLOTS) < fleets["live"][:, None]
        physics = run.bank.physics[run.bank.worlds["physics"][fleets["world"]]]
        spot = (filled & (fleets["market"] == SPOT)).any(axis=1)
        strategies |= set(physics["spot_allocation"][np.arange(len(fleets)), fleets["spec"]][spot].tolist())
        note(
            backlog=fleets["backlog_requests"] > 100,
            full=fleets["live"] == SLOTS,
            leaving=filled & (fleets["state"] == LEAVING),
            draining=filled & (fleets["state"] == DRAINING),
            reclaimed=filled & (fleets["state"] == RECLAIMED),
            third_retry=fleets["retry_rps"][:, 2] > 0,
            checkpoint=fleets["refresh_stage"] > 0,
            second_checkpoint=fleets["refresh_stage"] > 1,
            held=(fleets["refresh_hold_tick"] > fleets["tick"]) & (fleets["refreshing"] == 1),
            cooling=fleets["cooldown_until"] > fleets["tick"],
            credits=fleets["credits"] > 0,
            full_credits=filled & (fleets["credits"] == 4.0),
            debt=fleets["credits"] < -1,
            commitment_used_up=(fleets["commitment_hour"] > 0) & (fleets["commitment_left_usd"] == 0),
            commitment_left=fleets["commitment_left_usd"] > 0,
            second_policy=fleets["high_alarm"][:, 1] > 0,
            third_policy=fleets["low_alarm"][:, 2] > 0,
            no_metric=np.isnan(run.readings["cpu_utilization"]) & (run.readings["in_service"] > 0),
        )
    for name in OUTCOME.names or ():
        if name != "slower_requests":
            assert total[name][0] > 0, f"no {name} in 11250 random minutes"
    missing = [name for name, found in seen.items() if not found]
    assert not missing, f"never seen: {missing}"
    assert strategies == {0, 1, 2, 3}
    assert len(SETTINGS) == len(run.bank.physics)


def test_what_an_instance_can_do_is_computed_from_its_type_and_the_workload() -> None:
    for record, settings in zip(small_bank().physics, SETTINGS, strict=True):
        work = settings.workload
        for kind, item in enumerate(CATALOGUE.types):
            service_s = work.cpu_ms_per_request / 1000 / item.speed
            slots = (item.memory_gib * 1024 - work.base_memory_mib) / work.memory_mib_per_request
            parallel = min(item.vcpu, slots)
            bytes_per_request = 1000 * work.kb_per_request
            network = item.network_gbps * 1e9 / 8 / bytes_per_request if bytes_per_request else math.inf
            capacity = min(parallel / service_s, network)
            expected = {
                "service_s": service_s,
                "parallel": parallel,
                "network_rps": network,
                "capacity_rps": capacity,
                "queue_limit_requests": min(capacity * work.queue_limit_s, slots - parallel),
            }
            for name, value in expected.items():
                assert record[name][kind] == pytest.approx(value, rel=1e-12), (item.name, name)


def drain_is_free(world: World, item: Instance) -> int:
    return item.off_s


def one_tick_less_delay(fleet: Fleet, world: World) -> int:
    return max(0, fleet.tick - int(world.physics["metric_delay_ticks"]))


def on_demand_rounded_down(fleet: Fleet, world: World) -> int:
    return math.floor(fleet.desired * (1 - fleet.spot_fraction) + 1e-9)


def no_on_demand_base(fleet: Fleet, world: World) -> int:
    return math.ceil(fleet.desired * (1 - fleet.spot_fraction) - 1e-9)


def price_of_the_moment(world: World, item: Instance, second: int) -> float:
    if item.market == SPOT:
        return world.spot_price(second, item.type * ZONES + item.zone)
    return float(world.physics["on_demand_usd_per_s"][item.type])


def tight_pools_never_refuse(fleet: Fleet, world: World, pool: int) -> bool:
    return group_rules.pool_state(fleet, world, pool) > AMPLE + 1


def one_at_a_time(world: World, desired: int) -> tuple[int, int]:
    return 1, 0


def strength_is_the_mean(fleet: Fleet, world: World) -> float:
    capacities = [world.capacity(kind) for kind in world.members(fleet.spec)]
    return sum(capacities) / len(capacities)


def every_alarm_counts_in_a_row(memory: list[int], place: int, breaching: bool, asked: int, of: int) -> bool:
    memory[place] = memory[place] + 1 if breaching else 0
    return memory[place] >= asked


def percentages_are_rounded_up(policy: Any, capacity: int, change: float) -> int:
    return capacity + math.ceil(capacity * change / 100)


def nothing_is_going(fleet: Fleet) -> list[Instance]:
    return []


def recommendations_are_ignored(fleet: Fleet, world: World) -> None:
    return


def zones_stay_as_they_are(fleet: Fleet, world: World, served_before_stops: int) -> None:
    return


def no_checkpoints(fleet: Fleet, world: World) -> list[int]:
    return []


def never_throttled(world: World, item: Instance) -> float:
    return 1.0


def commitment_at_list_price(fleet: Fleet, world: World, list_usd: float) -> float:
    return min(list_usd, fleet.commitment_left_usd)


def warmth_needs_no_service(fleet: Fleet, world: World) -> list[Instance]:
    return [item for item in fleet.instances if item.wanted and fleet.now - item.launch_s >= 300]


FAULTS: tuple[tuple[ModuleType, str, Callable[..., Any], str], ...] = (
    (bill_rules, "billed_until", drain_is_free, "billed_instance_s"),
    (bill_rules, "price_usd_per_s", price_of_the_moment, "spot_usd"),
    (bill_rules, "covered_usd", commitment_at_list_price, "on_demand_usd"),
    (policy_rules, "visible_minute", one_tick_less_delay, "desired"),
    (policy_rules, "dependable_rps", strength_is_the_mean, "desired"),
    (policy_rules, "alarm_is_on", every_alarm_counts_in_a_row, "high_alarm"),
    (policy_rules, "adjusted", percentages_are_rounded_up, "desired"),
    (policy_rules, "going", nothing_is_going, "cooldown_until"),
    (policy_rules, "warm", warmth_needs_no_service, "desired"),
    (group_rules, "on_demand_wanted", on_demand_rounded_down, "instances"),
    (group_rules, "on_demand_wanted", no_on_demand_base, "instances"),
    (group_rules, "refuses", tight_pools_never_refuse, "last_launch_failure"),
    (group_rules, "replacement_batch", one_at_a_time, "instances"),
    (group_rules, "checkpoints", no_checkpoints, "refresh_stage"),
    (group_rules, "heed_recommendations", recommendations_are_ignored, "instances"),
    (group_rules, "rebalance_zones", zones_stay_as_they_are, "instances"),
    (service_rules, "cpu_share", never_throttled, "busy_vcpu_s"),
)


def caught(field: str, ticks: int = 120, **inputs: Callable[[World], Any]) -> bool:
    run = start_run(small_bank(), 50, seed=6)
    return any(f": {field}:" in text for text in differences(run, ticks, inject=True, detail_every=1000, **inputs))


@pytest.mark.parametrize(("rules", "rule", "fault", "field"), FAULTS, ids=[fault[2].__name__ for fault in FAULTS])
def test_a_fault_planted_in_the_reference_is_caught(
    rules: ModuleType, rule: str, fault: Callable[..., Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, rule, fault)
    assert caught(field), f"{fault.__name__} went unnoticed"


INPUTS: tuple[tuple[str, Callable[[World], Any], str], ...] = (
    ("work_scale", lambda world: np.ones_like(world.work_scale), "busy_vcpu_s"),
    ("fault_fraction", lambda world: np.zeros_like(world.fault_fraction), "retried_requests"),
    ("delivered", lambda world: [True] * len(world.delivered), "ticks_since_bad"),
    ("hourly_forecast_rps", lambda world: world.hourly_forecast_rps[1:], "desired"),
    ("first_minute_of_week", lambda world: world.first_minute_of_week + 20, "desired"),
    ("reclaim", lambda world: np.minimum(world.reclaim, 100), "interruptions"),
    ("rebalance_lead", lambda world: np.roll(world.rebalance_lead, 1, axis=0), "instances"),
    ("zone_down", lambda world: np.roll(world.zone_down, 1), "outage_losses"),
    ("pool_state", lambda world: np.roll(world.pool_state, 3, axis=0), "instances"),
    ("phase", lambda world: world.phase + 1, "spot_usd"),
)


@pytest.mark.parametrize(("name", "made", "field"), INPUTS, ids=[entry[0] for entry in INPUTS])
def test_another_tape_is_noticed(name: str, made: Callable[[World], Any], field: str) -> None:
    assert caught(field, **{name: made}), f"another {name} went unnoticed"


def test_the_runs_with_planted_faults_agree_without_them() -> None:
    run = start_run(small_bank(), 50, seed=6)
    found = list(differences(run, 20, inject=True, detail_every=1000))
    assert not found, f"{len(found)} differences, first: " + "\n".join(found[:5])


def test_a_backlog_elsewhere_leaves_the_percentiles_of_a_busy_target_alone() -> None:
    fleet = OneFleet(tiny_bank(np.full(60, 2 * 40 * 0.98)))
    fleet.state["live"] = fleet.state["desired"] = 2
    fleet.state["backlog_requests"][0] = 200.0
    fleet.state["backlogged"] = 1
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
