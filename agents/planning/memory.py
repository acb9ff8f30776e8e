"""What a planner remembers of each fleet: how rough its minutes are, and what its spot pools have shown."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.planning.demand import DemandPast, score_of, step_quantiles
from agents.planning.markets import HotLibrary, SpotEvidence, hot_chance
from agents.planning.state import event_minutes
from simulators.records import TICKS_PER_ROW
from telemetry.resample import NOISE_PHI, NOISE_SIGMA, tick_noise

_PRIOR_WEIGHT: Final = 12.0
_MOST_PAST: Final = 7 * 288
_USUAL_SLOPE: Final = 0.4
_SLOPE_WEIGHT: Final = 100.0
_MOST_HINT: Final = 8.0
_LEAST_ROUGHNESS: Final = 0.1
_MOST_ROUGHNESS: Final = 3.0


def _usual_deviation() -> float:
    """Return the mean square of ln(last minute / mean of its five minutes) under the usual minute noise."""
    noise = tick_noise(0, 4096, TICKS_PER_ROW, phi=NOISE_PHI, sigma=NOISE_SIGMA)
    return float((np.log(noise[:, -1]) ** 2).mean())


class Memory:
    """Running statistics of a batch of fleets.

    Args:
        fleets: How many.
        kinds: Instance types.
        decision_minutes: Minutes between two decisions.

    Attributes:
        fresh: [B] whether the latest reading told of a new interruption or refusal.
    """

    def __init__(self, fleets: int, kinds: int, decision_minutes: int) -> None:
        self._used_hours = np.zeros((fleets, kinds))
        self._events = np.zeros((fleets, kinds))
        self.fresh = np.zeros(fleets, np.bool_)
        self._reference_rps = np.zeros(fleets)
        self._reclaim = np.zeros((fleets, kinds), np.int64)
        self._refusal = np.zeros((fleets, kinds), np.int64)
        self._in_use = np.zeros((fleets, kinds), np.bool_)
        self._scores: list[NDArray[np.float64]] = []
        self._surprises: list[NDArray[np.float64]] = []
        self._hint, self._products, self._hint_squares = np.zeros(fleets), np.zeros(fleets), np.zeros(fleets)
        self._expected: NDArray[np.float64] | None = None
        self._demand_rps, self._days = np.zeros(fleets), 0.0
        self._squares, self._weight = np.zeros(fleets), np.zeros(fleets)
        self._usual = _usual_deviation()
        self._step = decision_minutes

    def observe(self, readings: NDArray[np.void], physics: np.void) -> None:
        """Take in the readings of one decision."""
        kinds = self._used_hours.shape[1]
        on_spot = (readings["spot_in_use"] > 0)[:, None]
        self._in_use = (readings["type_count"][:, :kinds] > 0) & on_spot
        self._used_hours += self._in_use * (self._step / 60.0)
        for name, field in (
            ("_reclaim", "minutes_since_interruption"),
            ("_refusal", "minutes_since_launch_failure"),
        ):
            minutes = np.stack([event_minutes(reading, physics, field)[:kinds] for reading in readings])
            setattr(self, name, minutes)
        recent = np.minimum(self._reclaim, self._refusal) <= self._step
        self._events += recent
        self.fresh = np.asarray(recent.any(axis=1))
        self._observe_minutes(readings)
        self._observe_forecasts(readings)

    def _observe_minutes(self, readings: NDArray[np.void]) -> None:
        last, mean = readings["demand_rps"], readings["demand_mean_rps"][:, 0]
        known = (last > 0) & (mean > 0)
        deviation = np.log(np.where(known, last, 1.0) / np.where(known, mean, 1.0)) ** 2
        self._squares += np.where(known, np.minimum(deviation, 25.0 * self._usual), 0.0)
        self._weight += known
        self._demand_rps += readings["demand_mean_rps"][:, 0]
        self._days += self._step / 1440.0
        usual = readings["mean_demand_rps"]
        self._reference_rps = (usual + self._demand_rps * self._step / 1440.0) / (1.0 + self._days)

    def _observe_forecasts(self, readings: NDArray[np.void]) -> None:
        """Score the five minutes just seen by what was forecast for them at the last decision.

        Part of such a score is told by the last minute visible at that decision: its own score times a slope, fitted to
        each fleet by least squares beside a hundred scores at the usual slope.
        """
        expected = step_quantiles(readings, 1)[:, 0]
        hint = np.clip(score_of(expected, readings["demand_rps"]), -_MOST_HINT, _MOST_HINT)
        if self._expected is not None and self._step == TICKS_PER_ROW:
            score = score_of(self._expected, readings["demand_mean_rps"][:, 0])
            self._scores = [*self._scores, score][-_MOST_PAST:]
            self._surprises = [*self._surprises, score - self._slope * self._hint][-_MOST_PAST:]
            self._products += self._hint * np.clip(score, -_MOST_HINT, _MOST_HINT)
            self._hint_squares += self._hint**2
        self._expected, self._hint = expected, hint

    @property
    def _slope(self) -> NDArray[np.float64]:
        slope = (self._products + _SLOPE_WEIGHT * _USUAL_SLOPE) / (self._hint_squares + _SLOPE_WEIGHT)
        return np.asarray(np.clip(slope, 0.0, 1.0))

    def demand_past(self, rows: NDArray[np.int64]) -> DemandPast:
        """Return what some fleets' past says about their demand.

        Scores are those of the last week at most, and none where decisions are not five minutes apart. Roughness comes
        from the last minutes seen against their five-minute means; the reference from the known mean, counted as a
        day's worth, and all demand seen.
        """
        none = np.zeros((len(rows), 0))
        square = (self._squares[rows] + _PRIOR_WEIGHT * self._usual) / (self._weight[rows] + _PRIOR_WEIGHT)
        return DemandPast(
            scores=np.stack(self._scores, axis=1)[rows] if self._scores else none,
            surprises=np.stack(self._surprises, axis=1)[rows] if self._surprises else none,
            start=(self._slope * self._hint)[rows],
            roughness=np.clip(np.sqrt(square / self._usual), _LEAST_ROUGHNESS, _MOST_ROUGHNESS),
            reference_rps=self._reference_rps[rows],
        )

    def evidence(self, library: HotLibrary, rows: NDArray[np.int64]) -> SpotEvidence:
        """Return what some fleets know of every type."""
        chance = hot_chance(library, self._used_hours[rows], self._events[rows])
        return SpotEvidence(chance, self._reclaim[rows], self._refusal[rows], self._in_use[rows])
