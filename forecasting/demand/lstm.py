"""The pooled LSTM: 24 hours of history in, quantiles of the next four hours out; runs as compiled code, without torch.

A day of five-minute bins is read three bins at a time by one LSTM layer. Its last state, the same four hours of a day
ago, and how the day's spread compares with its level go through one hidden layer to all leads and levels at once.
Values are ``asinh((y - median) / spread)`` of the day that ends at the origin, so weights fit series of any size and
quantiles stay quantiles. With seasonal inputs the head also sees the same four hours a week ago and the calendar.

Axes: P patches of a day, H units, L bins of the horizon, Q levels, I inputs of the head.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.history import HeldHistory, require_leads
from telemetry.compiled import compiled
from telemetry.provenance import write_arrays

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
BIN_S: Final = 300
DAY_BINS: Final = DAY_S // BIN_S
HORIZON_BINS: Final = 48
PATCH_BINS: Final = 3
PATCHES: Final = DAY_BINS // PATCH_BINS
LEVELS: Final = (0.1, 0.5, 0.9, 0.99)
_AHEAD_PATCHES: Final = HORIZON_BINS // PATCH_BINS
PLAIN_INPUTS: Final = _AHEAD_PATCHES + 2
SEASONAL_INPUTS: Final = PLAIN_INPUTS + _AHEAD_PATCHES + 6
_LEAST_SPREAD: Final = 0.02
_BEYOND: Final = 3.0
_THURSDAY: Final = 3

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """A trained network.

    Attributes:
        from_input: float32[3, 4 H], input to gates (in, forget, cell, out).
        from_state: float32[H, 4 H], state to gates.
        gate_bias: float32[4 H].
        hidden: float32[H + I, K], state and inputs of the head to its hidden layer.
        hidden_bias: float32[K].
        output: float32[K, L * Q], hidden layer to scaled quantiles above the last value.
        output_bias: float32[L * Q].
    """

    from_input: Float32Array
    from_state: Float32Array
    gate_bias: Float32Array
    hidden: Float32Array
    hidden_bias: Float32Array
    output: Float32Array
    output_bias: Float32Array

    @property
    def seasonal(self) -> bool:
        """Whether the head also takes the week before and the calendar."""
        return bool(self.hidden.shape[0] - self.from_state.shape[0] == SEASONAL_INPUTS)

    def save(self, path: Path) -> None:
        """Write an .npz file by a temporary file and a rename."""
        write_arrays(path, {entry.name: getattr(self, entry.name) for entry in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the file is missing, or its arrays do not belong together.
        """
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        with np.load(path, allow_pickle=False) as file:
            absent = {entry.name for entry in fields(cls)} - set(file.files)
            if absent:
                raise ValueError(f"{path}: no array {sorted(absent)[0]!r}")
            weights = cls(**{entry.name: np.ascontiguousarray(file[entry.name], np.float32) for entry in fields(cls)})
        units = weights.from_state.shape[0]
        inputs = weights.hidden.shape[0] - units
        expected = (weights.from_input.shape == (PATCH_BINS, 4 * units), inputs in (PLAIN_INPUTS, SEASONAL_INPUTS))
        if not all(expected) or weights.output.shape[1] != HORIZON_BINS * len(LEVELS):
            raise ValueError(f"{path}: the arrays do not fit an LSTM of {units} units and {len(LEVELS)} levels")
        return weights


@dataclass(frozen=True)
class Scaled:
    """What the network is shown at an origin, for B origins at once.

    Attributes:
        patches: float32[B, P, 3], scaled values of the day.
        inputs: float32[B, I], the head's own inputs.
        middle: float64[B], median of the day.
        spread: float64[B], mean distance from it plus 2 % of it; 1 for a day of zeros.
    """

    patches: Float32Array
    inputs: Float32Array
    middle: FloatArray
    spread: FloatArray

    def scale(self, values: FloatArray) -> FloatArray:
        """Return float64[B, ...] in the network's unit."""
        tail = (-1,) + (1,) * (values.ndim - 1)
        return np.arcsinh((values - self.middle.reshape(tail)) / self.spread.reshape(tail))


def scaled_inputs(day: FloatArray, week_ago: FloatArray | None, second: npt.NDArray[np.int64]) -> Scaled:
    """Return the network's inputs.

    Args:
        day: float64[B, 288], the bins of the day that ends at the origin.
        week_ago: float64[B, 48], the bins one week before the horizon, NaN where unknown; None leaves the week and the
            calendar out.
        second: int64[B], seconds since 1970 at the origin (the end of the last bin).
    """
    middle = np.median(day, axis=1)
    spread = np.abs(day - middle[:, None]).mean(axis=1) + _LEAST_SPREAD * middle
    spread = np.where(spread > 0.0, spread, 1.0)
    bare = Scaled(np.empty((0, PATCHES, PATCH_BINS), np.float32), np.empty((0, 0), np.float32), middle, spread)
    values = bare.scale(day)
    ahead = values[:, :HORIZON_BINS].reshape(len(day), _AHEAD_PATCHES, PATCH_BINS).mean(axis=2)
    relative = np.log(spread / np.maximum(middle, 1e-3 * spread))
    columns = [ahead, relative[:, None], values[:, -1:]]
    if week_ago is not None:
        week = bare.scale(week_ago).reshape(len(day), _AHEAD_PATCHES, PATCH_BINS).mean(axis=2)
        angle = 2.0 * np.pi * (second % DAY_S) / DAY_S
        weekday = (second // DAY_S + _THURSDAY) % 7
        calendar = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), weekday >= 5]
        known = np.isfinite(week).all(axis=1)
        columns += [np.where(known[:, None], week, ahead), known[:, None], np.stack(calendar, axis=1)]
    patches = values.reshape(len(day), PATCHES, PATCH_BINS)
    return Scaled(patches.astype(np.float32), np.concatenate(columns, axis=1).astype(np.float32), middle, spread)


