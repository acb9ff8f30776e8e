"""How long launches take, and what the metrics of a minute say, on the kernel."""

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import OneFleet, tiny_bank

from simulators.draws import APP, BOOT, REGISTER, standard_normal, uniform
from simulators.physics import Physics, WorldSettings

SEED = 7


def launched(spec: int, physics: Physics | None = None) -> OneFleet:
    settings = WorldSettings(physics=physics or Physics())
    fleet = OneFleet(tiny_bank(np.full(120, 20.0), settings=settings), seed=SEED, empty=True)
    fleet.step(1, spec=spec, scale=60)
    return fleet


@fact("LT-01")
def test_the_delay_of_a_launch_is_the_sum_of_its_parts() -> None:
    fleet = launched(spec=0)
    for serial, delay_s in zip(fleet.slots("slot_serial"), fleet.slots("ready_delay_s"), strict=True):
        boot_s = 24.0 * np.exp(0.2 * standard_normal(np.uint64(SEED), BOOT, int(serial)))
        app_s = 60.0 * np.exp(0.5 * standard_normal(np.uint64(SEED), APP, int(serial)))
        register_s = 30.0 * uniform(np.uint64(SEED), REGISTER, int(serial))
        assert delay_s == np.ceil(boot_s + app_s + register_s)


@fact("LT-02")
def test_every_type_boots_alike() -> None:
    delays = [launched(spec).slots("ready_delay_s").tolist() for spec in (0, 3, 5)]
    assert delays[0] == delays[1] == delays[2]


@fact("LT-06")
def test_the_application_is_most_of_a_launch_and_a_setting_of_its_own() -> None:
    whole = launched(0).slots("ready_delay_s").mean()
    without = launched(0, Physics(app_median_s=0.0)).slots("ready_delay_s").mean()
    assert without < 0.5 * whole
    assert without == pytest.approx(24 + 15, rel=0.15)


@fact("CW-01")
def test_failures_are_seen_beside_fast_answers() -> None:
    settings = WorldSettings()
    fleet = OneFleet(tiny_bank(np.full(60, 20.0), settings=settings, fault_fraction=0.3))
    outcome = fleet.step(30)
    assert outcome["late_requests"] / outcome["requests"] < 0.05
    assert outcome["failed_requests"] / outcome["requests"] == pytest.approx(0.09, rel=0.1)
    assert outcome["bad_minutes"] >= 29
    assert fleet.reading["late_fraction"] < 0.05 < fleet.reading["error_fraction"]


@fact("CW-06")
def test_a_minute_without_requests_counts_none_and_is_not_unknown() -> None:
    demand = np.full(60, 20.0)
    demand[10:] = 0.0
    fleet = OneFleet(tiny_bank(demand))
    fleet.step(20)
    assert fleet.reading["requests_per_target"] == 0.0
    assert fleet.reading["demand_rps"] == 0.0
    assert fleet.reading["cpu_utilization"] == 0.0
