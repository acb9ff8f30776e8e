"""Known future events as covariates: a sale, a launch, a match that the operator announces before it begins.

A wrapper around a (compiled) demand forecaster; it only ever touches what goes in and what comes out. While a known
event lasts, values are divided by its factor before the inner forecaster learns them, so that its season stays clean.
Quantiles of leads inside a known event are multiplied by the factor, and widened for what is not known about it.
Before its announcement an event changes nothing.

Factor. Per kind, a running mean in logs. The operator's figure counts as half an occurrence, so one occurrence moves
it two thirds of the way. An occurrence is the log of what came over what the inner forecaster's medians expected just
before the event became active, over at most one day. While an event lasts its own values count too, ten minutes of
them like one occurrence: a wrong figure is mended before it gets into the season. Of an event that was announced after
it began nothing is learnt. Events that overlap multiply, and share what they were wrong by.

Spread. The log factor has variance ``(v0 / 2 + sum of squares) / (n + 1 / 2) x (1 + 1 / (n + 1 / 2))`` after n
occurrences. A quantile lies as far from the median as the root of the squares of both distances: the inner
forecaster's, times the factor, and that of the log-normal factor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecasting.base import FloatArray, Forecaster
from forecasting.demand.boosted import LEVELS
from forecasting.demand.forecaster import checked_demand

LARGEST_FACTOR: Final = 1_000.0
_PRIOR_OCCURRENCES: Final = 0.5
_PRIOR_LOG_SPREAD: Final = 0.25
_LONGEST_EXPECTATION_S: Final = 86_400
_SURE_AFTER_S: Final = 600.0
_MEDIAN: Final = LEVELS.index(0.5)
_NORMAL_SCORES: Final = ndtri(np.array(LEVELS))


class StreamForecaster(Forecaster, Protocol):
    """A forecaster that knows its step and takes several values at once."""

    @property
    def step_s(self) -> int:
        """Seconds per step."""

    def feed(self, values: npt.ArrayLike) -> None:
        """Take several steps at once."""


@dataclass(frozen=True)
class KnownEvent:
    """An event that is known before it begins. Steps are counted from the first value that is fed (step 0).

    Attributes:
        kind: What it is; events of one kind share what is learnt of their factor.
        announced_step: Forecasts made after the value of this step, and later ones, know of it; may be negative.
        start_step: First step it touches, 0 or more.
        end_step: One past the last.
        expected_factor: By how much the operator expects demand to be multiplied, 0.001 to 1000.

    Raises:
        ValueError: An empty kind, an empty window, an announcement after the end, a factor out of range; names it.
    """

    kind: str
    announced_step: int
    start_step: int
    end_step: int
    expected_factor: float

    def __post_init__(self) -> None:
        if not self.kind:
            raise ValueError("kind is empty; expected the name of a kind of event")
        for name in ("announced_step", "start_step", "end_step"):
            if not isinstance(getattr(self, name), int | np.integer):
                raise ValueError(f"{self.kind}: {name} is {getattr(self, name)!r}; expected a whole number of steps")
        if self.start_step < 0:
            raise ValueError(f"{self.kind}: start_step {self.start_step} is below 0")
        if self.end_step <= self.start_step:
            raise ValueError(f"{self.kind}: end_step {self.end_step} does not lie after start_step {self.start_step}")
        if self.announced_step >= self.end_step:
            raise ValueError(
                f"{self.kind}: announced_step {self.announced_step} is not before end_step {self.end_step}"
            )
        if not 1.0 / LARGEST_FACTOR <= self.expected_factor <= LARGEST_FACTOR:
            raise ValueError(
                f"{self.kind}: expected_factor is {self.expected_factor}; expected a number from "
                f"{1.0 / LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}"
            )

    @property
    def first_used(self) -> int:
        """First step whose value is read in the light of the event."""
        return max(self.start_step, self.announced_step)


@dataclass
class _Kind:
    """What is known of the factor of a kind: occurrences, and sums over them of the log factor and its square."""

    occurrences: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def weight(self) -> float:
        """Occurrences, the operator's figure included."""
        return _PRIOR_OCCURRENCES + self.occurrences

    def mean(self, expected_factor: float) -> float:
        """Return the log factor; the operator's figure counts as half an occurrence."""
        prior = _PRIOR_OCCURRENCES * math.log(expected_factor)
        return (prior + self.total) / self.weight

    def spread(self) -> float:
        """Return the standard deviation of the log factor of the next occurrence."""
        about_mean = self.squares - self.total**2 / self.occurrences if self.occurrences > 0.0 else 0.0
        variance = (_PRIOR_OCCURRENCES * _PRIOR_LOG_SPREAD**2 + max(about_mean, 0.0)) / self.weight
        return math.sqrt(variance * (1.0 + 1.0 / self.weight))

    def learn(self, log_factor: float) -> None:
        """Take an occurrence."""
        self.occurrences += 1.0
        self.total += log_factor
        self.squares += log_factor**2


