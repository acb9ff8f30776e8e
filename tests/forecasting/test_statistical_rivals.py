import importlib.util
from typing import Any

import numpy as np
import pytest

from forecasting.metrics.forecast import mean_absolute_error
from forecasting.rivals.chronos import ChronosForecaster, load_pipeline
from forecasting.rivals.statistical import MODELS, StatisticalForecaster

HOUR_S = 3600
LEVELS = (0.1, 0.5, 0.9)


def wave(days: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    hours = np.arange(24 * days)
    return 1e6 * (100.0 + 60.0 * np.sin(2 * np.pi * hours / 24) + rng.normal(0.0, 3.0, len(hours)))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_each_finds_the_season_of_a_plain_wave(model: str) -> None:
    pytest.importorskip("statsforecast")
    values = wave(15)
    rows = StatisticalForecaster(model=model, step_s=HOUR_S).fit(values[:-4]).forecast([1, 2, 3, 4], LEVELS)
    assert mean_absolute_error(values[-4:], rows[:, 1]) < 0.25 * mean_absolute_error(
        values[-4:], np.full(4, values[-5])
    )
    assert (np.diff(rows, axis=1) > 0.0).all()


@pytest.mark.parametrize("past", [[], [5.0], [np.nan] * 60, [0.0] * 60, [7.0] * 60])
def test_without_a_season_to_see_the_last_value_stands(past: list[float]) -> None:
    rows = StatisticalForecaster(model="MSTL", step_s=HOUR_S).fit(past).forecast([1, 4], LEVELS)
    known = [value for value in past if not np.isnan(value)]
    np.testing.assert_array_equal(rows, known[-1] if known else 0.0)


def test_bad_requests_are_named() -> None:
    with pytest.raises(ValueError, match="expected one of AutoETS, AutoTheta, MSTL"):
        StatisticalForecaster(model="Prophet", step_s=HOUR_S)
    with pytest.raises(ValueError, match="whole part of a day"):
        StatisticalForecaster(model="MSTL", step_s=7000)


@pytest.mark.skipif(importlib.util.find_spec("chronos") is not None, reason="Chronos is installed")
def test_without_chronos_the_error_says_how_to_get_it() -> None:
    with pytest.raises(ImportError, match="pip install chronos-forecasting"):
        load_pipeline()


class Ramp:
    """Answers in the two shapes of real pipelines: the last value plus step and level."""

    def __init__(self, *, variates: bool) -> None:
        self._variates = variates
        self.lengths: list[int] = []

    def predict_quantiles(
        self, inputs: list[Any], prediction_length: int, quantile_levels: list[float]
    ) -> tuple[Any, Any]:
        import torch

        self.lengths.append(len(inputs[0]))
        steps = torch.arange(1, prediction_length + 1)[:, None]
        path = inputs[0][-1] + steps + torch.tensor(quantile_levels)[None, :]
        return ([path[None]] if self._variates else path[None]), None


@pytest.mark.slow
@pytest.mark.parametrize("variates", [False, True])
def test_chronos_arrays_land_on_their_leads_and_levels(variates: bool) -> None:
    pytest.importorskip("torch")
    pipeline = Ramp(variates=variates)
    forecaster = ChronosForecaster(pipeline, context_steps=50)
    assert (forecaster.forecast([1], LEVELS) == 0.0).all()
    forecaster.fit(np.arange(100.0))
    forecaster.update(float("nan"))
    rows = forecaster.forecast([2, 5], LEVELS)
    np.testing.assert_allclose(rows, 99.0 + np.array([[2.0], [5.0]]) + np.array(LEVELS), rtol=1e-6)
    assert pipeline.lengths == [50]
