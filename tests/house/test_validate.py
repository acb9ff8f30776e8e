"""The command that checks the simulator, run as an operator would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def validate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "validate.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validation") / "new"
    done = validate("--out", str(out), "--quick", "--data", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for part in ("latency", "spot", "realism"):
        assert f"{part}: not run, takes minutes, left out of --quick" in done.stdout
    assert "Reaction to load" in done.stdout
    return out


def test_a_quick_run_leaves_report_figures_and_record(folder: Path) -> None:
    found = {path.name for path in folder.iterdir()}
    assert found == {"fidelity.json", "fidelity.md", "record.json", "relief.png", "influence.png"}
    parts = json.loads((folder / "fidelity.json").read_text())["parts"]
    assert list(parts) == ["latency", "spot", "relief", "realism", "influence"]
    assert parts["influence"]["influence"]["worlds"] == 36
    assert len(parts["relief"]["checks"]) > 10
    record = json.loads((folder / "record.json").read_text())
    assert record["config"]["quick"] is True
    assert record["seed"] == 0


def test_the_page_takes_the_figures_of_a_report(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n<!-- figures:begin -->\n<!-- figures:end -->\n")
    done = validate("--out", str(folder), "--page", str(page))
    assert (done.returncode, done.stderr) == (0, "")
    assert "public IPv4 addresses" in page.read_text()


def test_wrong_use_ends_with_two_and_one_line(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers")
    for arguments, message in (
        (("--out", str(folder), "--only", "speed"), "--only speed: expected one of latency"),
        (("--out", str(tmp_path / "none"), "--page", str(page)), "no such file"),
        (("--out", str(folder), "--page", str(page)), "page.md: expected one line"),
    ):
        done = validate(*arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
