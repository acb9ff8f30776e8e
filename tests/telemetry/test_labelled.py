from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telemetry.labelled import load_kpi, load_nab, load_tables, spans
from telemetry.trace import TraceError


def test_spans_are_the_first_and_last_rows_of_runs() -> None:
    np.testing.assert_array_equal(spans([True, True, False, True]), [[0, 1], [3, 3]])
    assert spans([False, False]).shape == (0, 2)


def test_a_series_file_comes_back_as_arrays(tmp_path: Path) -> None:
    stamps = np.datetime64("2020-01-01", "ms") + 300_000 * np.arange(6)
    columns = {"timestamp": stamps, "value": np.arange(6.0), "is_anomaly": [False, True, True, True, True, False]}
    (tmp_path / "group").mkdir()
    pq.write_table(pa.table(columns | {"window_id": [-1, 0, 0, 1, 1, -1]}), tmp_path / "group" / "a.parquet")
    series = load_nab(tmp_path)[0]
    assert (series.name, series.group, series.step_s) == ("group/a", "group", 300.0)
    np.testing.assert_array_equal(series.windows, [[1, 2], [3, 4]])
    pq.write_table(pa.table(columns), tmp_path / "group" / "a.parquet")
    np.testing.assert_array_equal(load_kpi(tmp_path)[0].windows, [[1, 4]])


def test_a_machine_file_is_cut_into_history_and_scored_part(tmp_path: Path) -> None:
    table = {"minute": [0, 5, 10], "part": ["train", "train", "test"], "is_anomaly": [-1, -1, 1], "m0": [1.0, 2.0, 3.0]}
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    machine = load_tables(tmp_path)[0]
    assert machine.history.tolist() == [[1.0], [2.0]]
    assert machine.values.tolist() == [[3.0]]
    assert machine.is_anomaly.tolist() == [True]
    assert machine.step_s == 300.0


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no \.parquet file"):
        load_nab(tmp_path)
    pq.write_table(pa.table({"timestamp": [1], "value": [2.0]}), tmp_path / "x.parquet")
    with pytest.raises(TraceError, match="no column 'is_anomaly'"):
        load_nab(tmp_path)


@pytest.mark.traces
def test_the_development_files_are_there(traces_dir: Path) -> None:
    nab = load_nab(traces_dir.parent / "anomalies" / "nab")
    assert len(nab) == 32
    assert sum(len(one.windows) for one in nab) == 56
