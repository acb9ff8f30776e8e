"""A planner: at every decision it tries actions in the simulator, over sampled futures, and takes the cheapest.

It sees telemetry only. From a reading it rebuilds the present (``agents.planning.state``), samples demand from the
forecast's quantiles (``agents.planning.demand``) and spot markets from the market model (``agents.planning.markets``),
and plays plans through them in the real kernel. A plan is a first action and a policy that goes on from there: the
forecast policy at some share of the utilisation at which the launch specification still meets the objective.

Two levels. *How large*, at every decision: each tail is tried on some futures and judged by what it cost lately; then
sizes around the one that the best tail wants are tried on all. *What*, every half hour and after every interruption or
refusal: launch specification and spot share, on longer futures; the present choice stays unless another has been
cheaper by a margin.

The effort is a number of simulated minutes, never a reading of the clock: a result depends on readings and seed only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from agents.planning.demand import draw_shocks
from agents.planning.markets import draw_library, draw_windows
from agents.planning.memory import Memory
from agents.planning.sizes import Sizes
from agents.planning.trial import Plans, Trial
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.records import DECISION, TICKS_PER_ROW

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Choice = tuple[int, float]

_SPOT_SHARES: Final = (0.0, 0.5, 0.8)
_TAIL_MINUTES: Final = 20
_LONGEST_MINUTES: Final = 200


class PlannerSettings(BaseModel):
    """Effort and taste of a planner.

    Attributes:
        futures: Futures of each fleet for the size.
        tail_futures: Futures on which every tail is tried.
        tail_memory: Weight of what the tails cost at earlier decisions, for each decision since.
        size_steps: Sizes tried below the one that the best tail wants; twice as many are tried above.
        size_step: Distance between two of them as a share of it, at least one instance.
        horizon_minutes: Length of a rollout for the size; longer where decisions are rare, up to 200.
        choice_futures: Futures of each fleet for specification and spot share.
        choice_minutes: Length of a rollout for them; its second half stands for ``tail_hours`` more.
        choice_every: Decisions between two choices.
        tail_hours: How long a choice is taken to last beyond the rollout.
        switch_margin: Share by which another choice must be cheaper than the present one.
        chunk: Fleets planned for at a time; changes nothing but memory.
        seed: Of the sampled futures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    futures: int = Field(40, ge=1, le=512)
    tail_futures: int = Field(8, ge=1, le=512)
    tail_memory: float = Field(0.9, ge=0, lt=1)
    size_steps: int = Field(3, ge=0, le=20)
    size_step: float = Field(0.07, ge=0, le=1)
    horizon_minutes: int = Field(25, ge=10, le=_LONGEST_MINUTES, multiple_of=5)
    choice_futures: int = Field(12, ge=1, le=512)
    choice_minutes: int = Field(120, ge=10, le=_LONGEST_MINUTES, multiple_of=5)
    choice_every: int = Field(6, ge=1)
    tail_hours: float = Field(2.0, ge=0)
    switch_margin: float = Field(0.1, ge=0, lt=1)
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
        longer = max(self._settings.horizon_minutes, task.decision_minutes + _TAIL_MINUTES)
        self._horizon = min(longer // TICKS_PER_ROW * TICKS_PER_ROW, _LONGEST_MINUTES)
        self._size_trial = Trial(
            catalogue, world, menu, futures=self._settings.futures, minutes=self._horizon, **common
        )
        self._choice_trial = Trial(
            catalogue,
            world,
            menu,
            futures=self._settings.choice_futures,
            minutes=self._settings.choice_minutes,
            **common,
        )
        self._decision = 0

    def act(self, readings: NDArray[np.void]) -> IntArray:
        """Return one action per fleet, [B, 4]."""
        if self._decision == 0:
            self._memory = Memory(len(readings), self._kinds, self._task.decision_minutes)
            self._spec = readings["spec"].astype(np.int64)
            self._spot = readings["spot_fraction"].copy()
            self._tail = np.full(len(readings), self._sizes.usual_tail)
            self._tail_cost = np.zeros((len(readings), self._sizes.num_tails))
            self._savings: list[dict[Choice, float]] = [{} for _ in readings]
        elif len(readings) != len(self._spec):
            raise ValueError(f"this planner plays {len(self._spec)} fleets, got readings of {len(readings)}")
        self._memory.observe(readings, self._size_trial.physics)
        due = self._memory.fresh | (self._decision % self._settings.choice_every == 0)
        actions = np.zeros((len(readings), 4), np.int64)
        for start in range(0, len(readings), self._settings.chunk):
            part = np.arange(start, min(start + self._settings.chunk, len(readings)))
            self._choose(readings, part[due[part]])
            self._size(readings, part, actions)
        self._decision += 1
        return actions

    def _imagine(self, trial: Trial, readings: NDArray[np.void], rows: IntArray) -> None:
        evidence = self._memory.evidence(self._library, rows)
        rng = np.random.default_rng([self._settings.seed, 0x5907, self._decision])
        spot = draw_windows(self._library, evidence, futures=trial.futures, minutes=trial.minutes, rng=rng)
        draws = draw_shocks(trial.futures, trial.steps, self._settings.seed, self._decision)
        trial.imagine(readings[rows], draws, spot, self._memory.demand_past(rows))

    def _choose(self, readings: NDArray[np.void], rows: IntArray) -> None:
        """Choose specification and spot share of some fleets, by savings smoothed over the latest choices."""
        if len(rows) == 0:
            return
        self._imagine(self._choice_trial, readings, rows)
        for row, fleet in enumerate(rows):
            present = (int(self._spec[fleet]), float(self._spot[fleet]))
            options = list(dict.fromkeys([present, *((spec, 1.0) for spec in range(len(self._task.candidates)))]))
            cost = self._cost_of_choices(fleet, row, options)
            leader = min(cost, key=lambda option: cost[option])
            shares = dict.fromkeys((leader[0], self._on_grid(share)) for share in _SPOT_SHARES)
            cost |= self._cost_of_choices(fleet, row, [option for option in shares if option not in cost])
            before = self._savings[fleet]
            savings = {
                option: 0.5 * before.get(option, 0.0) + 0.5 * (1.0 - value / cost[present])
                for option, value in cost.items()
            }
            best = max(savings, key=lambda option: savings[option])
            if savings[best] > self._settings.switch_margin:
                self._spec[fleet], self._spot[fleet] = best
                savings = {}
            self._savings[fleet] = savings

    def _on_grid(self, share: float) -> float:
        levels = self._task.num_spot_levels - 1
        return round(share * levels) / levels

    def _cost_of_choices(self, fleet: int, row: int, options: list[Choice]) -> dict[Choice, float]:
        """Return what each choice costs, followed for the length of a rollout and some hours like its second half."""
        if not options:
            return {}
        settings = self._settings
        decisions = np.zeros(len(options), DECISION)
        for place, (spec, spot) in enumerate(options):
            decisions[place] = (0, spec, self._sizes.tail_index(spec, int(self._tail[fleet])), spot)
        total, late = self._choice_trial.costs(
            Plans(np.full(len(options), row), decisions, decisions),
            np.arange(settings.choice_futures),
            split_minutes=self._task.decision_minutes,
            minutes=settings.choice_minutes,
        )
        rest = settings.tail_hours * 60.0 / (settings.choice_minutes / 2)
        return dict(zip(options, (total + rest * late).mean(axis=1).tolist(), strict=True))

    def _size(self, readings: NDArray[np.void], rows: IntArray, actions: IntArray) -> None:
        """Choose the size of some fleets and write their actions."""
        settings, count = self._settings, len(rows)
        self._imagine(self._size_trial, readings, rows)
        wants = np.stack([self._wants(readings, fleet) for fleet in rows])
        tails = np.arange(self._sizes.num_tails)
        some = np.arange(settings.tail_futures)
        cost = self._costs(readings, rows, np.tile(tails, (count, 1)), wants, some)
        self._tail_cost[rows] *= settings.tail_memory
        self._tail_cost[rows] += cost / cost.mean(axis=1, keepdims=True)
        self._tail[rows] = self._tail_cost[rows].argmin(axis=1)
        sizes = self._candidates(readings[rows], wants[np.arange(count), self._tail[rows]])
        cost = self._costs(
            readings,
            rows,
            np.repeat(self._tail[rows, None], sizes.shape[1], axis=1),
            sizes,
            np.arange(settings.futures),
        )
        chosen = sizes[np.arange(count), cost.argmin(axis=1)]
        for fleet, size in zip(rows, chosen, strict=True):
            actions[fleet] = self._sizes.action(
                readings[fleet], int(self._spec[fleet]), float(self._spot[fleet]), int(size)
            )

    def _candidates(self, readings: NDArray[np.void], middle: IntArray) -> IntArray:
        """Return [B, N] sizes to try: steps around the middle, more above than below, far more where requests are late.

        A saturated fleet serves second attempts and a queue beside the demand, so it may need to double.
        """
        settings = self._settings
        places = np.arange(-settings.size_steps, 2 * settings.size_steps + 1)
        step = np.maximum(1, np.round(settings.size_step * middle)).astype(np.int64)[:, None]
        late = readings["late_fraction"] > self._size_trial.physics["slo_late_fraction"]
        stretch = np.where(late[:, None] & (places > 0), 3, 1)
        present = readings["desired"].astype(np.int64)[:, None]
        return np.concatenate([middle[:, None] + step * places * stretch, present], axis=1)

    def _wants(self, readings: NDArray[np.void], fleet: int) -> IntArray:
        return self._sizes.wants(readings[fleet], int(self._spec[fleet]), float(self._spot[fleet]))

    def _costs(
        self, readings: NDArray[np.void], rows: IntArray, tails: IntArray, sizes: IntArray, futures: IntArray
    ) -> FloatArray:
        """Return [rows, N] the mean cost of N sizes now, each with a tail afterwards; both are [rows, N]."""
        first, then = np.zeros(tails.shape, DECISION), np.zeros(tails.shape, DECISION)
        for row, fleet in enumerate(rows):
            spec, spot = int(self._spec[fleet]), float(self._spot[fleet])
            policies, scales = self._sizes.orders(readings[fleet], spec, spot, sizes[row])
            tail_indices = self._sizes.tail_index(spec, 0) + tails[row]
            for decisions, policy, scale in ((first, policies, scales), (then, tail_indices, 0)):
                decisions["spec"][row], decisions["spot_fraction"][row] = spec, spot
                decisions["policy"][row], decisions["scale"][row] = policy, scale
        own = np.repeat(np.arange(len(rows)), tails.shape[1])
        total, _ = self._size_trial.costs(
            Plans(own, first.ravel(), then.ravel()),
            futures,
            split_minutes=self._task.decision_minutes,
            minutes=self._horizon,
        )
        return np.asarray(total.mean(axis=1).reshape(tails.shape))
