"""Instances of one fleet: launch, boot, reclaim, terminate, retire. All functions are compiled and act in place.

Semantics: docs/semantics.md. AWS facts: EC2 Auto Scaling user guide (termination policies, mixed instances groups,
instance refresh, capacity rebalancing) and EC2 user guide (spot interruptions).
"""

import math

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.draws import APP, BOOT, LAUNCH, NOTICE, RECLAIM, REGISTER, standard_normal, uniform
from simulators.records import DRY, FOREVER, ON_DEMAND, SLOTS, SPOT, TICK_S, TIGHT, ZONES
from telemetry.compiled import Record, compiled_in_place


@compiled_in_place
def market_tick(bank: Bank, world: Record, tick: int) -> int:
    """Return the tick of the market tape that a world plays at ``tick`` of its demand tape."""
    return (tick + world.market_phase) % bank.pool_state.shape[1]


@compiled_in_place
def spot_price(bank: Bank, world: Record, second: int, pool: int) -> float:
    """Return the spot price of a pool at a second, USD per second."""
    hour = (second // TICK_S + world.market_phase) // 60
    return bank.spot_usd_per_s[world.market, hour % bank.spot_usd_per_s.shape[1], pool]


@compiled_in_place
def on_demand_target(desired: int, spot_fraction: float) -> int:
    """Return how many of ``desired`` instances are on demand; fractions favour on demand (mixed instances groups)."""
    return math.ceil(desired * (1.0 - spot_fraction) - 1e-9)


@compiled_in_place
def is_member(physics: Record, spec: int, type_index: int) -> bool:
    """Say whether a launch specification contains a type."""
    return bool(physics.is_member[spec, type_index])


@compiled_in_place
def reclaim(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int) -> int:
    """Give the spot instances of reclaiming pools their notice; return how many got one.

    Notices fall on a random second of the tick. An instance that already drains is left to finish.
    """
    row = market_tick(bank, world, tick)
    if not bank.reclaim_any[world.market, row]:
        return 0
    count = 0
    for slot in range(fleet.live):
        if fleet.market[slot] != SPOT or fleet.off_s[slot] != FOREVER:
            continue
        share = bank.reclaim[world.market, row, fleet.type[slot] * ZONES + fleet.zone[slot]] / 255.0
        key = (int(fleet.slot_serial[slot]) << 24) + tick
        if share > 0.0 and uniform(fleet.seed, RECLAIM, key) < share:
            fleet.off_s[slot] = tick * TICK_S + int(TICK_S * uniform(fleet.seed, NOTICE, key))
            fleet.grace_s[slot] = physics.notice_s
            fleet.reclaimed[slot] = 1
            fleet.last_interruption[fleet.type[slot]] = tick
            count += 1
    return count


@compiled_in_place
def is_active(fleet: Record, physics: Record, slot: int) -> bool:
    """Say whether a slot counts toward desired capacity.

    A reclaimed instance stops counting at its notice under capacity rebalancing, else at its end.
    """
    if fleet.off_s[slot] == FOREVER:
        return True
    return fleet.reclaimed[slot] == 1 and physics.capacity_rebalancing == 0


@compiled_in_place
def _cheapest_on_demand(physics: Record, spec: int) -> int:
    best, best_price = -1, np.inf
    for member in range(physics.num_members[spec]):
        type_index = physics.members[spec, member]
        price = physics.on_demand_usd_per_s[type_index] / physics.capacity_rps[type_index]
        if price < best_price:
            best, best_price = type_index, price
    return best


@compiled_in_place
def _pool_refuses(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int, pool: int) -> bool:
    state = bank.pool_state[world.market, market_tick(bank, world, tick), pool]
    if state == TIGHT:
        key = int(tick) * 4096 + pool
        return uniform(fleet.seed, LAUNCH, key) < physics.tight_failure_probability
    return state == DRY


@compiled_in_place
def _spot_member(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int, zone: int) -> int:
    """Return the member type that price-capacity-optimized picks in a zone, or -1 where every pool refuses."""
    row = market_tick(bank, world, tick)
    best, best_state, best_price = -1, DRY, np.inf
    for member in range(physics.num_members[fleet.spec]):
        type_index = physics.members[fleet.spec, member]
        pool = type_index * ZONES + zone
        if _pool_refuses(fleet, bank, world, physics, tick, pool):
            fleet.last_launch_failure[type_index] = tick
            continue
        state = bank.pool_state[world.market, row, pool]
        price = spot_price(bank, world, tick * TICK_S, pool) / physics.capacity_rps[type_index]
        if state < best_state or (state == best_state and price < best_price):
            best, best_state, best_price = type_index, state, price
    return best


@compiled_in_place
def _occupy(fleet: Record, physics: Record, tick: int, type_index: int, zone: int, market: int) -> None:
    slot, serial = fleet.live, fleet.serial
    boot_s = physics.boot_median_s * math.exp(physics.boot_sigma * standard_normal(fleet.seed, BOOT, serial))
    app_s = physics.app_median_s * math.exp(physics.app_sigma * standard_normal(fleet.seed, APP, serial))
    register_s = physics.register_s * uniform(fleet.seed, REGISTER, serial)
    fleet.launch_s[slot] = tick * TICK_S
    fleet.off_s[slot] = FOREVER
    fleet.slot_serial[slot] = serial
    fleet.backlog_requests[slot] = 0.0
    fleet.price_usd_per_s[slot] = 0.0
    fleet.billing_delay_s[slot] = int(physics.unbilled_boot_share * boot_s)
    fleet.ready_delay_s[slot] = math.ceil(boot_s + app_s + register_s)
    fleet.grace_s[slot] = 0
    fleet.type[slot] = type_index
    fleet.zone[slot] = zone
    fleet.market[slot] = market
    fleet.reclaimed[slot] = 0
    fleet.serial = serial + 1
    fleet.live = slot + 1


@compiled_in_place
def launch_one(
    fleet: Record,
    bank: Bank,
    world: Record,
    physics: Record,
    tick: int,
    zone_active: NDArray[np.int64],
    on_demand_active: int,
) -> int:
    """Launch one instance of the current specification; return its market, or -1 where no pool had room.

    On demand while the on-demand share is short, else spot. Zones are tried from the emptiest (lowest index first),
    best effort; there is no fallback from spot to on demand.
    """
    if fleet.live >= SLOTS:
        return -1
    spot = on_demand_active >= on_demand_target(fleet.desired, fleet.spot_fraction)
    tried = 0
    for _ in range(ZONES):
        zone = -1
        for candidate in range(ZONES):
            if not (tried >> candidate) & 1 and (zone < 0 or zone_active[candidate] < zone_active[zone]):
                zone = candidate
        tried |= 1 << zone
        if spot:
            type_index = _spot_member(fleet, bank, world, physics, tick, zone)
        else:
            type_index = _cheapest_on_demand(physics, fleet.spec)
        if type_index >= 0:
            market = SPOT if spot else ON_DEMAND
            _occupy(fleet, physics, tick, type_index, zone, market)
            zone_active[zone] += 1
            return market
    return -1


@compiled_in_place
def stop(fleet: Record, physics: Record, slot: int, tick: int) -> None:
    """Take a wanted instance out of service at the start of a tick; one that serves drains, billed, for ``drain_s``."""
    now_s = tick * TICK_S
    serving = fleet.launch_s[slot] + fleet.ready_delay_s[slot] <= now_s
    fleet.off_s[slot] = now_s
    fleet.grace_s[slot] = physics.drain_s if serving else 0


@compiled_in_place
def terminate_one(
    fleet: Record,
    physics: Record,
    tick: int,
    zone_active: NDArray[np.int64],
    on_demand_active: int,
    outdated_only: bool,
) -> int:
    """Stop one instance; return its slot, or -1 where none may be stopped.

    Order: the market that is over its share for the new size, then the zone with most instances, then an instance
    outside the current specification, then the oldest (lowest launch second, then serial).
    """
    market = ON_DEMAND if on_demand_active > on_demand_target(fleet.desired, fleet.spot_fraction) else SPOT
    victim = -1
    for slot in range(fleet.live):
        if fleet.off_s[slot] != FOREVER:
            continue
        outdated = not is_member(physics, fleet.spec, fleet.type[slot])
        if outdated_only and not outdated:
            continue
        if victim < 0 or _goes_before(fleet, physics, slot, victim, market, zone_active):
            victim = slot
    if victim >= 0:
        zone_active[fleet.zone[victim]] -= 1
        stop(fleet, physics, victim, tick)
    return victim


@compiled_in_place
def _goes_before(
    fleet: Record,
    physics: Record,
    slot: int,
    other: int,
    market: int,
    zone_active: NDArray[np.int64],
) -> bool:
    first, second = int(fleet.market[slot] == market), int(fleet.market[other] == market)
    if first != second:
        return first > second
    crowd, other_crowd = zone_active[fleet.zone[slot]], zone_active[fleet.zone[other]]
    if crowd != other_crowd:
        return bool(crowd > other_crowd)
    outdated = int(not is_member(physics, fleet.spec, fleet.type[slot]))
    other_outdated = int(not is_member(physics, fleet.spec, fleet.type[other]))
    if outdated != other_outdated:
        return outdated > other_outdated
    if fleet.launch_s[slot] != fleet.launch_s[other]:
        return bool(fleet.launch_s[slot] < fleet.launch_s[other])
    return bool(fleet.slot_serial[slot] < fleet.slot_serial[other])


@compiled_in_place
def remove(fleet: Record, slot: int) -> None:
    """Free a slot by moving the last live one into it."""
    last = fleet.live - 1
    if slot != last:
        fleet.launch_s[slot] = fleet.launch_s[last]
        fleet.off_s[slot] = fleet.off_s[last]
        fleet.slot_serial[slot] = fleet.slot_serial[last]
        fleet.backlog_requests[slot] = fleet.backlog_requests[last]
        fleet.price_usd_per_s[slot] = fleet.price_usd_per_s[last]
        fleet.billing_delay_s[slot] = fleet.billing_delay_s[last]
        fleet.ready_delay_s[slot] = fleet.ready_delay_s[last]
        fleet.grace_s[slot] = fleet.grace_s[last]
        fleet.type[slot] = fleet.type[last]
        fleet.zone[slot] = fleet.zone[last]
        fleet.market[slot] = fleet.market[last]
        fleet.reclaimed[slot] = fleet.reclaimed[last]
    fleet.live = last
