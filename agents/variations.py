"""What the influence study varies: one mechanism switched off, or one uncertain number moved to an end of its range.

``VARIATIONS`` is a table. A variation is a change of a ``Setup``, and a setup is everything a study plays: demand,
market, catalogue, physics and policies. Most changes replace a setting; those of the market or the catalogue are
functions. Facts in ``source`` are the numbers of docs/facts.yaml.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel

from agents.rules import Rule
from simulators.anomalies import KINDS
from simulators.catalogue import TYPES, Catalogue, InstanceType, LaunchSpecification
from simulators.market import MarketSettings, MarketTape
from simulators.menu import ScalingPolicy
from simulators.physics import Tariff, WorldSettings
from simulators.records import ZONES
from simulators.regions import in_region
from simulators.scenario import Forecasts, Scenario

Treatment = Literal["modelled", "simplified"]
MarketEdit = Callable[[MarketTape, Catalogue], MarketTape]
ScenarioEdit = Callable[[Scenario], Scenario]

MARKET_KINDS: Final = ("zone_outage", "reclaim_wave", "cost_spike")
DEMAND_KINDS: Final = tuple(kind for kind in KINDS if kind not in MARKET_KINDS)
_TRACKING: Final = ("target_tracking_cpu", "target_tracking_requests")
_HOURS_PER_MONTH: Final = 730.0


@dataclass(frozen=True)
class Setup:
    """Everything a study plays.

    Attributes:
        rules: Policies, each with its launch specification and spot share.
        markets: Settings of each market tape.
        catalogue: Types and launch specifications.
        world: Physics, workload, objective and tariff.
        demand_kinds: Anomalies of the demand tapes that have some.
        market_kinds: Anomalies of the market tape that has some.
        forecasts: What the forecast rule sees.
        edit_market: Applied to every market tape.
        edit_scenario: Applied to every demand tape.
        bill_usd_per_hour: Mean bill over policies and worlds of the baseline, once it has been played.
    """

    rules: tuple[Rule, ...]
    markets: tuple[MarketSettings, ...]
    catalogue: Catalogue = Catalogue()
    world: WorldSettings = WorldSettings()
    demand_kinds: tuple[str, ...] = DEMAND_KINDS
    market_kinds: tuple[str, ...] = MARKET_KINDS
    forecasts: Forecasts = "quantiles"
    edit_market: MarketEdit = lambda tape, catalogue: tape
    edit_scenario: ScenarioEdit = lambda scenario: scenario
    bill_usd_per_hour: float = 0.0


Change = Callable[[Setup], Setup]


@dataclass(frozen=True)
class Variation:
    """One row of the study.

    Attributes:
        name: Short and unique.
        group: Heading it stands under.
        what: What is changed, from what to what.
        source: Range and where it comes from.
        treatment: ``modelled``: the simulator has the mechanism, or the number as a setting, and the row tells what
            that is worth. ``simplified``: the simulator leaves it out, and the row imitates it to tell what that costs.
        change: The change of the setup.
        against: Name of the variation it is compared with; empty for the baseline.
    """

    name: str
    group: str
    what: str
    source: str
    treatment: Treatment
    change: Change
    against: str = ""


def _replaced(model: Any, values: Mapping[str, Any]) -> Any:
    """Return a validated settings model with some values replaced; a mapping replaces inside a part."""
    content = model.model_dump()
    for key, value in values.items():
        old = getattr(model, key)
        content[key] = _replaced(old, value) if isinstance(old, BaseModel) and isinstance(value, Mapping) else value
    return type(model).model_validate({key: _plain(value) for key, value in content.items()})


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else value


def world(part: Literal["physics", "workload", "objective", "tariff"], **values: Any) -> Change:
    """Return the change that sets values of one part of the world's settings."""

    def change(setup: Setup) -> Setup:
        changed = _replaced(getattr(setup.world, part), values)
        return replace(setup, world=setup.world.model_copy(update={part: changed}))

    return change


def physics(**values: Any) -> Change:
    """Return the change that sets values of the physics."""
    return world("physics", **values)


def workload(**values: Any) -> Change:
    """Return the change that sets values of the workload; demand is scaled to the same number of instances."""
    return world("workload", **values)


