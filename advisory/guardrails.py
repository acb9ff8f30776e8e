"""Constraints as pure functions: each returns the allowed choice, with a sentence if it is another one.

A part of the action is chosen by preference: the policy's logits, or minus the distance from a rule's value.
What a constraint forbids is masked, and the best of the rest is taken.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from advisory.schemas import BoundApplied

Preference = NDArray[np.floating]


class Chosen(NamedTuple):
    """A choice and what a constraint did to it, if anything."""

    value: int
    bound: BoundApplied | None = None


def _best(preference: Preference, allowed: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(allowed, preference, -np.inf)))


def choose_spot(preference: Preference, max_percent: float | None) -> Chosen:
    """Return the preferred spot level not above a share.

    Args:
        preference: [S] one per level, evenly spread over 0 to 100 %.
        max_percent: Largest share; None is no limit.
    """
    percents = np.linspace(0.0, 100.0, len(preference))
    wanted = int(np.argmax(preference))
    if max_percent is None or percents[wanted] <= max_percent + 1e-9:
        return Chosen(wanted)
    given = _best(preference, percents <= max_percent + 1e-9)
    change = f"spot share {percents[given]:.0f} % instead of {percents[wanted]:.0f} %"
    effect = f"{change}: at most {max_percent:g} % is allowed"
    return Chosen(given, BoundApplied(constraint="max_spot_percent", effect=effect))


def choose_specification(
    preference: Preference, meanings: Sequence[int], allowed: set[int], names: Sequence[str], constraint: str
) -> Chosen:
    """Return the preferred launch-specification choice among those allowed.

    Args:
        preference: [K + 1] one per choice of the action.
        meanings: Launch specification that each choice stands for.
        allowed: Launch specifications that may be taken, at least one that some choice stands for.
        names: Of the launch specifications.
        constraint: Name of what limits them.
    """
    wanted = int(np.argmax(preference))
    if meanings[wanted] in allowed:
        return Chosen(wanted)
    given = _best(preference, np.array([spec in allowed for spec in meanings]))
    effect = f"{names[meanings[given]]} instead of {names[meanings[wanted]]}: the latter is not allowed"
    return Chosen(given, BoundApplied(constraint=constraint, effect=effect))


def limit_change(capacity: int, desired: int, max_change: int | None) -> Chosen:
    """Return a capacity within ``max_change`` of the present one."""
    if max_change is None or abs(capacity - desired) <= max_change:
        return Chosen(capacity)
    given = desired + max_change if capacity > desired else desired - max_change
    effect = f"capacity {given} instead of {capacity}: at most {max_change} may be added or removed at once"
    return Chosen(given, BoundApplied(constraint="max_change", effect=effect))


def limit_capacity(capacity: int, low: int, high: int) -> Chosen:
    """Return a capacity within the group's limits."""
    if low <= capacity <= high:
        return Chosen(capacity)
    name, given, word = ("min_instances", low, "least") if capacity < low else ("max_instances", high, "most")
    effect = f"capacity {given} instead of {capacity}: at {word} {given} instances are allowed"
    return Chosen(given, BoundApplied(constraint=name, effect=effect))
