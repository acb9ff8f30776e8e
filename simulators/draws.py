"""Counter-based randomness: a draw depends on what it is for, never on how many draws came before.

Each function hashes its key with the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014), so one policy's choices never shift another's luck.
"""

import math
from typing import Final

import numpy as np

from telemetry.compiled import compiled_in_place

BOOT: Final = 1
APP: Final = 2
REGISTER: Final = 3
RECLAIM: Final = 4
NOTICE: Final = 5
LAUNCH: Final = 6
AGE: Final = 7
EPISODE: Final = 8
ALLOCATE: Final = 9

_TO_UNIT: Final = 1.0 / 9007199254740992.0


@compiled_in_place
def mix(value: np.uint64) -> np.uint64:
    """Return the SplitMix64 finaliser of a 64-bit key."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled_in_place
def uniform(seed: np.uint64, purpose: int, counter: int) -> float:
    """Return a number in (0, 1) for one (seed, purpose, counter)."""
    key = mix(seed + np.uint64(purpose) * np.uint64(0x9E3779B97F4A7C15))
    key = mix(key + np.uint64(counter) * np.uint64(0xD1342543DE82EF95) + np.uint64(1))
    return (float(key >> np.uint64(11)) + 0.5) * _TO_UNIT


@compiled_in_place
def standard_normal(seed: np.uint64, purpose: int, counter: int) -> float:
    """Return a standard normal draw for one (seed, purpose, counter), by Box and Muller's transform."""
    radius = math.sqrt(-2.0 * math.log(uniform(seed, purpose, 2 * counter)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, purpose, 2 * counter + 1))
