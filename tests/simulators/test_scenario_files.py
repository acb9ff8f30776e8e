"""World files: what is written comes back bit by bit, and what was tampered with does not come back at all."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators import scenario_files
from simulators.physics import Physics, WorldSettings
from simulators.scenario import Scenario
from simulators.scenario_files import World, WorldFileError, load_world, save_world, world_bank, world_hash
from simulators.toy import toy_catalogue, toy_world


@pytest.fixture(scope="module")
def world() -> World:
    return toy_world()


@pytest.fixture
def path(world: World, tmp_path: Path) -> Path:
    save_world(world, tmp_path / "toy.npz")
    return tmp_path / "toy.npz"


def assert_same(first: Any, second: Any, name: str = "world") -> None:
    assert type(first) is type(second), name
    if is_dataclass(first):
        for item in fields(first):
            assert_same(getattr(first, item.name), getattr(second, item.name), f"{name}.{item.name}")
    elif isinstance(first, np.ndarray):
        assert first.dtype == second.dtype, name
        assert first.shape == second.shape, name
        assert first.tobytes() == second.tobytes(), name
    else:
        assert first == second, name


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Change members of the file, with a sound checksum of the zip itself."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def rewrite_index(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def within(members: dict[str, bytes]) -> None:
        index = json.loads(members["world.json"])
        change(index)
        members["world.json"] = json.dumps(index).encode()

    rewrite(path, within)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def test_a_world_comes_back_bit_by_bit(world: World, path: Path) -> None:
    found = load_world(path)
    assert_same(found, world)
    assert world_hash(found) == world_hash(world)
    assert [item.name for item in path.parent.iterdir()] == ["toy.npz"]


def test_odd_numbers_survive(world: World, tmp_path: Path) -> None:
    odd = world.scenario.demand_rps.copy()
    odd[:4] = (np.nan, np.inf, -0.0, 1e-45)
    scenario = replace(world.scenario, demand_rps=odd, mean_demand_rps=0.1 + 0.2)
    strange = replace(world, scenario=scenario, settings=WorldSettings(physics=Physics(boot_sigma=1 / 3)))
    save_world(strange, tmp_path / "odd.npz")
    assert_same(load_world(tmp_path / "odd.npz"), strange)


def test_equal_worlds_give_equal_files_and_numpy_opens_them(world: World, path: Path, tmp_path: Path) -> None:
    save_world(world, tmp_path / "again.npz")
    assert path.read_bytes() == (tmp_path / "again.npz").read_bytes()
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["scenario.demand_rps"], world.scenario.demand_rps)


def test_the_hash_does_not_depend_on_the_layout_in_memory(world: World) -> None:
    prices = world.market.spot_usd_per_s
    turned = replace(world.market, spot_usd_per_s=np.asfortranarray(prices).astype(">f4"))
    assert world_hash(replace(world, market=turned)) == world_hash(world)


@pytest.mark.parametrize("part", ["scenario", "market"])
def test_every_field_counts_in_the_hash(world: World, part: str) -> None:
    tape = getattr(world, part)
    seen = {world_hash(world)}
    for item in fields(tape):
        value = getattr(tape, item.name)
        if isinstance(value, np.ndarray):
            changed = value.copy()
            changed.flat[-1] = not changed.flat[-1] if changed.dtype == bool else np.nan_to_num(changed.flat[-1]) + 1
        elif isinstance(value, str):
            changed = "other"
        elif isinstance(value, (int, float)):
            changed = value + 1
        else:
            continue
        seen.add(world_hash(replace(world, **{part: replace(tape, **{item.name: changed})})))
        assert len(seen) > 1
    arrays_and_scalars = [f for f in fields(tape) if isinstance(getattr(tape, f.name), (np.ndarray, str, int, float))]
    assert len(seen) == 1 + len(arrays_and_scalars)


def test_types_and_settings_count_in_the_hash(world: World) -> None:
    hashes = {
        world_hash(world),
        world_hash(replace(world, types=("m6a.large",))),
        world_hash(replace(world, settings=WorldSettings())),
    }
    assert len(hashes) == 3


@dataclass(frozen=True)
class _Label:
    kind: str
    parameters: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class _RicherScenario(Scenario):
    new_series: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    new_labels: tuple[_Label, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class _RicherWorld(World):
    scenario: _RicherScenario


def test_fields_added_to_a_tape_are_carried(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_files, "World", _RicherWorld)
    plain = {item.name: getattr(world.scenario, item.name) for item in fields(Scenario)}
    added = {
        "new_series": np.linspace(0, 1, 55, dtype=np.float32),
        "new_labels": (_Label("flash_crowd", (("height", 3.5), ("hours", 1.0))), _Label("bad_deploy")),
    }
    scenario = _RicherScenario(**{**plain, **added})
    rich = _RicherWorld(scenario=scenario, market=world.market, settings=world.settings, types=world.types)
    save_world(rich, tmp_path / "rich.npz")
    assert_same(load_world(tmp_path / "rich.npz"), rich)


def test_another_version_is_refused(path: Path) -> None:
    rewrite_index(path, lambda index: index.update(version=99))
    with pytest.raises(WorldFileError, match=r"toy\.npz: key 'version' is 99, expected 1"):
        load_world(path)


def test_a_foreign_format_is_refused(path: Path) -> None:
    rewrite_index(path, lambda index: index.update(format="other"))
    with pytest.raises(WorldFileError, match="key 'format' is 'other', expected 'fleetgym-world'"):
        load_world(path)


def test_a_changed_number_is_found(world: World, path: Path) -> None:
    demand = world.scenario.demand_rps.copy()
    demand[7] = np.nextafter(demand[7], np.float32(np.inf))
    rewrite(path, lambda members: members.update({"scenario.demand_rps.npy": npy(demand)}))
    with pytest.raises(WorldFileError, match=r"toy\.npz: key 'hash' is '[0-9a-f]{64}', but the content gives"):
        load_world(path)


def test_a_changed_setting_is_found(path: Path) -> None:
    rewrite_index(path, lambda index: index["world"]["settings"]["physics"].update(drain_s=1))
    with pytest.raises(WorldFileError, match="key 'hash'"):
        load_world(path)


def test_a_missing_array_is_named(path: Path) -> None:
    rewrite(path, lambda members: members.pop("market.reclaim.npy") and None)
    with pytest.raises(WorldFileError, match=r"array 'market\.reclaim' is missing, expected .*u1"):
        load_world(path)


def test_an_array_of_another_shape_is_named(path: Path) -> None:
    rewrite(path, lambda members: members.update({"scenario.work_scale.npy": npy(np.ones(3, np.float32))}))
    with pytest.raises(WorldFileError, match=r"array 'scenario\.work_scale' is .*\[3\].*, expected .*\[55\]"):
        load_world(path)


def rehash(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the index and make its hash right again: what a well-meaning tool of another age would write."""

    def within(index: dict[str, Any]) -> None:
        change(index)
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in index["arrays"]}
        index["hash"] = scenario_files._content_hash(index["world"], arrays)

    rewrite_index(path, within)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda world: world["scenario"].pop("first_tick"), r"key 'scenario\.first_tick' is missing"),
        (lambda world: world["scenario"].update(extra=1), r"key 'scenario\.extra' is unknown; expected name, demand"),
        (lambda world: world["scenario"].update(first_tick="x"), r"key 'scenario\.first_tick' is 'x', expected int"),
        (lambda world: world["scenario"].update(kind="x"), r"key 'scenario\.kind' is 'x', expected"),
        (lambda world: world["scenario"].update(work_scale=1), r"array 'scenario\.work_scale' is missing"),
        (lambda world: world["settings"]["workload"].update(cv2=99), r"key 'settings\.workload\.cv2': .*got 99"),
        (lambda world: world.update(types="m6i"), r"key 'types' is 'm6i', expected tuple"),
        (lambda world: world["scenario"].update(scored={"array": "scenario.demand_rps"}), "array 'scenario.scored'"),
    ],
)
def test_a_field_that_does_not_fit_is_named(path: Path, change: Callable[[Any], None], message: str) -> None:
    rehash(path, lambda index: change(index["world"]))
    with pytest.raises(WorldFileError, match=rf"toy\.npz: {message}"):
        load_world(path)


