"""Ratios of sums over traces, with intervals that resample traces, then days, then market seeds.

Every figure here is one sum over traces divided by another. Its 95 % interval takes its form from a bootstrap and its
width from theory, because percentile intervals of a dozen traces or fewer are too short, and because resampling days
and seeds inside resampled traces counts what happens inside a trace twice (Davison & Hinkley 1997, section 3.8):

* form: quantiles of resamples that draw traces, in each of them blocks of days (circular, of about the cube root of
  the days: Politis & Romano 1992; Hall, Horowitz & Jing 1995), and market seeds;
* width, two traces or more: the standard error of a sum of independent traces, linearised. Markets and days belong
  to their trace, so the spread between traces holds whatever moves inside them, autocorrelated or not;
* width, one trace: days and seeds as two crossed factors (Cameron, Gelbach & Miller 2011), the days with the
  equivalent number of independent ones of a first-order autoregression (Zwiers & von Storch 1995). It then speaks of
  this trace alone;
* tails: those of Student's t with the degrees of freedom of that standard error (Satterthwaite 1946 for two factors).

The mean over several training runs has one factor more: every run meets every trace, so runs and traces are crossed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

FloatArray = NDArray[np.float64]

RESAMPLES: Final = 2000
_TAIL: Final = 0.025
_LARGEST_RHO: Final = 0.8


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; the ends are NaN where nothing was repeated."""

    value: float
    low: float
    high: float


