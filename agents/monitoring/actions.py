"""What a stochastic policy does with the parts of its action: how sure it is of each, and what it mostly chooses."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.distributions import MultiCategoricalDistribution

from envs.action import KEEP, MAX_SCALE
from envs.settings import TaskSettings, menu_names

ACTION_PARTS: Final = ("scale", "specification", "spot", "policy")


def part_entropies(model: PPO, observations: NDArray[np.float32]) -> dict[str, float]:
    """Return the mean entropy of each part of the action over observations [N, F], in nats; 0 is certainty."""
    with torch.no_grad():
        distribution = model.policy.get_distribution(torch.as_tensor(observations))
    if not isinstance(distribution, MultiCategoricalDistribution):
        raise TypeError(f"the policy's distribution is a {type(distribution).__name__}; expected one of four choices")
    parts = zip(ACTION_PARTS, distribution.distribution, strict=True)
    return {name: -float((part.probs * part.logits).sum(dim=1).mean()) for name, part in parts}


def action_shares(actions: NDArray[np.int64], task: TaskSettings) -> dict[str, float]:
    """Return what actions [N, 4] mostly ask for, in percent.

    ``action/scale_zero_percent`` and ``action/specification_keep_percent`` are the decisions that leave size and launch
    specification to the menu's policy and to what is there, ``action/spot_percent`` is the mean spot share asked for,
    ``policy_share/<name>`` the decisions that choose each entry of the menu.
    """
    scale, specification, spot, policy = actions.T
    shares = {
        "action/scale_zero_percent": 100.0 * float((scale == MAX_SCALE).mean()),
        "action/specification_keep_percent": 100.0 * float((specification == KEEP).mean()),
        "action/spot_percent": float(spot.mean()) * task.spot_step_percent,
    }
    counts = np.bincount(policy, minlength=len(task.menu))
    names = menu_names(task.menu)
    shares |= {f"policy_share/{name}": 100.0 * float(n) / len(actions) for name, n in zip(names, counts, strict=True)}
    return shares


def advice_shares(actions: NDArray[np.int64], advised: NDArray[np.int64]) -> dict[str, float]:
    """Return the percentage of actions [N, 4] that equal the advised ones, as a whole and part by part."""
    same = actions == advised
    shares = {f"advice/{name}_percent": 100.0 * float(same[:, part].mean()) for part, name in enumerate(ACTION_PARTS)}
    return {"advice/followed_percent": 100.0 * float(same.all(axis=1).mean()), **shares}
