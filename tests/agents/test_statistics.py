"""Ratios of sums, their intervals, and the mistakes that look like them."""

import numpy as np
import pytest

from agents.evaluation.statistics import PairedTotals, bootstrap_weights

SEEDS, DAYS = 3, 8


def flat(values: list[float]) -> list[np.ndarray]:
    return [np.full((SEEDS, DAYS), value) for value in values]


UNEVEN = PairedTotals({"rule": flat([1.0, 0.4]), "learned": flat([0.6, 0.39]), "bound": flat([0.2, 0.38])})


def test_gap_closed_is_a_ratio_of_sums() -> None:
    estimate = UNEVEN.gap_closed("learned", "rule", "bound")
    assert estimate.value == pytest.approx((0.4 + 0.01) / (0.8 + 0.02))


def test_an_average_of_ratios_would_be_another_number() -> None:
    average_of_ratios = ((1.0 - 0.6) / (1.0 - 0.2) + (0.4 - 0.39) / (0.4 - 0.38)) / 2
    uneven = PairedTotals({"rule": flat([1.0, 0.4]), "learned": flat([0.6, 0.44]), "bound": flat([0.2, 0.38])})
    wrong = ((1.0 - 0.6) / (1.0 - 0.2) + (0.4 - 0.44) / (0.4 - 0.38)) / 2
    assert average_of_ratios == pytest.approx(0.5)
    assert wrong == pytest.approx(-0.75)
    assert uneven.gap_closed("learned", "rule", "bound").value == pytest.approx(0.36 / 0.82)


def test_saving_is_a_ratio_of_sums_and_difference_a_mean() -> None:
    assert UNEVEN.saving("learned", "rule").value == pytest.approx(1 - 0.99 / 1.4)
    assert UNEVEN.difference("learned", "rule").value == pytest.approx((-0.4 - 0.01) / 2)


def test_identical_policies_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    values = [rng.lognormal(0, 1, (SEEDS, DAYS)) for _ in range(4)]
    paired = PairedTotals({"a": values, "b": [item.copy() for item in values], "bound": flat([0.0] * 4)})
    for estimate in (paired.difference("a", "b"), paired.saving("a", "b"), paired.gap_closed("a", "b", "bound")):
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_the_worse_policy_closes_a_negative_gap_and_the_bound_all_of_it() -> None:
    paired = PairedTotals({"rule": flat([1.0, 1.0]), "worse": flat([1.2, 1.4]), "bound": flat([0.5, 0.5])})
    assert paired.gap_closed("worse", "rule", "bound").value == pytest.approx(-0.6)
    assert paired.gap_closed("bound", "rule", "bound").value == pytest.approx(1.0)
    assert paired.gap_closed("rule", "rule", "bound").value == 0.0


def test_a_resample_counts_every_draw() -> None:
    rng = np.random.default_rng(1)
    shapes = [(2, 5), (4, 3), (1, 1)]
    for _ in range(50):
        drawn, weights = bootstrap_weights(shapes, rng)
        assert len(drawn) == len(weights) == 3
        for trace, weight in zip(drawn, weights, strict=True):
            assert weight.shape == shapes[trace]
            assert weight.sum() == shapes[trace][0] * shapes[trace][1]


def test_the_interval_is_the_same_twice() -> None:
    rng = np.random.default_rng(2)
    values = {name: [rng.lognormal(0, 1, (2, 6)) for _ in range(3)] for name in ("a", "b")}
    assert PairedTotals(values).difference("a", "b") == PairedTotals(values).difference("a", "b")


def coverage(*, correlated_days: bool, monkeypatch: pytest.MonkeyPatch) -> float:
    """Share of simulated experiments whose interval holds the true difference (0.3)."""
    from agents.evaluation import statistics

    def quick(statistic, shapes):  # type: ignore[no-untyped-def]
        return original(statistic, shapes, resamples=200)

    original = statistics.estimate
    monkeypatch.setattr(statistics, "estimate", quick)
    rng = np.random.default_rng(3)
    held, experiments, traces = 0, 120, 24
    for _ in range(experiments):
        ours, theirs = [], []
        for _ in range(traces):
            by_trace, by_day = rng.normal(0, 0.5), rng.normal(0, 0.4, (1, 7))
            by_seed = rng.normal(0, 0.2, (2, 1))
            noise = rng.normal(0, 0.3, (2, 7))
            base = rng.normal(2.0, 1.0)
            theirs.append(np.full((2, 7), base))
            ours.append(base + 0.3 + by_trace + by_seed + noise + (by_day if correlated_days else 0.0))
        found = PairedTotals({"a": ours, "b": theirs}).difference("a", "b")
        held += found.low <= 0.3 <= found.high
    return held / experiments


@pytest.mark.slow
@pytest.mark.parametrize("correlated_days", [True, False])
def test_the_interval_covers_the_truth_as_often_as_it_says(
    correlated_days: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = coverage(correlated_days=correlated_days, monkeypatch=monkeypatch)
    assert 0.88 <= found <= 0.99, found
