"""Reading AWS request bodies: their shape by botocore's own service model, and errors that name the place.

A document is JSON as an AWS API takes it. :func:`check_shape` holds it against the API model (names, types, required
members, enumerations, lengths and ranges); what a value means is for the modules that read it, through :class:`Part`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

Json = Mapping[str, Any]


def to_share(percent: float) -> float:
    """Return a percentage as a share, as the decimal fraction nearest to it: 7.2 gives 0.072."""
    return round(percent / 100.0, 12)


def to_percent(share: float) -> float:
    """Return a share as a percentage, without the noise of binary fractions; an integer where it is whole."""
    percent = round(100.0 * share, 9)
    return int(percent) if percent == int(percent) else percent


class AwsPolicyError(ValueError):
    """A document that AWS would refuse or that is not simulated: file, JSON path, value, and what was expected."""


@dataclass(frozen=True)
class Part:
    """One JSON object inside a document.

    Attributes:
        source: The file it comes from, or what else to call it in messages.
        path: Its JSON path, empty for the document itself.
        value: The object.
    """

    source: str
    path: str
    value: Json

    def __contains__(self, name: str) -> bool:
        """Return whether a member is given."""
        return name in self.value

    def get(self, name: str, default: Any = None) -> Any:
        """Return a member, or a default where it is left out."""
        return self.value.get(name, default)

    def place(self, name: str) -> str:
        """Return the JSON path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def child(self, name: str) -> "Part":
        """Return the object under a name; left out, it is empty."""
        return Part(self.source, self.place(name), self.value.get(name, {}))

    def children(self, name: str) -> list["Part"]:
        """Return the objects of the list under a name; left out, it is empty."""
        items = self.value.get(name, [])
        return [Part(self.source, f"{self.place(name)}[{index}]", item) for index, item in enumerate(items)]

    def fail(self, name: str, expected: str) -> NoReturn:
        """Refuse the member under a name (or, under an empty name, this object).

        Raises:
            AwsPolicyError: Always.
        """
        where = self.place(name) if name else self.path or "document"
        given = json.dumps(self.value.get(name) if name else self.value)
        found = ("left out" if name and name not in self.value else given)[:200]
        raise AwsPolicyError(f"{self.source}: {where}: {found}; expected {expected}")

    def one_of(self, name: str, allowed: Iterable[str], default: str | None = None) -> Any:
        """Return a member that has to be one of some values.

        Raises:
            AwsPolicyError: Another value.
        """
        choices = tuple(allowed)
        value = self.value.get(name, default)
        if value not in choices:
            self.fail(name, f"one of {', '.join(choices)}")
        return value

    def in_range(self, name: str, low: float, high: float, default: Any = None) -> Any:
        """Return a number that has to lie in a range, both ends included; None where it is left out without default.

        Raises:
            AwsPolicyError: Outside of it.
        """
        value = self.value.get(name, default)
        if value is not None and not low <= value <= high:
            self.fail(name, f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more")
        return value

    def understood(self, read: Iterable[str], kept: Iterable[str] = (), *, where: str) -> dict[str, Any]:
        """Refuse members that are neither read nor kept, and return those to keep as they stand.

        Args:
            read: Names whose meaning is simulated.
            kept: Names that change nothing in the simulation and are written back.
            where: Ends the message for any other name, for example "of a simulated group".

        Raises:
            AwsPolicyError: A member that would change behaviour and is not simulated.
        """
        names, kept_names = frozenset(read), frozenset(kept)
        for name in self.value:
            if name not in names and name not in kept_names:
                self.fail(name, f"it left out: not part {where}")
        return {name: self.value[name] for name in self.value if name in kept_names}


@lru_cache(maxsize=1)
def _session() -> Any:
    try:
        import botocore.session
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("reading AWS documents needs botocore: pip install 'fleetgym[aws]'") from missing
    return botocore.session.get_session()


@lru_cache(maxsize=32)
def _shape(service: str, name: str) -> Any:
    model = _session().get_service_model(service)
    return model.operation_model(name).input_shape if name in model.operation_names else model.shape_for(name)


def check_shape(part: Part, service: str, name: str) -> None:
    """Hold an object against an operation's request, or against a named shape, of the AWS API model.

    Args:
        part: The object.
        service: botocore's name of the service, for example ``autoscaling``.
        name: Operation, for example ``PutScalingPolicy``, or shape, for example ``RefreshPreferences``.

    Raises:
        AwsPolicyError: An unknown or missing member, a wrong type, a value outside its enumeration or range.
        ModuleNotFoundError: botocore is not installed.
    """
    for where, value, expected in _faults(part.value, _shape(service, name), part.path or name):
        raise AwsPolicyError(f"{part.source}: {where}: {json.dumps(value)[:200]}; expected {expected}")


Fault = tuple[str, Any, str]

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "structure": (dict,),
    "list": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "double": (int, float),
    "timestamp": (str,),
}


def _faults(value: Any, shape: Any, where: str) -> Iterator[Fault]:
    kind = shape.type_name
    wrong = not isinstance(value, _JSON_TYPES[kind]) or isinstance(value, bool) != (kind == "boolean")
    if wrong or (isinstance(value, float) and not math.isfinite(value)):
        yield where, value, f"a value of type {kind}"
        return
    if kind == "structure":
        yield from _structure_faults(value, shape, where)
    elif kind == "list":
        yield from _range_faults(value, len(value), "items", shape, where)
        for index, item in enumerate(value):
            yield from _faults(item, shape.member, f"{where}[{index}]")
    elif kind == "string":
        yield from _range_faults(value, len(value), "characters", shape, where)
        if getattr(shape, "enum", None) and value not in shape.enum:
            yield where, value, f"one of {', '.join(shape.enum)}"
    elif kind == "timestamp":
        yield from _timestamp_faults(value, where)
    else:
        yield from _range_faults(value, value, "", shape, where)


def _structure_faults(value: Json, shape: Any, where: str) -> Iterator[Fault]:
    for name in value:
        if name not in shape.members:
            yield f"{where}.{name}", value[name], f"one of the members {', '.join(shape.members)}"
    for name in shape.required_members:
        if name not in value:
            yield f"{where}.{name}", None, "a value: it is required"
    for name, member in shape.members.items():
        if name in value:
            yield from _faults(value[name], member, f"{where}.{name}")


def _range_faults(value: Any, size: float, unit: str, shape: Any, where: str) -> Iterator[Fault]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if (low is not None and size < low) or (high is not None and size > high):
        bounds = f"{low} or more" if high is None else f"{0 if low is None else low} to {high}"
        yield where, value, f"{bounds} {unit}".strip()


def _timestamp_faults(value: str, where: str) -> Iterator[Fault]:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        yield where, value, "a time as 2026-06-01T00:00:00Z"


def read_document(path: str | Path) -> Part:
    """Return the JSON object in a file.

    Raises:
        AwsPolicyError: Not JSON, or not an object, or a key that stands twice.
        FileNotFoundError: No such file.
    """
    source = str(path)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except ValueError as error:
        raise AwsPolicyError(f"{source}: {error}; expected JSON") from error
    if not isinstance(value, dict):
        raise AwsPolicyError(f"{source}: a {type(value).__name__}; expected a JSON object")
    return Part(source, "", value)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"key {name!r} stands twice")
    return dict(pairs)
