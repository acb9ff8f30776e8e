"""Instances of one fleet: census, launch, boot, reclaim, outage, termination. All functions are compiled, in place.

Semantics: docs/semantics.md. AWS facts: EC2 Auto Scaling user guide (termination policies, mixed instances groups,
instance refresh, capacity rebalancing, zone rebalancing) and EC2 user guide (spot interruptions).
"""

import math

import numpy as np

from simulators.adjustments import on_demand_count, surge_limit
from simulators.bank import Bank
from simulators.draws import ALLOCATE, APP, BOOT, LAUNCH, NOTICE, RECLAIM, REGISTER, standard_normal, uniform
from simulators.records import (
    AMPLE,
    CAPACITY_OPTIMIZED,
    DRAINING,
    DRY,
    ENDED,
    EVENT_REBALANCE,
    EVENT_RECLAIM,
    EVENT_ZONE_DOWN,
    FOREVER,
    LEAVING,
    LOWEST_PRICE,
    ON_DEMAND,
    PRICE_CAPACITY_OPTIMIZED,
    RECLAIMED,
    SLOTS,
    SPOT,
    TICK_S,
    TIGHT,
    WANTED,
    ZONES,
)
from telemetry.compiled import Record, compiled_in_place, signed

_LONGEST_DELAY_S = 65_535


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
def is_member(physics: Record, spec: int, type_index: int) -> bool:
    """Say whether a launch specification contains a type."""
    return bool(physics.is_member[spec, type_index])


@compiled_in_place
def grace_s(fleet: Record, physics: Record, slot: int) -> int:
    """Return for how long an instance that takes no new requests still runs, seconds."""
    if fleet.state[slot] == DRAINING:
        return int(physics.drain_s)
    return int(physics.notice_s) if fleet.state[slot] == RECLAIMED else 0


@compiled_in_place
def end_second(fleet: Record, physics: Record, slot: int) -> int:
    """Return the second an instance is gone, FOREVER while it serves without end."""
    if fleet.off_s[slot] == FOREVER:
        return FOREVER
    return int(fleet.off_s[slot]) + grace_s(fleet, physics, slot)


@compiled_in_place
def unsettle(fleet: Record) -> None:
    """Forget the sums over the slots: something has just changed."""
    fleet.settled_until_s = 0
    fleet.priced_until_s = 0


@compiled_in_place
def _sooner(now_s: int, second: int, change_s: int) -> int:
    return second if now_s < second < change_s else change_s


