"""Training of the performance predictor with torch, and its export."""

import json
import logging
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import PERFORMANCE_TARGETS, SLO_P95_MS, Column, read_columns
from forecasting.capacity.performance import (
    CONTEXT,
    LEAST_ERROR,
    LONGEST_MS,
    PERFORMANCE_FEATURES,
    PRESSURE,
    PerformancePredictor,
    performance_features,
)
from forecasting.capacity.planner_training import ParityError

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]

PARITY_ROWS = 1000
PARITY_TOLERANCE = 1e-3
RESIDUAL_EDGES_MS = (50.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 5000.0)
_OUTPUTS = 4
_TARGETS = (
    Column("p95_ms", 0, LONGEST_MS, 0, LONGEST_MS, "95 % of the requests were answered within this time"),
    Column("p99_ms", 0, LONGEST_MS, 0, LONGEST_MS, "99 % were"),
    Column("error_rate", 0, 1, 0, 1, "share of the requests that failed"),
    Column("is_bad", 0, 1, 0, 1, "1 where the objective was missed"),
)
assert tuple(column.name for column in _TARGETS) == PERFORMANCE_TARGETS


@dataclass(frozen=True)
class PredictorSettings:
    """How the predictor is trained.

    Attributes:
        width: Units of each hidden layer.
        context_width: Units of the layer that reads what is not pressure.
        epochs: Passes over the fitted rows.
        batch: Rows of a step.
        rate: Learning rate at its peak.
        calibration_share: Share of the rows that the network does not see, for the residual quantiles.
        boundary_weight: Extra weight of a row whose p95 is at the objective.
        boundary_width: Distance from it, in log p95, at which that has fallen to 1/e.
    """

    width: int = 64
    context_width: int = 32
    epochs: int = 60
    batch: int = 512
    rate: float = 4e-3
    calibration_share: float = 0.15
    boundary_weight: float = 2.0
    boundary_width: float = 0.4


def train_performance_predictor(
    table: pd.DataFrame, seed: int, settings: PredictorSettings | None = None
) -> PerformancePredictor:
    """Return a predictor trained on a performance table.

    Args:
        table: ``PERFORMANCE_COLUMNS`` and ``PERFORMANCE_TARGETS``.
        seed: Draws the calibration rows, the first weights and the order of rows.
        settings: Defaults if absent.

    Raises:
        ValueError: As ``performance_features``; or a target that cannot be; or fewer than 200 rows.
        ParityError: The exported network differs from the trained one.
    """
    settings = settings or PredictorSettings()
    if len(table) < 200:
        raise ValueError(f"a predictor needs at least 200 rows, got {len(table)}")
    values, _ = performance_features(table)
    wanted = _wanted(read_columns(table, _TARGETS))
    order = np.random.default_rng(seed).permutation(len(table))
    held = order[: int(settings.calibration_share * len(table))]
    fitted = order[len(held) :]
    network = _fit(values[fitted], wanted[fitted], seed, settings)
    predicted = np.minimum(_run(network, values[held])[:, 0], np.log(LONGEST_MS))
    metadata = {
        "features": PERFORMANCE_FEATURES,
        "residual_edges_ms": RESIDUAL_EDGES_MS,
        "residuals": _residuals(predicted, wanted[held, 0]),
        "settings": asdict(settings),
        "rows": len(table),
        "seed": seed,
    }
    predictor = PerformancePredictor(_export(network, json.dumps(metadata)))
    check_parity(network, predictor, values)
    return predictor


def _wanted(targets: FloatArray) -> FloatArray:
    """Return [N, 4] what the outputs aim at: log p95, log p99, log error rate, whether the window was bad."""
    p95, p99, errors, is_bad = targets.T
    return np.column_stack([np.log(p95), np.log(p99), np.log(np.maximum(errors, LEAST_ERROR)), is_bad])


def _residuals(predicted: FloatArray, wanted: FloatArray) -> list[list[float]]:
    """Return the 5 % and 95 % quantile of the log residual of p95 in each range of what was predicted."""
    bins = np.searchsorted(RESIDUAL_EDGES_MS, np.exp(predicted))
    residual = wanted - predicted
    whole = np.quantile(residual, (0.05, 0.95))
    found = []
    for number in range(len(RESIDUAL_EDGES_MS) + 1):
        own = residual[bins == number]
        low, high = np.quantile(own, (0.05, 0.95)) if len(own) >= 40 else whole
        found.append([min(float(low), 0.0), max(float(high), 0.0)])
    return found


