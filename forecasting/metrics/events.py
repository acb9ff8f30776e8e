"""How well alarms match events: a matching rule stated in full, and the figures that follow from it.

An alarm is a run of rows in alarm; runs up to half an hour apart are one alarm. An event is found if a row in alarm
overlaps it or the ten minutes after its end. An alarm is true if it *begins* inside an event or those ten minutes, so
an alarm that is always on finds everything and is one false alarm. The delay of an event runs from its start to the
end of the first row in alarm that overlaps it, which is when the row is known.

Rows are never relabelled by what was found in their event (no point adjustment).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

GRACE_S: Final = 600.0
JOIN_S: Final = 1800.0
_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class EventCounts:
    """What alarms did on one or more series.

    Attributes:
        events: Labelled events.
        found: Those that an alarm overlapped.
        alarms: Alarms raised.
        true_alarms: Those that began in an event.
        delays_s: Seconds from start to alarm of each event found.
        days: Length of all series together.
        rows: Rows of all series.
        right_rows: Rows where being in alarm equals being in an event.
        event_rows: Rows inside an event.
    """

    events: int
    found: int
    alarms: int
    true_alarms: int
    delays_s: tuple[float, ...]
    days: float
    rows: int
    right_rows: int
    event_rows: int

    @property
    def precision(self) -> float:
        """Share of alarms that were true; 0 without an alarm."""
        return self.true_alarms / self.alarms if self.alarms else 0.0

    @property
    def recall(self) -> float:
        """Share of events found; 0 without an event."""
        return self.found / self.events if self.events else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0 where both are."""
        both = self.precision + self.recall
        return 2.0 * self.precision * self.recall / both if both else 0.0

    @property
    def false_alarms_per_day(self) -> float:
        """Alarms outside events per day of one series."""
        return (self.alarms - self.true_alarms) / self.days

    @property
    def median_delay_s(self) -> float:
        """Median delay of the events found; NaN if none was."""
        return float(np.median(self.delays_s)) if self.delays_s else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of rows whose alarm state is right."""
        return self.right_rows / self.rows

    @property
    def never_alarm_accuracy(self) -> float:
        """The same for a detector that never alarms."""
        return 1.0 - self.event_rows / self.rows


def count_events(
    alarms: npt.ArrayLike, events: npt.ArrayLike, step_s: float, *, grace_s: float = GRACE_S, join_s: float = JOIN_S
) -> EventCounts:
    """Match the alarms of one series to its events.

    Args:
        alarms: bool[T], whether each row is in alarm.
        events: float[E, 2], start and end of each event in seconds from the start of the first row.
        step_s: Length of a row in seconds.
        grace_s: Seconds after an event that still count as its own.
        join_s: Runs of alarm at most this far apart are one alarm.

    Raises:
        ValueError: no row, or an event that ends before it starts.
    """
    on = np.asarray(alarms, dtype=np.bool_)
    spans = np.asarray(events, dtype=np.float64).reshape(-1, 2)
    if len(on) == 0 or (spans[:, 1] < spans[:, 0]).any():
        raise ValueError("matching alarms to events needs a row, and events that end after they start")
    starts_s = np.arange(len(on)) * step_s
    rows = np.flatnonzero(on)
    begins = rows[np.flatnonzero(np.diff(rows, prepend=-np.inf) * step_s - step_s > join_s)]
    overlap = (starts_s[:, None] < spans[:, 1] + grace_s) & (starts_s[:, None] + step_s > spans[:, 0])
    inside = ((starts_s[:, None] < spans[:, 1]) & (starts_s[:, None] + step_s > spans[:, 0])).any(axis=1)
    delays = []
    for at, (start, _) in enumerate(spans):
        hit = np.flatnonzero(on & overlap[:, at])
        if len(hit):
            delays.append(float(starts_s[hit[0]] + step_s - start))
    return EventCounts(
        events=len(spans),
        found=len(delays),
        alarms=len(begins),
        true_alarms=int(overlap[begins].any(axis=1).sum()),
        delays_s=tuple(delays),
        days=len(on) * step_s / _DAY_S,
        rows=len(on),
        right_rows=int((on == inside).sum()),
        event_rows=int(inside.sum()),
    )


def pool_counts(counts: Iterable[EventCounts]) -> EventCounts:
    """Return the counts of several series together.

    Raises:
        ValueError: no series.
    """
    parts = list(counts)
    if not parts:
        raise ValueError("no series to pool")
    return EventCounts(
        events=sum(one.events for one in parts),
        found=sum(one.found for one in parts),
        alarms=sum(one.alarms for one in parts),
        true_alarms=sum(one.true_alarms for one in parts),
        delays_s=tuple(delay for one in parts for delay in one.delays_s),
        days=sum(one.days for one in parts),
        rows=sum(one.rows for one in parts),
        right_rows=sum(one.right_rows for one in parts),
        event_rows=sum(one.event_rows for one in parts),
    )
