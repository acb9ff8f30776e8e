"""Small worlds in which a bound is attacked: each makes one thing cheap that a bound must not forget."""

import numpy as np
from reference.tiny_worlds import INSTANT, reclaim_all_at, tiny_bank

from simulators.bank import Bank
from simulators.catalogue import Catalogue, LaunchSpecification
from simulators.physics import Physics, ServiceObjective, Tariff, Workload, WorldSettings
from simulators.records import ZONES

TICKS = 120
AT_ONCE = INSTANT.model_copy(update={"drain_s": 0, "zone_rebalancing": False})
DRAINED = INSTANT.model_copy(update={"zone_rebalancing": False})
TYPES = Catalogue().types[:12]


def _one_type(name: str) -> Catalogue:
    return Catalogue(TYPES, (LaunchSpecification.single(name),))


EVERY_TYPE = Catalogue(TYPES, tuple(LaunchSpecification.single(item.name) for item in TYPES))


def _with_prices(bank: Bank, seed: int) -> Bank:
    """Prices of the types that move every hour, the same in all zones."""
    shares = np.random.default_rng(seed).uniform(0.2, 0.6, (TICKS // 60, len(TYPES)))
    usd_per_hour = shares * [item.price_usd_per_hour for item in TYPES]
    bank.spot_usd_per_s[0] = np.repeat(usd_per_hour, ZONES, axis=1) / 3600.0
    return bank


def _waves() -> np.ndarray:
    """Ten silent minutes to launch in, then two waves."""
    return np.where(np.arange(TICKS) < 10, 0.0, 900.0 + 500.0 * np.sin(np.arange(TICKS) / 9.0))


def steady() -> Bank:
    """Sixty instances that appear and vanish at will: nothing but the late share and the rounding is left."""
    return tiny_bank(np.full(TICKS, 2000.0), catalogue=_one_type("m6i.large"), settings=WorldSettings(physics=AT_ONCE))


def cheap_hour() -> Bank:
    """An hour without demand and cheap, then half an hour of demand at ten times the price."""
    demand = np.where((np.arange(TICKS) >= 60) & (np.arange(TICKS) < 90), 2000.0, 0.0)
    settings = WorldSettings(physics=AT_ONCE)
    return tiny_bank(demand, catalogue=_one_type("m6i.large"), settings=settings, spot_usd_per_hour=[0.009, 0.09])


def drains() -> Bank:
    """Demand that jumps every ten minutes, and drains of five."""
    demand = np.where(np.arange(TICKS) // 10 % 2 == 0, 1500.0, 300.0)
    return tiny_bank(demand, catalogue=_one_type("c7g.large"), settings=WorldSettings(physics=DRAINED))


def reclaim_wave() -> Bank:
    """Every pool takes its instances back each time demand falls, which saves three minutes of drain."""
    demand = np.where(np.arange(TICKS) // 10 % 2 == 0, 1500.0, 0.0)
    reclaim = reclaim_all_at(TICKS, 10)
    reclaim[10::20] = 255
    settings = WorldSettings(physics=DRAINED.model_copy(update={"capacity_rebalancing": False}))
    return tiny_bank(demand, catalogue=_one_type("c7g.large"), settings=settings, reclaim=reclaim)


def outages() -> Bank:
    """All zones go out each time demand falls, which saves the whole drain."""
    demand = np.where(np.arange(TICKS) // 10 % 2 == 0, 1500.0, 0.0)
    down = np.where(np.arange(TICKS) % 20 == 10, 7, 0)
    settings = WorldSettings(physics=DRAINED)
    return tiny_bank(demand, catalogue=_one_type("c7g.large"), settings=settings, zone_down=down)


def cheap_penalty() -> Bank:
    """Two crowds that are cheaper to fail than to serve."""
    crowd = np.isin(np.arange(TICKS) // 10, (4, 5, 9))
    objective, workload = ServiceObjective(penalty_multiple=0.33), Workload(max_retries=0, queue_limit_s=1.0)
    settings = WorldSettings(physics=DRAINED, objective=objective, workload=workload)
    return tiny_bank(np.where(crowd, 5000.0, 500.0), catalogue=_one_type("c7g.large"), settings=settings)


def committed() -> Bank:
    """A Savings Plan that covers about half of falling demand."""
    settings = WorldSettings(
        physics=AT_ONCE.model_copy(update={"on_demand_base": 18}),
        tariff=Tariff(commitment_usd_per_hour=1.2, plan_discount=0.3),
    )
    return tiny_bank(np.linspace(2000.0, 600.0, TICKS), catalogue=_one_type("m6i.large"), settings=settings)


def mixture() -> Bank:
    """Many types behind one balancer, prices that cross, and the default times to boot and drain."""
    return _with_prices(tiny_bank(_waves(), catalogue=EVERY_TYPE), seed=3)


def least_outstanding() -> Bank:
    """The same behind a balancer that loads every type alike."""
    physics = Physics(routing="least_outstanding_requests", drain_s=120, boot_median_s=5.0, app_median_s=5.0)
    bank = tiny_bank(_waves(), catalogue=EVERY_TYPE, settings=WorldSettings(physics=physics))
    return _with_prices(bank, seed=4)


def few_instances() -> Bank:
    """Demand of one to four instances, which come whole."""
    demand = 100.0 + 60.0 * np.sin(np.arange(TICKS) / 20.0)
    return tiny_bank(demand, catalogue=_one_type("c7g.large"), settings=WorldSettings(physics=DRAINED))


WORLDS = (
    steady,
    cheap_hour,
    drains,
    reclaim_wave,
    outages,
    cheap_penalty,
    committed,
    mixture,
    least_outstanding,
    few_instances,
)
