"""The service graph: queueing against theory, propagation from callee to caller, and a truth that the data support."""

import math
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from simulators.patterns import draw_pattern
from simulators.queueing import mmc_mean_response
from simulators.service_graph import (
    DEMAND,
    FAULTS,
    GraphFault,
    ServiceGraph,
    draw_graph,
    incident_suite,
    simulate_graph,
    solve_flow,
)
from simulators.service_graph.telemetry import NOISE_SIGMA, WANDER_SIGMA

DAY = 1440


def chain(services: int = 3, **changes: object) -> ServiceGraph:
    """front -> catalog -> cart: 10 ms of CPU each, 4 workers, generous limits, no retries."""
    edges = services - 1
    graph = ServiceGraph(
        names=("front", "catalog", "cart", "orders")[:services],
        base_ms=np.full(services, 10.0),
        workers=np.full(services, 4.0),
        pool=np.full(services, 1e6),
        base_error=np.zeros(services),
        base_memory=np.full(services, 0.4),
        caller=np.arange(edges),
        callee=np.arange(1, services),
        calls=np.ones(edges),
        network_ms=np.full(edges, 2.0),
        timeout_ms=np.full(edges, 1e9),
        retries=np.zeros(edges, np.int64),
        required=np.ones(edges, np.bool_),
        design_rps=100.0,
    )
    return replace(graph, **changes)


def steady(rps: float, ticks: int = 1) -> np.ndarray:
    return np.full(ticks, rps)


@cache
def drawn(seed: int, services: int = 9) -> tuple[ServiceGraph, np.ndarray]:
    graph = draw_graph(services, seed)
    return graph, graph.design_rps * draw_pattern("diurnal", days=1, seed=seed)


def patient(graph: ServiceGraph) -> ServiceGraph:
    """The same graph without time-outs, retries and pools, so that nothing but the calls couples the services."""
    edges = len(graph.caller)
    return replace(
        graph,
        timeout_ms=np.full(edges, 1e12),
        retries=np.zeros(edges, np.int64),
        pool=np.full(len(graph.names), 1e9),
    )


def fault_at(graph: ServiceGraph, kind: str, service: int, start: int = 600, end: int = 700) -> GraphFault:
    """A fault of easy strength at a service (for a network delay, on its first call)."""
    span = FAULTS[kind]
    severity = float(np.sqrt(span.easy[0] * span.easy[1]))
    if span.target == "entry":
        return GraphFault(kind, start, end, severity)
    callee = graph.names[graph.callee[graph.out_edges[service][0]]] if span.target == "edge" else None
    return GraphFault(kind, start, end, severity, graph.names[service], callee)


def descendants(graph: ServiceGraph, service: int) -> set[int]:
    return {other for other in range(len(graph.names)) if service in graph.ancestors(other)}


# Theory and reference


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("utilization", [0.3, 0.6, 0.9])
def test_a_service_waits_as_its_queue_does(workers: int, utilization: float) -> None:
    graph = chain(2, workers=np.array([float(workers), 1e6]), calls=np.array([1e-9]))
    rate = utilization * workers * 100.0
    expected = 1000.0 * mmc_mean_response(rate, workers, service_rate=100.0)
    assert solve_flow(graph, steady(rate), ()).mean_ms[0, 0] == pytest.approx(
        expected, rel=1e-6 if workers == 1 else 0.05
    )


