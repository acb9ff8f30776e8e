"""Sizes, how the menu is asked for them, and the policies that a plan goes on with.

A plan goes on with the forecast policy at a share of the utilisation at which its launch specification just meets the
objective, so that one grid of shares suits every specification.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from envs.action import KEEP, MAX_SCALE
from envs.settings import TaskSettings
from simulators.latency import RHO_STEP, load_tail_table, threshold_table
from simulators.menu import ScalingPolicy, menu_records
from simulators.physics import physics_record

IntArray = NDArray[np.int64]

_SHARES: Final = (0.55, 0.62, 0.69, 0.76, 0.83, 0.90, 0.97)
_LEADS: Final = (1, 3)
_QUANTILE: Final = 1.7
_HOLD_MINUTES: Final = 2
_USUAL_SHARE: Final = 0.76
_EIGHT_TARGETS: Final = 3


class Sizes:
    """What can be asked of a task's menu, and the menu that rollouts are played with.

    Attributes:
        menu: POLICY records: the task's entries first, then for each launch specification its tails.
        num_tails: Tails of a specification: shares x leads.
        usual_tail: One in the middle.

    Raises:
        ValueError: The menu has no entry of kind manual.
    """

    def __init__(self, task: TaskSettings) -> None:
        self._task = task
        kinds = [policy.kind for policy in task.menu]
        if "manual" not in kinds:
            raise ValueError(f"the planner needs a manual entry in the menu; it has {', '.join(kinds)}")
        self._manual = kinds.index("manual")
        self._forecast = kinds.index("forecast") if "forecast" in kinds else None
        self.physics = physics_record(task.catalogue(), task.world)[0]
        limits = [self._limit(spec) for spec in range(len(task.candidates))]
        self.tails = [
            ScalingPolicy(
                name=f"tail {spec} {share} {lead}",
                kind="forecast",
                target_utilization=max(0.06, min(share * limit, 0.99)),
                quantile=_QUANTILE,
                lead=lead,
                hold_minutes=_HOLD_MINUTES,
            )
            for spec, limit in enumerate(limits)
            for lead in _LEADS
            for share in _SHARES
        ]
        self.menu = menu_records(task.menu + tuple(self.tails))
        self._first_tail = len(task.menu)
        self.num_tails = len(_SHARES) * len(_LEADS)
        self.usual_tail = _SHARES.index(_USUAL_SHARE)

    def _limit(self, spec: int) -> float:
        """Return the highest utilisation, in steps of 1 %, at which a fleet of eight meets the objective."""
        physics, world = self.physics, self._task.world
        table = load_tail_table(world.physics.routing, world.workload.cv2)
        members = physics["members"][spec][: int(physics["num_members"][spec])]
        limits = []
        for kind in members:
            objective = float(physics["slo_s"] / physics["service_s"][kind])
            late = np.exp(threshold_table(table[physics["servers"][kind]], objective)[_EIGHT_TARGETS])
            limits.append(RHO_STEP * np.count_nonzero(late <= physics["slo_late_fraction"]))
        return float(min(limits))

    def tail_index(self, spec: int, tail: int) -> int:
        """Return the menu index of a specification's tail."""
        return self._first_tail + spec * self.num_tails + tail

    def dependable_rps(self, reading: np.void, spec: int) -> float:
        """Return what one target can be counted on for once a specification is asked for, as the kernel counts it."""
        present = np.flatnonzero(reading["type_count"] > 0)
        capacity = float(self.physics["candidate_capacity_rps"][spec])
        if self.physics["least_outstanding"] or len(present) == 0:
            return capacity
        return min(capacity, float(self.physics["capacity_rps"][present].min()))

    def _wanted(self, reading: np.void, policies: NDArray[np.void], spec: int, spot_fraction: float) -> IntArray:
        """Return the size that each of some forecast policies wants now."""
        forecast = reading["forecast_rps"]
        lower = np.minimum(policies["quantile"].astype(np.int64), forecast.shape[1] - 2)
        share = policies["quantile"] - lower
        worst_by_lead = np.maximum.accumulate(forecast[:, lower] * (1.0 - share) + forecast[:, lower + 1] * share)
        worst = np.maximum(worst_by_lead[policies["lead"], np.arange(len(policies))], reading["demand_rps"])
        need = worst / (policies["target_utilization"] * self.dependable_rps(reading, spec))
        return np.asarray(np.ceil(need * (1.0 + policies["spot_margin"] * spot_fraction) - 1e-9), np.int64)

    def wants(self, reading: np.void, spec: int, spot_fraction: float) -> IntArray:
        """Return [tails] the size that each tail of a specification wants now."""
        first = self.tail_index(spec, 0)
        return self._wanted(reading, self.menu[first : first + self.num_tails], spec, spot_fraction)

    def orders(self, reading: np.void, spec: int, spot_fraction: float, sizes: IntArray) -> tuple[IntArray, IntArray]:
        """Return the menu entry and the scale part that ask for each of some sizes, [N].

        The forecast entry with an offset, where there is one: it still adds capacity within the decision. Else, or
        where the offset is out of reach, the manual entry.
        """
        sizes = np.clip(sizes, self.physics["min_instances"], self.physics["max_instances"])
        policies = np.full(len(sizes), self._manual)
        scales = sizes - int(reading["desired"])
        if self._forecast is not None:
            entry = self.menu[self._forecast : self._forecast + 1]
            offsets = sizes - self._wanted(reading, entry, spec, spot_fraction)
            reached = np.abs(offsets) <= MAX_SCALE
            policies[reached], scales[reached] = self._forecast, offsets[reached]
        return policies, np.clip(scales, -MAX_SCALE, MAX_SCALE)

    def action(self, reading: np.void, spec: int, spot_fraction: float, size: int) -> IntArray:
        """Return the action that asks for a specification, a spot share and a size."""
        policies, scales = self.orders(reading, spec, spot_fraction, np.array([size]))
        level = round(spot_fraction * (self._task.num_spot_levels - 1))
        choice = self._choice(reading, spec, spot_fraction)
        return np.array([scales[0] + MAX_SCALE, choice, level, policies[0]], np.int64)

    def _choice(self, reading: np.void, spec: int, spot_fraction: float) -> int:
        """Return the launch-specification part of the action; ranks by price count the present one as cheaper."""
        if spec == int(reading["spec"]):
            return KEEP
        if self._task.candidate_order == "fixed":
            return spec + 1
        count = len(self._task.candidates)
        spot = reading["candidate_spot_usd_per_hour"][:count]
        on_demand = reading["candidate_on_demand_usd_per_hour"][:count]
        prices = (spot_fraction * spot + (1.0 - spot_fraction) * on_demand) / reading["candidate_capacity_rps"][:count]
        prices[int(reading["spec"])] *= 1.0 - self._task.rank_hysteresis
        return int(np.flatnonzero(np.argsort(prices, kind="stable") == spec)[0]) + 1