@dataclass
class _Occurrence:
    """An event under way: what was expected without it, and what came.

    Attributes:
        expected: float64[<= a day], inner medians from the step it became active on; empty if none were known.
        came: sum of the values so far, over known steps.
        foreseen: sum over the same steps of what was expected times the kinds' factors of the other events.
        shares: sum over the same steps of one over the number of events.
        known_steps: how many.
    """

    expected: FloatArray
    came: float = 0.0
    foreseen: float = 0.0
    shares: float = 0.0
    known_steps: int = 0

    @property
    def tells(self) -> bool:
        """Whether there is anything to learn from it."""
        return self.came > 0.0 and self.foreseen > 0.0

    def log_factor(self, mean: float) -> float:
        """Return its own log factor; of what ``mean`` was wrong by, an event takes its share."""
        off = math.log(self.came / self.foreseen) - mean
        return _bounded(mean + off * self.shares / self.known_steps)


class EventForecaster:
    """A demand forecaster that knows of announced events; the interface of ``DemandForecaster``.

    Args:
        inner: What forecasts demand without events; it is used as it stands and changed by ``fit`` and ``feed``.
        events: What is announced, in any order; an event is ignored until its announcement.

    Raises:
        ValueError: An event is given twice.
    """

    def __init__(self, inner: StreamForecaster, events: Sequence[KnownEvent] = ()) -> None:
        self.inner = inner
        self._events: list[KnownEvent] = []
        self._reset()
        for event in events:
            self.announce(event)

    def _reset(self) -> None:
        self._step = 0
        self._kinds: dict[str, _Kind] = {}
        self._under_way: dict[KnownEvent, _Occurrence] = {}

    @property
    def step_s(self) -> int:
        """Seconds per step."""
        return self.inner.step_s

    @property
    def ready(self) -> bool:
        """Whether the inner forecaster has seen a full day."""
        return self.inner.ready

    def factor(self, kind: str, expected_factor: float) -> float:
        """Return the factor now forecast for an event of a kind for which the operator expects ``expected_factor``."""
        return math.exp(self._kinds.get(kind, _Kind()).mean(expected_factor))

    def announce(self, event: KnownEvent) -> None:
        """Add an event; it is known from its announcement or from now on, whichever is later.

        Raises:
            ValueError: It is known already, or has begun: its first values were learnt as ordinary demand.
        """
        if event in self._events:
            raise ValueError(f"{event.kind}: the event from step {event.start_step} on is announced twice")
        if event.start_step < self._step:
            raise ValueError(f"{event.kind}: start_step {event.start_step} has passed; the next step is {self._step}")
        self._events.append(event)

    def fit(self, history: npt.ArrayLike) -> Self:
        """Start anew: learn the factors on ``history``, fit the inner forecaster on it without its events.

        Args:
            history: float64[N], from step 0 on, NaN where missing.
        """
        values = checked_demand(history)
        self._reset()
        self.inner.fit(values[:0])
        self.inner.fit(self._take(values))
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step; NaN if it is missing."""
        self._take(checked_demand([value]))

    def feed(self, values: npt.ArrayLike) -> None:
        """Take several steps at once: the same as :meth:`update` for each."""
        self._take(checked_demand(values))

    def forecast(self, leads: Sequence[int], levels: Sequence[float] = LEVELS) -> FloatArray:
        """Return float64[len(leads), len(levels)]: quantiles that many steps after the last value.

        Raises:
            ValueError: A lead or a level that the inner forecaster refuses.
        """
        now = self._step - 1
        known = [event for event in self._events if event.announced_step <= now]
        inside = [[event for event in known if event.start_step <= now + lead < event.end_step] for lead in leads]
        if not any(inside):
            return self.inner.forecast(leads, levels)
        unknown = [level for level in levels if level not in LEVELS]
        if unknown:
            raise ValueError(f"level {unknown[0]} is not forecast under an event; known: {list(LEVELS)}")
        rows = self.inner.forecast(leads, LEVELS)
        for place, events in enumerate(inside):
            if events:
                rows[place] = self._with_events(rows[place], events)
        return rows[:, [LEVELS.index(level) for level in levels]]

    def _with_events(self, row: FloatArray, events: Sequence[KnownEvent]) -> FloatArray:
        """Return quantiles float64[Q] under events: multiplied, and widened for what is not known of the factor."""
        row = row * self._product(events)
        spread = math.sqrt(sum(self._kinds.get(event.kind, _Kind()).spread() ** 2 for event in events))
        own = row[_MEDIAN] * np.expm1(spread * _NORMAL_SCORES)
        wide = np.sign(_NORMAL_SCORES) * np.hypot(row - row[_MEDIAN], own)
        return np.maximum(np.maximum.accumulate(row[_MEDIAN] + wide), 0.0)

    def _product(self, events: Sequence[KnownEvent]) -> float:
        return math.exp(_bounded(sum(self._log_factor(event) for event in events)))

    def _log_factor(self, event: KnownEvent) -> float:
        """Return the log factor of an event: that of its kind, moved by what came since the event began."""
        kind = self._kinds.get(event.kind, _Kind())
        mean = self._mean(event)
        occurrence = self._under_way.get(event)
        if occurrence is None or not occurrence.tells:
            return mean
        weight = occurrence.known_steps * self.step_s / _SURE_AFTER_S
        return mean + weight / (weight + kind.weight) * (occurrence.log_factor(mean) - mean)

    def _take(self, values: FloatArray) -> FloatArray:
        """Take values, stretch by stretch between the starts and ends of events; return them without the events."""
        without = values.copy()
        if not len(values):
            return without
        first, last = self._step, self._step + len(values)
        bounds = {bound for event in self._events for bound in (event.first_used, event.end_step)}
        edges = [first, *sorted(bound for bound in bounds if first < bound < last), last]
        for begin, end in pairwise(edges):
            active = [event for event in self._events if event.first_used <= begin < event.end_step]
            self._begin([event for event in active if event.first_used == begin])
            if active:
                for step in range(begin, end):
                    self._watch(step, values[step - first], active)
                    without[step - first] /= self._product(active)
                    self.inner.update(without[step - first])
            else:
                self.inner.feed(without[begin - first : end - first])
            self._step = end
            self._close([event for event in active if event.end_step == end])
        return without

    def _begin(self, events: Sequence[KnownEvent]) -> None:
        """Note what is expected without the events that become active at the next step."""
        longest = _LONGEST_EXPECTATION_S // self.step_s
        for event in events:
            leads = range(1, min(event.end_step - event.first_used, longest) + 1)
            clean = self.ready and event.first_used == event.start_step
            self._under_way[event] = _Occurrence(self.inner.forecast(leads, [0.5])[:, 0] if clean else np.empty(0))

    def _watch(self, step: int, value: float, active: Sequence[KnownEvent]) -> None:
        """Compare a value with what was expected, under every event that is active."""
        for event in active:
            occurrence, at = self._under_way[event], step - event.first_used
            if math.isnan(value) or at >= len(occurrence.expected):
                continue
            others = [self._mean(other) for other in active if other != event]
            occurrence.came += value
            occurrence.foreseen += math.exp(_bounded(sum(others))) * float(occurrence.expected[at])
            occurrence.shares += 1.0 / len(active)
            occurrence.known_steps += 1

    def _mean(self, event: KnownEvent) -> float:
        return self._kinds.get(event.kind, _Kind()).mean(event.expected_factor)

    def _close(self, events: Sequence[KnownEvent]) -> None:
        """Learn from the events that are over; nothing where demand or expectation was zero or unknown."""
        over = [(event, self._under_way.pop(event)) for event in events]
        learnt = [(event.kind, item.log_factor(self._mean(event))) for event, item in over if item.tells]
        for kind, log_factor in learnt:
            self._kinds.setdefault(kind, _Kind()).learn(log_factor)


def _bounded(log_factor: float) -> float:
    return min(max(log_factor, -math.log(LARGEST_FACTOR)), math.log(LARGEST_FACTOR))
