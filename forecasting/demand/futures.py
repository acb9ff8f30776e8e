"""Sample paths of future demand from a forecaster's own predictive distribution.

Each step's value follows the forecast quantiles, as a straight line in normal scores between the levels .1, .5, .9 and
.99; the lines of the first and the last pair go on as tails, to four standard deviations. Steps of one forecast are
tied by a Gaussian copula: their normal scores are an AR(1) path. A longer path is rolled forward four hours at a time:
a copy of the (compiled) forecaster is fed what was drawn, and forecasts again. The scores of a new block start afresh,
as errors of a forecast do not depend on errors before its origin.

A forecaster that only hears itself drifts. The first block stays below three times the highest value seen; later ones
lie between the lowest and the highest of the last week within an hour of the same time of day, with half as much again
on top and a third less below. Before that their quantiles are pulled half of the way, in logs, from their mean median
to the mean of the same hours of the last week.
"""

import copy
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.special import ndtri

from forecasting.base import FloatArray
from forecasting.demand.binned import demand_forecaster
from forecasting.demand.boosted import LEVELS
from forecasting.demand.events import StreamForecaster
from forecasting.demand.forecaster import checked_demand
from forecasting.demand.memory import LONGEST_LEAD_S
from forecasting.shipped import shipped_boosted

MOST_TIMES_HIGHEST: Final = 3.0
SEASON_ROOM: Final = 1.5
SEASON_PULL: Final = 0.5
DEFAULT_LOSS: Final = 0.5
DEFAULT_POWER: Final = 0.8

_LARGEST_SCORE: Final = 4.0
_SCORES: Final = np.array([-_LARGEST_SCORE, *ndtri(np.array(LEVELS)), _LARGEST_SCORE])
_LARGEST_CORRELATION: Final = 0.995
_WARM_UP_S: Final = 2 * 86_400
_FEWEST_FORECASTS: Final = 12
_USUAL_STEP_S: Final = 300.0


def sample_futures(
    forecaster: StreamForecaster,
    steps: int,
    draws: int,
    seed: int,
    *,
    history: npt.ArrayLike,
    correlation: FloatArray | None = None,
) -> FloatArray:
    """Draw paths of the demand that follows the last value a forecaster was fed.

    Args:
        forecaster: Where to start from; it is not changed.
        steps: Length of a path, 1 or more.
        draws: Paths, 1 or more; the first ones do not depend on how many there are.
        seed: Non-negative; the same seed gives the same paths.
        history: float64[N], the values it was fed last, NaN where missing, at least one known; best a week of them.
        correlation: float64[steps of four hours - 1], of normal scores from each lead to the next
            (``error_correlation``), 0 to below 1; by default what is usual.

    Returns:
        float64[draws, steps], finite and non-negative.

    Raises:
        ValueError: A number out of range; names it.
    """
    for name, value, least in (("steps", steps, 1), ("draws", draws, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}; expected {least} or more")
    seen = checked_demand(history)
    if not (~np.isnan(seen)).any():
        raise ValueError("history holds no known value")
    highest = MOST_TIMES_HIGHEST * float(np.nanmax(seen))
    low, season, high = season_bounds(seen, forecaster.step_s)
    if correlation is None:
        correlation = default_correlation(forecaster.step_s)
    block = block_steps(forecaster.step_s)
    if correlation.shape != (block - 1,) or not ((correlation >= 0.0) & (correlation < 1.0)).all():
        raise ValueError(f"correlation is {correlation}; expected {block - 1} numbers from 0 to below 1")
    first = _knots(forecaster, min(block, steps))
    paths = np.empty((draws, steps))
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw, 0xF7])
        branch = _branch(forecaster) if steps > block else forecaster
        knots = first
        for start in range(0, steps, block):
            part = paths[draw, start : start + block]
            places = np.arange(start, start + len(part)) % len(low)
            if start > 0:
                branch.feed(paths[draw, start - block : start])
                knots = _pull(_knots(branch, len(part)), season[places])
            scores = correlated_scores(correlation[: len(part) - 1], rng)
            for place, score in enumerate(scores):
                part[place] = np.interp(score, _SCORES, knots[place])
            np.clip(part, low[places] if start else 0.0, high[places] if start else highest, out=part)
    return paths


