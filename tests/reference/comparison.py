"""Where a kernel fleet and a reference fleet differ."""

import math
from typing import Any

import numpy as np
from reference.fleet_reference import (
    AMOUNTS,
    COUNTERS,
    INSTANCE_INTEGERS,
    Fleet,
    Outcome,
    World,
    fleet_of,
    price_usd_per_s,
)

from simulators.records import OUTCOME, SPOT

COUNT_FIELDS = tuple(name for name in OUTCOME.names or () if np.issubdtype(OUTCOME[name].base, np.integer))
AMOUNT_FIELDS = tuple(name for name in OUTCOME.names or () if name not in COUNT_FIELDS)
RELATIVE = 1e-9
SMALLEST = {"backlog": 1e-4}


class Largest:
    """Largest relative difference seen in each amount."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def close(self, name: str, kernel: float, reference: float, relative: float = RELATIVE) -> bool:
        if math.isnan(kernel) or math.isnan(reference):
            return math.isnan(kernel) and math.isnan(reference)
        gap = abs(kernel - reference) / max(abs(kernel), abs(reference), SMALLEST.get(name, 1e-9))
        self.seen[name] = max(self.seen.get(name, 0.0), gap)
        return gap <= relative


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
    return (item.serial, item.reclaimed, *(getattr(item, name) for name in INSTANCE_INTEGERS))


def state_differences(record: np.void, fleet: Fleet, world: World, largest: Largest) -> list[str]:
    kernel = fleet_of(record)
    found = []
    for name in (*COUNTERS, "refreshing", "last_launch_failure", "last_interruption"):
        if getattr(kernel, name) != getattr(fleet, name):
            found.append(f"{name}: kernel {getattr(kernel, name)}, reference {getattr(fleet, name)}")
    for name in AMOUNTS:
        if not largest.close(name, getattr(kernel, name), getattr(fleet, name)):
            found.append(f"{name}: kernel {getattr(kernel, name)!r}, reference {getattr(fleet, name)!r}")
    for name in ("cpu", "per_target", "late", "errors"):
        for mine, other in zip(getattr(kernel, name), getattr(fleet, name), strict=True):
            if not largest.close(name, mine, other):
                found.append(f"{name} ring: kernel {mine!r}, reference {other!r}")
    mine_all = sorted(kernel.instances, key=_identity)
    other_all = sorted(fleet.instances, key=_identity)
    if [_identity(item) for item in mine_all] != [_identity(item) for item in other_all]:
        only_kernel = {_identity(item) for item in mine_all} - {_identity(item) for item in other_all}
        only_reference = {_identity(item) for item in other_all} - {_identity(item) for item in mine_all}
        return [*found, f"instances: only kernel {only_kernel}, only reference {only_reference}"]
    for mine, other in zip(mine_all, other_all, strict=True):
        if not largest.close("backlog", mine.backlog, other.backlog):
            found.append(f"backlog of {mine.serial}: kernel {mine.backlog!r}, reference {other.backlog!r}")
    return found + _price_differences(record, fleet, world)


def _price_differences(record: np.void, fleet: Fleet, world: World) -> list[str]:
    """The stored price of a spot instance is that of the hour of its last billed second."""
    found = []
    live = int(record["live"])
    prices = dict(zip(record["slot_serial"][:live].tolist(), record["price_usd_per_s"][:live].tolist(), strict=True))
    for item in fleet.instances:
        if item.market == SPOT and item.billed_from < fleet.now:
            expected = price_usd_per_s(world, item, fleet.now - 1)
            if prices[item.serial] != expected:
                found.append(f"price of {item.serial}: kernel {prices[item.serial]}, reference {expected}")
    return found
