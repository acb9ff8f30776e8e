import numpy as np
import pytest

from forecasting.metrics.vus import acf_window, vus_pr


def slow_vus(labels: np.ndarray, scores: np.ndarray, window: int) -> float:
    """The definition, one tolerance and one threshold at a time, over whole arrays."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], labels.astype(int), [0]))))
    spans = [(start, stop - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    ranked = np.sort(scores)[::-1]
    volume = []
    for tolerance in range(window + 1):
        reach = tolerance // 2
        grade = labels.astype(float)
        near = labels.copy()
        for start, end in spans:
            for row in range(max(start - reach, 0), min(end + reach, len(labels) - 1) + 1):
                distance = max(start - row, row - end)
                near[row] = True
                if not labels[row]:
                    grade[row] += np.sqrt(1.0 - distance / tolerance)
        grade = np.minimum(grade, 1.0)
        near_edges = np.flatnonzero(np.diff(np.concatenate(([0], near.astype(int), [0]))))
        groups: list[list[int]] = []
        for start, end in spans:
            if groups and groups[-1][1] + reach >= start - reach:
                groups[-1][1] = end
            else:
                groups.append([start, end])
        assert len(near_edges) // 2 <= len(groups)
        area, before = 0.0, 0.0
        for rank in np.linspace(0, len(scores) - 1, 250).astype(int):
            flagged = scores >= ranked[rank]
            caught = grade[flagged].sum()
            outside = grade[flagged & ~labels].sum()
            found = np.mean([flagged[max(a - reach, 0) : b + reach + 1].any() for a, b in groups])
            recall = min(caught / (labels.sum() + outside / 2.0), 1.0) * found
            area += (recall - before) * caught / flagged.sum()
            before = recall
        volume.append(area)
    return float(np.mean(volume))


def example(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros(600, dtype=bool)
    labels[3:20] = labels[300:340] = labels[346:350] = labels[590:] = True
    return labels, np.round(rng.random(600) + 0.4 * labels, 2)


@pytest.mark.parametrize("window", [0, 1, 7, 40])
def test_the_volume_equals_its_definition(window: int) -> None:
    for seed in range(3):
        labels, scores = example(seed)
        assert vus_pr(labels, scores, window) == pytest.approx(slow_vus(labels, scores, window), abs=1e-9)


def test_a_perfect_score_is_near_1_and_random_ones_near_the_share_of_anomalies() -> None:
    labels = np.zeros(5000, dtype=bool)
    labels[2000:2500] = True
    assert vus_pr(labels, labels.astype(float), 0) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    assert vus_pr(labels, rng.random(5000), 100) == pytest.approx(0.1, abs=0.03)
    assert vus_pr(labels, 1.0 - labels, 20) < 0.2


def test_any_rising_transform_leaves_it_alone() -> None:
    labels, scores = example(1)
    assert vus_pr(labels, np.exp(3.0 * scores), 20) == vus_pr(labels, scores, 20)


def test_the_window_is_the_period_of_a_periodic_series() -> None:
    time = np.arange(4000)
    assert acf_window(np.sin(2.0 * np.pi * time / 50.0)) == 50
    assert acf_window(np.full(500, 3.0)) == 125
    assert acf_window(np.arange(5.0)) == 125
    rng = np.random.default_rng(0)
    noisy = np.sin(2.0 * np.pi * time / 24.0) + 0.3 * rng.normal(size=4000)
    assert acf_window(noisy) % 24 in (0, 1, 23)


def test_bad_input_is_named() -> None:
    labels, scores = example(0)
    with pytest.raises(ValueError, match="needs an event"):
        vus_pr(np.zeros(600, dtype=bool), scores, 5)
    with pytest.raises(ValueError, match="one shape"):
        vus_pr(labels, scores[:-1], 5)
    with pytest.raises(ValueError, match="finite"):
        vus_pr(labels, np.where(labels, np.nan, scores), 5)
