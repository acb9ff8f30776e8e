"""Each feature of the observation against plain Python that reads a record by field names."""

import math

import numpy as np
import pytest

from envs.observation import BOUND, ObservationCodec, observation_features, reference_unit_price, schema_hash
from envs.settings import Candidate, TaskSettings

LEADS = (5, 10, 15, 30, 60, 120, 240)
LEVELS = (0.1, 0.5, 0.9, 0.99)


def expected(reading: np.void, task: TaskSettings) -> dict[str, float]:
    """Every feature by name, before clipping."""
    r = {name: reading[name] for name in reading.dtype.names}
    minute = float(r["minute_of_week"])
    mean = float(r["mean_demand_rps"])

    def ratio(demand: float) -> float:
        return math.log(demand / mean + 0.05, 2) / 2

    five, fifteen, sixty = (float(value) for value in r["demand_mean_rps"])
    one = float(r["dependable_rps"])
    # m6i.large: $0.096 an hour, 2 vCPUs, 50 ms of CPU a request
    reference = 0.096 / (2 / (task.world.workload.cpu_ms_per_request / 1000))
    found = {
        "day_sin": math.sin(math.radians(minute % 1440 / 4)),
        "day_cos": math.cos(math.radians(minute % 1440 / 4)),
        "week_sin": math.sin(math.radians(minute / 28)),
        "week_cos": math.cos(math.radians(minute / 28)),
        "demand": ratio(float(r["demand_rps"])),
        "demand_5m": ratio(five),
        "demand_15m": ratio(fifteen),
        "demand_60m": ratio(sixty),
        "trend": five / sixty - 1 if sixty else 0.0,
        "cpu": -1.0 if math.isnan(r["cpu_utilization"]) else float(r["cpu_utilization"]),
        "late": float(r["late_fraction"]) / 0.1,
        "errors": float(r["error_fraction"]) / 0.01,
        "bad_recent": float(r["bad_recent"]) / 0.05,
        "since_bad": math.exp(-float(r["minutes_since_bad"]) / 30),
        "desired": float(r["desired"]) / 50,
        "missing": (float(r["desired"]) - float(r["in_service"])) / 19,
        "pending": float(r["pending"]) / 19,
        "draining": float(r["draining"]) / 19,
        "leaving": float(r["leaving"]) / 19,
        "spot_in_use": float(r["spot_in_use"]) / max(1.0, float(r["in_service"]) + float(r["pending"])),
        "needed_now": (float(r["demand_rps"]) / 0.7 - float(r["capacity_rps"])) / one / 19,
        "forecast_available": float(r["forecast_available"]),
        "anomaly_score": float(r["anomaly_score"]),
        "refreshing": float(r["refreshing"]),
        "spot_fraction": float(r["spot_fraction"]),
        "commitment": float(r["commitment_usd_per_hour"]) / (reference * float(r["mean_demand_rps"])),
        "commitment_used": float(r["commitment_used"]),
    }
    for i, lead in enumerate(LEADS):
        for j, level in enumerate(LEVELS):
            need = float(r["forecast_rps"][i, j]) / (0.7 * one)
            found[f"needed_{lead}m_q{level}"] = (need - float(r["desired"])) / 19
    spec, share = int(r["spec"]), float(r["spot_fraction"])
    capacity, spot, listed = (
        [float(value) for value in r[name][: len(task.candidates)]]
        for name in ("candidate_capacity_rps", "candidate_spot_usd_per_hour", "candidate_on_demand_usd_per_hour")
    )
    count = len(task.candidates)
    price = [(share * spot[k] + (1 - share) * listed[k]) / capacity[k] for k in range(count)]
    price[spec] *= 1 - task.rank_hysteresis
    order = sorted(range(count), key=lambda k: (price[k], k)) if task.candidate_order == "price" else range(count)
    for rank, k in enumerate(order):
        found[f"on_demand_{rank}"] = listed[k] / capacity[k] / reference
        found[f"spot_{rank}"] = spot[k] / capacity[k] / reference
        for name, field in (("refused", "minutes_since_launch_failure"), ("reclaimed", "minutes_since_interruption")):
            minutes = float(r[field][k])
            found[f"{name}_{rank}"] = math.exp(-minutes / 60) if minutes < 1440 else 0.0
        found[f"current_{rank}"] = float(k == spec)
        found[f"size_{rank}"] = capacity[k] / capacity[spec] - 1
    for position, policy in enumerate(task.menu):
        found[f"policy_{policy.name}"] = float(position == int(r["policy"]))
    return found


