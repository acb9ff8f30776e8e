"""A clairvoyant lower bound on the bill plus penalty of any policy, and the argument why none goes below it.

Take one minute with demand ``d`` (requests per second) and any fleet, however it came about. Either the minute is bad
and costs at least its penalty, or it is good, and then

1. at most ``late`` (5 %) of its requests are late, and at most ``errors`` (0.1 %) are not served in the minute at all;
2. each other request is answered in time by an instance that is in service for some part of the minute, and that part
   is billed at no less than the cheapest price its type has had since the start of the instance's hour (spot, any zone)
   or its list price;
3. an instance of type k that runs at utilisation u while it serves answers at most the share ``1 - L_k(u)`` of its
   requests in time, where ``L_k`` is the smallest late share of any number of targets (a backlog only adds to it);
4. more than that no routing can do, so let the fleet be any non-negative mixture of fractions of instances at any
   utilisations, and let the late requests of point 1 that overload an instance be worked off for nothing.

So the cost of a good minute is at least the value of the linear program

    minimise   sum_j p_j x_j
    subject to sum_j a_j x_j + z      >= (1 - errors) d        (arrivals; z are late requests served for nothing)
               sum_j a_j L_j x_j + z  <= late d                (late requests)
               x, z >= 0

over columns j = (type, utilisation), a_j = capacity x utilisation. Any feasible point of its dual

    maximise    d ((1 - errors) alpha - late beta)
    subject to  a_j (alpha - L_j beta) <= p_j,  alpha <= beta,  alpha, beta >= 0

is a lower bound too, so it is enough to search beta on a grid and take the best alpha for each. Boot, registration,
warm-up, drain, the 60 s minimum, credits and whole instances only add to the bill. Refunds are not part of totals. The
bound of a window is the sum over its minutes of the smaller of penalty and good-minute cost, and of the balancer's cost
of the demand without retries. Each instance-second carries its volume.

A Savings Plan is paid whatever happens. Its dollars cover usage at the plan's rate; give each of them the shadow price
``m``: then an instance on demand costs at least ``m`` times that rate, and what the commitment of all the hours the
window touches is worth, ``m`` times its dollars, is taken off once. Every ``m`` in 0..1 gives a lower bound (weak
duality), the best of a few is taken.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Windows
from simulators.bank import Bank
from simulators.latency import overloaded_tail, response_tail
from simulators.records import TICK_S, ZONES
from simulators.service import capacity_rps
from telemetry.compiled import compiled_in_place

UTILIZATIONS: Final = np.concatenate(([0.0], np.arange(0.02, 0.9999, 0.002), np.geomspace(1.0, 20.0, 600), [1e6]))
"""Grid of utilisations at which late shares are taken, ascending from 0."""
_TARGET_COUNTS: Final = 2 ** np.arange(8)
_BETA_OVER_COST: Final = np.concatenate(([0.0], np.geomspace(1e-2, 1e3, 300)))
_SHADOW_PRICES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_LATE_PRICE: Final = np.concatenate(([0.0], np.geomspace(1e-3, 1e4, 2000)))


@compiled_in_place
def _fill_tails(
    table: NDArray[np.float32],
    utilizations: NDArray[np.float64],
    counts: NDArray[np.int64],
    service_s: float,
    x: float,
    shares: NDArray[np.float64],
) -> None:
    for row in range(utilizations.shape[0]):
        for column in range(counts.shape[0]):
            utilization, targets = utilizations[row], counts[column]
            if utilization <= 1.0:
                shares[row, column] = response_tail(table, targets, utilization, x)
            else:
                wait = (utilization - 1.0) / service_s
                shares[row, column] = overloaded_tail(table, targets, utilization, 0.0, wait, x)


def late_shares(
    log_tails: NDArray[np.float32], physics: np.void, kind: int, scale: float, counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the smallest late share of the requests that a type admits, [UTILIZATIONS, counts].

    Each holds for its utilisation or any higher one, and for its number of targets or any smaller one; ``counts``
    ascend and hold every power of two up to their last. Above saturation an instance that serves for one second, the
    shortest there is, waits least.
    """
    service_s = float(physics["service_s"][kind] * scale)
    shares = np.empty((len(UTILIZATIONS), len(counts)))
    table = log_tails[physics["servers"][kind]]
    _fill_tails(table, UTILIZATIONS, counts, service_s, float(physics["slo_s"]) / service_s, shares)
    over_targets = np.minimum.accumulate(shares, axis=1)
    return np.asarray(np.minimum.accumulate(over_targets[::-1], axis=0)[::-1])


