"""The world bank as plain arrays: read-only tapes that thousands of fleets step through."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Bank(NamedTuple):
    """Tapes of many worlds, concatenated; what compiled code reads and never writes.

    Attributes:
        worlds: [W] WORLD records: which tape, market and physics make a world.
        tapes: [D] TAPE records.
        physics: [P] PHYSICS records.
        demand_rps: [sum of lengths] demand of each tick, requests per second.
        demand_total: [sum of lengths + 1] sum of demand_rps before each tick.
        work_scale: same shape, multiplier on the work of a request.
        fault_fraction: same shape, share of requests that fail whatever the fleet does.
        visible_tick: same shape, last tick up to this one whose metrics were delivered (-1 where none was), counted
            from the start of the tape.
        scored: same shape, 0 where a tick is carried but counts nowhere (a long gap of the trace).
        forecast_rps: [sum of rows, L, Q] what was forecast at each row (5 ticks).
        forecast_available: [sum of rows] 1 where the forecast is more than the last value.
        anomaly_score: [sum of rows] 0..1.
        predictive_rps: [sum of hours] the hourly load forecast of predictive-like scaling; NaN where there is none yet.
        spot_usd_per_s: [markets, hours, K x Z] price of a pool.
        pool_state: [markets, ticks, K x Z] AMPLE, TIGHT or DRY.
        reclaim: [markets, ticks, K x Z] share of the pool's instances given notice in this tick, in 1/255.
        candidate_spot_usd_per_hour: [markets, hours, C] what an account sees: the cheapest member's mean over zones.
        rebalance_lead: [markets, ticks, K x Z] minutes until the reclaim a recommendation of this tick announces, or 0.
        zone_down: [markets, ticks] bit mask of the zones that are out.
        events: [markets, ticks] EVENT_* bits: whether any pool reclaims or recommends, or a zone is out.
        log_tails: [P, servers, targets, utilisation, response] log P(T > x) of each physics record.
        late_log_tails: [P, K, targets, utilisation] the same at the objective, by type, for a work scale of 1.
        timeout_log_tails: [P, K, targets, utilisation] the same at the time-out.
    """

    worlds: NDArray[np.void]
    tapes: NDArray[np.void]
    physics: NDArray[np.void]
    demand_rps: NDArray[np.float32]
    demand_total: NDArray[np.float64]
    work_scale: NDArray[np.float32]
    fault_fraction: NDArray[np.float32]
    visible_tick: NDArray[np.int32]
    scored: NDArray[np.uint8]
    forecast_rps: NDArray[np.float32]
    forecast_available: NDArray[np.uint8]
    anomaly_score: NDArray[np.float32]
    predictive_rps: NDArray[np.float32]
    spot_usd_per_s: NDArray[np.float32]
    pool_state: NDArray[np.uint8]
    reclaim: NDArray[np.uint8]
    candidate_spot_usd_per_hour: NDArray[np.float64]
    rebalance_lead: NDArray[np.uint8]
    zone_down: NDArray[np.uint8]
    events: NDArray[np.uint8]
    log_tails: NDArray[np.float32]
    late_log_tails: NDArray[np.float64]
    timeout_log_tails: NDArray[np.float64]
