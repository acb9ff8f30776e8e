"""Prices around the instance, the rules an instance is billed by, and service credits, all by hand."""

import pytest
from facts import fact

from simulators.charges import (
    COMPUTE_OPTIMIZER_CREDITS,
    EC2_REGION_CREDITS,
    HOURS_PER_MONTH,
    LOAD_BALANCER_CREDITS,
    CreditTable,
    EndedBy,
    InstanceCharge,
    allowed_downtime_minutes,
    cross_zone_usd,
    instance_charge,
    load_balancer_capacity_units,
    load_balancer_usd,
    metrics_read_usd,
    public_ipv4_usd,
    running_s,
    sla_credit_percent,
    volume_usd,
    volume_usd_per_month,
)


@fact("BL-01")
def test_a_run_is_billed_by_the_second_from_a_minute_up() -> None:
    assert instance_charge(37.0, 0.096).usd == pytest.approx(0.0016)
    assert instance_charge(37.0, 0.096).usd == instance_charge(60.0, 0.096).usd
    assert instance_charge(61.0, 0.096).usd == pytest.approx(61.0 / 3600.0 * 0.096)
    assert instance_charge(5400.0, 0.096).usd == pytest.approx(0.144)
    assert instance_charge(37.0, 0.03, market="spot").usd == pytest.approx(0.0005)
    assert instance_charge(0.0, 0.096) == InstanceCharge(0.0, 0.0)


@fact("BL-02", "BL-03")
def test_only_running_is_billed_and_all_of_it() -> None:
    launched = [("pending", 20.0), ("running", 40.0)]  # boots its application
    served = [("running", 3600.0), ("running", 300.0)]  # serves, then drains
    ended = [("shutting-down", 30.0), ("terminated", 900.0)]
    assert running_s(launched + served + ended) == 3940.0
    assert running_s([("pending", 20.0), ("stopping", 60.0), ("stopped", 9999.0), ("terminated", 1.0)]) == 0.0
    usd = instance_charge(running_s(launched + served + ended), 0.096).usd
    # launch and drain are billed on top of the hour it serves
    assert usd - instance_charge(3600.0, 0.096).usd == pytest.approx(340.0 / 3600.0 * 0.096)


@fact("BL-04")
@pytest.mark.parametrize(
    ("ended_by", "minutes", "usd"), [("aws", 30, 0.0), ("aws", 90, 0.045), ("user", 30, 0.015), ("user", 90, 0.045)]
)
def test_spot_that_aws_takes_back_in_its_first_hour_is_free(ended_by: EndedBy, minutes: int, usd: float) -> None:
    charge = instance_charge(minutes * 60.0, 0.03, market="spot", ended_by=ended_by)
    assert charge.usd == pytest.approx(usd)
    assert charge.billed_usd == pytest.approx(minutes / 60 * 0.03)  # the refund stands apart
    assert charge.refund_usd == charge.billed_usd - charge.usd


@fact("BL-04")
def test_the_first_hour_ends_with_its_last_second() -> None:
    assert instance_charge(3599.0, 0.03, market="spot", ended_by="aws").usd == 0.0
    assert instance_charge(3600.0, 0.03, market="spot", ended_by="aws").usd == pytest.approx(0.03)
    assert instance_charge(10.0, 0.03, market="spot", ended_by="aws").usd == 0.0


@fact("BL-05")
def test_spot_pays_the_price_at_the_start_of_each_of_its_hours() -> None:
    def price(second: float) -> float:
        return 0.02 if second < 1800.0 else 0.05

    # the rise half an hour in takes effect with the second hour
    assert instance_charge(3600.0, price, market="spot").usd == pytest.approx(0.02)
    assert instance_charge(5400.0, price, market="spot").usd == pytest.approx(0.02 + 0.5 * 0.05)
    assert instance_charge(9000.0, price, market="spot").usd == pytest.approx(0.02 + 1.5 * 0.05)
    refunded = instance_charge(3000.0, price, market="spot", ended_by="aws")
    assert refunded == InstanceCharge(pytest.approx(3000.0 / 3600.0 * 0.02), refunded.billed_usd)


