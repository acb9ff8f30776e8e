"""How a result was made: package versions, source commit, and files that are whole or absent."""

import io
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_ROOT = Path(__file__).resolve().parent.parent
RECORD_FILE: Final = "record.json"
_PACKAGES: Final = (
    "fleetgym",
    "gymnasium",
    "lightgbm",
    "numba",
    "numpy",
    "onnxruntime",
    "optuna",
    "pyarrow",
    "scipy",
    "stable-baselines3",
    "statsforecast",
    "torch",
)


def versions() -> dict[str, str]:
    """Return the versions a result depends on; "not installed" for a missing package."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_commit() -> str | None:
    """Return the commit of the source tree, or None outside a repository."""
    command = ["git", "-C", str(_ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Return what the processor of this machine calls itself."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by a temporary file and a rename, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file as :func:`write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as a compressed ``.npz`` file without pickle, as :func:`write_bytes` does."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Write JSON by a temporary file and a rename, making its folder."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_record(folder: Path, *, config: dict[str, Any], seed: int | None) -> None:
    """Write ``record.json`` beside a result: resolved configuration, seed, versions and commit."""
    content = {"config": config, "seed": seed, "versions": versions(), "git_commit": git_commit()}
    write_json(folder / RECORD_FILE, content)
