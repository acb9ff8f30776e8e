"""What a stochastic policy does with the parts of its action: how sure it is of each, and what it mostly chooses."""

import math
from typing import Any, Final

import numpy as np
import torch
from gymnasium import Space
from numpy.typing import NDArray
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from stable_baselines3 import PPO

from envs.action import KEEP, MAX_SCALE
from envs.box import ActionBox
from envs.settings import TaskSettings, menu_names

ACTION_PARTS: Final = ("scale", "specification", "spot", "policy")


def part_entropies(model: PPO, observations: NDArray[np.float32]) -> dict[str, float]:
    """Return the mean entropy of each part of the action over observations [N, F], in nats.

    Of choices 0 is certainty; of a Gaussian over the action box it is a differential entropy, and has no lowest value.
    """
    with torch.no_grad():
        distribution: Any = model.policy.get_distribution(torch.as_tensor(observations))
        masked = isinstance(distribution, MaskableDistribution)
        parts: Any = distribution.distributions if masked else distribution.distribution
        if isinstance(parts, torch.distributions.Normal):
            means = parts.stddev.log().mean(dim=0) + 0.5 * math.log(2.0 * math.pi * math.e)
        else:
            means = torch.stack([part.entropy().mean() for part in parts])
    return dict(zip(ACTION_PARTS, means.tolist(), strict=True))


def as_choices(space: Space[Any], actions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the integers [N, 4] that actions as a rollout buffer holds them stand for."""
    if isinstance(space, ActionBox):
        return space.integers(np.clip(actions, -1.0, 1.0))
    return actions.astype(np.int64)


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
