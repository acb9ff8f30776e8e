"""Own reward: all USD over reference as usual, and a price on every launch, for a calmer fleet."""

import gymnasium
import numpy as np

from envs import ENVIRONMENT_ID
from envs.settings import EnvSettings, WorldSource

LAUNCH_PRICE = 0.05  # in units of the reference cost of one decision


def calm(outcomes, terms):
    return terms["cost_savings"] + terms["sla_compliance"] - LAUNCH_PRICE * outcomes["launches"]


if __name__ == "__main__":
    settings = EnvSettings(source=WorldSource(patterns=("diurnal",), days=1, scenarios_per_source=1, markets=1))
    usual = gymnasium.make_vec(ENVIRONMENT_ID, num_envs=16, settings=settings)
    own = gymnasium.make_vec(ENVIRONMENT_ID, num_envs=16, settings=settings, reward=calm)
    usual.reset(seed=0), own.reset(seed=0)
    actions = np.tile([20, 1, 5, 0], (16, 1))  # one instance more
    for _ in range(3):
        plain, priced = usual.step(actions)[1], own.step(actions)[1]
        print(f"usual {plain.mean():.3f}, own {priced.mean():.3f}")
