"""Infrastructure features that are words: what kind of instance runs, and where."""

import re
from collections.abc import Mapping
from typing import Final

from forecasting.features.observations import UNKNOWN

CATEGORIES: Final = ("instance_type", "instance_family", "availability_zone", "region")
_TYPE: Final = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_ZONE: Final = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d+)(?:[a-z]|-[a-z0-9]+-\d+[a-z])")


def categories(instance_type: str | None, availability_zone: str | None) -> dict[str, str]:
    """Return the category features of an instance.

    Args:
        instance_type: For example ``m6i.large``; None or an empty text is unknown.
        availability_zone: For example ``us-east-1a``, or a Local Zone such as ``us-west-2-lax-1a``.

    Returns:
        Text by name of :data:`CATEGORIES`; family and region are parts of type and zone.

    Raises:
        ValueError: A type or zone that is not written like AWS writes them.
    """
    kind, zone = instance_type or UNKNOWN, availability_zone or UNKNOWN
    family, region = UNKNOWN, UNKNOWN
    if kind != UNKNOWN:
        if not _TYPE.fullmatch(kind):
            raise ValueError(f"instance_type {kind!r} is not an instance type such as m6i.large")
        family = kind.partition(".")[0]
    if zone != UNKNOWN:
        found = _ZONE.fullmatch(zone)
        if found is None:
            raise ValueError(f"availability_zone {zone!r} is not an availability zone such as us-east-1a")
        region = found[1]
    return dict(zip(CATEGORIES, (kind, family, zone, region), strict=True))


def categories_of(places: Mapping[str, str | None]) -> dict[str, str]:
    """Return the category features of an observation's text columns; absent ones are unknown."""
    return categories(places.get("instance_type"), places.get("availability_zone"))