def bins_up_to(values: FloatArray, step_s: int, end_s: float, count: int) -> FloatArray:
    """Return the mean of each of ``count`` five-minute bins that end at ``end_s``; a value holds during its step.

    Args:
        values: float64[N], no gaps; the first step begins at second 0.
        step_s: seconds per step.
        end_s: end of the last bin in seconds.
        count: number of bins.

    Returns:
        float64[count]; NaN in bins that begin before the first value.
    """
    total = np.concatenate(([0.0], np.cumsum(values))) * step_s
    edges = end_s + BIN_S * np.arange(-count, 1)
    at = np.interp(edges, step_s * np.arange(len(total)), total)
    return np.where(edges[:-1] < 0.0, np.nan, np.diff(at) / BIN_S)


@compiled
def _last_state(
    patches: Float32Array, from_input: Float32Array, from_state: Float32Array, gate_bias: Float32Array
) -> Float32Array:
    """Return float32[H], the state after the last patch (float32[P, 3])."""
    units = from_state.shape[0]
    state = np.zeros(units, dtype=np.float32)
    cell = np.zeros(units, dtype=np.float32)
    one = np.float32(1.0)
    for step in range(patches.shape[0]):
        gates = gate_bias.copy()
        for column in range(patches.shape[1]):
            gates += patches[step, column] * from_input[column]
        for unit in range(units):
            gates += state[unit] * from_state[unit]
        for unit in range(units):
            entering = one / (one + math.exp(-gates[unit]))
            keeping = one / (one + math.exp(-gates[units + unit]))
            leaving = one / (one + math.exp(-gates[3 * units + unit]))
            cell[unit] = np.float32(keeping * cell[unit] + entering * math.tanh(gates[2 * units + unit]))
            state[unit] = np.float32(leaving * math.tanh(cell[unit]))
    return state


def scaled_quantiles(weights: Weights, patches: Float32Array, inputs: Float32Array) -> Float32Array:
    """Return float32[L, Q]: the network's output at one origin, in its own unit.

    Args:
        weights: the network.
        patches: float32[P, 3].
        inputs: float32[I].
    """
    state = _last_state(patches, weights.from_input, weights.from_state, weights.gate_bias)
    hidden = np.maximum(np.concatenate((state, inputs)) @ weights.hidden + weights.hidden_bias, 0.0)
    steps = (hidden @ weights.output + weights.output_bias).reshape(HORIZON_BINS, len(LEVELS))
    return np.asarray(patches[-1, -1] + steps, dtype=np.float32)


class LstmForecaster:
    """A stream of one series, forecast by a shared network.

    Args:
        weights: the trained network.
        step_s: seconds per step, 1 to 3600.
        start: datetime64, UTC, start of the first step it will see; only the seasonal network needs it.

    Raises:
        ValueError: a step outside its range, or a seasonal network without a start.
    """

    def __init__(self, weights: Weights, *, step_s: int, start: np.datetime64 | None = None) -> None:
        if not 1 <= step_s <= 3600:
            raise ValueError(f"step_s is {step_s}; expected 1 to 3600 seconds")
        if weights.seasonal and start is None:
            raise ValueError("a network with seasonal inputs needs the start of the series")
        self._weights = weights
        self._step_s = step_s
        self._start_s = 0 if start is None else int(start.astype("datetime64[s]").astype(np.int64))
        self._past = HeldHistory(math.ceil((WEEK_S if weights.seasonal else DAY_S) / step_s) + 1)
        self._steps = 0

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return self._past.seen * self._step_s >= DAY_S

    def fit(self, history: npt.ArrayLike) -> Self:
        """Start again from ``history``; the shared weights stay as they are."""
        values = np.asarray(history, dtype=np.float64)
        self._past.restart(values)
        self._steps = len(values)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)
        self._steps += 1

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; before a full day the last value (zeros before any).

        Raises:
            ValueError: a lead below 1 or beyond four hours, or a level the network was not trained for.
        """
        steps = require_leads(leads)
        bins = np.ceil(steps * self._step_s / BIN_S).astype(np.int64)
        if bins.max() > HORIZON_BINS:
            raise ValueError(f"a lead of {steps.max()} steps of {self._step_s} s is beyond four hours")
        unknown = [level for level in levels if level not in LEVELS]
        if unknown:
            raise ValueError(f"level {unknown[0]} was not trained; there are {list(LEVELS)}")
        past = self._past.values()
        if not self.ready:
            return np.full((len(steps), len(levels)), past[-1] if len(past) else 0.0)
        end_s = len(past) * self._step_s
        day = bins_up_to(past, self._step_s, end_s, DAY_BINS)
        if np.ptp(day) == 0.0:
            return np.full((len(steps), len(levels)), past[-1])
        week = None
        if self._weights.seasonal:
            week = bins_up_to(past, self._step_s, end_s - WEEK_S + HORIZON_BINS * BIN_S, HORIZON_BINS)[None]
        shown = scaled_inputs(day[None], week, np.array([self._start_s + self._steps * self._step_s]))
        scaled = np.sort(scaled_quantiles(self._weights, shown.patches[0], shown.inputs[0]).astype(np.float64), axis=1)
        limit = np.abs(shown.patches[0]).max() + _BEYOND
        rows = shown.middle[0] + shown.spread[0] * np.sinh(np.clip(scaled, -limit, limit))
        wanted = rows[bins - 1][:, [LEVELS.index(level) for level in levels]]
        return np.asarray(np.maximum(wanted, 0.0))
