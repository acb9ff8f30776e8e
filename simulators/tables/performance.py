"""The performance table: a fleet in a state, and how it answers in the next minutes.

A row is a random service on a random type, a fleet of 1 to 99 instances of it of which some may be on their way, ten
minutes of demand that leave backlog, retries and a CPU metric behind, and the five minutes that follow. Those are
played by the kernel itself. Responses are read off its response grid as reports do, log-linearly between grid points.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import (
    MAX_INSTANCES,
    PERFORMANCE_MINUTES,
    SLO_ERROR_FRACTION,
    SLO_LATE_FRACTION,
)
from simulators.latency import quantile_from_tail
from simulators.records import RESPONSE_GRID_MS
from simulators.tables.fleets import Fleets, batches, read_states, start_fleets
from simulators.tables.services import draw_services, log_uniform, service_columns, service_records

BUSY_SHARE: Final = 0.8
"""Share of rows whose last minutes were below saturation."""
BUSY: Final = (0.08, 0.95)
OVERLOADED: Final = (0.95, 1.5)
CHANGE_SIGMA: Final = 0.25
BOOTING_SHARE: Final = 0.4
MAX_GROWTH: Final = 0.6


def performance_table(rows: int, seed: int) -> pd.DataFrame:
    """Return how random fleets answer in the next five minutes.

    Args:
        rows: Number of rows.
        seed: Everything random follows from it; other seeds give other services, fleets and demands.

    Returns:
        The columns of ``forecasting.capacity.columns.PERFORMANCE_COLUMNS``; ``p95_ms``, ``p99_ms`` and ``error_rate``
        over all requests of the window and ``is_bad``, 1 where more than 5 % were later than 250 ms or at least 0.1 %
        failed; and what describes the row to people: instance type, memory, prices, the request in raw units.

    Raises:
        ValueError: Fewer than one row.
    """
    if rows < 1:
        raise ValueError(f"a table needs at least one row, got {rows}")
    rng = np.random.default_rng((seed, 1))
    services = draw_services(rng, rows)
    records = service_records(services)
    fleets, window_rps = _draw_fleets(rng, records)
    columns = service_columns(services, records)
    found = np.full((rows, 9), np.nan)
    for part in batches(services):
        chosen = [services[row] for row in part]
        batch = start_fleets(chosen, records[part], fleets.rows(part))
        state = read_states(batch, records[part], fleets.now_rps[part])
        batch.step(PERFORMANCE_MINUTES, detail=True)
        found[part] = np.column_stack([*vars(state).values(), *_answers(batch.outcomes)])
    table = columns.drop(columns=["memory_slots"])
    names = ["in_service", "booting", "backlog_s", "utilization", "retry_ratio", "p95_ms", "p99_ms", "error_rate"]
    table[[*names, "is_bad"]] = found
    remaining = np.maximum(table["boot_s"] - 60.0 * fleets.launched_ago, 0.0)
    table["ready_in_s"] = np.where(table["booting"] > 0, remaining, 0.0)
    table["demand_rps"] = window_rps
    return table


def _draw_fleets(rng: np.random.Generator, records: NDArray[np.void]) -> tuple[Fleets, NDArray[np.float64]]:
    rows = len(records)
    total = np.minimum(log_uniform(rng, 1.0, MAX_INSTANCES + 1.0, rows).astype(np.int64), MAX_INSTANCES)
    growth = np.where(rng.uniform(size=rows) < BOOTING_SHARE, rng.uniform(0.0, MAX_GROWTH, rows), 0.0)
    booting = np.minimum(np.round(growth * total).astype(np.int64), total - 1)
    busy = np.where(rng.uniform(size=rows) < BUSY_SHARE, rng.uniform(*BUSY, rows), rng.uniform(*OVERLOADED, rows))
    in_service = total - booting
    now_rps = busy * records["capacity_rps"][:, 0] * in_service
    window_rps = now_rps * np.exp(rng.normal(0.0, CHANGE_SIGMA, rows))
    fleets = Fleets(
        in_service=in_service,
        booting=booting,
        launched_ago=rng.integers(0, 3, rows),
        spot_share=np.zeros(rows),
        now_rps=now_rps,
        window_rps=np.repeat(window_rps[:, None], PERFORMANCE_MINUTES, axis=1),
        seeds=rng.integers(0, 2**63, rows, dtype=np.uint64),
    )
    return fleets, window_rps


def _answers(outcomes: NDArray[np.void]) -> tuple[NDArray[np.float64], ...]:
    """Return p95 and p99 in milliseconds, the error rate, and whether the objective was missed."""
    requests = outcomes["requests"]
    tail = outcomes["slower_requests"] / requests[:, None]
    errors = np.minimum(outcomes["failed_requests"] / requests, 1.0)
    is_bad = (outcomes["late_requests"] / requests > SLO_LATE_FRACTION) | (errors >= SLO_ERROR_FRACTION)
    p95, p99 = (quantile_from_tail(tail, RESPONSE_GRID_MS, level) for level in (0.95, 0.99))
    return p95, p99, errors, is_bad.astype(np.float64)
