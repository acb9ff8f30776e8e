"""The residual policy over the action box: a Gaussian around the point that stands for the advised action."""

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from agents.residual import SPOT_UNIT, ExplorationSettings, ResidualActor
from envs.action import PARTS
from envs.box import ActionBox


def choice_logits(points: torch.Tensor, sigma: torch.Tensor, box: ActionBox) -> torch.Tensor:
    """Return [B, sum of choices] logits whose largest of each part is the choice that a point stands for.

    Each part is a discretised normal around the point's place among the choices.

    Args:
        points: [B, 4] means; those outside the box count as its edge.
        sigma: [4] standard deviations in the box.
        box: The action space.
    """
    half_spans = torch.as_tensor(box.spans / 2.0, dtype=torch.float32)
    places = (torch.clamp(points, -1.0, 1.0) + 1.0) * half_spans + torch.as_tensor(box.offsets, dtype=torch.float32)
    spread = sigma * half_spans
    parts = [
        -0.5 * ((torch.arange(int(count)) - places[:, part : part + 1]) / spread[part]) ** 2
        for part, count in enumerate(box.nvec)
    ]
    return torch.cat(parts, dim=1)


class GaussianHead(nn.Module):
    """From the last hidden layer, the desired size and the advised action to the mean of the Gaussian.

    Args:
        hidden: Units of the last hidden layer.
        box: The action space.
        relative_scale: The unit of a learned shift of the scale is 1 + this x desired instances.
    """

    largest: torch.Tensor
    offsets: torch.Tensor
    choice: torch.Tensor
    units: torch.Tensor

    def __init__(self, hidden: int, box: ActionBox, relative_scale: float) -> None:
        super().__init__()
        self._relative_scale = relative_scale
        self.linear = nn.Linear(hidden, len(PARTS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        for name, value in (
            ("largest", (box.nvec - 1).clip(1)),
            ("offsets", box.offsets),
            ("choice", 2.0 / box.spans),
            ("units", [1.0, 1.0, SPOT_UNIT, 1.0]),
        ):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32), persistent=False)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return [B, 4] means for [B, hidden + 1 + 4]."""
        desired = torch.clamp(latent[:, -5:-4], min=0.0)
        advised = (torch.round(latent[:, -4:] * self.largest) - self.offsets) * self.choice - 1.0
        growth = torch.cat([1.0 + self._relative_scale * desired, torch.ones_like(desired).expand(-1, 3)], dim=1)
        shift: torch.Tensor = self.choice * self.units * growth * self.linear(latent[:, :-5])
        return advised + shift


def _first_sigma(exploration: ExplorationSettings, box: ActionBox) -> torch.Tensor:
    """Return [4] standard deviations in the box with which training strays as far as over the integers."""
    shares = torch.tensor([exploration.specification_share, exploration.policy_share])
    specification, policy = 0.5 / torch.special.ndtri(1.0 - 0.5 * shares)
    choices = torch.stack(
        [torch.tensor(exploration.scale_sigma), specification, torch.tensor(exploration.spot_sigma), policy]
    )
    return choices * torch.as_tensor(2.0 / box.spans, dtype=torch.float32)


class ContinuousResidualPolicy(ResidualActor, ActorCriticPolicy):
    """stable-baselines3's Gaussian actor and critic with a ``GaussianHead``, and noise that lasts.

    The spread is learned, so ``explore`` leaves it as it is.
    """

    def _build_head(self, hidden: int) -> None:
        box: ActionBox = self.action_space  # type: ignore[assignment]
        self.action_net = GaussianHead(hidden, box, self._relative_scale)
        with torch.no_grad():
            self.log_std.copy_(_first_sigma(self._exploration, box).log())

    def explore(self, progress_remaining: float) -> None:
        """Do nothing."""

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return actions, values and log-probabilities; each single action has its own distribution's probability."""
        if deterministic or self._exploration.correlation == 0.0:
            return super().forward(obs, deterministic)
        latent_policy, latent_value = self.mlp_extractor(self.extract_features(obs))
        distribution: Any = self._get_action_dist_from_latent(latent_policy)
        normal = distribution.distribution
        actions = normal.mean + normal.stddev * self._correlated_noise(len(obs))
        return actions, self.value_net(latent_value), distribution.log_prob(actions)
