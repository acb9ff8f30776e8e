"""Savings Plans and reservations: AWS's worked examples, an exhaustive rule check, properties, refusals."""

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from facts import fact

from simulators.catalogue import TYPES, Catalogue
from simulators.commitments import (
    MAX_PLAN_SAVING,
    PRICED_LIKE,
    RESERVATION_SAVING,
    Commitment,
    HourBill,
    Payment,
    PlanKind,
    Reservation,
    SavingsPlan,
    Usage,
    apply_commitments,
    commitment_usd_per_hour,
    plan_saving,
    savings_plan_usd_per_hour,
)

HOME = "us-east-1"
M6I = Catalogue()["m6i.large"]


def instances(type_name: str, hours: float, market: str = "on_demand", price: float = 0.0, zone: str = "a") -> Usage:
    listed = next(item.price_usd_per_hour for item in TYPES if item.name == type_name)
    return Usage(type_name, hours, price or listed, market, type_name, HOME, zone)  # type: ignore[arg-type]


# Savings Plans user guide, "Understanding how Savings Plans apply to your AWS usage" (earlier edition)
C5_LINUX = Usage("c5.9xlarge", 1, 4.0, "on_demand", "c5.9xlarge", HOME, "", {"compute": 2.0, "ec2_instance": 1.0})
C5_WINDOWS = Usage("c5.24xlarge", 1, 10.0, "on_demand", "c5.24xlarge", HOME, "", {"compute": 8.0, "ec2_instance": 6.0})
FARGATE_VCPU = Usage("Fargate vCPU", 10, 1.5, region="us-west-1", plan_usd_per_unit={"compute": 1.0})
FARGATE_GB = Usage("Fargate GB", 5, 2.0, region="us-west-1", plan_usd_per_unit={"compute": 1.0})
GUIDE = (C5_LINUX, C5_WINDOWS, FARGATE_VCPU, FARGATE_GB)


@fact("CM-03")
def test_the_guides_example_in_the_guides_order() -> None:
    bill = apply_commitments(GUIDE, [SavingsPlan("sp", "compute", 25.0)])
    # savings of 50, 50, 33 and 20 %: of the equal ones the lower rate goes first
    assert [GUIDE[part.usage].name for part in bill.covered] == [
        *("Fargate GB", "c5.9xlarge", "Fargate vCPU", "c5.24xlarge"),
    ]
    assert [part.usd for part in bill.covered] == [5.0, 2.0, 10.0, 8.0]
    assert (bill.total_usd, bill.uncovered_usd, bill.unused_usd) == (25.0, 0.0, {"sp": 0.0})


@fact("CM-03")
@pytest.mark.parametrize(
    ("commitment", "covered", "total"),
    [
        (4.0, [4.0, 0.0, 0.0, 0.0], 4.0 + 2.0 + 4.0 + 15.0 + 10.0),
        (6.0, [5.0, 1.0, 0.0, 0.0], 6.0 + 0.5 * 4.0 + 15.0 + 10.0),
        (12.0, [5.0, 2.0, 5.0, 0.0], 12.0 + 5 * 1.5 + 10.0),
        (19.0, [5.0, 2.0, 10.0, 2.0], 19.0 + 0.75 * 10.0),
    ],
)
def test_what_a_smaller_plan_leaves_is_paid_on_demand(commitment: float, covered: list[float], total: float) -> None:
    bill = apply_commitments(GUIDE, [SavingsPlan("sp", "compute", commitment)])
    drawn = {part.usage: part.usd for part in bill.covered}
    assert [drawn.get(position, 0.0) for position in (3, 0, 2, 1)] == pytest.approx(covered)
    assert bill.total_usd == pytest.approx(total)


