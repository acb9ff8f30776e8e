"""Boosted trees as arrays: a trained LightGBM model evaluated by compiled code, without LightGBM.

All nodes of all trees stand in one table. A child that is 0 or more is the row of a node; a negative one is a leaf,
``~child`` being its row among the leaf values. A prediction is the sum of one leaf per tree, through the logistic
function if the model was trained on 0/1 labels.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry.compiled import compiled, compiled_in_place

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int32]

Node = tuple[int, float, int, int, int]
_ZERO: Final = float(np.float32(1e-35))
_PLAIN_OBJECTIVES: Final = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank")


class FlatTrees(NamedTuple):
    """A model of boosted trees. Letters: T trees, M inner nodes, L leaves, F features.

    Attributes:
        roots: int32[T], row of a tree's first node, or ``~leaf`` for a tree of one leaf.
        feature: int32[M], column of a row that a node looks at.
        threshold: float64[M], values up to it go left.
        children: int32[M, 2], left and right: row of a node or ``~leaf``.
        missing_left: int32[M], 1 where NaN goes left.
        leaf: float64[L], values of the leaves.
        steepness: float64[1], factor in the logistic function; 0 where the sum itself is the prediction.
        num_features: int32[1], F.
    """

    roots: IntArray
    feature: IntArray
    threshold: FloatArray
    children: IntArray
    missing_left: IntArray
    leaf: FloatArray
    steepness: FloatArray
    num_features: IntArray

    def predict(self, rows: npt.ArrayLike) -> FloatArray:
        """Return float64[N] predictions of ``rows`` (float64[N, F]; NaN is missing).

        Raises:
            ValueError: rows of another width.
        """
        table = np.ascontiguousarray(rows, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.num_features[0]:
            raise ValueError(f"rows have shape {table.shape}; the trees need [N, {self.num_features[0]}]")
        predictions = np.empty(len(table))
        _predict_rows(self, table, predictions)
        return predictions


def flatten(booster: Any) -> FlatTrees:
    """Return the trees of a LightGBM booster as arrays, up to its best iteration.

    Args:
        booster: ``lightgbm.Booster`` (or the ``booster_`` of its scikit-learn wrapper) for one number per row:
            regression, quantile, ranking or binary.

    Raises:
        ValueError: several classes, a link other than identity and logistic, averaged (random forest) or linear
            trees, a categorical split, or zero taken as missing.
    """
    model = booster.dump_model()
    objective = str(model.get("objective", "")).split()
    name = objective[0] if objective else ""
    if model["num_tree_per_iteration"] != 1 or name not in (*_PLAIN_OBJECTIVES, "binary"):
        raise ValueError(f"cannot flatten objective {name!r} with {model['num_tree_per_iteration']} trees an iteration")
    if model.get("average_output"):
        raise ValueError("cannot flatten averaged trees (random forest)")
    steepness = 0.0
    if name == "binary":
        steepness = float(dict(part.split(":") for part in objective[1:])["sigmoid"])
    nodes: list[Node] = []
    leaves: list[float] = []
    roots = [_add(tree["tree_structure"], nodes, leaves) for tree in model["tree_info"]]
    feature, threshold, left, right, missing_left = zip(*nodes, strict=True) if nodes else [()] * 5
    return FlatTrees(
        roots=np.array(roots, dtype=np.int32),
        feature=np.array(feature, dtype=np.int32),
        threshold=np.array(threshold, dtype=np.float64),
        children=np.array([left, right], dtype=np.int32).T.copy(),
        missing_left=np.array(missing_left, dtype=np.int32),
        leaf=np.array(leaves, dtype=np.float64),
        steepness=np.array([steepness]),
        num_features=np.array([model["max_feature_idx"] + 1], dtype=np.int32),
    )


def save_trees(trees: FlatTrees, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a model by name, for ``np.savez_compressed``; small whole numbers in their least width."""
    return {prefix + name: _narrowed(array) for name, array in trees._asdict().items()}


