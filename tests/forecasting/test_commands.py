import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def series_file(path: Path, hours: int = 240) -> Path:
    rng = np.random.default_rng(0)
    start = np.datetime64("2024-01-01T00:00:00")
    lines = [f"{start + np.timedelta64(i, 'h')}Z,{rng.gamma(3.0, 5.0):.4f}" for i in range(hours)]
    path.write_text("timestamp,value\n" + "\n".join(lines) + "\n")
    return path


def test_forecast_writes_the_table_and_its_record(tmp_path: Path) -> None:
    series = series_file(tmp_path / "load.csv")
    out = tmp_path / "new" / "f.parquet"
    done = run("forecast.py", "--series", str(series), "--origins", "6h", "--horizon", "4h", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = pq.read_table(out)
    assert table.column_names == ["origin", "timestamp", "q0.1", "q0.5", "q0.9"]
    assert table["origin"][0].as_py().isoformat() == "2024-01-03T23:00:00+00:00"
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["rows"] == table.num_rows
    assert record["options"]["origins"] == "6h"
    assert {"python", "numpy", "numba"} <= set(record["versions"])
    assert sorted(path.name for path in out.parent.iterdir()) == ["f.json", "f.parquet"]


def test_detect_writes_a_row_per_row(tmp_path: Path) -> None:
    series = series_file(tmp_path / "load.csv")
    out = tmp_path / "d.parquet"
    done = run("detect.py", "--series", str(series), "--out", str(out))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out)
    assert table.column_names == ["timestamp", "value", "score", "event", "extent"]
    assert table.num_rows == 240
    assert 0.0 <= min(table["score"].to_pylist()) <= max(table["score"].to_pylist()) <= 1.0
    assert out.with_suffix(".json").exists()


def test_bad_input_ends_with_two_and_one_line(tmp_path: Path) -> None:
    broken = series_file(tmp_path / "broken.csv")
    broken.write_text(broken.read_text().replace("2024-01-01T05:00:00Z,", "2024-01-01T05:00:00Z,x"))
    for script in ("forecast.py", "detect.py"):
        done = run(script, "--series", str(broken), "--out", str(tmp_path / "o.parquet"))
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert f"{broken}: row 6, column 'value': 'x" in done.stderr
    good = series_file(tmp_path / "good.csv")
    done = run("forecast.py", "--series", str(good), "--origins", "soon", "--out", str(tmp_path / "o.parquet"))
    assert done.returncode == 2
    assert "'soon' is not a duration" in done.stderr
    done = run("detect.py", "--series", str(good), "--out", str(tmp_path / "o.xlsx"))
    assert done.returncode == 2
    assert "unknown file type '.xlsx'" in done.stderr
    assert not list(tmp_path.glob("o.*"))


def test_an_unwritable_place_ends_with_one(tmp_path: Path) -> None:
    good = series_file(tmp_path / "good.csv")
    done = run("detect.py", "--series", str(good), "--out", str(good / "d.parquet"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
