import numpy as np
import pytest

from forecasting.history import HeldHistory, held
from forecasting.rivals.naive import DayAgo, LastValue

LEVELS = (0.1, 0.5, 0.9)
HOUR_S = 3600


def test_history_holds_gaps_and_keeps_the_newest() -> None:
    past = HeldHistory(3)
    past.append(float("nan"))
    assert past.seen == 0
    for value in (1.0, 2.0, float("nan"), 4.0, 5.0, 6.0, 7.0, 8.0):
        past.append(value)
    assert past.values().tolist() == [6.0, 7.0, 8.0]
    assert past.seen == 8
    past.restart([3.0, np.nan])
    assert past.values().tolist() == [3.0, 3.0]
    np.testing.assert_array_equal(held([np.nan, 2.0, np.nan, 4.0]), [2.0, 2.0, 2.0, 4.0])
    np.testing.assert_array_equal(held([np.nan, np.nan]), [0.0, 0.0])
    for bad in (-1.0, float("inf")):
        with pytest.raises(ValueError, match="expected"):
            past.append(bad)


def test_day_ago_against_its_definition() -> None:
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 5.0, 24 * 9)
    forecaster = DayAgo(step_s=HOUR_S, levels=LEVELS).fit(values[:-5])
    for value in values[-5:]:
        forecaster.update(value)
    rows = forecaster.forecast([1, 4, 24, 25], LEVELS)
    np.testing.assert_allclose(rows[:, 1], values[[-24, -21, -1, -24]])
    errors = values[24:-5] - values[:-29]
    expected = np.maximum(values[-24] + np.quantile(errors, 0.1), 0.0)
    assert rows[0, 0] == pytest.approx(expected)


def test_last_value_widens_with_the_lead() -> None:
    values = np.cumsum(np.random.default_rng(1).normal(size=4000)) + 500.0
    rows = LastValue(levels=LEVELS).fit(values).forecast([1, 16], LEVELS)
    np.testing.assert_allclose(rows[:, 1], values[-1])
    widths = rows[:, 2] - rows[:, 0]
    assert widths[1] / widths[0] == pytest.approx(4.0, rel=0.25)
    assert rows[1, 2] - values[-1] == pytest.approx(np.quantile(values[16:] - values[:-16], 0.9))


@pytest.mark.parametrize("history", [[], [5.0], [np.nan] * 50, [0.0] * 60, [1e12] * 30 + [1.0] * 30])
def test_any_history_gives_ordered_finite_forecasts(history: list[float]) -> None:
    for forecaster in (DayAgo(step_s=HOUR_S, levels=LEVELS), LastValue(levels=LEVELS)):
        rows = forecaster.fit(history).forecast([1, 4], LEVELS)
        assert np.isfinite(rows).all()
        assert (rows >= 0.0).all()
        assert (np.diff(rows, axis=1) >= 0.0).all()


def test_bad_requests_are_named() -> None:
    with pytest.raises(ValueError, match="whole part of a day"):
        DayAgo(step_s=7000, levels=LEVELS)
    forecaster = LastValue(levels=LEVELS).fit([1.0, 2.0])
    with pytest.raises(ValueError, match="from 1 on"):
        forecaster.forecast([0], LEVELS)
    with pytest.raises(ValueError, match="not tracked"):
        forecaster.forecast([1], [0.3])
