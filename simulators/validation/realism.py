"""How real generated workloads are: each fitted model against the training part of its trace.

Ten samples as long as the trace, of seeds that the fit never saw, are measured as the trace is
(``simulators.realism``).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.demand.boosted import LEADS_MINUTES
from simulators.realism import (
    LAGS_MINUTES,
    autocorrelation,
    burst_threshold,
    daily_share,
    find_bursts,
    forecast_wape,
    hourly_profile,
    log_distance,
    profile_distance,
    spread,
)
from simulators.scenario import minute_of_week
from simulators.workload import load_workload, sample_workload
from telemetry.check import Check
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

SEEDS: Final = range(10)
PLAYED_DAYS: Final = 9
WORKLOADS: Final = Path(__file__).resolve().parents[2] / "configs" / "workloads"
_DESIGN: Final = "forecasts in generated worlds no better than in real ones, WAPE per lead within 10 %"
_TRACE: Final = "training part of the trace"


@cache
def _series(data_dir: Path, name: str) -> tuple[FloatArray, int, tuple[FloatArray, ...]]:
    """Return the training part of a trace, the minute of the week it starts at, and the samples of its model."""
    ticks = to_ticks(load_trace(data_dir / f"{name}.parquet"))
    part = load_splits().window(name, "train", len(ticks.values))
    real = ticks.values[part]
    model = load_workload(WORKLOADS / f"{name}.json")
    days = len(real) // 1440
    samples = tuple(sample_workload(model, days=days, seed=seed) for seed in SEEDS)
    return real, minute_of_week(ticks.start), samples


def _measures(demand: FloatArray, threshold: float) -> dict[str, float]:
    """Return every measure of one series that needs no other series."""
    days = len(demand) / 1440.0
    bursts = find_bursts(demand, threshold=threshold)
    found = {
        f"autocorrelation {lag} min": value for lag, value in zip(LAGS_MINUTES, autocorrelation(demand), strict=True)
    }
    found["daily share of variance"] = daily_share(demand)
    found |= {f"{key} over mean" if key != "cv" else key: value for key, value in spread(demand).items()}
    found["bursts a day"] = len(bursts.heights) / days
    for what, values in (("burst minutes", bursts.minutes), ("burst height", np.exp(bursts.heights))):
        for label, level in (("median", 0.5), ("90 %", 0.9)):
            found[f"{what}, {label}"] = float(np.quantile(values, level)) if len(values) else np.nan
    for label, days_each in (("whole", None), (f"{PLAYED_DAYS} days", PLAYED_DAYS)):
        errors = forecast_wape(demand, window_days=days_each)
        found |= {f"WAPE {lead} min, {label}": value for lead, value in zip(LEADS_MINUTES, errors, strict=True)}
    return found


@cache
def table(data_dir: Path) -> pd.DataFrame:
    """Return generated against real demand.

    Args:
        data_dir: Folder of the trace files.

    Returns:
        Columns ``trace``, ``measure``, ``real``, ``generated`` (mean over seeds), ``low`` and ``high`` (over seeds).
        Distances between the two have no real value: NaN.
    """
    rows: list[tuple[str, str, float, float, float, float]] = []
    for name in load_splits().divided.traces:
        real, start, samples = _series(data_dir, name)
        threshold = burst_threshold(real)
        wanted = _measures(real, threshold)
        found = pd.DataFrame([_measures(sample, threshold) for sample in samples])
        for measure, value in wanted.items():
            column = found[measure]
            rows.append((name, measure, value, column.mean(), column.min(), column.max()))
        rows += [(name, measure, np.nan, *values) for measure, values in _distances(real, start, samples).items()]
    return pd.DataFrame(rows, columns=["trace", "measure", "real", "generated", "low", "high"])


def _distances(real: FloatArray, start: int, samples: tuple[FloatArray, ...]) -> dict[str, tuple[float, float, float]]:
    """Return mean, lowest and highest distance of the samples from the trace."""
    found: dict[str, list[float]] = {"distance of log demand": [log_distance(real, sample) for sample in samples]}
    for label, hours in (("daily", 24), ("weekly", 168)):
        wanted = hourly_profile(real, minute_of_week=start, hours=hours)
        pairs = [profile_distance(wanted, hourly_profile(item, minute_of_week=0, hours=hours)) for item in samples]
        found[f"{label} profile, correlation"] = [pair[0] for pair in pairs]
        found[f"{label} profile, RMS distance"] = [pair[1] for pair in pairs]
    return {name: (float(np.mean(values)), min(values), max(values)) for name, values in found.items()}


def checks(data_dir: Path) -> list[Check]:
    """Return the figures of the fidelity report: worst leads, memory, spread and bursts of each trace.

    Args:
        data_dir: Folder of the trace files.
    """
    found = table(data_dir)
    result: list[Check] = []
    for name, rows in found.groupby("trace", sort=False):
        real = rows.set_index("measure")["real"]
        generated = rows.set_index("measure")["generated"]
        ratio = generated / real
        for label in ("whole", f"{PLAYED_DAYS} days"):
            leads = ratio[[f"WAPE {lead} min, {label}" for lead in LEADS_MINUTES]]
            for which, value in (("easiest", leads.min()), ("hardest", leads.max())):
                what = f"{name}: forecast error, generated over real, {which} lead, {label}"
                result.append(Check(what, float(value), 0.9, 1.1, "1", _DESIGN))
        for lag in LAGS_MINUTES:
            key = f"autocorrelation {lag} min"
            wanted = float(real[key])
            result.append(
                Check(f"{name}: {key}", float(generated[key]), wanted - 0.15, min(1.0, wanted + 0.15), "1", _TRACE)
            )
        for key, factor in (("cv", 1.5), ("p99 over mean", 1.5), ("bursts a day", 2.0)):
            if key == "bursts a day" and real[key] < 0.2:
                continue
            wanted = float(real[key])
            result.append(Check(f"{name}: {key}", float(generated[key]), wanted / factor, wanted * factor, "1", _TRACE))
        key = "daily profile, correlation"
        result.append(Check(f"{name}: {key}", float(generated[key]), 0.8, 1.0, "1", _TRACE))
        result.append(
            Check(f"{name}: distance of log demand", float(generated["distance of log demand"]), 0.0, 0.25, "1", _TRACE)
        )
    return result


def figure(data_dir: Path) -> "Figure":
    """Return a figure: for each trace two weeks of it and of a sample, weekly profiles, and forecast errors by lead."""
    from matplotlib import pyplot

    names = load_splits().divided.traces
    rows = table(data_dir)
    page, axes = pyplot.subplots(len(names), 3, figsize=(14, 3 * len(names)), layout="constrained")
    for name, (course, week, errors) in zip(names, axes, strict=True):
        real, start, samples = _series(data_dir, name)
        length = min(14 * 1440, len(real), len(samples[0]))
        days = np.arange(length) / 1440.0
        course.plot(days, real[-length:] / real.mean(), lw=0.6, label="trace")
        course.plot(days, samples[0][-length:], lw=0.6, alpha=0.7, label="sample")
        course.set(title=name, xlabel="days", ylabel="demand over mean")
        course.legend()
        week.plot(hourly_profile(real, minute_of_week=start, hours=168), label="trace")
        mean: Callable[..., FloatArray] = np.mean
        week.plot(
            mean([hourly_profile(item, minute_of_week=0, hours=168) for item in samples], axis=0), label="samples"
        )
        week.set(xlabel="hour of the week", ylabel="mean demand over mean")
        own = rows[(rows["trace"] == name) & rows["measure"].str.match(r"WAPE .* whole")]
        errors.plot(LEADS_MINUTES, own["real"], "o-", label="trace")
        errors.errorbar(
            LEADS_MINUTES,
            own["generated"],
            (own["generated"] - own["low"], own["high"] - own["generated"]),
            fmt="s-",
            label="samples",
        )
        errors.set(xscale="log", xlabel="lead, minutes", ylabel="forecast error (WAPE)", ylim=(0, None))
    return page