def slow_reference(graph: ServiceGraph, demand: float) -> dict[str, list[float]]:
    """The same equations written one request path at a time, in plain Python, iterated until nothing moves."""
    services, edges = len(graph.names), len(graph.caller)
    attempts, admitted = [1.0] * edges, [1.0] * services
    for _ in range(400):
        rate = [demand] + [0.0] * (services - 1)
        for service in range(1, services):
            for e in range(edges):
                if graph.callee[e] == service:
                    caller = graph.caller[e]
                    rate[service] += rate[caller] * admitted[caller] * graph.calls[e] * attempts[e]
        mean, variance, error = [0.0] * services, [0.0] * services, [0.0] * services
        for service in range(services - 1, -1, -1):
            s, c = graph.base_ms[service], graph.workers[service]
            rho = rate[service] * s / 1000.0 / c
            busy = min(rho, 0.98)
            queue = min(s * busy ** (math.sqrt(2 * (c + 1)) - 1) / (c * (1 - busy)), 40 * s)
            m, v, ok = s + queue, s * s + queue * queue, 1.0 - graph.base_error[service]
            for e in range(edges):
                if graph.caller[e] != service:
                    continue
                callee = graph.callee[e]
                total = mean[callee] + graph.network_ms[e]
                spread = math.sqrt(math.log(1.0 + variance[callee] / total**2))
                centre = math.log(total) - spread**2 / 2
                limit = graph.timeout_ms[e]
                late = 0.5 * math.erfc((math.log(limit) - centre) / spread / math.sqrt(2))
                in_time = total * 0.5 * math.erfc(-(math.log(limit) - centre - spread**2) / spread / math.sqrt(2))
                fails = 1 - (1 - error[callee]) * (1 - late)
                attempts[e] = sum(fails**k for k in range(int(graph.retries[e]) + 1))
                m += graph.calls[e] * attempts[e] * (in_time + limit * late)
                v += graph.calls[e] * attempts[e] * min(variance[callee], limit**2)
                if graph.required[e]:
                    ok *= (1 - fails ** (int(graph.retries[e]) + 1)) ** graph.calls[e]
            by_cpu = min(1.0, 1.0 / rho)
            admitted[service] = by_cpu * min(1.0, graph.pool[service] / (rate[service] * by_cpu * m / 1000.0))
            mean[service], variance[service], error[service] = m, v, 1 - admitted[service] * ok
    return {"request_rps": rate, "mean_ms": mean, "error_fraction": error, "attempts": attempts}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("load", [0.6, 1.3, 1.9])
def test_the_flow_equals_a_slow_reference(seed: int, load: float) -> None:
    graph = draw_graph(5 + seed % 8, seed)
    expected = slow_reference(graph, load * graph.design_rps)
    flow = solve_flow(graph, steady(load * graph.design_rps), ())
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(flow, name)[0], values, rtol=2e-3, atol=1e-6, err_msg=name)


def test_a_chain_by_hand() -> None:
    """At no load to speak of: 10 ms each and 2 ms of network; variances of exponentials add up."""
    flow = solve_flow(chain(), steady(1e-6), ())
    np.testing.assert_allclose(flow.mean_ms[0], [34.0, 22.0, 10.0], rtol=1e-6)
    np.testing.assert_allclose(flow.cv2[0] * flow.mean_ms[0] ** 2, [300.0, 200.0, 100.0], rtol=1e-6)
    assert flow.quantile_ms(0.5)[0, 2] == pytest.approx(10.0 / math.sqrt(2.0), rel=1e-6)
    sigma = math.sqrt(math.log(2.0))
    assert flow.quantile_ms(0.95)[0, 2] == pytest.approx(10.0 / math.sqrt(2.0) * math.exp(1.6449 * sigma), rel=1e-3)


def test_errors_multiply_along_required_calls_and_stop_at_optional_ones() -> None:
    burst = (GraphFault("error_burst", 0, 1, 0.2, "cart"),)
    errors = solve_flow(chain(base_error=np.array([0.0, 0.1, 0.0])), steady(10.0), burst).error_fraction[0]
    np.testing.assert_allclose(errors, [0.28, 0.28, 0.2], rtol=1e-9)
    optional = chain(required=np.array([True, False]))
    np.testing.assert_allclose(solve_flow(optional, steady(10.0), burst).error_fraction[0], [0.0, 0.0, 0.2], atol=1e-12)


def test_retries_amplify_load_as_the_sum_of_powers_at_every_layer() -> None:
    graph = chain(retries=np.array([2, 2]))
    broken = GraphFault("error_burst", 0, 1, 1.0, "cart")
    flow = solve_flow(replace(graph, workers=np.full(3, 1e4)), steady(10.0), (broken,))
    np.testing.assert_allclose(flow.request_rps[0], [10.0, 30.0, 90.0], rtol=1e-3)
    half = solve_flow(replace(graph, workers=np.full(3, 1e4)), steady(10.0), (replace(broken, severity=0.5),))
    layer = 0.5**3
    expected = [10.0, 10.0 * (1 + layer + layer**2), 10.0 * (1 + layer + layer**2) * 1.75]
    np.testing.assert_allclose(half.request_rps[0], expected, rtol=1e-3)


