"""One fleet in a world small enough to compute by hand."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forecasting.annotate import Annotation
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.fleets import FleetBatch
from simulators.market import MarketTape
from simulators.menu import ScalingPolicy, menu_records
from simulators.physics import Physics, WorldSettings
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS, ZONES
from simulators.scenario import Scenario
from simulators.worlds import WorldPlan, build_bank

CATALOGUE = Catalogue()
POOLS = len(CATALOGUE.types) * ZONES
MANUAL = ScalingPolicy(name="manual", kind="manual")

CLOCKWORK = Physics(
    boot_median_s=50.0,
    boot_sigma=0.0,
    unbilled_boot_share=0.5,
    app_median_s=35.0,
    app_sigma=0.0,
    register_s=0,
)
"""No luck in launches: billed 25 s after the call, serving 85 s after it."""


def tiny_bank(
    demand_rps: ArrayLike,
    *,
    settings: WorldSettings | None = None,
    spot_usd_per_hour: ArrayLike = 0.036,
    pool_state: ArrayLike = 0,
    reclaim: NDArray[np.uint8] | None = None,
) -> Bank:
    """A bank of one world. Prices are [hours] or one number, states [ticks, pools] or one."""
    demand = np.asarray(demand_rps, dtype=np.float32)
    ticks = len(demand)
    rows = -(-ticks // 5)
    hours = -(-ticks // 60)
    flat = np.repeat(demand[::5], len(LEAD_MINUTES) * len(QUANTILE_LEVELS))
    scenario = Scenario(
        name="tiny",
        demand_rps=demand,
        work_scale=np.ones(ticks, np.float32),
        scored=np.ones(ticks, np.bool_),
        annotation=Annotation(
            flat.reshape(rows, len(LEAD_MINUTES), len(QUANTILE_LEVELS)),
            np.ones(rows, np.bool_),
            np.zeros(rows, np.float32),
        ),
        minute_of_week=0,
        mean_demand_rps=float(demand.mean()),
        reference_demand_rps=float(demand.mean()),
        first_tick=0,
        last_tick=ticks,
    )
    hourly = np.broadcast_to(np.reshape(spot_usd_per_hour, (-1, 1)), (hours, POOLS))
    market = MarketTape(
        (hourly / 3600.0).astype(np.float32),
        np.broadcast_to(np.asarray(pool_state, np.uint8), (ticks, POOLS)).copy(),
        np.zeros((ticks, POOLS), np.uint8) if reclaim is None else reclaim,
    )
    plans = [WorldPlan(0, 0)]
    return build_bank([scenario], [market], plans, catalogue=CATALOGUE, settings=[settings or WorldSettings()])


def reclaim_all_at(ticks: int, at: int) -> NDArray[np.uint8]:
    """Every pool takes every instance back in one tick."""
    share = np.zeros((ticks, POOLS), np.uint8)
    share[at] = 255
    return share


class OneFleet:
    """A single fleet driven minute by minute; ``empty`` starts it without instances."""

    def __init__(
        self,
        bank: Bank,
        *policies: ScalingPolicy,
        tick: int = 0,
        seed: int = 1,
        empty: bool = False,
    ) -> None:
        if empty:
            bank.physics["min_instances"] = 0
        self.batch = FleetBatch(bank, menu_records(policies or (MANUAL,)), 1)
        end = int(bank.tapes["last_tick"][0])
        first = [np.array([value]) for value in (0, 0, tick, end)]
        self.batch.reset(*first, np.array([seed], np.uint64))
        if empty:
            self.state["live"] = self.state["desired"] = self.state["serial"] = 0

    @property
    def state(self) -> Any:
        return self.batch.state[0]

    @property
    def reading(self) -> Any:
        return self.batch.readings[0]

    def slots(self, name: str) -> NDArray[Any]:
        return np.asarray(self.state[name][: self.state["live"]])

    def step(
        self,
        ticks: int = 1,
        *,
        scale: int = 0,
        spec: int | None = None,
        spot: float | None = None,
        policy: int | None = None,
    ) -> Any:
        """Decide (what is not named stays) and play; return a copy of the outcome."""
        state = self.state
        self.batch.decisions[0] = (
            scale,
            state["spec"] if spec is None else spec,
            state["policy"] if policy is None else policy,
            state["spot_fraction"] if spot is None else spot,
        )
        self.batch.step(ticks)
        return self.batch.outcomes[0].copy()
