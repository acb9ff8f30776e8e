"""Rules of the group that AWS documents, invariants, and what telemetry may and may not know."""

from typing import Any

import numpy as np
import pytest
from reference.small_worlds import menu, small_bank, start_run
from reference.tiny_worlds import CLOCKWORK, MANUAL, OneFleet, reclaim_all_at, tiny_bank

from simulators.draws import APP, BOOT, standard_normal
from simulators.fleets import FleetBatch
from simulators.menu import ScalingPolicy
from simulators.physics import Physics, WorldSettings
from simulators.records import DRY, FOREVER, ON_DEMAND, SPOT, TELEMETRY, ZONES

QUIET = np.full(240, 1.0)
SETTINGS = WorldSettings(physics=CLOCKWORK)


def settings(**changes: Any) -> WorldSettings:
    return WorldSettings(physics=CLOCKWORK.model_copy(update=changes))


def markets_after_launching(instances: int, spot_fraction: float) -> tuple[int, int]:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS), empty=True)
    fleet.step(1, scale=instances, spot=spot_fraction)
    market = fleet.slots("market")
    return int((market == ON_DEMAND).sum()), int((market == SPOT).sum())


@pytest.mark.parametrize(("instances", "on_demand"), [(10, 6), (20, 12), (30, 18), (40, 24)])
def test_sixty_percent_on_demand_as_published(instances: int, on_demand: int) -> None:
    assert markets_after_launching(instances, 0.4) == (on_demand, instances - on_demand)


@pytest.mark.parametrize(
    ("instances", "spot_fraction", "expected"),
    [
        (7, 0.5, (4, 3)),
        (10, 0.7, (3, 7)),
        (10, 0.3, (7, 3)),
        (1, 0.9, (1, 0)),
        (5, 1.0, (0, 5)),
        (5, 0.0, (5, 0)),
    ],
)
def test_fractions_favour_on_demand(instances: int, spot_fraction: float, expected: tuple[int, int]) -> None:
    assert markets_after_launching(instances, spot_fraction) == expected


def test_a_dry_spot_market_is_not_replaced_by_on_demand() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS, pool_state=DRY), empty=True)
    first = fleet.step(1, scale=10, spot=0.5)
    assert first["launches"] == 5
    later = fleet.step(9)
    assert first["launch_failures"] + later["launch_failures"] == 10
    assert fleet.slots("market").tolist() == [ON_DEMAND] * 5
    assert fleet.state["desired"] == 10
    assert fleet.reading["minutes_since_launch_failure"][0] == 1


def test_other_spot_pools_are_tried_before_a_launch_fails() -> None:
    bank = tiny_bank(QUIET, settings=SETTINGS, pool_state=DRY)
    mix = list(bank.physics[0]["members"][6][: bank.physics[0]["num_members"][6]])
    bank.pool_state[0, :, mix[2] * ZONES + 2] = 0
    fleet = OneFleet(bank, empty=True)
    outcome = fleet.step(1, scale=6, spot=1.0, spec=6)
    assert (outcome["launches"], outcome["launch_failures"]) == (6, 0)
    assert set(fleet.slots("type")) == {mix[2]}
    assert set(fleet.slots("zone")) == {2}


@pytest.mark.parametrize("spot_fraction", [0.0, 1.0])
def test_zones_stay_balanced_within_one(spot_fraction: float) -> None:
    rng = np.random.default_rng(1)
    fleet = OneFleet(tiny_bank(np.full(400, 1.0), settings=settings(max_instances=60)), empty=True)
    for _ in range(300):
        fleet.step(1, scale=int(rng.integers(-9, 10)), spot=spot_fraction)
        wanted = fleet.slots("off_s") == FOREVER
        zones = np.bincount(fleet.slots("zone")[wanted], minlength=ZONES)
        assert zones.max() - zones.min() <= 1


@pytest.mark.parametrize(
    ("instances", "healthy", "batch"),
    [(10, 0.9, 1), (10, 0.8, 2), (4, 0.9, 1), (1, 0.9, 1), (10, 1.0, 1), (10, 0.0, 10), (10, 0.3, 7)],
)
def test_replacement_batches(instances: int, healthy: float, batch: int) -> None:
    bank = tiny_bank(np.full(60, 24.0 * instances), settings=settings(min_healthy_fraction=healthy))
    fleet = OneFleet(bank)
    assert fleet.state["live"] == instances
    fleet.step(1, spec=2)
    assert (fleet.slots("off_s") != FOREVER).sum() == batch
    assert (fleet.slots("type") == bank.physics[0]["members"][2][0]).sum() == batch


def test_replacing_a_single_instance_is_an_outage() -> None:
    fleet = OneFleet(tiny_bank(np.full(60, 24.0), settings=SETTINGS))
    outcome = fleet.step(1, spec=2)
    assert outcome["in_service_vcpu_s"] == 0
    assert outcome["late_requests"] == pytest.approx(24.0 * 60)
    assert outcome["bad_minutes"] == 1


