"""What the influence study varies: one mechanism switched off, or one uncertain number moved to an end of its range.

The table is ``configs/influence.yaml``. A variation is a set of named changes (``CHANGES``) of a ``Setup``, and a setup
is everything a study plays: demand, market, catalogue, physics and policies.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.rules import Rule
from envs.settings import WorldSource
from simulators.catalogue import REFERENCE_TYPE, TYPES, Catalogue, InstanceType, LaunchSpecification
from simulators.market import MarketSettings, MarketTape
from simulators.menu import ScalingPolicy
from simulators.physics import Tariff, WorldSettings
from simulators.records import ZONES
from simulators.regions import in_region
from simulators.scenario import Scenario

VARIATIONS_FILE: Final = Path(__file__).resolve().parent.parent / "configs" / "influence.yaml"

MarketEdit = Callable[[MarketTape, Catalogue], MarketTape]
ScenarioEdit = Callable[[Scenario], Scenario]
_TRACKING: Final = ("target_tracking_cpu", "target_tracking_requests")
_HOURS_PER_MONTH: Final = 730.0


@dataclass(frozen=True)
class Setup:
    """Everything a study plays.

    Attributes:
        rules: Policies, each with its launch specification and spot share.
        source: Demand tapes.
        markets: Settings of each market tape.
        catalogue: Types and launch specifications.
        world: Physics, workload, objective and tariff.
        market_anomalies: Kinds of anomaly in the market tapes that have some.
        market_edits: Applied to every market tape.
        scenario_edits: Applied to every demand tape.
        bill_usd_per_hour: Mean bill over policies and worlds of the baseline, once it has been played.
    """

    rules: tuple[Rule, ...]
    source: WorldSource
    markets: tuple[MarketSettings, ...]
    catalogue: Catalogue
    world: WorldSettings
    market_anomalies: tuple[str, ...]
    market_edits: tuple[MarketEdit, ...] = ()
    scenario_edits: tuple[ScenarioEdit, ...] = ()
    bill_usd_per_hour: float = 0.0


class Variation(BaseModel):
    """One row of the table.

    Attributes:
        name: Short and unique.
        what: What is changed, from what to what.
        source: Range and where it comes from; numbers like LT-11 are those of docs/facts.yaml.
        treatment: ``modelled``: the simulator has the mechanism, or the number as a setting, and the row tells what
            that is worth. ``simplified``: the simulator leaves it out, and the row imitates it to tell what that costs.
        against: Name of the variation it is compared with; the baseline if None.
        change: Keys of ``CHANGES`` and what each is given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    what: str
    source: str
    treatment: Literal["modelled", "simplified"] = "modelled"
    against: str | None = None
    change: dict[str, Any] = Field(min_length=1)

    def apply(self, setup: Setup) -> Setup:
        """Return the changed setup.

        Raises:
            ValueError: The settings do not take a value; names the variation, the key and the value.
        """
        for key, argument in self.change.items():
            try:
                setup = CHANGES[key](setup, argument)
            except ValidationError as error:
                fault = error.errors()[0]
                where = ".".join(str(part) for part in fault["loc"])
                raise ValueError(f"{self.name}: {key}.{where}: {fault['msg']} (got {fault['input']!r})") from error
        return setup