def test_overload_is_turned_away_and_the_cpu_stays_at_one() -> None:
    flow = solve_flow(chain(), steady(800.0), ())
    assert flow.cpu_utilization[0, 0] == pytest.approx(1.0)
    assert flow.admitted_fraction[0, 0] == pytest.approx(0.5, abs=0.01)
    assert flow.error_fraction[0, 0] > 0.49
    assert flow.request_rps[0, 1] == pytest.approx(400.0, rel=0.01)


def test_a_time_out_bounds_what_the_caller_waits_and_fails_the_call() -> None:
    impatient = chain(2, timeout_ms=np.array([50.0]))
    disk = (GraphFault("slow_disk", 0, 20, 40.0, "catalog"),)
    flow = solve_flow(impatient, steady(10.0, 20), disk)
    assert flow.mean_ms[10, 1] > 400.0
    assert flow.mean_ms[10, 0] < 10.5 + 50.0
    assert flow.error_fraction[10, 0] > 0.9
    assert flow.error_fraction[10, 1] == 0.0


def test_a_full_pool_of_waiting_requests_turns_callers_away() -> None:
    small = chain(2, pool=np.array([5.0, 1e6]))
    disk = (GraphFault("slow_disk", 0, 1, 50.0, "catalog"),)
    flow = solve_flow(small, steady(100.0), disk)
    assert flow.saturation[0, 0] == pytest.approx(1.0)
    assert flow.error_fraction[0, 0] > 0.8
    assert flow.cpu_utilization[0, 0] < 0.1


# Properties of propagation


@pytest.mark.parametrize("kind", ["cpu_hog", "slow_disk", "memory_leak"])
@pytest.mark.parametrize("seed", range(4))
def test_callers_suffer_from_a_slow_callee_and_callees_do_not_suffer_from_a_slow_caller(kind: str, seed: int) -> None:
    graph, demand = drawn(seed)
    graph, demand = patient(graph), demand[:700]
    calm = solve_flow(graph, demand, ())
    for service in range(len(graph.names)):
        struck = solve_flow(graph, demand, (fault_at(graph, kind, service),))
        slower = (struck.mean_ms[690] > calm.mean_ms[690] * 1.001).tolist()
        for other in graph.ancestors(service) | {service}:
            assert slower[other], (graph.names[service], graph.names[other])
        untouched = set(range(len(graph.names))) - graph.ancestors(service) - {service}
        for name in ("mean_ms", "error_fraction", "cpu_utilization", "saturation", "request_rps"):
            for other in sorted(untouched - (descendants(graph, service) if name == "request_rps" else set())):
                assert getattr(struck, name)[690, other] <= getattr(calm, name)[690, other] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_callees_get_what_callers_admit_times_calls_times_attempts(seed: int) -> None:
    graph, demand = drawn(seed)
    faults = [
        fault_at(graph, kind, seed + 2, 200 * i, 200 * i + 150) for i, kind in enumerate(("crash", "error_burst"))
    ]
    flow = solve_flow(graph, demand, [*faults, fault_at(graph, "load_surge", 0, 300, 500)])
    assert (flow.attempts > 1.001).any()
    for service in range(1, len(graph.names)):
        asked = sum(
            flow.request_rps[:, graph.caller[e]]
            * flow.admitted_fraction[:, graph.caller[e]]
            * graph.calls[e]
            * flow.attempts[:, e]
            for e in graph.in_edges[service]
        )
        np.testing.assert_allclose(flow.request_rps[:, service], asked, rtol=1e-12)


def test_a_slow_network_is_seen_by_the_caller_and_not_by_the_callee() -> None:
    delay = GraphFault("network_delay", 0, 1, 100.0, "catalog", "cart")
    calm, struck = (solve_flow(chain(), steady(50.0), faults) for faults in ((), (delay,)))
    np.testing.assert_allclose(struck.mean_ms - calm.mean_ms, [[100.0, 100.0, 0.0]], atol=1e-9)
    assert delay.cause == "catalog"


