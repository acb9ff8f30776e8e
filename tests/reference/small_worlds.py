"""Small worlds and random decisions on which the kernel and the reference are compared."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.fleets import work_space
from simulators.kernel import reset_batch, step_batch
from simulators.market import MarketSettings, draw_market
from simulators.physics import Physics, ServiceObjective, Workload, WorldSettings, reference_rps_per_instance
from simulators.records import (
    DECISION,
    FLEET,
    OUTCOME,
    POLICY,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_STATIC,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    TELEMETRY,
)
from simulators.scenario import generate
from simulators.worlds import WorldPlan, build_bank

HOT_MARKET = MarketSettings(hot_share_by_band=(1, 1, 1, 1, 1), hot_up=(-0.7, 1.0))

SETTINGS = (
    WorldSettings(),
    WorldSettings(
        physics=Physics(
            routing="least_outstanding_requests",
            capacity_rebalancing=False,
            drain_s=0,
            metric_delay_s=0,
            min_healthy_fraction=0.5,
            min_instances=2,
            max_instances=25,
        ),
        workload=Workload(cv2=4.0, timeout_s=1.0, queue_limit_s=3.0),
        objective=ServiceObjective(penalty="traffic"),
    ),
    WorldSettings(
        physics=Physics(
            metric_delay_s=120,
            capacity_rebalancing=False,
            instance_warmup_s=100,
            min_healthy_fraction=0.75,
            tight_failure_probability=0.8,
        ),
        workload=Workload(cv2=4.0, timeout_s=10.0, queue_limit_s=40.0),
    ),
    WorldSettings(
        physics=Physics(
            routing="least_outstanding_requests",
            drain_s=100,
            notice_s=30,
            boot_median_s=90.0,
            boot_sigma=0.5,
            app_median_s=10.0,
            unbilled_boot_share=0.3,
            register_s=0,
            min_healthy_fraction=0.0,
            max_instances=20,
        ),
        workload=Workload(cpu_ms_per_request=200.0, cv2=1.0, timeout_s=2.0, queue_limit_s=1.0),
        objective=ServiceObjective(p95_ms=900.0, error_fraction=0.05),
    ),
)


def menu() -> NDArray[np.void]:
    entries = np.zeros(7, POLICY)
    entries["out_points"], entries["in_points"], entries["low_ratio"] = 3, 15, 0.7
    entries["target_utilization"] = 0.6
    for entry, values in zip(
        entries,
        (
            {"kind": POLICY_MANUAL},
            {"kind": POLICY_STATIC, "mean_demand_ratio": 1.5, "spot_margin": 0.3},
            {"kind": POLICY_TARGET_CPU, "in_points": 4},
            {"kind": POLICY_TARGET_REQUESTS, "in_points": 3, "low_ratio": 0.9, "out_points": 1},
            {"kind": POLICY_FORECAST, "lead": 2, "hold_ticks": 4, "quantile": 1.6, "spot_margin": 0.2},
            {"kind": POLICY_FORECAST, "lead": 6, "hold_ticks": 0, "quantile": 3.0},
            {"kind": POLICY_TARGET_CPU, "target_utilization": 0.35},
        ),
        strict=True,
    ):
        for name, value in values.items():
            entry[name] = value
    return entries


@cache
def small_bank() -> Bank:
    """Demand from drowsy to flash crowds x calm and hot markets x four settings of the physics."""
    catalogue = Catalogue()
    scenarios = []
    for number, (pattern, mean) in enumerate(
        (("flash_crowd", 1.5), ("on_off", 4.0), ("bursty", 20.0), ("diurnal", 8.0), ("steady", 3.0))
    ):
        scenarios.append(
            generate(
                pattern,
                days=1,
                seed=number,
                rps_per_reference_instance=reference_rps_per_instance(catalogue, Workload()),
                mean_instances=mean,
            )
        )
    markets = [draw_market(catalogue, days=3, seed=1)]
    markets += [draw_market(catalogue, days=3, seed=seed, settings=HOT_MARKET) for seed in (2, 3)]
    plans = [
        WorldPlan(scenario, market, 137 * scenario + 61 * market, settings)
        for scenario in range(len(scenarios))
        for market in range(len(markets))
        for settings in range(len(SETTINGS))
    ]
    bank = build_bank(scenarios, markets, plans, catalogue=catalogue, settings=SETTINGS)
    silent = bank.demand_rps.copy()
    silent[2000:2006] = 0.0
    heavy = bank.work_scale.copy()
    heavy[np.arange(len(heavy)) % 500 < 60] = 1.7
    scored = bank.scored.copy()
    scored[np.arange(len(scored)) % 400 < 12] = 0
    return bank._replace(demand_rps=silent, work_scale=heavy, scored=scored)


@dataclass
class Run:
    """Fleets under way in the kernel, with a random decision maker."""

    bank: Bank
    fleets: NDArray[np.void]
    readings: NDArray[np.void]
    decisions: NDArray[np.void]
    rng: np.random.Generator

    def decide(self, chance: float = 0.25) -> None:
        """Change what is asked of some fleets at random; the others ask for no more than they have."""
        count = len(self.fleets)
        self.decisions["scale"] = 0
        for fleet in np.flatnonzero(self.rng.random(count) < chance):
            decision = self.decisions[fleet]
            wide = self.rng.random() < 0.3
            decision["scale"] = self.rng.integers(-19, 20) if wide else self.rng.integers(-2, 3)
            decision["policy"] = self.rng.integers(0, len(menu()))
            if self.rng.random() < 0.3:
                decision["spec"] = self.rng.integers(0, self.bank.physics[0]["num_candidates"])
            if self.rng.random() < 0.5:
                decision["spot_fraction"] = self.rng.choice([0.0, 0.25, 0.5, 0.7, 1.0])

    def step(self, ticks: int = 1, *, detail: bool = False) -> NDArray[np.void]:
        outcomes = np.zeros(len(self.fleets), OUTCOME)
        arrays = (self.fleets, self.bank, menu(), self.decisions, outcomes, self.readings)
        step_batch(*arrays, ticks, detail, *work_space())
        return outcomes


def start_run(bank: Bank, count: int, seed: int, *, first_tick: Any = None, worlds: Any = None) -> Run:
    rng = np.random.default_rng(seed)
    fleets, readings = np.zeros(count, FLEET), np.zeros(count, TELEMETRY)
    if worlds is None:
        worlds = (np.arange(count) + 11 * seed) % len(bank.worlds)
    if first_tick is None:
        first_tick = rng.integers(1440, 2600, count)
    reset_batch(
        fleets,
        bank,
        np.arange(count),
        worlds,
        first_tick,
        first_tick + 100_000,
        rng.integers(0, 2**63, count).astype(np.uint64),
        readings,
    )
    return Run(bank, fleets, readings, np.zeros(count, DECISION), rng)
