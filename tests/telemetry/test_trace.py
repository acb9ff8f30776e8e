from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telemetry.trace import TraceError, load_trace, read_rows

START = datetime(2024, 3, 1, 0, 4, tzinfo=UTC)


def stamps(count: int, step_s: int = 300) -> list[str]:
    return [(START + timedelta(seconds=step_s * i)).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(count)]


def write(path: Path, rows: list[tuple[str, str]], header: str = "timestamp,requests_per_second") -> Path:
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def steady(count: int = 20, step_s: int = 300) -> list[tuple[str, str]]:
    return [(stamp, str(10.0 + i)) for i, stamp in enumerate(stamps(count, step_s))]


def set_cell(index: int, column: int, text: str) -> list[tuple[str, str]]:
    rows = [list(row) for row in steady()]
    rows[index][column] = text
    return [(row[0], row[1]) for row in rows]


def test_a_clean_file_is_read_as_written(tmp_path: Path) -> None:
    trace = load_trace(write(tmp_path / "web.csv", steady()))
    assert trace.name == "web"
    assert trace.start == np.datetime64("2024-03-01T00:04:00", "s")
    assert trace.step_s == 300
    assert trace.kind == "requests"
    assert trace.repairs == ()
    np.testing.assert_array_equal(trace.values, 10.0 + np.arange(20))
    assert not trace.imputed.any()
    assert trace.scored.all()


REFUSED: dict[str, tuple[Callable[[], list[tuple[str, str]]], str]] = {
    "not a number": (
        lambda: set_cell(6, 1, "many"),
        r"row 7, column 'requests_per_second': 'many' is not a num",
    ),
    "infinite": (lambda: set_cell(6, 1, "inf"), r"row 7, column 'requests_per_second': inf is not a finite"),
    "negative": (lambda: set_cell(6, 1, "-3"), r"row 7, column 'requests_per_second': -3 at .* is negative"),
    "not a time": (
        lambda: set_cell(6, 0, "noon"),
        r"row 7, column 'timestamp': 'noon' is not an ISO 8601 time",
    ),
    "part of a second": (
        lambda: set_cell(6, 0, "2024-03-01T00:34:00.5Z"),
        r"row 7, column 'timestamp': .* is not a whole second",
    ),
    "wrong order": (
        lambda: [*steady()[:5], steady()[3], *steady()[5:]],
        r"row 6, column 'timestamp': 2024-03-01T00:19:00Z comes after 2024-03-01T00:24:00Z",
    ),
    "two values for one time": (
        lambda: [*steady()[:5], (stamps(20)[4], "99"), *steady()[5:]],
        r"row 6, column 'requests_per_second': a second value for 2024-03-01T00:24:00Z: 99 after 14 in row 5",
    ),
    "mixed steps": (
        lambda: set_cell(6, 0, "2024-03-01T00:33:20Z"),
        r"row 7, column 'timestamp': 260 s after the row before; the step of this file is 300 s",
    ),
    "mixed steps after a repeated row": (
        lambda: [steady()[0], *set_cell(6, 0, "2024-03-01T00:33:20Z")],
        r"row 8, column 'timestamp': 260 s after",
    ),
    "step too long": (
        lambda: steady(step_s=7200),
        r"row 2, column 'timestamp': a step of 7200 s; expected 1 to",
    ),
    "one row": (lambda: steady(1), r"row 1, column 'timestamp': one row only"),
    "too much missing": (
        lambda: [(t, "" if i % 4 == 1 else v) for i, (t, v) in enumerate(steady())],
        r"column 'requests_per_second': 25.0% of 20 steps of 300 s are missing between rows 1 and 20",
    ),
    "nothing measured": (
        lambda: [(t, "") for t, _ in steady()],
        r"column 'requests_per_second': no measured value",
    ),
    "no rows": (list, r"a header and no rows"),
    "ragged row": (
        lambda: [*steady(4), (stamps(5)[4], "1", "2")],
        r"row 5: 3 cells, the header has 2 columns",
    ),  # type: ignore[list-item]
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_file_is_refused_by_file_row_and_column(case: str, tmp_path: Path) -> None:
    rows, message = REFUSED[case]
    path = write(tmp_path / "bad.csv", rows())
    with pytest.raises(TraceError, match=message) as caught:
        load_trace(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("time,requests_per_second", "no column 'timestamp'; found: time, requests_per_second"),
        ("timestamp,load", "no column 'requests_per_second' or 'value'; found: timestamp, load"),
    ],
)
def test_a_missing_column_is_named_with_those_found(header: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=message):
        load_trace(write(tmp_path / "bad.csv", steady(), header))


def test_empty_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    with pytest.raises(TraceError, match=r"empty\.csv: the file is empty"):
        load_trace(empty)
    with pytest.raises(TraceError, match=r"none\.csv: no such file"):
        load_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match=r"unknown file type '\.xlsx'"):
        load_trace(tmp_path / "book.xlsx")
    fake = tmp_path / "fake.parquet"
    fake.write_text("timestamp,value\n")
    with pytest.raises(TraceError, match=r"fake\.parquet: not a readable Parquet file"):
        load_trace(fake)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TraceError, match=r"binary\.csv: not a readable CSV file"):
        load_trace(binary)


