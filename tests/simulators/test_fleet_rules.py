"""Rules of the group that AWS documents, invariants, and what telemetry may and may not know."""

from typing import Any

import numpy as np
import pytest
from facts import fact
from reference.small_worlds import menu, small_bank, start_run
from reference.tiny_worlds import BOTH, CLOCKWORK, OneFleet, tiny_bank

from simulators.draws import APP, BOOT, standard_normal
from simulators.fleets import FleetBatch
from simulators.menu import ScalingPolicy, ScheduledSize
from simulators.physics import Physics, WorldSettings
from simulators.records import (
    DRY,
    EVENT_REBALANCE,
    EVENT_RECLAIM,
    EVENT_ZONE_DOWN,
    FOREVER,
    ON_DEMAND,
    TELEMETRY,
    ZONES,
)

QUIET = np.full(240, 1.0)
SETTINGS = WorldSettings(physics=CLOCKWORK)


def settings(**changes: Any) -> WorldSettings:
    return WorldSettings(physics=CLOCKWORK.model_copy(update=changes))


@pytest.mark.parametrize("spot_fraction", [0.0, 1.0])
def test_zones_stay_balanced_within_one(spot_fraction: float) -> None:
    rng = np.random.default_rng(1)
    fleet = OneFleet(tiny_bank(np.full(400, 1.0), settings=settings(max_instances=60)), empty=True)
    for _ in range(300):
        fleet.step(1, scale=int(rng.integers(-9, 10)), spot=spot_fraction)
        wanted = fleet.slots("off_s") == FOREVER
        zones = np.bincount(fleet.slots("zone")[wanted], minlength=ZONES)
        assert zones.max() - zones.min() <= 1


def test_the_slowest_launch_the_settings_allow_is_not_taken_for_a_quick_one() -> None:
    slow = Physics(boot_median_s=600, boot_sigma=1, app_median_s=1800, app_sigma=1, register_s=0)
    bank = tiny_bank(QUIET, settings=WorldSettings(physics=slow))
    seed = 9026
    fleet = OneFleet(bank, seed=seed, empty=True)
    fleet.step(1, scale=1)
    boot = 600 * np.exp(standard_normal(np.uint64(seed), BOOT, 0))
    app = 1800 * np.exp(standard_normal(np.uint64(seed), APP, 0))
    assert boot + app > 65535
    assert fleet.slots("ready_delay_s")[0] == 65535


def test_no_more_requests_fail_than_were_made() -> None:
    run = start_run(small_bank(), 60, seed=9)
    for _ in range(120):
        run.decide()
        run.step()
        for name in ("late_fraction", "error_fraction"):
            assert run.readings[name].min() >= 0
            assert run.readings[name].max() <= 1 + 1e-9, name


@fact("AS-01")
@BOTH
def test_a_change_beyond_the_limits_is_moved_into_them(player: type[OneFleet]) -> None:
    """Largest size 3, two instances, three more: three."""
    fleet = player(tiny_bank(np.full(60, 48.0), settings=settings(max_instances=3)))
    outcome = fleet.step(1, scale=3)
    assert (fleet.state["desired"], outcome["clamps"], outcome["launches"]) == (3, 1, 1)
    outcome = fleet.step(1, scale=-9)
    assert (fleet.state["desired"], outcome["clamps"]) == (1, 1)


@fact("AS-01")
@BOTH
def test_a_schedule_and_a_policy_stay_inside_the_limits(player: type[OneFleet]) -> None:
    sizes_of_day = ScheduledSize(minute_of_week=0, instances=0), ScheduledSize(minute_of_week=5, instances=9)
    beyond = ScalingPolicy(name="beyond", kind="scheduled", schedule=sizes_of_day)
    fleet = player(tiny_bank(np.full(60, 48.0), settings=settings(max_instances=3)), beyond)
    sizes = []
    for _ in range(10):
        fleet.step(1)
        sizes.append(int(fleet.state["desired"]))
    assert sizes == [1] * 5 + [3] * 5


