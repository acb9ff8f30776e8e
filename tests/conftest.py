import os
from pathlib import Path

import pytest

pytest_plugins = ["fact_marks"]


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    """Folder of the real demand traces, or a skip that says what is missing."""
    root = Path(os.environ.get("FLEETGYM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    folder = root / "demand"
    if not (folder / "worldcup98_1min.parquet").exists():
        pytest.skip(f"real traces not found in {folder}; set FLEETGYM_DATA to the folder that holds demand/")
    return folder
