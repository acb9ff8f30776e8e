"""A balancer, its targets and their clients, event by event on SimPy: the slow and obvious account of one fleet.

Shares no code with ``simulators``. Each target is a SimPy resource with one place for each server, first come first
served. A client that runs out of patience leaves, but its work stays where it is; then it tries again, as often as it
may. The balancer keeps no queue. A target may refuse a request when enough of them wait there already.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

ANSWERED, TIMED_OUT, REJECTED = 0, 1, 2


@dataclass(frozen=True)
class Change:
    """A target that the balancer takes in, or leaves out from now on (it then works off what it has)."""

    at_s: float
    target: int
    in_service: bool


@dataclass(frozen=True)
class Fleet:
    """Everything about the service but its traffic.

    Attributes:
        targets: Number of targets, those that come later included.
        servers: Servers of each target.
        least_outstanding: Send a request to the target with the fewest in it (equals in turn); else each in its turn.
        timeout_s: Patience of a client, for each attempt.
        retries: Attempts after the first.
        retry_delay_s: Pause before another attempt.
        queue_limit: Requests that may wait in one target; one more is rejected at once.
        starting: Targets in service at time 0; all if None.
        changes: Targets that come and go, in order of time.
    """

    targets: int
    servers: int
    least_outstanding: bool = False
    timeout_s: float = math.inf
    retries: int = 0
    retry_delay_s: float = 0.0
    queue_limit: float = math.inf
    starting: int | None = None
    changes: tuple[Change, ...] = ()


@dataclass
class Log:
    """What happened to each attempt, in the order in which the attempts ended; one list entry for each."""

    sent_s: list[float] = field(default_factory=list)
    request: list[int] = field(default_factory=list)
    attempt: list[int] = field(default_factory=list)
    outcome: list[int] = field(default_factory=list)
    response_s: list[float] = field(default_factory=list)

    def add(self, sent_s: float, request: int, attempt: int, outcome: int, response_s: float) -> None:
        self.sent_s.append(sent_s)
        self.request.append(request)
        self.attempt.append(attempt)
        self.outcome.append(outcome)
        self.response_s.append(response_s)

    def responses_s(self) -> NDArray[np.float64]:
        """[requests] response times of answered attempts, in the order of the requests."""
        answered = np.array(self.outcome) == ANSWERED
        return np.array(self.response_s)[answered][np.argsort(np.array(self.request)[answered])]

    def answered_per_s(self, start_s: float, end_s: float) -> float:
        """Requests answered in time per second of [start_s, end_s): the goodput."""
        done_s = np.array(self.sent_s) + np.array(self.response_s)
        good = np.array(self.outcome) == ANSWERED
        return float(np.sum(good & (done_s >= start_s) & (done_s < end_s)) / (end_s - start_s))


@dataclass
class Watch:
    """Requests and unfinished work of the whole fleet, seen at fixed moments."""

    time_s: list[float] = field(default_factory=list)
    in_system: list[int] = field(default_factory=list)
    work_s: list[float] = field(default_factory=list)


class Service:
    """The running simulation; ``log`` and ``watch`` fill as it goes."""

    def __init__(self, fleet: Fleet) -> None:
        self.clock = simpy.Environment()
        self.fleet = fleet
        self.targets = [simpy.Resource(self.clock, capacity=fleet.servers) for _ in range(fleet.targets)]
        starting = fleet.targets if fleet.starting is None else fleet.starting
        self.in_service = [target < starting for target in range(fleet.targets)]
        self.turn = 0
        self.in_system, self.unfinished_s = 0, 0.0
        self.log, self.watch = Log(), Watch()

    def traffic(self, arrivals_s: NDArray[np.float64], works_s: NDArray[np.float64]) -> Iterator[Any]:
        for request, (arrival_s, work_s) in enumerate(zip(arrivals_s.tolist(), works_s.tolist(), strict=True)):
            yield self.clock.timeout(arrival_s - self.clock.now)
            if self.fleet.timeout_s == math.inf and self.fleet.queue_limit == math.inf:
                self.clock.process(self.patient_client(request, work_s))
            else:
                self.clock.process(self.client(request, work_s))

    def patient_client(self, request: int, work_s: float) -> Iterator[Any]:
        sent_s = self.clock.now
        yield from self.work(self.choose(), work_s)
        self.log.add(sent_s, request, 0, ANSWERED, self.clock.now - sent_s)

    def client(self, request: int, work_s: float) -> Iterator[Any]:
        for attempt in range(1 + self.fleet.retries):
            if attempt > 0 and self.fleet.retry_delay_s > 0.0:
                yield self.clock.timeout(self.fleet.retry_delay_s)
            sent_s = self.clock.now
            target = self.choose()
            if target is None or len(target.queue) >= self.fleet.queue_limit:
                self.log.add(sent_s, request, attempt, REJECTED, 0.0)
                continue
            job = self.clock.process(self.work(target, work_s))
            yield job | self.clock.timeout(self.fleet.timeout_s)
            outcome = ANSWERED if job.processed else TIMED_OUT
            self.log.add(sent_s, request, attempt, outcome, self.clock.now - sent_s)
            if outcome == ANSWERED:
                return

    def work(self, target: simpy.Resource, work_s: float) -> Iterator[Any]:
        self.in_system += 1
        self.unfinished_s += work_s
        with target.request() as place:
            yield place
            yield self.clock.timeout(work_s)
        self.in_system -= 1
        self.unfinished_s -= work_s

    def choose(self) -> Any:
        """The target whose turn it is or, by least outstanding requests, the emptiest, equals in turn."""
        order = [self.targets[k] for k in self.places_from_turn() if self.in_service[k]]
        self.turn = (self.turn + 1) % self.fleet.targets
        if not order:
            return None
        if self.fleet.least_outstanding:
            return min(order, key=lambda target: target.count + len(target.queue))
        return order[0]

    def places_from_turn(self) -> list[int]:
        return [*range(self.turn, self.fleet.targets), *range(self.turn)]

    def changes(self) -> Iterator[Any]:
        for change in self.fleet.changes:
            yield self.clock.timeout(change.at_s - self.clock.now)
            self.in_service[change.target] = change.in_service

    def look(self, every_s: float) -> Iterator[Any]:
        while True:
            self.watch.time_s.append(self.clock.now)
            self.watch.in_system.append(self.in_system)
            self.watch.work_s.append(self.unfinished_s)
            yield self.clock.timeout(every_s)


def simulate(
    fleet: Fleet,
    arrivals_s: NDArray[np.float64],
    works_s: NDArray[np.float64],
    *,
    watch_every_s: float = math.inf,
    until_s: float | None = None,
) -> tuple[Log, Watch]:
    """Run the traffic through the fleet until all is worked off, or until ``until_s``.

    Args:
        fleet: The service.
        arrivals_s: [N] increasing moments at which requests come.
        works_s: [N] work of each request, seconds of one server; another attempt brings the same work again.
        watch_every_s: Interval at which requests and work in the fleet are noted.
        until_s: End of the simulation; needed when ``watch_every_s`` is finite.

    Returns:
        All attempts that ended, and what was seen at the fixed moments.
    """
    service = Service(fleet)
    service.clock.process(service.changes())
    service.clock.process(service.traffic(arrivals_s, works_s))
    if watch_every_s < math.inf:
        service.clock.process(service.look(watch_every_s))
    service.clock.run(until_s)
    return service.log, service.watch


def poisson_arrivals(steps: Sequence[tuple[float, float]], seed: int) -> NDArray[np.float64]:
    """Moments of a Poisson stream whose rate is constant on each step of (duration in s, requests per s)."""
    rng = np.random.default_rng([seed, 0])
    start_s, moments = 0.0, []
    for duration_s, rate in steps:
        moments.append(start_s + np.sort(rng.uniform(0.0, duration_s, rng.poisson(duration_s * rate))))
        start_s += duration_s
    return np.concatenate(moments)


def draw_works(count: int, mean_s: float, cv2: float, seed: int) -> NDArray[np.float64]:
    """[count] works: exponential at ``cv2`` = 1, lognormal above."""
    rng = np.random.default_rng([seed, 1])
    if cv2 == 1.0:
        return rng.exponential(mean_s, count)
    sigma = math.sqrt(math.log(1.0 + cv2))
    return np.exp(rng.normal(math.log(mean_s) - sigma**2 / 2.0, sigma, count))
