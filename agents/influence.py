"""How much each mechanism and each uncertain number of the simulator matters: the influence study.

A fixed set of policies plays a fixed set of worlds, once as they are and once for each variation
(``agents.variations``). Policies are those calibrated for the simulator as it is; they are not calibrated again, so a
row tells how far a result would be off, not how well a policy could do. Worlds, tapes and the luck of every instance
are the same in both, and differences are taken world by world.

How to read it: what moves the total of any policy by more than 1 % has to be modelled, not simplified.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.statistics import Estimate
from agents.policies import ConstantPolicy
from agents.rollout import play, whole_windows
from agents.rules import Rule, RuleBook, load_rules
from agents.variations import Setup, Variation
from envs.action import encode_action
from envs.settings import Candidate, TaskSettings, WorldSource
from envs.worlds import draw_scenarios, shipped_workloads
from simulators.anomalies import draw_anomalies, market_effects
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.fleets import infra_usd
from simulators.market import MarketSettings, MarketTape, draw_market
from simulators.menu import ScalingPolicy
from simulators.physics import Physics, WorldSettings
from simulators.scenario import WARMUP_DAYS, Scenario
from simulators.worlds import WorldPlan, build_bank
from telemetry.splits import load_splits

WINDOW_DAYS: Final = 2
ANOMALIES_PER_WEEK: Final = 7.0
MARKET_ANOMALIES: Final = ("zone_outage", "reclaim_wave", "cost_spike")
HOT_SHARES: Final = (None, None, None, 1.0)
NOTICEABLE_PERCENT: Final = 1.0
RESAMPLES: Final = 1000
_ANOMALOUS_MARKET: Final = 1
_EVERY: Final = 3
_COMPARED_KINDS: Final = ("static", "target_tracking_cpu", "target_tracking_requests", "step", "forecast")

FloatArray = NDArray[np.float64]


def compared_policies(book: RuleBook) -> tuple[Rule, ...]:
    """Return the policies of a study.

    The first rule of each kind of a book; CPU tracking with everything on demand; and what AWS advises, tracking of
    requests with predictive-like scaling beside it, at the same utilisation and with the same spot share.
    """
    first: dict[str, Rule] = {}
    for rule in book.rules:
        if not rule.policy.also:
            first.setdefault(rule.policy.kind, rule)
    rules = [first[kind] for kind in _COMPARED_KINDS if kind in first]
    by_cpu, by_requests = first["target_tracking_cpu"], first["target_tracking_requests"]
    on_demand = by_cpu.policy.model_copy(update={"name": "target-tracking-on-demand"})
    rules.append(by_cpu.model_copy(update={"policy": on_demand, "spot_percent": 0}))
    predictive = ScalingPolicy(
        name="predictive", kind="predictive", target_utilization=by_requests.policy.target_utilization
    )
    advised = by_requests.policy.model_copy(update={"name": "aws-best-practice", "also": (predictive,)})
    rules.append(by_requests.model_copy(update={"policy": advised}))
    return tuple(rules)


def baseline(book: RuleBook | None = None, *, draws: int = 2) -> Setup:
    """Return what the variations change: the simulator as it is.

    Demand: patterns and shipped workload models of the training split with validation seeds, ``draws`` of each, every
    third one with anomalies. Market: three as drawn, one of them with anomalies, and one in which every family is hot
    (as drawn, most families are calm).
    """
    markets = (
        MarketSettings() if share is None else MarketSettings(hot_share_by_band=(share,) * 5) for share in HOT_SHARES
    )
    return Setup(
        rules=compared_policies(book or load_rules()),
        source=WorldSource(
            split="validate",
            models=tuple(shipped_workloads()),
            days=WINDOW_DAYS,
            scenarios_per_source=draws,
            anomalies_per_week=ANOMALIES_PER_WEEK,
        ),
        markets=tuple(markets),
        catalogue=Catalogue(),
        world=WorldSettings(),
        market_anomalies=MARKET_ANOMALIES,
    )


@lru_cache(maxsize=4)
def _tapes(source: WorldSource, task: TaskSettings) -> tuple[Scenario, ...]:
    return tuple(draw_scenarios(source, task))


def _scenarios(setup: Setup) -> list[Scenario]:
    """Draw the demand tapes, every third of them with anomalies; they depend on the workload and the metric delay."""
    delay_s = setup.world.physics.metric_delay_s
    task = TaskSettings(world=WorldSettings(workload=setup.world.workload, physics=Physics(metric_delay_s=delay_s)))
    drawn = list(_tapes(setup.source.model_copy(update={"anomalies_per_week": 0.0}), task))
    if setup.source.anomalies_per_week > 0.0:
        drawn[_EVERY - 1 :: _EVERY] = _tapes(setup.source, task)[_EVERY - 1 :: _EVERY]
    for edit in setup.scenario_edits:
        drawn = [edit(scenario) for scenario in drawn]
    return drawn


@lru_cache(maxsize=2)
def _markets(catalogue: Catalogue, settings: tuple[str, ...], kinds: tuple[str, ...], count: int) -> list[MarketTape]:
    """Draw ``count`` market tapes under each settings (as JSON, for they cannot be hashed)."""
    days = WINDOW_DAYS + WARMUP_DAYS
    seeds = iter(load_splits().seed_range("validate"))
    tapes = []
    for _ in range(count):
        for regime, content in enumerate(settings):
            seed = next(seeds)
            tape = draw_market(catalogue, days=days, seed=seed, settings=MarketSettings.model_validate_json(content))
            if regime == _ANOMALOUS_MARKET:
                drawn = draw_anomalies(
                    MARKET_ANOMALIES, ticks=days * 1440, rate_per_week=ANOMALIES_PER_WEEK, seed=seed, difficulty="mixed"
                )
                tape = market_effects([item for item in drawn if item.kind in kinds], tape, catalogue)
            tapes.append(tape)
    return tapes


def build_worlds(setup: Setup) -> tuple[Bank, TaskSettings]:
    """Return the worlds of a setup and the task whose menu is its rules.

    Every demand tape meets a market tape of its own under each of the market's settings, so that no two worlds share
    their luck.
    """
    candidates = tuple(Candidate(name=item.name, types=item.types) for item in setup.catalogue.candidates)
    menu = tuple(rule.policy for rule in setup.rules)
    task = TaskSettings(world=setup.world, candidates=candidates, menu=menu)
    scenarios = _scenarios(setup)
    settings = tuple(item.model_dump_json() for item in setup.markets)
    markets = _markets(setup.catalogue, settings, setup.market_anomalies, len(scenarios))
    for edit in setup.market_edits:
        markets = [edit(tape, setup.catalogue) for tape in markets]
    plans = [WorldPlan(number // len(settings), number) for number in range(len(markets))]
    return build_bank(scenarios, markets, plans, catalogue=setup.catalogue, settings=(setup.world,)), task


@dataclass(frozen=True)
class Result:
    """What every policy did in every world; arrays [policies, worlds].

    Attributes:
        total_usd: Bill before refunds, and penalty.
        bill_usd: Bill before refunds.
        bad_share: Share of bad minutes, 0..1.
        launches_per_day: Instances launched.
        reference_usd: Reference cost.
    """

    total_usd: FloatArray
    bill_usd: FloatArray
    bad_share: FloatArray
    launches_per_day: FloatArray
    reference_usd: FloatArray


def play_setup(setup: Setup) -> Result:
    """Play every policy of a setup through every one of its worlds."""
    bank, task = build_worlds(setup)
    windows = whole_windows(bank)
    known = len(task.candidates)
    actions = [
        encode_action(
            task, scale=0, candidate=min(rule.candidate, known), spot_percent=rule.spot_percent, policy=position
        )
        for position, rule in enumerate(setup.rules)
    ]
    policy = ConstantPolicy(np.repeat(np.stack(actions), len(windows), axis=0))
    totals = play(policy, bank, task, windows.repeat(len(actions))).totals.reshape(len(actions), len(windows))
    bill = infra_usd(totals)
    minutes = np.maximum(totals["ticks"], 1)
    return Result(
        total_usd=bill + totals["slo_penalty_usd"],
        bill_usd=bill,
        bad_share=totals["bad_minutes"] / minutes,
        launches_per_day=totals["launches"] / minutes * 1440.0,
        reference_usd=totals["reference_usd"].astype(np.float64),
    )


@dataclass(frozen=True)
class Row:
    """What one variation does to one policy.

    Changes are over the row's control; intervals are 95 %, from paired resamples of worlds.

    Attributes:
        variation: Name.
        what: What is changed.
        source: Range and where it comes from.
        treatment: ``modelled`` or ``simplified``.
        against: What it is compared with.
        policy: Name.
        total_percent: Change of bill and penalty, %.
        total_low: Lower end of its interval.
        total_high: Upper end.
        bill_percent: Change of the bill, %.
        bill_low: Lower end of its interval.
        bill_high: Upper end.
        bad_points: Change of the share of bad minutes, percentage points.
        bad_low: Lower end of its interval.
        bad_high: Upper end.
        launches_per_day: Change of the launches a day.
        is_noticeable: Whether the total moves by more than 1 %.
    """

    variation: str
    what: str
    source: str
    treatment: str
    against: str
    policy: str
    total_percent: float
    total_low: float
    total_high: float
    bill_percent: float
    bill_low: float
    bill_high: float
    bad_points: float
    bad_low: float
    bad_high: float
    launches_per_day: float
    is_noticeable: bool


@dataclass(frozen=True)
class Ranking:
    """What one variation does to the order of the policies by total.

    Attributes:
        variation: Name.
        tau: Kendall's tau between the orders with and without it: 1 for the same, -1 for the reverse.
        tau_low: Lower end of its interval.
        tau_high: Upper end.
        best: Cheapest policy with it.
        best_before: Cheapest policy of its control.
        other_best_share: Share of resamples in which another policy is cheapest with it than without, 0..1.
    """

    variation: str
    tau: float
    tau_low: float
    tau_high: float
    best: str
    best_before: str
    other_best_share: float


@dataclass(frozen=True)
class Influence:
    """A finished study.

    Attributes:
        rows: By variation, then by policy.
        rankings: By variation.
        baseline: Policy name to its total and bill over reference, share of bad minutes and launches a day.
        worlds: How many each policy played.
        world_days: Days of each.
    """

    rows: tuple[Row, ...]
    rankings: tuple[Ranking, ...]
    baseline: dict[str, dict[str, float]]
    worlds: int
    world_days: int = WINDOW_DAYS

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def largest(self) -> pd.DataFrame:
        """Return a row per variation, that of the policy whose total moves most, largest first."""
        frame = self.frame()
        size = frame["total_percent"].abs()
        frame = frame.loc[size.groupby(frame["variation"]).idxmax()]
        rankings = pd.DataFrame([asdict(item) for item in self.rankings])
        frame = frame.merge(rankings, on="variation", validate="one_to_one")
        return frame.sort_values("total_percent", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)

    def to_model(self) -> list[str]:
        """Return the simplified variations that move some policy's total by more than 1 %."""
        found = [row.variation for row in self.rows if row.treatment == "simplified" and row.is_noticeable]
        return list(dict.fromkeys(found))


