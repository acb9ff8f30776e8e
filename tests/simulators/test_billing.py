"""Bills computed by hand, to a millionth of a dollar, against what the kernel books."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import BOTH, CLOCKWORK, OneFleet, reclaim_all_at, tiny_bank

from simulators.catalogue import TYPES, Catalogue, LaunchSpecification
from simulators.physics import Tariff, WorldSettings
from simulators.records import BILL_LINES, FOREVER

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


@fact("BL-01")
def test_an_on_demand_hour_costs_the_list_price() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS))
    bill = total(fleet, 60)
    assert bill == {"on_demand_usd": usd(0.096), "spot_usd": 0, "refund_usd": 0, "billed_instance_s": 3600}


def test_a_day_costs_twenty_four_hours() -> None:
    fleet = OneFleet(tiny_bank(np.full(1441, 1.0), settings=SETTINGS))
    assert total(fleet, 1440)["on_demand_usd"] == usd(24 * 0.096)


@fact("BL-03")
def test_pending_is_free_and_booting_is_billed_though_it_serves_nothing() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS), empty=True)
    first = fleet.step(1, scale=1)
    assert first["on_demand_usd"] == usd((60 - BILLED_AFTER_S) * M6I_USD_PER_S)
    assert first["billed_instance_s"] == 60 - BILLED_AFTER_S
    assert first["in_service_vcpu_s"] == 0
    second = fleet.step(1)
    assert second["on_demand_usd"] == usd(60 * M6I_USD_PER_S)
    assert second["in_service_vcpu_s"] == 2 * (120 - SERVES_AFTER_S)


@fact("BL-03", "LT-11")
def test_draining_is_billed_for_as_long_as_it_lasts() -> None:
    fleet = OneFleet(tiny_bank(np.full(240, 40.0), settings=SETTINGS))
    assert fleet.state["live"] == 2
    bill = total(fleet, 20, scale=-1)
    stays_s, drains_s = 20 * 60, DRAIN_S
    assert bill["billed_instance_s"] == stays_s + drains_s
    assert bill["on_demand_usd"] == usd((stays_s + drains_s) * M6I_USD_PER_S)


@fact("BL-01")
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


@fact("BL-05")
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


@fact("BL-04")
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


@fact("BL-04", "BL-05")
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


@fact("BL-04")
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


def settings_of(tariff: Tariff, **physics: Any) -> WorldSettings:
    return WorldSettings(physics=CLOCKWORK.model_copy(update=physics), tariff=tariff)


def bill_of(fleet: OneFleet, ticks: int, **decision: Any) -> tuple[float, Any]:
    """Sum of the six lines, and the outcome they stand in."""
    outcome = fleet.step(ticks, **decision)
    return float(sum(outcome[line] for line in BILL_LINES)), outcome


@BOTH
def test_a_commitment_covers_on_demand_usage_at_its_own_rate(player: type[OneFleet]) -> None:
    """Ten instances at $0.096 for an hour; $0.40 committed at 20 % off covers $0.50 of list price."""
    tariff = Tariff(commitment_usd_per_hour=0.40, plan_discount=0.2)
    fleet = player(tiny_bank(np.full(240, 240.0), settings=settings_of(tariff)))
    outcome = fleet.step(60)
    assert outcome["commitment_usd"] == usd(0.40)
    assert outcome["on_demand_usd"] == usd(0.96 - 0.50)
    first_half = fleet.step(30)
    assert first_half["on_demand_usd"] == usd(0.0)
    assert fleet.step(30)["on_demand_usd"] == usd(0.96 - 0.50)


@BOTH
def test_what_an_hour_does_not_use_of_its_commitment_is_lost(player: type[OneFleet]) -> None:
    tariff = Tariff(commitment_usd_per_hour=5.0, plan_discount=0.2)
    fleet = player(tiny_bank(QUIET, settings=settings_of(tariff)))
    fleet.step(120)
    outcome = fleet.step(60)
    assert (outcome["commitment_usd"], outcome["on_demand_usd"]) == (usd(5.0), 0.0)
    assert fleet.state["commitment_left_usd"] == pytest.approx(5.0 - 0.096 * 0.8, rel=1e-5)


@fact("CM-04")
@BOTH
def test_a_switch_to_spot_saves_nothing_inside_the_commitment(player: type[OneFleet]) -> None:
    bills = {}
    for spot in (0.0, 0.5, 1.0):
        tariff = Tariff(commitment_usd_per_hour=0.096 * 10 * 0.81)
        fleet = player(tiny_bank(np.full(240, 1.0), settings=settings_of(tariff, max_instances=10)), empty=True)
        fleet.step(60, scale=10, spot=spot)
        bills[spot] = bill_of(fleet, 60)[0]
    assert bills[0.5] == pytest.approx(bills[0.0] + 5 * 0.036, abs=CENT_OF_A_CENT)
    assert bills[1.0] == pytest.approx(bills[0.0] + 10 * 0.036, abs=CENT_OF_A_CENT)


@BOTH
def test_volumes_and_the_balancer_are_lines_of_their_own(player: type[OneFleet]) -> None:
    """240 requests per second over connections of ten: 24 new ones a second, 0.96 of a unit; 3.456 GB an hour."""
    tariff = Tariff(volume_gb=73.0, volume_usd_per_gb_month=0.1)
    fleet = player(tiny_bank(np.full(120, 240.0), settings=settings_of(tariff)))
    outcome = fleet.step(60)
    assert outcome["volume_usd"] == usd(10 * 73.0 * 0.1 / 730)
    assert outcome["balancer_usd"] == usd(0.0225 + 0.008 * max(24 / 25, 240 * 4000 * 3600 / 1e9))


def catalogue_of(name: str) -> Catalogue:
    """The reference type and another one, which is the only candidate."""
    item = next(item for item in TYPES if item.name == name)
    return Catalogue((TYPES[0], item), (LaunchSpecification.single(name),))


@fact("BL-01")
@BOTH
def test_thirty_seven_seconds_of_an_m5_cost_a_minute(player: type[OneFleet]) -> None:
    """$0.096 an hour; 37 s are billed as 60 s: $0.0016."""
    quick = settings(boot_median_s=46.0)
    catalogue = catalogue_of("m5.large")
    fleet = player(tiny_bank(QUIET, settings=quick, catalogue=catalogue), empty=True)
    running = fleet.step(1, scale=1)
    assert running["billed_instance_s"] == 37
    stopped = fleet.step(1, scale=-1)
    assert running["on_demand_usd"] + stopped["on_demand_usd"] == usd(0.0016)


def burstable(credits_per_hour: float, most: float, baseline: float, price: float = 0.0832) -> Catalogue:
    """The reference type, and a burstable one of the same speed."""
    large = Catalogue()["m6i.large"]
    changes = {"credits_per_hour": credits_per_hour, "max_credits": most, "baseline": baseline}
    item = replace(large, name="t9.large", price_usd_per_hour=price, **changes)
    return Catalogue((large, item), (LaunchSpecification.single("t9.large"),))


def alone(player: type[OneFleet], catalogue: Catalogue, share: float, ticks: int, **physics: Any) -> OneFleet:
    """One instance of candidate 0 at a share of its capacity, in service since some hours, credits 0."""
    settings = WorldSettings(physics=CLOCKWORK.model_copy(update={"max_instances": 1, **physics}))
    bank = tiny_bank(np.full(ticks, 1.0), settings=settings, catalogue=catalogue)
    bank.demand_rps[:] = share * bank.physics["capacity_rps"][0, bank.physics["members"][0, 0, 0]]
    fleet = player(bank)
    assert fleet.state["live"] == 1
    return fleet


@fact("PM-04")
@BOTH
def test_credits_are_earned_at_baseline_and_spent_by_use(player: type[OneFleet]) -> None:
    """6 an hour, two vCPUs at 2 % for an hour: 3.6 more; never more than a day's earning."""
    fleet = alone(player, burstable(6.0, 144.0, 0.05), 0.02, 4000)
    fleet.step(60)
    assert fleet.slots("credits")[0] == pytest.approx(3.6, rel=1e-5)
    fleet.step(60)
    assert fleet.slots("credits")[0] == pytest.approx(7.2, rel=1e-5)


