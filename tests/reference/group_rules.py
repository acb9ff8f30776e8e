"""The reference's decision and its sections 1, 3, 4 and 5: who leaves, who is replaced, who is launched."""

import math
from typing import Any

from reference import policy_rules
from reference.reference_model import (
    Fleet,
    Instance,
    Outcome,
    World,
    active,
    in_service,
    launch,
    round_down,
    round_up,
    stop,
    uniform,
    warm,
)

from simulators import draws
from simulators.records import (
    AMPLE,
    CAPACITY_OPTIMIZED,
    CAPACITY_OPTIMIZED_PRIORITIZED,
    DRY,
    ENDED,
    LEAVING,
    LOWEST_PRICE,
    ON_DEMAND,
    PRICE_CAPACITY_OPTIMIZED,
    RECLAIMED,
    SLOTS,
    SPOT,
    TIGHT,
    ZONES,
)


def decide(fleet: Fleet, world: World, menu: Any, decision: Any, outcome: Outcome) -> None:
    if int(decision["policy"]) != fleet.policy:
        fleet.policy = int(decision["policy"])
        fleet.high_alarm = [0] * len(fleet.high_alarm)
        fleet.low_alarm = [0] * len(fleet.low_alarm)
        fleet.below_ticks = fleet.below_want = 0
    if int(decision["spec"]) != fleet.spec:
        fleet.spec = int(decision["spec"])
        fleet.refreshing = 1
        fleet.refresh_total = fleet.refresh_stage = fleet.refresh_hold_tick = 0
        outcome["type_changes"] += 1
    fleet.spot_fraction = float(decision["spot_fraction"])
    if menu[fleet.policy]["kind"] in policy_rules.STATES_A_SIZE:
        fleet.offset = int(decision["scale"])
    else:
        fleet.offset = 0
        policy_rules.set_desired(fleet, world, outcome, fleet.desired + int(decision["scale"]))


# 1: market


def play_market(fleet: Fleet, world: World, outcome: Outcome) -> None:
    for item in fleet.instances:
        if item.state != ENDED and world.zone_out(fleet.tick, item.zone):
            item.off_s, item.state = fleet.now, ENDED
            outcome["outage_losses"] += 1
    for item in fleet.instances:
        if item.market == SPOT and (item.wanted or item.leaving) and is_taken(fleet, world, item, fleet.tick):
            item.off_s = fleet.now + math.floor(60 * uniform(fleet, draws.NOTICE, item.serial * 2**24 + fleet.tick))
            item.state = RECLAIMED
            fleet.last_interruption[item.type] = fleet.tick
            outcome["interruptions"] += 1
    if world.physics["capacity_rebalancing"]:
        heed_recommendations(fleet, world)


def is_taken(fleet: Fleet, world: World, item: Instance, tick: int) -> bool:
    share = world.reclaimed_share(tick, item)
    return share > 0 and uniform(fleet, draws.RECLAIM, item.serial * 2**24 + tick) < share


def heed_recommendations(fleet: Fleet, world: World) -> None:
    leads = world.rebalance_lead[world.market_row(fleet.tick)]
    for item in fleet.instances:
        lead = int(leads[item.type * ZONES + item.zone])
        if item.market == SPOT and item.wanted and lead > 0 and is_taken(fleet, world, item, fleet.tick + lead):
            item.state = LEAVING


# 3: leaving instances


def let_leave(fleet: Fleet) -> None:
    for item in sorted(leaving(fleet), key=lambda item: item.serial):
        if len(in_service(fleet)) <= fleet.desired:
            break
        stop(fleet, item)


def leaving(fleet: Fleet) -> list[Instance]:
    return [item for item in fleet.instances if item.leaving]


# 4: rolling replacement and zone rebalancing


def outdated(fleet: Fleet, world: World) -> list[Instance]:
    members = world.members(fleet.spec)
    return [item for item in fleet.instances if item.wanted and item.type not in members]


