"""Name the kind of an anomaly in the signals of one service, with what speaks for it and what to do."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from forecasting.rootcause.diagnosis import LEAST_PATTERN
from forecasting.rootcause.explanation import correlated_metrics, shared_factors
from forecasting.rootcause.incident import FloatArray
from forecasting.rootcause.model import KindModel, pattern_odds, sharpened
from forecasting.rootcause.patterns import load_library
from forecasting.rootcause.result import RootCause, ranked
from forecasting.rootcause.signals import EVIDENCE, SIGNALS, LabelledEvent, SignalEvent, signal_evidence
from forecasting.rootcause.training import LOOKS, train_kinds

_TICKS_BEFORE = 120
_SIZES: Final = {
    "demand_rps": ("demand z", "demand effect"),
    "cpu_utilization": ("CPU z", "CPU effect"),
    "latency_p95_ms": ("p95 z", "p95 effect"),
    "error_fraction": ("errors z", "errors effect"),
    "in_service": ("instances beyond demand z", "instances beyond demand effect"),
    "interruptions": ("interruptions z", "interruptions effect"),
    "spot_usd_per_hour": ("price z", "price effect"),
}


def diagnose_signals(event: SignalEvent, model: KindModel | None = None) -> RootCause:
    """Return the most likely kind of an event, its cause in words, and what speaks for it.

    Args:
        event: what is known. With nothing unusual in it the verdict is a guess; ask only about detected events.
        model: a trained model; without one the library's fingerprints decide, with a confidence that was not
            calibrated.
    """
    library = load_library("service")
    odds = _odds(signal_evidence(event), model)
    chances = sharpened(odds, 1.0)
    patterns = ranked(library.kinds, chances.tolist())
    best = library.pattern(patterns[0].name)
    match = best.kind if patterns[0].probability >= LEAST_PATTERN else None
    rows = _weighted_signals(event, model, int(chances.argmax()), odds)
    factors = shared_factors(rows)
    recent = event.values[max(0, event.start_tick - _TICKS_BEFORE) : event.end_tick]
    paths = dict(zip(SIGNALS, np.asarray(recent, dtype=np.float64).T, strict=True))
    return RootCause(
        primary_cause=best.cause,
        contributing_factors=factors,
        correlated_metrics=correlated_metrics(factors[0].metric, paths) if factors else (),
        pattern_match=match,
        confidence_score=patterns[0].probability,
        recommended_actions=best.actions,
        candidates=ranked(tuple(pattern.cause for pattern in library.patterns), chances.tolist()),
        patterns=patterns,
    )


def rank_kinds(event: SignalEvent, model: KindModel | None = None) -> FloatArray:
    """Return float64[K], the probability of each pattern of the library; :func:`diagnose_signals` unexplained."""
    return sharpened(_odds(signal_evidence(event), model), 1.0)


def train_signal_kinds(tables: Sequence[LabelledEvent], seed: int) -> KindModel:
    """Return a model of the kinds in ``tables``, trained on each event at its end and early on.

    Args:
        tables: labelled events, at least 30, with at least two of each kind. Disjoint from any scored later.
        seed: of trees and folds.

    Raises:
        ValueError: too few events.
    """
    if len(tables) < 30:
        raise ValueError(f"kinds of anomalies need at least 30 events to learn from, got {len(tables)}")
    rows = [signal_evidence(item.event.seen(look)) for item in tables for look in LOOKS]
    owner = np.repeat(np.arange(len(tables)), len(LOOKS))
    kinds = np.array([item.kind for item in tables])[owner]
    return train_kinds(np.array(rows), kinds, owner, EVIDENCE, seed)


def _odds(evidence: FloatArray, model: KindModel | None) -> FloatArray:
    return pattern_odds(evidence, load_library("service"), EVIDENCE, model)


def _weighted_signals(
    event: SignalEvent, model: KindModel | None, best: int, odds: FloatArray
) -> list[tuple[str, float, float, float]]:
    """Return each known signal's deviation, ratio, and how far the lead of the best kind falls without it."""
    evidence = signal_evidence(event)
    rows = []
    for column, name in enumerate(SIGNALS):
        blind = _odds(signal_evidence(event, without=column), model)
        weight = _lead(odds, best) - _lead(blind, best)
        z, ratio = (evidence[EVIDENCE.index(part)] for part in _SIZES[name])
        if np.isfinite(z) and np.isfinite(ratio):
            rows.append((name, float(np.sinh(z)), float(np.exp(ratio)), weight))
    return rows


def _lead(odds: FloatArray, best: int) -> float:
    """Return the log odds of the best kind over the strongest other."""
    return float(odds[best] - np.delete(odds, best).max())
