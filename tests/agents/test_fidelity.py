"""The fidelity report: what is written, what is kept, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents import fidelity
from agents.fidelity import (
    BEGIN,
    END,
    Finding,
    Request,
    checks_table,
    load_report,
    report_page,
    run_part,
    save_report,
    write_figures,
)
from telemetry.check import Check

GOOD = Check("held", 0.5, 0.0, 1.0, "1", "theory")
BAD = Check("missed", np.float64(3.0), 1.0, np.inf, "min", "a | b")
OUT = Check("out", 0.5, 1.0, np.inf, "min", "guide")


def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **parts: Finding) -> dict[str, object]:
    for name, finding in parts.items():
        monkeypatch.setitem(fidelity.PARTS, name, lambda _, finding=finding: finding)
    return {name: run_part(name, Request(tmp_path), tmp_path) for name in parts}


def test_a_report_is_json_and_markdown_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"a b": [1.5, np.nan], "c": ["x", "y"]})
    parts = entries(tmp_path, monkeypatch, relief=Finding([GOOD, BAD, OUT], table), spot=Finding(skipped="no traces"))
    save_report(parts, tmp_path)
    text = (tmp_path / "fidelity.json").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    assert load_report(tmp_path) == json.loads(text)["parts"]
    assert [check["holds"] for check in load_report(tmp_path)["relief"]["checks"]] == [True, True, False]
    assert load_report(tmp_path)["relief"]["table"] == [{"a b": 1.5, "c": "x"}, {"a b": None, "c": "y"}]
    page = (tmp_path / "fidelity.md").read_text()
    assert "2 of 3" in page
    assert "Not run: no traces." in page
    assert page.index("Spot market") < page.index("Reaction to load")


def test_a_check_that_does_not_hold_stands_out() -> None:
    rows = checks_table([fidelity._check_entry(check) for check in (GOOD, BAD, OUT)]).splitlines()[2:]
    assert [("**no**" in row) for row in rows] == [False, False, True]
    assert "0 to 1" in rows[0]
    assert "at least 1" in rows[1]
    assert "3 min" in rows[1]
    assert r"a \| b" in rows[1]


def test_figures_replace_what_stands_between_the_markers_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = entries(tmp_path, monkeypatch, relief=Finding([OUT]))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nstale words\n{END}\nafter\n")
    write_figures(page, parts)
    once = page.read_text()
    assert once.startswith(f"before\n{BEGIN}\n\n")
    assert once.endswith(f"\n\n{END}\nafter\n")
    assert "stale words" not in once
    assert "| out |" in once
    write_figures(page, parts)
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["none", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_page_without_its_markers_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"page\.md: expected one line"):
        write_figures(page, {})
    assert page.read_text() == text


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    assert load_report(tmp_path) == {}
    (tmp_path / "fidelity.json").write_text('{"other": 1}')
    with pytest.raises(ValueError, match=r"fidelity\.json: not a fidelity report"):
        load_report(tmp_path)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown part 'speed'; known: latency"):
        run_part("speed", Request(tmp_path), tmp_path)


def test_realism_without_traces_says_what_is_missing(tmp_path: Path) -> None:
    entry = run_part("realism", Request(tmp_path), tmp_path)
    assert "worldcup98_1min.parquet; set FLEETGYM_DATA or --data" in entry["skipped"]
    assert "Not run" in report_page({"realism": entry})
