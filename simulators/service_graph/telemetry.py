"""What an operator sees of a service graph: metrics with noise, delay and holes, beside the truth they hide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import poisson

from simulators.service_graph.faults import GraphFault
from simulators.service_graph.flow import Flow, solve_flow
from simulators.service_graph.graph import ServiceGraph

METRICS: Final = (
    "request_rps",
    "latency_p50_ms",
    "latency_p95_ms",
    "error_fraction",
    "cpu_utilization",
    "saturation",
)
"""Metrics of a service, in the order of the last axis of `GraphTelemetry.values`."""

WANDER_SIGMA: Final = 0.03
"""Log standard deviation of the slow common drift of a service's latencies (what calm systems do by themselves)."""

NOISE_SIGMA: Final = {
    "request_rps": 0.01,
    "latency_p50_ms": 0.03,
    "latency_p95_ms": 0.06,
    "cpu_utilization": 0.03,
    "saturation": 0.03,
}
"""Log standard deviation of the independent noise of each metric; errors are counted, hence Poisson."""

_WANDER_PERSISTENCE = 0.97
_LONGEST_LAG = 2
_SERIES_SHARE = 0.5
_HOLE_TICKS = (15, 240)
_TICK_S = 60.0


@dataclass(frozen=True)
class GraphTelemetry:
    """Metrics of a graph and the ground truth behind them.

    Attributes:
        values: [T, S, M] float32 metrics in the order of `METRICS`, NaN where missing.
        lag_ticks: [S] how many ticks late each service's metrics arrive; an operator does not know it.
        faults: The ground truth: causing service (`GraphFault.cause`), kind and window.
        flow: The true state.
    """

    values: NDArray[np.float32]
    lag_ticks: NDArray[np.int64]
    faults: tuple[GraphFault, ...]
    flow: Flow

    def metric(self, name: str) -> NDArray[np.float32]:
        """Return [T, S] one metric by name; ValueError names the known ones."""
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
        return self.values[:, :, METRICS.index(name)]


def simulate_graph(
    graph: ServiceGraph,
    demand_rps: NDArray[np.floating],
    faults: Sequence[GraphFault],
    *,
    seed: int,
    missing_share: float = 0.0,
) -> GraphTelemetry:
    """Play demand and faults through a graph and measure it as a monitoring system would.

    Noise does not depend on what happens, so a fault leaves every earlier value as it was. Metrics of a service arrive
    0 to 2 minutes late. Of the missing share about half are whole series, the rest stretches of 15 minutes to 4 hours.

    Args:
        graph: The services.
        demand_rps: [T] requests per second at the entry, one a minute.
        faults: What goes wrong; they may overlap.
        seed: Of noise, lags and holes; non-negative.
        missing_share: Share of the values that is missing, 0..0.9.

    Raises:
        ValueError: ``missing_share`` out of range, or as `solve_flow`.
    """
    if not 0.0 <= missing_share <= 0.9:
        raise ValueError(f"missing_share {missing_share} lies outside 0..0.9")
    flow = solve_flow(graph, demand_rps, faults)
    rng_lag, rng_noise, rng_holes = (np.random.default_rng([seed, stream, 0x7E]) for stream in range(3))
    lag = rng_lag.integers(0, _LONGEST_LAG, len(graph.names), endpoint=True)
    values = _late(_measure(flow, rng_noise), lag)
    _punch(values, missing_share, rng_holes)
    return GraphTelemetry(values, lag, tuple(faults), flow)


def _measure(flow: Flow, rng: np.random.Generator) -> NDArray[np.float32]:
    ticks, services = flow.request_rps.shape
    draws = rng.standard_normal((ticks, services, len(METRICS) + 1))
    chance = np.clip(rng.random((ticks, services)), 1e-12, 1.0 - 1e-12)
    shocks = draws[:, :, -1] * np.sqrt(1.0 - _WANDER_PERSISTENCE**2)
    shocks[0] = draws[0, :, -1]
    wander = np.exp(WANDER_SIGMA * lfilter([1.0], [1.0, -_WANDER_PERSISTENCE], shocks, axis=0))
    true = {
        "request_rps": flow.request_rps,
        "latency_p50_ms": flow.quantile_ms(0.5) * wander,
        "latency_p95_ms": flow.quantile_ms(0.95) * wander,
        "cpu_utilization": flow.cpu_utilization,
        "saturation": flow.saturation,
    }
    values = np.empty((ticks, services, len(METRICS)), np.float32)
    for name, path in true.items():
        column = METRICS.index(name)
        values[:, :, column] = path * np.exp(NOISE_SIGMA[name] * draws[:, :, column])
    for name in ("cpu_utilization", "saturation"):
        column = METRICS.index(name)
        values[:, :, column] = np.minimum(values[:, :, column], 1.0)
    requests = flow.request_rps * _TICK_S
    failed = np.asarray(poisson.ppf(chance, requests * flow.error_fraction))
    values[:, :, METRICS.index("error_fraction")] = np.minimum(failed / np.maximum(requests, 1.0), 1.0)
    return values


def _late(values: NDArray[np.float32], lag: NDArray[np.int64]) -> NDArray[np.float32]:
    """Shift each service's metrics to the minute in which they arrive; the first minutes are missing."""
    shifted = np.full_like(values, np.nan)
    for service, ticks in enumerate(lag.tolist()):
        shifted[ticks:, service] = values[: len(values) - ticks, service]
    return shifted


def _punch(values: NDArray[np.float32], share: float, rng: np.random.Generator) -> None:
    """Remove whole series, then stretches of every other series until the share is reached."""
    ticks, services, metrics = values.shape
    flat = values.reshape(ticks, services * metrics)
    order = rng.permutation(flat.shape[1])
    whole = round(_SERIES_SHARE * share * len(order))
    flat[:, order[:whole]] = np.nan
    rest = order[whole:]
    wanted = round((share * len(order) - whole) / len(rest) * ticks)
    for column in rest:
        hole = np.zeros(ticks, np.bool_)
        while (open_ticks := wanted - np.count_nonzero(hole)) > 0:
            start = int(rng.integers(ticks))
            hole[start : start + min(int(rng.integers(*_HOLE_TICKS)), open_ticks)] = True
        flat[hole, column] = np.nan
