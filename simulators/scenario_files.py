"""One world in one file: demand tape, market tape and settings, with a hash of their content.

A world file is a zip that ``numpy.load`` opens too: one ``.npy`` member per array and ``world.json`` with everything
else, the format's version, the dtype and shape of each array, and the hash. Nothing in it is pickled. What is stored
follows from the fields of the dataclasses, so a field added to a tape is carried without a change here; a file that
lacks a field, or has one too many, is refused.
"""

import hashlib
import io
import json
import os
import types
import zipfile
import zlib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, ValidationError

from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.market import MarketTape
from simulators.physics import WorldSettings
from simulators.records import ZONES
from simulators.scenario import Scenario
from simulators.worlds import WorldPlan, build_bank

FORMAT: Final = "fleetgym-world"
FORMAT_VERSION: Final = 1
_INDEX: Final = "world.json"
_FIRST_DATE: Final = (1980, 1, 1, 0, 0, 0)

Arrays = dict[str, np.ndarray[Any, Any]]


class WorldFileError(ValueError):
    """A world file that cannot be used; the message names file, key, value and what was expected."""


@dataclass(frozen=True)
class World:
    """Everything a fleet meets.

    Attributes:
        scenario: Demand tape.
        market: Market tape, from its first tick.
        settings: Physics, workload and objective.
        types: Names of the instance types whose pools the market tape holds, in its order.
    """

    scenario: Scenario
    market: MarketTape
    settings: WorldSettings
    types: tuple[str, ...]


def world_bank(world: World, catalogue: Catalogue) -> Bank:
    """Return a bank of this one world.

    Raises:
        ValueError: The catalogue holds other types than the market tape, or the tape another number of pools.
    """
    names = tuple(item.name for item in catalogue.types)
    if names != world.types:
        raise ValueError(f"the world's types are {list(world.types)}; the catalogue's are {list(names)}")
    pools = world.market.pool_state.shape[1]
    if pools != ZONES * len(names):
        raise ValueError(f"market: {pools} pools; {len(names)} types in {ZONES} zones need {ZONES * len(names)}")
    return build_bank(
        [world.scenario], [world.market], [WorldPlan(0, 0)], catalogue=catalogue, settings=[world.settings]
    )


def world_hash(world: World) -> str:
    """Return the SHA-256 of a world's content, as hexadecimal digits.

    It covers the name, dtype, shape and little-endian bytes of every array and the name and value of everything else,
    whatever the machine's byte order or the array's layout in memory.
    """
    tree, arrays = _encode_world(world)
    return _content_hash(tree, arrays)


