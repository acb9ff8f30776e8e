"""The cache of annotations: the same bits, a name that depends on every input, and no trouble from bad files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forecasting import tape_cache
from forecasting.annotate import Annotation, annotate
from forecasting.demand.events import KnownEvent
from forecasting.tape_cache import annotations_folder, cached_annotation, tape_key

FIELDS = ("forecast_rps", "available", "anomaly_score")
SETTINGS = {"tick_s": 60, "ticks_per_row": 5, "delay_ticks": 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    return tmp_path / "fleetgym" / "annotations"


def demand(days: int = 2) -> np.ndarray:
    values = 50.0 + 20.0 * np.sin(np.arange(days * 1440) / 230.0)
    values[300:310] = np.nan
    return values


def same(left: Annotation, right: Annotation) -> bool:
    pairs = [(getattr(left, name), getattr(right, name)) for name in FIELDS]
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def refuse(*_: object, **__: object) -> Annotation:
    raise AssertionError("computed although it is in the cache")


def test_the_bits_are_the_same_and_the_second_time_nothing_is_computed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = annotate(demand())
    assert same(cached_annotation(demand()), direct)
    (file,) = folder.iterdir()
    assert file.suffix == ".npz"
    monkeypatch.setattr(tape_cache, "annotate", refuse)
    assert same(cached_annotation(demand()), direct)
    with pytest.raises(AssertionError, match="computed although"):
        cached_annotation(demand() + 1.0)


def test_a_short_tape_leaves_no_file(folder: Path) -> None:
    assert same(cached_annotation(demand()[:-1]), annotate(demand()[:-1]))
    assert not folder.exists()


def test_every_input_changes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, other = demand(), demand()
    other[-1] = np.nextafter(other[-1], 0.0)
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"other weights")
    event = KnownEvent("sale", 1, 2, 3, 2.0)
    names = [
        tape_key(values, **SETTINGS),
        tape_key(other, **SETTINGS),
        tape_key(values[:-1], **SETTINGS),
        *(tape_key(values, **(SETTINGS | {name: value + 1})) for name, value in SETTINGS.items()),
        tape_key(values, **SETTINGS, events=[event]),
        tape_key(values, **SETTINGS, events=[KnownEvent("sale", 1, 2, 3, 2.5)]),
        tape_key(values, **SETTINGS, weights=weights),
    ]
    monkeypatch.setattr(tape_cache, "source_digest", lambda floor: f"other sources of {floor}")
    names.append(tape_key(values, **SETTINGS))
    assert len(set(names)) == len(names)
    assert tape_key(demand(), **SETTINGS) == names[-1]


def test_every_source_that_an_annotation_runs_counts_in_the_name() -> None:
    plain = {"forecasting", "forecasting.base", "forecasting.anomaly", "forecasting.demand", "forecasting.metrics"}
    plain |= {"forecasting.metrics.forecast", "forecasting.shipped"}
    script = "import sys, forecasting.annotate; print(*(m for m in sys.modules if m.startswith('forecasting')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "forecasting.annotate" in loaded
    for name in sorted(set(loaded) - plain):
        source = Path(sys.modules[name].__file__ or "").read_text()
        assert "compiled" in source, name


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "shape", "empty"])
def test_a_damaged_file_is_replaced_with_a_note(folder: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    direct = cached_annotation(demand())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    if damage == "shape":
        np.savez(file, **{name: getattr(direct, name)[:-1] for name in FIELDS})
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        file.write_bytes({"cut": whole[:middle], "flipped": flipped, "text": b"hello", "empty": b""}[damage])
    assert same(cached_annotation(demand()), direct)
    assert "computed again" in capsys.readouterr().err
    assert same(cached_annotation(demand()), direct)
    assert capsys.readouterr().err == ""
    assert [item.name for item in folder.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_made_or_written_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path / "file"))
    direct = annotate(demand())
    assert same(cached_annotation(demand()), direct)
    monkeypatch.setenv("FLEETGYM_CACHE", str(tmp_path))
    folder = annotations_folder()
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    try:
        assert same(cached_annotation(demand()), direct)
    finally:
        folder.chmod(0o700)
    assert not list(folder.glob("*.part"))


def test_the_oldest_files_go_beyond_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape_cache, "MOST_FILES", 2)
    folder.mkdir(parents=True)
    for age, name in enumerate(("old", "older")):
        (folder / f"{name}.npz").write_bytes(b"")
        os.utime(folder / f"{name}.npz", (1000 - age, 1000 - age))
    cached_annotation(demand())
    names = {item.name for item in folder.iterdir()}
    assert "old.npz" in names
    assert "older.npz" not in names
    assert len(names) == 2
