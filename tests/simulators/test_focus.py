"""The bill in FOCUS 1.2 columns: the specification's identities, rows by hand, totals against sums of their own."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from facts import fact

from simulators.catalogue import Catalogue
from simulators.charges import LOAD_BALANCER_USD_PER_HOUR, instance_charge
from simulators.commitments import Commitment, Reservation, SavingsPlan, commitment_usd_per_hour
from simulators.focus import FOCUS_COLUMNS, LEDGER_COLUMNS, NUMBER_COLUMNS, Account, OtherCharge, focus_rows

HOME, NOON = "us-east-1", pd.Timestamp("2026-07-31 12:00", tz="UTC")
BALANCER = OtherCharge(
    start=NOON,
    hours=1.0,
    description="Load balancer hour",
    service_category="Networking",
    service_subcategory="Application Networking",
    service_name="Elastic Load Balancing",
    sku="LoadBalancerUsage",
    quantity=1.0,
    unit="Hours",
    usd_per_unit=LOAD_BALANCER_USD_PER_HOUR,
    region=HOME,
    resource_id="alb",
    resource_type="Load Balancer",
)
COMMITMENTS: tuple[Commitment, ...] = (
    SavingsPlan("sp-all", "compute", 0.40),
    SavingsPlan("sp-m7g", "ec2_instance", 0.10, 3, family="m7g", region=HOME),
    Reservation("ri-m6i", "m6i.large", 3, 0.0605, HOME),
    Reservation("ri-idle", "r7g.large", 1, 0.0675, HOME, zone="use1-az9"),
)


def line(hour: int = 0, resource: str = "i-0", **other: Any) -> dict[str, Any]:
    base = {
        "hour_start": NOON + pd.Timedelta(hours=hour),
        "resource_id": resource,
        "instance_type": "m6i.large",
        "zone": "use1-az1",
        "region": HOME,
        "market": "on_demand",
        "used_s": 3600.0,
        "usd_per_hour": 0.096,
        "list_usd_per_hour": 0.096,
        "is_refunded": False,
    }
    return base | other


def spot(hour: int = 0, resource: str = "i-spot", **other: Any) -> dict[str, Any]:
    return line(hour, resource, **({"market": "spot", "usd_per_hour": 0.035} | other))


def random_ledger(seed: int, hours: int = 30) -> pd.DataFrame:
    """A fleet of a few types whose size varies, some of it spot, some hours empty."""
    rng = np.random.default_rng(seed)
    lines = []
    for hour in range(hours):
        for serial in range(int(rng.integers(0, 14)) if hour in (0, hours - 1) or rng.random() < 0.9 else 0):
            item = Catalogue().types[int(rng.integers(0, 12))]
            listed, is_spot = item.price_usd_per_hour, rng.random() < 0.4
            lines.append(
                line(
                    hour,
                    f"i-{serial}",
                    instance_type=item.name,
                    zone=f"use1-az{rng.integers(1, 4)}",
                    market="spot" if is_spot else "on_demand",
                    used_s=float(rng.uniform(0.0, 3600.0)),
                    usd_per_hour=listed * rng.uniform(0.2, 0.6) if is_spot else listed,
                    list_usd_per_hour=listed,
                    is_refunded=bool(is_spot and rng.random() < 0.2),
                )
            )
    return pd.DataFrame(lines)


LEDGERS = [random_ledger(seed) for seed in range(3)]


@pytest.fixture(params=range(3), scope="module")
def ledger(request: pytest.FixtureRequest) -> pd.DataFrame:
    return LEDGERS[request.param]


@pytest.fixture(scope="module")
def bill(ledger: pd.DataFrame) -> pd.DataFrame:
    return focus_rows(ledger, COMMITMENTS, [BALANCER])


def num_hours(ledger: pd.DataFrame) -> int:
    span = ledger.hour_start.max() - ledger.hour_start.min()
    return int(span / pd.Timedelta(hours=1)) + 1


@fact("CR-01")
def test_effective_cost_is_there_and_nothing_on_a_purchase(bill: pd.DataFrame) -> None:
    assert bill.EffectiveCost.notna().all()
    purchases = bill[bill.ChargeCategory == "Purchase"]
    assert len(purchases) > 0
    assert (purchases.EffectiveCost == 0.0).all()
    assert (purchases.BilledCost > 0.0).all()


@fact("CR-01")
def test_effective_cost_of_usage_is_billed_cost_of_purchase(bill: pd.DataFrame) -> None:
    for item in COMMITMENTS:
        rows = bill[bill.CommitmentDiscountId == item.id]
        usage, purchase = rows[rows.ChargeCategory == "Usage"], rows[rows.ChargeCategory == "Purchase"]
        assert usage.EffectiveCost.sum() == pytest.approx(purchase.BilledCost.sum(), abs=1e-9)
        assert (usage.BilledCost == 0.0).all()


@fact("CR-01")
def test_usage_of_a_commitment_is_used_and_unused(bill: pd.DataFrame, ledger: pd.DataFrame) -> None:
    for item in COMMITMENTS:
        rows = bill[bill.CommitmentDiscountId == item.id]
        usage, purchase = rows[rows.ChargeCategory == "Usage"], rows[rows.ChargeCategory == "Purchase"]
        assert set(usage.CommitmentDiscountStatus) <= {"Used", "Unused"}
        assert purchase.CommitmentDiscountStatus.isna().all()
        assert len(purchase) == num_hours(ledger)
        total = usage.CommitmentDiscountQuantity.sum()
        assert total == pytest.approx(purchase.CommitmentDiscountQuantity.sum(), abs=1e-9)
    used = bill[bill.CommitmentDiscountStatus == "Used"]
    assert set(used.CommitmentDiscountId) == {"sp-all", "sp-m7g", "ri-m6i"}
    assert "ri-idle" in set(bill[bill.CommitmentDiscountStatus == "Unused"].CommitmentDiscountId)
    assert not used.SkuMeter.str.startswith("SpotUsage").any()


def test_billed_costs_add_up_to_the_bill(bill: pd.DataFrame, ledger: pd.DataFrame) -> None:
    committed = num_hours(ledger) * sum(map(commitment_usd_per_hour, COMMITMENTS))
    hours = ledger.used_s / 3600.0
    is_spot = ledger.market == "spot"
    spot_usd = float((hours * ledger.usd_per_hour)[is_spot & ~ledger.is_refunded].sum())
    covered = bill[bill.CommitmentDiscountStatus == "Used"].ContractedCost.sum()
    on_demand = float((hours * ledger.usd_per_hour)[~is_spot].sum()) - covered
    other = BALANCER.quantity * BALANCER.usd_per_unit
    assert bill.BilledCost.sum() == pytest.approx(committed + spot_usd + on_demand + other, abs=1e-9)
    assert bill.EffectiveCost.sum() == pytest.approx(bill.BilledCost.sum(), abs=1e-9)


def test_every_second_is_in_one_row(bill: pd.DataFrame, ledger: pd.DataFrame) -> None:
    usage = bill[(bill.ResourceType == "Instance") & (bill.ChargeCategory == "Usage")]
    rows = usage.groupby(["ChargePeriodStart", "ResourceId"]).ConsumedQuantity.sum()
    used = ledger[ledger.used_s > 0.0].groupby(["hour_start", "resource_id"]).used_s.sum() / 3600.0
    assert rows.to_dict() == pytest.approx(used.to_dict(), abs=1e-12)


def test_costs_follow_from_quantities_and_prices(bill: pd.DataFrame) -> None:
    priced = bill[bill.ListUnitPrice.notna()]
    assert priced.ListCost.to_numpy() == pytest.approx((priced.ListUnitPrice * priced.PricingQuantity).to_numpy())
    contracted = priced.ContractedUnitPrice * priced.PricingQuantity
    assert priced.ContractedCost.to_numpy() == pytest.approx(contracted.to_numpy())
    plain = bill[(bill.ChargeCategory == "Usage") & (bill.PricingCategory != "Committed")]
    assert (plain.BilledCost == plain.EffectiveCost).all()
    assert plain.BilledCost.to_numpy() == pytest.approx(plain.ContractedCost.to_numpy())


def test_values_are_those_the_specification_allows(bill: pd.DataFrame) -> None:
    assert set(bill.ChargeCategory) == {"Usage", "Purchase", "Credit"}
    assert set(bill.ChargeFrequency) == {"Usage-Based", "Recurring", "One-Time"}
    needs_pricing = bill[bill.ChargeCategory.isin(["Usage", "Purchase"])]
    assert set(needs_pricing.PricingCategory) == {"Standard", "Dynamic", "Committed"}
    assert (bill[bill.SkuMeter.str.startswith("SpotUsage", na=False)].PricingCategory.dropna() == "Dynamic").all()
    assert set(bill.CommitmentDiscountCategory.dropna()) == {"Spend", "Usage"}
    committed = bill[bill.CommitmentDiscountId.notna()]
    kinds = committed.groupby("CommitmentDiscountId")[["CommitmentDiscountCategory", "CommitmentDiscountUnit"]].first()
    assert kinds.loc["sp-all"].tolist() == ["Spend", "USD"]
    assert kinds.loc["ri-m6i"].tolist() == ["Usage", "Hours"]
    assert (bill.CommitmentDiscountId.notna() == bill.CommitmentDiscountQuantity.notna()).all()
    assert bill.ChargeClass.isna().all()
    unused = bill[bill.CommitmentDiscountStatus == "Unused"]
    assert unused.ConsumedQuantity.isna().all()


def test_columns_and_types(bill: pd.DataFrame) -> None:
    assert tuple(bill.columns) == FOCUS_COLUMNS
    asked = """
        BilledCost EffectiveCost ListCost ContractedCost ListUnitPrice ContractedUnitPrice ConsumedQuantity ConsumedUnit
        PricingQuantity PricingUnit PricingCategory ChargeCategory ChargeClass ChargeFrequency ChargePeriodStart
        ChargePeriodEnd BillingPeriodStart BillingPeriodEnd CommitmentDiscountId CommitmentDiscountType
        CommitmentDiscountCategory CommitmentDiscountStatus CommitmentDiscountQuantity CommitmentDiscountUnit RegionId
        AvailabilityZone ResourceId ResourceName ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId
        SkuMeter SkuPriceId SubAccountId Tags
    """
    assert set(asked.split()) <= set(FOCUS_COLUMNS)
    assert all(bill[name].dtype == float for name in NUMBER_COLUMNS)
    assert bill[["BilledCost", "ListCost", "ContractedCost", "ServiceName", "ChargeDescription"]].notna().all(axis=None)
    assert (bill.ChargePeriodEnd - bill.ChargePeriodStart == pd.Timedelta(hours=1)).all()
    assert (bill.BillingPeriodStart <= bill.ChargePeriodStart).all()
    assert (bill.ChargePeriodStart < bill.BillingPeriodEnd).all()
    # thirty hours from noon of 31 July reach into August
    assert set(bill.BillingPeriodStart) == {pd.Timestamp(day, tz="UTC") for day in ("2026-07-01", "2026-08-01")}


def test_one_instance_covered_in_part_by_hand() -> None:
    plan = SavingsPlan("sp", "compute", 0.096 * (1 - 0.273) / 2)
    rows = focus_rows(pd.DataFrame([line()]), [plan])
    assert rows.ChargeCategory.tolist() == ["Purchase", "Usage", "Usage"]
    assert rows.PricingCategory.tolist() == ["Standard", "Committed", "Standard"]
    assert rows.BilledCost.tolist() == pytest.approx([0.034896, 0.0, 0.048])
    assert rows.EffectiveCost.tolist() == pytest.approx([0.0, 0.034896, 0.048])
    assert rows.ConsumedQuantity.tolist()[1:] == pytest.approx([0.5, 0.5])
    assert rows.ListCost.tolist()[1:] == pytest.approx([0.048, 0.048])
    assert rows.SkuMeter.tolist()[1:] == ["BoxUsage:m6i.large"] * 2


def test_a_refund_is_a_line_of_its_own() -> None:
    rows = focus_rows(pd.DataFrame([spot(used_s=1800.0, is_refunded=True)]))
    assert rows.ChargeCategory.tolist() == ["Usage", "Credit"]
    expected = instance_charge(1800.0, 0.035, market="spot", ended_by="aws")
    assert rows.BilledCost.tolist() == pytest.approx([expected.billed_usd, -expected.refund_usd])
    assert rows.BilledCost.sum() == 0.0
    assert rows.ListUnitPrice.isna().tolist() == [False, True]


def test_hours_without_usage_are_committed_as_well() -> None:
    plan = SavingsPlan("sp", "compute", 1.0)
    rows = focus_rows(pd.DataFrame([line(0), line(3)]), [plan])
    assert rows[rows.ChargeCategory == "Purchase"].BilledCost.sum() == 4.0
    lost = rows[rows.CommitmentDiscountStatus == "Unused"]
    assert lost.EffectiveCost.tolist()[1:3] == [1.0, 1.0]


def test_an_empty_ledger_and_the_account() -> None:
    empty = pd.DataFrame([line()]).iloc[:0]
    assert focus_rows(empty, COMMITMENTS).empty
    rows = focus_rows(empty, (), [BALANCER], Account("111", "222", {"team": "web", "app": "shop"}))
    assert rows.BilledCost.tolist() == [0.0225]
    assert rows.loc[0, ["BillingAccountId", "SubAccountId", "Tags"]].tolist() == [
        *("111", "222", '{"app": "shop", "team": "web"}'),
    ]
    assert rows.loc[0, "ResourceId"] == "alb"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"used_s": -1.0}, r"ledger row 1: used_s -1\.0; expected billed seconds"),
        ({"used_s": float("nan")}, "ledger row 1: used_s nan"),
        ({"usd_per_hour": 0.0}, r"ledger row 1: usd_per_hour 0\.0; expected price paid"),
        ({"list_usd_per_hour": -0.1}, "ledger row 1: list_usd_per_hour"),
        ({"market": "reserved"}, "ledger row 1: market 'reserved'; expected on_demand or spot"),
        ({"is_refunded": True}, "ledger row 1: is_refunded True; expected true for spot"),
        ({"hour_start": NOON + pd.Timedelta(minutes=1)}, "ledger row 1: hour_start"),
    ],
)
def test_ledger_rows_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        focus_rows(pd.DataFrame([line(), line() | change]))


@pytest.mark.parametrize("name", LEDGER_COLUMNS)
def test_a_missing_column_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"ledger: column '{name}' is missing"):
        focus_rows(pd.DataFrame([line()]).drop(columns=name))


def test_a_charge_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"charge 'volume': hours 0\.0 must be above 0"):
        OtherCharge(NOON, 0.0, "volume", "Storage", "Block Storage", "EBS", "gp3", 1.0, "GB", 0.08, HOME)


def test_a_plan_charged_twice_would_be_caught() -> None:
    """Planted fault: a covered row that is billed as well breaks the identities."""
    rows = focus_rows(pd.DataFrame([line()]), [SavingsPlan("sp", "compute", 0.05)])
    broken = rows.assign(BilledCost=rows.BilledCost.where(rows.CommitmentDiscountStatus != "Used", rows.EffectiveCost))
    assert broken.EffectiveCost.sum() != pytest.approx(broken.BilledCost.sum(), abs=1e-9)
