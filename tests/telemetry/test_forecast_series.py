from pathlib import Path

import numpy as np
import pytest

from telemetry.forecast_series import SERIES_FILE, load_forecast_series, load_series_list, to_grid
from telemetry.splits import load_splits


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SERIES_FILE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "series.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_whole_test_traces_and_unsettled_licences_train_nothing() -> None:
    pooled = {entry.name for entry in load_series_list().series if entry.role == "pooled"}
    assert len(pooled) >= 30
    assert not pooled & {*load_splits().whole_test_traces, "alibaba_dlrm_instances_2025_5min"}
    assert not [entry for entry in load_series_list().series if "elb_request_count_8c" in entry.file]
    assert not [entry for entry in load_series_list().series if "realTweets" in entry.file]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train: 0.50", "train: 0.85", "leave nothing to test"),
        ("name: surf_lisa_jobs_2022_5min,", "name: isp_traffic_eu_2005_5min,", "listed twice"),
        ("source_step_s: 60, step_s: 300, role: pooled", "source_step_s: 77, step_s: 300, role: pooled", "no multiple"),
    ],
)
def test_a_bad_list_names_the_fault(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_series_list(changed(tmp_path, old, new))


def test_a_grid_step_is_the_mean_of_its_readings() -> None:
    seconds = [0, 60, 120, 180, 240, 300, 360, 420, 420, 900]
    readings = [1.0, 2.0, 3.0, 4.0, 5.0, 7.0, np.nan, 8.0, 10.0, 6.0]
    values = to_grid(seconds, readings, source_step_s=60, step_s=300)
    np.testing.assert_allclose(values, [3.0, 25.0 / 3.0, np.nan, np.nan])
    assert to_grid([600, 0, 0], [5.0, 1.0, 2.0], source_step_s=300, step_s=300)[0] == 1.5


def test_an_unknown_series_is_named() -> None:
    with pytest.raises(ValueError, match="'nobody' is not in"):
        load_forecast_series(Path(), names=["nobody"])


@pytest.mark.traces
def test_every_listed_series_loads_and_its_parts_meet(traces_dir: Path) -> None:
    loaded = load_forecast_series(traces_dir.parent)
    assert [series.name for series in loaded] == [entry.name for entry in load_series_list().series]
    for series in loaded:
        assert np.isnan(series.values).mean() < 0.1
        assert np.nanmin(series.values) >= 0.0
        validate, test = series.scored("validate"), series.scored("test")
        assert len(series.history("validate")) == validate.start
        assert (validate.stop, test.stop) == (test.start, len(series.values))
        assert len(series.history("test")) / len(series.values) == pytest.approx(0.7, abs=0.01)
        assert len(series.history("validate")) / len(series.values) == pytest.approx(0.5, abs=0.01)