@fact("AS-03")
@BOTH
def test_what_is_lost_is_replaced(player: type[OneFleet]) -> None:
    down = np.where(np.arange(120) == 30, 0b011, 0)
    fleet = player(tiny_bank(np.full(120, 24.0 * 9), settings=settings(zone_rebalancing=False), zone_down=down))
    assert fleet.state["live"] == 9
    fleet.step(30)
    lost = fleet.step(1)
    assert (lost["outage_losses"], lost["terminations"], lost["launches"], lost["interruptions"]) == (6, 6, 6, 0)
    assert lost["in_service_vcpu_s"] == 3 * 120
    fleet.step(2)
    assert fleet.step(1)["in_service_vcpu_s"] == 9 * 120
    assert fleet.state["desired"] == 9
    assert lost["refund_usd"] == 0


@fact("AS-05")
@BOTH
def test_an_overloaded_instance_is_not_replaced(player: type[OneFleet]) -> None:
    """Health checks are those of EC2: what the load balancer would call unhealthy stays."""
    fleet = player(tiny_bank(np.full(120, 400.0), settings=settings(max_instances=2)))
    serials = fleet.slots("slot_serial").tolist()
    outcome = fleet.step(60)
    assert outcome["failed_requests"] > outcome["requests"] / 2
    assert (outcome["launches"], outcome["terminations"]) == (0, 0)
    assert fleet.slots("slot_serial").tolist() == serials


@fact("AS-08")
@BOTH
def test_the_order_of_termination(player: type[OneFleet]) -> None:
    """Fullest zone first; in it the outdated type; then the oldest launch."""
    fleet = player(tiny_bank(QUIET, settings=settings(zone_rebalancing=False, capacity_rebalancing=False)), empty=True)
    fleet.step(1, scale=7)
    slots = slice(0, 7)
    fleet.state["zone"][slots] = (0, 0, 0, 1, 1, 2, 2)
    fleet.state["type"][slots] = (0, 2, 0, 2, 0, 0, 0)
    fleet.state["launch_s"][slots] = (-900, -100, -800, -200, -700, -600, -300)
    fleet.inject(refreshing=0)
    gone = []
    for _ in range(7):
        before = set(fleet.slots("slot_serial")[~fleet.gone_down()].tolist())
        fleet.step(1, scale=-1)
        gone += before - set(fleet.slots("slot_serial")[~fleet.gone_down()].tolist())
    assert gone == [1, 3, 0, 5, 2, 4, 6]


@fact("AS-10")
@BOTH
def test_zones_are_evened_out_by_launching_first(player: type[OneFleet]) -> None:
    """After an outage the group moves back, above its largest size by 10 % at most, and never below its size."""
    most, down = 30, np.where((np.arange(240) >= 10) & (np.arange(240) < 20), 1, 0)
    fleet = player(tiny_bank(np.full(240, 24.0 * most), settings=settings(max_instances=most), zone_down=down))
    there, serving, spread = [], [], []
    for _ in range(200):
        outcome = fleet.step(1)
        up = ~fleet.gone_down()
        there.append(int(up.sum()))
        serving.append(outcome["in_service_vcpu_s"] / 120)
        spread.append(np.bincount(fleet.slots("zone")[up], minlength=ZONES).tolist())
    assert spread[15] == [0, 15, 15]
    assert spread[-1] == [10, 10, 10]
    assert max(there) == most + 3
    assert there[-1] == most
    assert min(serving[25:]) >= most


@fact("AS-01")
def test_instances_are_conserved_and_desired_stays_inside_its_limits() -> None:
    bank = small_bank()
    run = start_run(bank._replace(scored=np.ones_like(bank.scored)), 60, seed=9)
    physics = run.bank.physics[run.bank.worlds["physics"][run.fleets["world"]]]
    balance = run.fleets["live"].copy()
    for _ in range(100):
        run.decide()
        outcomes = run.step()
        balance += outcomes["launches"] - outcomes["terminations"]
        assert (run.fleets["live"] == balance).all()
        assert (run.fleets["desired"] >= physics["min_instances"]).all()
        assert (run.fleets["desired"] <= physics["max_instances"]).all()


def test_the_largest_desired_size_fits_beside_those_going_down() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=settings(min_healthy_fraction=0.0, drain_s=3600)), empty=True)
    fleet.step(10, scale=99)
    outcome = fleet.step(1, spec=1)
    assert fleet.state["live"] == 128
    assert outcome["launch_failures"] == 1


