"""Faults of a service graph: the label of an incident, and what it does to the services' own properties.

A fault never touches telemetry directly: it changes what a service can do (or how much is asked), and `flow` lets
latency, errors and load follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from simulators.service_graph.graph import ServiceGraph

Path = NDArray[np.float64]
Interval = tuple[float, float]
Target = Literal["service", "edge", "entry"]
DEMAND: Final = "demand"
"""The cause of an incident that no service has brought about."""

_HEALTH_CHECK_TICKS = 2
_FULL_MEMORY = 0.99


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        target: What it strikes: a service, the network of a call, or the demand at the entry.
        severity: What the number means, with its unit.
        allowed: Accepted severities.
        easy: Severities of easy incidents.
        hard: Severities of hard ones.
        rise_share: Share of the window in which it grows linearly to its severity.
    """

    target: Target
    severity: str
    allowed: Interval
    easy: Interval
    hard: Interval
    rise_share: float = 0.0


FAULTS: Final[Mapping[str, FaultKind]] = {
    "cpu_hog": FaultKind("service", "share of the CPUs taken by something else", (0.05, 0.95), (0.5, 0.8), (0.3, 0.45)),
    "slow_disk": FaultKind("service", "extra wait, multiple of base_ms", (0.1, 50.0), (3.0, 10.0), (0.8, 2.0), 0.05),
    "error_burst": FaultKind("service", "share of requests that fail", (0.001, 1.0), (0.1, 0.5), (0.01, 0.04)),
    "memory_leak": FaultKind("service", "slowdown just before restart", (0.1, 10.0), (2.0, 5.0), (0.6, 1.2), 1.0),
    "network_delay": FaultKind("edge", "extra milliseconds per call", (1.0, 5000.0), (60.0, 300.0), (15.0, 40.0)),
    "load_surge": FaultKind("entry", "extra demand, multiple of the usual", (0.05, 10.0), (1.0, 2.5), (0.3, 0.6), 0.1),
    "crash": FaultKind("service", "share of the replicas lost", (0.1, 0.9), (0.6, 0.8), (0.3, 0.45)),
}
"""Every kind of fault by name; why each range is what it is stands in docs/anomalies.md."""


@dataclass(frozen=True)
class GraphFault:
    """One fault, and the ground truth of the incident it makes.

    Attributes:
        kind: A key of `FAULTS`.
        start_tick: First tick.
        end_tick: One past the last tick; the fault is then gone at once.
        severity: In the unit of its kind.
        service: Name of the service it strikes; for a call's network its caller; None for a surge of demand.
        callee: Name of the service that is called, for a call's network only.

    Raises:
        ValueError: Unknown kind, an empty window, a severity out of range, or a target that does not fit the kind.
    """

    kind: str
    start_tick: int
    end_tick: int
    severity: float
    service: str | None = None
    callee: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise ValueError(f"unknown fault kind {self.kind!r}; known: {', '.join(FAULTS)}")
        kind = FAULTS[self.kind]
        if self.start_tick < 0:
            raise ValueError(f"{self.kind}: start_tick {self.start_tick} is below 0")
        if self.end_tick <= self.start_tick:
            raise ValueError(f"{self.kind}: end_tick {self.end_tick} does not lie after start_tick {self.start_tick}")
        if not kind.allowed[0] <= self.severity <= kind.allowed[1]:
            low, high = kind.allowed
            raise ValueError(f"{self.kind}: severity {self.severity:g} lies outside {low:g}..{high:g}")
        if (self.service is not None) != (kind.target != "entry"):
            raise ValueError(f"{self.kind}: service is {self.service!r}, but the kind strikes: {kind.target}")
        if (self.callee is not None) != (kind.target == "edge"):
            raise ValueError(f"{self.kind}: callee is {self.callee!r}, but the kind strikes: {kind.target}")

    @property
    def cause(self) -> str:
        """What root-cause analysis should answer: a service's name, or `DEMAND`."""
        return self.service or DEMAND


@dataclass(frozen=True)
class Stress:
    """What faults do to the own properties of services, calls and demand; [T] and [S, T], [E, T].

    Attributes:
        demand: Multiplier on demand at the entry.
        replicas: Share of the replicas that is there.
        stolen: Share of the CPUs taken by something else.
        slowdown: Multiplier on the CPU time of a request.
        wait_ms: Extra wait of a request, off the CPU.
        error: Share of requests that fail by themselves.
        memory: Share of the free memory that a leak has taken.
        network_ms: Extra time per call.
    """

    demand: Path
    replicas: Path
    stolen: Path
    slowdown: Path
    wait_ms: Path
    error: Path
    memory: Path
    network_ms: Path


def stress_of(graph: ServiceGraph, faults: Sequence[GraphFault], ticks: int) -> Stress:
    """Return what a set of faults does; where they overlap multipliers multiply, waits add, shares are independent.

    Raises:
        ValueError: A fault ends beyond the tape, or names a service or call that does not exist.
    """
    services, edges = len(graph.names), len(graph.caller)
    stress = Stress(
        demand=np.ones(ticks),
        replicas=np.ones((services, ticks)),
        stolen=np.zeros((services, ticks)),
        slowdown=np.ones((services, ticks)),
        wait_ms=np.zeros((services, ticks)),
        error=np.zeros((services, ticks)),
        memory=np.zeros((services, ticks)),
        network_ms=np.zeros((edges, ticks)),
    )
    for fault in sorted(faults, key=lambda item: (item.start_tick, item.kind)):
        if fault.end_tick > ticks:
            raise ValueError(f"{fault.kind}: end_tick {fault.end_tick} lies beyond the tape's {ticks} ticks")
        _apply(fault, graph, stress)
    return stress


def _apply(fault: GraphFault, graph: ServiceGraph, stress: Stress) -> None:
    length = fault.end_tick - fault.start_tick
    rise = max(1, round(FAULTS[fault.kind].rise_share * length))
    age = np.arange(length)
    level = np.minimum((age + 1) / rise, 1.0)
    window = slice(fault.start_tick, fault.end_tick)
    if fault.service is None:
        stress.demand[window] *= 1.0 + fault.severity * level
        return
    index = graph.index(fault.service)
    row = (index, window)
    if fault.callee is not None:
        stress.network_ms[graph.edge(fault.service, fault.callee), window] += fault.severity * level
    elif fault.kind == "cpu_hog":
        stress.stolen[row] = 1.0 - (1.0 - stress.stolen[row]) * (1.0 - fault.severity)
    elif fault.kind == "slow_disk":
        stress.wait_ms[row] += fault.severity * graph.base_ms[index] * level
    elif fault.kind == "error_burst":
        stress.error[row] = 1.0 - (1.0 - stress.error[row]) * (1.0 - fault.severity)
    elif fault.kind == "memory_leak":
        stress.slowdown[row] *= 1.0 + fault.severity * level**2
        stress.memory[row] = np.maximum(stress.memory[row], _FULL_MEMORY * level)
    else:
        unnoticed = np.maximum(0.0, 1.0 - age / _HEALTH_CHECK_TICKS)
        stress.replicas[row] *= 1.0 - fault.severity
        stress.error[row] = 1.0 - (1.0 - stress.error[row]) * (1.0 - fault.severity * unnoticed)
