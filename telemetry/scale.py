"""How large a trace is, in instances: the multiplier that turns any demand shape into a fleet's demand."""

import numpy as np
import numpy.typing as npt

from telemetry.trace import Trace

COUNTING_NOISE_EVENTS = 50.0
_HIGH_QUANTILE = 0.999


def fleet_scale(
    history_values: npt.ArrayLike,
    *,
    rps_per_reference_instance: float,
    mean_instances: float = 20.0,
    max_instances: float = 90.0,
) -> float:
    """Return the multiplier that makes a trace need ``mean_instances`` reference instances on average.

    Fewer where the 99.9th percentile of the history would otherwise need more than ``max_instances``. Only
    the history
    part of a trace may be given: the scored part must not decide its own scale.

    Args:
        history_values: rates of the history part, in the trace's unit; NaN is left out.
        rps_per_reference_instance: requests per second that one reference instance is meant to carry.
        mean_instances: reference instances wanted for the mean.
        max_instances: reference instances allowed for the 99.9th percentile.

    Raises:
        ValueError: an empty or all-zero history, infinite or negative values, a parameter that is not
            positive.
    """
    for name, parameter in (
        ("rps_per_reference_instance", rps_per_reference_instance),
        ("mean_instances", mean_instances),
        ("max_instances", max_instances),
    ):
        if not (np.isfinite(parameter) and parameter > 0.0):
            raise ValueError(f"{name} is {parameter}; expected a positive number")
    values = np.asarray(history_values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise ValueError("the history part is empty: nothing to scale by")
    if not np.isfinite(values).all() or values.min() < 0.0:
        raise ValueError("the history part holds infinite or negative values")
    mean, high = float(values.mean()), float(np.quantile(values, _HIGH_QUANTILE))
    if mean == 0.0:
        raise ValueError("the history part is zero throughout: nothing to scale by")
    by_mean = mean_instances * rps_per_reference_instance / mean
    if high * by_mean <= max_instances * rps_per_reference_instance:
        return by_mean
    return max_instances * rps_per_reference_instance / high


def events_per_step(trace: Trace) -> float | None:
    """Return the mean number of requests per step, or None where the unit is not requests.

    Below :data:`COUNTING_NOISE_EVENTS` a trace scaled up shows counting noise as if it were demand: re-bin
    it first or report it apart.
    """
    if trace.kind != "requests":
        return None
    return float(trace.values[~trace.imputed].mean() * trace.step_s)
