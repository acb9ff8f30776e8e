"""The field: every rival of the forecast suite, trained where it has to be, as factories by name.

Pooled rivals train on what lies before the scored part, on series whose role
is "pooled" only; the others meet them as new services.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from forecasting.demand.lstm import LstmForecaster, Weights
from forecasting.demand.lstm_training import LstmSettings, train_lstm
from forecasting.demand.seasonal_naive import SeasonalNaive
from forecasting.history import History
from forecasting.rivals.boosted_lags import BoostedLags, train
from forecasting.rivals.statistical import MODELS, StatisticalForecaster
from forecasting.suites.rolling_origins import HORIZON_S, LEVELS, Factory
from telemetry.forecast_series import DevelopmentSeries, Part

_Result = TypeVar("_Result")

STREAMING_EXPERTS = "streaming experts"
LIGHTGBM = "LightGBM"
LSTM = "LSTM"
SEASONAL_LSTM = "LSTM, seasonal inputs"
_TRACKED = (1, 2, 3, 4, 6, 9, 12, 18, 24, 36, 48)


@dataclass(frozen=True)
class Field:
    """Rivals by name.

    Attributes:
        fast: those that forecast in milliseconds.
        slow: those that are refitted at each forecast.
        trained_s: CPU seconds of the pooled training, by name.
    """

    fast: dict[str, Factory] = field(default_factory=dict)
    slow: dict[str, Factory] = field(default_factory=dict)
    trained_s: dict[str, float] = field(default_factory=dict)


def pooled_histories(series: Sequence[DevelopmentSeries], part: Part) -> list[History]:
    """Return what pooled models may be trained on before they are scored on a part.

    Args:
        series: development series; those with another role than "pooled" are left out.
        part: what is scored later.
    """
    return [
        History(item.history(part), item.step_s, int(item.start.astype(np.int64)))
        for item in series
        if item.role == "pooled"
    ]


def train_field(
    series: Sequence[DevelopmentSeries],
    part: Part,
    *,
    lightgbm: bool = True,
    lstm: Sequence[LstmSettings] = (LstmSettings(),),
    statistical: Sequence[str] = tuple(MODELS),
) -> Field:
    """Train the pooled rivals and return the whole field.

    Args:
        series: the development series.
        part: what is scored later.
        lightgbm: whether to train the boosted trees (extra ``models``).
        lstm: networks to train (extra ``train``); none to leave the LSTM out.
        statistical: keys of ``statistical.MODELS`` (extra ``rivals``).

    Raises:
        ImportError: a package of a wanted rival is not installed.
    """
    histories = pooled_histories(series, part)
    found = Field(fast={STREAMING_EXPERTS: experts_factory()})
    if lightgbm:
        models, seconds = _timed(partial(train, histories, levels=LEVELS, horizon_s=HORIZON_S))
        found.fast[LIGHTGBM], found.trained_s[LIGHTGBM] = lightgbm_factory(models), seconds
    for settings in lstm:
        name = SEASONAL_LSTM if settings.seasonal else LSTM
        weights, seconds = _timed(partial(train_lstm, histories, settings))
        found.fast[name], found.trained_s[name] = lstm_factory(weights), seconds
    found.slow.update({name: statistical_factory(name) for name in statistical})
    return found


def experts_factory() -> Factory:
    """Return the factory of the streaming blend of a seasonal profile and fading deviations."""
    return lambda task: SeasonalNaive(
        step_s=task.step_s, leads=[lead for lead in _TRACKED if lead <= task.leads[-1]], levels=task.levels
    )


def lightgbm_factory(models: BoostedLags) -> Factory:
    """Return the factory of streams that share trained trees."""
    return lambda task: models.forecaster(step_s=task.step_s, start=task.start)


def lstm_factory(weights: Weights) -> Factory:
    """Return the factory of streams that share a trained network."""
    return lambda task: LstmForecaster(weights, step_s=task.step_s, start=task.start)


def statistical_factory(model: str) -> Factory:
    """Return the factory of a statistical model."""
    return lambda task: StatisticalForecaster(model=model, step_s=task.step_s)


def _timed(work: Callable[[], _Result]) -> tuple[_Result, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began
