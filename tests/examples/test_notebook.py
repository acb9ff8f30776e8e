"""The notebook is committed without outputs and runs from its first cell to its last."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "judge.ipynb"


def test_no_output_is_committed() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_runs_and_says_what_it_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    text = {name: "".join(item.get("text", "") for item in items) for name, items in outputs.items()}
    assert text["suite"].startswith("36 generated entries, 9 that replay real traces")
    rows = re.findall(
        r"^(\S+-(?:calm|hot)) +(\S+) +([\d.]+) +([\d.]+) +([\d.]+) .* ([\d.]+)$", text["play"], re.MULTILINE
    )
    assert len(rows) == 6
    assert {policy for _, policy, *_ in rows} == {"target-tracking-cpu", "forecast"}
    for *_, total, bill, penalty, bound in rows:
        assert float(total) == pytest.approx(float(bill) + float(penalty), abs=0.0011)
        assert float(bound) < float(total)
    assert any("image/png" in item.get("data", {}) for item in outputs["day"])
    ratio, average = map(float, re.findall(r": +(-?\d\.\d+)", text["gap"]))
    assert ratio != average
    assert "bad minutes" in text["equal"]
