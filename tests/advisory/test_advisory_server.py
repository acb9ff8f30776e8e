import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from advisory.examples import day_example
from advisory.served import ServedModel, serve_bundle
from agents.bundle import FILES, MANIFEST_FILE, POLICY_FILE, SPEC_FILE, BundleError, write_manifest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, str(ROOT / "scripts" / "serve.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def serve_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)


@pytest.fixture(scope="module")
def server(bundle_path: Path) -> Iterator[str]:
    """The command itself, on a free port of the loopback interface."""
    process = subprocess.Popen(
        [*COMMAND, "--bundle", str(bundle_path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    assert found, (line, process.communicate(timeout=10))
    transport = httpx.HTTPTransport(retries=20)
    with httpx.Client(transport=transport) as client:
        client.get(found[0] + "/healthz")
    yield found[0]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors


def test_the_server_answers_its_own_example_over_loopback(server: str, bundle_path: Path) -> None:
    with httpx.Client(base_url=server) as client:
        ready = client.get("/readyz").json()
        assert ready["policy_version"] == serve_bundle(bundle_path).bundle.version
        content = client.get("/openapi.json").json()["paths"]["/v1/recommendations"]["post"]["requestBody"]["content"]
        for example in content["application/json"]["examples"].values():
            answer = client.post("/v1/recommendations", json=example["value"])
            assert answer.status_code == 200
            assert answer.json()["recommendation"]["capacity"] >= 1


def test_a_body_that_is_too_large_is_answered_over_a_real_connection(server: str) -> None:
    with httpx.Client(base_url=server) as client:
        headers = {"content-type": "application/json"}
        answer = client.post("/v1/recommendations", content=b" " * 5_000_000, headers=headers)
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.get("/healthz").status_code == 200


def test_a_client_that_hangs_up_leaves_the_server_well(server: str) -> None:
    host, port = server.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        lines = (
            "POST /v1/recommendations HTTP/1.1",
            "host: x",
            "content-type: application/json",
            "content-length: 900",
        )
        connection.sendall("\r\n".join((*lines, "", "{")).encode())
    assert httpx.get(server + "/healthz").status_code == 200


def test_a_port_in_use_is_one_clear_line_and_exit_1(bundle_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = serve_command("--bundle", str(bundle_path), "--port", str(port))
    assert result.returncode == 1
    assert result.stderr.strip().splitlines() == [
        f"serve: cannot listen on 127.0.0.1 port {port}: Address already in use"
    ]


def test_a_bundle_that_is_not_there_is_one_clear_line_and_exit_2(tmp_path: Path) -> None:
    result = serve_command("--bundle", str(tmp_path / "none"), "--port", "0")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines() == [f"serve: {tmp_path / 'none'}: no such bundle"]


def run_in_process(bundle: Path) -> tuple[int, str]:
    """Call the command without starting another interpreter; a good bundle would not return."""
    import typer

    from scripts.serve import serve

    command = typer.Typer()
    command.command()(serve)
    result = CliRunner().invoke(command, ["--bundle", str(bundle), "--port", "0"])
    return result.exit_code, result.stderr


def copied(bundle: Path, out: Path) -> Path:
    shutil.copytree(bundle, out)
    return out


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_changed_byte_is_refused_by_the_name_of_its_file(
    bundle_path: Path, tmp_path: Path, name: str, where: str
) -> None:
    bundle = copied(bundle_path, tmp_path / "changed")
    content = bytearray((bundle / name).read_bytes())
    place = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[where]
    content[place] ^= 1
    (bundle / name).write_bytes(content)
    code, text = run_in_process(bundle)
    assert code == 2
    assert len(text.strip().splitlines()) == 1
    assert f"{name} does not match the hash" in text


def test_a_changed_hash_in_the_manifest_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    bundle = copied(bundle_path, tmp_path / "changed")
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    manifest["files"][POLICY_FILE] = "0" * 64
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    code, text = run_in_process(bundle)
    assert code == 2
    assert f"{MANIFEST_FILE} was changed" in text


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_missing_file_is_named(bundle_path: Path, tmp_path: Path, name: str) -> None:
    bundle = copied(bundle_path, tmp_path / "changed")
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        serve_bundle(bundle)


def with_file(bundle: Path, out: Path, name: str, content: bytes) -> Path:
    """Copy a bundle with another file in it and a manifest that agrees with it."""
    copied(bundle, out)
    (out / name).write_bytes(content)
    write_manifest(out, seeds=[])
    return out


def test_a_bundle_of_another_version_is_answered_with_the_command_that_makes_it_again(
    bundle_path: Path, tmp_path: Path
) -> None:
    spec = json.loads((bundle_path / SPEC_FILE).read_text())
    for key, value in (("environment", "AWSInfrastructure-v9"), ("schema_hash", "0" * 16)):
        content = json.dumps({**spec, key: value}).encode()
        code, text = run_in_process(with_file(bundle_path, tmp_path / key, SPEC_FILE, content))
        assert code == 2
        assert value in text
        assert "python scripts/export.py RUN --out BUNDLE" in text


def test_a_policy_that_cannot_run_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    code, text = run_in_process(with_file(bundle_path, tmp_path / "broken", POLICY_FILE, b"no model"))
    assert code == 2
    assert len(text.strip().splitlines()) == 1
    assert f"{POLICY_FILE} cannot be run" in text


def test_a_zip_serves_like_its_folder(bundle_path: Path, model: ServedModel, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for item in bundle_path.iterdir():
            archive.write(item, item.name)
    assert serve_bundle(path).bundle.version == model.bundle.version


def test_answering_needs_no_training_library(bundle_path: Path) -> None:
    program = """
import json, sys
from pathlib import Path
from advisory.advisor import advise
from advisory.app import create_app
from advisory.examples import day_example
from advisory.schemas import RecommendationRequest
from advisory.served import serve_bundle
create_app(Path(sys.argv[1]))
model = serve_bundle(Path(sys.argv[1]))
advise(RecommendationRequest.model_validate_json(json.dumps(day_example(model))), model, "id")
heavy = {"torch", "stable_baselines3", "ray", "optuna", "onnx", "tensorboard", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(bundle_path)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=True,
    )
    assert result.stdout.strip() == "[]"


def test_help_imports_no_server() -> None:
    program = (
        "import sys; sys.argv = ['serve', '--help']\n"
        "import typer, scripts.serve\n"
        "try: typer.run(scripts.serve.serve)\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'fastapi', 'onnxruntime', 'numba'} & set(sys.modules), 'a heavy import'"
    )
    subprocess.run([sys.executable, "-c", program], capture_output=True, env=ENVIRONMENT, timeout=60, check=True)


def test_the_documented_request_gets_the_documented_answer(server: str, model: ServedModel) -> None:
    text = (ROOT / "docs" / "advisory.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    request, documented = blocks[0], blocks[1]
    answer = httpx.post(server + "/v1/recommendations", json=request).json()
    assert set(answer) == set(documented)
    assert set(answer["expected"]) == set(documented["expected"])
    for name in ("demand_rps", "current_hourly_cost_usd"):
        assert answer["expected"][name] == documented["expected"][name]
    assert answer["limits"] == documented["limits"]
    assert set(day_example(model)) >= set(request)
