"""A size from theory: what a many-server queue and a fluid picture of overload say a case needs. Compiled.

It is the planner's yardstick (the trees learn by how much the truth differs) and the guard of its plans. It knows no
simulator, only textbooks: response times of M/M/c with its wait stretched by variability (Sakasegawa 1977; Allen and
Cunneen), work that piles up while arrivals exceed capacity, and clients that try again.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from telemetry.compiled import compiled

BOOT_SIGMA: Final = 0.4
"""Spread of launch times around their median, log scale."""
MAX_SIZE: Final = 400.0
_LATE: Final = 0.05
_ATTEMPTS: Final = 4


@compiled
def late_share(utilization: float, servers: int, cv2: float, multiple: float) -> float:
    """Return P(response > x) of one M/M/c queue whose wait and work are stretched for their variability.

    Args:
        utilization: Busy share of the servers, 0..1, below 1.
        servers: Number of servers c.
        cv2: Squared coefficient of variation of the work.
        multiple: x in mean service times.
    """
    load = utilization * servers
    term, total = 1.0, 1.0
    for k in range(1, servers):
        term *= load / k
        total += term
    last = term * load / servers / (1.0 - utilization)
    waits = last / (total + last)
    work = 1.0 / (1.0 + 0.15 * math.log(cv2)) if cv2 > 1.0 else 1.0
    drain = 2.0 * servers * (1.0 - utilization) / (1.0 + cv2)
    if abs(drain - work) < 1e-6:
        drain += 2e-6
    alone = math.exp(-work * multiple)
    queued = (drain * alone - work * math.exp(-drain * multiple)) / (drain - work)
    return (1.0 - waits) * alone + waits * queued


@compiled
def tolerated_utilization(servers: int, cv2: float, multiple: float) -> float:
    """Return the highest utilization at which at most 5 % respond later than ``multiple`` service times, 0..0.995."""
    low, high = 0.0, 0.995
    if late_share(high, servers, cv2, multiple) <= _LATE:
        return high
    for _ in range(30):
        middle = 0.5 * (low + high)
        if late_share(middle, servers, cv2, multiple) > _LATE:
            high = middle
        else:
            low = middle
    return low


@compiled
def ready_share(seconds: float, boot_s: float) -> float:
    """Return the share of instances that serve this long after their launch: lognormal around ``boot_s``."""
    if seconds <= 0.0:
        return 0.0
    return 0.5 * math.erfc(-math.log(seconds / max(boot_s, 1.0)) / (BOOT_SIGMA * math.sqrt(2.0)))


@compiled
def _pile_up(queued_s: float, load: float, limit_s: float, minute_s: float) -> tuple[float, float]:
    """Return work queued after a minute, seconds, and the share of its arrivals that were rejected."""
    after = max(0.0, queued_s + (load - 1.0) * minute_s)
    rejected = min(load * minute_s, max(0.0, after - limit_s))
    return after - rejected, rejected / max(load * minute_s, 1e-9)


@compiled
def _late_by_wait(before_s: float, after_s: float, limit_s: float) -> float:
    """Return the share of a minute in which a wait that moves linearly is longer than a limit."""
    top, bottom = max(before_s, after_s), min(before_s, after_s)
    if top <= limit_s:
        return 0.0
    return 1.0 if bottom >= limit_s else (top - limit_s) / (top - bottom)


@compiled
def copes(size: float, case: NDArray[np.float64], demand: NDArray[np.float64], tolerated: float, settle: int) -> bool:
    """Say whether a size meets the objective in every minute after the first ``settle``.

    A group that shrinks stops its oldest instances first, so those on their way stay.

    Args:
        size: Instances wanted from the start of the window on; may be fractional.
        case: [13] in_service, booting, ready_in_s, boot_s, queue_s, timeout_s, max_retries, backlog_s, retry_ratio,
            spot_share, slo_s, reclaim_minute, and the spot instances lost beyond a third of them.
        demand: [T] demand of each minute in always busy instances.
        tolerated: Utilization at which the objective is just met.
        settle: Minutes that are not judged.
    """
    in_service, booting, ready_in_s, boot_s, queue_s, timeout_s = case[0], case[1], case[2], case[3], case[4], case[5]
    max_retries, spot_share, slo_s, reclaim_minute = int(case[6]), case[9], case[10], int(case[11])
    extra_loss = case[12]
    coming = min(size, booting)
    old = min(max(size - booting, 0.0), in_service)
    launched = max(size - in_service - booting, 0.0)
    old_s, new_s = case[7], 0.0
    retries = np.zeros(_ATTEMPTS)
    if max_retries > 0:
        retries[0] = case[8] * demand[0]
    for minute in range(demand.shape[0]):
        middle = 60.0 * minute + 30.0
        new = coming * ready_share(middle + boot_s - ready_in_s, boot_s) + launched * ready_share(middle, boot_s)
        serving = old + new
        if minute >= reclaim_minute - 1:
            back = ready_share(middle - 60.0 * (reclaim_minute - 1) - 30.0, boot_s)
            gone = 0.5 if minute == reclaim_minute - 1 else 1.0
            serving -= min(size * spot_share / 3.0 + extra_loss * (spot_share > 0.0), size) * gone * (1.0 - back)
        serving = max(serving, 1e-3)
        load = (demand[minute] + retries[:max_retries].sum()) / serving
        old_after, rejected = _pile_up(old_s, load, queue_s, 60.0)
        new_after, new_rejected = _pile_up(new_s, load, queue_s, 60.0) if new > 0.0 else (0.0, rejected)
        share = old / max(old + new, 1e-9)
        unanswered = share * (rejected + (1.0 - rejected) * _late_by_wait(old_s, old_after, timeout_s))
        unanswered += (1.0 - share) * (new_rejected + (1.0 - new_rejected) * _late_by_wait(new_s, new_after, timeout_s))
        late = share * _late_by_wait(old_s, old_after, slo_s) + (1.0 - share) * _late_by_wait(new_s, new_after, slo_s)
        if minute >= settle and (load > tolerated or late > _LATE or unanswered > 0.01):
            return False
        attempt = demand[minute]
        for number in range(max_retries):
            coming_back = retries[number]
            retries[number] = unanswered * attempt
            attempt = coming_back
        old_s, new_s = old_after, new_after
    return True


@compiled
def theory_size(
    case: NDArray[np.float64], demand: NDArray[np.float64], tolerated: NDArray[np.float64], settle: int
) -> NDArray[np.float64]:
    """Return [N] the least size, fractional, that ``copes`` with each case; at most ``MAX_SIZE``.

    Args:
        case: [N, 13] as ``copes`` reads them.
        demand: [N, T] as ``copes`` reads it.
        tolerated: [N] utilization at which the objective is just met.
        settle: Minutes that are not judged.
    """
    sizes = np.empty(len(case))
    for row in range(len(case)):
        low, high = 0.0, 1.0
        while high < MAX_SIZE and not copes(high, case[row], demand[row], tolerated[row], settle):
            low, high = high, 2.0 * high
        for _ in range(12):
            middle = 0.5 * (low + high)
            if copes(middle, case[row], demand[row], tolerated[row], settle):
                high = middle
            else:
                low = middle
        sizes[row] = min(high, MAX_SIZE)
    return sizes


@compiled
def tolerated_utilizations(
    servers: NDArray[np.int64], cv2: NDArray[np.float64], multiple: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return [N] ``tolerated_utilization`` of each row."""
    found = np.empty(len(servers))
    for row in range(len(servers)):
        found[row] = tolerated_utilization(servers[row], cv2[row], multiple[row])
    return found


@compiled
def ready_shares(ready_in_s: NDArray[np.float64], window_s: float) -> NDArray[np.float64]:
    """Return [N] the mean share of a window in which instances on their way serve.

    Args:
        ready_in_s: [N] seconds until they usually do.
        window_s: Length of the window, seconds.
    """
    shares = np.empty(len(ready_in_s))
    steps = 20
    for row in range(len(ready_in_s)):
        total = 0.0
        for step in range(steps):
            total += ready_share((step + 0.5) * window_s / steps, max(ready_in_s[row], 1.0))
        shares[row] = total / steps
    return shares
