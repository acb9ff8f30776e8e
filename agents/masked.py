"""The residual policy for MaskablePPO: what a mask bars has no probability.

After Huang & Ontañón, A Closer Look at Invalid Action Masking in Policy Gradient Algorithms (2020, arXiv 2006.14171).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents.residual import ResidualActor


class MaskedResidualPolicy(ResidualActor, MaskableActorCriticPolicy):
    """sb3-contrib's maskable actor and critic with a ``ResidualHead``, and noise that lasts."""

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False, action_masks: NDArray[np.bool_] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return actions, values and log-probabilities; each single action has its own distribution's probability."""
        if deterministic or self._exploration.correlation == 0.0:
            return super().forward(obs, deterministic, action_masks)
        latent_policy, latent_value = self.mlp_extractor(self.extract_features(obs))
        distribution = self._get_action_dist_from_latent(latent_policy)
        distribution.apply_masking(action_masks)
        actions = self._draw(distribution.distributions, len(obs))  # type: ignore[attr-defined]
        return actions, self.value_net(latent_value), distribution.log_prob(actions)
