from typing import Any

import numpy as np
import pytest

from forecasting.trees import FlatTrees, flatten, load_trees, predict_row, save_trees

lightgbm = pytest.importorskip("lightgbm", reason="the models extra is not installed")

ROWS, FEATURES = 3000, 6


def table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(ROWS, FEATURES))
    rows[:, 2] = np.round(rows[:, 2])
    rows[rng.random(rows.shape) < 0.1] = np.nan
    target = np.nan_to_num(rows[:, 0]) ** 2 + np.nan_to_num(rows[:, 2], nan=1.5) + rng.normal(size=ROWS)
    return rows, target


def trained(parameters: dict[str, Any], rows: np.ndarray, target: np.ndarray) -> Any:
    settings = {"num_leaves": 15, "verbosity": -1, "num_threads": 1, "seed": 3} | parameters
    return lightgbm.train(settings, lightgbm.Dataset(rows, target), 40)


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "regression"},
        {"objective": "quantile", "alpha": 0.9},
        {"objective": "regression", "use_missing": False},
        {"objective": "binary"},
        {"objective": "binary", "sigmoid": 0.7},
    ],
)
def test_flat_trees_predict_what_lightgbm_predicts(parameters: dict[str, Any]) -> None:
    rows, target = table()
    label = (target > 1.0).astype(float) if parameters["objective"] == "binary" else target
    booster = trained(parameters, rows, label)
    unseen = table(1)[0]
    unseen[:5] = 0.0
    unseen[5:9] = np.nan
    unseen[9] = 1e12
    trees = flatten(booster)
    np.testing.assert_allclose(trees.predict(unseen), booster.predict(unseen), rtol=0.0, atol=1e-9)
    assert predict_row(trees, unseen[7]) == trees.predict(unseen[7:8])[0]


def test_values_on_a_threshold_and_complete_training_rows_agree() -> None:
    """Without a NaN in training LightGBM reads a later NaN as zero."""
    rows, target = table()
    rows = np.nan_to_num(rows)
    booster = trained({"objective": "regression"}, rows, target)
    trees = flatten(booster)
    on = np.zeros((len(trees.threshold), FEATURES))
    on[np.arange(len(on)), trees.feature] = trees.threshold
    on = np.vstack((on, np.nextafter(on, np.inf), np.full((1, FEATURES), np.nan)))
    np.testing.assert_allclose(trees.predict(on), booster.predict(on), rtol=0.0, atol=1e-9)


def test_a_constant_target_is_one_leaf() -> None:
    rows, _ = table()
    booster = trained({"objective": "regression"}, rows, np.full(ROWS, 3.25))
    np.testing.assert_allclose(flatten(booster).predict(rows[:3]), 3.25)


def test_saved_trees_are_the_same_trees(tmp_path) -> None:
    rows, target = table()
    trees = flatten(trained({"objective": "regression"}, rows, target))
    np.savez_compressed(tmp_path / "trees.npz", **save_trees(trees, "ranker_"))
    with np.load(tmp_path / "trees.npz", allow_pickle=False) as arrays:
        again = load_trees(arrays, "ranker_")
    for one, other in zip(trees, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_damaged_or_foreign_input_is_named() -> None:
    rows, target = table()
    trees = flatten(trained({"objective": "regression"}, rows, target))
    with pytest.raises(ValueError, match=r"shape \(2, 5\); the trees need \[N, 6\]"):
        trees.predict(np.zeros((2, 5)))
    arrays = save_trees(trees)
    with pytest.raises(ValueError, match="no array 'leaf'"):
        load_trees({name: array for name, array in arrays.items() if name != "leaf"})
    with pytest.raises(ValueError, match="outside their tables"):
        load_trees(arrays | {"leaf": arrays["leaf"][:2]})
    with pytest.raises(ValueError, match="features outside"):
        load_trees(arrays | {"num_features": np.array([1])})


def test_models_that_are_no_single_sum_are_refused() -> None:
    rows, target = table()
    classes = np.digitize(target, [0.0, 1.0]).astype(float)
    with pytest.raises(ValueError, match="multiclass"):
        flatten(trained({"objective": "multiclass", "num_class": 3}, rows, classes))
    with pytest.raises(ValueError, match="poisson"):
        flatten(trained({"objective": "poisson"}, rows, np.abs(target)))
    forest = {"objective": "regression", "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1}
    with pytest.raises(ValueError, match="random forest"):
        flatten(trained(forest, rows, target))
    kinds = lightgbm.Dataset(np.round(np.abs(rows[:, :2])), target, categorical_feature=[0, 1])
    with pytest.raises(ValueError, match="categorical"):
        flatten(lightgbm.train({"objective": "regression", "verbosity": -1, "num_threads": 1}, kinds, 3))


def test_flat_trees_are_plain_arrays() -> None:
    rows, target = table()
    assert isinstance(flatten(trained({"objective": "quantile", "alpha": 0.1}, rows, target)), FlatTrees)
