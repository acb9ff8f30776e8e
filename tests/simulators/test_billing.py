"""Bills computed by hand, to a millionth of a dollar, against what the kernel books."""

from typing import Any

import numpy as np
import pytest
from reference.tiny_worlds import CLOCKWORK, OneFleet, reclaim_all_at, tiny_bank

from simulators.physics import WorldSettings
from simulators.records import FOREVER

M6I_USD_PER_S = 0.096 / 3600
M7I_USD_PER_S = 0.1008 / 3600
BILLED_AFTER_S = 25
SERVES_AFTER_S = 85
DRAIN_S = 300
CENT_OF_A_CENT = 1e-6
QUIET = np.full(240, 1.0)
SETTINGS = WorldSettings(physics=CLOCKWORK)


def settings(**changes: Any) -> WorldSettings:
    return WorldSettings(physics=CLOCKWORK.model_copy(update=changes))


def usd(amount: float) -> Any:
    return pytest.approx(amount, abs=CENT_OF_A_CENT)


def total(fleet: OneFleet, ticks: int, **decision: Any) -> dict[str, float]:
    outcome = fleet.step(ticks, **decision)
    return {name: float(outcome[name]) for name in ("on_demand_usd", "spot_usd", "refund_usd", "billed_instance_s")}


def test_an_on_demand_hour_costs_the_list_price() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS))
    bill = total(fleet, 60)
    assert bill == {"on_demand_usd": usd(0.096), "spot_usd": 0, "refund_usd": 0, "billed_instance_s": 3600}


def test_a_day_costs_twenty_four_hours() -> None:
    fleet = OneFleet(tiny_bank(np.full(1441, 1.0), settings=SETTINGS))
    assert total(fleet, 1440)["on_demand_usd"] == usd(24 * 0.096)


def test_pending_is_free_and_booting_is_billed_though_it_serves_nothing() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS), empty=True)
    first = fleet.step(1, scale=1)
    assert first["on_demand_usd"] == usd((60 - BILLED_AFTER_S) * M6I_USD_PER_S)
    assert first["billed_instance_s"] == 60 - BILLED_AFTER_S
    assert first["in_service_vcpu_s"] == 0
    second = fleet.step(1)
    assert second["on_demand_usd"] == usd(60 * M6I_USD_PER_S)
    assert second["in_service_vcpu_s"] == 2 * (120 - SERVES_AFTER_S)


def test_draining_is_billed_for_as_long_as_it_lasts() -> None:
    fleet = OneFleet(tiny_bank(np.full(240, 40.0), settings=SETTINGS))
    assert fleet.state["live"] == 2
    bill = total(fleet, 20, scale=-1)
    stays_s, drains_s = 20 * 60, DRAIN_S
    assert bill["billed_instance_s"] == stays_s + drains_s
    assert bill["on_demand_usd"] == usd((stays_s + drains_s) * M6I_USD_PER_S)


@pytest.mark.parametrize(("spot", "line"), [(0.0, "on_demand_usd"), (1.0, "spot_usd")])
def test_a_short_run_is_billed_sixty_seconds(spot: float, line: str) -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS, spot_usd_per_hour=0.036), empty=True)
    started = total(fleet, 1, scale=1, spot=spot)
    stopped = total(fleet, 1, scale=-1)
    price = 0.036 / 3600 if spot else M6I_USD_PER_S
    assert started[line] == usd(35 * price)
    assert started[line] + stopped[line] == pytest.approx(60 * price, rel=1e-6)
    assert fleet.state["live"] == 0


def test_an_instance_stopped_before_it_ran_costs_nothing() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=settings(unbilled_boot_share=1.0, boot_median_s=90.0)), empty=True)
    assert total(fleet, 1, scale=1)["on_demand_usd"] == 0
    assert total(fleet, 1, scale=-1) == {
        "on_demand_usd": 0,
        "spot_usd": 0,
        "refund_usd": 0,
        "billed_instance_s": 0,
    }


def test_a_spot_price_change_takes_effect_at_the_next_hour_of_the_instance() -> None:
    bank = tiny_bank(QUIET, settings=SETTINGS, spot_usd_per_hour=[0.036, 0.060, 0.020, 0.020])
    fleet = OneFleet(bank, tick=30, empty=True)
    bill = total(fleet, 60, scale=1, spot=1.0)
    launched_s = 30 * 60
    billed_s = 3600 - BILLED_AFTER_S
    assert bill["spot_usd"] == usd(billed_s * 0.036 / 3600)
    bill = total(fleet, 60)
    old_price_s = BILLED_AFTER_S
    assert launched_s + BILLED_AFTER_S + 3600 == 90 * 60 + old_price_s
    assert bill["spot_usd"] == usd(old_price_s * 0.036 / 3600 + (3600 - old_price_s) * 0.060 / 3600)
    assert bill["on_demand_usd"] == 0


