"""What a rolled forecast of one series is worth: one row of figures, and the same figures over series."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.base import FloatArray
from forecasting.metrics.forecast import (
    accuracy,
    coverage,
    coverage_by_horizon,
    mean_absolute_error,
    relative_mase,
    relative_wql,
    wape,
    weighted_quantile_loss,
)
from forecasting.suites.rolling_origins import HORIZON_S, LEVELS, Rolled
from telemetry.forecast_series import DevelopmentSeries, Part

FORECASTABLE = 0.8
BUCKETS_MINUTES = (15, 60, 120, 240)
SHOWN_LEADS_MINUTES = (5, 15, 30, 60, 120, 240)
REFERENCE = "seasonal naive"
_DAY_S = 86_400
_LOW, _MEDIAN, _HIGH = range(len(LEVELS))


def score(rolled: Rolled, step_s: int) -> dict[str, float]:
    """Return the figures of one series.

    Returns:
        ``mae``, ``wql``, ``accuracy`` (1-WAPE), ``covered`` (by the 80 % interval), ``covered to M min`` per bucket,
        ``WAPE M min`` per shown lead (NaN where the series has no such lead), ``fit_s``, ``update_us``,
        ``forecast_ms``.
    """
    actual, rows = rolled.actual, rolled.forecasts
    median = rows[..., _MEDIAN]
    minutes = rolled.leads * step_s / 60.0
    found = {
        "mae": mean_absolute_error(actual, median),
        "wql": weighted_quantile_loss(actual.ravel(), rows.reshape(-1, len(LEVELS)), LEVELS),
        "accuracy": accuracy(actual, median),
        "covered": coverage(actual, rows[..., _LOW], rows[..., _HIGH]),
        "fit_s": rolled.fit_s,
        "update_us": rolled.update_us,
        "forecast_ms": rolled.forecast_ms,
    }
    shares = coverage_by_horizon(actual, rows[..., _LOW], rows[..., _HIGH], minutes, BUCKETS_MINUTES)
    found |= {f"covered to {edge} min": float(share) for edge, share in zip(BUCKETS_MINUTES, shares, strict=True)}
    for lead in SHOWN_LEADS_MINUTES:
        column = np.flatnonzero(minutes == lead)
        found[f"WAPE {lead} min"] = wape(actual[:, column], median[:, column]) if len(column) else np.nan
    return found


def naive_accuracy(history: npt.ArrayLike, step_s: int) -> float:
    """Return 1-WAPE of the better naive forecast over a history, leads up to four hours: how forecastable it is.

    The last value is averaged over all leads; the value of a day ago errs the same at each. NaN without any demand.

    Args:
        history: float64[N], NaN where there is no reading.
        step_s: seconds per step.
    """
    values = np.asarray(history, dtype=np.float64)
    season = _DAY_S // step_s
    leads = range(1, min(HORIZON_S // step_s, len(values) - 1) + 1)
    last = [share for lead in leads if np.isfinite(share := accuracy(values[lead:], values[:-lead]))]
    day = accuracy(values[season:], values[:-season]) if len(values) > season else np.nan
    found = [*([float(np.mean(last))] if last else []), *([day] if np.isfinite(day) else [])]
    return max(found, default=float("nan"))


def forecastable(series: DevelopmentSeries, part: Part) -> bool:
    """Return whether the better naive reaches 1-WAPE 0.8 on what lies before a part."""
    return naive_accuracy(series.history(part), series.step_s) >= FORECASTABLE


def relative(scores: pd.DataFrame) -> pd.DataFrame:
    """Return each forecaster over seasonal naive, over the series of ``scores``.

    Args:
        scores: a row per forecaster and series (index levels ``model``, ``series``), columns of :func:`score`.

    Returns:
        A row per forecaster in the order of appearance: ``relMASE``, ``relWQL``, ``coverage``, ``worst series off by``
        (largest distance of a series' coverage from 0.8), ``1-WAPE`` (mean over series).
    """
    naive = scores.loc[REFERENCE]
    rows = {}
    for model in scores.index.get_level_values("model").unique():
        own = scores.loc[model].reindex(naive.index)
        rows[model] = {
            "relMASE": relative_mase(own["mae"], naive["mae"]),
            "relWQL": relative_wql(own["wql"], naive["wql"]),
            "coverage": own["covered"].mean(),
            "worst series off by": (own["covered"] - 0.8).abs().max(),
            "1-WAPE": own["accuracy"].mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def bootstrap_over_series(
    figure: Callable[[FloatArray], float], values: npt.ArrayLike, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a figure when the series are drawn again with replacement.

    Args:
        figure: maps float64[S, ...], one row per series, to the figure.
        values: float64[S, ...].
        draws: how often.
        seed: of the draws.
    """
    rows = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    found = [figure(rows[rng.integers(0, len(rows), len(rows))]) for _ in range(draws)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
