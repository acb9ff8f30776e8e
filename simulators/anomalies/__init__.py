"""The labelled anomaly library: nine kinds, drawn by seed, played into demand and market tapes as pure effects."""

from simulators.anomalies.demand import DemandEffects, demand_effects
from simulators.anomalies.draw import draw_anomalies
from simulators.anomalies.kinds import KINDS, SIGNALS, Anomaly, Kind, Span, make_anomaly
from simulators.anomalies.market import market_effects, pools_hit
from simulators.anomalies.suite import CLEAN_DAYS, METRICS, LabelledSeries, labelled_suite

__all__ = [
    "CLEAN_DAYS",
    "KINDS",
    "METRICS",
    "SIGNALS",
    "Anomaly",
    "DemandEffects",
    "Kind",
    "LabelledSeries",
    "Span",
    "demand_effects",
    "draw_anomalies",
    "labelled_suite",
    "make_anomaly",
    "market_effects",
    "pools_hit",
]
