"""Actions that a comparison plays or counts: every constant one, and what a policy chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.playing import Desk, Entry
from agents.evaluation.store import Arrays, as_arrays, identity
from agents.evaluation.worlds import Worlds
from agents.policies import ConstantPolicy, Policy
from agents.rollout import Windows
from agents.rules import Rule, RuleBook
from envs.action import action_space, encode_action
from envs.settings import TaskSettings

MOSTLY: Final = 0.99
"""A policy that takes one action in this share of its decisions is that constant."""


def constant_name(scaling_policy: str, rank: int, spot_percent: int) -> str:
    """Return what the constant action is called that keeps to a scaling policy, a price rank and a spot share."""
    return f"{scaling_policy}, price rank {rank}, {spot_percent} % spot"


def constant_actions(book: RuleBook, task: TaskSettings) -> dict[str, NDArray[np.int64]]:
    """Return every constant action of the menu: each scaling policy x each spot share x each rank that any rule takes.

    Ranks are the cheapest candidate and those of the rules; the scale part is 0.
    """
    ranks = sorted({1} | {rule.candidate for rule in book.rules if rule.is_constant and rule.candidate > 0})
    actions = {}
    for position, rule in enumerate(book.rules):
        for rank in ranks:
            for percent in range(0, 101, task.spot_step_percent):
                name = constant_name(rule.name, rank, percent)
                actions[name] = encode_action(task, scale=0, candidate=rank, spot_percent=percent, policy=position)
    return actions


def constant_entry(name: str, action: NDArray[np.int64]) -> Entry:
    """Return one constant action as an entry of a comparison."""
    return Entry(name, ConstantPolicy(action), repr(action.tolist()))


def rule_entries(rules: Sequence[Rule], task: TaskSettings) -> list[Entry]:
    """Return rules as entries of a task whose menu is their scaling policies, in order."""
    return [
        Entry(rule.name, rule.acting(position, task), f"{position} {rule.model_dump_json()}")
        for position, rule in enumerate(rules)
    ]


@dataclass(frozen=True)
class Habit:
    """The action a policy takes most.

    Attributes:
        name: Of the constant action.
        action: [4] integers.
        share: Share of its decisions, 0..1.
    """

    name: str
    action: NDArray[np.int64]
    share: float

    @property
    def is_constant(self) -> bool:
        """Whether the policy is that one action, near enough."""
        return self.share >= MOSTLY


class CountedActions:
    """A policy whose actions are counted, per fleet until its window ends.

    Args:
        policy: Decides.
        windows: What is played, all at once.
        task: Settings of the action.

    Attributes:
        counts: How often each action of the space was taken, in C order of its parts.
    """

    def __init__(self, policy: Policy, windows: Windows, task: TaskSettings) -> None:
        self._policy = policy
        self._sizes = tuple(int(size) for size in action_space(task).nvec)
        self._left = -(-(windows.ends - windows.starts) // task.decision_minutes)
        self.counts = np.zeros(int(np.prod(self._sizes)), np.int64)

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the policy's actions."""
        actions = self._policy.act(readings)
        codes = np.ravel_multi_index(tuple(np.asarray(actions).T), self._sizes, mode="clip")
        np.add.at(self.counts, codes[self._left > 0], 1)
        self._left -= 1
        return actions


def play_counted(policy: Policy, worlds: Worlds, task: TaskSettings, desk: Desk, what: str | None) -> Arrays:
    """Play a policy through all worlds, all fleets side by side, and count its actions.

    Args:
        policy: Decides.
        worlds: Where.
        task: Settings of the action.
        desk: Keeps the result, if it is known what the policy is.
        what: All that its decisions depend on, in words.

    Returns:
        What it did (``as_played``), and ``counts`` as ``CountedActions`` has them.
    """

    def make() -> Arrays:
        counted = CountedActions(policy, worlds.windows, task)
        return {**as_arrays(desk.play(counted, worlds, task, detail=True)), "counts": counted.counts}

    if what is None:
        return make()
    return desk.store.get(identity("whole", *worlds.identities, task.model_dump_json(), what), make)


def habit(
    policy: str, counts: NDArray[np.int64], constants: Mapping[str, NDArray[np.int64]], task: TaskSettings
) -> Habit:
    """Return the most frequent action of a policy's counts (the first of several), named as the constant it is."""
    sizes = tuple(int(size) for size in action_space(task).nvec)
    most = int(counts.argmax())
    action = np.array(np.unravel_index(most, sizes), np.int64)
    known = (name for name, other in constants.items() if np.array_equal(other, action))
    return Habit(next(known, f"what {policy} does most"), action, float(counts[most] / max(1, counts.sum())))
