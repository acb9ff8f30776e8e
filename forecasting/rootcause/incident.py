"""What root-cause analysis is given: telemetry of some services, who calls whom, and when it began.

Axis letters of this package: T ticks (one minute each), B bins of five ticks, S services, M metrics, E calls,
C candidates (the S services, then `DEMAND`), F pieces of evidence.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DEMAND: Final = "demand"
"""The cause of an incident that no service has brought about."""

METRICS: Final = (
    "request_rps",
    "latency_p50_ms",
    "latency_p95_ms",
    "error_fraction",
    "cpu_utilization",
    "saturation",
)
"""Metrics that are understood, in the order of the last axis of `Incident.values`."""

SHORTEST_HISTORY: Final = 60
"""Ticks before the start without which nothing can be called unusual."""


@dataclass(frozen=True)
class Look:
    """When somebody looks at an incident.

    Attributes:
        ticks: how long after the supposed start, or None for the end of the incident.
        late_ticks: how much later than the true start the supposed one is, as after a slow detection.
    """

    ticks: int | None = None
    late_ticks: int = 0

    def window(self, start_tick: int, end_tick: int) -> tuple[int, int]:
        """Return the window that is looked at, of at least one tick, for an incident in [start_tick, end_tick)."""
        start = min(start_tick + self.late_ticks, end_tick - 1)
        return start, end_tick if self.ticks is None else min(start + self.ticks, end_tick)


@dataclass(frozen=True)
class Topology:
    """Who calls whom.

    Attributes:
        names: [S] unique names; the first is the entry, where demand arrives.
        caller: int[E], service that calls.
        callee: int[E], service that is called.

    Raises:
        ValueError: no service, names that are not unique or equal to `DEMAND`, or a call from or to no service or to
            itself.
    """

    names: tuple[str, ...]
    caller: IntArray
    callee: IntArray

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ValueError(f"service names must be unique and at least one, got {self.names}")
        if DEMAND in self.names:
            raise ValueError(f"{DEMAND!r} names the outside cause; no service may be called so")
        if self.caller.shape != self.callee.shape or self.caller.ndim != 1:
            raise ValueError(f"caller and callee have shapes {self.caller.shape} and {self.callee.shape}; expected [E]")
        ends = np.concatenate((self.caller, self.callee))
        if len(ends) and not (ends.min() >= 0 and ends.max() < len(self.names)):
            raise ValueError(f"a call names service {ends.min()}..{ends.max()}; known: 0..{len(self.names) - 1}")
        if (self.caller == self.callee).any():
            raise ValueError("a service calls itself")

    @property
    def candidates(self) -> tuple[str, ...]:
        """[C] what can be the cause: every service, then `DEMAND`."""
        return (*self.names, DEMAND)

    @cached_property
    def calls(self) -> npt.NDArray[np.bool_]:
        """bool[S, S], whether a row's service calls a column's."""
        matrix = np.zeros((len(self.names), len(self.names)), np.bool_)
        matrix[self.caller, self.callee] = True
        return matrix


@dataclass(frozen=True)
class Incident:
    """What is known of one incident.

    Attributes:
        values: float[T, S, M], metrics in the order of `METRICS`, one row a minute; NaN where missing. Values that are
            infinite or negative count as missing.
        topology: the services.
        start_tick: when it began, or was detected; everything before is taken as ordinary.
        end_tick: one past the last tick to look at; later rows are never read.

    Raises:
        ValueError: shapes that disagree, an empty window, one beyond the telemetry, or less than `SHORTEST_HISTORY`
            before it.
    """

    values: npt.NDArray[np.floating]
    topology: Topology
    start_tick: int
    end_tick: int

    def __post_init__(self) -> None:
        wanted = (len(self.topology.names), len(METRICS))
        if self.values.ndim != 3 or self.values.shape[1:] != wanted:
            raise ValueError(f"values have shape {self.values.shape}; expected [T, {wanted[0]}, {wanted[1]}]")
        if not self.start_tick < self.end_tick <= len(self.values):
            window = f"{self.start_tick}..{self.end_tick}"
            raise ValueError(f"the window {window} is empty or lies beyond the telemetry's {len(self.values)} ticks")
        if self.start_tick < SHORTEST_HISTORY:
            raise ValueError(f"only {self.start_tick} ticks before the start; at least {SHORTEST_HISTORY} are needed")

    def seen(self, look: Look) -> "Incident":
        """Return the incident as known at a look; never later than its own end."""
        start, end = look.window(self.start_tick, self.end_tick)
        return replace(self, start_tick=start, end_tick=end)


@dataclass(frozen=True)
class LabelledIncident:
    """An incident and the truth about it, to learn from or to score on.

    Attributes:
        incident: what is known.
        cause: the name of a candidate.
        kind: the name of the fault's kind.
    """

    incident: Incident
    cause: str
    kind: str

    def __post_init__(self) -> None:
        if self.cause not in self.incident.topology.candidates:
            raise ValueError(f"the cause {self.cause!r} is no candidate: {self.incident.topology.candidates}")