CHANGED = (
    "demand_rps",
    "work_scale",
    "fault_fraction",
    "spot_usd_per_s",
    "pool_state",
    "reclaim",
    "rebalance_lead",
    "zone_down",
)
LONGEST_LEAD = 25
"""Minutes ahead that a recommendation of the small markets may point: it tells of a reclaim to come."""


def future_events(tapes: dict[str, Any]) -> Any:
    kinds = (
        (EVENT_RECLAIM, tapes["reclaim"].any(axis=2)),
        (EVENT_REBALANCE, tapes["rebalance_lead"].any(axis=2)),
        (EVENT_ZONE_DOWN, tapes["zone_down"] > 0),
    )
    return sum(bit * happens for bit, happens in kinds).astype(np.uint8)


def test_the_future_and_hidden_states_leave_no_trace_in_telemetry() -> None:
    readings = []
    for changed in (False, True):
        run = start_run(small_bank(), 60, seed=10, first_tick=np.full(60, 1500))
        bank = run.bank
        now = 1500 + 40
        if changed:
            rng = np.random.default_rng(0)
            future = {name: getattr(bank, name).copy() for name in CHANGED}
            for tape in bank.tapes:
                after = slice(tape["start"] + now, tape["start"] + tape["length"])
                future["demand_rps"][after] *= 7
                future["work_scale"][after] *= 3
                future["fault_fraction"][after] = 0.5
            for world in bank.worlds:
                seen_until = (now + int(world["market_phase"])) % bank.pool_state.shape[1]
                assert seen_until > 1500, "the part of the market tape played so far must not wrap"
            first_unseen = (now + int(bank.worlds["market_phase"].max())) % bank.pool_state.shape[1]
            future["pool_state"][:, first_unseen:] = rng.permuted(future["pool_state"][:, first_unseen:], axis=1)
            future["reclaim"][:, first_unseen + LONGEST_LEAD :] = 255
            future["rebalance_lead"][:, first_unseen:] = 3
            future["zone_down"][:, first_unseen:] = 7
            future["spot_usd_per_s"][:, first_unseen // 60 + 1 :] *= 0.5
            run.bank = bank._replace(**future, events=future_events(future))
        taken = []
        for _ in range(40):
            run.decide()
            run.step()
            taken.append(run.readings.tobytes())
        readings.append(taken)
    assert readings[0] == readings[1]


def test_the_state_of_a_pool_shows_only_through_launches_and_interruptions() -> None:
    readings = []
    for state in (0, DRY):
        fleet = OneFleet(tiny_bank(np.full(60, 100.0), settings=SETTINGS, pool_state=state))
        fleet.step(20)
        readings.append(fleet.reading.tobytes())
    assert readings[0] == readings[1]


@pytest.mark.parametrize("delay", [1, 2])
def test_minutes_not_yet_delivered_leave_no_trace_in_telemetry(delay: int) -> None:
    now = 30
    readings = []
    for factor in (1.0, 50.0):
        demand = np.full(60, 24.0)
        demand[now - delay : now] *= factor
        bank = tiny_bank(demand, settings=WorldSettings(physics=Physics(metric_delay_s=60 * delay)))
        bank.forecast_rps[:] = 24.0
        bank.tapes["mean_demand_rps"] = bank.tapes["reference_demand_rps"] = 24.0
        fleet = OneFleet(bank)
        fleet.step(now)
        readings.append({name: np.array(fleet.reading[name]) for name in TELEMETRY.names or ()})
    differing = [
        name for name in readings[0] if not np.array_equal(readings[0][name], readings[1][name], equal_nan=True)
    ]
    assert differing == []


def test_the_last_observation_reads_the_rows_of_its_own_tape() -> None:
    bank = tiny_bank(np.full(60, 24.0), settings=SETTINGS)
    padded = np.concatenate([bank.forecast_rps, np.full_like(bank.forecast_rps, 12345.0)])
    bank = bank._replace(
        forecast_rps=padded,
        forecast_available=np.resize(bank.forecast_available, len(padded)),
        anomaly_score=np.resize(bank.anomaly_score, len(padded)),
    )
    fleet = OneFleet(bank)
    fleet.step(60)
    assert fleet.state["tick"] == 60
    assert fleet.reading["forecast_rps"].max() < 12345.0


def played(order: np.ndarray[Any, np.dtype[np.int64]], *, ticks: int = 60) -> list[bytes]:
    """State, readings and outcomes of a fixed set of fleets, laid out in ``order``; returned per fleet."""
    bank = small_bank()
    rng = np.random.default_rng(4)
    worlds = rng.integers(0, len(bank.worlds), 24)
    starts = rng.integers(1440, 2600, 24)
    seeds = rng.integers(0, 2**63, 24).astype(np.uint64)
    scripts = np.zeros((ticks, 24), FleetBatch(bank, menu(), 1).decisions.dtype)
    scripts["scale"] = rng.integers(-3, 4, scripts.shape)
    scripts["spec"] = rng.integers(0, 8, scripts.shape) * (rng.random(scripts.shape) < 0.05)
    scripts["policy"] = np.repeat(rng.integers(0, len(menu()), (ticks // 10, 24)), 10, axis=0)
    scripts["spot_fraction"] = rng.choice([0.0, 0.5, 1.0], scripts.shape)
    batch = FleetBatch(bank, menu(), len(order))
    batch.reset(np.arange(len(order)), worlds[order], starts[order], starts[order] + 10_000, seeds[order])
    trail = [b""] * len(order)
    for script in scripts:
        batch.decisions[:] = script[order]
        batch.step(1, detail=True)
        for place in range(len(order)):
            parts = batch.state[place], batch.readings[place], batch.outcomes[place]
            trail[place] += b"".join(part.tobytes() for part in parts)
    return trail


def test_a_fleet_does_not_notice_its_batch() -> None:
    together = played(np.arange(24))
    permutation = np.random.default_rng(8).permutation(24)
    shuffled = played(permutation)
    assert [together[place] for place in permutation] == shuffled
    for single in (0, 7, 23):
        assert played(np.array([single])) == [together[single]]


def test_telemetry_is_a_number_wherever_something_was_measured() -> None:
    bank = small_bank()
    count = 60
    batch = FleetBatch(bank, menu(), count)
    rng = np.random.default_rng(5)
    starts = rng.integers(1440, 2600, count)
    batch.reset(np.arange(count), np.arange(count), starts, starts + 10_000, np.arange(count, dtype=np.uint64))
    candidates = int(bank.physics["num_candidates"][0])
    unmeasured = 0
    for _ in range(80):
        batch.decisions["scale"] = rng.integers(-6, 7, count)
        batch.decisions["policy"] = rng.integers(0, len(menu()), count)
        batch.decisions["spec"] = rng.integers(0, candidates, count)
        batch.decisions["spot_fraction"] = rng.random(count)
        batch.step(1)
        for name in TELEMETRY.names or ():
            values = batch.readings[name]
            if name.startswith("candidate_") or (name.startswith("minutes_since_") and values.ndim == 2):
                assert np.isfinite(values[:, :candidates]).all(), name
                assert np.isnan(values[:, candidates:]).all(), name
            elif name in ("cpu_utilization", "requests_per_target"):
                unmeasured += int(np.isnan(values).sum())
            else:
                assert np.isfinite(values).all(), name
        no_target = np.isnan(batch.readings["requests_per_target"])
        assert np.isnan(batch.readings["cpu_utilization"][no_target]).all()
    assert unmeasured > 0, "no minute without a warm instance was visited"


def test_an_episode_starts_warm_paid_for_and_large_enough() -> None:
    run = start_run(small_bank(), 60, seed=11)
    for record in run.fleets:
        world = run.bank.worlds[record["world"]]
        physics, tape = run.bank.physics[world["physics"]], run.bank.tapes[world["tape"]]
        now = int(record["tick"])
        demand = run.bank.demand_rps[tape["start"] + now - 15 : tape["start"] + now + 1].max()
        need = int(np.ceil(float(demand) / (0.6 * physics["capacity_rps"][0])))
        count = min(max(need, physics["min_instances"]), physics["max_instances"])
        assert record["live"] == record["desired"] == record["serial"] == count
        age = now * 60 - record["launch_s"][:count]
        assert ((age >= 3600) & (age <= 86400)).all()
        assert (record["zone"][:count] == np.arange(count) % ZONES).all()
        assert (record["market"][:count] == ON_DEMAND).all()
        assert (record["type"][:count] == physics["members"][0][0]).all()
