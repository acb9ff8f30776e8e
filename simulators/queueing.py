"""Textbook queues with exact answers: Erlang B and C, M/M/c, and Erlang arrivals to M servers (E_k/M/c).

Rates are per unit of time; with `service_rate = 1` (the default) time is counted in mean service times.
Sources: M. Harchol-Balter, Performance Modeling and Design of Computer Systems, Cambridge 2013, chapter 14
(M/M/c); L. Takacs, Introduction to the Theory of Queues, Oxford 1962, chapter 2 (general arrivals,
exponential service).
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr


def erlang_b(servers: int, offered_load: float) -> float:
    """Share of Poisson arrivals that find all servers busy when nobody waits (M/M/c/c).

    Args:
        servers: Number of servers, >= 1.
        offered_load: Arrival rate over service rate, in servers, >= 0.

    Returns:
        Blocking probability in [0, 1], by the stable recursion over the number of servers.

    Raises:
        ValueError: `servers` or `offered_load` is out of range.
    """
    if servers < 1 or not 0.0 <= offered_load < math.inf:
        raise ValueError(f"expected servers >= 1 and offered_load >= 0, got {servers} and {offered_load}")
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = offered_load * blocked / (count + offered_load * blocked)
    return blocked


def erlang_c(servers: int, offered_load: float) -> float:
    """Share of Poisson arrivals that must wait for a server (M/M/c).

    Args:
        servers: Number of servers, >= 1.
        offered_load: Arrival rate over service rate, in servers, >= 0 and below `servers`.

    Returns:
        Waiting probability in [0, 1).

    Raises:
        ValueError: the queue is unstable (`offered_load >= servers`) or an argument is out of range.
    """
    blocked = erlang_b(servers, offered_load)
    utilization = offered_load / servers
    if utilization >= 1.0:
        raise ValueError(f"expected offered_load < servers = {servers}, got {offered_load}")
    return blocked / (1.0 - utilization * (1.0 - blocked))


def mmc_mean_response(arrival_rate: float, servers: int, service_rate: float = 1.0) -> float:
    """Mean time in the system (waiting and service) of M/M/c; M/M/1 is `servers = 1`.

    Args:
        arrival_rate: Arrivals per unit of time, >= 0, below `servers * service_rate`.
        servers: Number of servers, >= 1.
        service_rate: Services per unit of time of one server, > 0.

    Returns:
        Mean response in units of time.

    Raises:
        ValueError: the queue is unstable or an argument is out of range.
    """
    waits = erlang_c(servers, arrival_rate / service_rate)
    return waits / (servers * service_rate - arrival_rate) + 1.0 / service_rate


def mmc_response_tail(
    times: ArrayLike, arrival_rate: float, servers: int, service_rate: float = 1.0
) -> NDArray[np.float64]:
    """P(response > t) of M/M/c, first come first served.

    Args:
        times: Any shape, units of time, >= 0.
        arrival_rate: Arrivals per unit of time, >= 0, below `servers * service_rate`.
        servers: Number of servers, >= 1.
        service_rate: Services per unit of time of one server, > 0.

    Returns:
        Probabilities, the shape of `times`.

    Raises:
        ValueError: the queue is unstable or an argument is out of range.
    """
    waits = erlang_c(servers, arrival_rate / service_rate)
    return _delayed_service_tail(times, waits, servers * service_rate - arrival_rate, service_rate)


def mmc_response_quantile(probability: float, arrival_rate: float, servers: int, service_rate: float = 1.0) -> float:
    """Response time that a share `probability` of M/M/c requests does not exceed.

    Args:
        probability: In (0, 1), for example 0.99.
        arrival_rate: Arrivals per unit of time, >= 0, below `servers * service_rate`.
        servers: Number of servers, >= 1.
        service_rate: Services per unit of time of one server, > 0.

    Returns:
        Units of time, accurate to about 1e-12 relative.

    Raises:
        ValueError: the queue is unstable or an argument is out of range.
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"expected probability in (0, 1), got {probability}")

    def excess(time: float) -> float:
        return float(mmc_response_tail(time, arrival_rate, servers, service_rate)) - (1.0 - probability)

    upper = 1.0 / service_rate
    while excess(upper) > 0.0:
        upper *= 2.0
    return float(brentq(excess, 0.0, upper, xtol=1e-13 * upper))


