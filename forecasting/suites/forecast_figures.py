"""The plots of the forecast suite."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecasting.suites.forecast_scores import BUCKETS_MINUTES, REFERENCE
from forecasting.suites.rolling_origins import Rolled
from telemetry.forecast_series import DevelopmentSeries

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WEEK_S = 7 * 86_400


def relative_figure(table: pd.DataFrame) -> "Figure":
    """Return bars of relMASE and relWQL per forecaster (a table of ``forecast_scores.relative``), best on top."""
    from matplotlib import pyplot

    ordered = table.drop(index=REFERENCE).sort_values("relMASE", ascending=False)
    page, axes = pyplot.subplots(figsize=(8, 1.2 + 0.45 * len(ordered)), layout="constrained")
    at = np.arange(len(ordered))
    axes.barh(at + 0.2, ordered["relMASE"], height=0.4, label="relMASE")
    axes.barh(at - 0.2, ordered["relWQL"], height=0.4, label="relWQL")
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set(yticks=at, yticklabels=list(ordered.index), xlabel=f"loss over {REFERENCE} (1 = no better)")
    axes.legend()
    return page


def coverage_figure(scores: pd.DataFrame) -> "Figure":
    """Return the share inside the 80 % interval by horizon, a line per forecaster (rows of ``score``)."""
    from matplotlib import pyplot

    page, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    columns = [f"covered to {edge} min" for edge in BUCKETS_MINUTES]
    for model, shares in scores.groupby("model", sort=False)[columns].mean().iterrows():
        axes.plot(BUCKETS_MINUTES, shares.to_numpy(), "o-", label=str(model))
    axes.axhline(0.8, color="black", lw=0.8)
    axes.set(xlabel="leads up to, minutes", ylabel="share inside the 80 % interval", xscale="log")
    axes.legend(fontsize=8)
    return page


def week_figure(rolled: Rolled, series: DevelopmentSeries, name: str) -> "Figure":
    """Return the last scored week of a series with the four-hour paths of every fourth hour."""
    from matplotlib import pyplot

    page, axes = pyplot.subplots(figsize=(12, 4), layout="constrained")
    steps = np.arange(max(0, int(rolled.origins[-1]) - _WEEK_S // series.step_s), int(rolled.origins[-1]) + 1)
    days = series.step_s / 86_400
    axes.plot(steps * days, series.values[steps], color="black", lw=0.8, label=series.name)
    end = -1
    for origin, rows in zip(rolled.origins, rolled.forecasts, strict=True):
        if origin < max(steps[0], end):
            continue
        end = int(origin + rolled.leads[-1])
        at = (origin + rolled.leads) * days
        axes.fill_between(at, rows[:, 0], rows[:, -1], color="tab:blue", alpha=0.3, lw=0)
        axes.plot(at, rows[:, 1], color="tab:blue", lw=0.8)
    axes.set(xlabel="days", ylabel="demand", title=f"{name}: median and 80 % band, four hours ahead")
    axes.legend()
    return page
