"""Streaming demand forecaster: a daily and weekly profile, fading deviations, and tracked quantiles.

The compiled core below is the only implementation: one point at a time and whole series run the same
functions.

Scale. Values live as ``z = log(y + c)`` with ``c`` about 1 % of the running mean, so that zeros are allowed
and daily swings are ratios. When the mean has moved by a factor of two, ``c`` follows and everything stored
is re-expressed.

Point. ``profile(t + h) + level + exp(-h / tau) * (z_t - profile(t) - level)`` for several ``tau``
("experts"), plus the last value repeated. Experts are averaged with weights ``loss ** -8``, where loss is
each one's mean absolute error at this lead over about three days; the best one dominates, ties are averaged.

Quantiles. For each lead and level an offset follows the errors by subgradient steps of the pinball loss (the
quantile tracker of Angelopoulos, Candes & Tibshirani 2023, "Conformal PID control for time series
prediction"), each step being a small share of the running mean absolute error.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecasting.base import FloatArray
from forecasting.metrics.forecast import pinball_loss
from telemetry.compiled import compiled

DAY_S = 86_400
WEEK_S = 7 * DAY_S
FADE_S = (900.0, 3_600.0, 14_400.0, math.inf)
DEFAULT_LEVELS = (0.1, 0.5, 0.9, 0.99)

# The grid of fit.
_DAY_RATES = (0.1, 0.2, 0.4)
_WEEK_WEIGHTS = (0.0, 0.5, 0.8)

# Chosen on the first 70 % of the five training traces of configs/splits.yaml (relative pinball loss, leads
# of 5 min to 4 h).
_OFFSET_SHARE = 0.01
_BLEND_POWER = 8.0
_LOSS_DAYS = 3.0
_LEVEL_RATE_PER_DAY = 0.3
_TRACKER_RATE = 0.02
_TRACKER_STEP_S = 300.0
_LARGEST_OFFSET = 6.0
_MEAN_ABS_TO_SIGMA = math.sqrt(math.pi / 2.0)

# Slots of State.scalars.
_STEP, _OFFSET, _MEAN, _LEVEL, _LAST_Z, _LAST_RESIDUAL = range(6)


class Settings(NamedTuple):
    """What stays fixed while a series runs.

    Attributes:
        step_s: seconds per step.
        day_rate: weight of the newest day in the daily profile, 0..1.
        week_rate: weight of the newest week in the weekly profile, 0..1.
        week_weight: share of the weekly profile once two weeks are known, 0..1.
        leads: int64[L], tracked leads in steps, increasing.
        levels: float64[Q], tracked levels, increasing.
        guesses: float64[Q], standard normal quantiles of the levels, the first guess.
        fades: float64[X - 1], decay times of a deviation in steps.
    """

    step_s: float
    day_rate: float
    week_rate: float
    week_weight: float
    leads: npt.NDArray[np.int64]
    levels: FloatArray
    guesses: FloatArray
    fades: FloatArray


class State(NamedTuple):
    """What a series has left behind.

    Attributes:
        scalars: steps seen, offset c, running mean, level, last z, last residual.
        day: float64[slots of a day], profile.
        week: float64[slots of a week], profile.
        pending: float64[L, longest lead + 1, X + 1], points whose value is still to come: experts, then the
            blend.
        loss: float64[L, X], running mean absolute error of each expert.
        scored: float64[L, 2], points scored so far: experts, blend.
        spread: float64[L], running mean absolute error of the blend.
        offsets: float64[L, Q], tracked quantiles of the blend's error.
    """

    scalars: FloatArray
    day: FloatArray
    week: FloatArray
    pending: FloatArray
    loss: FloatArray
    scored: FloatArray
    spread: FloatArray
    offsets: FloatArray


class SeasonalNaive:
    """Forecaster of a non-negative series from its own past (see the module for the formulae).

    Args:
        step_s: seconds per step, 1 to 3600.
        leads: leads in steps whose errors are tracked; a forecast for a lead between two of them
            interpolates.
        levels: quantile levels to track; only these can be asked for.
        day_rate: weight of the newest day in the daily profile.
        week_weight: share of the weekly profile once two weeks are known.

    Raises:
        ValueError: a step, lead, level or rate outside its range.
    """

    def __init__(
        self,
        *,
        step_s: int,
        leads: Sequence[int],
        levels: Sequence[float] = DEFAULT_LEVELS,
        day_rate: float = 0.2,
        week_weight: float = 0.5,
    ) -> None:
        if not 1 <= step_s <= 3600:
            raise ValueError(f"step_s is {step_s}; expected 1 to 3600 seconds")
        if not leads or list(leads) != sorted(set(leads)) or leads[0] < 1:
            raise ValueError(f"leads are {list(leads)}; expected increasing steps from 1 on")
        if not levels or list(levels) != sorted(set(levels)) or not 0.0 < levels[0] <= levels[-1] < 1.0:
            raise ValueError(f"levels are {list(levels)}; expected increasing numbers between 0 and 1")
        if not 0.0 < day_rate <= 1.0 or not 0.0 <= week_weight <= 1.0:
            raise ValueError(f"day_rate {day_rate} and week_weight {week_weight} must lie in 0..1")
        tracked = np.asarray(levels, dtype=np.float64)
        self.settings = Settings(
            step_s=float(step_s),
            day_rate=float(day_rate),
            week_rate=_week_rate(day_rate),
            week_weight=float(week_weight),
            leads=np.asarray(leads, dtype=np.int64),
            levels=tracked,
            guesses=ndtri(tracked),
            fades=np.array([seconds / step_s for seconds in FADE_S]),
        )
        self.state = empty_state(self.settings)

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return bool(self.state.scalars[_STEP] * self.settings.step_s >= DAY_S)

    def fit(self, history: npt.ArrayLike) -> Self:
        """Choose profile rates by the mean pinball loss on ``history``, then run through it.

        The grid is small and fixed, so the same history always gives the same forecaster. A history without
        a forecast to score (no full day) keeps the rates as they are.
        """
        values = np.ascontiguousarray(history, dtype=np.float64)
        best = (math.inf, self.settings)
        for day_rate, week_weight in product(_DAY_RATES, _WEEK_WEIGHTS):
            trial = _with_rates(self.settings, day_rate, week_weight)
            loss = _loss_on(values, trial)
            if loss < best[0]:
                best = (loss, trial)
        self.settings = best[1]
        self.state = empty_state(self.settings)
        self.feed(values)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step; NaN if it is missing.

        Raises:
            ValueError: a negative or infinite value.
        """
        if value < 0.0 or math.isinf(value):
            raise ValueError(f"a value of {value}; expected a finite number from 0 on, or NaN")
        learn(self.state, self.settings, float(value))

    def feed(self, values: npt.ArrayLike) -> None:
        """Take several steps at once: the same as :meth:`update` for each."""
        _feed(self.state, self.settings, np.ascontiguousarray(values, dtype=np.float64))

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; before a full day the last value with its tracked spread.

        Raises:
            ValueError: a lead below 1, or a level that is not tracked.
        """
        if min(leads) < 1:
            raise ValueError(f"leads are {list(leads)}; expected steps from 1 on")
        tracked = self.settings.levels.tolist()
        unknown = [level for level in levels if level not in tracked]
        if unknown:
            raise ValueError(f"level {unknown[0]} is not tracked; this forecaster has {tracked}")
        rows = np.empty((len(leads), len(tracked)))
        _predict_all(self.state, self.settings, np.asarray(leads, dtype=np.int64), rows)
        return rows[:, [tracked.index(level) for level in levels]]


def run_series(forecaster: SeasonalNaive, values: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Feed a series and return what is forecast after each value, in one compiled call.

    Args:
        forecaster: where to start from; it ends at the last value.
        values: float64[T], finite and non-negative, or NaN.

    Returns:
        forecasts float64[T, L, Q] at the tracked leads and levels, and bool[T]: whether the forecaster was
        ready.
    """
    series = np.ascontiguousarray(values, dtype=np.float64)
    settings = forecaster.settings
    forecasts = np.empty((len(series), len(settings.leads), len(settings.levels)))
    ready = np.zeros(len(series), dtype=np.bool_)
    _run(forecaster.state, settings, series, forecasts, ready)
    return forecasts, ready


