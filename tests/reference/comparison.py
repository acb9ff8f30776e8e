"""Where a kernel fleet and a reference fleet differ."""

import math
from typing import Any

import numpy as np
from reference.reference_model import (
    AMOUNT_LISTS,
    AMOUNTS,
    COUNTER_LISTS,
    COUNTERS,
    INSTANCE_COUNTERS,
    Fleet,
    Outcome,
    fleet_of,
)

from simulators.records import OUTCOME

COUNT_FIELDS = tuple(name for name in OUTCOME.names or () if np.issubdtype(OUTCOME[name].base, np.integer))
AMOUNT_FIELDS = tuple(name for name in OUTCOME.names or () if name not in COUNT_FIELDS)
RELATIVE = 1e-9
STORED_IN_FOUR_BYTES = ("backlog", "credits", "lost_requests", "commitment_left_usd", "credit_usd")
LAST_BIT = 2e-7
SMALLEST = {"backlog": 1e-4, "credits": 1e-4, "credit_usd": 1e-2}
SMALLEST_USD = 1e-6


class Largest:
    """Largest relative difference seen in each amount, and whether it is small enough."""

    def __init__(self, relative: float = RELATIVE) -> None:
        self.relative = relative
        self.seen: dict[str, float] = {}

    def close(self, name: str, kernel: float, reference: float) -> bool:
        if math.isnan(kernel) or math.isnan(reference):
            return math.isnan(kernel) and math.isnan(reference)
        smallest = SMALLEST.get(name, SMALLEST_USD if name.endswith("_usd") else 1e-9)
        gap = abs(kernel - reference) / max(abs(kernel), abs(reference), smallest)
        self.seen[name] = max(self.seen.get(name, 0.0), gap)
        return gap <= max(self.relative, LAST_BIT if name in STORED_IN_FOUR_BYTES else 0.0)


def outcome_differences(kernel: np.void, reference: Outcome, largest: Largest) -> list[str]:
    found = []
    for name in COUNT_FIELDS:
        if int(kernel[name]) != int(reference[name]):
            found.append(f"{name}: kernel {int(kernel[name])}, reference {int(reference[name])}")
    for name in AMOUNT_FIELDS:
        pairs = zip(np.atleast_1d(kernel[name]), np.atleast_1d(reference[name]), strict=True)
        for mine, other in pairs:
            if not largest.close(name, float(mine), float(other)):
                found.append(f"{name}: kernel {float(mine)!r}, reference {float(other)!r}")
    return found


def _identity(item: Any) -> tuple[Any, ...]:
    return (item.serial, *(getattr(item, name) for name in INSTANCE_COUNTERS))


def state_differences(record: np.void, fleet: Fleet, largest: Largest) -> list[str]:
    kernel = fleet_of(record)
    found = []
    for name in (*COUNTERS, *COUNTER_LISTS):
        if getattr(kernel, name) != getattr(fleet, name):
            found.append(f"{name}: kernel {getattr(kernel, name)}, reference {getattr(fleet, name)}")
    for name in AMOUNTS:
        if not largest.close(name, getattr(kernel, name), getattr(fleet, name)):
            found.append(f"{name}: kernel {getattr(kernel, name)!r}, reference {getattr(fleet, name)!r}")
    for name in AMOUNT_LISTS:
        for mine, other in zip(getattr(kernel, name), getattr(fleet, name), strict=True):
            if not largest.close(name, mine, other):
                found.append(f"{name}: kernel {mine!r}, reference {other!r}")
    mine_all = sorted(kernel.instances, key=_identity)
    other_all = sorted(fleet.instances, key=_identity)
    if [_identity(item) for item in mine_all] != [_identity(item) for item in other_all]:
        only_kernel = {_identity(item) for item in mine_all} - {_identity(item) for item in other_all}
        only_reference = {_identity(item) for item in other_all} - {_identity(item) for item in mine_all}
        return [*found, f"instances: only kernel {only_kernel}, only reference {only_reference}"]
    for mine, other in zip(mine_all, other_all, strict=True):
        for name in ("backlog", "credits"):
            if not largest.close(name, getattr(mine, name), getattr(other, name)):
                values = f"kernel {getattr(mine, name)!r}, reference {getattr(other, name)!r}"
                found.append(f"{name} of {mine.serial}: {values}")
    return found
