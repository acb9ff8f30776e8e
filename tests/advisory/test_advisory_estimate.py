import json
from dataclasses import replace

import numpy as np
import pytest
from advisory_requests import Json, fresh_fleets, request_of

from advisory.estimate import (
    Part,
    current_parts,
    expected_service,
    hourly_cost_usd,
    performance_risk,
    recommended_parts,
    resized,
)
from advisory.examples import short_example
from advisory.reading import Situation, read_situation
from advisory.schemas import RecommendationRequest
from advisory.served import ServedModel
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.queueing import erlang_arrivals_response_tail
from simulators.records import DECISION


def situation_of(body: Json, model: ServedModel) -> Situation:
    return read_situation(RecommendationRequest.model_validate_json(json.dumps(body)), model)


@pytest.fixture
def situation(model: ServedModel) -> Situation:
    return situation_of(short_example(model), model)


@pytest.mark.parametrize(("instances", "demand_rps"), [(8, 160.0), (8, 256.0), (16, 560.0), (4, 150.4)])
def test_late_share_and_p95_agree_with_queueing_theory(
    model: ServedModel, situation: Situation, instances: int, demand_rps: float
) -> None:
    kind = model.catalogue.index["m6i.large"]
    service = expected_service(model, situation, [Part(kind, instances, 0.096)], demand_rps)
    load = demand_rps / instances * 0.05
    late = erlang_arrivals_response_tail(np.array([0.25 / 0.05]), load, 2, instances)[0]
    assert service.late_fraction == pytest.approx(late, rel=0.05)
    at_p95 = erlang_arrivals_response_tail(np.array([service.p95_ms / 50.0]), load, 2, instances)[0]
    assert at_p95 == pytest.approx(0.05, rel=0.05)
    assert service.utilization == pytest.approx(load / 2)


def test_late_share_is_what_the_kernel_showed_for_the_same_fleet(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets = fresh_fleets(bank, model.menu, 8)
    manual = task.menu.index(next(item for item in task.menu if item.kind == "manual"))
    fleets.decisions[:] = np.zeros(1, DECISION)
    fleets.decisions["policy"] = manual
    fleets.decisions["scale"] = -(fleets.readings["desired"] // 5).astype(np.int32)
    fleets.step(60)
    fleets.decisions["scale"] = 0
    compared = 0
    for _ in range(40):
        fleets.step(5)
        for index in range(len(fleets)):
            situation = situation_of(request_of(fleets, index, task), model)
            record, parts = situation.record, current_parts(model, situation)
            service = expected_service(model, situation, parts, float(record["demand_rps"]))
            demand_per_target = float(record["demand_rps"] * 60 / record["in_service"])
            without_retries = float(record["requests_per_target"]) == pytest.approx(demand_per_target, rel=1e-9)
            if service.utilization < 0.95 and without_retries:
                assert service.late_fraction == pytest.approx(float(record["late_fraction"]), rel=1e-6, abs=1e-9)
                assert service.utilization == pytest.approx(float(record["cpu_utilization"]), rel=1e-6)
                compared += 1
    assert compared > 100


def test_current_cost_is_what_the_kernel_bills(bank: Bank, model: ServedModel, task: TaskSettings) -> None:
    fleets = fresh_fleets(bank, model.menu, 4)
    cost = [
        hourly_cost_usd(current_parts(model, situation_of(request_of(fleets, index, task), model)))
        for index in range(len(fleets))
    ]
    fleets.decisions[:] = np.zeros(1, DECISION)
    fleets.step(5)
    np.testing.assert_allclose(fleets.outcomes["on_demand_usd"] * 12, cost, rtol=1e-6)


def test_fractions_of_the_spot_share_favour_on_demand(model: ServedModel, situation: Situation) -> None:
    parts = recommended_parts(model, situation, 0, 5, 0.5)
    assert [part.instances for part in parts] == [3, 2]
    spot = float(situation.spot_usd_per_hour[model.catalogue.index["m6i.large"]])
    assert hourly_cost_usd(parts) == pytest.approx(3 * 0.096 + 2 * spot)


def test_a_mixed_specification_buys_the_type_that_is_cheapest_per_capacity(
    model: ServedModel, situation: Situation
) -> None:
    spec = model.specification_names.index("arm-large-mix")
    types = [model.catalogue[name] for name in model.task.candidates[spec].types]
    cheapest = min(types, key=lambda item: item.price_usd_per_hour / item.capacity)
    parts = recommended_parts(model, situation, spec, 4, 0.0)
    assert [model.catalogue.types[part.kind].name for part in parts] == [cheapest.name]


def test_every_further_instance_lowers_risk_and_late_share(model: ServedModel, situation: Situation) -> None:
    kind = model.catalogue.index["m6i.large"]
    fleets = [[Part(kind, count, 0.096)] for count in range(1, 60)]
    risks = [performance_risk(model, situation, parts) for parts in fleets]
    services = [expected_service(model, situation, parts, 520.0) for parts in fleets]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] == 4
    assert risks[-1] == 0
    late = [service.late_fraction for service in services]
    assert np.all(np.diff(late) <= 1e-12)
    assert late[0] > 0.9


def test_risk_counts_the_forecast_quantiles_that_miss_the_objective(model: ServedModel) -> None:
    body = short_example(model)
    kind, found = model.catalogue.index["m6i.large"], []
    for column in range(4):
        rows = np.full((7, 4), 100.0)
        rows[:3, column:] = 2000.0
        body["telemetry"] = {"forecast_rps": rows.tolist()}
        found.append(performance_risk(model, situation_of(body, model), [Part(kind, 20, 0.096)]))
    assert found == [4, 4, 3, 2]
    body["telemetry"] = {"forecast_rps": np.full((7, 4), 100.0).tolist()}
    assert performance_risk(model, situation_of(body, model), [Part(kind, 20, 0.096)]) == 0


def test_an_empty_or_idle_fleet_has_an_answer(model: ServedModel, situation: Situation) -> None:
    assert performance_risk(model, situation, []) == 4
    assert resized([], 0) == []
    idle = expected_service(model, situation, [Part(0, 3, 0.096)], 0.0)
    assert idle.utilization == 0.0
    assert idle.late_fraction == pytest.approx(np.exp(-5.0), rel=0.05), "a lone request is late by its own work"


def test_heavier_requests_take_longer_at_the_same_load(model: ServedModel, situation: Situation) -> None:
    parts = [Part(model.catalogue.index["m6i.large"], 20, 0.096)]
    light = expected_service(model, situation, parts, 400.0)
    heavy = expected_service(model, replace(situation, work=2.0), parts, 400.0)
    assert heavy.p95_ms == pytest.approx(2 * light.p95_ms, rel=0.02)
    assert heavy.utilization == light.utilization
