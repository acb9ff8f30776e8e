"""The bill of one tick: instances per second with a 60 s minimum, the commitment, credits, volumes, the balancer.

Sources: EC2 user guide ("Billing for interrupted Spot Instances"; instance lifecycle: only ``running`` is billed;
burstable instances), the AWS price pages (per-second billing with a minimum of 60 s; EBS; load balancer capacity units)
and the Savings Plans user guide (a commitment is paid in every hour, used or not, and never covers spot). Simplified:
capacity units are those of each minute and not of the hour's mean, and partial balancer hours are not rounded up.
"""

from typing import Final

from simulators.bank import Bank
from simulators.fleet import end_second, remove, spot_price
from simulators.records import FOREVER, RECLAIMED, SPOT, TICK_S, ZONES
from telemetry.compiled import Record, compiled_in_place

MINIMUM_S: Final = 60
HOUR_S: Final = 3600


@compiled_in_place
def bill(
    fleet: Record,
    physics: Record,
    outcome: Record,
    minute: int,
    arrivals: float,
    usage: tuple[float, float, float, float, float],
) -> None:
    """Add what one tick costs.

    Args:
        fleet: FLEET record.
        physics: PHYSICS record.
        outcome: OUTCOME record; lines are added.
        minute: Minute of the market's clock.
        arrivals: Requests that reached the load balancer, per second.
        usage: Billed instance seconds, list price of those on demand, cost of those on spot, list price of all, and
            requests that all could have served.
    """
    billed_s, on_demand_usd, spot_usd, list_usd, capacity_requests = usage
    outcome.billed_instance_s += billed_s
    outcome.list_usd += list_usd
    outcome.billed_capacity_requests += capacity_requests
    outcome.spot_usd += spot_usd
    outcome.volume_usd += billed_s * physics.volume_usd_per_s
    lcu = arrivals * physics.lcu_per_rps
    outcome.balancer_usd += TICK_S * (physics.balancer_usd_per_s + lcu * physics.lcu_usd_per_s)
    outcome.on_demand_usd += _beyond_commitment(fleet, physics, outcome, minute, on_demand_usd)


@compiled_in_place
def bill_settled(
    fleet: Record, bank: Bank, world: Record, physics: Record, tick: int
) -> tuple[float, float, float, float, float]:
    """Return what ``bill`` needs for a tick in which no slot changes: from sums, but where an instance-hour begins."""
    tick_end = (tick + 1) * TICK_S
    if fleet.priced_until_s < tick_end:
        _price_spot(fleet, bank, world, physics, tick)
    spot_usd = TICK_S * fleet.spot_usd_per_s
    if fleet.priced_until_s < tick_end:
        spot_usd = 0.0
        for slot in range(fleet.live):
            start, end = billed_span(fleet, physics, slot, tick)
            if fleet.market[slot] == SPOT and end > start:
                spot_usd += spot_cost(fleet, bank, world, slot, start, end)
    return (
        float(TICK_S * fleet.billed),
        TICK_S * fleet.on_demand_usd_per_s,
        spot_usd,
        TICK_S * fleet.list_usd_per_s,
        TICK_S * fleet.billed_rps,
    )


@compiled_in_place
def _beyond_commitment(fleet: Record, physics: Record, outcome: Record, minute: int, on_demand_usd: float) -> float:
    """Book a minute of the Savings Plan; return what it leaves of the on-demand cost at list price.

    A commitment covers usage at the plan's rate, so a dollar of it covers more than a dollar at list price; what an
    hour does not use is lost.
    """
    if physics.commitment_usd_per_s <= 0.0:
        return on_demand_usd
    if minute // 60 != fleet.commitment_hour:
        fleet.commitment_hour = minute // 60
        fleet.commitment_left_usd = HOUR_S * physics.commitment_usd_per_s
    outcome.commitment_usd += TICK_S * physics.commitment_usd_per_s
    rate = 1.0 - physics.plan_discount
    covered = min(on_demand_usd * rate, float(fleet.commitment_left_usd))
    fleet.commitment_left_usd -= covered
    return max(0.0, on_demand_usd - covered / rate)


@compiled_in_place
def billed_span(fleet: Record, physics: Record, slot: int, tick: int) -> tuple[int, int]:
    """Return the seconds of a tick from which and to which an instance is billed; empty where the first is later."""
    start = max(fleet.launch_s[slot] + fleet.billing_delay_s[slot], tick * TICK_S)
    return int(start), min(end_second(fleet, physics, slot), (tick + 1) * TICK_S)


