"""Features: what they are by independent formulae, the seed's own among them, and equal in batch and stream."""

import math

import numpy as np
import pandas as pd
import pytest
from feature_observations import SPRING_DST_S, observations
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.features.batch import feature_table
from forecasting.features.definitions import FEATURES, Combination, Feature, Lag, Window, features_of
from forecasting.features.infrastructure import categories
from forecasting.features.local_time import CALENDAR, ServicePlace
from forecasting.features.observations import METRICS
from forecasting.features.plan import make_plan
from forecasting.features.stream import FeatureStream
from forecasting.features.validator import feature_problems

BERLIN = ServicePlace("Europe/Berlin", "DE")
NAMED_BY_THE_SEED = {
    *("hour_of_day", "day_of_week", "month", "quarter", "is_weekend", "is_business_hour", "days_since_epoch"),
    *("week_of_year", "is_holiday", "hour_of_day_sin", "hour_of_day_cos", "day_of_week_sin", "day_of_week_cos"),
    *("month_sin", "month_cos", "cpu_utilization_avg", "memory_utilization_avg", "network_io_avg", "storage_io_avg"),
    *("request_count", "error_rate", "hourly_cost", "daily_cost_trend", "cost_per_request", "cost_per_user"),
    *("cost_efficiency_score", "instance_type", "instance_family", "availability_zone", "region"),
    *("spot_vs_ondemand", "reserved_capacity", "cpu_memory_ratio", "resource_efficiency"),
    *(
        f"{metric}_{what}"
        for metric in ("cpu_utilization", "memory_utilization", "network_io")
        for what in ("mean_24h", "std_24h", "min_24h", "max_24h", "percentile_95_24h", "trend_6h", "volatility_24h")
    ),
}


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    """Demand the same gaps, and values equal to 1e-9."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def streamed(table: pd.DataFrame, *, step_s: int, place: ServicePlace) -> pd.DataFrame:
    stream = FeatureStream(step_s=step_s, place=place)
    seconds = table["timestamp"].astype("datetime64[s, UTC]").astype("int64").tolist()
    rows = table.drop(columns="timestamp").to_dict("records")
    return pd.DataFrame([stream.update(second, row) for second, row in zip(seconds, rows, strict=True)])


def test_every_feature_that_the_seed_names_is_there() -> None:
    found = feature_table(observations(step_s=3600), step_s=3600)
    assert set(found.columns) >= NAMED_BY_THE_SEED
    assert {f"requests_per_second_lag_{hours}h" for hours in (1, 24, 168)} <= set(found.columns)
    assert {"requests_per_second_mean_6h", "requests_per_second_std_24h"} <= set(found.columns)
    assert list(feature_problems(found)) == []


def test_at_hourly_steps_without_gaps_the_seeds_own_formulae_hold() -> None:
    table = observations(step_s=3600, days=5, missing=0.0, left_out=0.0)
    found = feature_table(table, step_s=3600)
    full = slice(23, None)
    for metric in ("cpu_utilization", "memory_utilization", "network_io"):
        day = table[metric].rolling(24)
        wanted = {
            "mean": day.mean(),
            "std": day.std(),
            "min": day.min(),
            "max": day.max(),
            "percentile_95": day.quantile(0.95),
            "volatility": day.std() / day.mean(),
        }
        for name, values in wanted.items():
            close(found[f"{metric}_{name}_24h"].to_numpy()[full], values.to_numpy()[full])
        slopes = [np.polyfit(np.arange(6), table[metric].to_numpy()[at - 5 : at + 1], 1)[0] for at in range(23, 120)]
        np.testing.assert_allclose(found[f"{metric}_trend_6h"].to_numpy()[full], slopes, rtol=1e-6)
    cpu, memory = table["cpu_utilization"], table["memory_utilization"]
    np.testing.assert_allclose(found["cpu_memory_ratio"], cpu / memory, rtol=1e-9)
    np.testing.assert_allclose(found["resource_efficiency"], (cpu + memory) / 2, rtol=1e-9)
    requests = table["requests_per_second"] * 3600
    np.testing.assert_allclose(found["cost_per_request"], table["cost_usd_per_hour"] / requests, rtol=1e-9)
    np.testing.assert_allclose(found["cost_per_user"], table["cost_usd_per_hour"] / table["active_users"], rtol=1e-9)
    np.testing.assert_allclose(found["request_count"], requests, rtol=1e-9)
    np.testing.assert_allclose(
        found["requests_per_second_lag_24h"], table["requests_per_second"].shift(24), rtol=1e-9, equal_nan=True
    )


@given(
    step_s=st.sampled_from([60, 77, 300, 420, 900, 1800, 3600]) | st.integers(60, 3600),
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.1, 0.45, 0.6]),
    left_out=st.sampled_from([0.0, 0.1, 0.5]),
    outlier=st.booleans(),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_batch_and_stream_agree(step_s: int, seed: int, missing: float, left_out: float, outlier: bool) -> None:
    rows = min(250, int(8 * 86_400 / step_s))
    table = observations(
        step_s=step_s, days=rows * step_s / 86_400, seed=seed, missing=missing, left_out=left_out, outlier=outlier
    )
    whole = feature_table(table, step_s=step_s, place=BERLIN)
    one_by_one = streamed(table, step_s=step_s, place=BERLIN)
    assert list(whole.columns[1:]) == list(one_by_one.columns)
    for name in one_by_one:
        if whole[name].dtype == np.float64:
            close(one_by_one[name].to_numpy(), whole[name].to_numpy())
        else:
            assert list(one_by_one[name]) == list(whole[name])


@pytest.mark.slow
@pytest.mark.parametrize(("step_s", "outlier"), [(60, True), (300, False), (700, True), (3600, True)])
def test_batch_and_stream_agree_over_more_than_a_week(step_s: int, outlier: bool) -> None:
    table = observations(step_s=step_s, days=8.5, seed=step_s, missing=0.2, left_out=0.1, outlier=outlier)
    whole = feature_table(table, step_s=step_s, place=BERLIN)
    stream = FeatureStream(step_s=step_s, place=BERLIN)
    seconds = table["timestamp"].astype("datetime64[s, UTC]").astype("int64").tolist()
    readings = table[list(stream.metrics)].to_numpy()
    numbers = np.array([stream.push(second, row) for second, row in zip(seconds, readings, strict=True)])
    wanted = whole[list(stream.names)].to_numpy()
    assert np.isfinite(wanted[:, stream.names.index("requests_per_second_lag_168h")]).any()
    close(numbers, wanted)


@pytest.mark.parametrize("gap_hours", [1, 30, 167, 169, 400])
def test_batch_and_stream_agree_across_a_gap(gap_hours: int) -> None:
    table = observations(step_s=3600, days=26, missing=0.0, left_out=0.0)
    table = table.drop(index=range(200, 200 + gap_hours)).reset_index(drop=True)
    whole = feature_table(table, step_s=3600)
    found = streamed(table, step_s=3600, place=ServicePlace())
    for name in found.select_dtypes("number"):
        close(found[name].to_numpy(), whole[name].to_numpy())
    assert math.isnan(whole["cpu_utilization_mean_24h"][200]) == (gap_hours > 12)


def test_changing_the_future_changes_no_past_feature() -> None:
    table = observations(step_s=900, days=4)
    changed = table.copy()
    later = changed.index >= 200
    for metric in METRICS:
        changed.loc[later, metric.name] = 1.0 if metric.high == 1.0 else 1e12
    changed.loc[later, ["instance_type", "availability_zone"]] = ["t3.small", "us-east-1b"]
    before, after = (feature_table(each, step_s=900, place=BERLIN) for each in (table, changed))
    pd.testing.assert_frame_equal(before[:200], after[:200], check_exact=True)
    numbers = before.select_dtypes("number").columns.difference(list(CALENDAR))
    assert (before[numbers][200:300].to_numpy() != after[numbers][200:300].to_numpy()).any(axis=0).all()


def test_a_feature_of_the_future_would_be_caught() -> None:
    table = observations(step_s=900, days=4, missing=0.0, left_out=0.0)
    table["cpu_utilization"] = table["cpu_utilization"].rolling(3, center=True, min_periods=1).mean()
    changed = table.copy()
    changed.loc[200:, "cpu_utilization"] = 0.0
    changed["cpu_utilization"] = changed["cpu_utilization"].rolling(3, center=True, min_periods=1).mean()
    before, after = (feature_table(each, step_s=900) for each in (table, changed))
    assert not before[:200].equals(after[:200])


def test_windows_are_hours_whatever_the_step() -> None:
    hourly = np.random.default_rng(1).random(24 * 9)
    found = {}
    for step_s in (300, 900, 1800, 3600):
        per_hour = 3600 // step_s
        seconds = SPRING_DST_S + step_s * np.arange(per_hour * len(hourly))
        table = pd.DataFrame(
            {
                "timestamp": pd.to_datetime(seconds, unit="s", utc=True),
                "requests_per_second": np.repeat(hourly, per_hour),
            }
        )
        features = feature_table(table, step_s=step_s, features=features_of("requests_per_second"))
        found[step_s] = features.iloc[per_hour - 1 :: per_hour].reset_index(drop=True)
    for step_s in (300, 900, 1800):
        for name in ("request_count", "requests_per_second_mean_24h", "requests_per_second_max_6h"):
            np.testing.assert_allclose(found[step_s][name][24:], found[3600][name][24:])
        lag = found[step_s]["requests_per_second_lag_168h"]
        np.testing.assert_allclose(lag, found[3600]["requests_per_second_lag_168h"])


def test_a_lag_on_an_odd_step_is_the_newest_reading_that_is_old_enough() -> None:
    plan = make_plan([Feature("x", "lag", "share", Lag("cpu_utilization", 1))], 1700)
    assert plan.steps.second.tolist() == [3]
    plan = make_plan([Feature("x", "rolling", "share", Window("cpu_utilization", 1, "mean"))], 1700)
    assert plan.windows == ((0, 2),)


def test_half_of_a_window_has_to_be_known() -> None:
    table = observations(step_s=3600, days=3, missing=0.0, left_out=0.0)
    table.loc[24:35, "cpu_utilization"] = np.nan
    found = feature_table(table, step_s=3600)["cpu_utilization_mean_24h"]
    assert np.flatnonzero(found.isna()).tolist() == list(range(11))
    table.loc[36, "cpu_utilization"] = np.nan
    found = feature_table(table, step_s=3600)["cpu_utilization_mean_24h"]
    assert np.flatnonzero(found.isna()).tolist() == [*range(11), *range(36, 48)]


def test_what_an_outlier_does_ends_with_its_window() -> None:
    table = observations(step_s=900, days=5, missing=0.0, left_out=0.0)
    spoilt = table.copy()
    spoilt.loc[100, "network_io"] = 1e12
    calm, loud = (streamed(each, step_s=900, place=ServicePlace()) for each in (table, spoilt))
    names = [name for name in calm if name.startswith("network_io_")]
    assert loud["network_io_std_24h"][100:195].min() > 1e10
    np.testing.assert_allclose(loud[names][196:], calm[names][196:], rtol=1e-12)


def test_constant_readings_have_no_spread_trend_or_volatility() -> None:
    table = observations(step_s=900, days=2, missing=0.0, left_out=0.0)
    for metric in METRICS:
        table[metric.name] = 0.1
    for found in (feature_table(table, step_s=900), streamed(table, step_s=900, place=ServicePlace())):
        newest = found.iloc[-1]
        for name in ("cpu_utilization_std_24h", "cpu_utilization_volatility_24h", "cpu_utilization_trend_6h"):
            assert abs(newest[name]) < 1e-12
        assert newest["cost_efficiency_score"] == pytest.approx(0.5)
        assert newest["cpu_memory_ratio"] == pytest.approx(1.0)


def test_nothing_known_is_missing_and_never_an_error() -> None:
    table = observations(step_s=900, days=2, missing=1.0, left_out=0.0)
    for found in (feature_table(table, step_s=900), streamed(table, step_s=900, place=ServicePlace())):
        numbers = found.select_dtypes("number").drop(columns=list(CALENDAR))
        assert numbers.isna().all(axis=None)
        assert np.isfinite(found[list(CALENDAR)].to_numpy(dtype=float)).all()


def test_no_requests_or_users_leave_their_costs_missing() -> None:
    table = observations(step_s=900, days=2, missing=0.0, left_out=0.0)
    table[["requests_per_second", "active_users"]] = 0.0
    found = feature_table(table, step_s=900)
    assert found[["cost_per_request", "cost_per_user", "cost_efficiency_score"]].isna().all(axis=None)


def test_a_cheaper_hour_scores_above_one_half() -> None:
    table = observations(step_s=3600, days=3, missing=0.0, left_out=0.0)
    table["requests_per_second"] = 10.0
    table["cost_usd_per_hour"] = 2.0
    table.loc[len(table) - 1, "cost_usd_per_hour"] = 1.0
    score = feature_table(table, step_s=3600)["cost_efficiency_score"]
    usual = (23 * 2 + 1) / 24
    assert score.iloc[-1] == pytest.approx(usual / (usual + 1.0))
    assert score.iloc[-2] == pytest.approx(0.5)


def test_the_daily_cost_trend_is_usd_per_hour_and_day() -> None:
    table = observations(step_s=3600, days=3, missing=0.0, left_out=0.0)
    table["cost_usd_per_hour"] = 5.0 + np.arange(len(table)) / 24 * 0.7
    trend = feature_table(table, step_s=3600)["daily_cost_trend"]
    np.testing.assert_allclose(trend[24:], 0.7, rtol=1e-9)


def test_categories_split_type_and_zone() -> None:
    assert list(categories("m6i.large", "us-east-1a").values()) == ["m6i.large", "m6i", "us-east-1a", "us-east-1"]
    assert categories("u-6tb1.metal", "us-west-2-lax-1a")["region"] == "us-west-2"
    assert categories(None, "us-gov-west-1b")["region"] == "us-gov-west-1"
    assert set(categories("", None).values()) == {"unknown"}
    with pytest.raises(ValueError, match="availability_zone 'us-east-1'"):
        categories("m6i.large", "us-east-1")
    with pytest.raises(ValueError, match="instance_type 'large'"):
        categories("large", None)


def test_tables_that_cannot_be_computed_are_refused() -> None:
    with pytest.raises(ValueError, match="step_s is 0"):
        make_plan(FEATURES, 0)
    with pytest.raises(ValueError, match="step_s is 7200"):
        make_plan(FEATURES, 7200)
    with pytest.raises(ValueError, match="'cpu_memory_ratio' needs 'cpu_utilization_avg'"):
        make_plan([feature for feature in FEATURES if feature.name == "cpu_memory_ratio"], 300)
    with pytest.raises(ValueError, match="defined twice"):
        make_plan([FEATURES[0], FEATURES[0]], 300)
    with pytest.raises(ValueError, match="no features"):
        make_plan([], 300)
    with pytest.raises(ValueError, match="unknown metric 'load'"):
        features_of("load")


def test_a_smaller_table_holds_what_its_metrics_allow() -> None:
    names = {feature.name for feature in features_of("requests_per_second", "cost_usd_per_hour")}
    assert {"cost_per_request", "cost_efficiency_score", "requests_per_second_lag_24h"} <= names
    assert not {"cost_per_user", "cpu_memory_ratio", "error_rate"} & names
    for feature in FEATURES:
        assert isinstance(feature.rule, Combination | Lag | Window)


@pytest.mark.parametrize(
    ("second", "observation", "complaint"),
    [
        (SPRING_DST_S, {}, "is not later than the one before"),
        (SPRING_DST_S + 450, {}, "expected whole steps of 300 s"),
        (SPRING_DST_S + 300, {"cpu_utilization": 55.0}, "'cpu_utilization' at .*55 looks like a percentage"),
        (SPRING_DST_S + 300, {"network_io": -1.0}, "'network_io' at .*-1 is out of range"),
        (SPRING_DST_S + 300, {"network_io": math.inf}, "inf is out of range"),
        (SPRING_DST_S + 300, {"cpu": 0.5}, "unknown column 'cpu'"),
        (SPRING_DST_S + 300, {"network_io": "1"}, "'network_io': '1' is a text"),
        (SPRING_DST_S + 300, {"instance_type": 6.0}, "'instance_type': 6.0 is a number"),
        (SPRING_DST_S + 300, {"instance_type": "big"}, "'big' is not an instance type"),
    ],
)
def test_the_stream_refuses_bad_input_and_goes_on(second: int, observation: dict[str, object], complaint: str) -> None:
    streams = [FeatureStream(step_s=300) for _ in range(2)]
    for stream in streams:
        stream.update(SPRING_DST_S, {"cpu_utilization": 0.4})
    with pytest.raises(ValueError, match=complaint):
        streams[0].update(second, observation)
    first, second_ = (stream.update(SPRING_DST_S + 600, {"cpu_utilization": 0.6}) for stream in streams)
    assert str(first) == str(second_)


def test_a_reading_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\); expected"):
        FeatureStream(step_s=300).push(SPRING_DST_S, [0.1, 0.2])
