"""Six named demand patterns, each of mean about 1, for any seed: steady, diurnal, bursty, flash crowd, ramp, on-off.

The set is the one that RLScale-Bench (2026) compares autoscalers on; shapes and parameters here are our own.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_DAY = 1440
Pattern = Callable[[int, np.random.Generator], NDArray[np.float64]]


def _noise(minutes: int, rng: np.random.Generator, sigma: float, persistence: float) -> NDArray[np.float64]:
    """Return exp of a stationary AR(1) path with standard deviation ``sigma``, [minutes]."""
    shocks = rng.standard_normal(minutes) * np.sqrt(1.0 - persistence**2)
    path = np.empty(minutes)
    value = rng.standard_normal()
    for minute in range(minutes):
        value = persistence * value + shocks[minute]
        path[minute] = value
    return np.asarray(np.exp(sigma * path))


def _daily(minutes: int, amplitude: float, peak_minute: float) -> NDArray[np.float64]:
    """Return 1 + amplitude x a daily cosine with its peak at ``peak_minute``, [minutes]."""
    angle = 2.0 * np.pi * (np.arange(minutes) - peak_minute) / _DAY
    return 1.0 + amplitude * np.cos(angle)


def _spikes(
    minutes: int, rng: np.random.Generator, per_day: float, height: tuple[float, float], length: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the sum of randomly placed spikes: a quick rise, then exponential decay, [minutes]."""
    total = np.zeros(minutes)
    for start in np.flatnonzero(rng.random(minutes) < per_day / _DAY):
        peak, decay = rng.uniform(*height), rng.uniform(*length)
        rise = max(1.0, decay / 6.0)
        age = np.arange(minutes - start, dtype=np.float64)
        total[start:] += peak * np.minimum(age / rise, 1.0) * np.exp(-np.maximum(age - rise, 0.0) / decay)
    return total


def steady(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A level with small noise."""
    return _noise(minutes, rng, 0.05, 0.95)


def diurnal(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A daily swing, weaker at weekends, with persistent noise."""
    base = _daily(minutes, rng.uniform(0.4, 0.8), rng.uniform(0, _DAY))
    weekend = np.where(np.arange(minutes) // _DAY % 7 >= 5, rng.uniform(0.6, 0.9), 1.0)
    return np.asarray(base * weekend * _noise(minutes, rng, 0.10, 0.98))


def bursty(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A daily swing with a dozen bursts a day, up to three times the mean, minutes long."""
    base = _daily(minutes, 0.3, rng.uniform(0, _DAY)) * _noise(minutes, rng, 0.10, 0.9)
    return base + _spikes(minutes, rng, 12.0, (0.4, 2.0), (4.0, 25.0))


def flash_crowd(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A quiet service that a crowd visits about once a day: five to ten times the load within minutes."""
    base = _daily(minutes, 0.25, rng.uniform(0, _DAY)) * _noise(minutes, rng, 0.08, 0.95)
    return base + _spikes(minutes, rng, 1.0, (4.0, 9.0), (30.0, 120.0))


def ramp(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Steady growth (or decline) over days under a mild daily swing."""
    growth = np.exp(rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.15) * np.arange(minutes) / _DAY)
    return (
        np.asarray(growth / growth.mean())
        * _daily(minutes, 0.2, rng.uniform(0, _DAY))
        * _noise(minutes, rng, 0.06, 0.97)
    )


def on_off(minutes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Jumps between a low and a high level, each held for a random hour or three."""
    level = np.empty(minutes)
    minute, high = 0, bool(rng.random() < 0.5)
    while minute < minutes:
        length = int(rng.uniform(45, 240))
        level[minute : minute + length] = 1.7 if high else 0.3
        minute, high = minute + length, not high
    return level * _noise(minutes, rng, 0.06, 0.9)


PATTERNS: Final[dict[str, Pattern]] = {
    "steady": steady,
    "diurnal": diurnal,
    "bursty": bursty,
    "flash_crowd": flash_crowd,
    "ramp": ramp,
    "on_off": on_off,
}


def draw_pattern(name: str, *, days: int, seed: int) -> NDArray[np.float64]:
    """Draw a named pattern.

    Args:
        name: A key of PATTERNS.
        days: Whole days, at least 1.
        seed: Non-negative; the same seed gives the same path.

    Returns:
        [1440 x days] relative demand, positive, mean 1.

    Raises:
        ValueError: Unknown name, or ``days`` below 1.
    """
    if name not in PATTERNS:
        raise ValueError(f"unknown pattern {name!r}; known: {', '.join(PATTERNS)}")
    if days < 1:
        raise ValueError(f"a pattern needs at least 1 day, got {days}")
    rng = np.random.default_rng([seed, sorted(PATTERNS).index(name)])
    path = PATTERNS[name](days * _DAY, rng)
    return np.asarray(path / path.mean())
