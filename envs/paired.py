"""Episodes that are rewarded for doing better than a rival in the same world with the same luck.

Nothing a fleet does changes its world, and one fleet's choices never shift another's luck. So a second batch of fleets,
run by the rival through the same minutes, tells how much of a reward was the world's doing: the difference has the same
optimum and a fraction of the variance (common random numbers as a control variate).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.action import decode
from envs.episodes import Episodes
from envs.reward import Terms, score, total_reward
from simulators.fleets import FleetBatch

Decider = Callable[[NDArray[np.void]], NDArray[np.int64]]
"""Actions [B, 4] for [B] TELEMETRY records."""


class PairedEpisodes(Episodes):
    """Episodes beside those of a rival.

    Args:
        rival: Decides for the second batch.
        args: As ``Episodes``.
        kwargs: As ``Episodes``; a ``reward`` is taken of both batches.

    Attributes:
        rivals: The second batch.
    """

    def __init__(self, rival: Decider, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rival = rival
        self.rivals = FleetBatch(self.fleets.bank, self.fleets.menu, len(self.fleets))

    def _reset(self, indices: NDArray[np.int64], plans: NDArray[np.int64], seeds: NDArray[np.uint64]) -> None:
        super()._reset(indices, plans, seeds)
        self.rivals.reset(indices, plans[0], plans[1], plans[2], seeds)

    def act(self, actions: NDArray[np.int64], *, detail: bool = False) -> tuple[NDArray[np.float64], Terms]:
        """Play one decision of every environment; return rewards beyond the rival's [B], and the own terms."""
        rewards, terms = super().act(actions, detail=detail)
        rivals = self.rivals
        decode(self._rival(rivals.readings), rivals.readings, rivals.decisions, self.task)
        rivals.step(self.task.decision_minutes)
        theirs, _ = score(rivals.outcomes)
        if self.reward is not None:
            return rewards - self.reward(rivals.outcomes, theirs), terms
        return rewards - total_reward(theirs, self.task.reward), terms
