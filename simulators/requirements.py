"""Attribute-based selection: which instance types of the catalogue meet what a launch asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from simulators.catalogue import TYPES, InstanceType
from simulators.instance_types import FAMILIES

MAX_REQUIREMENT_SETS: Final = 4


@dataclass(frozen=True)
class Requirements:
    """What a type must be to be chosen by its attributes.

    Attributes:
        vcpu: Fewest and most virtual CPUs.
        memory_gib: Least and most main memory, GiB.
        architectures: Allowed architectures.
        burstable: Whether burstable types are left out, allowed, or the only ones.
        price_protection: How far above the protected price a type may list, as a share of it (0.2: 20 %).
        baseline_family: Family no type may be slower than, per vCPU; none if empty.

    Source:
        API model of EC2 Auto Scaling, ``InstanceRequirements`` and ``BaselinePerformanceFactorsRequest``.
    """

    vcpu: tuple[int, float]
    memory_gib: tuple[float, float]
    architectures: tuple[str, ...] = ("x86_64", "arm64")
    burstable: Literal["excluded", "included", "required"] = "excluded"
    price_protection: float = 0.20
    baseline_family: str = ""

    def __post_init__(self) -> None:
        for key in ("vcpu", "memory_gib"):
            low, high = getattr(self, key)
            if not 0 <= low <= high:
                raise ValueError(f"requirements: {key} {(low, high)} is not a range of least and most, from 0 up")
        if self.price_protection < 0.0:
            raise ValueError(f"requirements: price_protection {self.price_protection} is below 0")
        if self.baseline_family and self.baseline_family not in FAMILIES:
            raise ValueError(
                f"requirements: baseline_family {self.baseline_family!r} is unknown; known: {', '.join(FAMILIES)}"
            )


def select_types(*requirements: Requirements, types: Sequence[InstanceType] = TYPES) -> tuple[str, ...]:
    """Return the names of the types that meet at least one set of requirements, in the order of ``types``.

    The protected price of a set is that of the cheapest current C, M or R type that matches it; without one, of the
    cheapest current type that matches; without one, of the cheapest that matches. Types that list for more than
    ``1 + price_protection`` times that are left out. CoreMark per vCPU stands for performance per vCPU, which AWS
    does not publish.

    Raises:
        ValueError: No or more than four sets.
    """
    if not 1 <= len(requirements) <= MAX_REQUIREMENT_SETS:
        raise ValueError(f"{len(requirements)} sets of requirements; expected 1..{MAX_REQUIREMENT_SETS}")
    chosen = {name for item in requirements for name in _matching(item, types)}
    return tuple(item.name for item in types if item.name in chosen)


def _matching(wanted: Requirements, types: Sequence[InstanceType]) -> list[str]:
    slowest = FAMILIES[wanted.baseline_family].coremark_per_vcpu if wanted.baseline_family else 0.0
    found = [
        item
        for item in types
        if wanted.vcpu[0] <= item.vcpu <= wanted.vcpu[1]
        and wanted.memory_gib[0] <= item.memory_gib <= wanted.memory_gib[1]
        and item.architecture in wanted.architectures
        and (wanted.burstable == "included" or item.is_burstable == (wanted.burstable == "required"))
        and item.coremark_per_vcpu >= slowest
    ]
    current = [item for item in found if FAMILIES[item.family].is_current]
    protected = [item for item in current if item.family[0] in "cmr"] or current or found
    if not protected:
        return []
    dearest = (1.0 + wanted.price_protection) * min(item.price_usd_per_hour for item in protected)
    return [item.name for item in found if item.price_usd_per_hour <= dearest]
