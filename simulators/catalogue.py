"""Instance types: what one costs, what it holds and how much work its vCPUs do.

Prices are us-east-1, Linux, shared tenancy, on demand, as of 2026-07-20 (AWS price list, as regenerated in
aws/karpenter-provider-aws). vCPU, memory, physical cores and clock architecture come from ``DescribeInstanceTypes``.
Capacity per vCPU is the family median of CoreMark iterations per second and vCPU, measured between 2025-12-10 and
2026-07-01 and published by ec2instances.info. Spot saving and interruption band come from the Spot Instance Advisor
feed of 2025-06-28.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

REFERENCE_TYPE: Final = "m6i.large"
REFERENCE_COREMARK_PER_VCPU: Final = 17_020.0
PRICE_DATE: Final = "2026-07-20"
PRICE_SOURCE: Final = "AWS price list, us-east-1, Linux, shared tenancy, on demand"


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
    network_gbps: float = 0.78
    credits_per_hour: float = 0.0
    max_credits: float = 0.0
    baseline: float = 1.0

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


_X86, _ARM = "x86_64", "arm64"

TYPES: Final[tuple[InstanceType, ...]] = (
    InstanceType("m6i.large", 2, 1, 8, _X86, 0.09600, 17_020, 0.63, 2),
    InstanceType("m6a.large", 2, 1, 8, _X86, 0.08640, 20_431, 0.59, 1),
    InstanceType("m7i.large", 2, 1, 8, _X86, 0.10080, 21_409, 0.68, 3),
    InstanceType("c6a.large", 2, 1, 4, _X86, 0.07650, 20_820, 0.62, 3),
    InstanceType("c7i.large", 2, 1, 4, _X86, 0.08925, 21_769, 0.66, 4),
    InstanceType("m7g.large", 2, 2, 8, _ARM, 0.08160, 25_725, 0.64, 2),
    InstanceType("m8g.large", 2, 2, 8, _ARM, 0.08976, 30_098, 0.65, 4),
    InstanceType("c7g.large", 2, 2, 4, _ARM, 0.07250, 25_184, 0.49, 0),
    InstanceType("c8g.large", 2, 2, 4, _ARM, 0.07976, 30_293, 0.61, 0),
    InstanceType("c7g.xlarge", 4, 4, 8, _ARM, 0.14500, 25_184, 0.62, 0),
    InstanceType("m7i.xlarge", 4, 2, 16, _X86, 0.20160, 21_409, 0.53, 3),
    InstanceType("m7g.xlarge", 4, 4, 16, _ARM, 0.16320, 25_725, 0.62, 1),
)


@dataclass(frozen=True)
class LaunchSpecification:
    """What a launch may ask for: one type, or a diversified set of similar types.

    Attributes:
        name: Shown to people and written to bundles.
        types: Names of the instance types, at least one.
    """

    name: str
    types: tuple[str, ...]
    spot_allocation: str = "price-capacity-optimized"
    spot_pools: int = 2
    on_demand_allocation: str = "lowest-price"

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

    Raises:
        ValueError: A candidate names an unknown type, or a name occurs twice.
    """

    types: tuple[InstanceType, ...] = TYPES
    candidates: tuple[LaunchSpecification, ...] = DEFAULT_CANDIDATES

    def __post_init__(self) -> None:
        for kind, names in (
            ("instance type", [item.name for item in self.types]),
            ("launch specification", [item.name for item in self.candidates]),
        ):
            duplicates = {name for name in names if names.count(name) > 1}
            if duplicates:
                raise ValueError(f"{kind} {sorted(duplicates)[0]!r} occurs twice in the catalogue")
        for candidate in self.candidates:
            for name in candidate.types:
                if name not in self.index:
                    raise ValueError(f"launch specification {candidate.name!r} names unknown type {name!r}")

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
