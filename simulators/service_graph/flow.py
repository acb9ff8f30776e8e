"""Load, latency and errors of a service graph at every tick: what truly happens, before any measurement.

Ticks are independent of each other (each is in its own steady state), so nothing here can look ahead. Within a tick
load flows from callers to callees, and latency and errors flow back; retries couple the two, so both passes are
repeated from calm, a fixed number of times. A service is a queue with several workers: mean wait by Sakasegawa's
approximation (1977), rejections beyond its capacity or its pool; response
times are taken as lognormal with the mean and variance that add up along the calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from simulators.service_graph.faults import GraphFault, Stress, stress_of
from simulators.service_graph.graph import ServiceGraph

Path = NDArray[np.float64]
_ROUNDS = 8
_STEP = 0.7
_BUSIEST = 0.98
_LONGEST_QUEUE = 40.0


@dataclass(frozen=True)
class Flow:
    """The true state of a graph at every tick.

    Attributes:
        request_rps: [T, S] requests that arrive, retries included.
        admitted_fraction: [T, S] share of them that is not turned away.
        attempts: [T, E] attempts per call, 1 without retries.
        mean_ms: [T, S] mean response time, waiting for callees included.
        cv2: [T, S] squared coefficient of variation of the response time.
        error_fraction: [T, S] share of the requests that fail or are turned away.
        cpu_utilization: [T, S] share of the CPUs that is busy, 0..1.
        saturation: [T, S] how full the fuller of worker pool and memory is, 0..1.
    """

    request_rps: Path
    admitted_fraction: Path
    attempts: Path
    mean_ms: Path
    cv2: Path
    error_fraction: Path
    cpu_utilization: Path
    saturation: Path

    def quantile_ms(self, level: float) -> Path:
        """Return [T, S] a quantile of the response time."""
        sigma = np.sqrt(np.log1p(self.cv2))
        return np.asarray(self.mean_ms * np.exp(sigma * ndtri(level) - 0.5 * sigma**2))


@dataclass(frozen=True)
class _Response:
    """What callers get from one service, [T] each."""

    mean_ms: Path
    variance: Path
    error: Path
    admitted: Path
    cpu: Path
    inside: Path


@dataclass(frozen=True)
class _Calls:
    """What one edge costs its caller, [T] each: attempts, failed calls, time and variance per call."""

    attempts: Path
    failed: Path
    mean_ms: Path
    variance: Path


def solve_flow(graph: ServiceGraph, demand_rps: NDArray[np.floating], faults: Sequence[GraphFault]) -> Flow:
    """Return the true state of a graph under a demand and a set of faults.

    Args:
        graph: The services.
        demand_rps: [T] requests per second at the entry, >= 0.
        faults: What goes wrong; they may overlap.

    Raises:
        ValueError: Negative or missing demand, or a fault that does not fit (`stress_of`).
    """
    demand = np.asarray(demand_rps, np.float64)
    if demand.ndim != 1 or not (demand >= 0.0).all():
        raise ValueError("demand_rps must be one series without missing or negative values")
    stress = stress_of(graph, faults, len(demand))
    services, edges = len(graph.names), len(graph.caller)
    attempts, admitted = np.ones((edges, len(demand))), np.ones((services, len(demand)))
    for _ in range(_ROUNDS):
        rate = _load(graph, demand * stress.demand, attempts, admitted)
        responses, calls = _answer(graph, stress, rate)
        used_attempts, used_admitted = attempts, admitted
        attempts = attempts + _STEP * (np.array([call.attempts for call in calls]) - attempts)
        admitted = admitted + _STEP * (np.array([item.admitted for item in responses]) - admitted)
    mean = np.array([item.mean_ms for item in responses])
    pool = graph.pool[:, None] * stress.replicas
    full = np.minimum(np.array([item.inside for item in responses]) / pool, 1.0)
    memory = graph.base_memory[:, None] + (1.0 - graph.base_memory[:, None]) * stress.memory
    return Flow(
        request_rps=rate.T,
        admitted_fraction=used_admitted.T,
        attempts=used_attempts.T,
        mean_ms=mean.T,
        cv2=(np.array([item.variance for item in responses]) / mean**2).T,
        error_fraction=np.array([item.error for item in responses]).T,
        cpu_utilization=np.array([item.cpu for item in responses]).T,
        saturation=np.maximum(full, memory).T,
    )


def _load(graph: ServiceGraph, demand: Path, attempts: Path, admitted: Path) -> Path:
    """Return [S, T] arrivals: what each caller's admitted requests ask, times the attempts."""
    rate = np.zeros((len(graph.names), len(demand)))
    rate[0] = demand
    for service in range(1, len(graph.names)):
        for edge in graph.in_edges[service]:
            caller = graph.caller[edge]
            rate[service] += rate[caller] * admitted[caller] * graph.calls[edge] * attempts[edge]
    return rate


