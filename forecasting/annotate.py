"""What a controller knows about demand at each decision: forecasts and an anomaly score, no look-ahead.

Row ``r`` belongs to the decision at the start of tick ``n * r`` (``n = ticks_per_row``). Metrics arrive
late, so the last visible tick is ``n * r - 1 - delay_ticks``. Forecaster and detector are fed the mean of
the ``n`` ticks that end there, once per row; the first bin may be cut short by the start of the series. A
lead of ``l`` minutes is the mean demand of the ``n`` ticks that end ``l`` minutes after the last visible one.

Whole series run compiled. With known events the forecaster is fed row by row, each event from its announcement on.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.detector import AnomalyDetector, score_series
from forecasting.base import FloatArray
from forecasting.demand.boosted import LEADS_MINUTES, LEVELS, Boosted
from forecasting.demand.events import EventForecaster, KnownEvent
from forecasting.demand.forecaster import DemandForecaster, run_series


@dataclass(frozen=True)
class Annotation:
    """What is known at each decision.

    Attributes:
        forecast_rps: float32[R, 7, 4], demand quantiles at LEADS_MINUTES x LEVELS, in the unit of the
            demand; where not available, the last visible value throughout (0 before anything is visible).
        available: bool[R], whether the forecaster has seen a full day.
        anomaly_score: float32[R], 0..1, of the newest visible bin.
    """

    forecast_rps: npt.NDArray[np.float32]
    available: npt.NDArray[np.bool_]
    anomaly_score: npt.NDArray[np.float32]


def annotation_forecaster(
    *, tick_s: int = 60, ticks_per_row: int = 5, boosted: Boosted | None = None
) -> DemandForecaster:
    """Return the forecaster that :func:`annotate` starts with: untouched by data, one step per row.

    Args:
        tick_s: length of a tick in seconds.
        ticks_per_row: ticks between decisions.
        boosted: the pooled model; the shipped one by default.

    Raises:
        ValueError: a row is not a whole part of every lead; annotate shorter rows and keep those of the
            decisions.
    """
    row_s = tick_s * ticks_per_row
    if row_s < 1 or any(minutes * 60 % row_s for minutes in LEADS_MINUTES):
        raise ValueError(f"a row of {row_s} s does not divide every lead of {LEADS_MINUTES} minutes")
    return DemandForecaster(step_s=row_s, boosted=boosted)


def annotate(
    demand_ticks: npt.ArrayLike,
    *,
    tick_s: int = 60,
    ticks_per_row: int = 5,
    delay_ticks: int = 1,
    forecaster: DemandForecaster | None = None,
    detector: AnomalyDetector | None = None,
    events: Sequence[KnownEvent] = (),
) -> Annotation:
    """Return what is known at every ``ticks_per_row``-th tick of a demand series.

    Args:
        demand_ticks: float64[T], mean demand per tick; NaN where the metric is missing.
        tick_s: length of a tick in seconds.
        ticks_per_row: ticks between decisions.
        delay_ticks: ticks until a metric becomes visible, 0 or more.
        forecaster: a forecaster to continue from (fitted on the history before tick 0); by default an
            untouched one.
        detector: the same for the detector. Neither is changed. The detector is told of no event.
        events: known future events, steps counted in rows: row r holds the ticks from ``n * r`` on, and the decision
            of the row ``announced_step`` is the first to know.

    Returns:
        ``ceil(T / ticks_per_row)`` rows.

    Raises:
        ValueError: negative or infinite demand, a negative delay, or a forecaster made for other rows.
    """
    row_s = tick_s * ticks_per_row
    expected = annotation_forecaster(tick_s=tick_s, ticks_per_row=ticks_per_row)
    forecaster = expected if forecaster is None else copy.deepcopy(forecaster)
    detector = AnomalyDetector(step_s=row_s) if detector is None else copy.deepcopy(detector)
    if forecaster.step_s != row_s:
        raise ValueError(f"the forecaster's step is {forecaster.step_s} s; these rows need {row_s} s")
    bins, last_visible = visible_bins(demand_ticks, ticks_per_row=ticks_per_row, delay_ticks=delay_ticks)
    leads = [minutes * 60 // row_s for minutes in LEADS_MINUTES]
    if events:
        late = 1 + round(delay_ticks / ticks_per_row)
        shifted = [replace(item, start_step=item.start_step + late, end_step=item.end_step + late) for item in events]
        forecasts, available = _run_rows(EventForecaster(forecaster, shifted), bins, leads)
    else:
        forecasts, available = run_series(forecaster, bins, leads)
    forecasts[~available] = last_visible[~available, None, None]
    return Annotation(
        forecast_rps=forecasts.astype(np.float32),
        available=available,
        anomaly_score=score_series(detector, bins).astype(np.float32),
    )


def _run_rows(
    forecaster: EventForecaster, bins: FloatArray, leads: Sequence[int]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Feed row by row; return float64[R, L, 4] what is forecast after each, and bool[R] whether it was ready."""
    forecasts = np.empty((len(bins), len(leads), len(LEVELS)))
    ready = np.zeros(len(bins), dtype=np.bool_)
    for row, value in enumerate(bins):
        forecaster.update(value)
        ready[row] = forecaster.ready
        forecasts[row] = forecaster.forecast(leads)
    return forecasts, ready


def visible_bins(demand_ticks: npt.ArrayLike, *, ticks_per_row: int, delay_ticks: int) -> tuple[FloatArray, FloatArray]:
    """Return each row's mean of the newest visible ticks (NaN without any) and its last visible value.

    Args:
        demand_ticks: float64[T]; NaN where the metric is missing.
        ticks_per_row: ticks per row and per mean.
        delay_ticks: ticks until a metric becomes visible.

    Returns:
        float64[R] and float64[R] (0 before the first visible value), with ``R = ceil(T / ticks_per_row)``.
    """
    demand = np.asarray(demand_ticks, dtype=np.float64)
    if np.isinf(demand).any() or (demand < 0.0).any():
        raise ValueError("demand_ticks holds negative or infinite values")
    if delay_ticks < 0:
        raise ValueError(f"delay_ticks is {delay_ticks}; expected 0 or more")
    rows = -(-len(demand) // ticks_per_row)
    shifted = np.concatenate((np.full(delay_ticks + ticks_per_row, np.nan), demand))[: rows * ticks_per_row]
    known = ~np.isnan(shifted)
    count = known.reshape(rows, ticks_per_row).sum(axis=1)
    total = np.where(known, shifted, 0.0).reshape(rows, ticks_per_row).sum(axis=1)
    bins = np.divide(total, count, out=np.full(rows, np.nan), where=count > 0)
    newest = np.maximum.accumulate(np.where(known, np.arange(len(shifted)), -1))[ticks_per_row - 1 :: ticks_per_row]
    last_visible = np.where(newest >= 0, shifted[newest], 0.0)
    return bins, last_visible
