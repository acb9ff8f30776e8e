"""Trains the pooled LSTM with torch (optional), on one thread, the same weights for the same seed.

Every batch draws series evenly, then an origin within each: a long series does not outweigh a short one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.demand.lstm import (
    BIN_S,
    DAY_BINS,
    HORIZON_BINS,
    LEVELS,
    PATCH_BINS,
    PLAIN_INPUTS,
    SEASONAL_INPUTS,
    WEEK_S,
    Float32Array,
    Scaled,
    Weights,
    bins_up_to,
    scaled_inputs,
)
from forecasting.history import History, held

_WEEK_BINS = WEEK_S // BIN_S


@dataclass(frozen=True)
class LstmSettings:
    """How the network is trained; chosen on the validation part of the development series.

    Attributes:
        units: units of the LSTM layer.
        hidden: units of the head's hidden layer.
        seasonal: whether the head takes the week before and the calendar.
        batches: number of batches.
        batch: origins per batch.
        rate: highest learning rate (it rises over the first tenth and falls to nothing along a cosine).
        seed: of weights and draws.
    """

    units: int = 48
    hidden: int = 96
    seasonal: bool = False
    batches: int = 1500
    batch: int = 192
    rate: float = 8e-3
    seed: int = 0


@dataclass(frozen=True)
class _Binned:
    """A series on five-minute bins; targets of coarser steps stand only where such a step ends."""

    bins: FloatArray
    targets: FloatArray
    origins: npt.NDArray[np.int64]
    start_s: int


def train_lstm(histories: Sequence[History], settings: LstmSettings | None = None) -> Weights:
    """Train on the pooled windows of many series.

    Args:
        histories: series to train on; those shorter than a day and four hours do not count.
        settings: see there.

    Raises:
        ValueError: no series is long enough.
        ImportError: torch is not installed.
    """
    import torch

    settings = settings or LstmSettings()
    pool = [binned for history in histories if len((binned := _binned(history)).origins)]
    if not pool:
        raise ValueError("no series is longer than a day and four hours; nothing to train on")
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    inputs = SEASONAL_INPUTS if settings.seasonal else PLAIN_INPUTS
    layer = torch.nn.LSTM(PATCH_BINS, settings.units, batch_first=True)
    output = torch.nn.Linear(settings.hidden, HORIZON_BINS * len(LEVELS))
    head = torch.nn.Sequential(torch.nn.Linear(settings.units + inputs, settings.hidden), torch.nn.ReLU(), output)
    with torch.no_grad():
        output.weight.mul_(0.1)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.rate, total_steps=settings.batches, pct_start=0.1
    )
    levels = torch.tensor(LEVELS)
    for _ in range(settings.batches):
        shown, wanted = _batch(pool, rng, settings)
        patches = torch.from_numpy(shown.patches)
        _, (state, _) = layer(patches)
        steps = head(torch.cat((state[0], torch.from_numpy(shown.inputs)), dim=1))
        quantiles = patches[:, -1, -1, None, None] + steps.view(-1, HORIZON_BINS, len(LEVELS))
        error = torch.from_numpy(wanted)[:, :, None] - quantiles
        known = torch.isfinite(error)
        error = torch.where(known, error, torch.zeros(()))
        loss = torch.maximum(levels * error, (levels - 1.0) * error).sum() / known.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    arrays = [parameter.detach().numpy() for parameter in parameters]
    input_gates, state_gates, input_bias, state_bias, hidden, hidden_bias, last, last_bias = arrays
    return Weights(
        from_input=_plain(input_gates.T),
        from_state=_plain(state_gates.T),
        gate_bias=_plain(input_bias + state_bias),
        hidden=_plain(hidden.T),
        hidden_bias=_plain(hidden_bias),
        output=_plain(last.T),
        output_bias=_plain(last_bias),
    )


def _plain(array: npt.NDArray[np.float32]) -> Float32Array:
    return np.ascontiguousarray(array, dtype=np.float32).copy()


def _binned(history: History) -> _Binned:
    values = held(history.values)
    per_step = max(1, history.step_s // BIN_S)
    count = len(values) * history.step_s // BIN_S
    bins = bins_up_to(values, history.step_s, count * BIN_S, count)
    targets = np.full(count, np.nan)
    ends = np.arange(per_step - 1, count, per_step)
    known = np.isfinite(history.values)
    sources = np.minimum((ends + 1) * BIN_S // history.step_s - 1, len(values) - 1)
    targets[ends] = np.where(known[np.maximum(sources, 0)], bins[ends], np.nan)
    origins = ends[(ends >= DAY_BINS - 1) & (ends < count - HORIZON_BINS)]
    return _Binned(bins, targets, origins.astype(np.int64), history.start_s)


def _batch(pool: Sequence[_Binned], rng: np.random.Generator, settings: LstmSettings) -> tuple[Scaled, Float32Array]:
    """Return the inputs and the scaled targets float32[B, L] of one batch."""
    days, weeks, targets, seconds = [], [], [], []
    for at, share in zip(rng.integers(0, len(pool), settings.batch), rng.random(settings.batch), strict=True):
        series = pool[at]
        origin = int(series.origins[int(share * len(series.origins))])
        days.append(series.bins[origin + 1 - DAY_BINS : origin + 1])
        first = origin + 1 - _WEEK_BINS
        weeks.append(series.bins[first : first + HORIZON_BINS] if first >= 0 else np.full(HORIZON_BINS, np.nan))
        targets.append(series.targets[origin + 1 : origin + 1 + HORIZON_BINS])
        seconds.append(series.start_s + (origin + 1) * BIN_S)
    shown = scaled_inputs(np.stack(days), np.stack(weeks) if settings.seasonal else None, np.asarray(seconds))
    return shown, shown.scale(np.stack(targets)).astype(np.float32)
