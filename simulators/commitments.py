"""Savings Plans and Reserved Instances: what they cost and which usage of an hour they pay for.

An hour at a time, in the order of the Savings Plans user guide ("Understanding how Savings Plans apply to your AWS
usage"): reservations, then EC2 Instance plans, then Compute plans; within a kind of plan the usage it saves the largest
share on, and of equal shares the lower rate. What an hour leaves unused is lost, and spot usage is never covered.
One account owns plans and usage.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from simulators.catalogue import InstanceType
from simulators.instance_types import VCPU_OF_SIZE

PlanKind = Literal["ec2_instance", "compute"]
Offering = Literal["standard", "convertible"]
Payment = Literal["no_upfront", "partial_upfront", "all_upfront"]

PLAN_ORDER: Final[tuple[PlanKind, ...]] = ("ec2_instance", "compute")
# "Up to", AWS on Savings Plans; no default below exceeds them.
MAX_PLAN_SAVING: Final[dict[PlanKind, float]] = {"ec2_instance": 0.72, "compute": 0.66}

# Share off the on-demand price, upfront payments spread over the term: medians over 94 to 100 types, us-east-1, Linux,
# 2022-12-08 (AWS Price List, as kept by converged-computing/cloud-select). Types differ: m6a.xlarge stood at 0.34 for
# one year standard and 0.55 for three, nothing upfront, in 2026-10 (ec2instances.info).
RESERVATION_SAVING: Final[dict[tuple[Offering, int, Payment], float]] = {
    ("standard", 1, "no_upfront"): 0.370,
    ("standard", 1, "partial_upfront"): 0.400,
    ("standard", 1, "all_upfront"): 0.412,
    ("standard", 3, "no_upfront"): 0.568,
    ("standard", 3, "partial_upfront"): 0.600,
    ("standard", 3, "all_upfront"): 0.624,
    ("convertible", 1, "no_upfront"): 0.273,
    ("convertible", 1, "partial_upfront"): 0.307,
    ("convertible", 1, "all_upfront"): 0.322,
    ("convertible", 3, "no_upfront"): 0.495,
    ("convertible", 3, "partial_upfront"): 0.534,
    ("convertible", 3, "all_upfront"): 0.543,
}
# EC2 Instance plans are priced close to standard reservations, Compute plans close to convertible ones (for m6a.xlarge
# further away: 0.19 for one year, nothing upfront, 2026-10).
PRICED_LIKE: Final[dict[PlanKind, Offering]] = {"ec2_instance": "standard", "compute": "convertible"}


def plan_saving(kind: PlanKind, years: int = 1, payment: Payment = "no_upfront") -> float:
    """Return the share of the on-demand price a Savings Plan takes off by default, 0..1; ValueError for other terms."""
    key = (PRICED_LIKE[kind], years, payment)
    if key not in RESERVATION_SAVING:
        raise ValueError(f"no Savings Plan {kind!r} of {years} years, {payment!r}; expected 1 or 3 years")
    return RESERVATION_SAVING[key]


def savings_plan_usd_per_hour(
    item: InstanceType, kind: PlanKind, years: int = 1, payment: Payment = "no_upfront"
) -> float:
    """Return what an hour of a type draws from a Savings Plan's commitment, USD."""
    return item.price_usd_per_hour * (1.0 - plan_saving(kind, years, payment))


@dataclass(frozen=True)
class SavingsPlan:
    """A commitment to spend so many dollars each hour.

    Attributes:
        id: Name of the commitment, once in an account.
        kind: ``ec2_instance`` for one family in one Region, ``compute`` for any usage.
        usd_per_hour: The commitment, upfront payments spread over the term.
        years: Term, 1 or 3.
        payment: How much of it is paid upfront; sets the rates.
        family: Family an ``ec2_instance`` plan is bound to.
        region: Region an ``ec2_instance`` plan is bound to.
    """

    id: str
    kind: PlanKind
    usd_per_hour: float
    years: int = 1
    payment: Payment = "no_upfront"
    family: str = ""
    region: str = ""

    def __post_init__(self) -> None:
        if self.usd_per_hour <= 0.0:
            raise ValueError(f"Savings Plan {self.id!r}: usd_per_hour {self.usd_per_hour} is not above 0")
        bound = bool(self.family) and bool(self.region)
        if bound != (self.kind == "ec2_instance"):
            raise ValueError(f"Savings Plan {self.id!r}: an ec2_instance plan, and no other, has a family and a Region")
        plan_saving(self.kind, self.years, self.payment)


@dataclass(frozen=True)
class Reservation:
    """Reserved Instances of one type.

    Attributes:
        id: Name of the commitment, once in an account.
        instance_type: Type reserved.
        count: Instances reserved.
        usd_per_hour: Price of each, every hour, upfront payments spread over the term.
        region: Region it holds in.
        zone: Zone it holds in; empty for a regional one, which covers every size of the family.
        offering: ``convertible`` ones may be exchanged.
    """

    id: str
    instance_type: str
    count: int
    usd_per_hour: float
    region: str
    zone: str = ""
    offering: Offering = "standard"

    def __post_init__(self) -> None:
        if self.count < 1 or self.usd_per_hour <= 0.0:
            raise ValueError(
                f"reservation {self.id!r}: count {self.count} and usd_per_hour {self.usd_per_hour} must be above 0"
            )

    @property
    def reserves_capacity(self) -> bool:
        """Whether it also holds capacity back: only a zonal reservation does."""
        return bool(self.zone)


Commitment = SavingsPlan | Reservation