class VariationTable(BaseModel):
    """The variations of a study, in the order of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variations: tuple[Variation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "VariationTable":
        seen: set[str] = set()
        for item in self.variations:
            unknown = [key for key in item.change if key not in CHANGES]
            if unknown:
                raise ValueError(f"{item.name}: unknown change {unknown[0]!r}; known: {', '.join(CHANGES)}")
            if item.name in seen:
                raise ValueError(f"variation {item.name!r} stands twice in the table")
            if item.against is not None and item.against not in seen:
                raise ValueError(f"{item.name}: compared with {item.against!r}, which does not stand before it")
            seen.add(item.name)
        return self


def load_variations(path: Path = VARIATIONS_FILE) -> tuple[Variation, ...]:
    """Read a table of variations.

    Raises:
        ValueError: Not such a table; names file, key and value.
    """
    try:
        return VariationTable.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).variations
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"]) or "file"
        raise ValueError(f"{path}: {key}: {fault['msg']} (got {str(fault['input'])[:80]!r})") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error


def _with_values(model: Any, values: Mapping[str, Any]) -> Any:
    """Return a validated settings model with some values replaced; a mapping replaces values of a part."""
    content = {name: getattr(model, name) for name in type(model).model_fields}
    for key, value in values.items():
        is_part = isinstance(content.get(key), BaseModel) and isinstance(value, Mapping)
        content[key] = _with_values(content[key], value) if is_part else value
    return type(model).model_validate(content)


def _world(part: str, setup: Setup, values: Mapping[str, Any]) -> Setup:
    changed = _with_values(getattr(setup.world, part), values)
    return replace(setup, world=setup.world.model_copy(update={part: changed}))


def _market(setup: Setup, values: Mapping[str, Any]) -> Setup:
    return replace(setup, markets=tuple(_with_values(item, values) for item in setup.markets))


def _price_moves(setup: Setup, factor: float) -> Setup:
    prices = {"daily_sigma": factor * setup.markets[0].prices.daily_sigma}
    return _market(setup, {"prices": prices})


def _tracking(setup: Setup, values: Mapping[str, Any]) -> Setup:
    """Set values of every target tracking policy, those that act beside another included."""

    def changed(policy: ScalingPolicy) -> ScalingPolicy:
        update = dict(values) if policy.kind in _TRACKING else {}
        return policy.model_copy(update=update | {"also": tuple(changed(other) for other in policy.also)})

    rules = (rule.model_copy(update={"policy": changed(rule.policy)}) for rule in setup.rules)
    return replace(setup, rules=tuple(rules))


def _source(key: str, setup: Setup, value: Any) -> Setup:
    return replace(setup, source=_with_values(setup.source, {key: value}))


def _market_anomalies(setup: Setup, kinds: Sequence[str]) -> Setup:
    return replace(setup, market_anomalies=tuple(kinds))


def _types(setup: Setup, altered: Callable[[InstanceType], InstanceType]) -> Setup:
    kinds = tuple(altered(item) for item in setup.catalogue.types)
    return replace(setup, catalogue=Catalogue(kinds, setup.catalogue.candidates))


def _speed(setup: Setup, chosen: Mapping[str, Any]) -> Setup:
    """Multiply the speed of the types of an architecture, or of some generations, by a factor."""

    def altered(item: InstanceType) -> InstanceType:
        is_chosen = item.architecture == chosen.get("architecture") or item.family[1] in chosen.get("generations", "")
        return replace(item, coremark_per_vcpu=item.coremark_per_vcpu * (chosen["factor"] if is_chosen else 1.0))

    return _types(setup, altered)


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


def _claimed_units(setup: Setup, _: None) -> Setup:
    reference = setup.catalogue[REFERENCE_TYPE]
    unit = reference.coremark_per_vcpu / CLAIMED_UNITS[reference.family]
    return _types(setup, lambda item: replace(item, coremark_per_vcpu=unit * CLAIMED_UNITS[item.family]))


def _only(setup: Setup, specification: Mapping[str, Any]) -> Setup:
    """Leave one launch specification; the market's pools stay what they are."""
    strategy = {key: value for key, value in specification.items() if key != "types"}
    only = LaunchSpecification("only", tuple(specification["types"]), **strategy)
    return replace(setup, catalogue=Catalogue(setup.catalogue.types, (only,)))


def _with_burstable(setup: Setup, _: None) -> Setup:
    """Add t3.large to the catalogue's types, so that its rows and their control play the same market."""
    burstable = tuple(item for item in TYPES if item.name == "t3.large")
    return replace(setup, catalogue=Catalogue((*setup.catalogue.types, *burstable), setup.catalogue.candidates))


def _region(setup: Setup, name: str) -> Setup:
    return replace(setup, catalogue=in_region(setup.catalogue, name))


def _commitment(setup: Setup, share: float) -> Setup:
    return _world("tariff", setup, {"commitment_usd_per_hour": share * setup.bill_usd_per_hour})


def _usd_per_instance_hour(setup: Setup, usd: float) -> Setup:
    """Add a price per hour to every instance, by way of its volume."""
    tariff: Tariff = setup.world.tariff
    extra_gb = usd * _HOURS_PER_MONTH / tariff.volume_usd_per_gb_month
    return _world("tariff", setup, {"volume_gb": tariff.volume_gb + extra_gb})


def _edit_market(edit: MarketEdit, setup: Setup, _: None) -> Setup:
    return replace(setup, market_edits=(*setup.market_edits, edit))