def test_spot_taken_back_within_its_first_hour_is_billed_and_refunded() -> None:
    bank = tiny_bank(QUIET, settings=SETTINGS, reclaim=reclaim_all_at(240, 30))
    bank.pool_state[0, 30:] = 2
    fleet = OneFleet(bank, empty=True)
    before = total(fleet, 30, scale=1, spot=1.0)
    after = total(fleet, 1)
    off_s = int(fleet.slots("off_s")[0])
    rest = total(fleet, 4)
    ran_s = off_s + 120 - BILLED_AFTER_S
    billed = before["spot_usd"] + after["spot_usd"] + rest["spot_usd"]
    assert billed == usd(ran_s * 0.036 / 3600)
    assert before["refund_usd"] + after["refund_usd"] == 0
    assert rest["refund_usd"] == pytest.approx(billed, rel=1e-9)
    assert fleet.state["live"] == 0


def test_spot_taken_back_later_is_not_refunded() -> None:
    bank = tiny_bank(
        QUIET, settings=SETTINGS, spot_usd_per_hour=[0.036, 0.072, 0.1, 0.1], reclaim=reclaim_all_at(240, 90)
    )
    bank.pool_state[0, 90:] = 2
    fleet = OneFleet(bank, empty=True)
    before = total(fleet, 91, scale=1, spot=1.0)
    off_s = int(fleet.slots("off_s")[0])
    rest = total(fleet, 4)
    ran_s = off_s + 120 - BILLED_AFTER_S
    billed = before["spot_usd"] + rest["spot_usd"]
    assert billed == usd(3600 * 0.036 / 3600 + (ran_s - 3600) * 0.072 / 3600)
    assert before["refund_usd"] + rest["refund_usd"] == 0


@pytest.mark.parametrize("minutes", [30, 90])
def test_spot_that_the_user_stops_is_never_refunded(minutes: int) -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS), empty=True)
    before = total(fleet, minutes, scale=1, spot=1.0)
    rest = total(fleet, 10, scale=-1)
    ran_s = minutes * 60 - BILLED_AFTER_S + DRAIN_S
    assert before["spot_usd"] + rest["spot_usd"] == usd(ran_s * 0.036 / 3600)
    assert before["refund_usd"] + rest["refund_usd"] == 0


def test_spot_taken_back_within_its_first_minute_is_not_topped_up() -> None:
    quick = settings(boot_median_s=2.0, notice_s=20)
    bank = tiny_bank(QUIET, settings=quick, reclaim=reclaim_all_at(240, 1))
    bank.pool_state[0, 1:] = 2
    for seed in range(40):
        fleet = OneFleet(bank, seed=seed, empty=True)
        before = total(fleet, 1, scale=1, spot=1.0)
        after, rest = total(fleet, 1), total(fleet, 2)
        billed = [part["spot_usd"] for part in (before, after, rest)]
        ran_s = sum(part["billed_instance_s"] for part in (before, after, rest))
        assert sum(billed) == usd(ran_s * 0.036 / 3600)
        assert after["refund_usd"] + rest["refund_usd"] == pytest.approx(sum(billed), rel=1e-9)


def test_a_rolling_replacement_pays_for_both_the_old_and_the_new() -> None:
    fleet = OneFleet(tiny_bank(np.full(240, 40.0), settings=settings(min_healthy_fraction=0.5)))
    assert fleet.slots("off_s").tolist() == [FOREVER, FOREVER]
    bill = total(fleet, 20, spec=1)
    end_s = 20 * 60
    second_batch_s = 300
    old_s = DRAIN_S + second_batch_s + DRAIN_S
    new_s = (end_s - BILLED_AFTER_S) + (end_s - second_batch_s - BILLED_AFTER_S)
    assert bill["billed_instance_s"] == old_s + new_s
    assert bill["on_demand_usd"] == usd(old_s * M6I_USD_PER_S + new_s * M7I_USD_PER_S)
    assert fleet.slots("type").tolist() == [2, 2]
