"""A planner: at every decision it tries actions in the simulator, over sampled futures, and takes the cheapest.

It sees telemetry only. From a reading it rebuilds the present (``agents.planning.state``), samples demand from the
forecast's quantiles (``agents.planning.demand``) and spot markets from the market model (``agents.planning.markets``),
and plays plans through them in the real kernel. A plan is a first action and a policy that goes on from there: the
forecast policy at some share of the utilisation at which the launch specification still meets the objective.

Two levels. *How large*, at every decision: a grid of plans on some futures, the better ones on all, then neighbours of
the best in size. *What*, every half hour and after every interruption or refusal: launch specification and spot share,
on longer futures; the present choice stays unless another is better by a margin.

The effort is a number of simulated minutes, never a reading of the clock, so a result depends on readings and seed only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from agents.planning.demand import draw_shocks
from agents.planning.markets import SpotEvidence, draw_library, draw_windows
from agents.planning.memory import Memory
from agents.planning.sizes import Sizes
from agents.planning.trial import Plans, Trial
from agents.rules import RuleBook
from envs.action import MAX_SCALE
from envs.settings import TaskSettings
from simulators.records import DECISION

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PlannerSettings(BaseModel):
    """Effort and taste of a planner.

    Attributes:
        futures: Futures of each fleet for the size.
        first_futures: Futures on which all sizes are tried before the better ones are tried on all.
        finalists: How many go on.
        horizon_minutes: Length of a rollout for the size.
        choice_futures: Futures of each fleet for specification and spot share.
        choice_minutes: Length of a rollout for them; its second half stands for ``tail_hours`` more.
        choice_every: Decisions between two choices.
        tail_hours: How long a choice is taken to last beyond the rollout.
        switch_margin: Share by which another choice must be cheaper than the present one.
        chunk: Fleets planned for at a time; changes nothing but memory.
        seed: Of the sampled futures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    futures: int = Field(24, ge=1, le=512)
    first_futures: int = Field(8, ge=1, le=512)
    finalists: int = Field(4, ge=1, le=64)
    horizon_minutes: int = Field(35, ge=10, le=210, multiple_of=5)
    choice_futures: int = Field(12, ge=1, le=512)
    choice_minutes: int = Field(120, ge=10, le=210, multiple_of=5)
    choice_every: int = Field(6, ge=1)
    tail_hours: float = Field(3.0, ge=0)
    switch_margin: float = Field(0.03, ge=0, lt=1)
    chunk: int = Field(16, ge=1)
    seed: int = Field(0, ge=0)


