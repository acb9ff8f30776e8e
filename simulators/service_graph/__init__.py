"""A small service graph through which load, latency and errors propagate: labelled faults, partial telemetry."""

from simulators.service_graph.draw import draw_graph
from simulators.service_graph.faults import DEMAND, FAULTS, FaultKind, GraphFault
from simulators.service_graph.flow import Flow, solve_flow
from simulators.service_graph.graph import ServiceGraph
from simulators.service_graph.incidents import Incident, draw_fault, incident_suite
from simulators.service_graph.telemetry import METRICS, GraphTelemetry, simulate_graph

__all__ = [
    "DEMAND",
    "FAULTS",
    "METRICS",
    "FaultKind",
    "Flow",
    "GraphFault",
    "GraphTelemetry",
    "Incident",
    "ServiceGraph",
    "draw_fault",
    "draw_graph",
    "incident_suite",
    "simulate_graph",
    "solve_flow",
]