def ratio_of_sums(
    numerator: Sequence[FloatArray], denominator: Sequence[FloatArray], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the sum over traces of mean numerators over the sum of mean denominators, with its 95 % interval.

    Args:
        numerator: [seeds, days] of each trace.
        denominator: The same shapes.
        resamples: Number of resamples.
        seed: Of the resampling.
    """
    return mean_ratio_over_runs([numerator], denominator, resamples=resamples, seed=seed)


def mean_ratio_over_runs(
    numerators: Sequence[Sequence[FloatArray]],
    denominator: Sequence[FloatArray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Return the mean over training runs of ``ratio_of_sums``; the interval resamples the runs too.

    Args:
        numerators: For each run, [seeds, days] of each trace.
        denominator: The same shapes, one for all runs.
        resamples: Number of resamples.
        seed: Of the resampling.
    """
    below = sum(float(item.mean()) for item in denominator)
    value = float(np.mean([sum(float(item.mean()) for item in run) for run in numerators])) / below
    residuals = [[above - value * under for above, under in zip(run, denominator, strict=True)] for run in numerators]
    error, freedom = standard_error_over_runs(residuals)
    if freedom < 1.0:
        return Estimate(value, np.nan, np.nan)
    rng = np.random.default_rng([seed, 0xB007])
    sums = resampled_sums([np.stack(items) for items in zip(*numerators, denominator, strict=True)], resamples, rng)
    runs = len(numerators)
    shares = rng.multinomial(runs, np.full(runs, 1.0 / runs), resamples) / runs
    above, under = (shares * sums[:, :-1]).sum(axis=1), sums[:, -1]
    spread = float((above - value * under).std())
    if spread == 0.0:
        return Estimate(value, value, value)
    low, high = np.quantile(above / under, [_TAIL, 1.0 - _TAIL]) - value
    widening = error / spread * float(t.ppf(_TAIL, freedom) / norm.ppf(_TAIL))
    return Estimate(value, value + widening * float(low), value + widening * float(high))


def standard_error_over_runs(values: Sequence[Sequence[FloatArray]]) -> tuple[float, float]:
    """Return the standard error of the mean over runs of sums over traces, and its degrees of freedom (0: unknown).

    Runs and traces are two crossed factors, as days and seeds of one trace are. With a single trace the errors of runs
    and of what lies inside the trace are added, which is rather too much than too little.

    Args:
        values: For each run, [seeds, days] of each trace.
    """
    mean = [np.mean(items, axis=0) for items in zip(*values, strict=True)]
    error, freedom = standard_error_of_sum(mean)
    runs, traces = len(values), len(mean)
    if runs == 1:
        return error, freedom
    table = np.array([[item.mean() for item in run] for run in values])
    of_traces, of_runs = error**2, float(table.sum(axis=1).var(ddof=1)) / runs
    both = 0.0
    if traces > 1:
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        both = float((rest**2).sum()) / ((runs - 1) * (traces - 1)) * traces / runs
    variance = max(of_traces + of_runs - both, of_traces, of_runs)
    if variance == 0.0:
        return 0.0, max(freedom, runs - 1.0)
    doubt = of_traces**2 / max(1.0, freedom) + of_runs**2 / (runs - 1)
    return float(np.sqrt(variance)), max(1.0, (of_traces + of_runs) ** 2 / doubt)


def standard_error_of_sum(values: Sequence[FloatArray]) -> tuple[float, float]:
    """Return the standard error of the sum over traces of mean values, and its degrees of freedom (0: unknown).

    Args:
        values: [seeds, days] of each trace.
    """
    if len(values) == 1:
        return _error_within(values[0])
    means = np.array([item.mean() for item in values])
    return float(np.sqrt(len(means)) * means.std(ddof=1)), len(means) - 1.0


def _error_within(values: FloatArray) -> tuple[float, float]:
    """Return the standard error of the mean of one trace, [seeds, days], and its degrees of freedom."""
    seeds, days = values.shape
    by_seed, by_day = values.mean(axis=1), values.mean(axis=0)
    of_seeds = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    independent = equivalent_days(by_day)
    of_days = float(by_day.var(ddof=1)) * (days - 1) / days / (independent - 1.0) if independent > 1.0 else 0.0
    both = 0.0
    if seeds > 1 and days > 1:
        rest = values - by_seed[:, None] - by_day[None, :] + values.mean()
        both = float((rest**2).sum()) / ((seeds - 1) * (days - 1)) / (seeds * days)
    variance = max(of_seeds + of_days - both, of_seeds, of_days)
    if variance == 0.0:
        return 0.0, float(max(seeds, days) - 1)
    doubt = of_seeds**2 / max(1, seeds - 1) + of_days**2 / max(1.0, independent - 1.0)
    return float(np.sqrt(variance)), max(1.0, (of_seeds + of_days) ** 2 / doubt)


def equivalent_days(by_day: FloatArray) -> float:
    """Return how many independent days tell as much about the mean as these, at least 2 (1 of 1).

    The first autocorrelation is corrected for its bias, (1 + 4 rho) / days (Marriott & Pope 1954), and kept in 0..0.8.
    """
    days = len(by_day)
    rest = by_day - by_day.mean()
    power = float((rest**2).sum())
    if days < 3 or power == 0.0:
        return float(days)
    found = float((rest[1:] * rest[:-1]).sum()) / power
    rho = min(max(found + (1.0 + 4.0 * found) / days, 0.0), _LARGEST_RHO)
    return max(2.0, days * (1.0 - rho) / (1.0 + rho))


def resampled_sums(values: Sequence[FloatArray], resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return [resamples, Q] sums over as many drawn traces of means over drawn seeds and drawn blocks of days.

    Args:
        values: [Q, seeds, days] of each trace.
        resamples: Number of resamples.
        rng: Randomness.
    """
    drawn = rng.integers(0, len(values), (resamples, len(values)))
    means = np.empty((*drawn.shape, len(values[0])))
    for trace, item in enumerate(values):
        chosen = drawn == trace
        _, seeds, days = item.shape
        count = int(chosen.sum())
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), count) / seeds
        of_days = _block_counts(days, count, rng) / days
        means[chosen] = np.einsum("nqd,nd->nq", np.tensordot(of_seeds, item, axes=(1, 1)), of_days)
    return np.asarray(means.sum(axis=1))


def _block_counts(days: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return [count, days] how often each day is in a resample made of circular blocks."""
    length = max(1, round(days ** (1 / 3)))
    starts = rng.integers(0, days, (count, -(-days // length)))
    picked = ((starts[:, :, None] + np.arange(length)) % days).reshape(count, -1)[:, :days]
    flat = (picked + days * np.arange(count)[:, None]).ravel()
    return np.bincount(flat, minlength=count * days).reshape(count, days)


class PairedTotals:
    """Daily totals over reference of several policies on the same traces, days and seeds.

    Args:
        daily: Policy name to one [seeds, days] array of USD over the trace's mean daily reference USD per trace.
        resamples: Number of resamples behind an interval.
    """

    def __init__(self, daily: dict[str, list[FloatArray]], *, resamples: int = RESAMPLES) -> None:
        self._daily = daily
        self._resamples = resamples

    def _less(self, first: str, second: str) -> list[FloatArray]:
        return [one - other for one, other in zip(self._daily[first], self._daily[second], strict=True)]

    def _ratio(self, numerator: list[FloatArray], denominator: list[FloatArray]) -> Estimate:
        return ratio_of_sums(numerator, denominator, resamples=self._resamples)

    def gap_closed(self, learned: str, rule: str, bound: str) -> Estimate:
        """Return the share of the way from a rule to the bound that a policy goes: a ratio of sums over traces."""
        return self._ratio(self._less(rule, learned), self._less(rule, bound))

    def gap_closed_over_runs(self, learned: Sequence[str], rule: str, bound: str) -> Estimate:
        """Return the mean over policies, runs of one training, of the share of the way that each goes."""
        runs = [self._less(rule, name) for name in learned]
        return mean_ratio_over_runs(runs, self._less(rule, bound), resamples=self._resamples)

    def difference(self, first: str, second: str) -> Estimate:
        """Return the mean over traces of the first policy's total less the second's."""
        less = self._less(first, second)
        return self._ratio(less, [np.ones_like(item) for item in less])

    def saving(self, first: str, second: str) -> Estimate:
        """Return by what share the sum of the first policy's totals is below the second's."""
        return self._ratio(self._less(second, first), self._daily[second])
