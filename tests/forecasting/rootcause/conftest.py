from collections.abc import Callable

import numpy as np
import pytest

from forecasting.rootcause.incident import METRICS, Incident, Topology

NAMES = ("front", "cart", "search", "database")
OWN_MS = np.array([5.0, 8.0, 6.0, 12.0])
START, MINUTES = 1700, 60


def play(
    *,
    own_ms: dict[str, float] | None = None,
    errors: dict[str, float] | None = None,
    cpu: dict[str, float] | None = None,
    network_ms: float = 0.0,
    demand: float = 1.0,
    seed: int = 0,
    start: int = START,
) -> Incident:
    """Four services, front calling cart and search, cart calling the database; times simply add up.

    An independent and much simpler world than the simulator's: no queues, no retries, 2 % noise. ``network_ms`` is a
    constant wait on the call from front to search.
    """
    rng = np.random.default_rng(seed)
    ticks = start + MINUTES
    inside = np.arange(ticks) >= start
    load = 100.0 * (1.0 + 0.5 * np.sin(2.0 * np.pi * np.arange(ticks) / 1440.0))
    load *= np.where(inside, demand, 1.0)
    own = np.repeat(OWN_MS[None], ticks, axis=0)
    failing = np.full((ticks, 4), 5e-4)
    busy = np.repeat((0.004 * load)[:, None], 4, axis=1)
    for name, extra in (own_ms or {}).items():
        own[inside, NAMES.index(name)] += extra
    for name, share in (errors or {}).items():
        failing[inside, NAMES.index(name)] += share
    for name, factor in (cpu or {}).items():
        busy[inside, NAMES.index(name)] *= factor
    mean = own.copy()
    mean[:, 1] += mean[:, 3]
    mean[:, 0] += mean[:, 1] + mean[:, 2]
    waiting = np.where(inside[:, None], [network_ms, 0.0, 0.0, 0.0], 0.0)
    failed = failing.copy()
    failed[:, 1] = 1.0 - (1.0 - failing[:, 1]) * (1.0 - failing[:, 3])
    failed[:, 0] = 1.0 - (1.0 - failing[:, 0]) * (1.0 - failed[:, 1]) * (1.0 - failed[:, 2])
    values = np.empty((ticks, 4, len(METRICS)))
    values[:, :, METRICS.index("request_rps")] = load[:, None]
    values[:, :, METRICS.index("latency_p50_ms")] = 0.8 * mean + waiting
    values[:, :, METRICS.index("latency_p95_ms")] = 2.0 * mean + waiting
    values[:, :, METRICS.index("error_fraction")] = failed
    values[:, :, METRICS.index("cpu_utilization")] = busy
    values[:, :, METRICS.index("saturation")] = 0.4
    values *= np.exp(0.02 * rng.standard_normal(values.shape))
    topology = Topology(NAMES, np.array([0, 0, 1]), np.array([1, 2, 3]))
    return Incident(values, topology, start, ticks)


@pytest.fixture(scope="session")
def played() -> Callable[..., Incident]:
    return play
