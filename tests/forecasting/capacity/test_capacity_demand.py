"""Forecast quantiles: what is refused, and what they say at any minute."""

import numpy as np
import pytest

from forecasting.capacity.columns import LEVELS
from forecasting.capacity.demand import read_forecast


@pytest.mark.parametrize(
    ("demand", "leads", "levels", "said"),
    [
        ([[1.0, 2.0]], [5], [0.5], "expected shape"),
        ([[1.0], [2.0]], [5, 5], [0.5], "rising minutes"),
        ([[1.0, 2.0]], [5], [0.9, 0.5], "rising levels"),
        ([[np.nan]], [5], [0.5], "finite"),
        ([[-1.0]], [5], [0.5], "not negative"),
        ([[2.0, 1.0]], [5], [0.5, 0.9], "cross"),
    ],
)
def test_a_forecast_that_cannot_be_is_refused(demand, leads, levels, said) -> None:
    with pytest.raises(ValueError, match=said):
        read_forecast(demand, leads, levels)


def test_a_forecast_is_read_between_its_leads_and_held_beyond() -> None:
    forecast = read_forecast(np.array([[100.0], [200.0]]) * np.array([0.9, 1.0, 1.1, 1.2]), [10, 20], LEVELS)
    found = forecast.at(50.0, [0, 5, 15, 99])
    assert found[:, 1].tolist() == pytest.approx([50.0, 75.0, 150.0, 200.0])
    assert found[3].tolist() == pytest.approx([180.0, 200.0, 220.0, 240.0])
