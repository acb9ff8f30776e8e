"""Discrete-event simulation of a balancer and equal targets, each with its own first-come-first-served queue.

Arrivals to the balancer are Poisson, work has mean 1 (exponential for cv2 = 1, lognormal above), so every
time is in mean service times. Written apart from `simulators.queueing`, so that each can check the other. A
request's departure is known when it arrives, because nothing overtakes it in its target's queue: the
simulation keeps the moment at which each server falls free and, for least outstanding requests, a heap of
departures to come.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from simulators.queueing import service_log_tail
from telemetry.compiled import compiled

ROUND_ROBIN = 0
LEAST_OUTSTANDING_REQUESTS = 1

_MIN_EXCEEDANCES = 1_000
_SLOPE_POINTS = 4
_RARE = 0.005
_FIRST_HEAP_SIZE = 4096


def draw_requests(
    requests: int, cv2: float, seed: int | tuple[int, ...], *, gap_phases: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the gaps before requests and the work in them, both of mean 1.

    The simulations scale the gaps to the load they are asked for, so one draw serves a whole curve over
    utilization with common random numbers.

    Args:
        requests: Number of requests, > 0.
        cv2: Squared coefficient of variation of the work, >= 1; exponential at 1, else lognormal.
        seed: Seed, >= 0, or several that together make one.
        gap_phases: Exponential phases per gap: 1 for Poisson arrivals, n for one target out of n in turn.

    Returns:
        [requests] gaps and [requests] works.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.standard_gamma(gap_phases, requests) / gap_phases
    if cv2 == 1.0:
        return gaps, rng.standard_exponential(requests)
    variance = math.log1p(cv2)
    return gaps, rng.lognormal(-variance / 2.0, math.sqrt(variance), requests)


@compiled
def _serve(free_at: NDArray[np.float64], now: float, work: float) -> float:
    """Give the request to the server that falls free first; return the moment of its departure."""
    first = 0
    for server in range(1, free_at.size):
        if free_at[server] < free_at[first]:
            first = server
    departure: float = max(now, free_at[first]) + work
    free_at[first] = departure
    return departure


@compiled
def _grid_index(x_grid: NDArray[np.float64], response: float) -> int:
    """Count the grid points that lie below the response."""
    low = 0
    high = x_grid.size
    while low < high:
        middle = (low + high) // 2
        if response > x_grid[middle]:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _exceedances(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.empty(histogram.size - 1, dtype=np.int64)
    above = 0
    for index in range(counts.size - 1, -1, -1):
        above += histogram[index + 1]
        counts[index] = above
    return counts


@compiled
def simulate_target(
    gaps: NDArray[np.float64],
    works: NDArray[np.float64],
    servers: int,
    utilization: float,
    warm_up: int,
    x_grid: NDArray[np.float64],
) -> tuple[NDArray[np.int64], float]:
    """Simulate one target: one of a round-robin fleet if its gaps have a phase for each target.

    Args:
        gaps: [N] gaps before the requests of this target, mean 1 (scaled here to the utilization).
        works: [N] work of the requests, mean 1.
        servers: Servers of the target, >= 1.
        utilization: Offered work over servers, in (0, 1).
        warm_up: Requests served before counting starts, 0 <= warm_up < N.
        x_grid: [X] increasing response times, in mean service times.

    Returns:
        [X] number of responses above each grid point, and the mean response.
    """
    gap_scale = 1.0 / (servers * utilization)
    histogram = np.zeros(x_grid.size + 1, dtype=np.int64)
    free_at = np.zeros(servers)
    now = 0.0
    total = 0.0
    for request in range(gaps.size):
        now += gap_scale * gaps[request]
        response = _serve(free_at, now, works[request]) - now
        if request >= warm_up:
            histogram[_grid_index(x_grid, response)] += 1
            total += response
    return _exceedances(histogram), total / (gaps.size - warm_up)


@compiled
def _push(departures: NDArray[np.float64], owners: NDArray[np.int64], size: int, time: float, owner: int) -> None:
    child = size
    while child > 0:
        parent = (child - 1) // 2
        if departures[parent] <= time:
            break
        departures[child] = departures[parent]
        owners[child] = owners[parent]
        child = parent
    departures[child] = time
    owners[child] = owner


@compiled
def _pop(departures: NDArray[np.float64], owners: NDArray[np.int64], size: int) -> None:
    """Take the earliest departure off a heap of `size` entries."""
    last = size - 1
    time = departures[last]
    owner = owners[last]
    parent = 0
    while True:
        child = 2 * parent + 1
        if child >= last:
            break
        if child + 1 < last and departures[child + 1] < departures[child]:
            child += 1
        if departures[child] >= time:
            break
        departures[parent] = departures[child]
        owners[parent] = owners[child]
        parent = child
    departures[parent] = time
    owners[parent] = owner


@compiled
def _least_outstanding(outstanding: NDArray[np.int64], start: int) -> int:
    """Return the target with the fewest requests; of equals, the first from `start` on, wrapping round."""
    best = start
    for target in range(start + 1, outstanding.size):
        if outstanding[target] < outstanding[best]:
            best = target
    for target in range(start):
        if outstanding[target] < outstanding[best]:
            best = target
    return best


@compiled
def simulate_fleet(
    routing: int,
    gaps: NDArray[np.float64],
    works: NDArray[np.float64],
    targets: int,
    servers: int,
    utilization: float,
    warm_up: int,
    x_grid: NDArray[np.float64],
) -> tuple[NDArray[np.int64], float]:
    """Simulate the whole fleet behind one balancer.

    Args:
        routing: ROUND_ROBIN or LEAST_OUTSTANDING_REQUESTS (equals are taken in turn).
        gaps: [N] gaps before the requests of the fleet, mean 1 (scaled here to the utilization).
        works: [N] work of the requests, mean 1.
        targets: Number of targets, >= 1.
        servers: Servers of each target, >= 1.
        utilization: Offered work over all servers, in (0, 1).
        warm_up: Requests served before counting starts, 0 <= warm_up < N.
        x_grid: [X] increasing response times, in mean service times.

    Returns:
        [X] number of responses above each grid point, and the mean response.
    """
    gap_scale = 1.0 / (targets * servers * utilization)
    histogram = np.zeros(x_grid.size + 1, dtype=np.int64)
    free_at = np.zeros((targets, servers))
    outstanding = np.zeros(targets, dtype=np.int64)
    departures = np.empty(_FIRST_HEAP_SIZE)
    owners = np.empty(_FIRST_HEAP_SIZE, dtype=np.int64)
    in_system = 0
    turn = 0
    now = 0.0
    total = 0.0
    for request in range(gaps.size):
        now += gap_scale * gaps[request]
        turn = turn + 1 if turn + 1 < targets else 0
        target = turn
        if routing == LEAST_OUTSTANDING_REQUESTS:
            while in_system > 0 and departures[0] <= now:
                outstanding[owners[0]] -= 1
                _pop(departures, owners, in_system)
                in_system -= 1
            target = _least_outstanding(outstanding, turn)
        departure = _serve(free_at[target], now, works[request])
        if routing == LEAST_OUTSTANDING_REQUESTS:
            if in_system == departures.size:
                departures = np.concatenate((departures, np.empty_like(departures)))
                owners = np.concatenate((owners, np.empty_like(owners)))
            _push(departures, owners, in_system, departure, target)
            in_system += 1
            outstanding[target] += 1
        if request >= warm_up:
            histogram[_grid_index(x_grid, departure - now)] += 1
            total += departure - now
    return _exceedances(histogram), total / (gaps.size - warm_up)


def log_tail_from_counts(
    exceedances: NDArray[np.int64], requests: int, cv2: float, x_grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn counted exceedances into the log of P(response > x), continuing where counts are too few.

    A point with fewer than 1000 exceedances (they come in clusters, one per busy period) continues the line
    through the last point that has more and the fourth before it: log-linear in x for exponential work,
    log-linear in log x (heavier) for lognormal work. The result is never below the tail of the work itself,
    because a response holds at least its own work.

    Args:
        exceedances: [X] number of responses above each grid point, non-increasing.
        requests: Number of responses counted, > 0.
        cv2: Squared coefficient of variation of the work, >= 1.
        x_grid: [X] increasing response times, in mean service times.

    Returns:
        [X] non-increasing logarithms, <= 0.

    Raises:
        ValueError: fewer than two grid points have enough exceedances.
    """
    enough = int(np.sum(exceedances >= _MIN_EXCEEDANCES))
    if enough < 2:
        raise ValueError(f"expected 2 grid points or more that {_MIN_EXCEEDANCES} of {requests} exceed, got {enough}")
    log_tail = np.log(np.maximum(exceedances, 1) / requests)
    axis = x_grid if cv2 == 1.0 else np.log(x_grid)
    last, before = enough - 1, max(0, enough - 1 - _SLOPE_POINTS)
    slope = (log_tail[last] - log_tail[before]) / (axis[last] - axis[before])
    log_tail[enough:] = log_tail[last] + slope * (axis[enough:] - axis[last])
    bounded = np.maximum(log_tail, service_log_tail(x_grid, cv2))
    return np.minimum.accumulate(np.minimum(bounded, 0.0))


def relative_half_width(exceedances: NDArray[np.int64], requests: int) -> float:
    """Half-width of the 95 % interval of P(response > x), relative to it: the widest over all x exceeded often enough.

    Blocks of a simulation are independent, so their scatter tells how far their mean may be off.

    Args:
        exceedances: [blocks, X] number of responses above each grid point in each block, blocks >= 2.
        requests: Responses counted in each block, > 0.

    Returns:
        The widest over the x that at least 0.5 % of all responses exceed; 0 if none does.
    """
    tails = exceedances / requests
    mean = tails.mean(axis=0)
    error = tails.std(axis=0, ddof=1) / math.sqrt(len(tails))
    often = mean >= _RARE
    t_95 = float(stdtrit(len(tails) - 1, 0.975))
    return float(np.max(t_95 * error[often] / mean[often], initial=0.0))