def test_a_replacement_waits_for_the_warm_up_of_each_batch() -> None:
    fleet = OneFleet(tiny_bank(np.full(240, 96.0), settings=settings(instance_warmup_s=600, min_healthy_fraction=0.5)))
    fleet.step(1, spec=2)
    stops = [int((fleet.slots("off_s") == 0).sum())]
    for tick in range(1, 40):
        fleet.step(1)
        stops.append(int((fleet.slots("off_s") == tick * 60).sum()))
    assert np.flatnonzero(stops).tolist() == [0, 10]
    assert [stops[0], stops[10]] == [2, 2]
    assert fleet.state["refreshing"] == 0


def test_rebalancing_replaces_at_the_notice_and_its_absence_at_the_end() -> None:
    notice, end = 30, 33
    for rebalancing, replaced in ((True, notice), (False, end)):
        bank = tiny_bank(
            QUIET,
            settings=settings(capacity_rebalancing=rebalancing),
            reclaim=reclaim_all_at(240, notice),
        )
        fleet = OneFleet(bank, empty=True)
        fleet.step(notice, scale=1, spot=1.0)
        launched = [tick for tick in range(notice, 40) if fleet.step(1)["launches"]]
        assert launched == [replaced]


def test_an_instance_under_notice_is_not_warm() -> None:
    """Without rebalancing it counts as active until it is gone, yet it takes no request, has no metric."""
    share = reclaim_all_at(240, 20)
    warm_up = settings(capacity_rebalancing=False, instance_warmup_s=100)
    bank = tiny_bank(np.full(240, 24.0 * 4), settings=warm_up, reclaim=share)
    tracking = ScalingPolicy(name="cpu", kind="target_tracking_cpu", target_utilization=0.5)
    fleet = OneFleet(bank, MANUAL, tracking)
    fleet.step(21, scale=4, spot=1.0)
    noticed = int(fleet.slots("reclaimed").sum())
    assert noticed == 8 - int((fleet.slots("market") == ON_DEMAND).sum())
    on_demand = 8 - noticed
    fleet.state["cpu_utilization"] = 0.9
    fleet.state["policy"], fleet.state["high_points"], fleet.state["desired"] = 1, 2, 1
    fleet.state["low_points"] = 0
    fleet.step(1)
    assert fleet.state["desired"] == max(1, int(np.ceil(on_demand * 0.9 / 0.5)))


def test_the_slowest_launch_the_settings_allow_is_not_taken_for_a_quick_one() -> None:
    slow = Physics(boot_median_s=600, boot_sigma=1, app_median_s=1800, app_sigma=1, register_s=0)
    bank = tiny_bank(QUIET, settings=WorldSettings(physics=slow))
    seed = 9026
    fleet = OneFleet(bank, seed=seed, empty=True)
    fleet.step(1, scale=1)
    boot = 600 * np.exp(standard_normal(np.uint64(seed), BOOT, 0))
    app = 1800 * np.exp(standard_normal(np.uint64(seed), APP, 0))
    assert fleet.slots("ready_delay_s")[0] == np.ceil(boot + app)


def test_no_more_requests_fail_than_were_made() -> None:
    run = start_run(small_bank(), 60, seed=9)
    for _ in range(120):
        run.decide()
        run.step()
        for name in ("late_fraction", "error_fraction"):
            assert run.readings[name].min() >= 0
            assert run.readings[name].max() <= 1 + 1e-9, name


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


def test_the_future_and_hidden_states_leave_no_trace_in_telemetry() -> None:
    readings = []
    for changed in (False, True):
        run = start_run(small_bank(), 60, seed=10, first_tick=np.full(60, 1500))
        bank = run.bank
        now = 1500 + 40
        if changed:
            rng = np.random.default_rng(0)
            future = {
                name: getattr(bank, name).copy() for name in ("demand_rps", "work_scale", "pool_state", "reclaim")
            }
            future["spot_usd_per_s"] = bank.spot_usd_per_s.copy()
            for tape in bank.tapes:
                after = slice(tape["start"] + now, tape["start"] + tape["length"])
                future["demand_rps"][after] *= 7
                future["work_scale"][after] *= 3
            for world in bank.worlds:
                seen_until = (now + int(world["market_phase"])) % bank.pool_state.shape[1]
                assert seen_until > 1500, "the part of the market tape played so far must not wrap"
            first_unseen = (now + int(bank.worlds["market_phase"].max())) % bank.pool_state.shape[1]
            future["pool_state"][:, first_unseen:] = rng.permuted(future["pool_state"][:, first_unseen:], axis=1)
            future["reclaim"][:, first_unseen:] = 255
            future["spot_usd_per_s"][:, first_unseen // 60 + 1 :] *= 0.5
            run.bank = bank._replace(**future, reclaim_any=future["reclaim"].any(axis=2).astype(np.uint8))
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
