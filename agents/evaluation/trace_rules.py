"""Rules calibrated on the history of the very trace they are scored on: a harder rival than the pooled ones."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from agents.calibration import calibrate
from agents.evaluation.actions import rule_entries
from agents.evaluation.playing import Desk, join, play_all, rows
from agents.evaluation.worlds import Worlds
from agents.ground import GroundSettings, history_ground
from agents.rollout import Played
from agents.rules import TRACE_RULES_FILE, RuleBook, load_books
from envs.settings import TaskSettings
from telemetry.trace import TraceError

PER_TRACE: Final = ", per trace"


def trace_books(
    files: Sequence[Path],
    book: RuleBook,
    settings: GroundSettings,
    *,
    trials: int,
    storage: Path | None = None,
    committed: Path = TRACE_RULES_FILE,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, RuleBook]:
    """Return the rules of each trace: committed ones, or calibrated on its history.

    Args:
        files: Traces.
        book: Pooled rules, to start from.
        settings: How a history is played.
        trials: Settings tried per rule; with 0 only committed rules are returned.
        storage: Journal file of studies, which go on where they stopped; in memory if None.
        committed: Rule books of traces.
        say: Told what is being calibrated, and which trace has no history to speak of.
    """
    known = load_books(committed) if committed.exists() else {}
    books = {path.stem: known[path.stem] for path in files if path.stem in known}
    if trials and storage is not None:
        storage.parent.mkdir(parents=True, exist_ok=True)
    for path in files if trials else ():
        if path.stem in books:
            continue
        say(f"calibrating the rules on the history of {path.stem}")
        try:
            ground = history_ground(path, settings)
        except (TraceError, ValueError) as error:
            say(f"{path.stem} keeps the pooled rules: {error}")
            continue
        books[path.stem] = calibrate(book, ground, trials=trials, storage=storage)
    return books


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
    played = play_all(rule_entries(book.rules, own), worlds, own, desk, detail=True, scenarios=[scenario])
    return {rule.name: item for rule, item in zip(book.rules, played, strict=True)}