def test_a_crash_loads_the_survivors_and_fails_requests_until_health_checks_notice() -> None:
    calm, struck = (
        solve_flow(chain(), steady(100.0, 10), faults) for faults in ((), (GraphFault("crash", 2, 8, 0.5, "cart"),))
    )
    np.testing.assert_allclose(struck.cpu_utilization[2:8, 2], 2 * calm.cpu_utilization[2:8, 2])
    np.testing.assert_allclose(struck.error_fraction[:, 2], [0, 0, 0.5, 0.25, 0, 0, 0, 0, 0, 0], atol=1e-12)
    assert struck.mean_ms[5, 2] > calm.mean_ms[5, 2]


def test_a_leak_grows_slowly_and_ends_with_the_restart() -> None:
    flow = solve_flow(chain(), steady(100.0, 300), (GraphFault("memory_leak", 50, 250, 3.0, "cart"),))
    inside = flow.saturation[50:250, 2]
    assert (np.diff(inside) >= 0).all()
    assert inside[-1] > 0.98
    assert flow.saturation[[49, 250], 2] == pytest.approx([0.4, 0.4])
    assert flow.mean_ms[100, 2] < 1.3 * flow.mean_ms[49, 2]
    assert flow.mean_ms[249, 2] > 3.5 * flow.mean_ms[49, 2]


def test_a_surge_is_no_services_fault() -> None:
    surge = GraphFault("load_surge", 0, 20, 1.0)
    assert surge.cause == DEMAND
    flow = solve_flow(chain(), steady(50.0, 20), (surge,))
    np.testing.assert_allclose(flow.request_rps[10], [100.0, 100.0, 100.0])


# Ground truth and telemetry


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "load_surge"])
def test_no_service_deviates_before_the_cause(kind: str) -> None:
    checked = 0
    for seed in range(4):
        graph, demand = drawn(seed)[0], drawn(seed)[1][:800]
        calm = solve_flow(graph, demand, ())
        services = [s for s in range(len(graph.names)) if kind != "network_delay" or graph.out_edges[s]]
        for service in services:
            struck = solve_flow(graph, demand, (fault_at(graph, kind, service, 600, 800),))
            first = np.full(len(graph.names), DAY)
            for name in ("mean_ms", "cpu_utilization", "error_fraction", "saturation"):
                near = 0.002 if name == "error_fraction" else 0.0
                away = np.abs(np.log((getattr(struck, name) + near) / (getattr(calm, name) + near))) > 0.1
                first = np.minimum(first, np.where(away.any(axis=0), away.argmax(axis=0), DAY))
            if first.min() < DAY:
                checked += 1
                assert first[service] == first.min(), (kind, seed, graph.names[service])
                assert first.min() >= 600
    assert checked >= 20


def test_without_faults_nothing_strays_beyond_the_noise() -> None:
    for seed in range(5):
        graph, demand = drawn(seed)
        telemetry = simulate_graph(graph, demand, (), seed=seed)
        flow = telemetry.flow
        true = {
            "request_rps": flow.request_rps,
            "latency_p50_ms": flow.quantile_ms(0.5),
            "latency_p95_ms": flow.quantile_ms(0.95),
            "cpu_utilization": flow.cpu_utilization,
            "saturation": flow.saturation,
        }
        for name, path in true.items():
            sigma = math.hypot(NOISE_SIGMA[name], WANDER_SIGMA if name.startswith("latency") else 0.0)
            for service, lag in enumerate(telemetry.lag_ticks):
                seen = telemetry.metric(name)[lag:, service]
                z = np.log(seen / path[: DAY - lag, service]) / sigma
                assert np.abs(z).max() < 6.0
                assert 0.5 < z.std() < 1.5
        failures = telemetry.metric("error_fraction")
        expected = flow.error_fraction.mean(axis=0)
        np.testing.assert_allclose(np.nanmean(failures, axis=0), expected, rtol=0.25)


