"""What a policy is worth when it decides seldom, or when half of its advice is ignored."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.contest import Contest
from agents.evaluation.playing import Desk
from agents.evaluation.store import as_arrays, as_played, identity
from agents.evaluation.studies import Players, part_of
from agents.evaluation.summaries import Json, row_content
from agents.policies import Policy
from agents.rollout import Played
from envs.action import KEEP, MAX_SCALE
from envs.settings import TaskSettings

CADENCES_MINUTES: Final = {"5 min": 5, "1 h": 60, "1 day": 1440}
_GOLDEN: Final = 0x9E3779B97F4A7C15


class HalfFollowed:
    """A policy of whose decisions each fleet follows half, drawn by fleet seed and number of the decision.

    Where one is ignored, nothing is asked: no instance is added, and launch specification, spot share and scaling
    policy stay what the telemetry says they are.

    Args:
        policy: Advises.
        seeds: [B] fleet seeds of the batch it decides for.
        task: Settings of the action.
    """

    def __init__(self, policy: Policy, seeds: NDArray[np.uint64], task: TaskSettings) -> None:
        self._policy = policy
        self._seeds = seeds
        self._levels = task.num_spot_levels
        self._decision = 0

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return [B, 4] actions."""
        self._decision += 1
        actions = np.array(self._policy.act(readings))
        ignored = draws(self._seeds, self._decision) < 0.5
        left = readings[ignored]
        spot = np.rint(left["spot_fraction"] * (self._levels - 1))
        kept = (np.full(len(left), MAX_SCALE), np.full(len(left), KEEP), spot, left["policy"])
        actions[ignored] = np.stack(kept, axis=1).astype(np.int64)
        return actions


def draws(seeds: NDArray[np.uint64], number: int) -> NDArray[np.float64]:
    """Return one uniform draw in [0, 1) for each seed and a number (SplitMix64: Steele, Lea & Flood 2014)."""
    bits = seeds + np.uint64(number * _GOLDEN % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


def cadence_and_adherence(contest: Contest, players: Players, desk: Desk) -> Json:
    """Return total and bad minutes of the best rule and the learned policy at other cadences, and half followed."""
    part, task = part_of(contest), players.task
    rule = players.book.rules[players.book.index(contest.best_rule)]
    known: dict[str, tuple[Policy, str | None]] = {
        rule.name: (players.book.policy(rule.name, task), rule.model_dump_json())
    }
    if players.learned is not None and contest.learned is not None:
        known[contest.learned] = (players.learned, players.what)
    cadence, adherence = {}, {}
    for name, (policy, what) in known.items():
        at = {
            label: _play(part, policy, what, task.model_copy(update={"decision_minutes": minutes}), desk)
            for label, minutes in CADENCES_MINUTES.items()
        }
        halves = _play(part, policy, what, task, desk, half=True)
        cadence[name] = _cells(part, name, at)
        adherence[name] = _cells(part, name, {"all": part.played[name], "half": halves})
    return {"cadence": cadence, "adherence": adherence}


def _play(
    part: Contest, policy: Policy, what: str | None, task: TaskSettings, desk: Desk, *, half: bool = False
) -> Played:
    worlds = part.worlds

    def make() -> Played:
        who = HalfFollowed(policy, worlds.windows.seeds, task) if half else policy
        return desk.play(who, worlds, task)

    if what is None:
        return make()
    key = identity("cadence", *worlds.identities, task.model_dump_json(), what, str(half))
    return as_played(desk.store.get(key, lambda: as_arrays(make())))


def _cells(part: Contest, name: str, played: Mapping[str, Played]) -> Json:
    cells = {}
    for label, item in played.items():
        row = row_content(replace(part, played={**part.played, name: item}), name)
        cells[label] = {key: row[key] for key in ("total", "bad_minutes_fraction")}
    return cells