@fact("PM-04")
def test_credits_beyond_a_day_of_earning_are_discarded() -> None:
    fleet = alone(OneFleet, burstable(6.0, 144.0, 0.05), 0.02, 4000)
    fleet.step(3900)
    assert fleet.slots("credits")[0] == 144.0


@fact("PM-06")
@pytest.mark.parametrize(("use", "dearer"), [(0.60, True), (0.45, True), (0.40, False)])
def test_a_busy_burstable_instance_costs_more_than_a_plain_one(use: float, dearer: bool) -> None:
    """t3.large against m5.large at the same CPU over a week: the break-even is at 42.5 %."""
    hours = 7 * 24
    cost = {}
    for name in ("t3.large", "m5.large"):
        catalogue = catalogue_of(name)
        fleet = alone(OneFleet, catalogue, use, hours * 60 + 120)
        outcome = fleet.step(hours * 60)
        assert outcome["busy_vcpu_s"] / outcome["in_service_vcpu_s"] == pytest.approx(use, rel=1e-4)
        owed = max(0.0, -float(fleet.slots("credits")[0])) * 0.05 / 60
        cost[name] = float(outcome["on_demand_usd"] + outcome["credit_usd"]) + owed
    assert (cost["t3.large"] > cost["m5.large"]) == dearer


