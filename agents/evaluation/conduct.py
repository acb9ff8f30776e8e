"""How competitors came about: rules calibrated on training data only, learned policies that decide, honest rewards.

Each check returns findings, one line each; an honest competitor has none.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.actions import MOSTLY
from envs.action import action_space
from envs.episodes import Episodes
from simulators.fleets import infra_usd
from telemetry.splits import Splits, load_splits

_COST: Final = re.compile(r"([0-9.]+) of\s+reference")
_PRINTED: Final = 6e-5
_ROUNDING: Final = 1e-9


def check_calibrated_on(
    origin: Mapping[str, Any], *, history: Mapping[str, int] | None = None, splits: Splits | None = None
) -> list[str]:
    """Return what rules were calibrated on that they may not have seen.

    Pooled rules may see the training split; rules of one trace, that trace's history.

    Args:
        origin: Split, source, seeds and windows, as a rule book's ``calibrated_on`` holds them.
        history: How many ticks of a trace are its history, by name, for those whose length is known.
        splits: The committed split if None.
    """
    splits = splits or load_splits()
    split = origin.get("split")
    if split == "history":
        return [*_history(origin, history or {}), *_seeds(origin.get("market_seeds", ()), splits)]
    findings = [] if split == "train" else [f"calibrated_on.split is {split!r}; expected 'train'"]
    source: Mapping[str, Any] = origin.get("source") or {}
    if source.get("split", split) not in ("train", split):
        findings.append(f"calibrated_on.source.split is {source['split']!r}; expected 'train'")
    for pattern in source.get("patterns") or ():
        if pattern not in splits.patterns.of("train"):
            findings.append(f"calibrated_on.source.patterns holds {pattern!r}, which is held out of training")
    for key in ("models", "futures", "traces"):
        names = [PurePath(item).stem for item in source.get(key) or ()]
        kept = [name for name in names if name in splits.whole_test_traces]
        findings += [f"calibrated_on.source.{key} holds {name!r}, a test trace" for name in kept]
    return [*findings, *_seeds(origin.get("market_seeds", ()), splits)]


def _seeds(seeds: Sequence[int], splits: Splits) -> list[str]:
    allowed = splits.seed_range("train")
    return [
        f"calibrated_on.market_seeds holds {seed}; expected {allowed.start} to {allowed.stop - 1}"
        for seed in seeds
        if seed not in allowed
    ]


def _history(origin: Mapping[str, Any], history: Mapping[str, int]) -> list[str]:
    trace, (_, last) = origin["trace"], origin["ticks"]
    end = history.get(trace, last)
    if last <= end:
        return []
    return [f"calibrated_on.ticks of {trace} end at {last}; its history ends at {end}, what follows is not training"]


def recorded_cost(sentence: str) -> float | None:
    """Return the cost over reference that a sentence of a rule book states; None if it states none."""
    found = _COST.search(sentence)
    return float(found[1]) if found else None


def check_recorded_cost(name: str, sentence: str, replayed: float) -> list[str]:
    """Return whether a rule does not cost on its training worlds what its calibration states.

    Args:
        name: Of the rule.
        sentence: How it was calibrated, with the cost reached.
        replayed: Its cost over reference when those worlds are played again.
    """
    recorded = recorded_cost(sentence)
    if recorded is None:
        return [f"calibration.{name} states no cost: {sentence!r}"]
    if abs(recorded - replayed) <= _PRINTED:
        return []
    return [f"calibration.{name} states {recorded:.4f} of reference; played again it costs {replayed:.4f}"]


def check_decides(name: str, actions: Sequence[NDArray[np.int64]]) -> list[str]:
    """Return whether a learned policy takes one action nearly always, and is no more than that constant.

    Args:
        name: Of the policy.
        actions: [B, 4] of each decision.
    """
    taken, counts = np.unique(np.concatenate(actions), axis=0, return_counts=True)
    share = float(counts.max() / counts.sum())
    if share < MOSTLY:
        return []
    return [f"{name} takes the action {taken[counts.argmax()].tolist()} in {100 * share:.1f} % of its decisions"]


def check_reward(episodes: Episodes, *, decisions: int, seed: int = 0, exact: bool = True) -> list[str]:
    """Return whether a reward does anything else than charge USD: bill before refunds and penalty over reference.

    Each environment keeps a random launch specification, spot share and scaling policy.

    Args:
        episodes: A batch of at least 8 environments; begun anew.
        decisions: Played in each, at most an episode.
        seed: Of environments and decisions.
        exact: Check every reward; otherwise only that episodes which cost more are not paid more, for rewards that are
            meant to differ.
    """
    size, choices = len(episodes.fleets), action_space(episodes.task).nvec
    rng = np.random.default_rng(seed)
    episodes.seed(rng.integers(0, 2**62, size).astype(np.uint64))
    episodes.begin(np.arange(size))
    actions = rng.integers(0, choices, (size, 4))
    actions[:, 0] = choices[0] // 2
    rewards, costs = np.zeros((decisions, size)), np.zeros((decisions, size))
    for number in range(decisions):
        rewards[number], _ = episodes.act(actions)
        outcome = episodes.fleets.outcomes
        usd, reference = infra_usd(outcome) + outcome["slo_penalty_usd"], outcome["reference_usd"]
        costs[number] = np.divide(usd, reference, out=np.zeros(size), where=reference > 0.0)
    if float(np.corrcoef(rewards.sum(axis=0), costs.sum(axis=0))[0, 1]) > 0.0:
        return ["reward: episodes that cost more are paid more; its sign is swapped"]
    wrong = np.argwhere(np.abs(rewards + costs) > _ROUNDING * (1.0 + costs))
    if not exact or not len(wrong):
        return []
    number, index = wrong[0]
    return [
        f"reward of decision {number} of environment {index} is {rewards[number, index]:.6g}; expected "
        f"{-costs[number, index]:.6g}, minus its USD over reference"
    ]
