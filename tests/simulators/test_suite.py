"""The frozen suite: what is built today is what was frozen, and what differs is refused by name."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from simulators.patterns import PATTERNS
from simulators.scenario import WARMUP_DAYS
from simulators.scenario_files import load_world, save_world, world_hash
from simulators.suite import (
    SUITES,
    GeneratedEntry,
    ReplayedEntry,
    Suite,
    SuiteError,
    TraceAbsent,
    build,
    draw,
    freeze,
    load_suite,
)
from telemetry.splits import load_splits

NAME = "fleetgym-suite-1"
SUITE = load_suite(NAME)


@pytest.mark.parametrize("entry", SUITE.generated, ids=lambda entry: entry.id)
def test_a_generated_entry_builds_what_was_frozen(entry: GeneratedEntry) -> None:
    world = build(SUITE, entry)
    assert world_hash(world) == entry.hash
    assert world.scenario.last_tick - world.scenario.first_tick == 1440
    assert len(world.market.pool_state) == 1440 * (SUITE.days + WARMUP_DAYS)


@pytest.mark.traces
@pytest.mark.parametrize("entry", SUITE.replayed, ids=lambda entry: entry.id)
def test_a_replayed_entry_builds_what_was_frozen(entry: ReplayedEntry, traces_dir: Path) -> None:
    world = build(SUITE, entry, traces=traces_dir)
    assert (world.scenario.first_tick, world.scenario.last_tick) == (entry.first_tick, entry.last_tick)


def test_the_suite_is_six_patterns_in_three_sizes_and_two_markets() -> None:
    cells = {(entry.pattern, entry.mean_instances, entry.market) for entry in SUITE.generated}
    assert cells == {(p, s, m) for p in PATTERNS for s in (5.0, 20.0, 60.0) for m in ("calm", "hot")}
    assert len(SUITE.generated) == 36
    assert len({entry.market_seed for entry in SUITE.entries}) == len(SUITE.entries)


def test_no_training_or_validation_seed_and_no_training_tick_is_used() -> None:
    splits = load_splits()
    seeds = splits.seed_range("test")
    for entry in SUITE.entries:
        assert entry.market_seed in seeds, entry.id
    for entry in SUITE.generated:
        assert entry.seed in seeds, entry.id
    assert {entry.trace for entry in SUITE.replayed} == set(splits.traces("test"))


@pytest.mark.traces
def test_replayed_windows_lie_in_the_test_part(traces_dir: Path) -> None:
    from telemetry.resample import to_ticks
    from telemetry.trace import load_trace

    for entry in SUITE.replayed:
        length = len(to_ticks(load_trace(traces_dir / f"{entry.trace}.parquet")).values)
        part = load_splits().window(entry.trace, "test", length)
        assert part.start <= entry.first_tick, entry.id
        assert entry.last_tick <= part.stop, entry.id


def test_hot_markets_reclaim_far_more_than_calm_ones() -> None:
    reclaims = {"calm": 0.0, "hot": 0.0}
    for entry in SUITE.generated[:12]:
        reclaims[entry.market] += float((draw(SUITE, entry).market.reclaim > 0).mean())
    assert reclaims["hot"] > 10 * reclaims["calm"]


def test_sizes_are_what_they_say_unless_peaks_would_not_fit() -> None:
    for entry in SUITE.generated[::2]:
        scenario = draw(SUITE, entry).scenario
        mean = scenario.mean_demand_rps / 24.0
        peak = float(np.quantile(scenario.demand_rps, 0.999)) / 24.0
        assert mean == pytest.approx(entry.mean_instances, rel=1e-3) or peak == pytest.approx(90.0, rel=1e-3), entry.id


def test_numbers_keep_sixteen_binary_digits() -> None:
    scenario = draw(SUITE, SUITE.generated[0]).scenario
    for values in (scenario.demand_rps, scenario.annotation.forecast_rps, np.array([scenario.mean_demand_rps])):
        mantissa, _ = np.frexp(np.asarray(values, np.float64))
        np.testing.assert_array_equal(mantissa * 2**16, np.rint(mantissa * 2**16))


def test_a_suite_world_comes_back_from_its_file(tmp_path: Path) -> None:
    entry = SUITE.generated[0]
    save_world(build(SUITE, entry), tmp_path / "world.npz")
    assert world_hash(load_world(tmp_path / "world.npz")) == entry.hash


def test_another_hash_is_refused_by_name() -> None:
    entry = SUITE.generated[0].model_copy(update={"hash": "0" * 64})
    with pytest.raises(SuiteError, match=r"entry 'steady-5-calm' builds [0-9a-f]{64}, expected 0{64}"):
        build(SUITE, entry)


def test_a_seed_more_is_another_world() -> None:
    entry = SUITE.generated[0]
    for key in ("seed", "market_seed"):
        with pytest.raises(SuiteError, match="builds"):
            build(SUITE, entry.model_copy(update={key: getattr(entry, key) + 1}))


def test_an_absent_trace_is_named(tmp_path: Path) -> None:
    entry = SUITE.replayed[0]
    with pytest.raises(TraceAbsent, match=f"{entry.trace}.parquet: the folder of the traces is not given"):
        build(SUITE, entry)
    with pytest.raises(TraceAbsent, match="which does not exist"):
        build(SUITE, entry, traces=tmp_path)
    (tmp_path / f"{entry.trace}.parquet").write_bytes(b"other")
    with pytest.raises(SuiteError, match=f"SHA-256 is [0-9a-f]{{64}}, expected {entry.file_sha256}"):
        build(SUITE, entry, traces=tmp_path)


def small_suite(folder: Path, *, released: bool = False) -> None:
    entry = SUITE.generated[0].model_dump() | {"hash": None}
    content = {"name": "small", "released": released, "days": 1, "generated": [entry], "replayed": []}
    (folder / "small.yaml").write_text(yaml.safe_dump(content))


def test_freezing_writes_the_hash_and_nothing_else(tmp_path: Path) -> None:
    small_suite(tmp_path)
    frozen = freeze("small", traces=None, folder=tmp_path)
    assert frozen.generated[0] == SUITE.generated[0]
    assert load_suite("small", folder=tmp_path) == frozen
    assert os.listdir(tmp_path) == ["small.yaml"]


def test_a_released_suite_is_frozen_only_when_told(tmp_path: Path) -> None:
    small_suite(tmp_path, released=True)
    before = (tmp_path / "small.yaml").read_text()
    with pytest.raises(SuiteError, match="key 'released' is true"):
        freeze("small", traces=None, folder=tmp_path)
    assert (tmp_path / "small.yaml").read_text() == before
    assert freeze("small", traces=None, folder=tmp_path, replace_released=True).generated[0].hash is not None


def test_without_traces_replayed_entries_keep_their_hash(tmp_path: Path) -> None:
    content = {"name": "one", "released": False, "days": 1, "generated": []}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(content | {"replayed": [SUITE.replayed[0].model_dump()]}))
    assert freeze("one", traces=None, folder=tmp_path).replayed == SUITE.replayed[:1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": 0}, "key 'days'"),
        ({"extra": 1}, "key 'extra'"),
        ({"name": "other"}, "key 'name' is 'other', expected 'small'"),
        ({"generated": [{"id": "x"}]}, r"key 'generated\.0\."),
        ({"generated": [SUITE.generated[0].model_dump()] * 2}, "listed twice"),
        ({"replayed": [SUITE.replayed[0].model_dump()]}, "replayed"),
    ],
)
def test_a_wrong_suite_file_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    small_suite(tmp_path)
    content = yaml.safe_load((tmp_path / "small.yaml").read_text()) | change
    if "replayed" in change:
        content["replayed"][0]["last_tick"] = content["replayed"][0]["first_tick"] + 60
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SuiteError, match=rf"small\.yaml: {message}|small\.yaml: .*{message}"):
        load_suite("small", folder=tmp_path)


def test_an_unknown_suite_or_entry_is_named() -> None:
    with pytest.raises(SuiteError, match=f"no such suite; known: .*{NAME}"):
        load_suite("fleetgym-suite-0")
    with pytest.raises(KeyError, match="no entry 'x'; it has steady-5-calm"):
        SUITE["x"]
    assert SUITE["steady-5-calm"] == SUITE.generated[0]
    assert isinstance(SUITE, Suite)
    assert (SUITES / f"{NAME}.yaml").exists()
