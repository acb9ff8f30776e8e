"""Are generated weeks as good to learn from as real ones? A forecaster is trained on each and tested on real weeks.

The training part of a trace is cut in two. Its first 60 % is what may be learnt from: one forecaster is trained on it,
and a workload model is fitted to it, whose samples of the same length, from seeds that the fit never saw, train others.
All are tested on the last 40 %, real weeks that came later. The forecaster is a LightGBM model of the median on the
features of ``forecasting.features`` at five-minute steps, one per lead; demand, lags and target are taken over the mean
of the last day, so that level and unit do not matter. Forecasts that are made before the cut are not tested; a first
day of training whose mean is not yet known is left out.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.features.batch import feature_table
from forecasting.features.definitions import features_of
from forecasting.metrics.forecast import wape
from simulators.realism import STEP_MINUTES, STEPS_PER_DAY, five_minute_means
from simulators.scenario import minute_of_week
from simulators.workload import fit_workload, sample_workload
from telemetry.check import Check
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

LEADS_MINUTES: Final = (60, 240)
SEEDS: Final = range(3)
LARGEST_RATIO: Final = 1.15
_LEARNT_SHARE: Final = 0.6
_CALENDAR: Final = ("hour_of_day_sin", "hour_of_day_cos", "day_of_week", "is_weekend")
_SCALE: Final = "requests_per_second_mean_24h"
_LEAST_SCALE: Final = 1e-9
_MONDAY: Final = pd.Timestamp("2024-01-01", tz="UTC")
_SOURCE: Final = "error when trained on generated weeks over error when trained on real weeks"


def demand_features(demand: FloatArray, start: pd.Timestamp) -> tuple[FloatArray, FloatArray]:
    """Return what a forecaster sees after each five minutes, and the scale it is expressed in.

    Args:
        demand: [T] mean demand of each five minutes, non-negative.
        start: Start of the first.

    Returns:
        [T, F] features, those of demand over the scale; and [T] the mean of the last day, NaN while that is unknown.
    """
    stamps = pd.date_range(start, periods=len(demand), freq=f"{STEP_MINUTES}min")
    table = pd.DataFrame({"timestamp": stamps, "requests_per_second": demand})
    features = features_of("requests_per_second")
    found = feature_table(table, step_s=60 * STEP_MINUTES, features=features)
    scale = found[_SCALE].to_numpy(copy=True)
    scale[: STEPS_PER_DAY - 1] = np.nan
    scale[~(scale > _LEAST_SCALE)] = np.nan
    numbers = [feature.name for feature in features if feature.unit == "requests/s"]
    relative = found[numbers].to_numpy() / scale[:, None]
    return np.column_stack((relative, found[list(_CALENDAR)].to_numpy(dtype=np.float64))), scale


def train_median(features: FloatArray, scale: FloatArray, demand: FloatArray, lead: int) -> Any:
    """Return a LightGBM model of the median of demand over the scale, ``lead`` steps ahead.

    Args:
        features: [T, F] as of :func:`demand_features`.
        scale: [T].
        demand: [T].
        lead: Steps ahead.
    """
    import lightgbm

    target = demand[lead:] / scale[:-lead]
    known = np.isfinite(target)
    settings = {
        "objective": "quantile",
        "alpha": 0.5,
        "num_leaves": 15,
        "learning_rate": 0.06,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "num_threads": 1,
        "seed": 0,
        "deterministic": True,
        "verbosity": -1,
    }
    return lightgbm.train(settings, lightgbm.Dataset(features[:-lead][known], target[known]), num_boost_round=120)


@cache
def table(data_dir: Path) -> pd.DataFrame:
    """Return the errors of forecasters trained on real and on generated weeks.

    Args:
        data_dir: Folder of the trace files.

    Returns:
        Columns ``trace``, ``lead, min``, ``naive`` (last value), ``real`` (WAPE), ``generated`` (mean over seeds),
        ``low`` and ``high`` (over seeds), ``ratio`` of the errors, ``weeks learnt``, ``weeks tested``.
    """
    rows = []
    for name in load_splits().divided.traces:
        ticks = to_ticks(load_trace(data_dir / f"{name}.parquet"))
        part = load_splits().window(name, "train", len(ticks.values))
        start = pd.Timestamp(ticks.start, tz="UTC") + pd.Timedelta(minutes=part.start)
        rows += _compare(name, ticks.values[part], start, minute_of_week(ticks.start) + part.start)
    return pd.DataFrame(rows)


def _compare(name: str, demand_per_minute: FloatArray, start: pd.Timestamp, first_minute: int) -> list[dict[str, Any]]:
    """Return the rows of one trace."""
    days = int(_LEARNT_SHARE * len(demand_per_minute)) // 1440
    learnt = demand_per_minute[: 1440 * days]
    model = fit_workload(name, learnt, minute_of_week=first_minute)
    samples = [five_minute_means(sample_workload(model, days=days, seed=seed)) for seed in SEEDS]
    demand = five_minute_means(demand_per_minute)
    cut = days * STEPS_PER_DAY
    real = demand_features(demand[:cut], start)
    generated = [demand_features(sample, _MONDAY) for sample in samples]
    seen, scale = demand_features(demand, start)
    rows = []
    for minutes in LEADS_MINUTES:
        lead = minutes // STEP_MINUTES
        origins = np.arange(cut, len(demand) - lead)
        origins = origins[np.isfinite(scale[origins])]
        actual = demand[origins + lead]

        def error(forecaster: Any, origins: NDArray[np.int64] = origins, actual: FloatArray = actual) -> float:
            return wape(actual, np.maximum(forecaster.predict(seen[origins]), 0.0) * scale[origins])

        own = error(train_median(*real, demand[:cut], lead))
        others = [
            error(train_median(*features, sample, lead)) for features, sample in zip(generated, samples, strict=True)
        ]
        rows.append(
            {
                "trace": name,
                "lead, min": minutes,
                "naive": wape(actual, demand[origins]),
                "real": own,
                "generated": float(np.mean(others)),
                "low": min(others),
                "high": max(others),
                "ratio": float(np.mean(others)) / own,
                "weeks learnt": days / 7.0,
                "weeks tested": (len(demand) - cut) / STEPS_PER_DAY / 7.0,
            }
        )
    return rows


def checks(data_dir: Path) -> list[Check]:
    """Return the ratio of the errors: of each trace, and of the median trace, which has the target.

    Args:
        data_dir: Folder of the trace files.
    """
    ratios = table(data_dir).groupby("trace", sort=False)["ratio"].mean()
    found = [
        Check(
            "error, trained on generated over real, median trace",
            float(ratios.median()),
            0.0,
            LARGEST_RATIO,
            "1",
            _SOURCE,
        )
    ]
    for name, ratio in ratios.items():
        found.append(Check(f"{name}: error, trained on generated over real", float(ratio), 0.0, np.inf, "1", _SOURCE))
    return found


def figure(data_dir: Path) -> "Figure":
    """Return a figure: errors by trace and lead, trained on real and on generated weeks, and of the last value."""
    from matplotlib.figure import Figure

    rows = table(data_dir)
    page = Figure(figsize=(11, 4), layout="constrained")
    for minutes, axes in zip(LEADS_MINUTES, page.subplots(1, len(LEADS_MINUTES)), strict=True):
        own = rows[rows["lead, min"] == minutes]
        place = np.arange(len(own))
        axes.bar(place - 0.25, own["real"], 0.25, label="trained on real weeks")
        spread = (own["generated"] - own["low"], own["high"] - own["generated"])
        axes.bar(place, own["generated"], 0.25, yerr=spread, label="trained on generated weeks")
        axes.bar(place + 0.25, own["naive"], 0.25, label="last value")
        axes.set(title=f"{minutes} minutes ahead", ylabel="error on later real weeks (WAPE)")
        axes.set_xticks(place, [str(name).partition("_")[0] for name in own["trace"]])
    axes.legend()
    return page
