"""Where a saving comes from: one policy's total against another's, in steps that add up to the difference.

What instances cost is a product, capacity bought x list price of a unit of capacity x share of the list price paid, and
its difference is split by the logarithmic mean Divisia index, which leaves no rest and gives the same steps with the
opposite sign when the policies change places (Ang 2004, "Decomposition analysis for policymaking in energy"; Ang 2015,
"LMDI decomposition approach: a guide for implementation"):

| step | what it holds |
| --- | --- |
| size | more or less capacity bought |
| type | instance types that cost more or less for a unit of capacity |
| spot | what was paid of the list price: spot, and a Savings Plan where there is one |
| timing | the penalty: capacity that was there when it was needed, or was not |
| other | balancer, volumes, CPU credits |
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.contest import Contest
from simulators.fleets import infra_usd

Json = dict[str, Any]
_INSTANCE_LINES: Final = ("on_demand_usd", "spot_usd", "commitment_usd")


@dataclass(frozen=True)
class Waterfall:
    """What one policy saves against another, positive where it is cheaper; USD, or shares of reference cost.

    Attributes:
        spot: By the share of the list price paid.
        type: By the list price of a unit of capacity.
        size: By the capacity bought.
        timing: By the penalty.
        other: By the lines that do not belong to instances.
        total: Bill before refunds, and penalty; the sum of the steps.
    """

    spot: float
    type: float
    size: float
    timing: float
    other: float
    total: float

    def over(self, reference_usd: float) -> "Waterfall":
        """Return every step over a reference cost."""
        return Waterfall(*(value / reference_usd for value in astuple(self)))

    def as_json(self) -> dict[str, float]:
        """Return the steps in the order in which they are read, and the total."""
        return {name: round(getattr(self, name), 6) for name in self.__dataclass_fields__}


def waterfall(ours: NDArray[np.void], theirs: NDArray[np.void]) -> Waterfall:
    """Return what one policy saves against another on one trace, USD, mean over its fleets.

    Args:
        ours: [fleets] OUTCOME totals of the policy.
        theirs: The same of its rival, on the same fleets.
    """
    size, kind, spot = _instance_steps(_factors(theirs), _factors(ours))

    def saved(totals: NDArray[np.float64], others: NDArray[np.float64]) -> float:
        return float(others.mean() - totals.mean())

    instances = saved(_paid(ours), _paid(theirs))
    bill = saved(infra_usd(ours), infra_usd(theirs))
    timing = saved(ours["slo_penalty_usd"], theirs["slo_penalty_usd"])
    return Waterfall(spot, kind, size, timing, bill - instances, bill + timing)


def mean_waterfall(parts: Sequence[Waterfall]) -> Waterfall:
    """Return the mean of each step over traces; every trace counts the same."""
    return Waterfall(*(float(step) for step in np.mean([astuple(part) for part in parts], axis=0)))


def waterfall_content(contest: Contest, policy: str, rival: str, scenarios: Sequence[int] | None = None) -> Json:
    """Return the steps of a policy against a rival: USD by trace, and the mean over traces over reference.

    Args:
        contest: Played.
        policy: Name.
        rival: Name.
        scenarios: Indices of those that count; all if None.
    """
    worlds, rivals = contest.worlds, contest.played[rival].totals
    chosen = range(len(worlds.scenarios)) if scenarios is None else scenarios
    parts, shares = {}, []
    for index in chosen:
        theirs = worlds.of(rivals, index)
        part = waterfall(worlds.of(contest.played[policy].totals, index), theirs)
        parts[worlds.scenarios[index].name] = part.as_json()
        shares.append(part.over(float(theirs["reference_usd"].mean())))
    return {"of": policy, "vs": rival, "over_reference": mean_waterfall(shares).as_json(), "usd": parts}


def _paid(totals: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(sum(totals[line] for line in _INSTANCE_LINES), np.float64)


def _factors(totals: NDArray[np.void]) -> tuple[float, float, float]:
    """Return capacity bought in requests, its list price and what was paid for it in USD: means over fleets."""
    capacity, listed, paid = totals["billed_capacity_requests"], totals["list_usd"], _paid(totals)
    return float(capacity.mean()), float(listed.mean()), float(paid.mean())


def _instance_steps(
    before: tuple[float, float, float], after: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return what size, type and price paid save, USD; arguments are (capacity, list price, paid).

    Where one side paid nothing, the first factor that is 0 takes the whole difference, the limit of the index.
    """
    difference = before[2] - after[2]
    for position in range(3):
        if 0.0 in (before[position], after[position]):
            steps = [0.0, 0.0, 0.0]
            steps[position] = difference
            return steps[0], steps[1], steps[2]
    ratio = math.log(before[2] / after[2])
    mean = difference / ratio if ratio else before[2]
    size = mean * math.log(before[0] / after[0])
    kind = mean * math.log(before[1] / before[0] * after[0] / after[1])
    return size, kind, difference - size - kind
