"""Ratios of sums with intervals that resample traces, then days, then market seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


Weights = list[NDArray[np.float64]]


def bootstrap_weights(shapes: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[NDArray[np.int64], Weights]:
    """Draw one resample: which traces, and how often each (seed, day) of each drawn trace counts.

    Args:
        shapes: (seeds, days) of each trace.
        rng: Randomness.

    Returns:
        [traces] drawn trace indices, and for each a [seeds, days] array of multiplicities.
    """
    drawn = rng.integers(0, len(shapes), len(shapes))
    weights = []
    for trace in drawn:
        seeds, days = shapes[trace]
        per_seed = np.bincount(rng.integers(0, seeds, seeds), minlength=seeds)
        per_day = np.bincount(rng.integers(0, days, days), minlength=days)
        weights.append((per_seed[:, None] * per_day[None, :]).astype(np.float64))
    return drawn, weights


def estimate(
    statistic: Callable[[NDArray[np.int64], Weights], float],
    shapes: Sequence[tuple[int, int]],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Return a statistic on the whole sample with its percentile bootstrap interval.

    Args:
        statistic: Takes drawn traces and their (seed, day) multiplicities.
        shapes: (seeds, days) of each trace.
        resamples: Number of resamples.
        seed: Of the resampling.
    """
    rng = np.random.default_rng([seed, 0xB007])
    whole = statistic(np.arange(len(shapes)), [np.ones(shape) for shape in shapes])
    values = [statistic(*bootstrap_weights(shapes, rng)) for _ in range(resamples)]
    finite = [value for value in values if np.isfinite(value)]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite else (np.nan, np.nan)
    return Estimate(float(whole), float(low), float(high))


class PairedTotals:
    """Daily totals over reference of several policies on the same traces, days and seeds.

    Args:
        daily: Policy name to one [seeds, days] array of USD over the trace's mean daily reference USD per trace.
    """

    def __init__(self, daily: dict[str, list[NDArray[np.float64]]]) -> None:
        self._daily = daily
        first = next(iter(daily.values()))
        self.shapes = [(item.shape[0], item.shape[1]) for item in first]

    def mean(self, name: str, drawn: NDArray[np.int64], weights: Weights) -> NDArray[np.float64]:
        """Return the weighted mean of a policy on each drawn trace."""
        items = (self._daily[name][trace] for trace in drawn)
        return np.array(
            [float((item * weight).sum() / weight.sum()) for item, weight in zip(items, weights, strict=True)]
        )

    def gap_closed(self, learned: str, rule: str, bound: str) -> Estimate:
        """Return the share of the way from a rule to the bound that a policy goes: a ratio of sums over traces."""

        def statistic(drawn: NDArray[np.int64], weights: Weights) -> float:
            saved = self.mean(rule, drawn, weights) - self.mean(learned, drawn, weights)
            possible = self.mean(rule, drawn, weights) - self.mean(bound, drawn, weights)
            return float(saved.sum() / possible.sum())

        return estimate(statistic, self.shapes)

    def difference(self, first: str, second: str) -> Estimate:
        """Return the mean over traces of the first policy's total less the second's."""

        def statistic(drawn: NDArray[np.int64], weights: Weights) -> float:
            return float((self.mean(first, drawn, weights) - self.mean(second, drawn, weights)).mean())

        return estimate(statistic, self.shapes)

    def saving(self, first: str, second: str) -> Estimate:
        """Return by what share the sum of the first policy's totals is below the second's."""

        def statistic(drawn: NDArray[np.int64], weights: Weights) -> float:
            return float(1.0 - self.mean(first, drawn, weights).sum() / self.mean(second, drawn, weights).sum())

        return estimate(statistic, self.shapes)