def replacement_batch(world: World, desired: int) -> tuple[int, int]:
    """How many are stopped at once, and how many more are launched before an old one is stopped."""
    most_healthy = float(world.physics["max_healthy_fraction"])
    stopped = desired - round_up(float(world.physics["min_healthy_fraction"]) * desired)
    first = round_down(most_healthy * desired) - desired
    if stopped + first < 1:
        return (0, 1) if most_healthy > 1 else (1, 0)
    return stopped, first


def roll(fleet: Fleet, world: World) -> None:
    old = outdated(fleet, world)
    fleet.refresh_total = max(fleet.refresh_total, len(old))
    if not old and not leaving(fleet):
        fleet.refreshing = 0
        return
    running = active(fleet, world)
    if leaving(fleet) or len(warm(fleet, world)) < len(running) or len(running) < fleet.desired:
        return
    replaced = fleet.refresh_total - len(old)
    marks = checkpoints(fleet, world)
    while fleet.refresh_stage < len(marks) and replaced >= marks[fleet.refresh_stage]:
        fleet.refresh_stage += 1
        fleet.refresh_hold_tick = fleet.tick + int(world.physics["checkpoint_delay_ticks"])
        if fleet.refresh_stage == len(marks):
            fleet.refreshing = 0
            return
    if fleet.tick < fleet.refresh_hold_tick:
        return
    room = marks[fleet.refresh_stage] - replaced if marks else len(old)
    stopped, first = replacement_batch(world, fleet.desired)
    for turn in range(min(room, len(old), stopped + first)):
        item = next_to_stop(fleet, world, outdated(fleet, world))
        if turn < stopped:
            stop(fleet, item)
        else:
            item.state = LEAVING


def checkpoints(fleet: Fleet, world: World) -> list[int]:
    """Instances replaced at each checkpoint."""
    shares = world.physics["checkpoints"][: world.physics["num_checkpoints"]]
    return [round_up(float(share) * fleet.refresh_total) for share in shares]


