"""A fleet's bill as rows of the FinOps Open Cost and Usage Specification (FOCUS), version 1.2.

The rows let any cost tool read a simulated bill, and their identities check it: the effective cost of a commitment's
usage rows is the billed cost of its purchase rows, a purchase row has no effective cost, used and unused rows together
are all usage of a commitment, and billed costs add up to the bill.

Commitments are billed hour by hour with upfront payments spread over the term. There is no negotiated discount:
contracted prices are list prices, except that spot is contracted at the spot price.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from simulators.commitments import (
    Commitment,
    Covered,
    HourBill,
    Reservation,
    Usage,
    apply_commitments,
    commitment_usd_per_hour,
)

LEDGER_COLUMNS: Final[dict[str, str]] = {
    "hour_start": "UTC time, on the hour",
    "resource_id": "name of the instance",
    "instance_type": "API name",
    "zone": "availability zone",
    "region": "Region",
    "market": "on_demand or spot",
    "used_s": "billed seconds in the hour, at least 0",
    "usd_per_hour": "price paid without a commitment, above 0",
    "list_usd_per_hour": "on-demand list price, above 0",
    "is_refunded": "true for spot that AWS took back within its first hour",
}

TEXT_COLUMNS: Final = (
    "AvailabilityZone",
    "BillingAccountId",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
    "ConsumedUnit",
    "InvoiceIssuerName",
    "PricingCategory",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "Tags",
)
NUMBER_COLUMNS: Final = (
    "BilledCost",
    "CommitmentDiscountQuantity",
    "ConsumedQuantity",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
)
TIME_COLUMNS: Final = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
FOCUS_COLUMNS: Final = tuple(sorted(TEXT_COLUMNS + NUMBER_COLUMNS + TIME_COLUMNS))

HOUR: Final = pd.Timedelta(hours=1)
HOUR_S: Final = 3600.0

_EC2: Final = {
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceSubcategory": "Virtual Machines",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class OtherCharge:
    """A charge beside the instances: volume, load balancer, traffic, address, monitoring.

    Attributes:
        start: First moment it is for, UTC.
        hours: Time it is for, above 0.
        description: Shown to people.
        service_category: FOCUS service category, for example ``Networking``.
        service_subcategory: FOCUS service subcategory, for example ``Application Networking``.
        service_name: Name of the service.
        sku: What is metered, for example ``LoadBalancerUsage``.
        quantity: Units used.
        unit: Their unit, for example ``Hours``.
        usd_per_unit: Price of one.
        region: Region.
        resource_id: Resource charged for; empty if none.
        resource_type: Its kind; empty if none.
    """

    start: pd.Timestamp
    hours: float
    description: str
    service_category: str
    service_subcategory: str
    service_name: str
    sku: str
    quantity: float
    unit: str
    usd_per_unit: float
    region: str
    resource_id: str = ""
    resource_type: str = ""

    def __post_init__(self) -> None:
        if self.hours <= 0.0 or self.quantity < 0.0 or self.usd_per_unit < 0.0:
            raise ValueError(
                f"charge {self.description!r}: hours {self.hours} must be above 0, quantity {self.quantity} "
                f"and usd_per_unit {self.usd_per_unit} at least 0"
            )


@dataclass(frozen=True)
class Account:
    """Who is billed, and the tags on every resource.

    Attributes:
        billing_account_id: Account that gets the invoice.
        sub_account_id: Account that runs the fleet.
        tags: Tags of the fleet's resources.
    """

    billing_account_id: str = "000000000000"
    sub_account_id: str = "000000000000"
    tags: Mapping[str, str] = field(default_factory=dict)


def focus_rows(
    ledger: pd.DataFrame,
    commitments: Sequence[Commitment] = (),
    charges: Sequence[OtherCharge] = (),
    account: Account | None = None,
) -> pd.DataFrame:
    """Return the bill of a fleet, one row per charge.

    Every hour from the ledger's first to its last bills each commitment, also hours without usage. A line of usage that
    commitments pay in part becomes several rows. A refund is a credit row of its own.

    Args:
        ledger: One row per instance, clock hour and price, with the columns ``LEDGER_COLUMNS``. An instance may have
            several rows in an hour.
        commitments: Savings Plans and reservations of the account.
        charges: What stands around the instances.
        account: Whose bill it is.

    Returns:
        Columns ``FOCUS_COLUMNS``: texts (missing: None), numbers (missing: NaN), times in UTC. Costs are in USD.

    Raises:
        ValueError: A ledger column is missing or a value cannot be; the message names row, column and value.
    """
    ledger = _checked(ledger)
    rows: list[Row] = []
    by_hour = dict(iter(ledger.groupby("hour_start")))
    for hour in _hours(ledger):
        rows += _hour_rows(hour, by_hour.get(hour, ledger.iloc[:0]), commitments)
    rows += [_other_row(charge) for charge in charges]
    return _frame(rows, account or Account())


def _checked(ledger: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in LEDGER_COLUMNS if name not in ledger.columns]
    if missing:
        raise ValueError(f"ledger: column {missing[0]!r} is missing; expected {LEDGER_COLUMNS[missing[0]]}")
    ledger = ledger.reset_index(drop=True)
    hours = pd.to_datetime(ledger["hour_start"], utc=True)
    is_refunded = ledger["is_refunded"].astype(bool)
    for name, is_valid in (
        ("hour_start", hours == hours.dt.floor("h")),
        ("market", ledger["market"].isin(["on_demand", "spot"])),
        ("used_s", ledger["used_s"] >= 0.0),
        ("usd_per_hour", ledger["usd_per_hour"] > 0.0),
        ("list_usd_per_hour", ledger["list_usd_per_hour"] > 0.0),
        ("is_refunded", ~is_refunded | (ledger["market"] == "spot")),
    ):
        if not is_valid.all():
            row = int(np.argmin(is_valid.to_numpy()))
            raise ValueError(
                f"ledger row {row}: {name} {ledger[name].tolist()[row]!r}; expected {LEDGER_COLUMNS[name]}"
            )
    return ledger.assign(hour_start=hours, is_refunded=is_refunded)


def _hours(ledger: pd.DataFrame) -> pd.DatetimeIndex:
    if ledger.empty:
        return pd.DatetimeIndex([], tz="UTC")
    return pd.date_range(ledger["hour_start"].min(), ledger["hour_start"].max(), freq="h")


def _hour_rows(hour: pd.Timestamp, ledger: pd.DataFrame, commitments: Sequence[Commitment]) -> Iterator[Row]:
    """Yield the rows of one hour: purchases, covered, uncovered, refunds, then what was lost."""
    lines = ledger.to_dict("records")
    usage = [
        Usage(
            name=str(line["resource_id"]),
            quantity=float(line["used_s"]) / HOUR_S,
            usd_per_unit=float(line["usd_per_hour"]),
            market=line["market"],
            instance_type=str(line["instance_type"]),
            region=str(line["region"]),
            zone=str(line["zone"]),
        )
        for line in lines
    ]
    paid: HourBill = apply_commitments(usage, commitments)
    by_id = {item.id: item for item in commitments}
    period = {"ChargePeriodStart": hour, "ChargePeriodEnd": hour + HOUR}
    for item in commitments:
        yield period | _purchase_row(item)
    for part in paid.covered:
        yield period | _covered_row(lines[part.usage], part, by_id[part.commitment])
    for line, hours in zip(lines, paid.uncovered, strict=True):
        if hours > 0.0:
            yield period | _uncovered_row(line, hours)
            if line["is_refunded"]:
                yield period | _refund_row(line, hours)
    for item in commitments:
        if paid.unused_usd[item.id] > 0.0:
            yield period | _unused_row(item, paid.unused_usd[item.id])


def _instance(line: Mapping[Any, Any]) -> Row:
    """Return what all rows of one instance share."""
    meter = ("SpotUsage:" if line["market"] == "spot" else "BoxUsage:") + line["instance_type"]
    return _EC2 | {
        "AvailabilityZone": line["zone"],
        "RegionId": line["region"],
        "ResourceId": line["resource_id"],
        "ResourceName": line["resource_id"],
        "ResourceType": "Instance",
        "SkuId": f"{line['region']}-{line['instance_type']}",
        "SkuMeter": meter,
    }


def _priced(quantity: float, list_price: float, contracted_price: float, unit: str = "Hours") -> Row:
    """Return quantity, prices and the costs that follow from them; billed and effective cost are the caller's."""
    return {
        "ConsumedQuantity": quantity,
        "ConsumedUnit": unit,
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ListUnitPrice": list_price,
        "ListCost": quantity * list_price,
        "ContractedUnitPrice": contracted_price,
        "ContractedCost": quantity * contracted_price,
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
    }


