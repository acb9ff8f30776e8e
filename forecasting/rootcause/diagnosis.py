"""Name the cause of an incident of a service graph, with what speaks for it and what to do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from forecasting.rootcause.deviations import (
    BIN_TICKS,
    CPU,
    ERROR,
    MEAN,
    P50,
    P95,
    RPS,
    SATURATION,
    Deviations,
    measure_deviations,
)
from forecasting.rootcause.evidence import EVIDENCE, gather_evidence
from forecasting.rootcause.explanation import correlated_metrics, shared_factors
from forecasting.rootcause.incident import DEMAND, METRICS, FloatArray, Incident, Topology
from forecasting.rootcause.model import CauseModel, pattern_odds, sharpened
from forecasting.rootcause.patterns import Library, load_library
from forecasting.rootcause.result import Correlation, Factor, RootCause, ranked
from forecasting.rootcause.rule import topology_rule

LEAST_PATTERN: Final = 0.5
"""Probability below which no pattern is said to match."""

_GROUPS: Final = ((RPS,), (P50, P95, MEAN), (ERROR,), (CPU,), (SATURATION,))
_BINS_BEFORE = 120 // BIN_TICKS
_RULE_SHARPNESS = 1.3


def diagnose(incident: Incident, model: CauseModel | None = None) -> RootCause:
    """Return the verdict on an incident.

    Args:
        incident: what is known. With nothing unusual in it the verdict is a guess, and its confidence says so.
        model: a trained model; without one the topology rule ranks and the library's fingerprints name the pattern;
            confidence then has one factor, fitted on training incidents, and is less honest.
    """
    topology = incident.topology
    found = measure_deviations(incident)
    evidence = gather_evidence(found, topology)
    library = load_library("graph")
    chances = _chances(found, evidence, topology, model)
    best = int(chances.argmax())
    candidates = ranked(topology.candidates, chances.tolist())
    patterns = ranked(library.kinds, _patterns(evidence[best], best == len(topology.names), library, model).tolist())
    match = patterns[0].name if patterns[0].probability >= LEAST_PATTERN else None
    factors = _factors(found, topology, best, model)
    cause = topology.candidates[best]
    return RootCause(
        primary_cause=cause,
        contributing_factors=factors,
        correlated_metrics=_correlated(found, topology, best, factors),
        pattern_match=match,
        confidence_score=candidates[0].probability,
        recommended_actions=_actions(library, match, cause, candidates[1].name),
        candidates=candidates,
        patterns=patterns,
    )


def rank_candidates(incident: Incident, model: CauseModel | None = None) -> tuple[FloatArray, FloatArray]:
    """Return float64[C] and float64[K], the probabilities of candidates and of the library's patterns.

    As :func:`diagnose`, without the explanation and several times as fast.
    """
    found = measure_deviations(incident)
    evidence = gather_evidence(found, incident.topology)
    chances = _chances(found, evidence, incident.topology, model)
    best = int(chances.argmax())
    is_demand = best == len(incident.topology.names)
    return chances, _patterns(evidence[best], is_demand, load_library("graph"), model)


def _chances(found: Deviations, evidence: FloatArray, topology: Topology, model: CauseModel | None) -> FloatArray:
    if model is not None:
        return model.probabilities(evidence)
    return sharpened(topology_rule(found, topology), _RULE_SHARPNESS)


def _patterns(row: FloatArray, is_demand: bool, library: Library, model: CauseModel | None) -> FloatArray:
    """Return [K] the probability of each pattern of the library; one that strikes elsewhere has 0."""
    odds = pattern_odds(row, library, EVIDENCE, None if model is None else model.kind)
    fitting = np.array([(pattern.strikes == "demand") == is_demand for pattern in library.patterns])
    return sharpened(np.where(fitting, odds, -np.inf), 1.0)


def _factors(found: Deviations, topology: Topology, best: int, model: CauseModel | None) -> tuple[Factor, ...]:
    """Return the metrics that speak for the best candidate: how far its log odds fall when one is taken away."""
    if best == len(topology.names):
        return (Factor(f"{topology.names[0]} request_rps", found.load_z, float(np.exp(found.load_effect)), 1.0),)
    whole = _score(found, topology, best, model)
    rows = []
    for group in _GROUPS:
        sizes = np.abs(np.where(np.isfinite(found.z[best, list(group)]), found.z[best, list(group)], -np.inf))
        known = np.isfinite(found.z[best, list(group)])
        if not known.any():
            continue
        lead = group[int(np.where(known, sizes, -1.0).argmax())]
        name = METRICS[lead] if lead < MEAN else METRICS[P50]
        weight = whole - _score(_without(found, best, group), topology, best, model)
        rows.append((f"{topology.names[best]} {name}", *_size(found, best, lead), weight))
    return shared_factors(rows)


def _size(found: Deviations, service: int, series: int) -> tuple[float, float]:
    return float(found.z[service, series]), float(np.exp(found.effect[service, series]))


def _score(found: Deviations, topology: Topology, best: int, model: CauseModel | None) -> float:
    if model is None:
        return float(topology_rule(found, topology)[best])
    return float(model.log_odds(gather_evidence(found, topology)[best : best + 1])[0])


def _without(found: Deviations, service: int, group: Sequence[int]) -> Deviations:
    """Return the deviations as if some metrics of a service were missing."""
    changed = {}
    for name in ("effect", "z", "early", "late", "actual", "expected", "spread"):
        values = getattr(found, name).copy()
        values[service, list(group)] = np.nan
        changed[name] = values
    return replace(found, **changed)


def _correlated(
    found: Deviations, topology: Topology, best: int, factors: tuple[Factor, ...]
) -> tuple[Correlation, ...]:
    """Return metrics whose residuals moved with the leading factor's; for demand, metrics that moved with the load."""
    names = [f"{service} {metric}" for service in topology.names for metric in METRICS]
    recent = slice(-found.window_bins - _BINS_BEFORE, None)
    is_demand = best == len(topology.names)
    source = found.logs if is_demand else found.residual
    paths = dict(zip(names, source[recent, :, :MEAN].reshape(-1, len(names)).T, strict=True))
    if is_demand:
        return correlated_metrics(DEMAND, paths | {DEMAND: found.load[recent]})
    return correlated_metrics(factors[0].metric, paths) if factors else ()


def _actions(library: Library, match: str | None, cause: str, second: str) -> tuple[str, ...]:
    if match is not None:
        return tuple(action.format(cause=cause) for action in library.pattern(match).actions)
    where = "the demand at the entry" if cause == DEMAND else cause
    return (
        f"no known pattern fits: look at {where} first, then at {second}",
        "compare what was deployed or configured just before the start",
    )