def rebalance_zones(fleet: Fleet, world: World, served_before_stops: int) -> None:
    running = active(fleet, world)
    settled = fleet.desired == len(running) == served_before_stops
    open_zones = [zone for zone in range(ZONES) if not world.zone_out(fleet.tick, zone)]
    if leaving(fleet) or not settled or not open_zones or not world.physics["zone_rebalancing"]:
        return
    count = [active_in_zone(fleet, world, zone) for zone in range(ZONES)]
    full = min(range(ZONES), key=lambda zone: (-count[zone], zone))
    empty = min(open_zones, key=lambda zone: (count[zone], zone))
    if count[full] - count[empty] < 2:
        return
    most = int(world.physics["max_instances"])
    room = most + max(1, round_up(0.1 * most)) - len(running)
    moving = sorted((item for item in running if item.zone == full), key=lambda item: item.serial)
    for item in moving[: min((count[full] - count[empty]) // 2, room)]:
        if item.market == SPOT and not any_ample(fleet, world, empty):
            break
        item.state = LEAVING


def any_ample(fleet: Fleet, world: World, zone: int) -> bool:
    return any(pool_state(fleet, world, kind * ZONES + zone) == AMPLE for kind in world.members(fleet.spec))


def pool_state(fleet: Fleet, world: World, pool: int) -> int:
    return int(world.pool_state[world.market_row(fleet.tick), pool])


# 5: reconciliation


def on_demand_wanted(fleet: Fleet, world: World) -> int:
    base = int(world.physics["on_demand_base"])
    return min(fleet.desired, base) + round_up(max(fleet.desired - base, 0) * (1 - fleet.spot_fraction))


def active_on_demand(fleet: Fleet, world: World) -> int:
    return sum(item.market == ON_DEMAND for item in active(fleet, world))


def active_in_zone(fleet: Fleet, world: World, zone: int) -> int:
    return sum(item.zone == zone for item in active(fleet, world))


def next_to_stop(fleet: Fleet, world: World, among: list[Instance]) -> Instance:
    market = ON_DEMAND if active_on_demand(fleet, world) > on_demand_wanted(fleet, world) else SPOT
    members = world.members(fleet.spec)

    def order(item: Instance) -> tuple[bool, int, bool, int, int]:
        return (
            item.market != market,
            -active_in_zone(fleet, world, item.zone),
            item.type in members,
            item.launch_s,
            item.serial,
        )

    return min(among, key=order)


def reconcile(fleet: Fleet, world: World, outcome: Outcome) -> None:
    while len(active(fleet, world)) > fleet.desired:
        candidates = [item for item in fleet.instances if item.wanted]
        if not candidates:
            break
        stop(fleet, next_to_stop(fleet, world, candidates))
    while len(active(fleet, world)) < fleet.desired:
        place = find_place(fleet, world)
        if place is None:
            outcome["launch_failures"] += 1
            break
        launch(fleet, world, *place)
        outcome["launches"] += 1


def find_place(fleet: Fleet, world: World) -> tuple[int, int, int] | None:
    """Type, zone and market of the next launch."""
    zones = [zone for zone in range(ZONES) if not world.zone_out(fleet.tick, zone)]
    zones.sort(key=lambda zone: (active_in_zone(fleet, world, zone), zone))
    if len(fleet.instances) >= SLOTS or not zones:
        return None
    if active_on_demand(fleet, world) < on_demand_wanted(fleet, world):
        return on_demand_type(fleet, world), zones[0], ON_DEMAND
    for zone in zones:
        kind = spot_type(fleet, world, zone)
        if kind is not None:
            return kind, zone, SPOT
    return None


def on_demand_type(fleet: Fleet, world: World) -> int:
    members, prices = world.members(fleet.spec), world.physics["on_demand_usd_per_s"]
    if world.physics["on_demand_prioritized"][fleet.spec]:
        return members[0]
    return min(members, key=lambda kind: float(prices[kind]) / world.capacity(kind))


def spot_type(fleet: Fleet, world: World, zone: int) -> int | None:
    """The member whose pool in a zone takes the launch, None where all refuse."""
    members = world.members(fleet.spec)
    pool = {kind: kind * ZONES + zone for kind in members}
    price = {kind: world.spot_price(fleet.now, pool[kind]) for kind in members}
    strategy = int(world.physics["spot_allocation"][fleet.spec])
    if strategy == LOWEST_PRICE:
        cheapest_first = sorted(members, key=lambda kind: price[kind])
        turn = fleet.serial % min(len(members), int(world.physics["spot_pools"][fleet.spec]))
        ours = cheapest_first.pop(turn)
        asked = [ours, *cheapest_first]
        return next((kind for kind in asked if takes_launch(fleet, world, kind, pool[kind])), None)
    willing = [kind for kind in members if takes_launch(fleet, world, kind, pool[kind])]
    if not willing:
        return None
    preference = {
        PRICE_CAPACITY_OPTIMIZED: lambda kind: price[kind] / world.capacity(kind),
        CAPACITY_OPTIMIZED: lambda kind: uniform(fleet, draws.ALLOCATE, fleet.tick * 4096 + pool[kind]),
        CAPACITY_OPTIMIZED_PRIORITIZED: members.index,
    }[strategy]
    return min(willing, key=lambda kind: (pool_state(fleet, world, pool[kind]), preference(kind)))


def takes_launch(fleet: Fleet, world: World, kind: int, pool: int) -> bool:
    """Ask a pool for an instance; a refusal is remembered."""
    refused = refuses(fleet, world, pool)
    if refused:
        fleet.last_launch_failure[kind] = fleet.tick
    return not refused


def refuses(fleet: Fleet, world: World, pool: int) -> bool:
    state = pool_state(fleet, world, pool)
    if state == TIGHT:
        draw = uniform(fleet, draws.LAUNCH, fleet.tick * 4096 + pool)
        return draw < float(world.physics["tight_failure_probability"])
    return state == DRY
