"""Demand per tick from a trace of any step, without borrowing from the future.

A step coarser than a tick is known only once it is over. Inside it, ticks follow autocorrelated noise that
keeps the step's mean; they never lean toward the next value, so changing a later step changes no earlier
tick.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from telemetry.trace import Trace

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Fitted by fit_tick_noise on the first 70 % of the World Cup 98 trace (one-minute request rates, Arlitt &
# Jin 1998); tests/telemetry/test_resample.py fits them again.
NOISE_TICK_S = 60
NOISE_PHI = 0.468220
NOISE_SIGMA = 0.066532

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class TickSeries:
    """Demand on ticks of equal length.

    Attributes:
        start: datetime64[s], UTC, start of the first tick (the trace's own start).
        values: float64[T], mean rate during each tick, in the trace's unit.
        imputed: bool[T], True where at least half of the tick was not measured.
        scored: bool[T], False where at least half of the tick lies in a gap longer than an hour.
        source_step_s: step of the trace in seconds.
    """

    start: np.datetime64
    values: FloatArray
    imputed: BoolArray
    scored: BoolArray
    source_step_s: int


def to_ticks(trace: Trace, *, tick_s: int = 60, seed: int = 0) -> TickSeries:
    """Lay a trace on ticks.

    Steps no longer than a tick are averaged over complete ticks. A longer step is cut into ``ceil(step /
    tick)`` equal parts whose values are the step's value times AR(1) log-noise multipliers with mean one;
    each part is then held and averaged over the ticks it touches. With a step that is a multiple of the tick
    every part is one tick. With one that is not (90 s), a tick across a boundary mixes the two steps by
    time, so it depends on both, and every tick that ends before a step begins is still independent of it.

    Args:
        trace: the series.
        tick_s: length of a tick in seconds.
        seed: chooses the noise; the draw of one step depends on (seed, index of the step) only.

    Raises:
        ValueError: ``tick_s`` below 1, or the trace is shorter than a tick.
    """
    if tick_s < 1:
        raise ValueError(f"tick_s is {tick_s}; expected at least 1 second")
    ticks = len(trace.values) * trace.step_s // tick_s
    if ticks == 0:
        raise ValueError(
            f"trace {trace.name!r} lasts {len(trace.values) * trace.step_s} s, less than a tick of {tick_s} s"
        )
    parts = max(1, math.ceil(trace.step_s / tick_s))
    values = trace.values
    if parts > 1:
        part_s = trace.step_s / parts
        phi = NOISE_PHI ** (part_s / NOISE_TICK_S)
        noise = tick_noise(seed, len(values), parts, phi=phi, sigma=NOISE_SIGMA)
        values = (values[:, None] * noise).ravel()
    missing = _mean_over_ticks(trace.imputed.astype(np.float64), trace.step_s, 1, tick_s, ticks)
    unscored = _mean_over_ticks((~trace.scored).astype(np.float64), trace.step_s, 1, tick_s, ticks)
    return TickSeries(
        start=trace.start,
        values=np.maximum(_mean_over_ticks(values, trace.step_s, parts, tick_s, ticks), 0.0),
        imputed=missing >= 0.5,
        scored=unscored < 0.5,
        source_step_s=trace.step_s,
    )


def tick_noise(seed: int, steps: int, parts: int, *, phi: float, sigma: float) -> FloatArray:
    """Draw the multipliers of the parts of each step.

    Args:
        seed: any integer.
        steps: number of steps.
        parts: parts per step.
        phi: AR(1) coefficient of the log multipliers from one part to the next, 0..1.
        sigma: their stationary standard deviation.

    Returns:
        float64[steps, parts], positive, each row with mean one.
    """
    normal = _normal_hash(seed, steps, parts)
    log_noise = np.empty_like(normal)
    log_noise[:, 0] = sigma * normal[:, 0]
    for part in range(1, parts):
        log_noise[:, part] = phi * log_noise[:, part - 1] + sigma * math.sqrt(1.0 - phi * phi) * normal[:, part]
    noise = np.exp(log_noise)
    return np.asarray(noise / noise.mean(axis=1, keepdims=True))


def fit_tick_noise(
    values: npt.ArrayLike, *, tick_s: int = NOISE_TICK_S, minimum_events: int = 1000
) -> tuple[float, float]:
    """Fit the AR(1) log-noise of ticks around their slow course.

    The scale of lag-k differences of the log rate (half the distance between the 16th and 84th percentiles,
    which match-day jumps do not move) is sigma * sqrt(2 * (1 - phi**k)); lags one and two give both
    parameters. Differences over at most two ticks hardly see the daily course.

    Args:
        values: request rates per second, one per tick.
        tick_s: length of a tick in seconds.
        minimum_events: ticks with fewer events are left out: their noise is counting noise.

    Returns:
        (phi, sigma) of ticks of this length.

    Raises:
        ValueError: fewer than 100 pairs of ticks are busy enough, or the values do not vary.
    """
    rates = np.asarray(values, dtype=np.float64)
    busy = rates * tick_s >= minimum_events
    log_rate = np.log(np.where(busy, rates, np.nan), out=np.full(len(rates), np.nan), where=busy)
    first, second = (_spread(log_rate[lag:] - log_rate[:-lag]) for lag in (1, 2))
    if first <= 0.0:
        raise ValueError("the values do not vary from tick to tick; no noise to fit")
    phi = float(np.clip((second / first) ** 2 - 1.0, 0.0, 0.99))
    return phi, float(first / math.sqrt(2.0 * (1.0 - phi)))


def _spread(differences: FloatArray) -> float:
    known = differences[np.isfinite(differences)]
    if len(known) < 100:
        raise ValueError(f"{len(known)} pairs of busy ticks; at least 100 are needed to fit the noise")
    low, high = np.quantile(known, [0.16, 0.84])
    return float(high - low) / 2.0


def _mean_over_ticks(values: FloatArray, step_s: int, parts: int, tick_s: int, ticks: int) -> FloatArray:
    """Average a held series (``parts`` values per step) over ticks, by time."""
    if step_s == parts * tick_s:
        return values[:ticks].copy()
    if parts == 1 and tick_s % step_s == 0:
        per_tick = tick_s // step_s
        return np.asarray(values[: ticks * per_tick].reshape(ticks, per_tick).mean(axis=1))
    begin = np.arange(ticks, dtype=np.int64) * tick_s * parts
    edges = np.unique(np.concatenate((begin, np.arange(len(values) + 1) * step_s)))
    edges = edges[edges <= ticks * tick_s * parts]
    owner = np.minimum(edges[:-1] // step_s, len(values) - 1)
    weight = np.diff(edges) / (tick_s * parts)
    tick = edges[:-1] // (tick_s * parts)
    return np.bincount(tick, weights=weight * values[owner], minlength=ticks)[:ticks].astype(np.float64)


def _normal_hash(seed: int, steps: int, parts: int) -> FloatArray:
    """Return standard normals float64[steps, parts], each a hash of (seed, step, part)."""
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN)
        step_key = _mix(key ^ _mix(np.arange(steps, dtype=np.uint64) + _GOLDEN))
        bits = _mix(step_key[:, None] + np.arange(1, parts + 1, dtype=np.uint64)[None, :] * _GOLDEN)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(ndtri(uniform))


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finalise 64-bit keys as SplitMix64 does (Steele, Lea & Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