def late_share(log_tails: NDArray[np.float32], physics: np.void, kind: int, scale: float) -> NDArray[np.float64]:
    """Return the smallest late share of a type at each utilisation, over any number of targets, [UTILIZATIONS]."""
    return late_shares(log_tails, physics, kind, scale, _TARGET_COUNTS)[:, -1]


def used_types(physics: np.void) -> list[int]:
    """Return the types that some launch candidate contains."""
    members = {
        int(physics["members"][spec, member])
        for spec in range(int(physics["num_candidates"]))
        for member in range(int(physics["num_members"][spec]))
    }
    return sorted(members)


class GoodMinute:
    """The dual program of one physics record and work scale, ready for any prices.

    With unit price c = p / capacity, the constraints of a type read ``alpha <= c g(beta / c)`` where
    ``g(b) = min over u of (1 / u + b L(u))`` does not depend on prices. g is concave, so its linear interpolation on a
    grid of b never exceeds it, and what it allows stays feasible; between two utilisations of the grid the larger
    one's 1 / u and the smaller one's L are taken, which bounds everything in between.
    """

    def __init__(self, log_tails: NDArray[np.float32], physics: np.void, scale: float = 1.0) -> None:
        kinds = used_types(physics)
        self._errors = float(physics["slo_error_fraction"])
        self._late = float(physics["slo_late_fraction"])
        self._capacity = np.array([capacity_rps(physics, kind, scale) for kind in kinds])
        shares = [late_share(log_tails, physics, kind, scale) for kind in kinds]
        fewest = 1.0 / UTILIZATIONS[1:]
        self._least = [(fewest + _LATE_PRICE[:, None] * share[:-1]).min(axis=1) for share in shares]

    def usd_per_request(self, prices_usd_per_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a lower bound on what one request of a good minute costs.

        Args:
            prices_usd_per_s: [N, types in use] lowest price an instance of each type can be paying.

        Returns:
            [N] USD: the best dual value over a grid of beta, so never above the linear program's optimum.
        """
        unit = prices_usd_per_s / self._capacity
        betas = unit.min(axis=1, keepdims=True) * _BETA_OVER_COST
        alphas = betas.copy()
        for column, least in enumerate(self._least):
            price = unit[:, column, None]
            np.minimum(alphas, price * np.interp(betas / price, _LATE_PRICE, least), out=alphas)
        return np.asarray(((1.0 - self._errors) * alphas - self._late * betas).max(axis=1))


def lowest_prices(
    bank: Bank, world: np.void, physics: np.void, first_tick: int, last_tick: int, on_demand_share: float = 1.0
) -> NDArray[np.float64]:
    """Return the lowest price any instance can be paying in each market hour of a window, [hours, types in use].

    An instance pays what its pool cost at the start of its own hour, so the hour before counts too. Volumes included;
    an instance on demand is taken at ``on_demand_share`` of its list price.
    """
    kinds = used_types(physics)
    phase = int(world["market_phase"])
    hours = np.arange((first_tick + phase) // 60, (last_tick - 1 + phase) // 60 + 1)
    tape = bank.spot_usd_per_s[int(world["market"])]
    lowest = np.empty((len(hours), len(kinds)))
    for column, kind in enumerate(kinds):
        pools = tape[:, kind * ZONES : (kind + 1) * ZONES].min(axis=1).astype(np.float64)
        paying = np.minimum(pools[hours % len(tape)], pools[(hours - 1) % len(tape)])
        lowest[:, column] = np.minimum(paying, on_demand_share * float(physics["on_demand_usd_per_s"][kind]))
    return lowest + float(physics["volume_usd_per_s"])


Programs = dict[tuple[int, float], GoodMinute]


class Minutes(NamedTuple):
    """What the minutes of a window ask for and what they cost whatever the fleet does; all [ticks].

    Attributes:
        demand_rps: Requests per second without retries.
        work_scale: Multiplier on their work.
        hour: Market hour, counted from the window's first.
        scored: Whether anything is booked.
        penalty_usd: Penalty if the minute is bad.
        balancer_usd: Load balancer's cost of the demand.
    """

    demand_rps: NDArray[np.float64]
    work_scale: NDArray[np.float64]
    hour: NDArray[np.int64]
    scored: NDArray[np.bool_]
    penalty_usd: NDArray[np.float64]
    balancer_usd: NDArray[np.float64]


def window_minutes(bank: Bank, world: np.void, first_tick: int, last_tick: int) -> Minutes:
    """Return the minutes of a window of a world."""
    tape, physics = bank.tapes[world["tape"]], bank.physics[world["physics"]]
    at = slice(int(tape["start"]) + first_tick, int(tape["start"]) + last_tick)
    demand = bank.demand_rps[at].astype(np.float64)
    reference = float(physics["reference_usd_per_request"] * tape["reference_demand_rps"] * TICK_S)
    penalty = np.full(len(demand), float(physics["penalty_multiple"]) * reference)
    if physics["traffic_penalty"]:
        penalty *= demand / float(tape["reference_demand_rps"])
    phase = int(world["market_phase"])
    lcu_usd_per_s = physics["lcu_per_rps"] * physics["lcu_usd_per_s"] * demand
    return Minutes(
        demand_rps=demand,
        work_scale=bank.work_scale[at].astype(np.float64),
        hour=(np.arange(first_tick, last_tick) + phase) // 60 - (first_tick + phase) // 60,
        scored=bank.scored[at] > 0,
        penalty_usd=np.where(demand > 0.0, penalty, 0.0),
        balancer_usd=TICK_S * (float(physics["balancer_usd_per_s"]) + lcu_usd_per_s),
    )


def best_shadow_price(
    physics: np.void, minutes: Minutes, cost_usd: Callable[[float], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the largest bound over the shadow prices of the commitment, [ticks] USD; the module's text has the reason.

    ``cost_usd`` takes the share of the list price an instance on demand costs and returns a bound of each tick without
    the commitment, 0 where unscored.
    """
    commitment = float(physics["commitment_usd_per_s"])
    if commitment <= 0.0:
        return cost_usd(1.0)
    scored, hours = minutes.scored, int(minutes.hour[-1]) + 1
    best = np.full(len(scored), -np.inf)
    for shadow_price in _SHADOW_PRICES:
        cost = cost_usd(min(1.0, shadow_price * (1.0 - float(physics["plan_discount"]))))
        worth = shadow_price * 3600.0 * commitment * hours / max(1, scored.sum())
        bound = cost + scored * (TICK_S * commitment - worth)
        best = bound if bound.sum() > best.sum() else best
    return best


def bound_per_tick(
    bank: Bank, world_index: int, first_tick: int, last_tick: int, programs: Programs | None = None
) -> NDArray[np.float64]:
    """Return the bound of each tick of one window, [ticks] USD; unscored ticks cost 0.

    ``programs`` keeps what does not depend on prices between calls over the same bank.
    """
    world = bank.worlds[world_index]
    physics = bank.physics[world["physics"]]
    minutes = window_minutes(bank, world, first_tick, last_tick)
    programs = {} if programs is None else programs

    def cost_usd(on_demand_share: float) -> NDArray[np.float64]:
        prices = lowest_prices(bank, world, physics, first_tick, last_tick, on_demand_share)
        good = good_minute_usd(bank, world, minutes, prices, programs)
        cost: NDArray[np.float64] = np.minimum(good, minutes.penalty_usd) + minutes.balancer_usd
        return cost * minutes.scored

    return best_shadow_price(physics, minutes, cost_usd)


def good_minute_usd(
    bank: Bank, world: np.void, minutes: Minutes, prices_usd_per_s: NDArray[np.float64], programs: Programs
) -> NDArray[np.float64]:
    """Return what instances cost at least in each minute if it is good, [ticks] USD.

    ``prices_usd_per_s`` are [hours, types in use].
    """
    per_request = np.empty(len(minutes.hour))
    for scale in np.unique(minutes.work_scale):
        chosen = minutes.work_scale == scale
        program = good_minute(bank, world, float(scale), programs)
        per_request[chosen] = program.usd_per_request(prices_usd_per_s)[minutes.hour[chosen]]
    return per_request * minutes.demand_rps * TICK_S


def good_minute(bank: Bank, world: np.void, scale: float, programs: Programs) -> GoodMinute:
    """Return the program of a world's physics at a work scale, from ``programs`` or made and kept there."""
    index = int(world["physics"])
    if (index, scale) not in programs:
        programs[index, scale] = GoodMinute(bank.log_tails[index], bank.physics[index], scale)
    return programs[index, scale]


def bound_usd(bank: Bank, windows: Windows) -> NDArray[np.float64]:
    """Return the bound of each window, [B] USD."""
    programs: Programs = {}
    return np.array(
        [
            bound_per_tick(bank, int(world), int(start), int(end), programs).sum()
            for world, start, end in zip(windows.worlds, windows.starts, windows.ends, strict=True)
        ]
    )
