import json
from datetime import timedelta, timezone

import numpy as np
import pytest
from advisory_requests import MONDAY, Client, Json, fresh_fleets, request_of, visible_demand

from advisory.examples import day_example, short_example
from advisory.reading import RequestError, five_minute_means, read_situation
from advisory.schemas import RecommendationRequest
from advisory.served import ServedModel
from envs.action import action_space, decode
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.records import TELEMETRY


def parsed(body: Json) -> RecommendationRequest:
    return RecommendationRequest.model_validate_json(json.dumps(body))


def play_randomly(fleets: FleetBatch, task: TaskSettings, rng: np.random.Generator) -> None:
    actions = rng.integers(0, action_space(task).nvec, (len(fleets), 4))
    decode(actions, fleets.readings, fleets.decisions, task)
    fleets.step(5)


def test_every_field_of_the_telemetry_record_passes_through_the_schema(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets, rng = fresh_fleets(bank, model.menu, 8), np.random.default_rng(0)
    seen: dict[str, set[float]] = {name: set() for name in TELEMETRY.names or ()}
    for _ in range(40):
        fleets.readings["commitment_usd_per_hour"] = rng.random(len(fleets))
        fleets.readings["commitment_used"] = rng.random(len(fleets))
        for index in range(len(fleets)):
            carried = read_situation(parsed(request_of(fleets, index, task)), model).record
            for name in seen:
                np.testing.assert_array_equal(carried[name], fleets.readings[name][index], err_msg=name)
                seen[name] |= set(np.atleast_1d(carried[name]).ravel().tolist())
        play_randomly(fleets, task, rng)
    constant = {name for name, values in seen.items() if len({v for v in values if v == v}) < 2}
    assert constant == {"forecast_available"}, "the walk should exercise every other field"


def test_observations_over_http_equal_those_of_the_environment_bit_for_bit(
    bank: Bank, model: ServedModel, task: TaskSettings, client: Client
) -> None:
    fleets, rng = fresh_fleets(bank, model.menu, 4, seed=7), np.random.default_rng(1)
    codec = model.bundle.codec()
    for _ in range(10):
        expected = codec.encode(fleets.readings)
        for index in range(len(fleets)):
            answer = client.recommend(request_of(fleets, index, task))
            assert answer.status_code == 200, answer.text
            observation = np.array(list(answer.json()["observation"].values()), np.float32)
            np.testing.assert_array_equal(observation, expected[index])
        play_randomly(fleets, task, rng)


def without_exact_forecast(fleets: FleetBatch, index: int, task: TaskSettings) -> Json:
    body = request_of(fleets, index, task, points=20_000)
    del body["telemetry"]
    return body


def test_the_forecast_made_from_history_is_the_one_on_the_tape(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets = fresh_fleets(bank, model.menu, 4)
    for index in range(len(fleets)):
        record = read_situation(parsed(without_exact_forecast(fleets, index, task)), model).record
        reading = fleets.readings[index]
        assert record["forecast_available"] == reading["forecast_available"] == 1.0
        np.testing.assert_allclose(record["forecast_rps"], reading["forecast_rps"], rtol=1e-4)
        np.testing.assert_allclose(record["anomaly_score"], reading["anomaly_score"], atol=1e-4)


def test_a_history_that_ends_a_step_early_gives_another_forecast(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets = fresh_fleets(bank, model.menu, 1)
    body = without_exact_forecast(fleets, 0, task)
    body["demand"]["requests_per_second"] = body["demand"]["requests_per_second"][:-5]
    forecast = read_situation(parsed(body), model).record["forecast_rps"]
    assert not np.allclose(forecast, fleets.readings[0]["forecast_rps"], rtol=1e-4)


def test_minutes_and_their_five_minute_means_give_the_same_forecast(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets = fresh_fleets(bank, model.menu, 1)
    minutes = visible_demand(fleets, 0, 20_000)
    minutes = minutes[len(minutes) % 5 :]
    body = without_exact_forecast(fleets, 0, task)
    body["demand"]["requests_per_second"] = minutes
    from_minutes = read_situation(parsed(body), model).record
    body["demand"] |= {"requests_per_second": np.reshape(minutes, (-1, 5)).mean(axis=1).tolist(), "step_s": 300}
    from_means = read_situation(parsed(body), model).record
    np.testing.assert_allclose(from_means["forecast_rps"], from_minutes["forecast_rps"], rtol=1e-6)
    np.testing.assert_allclose(from_means["demand_mean_rps"], from_minutes["demand_mean_rps"], rtol=1e-12)


def test_five_minute_means_end_with_the_newest_minute() -> None:
    minutes = np.arange(12.0)
    np.testing.assert_array_equal(five_minute_means(minutes, 60), [0.5, 4.0, 9.0])
    np.testing.assert_array_equal(five_minute_means(minutes, 300), minutes)


def test_without_a_day_of_history_the_newest_value_stands_for_the_future(model: ServedModel) -> None:
    record = read_situation(parsed(short_example(model)), model).record
    assert record["forecast_available"] == 0.0
    assert (record["forecast_rps"] == 520.0).all()


def test_the_decision_falls_a_step_and_a_metric_delay_after_the_newest_stamp(model: ServedModel) -> None:
    body = short_example(model)
    body["demand"]["last_timestamp"] = MONDAY.isoformat()
    assert read_situation(parsed(body), model).record["minute_of_week"] == 5 + 1
    zone = timezone(timedelta(hours=-5))
    body["demand"]["last_timestamp"] = MONDAY.astimezone(zone).isoformat()
    assert read_situation(parsed(body), model).record["minute_of_week"] == 6


def test_requests_twice_as_heavy_at_half_the_rate_are_the_same_to_the_policy(model: ServedModel) -> None:
    body = day_example(model)
    plain = read_situation(parsed(body), model)
    body["demand"]["requests_per_second"] = [value / 2 for value in body["demand"]["requests_per_second"]]
    body["mean_demand_rps"] /= 2
    body["cpu_ms_per_request"] = 2 * model.task.world.workload.cpu_ms_per_request
    heavy = read_situation(parsed(body), model)
    assert heavy.work == 2.0
    np.testing.assert_array_equal(model.codec.encode(heavy.records), model.codec.encode(plain.records))


def test_what_is_left_out_follows_from_the_rest(model: ServedModel) -> None:
    body = {
        "demand": {"requests_per_second": [100.0], "step_s": 60, "last_timestamp": "2026-07-20T00:00:00Z"},
        "fleet": {"launch_specification": "m6i.large", "desired": 5, "pending": 1, "spot_percent": 50},
    }
    record = read_situation(parsed(body), model).record
    assert (record["in_service"], record["pending"], record["spot_in_use"]) == (4, 1, 2)
    assert record["type_count"][model.catalogue.index["m6i.large"]] == 5
    assert record["capacity_rps"] == pytest.approx(4 * 40.0)
    assert record["cpu_utilization"] == pytest.approx(100.0 / 160.0)
    assert record["requests_per_target"] == pytest.approx(100.0 * 60 / 4)
    assert record["mean_demand_rps"] == 100.0
    assert model.policy_names[int(record["policy"])] == "manual"
    body["metrics"] = {"cpu_utilization": None}
    assert np.isnan(read_situation(parsed(body), model).record["cpu_utilization"])


def test_an_instance_type_stands_for_the_first_specification_that_holds_it(model: ServedModel) -> None:
    body = short_example(model)
    body["fleet"]["launch_specification"] = "c6a.large"
    record = read_situation(parsed(body), model).record
    assert model.specification_names[int(record["spec"])] == "x86-large-mix"
    assert record["type_count"][model.catalogue.index["c6a.large"]] == 22


def changed(body: Json, **groups: Json) -> Json:
    return {**body, **{name: {**body.get(name, {}), **fields} for name, fields in groups.items()}}


@pytest.mark.parametrize(
    ("groups", "pointer"),
    [
        ({"fleet": {"launch_specification": "z9.mega"}}, "#/fleet/launch_specification"),
        ({"fleet": {"scaling_policy": "none such"}}, "#/fleet/scaling_policy"),
        ({"fleet": {"spot_instances": 23}}, "#/fleet/spot_instances"),
        ({"fleet": {"type_counts": {"m6i.large": 3}}}, "#/fleet/type_counts"),
        ({"fleet": {"type_counts": {"z9.mega": 22}}}, "#/fleet/type_counts/z9.mega"),
        ({"market": {"spot_usd_per_hour": {"z9.mega": 1.0}}}, "#/market/spot_usd_per_hour/z9.mega"),
    ],
)
def test_names_and_counts_that_do_not_fit_are_refused_by_pointer(
    model: ServedModel, groups: Json, pointer: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_situation(parsed(changed(short_example(model), **groups)), model)
    assert caught.value.pointer == pointer


def test_a_history_without_demand_needs_a_mean_to_scale_by(model: ServedModel) -> None:
    body = short_example(model)
    body["demand"]["requests_per_second"] = [0.0, 0.0]
    assert read_situation(parsed(body), model).record["demand_rps"] == 0.0
    del body["mean_demand_rps"]
    with pytest.raises(RequestError, match="mean_demand_rps"):
        read_situation(parsed(body), model)