def test_the_same_seed_measures_the_same_and_another_one_otherwise() -> None:
    graph, demand = drawn(1)
    again = draw_graph(9, 1)
    for item in fields(graph):
        np.testing.assert_array_equal(getattr(graph, item.name), getattr(again, item.name))
    first, same, other = (simulate_graph(graph, demand, (), seed=seed, missing_share=0.3) for seed in (4, 4, 5))
    assert first.values.tobytes() == same.values.tobytes()
    assert first.values.tobytes() != other.values.tobytes()
    assert not np.array_equal(draw_graph(9, 2).base_ms, graph.base_ms)


@pytest.mark.parametrize("kind", list(FAULTS))
def test_a_fault_leaves_every_earlier_value_as_it_was(kind: str) -> None:
    graph, demand = drawn(3)
    fault = fault_at(graph, kind, 1 if FAULTS[kind].target == "service" else 0)
    calm, struck = (simulate_graph(graph, demand, faults, seed=8, missing_share=0.2) for faults in ((), (fault,)))
    np.testing.assert_array_equal(calm.values[: fault.start_tick], struck.values[: fault.start_tick])
    assert not np.array_equal(calm.values[fault.start_tick :], struck.values[fault.start_tick :], equal_nan=True)
    later = np.concatenate((demand[:900], 2.0 * demand[900:]))
    cut = simulate_graph(graph, later, (), seed=8, missing_share=0.2)
    np.testing.assert_array_equal(calm.values[:900], cut.values[:900])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.6])
def test_the_asked_share_of_the_metrics_is_missing_half_of_it_as_whole_series(share: float) -> None:
    graph, demand = drawn(2)
    shown = simulate_graph(graph, demand, (), seed=3, missing_share=share)
    whole, full = (simulate_graph(graph, demand, (), seed=3, missing_share=part) for part in (share, 0.0))
    holes = np.isnan(shown.values)
    assert holes.mean() == pytest.approx(share, abs=0.01)
    dark = holes.all(axis=0).mean()
    assert dark == pytest.approx(share / 2, abs=0.02)
    kept = ~holes
    np.testing.assert_array_equal(whole.values[kept], full.values[kept])


def test_metrics_arrive_late_by_their_services_lag() -> None:
    graph, _ = drawn(5)
    surge = GraphFault("load_surge", 50, 90, 5.0)
    lags = set()
    for seed in range(4):
        telemetry = simulate_graph(graph, steady(graph.design_rps / 4, 120), (surge,), seed=seed)
        seen = telemetry.metric("request_rps")
        for service, lag in enumerate(telemetry.lag_ticks):
            jump = np.flatnonzero(seen[:, service] > 1.15 * np.nanmedian(seen[:50, service]))[0]
            assert jump == 50 + lag
            assert np.isnan(seen[:lag, service]).all()
            lags.add(int(lag))
    assert lags == {0, 1, 2}


# Drawn graphs and incidents


@pytest.mark.parametrize("services", [5, 8, 12])
def test_drawn_graphs_are_small_applications_with_room_to_spare(services: int) -> None:
    for seed in range(15):
        graph = draw_graph(services, seed)
        flow = solve_flow(graph, steady(graph.design_rps), ())
        assert len(graph.names) == services
        assert (graph.caller < graph.callee).all()
        assert all(0 in graph.ancestors(service) for service in range(1, services))
        assert flow.cpu_utilization.max() <= 0.37
        assert flow.cpu_utilization[0].mean() > 0.1
        assert flow.error_fraction.max() < 0.02
        assert 5.0 < flow.mean_ms[0, 0] < 1000.0
        assert (graph.timeout_ms > flow.quantile_ms(0.999)[0, graph.callee]).all()


def test_an_incident_suite_is_frozen_and_names_its_cause() -> None:
    three, again, one = (incident_suite(4, n, "hard") for n in (3, 3, 1))
    for first, second in zip([*three, three[0]], [*again, one[0]], strict=True):
        assert first.fault == second.fault
        assert first.telemetry.values.tobytes() == second.telemetry.values.tobytes()
    assert [item.fault.kind for item in three] == list(FAULTS)[:3]
    for item in three:
        assert DAY <= item.fault.start_tick < item.fault.end_tick <= 2 * DAY
        assert item.fault.cause in (*item.graph.names, DEMAND)
        assert np.isnan(item.telemetry.values).mean() == pytest.approx(0.25, abs=0.02)