def season_bounds(history: FloatArray, step_s: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the lowest, the mean and the highest level of later blocks at each time of day, float64[day] each.

    The first entry is for the first step after the history. Without a whole day of history, or where the time of day
    was never seen: 0, no mean (NaN), and three times the highest value.
    """
    day, hour = 86_400 // step_s, 3_600 // step_s
    days = min(len(history) // day, 7)
    table = history[len(history) - days * day :].reshape(days, day)
    known = ~np.isnan(table)
    low = minimum_filter1d(np.where(known, table, np.inf).min(axis=0, initial=np.inf), 2 * hour + 1, mode="wrap")
    high = maximum_filter1d(np.where(known, table, 0.0).max(axis=0, initial=0.0), 2 * hour + 1, mode="wrap")
    counts = known.sum(axis=0)
    total = np.where(known, table, 0.0).sum(axis=0)
    mean = np.divide(total, counts, out=np.full(day, np.nan), where=counts > 0)
    seen = np.isfinite(low)
    highest = MOST_TIMES_HIGHEST * float(np.nanmax(history))
    return np.where(seen, low, 0.0) / SEASON_ROOM, mean, np.where(seen, SEASON_ROOM * high, highest)


def _pull(knots: FloatArray, season: FloatArray) -> FloatArray:
    """Return the knots of a block, moved half of the way to the mean level of its hours where that is known."""
    level, wanted = float(knots[:, 1 + LEVELS.index(0.5)].mean()), float(season.mean())
    if not (level > 0.0 and wanted > 0.0):
        return knots
    return np.asarray(knots * (wanted / level) ** SEASON_PULL)


def block_steps(step_s: int) -> int:
    """Return how many steps are drawn from one forecast: four hours, at least one step."""
    return max(1, LONGEST_LEAD_S // step_s)


def default_correlation(step_s: int) -> FloatArray:
    """Return float64[steps of four hours - 1], the correlations where none were estimated."""
    leads_s = step_s * np.arange(1, block_steps(step_s), dtype=np.float64)
    return np.asarray(1.0 - DEFAULT_LOSS * (_USUAL_STEP_S / (leads_s + step_s)) ** DEFAULT_POWER)


def correlated_scores(correlation: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw standard normal scores, float64[H], each tied to the one before by float64[H - 1] ``correlation``."""
    scores = rng.standard_normal(len(correlation) + 1)
    for place, tie in enumerate(correlation):
        scores[place + 1] = tie * scores[place] + np.sqrt(1.0 - tie**2) * scores[place + 1]
    return scores


def normal_scores(values: FloatArray, rows: FloatArray) -> FloatArray:
    """Return float64[H], the normal score of each value in its forecast (float64[H, 4] at LEVELS), -4 to 4."""
    pairs = zip(values, _with_tails(rows), strict=True)
    return np.array([np.interp(value, knots, _SCORES) for value, knots in pairs])


def error_correlation(history: npt.ArrayLike, step_s: int) -> FloatArray:
    """Return the correlation of normal scores of forecast errors from each lead to the next, as it was on a series.

    A fresh forecaster forecasts four hours every four hours from the third day on.

    Args:
        history: float64[N], non-negative, NaN where missing.
        step_s: Seconds per step, 1 to 3600.

    Returns:
        float64[steps of four hours - 1], 0 to 0.995, estimated per octave of the lead and joined by straight lines in
        its log; the default where there are fewer than twelve such forecasts, or nothing varies.
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
    usual = default_correlation(step_s)
    leads = np.arange(1, block)
    group = np.floor(np.log2(leads)).astype(np.int64)
    middles, found = [], []
    for octave in range(int(group[-1]) + 1):
        places = np.flatnonzero(group == octave)
        before, after = table[:, places].ravel(), table[:, places + 1].ravel()
        known = ~np.isnan(before) & ~np.isnan(after)
        before, after = before[known], after[known]
        size = float(np.sqrt((before**2).sum() * (after**2).sum()))
        if size > 0.0:
            middles.append(float(np.log(leads[places]).mean()))
            found.append(float((before * after).sum()) / size)
    if not found:
        return usual
    return np.clip(np.interp(np.log(leads), middles, found), 0.0, _LARGEST_CORRELATION)


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
