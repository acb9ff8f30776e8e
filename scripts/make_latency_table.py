"""Make `simulators/latency_table.npz`: exact queueing theory where there is any, simulation elsewhere.

Takes about eleven minutes on one core. Finished curves are kept in a work file, so an interrupted run goes on
where it stopped.
"""

import json
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from simulators.latency import (
    CV2_RANGE,
    RESPONSE_GRID,
    ROUTINGS,
    SERVERS_PER_TARGET,
    TABLE_PATH,
    TABLE_VERSION,
    TARGETS,
)
from simulators.queue_simulation import (
    ROUND_ROBIN,
    draw_requests,
    log_tail_from_counts,
    simulate_fleet,
    simulate_target,
)
from simulators.queueing import erlang_arrivals_response_tail, mmc_response_tail, service_log_tail

RHO = np.array([0.0, 0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.965, 0.98])
SIMULATED_TARGETS = TARGETS[:-1]
WARM_UP_SHARE = 0.1
ROUND_ROBIN_REQUESTS_FACTOR = 3


def exact_log_tail(targets: int, servers: int, rho: float) -> NDArray[np.float64]:
    """[X] log tail of one target behind a round-robin balancer, exponential work, 0 < rho < 1."""
    if targets == 1:
        tail = mmc_response_tail(RESPONSE_GRID, servers * rho, servers)
    else:
        tail = erlang_arrivals_response_tail(RESPONSE_GRID, servers * rho, servers, targets)
    return np.log(np.maximum(tail, np.finfo(np.float64).tiny))


def simulated_curve(
    routing: int, cv2: float, servers: int, targets: int, requests: int, seeds: int
) -> NDArray[np.float64]:
    """[R - 1, X] log tail over the positive utilizations, all seeds counted together."""
    alone = routing == ROUND_ROBIN
    counted = requests * ROUND_ROBIN_REQUESTS_FACTOR if alone else requests
    warm_up = int(counted * WARM_UP_SHARE)
    exceedances = np.zeros((RHO.size - 1, RESPONSE_GRID.size), dtype=np.int64)
    for number in range(seeds):
        seed = 1_000_000 * number + 10_000 * routing + 1_000 * int(cv2) + 100 * servers + targets
        gaps, works = draw_requests(counted + warm_up, cv2, seed, gap_phases=targets if alone else 1)
        for index, rho in enumerate(RHO[1:]):
            if alone:
                counts, _ = simulate_target(gaps, works, servers, rho, warm_up, RESPONSE_GRID)
            else:
                counts, _ = simulate_fleet(routing, gaps, works, targets, servers, rho, warm_up, RESPONSE_GRID)
            exceedances[index] += counts
    return np.stack([log_tail_from_counts(row, counted * seeds, cv2, RESPONSE_GRID) for row in exceedances])


def curve(routing: int, cv2: float, servers: int, targets: int, requests: int, seeds: int) -> NDArray[np.float64]:
    """[R, X] log tail over all utilizations, non-increasing in x and non-decreasing in utilization."""
    if targets == 1:
        routing = ROUND_ROBIN
    if cv2 == 1.0 and routing == ROUND_ROBIN:
        loaded = np.stack([exact_log_tail(targets, servers, rho) for rho in RHO[1:]])
    else:
        loaded = simulated_curve(routing, cv2, servers, targets, requests, seeds)
    rows = np.concatenate([service_log_tail(RESPONSE_GRID, cv2)[None], loaded])
    return np.maximum.accumulate(np.minimum.accumulate(rows, axis=1), axis=0)


def _write(path: Path, **arrays: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    temporary.replace(path)


def _resume(work: Path, settings: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Finished curves of an earlier run with the same settings; NaN where there is none yet."""
    if work.exists():
        with np.load(work) as kept:
            if str(kept["settings"]) == settings:
                return np.asarray(kept["log_tail"])
    return np.full(shape, np.nan)


def main(
    out: Path = TABLE_PATH,
    work: Path = Path("runs/latency_table/work.npz"),
    requests: int = typer.Option(2_000_000, min=10_000, help="Requests counted per cell and seed, at least."),
    seeds: int = typer.Option(3, min=1, help="Independent runs per cell."),
) -> None:
    """Make the latency table."""
    axes = (range(len(ROUTINGS)), CV2_RANGE, SERVERS_PER_TARGET, SIMULATED_TARGETS)
    shape = tuple(len(axis) for axis in axes)
    settings = {"version": TABLE_VERSION, "requests_per_seed": requests, "seeds": seeds, "rho": RHO.tolist()}
    log_tail = _resume(work, json.dumps(settings), (*shape, RHO.size, RESPONSE_GRID.size))
    console = Console(stderr=True)
    cells = list(zip(np.ndindex(shape), product(*axes), strict=True))
    for place, (routing, cv2, servers, targets) in track(
        cells, "latency table", console=console, disable=not console.is_terminal
    ):
        if np.isnan(log_tail[place]).any():
            log_tail[place] = curve(routing, cv2, servers, targets, requests, seeds)
            _write(work, settings=json.dumps(settings), log_tail=log_tail)
    metadata = {
        **settings,
        "round_robin_requests_per_seed": requests * ROUND_ROBIN_REQUESTS_FACTOR,
        "exact": "cv2 = 1 with round robin or one target: M/M/c and E_n/M/c",
        "routing": list(ROUTINGS),
        "work": "exponential at cv2 = 1, lognormal at cv2 = 4, mean 1",
        "date": datetime.now(UTC).date().isoformat(),
    }
    _write(
        out,
        log_tail=log_tail.astype(np.float32),
        cv2=np.array(CV2_RANGE),
        servers=np.array(SERVERS_PER_TARGET),
        targets=np.array(SIMULATED_TARGETS),
        rho=RHO,
        x=RESPONSE_GRID,
        metadata=json.dumps(metadata),
    )
    typer.echo(f"wrote {out} ({out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    typer.run(main)
