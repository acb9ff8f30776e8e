"""What speaks for each kind of anomaly in the signals of one service.

Expected. Demand follows the same minute of the days before, at the level of the last two hours. Work per request is the
CPU time in use over demand; p95 latency follows CPU by a parabola; instances follow the largest demand of the last
half hour. Each of these breaks for other reasons, so what breaks says what happened: more demand of ordinary work is a
crowd, dearer work at ordinary demand a slow dependency, instances gone without interruptions a zone.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from forecasting.rootcause.deviations import nan_mean, nan_median
from forecasting.rootcause.incident import SHORTEST_HISTORY, FloatArray, Look

SIGNALS: Final = (
    "demand_rps",
    "cpu_utilization",
    "latency_p95_ms",
    "error_fraction",
    "in_service",
    "interruptions",
    "spot_usd_per_hour",
)
"""Signals that are understood, in the order of the columns of `SignalEvent.values`; one row a minute."""

_DEMAND, _CPU, _P95, _ERROR, _INSTANCES, _INTERRUPTIONS, _PRICE = range(len(SIGNALS))
_DAY = 1440
_MOST_DAYS = 7
_SMALL_ERROR = 1e-4
_SCALING_TICKS = 35
_LARGEST = 20.0
_MOVES: Final = ("effect", "z", "early", "drift", "peak", "trough")
_MOVING: Final = ("demand", "work per request", "p95 beyond CPU", "p95", "errors", "CPU", "instances beyond demand")

EVIDENCE: Final = (
    *(f"{name} {move}" for name in _MOVING for move in _MOVES),
    "demand roughness",
    "demand wave of six minutes",
    "demand jump at start",
    "demand rise share",
    "CPU full",
    "instances lost at once",
    "instances against before",
    "interruptions effect",
    "interruptions z",
    "interruptions per instance",
    "largest interruption",
    "minutes with interruptions",
    "price effect",
    "price z",
    "price peak",
    "price drift",
    "metrics missing",
    "longest all missing",
    "starts at night",
    "minutes off the half hour",
    "window minutes",
)
"""Names of the pieces of evidence."""


@dataclass(frozen=True)
class SignalEvent:
    """What is known of one event in the signals of one service.

    Attributes:
        values: float[T, 7], signals in the order of `SIGNALS`, one row a minute; NaN where missing. Values that are
            infinite or negative count as missing.
        start_tick: when it began, or was detected; everything before is taken as ordinary.
        end_tick: one past the last tick to look at; later rows are never read.
        minute_of_day: of the service's clock at tick 0, or None where unknown.

    Raises:
        ValueError: another shape, an empty window, one beyond the signals, or too little before it.
    """

    values: npt.NDArray[np.floating]
    start_tick: int
    end_tick: int
    minute_of_day: int | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != len(SIGNALS):
            raise ValueError(f"signals have shape {self.values.shape}; expected [T, {len(SIGNALS)}]")
        if not self.start_tick < self.end_tick <= len(self.values):
            window = f"{self.start_tick}..{self.end_tick}"
            raise ValueError(f"the window {window} is empty or lies beyond the signals' {len(self.values)} ticks")
        if self.start_tick < SHORTEST_HISTORY:
            raise ValueError(f"only {self.start_tick} ticks before the start; at least {SHORTEST_HISTORY} are needed")

    def seen(self, look: Look) -> "SignalEvent":
        """Return the event as known at a look; never later than its own end."""
        start, end = look.window(self.start_tick, self.end_tick)
        return replace(self, start_tick=start, end_tick=end)


@dataclass(frozen=True)
class LabelledEvent:
    """An event and the kind of anomaly that it is."""

    event: SignalEvent
    kind: str


def signal_evidence(event: SignalEvent, *, without: int | None = None) -> FloatArray:
    """Return float64[F], what the signals show; NaN where unknown.

    Args:
        event: what is known.
        without: column of a signal to treat as missing, to see what it contributes.
    """
    first = max(0, event.start_tick - (_MOST_DAYS + 1) * _DAY)
    values = np.asarray(event.values[first : event.end_tick], dtype=np.float64)
    values = np.where(np.isfinite(values) & (values >= 0.0), values, np.nan)
    if without is not None:
        values[:, without] = np.nan
    start = event.start_tick - first
    moving = _moving(values, start)
    found: dict[str, float] = {}
    for name, residual in moving.items():
        found |= {f"{name} {move}": value for move, value in _moves(residual, start).items()}
    found |= _demand_shape(moving["demand"], start)
    found |= _fleet(values, start)
    found |= _price(values[:, _PRICE], start)
    found |= _missing(values, start, without)
    if event.minute_of_day is not None:
        minute = (event.minute_of_day + event.start_tick) % _DAY
        found["starts at night"] = float(minute <= _DAY // 4)
        found["minutes off the half hour"] = float(min(minute % 30, 30 - minute % 30))
    found["window minutes"] = float(len(values) - start)
    return np.array([found.get(name, np.nan) for name in EVIDENCE])


def _moving(values: FloatArray, start: int) -> dict[str, FloatArray]:
    """Return [T] log ratios to what was expected, by the names of `_MOVING`."""
    with np.errstate(divide="ignore"):
        logs = np.log(values)
    logs = np.where(np.isfinite(logs), np.clip(logs, -_LARGEST, 30.0), np.nan)
    errors = np.log(values[:, _ERROR] + _SMALL_ERROR)
    work = logs[:, _CPU] + logs[:, _INSTANCES] - logs[:, _DEMAND]
    day = slice(max(0, start - _DAY), start)
    wanted = np.where(np.isfinite(logs[:, _DEMAND]), logs[:, _DEMAND], -np.inf)
    wanted = maximum_filter1d(wanted, _SCALING_TICKS, origin=(_SCALING_TICKS - 1) // 2, mode="nearest")
    fleet = logs[:, _INSTANCES] - np.where(np.isfinite(wanted), wanted, np.nan)
    return {
        "demand": logs[:, _DEMAND] - _clock(logs[:, _DEMAND], start),
        "work per request": work - nan_median(work[day]),
        "p95 beyond CPU": logs[:, _P95] - _by_cpu(logs[:, _P95], logs[:, _CPU], start),
        "p95": logs[:, _P95] - nan_median(logs[day, _P95]),
        "errors": errors - nan_mean(errors[day]),
        "CPU": logs[:, _CPU] - nan_median(logs[max(0, start - 120) : start, _CPU]),
        "instances beyond demand": fleet - nan_median(fleet[day]),
    }


def _clock(demand: FloatArray, start: int) -> FloatArray:
    """Return [T] log demand by the clock, as known at the start; flat without a day of history."""
    recent = slice(max(0, start - 120), start)
    if start < _DAY + 120:
        return np.full(len(demand), nan_median(demand[recent]))
    ticks = np.arange(len(demand))
    smooth = _running_mean(demand[:start], 15)
    days = []
    for back in range(1, _MOST_DAYS + 1):
        past = ticks - back * _DAY
        days.append(np.where((past >= 0) & (past < start), smooth[np.clip(past, 0, start - 1)], np.nan))
    profile = nan_median(np.array(days))
    return profile + nan_median(demand[recent] - profile[recent])


def _by_cpu(p95: FloatArray, cpu: FloatArray, start: int) -> FloatArray:
    """Return [T] log p95 that the CPU lets expect: a parabola fitted on the two days before, clipped to their range."""
    past = slice(max(0, start - 2 * _DAY), start)
    known = np.isfinite(p95[past]) & np.isfinite(cpu[past])
    if known.sum() < SHORTEST_HISTORY // 2:
        return np.full(len(p95), np.nan)
    seen = cpu[past][known]
    center = float(np.median(seen))
    inside = np.clip(cpu, *np.quantile(seen, (0.005, 0.995))) - center
    basis = np.stack((np.ones(len(cpu)), inside, inside**2), axis=1)
    design, target = basis[past][known], p95[past][known]
    weight = np.ones(len(target))
    for _ in range(3):
        moments = (design * weight[:, None]).T @ design + np.diag([1e-9, 1e-2, 1e-2])
        fit = np.linalg.solve(moments, (design * weight[:, None]).T @ target)
        off = np.abs(target - design @ fit)
        weight = np.minimum(1.0, 2.0 * (1.4826 * np.median(off) + 1e-6) / np.maximum(off, 1e-12))
    return np.asarray(basis @ fit)


def _moves(residual: FloatArray, start: int) -> dict[str, float]:
    """Return how a log ratio moved in the window, in its own spread and by its shape."""
    inside = residual[start:]
    five = _five_minutes(inside)
    effect = float(nan_mean(inside))
    span = min(len(inside), 60)
    before = _running_mean(residual[max(0, start - _DAY) : start], span)
    spread = float(1.4826 * nan_median(np.abs(before - nan_median(before)))) + 0.005
    return {
        "effect": effect,
        "z": float(np.arcsinh(effect / spread)),
        "early": float(nan_mean(inside[:10])),
        "drift": float(nan_mean(inside[-max(1, len(inside) // 4) :])) - effect,
        "peak": float(five.max()) if len(five) else np.nan,
        "trough": float(five.min()) if len(five) else np.nan,
    }


def _demand_shape(residual: FloatArray, start: int) -> dict[str, float]:
    inside = residual[start:]
    known = np.isfinite(inside)
    jump = float(nan_mean(inside[:5]) - nan_mean(residual[max(0, start - 15) : start]))
    if known.sum() < 12:
        return {"demand jump at start": jump}
    steps, usual = np.diff(inside), np.diff(residual[max(0, start - _DAY) : start])
    rough = np.sqrt(nan_mean(steps**2)) / (np.sqrt(nan_median(usual**2)) + 1e-4)
    ticks = np.flatnonzero(known)
    path = inside[known] - _running_mean(inside, 7)[known]
    wave = abs(np.sum(path * np.exp(2j * np.pi * ticks / 6.0))) / (np.sqrt((path**2).sum() * len(path) / 2.0) + 1e-9)
    smooth = _running_mean(inside, 5)
    smooth = np.where(np.isfinite(smooth), smooth, -np.inf)
    high = np.flatnonzero(smooth >= 0.8 * smooth.max()) if smooth.max() > 0.0 else np.zeros(1)
    return {
        "demand roughness": float(np.log(rough + 1e-3)),
        "demand wave of six minutes": float(wave),
        "demand jump at start": jump,
        "demand rise share": float(high[0] / len(inside)),
    }


def _fleet(values: FloatArray, start: int) -> dict[str, float]:
    before, inside = values[max(0, start - 15) : start], values[start:]
    usual = float(nan_mean(before[:, _INSTANCES]))
    held = np.maximum(usual, 1.0)
    recent = values[max(0, start - 2) :, _INSTANCES]
    steps = recent[1:] - recent[:-1]
    known = steps[np.isfinite(steps)]
    hits = inside[:, _INTERRUPTIONS]
    any_known = np.isfinite(hits).any()
    total = float(np.nansum(hits))
    usual_total = float(np.nan_to_num(nan_mean(values[max(0, start - _DAY) : start, _INTERRUPTIONS]))) * len(inside)
    return {
        "CPU full": float(nan_mean((inside[:, _CPU] > 0.97).astype(float))),
        "instances lost at once": float(-known.min() / held) if len(known) else np.nan,
        "instances against before": float(np.log(np.maximum(nan_mean(inside[:10, _INSTANCES]), 0.5) / held)),
        "interruptions effect": float(np.log((total + 1.0) / (usual_total + 1.0))) if any_known else np.nan,
        "interruptions z": float(np.arcsinh((total - usual_total) / np.sqrt(usual_total + 1.0)))
        if any_known
        else np.nan,
        "interruptions per instance": float(total / held) if any_known else np.nan,
        "largest interruption": float(np.nanmax(hits) / held) if any_known else np.nan,
        "minutes with interruptions": float(np.sum(hits > 0.0)) if any_known else np.nan,
    }


def _price(price: FloatArray, start: int) -> dict[str, float]:
    with np.errstate(divide="ignore"):
        logs = np.log(price)
    logs = np.where(np.isfinite(logs), logs, np.nan)
    before = float(nan_mean(logs[max(0, start - 360) : start]))
    inside = logs[start:] - before
    hourly = _running_mean(logs[:start], 60)
    moves = hourly[360:] - hourly[:-360] if len(hourly) > 720 else np.full(1, 0.02)
    spread = float(1.4826 * nan_median(np.abs(moves))) + 0.003
    effect = float(nan_mean(inside))
    known = inside[np.isfinite(inside)]
    return {
        "price effect": effect,
        "price z": float(np.arcsinh(effect / spread)),
        "price peak": float(known.max()) if len(known) else np.nan,
        "price drift": float(nan_mean(inside[-max(1, len(inside) // 4) :])) - effect,
    }


def _missing(values: FloatArray, start: int, without: int | None) -> dict[str, float]:
    columns = [at for at in range(_PRICE) if at != without]
    gone = np.isnan(values[:, columns])
    all_gone = gone[start:].all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], all_gone.astype(np.int64), [0]))))
    longest = (edges[1::2] - edges[::2]).max(initial=0)
    usual = gone[max(0, start - _DAY) : start].mean()
    return {"metrics missing": float(gone[start:].mean() - usual), "longest all missing": float(longest)}


def _five_minutes(values: FloatArray) -> FloatArray:
    padded = np.concatenate((values, np.full(-len(values) % 5, np.nan)))
    means = nan_mean(padded.reshape(-1, 5), axis=1)
    return np.asarray(means[np.isfinite(means)])


def _running_mean(values: FloatArray, width: int) -> FloatArray:
    """Return [T] centered means over what is known of ``width`` values; NaN where nothing is."""
    known = np.isfinite(values)
    kernel = np.ones(min(width, max(len(values), 1)))
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="same")
    count = np.convolve(known.astype(np.float64), kernel, mode="same")
    return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)