@compiled_in_place
def census(fleet: Record, physics: Record, tick: int) -> None:
    """Sum the slots as they stand at the start of a tick, and find the next second at which one of them changes.

    Active instances count toward desired capacity: those wanted and, only where capacity rebalancing is off, reclaimed
    ones until they are gone. Warm ones are wanted, serve, and were launched at least the warm-up time ago.
    """
    now_s = tick * TICK_S
    warm_before = now_s - physics.instance_warmup_s
    fleet.active, fleet.on_demand, fleet.warm, fleet.in_service = 0, 0, 0, 0
    fleet.leaving, fleet.going, fleet.billed, fleet.spot_in_use = 0, 0, 0, 0
    fleet.zone_active[:] = 0
    fleet.serving_count[:] = 0
    fleet.warm_count[:] = 0
    fleet.type_count[:] = 0
    fleet.on_demand_usd_per_s, fleet.list_usd_per_s, fleet.billed_rps = 0.0, 0.0, 0.0
    dependable_rps = physics.candidate_capacity_rps[fleet.spec]
    change_s = FOREVER
    for slot in range(fleet.live):
        kind, state = fleet.type[slot], fleet.state[slot]
        launched = int(fleet.launch_s[slot])
        billed_from = launched + fleet.billing_delay_s[slot]
        serves_from = launched + fleet.ready_delay_s[slot]
        off_s, end_s = int(fleet.off_s[slot]), end_second(fleet, physics, slot)
        serving = serves_from <= now_s < off_s
        change_s = _sooner(now_s, billed_from, change_s)
        change_s = _sooner(now_s, serves_from, change_s)
        change_s = _sooner(now_s, launched + int(physics.instance_warmup_s), change_s)
        change_s = _sooner(now_s, off_s, change_s)
        if end_s < FOREVER:
            change_s = min(change_s, max(end_s - 1, now_s))
        if billed_from <= now_s < end_s:
            fleet.billed += 1
            fleet.list_usd_per_s += float(physics.on_demand_usd_per_s[kind])
            fleet.billed_rps += physics.capacity_rps[kind]
            if fleet.market[slot] == ON_DEMAND:
                fleet.on_demand_usd_per_s += float(physics.on_demand_usd_per_s[kind])
        if serving:
            fleet.serving_count[kind] += 1
            fleet.warm_count[kind] += launched <= warm_before
        if off_s == FOREVER:
            fleet.type_count[kind] += 1
            fleet.in_service += serving
            fleet.leaving += state == LEAVING
            fleet.spot_in_use += fleet.market[slot] == SPOT
            if not physics.least_outstanding:
                dependable_rps = min(dependable_rps, physics.capacity_rps[kind])
        else:
            fleet.going += 1
        if is_active(fleet, physics, slot):
            fleet.active += 1
            fleet.zone_active[fleet.zone[slot]] += 1
            fleet.on_demand += fleet.market[slot] == ON_DEMAND
            fleet.warm += serving and state == WANTED and launched <= warm_before
    fleet.dependable_rps = dependable_rps
    fleet.settled_until_s = change_s
    fleet.priced_until_s = 0


@compiled_in_place
def is_active(fleet: Record, physics: Record, slot: int) -> bool:
    """Say whether a slot counts toward desired capacity.

    A reclaimed instance stops counting at its notice under capacity rebalancing, else at its end.
    """
    state = fleet.state[slot]
    return bool(state == WANTED or (state == RECLAIMED and physics.capacity_rebalancing == 0))


@compiled_in_place
def market_events(fleet: Record, bank: Bank, world: Record, physics: Record, outcome: Record, tick: int) -> None:
    """Play what the market does to the fleet in a tick: zone outages, reclaims, rebalance recommendations."""
    row = market_tick(bank, world, tick)
    events = bank.events[world.market, row]
    if events & EVENT_ZONE_DOWN:
        _lose_zones(fleet, signed(bank.zone_down[world.market, row]), outcome, tick)
    if events & EVENT_RECLAIM:
        _reclaim(fleet, bank, world, outcome, tick, row)
    if events & EVENT_REBALANCE and physics.capacity_rebalancing:
        _recommend(fleet, bank, world, tick, row)


@compiled_in_place
def _lose_zones(fleet: Record, zones: int, outcome: Record, tick: int) -> None:
    """End every instance of the zones that are out, at once and without a refund."""
    for slot in range(fleet.live):
        if (zones >> signed(fleet.zone[slot])) & 1 and fleet.state[slot] != ENDED:
            fleet.off_s[slot] = tick * TICK_S
            fleet.state[slot] = ENDED
            outcome.outage_losses += 1
            unsettle(fleet)


@compiled_in_place
def _is_taken(fleet: Record, bank: Bank, world: Record, slot: int, tick: int, row: int) -> bool:
    """Say whether the reclaim of a tick (``row`` of the market tape) takes an instance."""
    share = bank.reclaim[world.market, row, fleet.type[slot] * ZONES + fleet.zone[slot]] / 255.0
    return bool(share > 0.0 and uniform(fleet.seed, RECLAIM, (int(fleet.slot_serial[slot]) << 24) + tick) < share)