def test_an_array_of_another_kind_is_named(world: World, path: Path, tmp_path: Path) -> None:
    wrong = replace(world.scenario, demand_rps=world.scenario.demand_rps.astype(np.float64))
    save_world(replace(world, scenario=wrong), tmp_path / "wide.npz")
    with pytest.raises(WorldFileError, match=r"array 'scenario\.demand_rps' is float64, expected float32"):
        load_world(tmp_path / "wide.npz")


@pytest.mark.parametrize("keep", [0, 40, 2000])
def test_a_file_cut_short_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WorldFileError, match=r"toy\.npz: damaged, or not a world file"):
        load_world(path)


def test_flipped_bits_are_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(WorldFileError, match=r"toy\.npz"):
        load_world(path)


def test_a_pickle_inside_is_not_opened(path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    rewrite(path, lambda members: members.update({"scenario.work_scale.npy": content.getvalue()}))
    with pytest.raises(WorldFileError, match=r"scenario\.work_scale"):
        load_world(path)


def test_a_bank_needs_the_types_of_the_tape(world: World) -> None:
    assert len(world_bank(world, toy_catalogue()).worlds) == 1
    message = r"the world's types are \['c6a.large'\]; the catalogue's are \['m6i.large'\]"
    with pytest.raises(ValueError, match=message):
        world_bank(replace(world, types=("c6a.large",)), toy_catalogue())


def test_what_cannot_be_stored_is_refused_and_leaves_no_file(world: World, tmp_path: Path) -> None:
    wrong = replace(world, scenario=replace(world.scenario, name={"a"}))
    with pytest.raises(TypeError, match=r"scenario\.name: a set cannot be stored"):
        save_world(wrong, tmp_path / "wrong.npz")
    assert list(tmp_path.iterdir()) == []
