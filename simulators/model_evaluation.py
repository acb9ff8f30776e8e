"""Score every shipped model: the suites of the forecasting floor, fed with public data and what the simulator makes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from forecasting import shipped
from forecasting.demand.boosted import LEVELS
from forecasting.demand.forecaster import DemandForecaster, run_series
from forecasting.demand.lstm_training import LstmSettings
from forecasting.suites.anomaly import anomaly_suite
from forecasting.suites.drift import ErrorStream, drift_suite
from forecasting.suites.finding import Finding
from forecasting.suites.forecast import forecast_suite
from forecasting.suites.forecast_field import train_field
from forecasting.suites.root_cause import root_cause_suite
from forecasting.suites.scaling import scaling_suite
from simulators.model_training import CAPACITY_ROWS, PERFORMANCE_ROWS, TABLE_SEED, training_faults
from simulators.tables import capacity_table, performance_table
from simulators.validation import generated_training
from simulators.validation.fault_tables import fault_tables
from simulators.validation.incident_tables import scoring_events, scoring_incidents
from telemetry.forecast_series import DevelopmentSeries, load_forecast_series
from telemetry.labelled import load_nab, load_tables
from telemetry.splits import load_splits

OURS: Final = "DemandForecaster"
SCORED_FAULT_SEED: Final = 7
SCORED_TABLE_SEED: Final = 303
_SCORED_SERVICES: Final = 80
_SCORED_STATES: Final = 8_000
_SCORED_CASES: Final = 4_000
_DRIFT_LEAD: Final = 12
_QUICK_SERIES: Final = 6
_SLOW_ORIGINS: Final = 4


@dataclass(frozen=True)
class Request:
    """What a run is asked for.

    Attributes:
        data: Folder that holds demand/ and anomalies/.
        quick: A few series, incidents and rivals; minutes become seconds, and figures mean little.
        seed: Of splits, resampling and random scores.
        watch: Passes what is worked through, for a progress bar.
    """

    data: Path
    quick: bool = False
    seed: int = 0
    watch: Callable[[Sequence[tuple[str, DevelopmentSeries]]], Iterable[tuple[str, DevelopmentSeries]]] = iter


def forecast(request: Request) -> Finding:
    """Score the demand forecaster on the last 30 % of the development series, beside the field of rivals."""
    series = load_forecast_series(request.data)
    if request.quick:
        series = series[:_QUICK_SERIES]
    field = train_field(
        series,
        "test",
        lightgbm=True,
        lstm=() if request.quick else (LstmSettings(), LstmSettings(seasonal=True)),
        **({"statistical": ()} if request.quick else {}),
    )
    return forecast_suite(
        {OURS: lambda task: DemandForecaster(step_s=task.step_s)} | field.fast,
        series,
        part="test",
        slow=field.slow,
        trained_s=field.trained_s,
        every_s=21_600 if request.quick else 3_600,
        slow_origins=_SLOW_ORIGINS,
        watch=request.watch,
    )


def anomaly(request: Request) -> Finding:
    """Score detectors on the development files of NAB, on simulated faults and on machines of many metrics."""
    folder = request.data / "anomalies"
    services = 12 if request.quick else _SCORED_SERVICES
    machines = {"SMD": load_tables(folder / "smd"), "ASD": load_tables(folder / "asd")}
    if request.quick:
        machines = {name: tables[:1] for name, tables in machines.items()}
    return anomaly_suite(
        load_nab(folder / "nab"),
        training_faults(0.1 if request.quick else 1.0),
        {level: fault_tables(SCORED_FAULT_SEED, services, level) for level in ("easy", "hard")},
        machines,
        request.seed,
        trees=shipped.shipped_ranker(),
        members=not request.quick,
    )


def root_cause(request: Request) -> Finding:
    """Score root-cause analysis on service graphs and incidents of unseen seeds."""
    tests = scoring_incidents(21 if request.quick else 210)
    return root_cause_suite(
        shipped.shipped_causes(),
        tests.pop("easy"),
        tests.pop("hard"),
        other_tests=tests,
        kind_model=shipped.shipped_kinds(),
        events=scoring_events(4 if request.quick else 40),
    )


def scaling(request: Request) -> Finding:
    """Score capacity planner and performance predictor on states and cases of an unseen seed."""
    share = 10 if request.quick else 1
    return scaling_suite(
        shipped.shipped_capacity(),
        performance_table(PERFORMANCE_ROWS // share, TABLE_SEED),
        performance_table(_SCORED_STATES // share, SCORED_TABLE_SEED),
        capacity_table(CAPACITY_ROWS // share, TABLE_SEED),
        capacity_table(_SCORED_CASES // share, SCORED_TABLE_SEED),
    )


def drift(request: Request) -> Finding:
    """Score drift detectors on synthetic error streams, and show them on real one-hour-ahead errors."""
    streams = {}
    for item in load_forecast_series(request.data, names=load_splits().divided.traces):
        rows, ready = run_series(DemandForecaster(step_s=item.step_s), item.values, [_DRIFT_LEAD])
        errors = np.full(len(item.values), np.nan)
        errors[_DRIFT_LEAD:] = item.values[_DRIFT_LEAD:] - rows[:-_DRIFT_LEAD, 0, LEVELS.index(0.5)]
        errors[_DRIFT_LEAD:][~ready[:-_DRIFT_LEAD]] = np.nan
        streams[item.name] = ErrorStream(errors, item.step_s, int(item.start.astype(np.int64)))
    return drift_suite(request.seed, streams=streams, seeds=10 if request.quick else 100)


def realism(request: Request) -> Finding:
    """Compare forecasters trained on generated weeks with such trained on real weeks, on later real weeks."""
    demand = request.data / "demand"
    return Finding(
        checks=generated_training.checks(demand),
        tables={"Error of a forecaster trained on generated weeks": generated_training.table(demand)},
        figures={"realism-training": generated_training.figure(demand)},
    )


SUITES: Final[Mapping[str, Callable[[Request], Finding]]] = {
    "forecast": forecast,
    "anomaly": anomaly,
    "rca": root_cause,
    "drift": drift,
    "scaling": scaling,
    "realism": realism,
}
TITLES: Final[Mapping[str, str]] = {
    "forecast": "Demand forecasts",
    "anomaly": "Anomaly detection",
    "rca": "Root cause",
    "drift": "Drift",
    "scaling": "Capacity and performance",
    "realism": "Generated worlds, judged by a forecaster",
}
