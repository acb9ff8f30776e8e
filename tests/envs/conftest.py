import numpy as np
import pytest

from agents.rules import RuleBook, load_rules
from envs.settings import EnvSettings, TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.records import MAX_CANDIDATES, TELEMETRY

SOURCE = WorldSource(patterns=("bursty", "diurnal"), days=2, scenarios_per_source=1, markets=2, mean_instances=6)


@pytest.fixture(scope="session")
def settings() -> EnvSettings:
    """Two demand tapes of two days in two markets, with the default task."""
    return EnvSettings(source=SOURCE)


@pytest.fixture(scope="session")
def task(settings: EnvSettings) -> TaskSettings:
    return settings.task


@pytest.fixture(scope="session")
def bank(settings: EnvSettings) -> Bank:
    return make_bank(settings.source, settings.task)


@pytest.fixture(scope="session")
def book() -> RuleBook:
    return load_rules()


@pytest.fixture
def random_readings(task: TaskSettings) -> np.ndarray:
    """Telemetry records with random content, some of it extreme or missing."""
    rng = np.random.default_rng(11)
    count, candidates = 400, len(task.candidates)
    readings = np.zeros(count, TELEMETRY)
    for name in TELEMETRY.names or ():
        shape = (count, *TELEMETRY[name].shape)
        readings[name] = rng.lognormal(1.0, 1.5, shape)
    readings["minute_of_week"] = rng.integers(0, 10080, count)
    for name in ("late_fraction", "error_fraction", "bad_recent", "anomaly_score", "cpu_utilization"):
        readings[name] = rng.random(count)
    readings["cpu_utilization"][::7] = np.nan
    readings["demand_rps"][::11] = 0.0
    readings["demand_mean_rps"][::13] = 0.0
    for name in ("minutes_since_bad", "minutes_since_launch_failure", "minutes_since_interruption"):
        readings[name] = rng.integers(0, 1441, readings[name].shape)
    for name in ("desired", "in_service", "pending", "draining"):
        readings[name] = rng.integers(0, 100, count)
    readings["spot_in_use"] = np.floor(rng.random(count) * (readings["in_service"] + readings["pending"]))
    readings["spec"] = rng.integers(0, candidates, count)
    readings["policy"] = rng.integers(0, len(task.menu), count)
    readings["spot_fraction"] = rng.integers(0, 11, count) / 10
    for name in ("refreshing", "forecast_available"):
        readings[name] = rng.integers(0, 2, count)
    readings["candidate_capacity_rps"] = rng.uniform(20, 160, (count, MAX_CANDIDATES))
    readings["candidate_on_demand_usd_per_hour"] = rng.uniform(0.05, 0.3, (count, MAX_CANDIDATES))
    readings["candidate_spot_usd_per_hour"] = rng.uniform(0.02, 0.1, (count, MAX_CANDIDATES))
    for name in ("candidate_capacity_rps", "candidate_on_demand_usd_per_hour", "candidate_spot_usd_per_hour"):
        readings[name][:, candidates:] = np.nan
        readings[name][::5, 1] = readings[name][::5, 0]
    return readings
