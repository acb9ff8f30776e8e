"""What others meet first: the pages that invite them, the workflow that checks them, the citation."""

import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from agents.policies import CheckedPolicy
from agents.rules import load_rules
from envs.settings import TaskSettings
from simulators.records import TELEMETRY

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    "CONTRIBUTING.md",
    "docs/benchmark.md",
    "docs/environment.md",
    "docs/leaderboard.md",
    "docs/scenarios.md",
    ".github/pull_request_template.md",
]
# Keys of the Citation File Format 1.2.0 (its schema allows no others).
CFF_KEYS = {
    "abstract",
    "authors",
    "cff-version",
    "commit",
    "contact",
    "date-released",
    "doi",
    "identifiers",
    "keywords",
    "license",
    "license-url",
    "message",
    "preferred-citation",
    "references",
    "repository",
    "repository-artifact",
    "repository-code",
    "title",
    "type",
    "url",
    "version",
}


def workflow() -> dict[str, object]:
    # YAML reads the key "on" as true.
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())


def commands_of(content: dict[str, object]) -> list[str]:
    jobs = content["jobs"]
    assert isinstance(jobs, dict)
    return [step["run"].strip() for job in jobs.values() for step in job["steps"] if "run" in step]


def test_the_workflow_runs_what_ci_runs_and_nothing_else() -> None:
    assert commands_of(workflow()) == [".ci/run"]
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", script.read_text(), re.MULTILINE)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_workflow_hides_no_failure_and_may_only_read() -> None:
    content = workflow()
    assert content["permissions"] == {"contents": "read"}
    assert set(content[True]) == {"push", "pull_request"}  # type: ignore[index]
    for job in content["jobs"].values():  # type: ignore[attr-defined]
        assert not {"if", "continue-on-error"} & set(job)
        for step in job["steps"]:
            assert not {"if", "continue-on-error"} & set(step)
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), "pinned by commit"


def test_the_workflows_python_is_one_that_the_project_takes() -> None:
    (job,) = workflow()["jobs"].values()  # type: ignore[attr-defined]
    (chosen,) = (step["with"]["python-version"] for step in job["steps"] if "python" in step.get("uses", ""))
    assert isinstance(chosen, str), "3.10 without quotes would be 3.1"
    assert f"Python {chosen}" in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_the_citation_is_valid_and_agrees_with_the_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(citation) <= CFF_KEYS
    assert citation["type"] in ("software", "dataset")
    assert citation["authors"]
    for author in citation["authors"]:
        assert "name" in author or {"family-names", "given-names"} <= set(author)
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert len(set(citation["keywords"])) == len(citation["keywords"]) > 0


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_command_of_a_page_leads_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target
    for script, arguments in re.findall(r"python (scripts/\w+\.py)((?:[^`#\n]|\\\n)*)", text):
        source = (ROOT / script).read_text()
        for option in re.findall(r"--([a-z-]+)", arguments):
            assert re.search(rf"\b{option.replace('-', '_')}\b", source), f"{script} --{option}"
    for name in re.findall(r"`((?:agents|envs|simulators|configs|docs|tests|benchmarks)/[\w/.-]+)`", text):
        assert (ROOT / name).exists(), name
    for dotted in re.findall(r"`((?:agents|envs|simulators)(?:\.\w+)+)", text):
        module, _, attribute = dotted.rpartition(".")
        file = ROOT / (module.replace(".", "/") + ".py")
        assert (ROOT / (dotted.replace(".", "/") + ".py")).exists() or attribute in file.read_text(), dotted


def test_the_pages_policy_is_one() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "benchmark.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "docs/benchmark.md", "exec"), names)
    task = load_rules().task(TaskSettings())
    actions = CheckedPolicy(names["Lazy"](task), task, "mine:Lazy").act(np.zeros(3, TELEMETRY))  # type: ignore[operator]
    assert actions.shape == (3, 4)


def test_the_pages_splits_are_those_of_the_file() -> None:
    text = (ROOT / "docs" / "benchmark.md").read_text()
    splits = yaml.safe_load((ROOT / "configs" / "splits.yaml").read_text())
    for share in (splits["divided"]["train"], splits["divided"]["validate"], splits["operator_history"]):
        assert f"{100 * share:.0f} %" in text
    assert "| five divided traces" in text
    assert len(splits["divided"]["traces"]) == 5
    assert "| four whole traces" in text
    assert len(splits["whole_test_traces"]) == 4
    for split, words in (("train", "patterns steady, diurnal, bursty, ramp"), ("test", "patterns flash crowd, on-off")):
        for pattern in splits["patterns"][split]:
            assert pattern.replace("_", " ") in words.replace("-", " ")
        assert words in text


def test_the_pull_request_form_is_short() -> None:
    text = (ROOT / ".github" / "pull_request_template.md").read_text()
    assert len(text.splitlines()) <= 15
    assert ".ci/run" in text
    assert text.count("- [ ]") >= 4
