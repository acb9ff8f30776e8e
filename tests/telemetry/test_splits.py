from itertools import combinations
from pathlib import Path

import pytest

from telemetry.splits import SPLITS, SPLITS_FILE, load_splits


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SPLITS_FILE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "splits.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_parts_of_a_trace_are_disjoint_and_complete() -> None:
    splits = load_splits()
    for name in splits.divided.traces:
        for length in (1000, 125_310, 8_640):
            parts = [set(range(*splits.window(name, split, length).indices(length))) for split in SPLITS]
            assert sum(len(part) for part in parts) == length
            assert set().union(*parts) == set(range(length))
    assert splits.window("worldcup98_1min", "train", 1000) == slice(0, 700)
    assert splits.window("worldcup98_1min", "validate", 1000) == slice(700, 850)
    assert splits.window("worldcup98_1min", "test", 1000) == slice(850, 1000)


def test_test_traces_are_wholly_test() -> None:
    splits = load_splits()
    assert splits.window("tweets_AMZN_2015_5min", "test", 500) == slice(0, 500)
    for split in ("train", "validate"):
        with pytest.raises(ValueError, match=f"'tweets_AMZN_2015_5min' of 500 ticks has no {split} part"):
            splits.window("tweets_AMZN_2015_5min", split, 500)
    assert not set(splits.whole_test_traces) & set(splits.traces("train") + splits.traces("validate"))
    assert len(splits.traces("test")) == 9


def test_an_unlisted_trace_is_an_operators() -> None:
    splits = load_splits()
    assert splits.window("my_service", "train", 1000) == slice(0, 700)
    assert splits.window("my_service", "test", 1000) == slice(700, 1000)
    with pytest.raises(ValueError, match="no validate part"):
        splits.window("my_service", "validate", 1000)


def test_seeds_and_patterns_of_two_splits_never_meet() -> None:
    splits = load_splits()
    for one, other in combinations(SPLITS, 2):
        first, second = splits.seed_range(one), splits.seed_range(other)
        assert first.stop <= second.start or second.stop <= first.start
        assert not set(splits.patterns.of(one)) & set(splits.patterns.of(other))
    assert splits.patterns.of("test") == ("flash_crowd", "on_off")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "test: [2_000_000, 3_000_000]",
            "test: [1_999_999, 3_000_000]",
            "seeds of validate and test overlap",
        ),
        ("test: [2_000_000, 3_000_000]", "test: [2_000_000, 2_000_000]", "is empty"),
        ("test: [flash_crowd, on_off]", "test: [flash_crowd, ramp]", "pattern 'ramp' is listed twice"),
        (
            "    - surf_lisa_jobs_2022_5min",
            "    - tweets_AMZN_2015_5min",
            "'tweets_AMZN_2015_5min' is listed twice",
        ),
        ("validate: 0.15", "validate: 0.30", "leave nothing to test"),
        ("operator_history", "operator_share", "operator_"),
        ("train: 0.70", "train: most", r"key 'divided.train'.*got 'most'"),
    ],
)
def test_a_split_file_that_mixes_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_splits(changed(tmp_path, old, new))
    assert "splits.yaml" in str(caught.value)
