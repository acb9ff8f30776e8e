"""Own scenario: a canteen's site, busy from 11:30 to 13:30 only, played under two shipped rules."""

import numpy as np

from agents.evaluation.worlds import make_worlds
from agents.policies import ConstantPolicy
from agents.rollout import bad_fraction, cost_ratio, play
from agents.rules import load_rules
from envs.settings import TaskSettings
from simulators.scenario import make_scenario

minute = np.arange(9 * 1440) % 1440
noise = np.random.default_rng(7).lognormal(0.0, 0.05, len(minute))
demand_rps = np.where((minute >= 690) & (minute < 810), 900.0, 60.0) * noise
week, next_day = slice(0, 7 * 1440), slice(7 * 1440, 8 * 1440)

if __name__ == "__main__":
    book = load_rules()
    task = book.task(TaskSettings())
    canteen = make_scenario("canteen", demand_rps, history=week, window=next_day)
    worlds = make_worlds([canteen], task, seeds=[1, 2, 3], days=8)
    for rule in ("target-tracking-cpu", "forecast"):
        played = play(ConstantPolicy(book.action(rule, task)), worlds.bank, task, worlds.windows)
        print(f"{rule}: {cost_ratio(played):.3f} of reference, {100 * bad_fraction(played):.1f} % bad minutes")
