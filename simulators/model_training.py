"""Train every shipped model: demand on public traces, the others on what the simulator makes.

No floor looks up: the models know tables, the simulator makes them, and here the two meet.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from forecasting import shipped
from forecasting.anomaly.ranker import train_ranker
from forecasting.anomaly.tables import FaultTable
from forecasting.capacity.performance_training import train_performance_predictor
from forecasting.capacity.planner_training import train_capacity_planner
from forecasting.demand.boosted import TrainingSettings, save_boosted, train_boosted
from forecasting.rootcause.model import save_model
from forecasting.rootcause.signal_diagnosis import train_signal_kinds
from forecasting.rootcause.training import train_root_cause
from forecasting.trees import save_trees
from simulators.tables import capacity_table, performance_table
from simulators.validation.fault_tables import fault_tables
from simulators.validation.incident_tables import training_events, training_incidents
from telemetry.forecast_series import load_forecast_series
from telemetry.provenance import write_arrays

FAULT_SEED: Final = 1
TABLE_SEED: Final = 101
PERFORMANCE_ROWS: Final = 40_000
CAPACITY_ROWS: Final = 30_000
_EASY_SERVICES: Final = 100
_HARD_SERVICES: Final = 140

Training = Callable[[Path, Path, int], None]


def train_demand(data_dir: Path, out: Path, seed: int) -> None:
    """Train the pooled demand model on the first 70 % of the series that may train shipped weights.

    Raises:
        ValueError: A trace is missing.
    """
    series = [(item.step_s, item.history("test")) for item in load_forecast_series(data_dir, role="pooled")]
    write_arrays(out / shipped.DEMAND_FILE, save_boosted(train_boosted(series, TrainingSettings(seed=seed))))


def train_anomaly(data_dir: Path, out: Path, seed: int) -> None:
    """Train the ranker on simulated services whose faults are known."""
    write_arrays(out / shipped.RANKER_FILE, save_trees(train_ranker(training_faults(), seed)))


def training_faults(share: float = 1.0) -> list[FaultTable]:
    """Return the simulated services that the ranker learns from, or a share of them."""
    easy, hard = round(share * _EASY_SERVICES), round(share * _HARD_SERVICES)
    return fault_tables(FAULT_SEED, easy, "easy") + fault_tables(FAULT_SEED, hard, "hard")


def train_causes(data_dir: Path, out: Path, seed: int) -> None:
    """Train both root-cause models on simulated incidents."""
    save_model(out / shipped.CAUSES_FILE, train_root_cause(training_incidents(), seed))
    save_model(out / shipped.KINDS_FILE, train_signal_kinds(training_events(), seed))


def train_scaling(data_dir: Path, out: Path, seed: int) -> None:
    """Train capacity planner and performance predictor on tables of the simulator."""
    states, cases = performance_table(PERFORMANCE_ROWS, TABLE_SEED), capacity_table(CAPACITY_ROWS, TABLE_SEED)
    train_performance_predictor(states, seed).save(out / shipped.PERFORMANCE_FILE)
    train_capacity_planner(cases, seed).save(out / shipped.PLANNER_FILE)


TRAININGS: Final[Mapping[str, Training]] = {
    "forecast": train_demand,
    "anomaly": train_anomaly,
    "rca": train_causes,
    "scaling": train_scaling,
}
"""By the name of the suite that scores the result."""
