"""The advisory service as a FastAPI application over one bundle."""

import json
import logging
import re
import uuid
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from advisory.advisor import NoRecommendation, advise
from advisory.examples import day_example, short_example
from advisory.problems import (
    MEDIA_TYPE,
    FieldError,
    Problem,
    ProblemDocument,
    body_problem,
    invalid_request,
    shortened,
)
from advisory.reading import RequestError
from advisory.schemas import Recommendation, RecommendationRequest
from advisory.served import ServedModel, serve_bundle
from envs.action import action_space
from envs.settings import ENVIRONMENT_VERSION

MAX_BODY_BYTES: Final = 2_000_000
_MOST_READ_BYTES: Final = 20 * MAX_BODY_BYTES
RECOMMENDATIONS: Final = "/v1/recommendations"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PROBLEM_STATUSES: Final = {
    400: "The body is empty or not JSON",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes",
    415: "The body is not declared as application/json",
    422: "A field is missing, unknown, of the wrong type, out of range, or does not fit the bundle",
    503: "The policy gave no usable answer",
}
_log = logging.getLogger("fleetgym.advisory")


class _Requests:
    """Gives every request its id, and every unforeseen error a problem document without a trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            _log.info("request %s: the client went away", request_id)
        except Exception:
            _log.exception("request %s failed", request_id)
            if started:
                raise
            problem = Problem(500, "internal-error", "the service failed; its log has the cause under this request id")
            await problem.response(request_id)(scope, receive, send_with_id)


async def _on_problem(request: Request, error: Problem) -> Response:
    return error.response(request.state.request_id)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    names = {404: "not-found", 405: "method-not-allowed"}
    details = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.url.path} does not take {request.method}",
    }
    name = names.get(error.status_code, "request-refused")
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, name, detail, headers=error.headers).response(request.state.request_id)


async def _read_body(request: Request) -> bytes:
    """Return the body of a JSON request.

    One that is too large is read on up to a limit, so that the client hears why.

    Raises:
        Problem: It is of another type, too large or empty.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        found = f"content type {media_type!r}" if media_type else "no content type"
        raise Problem(415, "unsupported-media-type", f"expected content type 'application/json', got {found}")
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MOST_READ_BYTES:
            break
        if size <= MAX_BODY_BYTES:
            body += chunk
    if size > MAX_BODY_BYTES:
        raise Problem(413, "body-too-large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    if not body.strip():
        raise Problem(400, "empty-body", "the body is empty; expected a JSON object")
    return bytes(body)


def _answer(body: bytes, model: ServedModel, request_id: str) -> bytes:
    """Return the recommendation for a body as JSON.

    Raises:
        Problem: The body is wrong, or the policy has no answer.
    """
    try:
        request = RecommendationRequest.model_validate_json(body)
        return advise(request, model, request_id).model_dump_json().encode()
    except ValidationError as error:
        raise body_problem(error, RecommendationRequest) from error
    except RequestError as error:
        value = None if error.value is None else shortened(error.value)
        raise invalid_request([FieldError(pointer=error.pointer, value=value, expected=error.expected)]) from error
    except NoRecommendation as error:
        raise Problem(503, "no-recommendation", f"no recommendation: {error}") from error


def _summary(model: ServedModel) -> dict[str, Any]:
    """Return what the service runs on: versions, what it chooses from, the objective, and the model card."""
    bundle, task = model.bundle, model.task
    return {
        "policy_version": bundle.version,
        "environment": ENVIRONMENT_VERSION,
        "schema_hash": bundle.spec["schema_hash"],
        "observation_version": bundle.spec["observation_version"],
        "observation_size": len(bundle.spec["features"]),
        "action_choices": action_space(task).nvec.tolist(),
        "decision_minutes": task.decision_minutes,
        "launch_specifications": [item.model_dump(mode="json") for item in task.candidates],
        "scaling_policies": [item.model_dump(mode="json") for item in task.menu],
        "best_rule": bundle.spec["best_rule"],
        "objective": task.world.objective.model_dump(mode="json"),
        "workload": task.world.workload.model_dump(mode="json"),
        "prices": {key: bundle.spec["catalogue"][key] for key in ("source", "date")},
        "versions": bundle.manifest["versions"],
        "git_commit": bundle.manifest["git_commit"],
        "seeds": bundle.manifest["seeds"],
        "card": bundle.card,
    }


def _describe(app: FastAPI, model: ServedModel) -> dict[str, Any]:
    """Return the OpenAPI document with the request body's schema and worked examples."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema = RecommendationRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= schema.pop("$defs")
    document["components"]["schemas"]["RecommendationRequest"] = schema
    operation = document["paths"][RECOMMENDATIONS]["post"]
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/RecommendationRequest"},
                "examples": {
                    "day": {"summary": "A day of demand, every group of fields", "value": day_example(model)},
                    "hour": {"summary": "An hour of demand, few fields", "value": short_example(model)},
                },
            }
        },
    }
    for status, description in _PROBLEM_STATUSES.items():
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
        operation["responses"][str(status)] = {"description": description, "content": content}
    document["components"]["schemas"] |= _schemas_of(ProblemDocument)
    return document


def _schemas_of(model: type[ProblemDocument]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def create_app(bundle_path: Path) -> FastAPI:
    """Return the service over a bundle, ready to answer: loaded, verified, compiled and tried on an example.

    Raises:
        BundleError: The bundle is damaged, or made for another version.
    """
    model = serve_bundle(bundle_path)
    try:
        advise(RecommendationRequest.model_validate_json(json.dumps(day_example(model))), model, "start")
    except NoRecommendation as error:
        _log.warning("the example has no recommendation: %s", error)
    app = FastAPI(
        title="FleetGym advisory service",
        version=model.bundle.version,
        description="Advice for one EC2 Auto Scaling group, by a policy trained in simulation.",
        redirect_slashes=False,
        exception_handlers={Problem: _on_problem, HTTPException: _on_http_exception},
    )
    app.add_middleware(_Requests)
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_describe(app, model))
        return document

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether a bundle is loaded, and which")
    async def readyz() -> dict[str, str]:
        return {
            "status": "ready",
            "environment": ENVIRONMENT_VERSION,
            "schema_hash": str(model.bundle.spec["schema_hash"]),
            "policy_version": model.bundle.version,
        }

    @app.get("/v1/model", summary="What the advice is based on")
    async def describe_model() -> dict[str, Any]:
        return _summary(model)

    @app.post(RECOMMENDATIONS, summary="Advice for one fleet", response_model=Recommendation)
    async def recommend(request: Request) -> Response:
        body = await _read_body(request)
        answer = await run_in_threadpool(_answer, body, model, request.state.request_id)
        return Response(answer, media_type="application/json")

    return app