@compiled_in_place
def _reclaim(fleet: Record, bank: Bank, world: Record, outcome: Record, tick: int, row: int) -> None:
    """Give the spot instances of reclaiming pools their notice, at a random second of the tick.

    An instance that already drains is left to finish.
    """
    for slot in range(fleet.live):
        if fleet.market[slot] != SPOT or fleet.off_s[slot] != FOREVER:
            continue
        if _is_taken(fleet, bank, world, slot, tick, row):
            key = (int(fleet.slot_serial[slot]) << 24) + tick
            fleet.off_s[slot] = tick * TICK_S + int(TICK_S * uniform(fleet.seed, NOTICE, key))
            fleet.state[slot] = RECLAIMED
            fleet.last_interruption[fleet.type[slot]] = tick
            outcome.interruptions += 1
            unsettle(fleet)


@compiled_in_place
def _recommend(fleet: Record, bank: Bank, world: Record, tick: int, row: int) -> None:
    """Mark the instances that a coming reclaim will take: a replacement is launched before they are stopped."""
    for slot in range(fleet.live):
        if fleet.market[slot] != SPOT or fleet.state[slot] != WANTED:
            continue
        lead = signed(bank.rebalance_lead[world.market, row, fleet.type[slot] * ZONES + fleet.zone[slot]])
        if lead > 0 and _is_taken(fleet, bank, world, slot, tick + lead, market_tick(bank, world, tick + lead)):
            fleet.state[slot] = LEAVING
            unsettle(fleet)


@compiled_in_place
def _on_demand_member(physics: Record, spec: int) -> int:
    if physics.on_demand_prioritized[spec]:
        return int(physics.members[spec, 0])
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
    """Return the member type that the allocation strategy picks in a zone, or -1 where every pool refuses.

    Price-capacity-optimized takes the best state, then the lowest price per capacity; capacity-optimized the best
    state, then one at random (by the members' order if prioritized); lowest-price spreads over its cheapest pools in
    turn.
    """
    strategy = physics.spot_allocation[fleet.spec]
    if strategy == LOWEST_PRICE:
        return _cheapest_member(fleet, bank, world, physics, tick, zone)
    row = market_tick(bank, world, tick)
    best, best_state, best_score = -1, DRY, np.inf
    for member in range(physics.num_members[fleet.spec]):
        type_index = physics.members[fleet.spec, member]
        pool = type_index * ZONES + zone
        if _pool_refuses(fleet, bank, world, physics, tick, pool):
            fleet.last_launch_failure[type_index] = tick
            continue
        state = bank.pool_state[world.market, row, pool]
        score = float(member)
        if strategy == PRICE_CAPACITY_OPTIMIZED:
            score = spot_price(bank, world, tick * TICK_S, pool) / physics.capacity_rps[type_index]
        elif strategy == CAPACITY_OPTIMIZED:
            score = uniform(fleet.seed, ALLOCATE, int(tick) * 4096 + pool)
        if state < best_state or (state == best_state and score < best_score):
            best, best_state, best_score = type_index, state, score
    return best


@compiled_in_place
def _cheapest_member(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int, zone: int) -> int:
    """Return the type of the next of the ``spot_pools`` cheapest pools of a zone, or of the cheapest that has room."""
    count = physics.num_members[fleet.spec]
    turn = fleet.serial % min(count, physics.spot_pools[fleet.spec])
    for attempt in range(count):
        place = turn if attempt == 0 else attempt - (attempt <= turn)
        type_index = _member_at_price_rank(fleet, bank, world, physics, tick, zone, place)
        if not _pool_refuses(fleet, bank, world, physics, tick, type_index * ZONES + zone):
            return type_index
        fleet.last_launch_failure[type_index] = tick
    return -1


