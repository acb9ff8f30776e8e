"""Demand futures: paths that have the forecast's quantiles at every lead, and what would be forecast along them.

A path is a Gaussian Markov chain pushed through the forecast's quantile functions. Its correlation from one step to the
next is the one under which a forecast made later is as sharp, lead for lead, as the one made now: with the spread
``s(j)`` of the forecast ``j`` steps ahead, ``rho(j)^2 = 1 - s(1)^2 / s(j + 1)^2``. That is exact where demand is a
random walk or a stationary AR(1) process around a known profile. Forecasts along a path are the chain's own conditional
quantiles, so a policy that is tried on it never sees more than it would in earnest.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS, TICKS_PER_ROW
from telemetry.resample import NOISE_PHI, NOISE_SIGMA, tick_noise

FloatArray = NDArray[np.float64]

_LEVELS_Z: Final = ndtri(np.array(QUANTILE_LEVELS))
_MEDIAN: Final = QUANTILE_LEVELS.index(0.5)
_SPREAD_Z: Final = float(_LEVELS_Z[2] - _LEVELS_Z[0])
_LEAST_STEP_SPREAD: Final = 0.01
_BLIND_STEP_SPREAD: Final = 0.1
_MOST_CORRELATION: Final = 0.999
_MOST_SCORE: Final = 30.0
_USUAL_STRETCHES: Final = 100
_EARLY_STEPS: Final = 3
_USUAL_FREEDOM: Final = 3.0
_USUAL_SCALE: Final = 0.6


@dataclass(frozen=True)
class Draws:
    """Random numbers that the futures of all fleets of a decision share.

    Attributes:
        shocks: [F, J] standard normals, stratified over the futures at every step.
        noise: [F, J, 5] minute multipliers, mean 1 in every step.
        picks: [F] numbers in (0, 1), stratified.
    """

    shocks: FloatArray
    noise: FloatArray
    picks: FloatArray


@dataclass(frozen=True)
class DemandPast:
    """What the past of each fleet says about its demand.

    Attributes:
        scores: [B, n] standard normal scores of past one-step forecasts (``score_of``), in order.
        surprises: [B, n] what of them the last visible minute did not tell.
        start: [B] score of the first step that the last visible minute tells to expect now.
        roughness: [B] size of the minute noise over the usual one.
        reference_rps: [B] guess of the mean demand that scales the penalty.
    """

    scores: FloatArray
    surprises: FloatArray
    start: FloatArray
    roughness: FloatArray
    reference_rps: FloatArray


def draw_shocks(futures: int, steps: int, seed: int, decision: int) -> Draws:
    """Draw for one decision; the same (seed, decision) gives the same numbers whatever the batch."""
    rng = np.random.default_rng([seed, 0xF07E, decision])
    strata = rng.permuted(np.tile(np.arange(futures), (steps, 1)), axis=1).T
    shocks = ndtri((strata + rng.random((futures, steps))) / futures)
    noise = tick_noise(
        int(rng.integers(2**62)), futures * steps, TICKS_PER_ROW, phi=NOISE_PHI, sigma=NOISE_SIGMA
    ).reshape(futures, steps, TICKS_PER_ROW)
    return Draws(shocks, noise, (rng.permutation(futures) + rng.random(futures)) / futures)


def step_quantiles(readings: NDArray[np.void], steps: int) -> FloatArray:
    """Return [B, J, Q] the forecast of each five-minute step, between leads by linear interpolation, not crossing.

    Step j is the mean of the ticks ``5 (j - 1)`` to ``5 j`` after the last visible one, as a forecast's lead is. A
    spread below 1 % of the median at the first step counts as 1 %; where no forecast is available the last value
    spreads by 10 % at the first step and with the root of time (assumptions: no future is taken for certain).
    """
    minutes = TICKS_PER_ROW * np.arange(1, steps + 1)
    leads = np.array(LEAD_MINUTES)
    right = np.clip(np.searchsorted(leads, minutes), 1, len(leads) - 1)
    share = ((minutes - leads[right - 1]) / (leads[right] - leads[right - 1]))[:, None]
    given = readings["forecast_rps"]
    quantiles = given[:, right - 1] * (1.0 - share) + given[:, right] * share
    quantiles = np.maximum.accumulate(np.maximum(quantiles, 0.0), axis=2)
    median = quantiles[:, :, _MEDIAN : _MEDIAN + 1]
    blind = readings["forecast_available"][:, None, None] < 0.5
    least = np.where(blind, _BLIND_STEP_SPREAD, _LEAST_STEP_SPREAD) * np.sqrt(np.arange(1, steps + 1))[:, None]
    floor = median * np.exp(least * _LEVELS_Z)
    return np.asarray(np.where(_LEVELS_Z > 0.0, np.maximum(quantiles, floor), np.minimum(quantiles, floor)))


def quantile_at(quantiles: FloatArray, z: FloatArray) -> FloatArray:
    """Return the value of a quantile function at a standard normal score: piecewise linear in the score, at least 0.

    Beyond the outermost levels the last pieces go on: tails as heavy as a normal's with the spread seen there.

    Args:
        quantiles: [..., Q].
        z: [...] scores.
    """
    knots = _LEVELS_Z
    slopes = np.diff(quantiles, axis=-1) / np.diff(knots)
    value = quantiles[..., 0] + slopes[..., 0] * (np.minimum(z, knots[1]) - knots[0])
    value = value + slopes[..., 1] * np.clip(z - knots[1], 0.0, knots[2] - knots[1])
    value = value + slopes[..., 2] * np.maximum(z - knots[2], 0.0)
    return np.asarray(np.maximum(value, 0.0))


def score_of(quantiles: FloatArray, value: FloatArray) -> FloatArray:
    """Return the standard normal score of a value, the inverse of ``quantile_at``: [...] for [..., Q] quantiles."""
    slopes = np.maximum(np.diff(quantiles, axis=-1) / np.diff(_LEVELS_Z), 1e-12)
    first, second, third = (quantiles[..., level] for level in (0, 1, 2))
    score = _LEVELS_Z[0] + (np.minimum(value, second) - first) / slopes[..., 0]
    score = score + np.clip(value - second, 0.0, third - second) / slopes[..., 1]
    score = score + np.maximum(value - third, 0.0) / slopes[..., 2]
    return np.asarray(np.clip(score, -_MOST_SCORE, _MOST_SCORE))


def like_the_past(draws: Draws, past: DemandPast) -> FloatArray:
    """Return [B, F, J] shocks: stretches of each fleet's own past scores, and usual ones as long as it has few.

    The shocks of the chain are the scores of one-step forecasts, so where those were off in the past (bursts that no
    forecast sees, spreads too wide) futures are off in the same way, and for as long. Of m past stretches and a hundred
    usual ones each is as likely; the past is sampled evenly over stretches sorted by their highest early score. Usual
    scores are 0.6 times Student's t with 3 degrees of freedom, about as those of the training worlds are spread.

    Args:
        draws: Shared random numbers.
        past: Scores so far; a stretch begins with what the last visible minute did not tell.
    """
    scores = past.scores
    steps = draws.shocks.shape[1]
    usual = _USUAL_SCALE * stdtrit(_USUAL_FREEDOM, ndtr(draws.shocks))
    shocks = np.repeat(usual[None], len(scores), axis=0)
    stretches = scores.shape[1] - steps + 1
    if stretches < 1:
        return shocks
    share = stretches / (stretches + _USUAL_STRETCHES)
    from_past = np.flatnonzero(draws.picks < share)
    own = np.lib.stride_tricks.sliding_window_view(scores, steps, axis=1).copy()
    own[:, :, 0] = past.surprises[:, :stretches]
    order = np.argsort(own[:, :, :_EARLY_STEPS].max(axis=2), axis=1, kind="stable")
    place = (draws.picks[from_past] / share * stretches).astype(np.int64)
    shocks[:, from_past] = np.take_along_axis(own, order[:, place, None], axis=1)
    return shocks


def step_correlations(quantiles: FloatArray) -> FloatArray:
    """Return [B, J - 1] the correlation of the score of each step with that of the next."""
    spread = (quantiles[..., 2] - quantiles[..., 0]) / _SPREAD_Z
    relative = spread / np.maximum(quantiles[..., _MEDIAN], 1e-9)
    squared = 1.0 - (relative[:, :1] / np.maximum(relative[:, 1:], 1e-12)) ** 2
    return np.asarray(np.sqrt(np.clip(squared, 0.0, _MOST_CORRELATION)))


def score_paths(correlations: FloatArray, start: FloatArray, shocks: FloatArray) -> FloatArray:
    """Return [B, F, J] scores: a Markov chain with [B, J - 1] correlations from [B] on, driven by [B, F, J] shocks."""
    steps = shocks.shape[2]
    scores = np.empty(shocks.shape)
    scores[:, :, 0] = start[:, None] + shocks[:, :, 0]
    for step in range(1, steps):
        keep = correlations[:, step - 1, None]
        scores[:, :, step] = keep * scores[:, :, step - 1] + np.sqrt(1.0 - keep**2) * shocks[:, :, step]
    return scores


def minute_demand(quantiles: FloatArray, scores: FloatArray, noise: FloatArray, roughness: FloatArray) -> FloatArray:
    """Return [B, F, 5 J] demand of each minute after the last visible one, requests per second.

    Args:
        quantiles: [B, J, Q] of each step.
        scores: [B, F, J] of each path.
        noise: [F, J, 5] minute multipliers of the usual size.
        roughness: [B] size of a fleet's minute noise over the usual one.
    """
    means = quantile_at(quantiles[:, None], scores)
    own = noise[None] ** roughness[:, None, None, None]
    own /= own.mean(axis=3, keepdims=True)
    return np.asarray((means[..., None] * own).reshape(*means.shape[:2], -1))


def forecast_rows(
    quantiles: FloatArray, correlations: FloatArray, scores: FloatArray, rows: int, leads: int
) -> FloatArray:
    """Return [B, F, rows, leads, Q] what would be forecast along each path, row 0 being the forecast of now.

    Row m knows the path up to step m; the quantile of step j is then that of the chain given its score at step m.

    Args:
        quantiles: [B, J, Q] of each step; J reaches ``rows - 1`` steps beyond the longest lead.
        correlations: [B, J - 1] of each step with the next.
        scores: [B, F, J] of each path.
        rows: Rows, one each five minutes.
        leads: How many of LEAD_MINUTES.
    """
    fleets, futures, _ = scores.shape
    ahead = np.array(LEAD_MINUTES[:leads]) // TICKS_PER_ROW
    logs = np.log(np.maximum(correlations, 1e-9))
    total = np.concatenate([np.zeros((fleets, 1)), np.cumsum(logs, axis=1)], axis=1)
    result = np.empty((fleets, futures, rows, leads, len(QUANTILE_LEVELS)))
    result[:, :, 0] = quantiles[:, None, ahead - 1]
    for row in range(1, rows):
        target = row + ahead - 1
        keep = np.exp(total[:, target] - total[:, row - 1 : row])[:, None, :, None]
        known = scores[:, :, row - 1, None, None]
        z = keep * known + np.sqrt(np.maximum(1.0 - keep**2, 0.0)) * _LEVELS_Z
        result[:, :, row] = quantile_at(quantiles[:, None, target, None, :], z)
    return result