@dataclass(frozen=True)
class Usage:
    """One line of usage within one hour.

    Attributes:
        name: Shown to people.
        quantity: Instance-hours, or other units, used in the hour.
        usd_per_unit: Price without a commitment: the on-demand or the spot price.
        market: ``on_demand`` or ``spot``.
        instance_type: Type; empty for usage that is not of EC2 instances.
        region: Region used.
        zone: Zone used.
        plan_usd_per_unit: Published Savings Plan rates by kind; for kinds not given instances take the default saving.
    """

    name: str
    quantity: float
    usd_per_unit: float
    market: Literal["on_demand", "spot"] = "on_demand"
    instance_type: str = ""
    region: str = ""
    zone: str = ""
    plan_usd_per_unit: Mapping[PlanKind, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.quantity < 0.0:
            raise ValueError(f"usage {self.name!r}: quantity {self.quantity} is below 0")
        for price in (self.usd_per_unit, *self.plan_usd_per_unit.values()):
            if price <= 0.0:
                raise ValueError(f"usage {self.name!r}: a price of {price} is not above 0")


@dataclass(frozen=True)
class Covered:
    """Usage that a commitment pays for.

    Attributes:
        usage: Position of the usage line.
        commitment: Id of the commitment.
        quantity: Units covered.
        usd: Part of the commitment spent on them.
    """

    usage: int
    commitment: str
    quantity: float
    usd: float


@dataclass(frozen=True)
class HourBill:
    """How one hour is paid.

    Attributes:
        covered: Usage paid by commitments, in the order it was covered.
        uncovered: Units of each usage line left to its own price, as long as the usage.
        uncovered_usd: What these cost.
        committed_usd: Price of all commitments in the hour, used or not.
        unused_usd: Part of each commitment that was lost, by id.
    """

    covered: tuple[Covered, ...]
    uncovered: tuple[float, ...]
    uncovered_usd: float
    committed_usd: float
    unused_usd: dict[str, float]

    @property
    def total_usd(self) -> float:
        """The hour's bill."""
        return self.committed_usd + self.uncovered_usd


def commitment_usd_per_hour(commitment: Commitment) -> float:
    """Return what a commitment costs in every hour, used or not, USD."""
    count = commitment.count if isinstance(commitment, Reservation) else 1
    return count * commitment.usd_per_hour


def apply_commitments(usage: Sequence[Usage], commitments: Sequence[Commitment]) -> HourBill:
    """Pay one hour of usage with an account's commitments and the rest at its own price.

    Raises:
        ValueError: Two commitments share an id.
    """
    left = [line.quantity for line in usage]
    unused = {item.id: commitment_usd_per_hour(item) for item in commitments}
    if len(unused) < len(commitments):
        raise ValueError("two commitments share an id; expected each id once")
    covered = []
    for position, item, rate in _pairings(usage, commitments):
        quantity = min(left[position], unused[item] / rate)
        if quantity <= 0.0:
            continue
        usd = min(quantity * rate, unused[item])
        left[position] -= quantity
        unused[item] -= usd
        covered.append(Covered(position, item, quantity, usd))
    return HourBill(
        covered=tuple(covered),
        uncovered=tuple(left),
        uncovered_usd=sum(units * line.usd_per_unit for units, line in zip(left, usage, strict=True)),
        committed_usd=sum(map(commitment_usd_per_hour, commitments)),
        unused_usd=unused,
    )


def _pairings(usage: Sequence[Usage], commitments: Sequence[Commitment]) -> Iterator[tuple[int, str, float]]:
    """Yield position of the usage, id of the commitment and its rate per unit, in the order they are settled."""
    eligible = [(position, line) for position, line in enumerate(usage) if line.market == "on_demand"]
    reservations = [item for item in commitments if isinstance(item, Reservation)]
    smallest_first = sorted(eligible, key=lambda pair: _size_units(pair[1].instance_type))
    for item in sorted(reservations, key=lambda item: not item.zone):
        for position, line in smallest_first:
            if (rate := _reserved_rate(line, item)) is not None:
                yield position, item.id, rate
    for kind in PLAN_ORDER:
        plans = [item for item in commitments if isinstance(item, SavingsPlan) and item.kind == kind]
        rated = [
            (round(rate / line.usd_per_unit, 9), rate, position, plan.id)
            for position, line in eligible
            for plan in plans
            if (rate := _plan_rate(line, plan)) is not None
        ]
        for _, rate, position, plan_id in sorted(rated, key=lambda pairing: pairing[:3]):
            yield position, plan_id, rate


def _size_units(instance_type: str) -> int:
    """Return the weight of a size under a regional reservation, in proportion to its vCPUs; 0 for an unknown size."""
    return VCPU_OF_SIZE.get(instance_type.partition(".")[2], 0)


def _reserved_rate(line: Usage, item: Reservation) -> float | None:
    """Return what a unit of usage draws from a reservation, USD; None if it does not cover it."""
    if line.region != item.region or item.zone not in ("", line.zone):
        return None
    if line.instance_type == item.instance_type:
        return item.usd_per_hour
    line_units, item_units = _size_units(line.instance_type), _size_units(item.instance_type)
    if item.zone or not line_units or not item_units or _family(line.instance_type) != _family(item.instance_type):
        return None
    return item.usd_per_hour * line_units / item_units


def _plan_rate(line: Usage, plan: SavingsPlan) -> float | None:
    """Return what a unit of usage draws from a plan, USD; None if the plan does not cover it."""
    if plan.kind == "ec2_instance" and (_family(line.instance_type), line.region) != (plan.family, plan.region):
        return None
    if plan.kind in line.plan_usd_per_unit:
        return line.plan_usd_per_unit[plan.kind]
    if not line.instance_type:
        return None
    return line.usd_per_unit * (1.0 - plan_saving(plan.kind, plan.years, plan.payment))


def _family(instance_type: str) -> str:
    return instance_type.partition(".")[0]
