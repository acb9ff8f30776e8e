"""Scaling groups in plain NumPy: what the market does, what policies want, launches and stops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from numpy_tables import Floats, Ints, standard_normal, uniform

from simulators.bank import Bank
from simulators.draws import APP, BOOT, LAUNCH, NOTICE, RECLAIM, REGISTER
from simulators.records import (
    AMPLE,
    DRAINING,
    DRY,
    ENDED,
    EVENT_REBALANCE,
    EVENT_RECLAIM,
    FOREVER,
    LEAVING,
    METRIC_RING,
    ON_DEMAND,
    OUTCOME,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_STATIC,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    PRICE_CAPACITY_OPTIMIZED,
    RECLAIMED,
    SLOTS,
    SPOT,
    TICK_S,
    TICKS_PER_ROW,
    TIGHT,
    WANTED,
    ZONES,
)

Bools = NDArray[np.bool_]

FREE = 5
_BIG = 2**62
_SHORT_INTEGERS = (np.int32, np.int16, np.uint8)
_SLOT_FIELDS = (
    *("launch_s", "off_s", "slot_serial", "backlog_requests", "billing_delay_s", "ready_delay_s"),
    *("type", "zone", "market", "state"),
)
_COUNTERS = (
    *("seed", "tick", "serial", "desired", "spec", "policy", "offset", "below_ticks", "below_want", "refreshing"),
    *("refresh_total", "ticks_since_bad", "spot_fraction", "lost_requests", "retry_rps", "bad_recent"),
    *("cpu_utilization", "requests_per_target", "late_fraction", "error_fraction", "last_launch_failure"),
    *("cpu_targets", "request_targets"),
    "last_interruption",
)


KINDS = {
    "manual": POLICY_MANUAL,
    "static": POLICY_STATIC,
    "target_tracking_cpu": POLICY_TARGET_CPU,
    "target_tracking_requests": POLICY_TARGET_REQUESTS,
    "forecast": POLICY_FORECAST,
}


def check_supported(bank: Bank, menu: NDArray[np.void]) -> None:
    """Refuse worlds and menus that hold what this version leaves out; ValueError names it."""
    physics = bank.physics[0]
    plain = np.concatenate([np.arange(length) for length in bank.tapes["length"]])
    for what, found in (
        ("several physics", len(bank.physics) > 1),
        ("least outstanding requests", physics["least_outstanding"]),
        ("burstable types", physics["burstable"]),
        ("a commitment", physics["commitment_usd_per_s"] > 0),
        ("checkpoints", physics["num_checkpoints"]),
        ("a refresh that launches first", physics["max_healthy_fraction"] > 1.0),
        ("an on-demand base", physics["on_demand_base"]),
        (
            "a group without capacity or zone rebalancing",
            not physics["capacity_rebalancing"] * physics["zone_rebalancing"],
        ),
        ("another spot allocation", (physics["spot_allocation"] != PRICE_CAPACITY_OPTIMIZED).any()),
        ("prioritized types", physics["on_demand_prioritized"].any()),
        ("a penalty by traffic", physics["traffic_penalty"]),
        ("a policy of another kind", not np.isin(menu["kind"], list(KINDS.values())).all()),
        ("policies beside others", (menu["also"] >= 0).any()),
        (
            "alarms for M of N",
            (menu["out_points"] < menu["out_periods"]).any() or (menu["in_points"] < menu["in_periods"]).any(),
        ),
        ("disabled scale-in", menu["disable_scale_in"].any()),
        ("zone outages", bank.zone_down.any()),
        ("work scales", (bank.work_scale != 1.0).any()),
        ("faults", bank.fault_fraction.any()),
        ("metric gaps", (bank.visible_tick != plain).any()),
        ("unscored minutes", not bank.scored.all()),
    ):
        if found:
            raise ValueError(f"the NumPy version leaves out {what}")


class NumpyGroups:
    """The groups of fleets as [B] and [B, S] arrays, taken over from FLEET records: market, policies, launches, stops.

    Attributes:
        outcomes: [B] OUTCOME records of the latest step.
    """

    def __init__(self, bank: Bank, menu: NDArray[np.void], fleets: NDArray[np.void]) -> None:
        check_supported(bank, menu)
        self.bank, self.menu, self.physics = bank, menu, bank.physics[0]
        worlds = bank.worlds[fleets["world"]]
        self.tape = bank.tapes[worlds["tape"]]
        self.tape_market = worlds["market"].astype(np.int64)
        self.phase = worlds["market_phase"].astype(np.int64)
        self.end_tick = fleets["end_tick"].astype(np.int64)
        for name in _COUNTERS:
            column = fleets[name]
            setattr(self, name, column.astype(np.int64) if column.dtype in _SHORT_INTEGERS else column.copy())
        self.lost_requests = self.lost_requests.astype(np.float64)
        self.high_alarm = fleets["high_alarm"][:, 0].astype(np.int64)
        self.low_alarm = fleets["low_alarm"][:, 0].astype(np.int64)
        self._slots = {
            name: fleets[name].copy() if name == "backlog_requests" else fleets[name].astype(np.int64)
            for name in _SLOT_FIELDS
        }
        self._slots["state"][np.arange(SLOTS) >= fleets["live"][:, None]] = FREE
        self.backlogged = fleets["backlogged"] > 0
        self.out: dict[str, Any] = {}
        self.outcomes = np.zeros(len(fleets), OUTCOME)
        self._prepare_types()
        self._look_at(1)

    def _prepare_types(self) -> None:
        physics = self.physics
        count = int(physics["num_types"])
        self.num_types = count
        self.capacity = physics["capacity_rps"][:count].copy()
        self.service_s, self.vcpu = physics["service_s"][:count].copy(), physics["vcpu"][:count].copy()
        self.usd_per_s = physics["on_demand_usd_per_s"][:count].astype(np.float64)
        self.members = np.where(
            np.arange(physics["members"].shape[1]) < physics["num_members"][:, None], physics["members"], -1
        ).astype(np.int64)
        per_capacity = np.where(self.members >= 0, self.usd_per_s[self.members] / self.capacity[self.members], np.inf)
        self.cheapest = np.take_along_axis(self.members, per_capacity.argmin(axis=1)[:, None], axis=1)[:, 0]

    def _look_at(self, least: int) -> None:
        """Set the slot arrays to views of the columns in use, at least so many."""
        used = np.flatnonzero((self._slots["state"] != FREE).any(axis=0))
        width = min(SLOTS, max(least, int(used[-1]) + 1 if len(used) else 1))
        for name in _SLOT_FIELDS:
            setattr(self, name, self._slots[name][:, :width])

    def _decide(self, decisions: NDArray[np.void]) -> None:
        changed = self.policy != decisions["policy"]
        for name in ("high_alarm", "low_alarm", "below_ticks", "below_want"):
            getattr(self, name)[changed] = 0
        self.policy[:] = decisions["policy"]
        self.spot_fraction[:] = decisions["spot_fraction"]
        retyped = self.spec != decisions["spec"]
        self.spec[:] = decisions["spec"]
        self.refreshing[retyped], self.refresh_total[retyped] = 1, 0
        self.out["type_changes"] += retyped
        absolute = np.isin(self.menu["kind"][self.policy], (POLICY_STATIC, POLICY_FORECAST))
        self.offset[:] = np.where(absolute, decisions["scale"], 0)
        self._set_desired(np.where(absolute, self.desired, self.desired + decisions["scale"]))

    def _set_desired(self, value: Ints) -> None:
        inside = np.clip(value, self.physics["min_instances"], self.physics["max_instances"])
        self.out["clamps"] += inside != value
        self.desired = inside.astype(np.int64)

    def _reclaim_share(self, rows: Ints, slots: Ints, tick: Ints) -> Floats:
        row = (tick + self.phase[rows]) % self.bank.reclaim.shape[1]
        pool = self.type[rows, slots] * ZONES + self.zone[rows, slots]
        return np.asarray(self.bank.reclaim[self.tape_market[rows], row, pool] / 255.0)

    def _market(self) -> None:
        row = (self.tick + self.phase) % self.bank.pool_state.shape[1]
        events = self.bank.events[self.tape_market, row]
        struck = np.flatnonzero(events & EVENT_RECLAIM)
        if len(struck):
            at, slots = np.nonzero((self.market[struck] == SPOT) & (self.state[struck] <= LEAVING))
            rows = struck[at]
            tick = self.tick[rows]
            key = (self.slot_serial[rows, slots] << 24) + tick
            hit = uniform(self.seed[rows], RECLAIM, key) < self._reclaim_share(rows, slots, tick)
            rows, slots, tick, key = rows[hit], slots[hit], tick[hit], key[hit]
            notice = (TICK_S * uniform(self.seed[rows], NOTICE, key)).astype(np.int64)
            self.off_s[rows, slots] = tick * TICK_S + notice
            self.state[rows, slots] = RECLAIMED
            self.last_interruption[rows, self.type[rows, slots]] = tick
            self.out["interruptions"] += np.bincount(rows, minlength=len(self.tick)).astype(np.int32)
        warned = np.flatnonzero(events & EVENT_REBALANCE)
        if len(warned):
            at, slots = np.nonzero((self.market[warned] == SPOT) & (self.state[warned] == WANTED))
            rows = warned[at]
            pool = self.type[rows, slots] * ZONES + self.zone[rows, slots]
            lead = self.bank.rebalance_lead[self.tape_market[rows], row[rows], pool].astype(np.int64)
            later = self.tick[rows] + lead
            draw = uniform(self.seed[rows], RECLAIM, (self.slot_serial[rows, slots] << 24) + later)
            hit = (lead > 0) & (draw < self._reclaim_share(rows, slots, later))
            self.state[rows[hit], slots[hit]] = LEAVING

    def _census(self) -> None:
        now = self.tick[:, None] * TICK_S
        serving = (self.launch_s + self.ready_delay_s <= now) & (now < self.off_s) & (self.state != FREE)
        wanted, staying = self.state == WANTED, self.state <= LEAVING
        warm = self.launch_s <= now - self.physics["instance_warmup_s"]
        self.active = wanted.sum(axis=1)
        self.on_demand = (wanted & (self.market == ON_DEMAND)).sum(axis=1)
        self.warm = (wanted & serving & warm).sum(axis=1)
        self.in_service = (staying & serving).sum(axis=1)
        self.leaving = (self.state == LEAVING).sum(axis=1)
        self.zone_active = np.stack([(wanted & (self.zone == zone)).sum(axis=1) for zone in range(ZONES)], axis=1)
        weakest = np.where(staying, self.capacity[self.type], np.inf).min(axis=1)
        self.dependable_rps = np.minimum(self.physics["candidate_capacity_rps"][self.spec], weakest)

    def _want(self) -> Ints:
        want = self.desired.copy()
        policy = self.menu[self.policy]
        ring = (self.tick - 1 - self.physics["metric_delay_ticks"]) % METRIC_RING
        for kind, metrics, targets in (
            (POLICY_TARGET_CPU, self.cpu_utilization, self.cpu_targets),
            (POLICY_TARGET_REQUESTS, self.requests_per_target, self.request_targets),
        ):
            rows = np.flatnonzero(policy["kind"] == kind)
            target = policy["target_utilization"][rows]
            if kind == POLICY_TARGET_REQUESTS:
                per_minute = policy["target_requests_per_minute"][rows]
                target = np.where(np.isnan(per_minute), target * self.dependable_rps[rows] * 60.0, per_minute)
            want[rows] = self._track(rows, policy[rows], metrics[rows, ring[rows]], target, targets[rows, ring[rows]])
        rows = np.flatnonzero(policy["kind"] == POLICY_STATIC)
        demand = policy["mean_demand_ratio"][rows] * self.tape["mean_demand_rps"][rows]
        want[rows] = self._instances(rows, policy[rows], demand)
        rows = np.flatnonzero(policy["kind"] == POLICY_FORECAST)
        if len(rows):
            need = self._instances(rows, policy[rows], self._forecast_demand(rows, policy[rows]))
            want[rows] = self._hold(rows, policy[rows], need)
        return want

    def _track(self, rows: Ints, policy: NDArray[np.void], metric: Floats, target: Floats, counts: Ints) -> Ints:
        known, desired = ~np.isnan(metric), self.desired[rows]
        high = np.where(metric > target, self.high_alarm[rows] + 1, 0)
        low = np.where(metric < policy["low_ratio"] * target, self.low_alarm[rows] + 1, 0)
        self.high_alarm[rows] = np.where(known, high, self.high_alarm[rows])
        self.low_alarm[rows] = np.where(known, low, self.low_alarm[rows])
        metric = np.where(known, metric, 0.0)
        out = np.maximum(desired, np.ceil(counts * metric / target - 1e-9).astype(np.int64))
        fewer = counts - np.floor(counts - counts * metric / target + 1e-9).astype(np.int64)
        fits = (counts > 1) & (metric * counts / np.maximum(counts - 1, 1) <= target)
        fewer = np.minimum(desired, np.where(fits, fewer, counts))
        calm = (low >= policy["in_points"]) & (self.warm[rows] == self.active[rows])
        want = np.where(high >= policy["out_points"], out, np.where(calm, fewer, desired))
        return np.where(known, want, desired)

    def _instances(self, rows: Ints, policy: NDArray[np.void], demand_rps: Floats) -> Ints:
        need = demand_rps / (policy["target_utilization"] * self.dependable_rps[rows])
        need = need * (1.0 + policy["spot_margin"] * self.spot_fraction[rows])
        return np.asarray(np.ceil(need - 1e-9).astype(np.int64) + self.offset[rows])

    def _forecast_demand(self, rows: Ints, policy: NDArray[np.void]) -> Floats:
        tick, tape = self.tick[rows], self.tape[rows]
        visible = np.maximum(0, tick - 1 - self.physics["metric_delay_ticks"])
        forecast = self.bank.forecast_rps[tape["row_start"] + tick // TICKS_PER_ROW]
        lower = np.minimum(policy["quantile"].astype(np.int64), forecast.shape[2] - 2)
        share = (policy["quantile"] - lower)[:, None]
        each = np.arange(len(rows))
        first, second = forecast[each, :, lower], forecast[each, :, lower + 1]
        level = first + share * (second - first)
        level[np.arange(level.shape[1]) > policy["lead"][:, None]] = 0.0
        return np.maximum(self.bank.demand_rps[tape["start"] + visible], level.max(axis=1))

    def _hold(self, rows: Ints, policy: NDArray[np.void], need: Ints) -> Ints:
        below = need < self.desired[rows]
        ticks = np.where(below, self.below_ticks[rows] + 1, 0)
        highest = np.where(below, np.maximum(self.below_want[rows], need), 0)
        over = below & (ticks > policy["hold_ticks"])
        self.below_ticks[rows], self.below_want[rows] = np.where(over, 0, ticks), np.where(over, 0, highest)
        return np.where(over, highest, np.where(below, self.desired[rows], need))

    def _stop(self, rows: Ints, slots: Ints) -> None:
        now = self.tick[rows] * TICK_S
        counted = (self.state[rows, slots] == WANTED).astype(np.int64)
        serving = self.launch_s[rows, slots] + self.ready_delay_s[rows, slots] <= now
        self._count(rows, slots, -counted)
        self.off_s[rows, slots] = now
        self.state[rows, slots] = np.where(serving, DRAINING, ENDED)

    def _count(self, rows: Ints, slots: Ints, change: Ints) -> None:
        self.active[rows] += change
        self.zone_active[rows, self.zone[rows, slots]] += change
        self.on_demand[rows] += change * (self.market[rows, slots] == ON_DEMAND)

    def _set_leaving(self, rows: Ints, slots: Ints) -> None:
        self._count(rows, slots, np.full(len(rows), -1))
        self.state[rows, slots] = LEAVING
        self.leaving[rows] += 1

    def _oldest(self, rows: Ints, chosen: Bools) -> Ints:
        return np.where(chosen, self.slot_serial[rows], _BIG).argmin(axis=1)

    def _release_leaving(self) -> None:
        spare = self.in_service - self.desired
        rows = np.flatnonzero((spare > 0) & (self.leaving > 0))
        while len(rows):
            slots = self._oldest(rows, self.state[rows] == LEAVING)
            self._stop(rows, slots)
            self.leaving[rows] -= 1
            spare[rows] -= self.state[rows, slots] == DRAINING
            rows = rows[(spare[rows] > 0) & (self.leaving[rows] > 0)]

    def _replace(self) -> None:
        """Advance rolling replacements; where none runs and the group is at rest, even its zones out."""
        resting = (self.refreshing == 0) & (self.leaving == 0)
        resting &= (self.in_service == self.desired) & (self.active == self.desired)
        rows = np.flatnonzero(self.refreshing)
        if len(rows):
            outdated = self._outdated(rows).sum(axis=1)
            self.refresh_total[rows] = np.maximum(self.refresh_total[rows], outdated)
            self.refreshing[rows[(outdated == 0) & (self.leaving[rows] == 0)]] = 0
            ready = (outdated > 0) & (self.leaving[rows] == 0) & (self.warm[rows] >= self.active[rows])
            ready &= self.active[rows] >= self.desired[rows]
            rows, outdated = rows[ready], outdated[ready]
            healthy = np.ceil(self.physics["min_healthy_fraction"] * self.desired[rows] - 1e-9).astype(np.int64)
            batch = np.minimum(np.maximum(self.desired[rows] - healthy, 1), outdated)
            while len(rows):
                self._stop(rows, self._victims(rows, self._outdated(rows)))
                batch -= 1
                rows, batch = rows[batch > 0], batch[batch > 0]
        full, empty = self.zone_active.argmax(axis=1), self.zone_active.argmin(axis=1)
        moves = (self.zone_active.max(axis=1) - self.zone_active.min(axis=1)) // 2
        largest = int(self.physics["max_instances"])
        moves = np.minimum(moves, largest + max(int(np.ceil(0.1 * largest - 1e-9)), 1) - self.active)
        rows = np.flatnonzero(resting & (moves > 0))
        while len(rows):
            slots = self._oldest(rows, (self.state[rows] == WANTED) & (self.zone[rows] == full[rows, None]))
            free = (self.market[rows, slots] == ON_DEMAND) | self._has_ample_pool(rows, empty[rows])
            rows, slots = rows[free], slots[free]
            self._set_leaving(rows, slots)
            moves[rows] -= 1
            rows = rows[moves[rows] > 0]

    def _outdated(self, rows: Ints) -> Bools:
        member = self.physics["is_member"][self.spec[rows][:, None], self.type[rows]]
        return np.asarray((self.state[rows] == WANTED) & (member == 0))

    def _has_ample_pool(self, rows: Ints, zone: Ints) -> Bools:
        members = self.members[self.spec[rows]]
        row = (self.tick[rows] + self.phase[rows]) % self.bank.pool_state.shape[1]
        pools = np.maximum(members, 0) * ZONES + zone[:, None]
        states = self.bank.pool_state[self.tape_market[rows][:, None], row[:, None], pools]
        return np.asarray(((states == AMPLE) & (members >= 0)).any(axis=1))

    def _on_demand_wanted(self, rows: Ints) -> Ints:
        share = 1.0 - self.spot_fraction[rows]
        return np.asarray(np.ceil(self.desired[rows] * share - 1e-9).astype(np.int64))

    def _victims(self, rows: Ints, chosen: Bools) -> Ints:
        """Return the slot of each fleet that goes first among those chosen."""
        over = np.where(self.on_demand[rows] > self._on_demand_wanted(rows), ON_DEMAND, SPOT)
        crowd = np.take_along_axis(self.zone_active[rows], self.zone[rows], axis=1)
        key = ((self.market[rows] == over[:, None]) * 256 + crowd) * 2 + self._outdated(rows)
        key = (key << 47) + ((2**26 - self.launch_s[rows]) << 20) + (2**20 - 1 - self.slot_serial[rows])
        return np.where(chosen, key, -1).argmax(axis=1)

    def _stop_surplus(self) -> None:
        rows = np.flatnonzero(self.active > self.desired)
        while len(rows):
            self._stop(rows, self._victims(rows, self.state[rows] == WANTED))
            rows = rows[self.active[rows] > self.desired[rows]]

    def _launch_missing(self) -> None:
        rows = np.flatnonzero(self.active < self.desired)
        while len(rows):
            free = self.state[rows] == FREE
            if not free.any(axis=1).all() and free.shape[1] < SLOTS:
                self._look_at(min(SLOTS, free.shape[1] + 16))
                continue
            spot = self.on_demand[rows] >= self._on_demand_wanted(rows)
            kind, zone = self._pick(rows, spot)
            launched = (kind >= 0) & free.any(axis=1)
            self.out["launch_failures"][rows[~launched]] += 1
            rows, kind, zone, spot = rows[launched], kind[launched], zone[launched], spot[launched]
            self._occupy(rows, free[launched].argmax(axis=1), kind, zone, spot)
            self.out["launches"][rows] += 1
            rows = rows[self.active[rows] < self.desired[rows]]
        self._boot()

    def _pick(self, rows: Ints, spot: Bools) -> tuple[Ints, Ints]:
        """Return type (-1 where all pools refuse) and zone of one launch in each fleet."""
        order = self.zone_active[rows].argsort(axis=1, kind="stable")
        kind = np.where(spot, -1, self.cheapest[self.spec[rows]])
        zone = order[:, 0].copy()
        asking = np.flatnonzero(spot)
        for attempt in range(ZONES):
            zone[asking] = order[asking, attempt]
            kind[asking] = self._spot_member(rows[asking], zone[asking])
            asking = asking[kind[asking] < 0]
            if not len(asking):
                break
        return kind, zone

    def _spot_member(self, rows: Ints, zone: Ints) -> Ints:
        tick, members = self.tick[rows], self.members[self.spec[rows]]
        pools = np.maximum(members, 0) * ZONES + zone[:, None]
        row = (tick + self.phase[rows]) % self.bank.pool_state.shape[1]
        states = self.bank.pool_state[self.tape_market[rows][:, None], row[:, None], pools]
        tight = uniform(self.seed[rows][:, None], LAUNCH, tick[:, None] * 4096 + pools)
        refused = (states == DRY) | ((states == TIGHT) & (tight < self.physics["tight_failure_probability"]))
        asked = members >= 0
        at, place = np.nonzero(refused & asked)
        self.last_launch_failure[rows[at], members[at, place]] = tick[at]
        price = self._spot_price(rows[:, None], tick[:, None] * TICK_S, pools)
        states = np.where(asked & ~refused, states, DRY)
        score = np.where(states == states.min(axis=1)[:, None], price / self.capacity[members], np.inf)
        best = members[np.arange(len(rows)), score.argmin(axis=1)]
        return np.where(states.min(axis=1) < DRY, best, -1)

    def _spot_price(self, rows: Ints, second: Ints, pool: Ints) -> Floats:
        prices = self.bank.spot_usd_per_s
        hour = (second // TICK_S + self.phase[rows]) // 60 % prices.shape[1]
        return prices[self.tape_market[rows], hour, pool].astype(np.float64)

    def _occupy(self, rows: Ints, slots: Ints, kind: Ints, zone: Ints, spot: Bools) -> None:
        at = (rows, slots)
        self.launch_s[at], self.off_s[at] = self.tick[rows] * TICK_S, FOREVER
        self.slot_serial[at], self.backlog_requests[at] = self.serial[rows], 0.0
        self.type[at], self.zone[at], self.state[at] = kind, zone, WANTED
        self.market[at] = np.where(spot, SPOT, ON_DEMAND)
        self.serial[rows] += 1
        self._count(rows, slots, np.ones(len(rows), np.int64))

    def _boot(self) -> None:
        """Draw when the instances launched in this minute are billed and serve."""
        at = np.nonzero((self.state == WANTED) & (self.launch_s == self.tick[:, None] * TICK_S))
        physics, seed, serial = self.physics, self.seed[at[0]], self.slot_serial[at]
        boot_s = physics["boot_median_s"] * np.exp(physics["boot_sigma"] * standard_normal(seed, BOOT, serial))
        app_s = physics["app_median_s"] * np.exp(physics["app_sigma"] * standard_normal(seed, APP, serial))
        ready_s = np.ceil(boot_s + app_s + physics["register_s"] * uniform(seed, REGISTER, serial))
        self.billing_delay_s[at] = (physics["unbilled_boot_share"] * boot_s).astype(np.int64)
        self.ready_delay_s[at] = np.minimum(ready_s, 65535).astype(np.int64)
