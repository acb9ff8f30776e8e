"""Memory layout of the world: one fixed-size record per fleet, decision, outcome and telemetry reading.

These dtypes are part of the signature of every compiled function, so a change of layout recompiles what depends on
it. Axis names: S instance slots, Z zones, K instance types, C launch candidates, M market pools (K x Z), L forecast
leads, Q forecast quantile levels, X response-time grid. Seconds count from second 0 of the demand tape.
"""

from typing import Final

import numpy as np

SLOTS: Final = 128
ZONES: Final = 3
MAX_TYPES: Final = 16
MAX_CANDIDATES: Final = 12
MAX_MEMBERS: Final = 12
MAX_RETRIES: Final = 3
MAX_POLICIES: Final = 3
MAX_STEPS: Final = 8
MAX_SCHEDULED: Final = 16
MAX_CHECKPOINTS: Final = 4
METRIC_RING: Final = 4
MAX_INSTANCES: Final = 99
FOREVER: Final = 2**31 - 1

TICK_S: Final = 60
TICKS_PER_ROW: Final = 5
LEAD_MINUTES: Final = (5, 10, 15, 30, 60, 120, 240)
QUANTILE_LEVELS: Final = (0.1, 0.5, 0.9, 0.99)
RESPONSE_GRID_MS: Final = (25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 1500, 2500, 5000, 10000)

ON_DEMAND: Final = 0
SPOT: Final = 1
AMPLE: Final = 0
TIGHT: Final = 1
DRY: Final = 2

WANTED: Final = 0
LEAVING: Final = 1
DRAINING: Final = 2
RECLAIMED: Final = 3
ENDED: Final = 4
"""States of a slot: wanted; serving until its replacement does; taking no new requests for the deregistration delay;
under interruption notice; gone at once (not serving yet, or its zone failed)."""

POLICY_MANUAL: Final = 0
POLICY_STATIC: Final = 1
POLICY_TARGET_CPU: Final = 2
POLICY_TARGET_REQUESTS: Final = 3
POLICY_FORECAST: Final = 4
POLICY_STEP: Final = 5
POLICY_SCHEDULED: Final = 6
POLICY_PREDICTIVE: Final = 7

PRICE_CAPACITY_OPTIMIZED: Final = 0
CAPACITY_OPTIMIZED: Final = 1
CAPACITY_OPTIMIZED_PRIORITIZED: Final = 2
LOWEST_PRICE: Final = 3

EVENT_RECLAIM: Final = 1
EVENT_REBALANCE: Final = 2
EVENT_ZONE_DOWN: Final = 4

