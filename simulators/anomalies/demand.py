"""What anomalies do to the demand tape: four pure effects per tick, neutral outside every window.

Each anomaly draws its noise from its own seed, so adding or removing another one leaves its path alone. Anomalies that
overlap compose: demand factors and work scales multiply, shares of failing requests combine as independent failures
(1 - product of 1 - share), metric gaps unite.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from simulators.anomalies.kinds import Anomaly

Path = NDArray[np.float64]
_END_LEVEL = 0.08
_ROLLOUT_BATCHES = 10
_NOISE_PERSISTENCE = 0.8


@dataclass(frozen=True)
class DemandEffects:
    """Effects on the demand tape.

    Attributes:
        demand_factor: [T] multiplier on demand, above 0; 1 is neutral.
        work_scale: [T] multiplier on the work of a request, above 0; 1 is neutral.
        fault_fraction: [T] share of requests that fail whatever the fleet does, 0..1; 0 is neutral.
        metric_gap: [T] True where the metrics of a tick are never delivered.
    """

    demand_factor: NDArray[np.float32]
    work_scale: NDArray[np.float32]
    fault_fraction: NDArray[np.float32]
    metric_gap: NDArray[np.bool_]


def demand_effects(anomalies: Sequence[Anomaly], ticks: int) -> DemandEffects:
    """Return what a set of anomalies does to a demand tape.

    Anomalies of the market are ignored here; `market_effects` applies them.

    Args:
        anomalies: In any order; they may overlap.
        ticks: Length of the tape.

    Raises:
        ValueError: An anomaly of the demand tape ends beyond it.
    """
    factor, work, passing = np.ones(ticks), np.ones(ticks), np.ones(ticks)
    gap = np.zeros(ticks, np.bool_)
    for item in sorted(anomalies, key=lambda item: (item.start_tick, item.kind, item.seed)):
        if item.kind not in _EFFECTS:
            continue
        item.check_inside(ticks)
        window = slice(item.start_tick, item.end_tick)
        effect = _EFFECTS[item.kind](item)
        factor[window] *= effect.demand_factor
        work[window] *= effect.work_scale
        passing[window] *= 1.0 - effect.fault_fraction
        gap[window] |= effect.metric_gap
    return DemandEffects(factor.astype(np.float32), work.astype(np.float32), (1.0 - passing).astype(np.float32), gap)


@dataclass(frozen=True)
class _Effect:
    """Effects inside one window: a path, or one neutral number."""

    demand_factor: Path | float = 1.0
    work_scale: Path | float = 1.0
    fault_fraction: Path | float = 0.0
    metric_gap: bool = False


def wobble(item: Anomaly, sigma: float) -> Path:
    """Return exp of a stationary AR(1) path from the anomaly's own seed, [ticks], mean about 1."""
    shocks = np.random.default_rng([item.seed, 0xE0]).standard_normal(item.ticks)
    shocks[1:] *= np.sqrt(1.0 - _NOISE_PERSISTENCE**2)
    return np.asarray(np.exp(sigma * lfilter([1.0], [1.0, -_NOISE_PERSISTENCE], shocks)))


def rise_and_decay(ticks: int, rise_share: float) -> Path:
    """Return a linear rise to 1 and an exponential decay to 0.08 at the last tick, positive everywhere, [ticks]."""
    rise = max(1, round(rise_share * ticks))
    age = np.arange(ticks)
    fall = np.maximum(age + 1 - rise, 0) / max(1, ticks - rise)
    return np.asarray(np.where(age < rise, (age + 1) / rise, _END_LEVEL**fall))


def rise_and_hold(ticks: int, rise_share: float, fall_share: float = 0.05) -> Path:
    """Return a linear rise to 1, a plateau, and a short linear recovery; positive everywhere, [ticks]."""
    rise = max(1, round(rise_share * ticks))
    fall = max(1, round(fall_share * ticks))
    age = np.arange(ticks)
    return np.asarray(np.minimum(np.minimum((age + 1) / rise, (ticks - age) / fall), 1.0))


def _flash_crowd(item: Anomaly) -> _Effect:
    extra = item["extra_demand"] * rise_and_decay(item.ticks, item["rise_share"]) * wobble(item, 0.06)
    return _Effect(demand_factor=1.0 + extra)


def _slow_dependency(item: Anomaly) -> _Effect:
    extra = item["extra_work"] * rise_and_hold(item.ticks, item["rise_share"]) * wobble(item, 0.10)
    return _Effect(work_scale=1.0 + extra)


def _retry_storm(item: Anomaly) -> _Effect:
    """Each failing attempt is tried again, up to ``retries`` times: attempts are the sum of the powers of the share."""
    age = np.arange(item.ticks)
    calming = np.minimum(1.0, (item.ticks - age) / (0.3 * item.ticks))
    waves = 1.0 - 0.15 * (0.5 - 0.5 * np.cos(2.0 * np.pi * age / 6.0))
    failing = item["failing_fraction"] * calming * waves * wobble(item, 0.05)
    failing = np.clip(failing, 1e-3, 0.97)
    attempts = sum(failing**power for power in range(int(item["retries"]) + 1))
    return _Effect(demand_factor=np.asarray(attempts), fault_fraction=failing)


def _metric_gap(item: Anomaly) -> _Effect:
    return _Effect(metric_gap=True)


def _bot_traffic(item: Anomaly) -> _Effect:
    extra = item["extra_demand"] * wobble(item, 0.02)
    mean_work = (1.0 + extra * item["work_ratio"]) / (1.0 + extra)
    return _Effect(demand_factor=1.0 + extra, work_scale=mean_work)


def _bad_deploy(item: Anomaly) -> _Effect:
    """The faulty version reaches the fleet in ten batches and stays until it is rolled back within minutes."""
    reached = np.ceil(_ROLLOUT_BATCHES * rise_and_hold(item.ticks, item["rollout_share"], 0.04)) / _ROLLOUT_BATCHES
    noise = wobble(item, 0.08)
    failing = np.minimum(item["failing_fraction"] * reached * noise, 1.0)
    return _Effect(work_scale=1.0 + item["extra_work"] * reached * noise, fault_fraction=failing)


_EFFECTS: Final[Mapping[str, Callable[[Anomaly], _Effect]]] = {
    "flash_crowd": _flash_crowd,
    "slow_dependency": _slow_dependency,
    "retry_storm": _retry_storm,
    "metric_gap": _metric_gap,
    "bot_traffic": _bot_traffic,
    "bad_deploy": _bad_deploy,
}
