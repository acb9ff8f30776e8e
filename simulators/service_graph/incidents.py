"""Labelled incidents for root-cause analysis: a drawn graph, a day of calm, and one fault with its ground truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.patterns import draw_pattern
from simulators.service_graph.draw import FEWEST, MOST, draw_graph
from simulators.service_graph.faults import FAULTS, GraphFault
from simulators.service_graph.graph import ServiceGraph
from simulators.service_graph.telemetry import GraphTelemetry, simulate_graph

Difficulty = Literal["easy", "hard"]
_DAY = 1440
_MINUTES: Final = {"easy": (30, 120), "hard": (40, 180)}
_LEAK_MINUTES: Final = (120, 420)
_LONGEST_FAULT = 420


@dataclass(frozen=True)
class Incident:
    """One incident.

    Attributes:
        graph: The services; an operator knows who calls whom.
        demand_rps: [T] demand at the entry, without a surge.
        telemetry: What is measured.
        fault: The ground truth.
    """

    graph: ServiceGraph
    demand_rps: NDArray[np.float64]
    telemetry: GraphTelemetry
    fault: GraphFault


def draw_fault(
    graph: ServiceGraph, kind: str, *, start_tick: int, difficulty: Difficulty, rng: np.random.Generator
) -> GraphFault:
    """Draw one fault: where it strikes (uniform over services or calls), how strong it is, how long it lasts.

    Args:
        graph: The services.
        kind: A key of `FAULTS`.
        start_tick: First tick.
        difficulty: ``easy`` or ``hard``.
        rng: Source of luck.

    Raises:
        ValueError: Unknown kind or difficulty.
    """
    if kind not in FAULTS:
        raise ValueError(f"unknown fault kind {kind!r}; known: {', '.join(FAULTS)}")
    if difficulty not in _MINUTES:
        raise ValueError(f"unknown difficulty {difficulty!r}; known: easy, hard")
    span = FAULTS[kind]
    low, high = span.easy if difficulty == "easy" else span.hard
    severity = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    minutes = int(rng.integers(*(_LEAK_MINUTES if kind == "memory_leak" else _MINUTES[difficulty])))
    service = callee = None
    if span.target == "service":
        service = graph.names[int(rng.integers(len(graph.names)))]
    elif span.target == "edge":
        edge = int(rng.integers(len(graph.caller)))
        service, callee = graph.names[graph.caller[edge]], graph.names[graph.callee[edge]]
    return GraphFault(kind, start_tick, start_tick + minutes, severity, service, callee)


def incident_suite(
    seed: int,
    n: int,
    difficulty: Difficulty,
    *,
    missing_share: float = 0.25,
    kinds: Sequence[str] = tuple(FAULTS),
) -> list[Incident]:
    """Return ``n`` incidents of two days each; incident ``i`` of a seed is the same whatever ``n`` is.

    Kinds come in turn. Demand follows a daily swing; the fault starts in the second day, so the first one shows what is
    normal.

    Args:
        seed: Non-negative. Keep disjoint seeds for training and scoring.
        n: How many, at least 1.
        difficulty: ``easy`` or ``hard``.
        missing_share: Share of the metrics that is missing.
        kinds: Kinds of fault that occur.

    Raises:
        ValueError: ``n`` below 1, no kind, or as `draw_fault` and `simulate_graph`.
    """
    if n < 1 or not kinds:
        raise ValueError(f"an incident suite needs at least 1 incident and 1 kind, got {n} and {len(kinds)}")
    return [_draw_incident(seed, index, difficulty, missing_share, kinds[index % len(kinds)]) for index in range(n)]


def _draw_incident(seed: int, index: int, difficulty: Difficulty, missing_share: float, kind: str) -> Incident:
    rng = np.random.default_rng([seed, index, 0x1C])
    own = int(rng.integers(2**31))
    graph = draw_graph(int(rng.integers(FEWEST, MOST, endpoint=True)), own)
    demand_rps = graph.design_rps * draw_pattern("diurnal", days=2, seed=own)
    start = int(rng.integers(_DAY, 2 * _DAY - _LONGEST_FAULT))
    fault = draw_fault(graph, kind, start_tick=start, difficulty=difficulty, rng=rng)
    telemetry = simulate_graph(graph, demand_rps, (fault,), seed=own, missing_share=missing_share)
    return Incident(graph, demand_rps, telemetry, fault)
