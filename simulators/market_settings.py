"""Parameters of the spot market: what was fitted (``configs/market.json``) and what is assumed."""

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

FITTED_FILE: Final = Path(__file__).resolve().parent.parent / "configs" / "market.json"
SAVING_LEVELS: Final = (0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
BAND_MONTHLY_INTERRUPTION: Final = (0.025, 0.075, 0.125, 0.175, 0.30)
MONTH_HOURS: Final = 720.0

Probability = Annotated[float, Field(ge=0, le=1)]
ByBand = tuple[Probability, Probability, Probability, Probability, Probability]
Lognormal = tuple[float, Annotated[float, Field(ge=0)]]


@cache
def fitted() -> dict[str, Any]:
    """Return the fitted parameters, as ``scripts/fit_market.py`` wrote them."""
    content: dict[str, Any] = json.loads(FITTED_FILE.read_text(encoding="utf-8"))
    return content


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HotGroup(_Part):
    """One kind of hot pool, fitted on recorded pools.

    Attributes:
        weight: Relative chance that a hot family is of this kind (assumption: the CPU pools count most, the scarcest
            GPU pools least).
        availability: Share of time that instances could be had, 0..1, as recorded.
        up: Lognormal (mu, sigma) of ln hours until the next drop, on the pool's own clock, which runs fast under
            pressure. Chosen so that the spells of a simulated market, probed as the recorded ones were, have the
            recorded mean and spread of ln hours.
        dry: The same for the time until instances can be had again, on a clock that runs slowly under pressure.
    """

    weight: float = Field(ge=0)
    availability: Probability
    up: Lognormal
    dry: Lognormal


class Pressure(_Part):
    """The latent pressure on a pool: a standard normal sum of slow factors, and a daily and weekly rhythm.

    Calibrated by hand so that simulated markets show the correlations, autocorrelations and rhythm measured in the
    public traces (``simulators.validation.spot`` checks them).

    Attributes:
        region_share: Share of the variance that all pools of the Region have in common.
        family_share: Share that the pools of a family have in common; what is left belongs to a type in all zones.
        region_hours: Correlation time of the Region's factor.
        family_hours: Correlation time of a family's factor.
        type_hours: Correlation time of a type's factor.
        up_gain: Drops come ``exp(up_gain * pressure)`` times as fast.
        dry_gain: Recoveries take ``exp(dry_gain * pressure)`` times as long.
        daily: Amplitude of the daily rhythm, times the recorded unavailability of the pool's group.
        weekly: Amplitude of the weekly rhythm relative to the daily one.
    """

    region_share: Probability = 0.02
    family_share: Probability = 0.50
    region_hours: float = Field(24.0, gt=0)
    family_hours: float = Field(24.0, gt=0)
    type_hours: float = Field(10.0, gt=0)
    up_gain: float = Field(1.4, ge=0, le=3)
    dry_gain: float = Field(1.0, ge=0, le=3)
    daily: float = Field(1.2, ge=0, le=5)
    weekly: float = Field(0.7, ge=0, le=5)

    @model_validator(mode="after")
    def _shares_fit(self) -> "Pressure":
        if self.region_share + self.family_share > 1.0:
            raise ValueError(f"region_share + family_share is {self.region_share + self.family_share}, above 1")
        return self


class Contagion(_Part):
    """How a drop of one pool takes others of its regime along (calibrated by hand on the measured lift of 3.4).

    Attributes:
        sibling_zone: Chance that the same type in another zone follows.
        sibling_size: Chance that another size of the family in the same zone follows.
        minutes: Longest delay, at least 1.
        dry_correlation: Correlation of ln dry hours between a pool and those it took along.
    """

    sibling_zone: Probability = 0.15
    sibling_size: Probability = 0.05
    minutes: int = Field(5, ge=1, le=60)
    dry_correlation: Probability = 0.5


class Reclaims(_Part):
    """What a drop takes, and how it announces itself.

    Attributes:
        take_all: Chance that a drop takes every instance of the pool (fitted on pools of 16 nodes).
        partial: Beta (a, b) of the share taken otherwise (same pools).
        notice_minutes: The notices of one drop fall into 1 to this many consecutive ticks, each as likely.
        sudden: Chance that the rebalance recommendation comes no earlier than the notice (not published: assumption).
        lead_minutes: Mean of the exponential lead of the recommendation otherwise (assumption).
        tight: Lognormal (mu, sigma) of ln minutes a pool is tight before a drop (fitted on spells with some, not all,
            of the nodes).
    """

    take_all: Probability = Field(default_factory=lambda: float(fitted()["reclaims"]["take_all"]))
    partial: tuple[float, float] = Field(default_factory=lambda: _pair(fitted()["reclaims"]["partial"]))
    notice_minutes: int = Field(3, ge=1, le=3)
    sudden: Probability = 0.3
    lead_minutes: float = Field(10.0, gt=0)
    tight: Lognormal = Field(default_factory=lambda: _pair(fitted()["reclaims"]["tight"]))

    @property
    def mean_share(self) -> float:
        """Mean share of a pool's instances that one drop takes, 0..1."""
        a, b = self.partial
        return self.take_all + (1.0 - self.take_all) * a / (a + b)


class Outages(_Part):
    """Failures of a whole zone (assumption: no rate is published).

    Attributes:
        per_zone_year: Mean number a year and zone; 0 for none.
        hours: Shortest and longest, uniform.
    """

    per_zone_year: float = Field(1.0, ge=0, le=1000)
    hours: tuple[float, float] = (1.0, 3.0)


class Prices(_Part):
    """How spot prices move, whatever the state of the pool.

    Attributes:
        daily_sigma: Standard deviation of the daily change of the log price.
        reversion_days: Time constant with which the log price returns to its level.
        zone_sigma: Standard deviation of a zone's level of the log price around the type's.
    """

    daily_sigma: float = Field(default_factory=lambda: float(fitted()["prices"]["daily_sigma"]), ge=0, le=0.2)
    reversion_days: float = Field(default_factory=lambda: float(fitted()["prices"]["reversion_days"]), gt=0)
    zone_sigma: float = Field(default_factory=lambda: float(fitted()["prices"]["zone_sigma"]), ge=0, le=0.5)


class Advisor(_Part):
    """What the Spot Advisor says of all types of a Region.

    Attributes:
        saving_quantiles: Spot saving on the on-demand price, 0..1, at ``SAVING_LEVELS``.
        band_shares: Share of types per interruption band 0..4.
        band_shares_by_size: The same for the types of one size (``large``, ``xlarge``, ...).
    """

    saving_quantiles: tuple[float, ...] = Field(min_length=len(SAVING_LEVELS), max_length=len(SAVING_LEVELS))
    band_shares: ByBand
    band_shares_by_size: dict[str, ByBand]


class MarketSettings(_Part):
    """Parameters of the spot market.

    Attributes:
        hot_share_by_band: Chance that a type is hot for the whole tape, by Spot Advisor band 0..4 (assumption). The
            types of one family share their luck: the one of the higher band is hot whenever the other is.
        hot_groups: Kinds of hot pools; a family is of one kind.
        hot_up: Replaces ``up`` of every hot group (stress tests); None keeps them.
        calm_dry: Lognormal (mu, sigma) of ln hours a calm pool stays dry on its own clock (that of the least tight
            recorded pools).
        pressure: Latent pressure.
        contagion: Drops that follow drops.
        reclaims: Batches and announcements.
        outages: Failures of whole zones.
        prices: Price walk.
        resample: Draw each type's saving and band from the Spot Advisor's distribution over all types instead of
            taking the type's own: worlds of unknown types.
        advisor: Those distributions.
    """

    hot_share_by_band: ByBand = (0.02, 0.05, 0.10, 0.20, 0.35)
    hot_groups: dict[str, HotGroup] = Field(default_factory=lambda: _hot_groups())
    hot_up: Lognormal | None = None
    calm_dry: Lognormal = Field(default_factory=lambda: _hot_groups()["v100_us_west_2"].dry)
    pressure: Pressure = Pressure()
    contagion: Contagion = Contagion()
    reclaims: Reclaims = Field(default_factory=Reclaims)
    outages: Outages = Outages()
    prices: Prices = Field(default_factory=Prices)
    resample: bool = False
    advisor: Advisor = Field(default_factory=lambda: Advisor(**fitted()["advisor"]["us-east-1"]))

    @model_validator(mode="after")
    def _some_group_can_be_drawn(self) -> "MarketSettings":
        if not any(group.weight > 0 for group in self.hot_groups.values()):
            raise ValueError("hot_groups: at least one group needs a weight above 0")
        return self


HOT_WEIGHTS: Final = {"r5_us_east_1": 0.4, "v100_us_west_2": 0.3, "v100_us_east_2": 0.2, "v100_us_east_1": 0.1}


def _hot_groups() -> dict[str, HotGroup]:
    groups = fitted()["hot_groups"]
    return {
        name: HotGroup(
            weight=weight, availability=groups[name]["recorded"]["availability"], **groups[name]["generator"]
        )
        for name, weight in HOT_WEIGHTS.items()
    }


def _pair(values: list[float]) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)
