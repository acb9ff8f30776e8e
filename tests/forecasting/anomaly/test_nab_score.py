import math

import numpy as np
import pytest

from forecasting.metrics.nab import PROFILES, best_threshold, nab_score, probation, scaled_sigmoid, sweep

STANDARD = PROFILES["standard"]
ROWS = 200
WINDOWS = np.array([[60, 79], [120, 139]])


def sigma(position: float) -> float:
    return 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


def slow_raw(scores: np.ndarray, windows: np.ndarray, threshold: float, profile: tuple[float, float, float]) -> float:
    """The published rules, one row at a time."""
    tp, fp, fn = profile
    best = {at: -fn for at, (_, right) in enumerate(windows) if right >= probation(len(scores))}
    total = 0.0
    for row in range(probation(len(scores)), len(scores)):
        if scores[row] < threshold:
            continue
        inside = [at for at, (left, right) in enumerate(windows) if left <= row <= right]
        behind = [(left, right) for left, right in windows if right < row]
        if inside:
            left, right = windows[inside[0]]
            worth = sigma(-(right - row + 1) / (right - left + 1)) / sigma(-1.0) * tp
            best[inside[0]] = max(best[inside[0]], worth)
        elif behind:
            left, right = behind[-1]
            position = (row - right) / (right - left)
            total += fp * (-1.0 if position >= 3.0 else sigma(position))
        else:
            total -= fp
    return total + sum(best.values())


def test_the_sigmoid_is_the_published_one() -> None:
    np.testing.assert_allclose(scaled_sigmoid([-1.0, -0.5, 0.0, 1.0]), [0.98661, 0.84828, 0.0, -0.98661], atol=1e-5)
    assert scaled_sigmoid(3.0) == -1.0


def test_a_hand_computed_file() -> None:
    """One early hit, one false detection before any window, one just behind, the second window missed."""
    scores = np.zeros(ROWS)
    scores[[40, 60, 80]] = 1.0
    expected = -0.11 + 1.0 + 0.11 * sigma(1 / 19) - 1.0
    assert sweep(scores, WINDOWS, STANDARD).at(1.0) == pytest.approx(expected, abs=1e-12)
    scaled = nab_score([sweep(scores, WINDOWS, STANDARD)], 1.0, STANDARD)
    assert scaled == pytest.approx(100.0 * (expected + 2.0) / 4.0, abs=1e-9)


@pytest.mark.parametrize("name", PROFILES)
def test_every_threshold_equals_the_slow_rules(name: str) -> None:
    rng = np.random.default_rng(3)
    scores = np.round(rng.random(ROWS), 2)
    scores[:40] = 1.0
    swept = sweep(scores, WINDOWS, PROFILES[name])
    for threshold in (0.0, 0.3, 0.55, 0.555, 0.99, 1.0, 2.0):
        assert swept.at(threshold) == pytest.approx(slow_raw(scores, WINDOWS, threshold, PROFILES[name]), abs=1e-9)


@pytest.mark.parametrize("name", PROFILES)
def test_never_detecting_is_0_and_every_first_row_is_100(name: str) -> None:
    profile = PROFILES[name]
    scores = np.zeros(ROWS)
    scores[WINDOWS[:, 0]] = 1.0
    swept = [sweep(scores, WINDOWS, profile), sweep(np.zeros(50), np.empty((0, 2)), profile)]
    assert nab_score(swept, math.inf, profile) == 0.0
    assert nab_score(swept, 1.0, profile) == pytest.approx(100.0)
    assert best_threshold(swept) == 1.0


def test_random_scores_are_poor_and_the_best_threshold_is_the_best() -> None:
    rng = np.random.default_rng(5)
    swept = [sweep(rng.random(4000), np.array([[2000, 2399]]), STANDARD) for _ in range(30)]
    best = best_threshold(swept)
    score = nab_score(swept, best, STANDARD)
    assert 0.0 <= score < 40.0
    assert all(nab_score(swept, threshold, STANDARD) <= score + 1e-9 for threshold in rng.random(50))


def test_rows_in_the_probationary_period_count_nothing() -> None:
    assert probation(4032) == 604
    assert probation(22_695) == 750
    scores = np.zeros(ROWS)
    scores[: probation(ROWS)] = 1.0
    assert sweep(scores, WINDOWS, STANDARD).at(1.0) == -2.0


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="not finite"):
        sweep(np.array([0.0, np.nan]), WINDOWS, STANDARD)
    with pytest.raises(ValueError, match="no file has a labelled window"):
        nab_score([sweep(np.zeros(50), np.empty((0, 2)), STANDARD)], 1.0, STANDARD)
