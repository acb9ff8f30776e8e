from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pytest

from forecasting.rivals.naive import DayAgo
from forecasting.suites.forecast import LAST_VALUE, forecast_suite
from forecasting.suites.forecast_scores import REFERENCE, bootstrap_over_series, naive_accuracy
from forecasting.suites.rolling_origins import Task, origins_of, roll, task_of
from telemetry.forecast_series import DevelopmentSeries

HOUR_S = 3600


class Knows:
    """Has the whole series and answers from it, ``off`` steps beside the truth and ``width`` around it."""

    def __init__(self, values: npt.NDArray[np.float64], *, off: int = 0, width: float = 0.0) -> None:
        self._values, self._off, self._width, self._steps = values, off, width, 0

    ready = True

    def fit(self, history: npt.ArrayLike) -> Self:
        self._steps = len(np.asarray(history))
        return self

    def update(self, value: float) -> None:
        assert value == self._values[self._steps] or np.isnan(value)
        self._steps += 1

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> npt.NDArray[np.float64]:
        point = self._values[self._steps - 1 + np.asarray(leads) + self._off]
        return np.maximum(point[:, None] + self._width * (np.asarray(levels) - 0.5)[None, :], 0.0)


def a_series(name: str, days: int = 20, *, seed: int = 0, kind: str = "requests") -> DevelopmentSeries:
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    values = 100.0 + 50.0 * np.sin(2 * np.pi * hours / 24.0) + rng.normal(0.0, 5.0, len(hours))
    cuts = (len(hours) // 2, int(0.7 * len(hours)))
    return DevelopmentSeries(name, HOUR_S, np.datetime64("2026-01-05", "s"), values, "pooled", kind, cuts)  # type: ignore[arg-type]


TWO = (a_series("one"), a_series("two", 24, seed=1, kind="other"))
BY_NAME = {series.name: series for series in TWO}


def knows(*, off: int = 0, width: float = 0.0):
    return lambda task: Knows(BY_NAME[task.name].values, off=off, width=width)


def test_the_perfect_forecaster_scores_zero_and_the_one_a_step_late_does_not() -> None:
    finding = forecast_suite({"perfect": knows(), "late": knows(off=-1)}, TWO, part="test", every_s=4 * HOUR_S)
    table = next(iter(finding.tables.values())).set_index("model")
    assert table.loc["perfect", ["relMASE", "relWQL"]].tolist() == [0.0, 0.0]
    assert table.loc["perfect", "1-WAPE"] == 1.0
    assert table.loc["late", "relMASE"] > 0.5
    assert table.loc[REFERENCE, ["relMASE", "relWQL", "relMASE low", "relMASE high"]].tolist() == pytest.approx(
        [1.0] * 4
    )
    assert LAST_VALUE in table.index
    passed = {check.name.split(": ")[1]: check.holds for check in finding.checks}
    assert passed["relMASE, 4 h"]
    assert not passed["80 % interval covers"]


def test_origins_leave_a_horizon_and_see_only_the_past() -> None:
    series = TWO[0]
    origins = origins_of(series, "validate", every_s=HOUR_S)
    assert origins[0] == series.scored("validate").start - 1
    assert origins[-1] + 4 == series.scored("validate").stop - 1
    assert len(origins_of(series, "test", every_s=HOUR_S, most=5)) == 5
    rolled = roll(
        lambda task: DayAgo(step_s=task.step_s, levels=task.levels),
        series,
        "test",
        origins_of(series, "test", every_s=6 * HOUR_S),
    )
    cut = int(rolled.origins[3]) + 1
    changed = np.concatenate((series.values[:cut], 1000.0 * series.values[cut:]))
    other = DevelopmentSeries(series.name, HOUR_S, series.start, changed, "pooled", "requests", series.cuts)
    again = roll(
        lambda task: DayAgo(step_s=task.step_s, levels=task.levels),
        other,
        "test",
        rolled.origins,
    )
    np.testing.assert_array_equal(again.forecasts[:4], rolled.forecasts[:4])
    assert not np.allclose(again.forecasts[4:], rolled.forecasts[4:])


def test_slow_forecasters_stand_beside_the_others_at_the_same_few_origins() -> None:
    finding = forecast_suite(
        {"late": knows(off=-1)}, TWO, part="test", slow={"slow late": knows(off=-1)}, slow_origins=3, every_s=6 * HOUR_S
    )
    title = next(title for title in finding.tables if "3 origins each, slow" in title)
    table = finding.tables[title].set_index("model")
    assert table.loc["late"].tolist() == pytest.approx(table.loc["slow late"].tolist())
    costs = finding.tables["Cost (CPU, one thread)"].set_index("model")
    assert set(costs.index) == {"late", "slow late", REFERENCE, LAST_VALUE}


def test_a_forecaster_that_breaks_its_contract_is_caught() -> None:
    series = TWO[0]
    origins = origins_of(series, "test", every_s=24 * HOUR_S)
    with pytest.raises(ValueError, match="not ordered"):
        roll(knows(width=-100.0), series, "test", origins)
    broken = np.full(len(series.values), np.nan)
    with pytest.raises(ValueError, match="not finite"):
        roll(
            lambda task: Knows(broken),
            DevelopmentSeries("one", HOUR_S, series.start, broken, "pooled", "other", series.cuts),
            "test",
            origins,
        )
    short = DevelopmentSeries("short", HOUR_S, series.start, series.values[:10], "pooled", "other", (5, 7))
    with pytest.raises(ValueError, match="no room for a horizon"):
        origins_of(short, "validate", every_s=HOUR_S)


def test_how_forecastable_a_history_is() -> None:
    hours = np.arange(24 * 10)
    assert naive_accuracy(100.0 + 50.0 * np.sin(2 * np.pi * hours / 24), HOUR_S) == pytest.approx(1.0)
    assert naive_accuracy(np.full(100, 7.0), HOUR_S) == 1.0
    assert naive_accuracy(np.random.default_rng(0).exponential(1.0, 1000), HOUR_S) < 0.2


def test_a_history_without_demand_is_not_forecastable() -> None:
    assert np.isnan(naive_accuracy(np.zeros(100), HOUR_S))
    assert np.isnan(naive_accuracy(np.full(100, np.nan), HOUR_S))


def test_the_task_is_four_hours_on_the_series_own_step() -> None:
    assert task_of(TWO[0]) == Task("one", HOUR_S, TWO[0].start, (1, 2, 3, 4), (0.1, 0.5, 0.9))


def test_bootstrap_holds_the_truth_and_narrows() -> None:
    rng = np.random.default_rng(0)
    wide = bootstrap_over_series(lambda rows: float(rows.mean()), rng.normal(3.0, 1.0, (20, 1)), draws=500)
    narrow = bootstrap_over_series(lambda rows: float(rows.mean()), rng.normal(3.0, 1.0, (2000, 1)), draws=500)
    assert wide[0] < 3.0 < wide[1]
    assert narrow[1] - narrow[0] < 0.2 * (wide[1] - wide[0])
