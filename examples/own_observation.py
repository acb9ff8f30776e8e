"""Own observation: three numbers, in instances: in service, needed now, needed in half an hour at the 0.9 quantile."""

import gymnasium
import numpy as np

from envs import ENVIRONMENT_ID
from envs.settings import EnvSettings, WorldSource
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS


class Needs:
    space = gymnasium.spaces.Box(0.0, np.inf, (3,), np.float32)

    def encode(self, readings):
        soon = readings["forecast_rps"][:, LEAD_MINUTES.index(30), QUANTILE_LEVELS.index(0.9)]
        usable = 0.7 * readings["dependable_rps"]
        return np.stack([readings["in_service"], readings["demand_rps"] / usable, soon / usable], 1).astype(np.float32)


if __name__ == "__main__":
    settings = EnvSettings(source=WorldSource(patterns=("diurnal",), days=1, scenarios_per_source=1, markets=1))
    env = gymnasium.make(ENVIRONMENT_ID, settings=settings, codec=Needs())
    observation, _ = env.reset(seed=0)
    for _ in range(5):
        print("in service {:.0f}, needed now {:.1f}, in 30 minutes {:.1f}".format(*observation))
        observation, *_ = env.step(np.array([19, 1, 5, 0]))
