"""How bad an anomaly is: how rare, how long, and how much is at stake."""

from typing import Final, Literal

Grade = Literal["low", "medium", "high", "critical"]

_LARGEST_RARITY: Final = 6.0
_HALF_DURATION_S: Final = 900.0
_GRADES: Final[tuple[tuple[float, Grade], ...]] = ((0.5, "critical"), (0.25, "high"), (0.08, "medium"), (0.0, "low"))


def severity(rarity: float, duration_s: float, at_stake: float) -> float:
    """Return the severity of an anomaly, 0..1: the product of three shares.

    Args:
        rarity: ``-log10 p`` of its most unusual value; 6 or more counts as 1.
        duration_s: Seconds it has lasted, 0 or more; a quarter of an hour counts as one half.
        at_stake: Share of the error budget or of the cost budget that it touches, 0..1 (the larger of the two).

    Raises:
        ValueError: an argument outside its range.
    """
    if not (rarity >= 0.0 and duration_s >= 0.0 and 0.0 <= at_stake <= 1.0):
        raise ValueError(
            f"severity needs rarity {rarity} and duration {duration_s} s >= 0, at stake {at_stake} in 0..1"
        )
    return min(rarity / _LARGEST_RARITY, 1.0) * duration_s / (duration_s + _HALF_DURATION_S) * at_stake


def grade(value: float) -> Grade:
    """Return the word for a severity: critical from 0.5, high from 0.25, medium from 0.08, else low (a convention)."""
    return next(word for least, word in _GRADES if value >= least)
