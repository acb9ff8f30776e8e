"""Results of parts of a comparison, kept in files, so that an interrupted one goes on where it stopped.

A result's file name is the SHA-256 of everything it depends on: worlds, task, policies, and the sources that play them.
A result of other worlds, another policy or other sources is therefore never found.
"""

import hashlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Played
from telemetry.provenance import write_arrays

Arrays = Mapping[str, NDArray[Any]]
_ROOT: Final = Path(__file__).resolve().parents[2]
_SOURCES: Final = (
    "telemetry",
    "simulators",
    "envs",
    "agents/planning",
    "agents/*.py",
    "agents/evaluation/*bound*.py",
    "agents/evaluation/whole_fleet.py",
)
_UNREADABLE: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@cache
def sources_digest() -> str:
    """Return the SHA-256 over the sources that play fleets and bound their cost."""
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        found = _ROOT.glob(pattern) if pattern.endswith(".py") else (_ROOT / pattern).rglob("*.py")
        for path in sorted(found):
            digest.update(str(path.relative_to(_ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def identity(*parts: str) -> str:
    """Return the SHA-256, 64 hex digits, over some parts and the sources."""
    return hashlib.sha256("\n".join((sources_digest(), *parts)).encode()).hexdigest()


class Store:
    """Named arrays by identity, in a folder; without one nothing is kept.

    Args:
        folder: Made when the first result is written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """Return the arrays of an identity, made and kept if they are not there; a damaged file is made again."""
        if self._folder is None:
            return make()
        path = self._folder / f"{key}.npz"
        found = _read(path)
        if found is None:
            found = make()
            write_arrays(path, found)
        return found


def _read(path: Path) -> Arrays | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        print(f"{path}: cannot be read ({error}); it is played again", file=sys.stderr)
        return None


def as_arrays(played: Played) -> Arrays:
    """Return what a policy did as named arrays."""
    return {field.name: getattr(played, field.name) for field in fields(Played)}


def as_played(arrays: Arrays) -> Played:
    """Return named arrays, others left out, as what a policy did."""
    return Played(**{field.name: arrays[field.name] for field in fields(Played)})
