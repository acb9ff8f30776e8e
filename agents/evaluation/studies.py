"""Smaller comparisons beside the main one: the rules and the learned policy in other worlds, or used in another way."""

from dataclasses import dataclass, replace
from typing import Final

from agents.evaluation.actions import play_counted, rule_entries
from agents.evaluation.bounds import bound_daily
from agents.evaluation.contest import Contest
from agents.evaluation.playing import Desk, play_all, rows
from agents.evaluation.store import as_played
from agents.evaluation.summaries import Json, bound_content, row_content, summary
from agents.evaluation.worlds import Worlds, make_worlds
from agents.policies import Policy
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.scenario import Scenario

STUDY_SEEDS: Final = 2
"""Markets per scenario of a study."""


@dataclass(frozen=True)
class Players:
    """Who plays a study.

    Attributes:
        book: Rules.
        task: Their task.
        learned: The learned policy that stands for the bundle; None without one.
        what: What it is, if its results may be kept.
    """

    book: RuleBook
    task: TaskSettings
    learned: Policy | None = None
    what: str | None = None


def part_of(contest: Contest, seeds: int = STUDY_SEEDS) -> Contest:
    """Return the rules, the learned policy and the bound of a contest in the first markets of each scenario alone."""
    worlds = contest.worlds.fewer(min(seeds, len(contest.worlds.seeds)))
    chosen = contest.worlds.rows_of(range(len(worlds.scenarios)), len(worlds.seeds))
    others = {name for name in contest.names("rl") if name != contest.learned}
    names = [name for name in contest.names("rule", "aws", "rl") if name not in others]
    return replace(
        contest,
        worlds=worlds,
        kinds={name: contest.kinds[name] for name in names},
        played={name: rows(contest.played[name], chosen) for name in names},
        bound_daily=contest.bound_daily[chosen] if contest.has_bound else contest.bound_daily,
    )


def elsewhere(contest: Contest, players: Players, worlds: Worlds, task: TaskSettings, desk: Desk) -> Contest:
    """Play the rules, the learned policy and the bound of a contest in other worlds."""
    entries = rule_entries(players.book.rules, task)
    played = play_all(entries, worlds, task, desk)
    found = {entry.name: item for entry, item in zip(entries, played, strict=True)}
    if players.learned is not None and contest.learned is not None:
        found[contest.learned] = as_played(play_counted(players.learned, worlds, task, desk, players.what))
    return replace(
        contest,
        worlds=worlds,
        kinds={name: contest.kinds[name] for name in found},
        played=found,
        bound_daily=bound_daily(worlds, desk),
    )


def perfect_forecasts(contest: Contest, players: Players, scenarios: list[Scenario], desk: Desk) -> Json:
    """Return what the best rule costs with perfect forecasts, with its own, and the bound, over reference.

    Args:
        contest: Played.
        players: Who played it.
        scenarios: Its scenarios with perfect forecasts.
        desk: Where results are kept.
    """
    part, rule = part_of(contest), contest.best_rule
    tested = part.worlds
    worlds = make_worlds(scenarios, players.task, seeds=tested.seeds, days=tested.market_days, apart=tested.apart)
    entries = [entry for entry in rule_entries(players.book.rules, players.task) if entry.name == rule]
    perfect = replace(part, worlds=worlds, played={rule: play_all(entries, worlds, players.task, desk)[0]})
    return {
        "rule": rule,
        "own": row_content(part, rule)["total"],
        "perfect": row_content(perfect, rule)["total"],
        "bound": bound_content(part),
    }


def shown_names(contest: Contest) -> list[str]:
    """Return who is shown in a study, cheapest first."""
    return contest.names("rl", "rule", "aws", "planner")


def summary_of(contest: Contest) -> Json:
    """Return the summary of a study's contest."""
    return summary(contest, shown_names(contest))