FLEET: Final = np.dtype(
    [
        ("seed", np.uint64),
        ("world", np.int32),
        ("tick", np.int32),
        ("end_tick", np.int32),
        ("serial", np.int32),
        ("live", np.int16),
        ("desired", np.int16),
        ("spec", np.int16),
        ("policy", np.int16),
        ("offset", np.int16),
        ("below_ticks", np.int16),
        ("below_want", np.int16),
        ("refreshing", np.uint8),
        ("refresh_stage", np.uint8),
        ("commitment_hour", np.int16),
        ("refresh_total", np.int16),
        ("refresh_hold_tick", np.int32),
        ("high_alarm", np.uint32, (MAX_POLICIES,)),
        ("low_alarm", np.uint32, (MAX_POLICIES,)),
        ("cooldown_until", np.int32),
        ("bad_run", np.int32),
        ("longest_bad_run", np.int32),
        ("ticks_since_bad", np.int32),
        ("commitment_left_usd", np.float32),
        ("lost_requests", np.float32),
        ("spot_fraction", np.float64),
        ("retry_rps", np.float64, (MAX_RETRIES,)),
        ("bad_recent", np.float64),
        ("cpu_utilization", np.float64, (METRIC_RING,)),
        ("requests_per_target", np.float64, (METRIC_RING,)),
        ("late_fraction", np.float64, (METRIC_RING,)),
        ("error_fraction", np.float64, (METRIC_RING,)),
        ("last_launch_failure", np.int32, (MAX_TYPES,)),
        ("last_interruption", np.int32, (MAX_TYPES,)),
        ("settled_until_s", np.int32),
        ("priced_until_s", np.int32),
        ("active", np.int16),
        ("on_demand", np.int16),
        ("warm", np.int16),
        ("in_service", np.int16),
        ("leaving", np.int16),
        ("going", np.int16),
        ("billed", np.int16),
        ("spot_in_use", np.int16),
        ("dependable_rps", np.float64),
        ("on_demand_usd_per_s", np.float64),
        ("spot_usd_per_s", np.float64),
        ("list_usd_per_s", np.float64),
        ("billed_rps", np.float64),
        ("zone_active", np.uint8, (ZONES,)),
        ("serving_count", np.uint8, (MAX_TYPES,)),
        ("warm_count", np.uint8, (MAX_TYPES,)),
        ("type_count", np.uint8, (MAX_TYPES,)),
        ("backlogged", np.uint8),
        ("cpu_targets", np.uint8, (METRIC_RING,)),
        ("request_targets", np.uint8, (METRIC_RING,)),
        ("launch_s", np.int32, (SLOTS,)),
        ("off_s", np.int32, (SLOTS,)),
        ("slot_serial", np.int32, (SLOTS,)),
        ("backlog_requests", np.float32, (SLOTS,)),
        ("credits", np.float32, (SLOTS,)),
        ("billing_delay_s", np.uint16, (SLOTS,)),
        ("ready_delay_s", np.uint16, (SLOTS,)),
        ("type", np.uint8, (SLOTS,)),
        ("zone", np.uint8, (SLOTS,)),
        ("market", np.uint8, (SLOTS,)),
        ("state", np.uint8, (SLOTS,)),
    ],
    align=True,
)
"""State of one fleet.

``launch_s + billing_delay_s`` is the second an instance starts to be billed, ``launch_s + ready_delay_s`` the second
it takes requests, ``off_s`` the second it stops taking them (FOREVER while wanted). Rings are indexed by tick modulo
METRIC_RING; ``cpu_targets`` and ``request_targets`` count the instances their metric was taken over. ``high_alarm`` and
``low_alarm`` are what the alarms of up to three policies remember. From ``active`` to ``type_count`` stand the sums
over the slots: they hold until ``settled_until_s``, the next second at which any slot changes (``spot_usd_per_s`` until
``priced_until_s``, when an instance-hour begins), so a minute in which nothing changes does not look at the slots.
"""

DECISION: Final = np.dtype(
    [("scale", np.int32), ("spec", np.int32), ("policy", np.int32), ("spot_fraction", np.float64)], align=True
)
"""What is asked of the fleet: instances to add, candidate index, menu index, spot share 0..1."""

OUTCOME: Final = np.dtype(
    [
        ("ticks", np.int32),
        ("bad_minutes", np.int32),
        ("launches", np.int32),
        ("launch_failures", np.int32),
        ("interruptions", np.int32),
        ("terminations", np.int32),
        ("type_changes", np.int32),
        ("clamps", np.int32),
        ("infeasible_minutes", np.int32),
        ("outage_losses", np.int32),
        ("on_demand_usd", np.float64),
        ("spot_usd", np.float64),
        ("commitment_usd", np.float64),
        ("credit_usd", np.float64),
        ("volume_usd", np.float64),
        ("balancer_usd", np.float64),
        ("refund_usd", np.float64),
        ("slo_penalty_usd", np.float64),
        ("reference_usd", np.float64),
        ("requests", np.float64),
        ("late_requests", np.float64),
        ("failed_requests", np.float64),
        ("retried_requests", np.float64),
        ("busy_vcpu_s", np.float64),
        ("in_service_vcpu_s", np.float64),
        ("billed_instance_s", np.float64),
        ("list_usd", np.float64),
        ("billed_capacity_requests", np.float64),
        ("slower_requests", np.float64, (len(RESPONSE_GRID_MS),)),
    ],
    align=True,
)
"""What happened in one decision: counts, USD lines, requests.

The bill is the sum of six lines (BILL_LINES): instances on demand beyond the commitment, spot instances, the Savings
Plan commitment, surplus CPU credits, volumes, and the load balancer; refunds stand apart.

``slower_requests[x]`` counts first attempts answered later than ``RESPONSE_GRID_MS[x]``; it is filled only where a
step is asked for detail. ``list_usd`` is what the billed instance-seconds cost on demand at list price, and
``billed_capacity_requests`` how many requests of ordinary work they could have served at 100 % utilisation.
"""

