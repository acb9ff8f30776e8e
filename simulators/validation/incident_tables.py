"""Labelled incidents of the simulators as the plain tables that root-cause analysis learns from and is scored on.

Training and scoring take disjoint seeds, so no graph, demand, fault or hole is in both.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from forecasting.rootcause.incident import METRICS as KNOWN
from forecasting.rootcause.incident import Incident, LabelledIncident, Topology
from forecasting.rootcause.signals import SIGNALS, LabelledEvent, SignalEvent
from simulators.anomalies import labelled_suite
from simulators.service_graph import FAULTS, METRICS, incident_suite
from simulators.service_graph.incidents import Difficulty

TRAINING_SEED: Final = 101
"""Training uses this seed and the five after it."""

SCORING_SEED: Final = 2
"""Scoring uses this seed alone; no setting was chosen by it."""

_TRAINING: Final[tuple[tuple[Difficulty, float, int], ...]] = (
    ("easy", 0.25, 280),
    ("hard", 0.25, 420),
    ("easy", 0.0, 70),
    ("hard", 0.0, 105),
    ("easy", 0.5, 70),
    ("hard", 0.5, 105),
)


def incident_tables(
    seed: int,
    n: int,
    difficulty: Difficulty,
    *,
    missing_share: float = 0.25,
    kinds: Sequence[str] = tuple(FAULTS),
) -> list[LabelledIncident]:
    """Return ``n`` labelled incidents of service graphs; arguments as `incident_suite`.

    The window is the fault's own. Telemetry after it is cut off: nothing reads it.
    """
    order = [METRICS.index(name) for name in KNOWN]
    tables = []
    for item in incident_suite(seed, n, difficulty, missing_share=missing_share, kinds=kinds):
        fault = item.fault
        topology = Topology(item.graph.names, item.graph.caller, item.graph.callee)
        values = item.telemetry.values[: fault.end_tick, :, order]
        incident = Incident(values, topology, fault.start_tick, fault.end_tick)
        tables.append(LabelledIncident(incident, fault.cause, fault.kind))
    return tables


def event_tables(seed: int, n: int, difficulty: Literal["easy", "hard", "mixed"]) -> list[LabelledEvent]:
    """Return the anomalies of ``n`` labelled two-week series, each as an event; arguments as `labelled_suite`.

    Days before an event hold earlier anomalies, as an operator's would; some events overlap.
    """
    events = []
    for series in labelled_suite(seed, n, difficulty):
        values = np.stack([series.signals[name] for name in SIGNALS], axis=1)
        for label in series.labels:
            event = SignalEvent(values, label.start_tick, label.end_tick, minute_of_day=0)
            events.append(LabelledEvent(event, label.kind))
    return events


def training_incidents(share: float = 1.0) -> list[LabelledIncident]:
    """Return the incidents that the shipped model learns from: two in three with a quarter of the metrics missing.

    Args:
        share: of the full number, above 0 and up to 1; at least one incident of each sort is kept.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"share {share} lies outside 0..1")
    tables = []
    for at, (difficulty, missing, number) in enumerate(_TRAINING):
        tables += incident_tables(TRAINING_SEED + at, max(1, round(share * number)), difficulty, missing_share=missing)
    return tables


def training_events(n: int = 120) -> list[LabelledEvent]:
    """Return the events of ``n`` series, easy and hard in halves, that the shipped model learns from."""
    return event_tables(TRAINING_SEED, n - n // 2, "easy") + event_tables(TRAINING_SEED + 1, n // 2, "hard")


def scoring_incidents(n: int = 210) -> dict[str, list[LabelledIncident]]:
    """Return ``n`` incidents each: easy and hard with a quarter of the metrics missing, then with none and a half."""
    tests = {title: incident_tables(SCORING_SEED, n, title) for title in ("easy", "hard")}
    for share, words in ((0.0, "nothing missing"), (0.5, "half missing")):
        for title in ("easy", "hard"):
            tests[f"{title}, {words}"] = incident_tables(SCORING_SEED, n, title, missing_share=share)
    return tests


def scoring_events(n: int = 40) -> dict[str, list[LabelledEvent]]:
    """Return the events of ``n`` easy and of ``n`` hard series that no model has learnt from."""
    return {title: event_tables(SCORING_SEED, n, title) for title in ("easy", "hard")}
