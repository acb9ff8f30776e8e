"""The policy network that starts at a rule's action and learns where to leave it (residual policy learning).

The observation ends with the action a rule would take (``agents.advice``). Scale and spot share are ordered, so each is
a discretised normal around the advised value plus a learned shift; launch specification and scaling policy are
categories whose logits favour the advised one. With the last layer at zero the most probable action is the rule's.
After Silver et al., Residual Policy Learning (2018, arXiv 1812.06298). Exploration is correlated in time: a size tried
for five minutes tells nothing, as boots take minutes and stops are billed on (Hollenstein et al., Colored Noise in PPO,
AAAI 2024, arXiv 2312.11091).
"""

import math
from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from agents.lean_policy import JointCategorical, LeanPolicy
from envs.action import KEEP, PARTS

_ORDERED: Final = (0, 2)
SPOT_UNIT: Final = 2.0
_IMPOSSIBLE: Final = -1e9


class ExplorationSettings(BaseModel):
    """How far from the rule, and for how long, a training policy strays.

    Attributes:
        scale_sigma: Standard deviation of the scale part at the start, instances; falls linearly.
        final_scale_sigma: At the end.
        spot_sigma: Standard deviation of the spot part, in steps of the action.
        specification_share: Probability of other launch specifications than the advised one, together, at the start.
        keep_share: Probability, at the start, of keeping the specification where another one is advised. The two
            together are below 0.5, so that the advised one is the likeliest.
        policy_share: Probability of other scaling policies than the advised one, together, at the start.
        correlation: Of the noise of two decisions in a row; 0 is white noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale_sigma: float = Field(0.7, gt=0.05)
    final_scale_sigma: float = Field(0.25, gt=0.05)
    spot_sigma: float = Field(0.4, gt=0.05)
    specification_share: float = Field(0.005, gt=0, lt=1)
    keep_share: float = Field(0.1, gt=0, lt=1)
    policy_share: float = Field(0.02, gt=0, lt=0.5)
    correlation: float = Field(0.9, ge=0, lt=1)

    @model_validator(mode="after")
    def _advised_is_likeliest(self) -> "ExplorationSettings":
        if self.specification_share + self.keep_share >= 0.5:
            raise ValueError(
                f"specification_share {self.specification_share} and keep_share {self.keep_share} add up to "
                f"{self.specification_share + self.keep_share:g}; expected less than 0.5"
            )
        return self


def _log_odds(share: float, choices: int) -> float:
    """Return the logit of one choice, the others' being 0, that leaves them ``share`` together."""
    return math.log((1.0 - share) * max(choices - 1, 1) / share)


