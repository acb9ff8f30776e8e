"""The annotation of a tape, computed once and kept under a name made of everything it depends on.

The name is the SHA-256 of the delivered demand, the settings, the known events, the shipped weights, the sources of
this floor and the one below that forecasts depend on (``telemetry.compiled``), and the versions of numpy and numba. A
file is written whole or not at all; a damaged one is computed again. Of the files the latest thousand stay.
"""

import hashlib
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from forecasting.annotate import Annotation, annotate
from forecasting.demand.boosted import LEADS_MINUTES, LEVELS
from forecasting.demand.events import KnownEvent
from forecasting.shipped import DEMAND_FILE, WEIGHTS
from telemetry.compiled import source_digest

LEAST_CACHED_S: Final = 2 * 86_400
"""Shorter tapes are computed faster than they are worth a file."""

MOST_FILES: Final = 1_000
_FIELDS: Final = ("forecast_rps", "available", "anomaly_score")
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cached_annotation(
    demand_ticks: npt.ArrayLike,
    *,
    tick_s: int = 60,
    ticks_per_row: int = 5,
    delay_ticks: int = 1,
    events: Sequence[KnownEvent] = (),
) -> Annotation:
    """Return what ``annotate`` returns with an untouched forecaster and detector, from the cache if it is there.

    Args:
        demand_ticks: float64[T], NaN where the metric is missing.
        tick_s: as in ``annotate``, like the rest.
        ticks_per_row: ticks between decisions.
        delay_ticks: ticks until a metric becomes visible.
        events: known future events.

    Raises:
        ValueError: as ``annotate``. Trouble with files raises nothing.
    """
    demand = np.ascontiguousarray(demand_ticks, dtype=np.float64)

    def compute() -> Annotation:
        return annotate(demand, tick_s=tick_s, ticks_per_row=ticks_per_row, delay_ticks=delay_ticks, events=events)

    if len(demand) * tick_s < LEAST_CACHED_S:
        return compute()
    key = tape_key(demand, tick_s=tick_s, ticks_per_row=ticks_per_row, delay_ticks=delay_ticks, events=events)
    path = annotations_folder() / f"{key}.npz"
    found = _read(path, rows=-(-len(demand) // ticks_per_row))
    if found is not None:
        return found
    annotation = compute()
    _write(path, annotation)
    return annotation


def annotations_folder() -> Path:
    """Return where annotations are kept: under FLEETGYM_CACHE, else XDG_CACHE_HOME, else ~/.cache."""
    base = os.environ.get("FLEETGYM_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fleetgym" / "annotations"


def tape_key(
    demand_ticks: npt.NDArray[np.float64],
    *,
    tick_s: int,
    ticks_per_row: int,
    delay_ticks: int,
    events: Sequence[KnownEvent] = (),
    weights: Path = WEIGHTS / DEMAND_FILE,
) -> str:
    """Return the SHA-256, 64 hex digits, over all that an annotation depends on."""
    made_by = (source_digest("forecasting"), _file_digest(weights), np.__version__, numba.__version__)
    settings = (len(demand_ticks), tick_s, ticks_per_row, delay_ticks, [astuple(event) for event in events])
    digest = hashlib.sha256(repr((made_by, settings)).encode())
    digest.update(demand_ticks.tobytes())
    return digest.hexdigest()


@cache
def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no such file"


def _read(path: Path, rows: int) -> Annotation | None:
    """Return the annotation of a file; None if there is none, or, with a printed note, if it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            forecasts, available, scores = (arrays[name] for name in _FIELDS)
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        print(f"{path}: cannot be read ({error}); the annotation is computed again", file=sys.stderr)
        return None
    wanted = (("<f4", (rows, len(LEADS_MINUTES), len(LEVELS))), ("|b1", (rows,)), ("<f4", (rows,)))
    if tuple((array.dtype.str, array.shape) for array in (forecasts, available, scores)) != wanted:
        print(f"{path}: holds arrays of another shape; the annotation is computed again", file=sys.stderr)
        return None
    return Annotation(forecasts, available, scores)


def _write(path: Path, annotation: Annotation) -> None:
    """Write by a temporary file and a rename; a folder that cannot be written to is left as it is."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, **{name: getattr(annotation, name) for name in _FIELDS})
        temporary.replace(path)
        oldest_first = sorted(path.parent.glob("*.npz"), key=lambda item: item.stat().st_mtime)
        for item in oldest_first[:-MOST_FILES]:
            item.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