def _week_rate(day_rate: float) -> float:
    """Return the weight of the newest week: above the day's, because a slot comes round once a week only."""
    return min(1.0, 1.75 * day_rate)


def _with_rates(settings: Settings, day_rate: float, week_weight: float) -> Settings:
    return settings._replace(day_rate=day_rate, week_rate=_week_rate(day_rate), week_weight=week_weight)


def _loss_on(values: FloatArray, settings: Settings) -> float:
    """Return the pinball loss over tracked leads and levels, infinite where nothing can be scored."""
    forecasts = np.empty((len(values), len(settings.leads), len(settings.levels)))
    ready = np.zeros(len(values), dtype=np.bool_)
    _run(empty_state(settings), settings, values, forecasts, ready)
    losses = []
    for at, lead in enumerate(settings.leads):
        origins = np.flatnonzero(ready[:-lead])
        if np.isfinite(values[origins + lead]).any():
            for column, level in enumerate(settings.levels):
                losses.append(pinball_loss(values[origins + lead], forecasts[origins, at, column], level))
    return float(np.mean(losses)) if losses else math.inf


def empty_state(settings: Settings) -> State:
    """Return the state of a series of which nothing was seen."""
    leads, levels, experts = len(settings.leads), len(settings.levels), len(settings.fades) + 1
    return State(
        scalars=np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        day=np.zeros(math.ceil(DAY_S / settings.step_s)),
        week=np.zeros(math.ceil(WEEK_S / settings.step_s)),
        pending=np.full((leads, int(settings.leads[-1]) + 1, experts + 1), np.nan),
        loss=np.zeros((leads, experts)),
        scored=np.zeros((leads, 2)),
        spread=np.zeros(leads),
        offsets=np.zeros((leads, levels)),
    )


