"""The design row of the pooled model: what it is told of a series at an origin and of a lead, free of scale.

Differences are taken to the last value and divided by what the series usually moves by (``spread_scale``), so one model
serves requests, CPU shares and bytes. The row builds on the seasonal experts: their forecasts are features, and the
model learns how far off they are. Everything here is compiled; missing knowledge (a young series) is NaN.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from forecasting.demand.memory import (
    CHANGE_HOURS,
    MEAN_HOURS,
    Memory,
    MemorySettings,
    last_value,
    mean_around,
    spread_scale,
    steps_seen,
    value_ago,
)
from forecasting.demand.seasonal_naive import FADE_S, Settings, State, expert_value, log_offset
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

_EXPERTS: Final = (*(f"expert fading over {fade_s:g} s" for fade_s in FADE_S), "expert last value")
_BACK_S: Final = (0, 900, 3_600, 10_800)
_DAYS_BACK: Final = (1, 2, 7)
_AROUND_DAYS_BACK: Final = (1, 7)
_MOST_DAYS: Final = 14.0

FEATURES: Final = (
    "log hours ahead",
    *_EXPERTS,
    "experts' 10 %",
    "experts' median",
    "experts' 90 %",
    *(f"{what} {days} days before" for days in _DAYS_BACK for what in ("target", "change")),
    *(f"around the target {days} days before" for days in _AROUND_DAYS_BACK),
    *(f"mean of {hours:g} h" for hours in MEAN_HOURS),
    *(f"change over {back_s:g} s" for back_s in _BACK_S),
    *(f"usual change, {hours:g} h" for hours in CHANGE_HOURS),
    "log scale over mean",
    "log value over mean",
    "experts' recent error",
    *(f"loss of {name}" for name in _EXPERTS),
    "days seen",
)
"""Names of the columns, in order."""


@compiled
def write_row(
    experts: State,
    expert_settings: Settings,
    memory: Memory,
    settings: MemorySettings,
    at: int,
    lead: int,
    quantiles: FloatArray,
    row: FloatArray,
) -> None:
    """Write the design row of one lead.

    Args:
        experts: the seasonal experts after the last value.
        expert_settings: theirs.
        memory: the same of the memory.
        settings: its settings.
        at: tracked lead of the experts that stands for ``lead`` (their losses and errors).
        lead: steps ahead, 1 or more.
        quantiles: float64[Q], the experts' quantiles at this lead; 10 %, median and 90 % come first.
        row: float64[len(FEATURES)], written.
    """
    value, scale, seen = last_value(memory), spread_scale(memory, settings), steps_seen(memory)
    offset = log_offset(experts)
    row[0] = math.log(lead * settings.step_s / 3600.0)
    column = 1
    count = experts.loss.shape[1]
    for expert in range(count):
        known = seen > settings.day
        log_value = expert_value(experts, expert_settings, lead, expert)
        row[column] = (math.exp(log_value) - offset - value) / scale if known else math.nan
        column += 1
    for level in range(3):
        row[column] = (quantiles[level] - value) / scale
        column += 1
    for days in _DAYS_BACK:
        then = value_ago(memory, days * settings.day - lead)
        row[column] = (then - value) / scale
        row[column + 1] = (then - value_ago(memory, days * settings.day)) / scale
        column += 2
    for days in _AROUND_DAYS_BACK:
        row[column] = (mean_around(memory, settings, days * settings.day - lead) - value) / scale
        column += 1
    for index in range(len(memory.means)):
        row[column] = (memory.means[index] - value) / scale
        column += 1
    for back_s in _BACK_S:
        row[column] = (value - value_ago(memory, max(1, int(back_s / settings.step_s)))) / scale
        column += 1
    for index in range(len(memory.changes)):
        row[column] = memory.changes[index] / scale
        column += 1
    mean = abs(memory.means[-1]) + 1e-12
    row[column] = math.log(scale / mean)
    row[column + 1] = math.log(abs(value) / mean + 1e-3)
    row[column + 2] = experts.spread[at] * (abs(quantiles[1]) + offset) / scale
    column += 3
    best = math.inf
    for expert in range(count):
        best = min(best, experts.loss[at, expert])
    for expert in range(count):
        row[column] = experts.loss[at, expert] / best if best > 0.0 else 1.0
        column += 1
    row[column] = min(seen / settings.day, _MOST_DAYS)