def test_parquet_cells_are_checked_like_csv_cells(tmp_path: Path) -> None:
    times = pa.array([START + timedelta(minutes=i) for i in range(5)], type=pa.timestamp("ms", tz="UTC"))
    broken = {
        "value.parquet": (times, pa.array(list("abcde")), "row 1, column 'value': the column holds string"),
        "time.parquet": (
            pa.array(range(5)),
            pa.array([1.0] * 5),
            "row 1, column 'timestamp': the column holds int64",
        ),
        "null.parquet": (
            pa.array([*times.to_pylist()[:3], None, times[4].as_py()], type=times.type),
            pa.array([1.0] * 5),
            "row 4, column 'timestamp': no time",
        ),
        "inf.parquet": (
            times,
            pa.array([1.0, 1.0, np.inf, 1.0, 1.0]),
            "row 3, column 'value': inf is not a finite",
        ),
    }
    for name, (time_column, values, message) in broken.items():
        pq.write_table(pa.table({"timestamp": time_column, "value": values}), tmp_path / name)
        with pytest.raises(TraceError, match=message):
            load_trace(tmp_path / name)


def test_repairs_are_made_and_recorded(tmp_path: Path) -> None:
    rows = steady()
    naive = load_trace(write(tmp_path / "naive.csv", [(t.rstrip("Z"), v) for t, v in rows]))
    assert naive.start == np.datetime64("2024-03-01T00:04:00", "s")
    assert naive.repairs == ("column 'timestamp': no time zone (first in row 1), read as UTC",)
    repeated = load_trace(write(tmp_path / "repeated.csv", [*rows[:3], rows[2], *rows[3:]]))
    np.testing.assert_array_equal(repeated.values, 10.0 + np.arange(20))
    assert repeated.repairs == ("1 repeated rows dropped (first: row 4)",)
    marked = load_trace(write(tmp_path / "nan.csv", set_cell(7, 1, "NaN")))
    assert marked.repairs[0] == "column 'requests_per_second': 1 NaN read as missing (first in row 8)"
    assert marked.values[7] == marked.values[6]
    late = load_trace(write(tmp_path / "late.csv", [(t, "" if i < 2 else v) for i, (t, v) in enumerate(rows)]))
    assert late.repairs == ("rows 1 to 2: no reading yet, dropped",)
    assert late.start == np.datetime64("2024-03-01T00:14:00", "s")


def test_an_offset_is_converted_to_utc(tmp_path: Path) -> None:
    rows = [(t.replace("Z", "+02:00"), v) for t, v in steady()]
    trace = load_trace(write(tmp_path / "paris.csv", rows))
    assert trace.start == np.datetime64("2024-02-29T22:04:00", "s")
    assert trace.repairs == ()


def test_short_gaps_are_held_and_long_ones_not_scored(tmp_path: Path) -> None:
    rows = steady(200)
    without = [*rows[:20], *rows[32:100], *rows[113:]]
    trace = load_trace(write(tmp_path / "gaps.csv", without))
    assert len(trace.values) == 200
    assert trace.imputed.sum() == 12 + 13
    np.testing.assert_array_equal(trace.values[20:32], trace.values[19])
    np.testing.assert_array_equal(trace.values[100:113], trace.values[99])
    assert trace.scored[20:32].all(), "one hour exactly is still scored"
    assert not trace.scored[100:113].any(), "65 minutes are not"
    assert trace.scored.sum() == 187


def test_values_filled_in_by_the_source_are_held_not_believed(tmp_path: Path) -> None:
    rows = [(t, v, "true" if i == 5 else "false") for i, (t, v) in enumerate(steady())]
    path = write(tmp_path / "filled.csv", rows, "timestamp,value,imputed")  # type: ignore[arg-type]
    trace = load_trace(path)
    assert trace.kind == "other"
    assert trace.imputed.nonzero()[0].tolist() == [5]
    assert trace.values[5] == trace.values[4]


def test_csv_and_parquet_give_the_same_trace(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = [None if i in (4, 5) else float(v) for i, v in enumerate(rng.gamma(2.0, 50.0, 60))]
    flags = [i == 30 for i in range(60)]
    times = [START + timedelta(seconds=30 * i) for i in range(60)]
    table = pa.table(
        {
            "timestamp": pa.array(times, type=pa.timestamp("us", tz="UTC")),
            "value": pa.array(values, type=pa.float64()),
            "imputed": pa.array(flags),
        }
    )
    pq.write_table(table, tmp_path / "same.parquet")
    cells = [
        (t.isoformat(), "" if v is None else repr(v), str(f)) for t, v, f in zip(times, values, flags, strict=True)
    ]
    write(tmp_path / "same.csv", cells, "timestamp,value,imputed")  # type: ignore[arg-type]
    from_csv, from_parquet = load_trace(tmp_path / "same.csv"), load_trace(tmp_path / "same.parquet")
    for name in ("name", "start", "step_s", "kind", "repairs"):
        assert getattr(from_csv, name) == getattr(from_parquet, name)
    for name in ("values", "imputed", "scored"):
        np.testing.assert_array_equal(getattr(from_csv, name), getattr(from_parquet, name))


def test_rows_keep_the_file_as_it_stands(tmp_path: Path) -> None:
    rows = [*steady()[:5], (stamps(20)[2], "-7"), *steady()[5:]]
    read = read_rows(write(tmp_path / "odd.csv", rows))
    assert len(read.values) == 21
    assert read.values[5] == -7.0
    assert read.seconds[5] == read.seconds[2]


@pytest.mark.traces
def test_every_real_trace_loads(traces_dir: Path) -> None:
    loaded = 0
    for path in sorted(traces_dir.glob("*.parquet")):
        names = pq.read_schema(path).names
        if "timestamp" not in names or not {"requests_per_second", "value"} & set(names):
            with pytest.raises(TraceError, match="no column"):
                load_trace(path)
            continue
        trace = load_trace(path)
        assert np.isfinite(trace.values).all()
        assert trace.values.min() >= 0.0
        assert trace.imputed.mean() < 0.03
        loaded += 1
    assert loaded >= 9
