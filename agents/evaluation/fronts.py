"""Each rule along its own front: its bill at other shares of bad minutes."""

from collections.abc import Sequence

from agents.evaluation.actions import rule_entries
from agents.evaluation.playing import Desk, play_all
from agents.evaluation.worlds import Worlds
from agents.rollout import Played
from agents.rules import RuleBook
from envs.settings import TaskSettings


def play_fronts(
    book: RuleBook, names: Sequence[str], worlds: Worlds, task: TaskSettings, desk: Desk
) -> dict[str, list[Played]]:
    """Play every setting that calibration left on the front of some rules; by rule, in the order of the front."""
    settings = {name: book.fronts.get(name) or (book.rules[book.index(name)],) for name in names}
    rules = [rule for front in settings.values() for rule in front]
    menu = [rule.policy.model_copy(update={"name": str(position)}) for position, rule in enumerate(rules)]
    own = task.model_copy(update={"menu": tuple(menu)})
    played = iter(play_all(rule_entries(rules, own), worlds, own, desk))
    return {name: [next(played) for _ in front] for name, front in settings.items()}
