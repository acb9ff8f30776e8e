import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "scripts").glob("*.py")
    if path.stem not in ("__init__", "command") and "typer.run" in path.read_text()
)


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for group in (project["dependencies"], *extras.values()) for text in group]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {name.lower().replace("_", "-"): found for name, found in pairs}


def test_every_direct_dependency_has_both_bounds() -> None:
    for requirement in requirements():
        operators = {item.operator for item in requirement.specifier}
        assert operators >= {">=", "<"}, requirement


def test_constraints_lie_inside_the_bounds_and_are_what_is_installed() -> None:
    versions = pinned()
    assert versions["torch"] == "2.13.0"
    for requirement in requirements():
        name = requirement.name.lower().replace("_", "-")
        if name in ("boto3", "ray"):
            continue
        assert name in versions, f"{name} is not pinned in constraints.txt"
        assert versions[name] in requirement.specifier, requirement
        assert version(name).partition("+")[0] == versions[name], f"{name}: installed {version(name)}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_to_import_and_says_what_the_command_does(command: str) -> None:
    program = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: print('torch' in sys.modules, stop.code, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(ROOT / "scripts" / f"{command}.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.stderr.strip() == "False 0", result.stderr
    assert "--help" in result.stdout


def config_models() -> dict[str, type[BaseModel]]:
    from agents.ablation import Rows
    from agents.experiment import TrainSettings
    from agents.rules import RuleBook, TraceBooks
    from agents.tuning import TuneSettings
    from agents.variations import VariationTable
    from envs.settings import EnvSettings
    from scripts.calibrate import CalibrationSettings
    from simulators.suite import Suite
    from telemetry.forecast_series import SeriesList
    from telemetry.splits import Splits

    return {
        "ablations": Rows,
        "ablations_variants": Rows,
        "calibrate": CalibrationSettings,
        "calibration": RuleBook,
        "env": EnvSettings,
        "forecast_series": SeriesList,
        "influence": VariationTable,
        "rules": RuleBook,
        "rules_per_trace": TraceBooks,
        "rules_untuned": RuleBook,
        "splits": Splits,
        "suite": Suite,
        "train": TrainSettings,
        "tune": TuneSettings,
    }


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_file_loads(path: Path) -> None:
    kind = path.parent.name if path.parent.name != "configs" else path.stem
    config_models()[kind].model_validate(yaml.safe_load(path.read_text()))


def test_every_shipped_workload_model_loads() -> None:
    from envs.worlds import load_named_workload, shipped_workloads

    names = shipped_workloads()
    assert len(names) == 5
    for name in names:
        assert load_named_workload(name).name == name


def test_a_foreign_package_of_the_same_name_stops_start_up_with_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "agents"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    result = subprocess.run(
        [sys.executable, "-c", "import scripts.command"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "'agents'" in result.stderr
    assert str(foreign) in result.stderr


def test_modules_stay_small() -> None:
    for floor in ("scripts", "advisory", "agents", "envs", "simulators", "forecasting", "telemetry"):
        for path in (ROOT / floor).glob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 500, f"{path}: {lines} lines"


def test_the_readme_names_commands_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    for script in set(re.findall(r"scripts/(\w+)\.py", text)):
        assert (ROOT / "scripts" / f"{script}.py").exists(), script
    for page in set(re.findall(r"\]\((docs/[\w/.-]+)\)", text)):
        assert (ROOT / page).exists(), page