@compiled
def _slot(step: int, step_s: float, period_s: float) -> int:
    return int((step * step_s) % period_s / step_s)


@compiled
def _profile(state: State, settings: Settings, step: int) -> float:
    """Return the seasonal log value expected at a step, without the level."""
    daily = state.day[_slot(step, settings.step_s, DAY_S)]
    if step * settings.step_s < 2 * WEEK_S:
        return float(daily)
    weekly = state.week[_slot(step, settings.step_s, WEEK_S)]
    return float((1.0 - settings.week_weight) * daily + settings.week_weight * weekly)


@compiled
def _reexpress(logs: FloatArray, old: float, new: float) -> None:
    flat = logs.reshape(-1)
    for index in range(len(flat)):
        flat[index] = math.log(max(math.exp(flat[index]) - old, 0.0) + new)


@compiled
def _follow_scale(state: State, settings: Settings, value: float) -> None:
    """Update the running mean; move the offset when the mean has left it by a factor of two."""
    scalars = state.scalars
    steps_per_day = DAY_S / settings.step_s
    before = scalars[_MEAN]
    scalars[_MEAN] += (value - scalars[_MEAN]) * max(1.0 / (scalars[_STEP] + 1.0), 1.0 / steps_per_day)
    wanted, old = _OFFSET_SHARE * scalars[_MEAN], scalars[_OFFSET]
    if wanted > 0.0 and (before == 0.0 or not 0.5 * old <= wanted <= 2.0 * old):
        _reexpress(state.day, old, wanted)
        _reexpress(state.week, old, wanted)
        _reexpress(state.pending, old, wanted)
        scalars[_OFFSET] = wanted


@compiled
def _score_pending(state: State, settings: Settings, step: int, z: float) -> None:
    """Learn from the forecasts that were made for this step."""
    steps_per_day = DAY_S / settings.step_s
    tracker_rate = min(0.1, _TRACKER_RATE * math.sqrt(settings.step_s / _TRACKER_STEP_S))
    experts = state.loss.shape[1]
    for at in range(len(settings.leads)):
        points = state.pending[at, step % state.pending.shape[1]]
        if math.isnan(points[experts]):
            continue
        if not math.isnan(points[0]):
            state.scored[at, 0] += 1.0
            rate = max(1.0 / state.scored[at, 0], 1.0 / (_LOSS_DAYS * steps_per_day))
            for expert in range(experts):
                state.loss[at, expert] += rate * (abs(z - points[expert]) - state.loss[at, expert])
        error = z - points[experts]
        state.scored[at, 1] += 1.0
        rate = max(1.0 / state.scored[at, 1], 1.0 / (_LOSS_DAYS * steps_per_day))
        state.spread[at] += rate * (abs(error) - state.spread[at])
        if state.scored[at, 1] == 1.0:
            state.offsets[at] = settings.guesses * _MEAN_ABS_TO_SIGMA * state.spread[at]
        limit = _LARGEST_OFFSET * state.spread[at]
        for level in range(len(settings.levels)):
            above = 0.0 if error < state.offsets[at, level] else 1.0
            moved = state.offsets[at, level] + tracker_rate * state.spread[at] * (settings.levels[level] - 1.0 + above)
            state.offsets[at, level] = min(max(moved, -limit), limit)
        points[:] = np.nan


