"""Domain randomisation: services and spot markets unlike the task's own, for training worlds.

CPU time ends at 65 ms: 95 % of exponential work of that mean takes up to 195 ms without any queue. Beyond, the
objective of 250 ms can hardly be met, and a rule's misses on such services would drown what is to be learned on others.
"""

from dataclasses import replace
from typing import Annotated, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from simulators.market_settings import MarketSettings
from simulators.physics import WorldSettings
from simulators.scenario import Scenario
from simulators.workload import WorkloadModel

_SERVICE: Final = 0x5E21
_MARKET: Final = 0x3A7E
_DEMAND: Final = 0xD3A0
_LEVEL: Final = 0x1E7E
_CPU_MS: Final = (25.0, 65.0)
_CV2: Final = (1.0, 1.5)
_START_FACTOR: Final = (0.5, 2.0)
_HOT_SHARE: Final = (0.2, 1.0)

Share = Annotated[float, Field(ge=0, le=1)]


class Randomization(BaseModel):
    """How much of the training worlds is unlike the task's own.

    Attributes:
        services: Services drawn beside the task's own: CPU time of a request 25 to 65 ms (log-uniform) and its
            squared coefficient of variation 1 to 1.5, boot and application start half to twice as long (log-uniform).
            Demand tapes take turns among them.
        hot_markets: Share of the markets in which each type is hot with a probability of 0.2 to 1 of the market's own.
        volatility: Largest factor on the noise and the burst rate of a fitted workload model; each sample's is
            log-uniform from 1 to this.
        quietest: Smallest factor on the demand of a tape; every second tape's is log-uniform from this to 1. The mean
            that the operator knows goes along in half of those: small services, and services gone quiet.
        unknown_types: Share of the markets in which each type's saving and interruption band are drawn from the Spot
            Advisor's distribution over all types.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    services: int = Field(0, ge=0, le=50)
    hot_markets: Share = 0.0
    unknown_types: Share = 0.0
    volatility: float = Field(1.0, ge=1, le=5)
    quietest: float = Field(1.0, gt=0, le=1)

    def worlds(self, own: WorldSettings, seed: int) -> list[WorldSettings]:
        """Return the task's own physics and workload, then the drawn ones."""
        return [own, *(_drawn_service(own, np.random.default_rng([seed, _SERVICE, n])) for n in range(self.services))]

    def workload(self, model: WorkloadModel, seed: int) -> WorkloadModel:
        """Return the model that the sample of a seed is drawn from."""
        if self.volatility == 1.0:
            return model
        factor = float(np.exp(np.random.default_rng([seed, _DEMAND]).uniform(0.0, np.log(self.volatility))))
        sizes = tuple(factor * size for size in model.noise_sizes)
        return replace(model, noise_sizes=sizes, bursts_per_day=factor * model.bursts_per_day)

    def level(self, scenario: Scenario, position: int, seed: int) -> Scenario:
        """Return the tape at that position of a bank, with its own level of demand."""
        if self.quietest == 1.0 or position % 2 == 0:
            return scenario
        rng = np.random.default_rng([seed, _LEVEL, position])
        quiet = scenario.scaled(float(np.exp(rng.uniform(np.log(self.quietest), 0.0))))
        return quiet if position % 4 == 1 else replace(quiet, mean_demand_rps=scenario.mean_demand_rps)

    def market(self, seed: int) -> MarketSettings:
        """Return the settings of the market that is drawn with a seed."""
        rng = np.random.default_rng([seed, _MARKET])
        hot, unknown, share = (
            rng.random() < self.hot_markets,
            rng.random() < self.unknown_types,
            rng.uniform(*_HOT_SHARE),
        )
        settings = MarketSettings(resample=bool(unknown))
        return settings.model_copy(update={"hot_share_by_band": (share,) * 5}) if hot else settings


def _drawn_service(own: WorldSettings, rng: np.random.Generator) -> WorldSettings:
    cpu_ms, start = (float(np.exp(rng.uniform(*np.log(ends)))) for ends in (_CPU_MS, _START_FACTOR))
    workload = own.workload.model_copy(
        update={"cpu_ms_per_request": round(cpu_ms, 1), "cv2": round(float(rng.uniform(*_CV2)), 1)}
    )
    physics = own.physics.model_copy(
        update={
            "boot_median_s": round(start * own.physics.boot_median_s, 1),
            "app_median_s": round(start * own.physics.app_median_s, 1),
        }
    )
    return own.model_copy(update={"workload": workload, "physics": physics})
