"""How good demand forecasts are: every forecaster at the same origins of the same series, beside both naives.

Protocol. A forecaster is fitted once on everything before the scored part, then streams it value by value; at each
origin it gives quantiles of every step up to four hours ahead. Figures over series are geometric means of ratios to
seasonal naive with quantiles from its own residuals. Steps without a reading do not count. Forecasters whose single
forecast takes a good part of a second stand in a second table: all forecasters again, at a few origins per series.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

import pandas as pd

from forecasting.metrics.forecast import relative_mase
from forecasting.rivals.naive import DayAgo, LastValue
from forecasting.suites.finding import Finding
from forecasting.suites.forecast_figures import coverage_figure, relative_figure, week_figure
from forecasting.suites.forecast_scores import (
    BUCKETS_MINUTES,
    FORECASTABLE,
    REFERENCE,
    SHOWN_LEADS_MINUTES,
    bootstrap_over_series,
    forecastable,
    relative,
    score,
)
from forecasting.suites.rolling_origins import Factory, Rolled, origins_of, roll
from telemetry.check import Check
from telemetry.forecast_series import DevelopmentSeries, Part

LAST_VALUE = "last value"
_TARGETS = "targets of the forecast suite"
Watch = Callable[[Sequence[tuple[str, DevelopmentSeries]]], Iterable[tuple[str, DevelopmentSeries]]]


def naive_forecasters() -> dict[str, Factory]:
    """Return the two that stand beside every figure."""
    return {
        REFERENCE: lambda task: DayAgo(step_s=task.step_s, levels=task.levels),
        LAST_VALUE: lambda task: LastValue(levels=task.levels),
    }


def forecast_suite(
    forecasters: Mapping[str, Factory],
    series: Sequence[DevelopmentSeries],
    *,
    part: Part,
    slow: Mapping[str, Factory] | None = None,
    trained_s: Mapping[str, float] | None = None,
    every_s: int = 3600,
    slow_origins: int = 8,
    watch: Watch = iter,
) -> Finding:
    """Score forecasters on a part of the development series.

    Args:
        forecasters: factories by name; the first is the one that the checks are about. The naives are added.
        series: what to score on.
        part: "validate" while developing, "test" once.
        slow: factories scored at ``slow_origins`` origins per series only; the others are scored there too.
        trained_s: CPU seconds of pooled training done beforehand, by name.
        every_s: seconds between origins.
        slow_origins: origins per series of the second table.
        watch: passes the pairs (forecaster, series) through, for a progress bar.

    Raises:
        ValueError: no forecaster or no series, a name in use twice, or a forecaster that breaks its contract.
    """
    slow = slow or {}
    names = {**forecasters, **naive_forecasters()}
    if not forecasters or not series or len(names) < len(forecasters) + 2 or set(names) & set(slow):
        raise ValueError(f"forecasters {list(forecasters)} and {list(slow)}: expected at least one, each name once")
    fast_at = {item.name: origins_of(item, part, every_s=every_s) for item in series}
    slow_at = {item.name: origins_of(item, part, every_s=every_s, most=slow_origins) for item in series}
    rolled: dict[tuple[str, str], Rolled] = {}
    for name, item in watch([(name, item) for name in (*names, *slow) for item in series]):
        at = slow_at if name in slow else fast_at
        rolled[name, item.name] = roll((names | dict(slow))[name], item, part, at[item.name])
    scores = _frame({key: rolled[key] for key in rolled if key[0] in names}, series)
    few = {key: found.at(slow_at[key[1]]) for key, found in rolled.items()} if slow else {}
    selected = [item.name for item in series if forecastable(item, part)]
    first = next(iter(forecasters))
    tables = {
        f"All series ({len(series)}), origins every {every_s // 60} min": _with_interval(scores),
        **_groups(scores, series),
        f"Forecastable series ({len(selected)}): 1-WAPE": _forecastable_table(scores, selected),
        "80 % coverage by horizon, mean of the five-minute series": _means(
            scores, {f"covered to {edge} min": f"to {edge} min" for edge in BUCKETS_MINUTES}
        ),
        "WAPE by lead, mean of the five-minute series": _means(
            scores, {f"WAPE {lead} min": f"{lead} min" for lead in SHOWN_LEADS_MINUTES}
        ),
        "Cost (CPU, one thread)": _cost(_frame(few, series) if slow else scores, trained_s or {}, scores),
        "relMASE by series": _by_series(scores, "mae"),
        "relWQL by series": _by_series(scores, "wql"),
        "80 % coverage by series": scores["covered"].unstack("model")[list(names)].reset_index(),
    }
    if slow:
        tables |= _slow_tables(_frame(few, series), selected, slow_origins)
    shown = selected[0] if selected else series[0].name
    figures = {
        "forecast-relative": relative_figure(relative(scores)),
        "forecast-coverage": coverage_figure(scores),
        "forecast-week": week_figure(rolled[first, shown], next(s for s in series if s.name == shown), first),
    }
    return Finding(_checks(scores, selected, first), tables, figures, _notes(series, part, every_s, selected))


def _frame(rolled: Mapping[tuple[str, str], Rolled], series: Sequence[DevelopmentSeries]) -> pd.DataFrame:
    steps = {item.name: item.step_s for item in series}
    rows = {key: score(found, steps[key[1]]) for key, found in rolled.items()}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["model", "series"])
    return frame


def _models(scores: pd.DataFrame) -> list[str]:
    return list(scores.index.get_level_values("model").unique())


def _with_interval(scores: pd.DataFrame) -> pd.DataFrame:
    table = relative(scores)
    naive = scores.loc[REFERENCE]["mae"]
    for model in table.index:
        pairs = pd.concat([scores.loc[model]["mae"].reindex(naive.index), naive], axis=1).to_numpy()
        low, high = bootstrap_over_series(lambda rows: relative_mase(rows[:, 0], rows[:, 1]), pairs)
        table.loc[model, ["relMASE low", "relMASE high"]] = low, high
    return table.reset_index()


def _groups(scores: pd.DataFrame, series: Sequence[DevelopmentSeries]) -> dict[str, pd.DataFrame]:
    groups = {
        "Request rates": [item.name for item in series if item.kind == "requests"],
        "Series no shipped weights were trained on": [item.name for item in series if item.role == "unseen"],
    }
    of = scores.index.get_level_values("series")
    return {
        f"{title} ({len(names)})": relative(scores[of.isin(names)]).reset_index()
        for title, names in groups.items()
        if names
    }


def _forecastable_table(scores: pd.DataFrame, selected: Sequence[str]) -> pd.DataFrame:
    of = scores.index.get_level_values("series")
    all_series = scores.groupby("model", sort=False)["accuracy"].mean()
    chosen = scores[of.isin(selected)].groupby("model", sort=False)["accuracy"].mean()
    columns = {"forecastable": chosen.reindex(all_series.index), "all series": all_series}
    return pd.DataFrame(columns).rename_axis("model").reset_index()


def _means(scores: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return means over the series that have every column."""
    whole = scores.dropna(subset=list(columns))
    return whole.groupby("model", sort=False)[list(columns)].mean().rename(columns=columns).reset_index()