def world_resamples(worlds: int, *, resamples: int = RESAMPLES, seed: int = 0) -> FloatArray:
    """Return [1 + resamples, worlds] how often each world counts: first the sample as it is."""
    rng = np.random.default_rng([seed, 0x1F1])
    drawn = rng.multinomial(worlds, np.full(worlds, 1.0 / worlds), size=resamples)
    return np.concatenate([np.ones((1, worlds)), drawn])


def compare_results(
    variation: Variation, names: Sequence[str], control: Result, changed: Result, weights: FloatArray
) -> tuple[list[Row], Ranking]:
    """Return a variation's rows and its ranking.

    Args:
        variation: What was changed.
        names: Names of the policies.
        control: What they did without it.
        changed: What they did with it.
        weights: [1 + resamples, worlds] as ``world_resamples`` gives them.
    """
    before, after = (_over_reference(item.total_usd, control, weights) for item in (control, changed))
    bill_before, bill_after = (_over_reference(item.bill_usd, control, weights) for item in (control, changed))
    share = weights / weights.sum(axis=1, keepdims=True)
    bad = 100.0 * (changed.bad_share - control.bad_share) @ share.T
    launches = (changed.launches_per_day - control.launches_per_day).mean(axis=1)
    rows = []
    for place, name in enumerate(names):
        total = _interval(100.0 * (after[place] / before[place] - 1.0))
        bill = _interval(100.0 * (bill_after[place] / bill_before[place] - 1.0))
        minutes = _interval(bad[place])
        rows.append(
            Row(
                variation=variation.name,
                what=variation.what,
                source=variation.source,
                treatment=variation.treatment,
                against=variation.against or "baseline",
                policy=name,
                total_percent=total.value,
                total_low=total.low,
                total_high=total.high,
                bill_percent=bill.value,
                bill_low=bill.low,
                bill_high=bill.high,
                bad_points=minutes.value,
                bad_low=minutes.low,
                bad_high=minutes.high,
                launches_per_day=float(launches[place]),
                is_noticeable=abs(total.value) > NOTICEABLE_PERCENT,
            )
        )
    return rows, _ranking(variation, names, before, after)


