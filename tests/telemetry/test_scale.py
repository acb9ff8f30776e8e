import numpy as np
import pytest

from telemetry.scale import events_per_step, fleet_scale
from telemetry.trace import Trace


def test_a_calm_history_is_scaled_by_its_mean() -> None:
    values = np.random.default_rng(0).uniform(0.5, 1.5, 5000)
    scale = fleet_scale(values, rps_per_reference_instance=20.0)
    assert (values * scale).mean() == pytest.approx(20.0 * 20.0)


def test_a_spiky_history_is_scaled_by_its_high_quantile() -> None:
    values = np.ones(10_000)
    values[:50] = 100.0
    scale = fleet_scale(values, rps_per_reference_instance=20.0)
    assert np.quantile(values * scale, 0.999) == pytest.approx(90.0 * 20.0)
    assert (values * scale).mean() < 20.0 * 20.0


def test_scale_undoes_the_unit() -> None:
    values = np.random.default_rng(0).gamma(2.0, 1.0, 500)
    one = fleet_scale(values, rps_per_reference_instance=24.0)
    other = fleet_scale(values * 1e6, rps_per_reference_instance=24.0)
    assert other * 1e6 == pytest.approx(one)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "empty"),
        ([np.nan], "empty"),
        ([0.0, 0.0], "zero throughout"),
        ([1.0, -1.0], "negative"),
        ([np.inf], "inf"),
    ],
)
def test_a_history_without_demand_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fleet_scale(values, rps_per_reference_instance=20.0)


def test_a_parameter_must_be_positive() -> None:
    with pytest.raises(ValueError, match="mean_instances is 0"):
        fleet_scale([1.0], rps_per_reference_instance=20.0, mean_instances=0.0)


def test_events_are_counted_for_requests_only() -> None:
    values, none = np.array([0.2, 0.1, 9.0]), np.array([False, False, True])
    trace = Trace("t", np.datetime64(0, "s"), 300, values, none, ~none, "requests", ())
    assert events_per_step(trace) == pytest.approx(45.0)
    other = Trace("t", np.datetime64(0, "s"), 300, values, none, ~none, "other", ())
    assert events_per_step(other) is None
