import numpy as np
import pytest

from forecasting.metrics.ranking import accuracy_at, average_at, calibration_error, chance_at, place_of, reliability


def test_a_perfect_ranking_scores_one_and_the_worst_zero() -> None:
    best = [place_of([0.1, 0.7, 0.2], 1), place_of([5.0, 1.0, 2.0, 3.0], 0)]
    worst = [place_of([0.1, 0.7, 0.2], 0), place_of([5.0, 1.0, 2.0, 3.0], 1)]
    assert [accuracy_at(best, k) for k in (1, 3)] == [1.0, 1.0]
    assert average_at(best, 5) == 1.0
    assert accuracy_at(worst, 2) == 0.0


def test_places_by_hand() -> None:
    assert place_of([3.0, 9.0, 4.0], 2) == 2
    assert place_of([3.0, np.nan, 4.0], 1) == 3
    assert accuracy_at([1, 2, 4, 1], 1) == 0.5
    assert accuracy_at([1, 2, 4, 1], 3) == 0.75
    assert average_at([1, 2, 4, 1], 3) == pytest.approx((0.5 + 0.75 + 0.75) / 3)


def test_constant_scores_earn_nothing() -> None:
    assert place_of(np.zeros(8), 0) == 8
    assert place_of(np.full(8, np.nan), 3) == 8


def test_chance_agrees_with_random_scores() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(6, 14, 4_000)
    places = [place_of(rng.random(count), int(rng.integers(count))) for count in counts]
    for k in (1, 3):
        assert accuracy_at(places, k) == pytest.approx(chance_at(counts, k), abs=0.03)
    assert chance_at([2, 4], 3) == pytest.approx((1.0 + 0.75) / 2)


def test_reliability_by_hand() -> None:
    rows = reliability([0.1, 0.3, 0.9, 1.0], [False, True, True, True], [0.0, 0.5, 1.0])
    assert rows == pytest.approx(np.array([[2, 0.2, 0.5], [2, 0.95, 1.0]]))
    assert calibration_error([0.1, 0.3, 0.9, 1.0], [False, True, True, True], [0.0, 0.5, 1.0]) == pytest.approx(
        0.5 * 0.3 + 0.5 * 0.05
    )


def test_honest_confidence_has_no_calibration_error_and_boasting_has() -> None:
    rng = np.random.default_rng(1)
    chance = rng.random(20_000)
    right = rng.random(20_000) < chance
    edges = np.linspace(0.0, 1.0, 11)
    assert calibration_error(chance, right, edges) < 0.015
    assert calibration_error(np.sqrt(chance), right, edges) > 0.1


@pytest.mark.parametrize("bad", [lambda: accuracy_at([], 1), lambda: accuracy_at([1], 0), lambda: place_of([1.0], 1)])
def test_bad_input_is_named(bad) -> None:
    with pytest.raises(ValueError, match=r"at least|no index"):
        bad()
