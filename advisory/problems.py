"""Errors as RFC 9457 problem documents (``application/problem+json``)."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 20
_MAX_VALUE_CHARACTERS: Final = 80


class FieldError(BaseModel):
    """One thing that is wrong with a body.

    Attributes:
        pointer: JSON pointer to the field, as a URI fragment.
        value: What was there, shortened; null where it was missing.
        expected: What should have been there.
    """

    model_config = ConfigDict(frozen=True)

    pointer: str
    value: str | None
    expected: str


class ProblemDocument(BaseModel):
    """An error a program can act on; ``type`` is stable."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:fleetgym:problem:invalid-request"])
    title: str
    status: int
    detail: str
    instance: str = Field(description="Names this occurrence by its request id")
    errors: list[FieldError] = []


class Problem(Exception):
    """An error that the client is told about.

    Args:
        status: HTTP status.
        name: Last part of the stable ``type``.
        detail: What went wrong this time.
        errors: The fields at fault.
        headers: Headers the answer needs, such as ``Allow``.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.name = name
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def response(self, request_id: str) -> Response:
        """Return the problem document as a response."""
        document = ProblemDocument(
            type=f"urn:fleetgym:problem:{self.name}",
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            instance=f"urn:fleetgym:request:{request_id}",
            errors=self.errors[:MAX_ERRORS],
        )
        return Response(document.model_dump_json(), self.status, self.headers, MEDIA_TYPE)


def invalid_request(errors: Sequence[FieldError]) -> Problem:
    """Return the problem of a body whose fields are wrong; the first one stands in the detail."""
    first, more = errors[0], len(errors) - 1
    found = "it is missing" if first.value is None else f"got {first.value}"
    others = f"; and {more} more" if more else ""
    return Problem(422, "invalid-request", f"{first.pointer}: expected {first.expected}; {found}{others}", errors)


def body_problem(error: ValidationError, model: type[BaseModel]) -> Problem:
    """Return the problem of a body that is not JSON, or not of the model."""
    found = error.errors(include_url=False)
    if found[0]["type"] == "json_invalid":
        return Problem(400, "not-json", f"the body is not JSON: {found[0]['ctx']['error']}")
    return invalid_request([_field_error(item, model) for item in found])


def _field_error(item: Any, model: type[BaseModel]) -> FieldError:
    path = item["loc"]
    if item["type"] == "missing":
        return FieldError(pointer=_pointer(path), value=None, expected="a value: this field is required")
    expected = str(item["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        expected = f"no such field; known here: {', '.join(_fields_at(model, path[:-1]))}"
    elif item["type"] == "value_error":
        expected = expected.rpartition("expected ")[2]
    return FieldError(pointer=_pointer(path), value=shortened(item["input"]), expected=expected)


def _pointer(path: Sequence[int | str]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in path if part != "[key]")
    return "#" + "".join(f"/{part[:_MAX_VALUE_CHARACTERS]}" for part in parts)


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    for part in path:
        inner = model.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def shortened(value: Any) -> str:
    """Return a value as short JSON text, or as Python shows it where JSON cannot."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _MAX_VALUE_CHARACTERS else text[: _MAX_VALUE_CHARACTERS - 3] + "..."
