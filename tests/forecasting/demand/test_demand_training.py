"""Training, saving and shipping of the pooled demand model, and its design rows against plain NumPy."""

from pathlib import Path

import numpy as np
import pytest

from forecasting.demand.boosted import (
    LEVELS,
    TrainingSettings,
    design_rows,
    load_boosted,
    save_boosted,
    train_boosted,
)
from forecasting.demand.design import FEATURES
from forecasting.demand.forecaster import DemandForecaster, run_series
from forecasting.demand.memory import MEAN_HOURS
from forecasting.shipped import DEMAND_FILE, WEIGHTS, shipped_boosted

SMALL = TrainingSettings(rows_per_series=1500, rows_per_coarser=200, trees=20, least_rows_per_leaf=40)


def demand(seed: int, days: int = 6) -> np.ndarray:
    steps = np.arange(days * 288)
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0.0, 0.02, len(steps)))
    return 50.0 * np.exp(0.5 * np.sin(2.0 * np.pi * steps / 288.0) + walk + rng.normal(0.0, 0.1, len(steps)))


def column(table: np.ndarray, name: str) -> np.ndarray:
    return table[:, FEATURES.index(name)]


def test_design_rows_are_what_their_names_say() -> None:
    values = demand(0, days=9)
    origins = np.array([500, 1000, 2400])
    leads = np.array([1, 12, 48])
    table, anchors, scales = design_rows(300, values, origins, leads)
    last = values[origins]
    np.testing.assert_allclose(column(table, "log hours ahead"), np.log(leads * 300 / 3600))
    np.testing.assert_allclose(column(table, "target 1 days before"), (values[origins + leads - 288] - last) / scales)
    np.testing.assert_allclose(
        column(table, "change 1 days before"), (values[origins + leads - 288] - values[origins - 288]) / scales
    )
    np.testing.assert_allclose(column(table, "change over 3600 s"), (last - values[origins - 12]) / scales)
    np.testing.assert_allclose(column(table, "experts' median"), (anchors - last) / scales)
    assert np.isnan(column(table, "target 7 days before")[:2]).all()
    assert column(table, "target 7 days before")[2] == pytest.approx(
        (values[2400 + 48 - 2016] - values[2400]) / scales[2]
    )
    around = [values[at + lead - 288 - 6 : at + lead - 288 + 7].mean() for at, lead in zip(origins, leads, strict=True)]
    np.testing.assert_allclose(column(table, "around the target 1 days before"), (around - last) / scales)


def test_moving_means_follow_the_textbook_recursion() -> None:
    values = demand(1)[:400]
    table, _, scales = design_rows(300, values, np.array([399]), np.array([1]))
    for hours in MEAN_HOURS:
        rate, mean = min(1.0, 300 / 3600 / hours), 0.0
        for step, value in enumerate(values):
            mean += max(rate, 1.0 / (step + 1)) * (value - mean)
        assert column(table, f"mean of {hours:g} h")[0] == pytest.approx((mean - values[-1]) / scales[0])


def test_design_rows_see_nothing_beyond_their_origin() -> None:
    values = demand(2)
    other = values.copy()
    other[1001:] *= 9.0
    origins, leads = np.array([1000, 1000]), np.array([1, 48])
    for mine, theirs in zip(
        design_rows(300, values, origins, leads), design_rows(300, other, origins, leads), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
def test_training_repeats_itself_and_survives_saving(tmp_path: Path) -> None:
    series = [(300, demand(seed)) for seed in range(4)]
    boosted = train_boosted(series, SMALL)
    again = train_boosted(series, SMALL)
    for trees, other in zip(boosted, again, strict=True):
        np.testing.assert_array_equal(trees.leaf, other.leaf)
    np.savez_compressed(tmp_path / "weights.npz", **save_boosted(boosted))
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        loaded = load_boosted(arrays)
    unseen = demand(77)
    rows = run_series(DemandForecaster(step_s=300, boosted=boosted), unseen, [12])[0]
    np.testing.assert_array_equal(run_series(DemandForecaster(step_s=300, boosted=loaded), unseen, [12])[0], rows)


def test_what_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(ValueError, match="more than four hours"):
        train_boosted([(300, np.ones(20))], SMALL)
    with pytest.raises(ValueError, match="more than four hours"):
        train_boosted([], SMALL)


def test_the_shipped_weights_load_and_are_small() -> None:
    assert (WEIGHTS / DEMAND_FILE).stat().st_size < 1_000_000
    assert len(shipped_boosted()) == len(LEVELS)


def test_missing_or_foreign_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.npz"):
        shipped_boosted(tmp_path / "nothing.npz")
    arrays = save_boosted(shipped_boosted())
    del arrays["q0.5/leaf"]
    np.savez(tmp_path / "cut.npz", **arrays)
    with pytest.raises(ValueError, match=r"cut\.npz: no array 'q0\.5/leaf'"):
        shipped_boosted(tmp_path / "cut.npz")
    arrays = save_boosted(shipped_boosted())
    arrays["q0.5/num_features"] = arrays["q0.5/num_features"] + 1
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match="features"):
        shipped_boosted(tmp_path / "other.npz")
