"""Known events: nothing before the announcement, a better forecast after it, a factor that corrects itself."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from forecasting.annotate import annotate
from forecasting.demand.boosted import LEVELS
from forecasting.demand.events import EventForecaster, KnownEvent
from forecasting.demand.forecaster import DemandForecaster

DAY = 288
LEADS = [1, 3, 12, 24, 48]


def quiet_demand(days: int, seed: int = 0) -> np.ndarray:
    steps = np.arange(days * DAY)
    rng = np.random.default_rng(seed)
    return 200.0 * np.exp(0.6 * np.sin(2.0 * np.pi * steps / DAY) + rng.normal(0.0, 0.08, len(steps)))


def sales(days: list[int], expected_factor: float, hours: int = 3) -> list[KnownEvent]:
    """An event on each of these days at 12:00, announced a day before."""
    starts = [day * DAY + DAY // 2 for day in days]
    return [KnownEvent("sale", start - DAY, start, start + 12 * hours, expected_factor) for start in starts]


def played(values: np.ndarray, events: list[KnownEvent], factor: float) -> np.ndarray:
    values = values.copy()
    for event in events:
        values[event.start_step : event.end_step] *= factor
    return values


def wrapped(values: np.ndarray, events: list[KnownEvent]) -> EventForecaster:
    forecaster = EventForecaster(DemandForecaster(step_s=300), events)
    forecaster.feed(values)
    return forecaster


def pinball(value: float, row: np.ndarray) -> float:
    levels = np.array(LEVELS)
    return float(np.maximum(levels * (value - row), (levels - 1.0) * (value - row)).sum())


def test_an_announced_repeated_event_is_forecast_better_than_without() -> None:
    events = sales([3, 5, 7, 9], 2.0)
    values = played(quiet_demand(10), events, 2.5)
    with_events = EventForecaster(DemandForecaster(step_s=300), events)
    without = DemandForecaster(step_s=300)
    first = events[-1].start_step - 48
    for forecaster in (with_events, without):
        forecaster.feed(values[: first + 1])
    losses = np.zeros((2, 2))
    for step in range(first, events[-1].end_step + 48):
        for place, forecaster in enumerate((with_events, without)):
            for lead, row in zip(LEADS, forecaster.forecast(LEADS), strict=True):
                coming = step + lead
                inside = events[-1].start_step <= coming < events[-1].end_step
                losses[place, int(inside)] += pinball(values[coming], row)
            forecaster.update(values[step + 1])
    assert losses[0, 1] < 0.3 * losses[1, 1]
    assert losses[0, 0] < losses[1, 0]


def test_events_not_announced_yet_change_no_bit() -> None:
    values = quiet_demand(4)
    later = [
        KnownEvent("sale", 4 * DAY, 4 * DAY, 4 * DAY + 10, 3.0),
        KnownEvent("match", 5 * DAY, 4 * DAY, 6 * DAY, 0.5),
    ]
    plain = DemandForecaster(step_s=300)
    plain.feed(values)
    known, erased = wrapped(values, later), wrapped(values, [])
    np.testing.assert_array_equal(known.forecast(LEADS), plain.forecast(LEADS))
    np.testing.assert_array_equal(known.forecast(LEADS), erased.forecast(LEADS))
    announced = wrapped(values, [replace(later[0], announced_step=4 * DAY - 1)])
    assert not np.array_equal(announced.forecast(LEADS), plain.forecast(LEADS))


def test_an_event_announced_after_it_began_counts_from_then_on() -> None:
    values = played(quiet_demand(4), [KnownEvent("sale", 0, 3 * DAY, 3 * DAY + 48, 2.0)], 2.0)
    late = KnownEvent("sale", 3 * DAY + 12, 3 * DAY, 3 * DAY + 48, 2.0)
    plain = DemandForecaster(step_s=300)
    plain.feed(values[: 3 * DAY + 12])
    np.testing.assert_array_equal(wrapped(values[: 3 * DAY + 12], [late]).forecast(LEADS), plain.forecast(LEADS))
    plain.update(values[3 * DAY + 12] / 2.0)
    after = wrapped(values[: 3 * DAY + 13], [late])
    np.testing.assert_array_equal(after.inner.forecast(LEADS, LEVELS), plain.forecast(LEADS))


def test_the_median_inside_is_multiplied_the_spread_widened_and_outside_nothing_moves() -> None:
    values = quiet_demand(4)
    event = KnownEvent("sale", 4 * DAY - 1, 4 * DAY + 10, 4 * DAY + 20, 2.0)
    rows, inner = wrapped(values, [event]).forecast([10, 11, 20, 21]), wrapped(values, []).forecast([10, 11, 20, 21])
    np.testing.assert_array_equal(rows[[0, 3]], inner[[0, 3]])
    np.testing.assert_allclose(rows[[1, 2], 1], 2.0 * inner[[1, 2], 1])
    assert (rows[[1, 2], 2] - rows[[1, 2], 1] > 2.0 * (inner[[1, 2], 2] - inner[[1, 2], 1])).all()
    assert (rows[[1, 2], 1] - rows[[1, 2], 0] > 2.0 * (inner[[1, 2], 1] - inner[[1, 2], 0])).all()


@pytest.mark.parametrize("expected_factor", [1.0, 4.0])
def test_a_wrong_expected_factor_is_corrected_and_the_spread_shrinks_again(expected_factor: float) -> None:
    events = sales([2, 3, 4, 5, 6, 7], expected_factor)
    values = played(quiet_demand(8), events, 2.0)
    forecaster = EventForecaster(DemandForecaster(step_s=300), events)
    found = []
    for day in range(8):
        forecaster.feed(values[day * DAY : (day + 1) * DAY])
        found.append(forecaster.factor("sale", expected_factor))
    off = np.abs(np.log(np.array(found) / 2.0))
    assert off[1] == pytest.approx(np.log(2.0))
    assert off[2] < 0.5 * off[1]
    assert off[-1] < 0.14


def test_events_that_overlap_multiply_and_are_not_learnt_twice() -> None:
    start = 3 * DAY
    both = [KnownEvent("sale", 0, start, start + 24, 2.0), KnownEvent("match", 0, start, start + 24, 1.5)]
    forecaster = wrapped(played(quiet_demand(4), both[:1], 3.0), both)
    product = forecaster.factor("sale", 2.0) * forecaster.factor("match", 1.5)
    assert product == pytest.approx(3.0, rel=0.1)


def test_one_value_at_a_time_equals_a_whole_series() -> None:
    events = sales([2, 3], 2.0)
    values = played(quiet_demand(4), events, 3.0)
    values[2 * DAY + 150 : 2 * DAY + 155] = np.nan
    whole, single = wrapped(values, events), EventForecaster(DemandForecaster(step_s=300), events)
    for value in values:
        single.update(value)
    assert whole.factor("sale", 2.0) == pytest.approx(single.factor("sale", 2.0), rel=1e-12)
    np.testing.assert_allclose(whole.forecast(LEADS), single.forecast(LEADS), rtol=1e-9)


def test_fit_learns_factors_and_starts_anew() -> None:
    events = sales([2, 3, 4], 1.0)
    values = played(quiet_demand(5), events, 2.0)
    forecaster = EventForecaster(DemandForecaster(step_s=300), events)
    forecaster.feed(quiet_demand(1, seed=5))
    first = forecaster.fit(values).forecast(LEADS)
    assert forecaster.factor("sale", 1.0) == pytest.approx(2.0, rel=0.2)
    np.testing.assert_array_equal(forecaster.fit(values).forecast(LEADS), first)


def test_extremes_stay_finite() -> None:
    event = KnownEvent("sale", 0, DAY, DAY + 12, 1000.0)
    values = np.zeros(2 * DAY)
    assert np.isfinite(wrapped(values, [event]).forecast(LEADS)).all()
    values[:] = np.nan
    assert np.isfinite(wrapped(values, [event]).forecast(LEADS)).all()
    values = quiet_demand(2)
    values[DAY : DAY + 6] = 1e12
    assert np.isfinite(wrapped(values, [event]).forecast(LEADS)).all()
    assert wrapped(values, [event]).factor("sale", 1000.0) <= 1000.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": ""}, "kind is empty"),
        ({"start_step": -1}, "start_step -1 is below 0"),
        ({"end_step": 10}, "end_step 10 does not lie after start_step 10"),
        ({"announced_step": 20}, "announced_step 20 is not before end_step 20"),
        ({"expected_factor": 0.0}, "expected_factor is 0.0"),
        ({"expected_factor": float("nan")}, "expected_factor is nan"),
        ({"start_step": 10.5}, "start_step is 10.5; expected a whole number"),
    ],
)
def test_bad_events_are_refused_by_name(change: dict[str, object], message: str) -> None:
    good = KnownEvent("sale", 0, 10, 20, 2.0)
    with pytest.raises(ValueError, match=message):
        replace(good, **change)


def test_bad_use_is_refused_by_name() -> None:
    event = KnownEvent("sale", 0, 10, 20, 2.0)
    with pytest.raises(ValueError, match="announced twice"):
        EventForecaster(DemandForecaster(step_s=300), [event, event])
    forecaster = EventForecaster(DemandForecaster(step_s=300), [event])
    forecaster.feed(np.ones(12))
    with pytest.raises(ValueError, match="start_step 11 has passed; the next step is 12"):
        forecaster.announce(replace(event, start_step=11))
    with pytest.raises(ValueError, match=r"level 0\.3 is not forecast"):
        forecaster.forecast([1], [0.3])
    with pytest.raises(ValueError, match="value 0 is -1"):
        forecaster.update(-1.0)


def test_annotate_knows_an_event_from_the_row_of_its_announcement_on() -> None:
    ticks = np.repeat(quiet_demand(3), 5)
    event = KnownEvent("sale", 2 * DAY, 2 * DAY + 12, 2 * DAY + 36, 3.0)
    ticks[5 * event.start_step : 5 * event.end_step] *= 3.0
    plain, known = annotate(ticks), annotate(ticks, events=[event])
    np.testing.assert_array_equal(known.forecast_rps[: 2 * DAY], plain.forecast_rps[: 2 * DAY])
    assert not np.array_equal(known.forecast_rps[2 * DAY], plain.forecast_rps[2 * DAY])
    np.testing.assert_array_equal(known.anomaly_score, plain.anomaly_score)
    np.testing.assert_array_equal(annotate(ticks, events=[]).forecast_rps, plain.forecast_rps)
    visible = 5 * event.start_step - 2
    row, lead = event.start_step, 3
    coming = ticks[visible + 30 - 4 : visible + 31].mean()
    assert known.forecast_rps[row, lead, 1] == pytest.approx(coming, rel=0.25)
    assert plain.forecast_rps[row, lead, 1] < 0.5 * coming


def test_a_copy_goes_its_own_way() -> None:
    events = sales([2], 2.0)
    forecaster = wrapped(quiet_demand(2), events)
    before = forecaster.forecast(LEADS)
    copy.deepcopy(forecaster).feed(quiet_demand(1, seed=9))
    np.testing.assert_array_equal(forecaster.forecast(LEADS), before)
