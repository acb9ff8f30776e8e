"""Draw labelled anomalies over a tape: when they come, how long they last, how strong they are."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from simulators.anomalies.kinds import (
    KINDS,
    MINUTES_PER_WEEK,
    Anomaly,
    Difficulty,
    Span,
    kind_of,
)

_DAY = 1440
_NIGHT_HALF_HOURS = 12


def draw_anomalies(
    kinds: Sequence[str],
    *,
    ticks: int,
    rate_per_week: float,
    seed: int,
    difficulty: Literal["easy", "hard", "mixed"] = "easy",
    first_tick: int = 0,
    minute_of_week: int = 0,
) -> tuple[Anomaly, ...]:
    """Draw anomalies that start at random: a Poisson process for each kind, all kinds equally often.

    They may overlap. One that would end beyond the tape is left out, so a longer tape keeps every anomaly of a shorter
    one. A kind's anomalies do not depend on which other kinds are asked for, only on how many (they share the rate).

    Args:
        kinds: Keys of `KINDS`, each once.
        ticks: Length of the tape, minutes.
        rate_per_week: Expected number of starts a week, all kinds together, at least 0.
        seed: Non-negative.
        difficulty: Ranges to draw from; ``mixed`` tosses a coin for each anomaly.
        first_tick: No anomaly starts before it.
        minute_of_week: Minute of the week of tick 0; bots come at night.

    Returns:
        Anomalies by start, then by kind.

    Raises:
        ValueError: An unknown or repeated kind, or a number out of range.
    """
    if difficulty not in ("easy", "hard", "mixed"):
        raise ValueError(f"unknown difficulty {difficulty!r}; known: easy, hard, mixed")
    if len(set(kinds)) != len(kinds):
        raise ValueError(f"an anomaly kind is named twice in {list(kinds)}")
    if rate_per_week < 0.0 or not np.isfinite(rate_per_week):
        raise ValueError(f"rate_per_week {rate_per_week} is not a finite number of at least 0")
    if not 0 <= first_tick <= ticks:
        raise ValueError(f"first_tick {first_tick} lies outside the tape of {ticks} ticks")
    for kind in kinds:
        kind_of(kind)
    if rate_per_week == 0.0 or not kinds:
        return ()
    mean_gap = len(kinds) * MINUTES_PER_WEEK / rate_per_week
    drawn = []
    for kind in kinds:
        rng = np.random.default_rng([seed, list(KINDS).index(kind), 0xA70])
        start = first_tick + rng.exponential(mean_gap)
        while start < ticks:
            anomaly = _draw_one(kind, int(start), difficulty, rng, first_tick, minute_of_week)
            if anomaly.end_tick <= ticks:
                drawn.append(anomaly)
            start += rng.exponential(mean_gap)
    return tuple(sorted(drawn, key=lambda item: (item.start_tick, list(KINDS).index(item.kind))))


def _draw_one(
    name: str, start: int, difficulty: str, rng: np.random.Generator, first_tick: int, minute_of_week: int
) -> Anomaly:
    kind = KINDS[name]
    hard = difficulty == "hard" or (difficulty == "mixed" and rng.random() < 0.5)
    own: Difficulty = "hard" if hard else "easy"
    minutes = draw_value(kind.minutes, own, rng)
    parameters = tuple((key, draw_value(span, own, rng)) for key, span in kind.parameters.items())
    seed = int(rng.integers(2**31))
    if kind.starts_at_night:
        start = _at_night(start, first_tick, minute_of_week, rng)
    step = kind.step_ticks
    start = -(-start // step) * step
    length = max(step, round(minutes / step) * step)
    return Anomaly(name, start, start + length, parameters, seed, own)


def _at_night(start: int, first_tick: int, minute_of_week: int, rng: np.random.Generator) -> int:
    """Return the tick of a full or half hour between 00:00 and 06:00 of the same day, or of the next one."""
    midnight = start - (minute_of_week + start) % _DAY
    moved = midnight + 30 * int(rng.integers(_NIGHT_HALF_HOURS))
    return moved if moved >= first_tick else moved + _DAY


def draw_value(span: Span, difficulty: Difficulty, rng: np.random.Generator) -> float:
    """Return a value of a difficulty's range: whole numbers uniform, others log-uniform."""
    low, high = span.easy if difficulty == "easy" else span.hard
    if span.whole:
        return float(rng.integers(int(low), int(high), endpoint=True))
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
