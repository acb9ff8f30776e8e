"""The two forecasts everyone must beat: the last value, and the value of a day ago, with quantiles from their errors.

The median is the plain value. Any other level adds the quantile of the errors made on the history; those of the last
value are taken per lead, those of a day ago do not depend on it. Before ``fit`` all levels are the plain value.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.history import HeldHistory, checked, require_leads

DAY_S = 86_400
_MEDIAN = 0.5


class LastValue:
    """The last known value, whatever the lead.

    Args:
        levels: quantile levels whose errors are measured by ``fit``; only these can be asked for.
    """

    def __init__(self, *, levels: Sequence[float]) -> None:
        self._levels = list(levels)
        self._past = HeldHistory(1)
        self._history = np.empty(0)
        self._offsets: dict[int, FloatArray] = {}

    @property
    def ready(self) -> bool:
        """Never: it repeats the last value by definition."""
        return False

    def fit(self, history: npt.ArrayLike) -> Self:
        """Measure the errors on ``history`` and end at its last value."""
        self._history = checked(history)
        self._offsets = {}
        self._past.restart(self._history)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; zeros before any value."""
        last = float(self._past.values()[-1]) if self._past.seen else 0.0
        offsets = np.stack([self._offsets_at(int(lead)) for lead in require_leads(leads)])
        return _shifted(np.full(len(leads), last), offsets, self._levels, levels)

    def _offsets_at(self, lead: int) -> FloatArray:
        if lead not in self._offsets:
            self._offsets[lead] = _error_quantiles(self._history[lead:] - self._history[:-lead], self._levels)
        return self._offsets[lead]


class DayAgo:
    """The value one day before the step that is forecast: seasonal naive.

    Args:
        step_s: seconds per step.
        levels: quantile levels whose errors are measured by ``fit``; only these can be asked for.

    Raises:
        ValueError: a step that does not divide a day.
    """

    def __init__(self, *, step_s: int, levels: Sequence[float]) -> None:
        if step_s < 1 or DAY_S % step_s:
            raise ValueError(f"step_s is {step_s}; expected a whole part of a day")
        self._season = DAY_S // step_s
        self._levels = list(levels)
        self._past = HeldHistory(self._season)
        self._offsets = np.zeros(len(self._levels))

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return self._past.seen >= self._season

    def fit(self, history: npt.ArrayLike) -> Self:
        """Measure the errors on ``history`` and end at its last value."""
        values = checked(history)
        self._offsets = _error_quantiles(values[self._season :] - values[: -self._season], self._levels)
        self._past.restart(values)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; before a full day the last value (zeros before any)."""
        steps = require_leads(leads)
        past = self._past.values()
        if not self._past.seen:
            points = np.zeros(len(steps))
        elif not self.ready:
            points = np.full(len(steps), past[-1])
        else:
            points = past[(steps - 1) % self._season]
        return _shifted(points, np.tile(self._offsets, (len(steps), 1)), self._levels, levels)


def _error_quantiles(errors: FloatArray, levels: Sequence[float]) -> FloatArray:
    known = errors[np.isfinite(errors)]
    if not len(known):
        return np.zeros(len(levels))
    offsets = np.quantile(known, levels)
    return np.where(np.asarray(levels) == _MEDIAN, 0.0, offsets)


def _shifted(points: FloatArray, offsets: FloatArray, known: list[float], levels: Sequence[float]) -> FloatArray:
    """Return points plus offsets at the wanted levels, in order and never negative."""
    unknown = [level for level in levels if level not in known]
    if unknown:
        raise ValueError(f"level {unknown[0]} is not tracked; this forecaster has {known}")
    wanted = points[:, None] + offsets[:, [known.index(level) for level in levels]]
    return np.maximum.accumulate(np.maximum(wanted, 0.0), axis=1)
