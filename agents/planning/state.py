"""From a telemetry reading to a fleet that would give the same reading.

Known and taken over: counts by type, in service, pending, draining, leaving, spot in use, specification, policy, spot
share, alarms' metrics, last launch failures and interruptions. Not shown by an account, and assumed:

- zones: spread evenly; the kind of an instance that drains: that of the candidate's first type;
- which instances are pending, leaving or on spot: the newest pending, types outside the specification leaving first,
  spot where the last spot share would have put it;
- ages: in service for hours; pending for half of the usual time to serve, spread; draining for half of the delay,
  spread; alarms and hold counters at zero;
- queues: empty unless the CPU is saturated and requests are late; then as full as late and failed requests suggest.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.records import (
    DRAINING,
    FLEET,
    FOREVER,
    LEAVING,
    MAX_TYPES,
    METRIC_RING,
    ON_DEMAND,
    SLOTS,
    SPOT,
    TICK_S,
    WANTED,
    ZONES,
)

_LONG_AGO: Final = 1_000_000
_DAY_MINUTES: Final = 1440
_WARM_AGE_S: Final = 7200
_AGE_SPREAD_S: Final = 211
_SATURATED: Final = 0.9
_SAME: Final = ("desired", "spec", "policy", "refreshing", "spot_fraction", "bad_recent")
_RINGS: Final = ("cpu_utilization", "requests_per_target", "late_fraction", "error_fraction")


def reconstruct(reading: np.void, physics: np.void, tick: int) -> NDArray[np.void]:
    """Return [1] FLEET record that reads, at the start of a tick, as the reading does; its world is left at 0.

    Args:
        reading: TELEMETRY record.
        physics: PHYSICS record of the task.
        tick: Tick of the tape that the fleet is to play on.
    """
    state = np.zeros(1, FLEET)
    fleet = state[0]
    for name in _SAME:
        fleet[name] = reading[name]
    kinds = _kinds(reading, physics)
    staying = len(kinds)
    going = int(min(reading["draining"], SLOTS - staying))
    live = staying + going
    fleet["tick"], fleet["live"], fleet["serial"] = tick, live, live
    fleet["off_s"][:] = FOREVER
    fleet["type"][:staying] = kinds
    fleet["type"][staying:live] = kinds[0] if staying else physics["members"][int(reading["spec"])][0]
    fleet["zone"][:live] = np.arange(live) % ZONES
    fleet["slot_serial"][:live] = np.arange(live)
    fleet["state"][:live] = WANTED
    fleet["state"][: min(int(reading["leaving"]), staying)] = LEAVING
    fleet["market"][:staying] = _markets(reading, staying)
    _write_clocks(fleet, reading, physics, tick, staying, going)
    _write_history(fleet, reading, physics, tick)
    _write_queues(fleet, reading, physics, staying - int(min(reading["pending"], staying)))
    return state


def _kinds(reading: np.void, physics: np.void) -> NDArray[np.int64]:
    """Return the type of every instance that is not going, those outside the specification first, then by index."""
    counts = reading["type_count"].astype(np.int64)
    member = physics["is_member"][int(reading["spec"])].astype(bool)
    order = np.concatenate([np.flatnonzero(~member), np.flatnonzero(member)])
    return np.repeat(order, counts[order])[:SLOTS]


def _markets(reading: np.void, staying: int) -> NDArray[np.int64]:
    """Return the market of every instance that is not going: spot among the newest if most are asked to be on spot."""
    spot = int(min(reading["spot_in_use"], staying))
    markets = np.full(staying, ON_DEMAND)
    if reading["spot_fraction"] >= 0.5:
        markets[staying - spot :] = SPOT
    else:
        markets[:spot] = SPOT
    return markets


def _write_clocks(fleet: np.void, reading: np.void, physics: np.void, tick: int, staying: int, going: int) -> None:
    now_s = tick * TICK_S
    boot_s = float(physics["boot_median_s"])
    ready_s = boot_s + float(physics["app_median_s"]) + 0.5 * float(physics["register_s"])
    live = staying + going
    fleet["launch_s"][:live] = now_s - _WARM_AGE_S - _AGE_SPREAD_S * np.arange(live)[::-1]
    fleet["billing_delay_s"][:live] = int(physics["unbilled_boot_share"] * boot_s)
    fleet["ready_delay_s"][:live] = int(ready_s)
    pending = int(min(reading["pending"], staying))
    if pending:
        age_s = (np.arange(pending, 0, -1) - 0.5) / pending * min(ready_s, 2.0 * TICK_S)
        fleet["launch_s"][staying - pending : staying] = now_s - age_s.astype(np.int64)
        fleet["ready_delay_s"][staying - pending : staying] = np.maximum(int(ready_s), age_s.astype(np.int64) + 1)
    if going:
        left_s = (np.arange(going) + 0.5) / going * float(physics["drain_s"])
        fleet["off_s"][staying:live] = now_s - (float(physics["drain_s"]) - left_s).astype(np.int64)
        fleet["state"][staying:live] = DRAINING
        fleet["market"][staying:live] = SPOT if reading["spot_fraction"] >= 0.5 else ON_DEMAND


def _write_history(fleet: np.void, reading: np.void, physics: np.void, tick: int) -> None:
    for name in _RINGS:
        fleet[name] = np.full(METRIC_RING, reading[name])
    for name in ("cpu_targets", "request_targets"):
        fleet[name] = int(reading["in_service"])
    fleet["cooldown_until"], fleet["commitment_hour"] = tick, -1
    fleet["ticks_since_bad"] = int(reading["minutes_since_bad"])
    for name, shown in (
        ("last_launch_failure", "minutes_since_launch_failure"),
        ("last_interruption", "minutes_since_interruption"),
    ):
        fleet[name] = tick - event_minutes(reading, physics, shown)


def _write_queues(fleet: np.void, reading: np.void, physics: np.void, serving: int) -> None:
    """Fill the queues of a saturated fleet, and the stream of second attempts.

    A request fails when both its attempts do, so about the root of the failed share goes unanswered and comes back.
    That share tells how much of the upper half of the queue is full, where a wait is longer than the time-out; where
    none fails, late requests tell of the lower half. Where demand and second attempts exceed what serves, the minutes
    since the metric have filled the queue.
    """
    if not (reading["cpu_utilization"] >= _SATURATED and reading["late_fraction"] > physics["slo_late_fraction"]):
        return
    unanswered = float(np.sqrt(reading["error_fraction"]))
    if reading["demand_rps"] * (1.0 + unanswered) > reading["capacity_rps"]:
        unanswered = 1.0
    kinds = fleet["type"][:serving]
    limits = physics["queue_limit_requests"][kinds]
    lower = np.minimum(float(physics["timeout_s"]) * physics["capacity_rps"][kinds], limits)
    fill = lower * 0.5 * reading["late_fraction"] if unanswered == 0.0 else lower + (limits - lower) * unanswered
    fleet["backlog_requests"][:serving] = fill
    fleet["backlogged"] = 1
    if physics["max_retries"] > 0:
        fleet["retry_rps"][0] = unanswered * reading["demand_rps"]


def event_minutes(reading: np.void, physics: np.void, field: str) -> NDArray[np.int64]:
    """Return [K] minutes since an event befell each type, as far as the candidates' readings tell; long ago if never.

    A candidate shows the latest event of its types, so a type is known by the candidate that shows the oldest.
    """
    minutes = np.zeros(MAX_TYPES, np.int64)
    for spec in range(int(physics["num_candidates"])):
        shown = int(reading[field][spec])
        members = physics["members"][spec][: int(physics["num_members"][spec])]
        minutes[members] = np.maximum(minutes[members], shown)
    minutes[(minutes == 0) | (minutes >= _DAY_MINUTES)] = _LONG_AGO
    return minutes
