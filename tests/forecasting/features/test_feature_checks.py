"""The validator finds each planted fault and names column, row and value; the transformer learns from training only."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feature_observations import observations

from forecasting.features.batch import feature_table
from forecasting.features.definitions import features_of
from forecasting.features.infrastructure import CATEGORIES
from forecasting.features.stream import FeatureStream
from forecasting.features.transformer import fit_transformer, load_transformer
from forecasting.features.validator import (
    check_features,
    check_observations,
    feature_problems,
    observation_problems,
    stamp_seconds,
)


def world(**options: float) -> pd.DataFrame:
    return observations(step_s=900, days=3, **options)


def with_cell(column: str, row: int, value: object) -> pd.DataFrame:
    table = world(left_out=0.0)
    table[column] = table[column].astype(object) if isinstance(value, str) else table[column]
    table.loc[row, column] = value
    return table


def moved(table: pd.DataFrame, row: int, seconds: int) -> pd.DataFrame:
    table.loc[row, "timestamp"] += pd.Timedelta(seconds=seconds)
    return table


def test_a_good_table_has_no_problem() -> None:
    assert list(observation_problems(world(), step_s=900)) == []
    check_observations(world()[["timestamp", "network_io"]], step_s=900)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            with_cell("cpu_utilization", 7, 73.0),
            r"'cpu_utilization', row 7: 73 looks like a percentage; expected a share",
        ),
        (with_cell("network_io", 9, -2.0), r"'network_io', row 9: -2 is out of range"),
        (with_cell("network_io", 9, np.inf), r"'network_io', row 9: inf is out of range"),
        (with_cell("error_rate", 3, "high"), r"'error_rate', row 3: expected numbers, column is object \(got 'high'\)"),
        (with_cell("instance_type", 4, "huge"), r"'instance_type', row 4: instance_type 'huge' is not"),
        (with_cell("availability_zone", 5, "eu-central-1"), r"'availability_zone', row 5"),
        (world().assign(cpu_util=0.5), r"'cpu_util': is not a known column"),
        (world().drop(columns="timestamp"), r"'timestamp': is not in the table"),
        (world().assign(timestamp=range(len(world()))), r"'timestamp': expected times with a time zone \(got int64\)"),
        (world().assign(timestamp=world()["timestamp"].dt.tz_localize(None)), r"expected times with a time zone"),
        (with_cell("timestamp", 6, pd.NaT), r"'timestamp', row 6: is missing"),
        (moved(world(left_out=0.0), 8, -900), r"'timestamp', row 8: repeats the time of the row above \(1 such rows\)"),
        (moved(world(left_out=0.0), 8, -1800), r"'timestamp', row 8: goes back in time"),
        (moved(world(left_out=0.0), 8, 100), r"'timestamp', row 8: is not whole steps of 900 s .*\(2 such rows\)"),
        (
            world().assign(timestamp=world()["timestamp"] + pd.Timedelta(days=365 * 90)),
            r"row 0: lies outside 1970..2100; is its unit right\?",
        ),
    ],
)
def test_planted_faults_are_named(table: pd.DataFrame, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        feature_table(table, step_s=900)


def test_several_problems_are_counted_and_all_listed() -> None:
    table = with_cell("cpu_utilization", 7, 73.0).assign(extra=1.0)
    table.loc[3, "network_io"] = -1.0
    assert len(list(observation_problems(table, step_s=900))) == 3
    with pytest.raises(ValueError, match=r"'extra': is not a known column \(and 2 more\)"):
        check_observations(table, step_s=900)


def test_missing_share_counts_rows_that_were_left_out() -> None:
    table = world(missing=0.0, left_out=0.0)
    thin = table[::2].reset_index(drop=True)
    (problem, *others) = observation_problems(thin, step_s=900, largest_missing_share=0.4)
    assert problem.column == "cpu_utilization"
    assert "49.8% of 287 steps are missing; at most 40.0% may be" in problem.what
    assert len(others) == 9
    assert list(observation_problems(thin, step_s=900, largest_missing_share=0.5)) == []


def test_staleness_is_the_age_of_the_newest_row() -> None:
    table = world(left_out=0.0)
    newest = table["timestamp"].iloc[-1]
    for age, count in ((3600, 0), (3601, 1)):
        now = newest + pd.Timedelta(seconds=age)
        problems = list(observation_problems(table, step_s=900, now=now, oldest_s=3600))
        assert len(problems) == count
    assert "is 3601 s old" in str(problems[0])
    assert "row 287" in str(problems[0])


def test_features_out_of_range_or_absent_are_named() -> None:
    table = feature_table(world(), step_s=900)
    check_features(table)
    with pytest.raises(ValueError, match="'cpu_memory_ratio', row 4: -1 is out of range"):
        check_features(table.assign(cpu_memory_ratio=np.where(table.index == 4, -1.0, table["cpu_memory_ratio"])))
    with pytest.raises(ValueError, match="'hour_of_day': is not in the table"):
        check_features(table.drop(columns="hour_of_day"))
    with pytest.raises(ValueError, match=r"steps are missing; at most 1\.0% may be"):
        check_features(table, largest_missing_share=0.01)
    small = features_of("network_io")
    assert list(feature_problems(feature_table(world(), step_s=900, features=small), features=small)) == []


def test_stamps_of_any_zone_and_resolution_are_utc_seconds() -> None:
    stamps = pd.Series(pd.to_datetime(["2025-03-30 00:30", "2025-03-30 02:30"]).tz_localize("UTC"))
    for unit in ("s", "ms", "us", "ns"):
        for zone in ("UTC", "Europe/Berlin"):
            converted = stamps.dt.as_unit(unit).dt.tz_convert(zone)
            assert stamp_seconds(converted).tolist() == [1_743_294_600, 1_743_301_800]


def test_an_empty_table_has_no_features_and_no_error() -> None:
    found = feature_table(world()[:0], step_s=900)
    assert len(found) == 0
    assert set(CATEGORIES) <= set(found.columns)


def test_encoded_features_have_no_gaps_and_a_sane_size() -> None:
    table = feature_table(observations(step_s=900, days=4, outlier=True), step_s=900)
    transformer = fit_transformer(table[:200], categories=CATEGORIES)
    encoded = transformer.transform(table)
    assert list(encoded.columns) == list(transformer.columns)
    assert np.isfinite(encoded.to_numpy()).all()
    assert np.abs(encoded.to_numpy()).max() <= 10.0
    cpu = table["cpu_utilization_mean_24h"][:200].dropna()
    spread = (cpu.quantile(0.75) - cpu.quantile(0.25)) / 1.349
    wanted = (table["cpu_utilization_mean_24h"] - cpu.median()) / spread
    np.testing.assert_allclose(encoded["cpu_utilization_mean_24h"], wanted.clip(-10, 10).fillna(0.0), atol=1e-12)
    assert encoded["cpu_utilization_mean_24h_is_missing"].tolist() == table["cpu_utilization_mean_24h"].isna().tolist()


def test_the_encoding_depends_on_the_training_part_only() -> None:
    table = feature_table(world(), step_s=900)
    changed = table.copy()
    changed.loc[200:, "network_io_avg"] = 1e12
    changed.loc[200:, "instance_type"] = "x2idn.metal"
    first, second = (fit_transformer(each[:200], categories=CATEGORIES) for each in (table, changed))
    assert first == second
    assert first != fit_transformer(changed, categories=CATEGORIES)


def test_unseen_and_unknown_categories_are_zeros() -> None:
    table = pd.DataFrame({"load": [1.0, 2.0, 3.0], "kind": ["b", "a", "unknown"]})
    transformer = fit_transformer(table, categories=["kind"])
    assert transformer.columns == ("load", "kind=a", "kind=b")
    encoded = transformer.transform(pd.DataFrame({"load": [2.0] * 4, "kind": ["a", "c", None, "unknown"]}))
    assert encoded[["kind=a", "kind=b"]].to_numpy().tolist() == [[1, 0], [0, 0], [0, 0], [0, 0]]


def test_constant_and_unknown_columns_are_harmless() -> None:
    table = pd.DataFrame({"flat": [5.0] * 8, "rare": [0.0] * 7 + [4.0], "gone": [np.nan] * 8})
    transformer = fit_transformer(table)
    assert transformer.transform(table)["flat"].tolist() == [0.0] * 8
    assert transformer.transform(table)["gone"].tolist() == [0.0] * 8
    assert transformer.transform(table)["gone_is_missing"].tolist() == [1.0] * 8
    assert transformer.transform(table)["rare"].iloc[-1] == pytest.approx(4.0 / np.std([0] * 7 + [4]))


@pytest.mark.slow
def test_one_row_of_the_stream_is_encoded_like_the_batch() -> None:
    table = world()
    features = feature_table(table, step_s=900)
    transformer = fit_transformer(features[:200], categories=CATEGORIES)
    encoded = transformer.transform(features).to_numpy()
    stream = FeatureStream(step_s=900)
    for row, (second, observation) in enumerate(
        zip(stamp_seconds(table["timestamp"]).tolist(), table.drop(columns="timestamp").to_dict("records"), strict=True)
    ):
        one = transformer.transform_one(stream.update(second, observation))
        np.testing.assert_allclose(one, encoded[row], rtol=1e-9, atol=1e-9)


def test_a_saved_encoding_is_the_same_and_plain_json(tmp_path: Path) -> None:
    features = feature_table(world(), step_s=900)
    transformer = fit_transformer(features[:200], categories=CATEGORIES)
    path = tmp_path / "encoding.json"
    transformer.save(path)
    again = load_transformer(path)
    assert again == transformer
    pd.testing.assert_frame_equal(again.transform(features), transformer.transform(features), check_exact=True)
    content = json.loads(path.read_text())
    for broken in ("{", "{}", json.dumps({**content, "numbers": [{"name": "x"}]}), json.dumps([1])):
        path.write_text(broken)
        with pytest.raises(ValueError, match=r"encoding\.json: not a feature encoding"):
            load_transformer(path)
    path.write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        load_transformer(path)
    content["numbers"][0]["spread"] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"spread 0\.0"):
        load_transformer(path)


def test_what_cannot_be_encoded_is_refused() -> None:
    table = pd.DataFrame({"load": [1.0, 2.0], "kind": ["a", "b"]})
    with pytest.raises(ValueError, match="no rows"):
        fit_transformer(table[:0])
    with pytest.raises(ValueError, match="'kind': expected numbers"):
        fit_transformer(table)
    with pytest.raises(ValueError, match="'place' is not in the table"):
        fit_transformer(table, categories=["place"])
    with pytest.raises(ValueError, match="'load', row 1: inf"):
        fit_transformer(table.assign(load=[1.0, np.inf]), categories=["kind"])
    transformer = fit_transformer(table, categories=["kind"])
    with pytest.raises(ValueError, match="'load' is not in the table"):
        transformer.transform(table[["kind"]])
    with pytest.raises(ValueError, match="'kind' is absent"):
        transformer.transform_one({"load": 1.0})
