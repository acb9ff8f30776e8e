from pathlib import Path

import numpy as np
import pytest

from forecasting.rolling import ROLLING_LEVELS, duration_s, rolling_forecasts, score_rows
from telemetry.trace import Rows, Trace


def made(days: int = 10, step_s: int = 300) -> Trace:
    steps = np.arange(days * 86_400 // step_s)
    noise = np.random.default_rng(2).normal(0.0, 0.1, len(steps))
    values = 50.0 * np.exp(np.sin(2.0 * np.pi * steps * step_s / 86_400) + noise)
    none = np.zeros(len(steps), dtype=np.bool_)
    return Trace("made", np.datetime64("2024-01-01T00:04", "s"), step_s, values, none, ~none, "requests", ())


def columns(trace: Trace, every: str = "6h", horizon: str = "4h") -> dict[str, np.ndarray]:
    table = rolling_forecasts(trace, every_s=duration_s(every), horizon_s=duration_s(horizon))
    return {name: table[name].to_numpy() for name in table.column_names}


def test_rows_are_origins_times_steps_of_the_horizon() -> None:
    trace = made()
    table = columns(trace)
    assert list(table) == ["origin", "timestamp", *(f"q{level}" for level in ROLLING_LEVELS)]
    origins = np.unique(table["origin"])
    assert len(table["origin"]) == 48 * len(origins)
    first = trace.start + np.timedelta64(300 * (864 - 1), "s")
    assert origins[0] == first, "the last step of the first 30 % of 2880"
    assert (np.diff(origins) == np.timedelta64(6, "h")).all()
    ahead = (table["timestamp"] - table["origin"]) / np.timedelta64(300, "s")
    np.testing.assert_array_equal(ahead.reshape(-1, 48), np.tile(np.arange(1, 49), (len(origins), 1)))
    end = trace.start + np.timedelta64(300 * len(trace.values), "s")
    assert table["timestamp"].max() < end
    assert end - table["timestamp"].max() <= np.timedelta64(6, "h")


@pytest.mark.parametrize("step_s", [60, 300, 900, 3600])
def test_the_future_changes_no_forecast_made_before_it(step_s: int) -> None:
    trace = made(step_s=step_s)
    at = len(trace.values) * 2 // 3
    other = made(step_s=step_s)
    other.values[at:] *= 5.0
    before, after = columns(trace), columns(other)
    origin_limit = (trace.start + np.timedelta64(step_s * at, "s")).astype("datetime64[ms]")
    early = before["origin"] < origin_limit
    assert early.any()
    assert not early.all()
    for name in ("q0.1", "q0.5", "q0.9"):
        np.testing.assert_array_equal(before[name][early], after[name][early])
        assert not np.isclose(before[name][~early], after[name][~early]).any()


def test_the_value_stamped_origin_is_known() -> None:
    trace, other = made(), made()
    other.values[863] *= 5.0
    assert columns(trace)["q0.5"][0] != columns(other)["q0.5"][0]


def test_held_values_are_missing_not_believed() -> None:
    trace, other = made(), made()
    for made_trace in (trace, other):
        made_trace.imputed[1000:1010] = True
    other.values[1000:1010] = 9e9
    np.testing.assert_array_equal(columns(trace)["q0.9"], columns(other)["q0.9"])


def test_bad_requests_are_named() -> None:
    with pytest.raises(ValueError, match="too short for a horizon"):
        rolling_forecasts(made(1), every_s=60 * 60, horizon_s=86_400)
    with pytest.raises(ValueError, match="shorter than a step"):
        rolling_forecasts(made(), every_s=60, horizon_s=3600)
    with pytest.raises(ValueError, match="'soon' is not a duration"):
        duration_s("soon")
    with pytest.raises(ValueError, match="not a duration"):
        duration_s("0h")


def test_durations() -> None:
    assert [duration_s(text) for text in ("90s", "30m", "6h", "1d")] == [90, 1800, 21_600, 86_400]


def test_every_row_is_scored_in_the_files_order() -> None:
    seconds = np.arange(400, dtype=np.int64) * 300
    seconds[200] = seconds[199]
    seconds[300] = seconds[250]
    values = np.random.default_rng(0).normal(0.0, 1.0, 400)
    values[7] = np.nan
    imputed = np.zeros(400, dtype=np.bool_)
    rows = Rows(Path("odd.csv"), "value", np.arange(1, 401), seconds, values, imputed, ())
    table, notes = score_rows(rows)
    assert table.column_names == ["timestamp", "value", "score", "event", "extent"]
    events, score = table["event"].to_numpy(), table["score"].to_numpy()
    assert ((score > 0.5) == (events >= 0.4)).all()
    np.testing.assert_array_equal(table["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64), seconds)
    assert table["value"].null_count == 1
    assert "row 301 goes back in time (1 such rows)" in notes[0]
    assert "row 201 repeats a time (1 such rows)" in notes[1]
