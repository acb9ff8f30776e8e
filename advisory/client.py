"""Ask a running service, with the standard library only: wait until it is ready, post its own documented example."""

import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

_PATH = "/v1/recommendations"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


def wait_until_ready(port: int, timeout_s: float) -> None:
    """Return once ``/readyz`` answers.

    Raises:
        OSError: It does not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            _get(f"http://127.0.0.1:{port}/readyz")
            return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise OSError(f"the service on port {port} was not ready after {timeout_s:.0f} s") from error
            time.sleep(0.2)


def ask_example(port: int, timeout_s: float) -> Any:
    """Post the example of the service's own OpenAPI document and return the recommendation.

    Raises:
        OSError: The service is not ready in time, or refuses its own example.
    """
    wait_until_ready(port, timeout_s)
    base = f"http://127.0.0.1:{port}"
    body = _get(base + "/openapi.json")["paths"][_PATH]["post"]["requestBody"]["content"]["application/json"]
    example = body["example"] if "example" in body else next(iter(body["examples"].values()))["value"]
    request = urllib.request.Request(
        base + _PATH, json.dumps(example).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)