def test_the_cause_of_an_easy_incident_stands_out_of_its_own_noise() -> None:
    for item in incident_suite(6, 7, "easy"):
        calm, struck = solve_flow(item.graph, item.demand_rps, ()), item.telemetry.flow
        index = 0 if item.fault.service is None else item.graph.index(item.fault.service)
        inside = slice(item.fault.start_tick, item.fault.end_tick)
        apart = [
            np.abs(np.log((getattr(struck, name) + 1e-3) / (getattr(calm, name) + 1e-3)))[inside, index].max()
            for name in ("mean_ms", "cpu_utilization", "error_fraction", "saturation", "request_rps")
        ]
        assert max(apart) > 5 * 0.03, item.fault


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw_graph(4, 0), "5 to 12 services, got 4"),
        (lambda: draw_graph(13, 0), "5 to 12 services, got 13"),
        (lambda: draw_graph(5, 0, design_rps=0.0), "design_rps must be above 0"),
        (lambda: chain(names=("front", "front", "cart")), "not unique"),
        (lambda: chain(calls=np.ones(3)), r"calls has shape \(3,\), expected \(2,\)"),
        (lambda: chain(caller=np.array([1, 1])), "an edge points back"),
        (lambda: chain(callee=np.array([2, 2])), "nobody calls 'catalog'"),
        (lambda: chain(workers=np.array([4.0, 0.0, 4.0])), "workers must be above 0 everywhere, got 0"),
        (lambda: chain(base_error=np.array([0.0, 1.5, 0.0])), "base_error must lie in 0..1"),
        (lambda: chain(retries=np.array([0, -1])), "retries and network_ms must be at least 0"),
        (lambda: chain().index("ledger"), "unknown service 'ledger'; known: front, catalog, cart"),
        (lambda: chain().edge("front", "cart"), "'front' does not call 'cart'"),
        (lambda: GraphFault("flood", 0, 5, 1.0), "unknown fault kind 'flood'; known: cpu_hog"),
        (lambda: GraphFault("crash", 5, 5, 0.5, "cart"), "crash: end_tick 5 does not lie after"),
        (lambda: GraphFault("crash", -5, 5, 0.5, "cart"), "crash: start_tick -5 is below 0"),
        (lambda: GraphFault("crash", 0, 5, 1.5, "cart"), "crash: severity 1.5 lies outside 0.1..0.9"),
        (lambda: GraphFault("crash", 0, 5, 0.5), "crash: service is None"),
        (lambda: GraphFault("load_surge", 0, 5, 0.5, "cart"), "load_surge: service is 'cart'"),
        (lambda: GraphFault("network_delay", 0, 5, 9.0, "cart"), "network_delay: callee is None"),
        (lambda: solve_flow(chain(), steady(-1.0), ()), "without missing or negative values"),
        (lambda: solve_flow(chain(), np.array([1.0, np.nan]), ()), "without missing or negative values"),
        (
            lambda: solve_flow(chain(), steady(1.0, 9), (GraphFault("crash", 0, 10, 0.5, "cart"),)),
            "crash: end_tick 10 lies beyond the tape's 9",
        ),
        (lambda: solve_flow(chain(), steady(1.0, 9), (GraphFault("crash", 0, 9, 0.5, "ledger"),)), "unknown service"),
        (
            lambda: simulate_graph(chain(), steady(1.0), (), seed=0, missing_share=0.95),
            "missing_share 0.95 lies outside",
        ),
        (
            lambda: simulate_graph(chain(), steady(1.0), (), seed=0).metric("memory"),
            "unknown metric 'memory'; known: req",
        ),
        (lambda: incident_suite(0, 0, "easy"), "at least 1 incident and 1 kind, got 0"),
        (lambda: incident_suite(0, 1, "medium"), "unknown difficulty 'medium'"),
        (lambda: incident_suite(0, 1, "easy", kinds=("flood",)), "unknown fault kind 'flood'"),
    ],
)
def test_bad_input_is_refused_by_name(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
