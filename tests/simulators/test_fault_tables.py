import numpy as np
import pytest

from simulators.anomalies.suite import METRICS, labelled_suite
from simulators.validation.fault_tables import TABLE_METRICS, fault_table, fault_tables, total_days


def test_a_table_holds_the_means_and_the_labels_of_its_series() -> None:
    series = labelled_suite(5, 1, "easy")[0]
    table = fault_table(series)
    assert table.metrics == TABLE_METRICS
    assert table.values.shape == (14 * 288, len(TABLE_METRICS))
    for column, name in enumerate(METRICS):
        minutes = series.signals[name].astype(np.float64)[5000:5005]
        assert table.values[1000, column] == pytest.approx(np.nanmean(minutes), rel=1e-6)
    spans = [(60.0 * label.start_tick, 60.0 * label.end_tick) for label in series.labels]
    np.testing.assert_array_equal(table.events_s, np.array(spans).reshape(-1, 2))
    assert table.kinds == tuple(label.kind for label in series.labels)
    assert total_days([table, table]) == 28.0


def test_a_metric_gap_is_missing_and_seen_in_the_share_delivered() -> None:
    tables = fault_tables(11, 12, "easy")
    gaps = [
        (table, span)
        for table in tables
        for span, kind in zip(table.events_s, table.kinds, strict=True)
        if kind == "metric_gap"
    ]
    assert gaps
    for table, (start_s, end_s) in gaps:
        inside = slice(int(-(-start_s // 300)), int(end_s // 300))
        share = table.values[inside, TABLE_METRICS.index("delivered_share")]
        assert (share == 0.0).all()
        assert np.isnan(table.values[inside, TABLE_METRICS.index("demand_rps")]).all()
        assert np.isfinite(table.values[inside, TABLE_METRICS.index("spot_usd_per_hour")]).all()


def test_ratios_know_only_what_came_before() -> None:
    series = labelled_suite(5, 1, "easy")[0]
    table = fault_table(series)
    cut = {name: np.where(np.arange(len(path)) < 10_000, path, 9.0 * path) for name, path in series.signals.items()}
    other = fault_table(type(series)(series.name, cut, series.labels))
    np.testing.assert_array_equal(table.values[:2000], other.values[:2000])
