"""What an account pays: instances by EC2's billing rules, what stands around them, and service credits.

Pure functions of quantities, in USD, at us-east-1 prices. ``instance_charge`` states the billing rules a second time,
apart from the fleet kernel, to check it against.

Sources: EC2 user guide (instance lifecycle; per-second billing with a minimum of 60 s; "Billing for interrupted Spot
Instances"; general purpose volumes), Elastic Load Balancing and CloudWatch pricing pages, AWS service level agreements.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

HOURS_PER_MONTH: Final = 730.0
HOUR_S: Final = 3600.0
MINIMUM_S: Final = 60.0

VOLUME_USD_PER_GB_MONTH: Final = 0.08
VOLUME_USD_PER_IOPS_MONTH: Final = 0.005
VOLUME_USD_PER_MIB_S_MONTH: Final = 0.04
VOLUME_IOPS_INCLUDED: Final = 3000
VOLUME_MIB_S_INCLUDED: Final = 125

# Load balancer rates are those widely quoted for us-east-1; the dimensions are AWS's.
LOAD_BALANCER_USD_PER_HOUR: Final = 0.0225
LCU_USD_PER_HOUR: Final = 0.008
LCU_NEW_CONNECTIONS_PER_S: Final = 25.0
LCU_ACTIVE_CONNECTIONS: Final = 3000.0
LCU_GB_PER_HOUR: Final = 1.0
LCU_RULE_EVALUATIONS_PER_S: Final = 1000.0
FREE_RULES: Final = 10

CROSS_ZONE_USD_PER_GB: Final = 0.01
PUBLIC_IPV4_USD_PER_HOUR: Final = 0.005
METRICS_READ_USD_PER_1000: Final = 0.01

Market = Literal["on_demand", "spot"]
EndedBy = Literal["user", "aws"]
CreditTable = tuple[tuple[float, float], ...]

# (uptime percent below which a credit is due, credit in percent of the bill); EC2 and load balancers over two or more
# zones, then Compute Optimizer
EC2_REGION_CREDITS: Final[CreditTable] = ((99.99, 10.0), (99.0, 30.0), (95.0, 100.0))
LOAD_BALANCER_CREDITS: Final[CreditTable] = EC2_REGION_CREDITS
COMPUTE_OPTIMIZER_CREDITS: Final[CreditTable] = ((99.9, 10.0), (99.0, 25.0), (95.0, 100.0))


@dataclass(frozen=True)
class InstanceCharge:
    """What one run of an instance costs.

    Attributes:
        billed_usd: Billed for the run.
        refund_usd: Part of it that is given back.
    """

    billed_usd: float
    refund_usd: float

    @property
    def usd(self) -> float:
        """What is left to pay."""
        return self.billed_usd - self.refund_usd


def running_s(states: Iterable[tuple[str, float]]) -> float:
    """Return the billable seconds of an instance's ``(lifecycle state, seconds)`` intervals: those in ``running``.

    Boot of the application, warm-up, hooks and draining happen in ``running``.
    """
    return sum(seconds for state, seconds in states if state == "running")


def instance_charge(
    run_s: float,
    usd_per_hour: float | Callable[[float], float],
    *,
    market: Market = "on_demand",
    ended_by: EndedBy = "user",
) -> InstanceCharge:
    """Return what a Linux instance costs for one run.

    By the second, at least 60 s. Spot pays in each of its hours, counted from when it runs, the price at the start of
    that hour. Spot that AWS takes back within the first hour is free: what it was billed is refunded, and no minimum
    applies.

    Args:
        run_s: Seconds in ``running``, at least 0; nothing is due for 0.
        usd_per_hour: Price, or price as a function of seconds since the instance runs.
        market: On demand or spot.
        ended_by: Who ended the run.

    Raises:
        ValueError: Negative time, or an on-demand instance ended by AWS.
    """
    if run_s < 0.0:
        raise ValueError(f"run_s {run_s} is below 0")
    if ended_by == "aws" and market != "spot":
        raise ValueError("only spot instances are taken back by AWS")
    price_at = usd_per_hour if callable(usd_per_hour) else lambda second: usd_per_hour
    if run_s == 0.0:
        return InstanceCharge(0.0, 0.0)
    is_refunded = ended_by == "aws" and run_s < HOUR_S
    if market == "on_demand":
        return InstanceCharge(max(run_s, MINIMUM_S) / HOUR_S * price_at(0.0), 0.0)
    billed_s = run_s if is_refunded else max(run_s, MINIMUM_S)
    billed = sum(
        min(HOUR_S, billed_s - hour * HOUR_S) / HOUR_S * price_at(hour * HOUR_S)
        for hour in range(math.ceil(billed_s / HOUR_S))
    )
    return InstanceCharge(billed, billed if is_refunded else 0.0)


def volume_usd_per_month(size_gb: float, iops: float = 3000.0, throughput_mib_s: float = 125.0) -> float:
    """Return the price of a gp3 volume for a month of 730 hours; performance above what is included costs extra."""
    return (
        size_gb * VOLUME_USD_PER_GB_MONTH
        + max(iops - VOLUME_IOPS_INCLUDED, 0.0) * VOLUME_USD_PER_IOPS_MONTH
        + max(throughput_mib_s - VOLUME_MIB_S_INCLUDED, 0.0) * VOLUME_USD_PER_MIB_S_MONTH
    )


def volume_usd(hours: float, size_gb: float, iops: float = 3000.0, throughput_mib_s: float = 125.0) -> float:
    """Return the price of a gp3 volume that exists for so many hours."""
    return hours / HOURS_PER_MONTH * volume_usd_per_month(size_gb, iops, throughput_mib_s)


def load_balancer_capacity_units(
    *,
    new_connections_per_s: float = 0.0,
    active_connections: float = 0.0,
    processed_gb_per_hour: float = 0.0,
    requests_per_s: float = 0.0,
    rules: int = 0,
) -> float:
    """Return the capacity units (LCU) of an Application Load Balancer in an hour: the largest of four dimensions.

    Args:
        new_connections_per_s: Mean over the hour.
        active_connections: Connections open, mean over the hour's minutes.
        processed_gb_per_hour: Bytes of requests and responses, GB.
        requests_per_s: Mean over the hour.
        rules: Rules evaluated for each request; the first ten are free.
    """
    return max(
        new_connections_per_s / LCU_NEW_CONNECTIONS_PER_S,
        active_connections / LCU_ACTIVE_CONNECTIONS,
        processed_gb_per_hour / LCU_GB_PER_HOUR,
        requests_per_s * max(rules - FREE_RULES, 0) / LCU_RULE_EVALUATIONS_PER_S,
    )


def load_balancer_usd(hours: float, capacity_units: float) -> float:
    """Return the price of a load balancer over so many hours, started ones counted whole, at a mean load in LCU."""
    return math.ceil(hours) * (LOAD_BALANCER_USD_PER_HOUR + capacity_units * LCU_USD_PER_HOUR)


def cross_zone_usd(sent_gb: float, received_gb: float) -> float:
    """Return the price of traffic of instances with other zones of the Region; each direction is charged.

    Traffic between a load balancer and its targets is not charged and does not belong in here.
    """
    return (sent_gb + received_gb) * CROSS_ZONE_USD_PER_GB


def public_ipv4_usd(addresses: int, hours: float) -> float:
    """Return the price of public IPv4 addresses over so many hours, in use or idle."""
    return addresses * hours * PUBLIC_IPV4_USD_PER_HOUR


def metrics_read_usd(metrics: int, every_s: float, hours: float) -> float:
    """Return the price of polling CloudWatch metrics (``GetMetricData``) at an interval over so many hours."""
    return metrics * hours * HOUR_S / every_s / 1000.0 * METRICS_READ_USD_PER_1000


def sla_credit_percent(uptime_percent: float, table: CreditTable = EC2_REGION_CREDITS) -> float:
    """Return the service credit a month's uptime earns, percent of the bill.

    A step function with inclusive lower bounds: an uptime equal to a step's bound is still above the step.

    Raises:
        ValueError: Uptime outside 0..100.
    """
    if not 0.0 <= uptime_percent <= 100.0:
        raise ValueError(f"uptime_percent {uptime_percent} is not in 0..100")
    return max((credit for bound, credit in table if uptime_percent < bound), default=0.0)


def allowed_downtime_minutes(uptime_percent: float, days: float = 30.0) -> float:
    """Return the minutes of downtime a period may have at an uptime promise."""
    return (100.0 - uptime_percent) / 100.0 * days * 24.0 * 60.0
