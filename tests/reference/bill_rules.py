"""The reference's sections 8 and 9: six lines of a bill, and the end of an instance."""

from reference.reference_model import TICK_S, Fleet, Instance, Outcome, World, single

from simulators.records import ON_DEMAND, RECLAIMED, ZONES

HOUR_S = 3600
SHORTEST_RUN_S = 60
FREE_FIRST_HOUR_S = 3600


def price_usd_per_s(world: World, item: Instance, second: int) -> float:
    """What the instance pays at a second: list price, or the spot price at the start of its current hour."""
    if item.market == ON_DEMAND:
        return float(world.physics["on_demand_usd_per_s"][item.type])
    hours = (second - item.billed_from) // HOUR_S
    return world.spot_price(item.billed_from + hours * HOUR_S, item.type * ZONES + item.zone)


def billed_until(world: World, item: Instance) -> int:
    return world.gone_s(item)


def bill_line(item: Instance) -> str:
    return "on_demand_usd" if item.market == ON_DEMAND else "spot_usd"


def bill(fleet: Fleet, world: World, outcome: Outcome, arrivals: float) -> None:
    physics = world.physics
    usage = {"on_demand_usd": 0.0, "spot_usd": 0.0}
    for item in fleet.instances:
        second = max(fleet.now, item.billed_from)
        end = min(fleet.now + TICK_S, billed_until(world, item))
        while second < end:
            hour_end = item.billed_from + ((second - item.billed_from) // HOUR_S + 1) * HOUR_S
            piece = min(end, hour_end) - second
            usage[bill_line(item)] += piece * price_usd_per_s(world, item, second)
            outcome["billed_instance_s"] += piece
            outcome["list_usd"] += piece * float(physics["on_demand_usd_per_s"][item.type])
            outcome["billed_capacity_requests"] += piece * float(physics["capacity_rps"][item.type])
            outcome["volume_usd"] += piece * float(physics["volume_usd_per_s"])
            second += piece
    outcome["spot_usd"] += usage["spot_usd"]
    outcome["on_demand_usd"] += max(0.0, usage["on_demand_usd"] - covered_usd(fleet, world, usage["on_demand_usd"]))
    outcome["commitment_usd"] += float(physics["commitment_usd_per_s"]) * TICK_S
    units = float(physics["lcu_per_rps"]) * arrivals
    hourly = float(physics["balancer_usd_per_s"]) + units * float(physics["lcu_usd_per_s"])
    outcome["balancer_usd"] += hourly * TICK_S


def covered_usd(fleet: Fleet, world: World, list_usd: float) -> float:
    """List price of the on-demand usage that this hour's commitment still covers."""
    commitment = float(world.physics["commitment_usd_per_s"]) * HOUR_S
    if commitment == 0:
        return 0.0
    hour = (fleet.tick + world.phase) // 60
    if hour != fleet.commitment_hour:
        fleet.commitment_hour, fleet.commitment_left_usd = hour, single(commitment)
    rate = 1 - float(world.physics["plan_discount"])
    used = min(list_usd * rate, fleet.commitment_left_usd)
    fleet.commitment_left_usd = single(fleet.commitment_left_usd - used)
    return used / rate


def retire(fleet: Fleet, world: World, outcome: Outcome) -> None:
    physics, end = world.physics, fleet.now + TICK_S
    for item in [item for item in fleet.instances if world.gone_s(item) <= end]:
        fleet.instances.remove(item)
        gone_s = world.gone_s(item)
        timeout_s = float(physics["timeout_s"])
        if gone_s - item.off_s < timeout_s:
            fleet.lost_requests = single(fleet.lost_requests + min(item.backlog, world.capacity(item.type) * timeout_s))
        outcome["terminations"] += 1
        outcome["credit_usd"] += max(0.0, -item.credits) * float(physics["credit_usd"])
        ran = max(0, gone_s - item.billed_from)
        price = price_usd_per_s(world, item, item.billed_from)
        if item.state == RECLAIMED:
            if ran < FREE_FIRST_HOUR_S:
                outcome["refund_usd"] += ran * price
        elif 0 < ran < SHORTEST_RUN_S:
            outcome[bill_line(item)] += (SHORTEST_RUN_S - ran) * price
