"""The comparison: rules, constant actions, the bound and the learned policy on worlds none of them was made on.

The best rule is named on validation worlds before the test worlds are played. Every constant action of the menu (each
scaling policy x each spot share x each price rank that a rule takes) is scored on the test worlds too, and the best of
them, chosen with hindsight, is what the learned policy has to beat. Totals are before refunds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.bound import bound_per_tick
from agents.policies import ConstantPolicy, Policy
from agents.rollout import Played, Windows, cost_ratio, play, whole_windows
from agents.rules import RuleBook
from agents.statistics import Estimate, PairedTotals
from envs.action import encode_action
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.latency import quantile_from_tail
from simulators.market import draw_market
from simulators.records import BILL_LINES, OUTCOME, RESPONSE_GRID_MS
from simulators.scenario import Scenario
from simulators.worlds import build_bank, cross

BOUND: Final = "clairvoyant bound"
_FRONT: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Worlds:
    """Scenarios, each played in the same markets.

    Attributes:
        scenarios: Demand tapes with their playable windows.
        seeds: Market seeds; a scenario's fleets differ by them.
        bank: Scenario-major crossing of both.
    """

    scenarios: list[Scenario]
    seeds: list[int]
    bank: Bank

    @property
    def windows(self) -> Windows:
        """Every world, whole; ``len(seeds)`` per scenario, scenario by scenario."""
        return whole_windows(self.bank)

    def of(self, values: NDArray[Any], scenario: int) -> NDArray[Any]:
        """Return the part of per-fleet values that belongs to a scenario, [seeds, ...]."""
        return values[scenario * len(self.seeds) : (scenario + 1) * len(self.seeds)]


def make_worlds(scenarios: list[Scenario], task: TaskSettings, *, seeds: list[int], days: int = 14) -> Worlds:
    """Cross scenarios with one market per seed; a scenario longer than ``days`` plays the market again."""
    catalogue = task.catalogue()
    markets = [draw_market(catalogue, days=days, seed=seed) for seed in seeds]
    bank = build_bank(
        scenarios, markets, cross(len(scenarios), len(markets)), catalogue=catalogue, settings=(task.world,)
    )
    return Worlds(scenarios, seeds, bank)


@dataclass
class Contest:
    """All results of one comparison.

    Attributes:
        worlds: Test worlds.
        best_rule: Named on validation.
        validation: Cost ratio of each rule on validation.
        kinds: Policy name to its kind.
        played: Policy name to what it did.
        bound_daily: [fleets, days] bound of each day.
        learned: Name of the policy that stands for the bundle; None if only rules were compared.
        front: (cost of infrastructure over reference, bad-minute share) of the best rule at other utilisations.
    """

    worlds: Worlds
    best_rule: str
    validation: dict[str, float]
    kinds: dict[str, str] = field(default_factory=dict)
    played: dict[str, Played] = field(default_factory=dict)
    bound_daily: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    learned: str | None = None
    front: list[Played] = field(default_factory=list)

    def over_reference(self, usd: NDArray[np.float64]) -> float:
        """Return the mean over scenarios of their USD over their reference USD; ``usd`` is [fleets].

        Every scenario counts the same, as in ``gap_closed``, whatever its size.
        """
        reference = self.played[self.best_rule].totals["reference_usd"]
        of = self.worlds.of
        return float(np.mean([of(usd, i).sum() / of(reference, i).sum() for i in range(len(self.worlds.scenarios))]))

    def names(self, *kinds: str) -> list[str]:
        """Return the policies of some kinds, cheapest first."""
        found = [name for name, kind in self.kinds.items() if kind in kinds]
        return sorted(found, key=lambda name: self.over_reference(self.played[name].total_usd))

    def paired(self) -> PairedTotals:
        """Return daily totals over mean daily reference of every policy and the bound, by scenario."""
        daily: dict[str, list[NDArray[np.float64]]] = {}
        sources = {name: item.daily_usd for name, item in self.played.items()} | {BOUND: self.bound_daily}
        reference = self.played[self.best_rule].daily_reference_usd
        for name, values in sources.items():
            daily[name] = []
            for index, scenario in enumerate(self.worlds.scenarios):
                days = -(-(scenario.last_tick - scenario.first_tick) // 1440)
                scale = self.worlds.of(reference, index)[:, :days].mean()
                daily[name].append(self.worlds.of(values, index)[:, :days] / scale)
        return PairedTotals(daily)


def constant_actions(book: RuleBook, task: TaskSettings) -> dict[str, NDArray[np.int64]]:
    """Return every constant action of the menu: each scaling policy x each spot share x each rank that any rule takes.

    Ranks are the cheapest candidate and those of the rules; the scale part is 0.
    """
    ranks = sorted({1} | {rule.candidate for rule in book.rules if rule.candidate > 0})
    actions = {}
    for position, rule in enumerate(book.rules):
        for rank in ranks:
            for percent in range(0, 101, task.spot_step_percent):
                name = f"{rule.name}, price rank {rank}, {percent} % spot"
                actions[name] = encode_action(task, scale=0, candidate=rank, spot_percent=percent, policy=position)
    return actions


def name_best_rule(book: RuleBook, task: TaskSettings, validation: Worlds) -> tuple[str, dict[str, float]]:
    """Return the pooled rule that is cheapest on validation worlds, and the cost ratio of each."""
    ratios = {
        rule.name: cost_ratio(
            play(ConstantPolicy(book.action(rule.name, task)), validation.bank, task, validation.windows)
        )
        for rule in book.rules
    }
    return min(ratios, key=lambda name: ratios[name]), ratios


def compare(
    book: RuleBook,
    task: TaskSettings,
    test: Worlds,
    validation: Worlds,
    *,
    learned: dict[str, Policy],
    shipped: str | None = None,
    say: Progress = lambda _: None,
) -> Contest:
    """Run the whole comparison.

    Args:
        book: Calibrated rules.
        task: Task whose menu is theirs.
        test: Worlds that decide.
        validation: Worlds that name the best rule.
        learned: Learned policies by name; all are reported.
        shipped: Which of them stands for the bundle.
        say: Told what is being played.
    """
    say("naming the best rule on validation worlds")
    best, ratios = name_best_rule(book, task, validation)
    contest = Contest(test, best, ratios, learned=shipped)
    for rule in book.rules:
        say(rule.name)
        constant = ConstantPolicy(book.action(rule.name, task))
        contest.played[rule.name] = play(constant, test.bank, task, test.windows, detail=True)
        contest.kinds[rule.name] = rule.kind
    for name, policy in learned.items():
        say(name)
        contest.played[name] = play(policy, test.bank, task, test.windows, detail=True)
        contest.kinds[name] = "rl"
    say("every constant action")
    _play_constants(contest, book, task)
    say("the best rule along its own front")
    _play_front(contest, book, task)
    say("the clairvoyant bound")
    contest.bound_daily = _bound_daily(test)
    return contest


def _play_constants(contest: Contest, book: RuleBook, task: TaskSettings) -> None:
    actions = constant_actions(book, task)
    windows = contest.worlds.windows
    count = len(windows)
    batch = np.repeat(np.stack(list(actions.values())), count, axis=0)
    played = play(ConstantPolicy(batch), contest.worlds.bank, task, windows.repeat(len(actions)))
    for position, name in enumerate(actions):
        part = slice(position * count, (position + 1) * count)
        contest.played[name] = Played(
            played.totals[part],
            played.daily_usd[part],
            played.daily_reference_usd[part],
            played.longest_bad_run[part],
        )
        contest.kinds[name] = "constant"


def _play_front(contest: Contest, book: RuleBook, task: TaskSettings) -> None:
    """Play the best rule at other target utilisations: its bill at other shares of bad minutes."""
    rule = book.rules[book.index(contest.best_rule)]
    for factor in _FRONT:
        target = min(0.99, rule.policy.target_utilization * factor)
        policy = rule.policy.model_copy(update={"target_utilization": target})
        alone = task.model_copy(update={"menu": (policy,)})
        action = encode_action(alone, scale=0, candidate=rule.candidate, spot_percent=rule.spot_percent, policy=0)
        contest.front.append(play(ConstantPolicy(action), contest.worlds.bank, alone, contest.worlds.windows))


def _bound_daily(worlds: Worlds) -> NDArray[np.float64]:
    windows = worlds.windows
    days = -(-int((windows.ends - windows.starts).max()) // 1440)
    daily = np.zeros((len(windows), days))
    for row in range(len(windows)):
        ticks = bound_per_tick(worlds.bank, row, int(windows.starts[row]), int(windows.ends[row]))
        np.add.at(daily[row], np.arange(len(ticks)) // 1440, ticks)
    return daily


def figures(totals: NDArray[np.void], longest_bad_run: NDArray[np.int64]) -> dict[str, float]:
    """Return one trace's figures: means over its market seeds (counts and USD), ratios of sums (shares).

    p95 and p99 are over all requests of the window, interpolated on RESPONSE_GRID_MS (its largest value means that
    or more); utilisation is busy over in-service vCPU time; attainment is requests answered within the objective over
    requests offered.
    """
    mean = {
        name: float(totals[name].mean()) for name in OUTCOME.names or () if name not in ("slower_requests", "ticks")
    }
    requests = max(float(totals["requests"].sum()), 1e-9)
    tail = totals["slower_requests"].sum(axis=0) / requests
    days = float(totals["ticks"].mean()) / 1440.0
    infra = sum(mean[line] for line in BILL_LINES)
    p95, p99 = (float(quantile_from_tail(tail, np.array(RESPONSE_GRID_MS), q)) for q in (0.95, 0.99))
    return {
        "total_usd": infra + mean["slo_penalty_usd"],
        "infra_usd": infra,
        "slo_penalty_usd": mean["slo_penalty_usd"],
        "refunds_usd": mean["refund_usd"],
        "bad_minutes_fraction": float(totals["bad_minutes"].sum() / max(1, totals["ticks"].sum())),
        "longest_bad_run_minutes": float(longest_bad_run.mean()),
        "slo_attainment_requests": 1.0 - float(totals["late_requests"].sum()) / requests,
        "p95_ms": p95,
        "p99_ms": p99,
        "mean_utilization": float(totals["busy_vcpu_s"].sum() / max(totals["in_service_vcpu_s"].sum(), 1e-9)),
        "interruptions": mean["interruptions"],
        "launches_per_day": mean["launches"] / days,
        "type_changes_per_day": mean["type_changes"] / days,
    }


def bill_at_equal_bad_minutes(contest: Contest, policy: str) -> Estimate:
    """Return by what share a policy's bill is below the best rule's at no more bad minutes.

    The rule is re-tuned along its own front (other target utilisations); the cheapest setting with no more bad
    minutes than the policy is taken, or NaN where none is that good. The interval resamples fleets of the chosen
    setting and the policy in pairs.
    """
    ours = contest.played[policy].totals
    limit = ours["bad_minutes"].sum()
    good = [item.totals for item in contest.front if item.totals["bad_minutes"].sum() <= limit]
    if not good:
        return Estimate(np.nan, np.nan, np.nan)

    def bill(totals: NDArray[np.void]) -> NDArray[np.float64]:
        return np.asarray(infra_usd(totals) / totals["reference_usd"])

    rival = min(good, key=lambda totals: float(bill(totals).sum()))
    ours_bill, rival_bill = bill(ours), bill(rival)
    rng = np.random.default_rng([0, 0xE9A1])
    picks = rng.integers(0, len(ours_bill), (2000, len(ours_bill)))
    ratios = 1.0 - ours_bill[picks].sum(axis=1) / rival_bill[picks].sum(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Estimate(float(1.0 - ours_bill.sum() / rival_bill.sum()), float(low), float(high))
