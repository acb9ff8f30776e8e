"""The comparison: rules, constant actions, the bound and the learned policy on worlds none of them was made on.

The best rule is named on validation worlds before the test worlds are played. Every constant action of the menu (each
scaling policy x each spot share x each price rank that a rule takes) is scored on the test worlds too, and the best of
them, chosen with hindsight, is what the learned policy has to beat. Totals are before refunds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.actions import Habit, constant_actions, constant_entry, habit, play_counted, rule_entries
from agents.evaluation.bounds import bound_daily, tight_bound_daily
from agents.evaluation.fronts import play_fronts
from agents.evaluation.playing import Desk, Entry, play_all
from agents.evaluation.statistics import PairedTotals
from agents.evaluation.store import as_played
from agents.evaluation.trace_rules import play_trace_rules
from agents.evaluation.worlds import Worlds
from agents.policies import Policy
from agents.rollout import Played, cost_ratio
from agents.rules import RuleBook
from envs.settings import TaskSettings

BOUND: Final = "clairvoyant bound"
Progress = Callable[[str], None]


@dataclass
class Contest:
    """All results of one comparison; those an interruption left out are missing.

    Attributes:
        worlds: Test worlds.
        best_rule: Named on validation.
        validation: Cost ratio of each rule on validation.
        kinds: Policy name to its kind.
        played: Policy name to what it did.
        bound_daily: [fleets, days] bound of each day; no rows before it is known.
        tight_bound_daily: The same of the second, tighter bound; its days count only together.
        learned: Name of the policy that stands for the bundle; None if only rules were compared.
        fronts: Each rule at other settings along its own front.
        habits: The action each learned policy takes most.
        own_rules: Traces that have rules of their own.
        partial: Whether the comparison was interrupted.
    """

    worlds: Worlds
    best_rule: str
    validation: dict[str, float]
    kinds: dict[str, str] = field(default_factory=dict)
    played: dict[str, Played] = field(default_factory=dict)
    bound_daily: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    tight_bound_daily: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    learned: str | None = None
    fronts: dict[str, list[Played]] = field(default_factory=dict)
    habits: dict[str, Habit] = field(default_factory=dict)
    own_rules: list[str] = field(default_factory=list)
    partial: bool = False

    @property
    def has_bound(self) -> bool:
        """Whether the bound is known."""
        return len(self.bound_daily) > 0

    @property
    def counted(self) -> list[int]:
        """Scenarios of the overall figures: those that are not to be reported apart, or all if there is no other."""
        return self.worlds.counted

    def over_reference(self, usd: NDArray[np.float64], scenarios: Sequence[int] | None = None) -> float:
        """Return the mean over scenarios of their USD over their reference USD; ``usd`` is [fleets].

        Every scenario counts the same, as in ``gap_closed``, whatever its size.
        """
        reference = self.played[self.best_rule].totals["reference_usd"]
        of = self.worlds.of
        chosen = self.counted if scenarios is None else scenarios
        return float(np.mean([of(usd, index).sum() / of(reference, index).sum() for index in chosen]))

    def names(self, *kinds: str) -> list[str]:
        """Return the policies of some kinds, cheapest first."""
        found = [name for name, kind in self.kinds.items() if kind in kinds]
        return sorted(found, key=lambda name: self.over_reference(self.played[name].total_usd))

    def paired(self, scenarios: Sequence[int] | None = None) -> PairedTotals:
        """Return daily totals over mean daily reference of every policy and the bound, by scenario."""
        sources = {name: item.daily_usd for name, item in self.played.items()}
        if self.has_bound:
            sources[BOUND] = self.bound_daily
        reference = self.played[self.best_rule].daily_reference_usd
        of, days_of = self.worlds.of, self.worlds.days_of
        chosen = self.counted if scenarios is None else scenarios
        daily: dict[str, list[NDArray[np.float64]]] = {}
        for name, values in sources.items():
            daily[name] = [
                of(values, index)[:, : days_of(index)] / of(reference, index)[:, : days_of(index)].mean()
                for index in chosen
            ]
        return PairedTotals(daily)


def name_best_rule(
    book: RuleBook, task: TaskSettings, validation: Worlds, desk: Desk | None = None
) -> tuple[str, dict[str, float]]:
    """Return the pooled rule that is cheapest on validation worlds, and the cost ratio of each."""
    entries = rule_entries(book.rules, task)
    played = play_all(entries, validation, task, desk or Desk())
    ratios = {entry.name: cost_ratio(item) for entry, item in zip(entries, played, strict=True)}
    return min(ratios, key=lambda name: ratios[name]), ratios


def compare(
    book: RuleBook,
    task: TaskSettings,
    test: Worlds,
    validation: Worlds,
    *,
    learned: dict[str, Policy],
    shipped: str | None = None,
    identities: Mapping[str, str] | None = None,
    trace_books: Mapping[str, RuleBook] | None = None,
    desk: Desk | None = None,
    say: Progress = lambda _: None,
) -> Contest:
    """Run the whole comparison; interrupted, return what there is once the rules have been played.

    Args:
        book: Calibrated rules.
        task: Task whose menu is theirs.
        test: Worlds that decide.
        validation: Worlds that name the best rule.
        learned: Learned policies by name; all are reported.
        shipped: Which of them stands for the bundle.
        identities: What learned policies are, for those whose results may be kept.
        trace_books: Rules calibrated on the history of single traces, by trace.
        desk: Where results are kept.
        say: Told what is being played.

    Raises:
        KeyboardInterrupt: Interrupted before there was anything to report.
    """
    desk = desk or Desk()
    say("naming the best rule on validation worlds")
    best, ratios = name_best_rule(book, task, validation, desk)
    contest = Contest(test, best, ratios, learned=shipped)
    constants = constant_actions(book, task)
    say("the rules")
    _take(
        contest, rule_entries(book.rules, task), {rule.name: rule.kind for rule in book.rules}, task, desk, detail=True
    )
    try:
        for name, policy in learned.items():
            say(name)
            arrays = play_counted(policy, test, task, desk, (identities or {}).get(name))
            contest.played[name], contest.kinds[name] = as_played(arrays), "rl"
            contest.habits[name] = habit(name, arrays["counts"], constants, task)
        say("the clairvoyant bound")
        contest.bound_daily = bound_daily(test, desk)
        say("a tighter bound")
        contest.tight_bound_daily = tight_bound_daily(test, desk)
        if trace_books:
            say("rules calibrated on each trace's own history")
            _play_trace_rules(contest, trace_books, task, desk)
        say("every rule along its own front")
        contest.fronts = play_fronts(book, [rule.name for rule in book.rules], test, task, desk)
        say("every constant action")
        _play_constants(contest, constants, task, desk)
    except KeyboardInterrupt:
        desk.stopped.set()
        contest.partial = True
        if shipped not in contest.played:
            contest.learned = None
    return contest


def _take(
    contest: Contest,
    entries: Sequence[Entry],
    kinds: Mapping[str, str],
    task: TaskSettings,
    desk: Desk,
    *,
    detail: bool = False,
) -> None:
    """Play entries and add them to the contest, all or none."""
    played = play_all(entries, contest.worlds, task, desk, detail=detail)
    contest.played |= {entry.name: item for entry, item in zip(entries, played, strict=True)}
    contest.kinds |= {entry.name: kinds[entry.name] for entry in entries}


def _play_trace_rules(contest: Contest, trace_books: Mapping[str, RuleBook], task: TaskSettings, desk: Desk) -> None:
    contest.own_rules = [item.name for item in contest.worlds.scenarios if item.name in trace_books]
    pooled = {name: contest.played[name] for name in contest.names("rule", "aws")}
    for name, played in play_trace_rules(trace_books, pooled, contest.worlds, task, desk).items():
        contest.played[name], contest.kinds[name] = played, "rule_per_trace"


def _play_constants(
    contest: Contest, constants: Mapping[str, NDArray[np.int64]], task: TaskSettings, desk: Desk
) -> None:
    """Play every constant action, those that learned policies take most among them; the best one in detail."""
    actions = {**constants, **{item.name: item.action for item in contest.habits.values()}}
    entries = [constant_entry(name, action) for name, action in actions.items()]
    _take(contest, entries, dict.fromkeys(actions, "constant"), task, desk)
    best = contest.names("constant")[0]
    (contest.played[best],) = play_all([constant_entry(best, actions[best])], contest.worlds, task, desk, detail=True)