@compiled_in_place
def hour_start(fleet: Record, slot: int, second: int) -> int:
    """Return the second at which the instance-hour that contains ``second`` began."""
    running_from = fleet.launch_s[slot] + fleet.billing_delay_s[slot]
    return int(running_from + (second - running_from) // HOUR_S * HOUR_S)


@compiled_in_place
def spot_cost(fleet: Record, bank: Bank, world: Record, slot: int, start: int, end: int) -> float:
    """Return what a spot instance costs from one second to another of a tick; it pays the price at its hour's start."""
    pool = fleet.type[slot] * ZONES + fleet.zone[slot]
    begun = hour_start(fleet, slot, end - 1)
    usd = (end - max(start, begun)) * spot_price(bank, world, begun, pool)
    if begun > start:
        usd += (begun - start) * spot_price(bank, world, begun - HOUR_S, pool)
    return usd


@compiled_in_place
def _price_spot(fleet: Record, bank: Bank, world: Record, physics: Record, tick: int) -> None:
    """Sum the spot prices of the billed instances, and find the next second at which one of their hours begins."""
    now_s = tick * TICK_S
    total, until_s = 0.0, FOREVER
    for slot in range(fleet.live):
        if fleet.market[slot] != SPOT:
            continue
        start, end = billed_span(fleet, physics, slot, tick)
        if end <= start:
            continue
        begun = hour_start(fleet, slot, now_s)
        total += spot_price(bank, world, begun, fleet.type[slot] * ZONES + fleet.zone[slot])
        until_s = min(until_s, begun + HOUR_S)
    fleet.spot_usd_per_s, fleet.priced_until_s = total, until_s


@compiled_in_place
def spend_credits(fleet: Record, physics: Record, outcome: Record, tick: int, slot: int, busy_vcpu_s: float) -> None:
    """Earn and spend the CPU credits of one burstable instance over a tick.

    A credit is a vCPU-minute. Unlimited mode lets the balance fall to minus one day's earning and charges what goes
    beyond it; standard mode stops at 0, and the instance is throttled to its baseline.
    """
    kind = fleet.type[slot]
    start, end = billed_span(fleet, physics, slot, tick)
    if physics.credits_per_s[kind] <= 0.0 or end <= start:
        return
    balance = float(fleet.credits[slot]) + (end - start) * physics.credits_per_s[kind] - busy_vcpu_s / 60.0
    balance = min(balance, physics.max_credits[kind])
    if not physics.unlimited_credits:
        balance = max(balance, 0.0)
    elif balance < -physics.max_credits[kind]:
        outcome.credit_usd += (-physics.max_credits[kind] - balance) * physics.credit_usd
        balance = -physics.max_credits[kind]
    fleet.credits[slot] = balance


@compiled_in_place
def retire(fleet: Record, bank: Bank, world: Record, physics: Record, outcome: Record, tick: int) -> None:
    """Free the instances that end within a tick: top up the 60 s minimum, book refunds and surplus credits.

    The refund of a spot instance that AWS takes back within its first hour equals what it was billed; it is booked
    apart and never netted. Requests queued on an instance that ends are lost and fail in the next minute, as far
    as they have not timed out: those of the last ``timeout_s``, where it ended sooner than that.
    """
    tick_end = (tick + 1) * TICK_S
    slot = 0
    while slot < fleet.live:
        end = end_second(fleet, physics, slot)
        if end > tick_end:
            slot += 1
            continue
        _settle(fleet, bank, world, physics, outcome, slot, end)
        remove(fleet, slot)


@compiled_in_place
def _settle(fleet: Record, bank: Bank, world: Record, physics: Record, outcome: Record, slot: int, end_s: int) -> None:
    kind = fleet.type[slot]
    running_from = fleet.launch_s[slot] + fleet.billing_delay_s[slot]
    run_s = end_s - running_from
    spot = fleet.market[slot] == SPOT
    if 0 < run_s < HOUR_S:
        usd_per_s = float(physics.on_demand_usd_per_s[kind])
        if spot:
            usd_per_s = spot_price(bank, world, running_from, kind * ZONES + fleet.zone[slot])
        if fleet.state[slot] == RECLAIMED:
            outcome.refund_usd += run_s * usd_per_s
        elif run_s < MINIMUM_S and spot:
            outcome.spot_usd += (MINIMUM_S - run_s) * usd_per_s
        elif run_s < MINIMUM_S:
            outcome.on_demand_usd += (MINIMUM_S - run_s) * usd_per_s
    if fleet.credits[slot] < 0.0:
        outcome.credit_usd -= float(fleet.credits[slot]) * physics.credit_usd
    grace = end_s - fleet.off_s[slot]
    if grace < physics.timeout_s:
        waiting = physics.capacity_rps[kind] * physics.timeout_s
        fleet.lost_requests += min(float(fleet.backlog_requests[slot]), waiting)
    outcome.terminations += 1
