"""docs/facts.yaml is sound, docs/fidelity.md is what the marks of the tests make of it, and what is wrong is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fidelity import BEGIN, END, contradictions, generated_part, load_facts, pending, tables, write_page

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT / "docs" / "facts.yaml"
PAGE = ROOT / "docs" / "fidelity.md"
REGENERATE = "python -m pytest --collect-only -q --fidelity-page=docs/fidelity.md"

CHECKED = {
    "id": "TT-04",
    "section": "Target tracking",
    "claim": "Scale-out is proportional and rounded up.",
    "confidence": "V",
    "source": "EC2 Auto Scaling user guide",
}
SIMPLIFIED = {**CHECKED, "id": "TT-01", "treatment": "simplified", "how": "Two metrics only.", "cost": "None."}
LEFT_OUT = {**CHECKED, "id": "WP-01", "treatment": "left out", "why": "It is opt-in.", "cost": "Slower launches."}
TEST_FILE = """
import pytest

@pytest.mark.fact("TT-04")
@pytest.mark.parametrize("n", [1, 2])
def test_size(n):
    assert n
"""


def collect(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Collect the tests of a folder with the plugin, in a process of its own."""
    paths = os.pathsep.join((str(ROOT / "tests"), str(ROOT)))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def collect_small(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Collect a small project, quickly: without the plugins that happen to be installed."""
    return collect(folder, *options, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def small_project(folder: Path, rows: list[dict[str, str]], tests: str = TEST_FILE) -> Path:
    """Write a project of a registry and one test file; return the page to be made of them."""
    (folder / "docs").mkdir()
    (folder / "docs" / "facts.yaml").write_text(yaml.safe_dump(rows))
    (folder / "pytest.ini").write_text(
        "[pytest]\naddopts = -p fact_marks\nmarkers =\n    fact(*numbers): a fact\n    slow: slow\n"
    )
    (folder / "test_rules.py").write_text(tests)
    return folder / "docs" / "fidelity.md"


def registry(folder: Path, rows: object) -> Path:
    path = folder / "facts.yaml"
    path.write_text(yaml.safe_dump(rows))
    return path


def test_every_fact_of_the_registry_is_well_formed() -> None:
    facts = load_facts(FACTS)
    assert {"AS-01", "TT-02", "BL-04", "MI-05", "TR-02", "PM-07", "Q-08"} <= set(facts)
    assert {fact.treatment for fact in facts.values()} == {None, "simplified", "left out"}


@pytest.mark.slow
def test_the_page_is_what_the_marks_make_of_the_registry(tmp_path: Path) -> None:
    made = tmp_path / "fidelity.md"
    run = collect(ROOT, f"--fidelity-page={made}")
    assert run.returncode == 0, run.stderr[-4000:] + run.stdout[-4000:]
    ours, committed = generated_part(made.read_text()), generated_part(PAGE.read_text())
    assert ours == committed, f"docs/fidelity.md is out of date; regenerate it with: {REGENERATE}"


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([CHECKED, CHECKED], "number 'TT-04' occurs twice"),
        ([CHECKED, {**LEFT_OUT, "section": "Warm pools"}, SIMPLIFIED], "section 'Target tracking' occurs twice"),
        ([{**CHECKED, "id": "TT4"}], "fact TT4, id"),
        ([{**CHECKED, "confidence": "certain"}], "fact TT-04, confidence"),
        ([{**CHECKED, "claim": "x" * 161}], "fact TT-04, claim"),
        ([{**CHECKED, "treatment": "ignored"}], "fact TT-04, treatment"),
        ([{**CHECKED, "treatment": "simplified", "how": "Two metrics only."}], "expects cost and how"),
        ([{**CHECKED, "treatment": "left out", "cost": "None."}], "expects cost and why"),
        ([{**CHECKED, "cost": "None."}], "expects neither how, why nor cost"),
        ([{**CHECKED, "test": "test_size"}], "fact TT-04, test"),
        ([{"id": "TT-04"}], "fact TT-04, section"),
        ({"TT-04": CHECKED}, "fact None"),
    ],
)
def test_a_malformed_registry_is_refused_with_fact_and_key(tmp_path: Path, rows: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        load_facts(registry(tmp_path, rows))


def test_an_absent_registry_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"facts\.yaml not found"):
        load_facts(tmp_path / "facts.yaml")


def test_marks_and_treatments_may_not_contradict_each_other(tmp_path: Path) -> None:
    facts = load_facts(registry(tmp_path, [CHECKED, SIMPLIFIED, LEFT_OUT]))
    assert contradictions(facts, {"TT-04": ["a::test_a"], "TT-01": ["a::test_b"]}) == []
    (unknown,) = contradictions(facts, {"TT-99": ["a::test_a"]})
    assert "a::test_a" in unknown
    assert "TT-99" in unknown
    (left_out,) = contradictions(facts, {"WP-01": ["a::test_a"]})
    assert "a::test_a" in left_out
    assert "left out" in left_out
    assert [fact.id for fact in pending(facts, {})] == ["TT-04"]
    assert pending(facts, {"TT-04": ["a::test_a"]}) == []


def test_the_tables_show_each_fact_with_its_treatment_and_count_them(tmp_path: Path) -> None:
    facts = load_facts(
        registry(tmp_path, [CHECKED, {**SIMPLIFIED, "confidence": "U"}, {**LEFT_OUT, "claim": "A pool | of some."}])
    )
    text = tables(facts, {"TT-04": ["tests/a.py::test_a"], "TT-01": ["tests/a.py::test_b"]})
    assert "| modelled | 1 | 0 | 0 | 0 | 1 |" in text
    assert "| simplified | 0 | 0 | 0 | 1 | 1 |" in text
    assert "| left out | 1 | 0 | 0 | 0 | 1 |" in text
    assert "| modelled: [`tests/a.py::test_a`](../tests/a.py) | EC2 Auto Scaling user guide |" in text
    assert "Two metrics only. Cost: None.<br>checked: [`tests/a.py::test_b`](../tests/a.py)" in text
    assert "| WP-01 | A pool \\| of some. | V | left out: It is opt-in. Cost: Slower launches. |" in text
    assert "TT-04" not in tables(facts, {})


def test_regenerating_keeps_what_stands_outside_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "fidelity.md"
    write_page(page, "old")
    page.write_text("Figures above.\n\n" + page.read_text() + "\nWords below.\n")
    around = page.read_text().split("old")
    write_page(page, "new")
    assert page.read_text() == "new".join(around)
    assert generated_part(page.read_text()) == "new"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("text", ["nothing", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_its_markers_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "fidelity.md"
    page.write_text(text)
    with pytest.raises(ValueError, match=r"fidelity\.md: expected <!-- facts:begin"):
        write_page(page, "new")
    assert page.read_text() == text


def test_a_small_project_gets_its_page_whatever_is_deselected(tmp_path: Path) -> None:
    page = small_project(tmp_path, [CHECKED, SIMPLIFIED, LEFT_OUT])
    run = collect_small(tmp_path, f"--fidelity-page={page}", "-k", "nothing")
    assert "deselected" in run.stdout
    facts = load_facts(tmp_path / "docs" / "facts.yaml")
    assert generated_part(page.read_text()) == tables(facts, {"TT-04": ["test_rules.py::test_size"]})


def test_a_fact_without_test_or_treatment_fails_the_page(tmp_path: Path) -> None:
    page = small_project(tmp_path, [CHECKED, {**CHECKED, "id": "TT-05", "claim": "It holds at the edge."}])
    run = collect_small(tmp_path, f"--fidelity-page={page}")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "TT-05  It holds at the edge." in run.stderr
    assert "TT-04" not in run.stderr


@pytest.mark.parametrize(
    ("rows", "tests", "complaint"),
    [
        ([CHECKED], TEST_FILE.replace("TT-04", "TT-99"), "test_rules.py::test_size is marked with fact TT-99"),
        ([{**LEFT_OUT, "id": "TT-04"}], TEST_FILE, "test_rules.py::test_size checks fact TT-04"),
        ([CHECKED], TEST_FILE.replace('"TT-04"', ""), "test_rules.py::test_size: expected fact numbers"),
    ],
    ids=["unknown number", "left out", "no number"],
)
def test_a_wrong_mark_stops_any_run_and_no_page_is_made(
    tmp_path: Path, rows: list[dict[str, str]], tests: str, complaint: str
) -> None:
    page = small_project(tmp_path, rows, tests)
    run = collect_small(tmp_path)
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert complaint in run.stdout
    run = collect_small(tmp_path, f"--fidelity-page={page}")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert complaint in run.stdout
    assert not page.exists()


def test_a_malformed_registry_stops_any_run(tmp_path: Path) -> None:
    small_project(tmp_path, [{**CHECKED, "confidence": "X"}])
    run = collect_small(tmp_path)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "fact TT-04, confidence" in run.stderr


def test_a_page_is_never_made_of_some_of_the_tests(tmp_path: Path) -> None:
    page = small_project(tmp_path, [CHECKED])
    assert "needs all tests" in collect_small(tmp_path, f"--fidelity-page={page}", "test_rules.py").stderr
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    assert "needs all tests" in collect_small(tmp_path, f"--fidelity-page={page}").stderr
    assert not page.exists()
