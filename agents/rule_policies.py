"""Rules that are more than one constant action: they read the telemetry before every decision."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from envs.action import MAX_SCALE, choices_of, unit_price
from envs.settings import TaskSettings
from telemetry.compiled import Record, compiled


class Hedge(BaseModel):
    """How a rule answers trouble with spot instances; trouble is an interruption or a failed launch.

    Attributes:
        fallback_minutes: After trouble with the current candidate, launch at ``fallback_percent`` for so long.
        fallback_percent: Spot share meanwhile.
        avoid_minutes: After trouble, a candidate is avoided for so long.
        avoid_share: An avoided candidate counts as this share dearer.
        diversified_share: A candidate of several types counts as this share cheaper.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fallback_minutes: int = Field(30, ge=0, le=1440)
    fallback_percent: int = Field(0, ge=0, le=100)
    avoid_minutes: int = Field(60, ge=0, le=1440)
    avoid_share: float = Field(0.3, ge=0, le=10)
    diversified_share: float = Field(0.0, ge=0, lt=1)


class FixedSpecification:
    """One launch specification by name, whatever the others cost; AWS's mixed-instances groups are like this.

    Args:
        specification: Its name.
        spot_percent: Spot share of new launches.
        position: Menu index of the scaling policy.
        task: Settings of the action.

    Raises:
        ValueError: The task has no such candidate, or cannot say the spot share.
    """

    def __init__(self, specification: str, spot_percent: int, position: int, task: TaskSettings) -> None:
        names = [candidate.name for candidate in task.candidates]
        if specification not in names:
            raise ValueError(f"unknown launch specification {specification!r}; known: {', '.join(names)}")
        _check_spot(task, spot_percent)
        self._task = task
        self._spec = names.index(specification)
        self._spot = spot_percent
        self._position = position

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return [B, 4] actions."""
        specs = np.full(len(readings), self._spec)
        return _actions(specs, np.full(len(readings), self._spot), self._position, readings, self._task)


class SpotHedge:
    """Spot with a fallback on demand, and around pools in trouble.

    After SkyServe's SpotHedge (Mao et al., EuroSys 2025, arXiv 2411.01438): provide more spot instances than needed
    (the scaling policy's ``spot_margin``), launch where no instance was taken back lately, and replace what is missing
    on demand until the trouble is over. A change of the spot share touches new launches only, so the fallback lasts
    until the group scales in. Of the candidates, diversified ones are worth more than their price says.

    Args:
        hedge: What it does in trouble.
        spot_percent: Spot share of launches without trouble.
        position: Menu index of the scaling policy.
        task: Settings of the action.

    Raises:
        ValueError: The task cannot say one of the spot shares.
    """

    def __init__(self, hedge: Hedge, spot_percent: int, position: int, task: TaskSettings) -> None:
        _check_spot(task, spot_percent)
        _check_spot(task, hedge.fallback_percent)
        self._task = task
        self._hedge = hedge
        self._spot = spot_percent
        diversified = np.array([len(candidate.types) > 1 for candidate in task.candidates])
        self._weight = np.where(diversified, 1.0 - hedge.diversified_share, 1.0)
        self._position = position

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return [B, 4] actions."""
        hedge = self._hedge
        specs, spot_percent = np.empty((2, len(readings)), np.int64)
        _hedged(
            readings,
            self._weight,
            (self._spot, hedge.fallback_percent),
            (hedge.fallback_minutes, hedge.avoid_minutes),
            1.0 + hedge.avoid_share,
            1.0 - self._task.rank_hysteresis,
            specs,
            spot_percent,
        )
        return _actions(specs, spot_percent, self._position, readings, self._task)


@compiled
def _hedged(
    readings: NDArray[np.void],
    weight: NDArray[np.float64],
    calm_and_fallback_percent: tuple[int, int],
    fallback_and_avoid_minutes: tuple[int, int],
    avoided_weight: float,
    current_weight: float,
    specs: NDArray[np.int64],
    spot_percent: NDArray[np.int64],
) -> None:
    """Write the cheapest candidate of each reading, its price weighted, and the spot share it is bought with."""
    calm, fallback = calm_and_fallback_percent
    fallback_minutes, avoid_minutes = fallback_and_avoid_minutes
    for index in range(len(readings)):
        reading = readings[index]
        current = int(reading.spec)
        spot_percent[index] = fallback if _quiet_minutes(reading, current) < fallback_minutes else calm
        least, specs[index] = np.inf, current
        for spec in range(len(weight)):
            price = unit_price(reading, spec, spot_percent[index] / 100.0) * weight[spec]
            if spec == current:
                price *= current_weight
            if _quiet_minutes(reading, spec) < avoid_minutes:
                price *= avoided_weight
            if price < least:
                least, specs[index] = price, spec


@compiled
def _quiet_minutes(reading: Record, spec: int) -> float:
    """Return how long ago a candidate last was in trouble."""
    return float(min(reading.minutes_since_interruption[spec], reading.minutes_since_launch_failure[spec]))


def _check_spot(task: TaskSettings, percent: int) -> None:
    if percent % task.spot_step_percent:
        raise ValueError(f"spot share {percent} % is not a multiple of spot_step_percent {task.spot_step_percent}")


def _actions(
    specs: NDArray[np.int64],
    spot_percent: NDArray[np.int64],
    position: int,
    readings: NDArray[np.void],
    task: TaskSettings,
) -> NDArray[np.int64]:
    actions = np.empty((len(readings), 4), np.int64)
    actions[:, 0] = MAX_SCALE
    actions[:, 1] = choices_of(specs, spot_percent / 100.0, readings, task)
    actions[:, 2] = spot_percent // task.spot_step_percent
    actions[:, 3] = position
    return actions
