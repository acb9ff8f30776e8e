"""One validation day to look at: which it is, and what one fleet of a batch does in it."""

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Played
from envs.history import FleetHistory
from simulators.fleets import FleetBatch

_DAY_MINUTES = 1440


def telling_day(rule: Played, bound_usd: NDArray[np.float64]) -> tuple[int, int]:
    """Return the window and the day of it on which a policy has most to show, as [B] and [days] indices.

    It is the window where the rule is furthest above the bound, over reference, and its dearest day over reference. A
    window that is dear for everyone, because no fleet can serve its demand, is so for the bound too.
    """
    above = (rule.total_usd - bound_usd) / rule.totals["reference_usd"]
    window = int(above.argmax())
    reference = rule.daily_reference_usd[window]
    ratios = np.divide(rule.daily_usd[window], reference, out=np.zeros_like(reference), where=reference > 0.0)
    return window, int(ratios.argmax())


class DayRecorder:
    """Records one fleet's decisions of one day while a batch is played: an entry for each decision's end.

    Args:
        window: Index of the fleet.
        day: Day of its window, from 0.
        decision_minutes: Minutes of a decision.
    """

    def __init__(self, window: int, day: int, decision_minutes: int) -> None:
        self.history = FleetHistory()
        self._window = window
        self._day = day
        self._decision_minutes = decision_minutes
        self._decisions = 0

    def watch(self, fleets: FleetBatch) -> None:
        """Take notice of a batch after a decision."""
        if self._decisions * self._decision_minutes // _DAY_MINUTES == self._day:
            self.history.record(fleets, self._window)
        self._decisions += 1