def _uncovered_row(line: Mapping[Any, Any], hours: float) -> Row:
    is_spot = line["market"] == "spot"
    cost = hours * line["usd_per_hour"]
    kind = "Spot" if is_spot else "OnDemand"
    return (
        _instance(line)
        | _priced(hours, line["list_usd_per_hour"], line["usd_per_hour"])
        | {
            "BilledCost": cost,
            "EffectiveCost": cost,
            "PricingCategory": "Dynamic" if is_spot else "Standard",
            "ChargeDescription": f"{line['instance_type']}, {line['market'].replace('_', ' ')}",
            "SkuPriceId": f"{line['region']}-{line['instance_type']}-{kind}",
        }
    )


def _covered_row(line: Mapping[Any, Any], part: Covered, item: Commitment) -> Row:
    is_reservation = isinstance(item, Reservation)
    return (
        _instance(line)
        | _priced(part.quantity, line["list_usd_per_hour"], line["list_usd_per_hour"])
        | _discount(item, part.usd)
        | {
            "BilledCost": 0.0,
            "EffectiveCost": part.usd,
            "PricingCategory": "Committed",
            "CommitmentDiscountStatus": "Used",
            "ChargeDescription": f"{line['instance_type']}, covered by {item.id}",
            "SkuPriceId": f"{line['region']}-{line['instance_type']}-{'Reserved' if is_reservation else 'SavingsPlan'}",
        }
    )


