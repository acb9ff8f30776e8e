"""The comparison: rules, constant actions, the bound and the learned policy on worlds none of them was made on.

The best rule is named on validation worlds before the test worlds are played. Every constant action of the menu (each
scaling policy x each spot share x each price rank that a rule takes) is scored on the test worlds too, and the best of
them, chosen with hindsight, is what the learned policy has to beat. Totals are before refunds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.bound import bound_per_tick
from agents.evaluation.statistics import PairedTotals
from agents.evaluation.worlds import Worlds
from agents.policies import ConstantPolicy, Policy
from agents.rollout import Played, cost_ratio, play
from agents.rules import RuleBook
from envs.action import encode_action
from envs.settings import TaskSettings

BOUND: Final = "clairvoyant bound"
_FRONT: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
Progress = Callable[[str], None]


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
            played.daily_infra_usd[part],
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
