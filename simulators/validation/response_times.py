"""Response times of the shipped table beside fresh simulations, over utilization, targets, servers, routing and work.

The simulation draws requests that the table has never seen. Its own noise is measured from independent blocks and
shown: near saturation, waits of one busy period are alike, so even millions of requests leave a few per cent.
"""

from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from simulators.latency import ROUTINGS, load_tail_table, quantile_from_tail, response_tail, servers_index
from simulators.queue_simulation import ROUND_ROBIN, draw_requests, simulate_fleet, simulate_target
from simulators.queueing import (
    erlang_arrivals_response_tail,
    fluid_backlog,
    mmc_response_tail,
)
from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UTILIZATIONS: Final = (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
TARGETS: Final = (1, 2, 4, 5, 8, 10, 16, 20, 24, 32)
SERVERS: Final = (2, 4)
CV2S: Final = (1.0, 4.0)
LEVELS: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""P(response > x) at which tails are compared."""

_GRID: Final = np.geomspace(0.1, 3000.0, 500)
_BLOCKS: Final = 12
_BLOCK_REQUESTS: Final = {0.3: 60_000, 0.8: 120_000, 0.9: 300_000}
"""Requests of a block from this utilization on."""
_WARM_UP_SHARE: Final = 0.1
_SEED: Final = 77_000
_CONFIDENCE: Final = 0.999
_BANDS: Final = ((0.0, 0.8, 0.05), (0.8, 0.96, 0.10))
"""Utilizations from, below, and the error that is allowed there."""


class Cell(NamedTuple):
    """One queueing situation of the sweep."""

    routing: str
    cv2: float
    servers: int
    targets: int
    utilization: float


def cells() -> list[Cell]:
    """Return every situation of the sweep."""
    return [Cell(*values) for values in product(ROUTINGS, CV2S, SERVERS, TARGETS, UTILIZATIONS)]


def simulated_tails(cell: Cell, *, blocks: int = _BLOCKS, scale: float = 1.0, seed: int = _SEED) -> NDArray[np.float64]:
    """Return P(response > x) on the fine grid from independent blocks of requests.

    Args:
        cell: The situation.
        blocks: Number of blocks, >= 2.
        scale: Factor on the number of requests in a block (60 000 to 300 000, more near saturation).
        seed: First of ``blocks`` seeds.

    Returns:
        [blocks, X] tails.
    """
    counted = int(scale * next(_BLOCK_REQUESTS[rho] for rho in reversed(_BLOCK_REQUESTS) if rho <= cell.utilization))
    warm_up = int(_WARM_UP_SHARE * counted)
    alone = cell.routing == ROUTINGS[ROUND_ROBIN]
    counts = np.empty((blocks, _GRID.size))
    for block in range(blocks):
        phases = cell.targets if alone else 1
        gaps, works = draw_requests(counted + warm_up, cell.cv2, (seed + block, cell.targets), gap_phases=phases)
        if alone:
            counts[block], _ = simulate_target(gaps, works, cell.servers, cell.utilization, warm_up, _GRID)
        else:
            routing = ROUTINGS.index(cell.routing)
            counts[block], _ = simulate_fleet(
                routing, gaps, works, cell.targets, cell.servers, cell.utilization, warm_up, _GRID
            )
    return counts / counted


def tabled_tail(cell: Cell, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(response > x) as the simulator reads it from its table, [X]."""
    log_tails = load_tail_table(cell.routing, cell.cv2)[servers_index(cell.servers)]
    return np.array([response_tail(log_tails, cell.targets, cell.utilization, x) for x in times])


def exact_tail(cell: Cell, times: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """P(response > x) by theory, [X]; None where there is no exact answer."""
    if cell.cv2 != 1.0 or (cell.targets > 1 and cell.routing != ROUTINGS[ROUND_ROBIN]):
        return None
    load = cell.utilization * cell.servers
    if cell.targets == 1:
        return mmc_response_tail(times, load, cell.servers)
    return erlang_arrivals_response_tail(times, load, cell.servers, cell.targets)


def compare(cell: Cell, tails: NDArray[np.float64]) -> dict[str, Any]:
    """Compare the table with simulated tails of the same situation.

    Args:
        cell: The situation.
        tails: [blocks, X] tails on the fine grid.

    Returns:
        The cell's fields; ``p95``, ``p99`` (simulated, mean service times); ``p95_error``, ``p99_error`` and
        ``tail_error`` (table over simulation minus 1; of the tail, the worst at ``LEVELS``); and ``*_half_width``, the
        relative half-widths of the simulation's own 99.9 % intervals; ``tail_excess``, the worst tail error beyond its
        interval. Where theory knows the answer, ``exact_p99_error`` and ``exact_tail_error`` (else NaN).
    """
    factor = float(stdtrit(len(tails) - 1, 0.5 + _CONFIDENCE / 2.0)) / np.sqrt(len(tails))
    mean, tabled = tails.mean(axis=0), tabled_tail(cell, _GRID)
    row: dict[str, Any] = cell._asdict()
    for q, name in ((0.95, "p95"), (0.99, "p99")):
        row[name] = float(quantile_from_tail(mean, _GRID, q))
        row[f"{name}_error"] = float(quantile_from_tail(tabled, _GRID, q)) / row[name] - 1.0
        row[f"{name}_half_width"] = factor * float(np.std(quantile_from_tail(tails, _GRID, q), ddof=1)) / row[name]
    times = np.array([float(quantile_from_tail(tabled, _GRID, 1.0 - level)) for level in LEVELS])
    seen = np.stack([np.interp(times, _GRID, tail) for tail in tails])
    at_times = tabled_tail(cell, times)
    errors = at_times / seen.mean(axis=0) - 1.0
    half_widths = factor * seen.std(axis=0, ddof=1) / seen.mean(axis=0)
    worst = int(np.argmax(np.abs(errors)))
    row["tail_error"], row["tail_half_width"] = float(errors[worst]), float(half_widths[worst])
    row["tail_excess"] = float(np.max(np.maximum(0.0, np.abs(errors) - half_widths)))
    exact = exact_tail(cell, np.concatenate([_GRID, times]))
    row["exact_p99_error"], row["exact_tail_error"] = np.nan, np.nan
    if exact is not None:
        tabled_p99 = float(quantile_from_tail(tabled, _GRID, 0.99))
        row["exact_p99_error"] = tabled_p99 / float(quantile_from_tail(exact[: _GRID.size], _GRID, 0.99)) - 1.0
        row["exact_tail_error"] = float(np.max(np.abs(at_times / exact[_GRID.size :] - 1.0)))
    return row


def table(scale: float = 1.0) -> pd.DataFrame:
    """Compare the whole sweep; about two minutes on one core at scale 1.

    Args:
        scale: Factor on the number of simulated requests.

    Returns:
        One row for each of `cells`, with the columns of `compare`.
    """
    return pd.DataFrame([compare(cell, simulated_tails(cell, scale=scale)) for cell in cells()])


def overload_error(utilization: float, minutes: int = 10, service_s: float = 0.1) -> float:
    """Mean response of 8 targets of 2 servers in overload from an empty start: fluid over simulated, minus 1.

    Args:
        utilization: Offered work over servers, > 1.
        minutes: How long the overload lasts.
        service_s: Mean work of a request.
    """
    targets, servers, seconds = 8, 2, 60.0 * minutes
    capacity = targets * servers / service_s
    requests = round(utilization * capacity * seconds)
    simulated = []
    for seed in range(4):
        gaps, works = draw_requests(requests, 1.0, (_SEED, seed))
        _, mean = simulate_fleet(ROUND_ROBIN, gaps, works, targets, servers, utilization, 0, _GRID)
        simulated.append(mean * service_s)
    moments = np.linspace(0.0, seconds, 201)
    backlogs = [fluid_backlog(0.0, utilization * capacity, capacity, moment) for moment in moments]
    fluid = float(np.mean(backlogs)) / capacity + service_s
    return fluid / float(np.mean(simulated)) - 1.0


def checks(rows: pd.DataFrame | None = None) -> list[Check]:
    """Check the table against simulation and theory, and the fluid picture of overload against simulation.

    Args:
        rows: What `table` returned, if there is one already.
    """
    rows = table() if rows is None else rows
    found = []
    for low, high, allowed in _BANDS:
        band = rows[(rows["utilization"] >= low) & (rows["utilization"] < high)]
        where = f"below {high:.0%} utilization" if low == 0.0 else f"{low:.0%} to 95 % utilization"
        for name in ("p95", "p99"):
            beyond = float((band[f"{name}_error"].abs() - band[f"{name}_half_width"]).clip(lower=0.0).max())
            bias = float(band[f"{name}_error"].mean())
            found += [
                Check(f"{name}, worst error beyond noise, {where}", beyond, 0.0, allowed, "1", "fresh simulation"),
                Check(f"{name}, mean error, {where}", bias, -0.01, 0.01, "1", "fresh simulation"),
            ]
        worst = float(band["tail_excess"].max())
        found += [
            Check(f"P(T > x), worst error beyond noise, {where}", worst, 0.0, allowed, "1", "fresh simulation"),
            Check(
                f"p99, worst error, exponential work by round robin, {where}",
                float(band["exact_p99_error"].abs().max()),
                0.0,
                allowed,
                "1",
                "E_n/M/c (Takacs 1962)",
            ),
            Check(
                f"P(T > x), worst error, exponential work by round robin, {where}",
                float(band["exact_tail_error"].max()),
                0.0,
                allowed,
                "1",
                "E_n/M/c (Takacs 1962)",
            ),
        ]
    for utilization in (1.1, 1.25, 1.5):
        name = f"fluid backlog, mean response over 10 minutes at {utilization:.0%}"
        found.append(Check(name, overload_error(utilization), -0.05, 0.05, "1", "fresh simulation"))
    return found


def figure(rows: pd.DataFrame) -> "Figure":
    """Draw simulated p99 (bars: 99.9 % intervals) and the table's line over utilization, by routing and work.

    Args:
        rows: What `table` returned.
    """
    from matplotlib.figure import Figure

    shown = Figure(figsize=(10, 7), layout="constrained")
    panels = shown.subplots(2, 2, sharex=True)
    for panel, (routing, cv2) in zip(panels.flat, product(ROUTINGS, CV2S), strict=True):
        part = rows[(rows["routing"] == routing) & (rows["cv2"] == cv2) & (rows["servers"] == 2)]
        for targets, color in ((1, "C0"), (4, "C1"), (8, "C2"), (32, "C3")):
            curve = part[part["targets"] == targets]
            tabled = curve["p99"] * (1.0 + curve["p99_error"])
            panel.plot(curve["utilization"], tabled, color=color, label=f"{targets} targets")
            noise = curve["p99_half_width"] * curve["p99"]
            panel.errorbar(curve["utilization"], curve["p99"], yerr=noise, fmt="o", markersize=3, color=color)
        panel.set_yscale("log")
        panel.set_title(f"{routing.replace('_', ' ')}, cv2 = {cv2:g}")
        panel.set_ylabel("p99 (mean service times)")
        panel.set_xlabel("utilization")
    panels.flat[0].legend()
    return shown
