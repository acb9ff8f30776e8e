"""How good a forecast is: pure functions of forecasts and what came true; pairs with a NaN do not count."""

import numpy as np
import numpy.typing as npt


def pinball_loss(actual: npt.ArrayLike, forecast: npt.ArrayLike, level: float) -> float:
    """Return the mean quantile loss at ``level`` (0..1), in the series' unit; 0 for a perfect forecast."""
    error = _errors(actual, forecast)
    return float(np.mean(np.maximum(level * error, (level - 1.0) * error)))


def weighted_quantile_loss(actual: npt.ArrayLike, forecasts: npt.ArrayLike, levels: npt.ArrayLike) -> float:
    """Return twice the pinball loss, averaged over levels, per unit of demand.

    Args:
        actual: float[N].
        forecasts: float[N, Q], one column per level.
        levels: float[Q], 0..1.
    """
    columns = np.asarray(forecasts, dtype=np.float64).T
    losses = [pinball_loss(actual, column, level) for column, level in zip(columns, np.asarray(levels), strict=True)]
    return 2.0 * float(np.mean(losses)) / float(np.nanmean(np.abs(np.asarray(actual, dtype=np.float64))))


def wape(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the sum of absolute errors over the sum of demand."""
    actual = np.asarray(actual, dtype=np.float64)
    known = ~np.isnan(actual + np.asarray(forecast, dtype=np.float64))
    return float(np.abs(_errors(actual, forecast)).sum() / np.abs(actual[known]).sum())


def coverage(actual: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> float:
    """Return the share of values inside [low, high], 0..1."""
    actual, low, high = (np.asarray(values, dtype=np.float64) for values in (actual, low, high))
    known = ~np.isnan(actual + low + high)
    return float(np.mean((actual[known] >= low[known]) & (actual[known] <= high[known])))


def mase(actual: npt.ArrayLike, forecast: npt.ArrayLike, history: npt.ArrayLike, season: int) -> float:
    """Return the mean absolute error over that of seasonal naive on the history (Hyndman & Koehler 2006).

    Args:
        actual: float[N].
        forecast: float[N].
        history: float[M], the values before the forecasts.
        season: steps per season.

    Raises:
        ValueError: the history is not longer than a season.
    """
    past = np.asarray(history, dtype=np.float64)
    if len(past) <= season:
        raise ValueError(f"a history of {len(past)} values is not longer than a season of {season}")
    return float(np.abs(_errors(actual, forecast)).mean() / np.nanmean(np.abs(past[season:] - past[:-season])))


def _errors(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> npt.NDArray[np.float64]:
    error = np.asarray(actual, dtype=np.float64) - np.asarray(forecast, dtype=np.float64)
    return error[~np.isnan(error)]
