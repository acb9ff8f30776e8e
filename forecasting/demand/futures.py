"""Sample paths of future demand from a forecaster's own predictive distribution.

Each step's value follows the forecast quantiles, as a straight line in normal scores between the levels .1, .5, .9 and
.99; the lines of the first and the last pair go on as tails, to four standard deviations. Steps of one forecast are
tied by a Gaussian copula: their normal scores are an AR(1) path. A longer path is rolled forward four hours at a time:
a copy of the (compiled) forecaster is fed what was drawn, and forecasts again. The scores of a new block start afresh,
as errors of a forecast do not depend on errors before its origin. No value exceeds three times the highest seen.
"""

import copy
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from scipy.special import ndtri

from forecasting.base import FloatArray
from forecasting.demand.binned import demand_forecaster
from forecasting.demand.boosted import LEVELS
from forecasting.demand.events import StreamForecaster
from forecasting.demand.forecaster import checked_demand
from forecasting.demand.memory import LONGEST_LEAD_S
from forecasting.shipped import shipped_boosted

MOST_TIMES_HIGHEST: Final = 3.0
DEFAULT_CORRELATION: Final = 0.9
"""Of the normal scores of errors five minutes apart."""

_LARGEST_SCORE: Final = 4.0
_SCORES: Final = np.array([-_LARGEST_SCORE, *ndtri(np.array(LEVELS)), _LARGEST_SCORE])
_LARGEST_CORRELATION: Final = 0.99
_WARM_UP_S: Final = 2 * 86_400
_FEWEST_FORECASTS: Final = 12
_USUAL_STEP_S: Final = 300.0


def sample_futures(
    forecaster: StreamForecaster,
    steps: int,
    draws: int,
    seed: int,
    *,
    highest: float,
    correlation: float | None = None,
) -> FloatArray:
    """Draw paths of the demand that follows the last value a forecaster was fed.

    Args:
        forecaster: Where to start from; it is not changed.
        steps: Length of a path, 1 or more.
        draws: Paths, 1 or more; the first ones do not depend on how many there are.
        seed: Non-negative; the same seed gives the same paths.
        highest: Highest value seen, 0 or more; paths stay below three times it.
        correlation: Of normal scores from one step to the next (``error_correlation``), 0 to below 1; by default 0.9
            for five minutes, and as many times as much for other steps.

    Returns:
        float64[draws, steps], finite and non-negative.

    Raises:
        ValueError: A number out of range; names it.
    """
    for name, value, least in (("steps", steps, 1), ("draws", draws, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; expected {least} or more")
    if not (np.isfinite(highest) and highest >= 0.0):
        raise ValueError(f"highest is {highest}; expected a finite number from 0 on")
    if correlation is None:
        correlation = default_correlation(forecaster.step_s)
    if not 0.0 <= correlation < 1.0:
        raise ValueError(f"correlation is {correlation}; expected 0 to below 1")
    block = block_steps(forecaster.step_s)
    first = _knots(forecaster, min(block, steps))
    paths = np.empty((draws, steps))
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw, 0xF7])
        branch = _branch(forecaster) if steps > block else forecaster
        knots = first
        for start in range(0, steps, block):
            part = paths[draw, start : start + block]
            if start > 0:
                branch.feed(paths[draw, start - block : start])
                knots = _knots(branch, len(part))
            scores = correlated_scores(len(part), correlation, rng)
            for place, score in enumerate(scores):
                part[place] = np.interp(score, _SCORES, knots[place])
            np.clip(part, 0.0, MOST_TIMES_HIGHEST * highest, out=part)
    return paths


def block_steps(step_s: int) -> int:
    """Return how many steps are drawn from one forecast: four hours, at least one step."""
    return max(1, LONGEST_LEAD_S // step_s)


def default_correlation(step_s: int) -> float:
    """Return the correlation of scores one step apart where none was estimated."""
    return float(DEFAULT_CORRELATION ** (step_s / _USUAL_STEP_S))


def correlated_scores(steps: int, correlation: float, rng: np.random.Generator) -> FloatArray:
    """Draw a stationary AR(1) path of standard normal scores, float64[steps]."""
    shocks = rng.standard_normal(steps)
    shocks[1:] *= np.sqrt(1.0 - correlation**2)
    return np.asarray(lfilter([1.0], [1.0, -correlation], shocks))


def normal_scores(values: FloatArray, rows: FloatArray) -> FloatArray:
    """Return float64[H], the normal score of each value in its forecast (float64[H, 4] at LEVELS), -4 to 4."""
    pairs = zip(values, _with_tails(rows), strict=True)
    return np.array([np.interp(value, knots, _SCORES) for value, knots in pairs])


def error_correlation(history: npt.ArrayLike, step_s: int) -> float:
    """Return the correlation of normal scores of forecast errors one step apart, as it was on a series.

    A fresh forecaster forecasts four hours every four hours from the third day on.

    Args:
        history: float64[N], non-negative, NaN where missing.
        step_s: Seconds per step, 1 to 3600.

    Returns:
        0 to 0.99; the default where there are fewer than twelve such forecasts, or nothing varies.
    """
    values = checked_demand(history)
    block = block_steps(step_s)
    forecaster = demand_forecaster(step_s)
    origin = _WARM_UP_S // step_s
    forecaster.feed(values[:origin])
    scores = []
    while origin + block <= len(values):
        coming = values[origin : origin + block]
        scores.append(normal_scores(coming, forecaster.forecast(range(1, block + 1), LEVELS)))
        forecaster.feed(coming)
        origin += block
    if len(scores) < _FEWEST_FORECASTS or block < 2:
        return default_correlation(step_s)
    table = np.array(scores)
    before, after = table[:, :-1].ravel(), table[:, 1:].ravel()
    known = ~np.isnan(before) & ~np.isnan(after)
    before, after = before[known], after[known]
    size = float(np.sqrt((before**2).sum() * (after**2).sum()))
    if size == 0.0:
        return default_correlation(step_s)
    return float(np.clip((before * after).sum() / size, 0.0, _LARGEST_CORRELATION))


def _with_tails(rows: FloatArray) -> FloatArray:
    """Return float64[H, 6]: quantiles at LEVELS with a tail on both sides, at _SCORES."""
    low = rows[:, 0] + (rows[:, 1] - rows[:, 0]) * (_SCORES[0] - _SCORES[1]) / (_SCORES[2] - _SCORES[1])
    high = rows[:, -1] + (rows[:, -1] - rows[:, -2]) * (_SCORES[-1] - _SCORES[-2]) / (_SCORES[-2] - _SCORES[-3])
    return np.column_stack((np.maximum(low, 0.0), rows, high))


def _knots(forecaster: StreamForecaster, steps: int) -> FloatArray:
    return _with_tails(forecaster.forecast(range(1, steps + 1), LEVELS))


def _branch(forecaster: StreamForecaster) -> StreamForecaster:
    """Return a copy that goes its own way and shares the shipped model."""
    shared = shipped_boosted()
    return copy.deepcopy(forecaster, {id(shared): shared})
