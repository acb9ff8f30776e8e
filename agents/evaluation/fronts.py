"""Each rule along its own front: its bill at other shares of bad minutes."""

from collections.abc import Sequence
from typing import Final

from agents.evaluation.actions import constant_entry
from agents.evaluation.playing import Desk, Entry, play_all
from agents.evaluation.worlds import Worlds
from agents.rollout import Played
from agents.rules import Rule, RuleBook
from envs.action import encode_action
from envs.settings import TaskSettings

_UTILIZATION_FACTORS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)


def front_rules(book: RuleBook, name: str) -> list[Rule]:
    """Return a rule at other settings: other target utilisations."""
    rule = book.rules[book.index(name)]
    targets = (min(0.99, rule.policy.target_utilization * factor) for factor in _UTILIZATION_FACTORS)
    policies = (rule.policy.model_copy(update={"target_utilization": target}) for target in targets)
    return [rule.model_copy(update={"policy": policy}) for policy in policies]


def play_fronts(
    book: RuleBook, names: Sequence[str], worlds: Worlds, task: TaskSettings, desk: Desk
) -> dict[str, list[Played]]:
    """Play every setting of the fronts of some rules; by rule, in the order of the front."""
    owners, settings = [], []
    for name in names:
        for rule in front_rules(book, name):
            owners.append(name)
            settings.append(rule)
    menu = [rule.policy.model_copy(update={"name": str(position)}) for position, rule in enumerate(settings)]
    own = task.model_copy(update={"menu": tuple(menu)})
    entries = [_entry(rule, position, own) for position, rule in enumerate(settings)]
    fronts: dict[str, list[Played]] = {name: [] for name in names}
    for owner, played in zip(owners, play_all(entries, worlds, own, desk), strict=True):
        fronts[owner].append(played)
    return fronts


def _entry(rule: Rule, position: int, task: TaskSettings) -> Entry:
    action = encode_action(task, scale=0, candidate=rule.candidate, spot_percent=rule.spot_percent, policy=position)
    return constant_entry(rule.name, action)
