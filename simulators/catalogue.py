"""Instance types: what one costs, what it holds and how much work its vCPUs do.

The numbers and their sources stand in ``simulators.instance_types``; other Regions in ``simulators.regions``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

from simulators.instance_types import BURST_OF_SIZE, FAMILIES, OFFERS, VCPU_OF_SIZE, Burst, Offer

REFERENCE_TYPE: Final = "m6i.large"
REFERENCE_COREMARK_PER_VCPU: Final = 17_020.0
PRICE_DATE: Final = "2026-07-20"
PRICE_SOURCE: Final = "AWS price list, us-east-1, Linux, shared tenancy, on demand"

# A type that is not burstable earns no credits and may use all of every vCPU all the time.
NOT_BURSTABLE: Final = Burst(0, 0.0, 0.0, 1.0)

SpotAllocation = Literal[
    "price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "lowest-price"
]
OnDemandAllocation = Literal["lowest-price", "prioritized"]
MAX_SPOT_POOLS: Final = 20


@dataclass(frozen=True)
class InstanceType:
    """One EC2 instance type.

    Attributes:
        name: API name, for example ``m7g.large``.
        vcpu: Virtual CPUs, count.
        physical_cores: Cores behind them; half of ``vcpu`` where two hardware threads share one core.
        memory_gib: Main memory, GiB.
        architecture: ``x86_64`` or ``arm64``.
        price_usd_per_hour: On-demand list price.
        coremark_per_vcpu: CoreMark iterations per second and vCPU, all vCPUs busy.
        spot_saving: Average spot saving on the on-demand price, 0..1.
        interruption_band: Spot Advisor band of monthly interruptions: 0 below 5 %, 1 5-10 %, 2 10-15 %, 3 15-20 %,
            4 above 20 %.
    """

    name: str
    vcpu: int
    physical_cores: int
    memory_gib: float
    architecture: str
    price_usd_per_hour: float
    coremark_per_vcpu: float
    spot_saving: float
    interruption_band: int
    clock_ghz: float
    network_gbps: float
    ebs_mbps: float
    credits_per_hour: float = 0.0
    max_credits: float = 0.0
    baseline: float = 1.0

    @property
    def is_burstable(self) -> bool:
        """Whether it runs on CPU credits."""
        return self.max_credits > 0.0

    @property
    def family(self) -> str:
        """Family part of the name, for example ``m7g``."""
        return self.name.partition(".")[0]

    @property
    def speed(self) -> float:
        """Work done by one vCPU relative to one vCPU of the reference type, dimensionless."""
        return self.coremark_per_vcpu / REFERENCE_COREMARK_PER_VCPU

    @property
    def capacity(self) -> float:
        """Work done by the whole instance in reference vCPUs."""
        return self.vcpu * self.speed


def _type(offer: Offer) -> InstanceType:
    """Return the type of a row of the table, with what its family and its size say."""
    family, _, size = offer.name.partition(".")
    shared, vcpu = FAMILIES[family], VCPU_OF_SIZE[size]
    burst = BURST_OF_SIZE[size] if family.startswith("t") else NOT_BURSTABLE
    return InstanceType(
        name=offer.name,
        vcpu=vcpu,
        physical_cores=vcpu // shared.threads_per_core,
        memory_gib=vcpu * shared.gib_per_vcpu,
        architecture=shared.architecture,
        price_usd_per_hour=offer.price_usd_per_hour,
        coremark_per_vcpu=shared.coremark_per_vcpu,
        spot_saving=offer.spot_saving,
        interruption_band=offer.interruption_band,
        clock_ghz=shared.clock_ghz,
        network_gbps=offer.network_gbps,
        ebs_mbps=offer.ebs_mbps,
        credits_per_hour=burst.credits_per_hour,
        max_credits=burst.max_credits,
        baseline=burst.baseline,
    )


TYPES: Final[tuple[InstanceType, ...]] = tuple(_type(offer) for offer in OFFERS)
DEFAULT_TYPES: Final = TYPES[:12]


@dataclass(frozen=True)
class LaunchSpecification:
    """What a launch may ask for: one type, or a diversified set of similar types.

    Attributes:
        name: Shown to people and written to bundles.
        types: Names of the instance types, at least one; their order is the priority of prioritized strategies.
        spot_allocation: How a spot launch picks among the pools of a zone. The default is the one AWS recommends and
            its console offers; an API call that names none gets ``lowest-price``.
        spot_pools: Cheapest pools a ``lowest-price`` spot launch is spread over, 1..20; other strategies ignore it.
        on_demand_allocation: How an on-demand launch picks among the types. ``lowest-price`` is the API's default with
            attribute-based selection, ``prioritized`` without.

    Source:
        API model of EC2 Auto Scaling, ``InstancesDistribution``.
    """

    name: str
    types: tuple[str, ...]
    spot_allocation: SpotAllocation = "price-capacity-optimized"
    spot_pools: int = 2
    on_demand_allocation: OnDemandAllocation = "lowest-price"

    @classmethod
    def single(cls, type_name: str) -> "LaunchSpecification":
        """Return the specification that launches one type only."""
        return cls(type_name, (type_name,))


DEFAULT_CANDIDATES: Final[tuple[LaunchSpecification, ...]] = (
    LaunchSpecification.single("m6i.large"),
    LaunchSpecification.single("m7i.large"),
    LaunchSpecification.single("m7g.large"),
    LaunchSpecification.single("m8g.large"),
    LaunchSpecification.single("c7g.large"),
    LaunchSpecification.single("c7g.xlarge"),
    LaunchSpecification("x86-large-mix", ("m6a.large", "m7i.large", "c6a.large", "c7i.large")),
    LaunchSpecification("arm-large-mix", ("m7g.large", "m8g.large", "c7g.large", "c8g.large")),
)


@dataclass(frozen=True)
class Catalogue:
    """The types of a world and the launch specifications the action may choose from.

    Attributes:
        types: Types of the world. Left out: ``DEFAULT_TYPES`` if they hold every type a candidate names; otherwise the
            named ones and the reference type, in the order of ``TYPES`` (a world's record holds 16 types, the table
            more than a hundred).
        candidates: Launch specifications.

    Raises:
        ValueError: A candidate names an unknown or no type, a name occurs twice, or a number cannot be; the message
            names the entry, the value and what was expected.
    """

    types: tuple[InstanceType, ...] = ()
    candidates: tuple[LaunchSpecification, ...] = DEFAULT_CANDIDATES

    def __post_init__(self) -> None:
        for item in self.types:
            _check_type(item)
        _check_once("instance type", [item.name for item in self.types])
        _check_once("launch specification", [item.name for item in self.candidates])
        known = {item.name for item in self.types or TYPES}
        for candidate in self.candidates:
            _check_candidate(candidate, known)
        if not self.types:
            object.__setattr__(self, "types", _types_named(self.candidates))

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each type by name."""
        return {item.name: position for position, item in enumerate(self.types)}

    def __getitem__(self, name: str) -> InstanceType:
        """Return a type by name; KeyError names the known ones."""
        if name not in self.index:
            raise KeyError(f"unknown instance type {name!r}; known: {', '.join(self.index)}")
        return self.types[self.index[name]]

    def candidate_index(self, name: str) -> int:
        """Return the position of a launch specification by name; KeyError names the known ones."""
        names = [item.name for item in self.candidates]
        if name not in names:
            raise KeyError(f"unknown launch specification {name!r}; known: {', '.join(names)}")
        return names.index(name)