def _refund_row(line: Mapping[Any, Any], hours: float) -> Row:
    cost = -hours * line["usd_per_hour"]
    return _instance(line) | {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "ContractedCost": cost,
        "ChargeCategory": "Credit",
        "ChargeFrequency": "One-Time",
        "ChargeDescription": f"{line['instance_type']}, spot taken back within its first hour",
        "SkuPriceId": f"{line['region']}-{line['instance_type']}-Spot",
    }


def _discount(item: Commitment, usd: float) -> Row:
    """Return the commitment columns for a part of an hour's commitment: dollars, or instance-hours of a reservation."""
    is_reservation = isinstance(item, Reservation)
    return {
        "CommitmentDiscountId": item.id,
        "CommitmentDiscountCategory": "Usage" if is_reservation else "Spend",
        "CommitmentDiscountType": _discount_type(item),
        "CommitmentDiscountQuantity": usd / item.usd_per_hour if is_reservation else usd,
        "CommitmentDiscountUnit": "Hours" if is_reservation else "USD",
    }


def _discount_type(item: Commitment) -> str:
    if isinstance(item, Reservation):
        return "Reserved Instance"
    return "EC2 Instance Savings Plan" if item.kind == "ec2_instance" else "Compute Savings Plan"


def _commitment(item: Commitment, usd: float) -> Row:
    """Return what purchase and unused rows share; they belong to the commitment, to no instance."""
    discount = _discount(item, usd)
    return (
        _EC2
        | discount
        | {
            "PricingQuantity": discount["CommitmentDiscountQuantity"],
            "PricingUnit": discount["CommitmentDiscountUnit"],
            "RegionId": item.region or None,
            "AvailabilityZone": (item.zone or None) if isinstance(item, Reservation) else None,
            "ResourceId": item.id,
            "ResourceName": item.id,
            "ResourceType": discount["CommitmentDiscountType"],
            "SkuId": item.id,
            "SkuPriceId": f"{item.id}-Hourly",
        }
    )


def _purchase_row(item: Commitment) -> Row:
    usd = commitment_usd_per_hour(item)
    row = _commitment(item, usd)
    price = usd / row["PricingQuantity"]
    return row | {
        "BilledCost": usd,
        "EffectiveCost": 0.0,
        "ListCost": usd,
        "ContractedCost": usd,
        "ListUnitPrice": price,
        "ContractedUnitPrice": price,
        "PricingCategory": "Standard",
        "ChargeCategory": "Purchase",
        "ChargeFrequency": "Recurring",
        "ChargeDescription": f"{row['CommitmentDiscountType']}, the hour's commitment",
    }


def _unused_row(item: Commitment, usd: float) -> Row:
    return _commitment(item, usd) | {
        "BilledCost": 0.0,
        "EffectiveCost": usd,
        "ListCost": 0.0,
        "ContractedCost": 0.0,
        "PricingCategory": "Committed",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "CommitmentDiscountStatus": "Unused",
        "ChargeDescription": "Commitment that no usage met",
    }


def _other_row(charge: OtherCharge) -> Row:
    cost = charge.quantity * charge.usd_per_unit
    return _priced(charge.quantity, charge.usd_per_unit, charge.usd_per_unit, charge.unit) | {
        "ChargePeriodStart": charge.start,
        "ChargePeriodEnd": charge.start + pd.Timedelta(hours=charge.hours),
        "BilledCost": cost,
        "EffectiveCost": cost,
        "PricingCategory": "Standard",
        "ChargeDescription": charge.description,
        "RegionId": charge.region,
        "ResourceId": charge.resource_id or None,
        "ResourceName": charge.resource_id or None,
        "ResourceType": charge.resource_type or None,
        "ServiceCategory": charge.service_category,
        "ServiceName": charge.service_name,
        "ServiceSubcategory": charge.service_subcategory,
        "SkuId": f"{charge.region}-{charge.sku}",
        "SkuMeter": charge.sku,
        "SkuPriceId": f"{charge.region}-{charge.sku}-OnDemand",
    }


def _frame(rows: Sequence[Row], account: Account) -> pd.DataFrame:
    """Return the rows as a frame with every column, typed, and what is the same in all rows."""
    frame = pd.DataFrame(list(rows), columns=list(FOCUS_COLUMNS))
    for name in ("ChargePeriodStart", "ChargePeriodEnd"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    month = frame["ChargePeriodStart"].dt.tz_localize(None).dt.to_period("M")
    frame["BillingPeriodStart"] = month.dt.start_time.dt.tz_localize("UTC")
    frame["BillingPeriodEnd"] = (month + 1).dt.start_time.dt.tz_localize("UTC")
    frame["BillingAccountId"] = account.billing_account_id
    frame["SubAccountId"] = account.sub_account_id
    frame["BillingCurrency"] = "USD"
    for name in ("InvoiceIssuerName", "ProviderName", "PublisherName"):
        frame[name] = "AWS"
    frame["Tags"] = json.dumps(dict(account.tags), sort_keys=True)
    for name in NUMBER_COLUMNS:
        frame[name] = frame[name].astype(float)
    for name in TEXT_COLUMNS:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return frame
