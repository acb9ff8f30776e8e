"""A world small enough to solve on paper: what a fleet should do in it, and what that costs, is known exactly.

One instance type (m6i.large, 2 vCPU, 0.096 USD an hour), on demand only, ready one second after its launch, gone at
once. A request takes 10 ms of CPU, so an instance serves 200 requests a second; the objective, 250 ms, is 25 service
times away, so a minute is good where utilisation stays below about 0.9 and bad where it exceeds 1. Demand is constant
through four phases of ten minutes; a decision is the number of instances of a phase.

    phase  demand_rps  instances to serve it  utilisation  with one less  keep it good   let it be bad (one instance)
    1      150         1                      0.75         (none)         1.00           -
    2      300         2                      0.75         1.50           2.00           1 + 5.33 = 6.33
    3      480         3                      0.80         1.20           3.00           1 + 5.33 = 6.33
    4      1630        9                      0.91         1.02           9.00           1 + 5.33 = 6.33

The last two columns are costs of one minute in instance-minutes. Mean demand is (150 + 300 + 480 + 1630) / 4 = 640
requests a second, the reference fleet at 60 % utilisation serves 0.6 x 200 = 120 with each instance, so the reference
cost of a minute is 640 / 120 = 5.33 instance-minutes; with ``penalty_multiple`` 1 that is what a bad minute costs.
Serving is cheaper in the first three phases. The crowd of the last one is cheaper to fail, with the one instance that
must stay, and nothing comes after it. So the optimum is 1, 2, 3, 1:

    bill     10 x (1 + 2 + 3 + 1) = 70 instance-minutes x 0.0016 USD = 0.112 USD
    penalty  10 bad minutes x 640 / 120 = 53.33          x 0.0016 USD = 0.085333 USD
    total                                                              0.197333 USD
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.catalogue import TYPES, Catalogue, LaunchSpecification
from simulators.fleets import FleetBatch
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, menu_records
from simulators.physics import Physics, ServiceObjective, Workload, WorldSettings
from simulators.records import ZONES
from simulators.scenario import make_scenario
from simulators.scenario_files import World, world_bank

TOY_DEMAND_RPS: Final = (150.0, 300.0, 480.0, 1630.0)
PHASE_MINUTES: Final = 10
_USD_PER_HOUR: Final = 0.096
OPTIMAL_INSTANCES: Final = (1, 2, 3, 1)
OPTIMAL_BILL_USD: Final = 70 * _USD_PER_HOUR / 60
OPTIMAL_PENALTY_USD: Final = 10 * 640 / 120 * _USD_PER_HOUR / 60
OPTIMAL_USD: Final = OPTIMAL_BILL_USD + OPTIMAL_PENALTY_USD
_TYPE: Final = "m6i.large"
_LEAD_IN_MINUTES: Final = 15

TOY_SETTINGS: Final = WorldSettings(
    physics=Physics(
        boot_median_s=0.001,
        boot_sigma=0.0,
        unbilled_boot_share=0.0,
        app_median_s=0.0,
        app_sigma=0.0,
        register_s=0,
        drain_s=0,
        instance_warmup_s=0,
    ),
    workload=Workload(cpu_ms_per_request=10.0),
    objective=ServiceObjective(penalty_multiple=1.0),
)


def toy_catalogue() -> Catalogue:
    """Return the catalogue of the one type."""
    kinds = tuple(item for item in TYPES if item.name == _TYPE)
    return Catalogue(types=kinds, candidates=(LaunchSpecification(_TYPE, (_TYPE,)),))


def toy_world() -> World:
    """Return the toy world: a quarter of an hour at the first phase's demand, then the four phases."""
    demand = np.repeat(TOY_DEMAND_RPS, PHASE_MINUTES)
    demand = np.concatenate((np.full(_LEAD_IN_MINUTES, demand[0]), demand))
    window = slice(_LEAD_IN_MINUTES, len(demand))
    scenario = make_scenario("toy", demand, history=window, window=window, forecasts="none")
    catalogue = toy_catalogue()
    prices = np.full((1, ZONES), _USD_PER_HOUR / 3600.0, np.float32)
    quiet = np.zeros((len(demand), ZONES), np.uint8)
    market = MarketTape(prices, quiet, quiet.copy())
    return World(scenario, market, TOY_SETTINGS, tuple(item.name for item in catalogue.types))


def play_toy(plans: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Play plans in the real kernel, on demand, sizes set by hand.

    Args:
        plans: [N, 4] instances in each phase, at least 1.

    Returns:
        [N] on-demand bill and [N] penalty of the whole day, USD.
    """
    count = len(plans)
    world = toy_world()
    batch = FleetBatch(
        world_bank(world, toy_catalogue()), menu_records([ScalingPolicy(name="manual", kind="manual")]), count
    )
    zeros, first = np.zeros(count, np.int64), np.full(count, world.scenario.first_tick)
    batch.reset(np.arange(count), zeros, first, np.full(count, world.scenario.last_tick), np.arange(count, dtype="u8"))
    bill, penalty = np.zeros(count), np.zeros(count)
    for phase in range(len(TOY_DEMAND_RPS)):
        batch.decisions[:] = 0
        batch.decisions["scale"] = plans[:, phase] - batch.state["desired"]
        batch.step(PHASE_MINUTES)
        bill += batch.outcomes["on_demand_usd"]
        penalty += batch.outcomes["slo_penalty_usd"]
    return bill, penalty
