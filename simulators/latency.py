"""Response times of a fleet as table look-ups: P(response > x) by routing, work, cores, targets, utilization.

The table comes from `scripts/make_latency_table.py` (exact queueing theory where there is any, simulation
elsewhere) and is in mean service times, so one table serves every instance type: divide milliseconds by the
mean service time. Tails, unlike quantiles, mix linearly: add up the tails of a mixed fleet by traffic, then
read a quantile off the sum.
"""

import json
import math
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from telemetry.compiled import compiled_in_place

TABLE_PATH = Path(__file__).with_name("latency_table.npz")
TABLE_VERSION = 1
ROUTINGS = ("round_robin", "least_outstanding_requests")
CV2_RANGE = (1.0, 4.0)
SERVERS_PER_TARGET = (1, 2, 4, 8)
TARGETS = (1, 2, 4, 8, 16, 32, 64)
RHO_STEP = 0.01
RHO_MAX = 0.98
RESPONSE_GRID = 0.5 * 2.0 ** (np.arange(24) / 2.0)
"""[24] response times of the table, in mean service times."""

_RHO_BINS = 98
_LOG2_TARGETS = np.minimum(np.log2(np.arange(1, 129)), len(TARGETS) - 1)
_GRID_GAP_INVERSE = 1.0 / np.diff(RESPONSE_GRID)
_LAST_INTERVAL = len(RESPONSE_GRID) - 2
_OVERLOAD_POINTS = 5
_NEVER = -60.0
"""Log of a probability that counts as 0: smaller ones would only leave numbers too small to compute with quickly."""
_SQRT_HALF = math.sqrt(0.5)
_SMALLEST_TAIL = 1e-12
_GRID_FROM_ZERO = np.concatenate([[0.0], RESPONSE_GRID])
_MIXING_LEVELS = -np.concatenate([[0.0], np.geomspace(1e-3, 30.0, 160)])


def load_table_file(path: Path = TABLE_PATH) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the stored table.

    Args:
        path: The .npz file.

    Returns:
        Arrays `log_tail` [routing, cv2, servers, targets, rho, x] and the axes `cv2`, `servers`, `targets`,
        `rho`, `x`, and the metadata (how, when and from how many requests it was made).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds another version or other axes than this module reads.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} not found; make it with: python scripts/make_latency_table.py")
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "metadata"}
        metadata = json.loads(str(stored["metadata"]))
    if metadata["version"] != TABLE_VERSION:
        raise ValueError(f"{path}: expected version {TABLE_VERSION}, got {metadata['version']}")
    expected: dict[str, ArrayLike] = {
        "cv2": CV2_RANGE,
        "servers": SERVERS_PER_TARGET,
        "targets": TARGETS[:-1],
        "x": RESPONSE_GRID,
    }
    for name, axis in expected.items():
        if not np.array_equal(arrays[name], axis):
            raise ValueError(f"{path}: axis {name}: expected {np.asarray(axis).tolist()}, got {arrays[name].tolist()}")
    return arrays, metadata


@cache
def _refined(routing: str) -> NDArray[np.float64]:
    """[cv2, servers, targets, rho, x] log tail on the uniform grid of utilization, 64 targets taken as 32."""
    arrays, _ = load_table_file()
    log_tail = arrays["log_tail"][ROUTINGS.index(routing)].astype(np.float64)
    uniform = np.arange(_RHO_BINS + 1) * RHO_STEP
    fine = PchipInterpolator(arrays["rho"], log_tail, axis=3)(uniform)
    return np.concatenate([fine, fine[:, :, -1:]], axis=2)


def _between(low: NDArray[np.float64], high: NDArray[np.float64], cv2: float) -> NDArray[np.float64]:
    """[servers, targets, rho, x] log tail at a variability between those of two tables of that shape.

    Quantiles are mixed, probability by probability, because mixing log tails puts p99 15 to 25 % too low. A
    quantile is that of the work alone (the row of utilization 0), linear in log cv2, plus the rest, which
    queueing adds: linear in cv2, as the mean wait of M/G/1 is (Pollaczek and Khinchine).
    """
    lowest, highest = CV2_RANGE
    if cv2 in CV2_RANGE:
        return low if cv2 == lowest else high
    of_work = math.log(cv2 / lowest) / math.log(highest / lowest)
    of_queueing = (cv2 - lowest) / (highest - lowest)
    mixed = np.empty_like(low)
    for servers, targets in np.ndindex(low.shape[:2]):
        work_low, work_high = _quantiles(low[servers, targets, 0]), _quantiles(high[servers, targets, 0])
        work = (1.0 - of_work) * work_low + of_work * work_high
        for rho in range(low.shape[2]):
            added_low = _quantiles(low[servers, targets, rho]) - work_low
            added_high = _quantiles(high[servers, targets, rho]) - work_high
            responses = work + (1.0 - of_queueing) * added_low + of_queueing * added_high
            mixed[servers, targets, rho] = np.interp(RESPONSE_GRID, responses, _MIXING_LEVELS)
    return np.maximum.accumulate(mixed, axis=2)