def fluid_backlog(backlog: float, arrival_rate: float, capacity: float, seconds: float) -> float:
    """Backlog after some time of steady arrivals, requests flowing like a fluid: the picture used in overload.

    Args:
        backlog: Requests left over at the start, >= 0.
        arrival_rate: Requests per second that come.
        capacity: Requests per second that are worked off, > 0.
        seconds: Duration, >= 0.

    Returns:
        Requests left over at the end, >= 0; over `capacity`, the wait of the next one in seconds.
    """
    return max(0.0, backlog + (arrival_rate - capacity) * seconds)


def erlang_arrivals_response_tail(
    times: ArrayLike, arrival_rate: float, servers: int, phases: int, service_rate: float = 1.0
) -> NDArray[np.float64]:
    """P(response > t) of E_k/M/c: one target behind a round-robin balancer over `phases` targets.

    A balancer with Poisson arrivals hands every k-th request to the same target, so that target sees gaps
    that are sums of k exponentials. Waiting is zero or exponential, as for any arrivals to exponential
    servers.

    Args:
        times: Any shape, units of time, >= 0.
        arrival_rate: Arrivals per unit of time at this target, > 0, below `servers * service_rate`.
        servers: Number of servers of the target, >= 1.
        phases: Number of exponential phases per gap, >= 2 (1 is M/M/c, which has its own function).
        service_rate: Services per unit of time of one server, > 0.

    Returns:
        Probabilities, the shape of `times`.

    Raises:
        ValueError: the queue is unstable or an argument is out of range.

    Source:
        Takacs 1962, chapter 2, theorem on the waiting time of GI/M/c at arrival epochs.
    """
    load = arrival_rate / service_rate
    if phases < 2 or servers < 1 or not 0.0 < load < servers:
        raise ValueError(
            f"expected phases >= 2, servers >= 1 and 0 < load < servers, got {phases}, {servers} and {load}"
        )

    def gap_transform(rate: float) -> float:
        return float((phases * load / (phases * load + rate)) ** phases)

    root = float(brentq(lambda s: gap_transform(servers * (1.0 - s)) - s, 0.0, 1.0 - 1e-9, xtol=1e-15))
    inverse = 1.0 / (1.0 - root)
    odds = 1.0
    for busy in range(1, servers + 1):
        passed = gap_transform(busy)
        odds *= passed / (1.0 - passed)
        inverse += (
            math.comb(servers, busy)
            / (odds * (1.0 - passed))
            * (servers * (1.0 - passed) - busy)
            / (servers * (1.0 - root) - busy)
        )
    waits = 1.0 / (inverse * (1.0 - root))
    return _delayed_service_tail(times, waits, servers * service_rate * (1.0 - root), service_rate)


def service_log_tail(times: ArrayLike, cv2: float) -> NDArray[np.float64]:
    """Log of P(service > t) for work of mean 1: exponential at `cv2 = 1`, else lognormal.

    Args:
        times: Any shape, mean service times, > 0.
        cv2: Squared coefficient of variation of the work, >= 1.

    Returns:
        Logarithms of probabilities, the shape of `times`.

    Raises:
        ValueError: `cv2` is below 1.
    """
    if not 1.0 <= cv2 < math.inf:
        raise ValueError(f"expected cv2 >= 1, got {cv2}")
    moments = np.asarray(times, dtype=np.float64)
    if cv2 == 1.0:
        return -moments
    variance = math.log1p(cv2)
    z = (np.log(moments) + variance / 2.0) / math.sqrt(variance)
    return np.asarray(log_ndtr(-z), dtype=np.float64)


def _delayed_service_tail(times: ArrayLike, waits: float, wait_rate: float, service_rate: float) -> NDArray[np.float64]:
    """P(W + S > t) with S exponential and W zero, or exponential of `wait_rate` with probability `waits`."""
    moments = np.asarray(times, dtype=np.float64)
    served = np.exp(-service_rate * moments)
    if math.isclose(wait_rate, service_rate, rel_tol=1e-7):
        return np.asarray(served * (1.0 + waits * service_rate * moments))
    both = (wait_rate * served - service_rate * np.exp(-wait_rate * moments)) / (wait_rate - service_rate)
    return np.asarray((1.0 - waits) * served + waits * both)
