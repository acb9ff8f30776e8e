"""What speaks for each candidate: its own deviations, and how far callees and callers explain them.

The ideas. Latency and errors flow from callee to caller, so a deviation that no callee explains is a cause and one
that a callee explains is a symptom. Load flows from caller to callee, so load that grows with the callers' is a
symptom. A slow network is latency of the caller that its callees do not show. A surge of demand explains load
everywhere. A service that rejects sends less to its callees; one that fails gets retries.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.rootcause.deviations import CPU, ERROR, MEAN, P50, P95, RPS, SATURATION, SERIES, Z95, Deviations
from forecasting.rootcause.incident import FloatArray, Topology

_OWN: Final = tuple(f"{name} {what}" for what in ("z", "effect", "early", "drift") for name in SERIES)
_EXPLAINED: Final = (
    "latency unexplained, share",
    "latency unexplained, z",
    "p95 unexplained, log",
    "p95 beyond p50",
    "variance added per squared latency added",
    "errors unexplained, log",
    "errors unexplained, z",
    "CPU beyond load",
    "load beyond callers",
    "load passed on",
    "errors at first, beyond later",
    "callers' latency explained",
)
_NEIGHBORS: Final = tuple(f"{where} {name} z" for where in ("callees' largest", "callers' largest") for name in SERIES)
_RIVALS: Final = (
    "latency unexplained, z",
    "latency unexplained, share",
    "errors unexplained, z",
    "CPU beyond load",
    "saturation z",
    "latency_mean_ms z",
    "error_fraction z",
    "cpu_utilization z",
    "request_rps z",
    "p95 unexplained, log",
    "load beyond callers",
)
_GRAPH: Final = (
    "load effect",
    "load z",
    "load jump",
    "share with more load",
    "share with more latency",
    "largest error z",
    "largest saturation z",
    "largest CPU beyond load",
    "largest latency unexplained, z",
    "largest errors unexplained, z",
    "window bins",
    "services",
)
_PLACE: Final = ("is demand", "is entry", "callees", "callers", "metrics missing", "callees' latency missing")

EVIDENCE: Final = (
    *_OWN,
    *_EXPLAINED,
    *_NEIGHBORS,
    *(f"{name}, over rivals" for name in _RIVALS),
    *_GRAPH,
    *_PLACE,
)
"""Names of the pieces of evidence, in the order of the columns."""


def gather_evidence(found: Deviations, topology: Topology) -> FloatArray:
    """Return float64[C, F], what speaks for each candidate; NaN where it is unknown or has no meaning.

    Deviations z are given as asinh(z), so that a value far off does not drown all others.
    """
    calls = topology.calls
    services = len(topology.names)
    z = np.arcsinh(found.z)
    own = np.concatenate((z, found.effect, found.early, found.late - found.effect), axis=1)
    explained = _explained(found, calls)
    neighbors = np.concatenate((_largest(z, calls), _largest(z, calls.T)), axis=1)
    columns = dict(zip((*_OWN, *_EXPLAINED), np.concatenate((own, explained), axis=1).T, strict=True))
    rivals = np.stack([_over_rivals(columns[name]) for name in _RIVALS], axis=1)
    graph = np.array(
        [
            found.load_effect,
            np.arcsinh(found.load_z),
            found.load_jump,
            _share(found.effect[:, RPS] + found.load_effect, 0.15),
            _share(z[:, MEAN], 2.0),
            _top(z[:, ERROR]),
            _top(z[:, SATURATION]),
            _top(columns["CPU beyond load"]),
            _top(columns["latency unexplained, z"]),
            _top(columns["errors unexplained, z"]),
            float(found.window_bins),
            float(services),
        ]
    )
    place = np.stack(
        (
            np.zeros(services),
            np.arange(services) == 0,
            calls.sum(axis=1),
            calls.sum(axis=0),
            np.isnan(z[:, :MEAN]).sum(axis=1),
            (calls & np.isnan(z[:, MEAN])[None, :]).sum(axis=1),
        ),
        axis=1,
    )
    table = np.full((services + 1, len(EVIDENCE)), np.nan)
    head = own.shape[1] + explained.shape[1] + neighbors.shape[1] + rivals.shape[1]
    table[:-1, :head] = np.concatenate((own, explained, neighbors, rivals), axis=1)
    table[:, head : head + len(graph)] = graph
    table[:-1, head + len(graph) :] = place
    table[-1, EVIDENCE.index("is demand")] = 1.0
    return table


def _explained(found: Deviations, calls: npt.NDArray[np.bool_]) -> FloatArray:
    """Return [S, 12] what remains of the deviations once callees and callers are taken into account."""
    effect, spread = found.effect, found.spread
    rate_now, rate_usual = _rates(found.actual[:, RPS], calls), _rates(found.expected[:, RPS], calls)
    mean_now, mean_usual = _filled(found.actual[:, MEAN]), _filled(found.expected[:, MEAN])
    from_callees = (rate_now * mean_now).sum(axis=1) - (rate_usual * mean_usual).sum(axis=1)
    rise = found.actual[:, MEAN] - found.expected[:, MEAN]
    own_share = (rise - from_callees) / found.expected[:, MEAN]
    p95_callees = np.where(calls, effect[:, P95][None, :], np.nan)
    errors_usual, errors_now = found.expected[:, ERROR], found.actual[:, ERROR]
    errors_from_callees = (rate_usual * np.maximum(_filled(errors_now - errors_usual), 0.0)).sum(axis=1)
    beyond = np.log(np.maximum(errors_now - errors_from_callees, 1e-4) + 1e-4) - np.log(errors_usual + 1e-4)
    load = np.where(np.isnan(effect[:, RPS]), _mean_of(effect[:, RPS], calls.T), effect[:, RPS])
    load_of_callers = _mean_of(load, calls.T)
    explains = (rate_now * mean_now - rate_usual * mean_usual) / np.maximum(np.abs(rise), 1e-3)[:, None]
    explains = np.where(calls & np.isfinite(explains), np.clip(explains, -2.0, 2.0), -np.inf).max(
        axis=0, initial=-np.inf
    )
    return np.stack(
        (
            own_share,
            np.arcsinh(own_share / spread[:, MEAN]),
            effect[:, P95] - np.where(np.isnan(_fmax(p95_callees)), 0.0, np.maximum(_fmax(p95_callees), 0.0)),
            effect[:, P95] - effect[:, P50],
            _added_variance(found),
            beyond,
            np.arcsinh(beyond / spread[:, ERROR]),
            effect[:, CPU] - _filled(load),
            effect[:, RPS] - _filled(load_of_callers),
            _mean_of(load, calls) - load,
            found.early[:, ERROR] - effect[:, ERROR],
            np.where(np.isfinite(explains), explains, np.nan),
        ),
        axis=1,
    )


def _added_variance(found: Deviations) -> FloatArray:
    """Return [S] variance that the incident added over its added mean, squared: 0 for a constant wait, 1 for a random.

    NaN where the mean moved by less than three hundredths.
    """
    moments = []
    for values in (found.actual, found.expected):
        sigma2 = (np.log(values[:, P95] / values[:, P50]) / Z95) ** 2
        mean = values[:, P50] * np.exp(0.5 * np.minimum(sigma2, 9.0))
        moments.append((mean, mean**2 * np.expm1(np.minimum(sigma2, 9.0))))
    (mean_now, variance_now), (mean_usual, variance_usual) = moments
    added = mean_now - mean_usual
    moved = np.abs(added) > 0.03 * mean_usual
    share = np.divide(variance_now - variance_usual, added**2, out=np.full(len(added), np.nan), where=moved)
    return np.asarray(np.clip(share, -5.0, 10.0))


def _rates(rps: FloatArray, calls: npt.NDArray[np.bool_]) -> FloatArray:
    """Return [S, S] calls (attempts included) per request of the caller; 1 where the rates are unknown."""
    asked = np.where(calls, rps[:, None], 0.0).sum(axis=0)
    rate = rps / np.where(asked > 0.0, asked, np.nan)
    return np.where(calls, np.where(np.isfinite(rate), np.clip(rate, 0.05, 4.0), 1.0)[None, :], 0.0)


def _largest(z: FloatArray, links: npt.NDArray[np.bool_]) -> FloatArray:
    """Return [S, K] the largest value among the services a row links to."""
    spread = np.where(links[:, :, None], z[None, :, :], np.nan)
    return _fmax(spread)


def _fmax(values: FloatArray) -> FloatArray:
    largest = np.where(np.isfinite(values), values, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(largest), largest, np.nan)


def _mean_of(values: FloatArray, links: npt.NDArray[np.bool_]) -> FloatArray:
    known = links & np.isfinite(values)[None, :]
    count = known.sum(axis=1)
    total = np.where(known, _filled(values)[None, :], 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _over_rivals(values: FloatArray) -> FloatArray:
    """Return each value less the largest of the other services; a rival that is unknown is none."""
    known = np.where(np.isfinite(values), values, -np.inf)
    order = np.sort(known)[::-1]
    best, second = order[0], (order[1] if len(order) > 1 else -np.inf)
    rival = np.where(known == best, second, best)
    return np.where(np.isfinite(values) & np.isfinite(rival), values - np.where(np.isfinite(rival), rival, 0.0), np.nan)


def _filled(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, 0.0)


def _share(values: FloatArray, above: float) -> float:
    known = np.isfinite(values)
    return float((values[known] > above).mean()) if known.any() else np.nan


def _top(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else np.nan
