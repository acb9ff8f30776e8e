"""A small world bank that is written anew for every decision, and the rollouts played in it.

One tape and one market for each fleet and future. Arrays are made once and overwritten in place; prices stand still for
the length of a plan.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.planning.demand import (
    DemandPast,
    Draws,
    forecast_rows,
    like_the_past,
    minute_demand,
    score_paths,
    step_correlations,
    step_quantiles,
)
from agents.planning.markets import SpotWindows
from agents.planning.state import reconstruct
from forecasting.annotate import Annotation
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.fleets import FleetBatch, infra_usd
from simulators.market import MarketTape
from simulators.physics import WorldSettings
from simulators.records import EVENT_REBALANCE, EVENT_RECLAIM, FLEET, LEAD_MINUTES, TICKS_PER_ROW, ZONES
from simulators.scenario import Scenario
from simulators.worlds import WorldPlan, build_bank

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_BYTES: Final = np.dtype(f"V{FLEET.itemsize}")
PAST_TICKS: Final = 60
PLANNED_LEADS: Final = LEAD_MINUTES.index(60)
"""Leads that are forecast along a path (5 to 30 minutes); longer ones repeat the longest of them."""


@dataclass(frozen=True)
class Plans:
    """What to try: one row a rollout plan, all fleets' plans together.

    Attributes:
        fleet: [N] which fleet of the batch.
        first: [N] DECISION records of the first decision.
        then: [N] DECISION records from the second decision on.
    """

    fleet: IntArray
    first: NDArray[np.void]
    then: NDArray[np.void]


class Trial:
    """Futures of up to ``fleets`` fleets and the rollouts through them.

    Args:
        catalogue: Types and candidates.
        world: Physics, workload, objective and tariff that the planner believes in.
        menu: [M] POLICY records that plans refer to.
        fleets: Most fleets at a time.
        futures: Futures of each.
        minutes: Length of a rollout, a multiple of 5.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        world: WorldSettings,
        menu: NDArray[np.void],
        *,
        fleets: int,
        futures: int,
        minutes: int,
    ) -> None:
        self.futures, self.minutes, self._size = futures, minutes, fleets
        self._menu, self._catalogue = menu, catalogue
        self._delay = world.physics.metric_delay_ticks
        self.bank = _blank_bank(catalogue, world, fleets * futures, minutes)
        self.physics = self.bank.physics[0]
        self.states = np.zeros(0, FLEET)
        self.steps = minutes // TICKS_PER_ROW + LEAD_MINUTES[PLANNED_LEADS - 1] // TICKS_PER_ROW + 1

    def _batch(self, size: int) -> FleetBatch:
        return FleetBatch(self.bank, self._menu, size)

    def imagine(self, readings: NDArray[np.void], draws: Draws, spot: SpotWindows, past: DemandPast) -> None:
        """Write the futures of these fleets into the bank, and rebuild their present from what they read.

        Args:
            readings: [B] TELEMETRY records, at most as many as the trial has room for.
            draws: For F futures of ``steps`` steps.
            spot: [B, F, minutes, K x Z].
            past: What each fleet's past says about its demand.
        """
        self.states = np.concatenate([reconstruct(reading, self.physics, PAST_TICKS) for reading in readings])
        quantiles = step_quantiles(readings, self.steps)
        correlations = step_correlations(quantiles)
        scores = score_paths(correlations, past.start, like_the_past(draws, past))
        demand = minute_demand(quantiles, scores, draws.noise, past.roughness)
        rows = self.minutes // TICKS_PER_ROW
        forecasts = forecast_rows(quantiles, correlations, scores, rows, PLANNED_LEADS)
        self._write_demand(readings, demand, past.reference_rps)
        self._write_forecasts(readings, forecasts)
        self._write_markets(readings, spot)

    def _write_demand(self, readings: NDArray[np.void], demand: FloatArray, reference_rps: FloatArray) -> None:
        """Lay the paths behind the last visible minute; before it stands what was seen of the past."""
        count = len(readings) * self.futures
        length = PAST_TICKS + self.minutes
        tape = self.bank.demand_rps.reshape(-1, length)[:count].reshape(len(readings), self.futures, length)
        visible = PAST_TICKS - self._delay
        tape[:, :, :visible] = readings["demand_rps"][:, None, None]
        tape[:, :, visible:] = demand[:, :, : length - visible]
        np.cumsum(self.bank.demand_rps, dtype=np.float64, out=self.bank.demand_total[1:])
        records = self.bank.tapes[:count].reshape(len(readings), self.futures)
        records["mean_demand_rps"] = readings["mean_demand_rps"][:, None]
        records["reference_demand_rps"] = reference_rps[:, None]
        records["minute_of_week"] = (readings["minute_of_week"][:, None] - PAST_TICKS) % (7 * 1440)

    def _write_forecasts(self, readings: NDArray[np.void], forecasts: FloatArray) -> None:
        count, first = len(readings) * self.futures, PAST_TICKS // TICKS_PER_ROW
        shape = (-1, first + self.minutes // TICKS_PER_ROW, *self.bank.forecast_rps.shape[1:])
        rows = self.bank.forecast_rps.reshape(shape)[:count].reshape(len(readings), self.futures, *shape[1:])
        rows[:, :, first:, :PLANNED_LEADS] = forecasts
        rows[:, :, first:, PLANNED_LEADS:] = forecasts[:, :, :, -1:]
        rows[:, :, first] = readings["forecast_rps"][:, None]

    def _write_markets(self, readings: NDArray[np.void], spot: SpotWindows) -> None:
        count = len(readings) * self.futures
        prices = np.stack([_type_prices(reading, self._catalogue, self.physics) for reading in readings])
        by_pool = np.repeat(prices, ZONES, axis=1) / 3600.0
        self.bank.spot_usd_per_s[:count] = np.repeat(by_pool, self.futures, axis=0)[:, None]
        shown = readings["candidate_spot_usd_per_hour"][:, : self.bank.candidate_spot_usd_per_hour.shape[2]]
        self.bank.candidate_spot_usd_per_hour[:count] = np.repeat(shown, self.futures, axis=0)[:, None]
        for target, source in (
            (self.bank.pool_state, spot.pool_state),
            (self.bank.reclaim, spot.reclaim),
            (self.bank.rebalance_lead, spot.rebalance_lead),
        ):
            target[:count, PAST_TICKS:] = source.reshape(count, *source.shape[2:])
        self.bank.events[:count] = EVENT_RECLAIM * self.bank.reclaim[:count].any(
            axis=2
        ) + EVENT_REBALANCE * self.bank.rebalance_lead[:count].any(axis=2)

    def costs(
        self, plans: Plans, futures: IntArray, *, split_minutes: int, minutes: int
    ) -> tuple[FloatArray, FloatArray]:
        """Play plans through futures.

        Args:
            plans: N plans.
            futures: [f] indices of the futures to play each in.
            split_minutes: Minutes until the second decision.
            minutes: Length, at most that of the trial.

        Returns:
            [N, f] bill before refunds and penalty in USD of the whole rollout, and of its second half.
        """
        count = len(plans.fleet) * len(futures)
        batch = self._batch(count)
        fleet = np.repeat(plans.fleet, len(futures))
        np.take(self.states.view(_BYTES), fleet, out=batch.state.view(_BYTES))
        batch.state["world"] = fleet * self.futures + np.tile(futures, len(plans.fleet))
        batch.state["seed"] = np.tile(futures, len(plans.fleet)).astype(np.uint64)
        batch.state["end_tick"] = PAST_TICKS + minutes
        half = (minutes // 2) // TICKS_PER_ROW * TICKS_PER_ROW
        total, late = np.zeros(count), np.zeros(count)
        batch.decisions[:] = np.repeat(plans.first, len(futures))
        batch.step(split_minutes)
        total += infra_usd(batch.outcomes) + batch.outcomes["slo_penalty_usd"]
        batch.decisions[:] = np.repeat(plans.then, len(futures))
        for part in (max(half - split_minutes, 0), max(minutes - max(half, split_minutes), 0)):
            batch.step(part)
            late = infra_usd(batch.outcomes) + batch.outcomes["slo_penalty_usd"]
            total += late
        shape = (len(plans.fleet), len(futures))
        return total.reshape(shape), late.reshape(shape)


def _type_prices(reading: np.void, catalogue: Catalogue, physics: np.void) -> FloatArray:
    """Return [K] USD per hour on spot: as shown where a candidate is this type alone, else by its usual saving.

    A type of a mix is never cheaper than the mix is shown to be.
    """
    prices = np.array([item.price_usd_per_hour * (1.0 - item.spot_saving) for item in catalogue.types])
    order = np.argsort(-physics["num_members"][: int(physics["num_candidates"])], kind="stable")
    for spec in order:
        members = physics["members"][spec][: int(physics["num_members"][spec])]
        shown = float(reading["candidate_spot_usd_per_hour"][spec])
        prices[members] = np.maximum(prices[members], shown) if len(members) > 1 else shown
    return prices


def _blank_bank(catalogue: Catalogue, world: WorldSettings, tapes: int, minutes: int) -> Bank:
    """Return a bank of equal tapes and markets, a world for each pair, made to be overwritten."""
    length = PAST_TICKS + minutes
    rows = length // TICKS_PER_ROW
    leads = len(LEAD_MINUTES)
    scenario = Scenario(
        name="future",
        demand_rps=np.ones(length, np.float32),
        work_scale=np.ones(length, np.float32),
        scored=np.ones(length, np.bool_),
        annotation=Annotation(
            np.ones((rows, leads, 4), np.float32), np.ones(rows, np.bool_), np.zeros(rows, np.float32)
        ),
        minute_of_week=0,
        mean_demand_rps=1.0,
        reference_demand_rps=1.0,
        first_tick=PAST_TICKS,
        last_tick=length,
        kind="requests",
        fault_fraction=np.zeros(length, np.float32),
        metric_gap=np.zeros(length, np.bool_),
        predictive_rps=np.full(-(-length // 60), np.nan, np.float32),
    )
    pools = len(catalogue.types) * ZONES
    quiet = np.zeros((length, pools), np.uint8)
    market = MarketTape(np.ones((-(-length // 60), pools), np.float32), quiet, quiet.copy())
    plans = [WorldPlan(position, position) for position in range(tapes)]
    return build_bank([scenario] * tapes, [market] * tapes, plans, catalogue=catalogue, settings=(world,))
