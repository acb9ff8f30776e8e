"""Run the shipped forecast rule for a day and draw the fleet into quickstart.png."""

import gymnasium
import matplotlib.pyplot as plt

from agents.rules import load_rules
from envs import ENVIRONMENT_ID
from envs.settings import EnvSettings, TaskSettings, WorldSource

book = load_rules()
task = book.task(TaskSettings())
source = WorldSource(patterns=("diurnal",), days=2, scenarios_per_source=1, markets=1)
env = gymnasium.make(ENVIRONMENT_ID, settings=EnvSettings(task=task, source=source))
env.reset(seed=1)
demand, instances, over = [], [], False
while not over:
    _, _, _, over, _ = env.step(book.action("forecast", task))
    reading = env.unwrapped.episodes.fleets.readings[0]
    demand.append(reading["demand_rps"] / reading["dependable_rps"])
    instances.append(reading["in_service"])
plt.plot(demand, label="demand, in instances at 100 %")
plt.step(range(len(instances)), instances, label="instances in service")
plt.legend()
plt.savefig("quickstart.png")