def _quantiles(log_tail: NDArray[np.float64]) -> NDArray[np.float64]:
    """Response times at which a [x] log tail, kept on its last slope, passes each of `_MIXING_LEVELS`."""
    times = np.interp(-_MIXING_LEVELS, np.concatenate([[0.0], -log_tail]), _GRID_FROM_ZERO)
    time_per_level = (RESPONSE_GRID[-1] - RESPONSE_GRID[-2]) / max(log_tail[-2] - log_tail[-1], 1e-9)
    return np.asarray(times + time_per_level * np.maximum(log_tail[-1] - _MIXING_LEVELS, 0.0))


@lru_cache(maxsize=64)
def load_tail_table(routing: str, cv2: float) -> NDArray[np.float32]:
    """Return the table of log P(response > x) for one routing mode and one variability of work.

    Utilization is refined to steps of `RHO_STEP` by monotone cubic interpolation of the log tail. Between the
    stored variabilities, quantiles are mixed (see `_between`). More than 32 targets behave like 32.

    Args:
        routing: "round_robin" or "least_outstanding_requests", as the balancer's attribute spells them.
        cv2: Squared coefficient of variation of the work per request, 1 (exponential) to 4 (lognormal).

    Returns:
        [4 server counts, 7 target counts, 99 utilizations, 24 response times] natural logarithms, <= 0.
        One `table[servers_index(vcpu)]` is what `response_tail` reads. Shared and cached: do not write to it.

    Raises:
        ValueError: unknown routing, or cv2 outside [1, 4].
        FileNotFoundError: the table has not been made.
    """
    if routing not in ROUTINGS:
        raise ValueError(f"routing: expected one of {', '.join(ROUTINGS)}, got {routing!r}")
    if not CV2_RANGE[0] <= cv2 <= CV2_RANGE[1]:
        raise ValueError(f"cv2: expected {CV2_RANGE[0]:g} to {CV2_RANGE[1]:g}, got {cv2}")
    low, high = _refined(routing)
    return np.ascontiguousarray(_between(low, high, cv2), dtype=np.float32)


@compiled_in_place
def servers_index(vcpu: int) -> int:
    """Return the table index of an instance with this many vCPU: 1, 2, 4, 8 (more behave like 8)."""
    if vcpu >= 8:
        return 3
    if vcpu >= 4:
        return 2
    return 1 if vcpu >= 2 else 0


@compiled_in_place
def _cell(targets: int, rho: float) -> tuple[int, float, int, float]:
    """Return the table cell of a number of targets and a utilization: lower indices, and weights of the upper ones."""
    target_position = _LOG2_TARGETS[min(max(targets, 1), 128) - 1]
    target = min(int(target_position), 5)
    target_weight = target_position - target
    rho_position = (min(rho, RHO_MAX) if rho > 0.0 else 0.0) * _RHO_BINS / RHO_MAX
    rho_bin = min(int(rho_position), _RHO_BINS - 1)
    rho_weight = rho_position - rho_bin
    return target, target_weight, rho_bin, rho_weight


@compiled_in_place
def response_tail(table: NDArray[np.float32], targets: int, rho: float, x: float) -> float:
    """P(response > x) of a request to one target, at steady load.

    Linear in log2(targets), in utilization and in x of the log tail; below the first grid point the log
    tail falls from 0 at x = 0, beyond the last it keeps its last slope.

    Args:
        table: [targets, rho, x] one server count of `load_tail_table`.
        targets: Targets that share the traffic, >= 1 (more than 64 behave like 64).
        rho: Utilization of a target; values outside [0, 0.98] are moved to the nearer end.
        x: Response time in mean service times, finite.

    Returns:
        Probability in [0, 1]; 1 for x <= 0.
    """
    if x <= 0.0:
        return 1.0
    target, target_weight, rho_bin, rho_weight = _cell(targets, rho)
    near = (1.0 - target_weight) * (1.0 - rho_weight)
    busier = (1.0 - target_weight) * rho_weight
    wider = target_weight * (1.0 - rho_weight)
    both = target_weight * rho_weight
    point = 0
    if x > 0.5:
        mantissa, exponent = math.frexp(x)
        point = min(2 * exponent + (mantissa >= _SQRT_HALF), _LAST_INTERVAL)
    first = (
        near * table[target, rho_bin, point]
        + busier * table[target, rho_bin + 1, point]
        + wider * table[target + 1, rho_bin, point]
        + both * table[target + 1, rho_bin + 1, point]
    )
    if x < 0.5:
        below = 2.0 * x * first
        return math.exp(below) if below > _NEVER else 0.0
    second = (
        near * table[target, rho_bin, point + 1]
        + busier * table[target, rho_bin + 1, point + 1]
        + wider * table[target + 1, rho_bin, point + 1]
        + both * table[target + 1, rho_bin + 1, point + 1]
    )
    log_tail = first + (second - first) * (x - RESPONSE_GRID[point]) * _GRID_GAP_INVERSE[point]
    return math.exp(min(log_tail, 0.0)) if log_tail > _NEVER else 0.0