def load_trees(arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> FlatTrees:
    """Return the model that :func:`save_trees` gave as arrays.

    Raises:
        ValueError: an array is missing, or a node points outside its table.
    """
    wide: dict[str, Any] = {}
    for name, kind in FlatTrees.__annotations__.items():
        if prefix + name not in arrays:
            raise ValueError(f"no array {prefix + name!r} in the saved trees")
        wide[name] = np.ascontiguousarray(arrays[prefix + name], dtype=np.float64 if kind is FloatArray else np.int32)
    trees = FlatTrees(**wide)
    nodes, leaves = len(trees.feature), len(trees.leaf)
    for children in (trees.roots, trees.children):
        if children.size and (children.max(initial=-1) >= nodes or (~children).max() >= leaves):
            raise ValueError("the saved trees point outside their tables")
    if nodes and not 0 <= trees.feature.min() <= trees.feature.max() < trees.num_features[0]:
        raise ValueError(f"the saved trees use features outside 0..{trees.num_features[0] - 1}")
    return trees


def _narrowed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind != "i":
        return array
    for kind in (np.int8, np.int16):
        if np.array_equal(array.astype(kind), array):
            return array.astype(kind)
    return array


def _add(node: dict[str, Any], nodes: list[Node], leaves: list[float]) -> int:
    """Add a node and all below it; return its row, or ``~leaf``.

    LightGBM reads values up to 1e-35 from zero as zero, so its threshold of -1e-35 lies below all of them. Where
    training saw no missing value, it reads NaN as zero.
    """
    if "split_index" not in node:
        if "leaf_coeff" in node:
            raise ValueError("cannot flatten linear trees")
        leaves.append(float(node["leaf_value"]))
        return ~(len(leaves) - 1)
    if node["decision_type"] != "<=":
        raise ValueError(f"cannot flatten a categorical split ({node['decision_type']!r})")
    if node["missing_type"] == "Zero":
        raise ValueError("cannot flatten trees that take zero as missing (zero_as_missing)")
    at = len(nodes)
    nodes.append((0, 0.0, 0, 0, 0))
    left = _add(node["left_child"], nodes, leaves)
    right = _add(node["right_child"], nodes, leaves)
    threshold = float(node["threshold"])
    if threshold == -_ZERO:
        threshold = float(np.nextafter(threshold, -np.inf))
    missing_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0.0
    nodes[at] = (node["split_feature"], threshold, left, right, int(missing_left))
    return at


@compiled_in_place
def _below(trees: FlatTrees, node: int, row: FloatArray) -> int:
    """Return the child of a node that a row goes to; a leaf stays."""
    if node < 0:
        return node
    value = row[trees.feature[node]]
    left = (value <= trees.threshold[node]) | (math.isnan(value) & (trees.missing_left[node] == 1))
    return int(trees.children[node, 1 - int(left)])


@compiled_in_place
def predict_row(trees: FlatTrees, row: FloatArray) -> float:
    """Return the prediction of one row (float64[F], NaN is missing); for use inside compiled code.

    Four trees are walked side by side: a step down one does not wait for the comparison of another.
    """
    total = 0.0
    tree, count = 0, len(trees.roots)
    while tree + 3 < count:
        first, second = trees.roots[tree], trees.roots[tree + 1]
        third, fourth = trees.roots[tree + 2], trees.roots[tree + 3]
        while first >= 0 or second >= 0 or third >= 0 or fourth >= 0:
            first = _below(trees, first, row)
            second = _below(trees, second, row)
            third = _below(trees, third, row)
            fourth = _below(trees, fourth, row)
        total += trees.leaf[~first] + trees.leaf[~second] + trees.leaf[~third] + trees.leaf[~fourth]
        tree += 4
    for rest in range(tree, count):
        node = trees.roots[rest]
        while node >= 0:
            node = _below(trees, node, row)
        total += trees.leaf[~node]
    if trees.steepness[0] > 0.0:
        return 1.0 / (1.0 + math.exp(-trees.steepness[0] * total))
    return total


@compiled
def _predict_rows(trees: FlatTrees, rows: FloatArray, predictions: FloatArray) -> None:
    for index in range(len(rows)):
        predictions[index] = predict_row(trees, rows[index])
