import numpy as np
import pytest

from forecasting.rootcause.deviations import measure_deviations
from forecasting.rootcause.evidence import EVIDENCE, gather_evidence
from forecasting.rootcause.incident import DEMAND
from forecasting.rootcause.rule import largest_deviation, topology_rule


def evidence_of(incident) -> dict[str, dict[str, float]]:
    table = gather_evidence(measure_deviations(incident), incident.topology)
    rows = (dict(zip(EVIDENCE, row, strict=True)) for row in table)
    return dict(zip(incident.topology.candidates, rows, strict=True))


def test_names_of_evidence_are_unique(played) -> None:
    assert len(set(EVIDENCE)) == len(EVIDENCE)
    incident = played()
    assert gather_evidence(measure_deviations(incident), incident.topology).shape == (5, len(EVIDENCE))


def test_latency_of_a_callee_explains_that_of_its_callers(played) -> None:
    found = evidence_of(played(own_ms={"database": 12.0}))
    assert found["database"]["latency unexplained, share"] == pytest.approx(1.0, abs=0.05)
    assert found["cart"]["latency_mean_ms effect"] == pytest.approx(np.log(32.0 / 20.0), abs=0.03)
    for symptom in ("cart", "front", "search"):
        assert abs(found[symptom]["latency unexplained, share"]) < 0.05


def test_a_slow_network_is_latency_of_the_caller_that_no_callee_shows(played) -> None:
    found = evidence_of(played(network_ms=15.5))
    assert found["front"]["latency unexplained, share"] == pytest.approx(0.5, abs=0.05)
    assert abs(found["search"]["latency unexplained, share"]) < 0.05


def test_errors_of_a_callee_explain_those_of_its_callers(played) -> None:
    found = evidence_of(played(errors={"database": 0.05}))
    assert found["database"]["errors unexplained, log"] > 3.0
    assert found["front"]["error_fraction effect"] > 2.0
    for symptom in ("cart", "front"):
        assert found[symptom]["errors unexplained, log"] < 1.5


def test_load_explains_cpu(played) -> None:
    surge, hog = evidence_of(played(demand=1.6)), evidence_of(played(cpu={"cart": 1.6}))
    assert abs(surge["cart"]["CPU beyond load"]) < 0.05
    assert hog["cart"]["CPU beyond load"] == pytest.approx(np.log(1.6), abs=0.05)
    assert surge[DEMAND]["share with more load"] == 1.0


def test_added_variance_tells_a_constant_wait_from_a_proportional_one(played) -> None:
    name = "variance added per squared latency added"
    squared_cv = np.expm1((np.log(2.0 / 0.8) / 1.6449) ** 2)
    proportional = evidence_of(played(own_ms={"database": 12.0}))["database"][name]
    assert proportional == pytest.approx(3.0 * squared_cv, rel=0.1)
    assert np.isnan(evidence_of(played())["database"][name])


def test_renaming_and_reordering_services_moves_the_evidence_along(played) -> None:
    from forecasting.rootcause.incident import Incident, Topology

    incident = played(own_ms={"database": 12.0}, errors={"search": 0.02})
    order = np.array([0, 3, 1, 2])
    place = np.argsort(order)
    topology = incident.topology
    moved = Incident(
        incident.values[:, order],
        Topology(tuple(topology.names[at] for at in order), place[topology.caller], place[topology.callee]),
        incident.start_tick,
        incident.end_tick,
    )
    first = gather_evidence(measure_deviations(incident), topology)
    second = gather_evidence(measure_deviations(moved), moved.topology)
    np.testing.assert_allclose(second, first[np.append(order, 4)], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["front", "cart", "search", "database"])
def test_the_rule_finds_whichever_service_is_slow_and_the_entry_as_a_symptom(played, name: str) -> None:
    incident = played(own_ms={name: 12.0}, seed=5)
    scores = topology_rule(measure_deviations(incident), incident.topology)
    assert incident.topology.candidates[int(scores.argmax())] == name


def test_the_largest_deviation_is_fooled_where_the_rule_is_not(played) -> None:
    incident = played(own_ms={"database": 12.0})
    rng = np.random.default_rng(0)
    values = incident.values.copy()
    values[:, 3] *= np.exp(0.3 * rng.standard_normal(values[:, 3].shape))
    noisy = type(incident)(values, incident.topology, incident.start_tick, incident.end_tick)
    found = measure_deviations(noisy)
    assert incident.topology.candidates[int(largest_deviation(found).argmax())] != "database"
    assert incident.topology.candidates[int(topology_rule(found, noisy.topology).argmax())] == "database"


def test_the_rule_finds_a_surge(played) -> None:
    incident = played(demand=1.7)
    scores = topology_rule(measure_deviations(incident), incident.topology)
    assert incident.topology.candidates[int(scores.argmax())] == DEMAND
