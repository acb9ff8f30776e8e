"""Detector of a whole service or machine: the streams of every metric, combined by a ranker or by their mean; compiled.

With trees (``forecasting.anomaly.ranker``) the score is their prediction, an alarm is 0.5, and nothing is said in the
first two days. Without, ``n`` is the mean over metrics of the mean tail of their streams, the score ``n / (n + 2)``.
A row with all metrics missing is learnt as time passing and still scored by the trees: a gap is a fault too.
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.alarm import ALARM_SIZE, AlarmRule, alarm_step
from forecasting.anomaly.detector import MEAN, combined, lasting
from forecasting.anomaly.ranker import FEATURES_PER_METRIC, WARM_UP_S, ranker_rule
from forecasting.anomaly.streams import (
    STREAMS,
    Streams,
    StreamSettings,
    observe_row,
    stream_bank,
    stream_settings,
)
from forecasting.trees import FlatTrees, predict_row
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

_HALF_SCORE = 2.0
_EXTENT_S = 12 * 3600.0
_ROWS, _EXTENT = range(2)


class TableSettings(NamedTuple):
    """What does not change: lengths of the streams, rows of warm-up, memory of the extent in rows, the alarm."""

    streams: StreamSettings
    warm_up: float
    extent: float
    alarm: AlarmRule


class TableState(NamedTuple):
    """What has been seen.

    Attributes:
        bank: Streams of M metrics.
        rarities: float64[M, 9], the newest.
        features: float64[M * 21], the row that the trees see.
        counters: float64[2], rows seen and the extent.
        alarm: float64[4].
    """

    bank: Streams
    rarities: FloatArray
    features: FloatArray
    counters: FloatArray
    alarm: FloatArray


class TableReading(NamedTuple):
    """What is said of each row: score and extent (float64[T], 0..1), alarm (bool[T])."""

    score: FloatArray
    extent: FloatArray
    alarm: npt.NDArray[np.bool_]


class TableDetector:
    """Streaming detector of faults in several metrics of one service.

    Args:
        step_s: Seconds between rows, 1 to 86,400.
        metrics: How many, 1 or more; for trees, those they were trained on, in their order.
        trees: What `train_ranker` returned, or none for the mean of tails.
        rule: When an alarm starts and ends; by default that of the ranker.

    Raises:
        ValueError: a parameter outside its range, or trees for another number of metrics.
    """

    def __init__(
        self, step_s: float, metrics: int, *, trees: FlatTrees | None = None, rule: AlarmRule | None = None
    ) -> None:
        streams = stream_settings(step_s)
        if trees is not None and trees.num_features[0] != metrics * FEATURES_PER_METRIC:
            known = int(trees.num_features[0]) // FEATURES_PER_METRIC
            raise ValueError(f"the trees were trained on {known} metrics, not {metrics}")
        self.trees = trees
        self.metrics = metrics
        self.settings = TableSettings(
            streams, round(WARM_UP_S / step_s), max(_EXTENT_S / step_s, 12.0), rule or ranker_rule(step_s)
        )
        self.state = self._empty()

    def fit(self, history: npt.ArrayLike) -> Self:
        """Learn ``history`` (float64[N, M]) from scratch and end at its last row."""
        self.state = self._empty()
        read_table(self, history)
        return self

    def update(self, row: npt.ArrayLike) -> float:
        """Take the next row (float64[M], NaN where missing) and return its score, 0..1."""
        return float(read_table(self, np.asarray(row, dtype=np.float64)[None]).score[0])

    def _empty(self) -> TableState:
        bank = stream_bank(self.settings.streams, self.metrics)
        features = np.zeros(self.metrics * FEATURES_PER_METRIC)
        return TableState(bank, np.zeros((self.metrics, len(STREAMS))), features, np.zeros(2), np.zeros(ALARM_SIZE))


def read_table(detector: TableDetector, rows: npt.ArrayLike) -> TableReading:
    """Feed rows (float64[T, M]) and return what is said of each, in one compiled call.

    Raises:
        ValueError: rows of another width.
    """
    table = np.ascontiguousarray(rows, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != detector.metrics:
        raise ValueError(f"rows have shape {table.shape}; this detector needs [T, {detector.metrics}]")
    reading = TableReading(np.empty(len(table)), np.empty(len(table)), np.empty(len(table), dtype=np.bool_))
    if detector.trees is None:
        _run_mean(detector.state, detector.settings, table, reading)
    else:
        _run_trees(detector.state, detector.settings, detector.trees, table, reading)
    return reading


@compiled
def _observe(state: TableState, settings: TableSettings, row: FloatArray) -> float:
    """Take a row into the streams; return the mean of tails."""
    observe_row(state.bank, settings.streams, row, state.rarities)
    total, level = 0.0, 0.0
    for metric in range(len(row)):
        total += combined(state.rarities[metric], MEAN)
        level += lasting(state.rarities[metric])
    level /= len(row)
    state.counters[_ROWS] += 1.0
    state.counters[_EXTENT] += (level / (level + _HALF_SCORE) - state.counters[_EXTENT]) / settings.extent
    return total / len(row)


@compiled
def _run_mean(state: TableState, settings: TableSettings, rows: FloatArray, reading: TableReading) -> None:
    for index in range(len(rows)):
        rarity = _observe(state, settings, rows[index])
        score = rarity / (rarity + _HALF_SCORE) if state.counters[_ROWS] > settings.warm_up else 0.0
        reading.score[index] = score
        reading.extent[index] = state.counters[_EXTENT]
        reading.alarm[index] = alarm_step(state.alarm, settings.alarm, score)


@compiled
def _run_trees(
    state: TableState, settings: TableSettings, trees: FlatTrees, rows: FloatArray, reading: TableReading
) -> None:
    deviations = state.bank.signed.shape[1]
    width = deviations + state.rarities.shape[1]
    for index in range(len(rows)):
        _observe(state, settings, rows[index])
        for metric in range(rows.shape[1]):
            features = state.features[metric * width : (metric + 1) * width]
            features[:deviations] = state.bank.signed[metric]
            features[deviations:] = state.rarities[metric]
        for at in range(len(state.features)):
            state.features[at] = np.float32(state.features[at])
        score = predict_row(trees, state.features) if state.counters[_ROWS] > settings.warm_up else 0.0
        reading.score[index] = score
        reading.extent[index] = state.counters[_EXTENT]
        reading.alarm[index] = alarm_step(state.alarm, settings.alarm, score)
