"""Limits on what a learned policy may do more of than the rule it started from, priced by Lagrange multipliers."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from stable_baselines3.common.callbacks import BaseCallback

from envs.paired import PairedEpisodes
from envs.reward import Terms, total_reward
from envs.settings import RewardWeights

Counted = Literal["bad_minutes", "launches", "type_changes"]


class Constraint(BaseModel):
    """One limit.

    Attributes:
        limit: How many there may be for each one of the rule's in the same worlds.
        price: What one more costs at the start, in reference cost of a decision.
        step: Change of the price per rollout and unit by which the limit is exceeded; 0 leaves it as it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: float = Field(1.0, ge=0)
    price: float = Field(0.0, ge=0)
    step: float = Field(0.0, ge=0)


class ConstrainedReward:
    """The weighted terms, less the price of what is counted.

    Args:
        weights: Of the terms.
        constraints: By what they count.

    Attributes:
        prices: The multipliers, by what they price.
    """

    def __init__(self, weights: RewardWeights, constraints: Mapping[Counted, Constraint]) -> None:
        self._weights = weights
        self.constraints = dict(constraints)
        self.prices: dict[str, float] = {name: item.price for name, item in constraints.items()}

    def __call__(self, outcomes: NDArray[np.void], terms: Terms) -> NDArray[np.float64]:
        """Return [B] rewards of the latest decision."""
        total = total_reward(terms, self._weights)
        for name, price in self.prices.items():
            total = total - price * outcomes[name]
        return total

    def update(self, counts: Mapping[str, tuple[float, float]]) -> None:
        """Raise the price of what exceeded its limit, lower the others; never below 0.

        Args:
            counts: Own and the rule's number by name, of the same decisions.
        """
        for name, (own, rule) in counts.items():
            constraint = self.constraints[name]  # type: ignore[index]
            excess = own / max(rule, 1.0) - constraint.limit
            self.prices[name] = max(0.0, self.prices[name] + constraint.step * excess)


class LagrangianCallback(BaseCallback):
    """Counts both batches during a rollout, then updates the prices; curves ``constraint/<name>/price`` and ``/ratio``.

    Args:
        reward: Whose prices it sets.
        episodes: The batch and its rival's.
    """

    def __init__(self, reward: ConstrainedReward, episodes: PairedEpisodes) -> None:
        super().__init__()
        self._constraints = reward
        self._episodes = episodes
        self._counts: dict[str, NDArray[np.float64]] = {}

    def _on_rollout_start(self) -> None:
        self._counts = {name: np.zeros(2) for name in self._constraints.prices}

    def _on_step(self) -> bool:
        own, rule = self._episodes.fleets.outcomes, self._episodes.rivals.outcomes
        for name, counts in self._counts.items():
            counts += own[name].sum(), rule[name].sum()
        return True

    def _on_rollout_end(self) -> None:
        self._constraints.update({name: (float(own), float(rule)) for name, (own, rule) in self._counts.items()})
        for name, (own, rule) in self._counts.items():
            self.logger.record(f"constraint/{name}/price", self._constraints.prices[name])
            self.logger.record(f"constraint/{name}/ratio", own / max(rule, 1.0))
