"""Labelled anomaly files as plain arrays: NAB, server machines (SMD), application servers (ASD), production KPIs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from telemetry.trace import TraceError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledSeries:
    """One metric with labels.

    Attributes:
        name: ``folder/file`` without suffix.
        group: The folder.
        values: float64[T], rows as the file has them (repeated and missing stamps kept).
        is_anomaly: bool[T], rows inside a labelled event.
        windows: int64[W, 2], first and last row of each event.
        step_s: Most frequent distance of stamps, seconds.
    """

    name: str
    group: str
    values: FloatArray
    is_anomaly: BoolArray
    windows: npt.NDArray[np.int64]
    step_s: float


@dataclass(frozen=True)
class LabelledTable:
    """Several metrics of one machine: a history without labels, then rows with labels.

    Attributes:
        name: File name without suffix.
        history: float64[H, M].
        values: float64[T, M], the rows to be scored, right after the history.
        is_anomaly: bool[T].
        step_s: Seconds a row.
    """

    name: str
    history: FloatArray
    values: FloatArray
    is_anomaly: BoolArray
    step_s: float


def load_nab(folder: Path) -> list[LabelledSeries]:
    """Return every NAB series below a folder, by name.

    Raises:
        TraceError: nothing there, or a file without the expected columns.
    """
    return [_series(path, folder) for path in _files(folder)]


def load_kpi(folder: Path) -> list[LabelledSeries]:
    """Return every production KPI of a folder, by name.

    Raises:
        TraceError: as :func:`load_nab`.
    """
    return [_series(path, folder) for path in _files(folder)]


def load_tables(folder: Path) -> list[LabelledTable]:
    """Return every multivariate file (SMD, ASD) of a folder, by name.

    Raises:
        TraceError: nothing there, or a file without the expected columns.
    """
    return [_table(path) for path in _files(folder)]


def spans(flags: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return int64[W, 2], first and last row of each run of True."""
    edges = np.diff(np.concatenate(([0], np.asarray(flags, dtype=np.int8), [0])))
    return np.stack((np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1), axis=1)


def _files(folder: Path) -> list[Path]:
    paths = sorted(folder.rglob("*.parquet"))
    if not paths:
        raise TraceError(f"{folder}: no .parquet file")
    return paths


def _series(path: Path, folder: Path) -> LabelledSeries:
    table = pq.read_table(path)
    _need(path, table.column_names, ("timestamp", "value", "is_anomaly"))
    values = table["value"].to_numpy().astype(np.float64)
    flags = table["is_anomaly"].to_numpy().astype(np.bool_)
    stamps = table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    distances, counts = np.unique(np.diff(stamps), return_counts=True)
    windows = spans(flags)
    if "window_id" in table.column_names:
        ids = table["window_id"].to_numpy()
        rows = [np.flatnonzero(ids == window) for window in np.unique(ids[ids >= 0])]
        windows = np.array([(row[0], row[-1]) for row in rows], dtype=np.int64).reshape(-1, 2)
    group = path.parent.name
    name = str(path.relative_to(folder).with_suffix(""))
    return LabelledSeries(name, group, values, flags, windows, float(distances[np.argmax(counts)]))


def _table(path: Path) -> LabelledTable:
    table = pq.read_table(path)
    _need(path, table.column_names, ("minute", "part", "is_anomaly"))
    metrics = [name for name in table.column_names if name not in ("minute", "part", "is_anomaly")]
    values = np.stack([table[name].to_numpy().astype(np.float64) for name in metrics], axis=1)
    scored = np.array(table["part"].to_pylist()) == "test"
    labels = table["is_anomaly"].to_numpy()
    minutes = table["minute"].to_numpy()
    step_s = 60.0 * float(np.median(np.diff(minutes)))
    return LabelledTable(path.stem, values[~scored], values[scored], labels[scored] == 1, step_s)


def _need(path: Path, found: list[str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise TraceError(f"{path}: no column {missing[0]!r}; found: {', '.join(found[:8])}")
