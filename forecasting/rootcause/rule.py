"""Root cause without training: rules on the deviations alone, to fall back on and to be compared with."""

import numpy as np
import numpy.typing as npt

from forecasting.rootcause.deviations import MEAN, RPS, Deviations
from forecasting.rootcause.incident import FloatArray, Topology

_CALLER_WEIGHT = 0.5
_MUCH_LOAD = 0.15


def largest_deviation(found: Deviations) -> FloatArray:
    """Return [C] the largest absolute z of each service's metrics, and that of the load for demand.

    The rule to beat: it knows no topology. A service without any known metric has 0.
    """
    own = np.where(np.isfinite(found.z[:, :MEAN]), np.abs(found.z[:, :MEAN]), 0.0).max(axis=1)
    return np.append(own, abs(found.load_z))


def topology_rule(found: Deviations, topology: Topology) -> FloatArray:
    """Return [C] how suspect each candidate is: its own deviation, unexplained by a callee, while callers suffer too.

    Deviations are asinh(z), the largest of each service's metrics, request rate aside. A service's suspicion is its own
    less that of its worst callee, plus half of what its callers have of it. Demand's is that of the load, as far as
    most services carry more.
    """
    z = np.arcsinh(np.where(np.isfinite(found.z), found.z, 0.0))
    own = np.maximum(z[:, RPS + 1 : MEAN].max(axis=1), 0.0)
    calls = topology.calls
    worst_callee = np.where(calls, own[None, :], 0.0).max(axis=1)
    suffering = np.minimum(own, _mean_over(own, calls.T, otherwise=own))
    services = own - worst_callee + _CALLER_WEIGHT * suffering
    load = found.effect[:, RPS] + found.load_effect
    more = float(np.mean(load[np.isfinite(load)] > _MUCH_LOAD)) if np.isfinite(load).any() else 0.0
    return np.append(services, more * 2.0 * np.arcsinh(max(found.load_z, 0.0)))


def _mean_over(own: FloatArray, links: npt.NDArray[np.bool_], *, otherwise: FloatArray) -> FloatArray:
    count = links.sum(axis=1)
    return np.where(count > 0, links @ own / np.maximum(count, 1), otherwise)
