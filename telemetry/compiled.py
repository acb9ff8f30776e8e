"""The one way this project compiles functions: Numba with a cache that cannot go stale.

Numba's file cache notices a change in the file that holds a function, not in the files of the functions it calls. The
cache folder of a floor is therefore named by a digest of every source file of it and of the floors below that takes
part in compiled code: those that use ``@compiled``, and those that hold constants for them and therefore say
"compiled" in their docstring.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Record = Any
"""One record of a structured array inside compiled code: its fields are attributes there."""

_ROOT = Path(__file__).resolve().parent.parent
_COMPILED_PACKAGES = ("telemetry", "forecasting", "simulators", "envs", "agents")
_Function = TypeVar("_Function", bound=Callable[..., Any])


@cache
def source_digest(floor: str = _COMPILED_PACKAGES[-1]) -> str:
    """Return the SHA-256 (first 16 hex digits) over the sources of a floor and those below that make compiled code."""
    digest = hashlib.sha256()
    for package in _COMPILED_PACKAGES[: _COMPILED_PACKAGES.index(floor) + 1]:
        for path in sorted((_ROOT / package).rglob("*.py")):
            source = path.read_bytes()
            if b"compiled" in source:
                digest.update(str(path.relative_to(_ROOT)).encode())
                digest.update(source)
    return digest.hexdigest()[:16]


def _use_cache_of(function: Callable[..., Any]) -> None:
    """Point Numba at the cache folder of the floor that holds a function; other code uses the topmost floor's."""
    floor = function.__module__.partition(".")[0]
    floor = floor if floor in _COMPILED_PACKAGES else _COMPILED_PACKAGES[-1]
    base = os.environ.get("FLEETGYM_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "fleetgym" / "compiled" / source_digest(floor)
    setattr(numba.config, "CACHE_DIR", str(folder))  # noqa: B010  (absent from Numba's type hints)


def compiled(function: _Function) -> _Function:
    """Compile a scalar-style function with Numba: cached on disk, without the GIL, IEEE division, no fast-math."""
    _use_cache_of(function)
    return cast(_Function, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def compiled_in_place(function: _Function) -> _Function:
    """Compile a function that works on the caller's arrays and allocates none.

    Without allocation Numba needs no reference counts, and inlined it need not hand a bundle of twenty arrays from
    function to function: without the two a simulated minute takes several times as long.
    """
    _use_cache_of(function)
    options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False, "forceinline": True}
    return cast(_Function, numba.njit(**options)(function))


@compiled_in_place
def signed(value: Any) -> int:
    """Return an unsigned field of a record as a signed integer; an unsigned one with a signed one makes a float."""
    return numba.int64(value)  # type: ignore[no-any-return]
