"""Labelled series of the simulator as tables for detectors: five-minute rows, ratios beside the metrics."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from forecasting.anomaly.tables import FaultTable
from simulators.anomalies.suite import METRICS, LabelledSeries, labelled_suite

FloatArray = NDArray[np.float64]

ROW_MINUTES: Final = 5
_PEAK_ROWS: Final = 7
_RATIOS: Final = ("delivered_share", "work_per_request", "instances_per_peak_work")
TABLE_METRICS: Final = (*METRICS, *_RATIOS)
"""Columns of a table: the metrics of a labelled series, then what an operator derives from them."""


def fault_tables(seed: int, n: int, difficulty: Literal["easy", "hard", "mixed"]) -> list[FaultTable]:
    """Return ``n`` labelled services as tables; keep disjoint seeds for training and scoring.

    Raises:
        ValueError: as `simulators.anomalies.labelled_suite`.
    """
    return [fault_table(series) for series in labelled_suite(seed, n, difficulty)]


def fault_table(series: LabelledSeries) -> FaultTable:
    """Return one labelled series as a table of five-minute rows.

    A row is the mean of its delivered minutes. Beside the metrics stand the share of minutes delivered, the work of a
    request (utilization x instances / demand) and the instances per largest work of the last 35 minutes.
    """
    minutes = np.stack([series.signals[name].astype(np.float64) for name in METRICS], axis=1)
    rows = len(minutes) // ROW_MINUTES
    bins = minutes[: rows * ROW_MINUTES].reshape(rows, ROW_MINUTES, len(METRICS))
    known = ~np.isnan(bins)
    count = known.sum(axis=1)
    total = np.where(known, bins, 0.0).sum(axis=1)
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return FaultTable(
        series.name,
        TABLE_METRICS,
        np.column_stack((means, _ratios(means, count[:, 0] / ROW_MINUTES))),
        60.0 * ROW_MINUTES,
        np.array([(60.0 * label.start_tick, 60.0 * label.end_tick) for label in series.labels]).reshape(-1, 2),
        tuple(label.kind for label in series.labels),
    )


def _ratios(means: FloatArray, delivered_share: FloatArray) -> FloatArray:
    column = dict(zip(METRICS, means.T, strict=True))
    work = column["cpu_utilization"] * column["in_service"]
    padded = np.concatenate((np.full(_PEAK_ROWS - 1, np.nan), work))
    recent = np.lib.stride_tricks.sliding_window_view(padded, _PEAK_ROWS)
    peak = np.where(np.isnan(recent), 0.0, recent).max(axis=1)
    demand = np.where(column["demand_rps"] > 0.0, column["demand_rps"], np.nan)
    return np.column_stack((delivered_share, work / demand, column["in_service"] / np.where(peak > 0.0, peak, np.nan)))


def total_days(tables: Sequence[FaultTable]) -> float:
    """Return the length of all series together in days."""
    return sum(len(table.values) * table.step_s for table in tables) / 86_400.0
