"""Training of the capacity planner with LightGBM, its calibration, and its export."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import CAPACITY_TARGET, MAX_INSTANCES, Column, read_columns
from forecasting.capacity.planner import (
    CAPACITY_FEATURES,
    Calibration,
    CapacityFeatures,
    CapacityPlanner,
    capacity_features,
    planned_size,
)
from forecasting.capacity.trees import tree_ensemble

if TYPE_CHECKING:
    import lightgbm

FloatArray = NDArray[np.float64]

PARITY_ROWS = 1000
PARITY_TOLERANCE = 1e-4
_SIZE = Column(CAPACITY_TARGET, 1, MAX_INSTANCES, 1, MAX_INSTANCES, "cheapest adequate number of instances")


class ParityError(ValueError):
    """The exported model does not say what the trained one says."""


@dataclass(frozen=True)
class PlannerSettings:
    """How the planner is trained.

    Attributes:
        rounds: Trees of the middle.
        leaves: Leaves of each of them.
        rate: Learning rate.
        high_rounds: Trees of the high quantile.
        high_leaves: Leaves of each of them.
        high_quantile: Its level.
        calibration_share: Share of the rows that the trees do not see.
        least_within_one: The guard raises plans no further than leaves this share of the calibration cases within one
            instance.
    """

    rounds: int = 240
    leaves: int = 31
    rate: float = 0.07
    high_rounds: int = 150
    high_leaves: int = 24
    high_quantile: float = 0.95
    calibration_share: float = 0.25
    least_within_one: float = 0.91


def train_capacity_planner(table: pd.DataFrame, seed: int, settings: PlannerSettings | None = None) -> CapacityPlanner:
    """Return a planner trained on a capacity table.

    A row's size is that of a whole fleet; the trees aim half an instance below it, in logarithms, each row weighted by
    its size.

    Args:
        table: ``CAPACITY_COLUMNS`` and ``instances``.
        seed: Draws the calibration rows and seeds LightGBM.
        settings: Defaults if absent.

    Raises:
        ValueError: As ``capacity_features``; or a size outside 1..99; or fewer than 200 rows.
        ParityError: The exported trees differ from LightGBM's.
    """
    settings = settings or PlannerSettings()
    if len(table) < 200:
        raise ValueError(f"a planner needs at least 200 rows, got {len(table)}")
    features = capacity_features(table)
    size = read_columns(table, (_SIZE,))[:, 0]
    order = np.random.default_rng(seed).permutation(len(table))
    held = order[: int(settings.calibration_share * len(table))]
    fitted = order[len(held) :]
    wanted = np.log((size - 0.5) / features.theory)
    boosters = [
        _boost(features.values[fitted], wanted[fitted], size[fitted], seed, settings),
        _boost_high(features.values[fitted], wanted[fitted], seed, settings),
    ]
    kept = features.rows(held)
    calibration = _calibrate(_raw_scores(boosters, kept.values), kept, size[held], settings)
    metadata = {
        "features": CAPACITY_FEATURES,
        "calibration": asdict(calibration),
        "settings": asdict(settings),
        "rows": len(table),
        "seed": seed,
    }
    model = tree_ensemble(
        [booster.dump_model() for booster in boosters],
        features=len(CAPACITY_FEATURES),
        metadata={"fleetgym": json.dumps(metadata)},
    )
    planner = CapacityPlanner(model.SerializeToString())
    check_parity(boosters, planner, features.values)
    return planner


def _boost(
    values: NDArray[np.float32], wanted: FloatArray, weight: FloatArray, seed: int, settings: PlannerSettings
) -> "lightgbm.Booster":
    import lightgbm

    parameters = _parameters(seed) | {
        "objective": "l2",
        "learning_rate": settings.rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": 30,
        "lambda_l2": 1.0,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(values, wanted, weight=weight), settings.rounds)


def _boost_high(
    values: NDArray[np.float32], wanted: FloatArray, seed: int, settings: PlannerSettings
) -> "lightgbm.Booster":
    import lightgbm

    parameters = _parameters(seed) | {
        "objective": "quantile",
        "alpha": settings.high_quantile,
        "learning_rate": 0.1,
        "num_leaves": settings.high_leaves,
        "min_data_in_leaf": 60,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(values, wanted), settings.high_rounds)


def _parameters(seed: int) -> dict[str, Any]:
    return {"seed": seed, "num_threads": 1, "deterministic": True, "force_row_wise": True, "verbose": -1}


def _raw_scores(boosters: list["lightgbm.Booster"], values: NDArray[np.float32]) -> FloatArray:
    return np.column_stack([booster.predict(values) for booster in boosters])


def _calibrate(
    scores: FloatArray, features: CapacityFeatures, size: FloatArray, settings: PlannerSettings
) -> Calibration:
    """Return the least guard under which no plan falls short by more than one, as far as enough stay within one."""
    chosen = 0.0
    for guard in np.arange(0.0, 3.01, 0.1):
        middle, planned = planned_size(scores, features, float(guard))
        short = np.minimum(planned, MAX_INSTANCES) - size
        if float((np.abs(short) <= 1.0).mean()) < settings.least_within_one:
            break
        chosen = float(guard)
        if not (short < -1.0).any():
            break
    residual = np.log((size - 0.5) / middle)
    low, high = np.quantile(residual, (0.05, 0.95))
    return Calibration(guard=chosen, residual_low=float(low), residual_high=float(high), cases=len(size))


def check_parity(boosters: list["lightgbm.Booster"], planner: CapacityPlanner, values: NDArray[np.float32]) -> float:
    """Compare exported and trained trees on the training cases and on as many random points; return the difference.

    Raises:
        ParityError: Any score differs by more than 1e-4.
    """
    rng = np.random.default_rng(0)
    spread = values.std(axis=0)
    around = values[rng.integers(len(values), size=PARITY_ROWS)] + rng.normal(0.0, spread, (PARITY_ROWS, len(spread)))
    points = np.concatenate([values[:PARITY_ROWS], around.astype(np.float32)])
    difference = float(np.abs(_raw_scores(boosters, points) - planner.scores(points)).max())
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(f"exported scores differ from LightGBM's by {difference:.2e} (at most {PARITY_TOLERANCE})")
    return difference
