"""Rules calibrated on the history of the very trace they are scored on: a harder rival than the pooled ones."""

from collections.abc import Mapping

from agents.evaluation.playing import Desk, Entry, join, play_all, rows
from agents.evaluation.worlds import Worlds
from agents.policies import ConstantPolicy
from agents.rollout import Played
from agents.rules import RuleBook
from envs.settings import TaskSettings

PER_TRACE = ", per trace"


def play_trace_rules(
    books: Mapping[str, RuleBook], pooled: Mapping[str, Played], worlds: Worlds, task: TaskSettings, desk: Desk
) -> dict[str, Played]:
    """Play each rule with the setting of each trace's own book; where a trace has none, the pooled rule stands.

    Args:
        books: Rules by trace.
        pooled: What each pooled rule did in ``worlds``.
        worlds: Where.
        task: Its menu is replaced by each book's.
        desk: Where results are kept.

    Returns:
        What was done, by the rule's name with ``PER_TRACE``.
    """
    parts: dict[str, list[Played]] = {name: [] for name in pooled}
    for index, scenario in enumerate(worlds.scenarios):
        own = {}
        if scenario.name in books:
            own = _play_book(books[scenario.name], worlds, index, task, desk)
        for name, played in pooled.items():
            everything = rows(played, slice(index * len(worlds.seeds), (index + 1) * len(worlds.seeds)))
            parts[name].append(own.get(name, everything))
    return {f"{name}{PER_TRACE}": join(items) for name, items in parts.items()}


def _play_book(book: RuleBook, worlds: Worlds, scenario: int, task: TaskSettings, desk: Desk) -> dict[str, Played]:
    own = book.task(task)
    entries = [
        Entry(rule.name, ConstantPolicy(book.action(rule.name, own)), rule.model_dump_json()) for rule in book.rules
    ]
    played = play_all(entries, worlds, own, desk, detail=True, scenarios=[scenario])
    return {entry.name: item for entry, item in zip(entries, played, strict=True)}
