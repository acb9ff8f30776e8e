"""A learnt combination: boosted trees on the streams of all metrics of a service, trained on labelled faults.

The features of a row are, for each metric in order, the 12 signed deviations of `DEVIATIONS` and the nine ``-log10 p``
of `STREAMS`. Rows of faults weigh the same per fault, however long it lasts, or short ones would be lost. LightGBM is
needed to train; what it learnt is evaluated by ``forecasting.trees`` without it.

The threshold is chosen on a fifth of the training tables, which the trees do not see, and built into them as one more
tree of a single leaf: an alarm is a score of 0.5 or more.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.alarm import AlarmRule, alarms
from forecasting.anomaly.streams import DEVIATIONS, STREAMS, observe_table, stream_bank, stream_settings
from forecasting.anomaly.tables import FaultTable
from forecasting.metrics.events import EventCounts, count_events, pool_counts
from forecasting.trees import FlatTrees, flatten

FloatArray = npt.NDArray[np.float64]

FEATURES_PER_METRIC: Final = len(DEVIATIONS) + len(STREAMS)
WARM_UP_S: Final = 2 * 86_400.0
MOST_FALSE_ALARMS_PER_DAY: Final = 0.01
_OFF_SCORE: Final = 0.1
_ORDINARY_SHARE: Final = 0.25
_EVENT_WEIGHT: Final = 30.0
_PARAMETERS: Final = {
    "objective": "binary",
    "num_leaves": 31,
    "learning_rate": 0.06,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.3,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
}
_ROUNDS: Final = 300


def ranker_rule(step_s: float) -> AlarmRule:
    """Return when the alarm of a ranker starts and ends: 0.5, below 0.1 for a quarter of an hour, an hour of rest."""
    return AlarmRule(0.5, _OFF_SCORE, max(round(900.0 / step_s), 1), max(round(3600.0 / step_s), 1))


def stream_features(table: FaultTable) -> npt.NDArray[np.float32]:
    """Return float32[T, M * 21], what the streams say of every row, knowing only the rows before it."""
    settings = stream_settings(table.step_s)
    rows = np.ascontiguousarray(table.values, dtype=np.float64)
    bank = stream_bank(settings, rows.shape[1])
    rarities = np.empty((*rows.shape, len(STREAMS)))
    signed = np.empty((*rows.shape, len(DEVIATIONS)))
    observe_table(bank, settings, rows, rarities, signed)
    return np.concatenate((signed, rarities), axis=2).reshape(len(rows), -1).astype(np.float32)


def train_ranker(tables: Sequence[FaultTable], seed: int) -> FlatTrees:
    """Train the trees of a `TableDetector` on services whose faults are known.

    Args:
        tables: At least ten, all with the same metrics and step.
        seed: Of the split and the trees; the same seed gives the same trees.

    Returns:
        Trees whose prediction is 0.5 at the alarm threshold.

    Raises:
        ValueError: fewer than ten tables, metrics or steps that differ, or no fault in them.
    """
    import lightgbm

    if len(tables) < 10:
        raise ValueError(f"training needs at least 10 tables, got {len(tables)}")
    if len({(table.metrics, table.step_s) for table in tables}) > 1:
        raise ValueError("the training tables differ in their metrics or steps")
    rng = np.random.default_rng([seed, 0xFA])
    order = rng.permutation(len(tables))
    kept_back = [tables[at] for at in order[: len(tables) // 5]]
    learnt = [_sample(tables[at], rng) for at in order[len(tables) // 5 :]]
    rows, labels, weights = (np.concatenate(parts) for parts in zip(*learnt, strict=True))
    if not labels.any():
        raise ValueError("no fault in the training tables")
    data = lightgbm.Dataset(rows, labels, weight=weights)
    trees = flatten(lightgbm.train(_PARAMETERS | {"seed": seed}, data, _ROUNDS))
    return _with_threshold(trees, choose_threshold(trees, kept_back))


def choose_threshold(trees: FlatTrees, tables: Sequence[FaultTable]) -> float:
    """Return the score with the best event F1 among those with few enough false alarms a day."""
    scores = [ranker_scores(trees, table) for table in tables]
    best, chosen = -1.0, 0.999
    for on in 1.0 / (1.0 + np.exp(-np.arange(0.0, 8.0, 0.25))):
        counts = _counts(scores, tables, float(on))
        few = counts.false_alarms_per_day <= MOST_FALSE_ALARMS_PER_DAY
        if few and counts.f1 > best:
            best, chosen = counts.f1, float(on)
    return chosen


def ranker_scores(trees: FlatTrees, table: FaultTable) -> FloatArray:
    """Return float64[T], 0 during the warm-up of two days."""
    scores = trees.predict(stream_features(table))
    scores[: round(WARM_UP_S / table.step_s)] = 0.0
    return scores


def _counts(scores: Sequence[FloatArray], tables: Sequence[FaultTable], on: float) -> EventCounts:
    """Return what alarms at a threshold would do, the lower one at the same odds below it as in use."""
    rule = ranker_rule(tables[0].step_s)
    odds = on / (1.0 - on) * rule.off / (1.0 - rule.off)
    rule = rule._replace(on=on, off=odds / (1.0 + odds))
    warm = round(WARM_UP_S / tables[0].step_s)
    return pool_counts(
        count_events(alarms(score, rule)[warm:], table.events_s - warm * table.step_s, table.step_s)
        for score, table in zip(scores, tables, strict=True)
    )


def _sample(table: FaultTable, rng: np.random.Generator) -> tuple[Any, FloatArray, FloatArray]:
    """Return features, labels and weights of the fault rows and of a share of the others, after the warm-up."""
    starts_s = np.arange(len(table.values)) * table.step_s
    labels, weights = np.zeros(len(starts_s)), np.ones(len(starts_s))
    for start_s, end_s in table.events_s:
        inside = (starts_s < end_s) & (starts_s + table.step_s > start_s)
        labels[inside] = 1.0
        weights[inside] = _EVENT_WEIGHT / max(int(inside.sum()), 1)
    kept = (labels > 0.0) | (rng.random(len(labels)) < _ORDINARY_SHARE)
    kept[: round(WARM_UP_S / table.step_s)] = False
    return stream_features(table)[kept], labels[kept], weights[kept]


def _with_threshold(trees: FlatTrees, on: float) -> FlatTrees:
    """Return the trees with one more leaf that moves the score ``on`` to 0.5."""
    leaf = np.append(trees.leaf, -np.log(on / (1.0 - on)) / trees.steepness[0])
    return trees._replace(roots=np.append(trees.roots, np.int32(~(len(leaf) - 1))), leaf=leaf)