def test_runs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"run_s -1\.0 is below 0"):
        instance_charge(-1.0, 0.096)
    with pytest.raises(ValueError, match="only spot instances are taken back"):
        instance_charge(60.0, 0.096, ended_by="aws")


@fact("OT-01")
def test_a_volume_includes_performance_up_to_a_point() -> None:
    assert volume_usd_per_month(100.0) == pytest.approx(8.0)
    assert volume_usd_per_month(100.0, 1000.0, 50.0) == volume_usd_per_month(100.0)
    assert volume_usd_per_month(100.0, 4000.0, 225.0) == pytest.approx(8.0 + 1000 * 0.005 + 100 * 0.04)


@fact("OT-08")
def test_a_month_has_730_hours() -> None:
    assert HOURS_PER_MONTH == 730.0
    assert volume_usd(730.0, 100.0, 4000.0) == pytest.approx(volume_usd_per_month(100.0, 4000.0))
    assert volume_usd(73.0, 100.0) == pytest.approx(0.8)


@fact("OT-02")
def test_capacity_units_are_the_largest_dimension_not_the_sum() -> None:
    one_each = {
        "new_connections_per_s": 25.0,
        "active_connections": 3000.0,
        "processed_gb_per_hour": 1.0,
        "requests_per_s": 100.0,
        "rules": 20,
    }
    assert load_balancer_capacity_units(**one_each) == 1.0  # type: ignore[arg-type]
    for key, value in one_each.items():
        doubled = one_each | {key: 2 * value + (0 if key != "rules" else -10)}
        assert load_balancer_capacity_units(**doubled) == 2.0  # type: ignore[arg-type]
    assert load_balancer_capacity_units(requests_per_s=1e6, rules=10) == 0.0  # ten rules are free
    assert load_balancer_capacity_units() == 0.0


@fact("OT-02")
def test_a_started_hour_of_a_load_balancer_is_a_whole_one() -> None:
    assert load_balancer_usd(1.0, 0.0) == pytest.approx(0.0225)
    assert load_balancer_usd(24.0, 5.0) == pytest.approx(24 * (0.0225 + 5 * 0.008))
    assert load_balancer_usd(1.1, 3.0) == load_balancer_usd(2.0, 3.0)


def test_traffic_and_addresses_by_hand() -> None:
    assert cross_zone_usd(10.0, 5.0) == pytest.approx(0.15)
    assert public_ipv4_usd(2, 730.0) == pytest.approx(7.3)


@fact("OT-06")
def test_polling_metrics_by_hand() -> None:
    assert metrics_read_usd(20, 300.0, 30 * 24.0) == pytest.approx(1.728)
    assert metrics_read_usd(20, 60.0, 30 * 24.0) == pytest.approx(5 * 1.728)


@fact("SL-01", "SL-03")
@pytest.mark.parametrize("table", [EC2_REGION_CREDITS, LOAD_BALANCER_CREDITS])
def test_credits_of_ec2_and_load_balancers_are_steps_with_inclusive_lower_bounds(table: CreditTable) -> None:
    uptimes = [100.0, 99.99, 99.98999, 99.0, 98.99999, 95.0, 94.99999, 0.0]
    assert [sla_credit_percent(uptime, table) for uptime in uptimes] == [0, 0, 10, 10, 30, 30, 100, 100]


def test_credits_of_compute_optimizer_are_steps_with_inclusive_lower_bounds() -> None:
    uptimes = [99.9, 99.89999, 99.0, 98.99999, 95.0, 94.99999]
    assert [sla_credit_percent(uptime, COMPUTE_OPTIMIZER_CREDITS) for uptime in uptimes] == [0, 10, 10, 25, 25, 100]
    with pytest.raises(ValueError, match=r"uptime_percent 100\.1 is not in 0\.\.100"):
        sla_credit_percent(100.1)


@fact("SL-05")
@pytest.mark.parametrize(
    ("uptime", "minutes"), [(99.99, 4.32), (99.95, 21.6), (99.9, 43.2), (99.5, 216.0), (99.0, 432.0)]
)
def test_minutes_of_downtime_a_promise_allows_in_thirty_days(uptime: float, minutes: float) -> None:
    assert allowed_downtime_minutes(uptime) == pytest.approx(minutes)
