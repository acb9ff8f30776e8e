"""Own catalogue: a new type, m10g.large, 15 % faster and 5 % dearer than m8g.large, on demand."""

from dataclasses import replace

from agents.evaluation.worlds import make_worlds
from agents.policies import ConstantPolicy
from agents.rollout import cost_ratio, play
from agents.rules import load_rules
from envs.settings import Candidate, TaskSettings, WorldSource
from envs.worlds import draw_scenarios
from simulators.catalogue import Catalogue

m8g = Catalogue()["m8g.large"]
m10g = replace(
    m8g,
    name="m10g.large",
    coremark_per_vcpu=1.15 * m8g.coremark_per_vcpu,
    price_usd_per_hour=1.05 * m8g.price_usd_per_hour,
)

if __name__ == "__main__":
    book, source = load_rules(), WorldSource(patterns=("diurnal",), days=1, scenarios_per_source=1)
    for name in ("m8g.large", "m10g.large"):
        task = book.task(TaskSettings(types=(m10g,), candidates=(Candidate(name=name, types=(name,)),)))
        worlds = make_worlds(draw_scenarios(source, task), task, seeds=[0], days=3)
        on_demand = book.action("forecast", task) * [1, 1, 0, 1]
        played = play(ConstantPolicy(on_demand), worlds.bank, task, worlds.windows)
        print(f"{name}: {cost_ratio(played):.4f} of reference")
