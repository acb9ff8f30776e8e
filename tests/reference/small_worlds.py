"""Small worlds and random decisions on which the kernel and the reference are compared."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.catalogue import Catalogue, InstanceType, LaunchSpecification
from simulators.fleets import work_space
from simulators.kernel import reset_batch, step_batch
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, ScheduledSize, Step, menu_records
from simulators.physics import (
    Physics,
    ServiceObjective,
    Tariff,
    Workload,
    WorldSettings,
    reference_rps_per_instance,
)
from simulators.records import AMPLE, DECISION, DRY, FLEET, OUTCOME, TELEMETRY, TIGHT, ZONES
from simulators.scenario import Scenario, generate
from simulators.worlds import WorldPlan, build_bank

MARKET_DAYS = 3


def _types() -> tuple[InstanceType, ...]:
    """Real types, and four made-up ones: burstable (2), short of memory, short of network."""
    known = Catalogue()
    large, arm = known["m6i.large"], known["m7g.large"]
    real = [known[name] for name in ("m6i.large", "m7i.large", "m7g.large", "c6a.large", "c7g.xlarge")]
    return (
        *real,
        replace(large, name="burst.large", credits_per_hour=36.0, max_credits=4.0, baseline=0.3, network_gbps=0.0012),
        replace(arm, name="burst.small", credits_per_hour=24.0, max_credits=24.0, baseline=0.2),
        replace(large, name="narrow.large", network_gbps=0.0008),
        replace(large, name="lean.large", memory_gib=1.03, price_usd_per_hour=0.05),
        replace(large, name="crammed.large", memory_gib=1.005859375, price_usd_per_hour=0.04),
    )


ORDINARY = ("m7i.large", "m7g.large", "c6a.large", "m6i.large")
STRATEGIES = ("price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "lowest-price")
CATALOGUE = Catalogue(
    _types(),
    (
        LaunchSpecification.single("m6i.large"),
        LaunchSpecification.single("c7g.xlarge"),
        LaunchSpecification.single("burst.large"),
        LaunchSpecification.single("crammed.large"),
        *(LaunchSpecification(name, ORDINARY, spot_allocation=name) for name in STRATEGIES),
        LaunchSpecification("one-pool", ORDINARY[::-1], spot_allocation="lowest-price", spot_pools=1),
        LaunchSpecification("odd", ("lean.large", "narrow.large", "burst.small"), on_demand_allocation="prioritized"),
        LaunchSpecification(
            "bursting", ("burst.small", "burst.large", "m6i.large"), spot_allocation="capacity-optimized"
        ),
        LaunchSpecification("many-pools", (*ORDINARY, "c7g.xlarge"), spot_allocation="lowest-price", spot_pools=20),
    ),
)

SETTINGS = (
    WorldSettings(physics=Physics(min_healthy_fraction=0.2), tariff=Tariff(commitment_usd_per_hour=0.5)),
    WorldSettings(
        physics=Physics(
            routing="least_outstanding_requests",
            capacity_rebalancing=False,
            drain_s=0,
            metric_delay_s=0,
            min_healthy_fraction=0.5,
            max_healthy_fraction=1.25,
            min_instances=2,
            max_instances=25,
            credits="standard",
            on_demand_base=3,
        ),
        workload=Workload(cv2=4.0, timeout_s=1.0, queue_limit_s=3.0, max_retries=3),
        objective=ServiceObjective(penalty="traffic"),
        tariff=Tariff(commitment_usd_per_hour=3.0, plan_discount=0.5),
    ),
    WorldSettings(
        physics=Physics(
            metric_delay_s=120,
            capacity_rebalancing=False,
            zone_rebalancing=False,
            instance_warmup_s=100,
            min_healthy_fraction=0.75,
            tight_failure_probability=0.8,
            checkpoints=(0.2, 0.5, 1.0),
            checkpoint_delay_s=240,
            on_demand_base=5,
        ),
        workload=Workload(cv2=4.0, timeout_s=10.0, queue_limit_s=40.0, max_retries=0),
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
            credits="standard",
        ),
        workload=Workload(cpu_ms_per_request=200.0, cv2=1.0, timeout_s=2.0, queue_limit_s=1.0, kb_per_request=0.0),
        objective=ServiceObjective(p95_ms=900.0, error_fraction=0.05),
    ),
    WorldSettings(
        physics=Physics(
            min_healthy_fraction=1.0,
            max_healthy_fraction=1.1,
            checkpoints=(0.3, 0.6),
            checkpoint_delay_s=120,
            instance_warmup_s=0,
        ),
        workload=Workload(max_retries=2, requests_per_connection=1.0),
        tariff=Tariff(volume_gb=100.0, credit_usd_per_vcpu_hour=0.5),
    ),
)


def _policies() -> tuple[ScalingPolicy, ...]:
    """Every kind. Thresholds are odd numbers: the busy share of a saturated target is often a round one."""
    cpu = ScalingPolicy(name="cpu", kind="target_tracking_cpu", target_utilization=0.5713, in_points=4)
    requests = ScalingPolicy(name="requests", kind="target_tracking_requests", low_ratio=0.9, out_points=1, in_points=3)
    fixed_requests = ScalingPolicy(
        name="fixed requests",
        kind="target_tracking_requests",
        target_requests_per_minute=1100.0,
        out_points=2,
        out_periods=5,
        in_points=3,
        in_periods=6,
    )
    never_in = cpu.model_copy(update={"name": "never in", "disable_scale_in": True, "target_utilization": 0.5171})
    predictive = ScalingPolicy(name="predictive", kind="predictive", buffer_minutes=7)
    steps = ScalingPolicy(
        name="steps",
        kind="step",
        high_threshold=0.5137,
        low_threshold=0.4113,
        steps_out=(
            Step(lower=0, upper=0.1, change=0),
            Step(lower=0.1, upper=0.2, change=10),
            Step(lower=0.2, change=30),
        ),
        steps_in=(
            Step(lower=-0.1, upper=0, change=-5),
            Step(lower=-0.2, upper=-0.1, change=-10),
            Step(upper=-0.2, change=-30),
        ),
        adjustment="percent",
        out_points=2,
        out_periods=4,
        in_points=3,
    )
    simple = ScalingPolicy(
        name="simple",
        kind="step",
        metric="requests",
        high_threshold=1500.0,
        low_threshold=900.0,
        steps_out=(Step(lower=0, change=2),),
        steps_in=(Step(upper=0, change=-1),),
        out_points=1,
        in_points=2,
        cooldown_minutes=5,
    )
    exact = steps.model_copy(
        update={
            "name": "exact",
            "adjustment": "exact",
            "steps_out": (Step(lower=0, upper=0.3, change=8), Step(lower=0.3, change=16)),
            "steps_in": (Step(upper=0, change=4),),
        }
    )
    magnitude = steps.model_copy(update={"name": "magnitude", "min_magnitude": 3, "out_points": 1, "out_periods": None})
    schedule = tuple(ScheduledSize(minute_of_week=at, instances=size) for at, size in ((1500, 4), (1700, 9), (2100, 2)))
    only_out = steps.model_copy(update={"name": "only out", "low_threshold": None, "steps_in": ()})
    scheduled = ScalingPolicy(name="scheduled", kind="scheduled", schedule=schedule)
    ratios = tuple(
        ScheduledSize(minute_of_week=at, mean_demand_ratio=ratio) for at, ratio in ((1600, 0.5), (1900, 1.7))
    )
    by_ratio = ScalingPolicy(name="by ratio", kind="scheduled", schedule=ratios, spot_margin=0.3)
    together = {
        "tracked and predicted": (cpu, predictive),
        "predicted and never in": (predictive, never_in),
        "three": (requests, predictive, steps),
        "never in twice": (never_in, fixed_requests.model_copy(update={"disable_scale_in": True})),
        "simple and exact": (simple, exact),
        "steps over a schedule": (scheduled, steps),
        "requests and only out": (requests, only_out),
        "forecast and simple": (ScalingPolicy(name="beside", kind="forecast", hold_minutes=3), simple),
    }
    return (
        ScalingPolicy(name="manual", kind="manual"),
        ScalingPolicy(name="static", kind="static", spot_margin=0.3),
        cpu,
        requests,
        ScalingPolicy(name="forecast", kind="forecast", hold_minutes=4, quantile=1.6, spot_margin=0.2),
        ScalingPolicy(name="careful", kind="forecast", lead=6, hold_minutes=0, quantile=3.0),
        cpu.model_copy(update={"name": "cool", "target_utilization": 0.3519, "in_points": 15}),
        fixed_requests,
        never_in,
        steps,
        magnitude,
        exact,
        simple,
        scheduled,
        by_ratio,
        predictive,
        *(
            first.model_copy(update={"name": name, "also": tuple(others)})
            for name, (first, *others) in together.items()
        ),
    )


@cache
def menu() -> NDArray[np.void]:
    return menu_records(_policies())


MENU_SIZE = len(_policies())


def random_market(seed: int, *, calm: bool = False) -> MarketTape:
    """Pools that tighten and dry up, bulk reclaims announced ahead or not at all, and zones that go out."""
    rng = np.random.default_rng(seed)
    ticks, pools = MARKET_DAYS * 1440, len(CATALOGUE.types) * ZONES
    state = np.full((ticks, pools), AMPLE, np.uint8)
    reclaim = np.zeros((ticks, pools), np.uint8)
    lead = np.zeros((ticks, pools), np.uint8)
    for pool in range(pools):
        tick = int(rng.exponential(40))
        while tick < ticks:
            dry = int(rng.exponential(30)) + 1
            state[max(0, tick - rng.integers(0, 30)) : tick, pool] = TIGHT
            state[tick : tick + dry, pool] = DRY
            reclaim[tick, pool] = rng.choice([255, 255, 40, 160])
            ahead = int(rng.integers(0, 25))
            if ahead > 0 and tick - ahead >= 0:
                lead[tick - ahead, pool] = ahead
            tick += dry + int(rng.exponential(600 if calm else 90)) + 1
    down = np.zeros(ticks, np.uint8)
    for start in rng.integers(0, ticks, 2 if calm else 16):
        down[start : start + rng.integers(1, 40)] |= np.uint8(
            rng.choice([1, 2, 4, 3, 7], p=[0.3, 0.3, 0.3, 0.08, 0.02])
        )
    list_price = np.repeat([item.price_usd_per_hour for item in CATALOGUE.types], ZONES) / 3600
    prices = list_price * rng.uniform(0.25, 0.9, (ticks // 60, pools))
    return MarketTape(prices.astype(np.float32), state, reclaim, lead, down)


def _scenario(number: int, pattern: str, mean: float) -> Scenario:
    """Demand of a pattern with silent minutes, heavy requests, faults, metric gaps and unscored stretches."""
    plain = generate(
        pattern,
        days=1,
        seed=number,
        rps_per_reference_instance=reference_rps_per_instance(CATALOGUE, Workload()),
        mean_instances=mean,
    )
    tick = np.arange(len(plain.demand_rps)) + 97 * number
    return replace(
        plain,
        demand_rps=np.where(tick % 700 < 6, 0.0, plain.demand_rps).astype(np.float32),
        work_scale=np.where(tick % 500 < 60, 1.7, 1.0).astype(np.float32),
        scored=tick % 400 >= 12,
        fault_fraction=np.where(tick % 300 < 25, 0.2, 0.0).astype(np.float32),
        metric_gap=tick % 170 < 9,
    )


@cache
def small_bank() -> Bank:
    """Demand from drowsy to flash crowds x calm and hot markets x five settings of the physics."""
    patterns = (("flash_crowd", 1.5), ("on_off", 4.0), ("bursty", 40.0), ("diurnal", 8.0), ("steady", 3.0))
    scenarios = [_scenario(number, pattern, mean) for number, (pattern, mean) in enumerate(patterns)]
    markets = [random_market(1, calm=True), random_market(2), random_market(3)]
    plans = [
        WorldPlan(scenario, market, 137 * scenario + 61 * market, settings)
        for scenario in range(len(scenarios))
        for market in range(len(markets))
        for settings in range(len(SETTINGS))
    ]
    return build_bank(scenarios, markets, plans, catalogue=CATALOGUE, settings=SETTINGS)


@dataclass
class Run:
    """Fleets under way in the kernel, with a random decision maker."""

    bank: Bank
    fleets: NDArray[np.void]
    readings: NDArray[np.void]
    decisions: NDArray[np.void]
    rng: np.random.Generator

    def decide(self, chance: float = 0.1) -> None:
        """Change what is asked of some fleets at random; the others ask for no more than they have."""
        count = len(self.fleets)
        self.decisions["scale"] = 0
        for fleet in np.flatnonzero(self.rng.random(count) < chance):
            decision = self.decisions[fleet]
            wide = self.rng.random() < 0.3
            decision["scale"] = self.rng.integers(-19, 20) if wide else self.rng.integers(-2, 3)
            if self.rng.random() < 0.5:
                decision["policy"] = self.rng.integers(0, MENU_SIZE)
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
    decisions = np.zeros(count, DECISION)
    decisions["policy"] = rng.integers(0, MENU_SIZE, count)
    decisions["spec"] = rng.integers(0, bank.physics[0]["num_candidates"], count)
    decisions["spot_fraction"] = rng.choice([0.0, 0.25, 0.5, 0.7, 1.0], count)
    return Run(bank, fleets, readings, decisions, rng)
