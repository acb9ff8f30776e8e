"""Train root-cause analysis on labelled incidents; needs LightGBM, using the result does not.

Every incident is learnt from as it looks at its end, a few minutes after its start, and with a start that was noticed
late, so that the model knows how little an early look shows. Confidence is fitted on incidents that the trees of
their fold have not seen.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.rootcause.deviations import measure_deviations
from forecasting.rootcause.evidence import EVIDENCE, gather_evidence
from forecasting.rootcause.incident import FloatArray, LabelledIncident, Look
from forecasting.rootcause.model import CauseModel, KindModel, log_odds
from forecasting.trees import FlatTrees, flatten

LOOKS: Final = (Look(), Look(10), Look(30), Look(20, late_ticks=5), Look(30, late_ticks=15))
"""When each incident is learnt from."""

_FOLDS: Final = 3
_CAUSE_ROUNDS: Final = 400
_KIND_ROUNDS: Final = 120
_PARAMETERS: Final = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 10,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 2.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_KIND_PARAMETERS: Final = _PARAMETERS | {"num_leaves": 7, "min_data_in_leaf": 8}


def train_root_cause(tables: Sequence[LabelledIncident], seed: int) -> CauseModel:
    """Return a model of causes and kinds, trained on labelled incidents.

    Args:
        tables: incidents, at least 30, with at least two of each kind that occurs. Disjoint from any scored later.
        seed: of the trees and the folds; non-negative. The same seed and tables give the same model.

    Raises:
        ValueError: too few incidents.
    """
    if len(tables) < 30:
        raise ValueError(f"root cause needs at least 30 incidents to learn from, got {len(tables)}")
    looks = [_evidence(item, look) for item in tables for look in LOOKS]
    owner = np.repeat(np.arange(len(tables)), len(LOOKS))
    truths = np.array([item.incident.topology.candidates.index(item.cause) for item in tables])[owner]
    fold = np.random.default_rng([seed, 0x4C]).permutation(len(tables)) % _FOLDS
    held_out = [np.empty(0)] * len(looks)
    for part in range(_FOLDS):
        unseen = np.flatnonzero(fold[owner] == part)
        trees = _cause_trees(looks, truths, np.flatnonzero(fold[owner] != part), seed)
        for at in unseen:
            held_out[at] = log_odds(trees.predict(looks[at]))
    rows = np.stack([look[truth] for look, truth in zip(looks, truths, strict=True)])
    kinds = np.array([item.kind for item in tables])[owner]
    return CauseModel(
        evidence=EVIDENCE,
        trees=_cause_trees(looks, truths, np.arange(len(looks)), seed),
        sharpness=fit_sharpness(held_out, truths),
        kind=train_kinds(rows, kinds, owner, EVIDENCE, seed),
    )


def train_kinds(
    rows: FloatArray, kinds: npt.NDArray[np.str_], owner: npt.NDArray[np.int64], evidence: tuple[str, ...], seed: int
) -> KindModel:
    """Return a model that names the kind of a row of evidence.

    Args:
        rows: float64[N, F].
        kinds: [N] the true kinds.
        owner: int[N], the incident of each row; rows of one incident stay in one fold.
        evidence: [F] names of the columns.
        seed: of trees and folds.
    """
    names = tuple(sorted(set(kinds.tolist())))
    fold = np.random.default_rng([seed, 0x4D]).permutation(int(owner.max()) + 1)[owner] % _FOLDS
    truths = np.array([names.index(kind) for kind in kinds])
    odds = np.empty((len(rows), len(names)))
    for part in range(_FOLDS):
        unseen = fold == part
        for at in range(len(names)):
            trees = _grow(rows[~unseen], truths[~unseen] == at, _KIND_PARAMETERS, _KIND_ROUNDS, seed)
            odds[unseen, at] = log_odds(trees.predict(rows[unseen]))
    trees_of = tuple(_grow(rows, truths == at, _KIND_PARAMETERS, _KIND_ROUNDS, seed) for at in range(len(names)))
    return KindModel(evidence, names, trees_of, fit_sharpness(list(odds), truths))


def fit_sharpness(odds: Sequence[FloatArray], truths: npt.NDArray[np.int64]) -> float:
    """Return the factor on log odds under which the truths are most likely, 0.1..4, to 1 %.

    Args:
        odds: log odds of each incident's candidates, held out from training.
        truths: int[N], index of the true one.
    """
    factors = np.geomspace(0.1, 4.0, 371)
    likelihood = np.zeros(len(factors))
    for row, truth in zip(odds, truths, strict=True):
        scaled = factors[:, None] * (row - row[truth])[None, :]
        highest = scaled.max(axis=1)
        likelihood -= highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float(factors[likelihood.argmax()])


def _evidence(item: LabelledIncident, look: Look) -> FloatArray:
    incident = item.incident.seen(look)
    return gather_evidence(measure_deviations(incident), incident.topology)


def _cause_trees(
    looks: Sequence[FloatArray], truths: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], seed: int
) -> FlatTrees:
    rows = np.concatenate([looks[at] for at in chosen])
    labels = np.concatenate([np.arange(len(looks[at])) == truths[at] for at in chosen])
    return _grow(rows, labels, _PARAMETERS, _CAUSE_ROUNDS, seed)


def _grow(
    rows: FloatArray, labels: npt.NDArray[np.bool_], parameters: dict[str, object], rounds: int, seed: int
) -> FlatTrees:
    import lightgbm

    data = lightgbm.Dataset(rows, labels.astype(np.float64))
    return flatten(lightgbm.train(parameters | {"seed": seed}, data, num_boost_round=rounds))