class ResidualHead(nn.Module):
    """From the last hidden layer, the desired size and the advised action to the logits of every choice.

    Args:
        hidden: Units of the last hidden layer.
        choices: Choices of each part of the action.
        exploration: Spread around the advised action.
        relative_scale: The unit of a learned shift of the scale is 1 + this x desired instances.
        allowed_policies: Menu entries that may be taken; all if empty.
    """

    index_0: torch.Tensor
    index_1: torch.Tensor
    index_2: torch.Tensor
    index_3: torch.Tensor
    scale_sigma: torch.Tensor
    barred: torch.Tensor

    def __init__(
        self,
        hidden: int,
        choices: list[int],
        exploration: ExplorationSettings,
        relative_scale: float,
        allowed_policies: tuple[int, ...],
    ) -> None:
        super().__init__()
        self._choices = choices
        self._relative_scale = relative_scale
        self.linear = nn.Linear(hidden, len(_ORDERED) + choices[1] + choices[3])
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        for part, count in enumerate(choices):
            self.register_buffer(f"index_{part}", torch.arange(count, dtype=torch.float32), persistent=False)
        self.register_buffer("scale_sigma", torch.tensor(exploration.scale_sigma))
        self._spot_sigma = exploration.spot_sigma
        strays, keeps = exploration.specification_share, exploration.keep_share
        others = strays / max(choices[1] - 2, 1)
        self._advised_specification = math.log((1.0 - strays - keeps) / others)
        self._keep = math.log(keeps / others)
        self._advised_keep = _log_odds(strays, choices[1])
        self._advised_policy = _log_odds(exploration.policy_share, choices[3])
        barred = torch.zeros(choices[3])
        if allowed_policies:
            barred[:] = _IMPOSSIBLE
            barred[list(allowed_policies)] = 0.0
        self.register_buffer("barred", barred, persistent=False)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return [B, sum of choices] logits for [B, hidden + 1 + 4]."""
        desired, advice = latent[:, -5:-4], latent[:, -4:]
        learned = self.linear(latent[:, :-5])
        scale, specification, spot, policy = (
            torch.round(advice[:, part : part + 1] * max(count - 1, 1)) for part, count in enumerate(self._choices)
        )
        unit = 1.0 + self._relative_scale * torch.clamp(desired, min=0.0)
        shifted = scale + unit * learned[:, 0:1]
        free = learned[:, len(_ORDERED) :]
        index = self.index_1
        keep, advised_keep = torch.eq(index, KEEP), torch.eq(specification, KEEP)
        prior = self._advised_specification * (torch.eq(index, specification) & ~advised_keep).float()
        prior = prior + torch.where(advised_keep, self._advised_keep, self._keep) * keep.float()
        favoured = self._advised_policy * torch.eq(self.index_3, policy).float()
        return torch.cat(
            [
                -0.5 * ((self.index_0 - shifted) / self.scale_sigma) ** 2,
                free[:, : self._choices[1]] + prior,
                -0.5 * ((self.index_2 - spot - SPOT_UNIT * learned[:, 1:2]) / self._spot_sigma) ** 2,
                free[:, self._choices[1] :] + favoured + self.barred,
            ],
            dim=1,
        )


class _WithAdvice(nn.Module):
    """The actor's last hidden layer with desired size and advice behind it; the critic's as it is."""

    def __init__(self, inner: nn.Module, desired_feature: int, desired_unit: float) -> None:
        super().__init__()
        self.inner = inner
        self._feature, self._unit = desired_feature, desired_unit
        self.latent_dim_pi = int(inner.latent_dim_pi) + 1 + len(PARTS)  # type: ignore[arg-type]
        self.latent_dim_vf = int(inner.latent_dim_vf)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        desired = self._unit * features[:, self._feature : self._feature + 1]
        hidden: torch.Tensor = self.inner.forward_actor(features)  # type: ignore[operator]
        return torch.cat([hidden, desired, features[:, -len(PARTS) :]], dim=1)

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.inner.forward_critic(features)  # type: ignore[operator]
        return hidden


class ResidualActor(BasePolicy):
    """What turns one of stable-baselines3's actor-critic policies into a residual one: its head, and noise that lasts.

    Args:
        args: As the policy's.
        exploration: ``ExplorationSettings`` as plain data.
        desired_feature: Position of desired capacity in the observation.
        desired_unit: Instances that a value of 1 there stands for.
        relative_scale: As in ``ResidualHead``.
        allowed_policies: As in ``ResidualHead``.
        kwargs: As the policy's.
    """

    action_net: Any
    mlp_extractor: Any

    def __init__(
        self,
        *args: Any,
        exploration: dict[str, float],
        desired_feature: int,
        desired_unit: float,
        relative_scale: float,
        allowed_policies: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> None:
        self._exploration = ExplorationSettings.model_validate(exploration)
        self._desired = (desired_feature, desired_unit)
        self._relative_scale = relative_scale
        self._allowed_policies = allowed_policies
        self._noise: torch.Tensor | None = None
        super().__init__(*args, **kwargs)

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()  # type: ignore[misc]
        self.mlp_extractor = _WithAdvice(self.mlp_extractor, *self._desired)

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)  # type: ignore[misc]
        self._build_head(self.mlp_extractor.latent_dim_pi - 1 - len(PARTS))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _build_head(self, hidden: int) -> None:
        """Replace the last layer; ``hidden`` units lead to it."""
        self.action_net = ResidualHead(
            hidden,
            [int(count) for count in self.action_space.nvec],  # type: ignore[attr-defined]
            self._exploration,
            self._relative_scale,
            self._allowed_policies,
        )

    def explore(self, progress_remaining: float) -> None:
        """Set the spread of the scale part; ``progress_remaining`` falls from 1 to 0."""
        first, last = self._exploration.scale_sigma, self._exploration.final_scale_sigma
        self.action_net.scale_sigma.fill_(last + progress_remaining * (first - last))

    def _draw(self, parts: Sequence[torch.distributions.Categorical], fleets: int) -> torch.Tensor:
        """Return actions, [B, parts]: each by its own distribution, by noise that lasts."""
        quantiles = self._correlated_quantiles(fleets)
        chosen = []
        for index, part in enumerate(parts):
            rising = part.probs.cumsum(dim=1)
            chosen.append(torch.searchsorted(rising, (quantiles[:, index : index + 1] * rising[:, -1:]).contiguous()))
        return torch.cat(chosen, dim=1)

    def _correlated_quantiles(self, fleets: int) -> torch.Tensor:
        """Return [B, parts] uniform numbers, each fleet's correlated with its last ones."""
        quantiles: torch.Tensor = torch.special.ndtr(self._correlated_noise(fleets))
        return quantiles

    def _correlated_noise(self, fleets: int) -> torch.Tensor:
        """Return [B, parts] normal numbers, each fleet's correlated with its last ones."""
        fresh = torch.randn(fleets, len(PARTS))
        if self._noise is None or len(self._noise) != fleets:
            self._noise = fresh
        else:
            share = self._exploration.correlation
            self._noise = share * self._noise + math.sqrt(1.0 - share**2) * fresh
        return self._noise


class ResidualPolicy(ResidualActor, LeanPolicy):
    """stable-baselines3's actor and critic with a ``ResidualHead``, and noise that lasts."""

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return actions, values and log-probabilities; each single action has its own distribution's probability."""
        if deterministic or self._exploration.correlation == 0.0:
            return super().forward(obs, deterministic)
        latent_policy, latent_value = self.mlp_extractor(self.extract_features(obs))
        distribution = cast(JointCategorical, self._get_action_dist_from_latent(latent_policy))
        actions = distribution.at(self._correlated_quantiles(len(obs)).t())
        return actions, self.value_net(latent_value), distribution.log_prob(actions)
