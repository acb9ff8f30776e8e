import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("scripts", "advisory", "agents", "envs", "simulators", "forecasting", "telemetry")


def run_linter(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(program), "--no-cache"], cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": str(folder)}
    )


def copy_house(folder: Path) -> None:
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, folder / floor, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def test_no_floor_imports_one_above_it(tmp_path: Path) -> None:
    copy_house(tmp_path)
    result = run_linter(tmp_path)
    assert result.returncode == 0, result.stdout


def test_a_planted_upward_import_is_caught(tmp_path: Path) -> None:
    copy_house(tmp_path)
    with (tmp_path / "simulators" / "market.py").open("a") as file:
        file.write("\nfrom envs.settings import TaskSettings  # planted\n")
    result = run_linter(tmp_path)
    assert result.returncode != 0
    assert "simulators.market -> envs.settings" in result.stdout


def test_the_contract_names_every_floor_in_order() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert "layers = [" + ", ".join(f'"{floor}"' for floor in FLOORS) + "]" in text
