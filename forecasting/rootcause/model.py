"""The learned part of root-cause analysis: trees that rank candidates and trees that name the kind, as one file.

A model answers two questions from evidence: which row is the cause, and, given that a row is, of which kind. Each is
a set of boosted trees that give probabilities; those of an incident are made to add up to 1 after a temperature that
was fitted on incidents held out in training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.rootcause.incident import FloatArray
from forecasting.rootcause.patterns import Library
from forecasting.trees import FlatTrees, load_trees, save_trees
from telemetry.provenance import write_arrays

_LEAST = 1e-6
_FIT_SHARPNESS = 6.0


@dataclass(frozen=True)
class KindModel:
    """Names the kind of trouble from rows of evidence.

    Attributes:
        evidence: [F] names of the columns it was trained on.
        kinds: [K] names of the kinds.
        trees: [K] one set per kind, probability of it against all others.
        sharpness: factor on the log odds; above 1 the trees were too timid, below 1 too sure.
    """

    evidence: tuple[str, ...]
    kinds: tuple[str, ...]
    trees: tuple[FlatTrees, ...]
    sharpness: float

    def log_odds(self, rows: FloatArray) -> FloatArray:
        """Return float64[N, K]."""
        return log_odds(np.stack([trees.predict(rows) for trees in self.trees], axis=1))

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Return float64[N, K], adding up to 1 in each row."""
        return sharpened(self.log_odds(rows), self.sharpness)


@dataclass(frozen=True)
class CauseModel:
    """Ranks the candidates of an incident by their evidence.

    Attributes:
        evidence: [F] names of the columns it was trained on.
        trees: probability that a row is the cause, without looking at the other rows.
        sharpness: as in `KindModel`.
        kind: names the kind of the cause.
    """

    evidence: tuple[str, ...]
    trees: FlatTrees
    sharpness: float
    kind: KindModel

    def log_odds(self, rows: FloatArray) -> FloatArray:
        """Return float64[C]."""
        return log_odds(self.trees.predict(rows))

    def probabilities(self, rows: FloatArray) -> FloatArray:
        """Return float64[C] of the candidates of one incident, adding up to 1."""
        return sharpened(self.log_odds(rows), self.sharpness)


def log_odds(probability: FloatArray) -> FloatArray:
    """Return log(p / (1 - p)), within +-13.8."""
    inside = np.clip(probability, _LEAST, 1.0 - _LEAST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def sharpened(odds: FloatArray, sharpness: float) -> FloatArray:
    """Return the softmax of ``odds`` times ``sharpness`` over the last axis; -inf gives 0."""
    scaled = sharpness * odds
    shares = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def pattern_odds(row: FloatArray, library: Library, evidence: tuple[str, ...], model: KindModel | None) -> FloatArray:
    """Return [K] log odds of the library's patterns; one that the model has not learnt is judged by its fingerprint.

    Args:
        row: float64[F], evidence of one candidate or event.
        library: the patterns.
        evidence: [F] names of the columns.
        model: a trained model; None to go by fingerprints alone.
    """
    odds = _FIT_SHARPNESS * library.fit(row[None, :], evidence)[0]
    if model is not None:
        learnt = dict(zip(model.kinds, model.sharpness * model.log_odds(row[None, :])[0], strict=True))
        odds = np.array([learnt.get(kind, odd) for kind, odd in zip(library.kinds, odds, strict=True)])
    return np.asarray(odds)


def save_model(path: Path, model: CauseModel | KindModel) -> None:
    """Write a model as an ``.npz`` file without pickle, by a temporary file and a rename."""
    kind = model.kind if isinstance(model, CauseModel) else model
    arrays: dict[str, npt.NDArray[Any]] = {
        "evidence": np.array(kind.evidence),
        "kinds": np.array(kind.kinds),
        "kind_sharpness": np.array(kind.sharpness),
    }
    for at, trees in enumerate(kind.trees):
        arrays |= save_trees(trees, f"kind{at}_")
    if isinstance(model, CauseModel):
        arrays |= {"cause_sharpness": np.array(model.sharpness)} | save_trees(model.trees, "cause_")
    write_arrays(path, arrays)


def load_kind_model(path: Path, evidence: tuple[str, ...]) -> KindModel:
    """Return the model that names kinds; ``evidence`` is what the columns must be.

    Raises:
        ValueError: it was trained on other evidence, or the file lacks a part.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return _kind_model(dict(arrays), evidence, path)


def load_cause_model(path: Path, evidence: tuple[str, ...]) -> CauseModel:
    """Return the model that ranks candidates; as :func:`load_kind_model`."""
    with np.load(path, allow_pickle=False) as found:
        arrays = dict(found)
    kind = _kind_model(arrays, evidence, path)
    if "cause_sharpness" not in arrays:
        raise ValueError(f"{path} ranks no candidates: it holds a model of kinds alone")
    return CauseModel(evidence, load_trees(arrays, "cause_"), float(arrays["cause_sharpness"]), kind)


def _kind_model(arrays: dict[str, npt.NDArray[Any]], evidence: tuple[str, ...], path: Path) -> KindModel:
    for name in ("evidence", "kinds", "kind_sharpness"):
        if name not in arrays:
            raise ValueError(f"{path} is no root-cause model: it lacks {name!r}")
    if tuple(arrays["evidence"].tolist()) != evidence:
        raise ValueError(f"{path} was trained on other evidence than this version gathers; train it again")
    kinds = tuple(arrays["kinds"].tolist())
    trees = tuple(load_trees(arrays, f"kind{at}_") for at in range(len(kinds)))
    return KindModel(evidence, kinds, trees, float(arrays["kind_sharpness"]))