class Planner:
    """Searches the simulator; a policy with memory, so each play needs a fresh one.

    Args:
        task: What may be done; its world settings are what the planner believes in.
        book: Calibrated rules; their menu entries are what it can ask for.
        settings: Effort.

    Raises:
        ValueError: The menu has no manual entry.
    """

    def __init__(self, task: TaskSettings, book: RuleBook, settings: PlannerSettings | None = None) -> None:
        self._settings = settings or PlannerSettings()
        self._task = book.task(task)
        catalogue = task.catalogue()
        self._library = draw_library(catalogue)
        self._kinds = len(catalogue.types)
        self._sizes = Sizes(self._task)
        common = {"fleets": self._settings.chunk}
        menu, world = self._sizes.menu, task.world
        self._size_trial = Trial(
            catalogue, world, menu, futures=self._settings.futures, minutes=self._settings.horizon_minutes, **common
        )
        self._choice_trial = Trial(
            catalogue, world, menu, futures=self._settings.choice_futures, minutes=self._settings.choice_minutes, **common
        )
        self._decision = 0

    def act(self, readings: NDArray[np.void]) -> IntArray:
        """Return one action per fleet, [B, 4]."""
        if self._decision == 0:
            self._memory = Memory(len(readings), self._kinds, self._task.decision_minutes)
            self._spec = readings["spec"].astype(np.int64)
            self._spot = readings["spot_fraction"].copy()
            self._tail = np.full(len(readings), self._sizes.usual_tail)
        elif len(readings) != len(self._spec):
            raise ValueError(f"this planner plays {len(self._spec)} fleets, got readings of {len(readings)}")
        self._memory.observe(readings, self._size_trial.physics)
        evidence = self._memory.evidence(self._library)
        due = self._memory.fresh | (self._decision % self._settings.choice_every == 0)
        actions = np.zeros((len(readings), 4), np.int64)
        for start in range(0, len(readings), self._settings.chunk):
            part = np.arange(start, min(start + self._settings.chunk, len(readings)))
            self._choose(readings, part[due[part]], evidence)
            self._size(readings, part, evidence, actions)
        self._decision += 1
        return actions

    def _imagine(self, trial: Trial, readings: NDArray[np.void], rows: IntArray, evidence: SpotEvidence) -> None:
        own = SpotEvidence(
            evidence.hot_chance[rows],
            evidence.minutes_since_reclaim[rows],
            evidence.minutes_since_refusal[rows],
            evidence.in_use[rows],
        )
        rng = np.random.default_rng([self._settings.seed, 0x5907, self._decision])
        spot = draw_windows(self._library, own, futures=trial.futures, minutes=trial.minutes, rng=rng)
        draws = draw_shocks(trial.futures, trial.steps, self._settings.seed, self._decision)
        trial.imagine(readings[rows], draws, spot, self._memory.roughness[rows], self._memory.past_scores[rows])

    def _choose(self, readings: NDArray[np.void], rows: IntArray, evidence: SpotEvidence) -> None:
        """Choose specification and spot share of some fleets."""
        if len(rows) == 0:
            return
        settings, trial = self._settings, self._choice_trial
        self._imagine(trial, readings, rows, evidence)
        specs, levels = len(self._task.candidates), (0.0, 0.5, 0.8, 1.0)
        options = [(spec, 1.0) for spec in range(specs)]
        for row, fleet in enumerate(rows):
            present = (int(self._spec[fleet]), float(self._spot[fleet]))
            tried = {present: self._cost_of_choices(readings, fleet, row, [present])[0]}
            rest = [option for option in options if option not in tried]
            tried |= dict(zip(rest, self._cost_of_choices(readings, fleet, row, rest), strict=True))
            best = min(tried, key=lambda option: tried[option])
            rest = [(best[0], self._on_grid(level)) for level in levels]
            rest = [option for option in dict.fromkeys(rest) if option not in tried]
            tried |= dict(zip(rest, self._cost_of_choices(readings, fleet, row, rest), strict=True))
            best = min(tried, key=lambda option: tried[option])
            if tried[best] < (1.0 - settings.switch_margin) * tried[present]:
                self._spec[fleet], self._spot[fleet] = best

    def _on_grid(self, share: float) -> float:
        levels = self._task.num_spot_levels - 1
        return round(share * levels) / levels

    def _cost_of_choices(
        self, readings: NDArray[np.void], fleet: int, row: int, options: list[tuple[int, float]]
    ) -> list[float]:
        """Return what each choice costs, followed for the length of a rollout and some hours like its second half."""
        settings = self._settings
        decisions = np.zeros(len(options), DECISION)
        for place, (spec, spot) in enumerate(options):
            decisions[place] = (0, spec, self._sizes.tail_index(spec, int(self._tail[fleet])), spot)
        plans = Plans(np.full(len(options), row), decisions, decisions)
        total, late = self._choice_trial.costs(
            plans,
            np.arange(settings.choice_futures),
            split_minutes=self._task.decision_minutes,
            minutes=settings.choice_minutes,
        )
        rest = settings.tail_hours * 60.0 / (settings.choice_minutes / 2)
        return [float(value) for value in (total + rest * late).mean(axis=1)]

    def _size(
        self, readings: NDArray[np.void], rows: IntArray, evidence: SpotEvidence, actions: IntArray
    ) -> None:
        """Choose the size of some fleets and write their actions."""
        settings, trial = self._settings, self._size_trial
        self._imagine(trial, readings, rows, evidence)
        tails = self._sizes.num_tails
        wants = np.stack(
            [self._sizes.wants(readings[fleet], int(self._spec[fleet]), float(self._spot[fleet])) for fleet in rows]
        )
        fleets = np.repeat(np.arange(len(rows)), tails)
        tail = np.tile(np.arange(tails), len(rows))
        some, others = np.arange(settings.first_futures), np.arange(settings.first_futures, settings.futures)
        first = self._costs(readings, rows, fleets, tail, wants.ravel(), some).sum(axis=1).reshape(len(rows), tails)
        order = np.argsort(first, axis=1, kind="stable")[:, : settings.finalists]
        finalists = np.take_along_axis(wants, order, axis=1)
        fleets = np.repeat(np.arange(len(rows)), order.shape[1])
        cost = np.take_along_axis(first, order, axis=1)
        if len(others):
            more = self._costs(readings, rows, fleets, order.ravel(), finalists.ravel(), others)
            cost = cost + more.sum(axis=1).reshape(order.shape)
        best = np.argmin(cost, axis=1)
        pick = np.arange(len(rows))
        self._tail[rows] = order[pick, best]
        size, cheapest = finalists[pick, best], cost[pick, best]
        changes = np.array([-2, -1, 1, 2])
        fleets = np.repeat(pick, len(changes))
        sizes = (size[:, None] + changes).ravel()
        near = self._costs(readings, rows, fleets, self._tail[rows][fleets], sizes, np.arange(settings.futures))
        near = near.sum(axis=1).reshape(len(rows), -1)
        better = near.min(axis=1) < cheapest
        size = np.where(better, size + changes[near.argmin(axis=1)], size)
        for row, fleet in enumerate(rows):
            actions[fleet] = self._sizes.action(
                readings[fleet], int(self._spec[fleet]), float(self._spot[fleet]), int(size[row])
            )

    def _costs(
        self,
        readings: NDArray[np.void],
        rows: IntArray,
        fleets: IntArray,
        tails: IntArray,
        sizes: IntArray,
        futures: IntArray,
    ) -> FloatArray:
        """Return [N, f] what a size now and a tail afterwards cost."""
        first, then = np.zeros(len(fleets), DECISION), np.zeros(len(fleets), DECISION)
        for place, (row, tail, size) in enumerate(zip(fleets, tails, sizes, strict=True)):
            reading, spec, spot = readings[rows[row]], int(self._spec[rows[row]]), float(self._spot[rows[row]])
            policy, scale = self._sizes.order(reading, spec, spot, int(size))
            first[place] = (scale, spec, policy, spot)
            then[place] = (0, spec, self._sizes.tail_index(spec, int(tail)), spot)
        return self._size_trial.costs(
            Plans(fleets, first, then),
            futures,
            split_minutes=self._task.decision_minutes,
            minutes=self._settings.horizon_minutes,
        )[0]
