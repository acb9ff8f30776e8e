"""The pooled model: boosted trees that learn, over many series at once, how far off the seasonal experts are.

One model per quantile level, for every lead up to four hours and every series: direct multi-horizon, the lead being a
feature. The target is ``(value - experts' median) / usual move``. Trained with LightGBM's pinball loss; evaluated by
compiled code, so forecasting needs no LightGBM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from forecasting.demand.design import FEATURES, write_row
from forecasting.demand.memory import (
    LONGEST_LEAD_S,
    Memory,
    MemorySettings,
    empty_memory,
    memory_settings,
    remember,
    spread_scale,
    tame,
)
from forecasting.demand.seasonal_naive import SeasonalNaive, Settings, State, learn, predict_quantiles
from forecasting.trees import FlatTrees, flatten, load_trees, save_trees
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVELS: Final = (0.1, 0.5, 0.9, 0.99)
LEADS_MINUTES: Final = (5, 10, 15, 30, 60, 120, 240)
Boosted = tuple[FlatTrees, FlatTrees, FlatTrees, FlatTrees]
"""One model per level of LEVELS."""

_LEAST_EXPERT_LEAD_S: Final = 300
_COARSER_S: Final = (900, 3_600)


@dataclass(frozen=True)
class TrainingSettings:
    """How the pooled model is trained.

    Attributes:
        rows_per_series: Origins with a lead each that a series contributes at its own step.
        rows_per_coarser: The same for each coarser step that a five-minute series is averaged to.
        trees: Trees per level.
        leaves: Leaves per tree.
        least_rows_per_leaf: Fewest rows of a leaf.
        learning_rate: Shrinkage.
        scale_power: Within a series a row counts as its scale to this power; 1 weighs errors in the series' unit.
        seed: Of rows drawn and of LightGBM.
    """

    rows_per_series: int = 9_000
    rows_per_coarser: int = 1_500
    trees: int = 150
    leaves: int = 31
    least_rows_per_leaf: int = 500
    learning_rate: float = 0.08
    scale_power: float = 0.5
    seed: int = 0


def tracked_leads(step_s: int) -> list[int]:
    """Return the leads of the tape in steps (LEADS_MINUTES as far as the step has them), at which the blend learns."""
    return sorted({round(60 * minutes / step_s) for minutes in LEADS_MINUTES} - {0})


def expert_leads(step_s: int, longest_s: int = LONGEST_LEAD_S) -> list[int]:
    """Return the leads in steps at which the experts learn: every five minutes up to four hours, then doublings.

    Every one of them, because a series with an hourly rhythm favors another expert at each part of the hour.
    """
    stride = max(1, _LEAST_EXPERT_LEAD_S // step_s)
    leads = sorted({1, *range(stride, max(1, LONGEST_LEAD_S // step_s) + 1, stride)})
    while leads[-1] * step_s < longest_s:
        leads.append(min(2 * leads[-1], -(-longest_s // step_s)))
    return leads


def train_boosted(
    series: Sequence[tuple[int, npt.ArrayLike]], settings: TrainingSettings = TrainingSettings()
) -> Boosted:
    """Train the pooled model on the training parts of many series.

    Args:
        series: pairs of step in seconds and float64[N] values, non-negative, NaN where missing.
        settings: see there.

    Raises:
        ValueError: No series is longer than the four hours that are forecast.
    """
    import lightgbm

    rng = np.random.default_rng([settings.seed, 0xD3])
    parts = []
    for step_s, values in series:
        own = np.asarray(values, dtype=np.float64)
        parts.append(_sample(step_s, own, settings.rows_per_series, settings, rng))
        for coarser_s in _COARSER_S:
            if coarser_s > step_s and coarser_s % step_s == 0:
                means = _means(own, coarser_s // step_s)
                parts.append(_sample(coarser_s, means, settings.rows_per_coarser, settings, rng))
    if not any(len(targets) for _, targets, _ in parts):
        raise ValueError("no series is long enough to train on: one needs more than four hours")
    rows, targets, weights = (np.concatenate([part[place] for part in parts]) for place in range(3))
    data = lightgbm.Dataset(rows, targets, weight=weights, params={"max_bin": 63, "verbosity": -1})
    fixed = {
        "objective": "quantile",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.least_rows_per_leaf,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "max_bin": 63,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "seed": settings.seed,
        "verbosity": -1,
    }
    low, middle, high, highest = (
        flatten(lightgbm.train(fixed | {"alpha": level}, data, settings.trees)) for level in LEVELS
    )
    return low, middle, high, highest


def save_boosted(boosted: Boosted) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of the model by name, for ``np.savez_compressed``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for level, trees in zip(LEVELS, boosted, strict=True):
        arrays |= save_trees(trees, f"q{level:g}/")
    return arrays


def load_boosted(arrays: Mapping[str, npt.NDArray[Any]]) -> Boosted:
    """Return the model that :func:`save_boosted` gave as arrays.

    Raises:
        ValueError: An array is missing, or the trees were made for other features.
    """
    low, middle, high, highest = (load_trees(arrays, f"q{level:g}/") for level in LEVELS)
    for trees in (low, middle, high, highest):
        if trees.num_features[0] != len(FEATURES):
            raise ValueError(f"the saved trees take {trees.num_features[0]} features, this version has {len(FEATURES)}")
    return low, middle, high, highest


def _means(values: FloatArray, count: int) -> FloatArray:
    """Return means of whole groups, NaN where more than half of a group is missing."""
    groups = values[: len(values) // count * count].reshape(-1, count)
    known = ~np.isnan(groups)
    total = np.where(known, groups, 0.0).sum(axis=1)
    share = known.sum(axis=1)
    return np.where(2 * share >= count, total / np.maximum(share, 1), np.nan)


def _sample(
    step_s: int, values: FloatArray, rows: int, settings: TrainingSettings, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return design rows, targets and weights of random origins and leads of one series.

    Half of the leads are uniform over the four hours, half over the leads of the tape. The weights of a series add up
    to the square root of its rows.
    """
    longest = max(1, LONGEST_LEAD_S // step_s)
    known = np.flatnonzero(~np.isnan(values))
    first = int(known[0]) if known.size else len(values)
    last = len(values) - longest
    if last <= first + 1:
        return np.empty((0, len(FEATURES))), np.empty(0), np.empty(0)
    count = min(rows, 4 * (last - first))
    origins = np.sort(rng.integers(first + 1, last, size=count))
    tape = np.array(tracked_leads(step_s))
    uniform = rng.integers(1, longest, size=count, endpoint=True)
    leads = np.where(rng.random(count) < 0.5, uniform, tape[rng.integers(len(tape), size=count)])
    table, anchors, scales = design_rows(step_s, values, origins, leads)
    targets = (values[origins + leads] - anchors) / scales
    weights = scales**settings.scale_power
    usable = np.isfinite(targets)
    weights = weights[usable] / max(weights[usable].sum(), 1e-300) * np.sqrt(usable.sum())
    return table[usable], targets[usable], weights


def design_rows(
    step_s: int, values: FloatArray, origins: IntArray, leads: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return what the model is told at given origins of a series.

    Args:
        step_s: seconds per step.
        values: float64[N], NaN where missing.
        origins: int64[M], increasing; the last value known at each.
        leads: int64[M], steps ahead, up to four hours.

    Returns:
        float64[M, F] design rows, float64[M] anchors (the experts' medians), float64[M] scales.
    """
    experts = SeasonalNaive(step_s=step_s, leads=expert_leads(step_s), levels=LEVELS)
    memory = memory_settings(step_s)
    table = np.empty((len(origins), len(FEATURES)))
    anchors, scales = np.empty(len(origins)), np.empty(len(origins))
    _gather(
        experts.state, experts.settings, empty_memory(memory), memory, values, origins, leads, table, anchors, scales
    )
    return table, anchors, scales


@compiled
def nearest_tracked(leads: IntArray, lead: int) -> int:
    """Return the place of the tracked lead that stands for a lead: the first one not below it, or the last."""
    return min(int(np.searchsorted(leads, lead)), len(leads) - 1)


@compiled
def _gather(
    experts: State,
    expert_settings: Settings,
    memory: Memory,
    settings: MemorySettings,
    values: FloatArray,
    origins: IntArray,
    leads: IntArray,
    table: FloatArray,
    anchors: FloatArray,
    scales: FloatArray,
) -> None:
    quantiles = np.empty(len(expert_settings.levels))
    index = 0
    for step in range(len(values)):
        value = tame(memory, values[step])
        learn(experts, expert_settings, value)
        remember(memory, settings, value)
        while index < len(origins) and origins[index] == step:
            predict_quantiles(experts, expert_settings, leads[index], quantiles)
            at = nearest_tracked(expert_settings.leads, leads[index])
            write_row(experts, expert_settings, memory, settings, at, leads[index], quantiles, table[index])
            anchors[index] = quantiles[1]
            scales[index] = spread_scale(memory, settings)
            index += 1
