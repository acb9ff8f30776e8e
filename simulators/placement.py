"""Spot placement score: how likely a spot request is to succeed just now, 1 (least) to 10."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.records import AMPLE, DRY, TIGHT

POOL_DEPTH: Final = 60.0
TIGHT_WORTH: Final = 0.4
NOISE: Final = 0.5
LEAST_TYPES: Final = 3
FEW_TYPES_SCORE: Final = 3


def placement_score(pool_state: NDArray[np.uint8], requested: int, rng: np.random.Generator | None = None) -> int:
    """Rate one request in one zone, for now only.

    As on AWS the score rises with capacity, falls with the size of the request, and stays low for a request that names
    fewer than three types. AWS publishes no formula; this one is an assumption: each ample pool counts as 60
    instances deep, a tight one as 0.4 of that, and the score falls exponentially with the request per depth.

    Args:
        pool_state: [types] AMPLE, TIGHT or DRY: the pools of the requested types in the zone.
        requested: Instances asked for, at least 1.
        rng: Source of the score's noise (standard deviation half a point); none without it.

    Returns:
        1..10; without noise never higher for a worse state of any pool or for a larger request.

    Raises:
        ValueError: No pool, an unknown state, or nothing requested.
    """
    if requested < 1:
        raise ValueError(f"a placement score needs at least 1 requested instance, got {requested}")
    if pool_state.size == 0 or not np.isin(pool_state, (AMPLE, TIGHT, DRY)).all():
        raise ValueError(f"a placement score needs pool states {AMPLE}, {TIGHT} or {DRY}, got {pool_state.tolist()}")
    worth = float((pool_state == AMPLE).sum() + TIGHT_WORTH * (pool_state == TIGHT).sum())
    fit = np.exp(-requested / (POOL_DEPTH * worth)) if worth > 0 else 0.0
    score = 1.0 + 9.0 * fit * worth / pool_state.size
    if rng is not None:
        score += NOISE * rng.standard_normal()
    highest = 10 if pool_state.size >= LEAST_TYPES else FEW_TYPES_SCORE
    return int(np.clip(round(score), 1, highest))
