"""An actor-critic policy with stable-baselines3's networks and arithmetic, and less around them.

The parts of a ``MultiDiscrete`` action are one distribution here instead of a list of four that each check their
arguments, and the optimiser updates all parameters in one call.
"""

from typing import Any

import torch
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch.distributions import Categorical


class JointCategorical(MultiCategoricalDistribution):
    """Independent categorical parts of one action, from their concatenated, finite logits [B, sum of sizes].

    Log-probabilities are kept with the batch last, [sum of sizes, B]: sums over the few values of a part then run over
    whole vectors of the batch.
    """

    def __init__(self, action_dims: list[int]) -> None:
        super().__init__(action_dims)
        sizes = torch.tensor([0, *action_dims[:-1]])
        self._offsets = sizes.cumsum(0)[:, None]
        self._log_probs = torch.empty(sum(action_dims), 0)

    @property
    def distribution(self) -> list[Categorical]:  # type: ignore[override]
        """The parts one by one, [B, size] each."""
        return [Categorical(logits=part.t()) for part in self._parts(self._log_probs)]

    def _parts(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(values, self.action_dims)

    def proba_distribution(self, action_logits: torch.Tensor) -> "JointCategorical":
        """Take the logits of all parts and return this distribution."""
        parts = self._parts(action_logits.t().contiguous())
        self._log_probs = torch.cat([part.log_softmax(0) for part in parts])
        return self

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the log-probability of actions [B, parts], [B]."""
        rows = actions.t().long() + self._offsets.to(actions.device)
        return self._log_probs.gather(0, rows).sum(0)

    def entropy(self) -> torch.Tensor:
        """Return the entropy in nats, summed over the parts, [B]."""
        return -(self._log_probs.exp() * self._log_probs).sum(0)

    def sample(self) -> torch.Tensor:
        """Draw actions [B, parts]: one uniform number a part."""
        return self.at(torch.rand(len(self.action_dims), self._log_probs.shape[1], device=self._log_probs.device))

    def at(self, draws: torch.Tensor) -> torch.Tensor:
        """Return the actions [B, parts] at given levels [parts, B], 0..1, of each part's cumulative distribution.

        Rounded sums may end below 1: what is between them and 1 belongs to the last value that can be.
        """
        sums = [part.cumsum(0) for part in self._parts(self._log_probs.exp())]
        below = [((part <= draw) & (part < part[-1])).sum(0) for part, draw in zip(sums, draws, strict=True)]
        return torch.stack(below, dim=1)

    def mode(self) -> torch.Tensor:
        """Return the most probable value of each part, [B, parts]."""
        return torch.stack([part.argmax(0) for part in self._parts(self._log_probs)], dim=1)


class LeanPolicy(ActorCriticPolicy):
    """``MlpPolicy`` for ``MultiDiscrete`` actions: the same parameters, gradients and optimiser, in less time.

    Only the random numbers behind sampled actions differ: stable-baselines3 draws one for every value of every part.
    """

    def _build(self, lr_schedule: Schedule) -> None:
        """Create the networks, with the joint distribution and a fused Adam in place of their like."""
        if not isinstance(self.action_dist, MultiCategoricalDistribution):
            raise TypeError(f"expected a MultiDiscrete action space, got {self.action_space}")
        self.action_dist = JointCategorical(list(self.action_dist.action_dims))
        if issubclass(self.optimizer_class, torch.optim.Adam):
            fused: dict[str, Any] = {"fused": True}
            self.optimizer_kwargs = fused | self.optimizer_kwargs
        super()._build(lr_schedule)