BILL_LINES: Final = ("on_demand_usd", "spot_usd", "commitment_usd", "credit_usd", "volume_usd", "balancer_usd")

TELEMETRY: Final = np.dtype(
    [
        ("minute_of_week", np.float64),
        ("mean_demand_rps", np.float64),
        ("demand_rps", np.float64),
        ("demand_mean_rps", np.float64, (3,)),
        ("cpu_utilization", np.float64),
        ("requests_per_target", np.float64),
        ("late_fraction", np.float64),
        ("error_fraction", np.float64),
        ("bad_recent", np.float64),
        ("minutes_since_bad", np.float64),
        ("desired", np.float64),
        ("in_service", np.float64),
        ("pending", np.float64),
        ("draining", np.float64),
        ("leaving", np.float64),
        ("spot_in_use", np.float64),
        ("commitment_usd_per_hour", np.float64),
        ("commitment_used", np.float64),
        ("capacity_rps", np.float64),
        ("dependable_rps", np.float64),
        ("type_count", np.float64, (MAX_TYPES,)),
        ("refreshing", np.float64),
        ("spec", np.float64),
        ("policy", np.float64),
        ("spot_fraction", np.float64),
        ("candidate_capacity_rps", np.float64, (MAX_CANDIDATES,)),
        ("candidate_on_demand_usd_per_hour", np.float64, (MAX_CANDIDATES,)),
        ("candidate_spot_usd_per_hour", np.float64, (MAX_CANDIDATES,)),
        ("minutes_since_launch_failure", np.float64, (MAX_CANDIDATES,)),
        ("minutes_since_interruption", np.float64, (MAX_CANDIDATES,)),
        ("forecast_rps", np.float64, (len(LEAD_MINUTES), len(QUANTILE_LEVELS))),
        ("forecast_available", np.float64),
        ("anomaly_score", np.float64),
    ],
    align=True,
)
"""What a real account would show at a decision: the only thing policies, rules and the advisory service ever see.

Metrics are those of the last visible minute (``metric_delay_ticks`` behind). ``demand_mean_rps`` averages the last 5,
15 and 60 visible minutes. ``capacity_rps`` sums the instances in service; ``dependable_rps`` is what one target can
be counted on for (the weakest one's capacity under round robin). ``leaving`` counts instances that serve until their
replacement does. ``commitment_used`` is the share of this hour's commitment that the fleet would use at its present
size, 0..1. Counts are instances; shares 0..1; unused candidates
are NaN.
"""

POLICY: Final = np.dtype(
    [
        ("kind", np.int32),
        ("also", np.int32, (MAX_POLICIES - 1,)),
        ("lead", np.int32),
        ("hold_ticks", np.int32),
        ("out_points", np.int32),
        ("out_periods", np.int32),
        ("in_points", np.int32),
        ("in_periods", np.int32),
        ("disable_scale_in", np.int32),
        ("by_requests", np.int32),
        ("adjustment", np.int32),
        ("min_magnitude", np.int32),
        ("cooldown_ticks", np.int32),
        ("buffer_ticks", np.int32),
        ("num_steps_out", np.int32),
        ("num_steps_in", np.int32),
        ("num_scheduled", np.int32),
        ("scheduled_minute", np.int32, (MAX_SCHEDULED,)),
        ("scheduled_instances", np.int32, (MAX_SCHEDULED,)),
        ("scheduled_ratio", np.float64, (MAX_SCHEDULED,)),
        ("target_utilization", np.float64),
        ("target_requests_per_minute", np.float64),
        ("low_ratio", np.float64),
        ("quantile", np.float64),
        ("spot_margin", np.float64),
        ("mean_demand_ratio", np.float64),
        ("high_threshold", np.float64),
        ("low_threshold", np.float64),
        ("step_out_lower", np.float64, (MAX_STEPS,)),
        ("step_out_upper", np.float64, (MAX_STEPS,)),
        ("step_out_change", np.float64, (MAX_STEPS,)),
        ("step_in_lower", np.float64, (MAX_STEPS,)),
        ("step_in_upper", np.float64, (MAX_STEPS,)),
        ("step_in_change", np.float64, (MAX_STEPS,)),
    ],
    align=True,
)
"""One entry of the scaling-policy menu (``simulators.autoscaling`` says which kind reads which field).

A scheduled action whose ``scheduled_ratio`` is not NaN gives demand over mean demand in place of a size. ``also`` holds
the indices of up to two more records that act beside it, -1 where there is none.
"""