def threshold_table(log_tails: NDArray[np.float32], x: float) -> NDArray[np.float64]:
    """Return the log tail at one response time, interpolated once: [targets, rho] of one server count.

    ``threshold_tail`` reads it; the result is ``response_tail`` at this ``x``, up to rounding.

    Args:
        log_tails: [targets, rho, x] one server count of `load_tail_table`.
        x: Response time in mean service times, > 0.
    """
    if x < RESPONSE_GRID[0]:
        return np.ascontiguousarray(log_tails[..., 0].astype(np.float64) * (x / RESPONSE_GRID[0]))
    point = min(int(2.0 * math.log2(2.0 * x)), _LAST_INTERVAL)
    weight = (x - RESPONSE_GRID[point]) * _GRID_GAP_INVERSE[point]
    first, second = log_tails[..., point].astype(np.float64), log_tails[..., point + 1].astype(np.float64)
    return np.ascontiguousarray(first + (second - first) * weight)


@compiled_in_place
def threshold_tail(table: NDArray[np.float64], targets: int, rho: float) -> float:
    """P(response > x) of a request to one target, for the x of a ``threshold_table``; otherwise as `response_tail`."""
    target, target_weight, rho_bin, rho_weight = _cell(targets, rho)
    fewer = table[target, rho_bin] + rho_weight * (table[target, rho_bin + 1] - table[target, rho_bin])
    more = table[target + 1, rho_bin] + rho_weight * (table[target + 1, rho_bin + 1] - table[target + 1, rho_bin])
    log_tail = fewer + target_weight * (more - fewer)
    return math.exp(min(log_tail, 0.0)) if log_tail > _NEVER else 0.0


@compiled_in_place
def overloaded_tail(
    table: NDArray[np.float32], targets: int, rho: float, wait_start: float, wait_end: float, x: float
) -> float:
    """P(response > x) over a tick in which a backlog adds a wait that moves linearly from start to end.

    The fluid picture of overload: every request waits for the backlog, then meets the stationary queue at
    no more than 98 % utilization, so that crossing saturation never helps. The mean over five evenly spaced
    moments of the tick.

    Args:
        table: [targets, rho, x] one server count of `load_tail_table`.
        targets: Targets that share the traffic, >= 1.
        rho: Utilization of a target, any value >= 0.
        wait_start: Backlog wait at the start of the tick, in mean service times, >= 0.
        wait_end: The same at its end.
        x: Response time in mean service times, finite.

    Returns:
        Probability in [0, 1]; moments at which the wait alone reaches x count 1.
    """
    total = 0.0
    for moment in range(_OVERLOAD_POINTS):
        wait = wait_start + (wait_end - wait_start) * (moment + 0.5) / _OVERLOAD_POINTS
        total += response_tail(table, targets, rho, x - wait)
    return total / _OVERLOAD_POINTS


def quantile_from_tail(tail: ArrayLike, x_grid: ArrayLike, q: float) -> NDArray[np.float64]:
    """Read the q-quantile off tails P(response > x), log-linearly between grid points.

    Args:
        tail: [..., X] probabilities, non-increasing along X.
        x_grid: [X] increasing response times, > 0, in any unit.
        q: Probability in (0, 1), for example 0.95.

    Returns:
        [...] response times in the unit of `x_grid`; at most its last value, which then means "that or more".

    Raises:
        ValueError: q outside (0, 1), or the shapes disagree.
    """
    grid = np.concatenate([[0.0], np.asarray(x_grid, dtype=np.float64)])
    tails = np.asarray(tail, dtype=np.float64)
    if not 0.0 < q < 1.0:
        raise ValueError(f"q: expected a probability in (0, 1), got {q}")
    if tails.ndim == 0 or tails.shape[-1] != grid.size - 1:
        raise ValueError(f"tail: expected last axis of {grid.size - 1} as x_grid, got shape {tails.shape}")
    whole = np.concatenate([np.ones((*tails.shape[:-1], 1)), tails], axis=-1)
    logs = np.log(np.maximum(whole, _SMALLEST_TAIL))
    level = math.log1p(-q)
    above = np.minimum(np.sum(logs > level, axis=-1), grid.size - 1)
    left = np.take_along_axis(logs, (above - 1)[..., None], axis=-1)[..., 0]
    right = np.take_along_axis(logs, above[..., None], axis=-1)[..., 0]
    share = np.clip((left - level) / np.maximum(left - right, 1e-300), 0.0, 1.0)
    return np.asarray(grid[above - 1] + share * (grid[above] - grid[above - 1]))
