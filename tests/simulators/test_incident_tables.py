import numpy as np
import pytest

from forecasting.rootcause.incident import METRICS
from simulators.service_graph import incident_suite
from simulators.validation.incident_tables import event_tables, incident_tables, training_incidents


def test_a_table_holds_what_was_measured_and_the_truth_and_nothing_later() -> None:
    suite, tables = incident_suite(7, 3, "hard"), incident_tables(7, 3, "hard")
    for item, table in zip(suite, tables, strict=True):
        incident = table.incident
        assert (table.cause, table.kind) == (item.fault.cause, item.fault.kind)
        assert (incident.start_tick, incident.end_tick) == (item.fault.start_tick, item.fault.end_tick)
        assert len(incident.values) == item.fault.end_tick
        for column, name in enumerate(METRICS):
            expected = item.telemetry.metric(name)[: item.fault.end_tick]
            np.testing.assert_array_equal(incident.values[:, :, column], expected)
        edges = zip(item.graph.caller.tolist(), item.graph.callee.tolist(), strict=True)
        assert np.argwhere(incident.topology.calls).tolist() == sorted([list(edge) for edge in edges])


def test_events_carry_their_series_and_window() -> None:
    events = event_tables(7, 1, "easy")
    assert events
    for item in events:
        assert 3 * 1440 <= item.event.start_tick < item.event.end_tick <= len(item.event.values) == 14 * 1440


def test_a_share_of_the_training_incidents_keeps_every_sort() -> None:
    missing = [np.isnan(item.incident.values).mean() for item in training_incidents(0.001)]
    assert len(missing) == 6
    assert sorted(round(float(share) * 4) for share in missing) == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="share"):
        training_incidents(0.0)
