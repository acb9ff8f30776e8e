"""One forecaster over one series from rolling origins: what it said, what came true, what it cost.

Axes: O origins, L leads, Q levels.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray, Forecaster
from telemetry.forecast_series import DevelopmentSeries, Part

HORIZON_S = 4 * 3600
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Task:
    """What a forecaster is asked for before it sees any value.

    Attributes:
        name: name of the series.
        step_s: seconds per step.
        start: datetime64[s], UTC, start of the first step of the history it is fitted on.
        leads: leads in steps, 1 to the horizon.
        levels: quantile levels.
    """

    name: str
    step_s: int
    start: np.datetime64
    leads: tuple[int, ...]
    levels: tuple[float, ...]


Factory = Callable[[Task], Forecaster]


@dataclass(frozen=True)
class Rolled:
    """Forecasts of one series.

    Attributes:
        origins: int64[O], step of the last known value.
        leads: int64[L], in steps.
        forecasts: float64[O, L, Q].
        actual: float64[O, L]; NaN where the series has no reading.
        fit_s: CPU seconds of ``fit``.
        update_us: CPU microseconds per streamed value.
        forecast_ms: CPU milliseconds per path of all leads.
    """

    origins: npt.NDArray[np.int64]
    leads: npt.NDArray[np.int64]
    forecasts: FloatArray
    actual: FloatArray
    fit_s: float
    update_us: float
    forecast_ms: float

    def at(self, origins: npt.NDArray[np.int64]) -> "Rolled":
        """Return the part of these origins.

        Raises:
            ValueError: one of them was not rolled.
        """
        rows = np.searchsorted(self.origins, origins)
        if np.any(rows >= len(self.origins)) or np.any(
            self.origins[np.minimum(rows, len(self.origins) - 1)] != origins
        ):
            raise ValueError("an origin was not forecast")
        costs = (self.fit_s, self.update_us, self.forecast_ms)
        return Rolled(self.origins[rows], self.leads, self.forecasts[rows], self.actual[rows], *costs)


def task_of(series: DevelopmentSeries, levels: tuple[float, ...] = LEVELS) -> Task:
    """Return the task of a series: every step up to four hours ahead."""
    leads = tuple(range(1, HORIZON_S // series.step_s + 1))
    return Task(series.name, series.step_s, series.start, leads, levels)


def origins_of(
    series: DevelopmentSeries, part: Part, *, every_s: int, most: int | None = None
) -> npt.NDArray[np.int64]:
    """Return the origins of a part: the last step before it and every ``every_s`` after, a whole horizon left.

    Args:
        series: the series.
        part: what is scored.
        every_s: seconds between origins, rounded down to whole steps.
        most: keep at most so many, evenly spread.

    Raises:
        ValueError: the part has no room for a horizon.
    """
    scored = series.scored(part)
    horizon = HORIZON_S // series.step_s
    origins = np.arange(scored.start - 1, scored.stop - horizon, max(1, every_s // series.step_s), dtype=np.int64)
    if not len(origins) or scored.start < 1:
        raise ValueError(f"series {series.name!r}: its {part} part has no room for a horizon of {horizon} steps")
    if most is not None and len(origins) > most:
        origins = origins[np.unique(np.linspace(0, len(origins) - 1, most).round().astype(np.int64))]
    return origins


def roll(factory: Factory, series: DevelopmentSeries, part: Part, origins: npt.NDArray[np.int64]) -> Rolled:
    """Fit on everything before a part, stream the part, forecast at the origins.

    Args:
        factory: makes the forecaster.
        series: the series.
        part: what is scored.
        origins: int64[O], increasing, from :func:`origins_of`.

    Raises:
        ValueError: a forecast that is not finite, negative, or not ordered in its levels: the forecaster breaks its
            contract.
    """
    task = task_of(series)
    known = series.scored(part).start
    clock = time.process_time
    began = clock()
    forecaster = factory(task).fit(series.history(part))
    fit_s = clock() - began
    updating = forecasting = 0.0
    forecasts = np.empty((len(origins), len(task.leads), len(task.levels)))
    for row, origin in enumerate(origins):
        began = clock()
        for value in series.values[known : origin + 1].tolist():
            forecaster.update(value)
        middle = clock()
        forecasts[row] = forecaster.forecast(task.leads, task.levels)
        updating += middle - began
        forecasting += clock() - middle
        known = int(origin) + 1
    if not np.isfinite(forecasts).all() or (forecasts < 0.0).any() or (np.diff(forecasts, axis=2) < 0.0).any():
        raise ValueError(f"series {series.name!r}: a forecast is not finite, negative or not ordered in its levels")
    leads = np.asarray(task.leads, dtype=np.int64)
    streamed = max(1, known - series.scored(part).start)
    return Rolled(
        origins=origins,
        leads=leads,
        forecasts=forecasts,
        actual=series.values[origins[:, None] + leads[None, :]],
        fit_s=fit_s,
        update_us=1e6 * updating / streamed,
        forecast_ms=1e3 * forecasting / len(origins),
    )