def with_own_types(own: Sequence[InstanceType], candidates: tuple[LaunchSpecification, ...]) -> Catalogue:
    """Return a catalogue of what candidates name, own types beside the table's or in the place of one of its.

    Raises:
        ValueError: As ``Catalogue`` does.
    """
    names = {name for candidate in candidates for name in candidate.types} | {REFERENCE_TYPE}
    overridden = {item.name for item in own}
    known = (*(item for item in TYPES if item.name not in overridden), *own)
    return Catalogue(tuple(item for item in known if item.name in names), candidates)


def _types_named(candidates: Sequence[LaunchSpecification]) -> tuple[InstanceType, ...]:
    named = {name for candidate in candidates for name in candidate.types} | {REFERENCE_TYPE}
    if named <= {item.name for item in DEFAULT_TYPES}:
        return DEFAULT_TYPES
    return tuple(item for item in TYPES if item.name in named)


def _check_once(kind: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{kind} {name!r} occurs twice in the catalogue")


def _check_candidate(candidate: LaunchSpecification, known: set[str]) -> None:
    where = f"launch specification {candidate.name!r}"
    if not candidate.types:
        raise ValueError(f"{where} names no type; expected at least one")
    for name in candidate.types:
        if name not in known:
            raise ValueError(f"{where} names unknown type {name!r}; known: {', '.join(sorted(known))}")
        if candidate.types.count(name) > 1:
            raise ValueError(f"{where} names type {name!r} twice")
    for key, value, allowed in (
        ("spot_allocation", candidate.spot_allocation, get_args(SpotAllocation)),
        ("on_demand_allocation", candidate.on_demand_allocation, get_args(OnDemandAllocation)),
    ):
        if value not in allowed:
            raise ValueError(f"{where}: {key} {value!r} is not one of {', '.join(allowed)}")
    if not 1 <= candidate.spot_pools <= MAX_SPOT_POOLS:
        raise ValueError(f"{where}: spot_pools {candidate.spot_pools} is not in 1..{MAX_SPOT_POOLS}")


def _check_type(item: InstanceType) -> None:
    for key, is_valid, expected in (
        ("vcpu", item.vcpu >= 1, "at least 1"),
        ("physical_cores", 1 <= item.physical_cores <= item.vcpu, "in 1..vcpu"),
        ("memory_gib", item.memory_gib > 0.0, "above 0"),
        ("price_usd_per_hour", item.price_usd_per_hour > 0.0, "above 0"),
        ("coremark_per_vcpu", item.coremark_per_vcpu > 0.0, "above 0"),
        ("spot_saving", 0.0 <= item.spot_saving < 1.0, "in 0..1, below 1"),
        ("interruption_band", item.interruption_band in range(5), "in 0..4"),
        ("network_gbps", item.network_gbps > 0.0, "above 0"),
        ("baseline", 0.0 < item.baseline <= 1.0, "above 0, at most 1"),
    ):
        if not is_valid:
            raise ValueError(f"instance type {item.name!r}: {key} {getattr(item, key)!r} is not {expected}")
