"""The capacity table: a forecast, a fleet and constraints, and the cheapest fleet that is adequate.

Cheapest is fewest: a row has one type and one spot share. A size is adequate if the kernel, told at the start of the
window to go there, plays no bad minute from ``SETTLE_MINUTES`` to ``WINDOW_MINUTES`` while demand takes the path of the
row's quantile level and every spot instance of one zone gets its notice at ``RECLAIM_MINUTE``. The least adequate size
is found by bisection over played fleets, for each of ``LUCKS`` draws of launch times and notices; the median counts.
The state of a row is that of the first draw.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import (
    DEMAND,
    MAX_INSTANCES,
    PLAN_MINUTES,
    RECLAIM_MINUTE,
    SETTLE_MINUTES,
    WINDOW_MINUTES,
    level_path,
    minute_path,
    names,
)
from simulators.fleets import FleetBatch
from simulators.tables.fleets import Fleets, FleetStates, batches, read_states, start_fleets
from simulators.tables.services import draw_services, log_uniform, service_columns, service_records

CPU_MS: Final = (10.0, 100.0)
APP_MEDIAN_S: Final = (15.0, 90.0)
SLO_P95_MS: Final = (150.0, 500.0)
LARGEST_FLEET: Final = 70
BUSY: Final = (0.15, 0.85)
OVERLOADED: Final = (0.85, 1.2)
OVERLOADED_SHARE: Final = 0.1
BOOTING_SHARE: Final = 0.2
GROWTH_SIGMA: Final = 0.4
SPREAD: Final = (0.02, 0.35)
DEMAND_LEVEL: Final = (0.1, 0.99)
NO_SPOT_SHARE: Final = 0.4
BUDGET: Final = (0.3, 4.0)
LUCKS: Final = 5
_NORMAL_SCORES: Final = np.array((-1.2816, 0.0, 1.2816, 2.3263))

FloatArray = NDArray[np.float64]


def capacity_table(rows: int, seed: int) -> pd.DataFrame:
    """Return the cheapest adequate fleets of random cases.

    Args:
        rows: Number of cases drawn. Those that no fleet of 99 serves are left out, so the table is shorter.
        seed: Everything random follows from it.

    Returns:
        The columns of ``forecasting.capacity.columns.CAPACITY_COLUMNS``; ``instances``, the cheapest adequate number;
        ``max_usd_per_hour``, a budget, and ``is_affordable``, whether it pays for them; and what describes the row to
        people.

    Raises:
        ValueError: Fewer than one row.
    """
    if rows < 1:
        raise ValueError(f"a table needs at least one row, got {rows}")
    rng = np.random.default_rng((seed, 2))
    slo_ms = log_uniform(rng, *SLO_P95_MS, rows)
    services = draw_services(rng, rows, cpu_ms=CPU_MS, app_median_s=APP_MEDIAN_S, p95_ms=slo_ms)
    records = service_records(services)
    fleets, quantiles, level = _draw_cases(rng, records["capacity_rps"][:, 0])
    table = service_columns(services, records).drop(columns=["memory_slots"])
    found = np.full((rows, 6), np.nan)
    for part in batches(services):
        chosen, own = [services[row] for row in part], fleets.rows(part)
        sizes = []
        for luck in range(LUCKS):
            seeded = replace(own, seeds=own.seeds + np.uint64(luck))
            batch = start_fleets(chosen, records[part], seeded, reclaim_minute=RECLAIM_MINUTE)
            if luck == 0:
                state = read_states(batch, records[part], own.now_rps)
            sizes.append(least_adequate(batch, own.in_service + own.booting))
        found[part] = np.column_stack([*vars(state).values(), np.median(sizes, axis=0)])
    state_names = list(FleetStates.__dataclass_fields__)
    table[[*state_names, "instances"]] = found
    remaining = np.maximum(table["boot_s"] - 60.0 * fleets.launched_ago, 0.0)
    table["ready_in_s"] = np.where(table["booting"] > 0, remaining, 0.0)
    table[names(DEMAND)] = np.column_stack([fleets.now_rps, quantiles.reshape(rows, -1)])
    table["demand_level"], table["slo_p95_ms"], table["spot_share"] = level, slo_ms, fleets.spot_share
    spot, listed = table["spot_usd_per_hour"], table["price_usd_per_hour"]
    usd = table["instances"] * (fleets.spot_share * spot + (1.0 - fleets.spot_share) * listed)
    table["max_usd_per_hour"] = usd * log_uniform(rng, *BUDGET, rows)
    table["is_affordable"] = usd <= table["max_usd_per_hour"]
    return table[table["instances"] <= MAX_INSTANCES].reset_index(drop=True)


def _draw_cases(rng: np.random.Generator, capacity_rps: FloatArray) -> tuple[Fleets, FloatArray, FloatArray]:
    """Return fleets, forecast quantiles [N, L, Q] and the level each case plans for."""
    rows = len(capacity_rps)
    total = log_uniform(rng, 1.0, LARGEST_FLEET + 1.0, rows).astype(np.int64)
    growing = rng.uniform(size=rows) < BOOTING_SHARE
    booting = np.minimum(
        np.where(growing, rng.uniform(0.0, 0.4, rows) * total, 0.0).round().astype(np.int64), total - 1
    )
    overloaded = rng.uniform(size=rows) < OVERLOADED_SHARE
    busy = np.where(overloaded, rng.uniform(*OVERLOADED, rows), rng.uniform(*BUSY, rows))
    now_rps = busy * capacity_rps * (total - booting)
    quantiles = draw_quantiles(rng, now_rps)
    level = rng.uniform(*DEMAND_LEVEL, rows)
    spot = np.where(rng.uniform(size=rows) < NO_SPOT_SHARE, 0.0, rng.uniform(0.0, 1.0, rows))
    fleets = Fleets(
        in_service=total - booting,
        booting=booting,
        launched_ago=rng.integers(1, 3, rows),
        spot_share=spot,
        now_rps=now_rps,
        window_rps=minute_path(now_rps, level_path(quantiles, level)),
        seeds=rng.integers(0, 2**63, rows, dtype=np.uint64),
    )
    return fleets, quantiles, level


def draw_quantiles(rng: np.random.Generator, now_rps: FloatArray) -> FloatArray:
    """Return forecast quantiles [N, ``PLAN_MINUTES``, ``LEVELS``]: a trend, a hump, and a spread that grows."""
    rows, share = len(now_rps), np.array(PLAN_MINUTES) / WINDOW_MINUTES
    trend = rng.normal(0.0, GROWTH_SIGMA, rows)[:, None] * share ** log_uniform(rng, 0.5, 2.0, rows)[:, None]
    hump = np.where(rng.uniform(size=rows) < 0.3, rng.normal(0.0, 0.3, rows), 0.0)[:, None]
    middle = trend + hump * np.sin(np.pi * share) ** 2
    spread = log_uniform(rng, *SPREAD, rows)[:, None] * (0.3 + 0.7 * np.sqrt(share))
    scores = _NORMAL_SCORES * np.where(_NORMAL_SCORES > 0, rng.uniform(0.8, 1.6, rows)[:, None], 1.0)
    return np.asarray(now_rps[:, None, None] * np.exp(middle[:, :, None] + spread[:, :, None] * scores[:, None, :]))


def is_adequate(batch: FleetBatch, saved: NDArray[np.void], scale: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [B] whether fleets that change by ``scale`` instances at the start of their window meet the objective."""
    batch.state[:] = saved
    batch.decisions["scale"] = scale
    batch.step(SETTLE_MINUTES)
    batch.decisions["scale"] = 0
    batch.step(WINDOW_MINUTES - SETTLE_MINUTES)
    return np.asarray(batch.outcomes["bad_minutes"] == 0)


def least_adequate(batch: FleetBatch, size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [B] the least adequate number of instances by bisection, ``MAX_INSTANCES + 1`` where none is.

    Args:
        batch: Fleets at the start of their window; left in some later state.
        size: [B] instances they want now.
    """
    saved = batch.state.copy()
    low = np.zeros(len(batch), np.int64)
    high = np.full(len(batch), MAX_INSTANCES + 1)
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 1)
        good = is_adequate(batch, saved, middle - size)
        high = np.where(good, middle, high)
        low = np.minimum(np.where(good, low, middle), high - 1)
    return np.asarray(high, np.int64)