@compiled_in_place
def _member_at_price_rank(
    fleet: Record, bank: Bank, world: Record, physics: Record, tick: int, zone: int, place: int
) -> int:
    for member in range(physics.num_members[fleet.spec]):
        type_index = physics.members[fleet.spec, member]
        price = spot_price(bank, world, tick * TICK_S, type_index * ZONES + zone)
        cheaper = 0
        for other in range(physics.num_members[fleet.spec]):
            other_price = spot_price(bank, world, tick * TICK_S, physics.members[fleet.spec, other] * ZONES + zone)
            cheaper += other_price < price or (other_price == price and other < member)
        if cheaper == place:
            return int(type_index)
    return -1


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
    fleet.credits[slot] = 0.0
    fleet.billing_delay_s[slot] = min(int(physics.unbilled_boot_share * boot_s), _LONGEST_DELAY_S)
    fleet.ready_delay_s[slot] = min(math.ceil(boot_s + app_s + register_s), _LONGEST_DELAY_S)
    fleet.type[slot] = type_index
    fleet.zone[slot] = zone
    fleet.market[slot] = market
    fleet.state[slot] = WANTED
    fleet.serial = serial + 1
    fleet.live = slot + 1
    fleet.active += 1
    fleet.zone_active[zone] += 1
    fleet.on_demand += market == ON_DEMAND
    unsettle(fleet)


@compiled_in_place
def launch_one(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int) -> bool:
    """Launch one instance of the current specification; False where no pool had room.

    On demand while the on-demand share is short, else spot. Zones are tried from the emptiest (lowest index first),
    best effort, those that are out left aside; there is no fallback from spot to on demand.
    """
    if fleet.live >= SLOTS:
        return False
    spot = fleet.on_demand >= on_demand_count(fleet.desired, physics.on_demand_base, 1.0 - fleet.spot_fraction)
    tried = signed(bank.zone_down[world.market, market_tick(bank, world, tick)])
    for _ in range(ZONES):
        zone = -1
        for candidate in range(ZONES):
            if not (tried >> candidate) & 1 and (zone < 0 or fleet.zone_active[candidate] < fleet.zone_active[zone]):
                zone = candidate
        if zone < 0:
            return False
        tried |= 1 << zone
        if spot:
            type_index = _spot_member(fleet, bank, world, physics, tick, zone)
        else:
            type_index = _on_demand_member(physics, fleet.spec)
        if type_index >= 0:
            _occupy(fleet, physics, tick, type_index, zone, SPOT if spot else ON_DEMAND)
            return True
    return False


@compiled_in_place
def stop(fleet: Record, slot: int, tick: int) -> None:
    """Take an instance out of service at the start of a tick; one that serves drains, billed, the other is gone."""
    now_s = tick * TICK_S
    serving = fleet.launch_s[slot] + fleet.ready_delay_s[slot] <= now_s
    if fleet.state[slot] == WANTED:
        fleet.active -= 1
        fleet.zone_active[fleet.zone[slot]] -= 1
        fleet.on_demand -= fleet.market[slot] == ON_DEMAND
    fleet.off_s[slot] = now_s
    fleet.state[slot] = DRAINING if serving else ENDED
    unsettle(fleet)


@compiled_in_place
def choose_victim(fleet: Record, physics: Record, outdated_only: bool) -> int:
    """Return the slot of the wanted instance that goes first, or -1 where there is none.

    Order: the market that is over its share for the new size, then the zone with most instances, then an instance
    outside the current specification, then the oldest (lowest launch second, then serial).
    """
    wanted = on_demand_count(fleet.desired, physics.on_demand_base, 1.0 - fleet.spot_fraction)
    market = ON_DEMAND if fleet.on_demand > wanted else SPOT
    victim = -1
    for slot in range(fleet.live):
        if fleet.state[slot] != WANTED:
            continue
        if outdated_only and is_member(physics, fleet.spec, fleet.type[slot]):
            continue
        if victim < 0 or _goes_before(fleet, physics, slot, victim, market):
            victim = slot
    return victim


