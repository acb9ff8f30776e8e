"""Draw plausible service graphs by seed."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.service_graph.flow import solve_flow
from simulators.service_graph.graph import ServiceGraph

NAMES: Final = (
    "front",
    "catalog",
    "cart",
    "orders",
    "users",
    "search",
    "payments",
    "inventory",
    "pricing",
    "recommendations",
    "shipping",
    "ledger",
)
"""Names of the services, in topological order; a graph of n services takes the first n."""

FEWEST, MOST = 5, 12


def draw_graph(services: int, seed: int, *, design_rps: float = 200.0) -> ServiceGraph:
    """Draw a graph of a plausible small application.

    Every service past the entry gets one caller, and one in three a second one; depth is at most four calls. Sizes are
    assumptions: 2 to 30 ms of CPU a request, 15 to 36 % utilisation at the design rate, 1 to 4 ms of network per call,
    no to two retries, one call in four optional. A time-out is 1.5 to 4 times the 99.9th percentile of the callee in
    calm times: Amazon picks time-outs by an accepted share of false ones, such as 0.1 % (Amazon Builders' Library,
    "Timeouts, retries, and backoff with jitter").

    Args:
        services: 5 to 12.
        seed: Non-negative; the same seed gives the same graph.
        design_rps: Requests per second at the entry for which it is sized.

    Raises:
        ValueError: ``services`` or ``design_rps`` out of range.
    """
    if not FEWEST <= services <= MOST:
        raise ValueError(f"a service graph has {FEWEST} to {MOST} services, got {services}")
    if not design_rps > 0.0:
        raise ValueError(f"design_rps must be above 0, got {design_rps}")
    rng = np.random.default_rng([seed, services, 0x6A])
    caller, callee = _draw_edges(services, rng)
    calls = np.where(rng.random(len(caller)) < 0.3, rng.uniform(0.3, 0.8, len(caller)), 1.0)
    rate = np.zeros(services)
    rate[0] = design_rps
    for edge in np.argsort(callee, kind="stable"):
        rate[callee[edge]] += rate[caller[edge]] * calls[edge]
    base_ms = np.exp(rng.uniform(np.log(2.0), np.log(30.0), services))
    workers = np.maximum(2.0, np.ceil(rate * base_ms / 1000.0 / rng.uniform(0.15, 0.36, services)))
    graph = ServiceGraph(
        names=NAMES[:services],
        base_ms=base_ms,
        workers=workers,
        pool=np.full(services, np.inf),
        base_error=np.exp(rng.uniform(np.log(5e-5), np.log(1e-3), services)),
        base_memory=rng.uniform(0.3, 0.6, services),
        caller=caller,
        callee=callee,
        calls=calls,
        network_ms=rng.uniform(1.0, 4.0, len(caller)),
        timeout_ms=np.full(len(caller), np.inf),
        retries=rng.integers(0, 2, len(caller), endpoint=True),
        required=rng.random(len(caller)) > 0.25,
        design_rps=design_rps,
    )
    return _fit_limits(graph, rng)


def _draw_edges(services: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return callers and callees, ordered by callee."""
    depth = np.zeros(services, np.int64)
    edges: list[tuple[int, int]] = []
    for service in range(1, services):
        callers = [index for index in range(service) if depth[index] < 4]
        chosen = rng.choice(callers, size=min(len(callers), 2 if rng.random() < 1 / 3 else 1), replace=False)
        depth[service] = 1 + depth[chosen].max()
        edges.extend((int(index), service) for index in sorted(chosen))
    caller, callee = np.array(edges, np.int64).T
    return caller, callee


def _fit_limits(graph: ServiceGraph, rng: np.random.Generator) -> ServiceGraph:
    """Set time-outs and worker pools by the graph's own calm state at the design rate."""
    calm = solve_flow(graph, np.full(1, graph.design_rps), ())
    p999_ms = calm.quantile_ms(0.999)[0, graph.callee] + graph.network_ms
    inside = calm.request_rps[0] * calm.mean_ms[0] / 1000.0
    return replace(
        graph,
        timeout_ms=p999_ms * rng.uniform(1.5, 4.0, len(graph.caller)),
        pool=np.maximum(np.ceil(inside * rng.uniform(8.0, 16.0, len(graph.names))), 16.0),
    )
