"""AutoETS, AutoTheta and MSTL of statsforecast as streams: refitted on the last week at every forecast.

The package is optional (``pip install fleetgym[rivals]``) and imported when a forecast is asked for. Its 80 %
interval gives levels 0.1 and 0.9; other levels follow from a normal error of that width.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecasting.base import FloatArray
from forecasting.history import HeldHistory, require_leads

DAY_S = 86_400
WINDOW_DAYS = 7
_INTERVAL = 80
_LONGEST_ETS_SEASON = 24
_WIDTH = float(2.0 * ndtri(0.5 + _INTERVAL / 200.0))


def _ets(season: int) -> Any:
    from statsforecast.models import AutoETS

    return AutoETS(season_length=season if season <= _LONGEST_ETS_SEASON else 1)


def _theta(season: int) -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta(season_length=season, decomposition_type="additive")


def _mstl(season: int) -> Any:
    from statsforecast.models import MSTL

    return MSTL(season_length=season)


MODELS: Mapping[str, Callable[[int], Any]] = {"AutoETS": _ets, "AutoTheta": _theta, "MSTL": _mstl}


class StatisticalForecaster:
    """A statistical model refitted at each forecast on the last week.

    Args:
        model: a key of ``MODELS``. AutoETS has no season where a day has more than 24 steps: its season would have to
            be that long, which the package does not do.
        step_s: seconds per step.

    Raises:
        ValueError: an unknown model, or a step that does not divide a day.
    """

    def __init__(self, *, model: str, step_s: int) -> None:
        if model not in MODELS:
            raise ValueError(f"model {model!r}: expected one of {', '.join(MODELS)}")
        if step_s < 1 or DAY_S % step_s:
            raise ValueError(f"step_s is {step_s}; expected a whole part of a day")
        self._model = model
        self._season = DAY_S // step_s
        self._past = HeldHistory(WINDOW_DAYS * self._season)

    @property
    def ready(self) -> bool:
        """Whether two full days have been seen: the least that shows a season."""
        return self._past.seen >= 2 * self._season

    def fit(self, history: npt.ArrayLike) -> Self:
        """Start again from ``history``."""
        self._past.restart(history)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; before two days, and for a constant window, the last value.

        Raises:
            ImportError: statsforecast is not installed.
        """
        steps = require_leads(leads)
        past = self._past.values().copy()
        if not self.ready or np.ptp(past) == 0.0:
            return np.full((len(steps), len(levels)), past[-1] if len(past) else 0.0)
        scale = float(past.max())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = MODELS[self._model](self._season).forecast(past / scale, h=int(steps.max()), level=[_INTERVAL])
        mean, low, high = (
            np.asarray(found[key], dtype=np.float64)[steps - 1]
            for key in ("mean", f"lo-{_INTERVAL}", f"hi-{_INTERVAL}")
        )
        sigma = (high - low) / _WIDTH
        rows = mean[:, None] + sigma[:, None] * ndtri(np.asarray(levels))[None, :]
        rows = np.where(np.isfinite(rows), scale * rows, past[-1])
        return np.maximum.accumulate(np.maximum(rows, 0.0), axis=1)
