import copy

import numpy as np
import pytest

from forecasting.anomaly.members import (
    IsolationForestDetector,
    LstmAutoencoderDetector,
    OneClassSvmDetector,
    WindowDetector,
)
from forecasting.anomaly.severity import grade, severity

MEMBERS = [
    pytest.param(IsolationForestDetector, "sklearn", id="forest"),
    pytest.param(OneClassSvmDetector, "sklearn", id="svm"),
    pytest.param(LstmAutoencoderDetector, "torch", id="autoencoder"),
]


def wave(seed: int = 0) -> np.ndarray:
    time = np.arange(900)
    return 50.0 + 10.0 * np.sin(2.0 * np.pi * time / 48.0) + np.random.default_rng(seed).normal(size=900)


def member(kind: type[WindowDetector]) -> WindowDetector:
    return kind(window=12, first_fit=300, refit=400, history=300)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "library"), MEMBERS)
def test_members_find_a_planted_fault_and_never_look_ahead(kind: type[WindowDetector], library: str) -> None:
    pytest.importorskip(library)
    values = wave()
    values[620:626] += 60.0
    values[500] = np.nan
    scores = member(kind).score_series(values)
    assert (scores[:300] == 0.0).all()
    assert scores[500] == 0.0
    assert 620 <= 450 + int(np.argmax(scores[450:])) < 640
    other = values.copy()
    other[640:] *= 9.0
    np.testing.assert_array_equal(member(kind).score_series(other)[:640], scores[:640])
    assert ((scores >= 0.0) & (scores < 1.0)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "library"), MEMBERS)
def test_members_stream_as_they_score(kind: type[WindowDetector], library: str) -> None:
    pytest.importorskip(library)
    values = wave(1)
    whole = member(kind).score_series(values)
    stream = member(kind).fit(values[:650])
    twin = copy.deepcopy(stream)
    np.testing.assert_allclose([stream.update(value) for value in values[650:720]], whole[650:720], atol=1e-4)
    np.testing.assert_allclose(twin.score_series(values[650:720]), whole[650:720], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "library"), MEMBERS)
@pytest.mark.parametrize(
    "values", [np.full(700, 3.0), np.full(700, np.nan), np.where(np.arange(700) == 350, 1e12, 1.0), np.empty(0)]
)
def test_members_give_finite_scores_on_bad_series(kind: type[WindowDetector], library: str, values: np.ndarray) -> None:
    pytest.importorskip(library)
    assert np.isfinite(member(kind).score_series(values)).all()


def test_sizes_that_cannot_work_are_named() -> None:
    with pytest.raises(ValueError, match="first_fit 20"):
        IsolationForestDetector(window=12, first_fit=20)


def test_severity_is_a_product_of_three_shares() -> None:
    assert severity(3.0, 900.0, 0.5) == pytest.approx(0.5 * 0.5 * 0.5)
    assert severity(100.0, 1e9, 1.0) == pytest.approx(1.0)
    assert severity(6.0, 0.0, 1.0) == severity(6.0, 900.0, 0.0) == 0.0
    assert [grade(value) for value in (0.0, 0.1, 0.3, 0.9)] == ["low", "medium", "high", "critical"]
    for arguments in ((-1.0, 1.0, 0.5), (1.0, -1.0, 0.5), (1.0, 1.0, 1.5), (float("nan"), 1.0, 0.5)):
        with pytest.raises(ValueError, match="severity needs"):
            severity(*arguments)