def _network(values: NDArray[np.float32], wanted: FloatArray, settings: PredictorSettings) -> "torch.nn.Module":
    import torch
    from torch import nn
    from torch.nn.functional import elu, softplus

    pressures = len(PRESSURE)

    class Rising(nn.Module):
        """A layer that rises with its first input and is free in its second."""

        def __init__(self, rising: int, free: int, units: int) -> None:
            super().__init__()
            self.raw = nn.Parameter(torch.randn(units, rising) * 0.5 - np.log(rising))
            self.free = nn.Linear(free, units)

        def forward(self, rising: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
            pressed: torch.Tensor = nn.functional.linear(rising, softplus(self.raw)) + self.free(free)
            return pressed

    def bend(units: torch.Tensor) -> torch.Tensor:
        """Bend a third of the units upward, a third downward and a third both ways; all keep rising."""
        third = settings.width // 3
        upward, downward, both = units[:, :third], units[:, third : 2 * third], units[:, 2 * third :]
        return torch.cat([elu(upward), -elu(-downward), torch.tanh(both)], dim=1)

    class Network(nn.Module):
        """Standardised features to raw outputs in their own units."""

        middle: torch.Tensor
        spread: torch.Tensor
        centre: torch.Tensor
        scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("middle", torch.as_tensor(values.mean(axis=0)))
            self.register_buffer("spread", torch.as_tensor(np.maximum(values.std(axis=0), 1e-3)))
            centre, scale = wanted.mean(axis=0), wanted.std(axis=0)
            centre[3], scale[3] = 0.0, 2.0
            self.register_buffer("centre", torch.as_tensor(centre, dtype=torch.float32))
            self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
            self.context = nn.Sequential(nn.Linear(len(CONTEXT), settings.context_width), nn.Tanh())
            self.first = Rising(pressures, settings.context_width, settings.width)
            self.second = Rising(settings.width, settings.context_width, settings.width)
            self.last = Rising(settings.width, settings.context_width, _OUTPUTS)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            standard = (features - self.middle) / self.spread
            context = self.context(standard[:, pressures:])
            hidden = bend(self.first(standard[:, :pressures], context))
            hidden = bend(self.second(hidden, context))
            outputs: torch.Tensor = self.last(hidden, context) * self.scale + self.centre
            return outputs

    return Network()


def _fit(values: NDArray[np.float32], wanted: FloatArray, seed: int, settings: PredictorSettings) -> "torch.nn.Module":
    import torch

    torch.manual_seed(seed)
    network = _network(values, wanted, settings)
    inputs = torch.as_tensor(values)
    targets = torch.as_tensor(wanted, dtype=torch.float32)
    distance = (wanted[:, 0] - np.log(SLO_P95_MS)) / settings.boundary_width
    weights = torch.as_tensor(1.0 + settings.boundary_weight * np.exp(-(distance**2)), dtype=torch.float32)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=1e-5)
    steps = settings.epochs * -(-len(values) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps, pct_start=0.2)
    for _ in range(settings.epochs):
        for rows in torch.split(torch.randperm(len(values)), settings.batch):
            optimizer.zero_grad()
            loss = (_losses(network(inputs[rows]), targets[rows]) * weights[rows]).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimizer.step()
            schedule.step()
    return network.eval()


def _losses(outputs: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """Return [N] the loss of each row: absolute log error of p95, p99 and errors, and cross-entropy of the verdict."""
    from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

    times = smooth_l1_loss(outputs[:, :2], targets[:, :2], beta=0.02, reduction="none").sum(dim=1)
    errors = smooth_l1_loss(outputs[:, 2], targets[:, 2], beta=0.1, reduction="none")
    verdict = binary_cross_entropy_with_logits(outputs[:, 3], targets[:, 3], reduction="none")
    return times + 0.2 * errors + 0.3 * verdict


def _run(network: "torch.nn.Module", values: NDArray[np.float32]) -> FloatArray:
    import torch

    with torch.no_grad():
        return np.asarray(network(torch.as_tensor(values)).numpy(), np.float64)


def _export(network: "torch.nn.Module", record: str) -> bytes:
    """Return the network as ONNX, without source paths."""
    import torch

    example = torch.zeros(2, len(PERFORMANCE_FEATURES))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["features"],
            output_names=["outputs"],
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    model = program.model_proto  # type: ignore[union-attr]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    model.metadata_props.add(key="fleetgym", value=record)
    return bytes(model.SerializeToString())


def check_parity(network: "torch.nn.Module", predictor: PerformancePredictor, values: NDArray[np.float32]) -> float:
    """Compare exported and trained outputs on training rows and on as many random points; return the difference.

    Raises:
        ParityError: Any output differs by more than 1e-3 (log milliseconds, logits).
    """
    rng = np.random.default_rng(0)
    spread = values.std(axis=0)
    around = values[rng.integers(len(values), size=PARITY_ROWS)] + rng.normal(0.0, spread, (PARITY_ROWS, len(spread)))
    points = np.concatenate([values[:PARITY_ROWS], around.astype(np.float32)])
    difference = float(np.abs(_run(network, points) - predictor.outputs(points)).max())
    if not difference <= PARITY_TOLERANCE:
        raise ParityError(f"exported outputs differ from torch's by {difference:.2e} (at most {PARITY_TOLERANCE})")
    return difference