def _edit_scenario(edit: ScenarioEdit, setup: Setup, _: None) -> Setup:
    return replace(setup, scenario_edits=(*setup.scenario_edits, edit))


def silent(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
    """Return a market tape without rebalance recommendations: only the two-minute notice is left."""
    return replace(tape, rebalance_lead=np.zeros_like(tape.rebalance_lead))


def _spot_level(setup: Setup, factor: float) -> Setup:
    def edit(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
        cap = np.repeat([item.price_usd_per_hour / 3600.0 for item in catalogue.types], ZONES)
        return replace(tape, spot_usd_per_s=np.minimum(tape.spot_usd_per_s * factor, cap).astype(np.float32))

    return _edit_market(edit, setup, None)


_PIECE: Final = 13


def independent(tape: MarketTape, catalogue: Catalogue) -> MarketTape:
    """Return a market tape whose reclaims come in pieces of 5 % of the pool (13/255), each in a minute of its own.

    The pieces fall anywhere in the tape and keep the lead of their reclaim's recommendation: an instance is about as
    likely to be reclaimed over the tape, but hardly ever together with others. Pools are dry when they were.
    """
    rng = np.random.default_rng(0x1DE)
    reclaim, lead = np.zeros_like(tape.reclaim), np.zeros_like(tape.rebalance_lead)
    announced = _lead_of_reclaims(tape)
    for pool in range(reclaim.shape[1]):
        ticks = np.flatnonzero(tape.reclaim[:, pool])
        pieces = np.maximum(1, np.round(tape.reclaim[ticks, pool] / _PIECE).astype(np.int64))
        ahead = np.repeat(announced[ticks, pool].astype(np.int64), pieces)
        at = rng.choice(len(reclaim), size=len(ahead), replace=False)
        reclaim[at, pool] = _PIECE
        told = (ahead > 0) & (ahead <= at)
        lead[at[told] - ahead[told], pool] = ahead[told]
    return replace(tape, reclaim=reclaim, rebalance_lead=lead)


def _lead_of_reclaims(tape: MarketTape) -> NDArray[np.uint8]:
    """Return [ticks, pools] how many minutes ahead the reclaim of a tick was recommended, 0 where it was not."""
    announced = np.zeros_like(tape.rebalance_lead)
    for tick, pool in np.argwhere(tape.rebalance_lead > 0):
        at = tick + int(tape.rebalance_lead[tick, pool])
        if at < len(announced):
            announced[at, pool] = tape.rebalance_lead[tick, pool]
    return announced


def _faults(setup: Setup, share: float) -> Setup:
    """Let this share of all requests fail whatever the fleet does, in place of the anomalies' faults."""

    def edit(scenario: Scenario) -> Scenario:
        return replace(scenario, fault_fraction=np.full_like(scenario.fault_fraction, share))

    return _edit_scenario(edit, setup, None)


def predicted_perfectly(scenario: Scenario) -> Scenario:
    """Return a scenario whose hourly load forecast is the true mean of each hour."""
    starts = np.arange(0, len(scenario.demand_rps), 60)
    minutes = np.minimum(60, len(scenario.demand_rps) - starts)
    mean = np.add.reduceat(scenario.demand_rps.astype(np.float64), starts) / minutes
    return replace(scenario, predictive_rps=mean.astype(np.float32))


CHANGES: Final[Mapping[str, Callable[[Setup, Any], Setup]]] = {
    "physics": partial(_world, "physics"),
    "workload": partial(_world, "workload"),
    "objective": partial(_world, "objective"),
    "tariff": partial(_world, "tariff"),
    "market": _market,
    "tracking": _tracking,
    "forecasts": partial(_source, "forecasts"),
    "demand_anomalies_per_week": partial(_source, "anomalies_per_week"),
    "market_anomalies": _market_anomalies,
    "speed": _speed,
    "claimed_units": _claimed_units,
    "only": _only,
    "with_burstable": _with_burstable,
    "region": _region,
    "commitment": _commitment,
    "usd_per_instance_hour": _usd_per_instance_hour,
    "price_moves": _price_moves,
    "spot_level": _spot_level,
    "silent": partial(_edit_market, silent),
    "independent": partial(_edit_market, independent),
    "faults": _faults,
    "predicted_perfectly": partial(_edit_scenario, predicted_perfectly),
}