PHYSICS: Final = np.dtype(
    [
        ("num_types", np.int32),
        ("num_candidates", np.int32),
        ("min_instances", np.int32),
        ("max_instances", np.int32),
        ("metric_delay_ticks", np.int32),
        ("drain_s", np.int32),
        ("notice_s", np.int32),
        ("instance_warmup_s", np.int32),
        ("register_s", np.int32),
        ("least_outstanding", np.int32),
        ("capacity_rebalancing", np.int32),
        ("zone_rebalancing", np.int32),
        ("on_demand_base", np.int32),
        ("max_retries", np.int32),
        ("unlimited_credits", np.int32),
        ("burstable", np.int32),
        ("num_checkpoints", np.int32),
        ("checkpoint_delay_ticks", np.int32),
        ("traffic_penalty", np.int32),
        ("boot_median_s", np.float64),
        ("boot_sigma", np.float64),
        ("app_median_s", np.float64),
        ("app_sigma", np.float64),
        ("unbilled_boot_share", np.float64),
        ("tight_failure_probability", np.float64),
        ("min_healthy_fraction", np.float64),
        ("max_healthy_fraction", np.float64),
        ("checkpoints", np.float64, (MAX_CHECKPOINTS,)),
        ("commitment_usd_per_s", np.float64),
        ("plan_discount", np.float64),
        ("credit_usd", np.float64),
        ("volume_usd_per_s", np.float64),
        ("balancer_usd_per_s", np.float64),
        ("lcu_usd_per_s", np.float64),
        ("lcu_per_rps", np.float64),
        ("slo_s", np.float64),
        ("slo_late_fraction", np.float64),
        ("slo_error_fraction", np.float64),
        ("timeout_s", np.float64),
        ("queue_limit_s", np.float64),
        ("penalty_multiple", np.float64),
        ("reference_usd_per_request", np.float64),
        ("vcpu", np.float64, (MAX_TYPES,)),
        ("service_s", np.float64, (MAX_TYPES,)),
        ("capacity_rps", np.float64, (MAX_TYPES,)),
        ("parallel", np.float64, (MAX_TYPES,)),
        ("network_rps", np.float64, (MAX_TYPES,)),
        ("queue_limit_requests", np.float64, (MAX_TYPES,)),
        ("baseline", np.float64, (MAX_TYPES,)),
        ("credits_per_s", np.float64, (MAX_TYPES,)),
        ("max_credits", np.float64, (MAX_TYPES,)),
        ("on_demand_usd_per_s", np.float32, (MAX_TYPES,)),
        ("servers", np.int32, (MAX_TYPES,)),
        ("num_members", np.int32, (MAX_CANDIDATES,)),
        ("members", np.int32, (MAX_CANDIDATES, MAX_MEMBERS)),
        ("spot_allocation", np.int32, (MAX_CANDIDATES,)),
        ("spot_pools", np.int32, (MAX_CANDIDATES,)),
        ("on_demand_prioritized", np.int32, (MAX_CANDIDATES,)),
        ("is_member", np.uint8, (MAX_CANDIDATES, MAX_TYPES)),
        ("candidate_capacity_rps", np.float64, (MAX_CANDIDATES,)),
        ("candidate_on_demand_usd_per_hour", np.float64, (MAX_CANDIDATES,)),
        ("largest_candidate_rps", np.float64),
    ],
    align=True,
)
"""Constants of the physics of one workload profile, derived once by ``simulators.physics``."""

TAPE: Final = np.dtype(
    [
        ("start", np.int64),
        ("row_start", np.int64),
        ("hour_start", np.int64),
        ("length", np.int32),
        ("first_tick", np.int32),
        ("last_tick", np.int32),
        ("minute_of_week", np.int32),
        ("mean_demand_rps", np.float64),
        ("reference_demand_rps", np.float64),
    ],
    align=True,
)
"""Where one demand tape lies in the bank, which ticks may be played, and the means that scale it."""

WORLD: Final = np.dtype(
    [("tape", np.int32), ("market", np.int32), ("physics", np.int32), ("market_phase", np.int32)], align=True
)
"""A demand tape x a market tape x a physics record; ``market_phase`` is in ticks."""