@fact("CM-03")
def test_a_plan_for_one_family_goes_before_the_one_for_all() -> None:
    plans = [SavingsPlan("all", "compute", 18.0), SavingsPlan("c5", "ec2_instance", 4.0, family="c5", region=HOME)]
    bill = apply_commitments(GUIDE, plans)
    # c5 plan: Linux first (75 % saved against 40 %), then half of Windows; the rest of Windows comes last of all
    assert [(part.commitment, GUIDE[part.usage].name) for part in bill.covered] == [
        *(("c5", "c5.9xlarge"), ("c5", "c5.24xlarge"), ("all", "Fargate GB"), ("all", "Fargate vCPU")),
        ("all", "c5.24xlarge"),
    ]
    assert [part.usd for part in bill.covered] == pytest.approx([1.0, 3.0, 5.0, 10.0, 3.0])
    assert bill.uncovered == pytest.approx((0.0, 0.125, 0.0, 0.0))
    assert bill.total_usd == pytest.approx(22.0 + 1.25)


@fact("CM-03")
def test_the_published_total_of_the_later_edition() -> None:
    # requests to Lambda draw on a plan at their full price, so they come last
    later = (
        Usage("r5.4xlarge", 4, 1.0, "on_demand", "r5.4xlarge", HOME, "", {"compute": 0.70, "ec2_instance": 0.60}),
        Usage("m5.24xlarge", 1, 10.0, "on_demand", "m5.24xlarge", HOME, "", {"compute": 8.20, "ec2_instance": 7.80}),
        Usage("Fargate vCPU", 400, 0.04, plan_usd_per_unit={"compute": 0.03}),
        Usage("Fargate GB", 1600, 0.004, plan_usd_per_unit={"compute": 0.003}),
        Usage("Lambda duration", 1.5e6, 0.000015, plan_usd_per_unit={"compute": 0.00001275}),
        Usage("Lambda requests", 1e6, 2e-7, plan_usd_per_unit={"compute": 2e-7}),
    )
    bill = apply_commitments(later, [SavingsPlan("sp", "compute", 50.0)])
    assert sum(part.usd for part in bill.covered) == pytest.approx(47.13, abs=0.006)  # as published: $47.13
    assert bill.total_usd == 50.0
    assert bill.unused_usd["sp"] == pytest.approx(2.875)


@fact("CM-03")
def test_what_an_hour_leaves_is_lost() -> None:
    plan = SavingsPlan("sp", "compute", 1.0)
    idle, busy = apply_commitments([], [plan]), apply_commitments([instances("m6i.large", 100)], [plan])
    assert (idle.total_usd, idle.unused_usd) == (1.0, {"sp": 1.0})
    assert busy.unused_usd == {"sp": 0.0}
    fresh = apply_commitments([instances("m6i.large", 100)], [plan])
    assert fresh == busy  # nothing is carried over from an idle hour


@fact("CM-03")
def test_reservations_go_first_and_spot_is_never_covered() -> None:
    usage = [instances("m6i.large", 3), instances("m6i.large", 5, "spot", 0.03)]
    commitments: list[Commitment] = [
        SavingsPlan("all", "compute", 100.0),
        SavingsPlan("m6i", "ec2_instance", 0.05, family="m6i", region=HOME),
        Reservation("ri", "m6i.large", 1, 0.06, HOME),
    ]
    bill = apply_commitments(usage, commitments)
    assert [part.commitment for part in bill.covered] == ["ri", "m6i", "all"]
    assert {part.usage for part in bill.covered} == {0}
    assert bill.uncovered == pytest.approx((0.0, 5.0))
    assert bill.uncovered_usd == pytest.approx(0.15)


@fact("CM-04")
@pytest.mark.parametrize("moved", range(1, 6))
def test_spot_inside_the_committed_floor_saves_nothing(moved: int) -> None:
    rate = savings_plan_usd_per_hour(M6I, "compute")
    plan = SavingsPlan("sp", "compute", 5 * rate)

    def total(on_demand: int, spot: int) -> float:
        spot_line = instances("m6i.large", spot, "spot", 0.03)
        return apply_commitments([instances("m6i.large", on_demand), spot_line], [plan]).total_usd

    # five instances are committed: every move to spot frees nothing, and the spot price comes on top
    assert total(5, 0) == pytest.approx(plan.usd_per_hour)
    assert total(5 - moved, moved) - 0.03 * moved == pytest.approx(total(5, 0))
    # outside the floor a move saves the difference of the prices
    assert total(10 - moved, moved) == pytest.approx(total(10, 0) - moved * (0.096 - 0.03))


