from pathlib import Path

import numpy as np
import pytest

from forecasting.demand.lstm_training import LstmSettings
from forecasting.suites.forecast import forecast_suite
from forecasting.suites.forecast_field import LSTM, STREAMING_EXPERTS, pooled_histories, train_field
from telemetry.forecast_series import load_forecast_series


@pytest.mark.traces
def test_pooled_models_see_pooled_series_before_the_scored_part_only(traces_dir: Path) -> None:
    series = load_forecast_series(traces_dir.parent)
    pooled = [item for item in series if item.role == "pooled"]
    for part in ("validate", "test"):
        histories = pooled_histories(series, part)
        assert len(histories) == len(pooled) < len(series)
        for item, history in zip(pooled, histories, strict=True):
            assert len(history.values) == item.scored(part).start
            np.testing.assert_array_equal(history.values, item.values[: item.scored(part).start])


@pytest.mark.slow
@pytest.mark.traces
def test_the_field_runs_on_real_series_and_beats_the_naives_where_it_should(traces_dir: Path) -> None:
    for package in ("torch", "statsforecast", "matplotlib"):
        pytest.importorskip(package)
    names = ["exchange-2_cpc_results", "exchange-2_cpm_results", "exchange-3_cpc_results"]
    series = load_forecast_series(traces_dir.parent, names=names)
    small = LstmSettings(units=8, hidden=16, batches=60, batch=64)
    field = train_field(series, "validate", lightgbm=False, lstm=[small], statistical=["AutoTheta"])
    finding = forecast_suite(
        field.fast,
        series,
        part="validate",
        slow=field.slow,
        trained_s=field.trained_s,
        slow_origins=4,
        every_s=6 * 3600,
    )
    table = next(iter(finding.tables.values())).set_index("model")
    assert table.loc[STREAMING_EXPERTS, "relMASE"] < 1.0
    assert 0.6 < table.loc[STREAMING_EXPERTS, "coverage"] < 0.95
    costs = finding.tables["Cost (CPU, one thread)"].set_index("model")["pooled training s"]
    assert costs[LSTM] > 0.0 == costs[STREAMING_EXPERTS]
    assert set(finding.figures) == {"forecast-relative", "forecast-coverage", "forecast-week"}
