"""A plain NumPy version of one decision of the simulated fleet, to compare the compiled kernel with.

Vectorised over fleets and slots ([B, S] arrays); Python loops run over ticks, launch or stop rounds, retries and zones
only. It plays what the registered environment's default world holds (docs/semantics.md): policies manual, static,
target tracking and forecast, reclaims, recommendations, rolling and zone rebalancing, launches, boot, drain, backlog,
retries, the latency table and the bill. Left out, and refused at the start: least outstanding requests, burstable
types, commitments, checkpoints, launch-before-terminate refreshes, an on-demand base, other spot allocations, policies
beside others, alarms that ask for M of N, scheduled, predictive and step policies, zone outages, work scales, faults,
metric gaps and unscored minutes; and telemetry, which the kernel's time includes.

``python benchmarks/numpy_step.py`` times both on the same decisions.
"""

import time

import numpy as np
from numpy.typing import NDArray
from numpy_group import FREE, KINDS, Bools, Floats, Ints, NumpyGroups
from numpy_tables import response_tail, threshold_tail

from agents.speed import action_mix
from envs.settings import EnvSettings
from envs.vector import InfrastructureVectorEnv
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.records import FOREVER, METRIC_RING, ON_DEMAND, OUTCOME, RECLAIMED, SPOT, TICK_S, ZONES

_HOUR_S = 3600


def _quotient(number: Floats, parts: Floats) -> Floats:
    return np.divide(number, parts, out=np.full(len(number), np.nan), where=parts > 0)


