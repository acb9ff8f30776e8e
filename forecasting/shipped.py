"""The shipped weights of every model, each read once; made by one command from public data and the simulator."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from forecasting.demand.boosted import Boosted, load_boosted

if TYPE_CHECKING:
    from forecasting.capacity.requirements import CapacityModels
    from forecasting.rootcause.model import CauseModel, KindModel
    from forecasting.trees import FlatTrees

WEIGHTS: Final = Path(__file__).resolve().parent / "weights"
DEMAND_FILE: Final = "demand.npz"
RANKER_FILE: Final = "anomaly-ranker.npz"
CAUSES_FILE: Final = "root-causes.npz"
KINDS_FILE: Final = "anomaly-kinds.npz"
PLANNER_FILE: Final = "capacity-planner.onnx"
PERFORMANCE_FILE: Final = "performance.onnx"

_Model = TypeVar("_Model")


@cache
def shipped_boosted(path: Path = WEIGHTS / DEMAND_FILE) -> Boosted:
    """Return the pooled demand model.

    Raises:
        ValueError: The file is missing or was made for another version; names it.
    """

    def read(file: Path) -> Boosted:
        with np.load(file, allow_pickle=False) as arrays:
            return load_boosted(arrays)

    return _read(read, path)


@cache
def shipped_ranker(path: Path = WEIGHTS / RANKER_FILE) -> "FlatTrees":
    """Return the ranker of anomalies over all metrics of a service; ValueError as `shipped_boosted`."""
    from forecasting.trees import load_trees

    def read(file: Path) -> "FlatTrees":
        with np.load(file, allow_pickle=False) as arrays:
            return load_trees(arrays)

    return _read(read, path)


@cache
def shipped_causes(path: Path = WEIGHTS / CAUSES_FILE) -> "CauseModel":
    """Return the model that ranks causes in a service graph; ValueError as `shipped_boosted`."""
    from forecasting.rootcause.evidence import EVIDENCE
    from forecasting.rootcause.model import load_cause_model

    return _read(lambda file: load_cause_model(file, EVIDENCE), path)


@cache
def shipped_kinds(path: Path = WEIGHTS / KINDS_FILE) -> "KindModel":
    """Return the model that names the kind of an anomaly in one service's signals; ValueError as `shipped_boosted`."""
    from forecasting.rootcause.model import load_kind_model
    from forecasting.rootcause.signals import EVIDENCE

    return _read(lambda file: load_kind_model(file, EVIDENCE), path)


@cache
def shipped_capacity(folder: Path = WEIGHTS) -> "CapacityModels":
    """Return capacity planner and performance predictor (they run on onnxruntime); ValueError as `shipped_boosted`."""
    from forecasting.capacity.performance import PerformancePredictor
    from forecasting.capacity.planner import CapacityPlanner
    from forecasting.capacity.requirements import CapacityModels

    planner = _read(CapacityPlanner.load, folder / PLANNER_FILE)
    return CapacityModels(planner, _read(PerformancePredictor.load, folder / PERFORMANCE_FILE))


def _read(read: Callable[[Path], _Model], path: Path) -> _Model:
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}; make it with scripts/train_models.py") from error