def _answer(graph: ServiceGraph, stress: Stress, rate: Path) -> tuple[list[_Response], list[_Calls]]:
    """Return what every service answers and every edge costs, callees first."""
    responses: dict[int, _Response] = {}
    calls: dict[int, _Calls] = {}
    for service in reversed(range(len(graph.names))):
        for edge in graph.out_edges[service]:
            network = graph.network_ms[edge] + stress.network_ms[edge]
            calls[edge] = _call(graph, edge, responses[int(graph.callee[edge])], network)
        responses[service] = _serve(graph, stress, service, rate[service], calls)
    return [responses[index] for index in range(len(graph.names))], [calls[edge] for edge in range(len(graph.caller))]


def _call(graph: ServiceGraph, edge: int, response: _Response, network_ms: Path) -> _Calls:
    """Return the cost of one call: each attempt ends by an answer, an error, or the time-out."""
    mean = response.mean_ms + network_ms
    sigma2 = np.log1p(response.variance / mean**2)
    sigma = np.sqrt(sigma2)
    timeout = graph.timeout_ms[edge]
    z = (np.log(timeout / mean) + 0.5 * sigma2) / sigma
    late = ndtr(-z)
    below = mean * ndtr(z - sigma)
    attempt_ms = below + np.where(late > 0.0, timeout, 0.0) * late if np.isfinite(timeout) else mean
    failing = 1.0 - (1.0 - response.error) * (1.0 - late)
    retries = int(graph.retries[edge])
    attempts = np.asarray(sum((failing**power for power in range(1, retries + 1)), np.ones_like(failing)))
    return _Calls(
        attempts=attempts,
        failed=failing ** (retries + 1),
        mean_ms=attempts * attempt_ms,
        variance=attempts * np.minimum(response.variance, timeout**2),
    )


def _serve(graph: ServiceGraph, stress: Stress, service: int, rate: Path, calls: dict[int, _Calls]) -> _Response:
    """Return the answer of one service: own time on the CPU, queue, wait, and its calls one after another."""
    workers = graph.workers[service] * stress.replicas[service]
    used_ms = graph.base_ms[service] * stress.slowdown[service]
    service_ms = used_ms / (1.0 - stress.stolen[service])
    load = rate * service_ms / (1000.0 * workers)
    busy = np.minimum(load, _BUSIEST)
    queue_ms = service_ms * busy ** (np.sqrt(2.0 * (workers + 1.0)) - 1.0) / (workers * (1.0 - busy))
    queue_ms = np.minimum(queue_ms, _LONGEST_QUEUE * graph.base_ms[service])
    wait_ms = stress.wait_ms[service]
    mean = service_ms + queue_ms + wait_ms
    variance = service_ms**2 + queue_ms**2 + (0.5 * wait_ms) ** 2
    working = (1.0 - graph.base_error[service]) * (1.0 - stress.error[service])
    for edge in graph.out_edges[service]:
        mean = mean + graph.calls[edge] * calls[edge].mean_ms
        variance = variance + graph.calls[edge] * calls[edge].variance
        if graph.required[edge]:
            working = working * (1.0 - calls[edge].failed) ** graph.calls[edge]
    by_cpu = np.minimum(1.0, 1.0 / np.maximum(load, 1e-9))
    inside = rate * by_cpu * mean / 1000.0
    by_pool = np.minimum(1.0, graph.pool[service] * stress.replicas[service] / np.maximum(inside, 1e-9))
    admitted = by_cpu * by_pool
    stolen = stress.stolen[service]
    return _Response(
        mean_ms=mean,
        variance=variance,
        error=1.0 - admitted * working,
        admitted=admitted,
        cpu=stolen + (1.0 - stolen) * np.minimum(load * by_pool, 1.0),
        inside=inside * by_pool,
    )
