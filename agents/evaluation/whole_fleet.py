"""What the cheapest whole fleet costs with which a minute can be good: whole instances, and one rate for all of them.

Let ``m`` instances serve some part of a good minute, instance i of type k(i) for s_i of its 60 seconds, and let the
price P_i be paid for the whole minute. The balancer gives each serving second the rate ``rho g_k``: under round robin
g = 1; under least outstanding requests g is the type's capacity over the largest one. With arrivals A (demand and
retries) and W = sum of s_i g_i,

1. ``rho = 60 A / W``, and W <= 60 m, so ``rho >= A / m``;
2. instance i has the share ``w_i = s_i g_i / W`` of the requests, so the minute is good only where
   ``sum_i w_i L_i <= late``, L_i being the smallest late share at utilisation ``rho g_k / c_k`` of any number of
   targets up to m, rejected requests included: a balancer's targets are no more than the instances that serve;
3. with P the lowest price, the fleet costs per second

       sum_i P_i >= m P + sum_i (s_i / 60) (P_i - P) = m P + (A / rho) sum_i w_i (P_i - P) / g_i
                 >= m P + (A / rho) q(rho)

   where ``q(rho)`` is the least of ``sum_k w_k (P_k - P) / g_k`` over all shares w that satisfy point 2.

So with demand d <= A it costs at least ``m P + d min over rho >= d / m of q(rho) / rho``, and the bound is the least of
it over m = 1, 2, ... up to what one fleet can hold. The linear program q has one constraint: its optimum is one type
that is punctual enough, or two, one on either side of ``late``.

Above saturation an instance that takes the share w of the requests at utilisation u admits some of them, at utilisation
v <= u but no less than 1, and the rest is rejected, hence late: of all its requests at least ``1 - (v / u)(1 - L(v))``
are late, so at least ``1 - V / u`` with V the largest ``v (1 - L(v))``.

On the grid of rho each late share is that of the interval's lower end (it does not fall with rho) and each 1 / rho that
of its upper end; on the grid of demand a value holds from its point to the next (the cost does not fall with demand).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.bound import UTILIZATIONS, late_shares, used_types
from simulators.records import SLOTS
from simulators.service import capacity_rps
from telemetry.compiled import compiled, compiled_in_place

_COUNTS: Final = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, SLOTS])
"""Numbers of targets at which late shares are taken; a number between two is taken for the larger one."""
_NUM_RATES: Final = 2000
_NUM_DEMANDS: Final = 4000
_LOWEST_UTILIZATION: Final = 0.2
_HIGHEST_UTILIZATION: Final = 20.0
_SMALLEST_DEMAND: Final = 0.02


class WholeFleet:
    """The cheapest whole fleet of one physics record and work scale, ready for any prices.

    Attributes:
        demand_rps: [D] grid of demand, ascending from 0.
    """

    def __init__(self, log_tails: NDArray[np.float32], physics: np.void, scale: float = 1.0) -> None:
        kinds = used_types(physics)
        capacity = np.array([capacity_rps(physics, kind, scale) for kind in kinds])
        nominal = np.array([capacity_rps(physics, kind, 1.0) for kind in kinds])
        self._late = float(physics["slo_late_fraction"])
        self._weights = nominal / nominal.max() if physics["least_outstanding"] else np.ones(len(kinds))
        saturating = capacity / self._weights
        self._rates = np.geomspace(
            _LOWEST_UTILIZATION * saturating.min(), _HIGHEST_UTILIZATION * saturating.max(), _NUM_RATES
        )
        most = 1.01 * SLOTS * capacity.max()
        smallest = _SMALLEST_DEMAND * capacity.min()
        self.demand_rps = np.concatenate(([0.0], np.geomspace(smallest, most, _NUM_DEMANDS - 2), [np.inf]))
        busy = self._rates[:, None] / saturating
        at = np.searchsorted(UTILIZATIONS, busy, side="right") - 1
        self._shares = np.empty((len(_COUNTS), *busy.shape))
        for column, kind in enumerate(kinds):
            late = _with_rejected(late_shares(log_tails, physics, kind, scale, _COUNTS))
            self._shares[:, :, column] = late.T[:, at[:, column]]
        self._known: dict[bytes, NDArray[np.float64]] = {}

    def usd_per_s(self, prices_usd_per_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the fleet costs at each demand of the grid, whole seconds of every instance paid.

        Args:
            prices_usd_per_s: [N, types in use] lowest price an instance of each type can be paying.

        Returns:
            [N, D] USD per second, not falling with demand; infinite where no fleet makes the minute good.
        """
        return np.stack([self._least_usd_per_s(row) for row in np.ascontiguousarray(prices_usd_per_s)])

    def _least_usd_per_s(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        key = prices.tobytes()
        if key not in self._known:
            self._known[key] = _cheapest_fleet(
                prices, self._weights, self._shares, self._rates, self._late, _COUNTS, self.demand_rps
            )
        return self._known[key]


def _with_rejected(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Count rejected requests as late, [UTILIZATIONS, counts]: the module's text has the reason."""
    above = np.flatnonzero(UTILIZATIONS >= 1.0)
    in_time = UTILIZATIONS[above[1:], None] * (1.0 - shares[above[:-1]])
    floor = 1.0 - in_time.max(axis=0) / UTILIZATIONS[above, None]
    counted = shares.copy()
    counted[above] = np.maximum(shares[above[0]], floor)
    return np.asarray(np.minimum.accumulate(counted[::-1], axis=0)[::-1])


@compiled_in_place
def _cheapest_mix(surcharges: NDArray[np.float64], shares: NDArray[np.float64], late: float) -> float:
    """Return the least mean surcharge of a mixture of types with a mean late share of at most ``late``; or infinity."""
    best = np.inf
    for kind in range(surcharges.shape[0]):
        if shares[kind] > late:
            continue
        if surcharges[kind] <= 0.0:
            return 0.0
        best = min(best, surcharges[kind])
        for other in range(surcharges.shape[0]):
            if shares[other] > late and surcharges[other] < surcharges[kind]:
                share = (late - shares[kind]) / (shares[other] - shares[kind])
                best = min(best, surcharges[kind] + share * (surcharges[other] - surcharges[kind]))
    return best


@compiled
def _cheapest_fleet(
    prices: NDArray[np.float64],
    weights: NDArray[np.float64],
    shares: NDArray[np.float64],
    rates: NDArray[np.float64],
    late: float,
    counts: NDArray[np.int64],
    demands: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return [D] USD per second; ``rates`` [R] and ``demands`` [D] are the grids, ``shares`` [counts, R, types].

    The least found so far never falls with demand, so a number of instances that costs more by itself is skipped.
    """
    price = prices.min()
    surcharges = (prices - price) / weights
    least = np.full(demands.shape[0], np.inf)
    extra = np.full(rates.shape[0] + 1, 0.0)
    fewest = 1
    for size in range(counts.shape[0]):
        lowest = np.inf
        for rate in range(rates.shape[0] - 1, -1, -1):
            mix = _cheapest_mix(surcharges, shares[size, rate], late)
            if mix < np.inf:
                lowest = min(lowest, mix / rates[rate + 1] if rate + 1 < rates.shape[0] else 0.0)
            extra[rate + 1] = lowest
        for instances in range(fewest, counts[size] + 1):
            rate = 0
            for position in range(np.searchsorted(least, instances * price, side="right"), demands.shape[0] - 1):
                demand = demands[position]
                while rate < rates.shape[0] and rates[rate] <= demand / instances:
                    rate += 1
                if extra[rate] == np.inf:
                    break
                least[position] = min(least[position], instances * price + demand * extra[rate])
        fewest = counts[size] + 1
    return least
