"""A scenario: one demand tape with everything known in advance about it, before any fleet steps through it.

It comes from a replayed trace, from a fitted workload model, or from a named pattern. Forecasts and anomaly scores are
written by the forecasting floor, which sees each minute only after it is complete and delivered.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecasting.annotate import Annotation
from forecasting.demand.events import KnownEvent
from forecasting.hourly import hourly_load_forecast
from forecasting.tape_cache import cached_annotation
from simulators.anomalies import Anomaly, demand_effects
from simulators.patterns import draw_pattern
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS, TICK_S, TICKS_PER_ROW
from simulators.workload import WorkloadModel, sample_workload
from telemetry.resample import to_ticks
from telemetry.scale import fleet_scale
from telemetry.trace import Trace

Forecasts = Literal["quantiles", "point", "none", "perfect"]
AnomalyScores = Literal["detector", "none", "perfect"]
WARMUP_DAYS = 2
_WEEK_MINUTES = 7 * 1440
_MONDAY = np.datetime64("1970-01-05T00:00", "m")


@dataclass(frozen=True)
class Scenario:
    """One demand tape.

    Attributes:
        name: Shown in reports.
        demand_rps: [T] demand of each tick, requests per second.
        work_scale: [T] multiplier on the work of a request; 1 without anomalies.
        scored: [T] False where a tick is carried but counts nowhere (a long gap of the trace).
        annotation: Forecasts and anomaly scores, one row every five ticks.
        minute_of_week: Minute of the week of tick 0, Monday 00:00 of the service's clock is 0.
        mean_demand_rps: Mean of the history part; what an operator knows.
        reference_demand_rps: Mean of the playable window; scales reference cost and penalty.
        first_tick: First playable tick.
        last_tick: One past the last playable tick.
        kind: ``requests``, or ``other`` for demand of another shape (network, CPU, batch jobs).
        fault_fraction: [T] share of requests that fail whatever the fleet does.
        metric_gap: [T] True where the metrics of a tick are never delivered.
        predictive_rps: [ceil(T / 60)] hourly load forecast of predictive-like scaling, NaN where there is none yet.
        labels: The anomalies in it.
    """

    name: str
    demand_rps: NDArray[np.float32]
    work_scale: NDArray[np.float32]
    scored: NDArray[np.bool_]
    annotation: Annotation
    minute_of_week: int
    mean_demand_rps: float
    reference_demand_rps: float
    first_tick: int
    last_tick: int
    kind: Literal["requests", "other"]
    fault_fraction: NDArray[np.float32]
    metric_gap: NDArray[np.bool_]
    predictive_rps: NDArray[np.float32]
    labels: tuple[Anomaly, ...] = ()

    def scaled(self, factor: float) -> "Scenario":
        """Return the same tape with demand, and what was forecast of it, ``factor`` times as large."""
        if factor == 1.0:
            return self
        annotation = replace(self.annotation, forecast_rps=(factor * self.annotation.forecast_rps).astype(np.float32))
        return replace(
            self,
            demand_rps=(factor * self.demand_rps).astype(np.float32),
            annotation=annotation,
            mean_demand_rps=factor * self.mean_demand_rps,
            reference_demand_rps=factor * self.reference_demand_rps,
            predictive_rps=(factor * self.predictive_rps).astype(np.float32),
        )


def make_scenario(
    name: str,
    demand_rps: NDArray[np.float64],
    *,
    history: slice,
    window: slice,
    minute_of_week: int = 0,
    kind: Literal["requests", "other"] = "requests",
    forecasts: Forecasts = "quantiles",
    scored: NDArray[np.bool_] | None = None,
    metric_delay_ticks: int = 1,
    anomalies: tuple[Anomaly, ...] = (),
    events: tuple[KnownEvent, ...] = (),
) -> Scenario:
    """Annotate a demand series and fix which part of it may be played.

    Args:
        name: Shown in reports.
        demand_rps: [T] requests per second of each one-minute tick.
        history: Ticks whose mean the operator knows.
        window: Ticks that may be played; its mean scales the reference cost.
        minute_of_week: Minute of the week of tick 0.
        kind: ``requests`` or ``other``.
        forecasts: ``quantiles``; ``point`` repeats the median; ``none`` the last value; ``perfect`` the future itself.
        scored: [T] ticks that count; all of them if None.
        metric_delay_ticks: Ticks between the end of a minute and its metric.
        anomalies: What goes wrong on top of the demand; those of the market are applied to its tape.
        events: What is known in advance about the demand, in rows of the tape (``forecasting.annotate``).

    Raises:
        ValueError: The window is empty, out of range, or carries no demand.
    """
    length = len(demand_rps)
    if not 0 <= window.start < window.stop <= length:
        raise ValueError(f"{name}: window {window.start}..{window.stop} does not lie in 0..{length}")
    effects = demand_effects(anomalies, length)
    demand_rps = (demand_rps * effects.demand_factor).astype(np.float32).astype(np.float64)
    reference = float(demand_rps[window].mean())
    mean = float(demand_rps[history].mean())
    if reference <= 0.0 or mean <= 0.0:
        raise ValueError(f"{name}: there is no demand in its history or its window")
    delivered = np.where(effects.metric_gap, np.nan, demand_rps)
    annotation = cached_annotation(
        delivered, tick_s=TICK_S, ticks_per_row=TICKS_PER_ROW, delay_ticks=metric_delay_ticks, events=events
    )
    return Scenario(
        name=name,
        demand_rps=demand_rps.astype(np.float32),
        work_scale=effects.work_scale,
        scored=np.ones(length, np.bool_) if scored is None else scored,
        annotation=_ablate(annotation, demand_rps, forecasts, metric_delay_ticks),
        minute_of_week=minute_of_week,
        mean_demand_rps=mean,
        reference_demand_rps=reference,
        first_tick=window.start,
        last_tick=window.stop,
        kind=kind,
        fault_fraction=effects.fault_fraction,
        metric_gap=effects.metric_gap,
        predictive_rps=hourly_load_forecast(delivered, minute_of_week),
        labels=anomalies,
    )


def _ablate(
    annotation: Annotation, demand_rps: NDArray[np.float64], forecasts: Forecasts, delay_ticks: int
) -> Annotation:
    """Replace the forecasts of an annotation; the shape stays the same."""
    if forecasts == "quantiles":
        return annotation
    rows, leads, levels = annotation.forecast_rps.shape
    if forecasts == "point":
        median = annotation.forecast_rps[:, :, QUANTILE_LEVELS.index(0.5), None]
        return Annotation(np.repeat(median, levels, axis=2), annotation.available, annotation.anomaly_score)
    ticks = TICKS_PER_ROW * np.arange(rows)
    visible = np.clip(ticks - 1 - delay_ticks, 0, len(demand_rps) - 1)
    if forecasts == "none":
        last = np.broadcast_to(demand_rps[visible, None, None], (rows, leads, levels)).astype(np.float32)
        return Annotation(last, np.zeros(rows, np.bool_), annotation.anomaly_score)
    total = np.concatenate(([0.0], np.cumsum(demand_rps)))
    ahead = np.clip(visible[:, None] + 1 + np.array(LEAD_MINUTES), TICKS_PER_ROW, len(demand_rps))
    mean = (total[ahead] - total[ahead - TICKS_PER_ROW]) / TICKS_PER_ROW
    future = np.repeat(mean[:, :, None], levels, axis=2).astype(np.float32)
    return Annotation(future, np.ones(rows, np.bool_), annotation.anomaly_score)


def with_anomaly_scores(scenario: Scenario, scores: AnomalyScores, metric_delay_ticks: int) -> Scenario:
    """Replace the anomaly scores of a scenario.

    Args:
        scenario: Made with the detector's scores.
        scores: ``detector`` leaves them; ``none`` is 0 throughout; ``perfect`` is 1 where the newest visible ticks
            of a row touch the window of a labelled anomaly, else 0. Only generated scenarios have labels.
        metric_delay_ticks: As in ``make_scenario``.
    """
    if scores == "detector":
        return scenario
    annotation = scenario.annotation
    found = np.zeros(len(annotation.anomaly_score), np.float32)
    if scores == "perfect":
        end = TICKS_PER_ROW * np.arange(len(found)) - metric_delay_ticks
        for label in scenario.labels:
            found[(label.start_tick < end) & (end - TICKS_PER_ROW < label.end_tick)] = 1.0
    return replace(scenario, annotation=replace(annotation, anomaly_score=found))


def generate(
    source: WorkloadModel | str,
    *,
    days: int,
    seed: int,
    rps_per_reference_instance: float,
    mean_instances: float = 20.0,
    forecasts: Forecasts = "quantiles",
    metric_delay_ticks: int = 1,
    anomalies: tuple[Anomaly, ...] = (),
) -> Scenario:
    """Draw a scenario from a workload model or a named pattern, with warm-up days that only the forecaster sees.

    Args:
        source: Fitted model, or the name of a pattern.
        days: Playable days.
        seed: Seed of the draw.
        rps_per_reference_instance: Demand one reference instance serves at 60 % utilisation.
        mean_instances: Reference instances that the mean needs (fewer where peaks would need more than 90).
        forecasts: As in ``make_scenario``.
        metric_delay_ticks: As in ``make_scenario``.
        anomalies: As in ``make_scenario``, ticks counted from the start of the warm-up.
    """
    total = days + WARMUP_DAYS
    if isinstance(source, str):
        relative, name = draw_pattern(source, days=total, seed=seed), source
    else:
        relative, name = sample_workload(source, days=total, seed=seed), f"model:{source.name}"
    scale = fleet_scale(relative, rps_per_reference_instance=rps_per_reference_instance, mean_instances=mean_instances)
    whole = slice(0, total * 1440)
    return make_scenario(
        f"{name}#{seed}",
        relative * scale,
        history=whole,
        window=slice(WARMUP_DAYS * 1440, total * 1440),
        forecasts=forecasts,
        metric_delay_ticks=metric_delay_ticks,
        anomalies=anomalies,
    )


def minute_of_week(start: np.datetime64) -> int:
    """Return the minute of the week of a UTC stamp; Monday 00:00 is 0."""
    minutes = (start.astype("datetime64[m]") - _MONDAY).astype(np.int64)
    return int(minutes % _WEEK_MINUTES)


def replay(
    trace: Trace,
    *,
    history: slice | None,
    window: slice | None,
    rps_per_reference_instance: float,
    mean_instances: float = 20.0,
    operator_history: float = 0.7,
    forecasts: Forecasts = "quantiles",
    metric_delay_ticks: int = 1,
    seed: int = 0,
) -> Scenario:
    """Turn a trace into a scenario: one-minute ticks, scaled by its history part.

    Args:
        trace: A loaded trace.
        history: Ticks that scale the trace; the first ``operator_history`` of it if None.
        window: Ticks that may be played; what follows the history if None.
        rps_per_reference_instance: Demand one reference instance serves at 60 % utilisation.
        mean_instances: Reference instances the history's mean needs.
        operator_history: Share of the trace that is history by default.
        forecasts: As in ``make_scenario``.
        metric_delay_ticks: As in ``make_scenario``.
        seed: Of the noise inside steps coarser than a tick.

    Raises:
        ValueError: The window is shorter than a day.
    """
    ticks = to_ticks(trace, tick_s=TICK_S, seed=seed)
    length = len(ticks.values)
    cut = int(operator_history * length)
    history = history or slice(0, cut)
    window = window or slice(cut, length)
    if window.stop - window.start < 1440:
        raise ValueError(
            f"{trace.name}: {window.stop - window.start} minutes to play; at least one day (1440) is needed"
        )
    scale = fleet_scale(
        ticks.values[history],
        rps_per_reference_instance=rps_per_reference_instance,
        mean_instances=mean_instances,
    )
    return make_scenario(
        trace.name,
        ticks.values * scale,
        history=history,
        window=window,
        minute_of_week=minute_of_week(ticks.start),
        kind=trace.kind,
        forecasts=forecasts,
        scored=ticks.scored,
        metric_delay_ticks=metric_delay_ticks,
    )
