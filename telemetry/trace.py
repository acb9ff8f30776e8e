"""Trace files: read a demand series, refuse what cannot be trusted, record every repair.

A trace file is Parquet or CSV with a column ``timestamp`` (the start of each step, UTC), a column
``requests_per_second`` or ``value`` (any non-negative unit) and optionally ``imputed`` (true where the
source had no reading). Reading happens in two layers: :func:`read_rows` gives the rows as they stand in the
file, checked one by one; :func:`load_trace` lays them on a regular time grid.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

VALUE_COLUMNS = ("requests_per_second", "value")
MAX_STEP_S = 3600
HELD_GAP_S = 3600
MAX_MISSING_SHARE = 0.20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING_CELLS = frozenset({"", "null", "none", "na", "n/a"})
_TRUE_CELLS = {"true": True, "1": True, "t": True, "yes": True}
_FALSE_CELLS = {"false": False, "0": False, "f": False, "no": False, "": False}

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
SecondArray = npt.NDArray[np.int64]


class TraceError(ValueError):
    """A trace file that cannot be used: the message names the file, the row and the column."""


@dataclass(frozen=True)
class Rows:
    """The rows of a trace file in the file's own order.

    Attributes:
        path: the file.
        column: name of the value column.
        numbers: int64[N], row number in the file, the first row below the header being 1.
        seconds: int64[N], seconds since 1970-01-01 00:00 UTC.
        values: float64[N]; NaN where the file has no reading.
        imputed: bool[N], as the file says (all False without such a column).
        repairs: one sentence for each thing that was read differently from how it was written.
    """

    path: Path
    column: str
    numbers: SecondArray
    seconds: SecondArray
    values: FloatArray
    imputed: BoolArray
    repairs: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """A demand series on a regular time grid.

    Attributes:
        name: file name without its suffix.
        start: datetime64[s], UTC, start of the first step.
        step_s: length of a step in seconds, 1 to 3600.
        values: float64[N], finite and non-negative; a missing step holds the last reading.
        imputed: bool[N], True where the value is held and not measured.
        scored: bool[N], False inside gaps longer than an hour, which are carried but must not be scored.
        kind: "requests" for a column ``requests_per_second``, "other" for ``value``.
        repairs: one sentence for each repair; whoever loads a trace for a user prints them.
    """

    name: str
    start: np.datetime64
    step_s: int
    values: FloatArray
    imputed: BoolArray
    scored: BoolArray
    kind: Literal["requests", "other"]
    repairs: tuple[str, ...]


def read_rows(path: str | Path) -> Rows:
    """Read the rows of a trace file without asking for order, sign or regular steps.

    Args:
        path: a .parquet or .csv file.

    Raises:
        TraceError: the file is missing, empty or unreadable, a column is missing, or a cell is not a time or
            a number.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Rows]] = {".parquet": _read_parquet, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise TraceError(f"{path}: unknown file type {path.suffix!r}; expected .parquet or .csv")
    if not path.is_file():
        raise TraceError(f"{path}: no such file")
    rows = readers[path.suffix.lower()](path)
    infinite = np.flatnonzero(np.isinf(rows.values))
    if infinite.size:
        raise _cell_error(path, infinite[0], rows.column, f"{rows.values[infinite[0]]} is not a finite number")
    return rows


def load_trace(path: str | Path) -> Trace:
    """Load a trace file onto its regular grid.

    Nulls and missing steps are held at the last reading and marked imputed; so are rows the file itself
    marks as imputed, because a value filled in by the source may lean on a later reading. Gaps longer than
    an hour are held too, with ``scored`` False. Missing rows at the start have nothing to hold and are
    dropped.

    Raises:
        TraceError: what :func:`read_rows` refuses; times out of order, two values for one time, mixed steps,
            a step outside 1 s .. 1 h, a negative value, more than 20 % missing.
    """
    rows = read_rows(path)
    _refuse_negative(rows)
    _refuse_disorder(rows)
    rows = _without_repeated_rows(rows)
    readings = np.flatnonzero(~np.isnan(rows.values) & ~rows.imputed)
    if readings.size == 0:
        raise TraceError(f"{rows.path}: column {rows.column!r}: no measured value in any of {len(rows.values)} rows")
    step_s = _regular_step(rows)
    first = int(readings[0])
    repairs = list(rows.repairs)
    if first:
        repairs.append(f"rows 1 to {rows.numbers[first - 1]}: no reading yet, dropped")
    start_s, end_s = int(rows.seconds[first]), int(rows.seconds[-1])
    steps = (end_s - start_s) // step_s + 1
    missing = 1.0 - readings.size / steps
    if missing > MAX_MISSING_SHARE:
        between = f"between rows {rows.numbers[first]} and {rows.numbers[-1]}"
        raise TraceError(
            f"{rows.path}: column {rows.column!r}: {missing:.1%} of {steps} steps of {step_s} s are missing "
            f"{between}; at most {MAX_MISSING_SHARE:.0%} is accepted"
        )
    measured = np.zeros(steps, dtype=np.bool_)
    values = np.zeros(steps)
    at = (rows.seconds[readings] - start_s) // step_s
    measured[at] = True
    values[at] = rows.values[readings]
    values = values[np.maximum.accumulate(np.where(measured, np.arange(steps), 0))]
    if not measured.all():
        repairs.append(f"{steps - readings.size} of {steps} steps have no reading: the last one is held there")
    scored = _outside_long_gaps(measured, HELD_GAP_S // step_s)
    if not scored.all():
        repairs.append(f"{int((~scored).sum())} steps lie in gaps longer than an hour: carried, not scored")
    return Trace(
        name=rows.path.stem,
        start=np.datetime64(start_s, "s"),
        step_s=step_s,
        values=values,
        imputed=~measured,
        scored=scored,
        kind="requests" if rows.column == VALUE_COLUMNS[0] else "other",
        repairs=tuple(repairs),
    )


def utc(second: int) -> str:
    """Return a number of seconds since 1970 as ``2015-03-01T10:05:00Z``."""
    return f"{np.datetime64(int(second), 's')}Z"


def _cell_error(path: Path, index: int, column: str, problem: str) -> TraceError:
    return TraceError(f"{path}: row {int(index) + 1}, column {column!r}: {problem}")


def _value_column(path: Path, names: Sequence[str]) -> str:
    shown = ", ".join(names[:6]) + (f", ... ({len(names)} columns)" if len(names) > 6 else "")
    if "timestamp" not in names:
        raise TraceError(f"{path}: no column 'timestamp'; found: {shown}")
    for name in VALUE_COLUMNS:
        if name in names:
            return name
    raise TraceError(f"{path}: no column 'requests_per_second' or 'value'; found: {shown}")


def _missing_marks(path: Path, column: str, values: FloatArray, nulls: BoolArray) -> tuple[str, ...]:
    """Return the repair note for NaN marks, which are read like nulls."""
    marks = np.flatnonzero(np.isnan(values) & ~nulls)
    if not marks.size:
        return ()
    return (f"column {column!r}: {marks.size} NaN read as missing (first in row {marks[0] + 1})",)


def _read_csv(path: Path) -> Rows:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: not a readable CSV file: {error}") from error
    while table and not any(cell.strip() for cell in table[-1]):
        table.pop()
    if not table:
        raise TraceError(f"{path}: the file is empty; expected a header line and rows")
    names = [name.strip() for name in table[0]]
    column = _value_column(path, names)
    body = table[1:]
    if not body:
        raise TraceError(f"{path}: a header and no rows")
    for index, row in enumerate(body):
        if len(row) != len(names):
            raise TraceError(f"{path}: row {index + 1}: {len(row)} cells, the header has {len(names)} columns")
    at_time, at_value = names.index("timestamp"), names.index(column)
    seconds, repairs = _parse_times(path, [row[at_time] for row in body])
    values = np.empty(len(body))
    nulls = np.zeros(len(body), dtype=np.bool_)
    for index, row in enumerate(body):
        cell = row[at_value].strip()
        nulls[index] = cell.lower() in _MISSING_CELLS
        try:
            values[index] = np.nan if nulls[index] else float(cell)
        except ValueError:
            raise _cell_error(path, index, column, f"{cell!r} is not a number") from None
    imputed = np.zeros(len(body), dtype=np.bool_)
    if "imputed" in names:
        at_imputed = names.index("imputed")
        imputed = _parse_flags(path, [row[at_imputed] for row in body])
    return Rows(
        path,
        column,
        np.arange(1, len(values) + 1),
        seconds,
        values,
        imputed,
        repairs + _missing_marks(path, column, values, nulls),
    )


def _parse_times(path: Path, cells: Sequence[str]) -> tuple[SecondArray, tuple[str, ...]]:
    seconds = np.empty(len(cells), dtype=np.int64)
    first_naive = None
    for index, cell in enumerate(cells):
        try:
            moment = datetime.fromisoformat(cell.strip())
        except ValueError:
            raise _cell_error(path, index, "timestamp", f"{cell!r} is not an ISO 8601 time") from None
        if moment.tzinfo is None:
            first_naive = index if first_naive is None else first_naive
            moment = moment.replace(tzinfo=UTC)
        elapsed = moment - _EPOCH
        if elapsed.microseconds:
            raise _cell_error(path, index, "timestamp", f"{cell!r} is not a whole second")
        seconds[index] = elapsed.days * 86_400 + elapsed.seconds
    if first_naive is None:
        return seconds, ()
    return seconds, (f"column 'timestamp': no time zone (first in row {first_naive + 1}), read as UTC",)


def _parse_flags(path: Path, cells: Sequence[str]) -> BoolArray:
    known = _TRUE_CELLS | _FALSE_CELLS
    for index, cell in enumerate(cells):
        if cell.strip().lower() not in known:
            raise _cell_error(path, index, "imputed", f"{cell!r} is neither true nor false")
    return np.array([known[cell.strip().lower()] for cell in cells], dtype=np.bool_)


def _read_parquet(path: Path) -> Rows:
    try:
        schema = pq.read_schema(path)
        column = _value_column(path, schema.names)
        wanted = ["timestamp", column] + (["imputed"] if "imputed" in schema.names else [])
        table = pq.read_table(path, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise TraceError(f"{path}: not a readable Parquet file: {error}") from error
    if table.num_rows == 0:
        raise TraceError(f"{path}: the file has no rows")
    seconds, repairs = _parquet_times(path, table["timestamp"])
    cells = table[column]
    if not (pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type)):
        raise _cell_error(path, 0, column, f"the column holds {cells.type}, expected numbers")
    nulls: BoolArray = cells.is_null().to_numpy()
    values = pc.cast(cells, pa.float64()).to_numpy().astype(np.float64)
    imputed = np.zeros(table.num_rows, dtype=np.bool_)
    if "imputed" in wanted:
        flags = table["imputed"]
        if not (pa.types.is_boolean(flags.type) or pa.types.is_integer(flags.type)):
            raise _cell_error(path, 0, "imputed", f"the column holds {flags.type}, expected true or false")
        imputed = pc.fill_null(pc.cast(flags, pa.bool_()), False).to_numpy().astype(np.bool_)
    return Rows(
        path,
        column,
        np.arange(1, len(values) + 1),
        seconds,
        values,
        imputed,
        repairs + _missing_marks(path, column, values, nulls),
    )


def _parquet_times(path: Path, cells: Any) -> tuple[SecondArray, tuple[str, ...]]:
    nulls = np.flatnonzero(cells.is_null().to_numpy())
    if nulls.size:
        raise _cell_error(path, nulls[0], "timestamp", "no time")
    if pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type):
        return _parse_times(path, cells.to_pylist())
    if not pa.types.is_timestamp(cells.type):
        raise _cell_error(path, 0, "timestamp", f"the column holds {cells.type}, expected times")
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[cells.type.unit]
    ticks = pc.cast(cells, pa.int64()).to_numpy()
    odd = np.flatnonzero(ticks % per_second)
    if odd.size:
        raise _cell_error(path, odd[0], "timestamp", f"{cells[int(odd[0])].as_py()} is not a whole second")
    seconds = (ticks // per_second).astype(np.int64)
    if cells.type.tz is None:
        return seconds, ("column 'timestamp': no time zone (first in row 1), read as UTC",)
    return seconds, ()


def _refuse_disorder(rows: Rows) -> None:
    back = np.flatnonzero(np.diff(rows.seconds) < 0)
    if back.size:
        index = int(back[0]) + 1
        before, after = utc(rows.seconds[index - 1]), utc(rows.seconds[index])
        raise _cell_error(rows.path, index, "timestamp", f"{after} comes after {before}; rows must be in time order")


def _without_repeated_rows(rows: Rows) -> Rows:
    repeated = np.flatnonzero(np.diff(rows.seconds) == 0) + 1
    if not repeated.size:
        return rows
    equal = np.isclose(rows.values[repeated], rows.values[repeated - 1], rtol=0.0, atol=0.0, equal_nan=True)
    if not equal.all():
        index = int(repeated[np.argmin(equal)])
        old, new = rows.values[index - 1], rows.values[index]
        problem = f"a second value for {utc(rows.seconds[index])}: {new:g} after {old:g} in row {index}"
        raise _cell_error(rows.path, index, rows.column, problem)
    keep = np.ones(len(rows.values), dtype=np.bool_)
    keep[repeated] = False
    note = f"{repeated.size} repeated rows dropped (first: row {repeated[0] + 1})"
    return replace(
        rows,
        numbers=rows.numbers[keep],
        seconds=rows.seconds[keep],
        values=rows.values[keep],
        imputed=rows.imputed[keep],
        repairs=(*rows.repairs, note),
    )


def _refuse_negative(rows: Rows) -> None:
    negative = np.flatnonzero(rows.values < 0.0)
    if negative.size:
        value, moment = rows.values[negative[0]], utc(rows.seconds[negative[0]])
        problem = f"{value:g} at {moment} is negative; demand must be 0 or more"
        raise _cell_error(rows.path, negative[0], rows.column, problem)


def _regular_step(rows: Rows) -> int:
    """Return the commonest distance between rows; all others must be whole multiples of it."""
    if len(rows.seconds) < 2:
        raise TraceError(f"{rows.path}: row 1, column 'timestamp': one row only; a step needs at least two")
    steps = np.diff(rows.seconds)
    lengths, counts = np.unique(steps, return_counts=True)
    step_s = int(lengths[np.argmax(counts)])
    odd = np.flatnonzero(steps % step_s)
    if odd.size:
        problem = f"{steps[odd[0]]} s after the row before; the step of this file is {step_s} s"
        raise _cell_error(rows.path, rows.numbers[odd[0] + 1] - 1, "timestamp", problem)
    if step_s > MAX_STEP_S:
        raise _cell_error(rows.path, 1, "timestamp", f"a step of {step_s} s; expected 1 to {MAX_STEP_S} s")
    return step_s


def _outside_long_gaps(measured: BoolArray, longest: int) -> BoolArray:
    """Return bool[N]: False in every run of more than ``longest`` unmeasured steps."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], measured, [True])).astype(np.int8)))
    scored = np.ones(len(measured), dtype=np.bool_)
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin > longest:
            scored[begin:end] = False
    return scored
