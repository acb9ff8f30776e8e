"""Own rule: as many instances as the busiest of the last 5, 15 and 60 minutes needs at 60 %, half of them spot.

Score it: python scripts/submit.py --policy examples.own_rule:OwnRule --kind rule --author me --out mine.json
"""

import numpy as np

from agents.evaluation.entrants import load_entrant
from agents.evaluation.suite_scores import score_on_suite, suite_worlds
from envs.action import MAX_SCALE
from simulators.suite import load_suite


class OwnRule:
    def __init__(self, task):
        self.manual = [policy.kind for policy in task.menu].index("manual")
        self.half = (task.num_spot_levels - 1) // 2

    def act(self, readings):
        need = np.ceil(readings["demand_mean_rps"].max(axis=1) / readings["dependable_rps"] / 0.6)
        step = np.clip(need - readings["desired"], -MAX_SCALE, MAX_SCALE).astype(int)
        cheapest, size = 1, len(readings)
        return np.stack([MAX_SCALE + step, *(np.full(size, part) for part in (cheapest, self.half, self.manual))], 1)


if __name__ == "__main__":
    worlds = suite_worlds(load_suite("fleetgym-suite-1"), only=["diurnal-20-calm"])
    for reference in ("examples.own_rule:OwnRule", "rule:forecast"):
        entrant = load_entrant(reference)
        score = score_on_suite(entrant.policy, entrant.task, worlds)["diurnal-20-calm"]
        print(f"{reference}: {score.total_usd / score.reference_usd:.3f} of reference")