def tariff(**values: Any) -> Change:
    """Return the change that sets values of the tariff."""
    return world("tariff", **values)


def market(**values: Any) -> Change:
    """Return the change that sets values of every market tape's settings."""
    return lambda setup: replace(setup, markets=tuple(_replaced(item, values) for item in setup.markets))


def together(*changes: Change) -> Change:
    """Return the change that makes several, one after the other."""

    def change(setup: Setup) -> Setup:
        for item in changes:
            setup = item(setup)
        return setup

    return change


def setup(**values: Any) -> Change:
    """Return the change that replaces fields of the setup itself."""
    return lambda before: replace(before, **values)


def tracking(*kinds: str, **values: Any) -> Change:
    """Return the change that sets values of every policy of some kinds, those that act beside another included."""

    def of_policy(policy: ScalingPolicy) -> ScalingPolicy:
        update = dict(values) if policy.kind in kinds else {}
        return policy.model_copy(update=update | {"also": tuple(of_policy(other) for other in policy.also)})

    def change(before: Setup) -> Setup:
        rules = (rule.model_copy(update={"policy": of_policy(rule.policy)}) for rule in before.rules)
        return replace(before, rules=tuple(rules))

    return change


def types(altered: Callable[[InstanceType], InstanceType]) -> Change:
    """Return the change that alters every instance type of the catalogue."""

    def change(before: Setup) -> Setup:
        kinds = tuple(altered(item) for item in before.catalogue.types)
        return replace(before, catalogue=Catalogue(kinds, before.catalogue.candidates))

    return change


def faster(factor: float, *, architecture: str = "", generations: str = "") -> Callable[[InstanceType], InstanceType]:
    """Return the alteration that multiplies the speed of types of an architecture, or of some generations."""

    def altered(item: InstanceType) -> InstanceType:
        chosen = item.architecture == architecture or item.family[1] in generations
        return replace(item, coremark_per_vcpu=item.coremark_per_vcpu * factor) if chosen else item

    return altered


CLAIMED_UNITS: Final[Mapping[str, float]] = {
    "m6i": 1.15,
    "m6a": 1.10,
    "m7i": 1.25,
    "m7g": 1.35,
    "m8g": 1.70,
    "c6a": 1.10,
    "c7i": 1.25,
    "c7g": 1.35,
    "c8g": 1.70,
}
"""Work of a vCPU by vendors' claims, m5 being 1; a compute family counts as the general one of its generation."""


def claimed(item: InstanceType) -> InstanceType:
    """Return a type as fast as vendors' claims say, relative to m6i."""
    reference = next(kind for kind in TYPES if kind.family == "m6i").coremark_per_vcpu
    return replace(item, coremark_per_vcpu=CLAIMED_UNITS[item.family] / CLAIMED_UNITS["m6i"] * reference)


def only(*type_names: str, **strategy: Any) -> Change:
    """Return the change that leaves one launch specification; the pools of the market stay the default ones.

    Types outside the default catalogue are added to it, and to those of a comparison, by ``_with_burstable``.
    """
    return lambda before: replace(
        before,
        catalogue=Catalogue(before.catalogue.types, (LaunchSpecification("only", type_names, **strategy),)),
    )


def _with_burstable(before: Setup) -> Setup:
    """Add t3.large to the catalogue's types."""
    burstable = next(item for item in TYPES if item.name == "t3.large")
    return replace(before, catalogue=Catalogue((*before.catalogue.types, burstable), before.catalogue.candidates))


def region(name: str) -> Change:
    """Return the change of the catalogue's price level to that of another Region."""
    return lambda before: replace(before, catalogue=in_region(before.catalogue, name))


def commitment(share: float) -> Change:
    """Return the change to a Savings Plan commitment of a share of the baseline's mean bill."""
    return lambda before: tariff(commitment_usd_per_hour=share * before.bill_usd_per_hour)(before)


