import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from advisory_requests import Client, Json
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from advisory.app import MAX_BODY_BYTES, create_app
from advisory.examples import day_example, short_example
from advisory.schemas import Recommendation, RecommendationRequest
from advisory.served import ServedModel
from agents.bundle import POLICY_FILE, load_bundle, write_manifest
from agents.rules import RuleBook

PATH = "/v1/recommendations"
JSON = {"content-type": "application/json"}


def check_problem(response: Any, status: int, name: str) -> Json:
    """Assert that a response is a complete RFC 9457 document and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors"}
    assert problem["type"] == f"urn:fleetgym:problem:{name}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in response.text
    assert problem["instance"] == f"urn:fleetgym:request:{response.headers['x-request-id']}"
    return problem


def test_every_example_of_the_api_description_works_as_it_stands(client: Client) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]
    assert len(content["examples"]) == 2
    for example in content["examples"].values():
        answer = client.recommend(example["value"])
        assert answer.status_code == 200, answer.text
        Recommendation.model_validate_json(answer.content)


def test_every_reference_of_the_api_description_leads_somewhere(client: Client) -> None:
    text = client.get("/openapi.json").text
    document = json.loads(text)
    references = set(re.findall(r'"\$ref":"#/([^"]+)"', text))
    assert len(references) > 8
    for reference in references:
        place = document
        for part in reference.split("/"):
            place = place[part]
        assert place["type"] == "object"
    described = document["components"]["schemas"]["RecommendationRequest"]
    assert set(described["properties"]) == set(RecommendationRequest.model_fields)


def test_the_same_request_gets_the_same_bytes(client: Client, model: ServedModel) -> None:
    answers = {client.recommend(day_example(model), **{"x-request-id": "one"}).content for _ in range(3)}
    assert len(answers) == 1


def test_an_untrained_policy_repeats_the_rule_it_starts_from(client: Client, model: ServedModel) -> None:
    answer = client.recommend(day_example(model)).json()
    assert answer["rule"]["name"] == "forecast"
    for name in ("capacity", "launch_specification", "spot_percent", "scaling_policy"):
        assert answer["recommendation"][name] == answer["rule"][name]
    assert all(0.5 < value <= 1.0 for value in answer["confidence"].values()), "the rule's choice is the likeliest"


def test_cost_and_change_add_up(client: Client, model: ServedModel) -> None:
    answer = client.recommend(short_example(model)).json()
    expected, advice = answer["expected"], answer["recommendation"]
    assert advice["change"] == advice["capacity"] - 22
    saving = expected["current_hourly_cost_usd"] - expected["hourly_cost_usd"]
    assert expected["saving_usd_per_hour"] == pytest.approx(saving)
    assert expected["saving_percent"] == pytest.approx(100 * saving / expected["current_hourly_cost_usd"])
    assert expected["current_hourly_cost_usd"] == pytest.approx(22 * 0.096)
    assert any("desired capacity 22 to" in reason for reason in answer["reasons"])
    assert answer["forecast"] is None


def test_a_bound_that_bites_is_named(client: Client, model: ServedModel) -> None:
    body = day_example(model)
    body["constraints"] = {"max_instances": 4, "max_spot_percent": 15, "keep_type": True}
    answer = client.recommend(body).json()
    assert {bound["constraint"] for bound in answer["bounds_applied"]} == {
        "max_instances",
        "max_spot_percent",
        "keep_type",
    }
    assert answer["recommendation"]["capacity"] == answer["rule"]["capacity"] == 4
    assert answer["recommendation"]["spot_percent"] == 10
    assert answer["recommendation"]["launch_specification"] == "m6i.large"
    assert answer["performance_risk"] == 4


def test_a_fleet_without_instances_gets_advice(client: Client, model: ServedModel) -> None:
    body = short_example(model)
    body["fleet"] = {"launch_specification": "m6i.large", "desired": 0}
    answer = client.recommend(body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["expected"]["saving_percent"] is None
    assert answer.json()["current_performance_risk"] == 4


def replaced(body: Json, path: str, value: Any) -> Json:
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return body


NAN, INF = float("nan"), float("inf")
WRONG_FIELDS: list[tuple[str, Any]] = [
    ("demand.requests_per_second", []),
    ("demand.requests_per_second", "many"),
    ("demand.requests_per_second", [1.0] * 20_001),
    ("demand.requests_per_second", [1.0, -1.0]),
    ("demand.requests_per_second", [1.0, None]),
    ("demand.requests_per_second", [1.0, "2"]),
    ("demand.requests_per_second", [1.0, True]),
    ("demand.requests_per_second", [1.0, NAN]),
    ("demand.requests_per_second", [INF]),
    ("demand.requests_per_second", [1e8]),
    ("demand.step_s", 61),
    ("demand.step_s", "60"),
    ("demand.last_timestamp", "2026-07-20T00:00:00"),
    ("demand.last_timestamp", "yesterday"),
    ("demand.last_timestamp", 1_753_000_000),
    ("demand.last_timestamp", "1969-07-20T00:00:00Z"),
    ("demand.last_timestamp", "9999-12-31T23:59:59-14:00"),
    ("demand.unit", "rps"),
    ("fleet.launch_specification", ""),
    ("fleet.launch_specification", 3),
    ("fleet.launch_specification", "m6i.mega"),
    ("fleet.desired", 100),
    ("fleet.desired", -1),
    ("fleet.desired", 2.5),
    ("fleet.desired", 10**30),
    ("fleet.in_service", 1000),
    ("fleet.spot_instances", 50),
    ("fleet.spot_percent", 101),
    ("fleet.type_counts", {"m6i.large": -1}),
    ("fleet.type_counts", {"m6i.large": 1}),
    ("fleet.scaling_policy", "none"),
    ("fleet.refreshing", "no"),
    ("metrics.cpu_utilization", 61),
    ("metrics.error_fraction", -0.1),
    ("market.spot_usd_per_hour", {"m6i.large": 0}),
    ("market.spot_usd_per_hour", {"m6i.mega": 0.1}),
    ("market.minutes_since_interruption", {"m6i.large": -5}),
    ("constraints.min_instances", 0),
    ("constraints.max_instances", 100),
    ("constraints.max_spot_percent", "half"),
    ("constraints.allowed_launch_specifications", []),
    ("constraints.allowed_launch_specifications", ["m6i.mega"]),
    ("constraints.max_change", -1),
    ("mean_demand_rps", 0),
    ("mean_demand_rps", NAN),
    ("cpu_ms_per_request", 0),
    ("telemetry.forecast_rps", [[1.0]]),
    ("telemetry.forecast_rps", [[2.0, 1.0, 3.0, 4.0]] * 7),
    ("telemetry.anomaly_score", 1.5),
    ("detail", 1),
    ("extra", None),
]


@pytest.mark.parametrize(("path", "value"), WRONG_FIELDS)
def test_a_wrong_field_is_named_with_its_value_and_what_was_expected(
    client: Client, model: ServedModel, path: str, value: Any
) -> None:
    body = json.dumps(replaced(short_example(model), path, value))
    problem = check_problem(client.request("POST", PATH, content=body, headers=JSON), 422, "invalid-request")
    pointer = "#/" + path.replace(".", "/")
    assert problem["errors"]
    first = problem["errors"][0]
    assert first["pointer"].startswith(pointer) or pointer.startswith(first["pointer"])
    assert first["expected"]
    assert first["value"]
    assert first["pointer"] in problem["detail"]


@pytest.mark.parametrize("path", ["demand", "fleet", "demand.requests_per_second", "demand.step_s", "fleet.desired"])
def test_a_missing_field_is_named(client: Client, model: ServedModel, path: str) -> None:
    body = short_example(model)
    *parents, last = path.split(".")
    place = body
    for parent in parents:
        place = place[parent]
    del place[last]
    problem = check_problem(client.recommend(body), 422, "invalid-request")
    expected = "a value: this field is required"
    assert problem["errors"] == [{"pointer": "#/" + path.replace(".", "/"), "value": None, "expected": expected}]


def test_an_unknown_field_is_answered_with_the_known_ones(client: Client, model: ServedModel) -> None:
    problem = check_problem(client.recommend(replaced(short_example(model), "fleet.desird", 3)), 422, "invalid-request")
    assert "desired" in problem["errors"][0]["expected"]


def test_contradicting_limits_are_refused(client: Client, model: ServedModel) -> None:
    body = short_example(model)
    body["constraints"] = {"min_instances": 9, "max_instances": 3}
    problem = check_problem(client.recommend(body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "#/constraints"
    body["constraints"] = {"keep_type": True, "allowed_launch_specifications": ["m7g.large"]}
    problem = check_problem(client.recommend(body), 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "#/constraints/keep_type"


def test_a_body_full_of_errors_is_answered_briefly(client: Client, model: ServedModel) -> None:
    body = replaced(short_example(model), "demand.requests_per_second", ["x"] * 5000)
    response = client.recommend(body)
    assert len(check_problem(response, 422, "invalid-request")["errors"]) == 20
    assert len(response.content) < 10_000


@pytest.mark.parametrize(
    ("content", "status", "name"),
    [
        (b"", 400, "empty-body"),
        (b"  \n", 400, "empty-body"),
        (b"{", 400, "not-json"),
        (b"demand=1", 400, "not-json"),
        (b"{'demand': 1}", 400, "not-json"),
        (b"\xff\xfe\x00", 400, "not-json"),
        (b"[" * 100_000, 400, "not-json"),
        (b"{} {}", 400, "not-json"),
        (b"[]", 422, "invalid-request"),
        (b"null", 422, "invalid-request"),
        (b'"text"', 422, "invalid-request"),
        (b"NaN", 422, "invalid-request"),
        (b"{}", 422, "invalid-request"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "body-too-large"),
    ],
)
def test_a_body_that_is_no_request_is_refused(client: Client, content: bytes, status: int, name: str) -> None:
    check_problem(client.request("POST", PATH, content=content, headers=JSON), status, name)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_another_content_type_is_refused(client: Client, model: ServedModel, media_type: str) -> None:
    body = json.dumps(short_example(model))
    response = client.request("POST", PATH, content=body, headers={"content-type": media_type})
    check_problem(response, 415, "unsupported-media-type")


def test_a_charset_may_be_named(client: Client, model: ServedModel) -> None:
    body = json.dumps(short_example(model))
    response = client.request("POST", PATH, content=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused(client: Client, method: str) -> None:
    response = client.request(method, PATH)
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/recommendations/", "/v2/recommendations", "/%00"])
def test_an_unknown_path_is_refused(client: Client, path: str) -> None:
    check_problem(client.get(path), 404, "not-found")


def test_a_request_id_is_kept_and_a_strange_one_replaced(client: Client, model: ServedModel) -> None:
    answer = client.recommend(short_example(model), **{"x-request-id": "abc-1.2:3"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1.2:3"
    for strange in ("", "a b", "x" * 129, "a/b"):
        made = client.recommend(short_example(model), **{"x-request-id": strange}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_an_unforeseen_error_shows_no_trace(app: FastAPI, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr("advisory.app._summary", fail)
    response = client.get("/v1/model")
    check_problem(response, 500, "internal-error")
    assert "secret" not in response.text
    assert "ZeroDivisionError" not in response.text


def test_health_readiness_and_model(client: Client, bundle_path: Path) -> None:
    bundle = load_bundle(bundle_path)
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {
        "status": "ready",
        "environment": "AWSInfrastructure-v0",
        "schema_hash": bundle.spec["schema_hash"],
        "policy_version": bundle.version,
    }
    summary = client.get("/v1/model").json()
    assert summary["card"] == "# Card\n"
    assert [item["name"] for item in summary["scaling_policies"]] == [rule.name for rule in bundle.rules.rules]
    assert len(summary["launch_specifications"]) == summary["action_choices"][1] - 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_policy_that_returns_no_number_gives_no_recommendation(
    bundle_path: Path, model: ServedModel, tmp_path: Path, value: float
) -> None:
    proto = onnx.load_model_from_string(load_bundle(bundle_path).policy_onnx)
    sizes = [item for item in proto.graph.initializer if item.name == "policy.action_net.index_0"]
    broken = numpy_helper.to_array(sizes[0]).copy()
    broken[0] = value
    sizes[0].CopyFrom(numpy_helper.from_array(broken, sizes[0].name))
    path = rewritten(bundle_path, tmp_path / "broken", POLICY_FILE, proto.SerializeToString())
    problem = check_problem(Client(create_app(path)).recommend(short_example(model)), 503, "no-recommendation")
    assert "not finite" in problem["detail"]


def rewritten(bundle: Path, out: Path, name: str, content: bytes) -> Path:
    """Copy a bundle with another file in it and a manifest that agrees."""
    out.mkdir()
    for item in bundle.iterdir():
        (out / item.name).write_bytes(content if item.name == name else item.read_bytes())
    write_manifest(out, seeds=[])
    return out


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
places = st.sampled_from(
    ["demand", "fleet", "metrics", "market", "constraints", "telemetry", *[path for path, _ in WRONG_FIELDS]]
)


@given(path=places, value=anything)
@settings(max_examples=150, deadline=None)
def test_no_body_makes_the_service_fail(client: Client, model: ServedModel, path: str, value: Any) -> None:
    body = json.dumps(replaced(short_example(model), path, value))
    response = client.request("POST", PATH, content=body, headers=JSON)
    if response.status_code != 200:
        check_problem(response, 422, "invalid-request")


rates = st.sampled_from([0.0, 1e-6, 1.0, 300.0, 4000.0, 1e7])
extreme = st.fixed_dictionaries(
    {
        "demand": st.fixed_dictionaries(
            {
                "requests_per_second": st.lists(rates, min_size=1, max_size=4)
                | st.lists(rates, min_size=1, max_size=4).map(lambda values: (values * 600)[:600]),
                "step_s": st.sampled_from([60, 300]),
                "last_timestamp": st.sampled_from(["2000-01-01T00:00:00Z", "2099-12-31T23:59:59+14:00"]),
            }
        ),
        "fleet": st.fixed_dictionaries(
            {
                "launch_specification": st.sampled_from(["m6i.large", "c7g.xlarge", "arm-large-mix", "c8g.large"]),
                "desired": st.sampled_from([0, 1, 99]),
                "in_service": st.sampled_from([0, 1, 99, 128]),
                "pending": st.sampled_from([0, 1, 128]),
                "draining": st.sampled_from([0, 128]),
                "spot_percent": st.sampled_from([0, 33.3, 100]),
            }
        ),
        "mean_demand_rps": st.sampled_from([2e-9, 1.0, 1e7]),
        "cpu_ms_per_request": st.sampled_from([0.1, 50, 10_000]),
        "market": st.fixed_dictionaries(
            {"spot_usd_per_hour": st.dictionaries(st.just("m6i.large"), st.sampled_from([1e-300, 1000.0]))}
        ),
        "metrics": st.fixed_dictionaries({"error_fraction": st.sampled_from([0.0, 1000.0])}),
        "telemetry": st.fixed_dictionaries({}, optional={"capacity_rps": st.sampled_from([0.0, 1e7])}),
        "detail": st.booleans(),
    }
)


@given(body=extreme)
@settings(max_examples=150, deadline=None)
def test_extreme_but_valid_requests_get_complete_advice(client: Client, body: Json) -> None:
    answer = client.recommend(body)
    assert answer.status_code == 200, answer.text
    advice = Recommendation.model_validate_json(answer.content)
    assert 1 <= advice.recommendation.capacity <= 99
    assert np.isfinite(advice.expected.p95_ms)


def test_rules_and_menu_are_the_same(model: ServedModel, rules: RuleBook) -> None:
    assert model.policy_names == [rule.name for rule in rules.rules]
