"""A small graph of services behind one entry: who calls whom, how often, and what each can bear.

Services are numbered in topological order: 0 is the entry, and every call goes from a lower number to a higher one.
Axis letters: S services, E edges (calls).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ServiceGraph:
    """A directed acyclic graph of services.

    Attributes:
        names: [S] unique names; the first is the entry.
        base_ms: [S] mean time on a CPU that one request takes, milliseconds, > 0.
        workers: [S] requests that are worked on at the same time (vCPUs over all replicas), > 0.
        pool: [S] requests that may be inside the service at the same time, waiting for others included, > 0.
        base_error: [S] share of requests that fail in calm times, 0..1.
        base_memory: [S] share of memory in use in calm times, 0..1.
        caller: [E] service that calls.
        callee: [E] service that is called; above its caller.
        calls: [E] calls per request of the caller, > 0.
        network_ms: [E] time on the network per call, >= 0.
        timeout_ms: [E] the caller gives a call up after this, > 0.
        retries: [E] further attempts after a failed or timed-out one, >= 0.
        required: [E] False where the caller answers without the callee (a fallback hides its failure).
        design_rps: Requests per second at the entry for which the graph is sized.

    Raises:
        ValueError: Shapes disagree, a service is not reached, an edge points back, or a value is out of range.
    """

    names: tuple[str, ...]
    base_ms: NDArray[np.float64]
    workers: NDArray[np.float64]
    pool: NDArray[np.float64]
    base_error: NDArray[np.float64]
    base_memory: NDArray[np.float64]
    caller: NDArray[np.int64]
    callee: NDArray[np.int64]
    calls: NDArray[np.float64]
    network_ms: NDArray[np.float64]
    timeout_ms: NDArray[np.float64]
    retries: NDArray[np.int64]
    required: NDArray[np.bool_]
    design_rps: float

    def __post_init__(self) -> None:
        services, edges = len(self.names), len(self.caller)
        if len(set(self.names)) != services:
            raise ValueError(f"service names are not unique: {self.names}")
        for field, length in (
            *((name, services) for name in ("base_ms", "workers", "pool", "base_error", "base_memory")),
            *((name, edges) for name in ("callee", "calls", "network_ms", "timeout_ms", "retries", "required")),
        ):
            if getattr(self, field).shape != (length,):
                raise ValueError(f"{field} has shape {getattr(self, field).shape}, expected ({length},)")
        if edges and not ((self.caller >= 0) & (self.caller < self.callee) & (self.callee < services)).all():
            raise ValueError("an edge points back or to no service; callers come before callees")
        unreached = set(range(1, services)) - set(self.callee.tolist())
        if unreached:
            raise ValueError(f"nobody calls {self.names[min(unreached)]!r}")
        for field in ("base_ms", "workers", "pool", "calls", "timeout_ms"):
            if not (getattr(self, field) > 0.0).all():
                raise ValueError(f"{field} must be above 0 everywhere, got {getattr(self, field).min():g}")
        for field in ("base_error", "base_memory"):
            if not ((getattr(self, field) >= 0.0) & (getattr(self, field) < 1.0)).all():
                raise ValueError(f"{field} must lie in 0..1 everywhere")
        if (self.retries < 0).any() or (self.network_ms < 0.0).any():
            raise ValueError("retries and network_ms must be at least 0 everywhere")

    @cached_property
    def out_edges(self) -> tuple[tuple[int, ...], ...]:
        """Edges on which each service calls."""
        return tuple(tuple(np.flatnonzero(self.caller == index).tolist()) for index in range(len(self.names)))

    @cached_property
    def in_edges(self) -> tuple[tuple[int, ...], ...]:
        """Edges on which each service is called."""
        return tuple(tuple(np.flatnonzero(self.callee == index).tolist()) for index in range(len(self.names)))

    def index(self, name: str) -> int:
        """Return the number of a service; ValueError names the known ones."""
        if name not in self.names:
            raise ValueError(f"unknown service {name!r}; known: {', '.join(self.names)}")
        return self.names.index(name)

    def edge(self, caller: str, callee: str) -> int:
        """Return the number of a call; ValueError where there is none."""
        found = np.flatnonzero((self.caller == self.index(caller)) & (self.callee == self.index(callee)))
        if not len(found):
            raise ValueError(f"{caller!r} does not call {callee!r}")
        return int(found[0])

    def ancestors(self, service: int) -> frozenset[int]:
        """Return the services that reach this one by calls, directly or not."""
        found: set[int] = set()
        for edge in self.in_edges[service]:
            found |= {int(self.caller[edge])} | self.ancestors(int(self.caller[edge]))
        return frozenset(found)