def silent(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
    """Return a market tape without rebalance recommendations: only the two-minute notice is left."""
    return replace(tape, rebalance_lead=np.zeros_like(tape.rebalance_lead))


def spot_level(factor: float) -> MarketEdit:
    """Return the edit that multiplies spot prices, capped at the on-demand price."""

    def edit(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
        cap = np.repeat([item.price_usd_per_hour / 3600.0 for item in catalogue.types], ZONES)
        return replace(tape, spot_usd_per_s=np.minimum(tape.spot_usd_per_s * factor, cap).astype(np.float32))

    return edit


_ONE_AT_A_TIME: Final = 13


def independent(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
    """Return a market tape whose bulk reclaims come in pieces of 5 % of the pool, each in a minute of its own.

    The pieces fall anywhere in the tape and keep the lead of their drop's recommendation, so an instance is as likely
    to be reclaimed over the tape, but hardly ever together with others. Pools are dry when they were.
    """
    rng = np.random.default_rng(0x1DE)
    reclaim, lead = np.zeros_like(tape.reclaim), np.zeros_like(tape.rebalance_lead)
    announced = _lead_of_reclaims(tape)
    for tick, pool in np.argwhere(tape.reclaim > 0):
        pieces = -(-int(tape.reclaim[tick, pool]) // _ONE_AT_A_TIME)
        for at in rng.integers(len(reclaim), size=pieces):
            reclaim[at, pool] = _ONE_AT_A_TIME
            ahead = int(announced[tick, pool])
            if 0 < ahead <= at and lead[at - ahead, pool] == 0:
                lead[at - ahead, pool] = ahead
    return replace(tape, reclaim=reclaim, rebalance_lead=lead)


def _lead_of_reclaims(tape: MarketTape) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return [ticks, pools] how far ahead the reclaim of a tick was recommended, 0 where it was not."""
    announced = np.zeros_like(tape.rebalance_lead)
    for tick, pool in np.argwhere(tape.rebalance_lead > 0):
        at = tick + int(tape.rebalance_lead[tick, pool])
        if at < len(announced):
            announced[at, pool] = tape.rebalance_lead[tick, pool]
    return announced


def faults(share: float) -> ScenarioEdit:
    """Return the edit that makes this share of all requests fail, whatever the fleet does, instead of the anomalies'."""
    return lambda scenario: replace(scenario, fault_fraction=np.full_like(scenario.fault_fraction, share))


def predicted_perfectly(scenario: Scenario) -> Scenario:
    """Return a scenario whose hourly load forecast is the true hourly mean."""
    hours = np.add.reduceat(scenario.demand_rps, np.arange(0, len(scenario.demand_rps), 60))
    minutes = np.minimum(60, len(scenario.demand_rps) - np.arange(0, len(scenario.demand_rps), 60))
    return replace(scenario, predictive_rps=(hours / minutes).astype(np.float32))


def _per_instance(usd_per_hour: float) -> Change:
    """Return the change that adds a price per hour to every instance, by way of its volume."""
    defaults = Tariff()
    extra_gb = usd_per_hour * _HOURS_PER_MONTH / defaults.volume_usd_per_gb_month
    return tariff(volume_gb=defaults.volume_gb + extra_gb)


_ARM_MIX: Final = ("m7g.large", "m8g.large", "c7g.large", "c8g.large")
_CALM, _HOT = (0.0,) * 5, (1.0,) * 5
_BINDING_KB: Final = 2500.0
_NO_OUTAGES: Final = tuple(kind for kind in MARKET_KINDS if kind != "zone_outage")
_LCU: Final = Tariff().lcu_usd_per_hour

VARIATIONS: Final[tuple[Variation, ...]] = (
    Variation(
        "capacity rebalancing off",
        "group",
        "spot instances are replaced at their end",
        "off is AWS's default",
        "modelled",
        physics(capacity_rebalancing=False),
    ),
    Variation(
        "zone rebalancing off",
        "group",
        "zones stay uneven",
        "AS-10",
        "modelled",
        physics(zone_rebalancing=False),
    ),
    Variation("on-demand base 2", "group", "0 to 2", "MI-02", "modelled", physics(on_demand_base=2)),
    Variation("min healthy 50 %", "group", "90 to 50 %", "IR-03", "modelled", physics(min_healthy_fraction=0.5)),
    Variation("min healthy 100 %", "group", "90 to 100 %", "IR-03", "modelled", physics(min_healthy_fraction=1.0)),
    Variation(
        "max healthy 110 %", "group", "refresh launches first", "IR-05", "modelled", physics(max_healthy_fraction=1.1)
    ),
    Variation("warm-up 0 s", "group", "300 to 0 s", "SS-08: 0 to 3600 s", "modelled", physics(instance_warmup_s=0)),
    Variation("warm-up 600 s", "group", "300 to 600 s", "SS-08", "modelled", physics(instance_warmup_s=600)),
    Variation(
        "low ratio 0.7",
        "target tracking",
        "requests 0.9 to 0.7",
        "TT-03, unverified",
        "modelled",
        tracking(*_TRACKING, low_ratio=0.7),
    ),
    Variation(
        "low ratio 0.9",
        "target tracking",
        "CPU 0.7 to 0.9",
        "TT-03, older captures",
        "modelled",
        tracking(*_TRACKING, low_ratio=0.9),
    ),
    Variation(
        "points 2 out, 10 in",
        "target tracking",
        "3 and 15 to 2 and 10: AWS's tuning of itself, which is not published",
        "TT-12",
        "simplified",
        tracking(*_TRACKING, out_points=2, in_points=10),
    ),
    Variation(
        "five-minute metrics",
        "target tracking",
        "15 minutes out, 75 in",
        "TT-12, TT-13: basic monitoring",
        "simplified",
        tracking(*_TRACKING, out_points=15, in_points=75),
    ),
    Variation(
        "quicker metrics",
        "target tracking",
        "1 point out",
        "TT-11: 10 s metrics",
        "simplified",
        tracking(*_TRACKING, out_points=1),
    ),
    Variation(
        "hourly forecasts perfect",
        "target tracking",
        "predictive-like scaling knows the hourly means",
        "PS-09: AWS's algorithm is not published",
        "simplified",
        setup(edit_scenario=predicted_perfectly),
    ),
    Variation(
        "forecasts perfect",
        "forecast",
        "the forecast rule knows the future",
        "-",
        "modelled",
        setup(forecasts="perfect"),
    ),
    Variation(
        "no forecasts", "forecast", "the forecast rule sees the last value", "-", "modelled", setup(forecasts="none")
    ),
    Variation("boot half as long", "launch", "median 24 to 12 s", "LT-01", "modelled", physics(boot_median_s=12.0)),
    Variation(
        "boot twice as long", "launch", "24 to 48 s", "LT-01, LT-03, LT-05", "modelled", physics(boot_median_s=48.0)
    ),
    Variation("application starts in 30 s", "launch", "60 to 30 s", "LT-06", "modelled", physics(app_median_s=30.0)),
    Variation("application starts in 180 s", "launch", "60 to 180 s", "LT-06", "modelled", physics(app_median_s=180.0)),
    Variation(
        "warm pool",
        "launch",
        "the application has started before",
        "WP-01 to WP-03; its cost is left out",
        "simplified",
        physics(app_median_s=0.0),
    ),
    Variation(
        "no spread of launches",
        "launch",
        "sigma of boot and start 0",
        "LT-02",
        "modelled",
        physics(boot_sigma=0.0, app_sigma=0.0),
    ),
    Variation("registration at once", "launch", "30 to 0 s", "LT-07", "modelled", physics(register_s=0)),
    Variation(
        "boot billed from the call",
        "launch",
        "unbilled share 0.88 to 0",
        "LT-02",
        "modelled",
        physics(unbilled_boot_share=0.0),
    ),
    Variation("no drain", "launch", "300 to 0 s", "LT-11: 0 to 3600 s", "modelled", physics(drain_s=0)),
    Variation("metric delay 0 s", "service", "60 to 0 s", "CW-10, unverified", "modelled", physics(metric_delay_s=0)),
    Variation(
        "metric delay 120 s", "service", "60 to 120 s", "CW-10, unverified", "modelled", physics(metric_delay_s=120)
    ),
    Variation("no retries", "service", "1 to 0", "Q-08", "modelled", workload(max_retries=0)),
    Variation("three retries", "service", "1 to 3", "Q-08", "modelled", workload(max_retries=3)),
    Variation("time-out 2 s", "service", "5 to 2 s", "Q-08", "modelled", workload(timeout_s=2.0)),
    Variation("time-out 10 s", "service", "5 to 10 s", "Q-08", "modelled", workload(timeout_s=10.0)),
    Variation("queue limit 2 s", "service", "10 to 2 s", "Q-09", "modelled", workload(queue_limit_s=2.0)),
    Variation("queue limit 30 s", "service", "10 to 30 s", "Q-09", "modelled", workload(queue_limit_s=30.0)),
    Variation(
        "least outstanding requests",
        "service",
        "instead of round robin",
        "PM-07, LT-13",
        "modelled",
        physics(routing="least_outstanding_requests"),
    ),
    Variation("variable work", "service", "CV2 1 to 4", "PM-07", "modelled", workload(cv2=4.0)),
    Variation(
        "10 ms a request",
        "service",
        "50 to 10 ms, demand scaled",
        "range 10 to 200",
        "modelled",
        workload(cpu_ms_per_request=10.0),
    ),
    Variation(
        "200 ms a request",
        "service",
        "50 to 200 ms, demand scaled",
        "range 10 to 200",
        "modelled",
        workload(cpu_ms_per_request=200.0),
    ),
    Variation(
        "memory bounds the queue",
        "service",
        "4 to 1024 MiB a request",
        "PM-02",
        "modelled",
        workload(memory_mib_per_request=1024.0),
    ),
    Variation(
        "memory bounds capacity",
        "service",
        "4 to 2048 MiB a request: 1.5 at a time on a c type",
        "PM-02",
        "modelled",
        workload(memory_mib_per_request=2048.0),
    ),
    Variation(
        "network bounds capacity",
        "service",
        f"4 to {_BINDING_KB:g} kB a request; balancer priced as before",
        "PM-02",
        "modelled",
        together(workload(kb_per_request=_BINDING_KB), tariff(lcu_usd_per_hour=_LCU * 4.0 / _BINDING_KB)),
    ),
    Variation(
        "Graviton 20 % faster",
        "capacity",
        "CoreMark x1.2",
        "PM-03",
        "modelled",
        types(faster(1.2, architecture="arm64")),
    ),
    Variation(
        "Graviton 20 % slower",
        "capacity",
        "CoreMark x0.8",
        "PM-03",
        "modelled",
        types(faster(0.8, architecture="arm64")),
    ),
    Variation(
        "newer types 20 % faster",
        "capacity",
        "generations 7, 8 x1.2",
        "PM-03",
        "modelled",
        types(faster(1.2, generations="78")),
    ),
    Variation(
        "newer types 20 % slower",
        "capacity",
        "generations 7, 8 x0.8",
        "PM-03",
        "modelled",
        types(faster(0.8, generations="78")),
    ),
    Variation(
        "vendors' compute units",
        "capacity",
        "claims instead of CoreMark",
        "PM-03, unverified",
        "simplified",
        types(claimed),
    ),
    Variation(
        "m6i.large only",
        "capacity",
        "one launch specification",
        "control",
        "modelled",
        together(_with_burstable, only("m6i.large")),
    ),
    Variation(
        "t3.large, unlimited",
        "capacity",
        "instead of m6i.large",
        "PM-05, PM-06",
        "modelled",
        together(_with_burstable, only("t3.large")),
        "m6i.large only",
    ),
    Variation(
        "t3.large, standard",
        "capacity",
        "instead of m6i.large",
        "PM-05, PM-06",
        "modelled",
        together(_with_burstable, only("t3.large"), physics(credits="standard")),
        "m6i.large only",
    ),
    Variation("diversified set only", "spot", "four Graviton types", "control", "modelled", only(*_ARM_MIX)),
    Variation(
        "lowest price",
        "spot",
        "allocation over two pools",
        "MI-04",
        "modelled",
        only(*_ARM_MIX, spot_allocation="lowest-price"),
        "diversified set only",
    ),
    Variation(
        "capacity optimized",
        "spot",
        "instead of price-capacity-optimized",
        "MI-04",
        "modelled",
        only(*_ARM_MIX, spot_allocation="capacity-optimized"),
        "diversified set only",
    ),
    Variation("market all calm", "spot", "no family is hot", "TR-06", "modelled", market(hot_share_by_band=_CALM)),
    Variation("market all hot", "spot", "every family is hot", "TR-06", "modelled", market(hot_share_by_band=_HOT)),
    Variation("notice only", "spot", "no rebalance recommendations", "SP-08", "modelled", setup(edit_market=silent)),
    Variation(
        "recommendations 3 min ahead",
        "spot",
        "mean 10 to 3 min",
        "SP-08",
        "modelled",
        market(reclaims={"lead_minutes": 3.0}),
    ),
    Variation(
        "recommendations 30 min ahead",
        "spot",
        "mean 10 to 30 min",
        "SP-08",
        "modelled",
        market(reclaims={"lead_minutes": 30.0}),
    ),
    Variation(
        "no zone outages",
        "spot",
        "1 a year and zone to none",
        "assumption",
        "modelled",
        together(market(outages={"per_zone_year": 0.0}), setup(market_kinds=_NO_OUTAGES)),
    ),
    Variation(
        "weekly zone outage",
        "spot",
        "one of three zones a week, 1 to 3 h",
        "assumption",
        "modelled",
        market(outages={"per_zone_year": 365.25 / 7.0 / 3.0}),
    ),
    Variation(
        "tight pools refuse nothing",
        "spot",
        "chance 0.3 to 0",
        "assumption",
        "modelled",
        physics(tight_failure_probability=0.0),
    ),
    Variation(
        "tight pools refuse more",
        "spot",
        "chance 0.3 to 0.6",
        "assumption",
        "modelled",
        physics(tight_failure_probability=0.6),
    ),
    Variation(
        "drops take all, 40 %",
        "spot",
        "0.6 to 0.4 of drops",
        "TR-02: 0.36 to 0.72",
        "modelled",
        market(reclaims={"take_all": 0.4}),
    ),
    Variation(
        "drops take all, 80 %",
        "spot",
        "0.6 to 0.8 of drops",
        "TR-02: 0.36 to 0.72",
        "modelled",
        market(reclaims={"take_all": 0.8}),
    ),
    Variation(
        "independent reclaims", "spot", "5 % of a pool at a time", "TR-02", "modelled", setup(edit_market=independent)
    ),
    Variation(
        "spot price moves x3",
        "spot",
        "daily sigma x3",
        "SP-02",
        "modelled",
        lambda before: market(prices={"daily_sigma": 3.0 * before.markets[0].prices.daily_sigma})(before),
    ),
    Variation("spot 10 % dearer", "spot", "level x1.1", "SP-04", "modelled", setup(edit_market=spot_level(1.1))),
    Variation("spot 10 % cheaper", "spot", "level x0.9", "SP-04", "modelled", setup(edit_market=spot_level(0.9))),
    Variation(
        "commitment of half the bill", "bill", "0 to 50 % of the mean bill", "CM-03, CM-04", "modelled", commitment(0.5)
    ),
    Variation(
        "no volumes, no balancer",
        "bill",
        "instances only",
        "OT-01, OT-02",
        "modelled",
        tariff(volume_gb=0.0, balancer_usd_per_hour=0.0, lcu_usd_per_hour=0.0),
    ),
    Variation(
        "balancer units x5",
        "bill",
        "LCU a request x5",
        "OT-02, unverified",
        "modelled",
        tariff(lcu_usd_per_hour=5.0 * _LCU),
    ),
    Variation(
        "public IPv4 addresses", "bill", "$0.005 an hour and instance", "OT-05", "simplified", _per_instance(0.005)
    ),
    Variation(
        "detailed monitoring billed",
        "bill",
        "$2.10 a month and instance",
        "OT-06",
        "simplified",
        _per_instance(2.10 / _HOURS_PER_MONTH),
    ),
    Variation(
        "internet traffic billed",
        "bill",
        "$0.09 a GB, the same for every policy",
        "OT-04",
        "simplified",
        tariff(lcu_usd_per_hour=_LCU + 0.09),
    ),
    Variation("eu-central-1", "bill", "price level of the Region", "median ratios", "modelled", region("eu-central-1")),
    Variation(
        "no anomalies",
        "demand",
        "neither in demand nor in the market",
        "-",
        "modelled",
        setup(demand_kinds=(), market_kinds=()),
    ),
    Variation(
        "no faults", "demand", "no request fails but by the fleet", "-", "modelled", setup(edit_scenario=faults(0.0))
    ),
    Variation(
        "2 % faults", "demand", "and no others; clients retry", "-", "modelled", setup(edit_scenario=faults(0.02))
    ),
)
