"""Boosted trees of LightGBM as one ONNX node, run by onnxruntime with the same result to rounding.

LightGBM splits on ``value <= threshold`` in double precision, the node in single precision: with features in single
precision and each threshold rounded down to it, every row takes the same branch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

_OPSET = 17
_ML_OPSET = 3
_IR_VERSION = 9


def tree_ensemble(
    dumps: Sequence[Mapping[str, Any]], *, features: int, metadata: Mapping[str, str] | None = None
) -> "ModelProto":
    """Return an ONNX model of several boosters over the same features.

    Args:
        dumps: What ``Booster.dump_model()`` gives, one for each output.
        features: Number of features.
        metadata: Written into the model's metadata.

    Returns:
        Model with input ``features`` (float32[N, features]) and output ``values`` (float32[N, len(dumps)]), the raw
        scores of the boosters.

    Raises:
        ValueError: A booster has no trees or splits on categories.
    """
    from onnx import TensorProto, checker, helper

    rows = _Rows()
    tree = 0
    for target, dump in enumerate(dumps):
        if not dump["tree_info"]:
            raise ValueError(f"booster {target} has no trees")
        for info in dump["tree_info"]:
            rows.add(info["tree_structure"], tree, target)
            tree += 1
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["values"],
        domain="ai.onnx.ml",
        n_targets=len(dumps),
        post_transform="NONE",
        aggregate_function="SUM",
    )
    node.attribute.extend(helper.make_attribute(name, values) for name, values in rows.attributes.items())
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["rows", len(dumps)])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    helper.set_model_props(model, dict(metadata or {}))
    checker.check_model(model)
    return model


class _Rows:
    """The node's attributes: one entry for each tree node, one for each leaf."""

    def __init__(self) -> None:
        self.attributes: dict[str, list[Any]] = {
            name: []
            for name in (
                "nodes_treeids",
                "nodes_nodeids",
                "nodes_featureids",
                "nodes_modes",
                "nodes_values",
                "nodes_truenodeids",
                "nodes_falsenodeids",
                "target_treeids",
                "target_nodeids",
                "target_ids",
                "target_weights",
            )
        }

    def add(self, root: Mapping[str, Any], tree: int, target: int) -> None:
        """Add a tree, its nodes numbered as they are met, the yes-branch first."""
        pending: list[tuple[Mapping[str, Any], int, str]] = [(root, -1, "")]
        first = len(self.attributes["nodes_nodeids"])
        number = 0
        while pending:
            node, parent, side = pending.pop()
            if parent >= 0:
                self.attributes[side][first + parent] = number
            self._add_node(node, tree, number, target)
            if "split_index" in node:
                pending.append((node["right_child"], number, "nodes_falsenodeids"))
                pending.append((node["left_child"], number, "nodes_truenodeids"))
            number += 1

    def _add_node(self, node: Mapping[str, Any], tree: int, number: int, target: int) -> None:
        is_split = "split_index" in node
        if is_split and node["decision_type"] != "<=":
            raise ValueError(
                f"only splits of the form value <= threshold can be written, got {node['decision_type']!r}"
            )
        for name, value in (
            ("nodes_treeids", tree),
            ("nodes_nodeids", number),
            ("nodes_featureids", int(node["split_feature"]) if is_split else 0),
            ("nodes_modes", "BRANCH_LEQ" if is_split else "LEAF"),
            ("nodes_values", rounded_down(float(node["threshold"])) if is_split else 0.0),
            ("nodes_truenodeids", 0),
            ("nodes_falsenodeids", 0),
        ):
            self.attributes[name].append(value)
        if not is_split:
            for name, value in (
                ("target_treeids", tree),
                ("target_nodeids", number),
                ("target_ids", target),
                ("target_weights", float(node["leaf_value"])),
            ):
                self.attributes[name].append(value)


def rounded_down(threshold: float) -> float:
    """Return the largest single precision number that is not above a threshold."""
    single = np.float32(threshold)
    return float(single if float(single) <= threshold else np.nextafter(single, np.float32(-np.inf)))