class NumpyFleets(NumpyGroups):
    """Fleets taken over from FLEET records; ``step`` plays one decision."""

    def step(self, decisions: NDArray[np.void], ticks: int) -> None:
        """Apply DECISION records [B] and play ``ticks`` minutes, which every fleet's episode must still have."""
        if (self.tick + ticks > self.end_tick).any():
            raise ValueError("a fleet's episode ends within this decision")
        self.out = {name: np.zeros(len(self.tick), OUTCOME[name]) for name in OUTCOME.names or ()}
        self._decide(decisions)
        for _ in range(ticks):
            self._look_at(1)
            self._market()
            self._census()
            self._set_desired(self._want())
            self._release_leaving()
            self._replace()
            self._stop_surplus()
            self._launch_missing()
            arrival_rps = self._serve()
            self._bill(arrival_rps)
            self._retire()
            self.tick += 1
        for name, column in self.out.items():
            self.outcomes[name] = column

    def _seconds(self) -> Floats:
        """Return [B, S] for how many seconds of this minute each instance takes requests."""
        now = self.tick[:, None] * TICK_S
        start = np.maximum(self.launch_s + self.ready_delay_s, now)
        seconds = np.maximum(np.minimum(self.off_s, now + TICK_S) - start, 0)
        return np.where(self.state == FREE, 0, seconds).astype(np.float64)

    def _serve(self) -> Floats:
        """Serve one minute; return what reached the balancer, requests per second."""
        count = len(self.tick)
        demand_rps = self.bank.demand_rps[self.tape["start"] + self.tick].astype(np.float64)
        arrival_rps = demand_rps.copy()
        for attempt in range(int(self.physics["max_retries"])):
            arrival_rps += self.retry_rps[:, attempt]
        seconds = self._seconds()
        warm = self.launch_s <= (self.tick * TICK_S - self.physics["instance_warmup_s"])[:, None]
        warm &= seconds > 0
        cell = (np.arange(count)[:, None] * self.num_types + self.type).ravel()
        size = count * self.num_types
        serving_s = np.bincount(cell, seconds.ravel(), size).reshape(count, -1)
        warm_targets = np.bincount(cell, warm.ravel(), size).reshape(count, -1)
        total_s = serving_s.sum(axis=1)
        targets = np.maximum((total_s / TICK_S + 0.5).astype(np.int64), 1)
        rate = np.where(total_s > 0, arrival_rps * TICK_S / np.where(total_s > 0, total_s, 1.0), 0.0)
        rows, kinds = np.nonzero(serving_s > 0)
        utilization = rate[rows] / self.capacity[kinds]
        shape = (count, self.num_types)
        late_share, timeout_share, busy = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        late_share[rows, kinds] = threshold_tail(self.bank.late_log_tails[0], kinds, targets[rows], utilization)
        timeout_share[rows, kinds] = threshold_tail(self.bank.timeout_log_tails[0], kinds, targets[rows], utilization)
        busy[rows, kinds] = rate[rows] * self.service_s[kinds] / self.vcpu[kinds]
        requests = rate[:, None] * serving_s
        late, timed_out = (requests * late_share).sum(axis=1), (requests * timeout_share).sum(axis=1)
        busy_vcpu_s, cpu_sum = (busy * serving_s * self.vcpu).sum(axis=1), (busy * warm_targets).sum(axis=1)
        rejected = np.zeros(count)
        overloaded = self.backlogged.copy()
        overloaded[rows[utilization > 1.0]] = True
        hard = np.flatnonzero(overloaded)
        if len(hard):
            late[hard], timed_out[hard], rejected[hard], busy_vcpu_s[hard], cpu_sum[hard] = self._serve_overloaded(
                hard, seconds[hard], warm[hard], rate[hard], targets[hard], late_share, timeout_share
            )
        rejected = np.where(total_s > 0, rejected, arrival_rps * TICK_S)
        self.out["in_service_vcpu_s"] += (serving_s * self.vcpu).sum(axis=1)
        self.out["busy_vcpu_s"] += busy_vcpu_s
        each, ring = np.arange(count), self.tick % METRIC_RING
        self.cpu_targets[each, ring] = warm_targets.sum(axis=1)
        self.request_targets[each, ring] = (total_s / TICK_S + 0.5).astype(np.int64)
        self.cpu_utilization[each, ring] = _quotient(cpu_sum, warm_targets.sum(axis=1))
        self.requests_per_target[each, ring] = _quotient(arrival_rps * TICK_S, total_s / TICK_S)
        first_share = np.where(arrival_rps > 0, demand_rps / np.where(arrival_rps > 0, arrival_rps, 1.0), 1.0)
        self._count_requests(demand_rps, arrival_rps, first_share * (late + rejected), timed_out + rejected)
        return arrival_rps

    def _serve_overloaded(
        self,
        hard: Ints,
        seconds: Floats,
        warm: Bools,
        rate: Floats,
        targets: Ints,
        steady_late: Floats,
        steady_timed_out: Floats,
    ) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Serve the fleets in which some instance holds a backlog or gets one, [R] fleets, slot by slot."""
        physics, kind = self.physics, self.type[hard]
        backlog, capacity = self.backlog_requests[hard].astype(np.float64), self.capacity[kind]
        service_s, vcpu, serving = self.service_s[kind], self.vcpu[kind], seconds > 0
        requests = rate[:, None] * seconds
        after = np.maximum(0.0, backlog + requests - capacity * seconds)
        rejected = np.minimum(requests, np.maximum(0.0, after - physics["queue_limit_requests"][kind]))
        after = np.where(serving, after - rejected, np.maximum(0.0, backlog - capacity * TICK_S))
        admitted = requests - rejected
        late, timed_out = steady_late[hard[:, None], kind], steady_timed_out[hard[:, None], kind]
        at = np.nonzero(serving & ((backlog > 0) | (after > 0)))
        wait, wait_after = backlog[at] / capacity[at] / service_s[at], after[at] / capacity[at] / service_s[at]
        moments = (np.arange(5) + 0.5) / 5
        waits = wait[:, None] + (wait_after - wait)[:, None] * moments
        servers = physics["servers"][kind[at]].astype(np.int64)[:, None]
        fleet = at[0][:, None]
        utilization = rate[fleet] / capacity[at][:, None]
        for share, threshold in ((late, physics["slo_s"]), (timed_out, physics["timeout_s"])):
            x = (threshold / service_s[at])[:, None] - waits
            share[at] = response_tail(self.bank.log_tails[0], servers, targets[fleet], utilization, x).mean(axis=1)
        live = self.state[hard] != FREE
        going = ~serving & (self._end_s()[hard] <= (self.tick[hard] * TICK_S)[:, None])
        self.backlog_requests[hard] = np.where(live & ~going, after, self.backlog_requests[hard])
        self.backlogged[hard] = ((self.backlog_requests[hard] > 0) & live).any(axis=1)
        worked = np.minimum(backlog + admitted, capacity * seconds)
        busy = np.where(serving, worked * service_s / np.where(serving, seconds, 1.0) / vcpu, 0.0)
        sums = (admitted * late, admitted * timed_out, rejected * serving, busy * seconds * vcpu, busy * warm)
        return tuple(column.sum(axis=1) for column in sums)  # type: ignore[return-value]

    def _count_requests(self, demand_rps: Floats, arrival_rps: Floats, late_first: Floats, unanswered: Floats) -> None:
        physics, out = self.physics, self.out
        each, ring = np.arange(len(self.tick)), self.tick % METRIC_RING
        share = np.where(arrival_rps > 0, unanswered / np.where(arrival_rps > 0, arrival_rps * TICK_S, 1.0), 0.0)
        attempt_rps = demand_rps
        for attempt in range(int(physics["max_retries"])):
            coming_rps = self.retry_rps[:, attempt].copy()
            self.retry_rps[:, attempt] = share * attempt_rps
            out["retried_requests"] += share * attempt_rps * TICK_S
            attempt_rps = coming_rps
        failed = share * attempt_rps * TICK_S + self.lost_requests
        self.lost_requests[:] = 0.0
        requests = demand_rps * TICK_S
        known = np.where(requests > 0, requests, np.inf)
        self.late_fraction[each, ring] = late_first / known
        self.error_fraction[each, ring] = np.minimum(1.0, failed / known)
        out["requests"] += requests
        out["late_requests"] += late_first
        out["failed_requests"] += failed
        reference_usd = physics["reference_usd_per_request"] * self.tape["reference_demand_rps"] * TICK_S
        bad = self._is_bad(ring) & (demand_rps > 0)
        out["reference_usd"] += reference_usd
        out["ticks"] += 1
        out["slo_penalty_usd"] += physics["penalty_multiple"] * reference_usd * bad
        out["bad_minutes"] += bad
        largest = physics["max_instances"] * physics["largest_candidate_rps"]
        out["infeasible_minutes"] += demand_rps > largest
        seen = self._is_bad((self.tick - physics["metric_delay_ticks"]) % METRIC_RING)
        self.ticks_since_bad = np.where(seen, 0, self.ticks_since_bad + 1)
        self.bad_recent += (seen - self.bad_recent) / 1440.0

    def _is_bad(self, ring: Ints) -> Bools:
        each = np.arange(len(self.tick))
        late = self.late_fraction[each, ring] > self.physics["slo_late_fraction"]
        return np.asarray(late | (self.error_fraction[each, ring] >= self.physics["slo_error_fraction"]))

    def _end_s(self) -> Ints:
        """Return [B, S] the second each instance is gone."""
        grace = np.array([0, 0, self.physics["drain_s"], self.physics["notice_s"], 0, 0], np.int64)
        return np.asarray(np.where(self.off_s == FOREVER, FOREVER, self.off_s + grace[self.state]))

    def _bill(self, arrival_rps: Floats) -> None:
        physics, out = self.physics, self.out
        now = self.tick[:, None] * TICK_S
        running_from = self.launch_s + self.billing_delay_s
        start, end = np.maximum(running_from, now), np.minimum(self._end_s(), now + TICK_S)
        billed_s = np.where(self.state == FREE, 0, np.maximum(end - start, 0))
        on_demand = self.market == ON_DEMAND
        out["on_demand_usd"] += (billed_s * self.usd_per_s[self.type] * on_demand).sum(axis=1)
        at = np.nonzero((billed_s > 0) & ~on_demand)
        start, end, begun = start[at], end[at], running_from[at]
        begun = begun + (end - 1 - begun) // _HOUR_S * _HOUR_S
        pool = self.type[at] * ZONES + self.zone[at]
        usd = (end - np.maximum(start, begun)) * self._spot_price(at[0], begun, pool)
        usd += np.maximum(begun - start, 0) * self._spot_price(at[0], begun - _HOUR_S, pool)
        out["spot_usd"] += np.bincount(at[0], usd, len(self.tick))
        billed = billed_s.sum(axis=1)
        out["billed_instance_s"] += billed
        out["list_usd"] += (billed_s * self.usd_per_s[self.type]).sum(axis=1)
        out["billed_capacity_requests"] += (billed_s * physics["capacity_rps"][self.type]).sum(axis=1)
        out["volume_usd"] += billed * physics["volume_usd_per_s"]
        per_s = physics["balancer_usd_per_s"] + arrival_rps * physics["lcu_per_rps"] * physics["lcu_usd_per_s"]
        out["balancer_usd"] += TICK_S * per_s

    def _retire(self) -> None:
        end_s = self._end_s()
        rows, slots = np.nonzero((self.state != FREE) & (end_s <= (self.tick * TICK_S + TICK_S)[:, None]))
        if not len(rows):
            return
        at, count, out = (rows, slots), len(self.tick), self.out
        kind, running_from = self.type[at], self.launch_s[at] + self.billing_delay_s[at]
        run_s = end_s[at] - running_from
        spot = self.market[at] == SPOT
        spot_price = self._spot_price(rows, running_from, kind * ZONES + self.zone[at])
        usd_per_s = np.where(spot, spot_price, self.usd_per_s[kind])
        taken = self.state[at] == RECLAIMED
        refund = np.where(taken & (run_s > 0) & (run_s < _HOUR_S), run_s * usd_per_s, 0.0)
        top_up = np.where(~taken & (run_s > 0) & (run_s < TICK_S), (TICK_S - run_s) * usd_per_s, 0.0)
        out["refund_usd"] += np.bincount(rows, refund, count)
        out["spot_usd"] += np.bincount(rows, top_up * spot, count)
        out["on_demand_usd"] += np.bincount(rows, top_up * ~spot, count)
        timeout_s = self.physics["timeout_s"]
        lost = np.minimum(self.backlog_requests[at], self.capacity[kind] * timeout_s)
        self.lost_requests += np.bincount(rows, lost * (end_s[at] - self.off_s[at] < timeout_s), count)
        out["terminations"] += np.bincount(rows, minlength=count).astype(np.int32)
        self.state[at], self.backlog_requests[at] = FREE, 0.0


def played_decisions(
    settings: EnvSettings, envs: int, steps: int, bank: Bank | None = None
) -> tuple[FleetBatch, NDArray[np.void], list[NDArray[np.void]]]:
    """Play the benchmark's mix of actions once, with those menu entries that the NumPy version knows.

    Returns:
        The batch of the kernel; its FLEET records at the start; and the decisions the actions were, step by step.

    Raises:
        ValueError: More steps than an episode has.
    """
    menu = tuple(policy for policy in settings.task.menu if policy.kind in KINDS and not policy.also)
    settings = settings.model_copy(update={"task": settings.task.model_copy(update={"menu": menu})})
    env = InfrastructureVectorEnv(envs, settings, bank=bank)
    if steps * settings.task.decision_minutes > settings.episode_days * 1440:
        raise ValueError(f"{steps} decisions are more than an episode has")
    env.reset(seed=0)
    fleets = env.episodes.fleets
    start, decisions = fleets.state.copy(), []
    for action in action_mix(settings, envs, steps):
        env.step(action)
        decisions.append(fleets.decisions.copy())
    return fleets, start, decisions


def step_nanoseconds(settings: EnvSettings, envs: int, steps: int, passes: int = 3) -> dict[str, float]:
    """Play the same decisions with the kernel and with NumPy; return the nanoseconds of one decision of one fleet.

    Each decision counts with the fastest of its passes. The kernel's time includes telemetry, NumPy's does not.
    """
    fleets, start, decisions = played_decisions(settings, envs, steps)
    ticks = settings.task.decision_minutes
    times = np.full((2, passes, steps), np.inf)
    for again in range(passes):
        fleets.state[:] = start
        for step, decision in enumerate(decisions):
            fleets.decisions[:] = decision
            began = time.perf_counter()
            fleets.step(ticks)
            times[0, again, step] = time.perf_counter() - began
        plain = NumpyFleets(fleets.bank, fleets.menu, start)
        for step, decision in enumerate(decisions):
            began = time.perf_counter()
            plain.step(decision, ticks)
            times[1, again, step] = time.perf_counter() - began
    kernel_ns, numpy_ns = (float(part) for part in times.min(axis=1).mean(axis=1) / envs * 1e9)
    return {"kernel_ns": kernel_ns, "numpy_ns": numpy_ns, "numpy_over_kernel": numpy_ns / kernel_ns}


if __name__ == "__main__":
    for name, value in step_nanoseconds(EnvSettings(), 256, 100).items():
        print(f"{name}: {value:,.1f}")