@compiled
def _learn_season(state: State, settings: Settings, step: int, z: float, seen: bool) -> None:
    """Move level and profiles towards a value; a missing one only fills slots that were never seen."""
    elapsed_s = step * settings.step_s
    scalars = state.scalars
    if seen and elapsed_s >= DAY_S:
        level_rate = min(1.0, _LEVEL_RATE_PER_DAY * settings.step_s / DAY_S)
        scalars[_LAST_RESIDUAL] = z - _profile(state, settings, step)
        scalars[_LEVEL] += level_rate * (scalars[_LAST_RESIDUAL] - scalars[_LEVEL])
    target = z - scalars[_LEVEL]
    day, week = _slot(step, settings.step_s, DAY_S), _slot(step, settings.step_s, WEEK_S)
    if elapsed_s < DAY_S:
        state.day[day] = target
    elif seen:
        state.day[day] += settings.day_rate * (target - state.day[day])
    if elapsed_s < WEEK_S:
        state.week[week] = target
    elif seen:
        state.week[week] += settings.week_rate * (target - state.week[week])


@compiled
def expert_value(state: State, settings: Settings, lead: int, expert: int) -> float:
    """Return one expert's log value ``lead`` steps after the last one."""
    scalars = state.scalars
    step = int(scalars[_STEP]) - 1 + lead
    if expert == len(settings.fades) or scalars[_STEP] * settings.step_s < DAY_S:
        return float(scalars[_LAST_Z])
    fading = math.exp(-lead / settings.fades[expert]) * (scalars[_LAST_RESIDUAL] - scalars[_LEVEL])
    return float(_profile(state, settings, step) + scalars[_LEVEL] + fading)


@compiled
def log_offset(state: State) -> float:
    """Return c: values live as log(y + c)."""
    return float(state.scalars[_OFFSET])


@compiled
def learn(state: State, settings: Settings, value: float) -> None:
    """Take the value of the next step (NaN if missing); for use inside compiled code."""
    scalars = state.scalars
    seen = not math.isnan(value)
    step = int(scalars[_STEP])
    if step == 0 and not seen:
        return
    if seen:
        _follow_scale(state, settings, value)
        scalars[_LAST_Z] = math.log(value + scalars[_OFFSET])
        _score_pending(state, settings, step, scalars[_LAST_Z])
    _learn_season(state, settings, step, scalars[_LAST_Z], seen)
    scalars[_STEP] += 1.0
    ready = scalars[_STEP] * settings.step_s >= DAY_S
    experts = len(settings.fades) + 1
    for at in range(len(settings.leads)):
        lead = settings.leads[at]
        points = state.pending[at, (step + lead) % state.pending.shape[1]]
        total, weights = 0.0, 0.0
        for expert in range(experts):
            point = expert_value(state, settings, lead, expert)
            weight = (state.loss[at, expert] + 1e-9) ** -_BLEND_POWER
            total += weight * point
            weights += weight
            points[expert] = point if ready else np.nan
        points[experts] = total / weights


@compiled
def predict_quantiles(state: State, settings: Settings, lead: int, row: FloatArray) -> None:
    """Write the quantiles at ``lead`` into ``row`` (float64[Q]), interpolating between tracked leads."""
    upper = min(int(np.searchsorted(settings.leads, lead)), len(settings.leads) - 1)
    lower, share = upper, 0.0
    if upper > 0 and lead < settings.leads[upper]:
        lower = upper - 1
        low, high = settings.leads[lower], settings.leads[upper]
        share = math.log(high / lead) / math.log(high / low)
    total, weights = 0.0, 0.0
    for expert in range(len(settings.fades) + 1):
        loss = (1.0 - share) * state.loss[upper, expert] + share * state.loss[lower, expert]
        weight = (loss + 1e-9) ** -_BLEND_POWER
        total += weight * expert_value(state, settings, lead, expert)
        weights += weight
    highest = 0.0
    for level in range(len(settings.levels)):
        offset = (1.0 - share) * state.offsets[upper, level] + share * state.offsets[lower, level]
        highest = max(highest, math.exp(total / weights + offset) - state.scalars[_OFFSET])
        row[level] = highest


@compiled
def _predict_all(state: State, settings: Settings, leads: npt.NDArray[np.int64], rows: FloatArray) -> None:
    for at in range(len(leads)):
        predict_quantiles(state, settings, leads[at], rows[at])


@compiled
def _feed(state: State, settings: Settings, values: FloatArray) -> None:
    for index in range(len(values)):
        learn(state, settings, values[index])


@compiled
def _run(
    state: State, settings: Settings, values: FloatArray, forecasts: FloatArray, ready: npt.NDArray[np.bool_]
) -> None:
    for index in range(len(values)):
        learn(state, settings, values[index])
        ready[index] = state.scalars[_STEP] * settings.step_s >= DAY_S
        _predict_all(state, settings, settings.leads, forecasts[index])