@compiled_in_place
def _goes_before(fleet: Record, physics: Record, slot: int, other: int, market: int) -> bool:
    first, second = int(fleet.market[slot] == market), int(fleet.market[other] == market)
    if first != second:
        return first > second
    crowd, other_crowd = fleet.zone_active[fleet.zone[slot]], fleet.zone_active[fleet.zone[other]]
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
def set_leaving(fleet: Record, slot: int) -> None:
    """Let a wanted instance serve on until its replacement does (launch before terminate)."""
    fleet.state[slot] = LEAVING
    fleet.leaving += 1
    fleet.active -= 1
    fleet.zone_active[fleet.zone[slot]] -= 1
    fleet.on_demand -= fleet.market[slot] == ON_DEMAND
    unsettle(fleet)


@compiled_in_place
def release_leaving(fleet: Record, tick: int) -> None:
    """Stop the instances that were waiting for a replacement, oldest first, as far as enough others serve."""
    spare = int(fleet.in_service) - int(fleet.desired)
    while spare > 0 and fleet.leaving > 0:
        victim = -1
        for slot in range(fleet.live):
            if fleet.state[slot] == LEAVING and (victim < 0 or fleet.slot_serial[slot] < fleet.slot_serial[victim]):
                victim = slot
        stop(fleet, victim, tick)
        fleet.leaving -= 1
        spare -= fleet.state[victim] == DRAINING


@compiled_in_place
def rebalance_zones(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int) -> None:
    """Start to move instances from the fullest zone to the emptiest, where they differ by two or more (AZRebalance).

    Launches before it terminates and may exceed the largest size by 10 % (at least one instance). A zone that is out
    receives nothing, and a spot instance moves only where a pool of the specification is ample.
    """
    row = market_tick(bank, world, tick)
    down = signed(bank.zone_down[world.market, row])
    full, empty = 0, -1
    for zone in range(ZONES):
        if fleet.zone_active[zone] > fleet.zone_active[full]:
            full = zone
        if not (down >> zone) & 1 and (empty < 0 or fleet.zone_active[zone] < fleet.zone_active[empty]):
            empty = zone
    if empty < 0:
        return
    moves = (signed(fleet.zone_active[full]) - signed(fleet.zone_active[empty])) // 2
    for _ in range(min(moves, surge_limit(physics.max_instances) - fleet.active)):
        victim = -1
        for slot in range(fleet.live):
            oldest = victim < 0 or fleet.slot_serial[slot] < fleet.slot_serial[victim]
            if fleet.zone[slot] == full and fleet.state[slot] == WANTED and oldest:
                victim = slot
        if fleet.market[victim] == SPOT and not _has_ample_pool(fleet, bank, world, physics, row, empty):
            return
        set_leaving(fleet, victim)


@compiled_in_place
def _has_ample_pool(fleet: Record, bank: Bank, world: Record, physics: Record, row: int, zone: int) -> bool:
    for member in range(physics.num_members[fleet.spec]):
        if bank.pool_state[world.market, row, physics.members[fleet.spec, member] * ZONES + zone] == AMPLE:
            return True
    return False


@compiled_in_place
def remove(fleet: Record, slot: int) -> None:
    """Free a slot by moving the last live one into it."""
    last = fleet.live - 1
    if slot != last:
        fleet.launch_s[slot] = fleet.launch_s[last]
        fleet.off_s[slot] = fleet.off_s[last]
        fleet.slot_serial[slot] = fleet.slot_serial[last]
        fleet.backlog_requests[slot] = fleet.backlog_requests[last]
        fleet.credits[slot] = fleet.credits[last]
        fleet.billing_delay_s[slot] = fleet.billing_delay_s[last]
        fleet.ready_delay_s[slot] = fleet.ready_delay_s[last]
        fleet.type[slot] = fleet.type[last]
        fleet.zone[slot] = fleet.zone[last]
        fleet.market[slot] = fleet.market[last]
        fleet.state[slot] = fleet.state[last]
    fleet.live = last
    unsettle(fleet)