def _over_reference(usd: FloatArray, control: Result, weights: FloatArray) -> FloatArray:
    """Return [policies, 1 + resamples] sums over worlds of USD over the control's reference USD."""
    return np.asarray((usd / control.reference_usd) @ weights.T)


def _interval(values: FloatArray) -> Estimate:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def _ranking(variation: Variation, names: Sequence[str], before: FloatArray, after: FloatArray) -> Ranking:
    tau = _interval(kendall_tau(before, after))
    best_before, best = before.argmin(axis=0), after.argmin(axis=0)
    return Ranking(
        variation=variation.name,
        tau=tau.value,
        tau_low=tau.low,
        tau_high=tau.high,
        best=names[int(best[0])],
        best_before=names[int(best_before[0])],
        other_best_share=float(np.mean(best[1:] != best_before[1:])),
    )


def kendall_tau(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return [columns] Kendall's tau-a between the columns of two [policies, columns] arrays; ties count as 0."""
    ones, twos = np.triu_indices(len(first), k=1)
    return np.asarray(np.mean(np.sign(first[ones] - first[twos]) * np.sign(second[ones] - second[twos]), axis=0))


def run_study(
    setup: Setup,
    variations: Sequence[Variation],
    *,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Influence:
    """Play the baseline and every variation.

    Args:
        setup: The baseline.
        variations: Rows of the study.
        seed: Of the resampling.
        progress: Called with how many variations are done.

    Raises:
        ValueError: A variation sets a value that the settings do not take.
    """
    names = [rule.name for rule in setup.rules]
    first = play_setup(setup)
    hours = 24.0 * WINDOW_DAYS
    setup = replace(setup, bill_usd_per_hour=float(first.bill_usd.mean() / hours))
    weights = world_resamples(first.total_usd.shape[1], seed=seed)
    controls = {item.against for item in variations}
    results: dict[str | None, Result] = {None: first}
    rows: list[Row] = []
    rankings = []
    for number, variation in enumerate(variations):
        changed = play_setup(variation.apply(setup))
        if variation.name in controls:
            results[variation.name] = changed
        found, ranking = compare_results(variation, names, results[variation.against], changed, weights)
        rows += found
        rankings.append(ranking)
        progress(number + 1)
    return Influence(tuple(rows), tuple(rankings), _summary(names, first), first.total_usd.shape[1])


def _summary(names: Sequence[str], result: Result) -> dict[str, dict[str, float]]:
    return {
        name: {
            "total_over_reference": float((result.total_usd[place] / result.reference_usd[place]).mean()),
            "bill_over_reference": float((result.bill_usd[place] / result.reference_usd[place]).mean()),
            "bad_minutes_percent": 100.0 * float(result.bad_share[place].mean()),
            "launches_per_day": float(result.launches_per_day[place].mean()),
        }
        for place, name in enumerate(names)
    }
