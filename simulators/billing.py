"""The instance bill of one tick: per second, 60 s minimum, hour-start spot prices, first-hour refunds apart.

Sources: EC2 user guide ("Billing for interrupted Spot Instances"; instance lifecycle: only ``running`` is billed) and
the AWS price pages (per-second billing with a minimum of 60 s).
"""

from typing import Final

from simulators.bank import Bank
from simulators.fleet import remove, spot_price
from simulators.records import FOREVER, SPOT, TICK_S, ZONES
from telemetry.compiled import Record, compiled_in_place

MINIMUM_S: Final = 60
HOUR_S: Final = 3600


@compiled_in_place
def end_second(fleet: Record, slot: int) -> int:
    """Return the second an instance is gone, FOREVER while it is wanted."""
    if fleet.off_s[slot] == FOREVER:
        return FOREVER
    return int(fleet.off_s[slot]) + int(fleet.grace_s[slot])


@compiled_in_place
def bill(fleet: Record, bank: Bank, world: Record, physics: Record, outcome: Record, tick: int) -> None:
    """Add what the fleet's instances cost in one tick; a spot instance pays the price at the start of its hour."""
    tick_start, tick_end = tick * TICK_S, (tick + 1) * TICK_S
    for slot in range(fleet.live):
        running_from = fleet.launch_s[slot] + fleet.billing_delay_s[slot]
        start = max(running_from, tick_start)
        end = min(end_second(fleet, slot), tick_end)
        if end <= start:
            continue
        outcome.billed_instance_s += end - start
        if fleet.market[slot] != SPOT:
            outcome.on_demand_usd += (end - start) * float(physics.on_demand_usd_per_s[fleet.type[slot]])
            continue
        hour_start = running_from + (end - 1 - running_from) // HOUR_S * HOUR_S
        if hour_start < start and fleet.price_usd_per_s[slot] > 0.0:
            outcome.spot_usd += (end - start) * float(fleet.price_usd_per_s[slot])
            continue
        pool = fleet.type[slot] * ZONES + fleet.zone[slot]
        if hour_start > start:
            outcome.spot_usd += (hour_start - start) * float(fleet.price_usd_per_s[slot])
        fleet.price_usd_per_s[slot] = spot_price(bank, world, hour_start, pool)
        outcome.spot_usd += (end - max(start, hour_start)) * float(fleet.price_usd_per_s[slot])


@compiled_in_place
def retire(fleet: Record, physics: Record, outcome: Record, tick: int) -> None:
    """Free the instances that end within a tick: top up the 60 s minimum, book refunds.

    The refund of a spot instance that AWS takes back within its first hour equals what it was billed; it is booked
    apart and never netted. Requests queued on an instance that ends are lost and fail in the next minute, as far
    as they have not timed out: those of the last ``timeout_s``, where it ended sooner than that.
    """
    tick_end = (tick + 1) * TICK_S
    slot = 0
    while slot < fleet.live:
        end = end_second(fleet, slot)
        if end > tick_end:
            slot += 1
            continue
        run_s = end - (fleet.launch_s[slot] + fleet.billing_delay_s[slot])
        price = float(physics.on_demand_usd_per_s[fleet.type[slot]])
        if fleet.market[slot] == SPOT:
            price = float(fleet.price_usd_per_s[slot])
        if fleet.reclaimed[slot] and 0 < run_s < HOUR_S:
            outcome.refund_usd += run_s * price
        elif 0 < run_s < MINIMUM_S:
            missing = (MINIMUM_S - run_s) * price
            if fleet.market[slot] == SPOT:
                outcome.spot_usd += missing
            else:
                outcome.on_demand_usd += missing
        if fleet.grace_s[slot] < physics.timeout_s:
            waiting = physics.capacity_rps[fleet.type[slot]] * physics.timeout_s
            fleet.lost_requests += min(float(fleet.backlog_requests[slot]), waiting)
        outcome.terminations += 1
        remove(fleet, slot)