@pytest.mark.parametrize("order", ["price", "fixed"])
def test_every_feature_equals_plain_python(task: TaskSettings, random_readings: np.ndarray, order: str) -> None:
    task = task.model_copy(update={"candidate_order": order})
    observations = ObservationCodec(task).encode(random_readings)
    names = [feature.name for feature in observation_features(task)]
    clipped = 0
    for reading, observation in zip(random_readings, observations, strict=True):
        values = expected(reading, task)
        assert list(values) == names
        clipped += sum(abs(value) > BOUND for value in values.values())
        wanted = np.clip(np.array(list(values.values())), -BOUND, BOUND)
        np.testing.assert_allclose(observation, wanted, rtol=1e-5, atol=1e-6)
    assert clipped > 100


def test_observations_are_finite_and_inside_the_space(task: TaskSettings, random_readings: np.ndarray) -> None:
    codec = ObservationCodec(task)
    observations = codec.encode(random_readings)
    assert observations.dtype == np.float32
    assert np.isfinite(observations).all()
    assert all(codec.space.contains(row) for row in observations)


def test_the_reference_unit_price_is_that_of_m6i_large(task: TaskSettings) -> None:
    assert reference_unit_price(task) == pytest.approx(0.096 / 40)


def test_features_are_named_once_and_explained(task: TaskSettings) -> None:
    features = observation_features(task)
    assert len({feature.name for feature in features}) == len(features)
    assert all(feature.unit and feature.meaning for feature in features)


def test_as_dict_names_the_components(task: TaskSettings, random_readings: np.ndarray) -> None:
    codec = ObservationCodec(task)
    observation = codec.encode(random_readings[:1])[0]
    named = codec.as_dict(observation)
    assert list(named.values()) == observation.tolist()
    assert named["policy_" + task.menu[int(random_readings["policy"][0])].name] == 1.0


def test_encoding_gives_fresh_arrays(task: TaskSettings, random_readings: np.ndarray) -> None:
    codec = ObservationCodec(task)
    first = codec.encode(random_readings)
    kept = first.copy()
    codec.encode(random_readings[::-1].copy())
    np.testing.assert_array_equal(first, kept)


def test_unused_candidate_columns_are_not_read(task: TaskSettings, random_readings: np.ndarray) -> None:
    before = ObservationCodec(task).encode(random_readings)
    random_readings["candidate_capacity_rps"][:, len(task.candidates) :] = 1e9
    random_readings["type_count"] += 1.0
    np.testing.assert_array_equal(ObservationCodec(task).encode(random_readings), before)


def test_the_schema_hash_follows_every_change_of_the_task(task: TaskSettings) -> None:
    renamed = tuple(Candidate(name=item.name + "!", types=item.types) for item in task.candidates)
    hotter = task.menu[-1].model_copy(update={"target_utilization": 0.61})
    others = [
        task.model_copy(update={"decision_minutes": 10}),
        task.model_copy(update={"candidates": renamed}),
        task.model_copy(update={"menu": (*task.menu[:-1], hotter)}),
        task.model_copy(update={"rank_hysteresis": 0.2}),
        task.model_copy(update={"spot_step_percent": 5}),
    ]
    hashes = {schema_hash(item) for item in (task, *others)}
    assert len(hashes) == 1 + len(others)
    assert schema_hash(TaskSettings.model_validate(task.model_dump(mode="json"))) == schema_hash(task)


def test_rows_can_be_encoded_alone(task: TaskSettings, random_readings: np.ndarray) -> None:
    codec = ObservationCodec(task)
    whole = codec.encode(random_readings)
    rows = np.array([3, 250, 17])
    np.testing.assert_array_equal(codec.encode(random_readings[rows]), whole[rows])