def _cost(scores: pd.DataFrame, trained_s: Mapping[str, float], full: pd.DataFrame) -> pd.DataFrame:
    whole = pd.concat([full, scores[~scores.index.isin(full.index)]])
    grouped = whole.groupby("model", sort=False)
    models = _models(whole)
    return pd.DataFrame(
        {
            "model": models,
            "pooled training s": [trained_s.get(model, 0.0) for model in models],
            "fit, all series s": grouped["fit_s"].sum().to_numpy(),
            "ms per path": grouped["forecast_ms"].mean().to_numpy(),
            "us per streamed value": grouped["update_us"].mean().to_numpy(),
        }
    )


def _by_series(scores: pd.DataFrame, column: str) -> pd.DataFrame:
    table = scores[column].unstack("model")[_models(scores)]
    return table.div(table[REFERENCE], axis=0).reset_index()


def _slow_tables(few: pd.DataFrame, selected: Sequence[str], origins: int) -> dict[str, pd.DataFrame]:
    chosen = few[few.index.get_level_values("series").isin(selected)]
    tables = {f"All series, {origins} origins each, slow rivals too": _with_interval(few)}
    if selected:
        tables[f"Forecastable series, {origins} origins each"] = relative(chosen).reset_index()
    return tables


def _checks(scores: pd.DataFrame, selected: Sequence[str], first: str) -> list[Check]:
    table = relative(scores)
    found = {column: float(table[column][first]) for column in table.columns}
    checks = [
        Check(f"{first}: relMASE, 4 h", found["relMASE"], -inf, 0.63, "1", _TARGETS),
        Check(f"{first}: relWQL, 4 h", found["relWQL"], -inf, 0.59, "1", _TARGETS),
        Check(f"{first}: 80 % interval covers", found["coverage"], 0.78, 0.82, "1", _TARGETS),
        Check(f"{first}: worst series off by", found["worst series off by"], -inf, 0.10, "1", _TARGETS),
        Check(f"{first}: ms per 4-h path", float(scores.loc[first]["forecast_ms"].mean()), -inf, 5.0, "ms", _TARGETS),
        Check(f"{first}: us per value", float(scores.loc[first]["update_us"].mean()), -inf, 100.0, "us", _TARGETS),
    ]
    if selected:
        share = float(scores.loc[first]["accuracy"][list(selected)].mean())
        checks.append(Check(f"{first}: 1-WAPE, forecastable series", share, 0.935, inf, "1", _TARGETS))
    return checks


def _notes(series: Sequence[DevelopmentSeries], part: Part, every_s: int, selected: Sequence[str]) -> tuple[str, ...]:
    return (
        f"Scored part: {part}; fitted once on what lies before it; origins every {every_s // 60} min.",
        "Ratios are geometric means over series against seasonal naive with quantiles of its residuals.",
        f"Forecastable: the better naive reaches 1-WAPE {FORECASTABLE} before the scored part: {', '.join(selected)}.",
        "Series: " + ", ".join(item.name for item in series) + ".",
        "Hourly series have four leads; one-minute traces are averaged to five minutes.",
    )