@fact("PM-06", "BL-07")
@BOTH
def test_surplus_credits_are_charged_beyond_a_day_and_at_the_end(player: type[OneFleet]) -> None:
    """60 % of two vCPUs spends 72 credits an hour and earns 36; with 18 to borrow half an hour is free for now."""
    fleet = alone(player, burstable(36.0, 18.0, 0.3), 0.6, 300)
    assert fleet.step(30)["credit_usd"] == pytest.approx(0.0, abs=1e-6)
    assert fleet.slots("credits")[0] == pytest.approx(-18.0, rel=1e-4)
    assert fleet.step(60)["credit_usd"] == pytest.approx(36 * 0.05 / 60, rel=1e-4)
    fleet.batch.bank.physics["min_instances"] = 0
    drained = fleet.step(20, scale=-1)
    assert fleet.state["live"] == 0
    assert drained["credit_usd"] == pytest.approx((18.0 - 36.0 * 5 / 60) * 0.05 / 60, rel=1e-3)


@fact("PM-06")
@BOTH
@pytest.mark.parametrize(("use", "served"), [(0.25, 0.25), (0.6, 0.3), (2.0, 0.3)])
def test_standard_mode_falls_to_its_baseline(player: type[OneFleet], use: float, served: float) -> None:
    """Below baseline nothing is lost; above it CPU shows the baseline while requests wait and fail."""
    fleet = alone(player, burstable(36.0, 864.0, 0.3), use, 300, credits="standard")
    fleet.step(60)
    outcome = fleet.step(60)
    assert outcome["busy_vcpu_s"] / outcome["in_service_vcpu_s"] == pytest.approx(served, rel=1e-4)
    assert (outcome["failed_requests"] > 0) == (use > 0.3)
    assert outcome["credit_usd"] == 0


@fact("PM-06")
@BOTH
def test_saved_credits_let_standard_mode_burst_for_a_while(player: type[OneFleet]) -> None:
    """40 credits pay for 100 % of two vCPUs for 40 / (2 - 0.6) minutes."""
    fleet = alone(player, burstable(36.0, 864.0, 0.3), 1.0, 300, credits="standard")
    fleet.state["credits"][0] = 40.0
    fleet.inject()
    busy = [float(fleet.step(1)["busy_vcpu_s"]) / 120 for _ in range(60)]
    assert busy[:28] == pytest.approx([1.0] * 28)
    assert busy[30:] == pytest.approx([0.3] * 30, rel=1e-4)
    assert sum(busy) * 2 == pytest.approx(40.0 + 60 * 0.6, rel=1e-3)


@BOTH
def test_a_zone_that_fails_refunds_nothing_and_tops_up_the_minute(player: type[OneFleet]) -> None:
    down = np.where(np.arange(240) == 1, 7, 0)
    fleet = player(tiny_bank(QUIET, settings=SETTINGS, zone_down=down), empty=True)
    first = fleet.step(1, scale=1, spot=1.0)
    lost = fleet.step(1)
    assert (lost["outage_losses"], lost["refund_usd"], lost["launch_failures"]) == (1, 0, 1)
    assert first["spot_usd"] + lost["spot_usd"] == usd(60 * 0.036 / 3600)
