"""Boosted trees as an ONNX node, against LightGBM itself."""

import lightgbm
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.capacity.trees import rounded_down, tree_ensemble


def _boosters() -> tuple[list[lightgbm.Booster], np.ndarray]:
    rng = np.random.default_rng(3)
    values = rng.normal(0.0, 1.0, (1500, 5)).astype(np.float32)
    wanted = np.sin(3 * values[:, 0]) * values[:, 1] + values[:, 2]
    parameters = {"num_threads": 1, "verbose": -1, "num_leaves": 15}
    return [lightgbm.train(parameters, lightgbm.Dataset(values, sign * wanted), 20) for sign in (1, -2)], values


def _run(content: bytes, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["values"], {"features": values})[0]


def test_trees_equal_lightgbm_also_at_the_thresholds() -> None:
    boosters, values = _boosters()
    dumps = [booster.dump_model() for booster in boosters]
    content = tree_ensemble(dumps, features=5).SerializeToString()
    thresholds = _thresholds(dumps[0]["tree_info"][0]["tree_structure"])
    at_limits = np.zeros((3 * len(thresholds), 5), np.float32)
    for place, (feature, threshold) in enumerate(thresholds):
        single = np.float32(threshold)
        for side, value in enumerate(
            (np.nextafter(single, np.float32(-9)), single, np.nextafter(single, np.float32(9)))
        ):
            at_limits[3 * place + side, feature] = value
    points = np.concatenate([values, at_limits])
    expected = np.column_stack([booster.predict(points) for booster in boosters])
    assert np.abs(_run(content, points) - expected).max() < 1e-5


def _thresholds(node: dict) -> list[tuple[int, float]]:
    if "split_index" not in node:
        return []
    here = [(node["split_feature"], node["threshold"])]
    return here + _thresholds(node["left_child"]) + _thresholds(node["right_child"])


def test_a_changed_leaf_is_seen() -> None:
    boosters, values = _boosters()
    dumps = [booster.dump_model() for booster in boosters]
    node = dumps[0]["tree_info"][0]["tree_structure"]
    while "split_index" in node:
        node = node["left_child"]
    node["leaf_value"] += 0.5
    found = _run(tree_ensemble(dumps, features=5).SerializeToString(), values)
    assert np.abs(found[:, 0] - boosters[0].predict(values)).max() == pytest.approx(0.5, abs=1e-4)


@given(st.floats(-1e30, 1e30, allow_nan=False))
def test_a_threshold_rounded_down_splits_single_precision_alike(threshold: float) -> None:
    single = rounded_down(threshold)
    assert single <= threshold
    assert float(np.nextafter(np.float32(single), np.float32(np.inf))) > threshold


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="no trees"):
        tree_ensemble([{"tree_info": []}], features=2)
    split = {"split_index": 0, "split_feature": 0, "threshold": "1||2", "decision_type": "=="}
    with pytest.raises(ValueError, match="only splits"):
        tree_ensemble([{"tree_info": [{"tree_structure": split}]}], features=2)