def _content_hash(tree: Any, arrays: Arrays) -> str:
    digest = hashlib.sha256(f"{FORMAT} {FORMAT_VERSION}\n".encode())
    digest.update(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = _canonical(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_world(world: World, path: Path) -> None:
    """Write a world file, by a temporary file and a rename, making its folder. Equal worlds give equal bytes."""
    tree, arrays = _encode_world(world)
    index = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "hash": _content_hash(tree, arrays),
        "arrays": {name: _description(array) for name, array in sorted(arrays.items())},
        "world": tree,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_member(_INDEX), json.dumps(index, indent=1) + "\n")
            for name, array in sorted(arrays.items()):
                content = io.BytesIO()
                np.lib.format.write_array(content, _canonical(array), allow_pickle=False)
                archive.writestr(_member(f"{name}.npy"), content.getvalue())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_world(path: Path) -> World:
    """Read a world file.

    Raises:
        FileNotFoundError: There is no such file.
        WorldFileError: Not a world file, of another version, damaged, changed, or with a field missing or unknown.
    """
    index, arrays = _read(path)
    tree = index["world"]
    if not isinstance(tree, dict):
        raise WorldFileError(f"{path}: key 'world' holds {tree!r}, expected an object")
    found = _content_hash(tree, arrays)
    if found != index["hash"]:
        raise WorldFileError(f"{path}: key 'hash' is {index['hash']!r}, but the content gives {found!r}")
    unused = set(arrays)
    world = _decode(World, tree, "", arrays, unused, path)
    if unused:
        raise WorldFileError(f"{path}: array {sorted(unused)[0]!r} belongs to no field of a world")
    assert isinstance(world, World)
    return world


def _read(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Return the index and the arrays of a file, as described by it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            if _INDEX not in members:
                raise WorldFileError(f"{path}: no member {_INDEX!r}; not a world file")
            index = json.loads(archive.read(_INDEX))
            _check_index(path, index)
            arrays: Arrays = {}
            for name, wanted in index["arrays"].items():
                if f"{name}.npy" not in members:
                    raise WorldFileError(f"{path}: array {name!r} is missing, expected {wanted}")
                content = io.BytesIO(archive.read(f"{name}.npy"))
                try:
                    arrays[name] = np.lib.format.read_array(content, allow_pickle=False)
                except ValueError as error:
                    raise WorldFileError(f"{path}: array {name!r} cannot be read: {error}") from error
                if _description(arrays[name]) != wanted:
                    raise WorldFileError(f"{path}: array {name!r} is {_description(arrays[name])}, expected {wanted}")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WorldFileError(f"{path}: damaged, or not a world file: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WorldFileError(f"{path}: member {_INDEX!r} is not JSON: {error}") from error
    return index, arrays


def _check_index(path: Path, index: Any) -> None:
    keys = ("format", "version", "hash", "arrays", "world")
    if not isinstance(index, dict):
        raise WorldFileError(f"{path}: {_INDEX} holds {type(index).__name__}, expected an object")
    for key in keys:
        if key not in index:
            raise WorldFileError(f"{path}: key {key!r} is missing in {_INDEX}, expected {', '.join(keys)}")
    for key, expected in (("format", FORMAT), ("version", FORMAT_VERSION)):
        if index[key] != expected:
            raise WorldFileError(f"{path}: key {key!r} is {index[key]!r}, expected {expected!r}")


def _member(name: str) -> zipfile.ZipInfo:
    """Return a member with a fixed date, so that equal worlds give equal files."""
    member = zipfile.ZipInfo(name, _FIRST_DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member


def _canonical(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array in C order and little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _description(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.newbyteorder("<").str, "shape": list(array.shape)}


def _encode_world(world: World) -> tuple[Any, Arrays]:
    arrays: Arrays = {}
    return _encode(world, "", arrays), arrays


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    """Return a value as JSON; arrays are put aside under their dotted name and leave ``{"array": name}``."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        prefix = f"{name}." if name else ""
        return {item.name: _encode(getattr(value, item.name), prefix + item.name, arrays) for item in fields(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{name}: an array of {value.dtype} cannot be stored; expected numbers or booleans")
        arrays[name] = value
        return {"array": name}
    if isinstance(value, (tuple, list)):
        return [_encode(item, f"{name}.{position}", arrays) for position, item in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{name}: a {type(value).__name__} cannot be stored")


def _decode(hint: Any, value: Any, name: str, arrays: Arrays, unused: set[str], path: Path) -> Any:
    """Return what :func:`_encode` stored, checked against the type of its field."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        chosen = [item for item in get_args(hint) if (item is type(None)) == (value is None)]
        if len(chosen) == 1:
            return _decode(chosen[0], value, name, arrays, unused, path)
    elif hint is np.ndarray or origin is np.ndarray:
        return _decode_array(hint, value, name, arrays, unused, path)
    elif origin is tuple and isinstance(value, list):
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            items = zip(kinds, value, strict=True)
            return tuple(_decode(k, v, f"{name}.{n}", arrays, unused, path) for n, (k, v) in enumerate(items))
    elif origin is Literal:
        if value in get_args(hint):
            return value
    elif isinstance(hint, type) and isinstance(value, dict):
        return _decode_object(hint, value, name, arrays, unused, path)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, str, bool, type(None)) and type(value) is hint:
        return value
    raise WorldFileError(f"{path}: key {name!r} is {value!r}, expected {getattr(hint, '__name__', hint)}")


def _decode_array(hint: Any, value: Any, name: str, arrays: Arrays, unused: set[str], path: Path) -> Any:
    if value != {"array": name} or name not in arrays:
        raise WorldFileError(f"{path}: array {name!r} is missing; key {name!r} is {value!r}")
    unused.discard(name)
    array = arrays[name]
    kinds = get_args(hint)[1:] and get_args(get_args(hint)[1])
    if kinds and isinstance(kinds[0], type) and not np.issubdtype(array.dtype, kinds[0]):
        raise WorldFileError(f"{path}: array {name!r} is {array.dtype}, expected {np.dtype(kinds[0])}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _decode_object(hint: type, value: dict[str, Any], name: str, arrays: Arrays, unused: set[str], path: Path) -> Any:
    if issubclass(hint, BaseModel):
        try:
            return hint.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join([name, *(str(part) for part in first["loc"])])
            raise WorldFileError(f"{path}: key {key!r}: {first['msg']} (got {first['input']!r})") from error
    if not is_dataclass(hint):
        raise WorldFileError(f"{path}: key {name!r} is an object, expected {hint.__name__}")
    prefix = f"{name}." if name else ""
    hints = get_type_hints(hint)
    known = [item.name for item in fields(hint)]
    for key in known:
        if key not in value:
            raise WorldFileError(f"{path}: key {prefix + key!r} is missing, expected {hints[key]}")
    for key in value:
        if key not in known:
            raise WorldFileError(f"{path}: key {prefix + key!r} is unknown; expected {', '.join(known)}")
    decoded = {key: _decode(hints[key], value[key], prefix + key, arrays, unused, path) for key in known}
    try:
        return hint(**decoded)
    except ValueError as error:
        raise WorldFileError(f"{path}: key {name!r}: {error}") from error
