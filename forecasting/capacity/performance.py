"""The performance predictor: a fleet, its load and its state in, p95, p99 and error rate of the next minutes out.

A small neural network that cannot contradict common sense: more demand, a longer backlog, more retries or fewer
instances in service never improve its answers (``PRESSURE`` inputs act through weights that are not negative).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import (
    PERFORMANCE_COLUMNS,
    PERFORMANCE_MINUTES,
    extrapolates,
    names,
    read_columns,
)
from forecasting.capacity.fluid import ready_shares
from forecasting.capacity.onnx_file import open_session
from telemetry.provenance import write_bytes

FloatArray = NDArray[np.float64]

PRESSURE: Final = (
    "load",
    "log_load",
    "closeness",
    "overload",
    "load_now",
    "closeness_now",
    "overload_now",
    "few_targets",
    "backlog_s",
    "log_backlog",
    "retry_ratio",
    "pressure_with_retries",
    "log_service_ms",
)
CONTEXT: Final = (
    "log_servers",
    "cv2",
    "least_outstanding",
    "log_timeout",
    "max_retries",
    "log_queue",
    "slots_per_core",
)
PERFORMANCE_FEATURES: Final = (*PRESSURE, *CONTEXT)
LONGEST_MS: Final = 10_000.0
"""Response times are read off a grid that ends here: this value means that or more."""
LEAST_MS: Final = 1.0
LEAST_ERROR: Final = 1e-6
_FULL: Final = 0.98
_LOAD_LIMIT: Final = 8.0
_LARGEST_LOGIT: Final = 30.0


def performance_features(table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return float32[N, features] in the order of ``PERFORMANCE_FEATURES``, and whether each row extrapolates.

    Args:
        table: At least ``PERFORMANCE_COLUMNS``.

    Raises:
        ValueError: As ``read_columns``.
    """
    values = read_columns(table, PERFORMANCE_COLUMNS)
    at = {name: values[:, position] for position, name in enumerate(names(PERFORMANCE_COLUMNS))}
    arriving = at["booting"] * ready_shares(at["ready_in_s"], 60.0 * PERFORMANCE_MINUTES)
    in_service = np.maximum(at["in_service"], 1e-3)
    targets = in_service + arriving
    offered = at["demand_rps"] / at["capacity_rps"]
    load = np.minimum(offered / targets, _LOAD_LIMIT)
    load_now = np.minimum(offered / in_service, _LOAD_LIMIT)
    retried = np.minimum((offered * (1.0 + at["retry_ratio"])) / targets, _LOAD_LIMIT)
    servers = np.minimum(at["vcpu"], 8.0)
    pressure = (
        load,
        np.log(np.maximum(load, 1e-3)),
        -np.log(1.0 - np.minimum(load, _FULL)),
        np.maximum(load - 1.0, 0.0),
        load_now,
        -np.log(1.0 - np.minimum(load_now, _FULL)),
        np.maximum(load_now - 1.0, 0.0),
        -np.log(targets),
        at["backlog_s"],
        np.log1p(10.0 * at["backlog_s"]),
        at["retry_ratio"],
        retried,
        np.log(at["service_ms"]),
    )
    context = (
        np.log(servers),
        at["cv2"],
        at["least_outstanding"],
        np.log(at["timeout_s"]),
        at["max_retries"],
        np.log(at["queue_s"]),
        np.minimum(at["capacity_rps"] * at["service_ms"] / 1000.0 / at["vcpu"], 1.0),
    )
    stacked = np.column_stack((*pressure, *context)).astype(np.float32)
    return stacked, extrapolates(values, PERFORMANCE_COLUMNS)


@dataclass(frozen=True)
class PerformanceForecast:
    """How fleets will answer; arrays [N].

    Attributes:
        p95_ms: 95 % of the requests are answered within this time, at most ``LONGEST_MS``.
        p99_ms: 99 % are; never below ``p95_ms``.
        error_rate: Share of the requests that fail, 0..1.
        bad_probability: Probability that the objective (p95 250 ms, errors below 0.1 %) is missed, 0..1.
        p95_low_ms: 5 % of states like these answer faster.
        p95_high_ms: 5 % answer slower.
        extrapolates: Whether the state lies outside the ranges of training.
    """

    p95_ms: FloatArray
    p99_ms: FloatArray
    error_rate: FloatArray
    bad_probability: FloatArray
    p95_low_ms: FloatArray
    p95_high_ms: FloatArray
    extrapolates: NDArray[np.bool_]

    @property
    def is_bad(self) -> NDArray[np.bool_]:
        """Whether the objective is more likely missed than met."""
        return np.asarray(self.bad_probability >= 0.5)


class PerformancePredictor:
    """The trained predictor; needs onnxruntime.

    Args:
        content: ONNX model as ``train_performance_predictor`` makes it.

    Raises:
        ValueError: The model was made for other features, or is none.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._session, metadata = open_session(content, "performance predictor", PERFORMANCE_FEATURES)
        self._edges = np.array(metadata["residual_edges_ms"])
        self._residuals = np.array(metadata["residuals"])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the predictor of a file."""
        return cls(path.read_bytes())

    def save(self, path: Path) -> None:
        """Write the ONNX file, whole or not at all."""
        write_bytes(path, self.content)

    def outputs(self, values: NDArray[np.float32]) -> FloatArray:
        """Return [N, 4] raw outputs: log p95 and log p99 in milliseconds, log error rate, logit of a bad window."""
        return np.asarray(self._session.run(["outputs"], {"features": values})[0], np.float64)

    def predict(self, table: pd.DataFrame) -> PerformanceForecast:
        """Return how fleets answer in the next five minutes.

        Args:
            table: ``PERFORMANCE_COLUMNS``.

        Raises:
            ValueError: As ``read_columns``.
        """
        values, beyond = performance_features(table)
        outputs = self.outputs(values)
        p95, p99 = np.clip(np.exp(np.clip(outputs[:, :2], 0.0, 10.0)), LEAST_MS, LONGEST_MS).T
        p99 = np.maximum(p99, p95)
        errors = np.exp(np.minimum(outputs[:, 2], 0.0))
        logits = np.clip(outputs[:, 3], -_LARGEST_LOGIT, _LARGEST_LOGIT)
        low, high = self._residuals[np.searchsorted(self._edges, p95)].T
        return PerformanceForecast(
            p95_ms=p95,
            p99_ms=p99,
            error_rate=np.where(errors < 2.0 * LEAST_ERROR, 0.0, errors),
            bad_probability=1.0 / (1.0 + np.exp(-logits)),
            p95_low_ms=p95 * np.exp(low),
            p95_high_ms=np.minimum(p95 * np.exp(high), LONGEST_MS),
            extrapolates=beyond,
        )