def test_a_zonal_reservation_holds_capacity_a_regional_one_is_flexible() -> None:
    zonal = Reservation("zonal", "m6i.large", 2, 0.06, HOME, zone="a")
    regional = Reservation("regional", "m6i.large", 4, 0.06, HOME)
    assert zonal.reserves_capacity
    assert not regional.reserves_capacity
    usage = [
        *(instances("m6i.xlarge", 1), instances("m6i.large", 1), instances("m6i.large", 1, zone="b")),
        *(instances("m6a.large", 1), instances("m6i.4xlarge", 1)),
    ]
    bill = apply_commitments(usage, [regional, zonal])
    covered = [(part.commitment, part.usage, part.quantity) for part in bill.covered]
    # zone a first; then from the smallest size up: 1 large, 1 xlarge, and of the 4xlarge what 1 of 8 larges pays for
    assert covered == [("zonal", 1, 1.0), ("regional", 2, 1.0), ("regional", 0, 1.0), ("regional", 4, 0.125)]
    assert bill.unused_usd == pytest.approx({"zonal": 0.06, "regional": 0.0})
    assert bill.uncovered == pytest.approx((0.0, 0.0, 0.0, 1.0, 0.875))


def test_another_region_or_family_is_not_covered() -> None:
    abroad = Usage("m6i.large", 1, 0.1, "on_demand", "m6i.large", "eu-west-1", "a")
    bound: list[Commitment] = [
        SavingsPlan("m6i", "ec2_instance", 1.0, family="m6i", region=HOME),
        Reservation("ri", "m6i.large", 1, 0.06, HOME),
    ]
    assert apply_commitments([abroad, instances("m7i.large", 1)], bound).covered == ()
    assert len(apply_commitments([abroad], [SavingsPlan("sp", "compute", 1.0)]).covered) == 1


def test_books_balance_for_any_hour() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        names = rng.choice([item.name for item in TYPES], 6)
        usage = [
            instances(str(name), float(rng.uniform(0, 4)), str(rng.choice(["on_demand", "spot"])), zone=str(zone))
            for name, zone in zip(names, rng.choice(["a", "b"], 6), strict=True)
        ]
        commitments: list[Commitment] = [
            SavingsPlan("one", "compute", float(rng.uniform(0.01, 1))),
            SavingsPlan("two", "compute", float(rng.uniform(0.01, 1)), 3),
            SavingsPlan("own", "ec2_instance", 0.2, family=str(names[0]).split(".")[0], region=HOME),
            Reservation("ri", str(names[1]), 2, 0.05, HOME),
            Reservation("zonal", str(names[2]), 1, 0.05, HOME, zone="a"),
        ]
        assert_balanced(usage, commitments, apply_commitments(usage, commitments))


def assert_balanced(usage: list[Usage], commitments: list[Commitment], bill: HourBill) -> None:
    for item in commitments:
        used = sum(part.usd for part in bill.covered if part.commitment == item.id)
        assert used + bill.unused_usd[item.id] == pytest.approx(commitment_usd_per_hour(item))
        assert bill.unused_usd[item.id] >= 0.0
    for position, line in enumerate(usage):
        covered = sum(part.quantity for part in bill.covered if part.usage == position)
        assert covered + bill.uncovered[position] == pytest.approx(line.quantity)
        assert covered == 0.0 or line.market == "on_demand"
    # a compute plan has money left only when no on-demand usage is
    if any(bill.unused_usd[item.id] > 1e-9 for item in commitments if item.id in ("one", "two")):
        on_demand = [left for left, line in zip(bill.uncovered, usage, strict=True) if line.market == "on_demand"]
        assert sum(on_demand) == pytest.approx(0.0, abs=1e-9)


