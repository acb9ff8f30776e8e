"""The commands that train and score the models, and the card of the shipped weights."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agents.model_card import CARD_FILE, write_card
from agents.model_report import JSON_NAME, PAGE_NAME, load_report, save_report, summary_table
from forecasting import shipped

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    shipped.DEMAND_FILE,
    shipped.RANKER_FILE,
    shipped.CAUSES_FILE,
    shipped.KINDS_FILE,
    shipped.PLANNER_FILE,
    shipped.PERFORMANCE_FILE,
)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train_models.py", ["--only", "weather"], "--only weather: expected one of forecast, anomaly, rca, scaling"),
        ("evaluate_models.py", ["--suite", "weather"], "--suite weather: expected one of forecast, anomaly"),
        ("train_models.py", ["--only", "forecast", "--data", "nowhere"], "nowhere/demand/worldcup98_1min.parquet"),
        ("evaluate_models.py", ["--suite", "drift", "--data", "nowhere"], "nowhere/demand/worldcup98_1min.parquet"),
        ("evaluate_models.py", ["--suite", "anomaly", "--data", "nowhere"], "nowhere/anomalies"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_line(script: str, arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run(script, "--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_suite_writes_json_page_plots_and_record(tmp_path: Path) -> None:
    done = run("evaluate_models.py", "--out", str(tmp_path), "--suite", "scaling", "--quick")
    assert done.returncode == 0, done.stderr
    entry = json.loads((tmp_path / JSON_NAME).read_text())["suites"]["scaling"]
    assert entry["quick"]
    assert len(entry["checks"]) == 6
    assert all((tmp_path / figure).exists() for figure in entry["figures"])
    page = (tmp_path / PAGE_NAME).read_text()
    assert "figures mean little" in page
    assert "## Capacity and performance" in page
    assert json.loads((tmp_path / "record.json").read_text())["config"]["suite"] == ["scaling"]


def entry(measured: float) -> dict[str, object]:
    check = {
        "name": "what",
        "measured": measured,
        "low": 0.0,
        "high": 1.0,
        "unit": "1",
        "source": "here",
        "holds": measured <= 1.0,
    }
    return {
        "quick": False,
        "checks": [check],
        "tables": {"A table": [{"a": 0.25, "b": None}]},
        "notes": ["A note."],
        "figures": ["plot.png"],
        "cpu_seconds": 3.0,
    }


def test_a_report_keeps_what_is_not_run_again_and_names_what_fails(tmp_path: Path) -> None:
    save_report({"rca": entry(2.0)}, tmp_path)
    report = load_report(tmp_path)
    report["forecast"] = entry(0.5)
    save_report(report, tmp_path)
    assert list(load_report(tmp_path)) == ["forecast", "rca"]
    page = (tmp_path / PAGE_NAME).read_text()
    for part in ("### A table", "| 0.25 | - |", "- A note.", "![plot](plot.png)"):
        assert part in page
    assert "| Root cause | 0 of 1 | what | 3 s |" in summary_table(report)


def test_a_foreign_report_is_named(tmp_path: Path) -> None:
    (tmp_path / JSON_NAME).write_text("[]")
    with pytest.raises(ValueError, match=r"models\.json: not a report"):
        load_report(tmp_path)


def test_the_card_lists_the_shipped_weights_as_they_are() -> None:
    card = (shipped.WEIGHTS / CARD_FILE).read_text(encoding="utf-8")
    for name in FILES:
        digest = hashlib.sha256((shipped.WEIGHTS / name).read_bytes()).hexdigest()[:16]
        assert re.search(rf"`{re.escape(name)}`.*{digest}", card), f"{name} is not the file that the card describes"
    assert sum((shipped.WEIGHTS / name).stat().st_size for name in FILES) < 5_000_000


def test_a_card_describes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / shipped.DEMAND_FILE).write_bytes(b"weights")
    write_card(tmp_path, {"forecast": 1.0}, seed=3)
    card = (tmp_path / CARD_FILE).read_text()
    assert hashlib.sha256(b"weights").hexdigest()[:16] in card
    assert shipped.PLANNER_FILE not in card
    assert "worldcup98_1min" in card
    assert "tweets_AMZN" not in card, "a whole-test trace"


def test_every_shipped_model_loads() -> None:
    assert shipped.shipped_ranker().num_features[0] > 0
    assert shipped.shipped_causes().kind.kinds
    assert shipped.shipped_kinds().kinds
    assert shipped.shipped_capacity().planner.content
