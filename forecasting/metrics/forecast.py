"""How good a forecast is: pure functions of forecasts and what came true; pairs with a NaN do not count."""

import numpy as np
import numpy.typing as npt


def pinball_loss(actual: npt.ArrayLike, forecast: npt.ArrayLike, level: float) -> float:
    """Return the mean quantile loss at ``level`` (0..1), in the series' unit; 0 for a perfect forecast."""
    error = _errors(actual, forecast)
    return float(np.mean(np.maximum(level * error, (level - 1.0) * error)))


def weighted_quantile_loss(actual: npt.ArrayLike, forecasts: npt.ArrayLike, levels: npt.ArrayLike) -> float:
    """Return twice the pinball loss, averaged over levels, per unit of demand; NaN where there is no demand.

    Args:
        actual: float[N].
        forecasts: float[N, Q], one column per level.
        levels: float[Q], 0..1.
    """
    columns = np.asarray(forecasts, dtype=np.float64).T
    losses = [pinball_loss(actual, column, level) for column, level in zip(columns, np.asarray(levels), strict=True)]
    return _over(2.0 * float(np.mean(losses)), float(np.nanmean(np.abs(np.asarray(actual, dtype=np.float64)))))


def wape(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the sum of absolute errors over the sum of demand; NaN where there is no demand."""
    actual = np.asarray(actual, dtype=np.float64)
    known = ~np.isnan(actual + np.asarray(forecast, dtype=np.float64))
    return _over(float(np.abs(_errors(actual, forecast)).sum()), float(np.abs(actual[known]).sum()))


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


def accuracy(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return one minus WAPE: 1 for a perfect forecast, below 0 where the errors exceed the demand."""
    return 1.0 - wape(actual, forecast)


def mean_absolute_error(actual: npt.ArrayLike, forecast: npt.ArrayLike) -> float:
    """Return the mean absolute error, in the series' unit."""
    return float(np.abs(_errors(actual, forecast)).mean())


def geometric_mean(ratios: npt.ArrayLike) -> float:
    """Return the geometric mean of non-negative ratios, 0 if any is 0; those that are NaN do not count.

    The way to average errors relative to a reference over series: a half and a double cancel, and no series outweighs
    another (Fleming & Wallace 1986).

    Raises:
        ValueError: no ratio is known, or one is negative.
    """
    known = np.asarray(ratios, dtype=np.float64).ravel()
    known = known[~np.isnan(known)]
    if not len(known) or known.min() < 0.0:
        raise ValueError(f"{len(known)} known ratios; expected at least one, none negative")
    return float(np.exp(np.mean(np.log(known)))) if known.min() > 0.0 else 0.0


def relative_mase(errors: npt.ArrayLike, naive_errors: npt.ArrayLike) -> float:
    """Return the geometric mean over series of MASE over the MASE of seasonal naive at the same origins.

    The scale that turns errors into MASE is the same above and below the line, so mean absolute errors do.

    Args:
        errors: float[S], mean absolute error of a forecaster on each series.
        naive_errors: float[S], the same of seasonal naive; a series where it makes no error does not count.
    """
    return _relative(errors, naive_errors)


def relative_wql(losses: npt.ArrayLike, naive_losses: npt.ArrayLike) -> float:
    """Return the geometric mean over series of the weighted quantile loss over that of seasonal naive.

    Args:
        losses: float[S], weighted quantile loss of a forecaster on each series.
        naive_losses: float[S], the same of seasonal naive with quantiles from its residuals; a series where it has no
            loss does not count.
    """
    return _relative(losses, naive_losses)


def coverage_by_horizon(
    actual: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, leads: npt.ArrayLike, edges: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return the share of values inside [low, high] in each bucket of leads.

    Args:
        actual: float[O, L], a row per origin, a column per lead.
        low: float[O, L].
        high: float[O, L].
        leads: float[L], in any unit.
        edges: float[B], upper ends of the buckets, increasing; a bucket begins above the one before.

    Returns:
        float[B], 0..1; NaN in a bucket without a lead or without a known value.
    """
    actual, low, high = (np.asarray(values, dtype=np.float64) for values in (actual, low, high))
    bucket = np.searchsorted(np.asarray(edges, dtype=np.float64), np.asarray(leads, dtype=np.float64))
    shares = np.full(len(np.asarray(edges)), np.nan)
    for at in range(len(shares)):
        columns = np.flatnonzero(bucket == at)
        if np.isfinite(actual[:, columns]).any():
            shares[at] = coverage(actual[:, columns], low[:, columns], high[:, columns])
    return shares


def _relative(own: npt.ArrayLike, naive: npt.ArrayLike) -> float:
    own, naive = np.asarray(own, dtype=np.float64), np.asarray(naive, dtype=np.float64)
    return geometric_mean(np.divide(own, naive, out=np.full(own.shape, np.nan), where=naive > 0.0))


def _over(loss: float, demand: float) -> float:
    return loss / demand if demand > 0.0 else float("nan")