@fact("CM-01")
def test_kinds_terms_and_payments() -> None:
    assert set(get_args(PlanKind)) == {"compute", "ec2_instance"}
    assert MAX_PLAN_SAVING == {"compute": 0.66, "ec2_instance": 0.72}
    payments = get_args(Payment)
    assert payments == ("no_upfront", "partial_upfront", "all_upfront")
    for kind in get_args(PlanKind):
        for years in (1, 3):
            savings = [plan_saving(kind, years, payment) for payment in payments]
            assert savings == sorted(savings)  # the more upfront, the cheaper
            assert savings[0] > 0.0
            assert savings[-1] <= MAX_PLAN_SAVING[kind]
        assert plan_saving(kind, 1) < plan_saving(kind, 3)
        with pytest.raises(ValueError, match="of 2 years, 'no_upfront'; expected 1 or 3 years"):
            plan_saving(kind, 2)
    assert plan_saving("compute") < plan_saving("ec2_instance")
    # the plan of one family holds it to family and Region; the other covers usage that is no instance
    with pytest.raises(ValueError, match="'sp': an ec2_instance plan, and no other, has a family and a Region"):
        SavingsPlan("sp", "ec2_instance", 1.0, family="m6i")
    with pytest.raises(ValueError, match="'sp': an ec2_instance plan, and no other"):
        SavingsPlan("sp", "compute", 1.0, family="m6i", region=HOME)


def test_default_savings_are_near_the_rates_captured_for_one_type() -> None:
    # m6a.xlarge, list 0.1728, captured 2026-10-01 by ec2instances.info; medians over types come within these points
    captured = {
        ("standard", 1, "no_upfront"): 0.11431,
        ("standard", 1, "partial_upfront"): 0.10888,
        ("standard", 3, "no_upfront"): 0.07838,
        ("standard", 3, "partial_upfront"): 0.07259,
    }
    for key, usd in captured.items():
        assert RESERVATION_SAVING[key] == pytest.approx(1.0 - usd / 0.1728, abs=0.035)  # type: ignore[index]
    assert plan_saving("compute") == pytest.approx(1.0 - 0.13965 / 0.1728, abs=0.085)
    assert savings_plan_usd_per_hour(M6I, "compute") == pytest.approx(0.096 * (1 - 0.273))
    assert savings_plan_usd_per_hour(M6I, "ec2_instance", 3, "all_upfront") == pytest.approx(0.096 * (1 - 0.624))


@pytest.mark.traces
def test_default_savings_are_the_medians_of_the_public_offers(traces_dir: Path) -> None:
    offers = pd.read_parquet(traces_dir.parent / "prices" / "reserved_discounts_us_east_1.parquet")
    median = offers.groupby(["offering_class", "years", "payment"]).discount.median()
    assert len(median) == len(RESERVATION_SAVING)
    for (offering, years, payment), saving in median.items():
        key = (offering, years, payment.lower().replace(" ", "_"))
        assert RESERVATION_SAVING[key] == pytest.approx(saving, abs=0.001)
    assert PRICED_LIKE == {"compute": "convertible", "ec2_instance": "standard"}


def test_what_cannot_be_is_refused() -> None:
    plan = SavingsPlan("sp", "compute", 1.0)
    with pytest.raises(ValueError, match="two commitments share an id"):
        apply_commitments([], [plan, plan])
    with pytest.raises(ValueError, match=r"Savings Plan 'sp': usd_per_hour 0\.0 is not above 0"):
        SavingsPlan("sp", "compute", 0.0)
    with pytest.raises(ValueError, match="reservation 'ri': count 0"):
        Reservation("ri", "m6i.large", 0, 0.06, HOME)
    with pytest.raises(ValueError, match=r"usage 'm6i\.large': quantity -1 is below 0"):
        Usage("m6i.large", -1, 0.1)
    with pytest.raises(ValueError, match=r"usage 'Fargate': a price of 0\.0 is not above 0"):
        Usage("Fargate", 1, 0.1, plan_usd_per_unit={"compute": 0.0})
