"""Labelled incidents of the simulators as the plain tables that root-cause analysis learns from and is scored on."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from forecasting.rootcause.incident import METRICS as KNOWN
from forecasting.rootcause.incident import Incident, LabelledIncident, Topology
from forecasting.rootcause.signals import SIGNALS, LabelledEvent, SignalEvent
from simulators.anomalies import labelled_suite
from simulators.service_graph import FAULTS, METRICS, incident_suite
from simulators.service_graph import Incident as SimulatedIncident
from simulators.service_graph.incidents import Difficulty


def incident_tables(
    seed: int,
    n: int,
    difficulty: Difficulty,
    *,
    missing_share: float = 0.25,
    kinds: Sequence[str] = tuple(FAULTS),
) -> list[LabelledIncident]:
    """Return ``n`` labelled incidents of service graphs; arguments as `incident_suite`.

    The window is the fault's own. Telemetry after it is cut off: nothing needs it, and it halves the memory.
    """
    suite = incident_suite(seed, n, difficulty, missing_share=missing_share, kinds=kinds)
    return list(_tables(suite))


def _tables(suite: Iterable[SimulatedIncident]) -> Iterable[LabelledIncident]:
    order = [METRICS.index(name) for name in KNOWN]
    for item in suite:
        fault = item.fault
        values = item.telemetry.values[: fault.end_tick, :, order]
        topology = Topology(item.graph.names, item.graph.caller, item.graph.callee)
        incident = Incident(values, topology, fault.start_tick, fault.end_tick)
        yield LabelledIncident(incident, fault.cause, fault.kind)


def event_tables(seed: int, n: int, difficulty: Literal["easy", "hard", "mixed"]) -> list[LabelledEvent]:
    """Return the anomalies of ``n`` labelled two-week series, each as an event; arguments as `labelled_suite`.

    Days before an event hold earlier anomalies, as an operator's would.
    """
    events = []
    for series in labelled_suite(seed, n, difficulty):
        values = np.stack([series.signals[name] for name in SIGNALS], axis=1)
        for label in series.labels:
            event = SignalEvent(values, label.start_tick, label.end_tick, minute_of_day=0)
            events.append(LabelledEvent(event, label.kind))
    return events
