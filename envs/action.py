"""The action codec: four integers in, a decision out, and back.

``MultiDiscrete([39, K + 1, S, M])``:

| part | value | meaning |
| --- | --- | --- |
| scale | 0..38 | add -19..+19 instances (an offset where the policy states an absolute want) |
| launch specification | 0 | keep |
| | 1..K | the candidate of this rank by current price per unit of capacity (``price``), or of this index (``fixed``) |
| spot | 0..S-1 | spot share of the fleet, 0 to 100 % |
| policy | 0..M-1 | entry of the scaling-policy menu |

These are the five verbs scale_up, scale_down, change_instance_type, adjust_spot_percentage and modify_scaling_policy.
"""

from typing import Final

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from envs.settings import TaskSettings
from telemetry.compiled import Record, compiled, compiled_in_place

MAX_SCALE: Final = 19
KEEP: Final = 0
PARTS: Final = ("scale", "launch specification", "spot", "policy")


def action_space(task: TaskSettings) -> MultiDiscrete:
    """Return the action space of a task."""
    return MultiDiscrete([2 * MAX_SCALE + 1, len(task.candidates) + 1, task.num_spot_levels, len(task.menu)])


def integers(action: object) -> NDArray[np.int64]:
    """Return an action as integers.

    Raises:
        ValueError: It holds something else, such as fractions or NaN.
    """
    array = np.asarray(action)
    if array.dtype.kind not in "iu":
        raise ValueError(f"an action is made of integers, got {array.dtype}")
    return array.astype(np.int64, copy=False)


@compiled_in_place
def unit_price(reading: Record, spec: int, spot_fraction: float) -> float:
    """Return what a candidate costs per request per second at a spot share, USD per hour."""
    spot = reading.candidate_spot_usd_per_hour[spec]
    on_demand = reading.candidate_on_demand_usd_per_hour[spec]
    return float((spot_fraction * spot + (1.0 - spot_fraction) * on_demand) / reading.candidate_capacity_rps[spec])


@compiled_in_place
def price_ranks(
    reading: Record,
    spot_fraction: float,
    candidates: int,
    hysteresis: float,
    prices: NDArray[np.float64],
    ranks: NDArray[np.int64],
) -> None:
    """Write how many candidates are cheaper than each, the current one counting ``hysteresis`` cheaper.

    Equal prices rank by index. ``prices`` and ``ranks`` are [K] work space.
    """
    for spec in range(candidates):
        ranks[spec] = 0
        prices[spec] = unit_price(reading, spec, spot_fraction)
    prices[int(reading.spec)] *= 1.0 - hysteresis
    for spec in range(candidates):
        for other in range(spec):
            cheaper = prices[other] <= prices[spec]
            ranks[spec] += cheaper
            ranks[other] += not cheaper


@compiled
def _first_outside(actions: NDArray[np.int64], sizes: tuple[int, int, int, int]) -> int:
    """Return the position, in a flattened batch, of the first part outside its range; -1 where there is none."""
    for index in range(actions.shape[0]):
        for part in range(4):
            if not 0 <= actions[index, part] < sizes[part]:
                return 4 * index + part
    return -1


@compiled
def decode_batch(
    actions: NDArray[np.int64],
    readings: NDArray[np.void],
    decisions: NDArray[np.void],
    candidates: int,
    spot_levels: int,
    by_price: bool,
    hysteresis: float,
) -> None:
    """Write the decision of each action, [B, 4] integers inside the space."""
    prices, ranks = np.empty(candidates), np.empty(candidates, np.int64)
    for index in range(actions.shape[0]):
        reading, decision = readings[index], decisions[index]
        decision.scale = actions[index, 0] - MAX_SCALE
        decision.spot_fraction = actions[index, 2] / (spot_levels - 1)
        decision.policy = actions[index, 3]
        choice = actions[index, 1]
        decision.spec = int(reading.spec)
        if choice == KEEP:
            continue
        if not by_price:
            decision.spec = choice - 1
            continue
        price_ranks(reading, decision.spot_fraction, candidates, hysteresis, prices, ranks)
        for spec in range(candidates):
            if ranks[spec] == choice - 1:
                decision.spec = spec


def decode(
    actions: NDArray[np.int64], readings: NDArray[np.void], decisions: NDArray[np.void], task: TaskSettings
) -> None:
    """Write the decisions that a batch of actions asks for.

    Args:
        actions: [B, 4] integers.
        readings: [B] TELEMETRY records the actions answer to.
        decisions: [B] DECISION records, overwritten.
        task: Settings of the action.

    Raises:
        ValueError: An action outside the space, with its index, part and value.
    """
    sizes = (2 * MAX_SCALE + 1, len(task.candidates) + 1, task.num_spot_levels, len(task.menu))
    if actions.shape != (len(readings), 4):
        raise ValueError(f"actions have shape {actions.shape}; expected ({len(readings)}, 4)")
    outside = _first_outside(actions, sizes)
    if outside >= 0:
        index, part = divmod(outside, 4)
        raise ValueError(f"action {index}: {PARTS[part]} is {actions[index, part]}; expected 0 to {sizes[part] - 1}")
    decode_batch(
        actions,
        readings,
        decisions,
        len(task.candidates),
        sizes[2],
        task.candidate_order == "price",
        task.rank_hysteresis,
    )


def encode_action(
    task: TaskSettings, *, scale: int, candidate: int, spot_percent: int, policy: int
) -> NDArray[np.int64]:
    """Return the action vector for readable values.

    Args:
        task: Settings of the action.
        scale: -19..19.
        candidate: 0 keeps; 1..K as in the space.
        spot_percent: 0..100, a multiple of ``spot_step_percent``.
        policy: Menu index.
    """
    action = np.array([scale + MAX_SCALE, candidate, spot_percent // task.spot_step_percent, policy], np.int64)
    if not action_space(task).contains(action) or spot_percent % task.spot_step_percent:
        raise ValueError(
            f"no such action: scale {scale}, candidate {candidate}, spot {spot_percent} %, policy {policy}"
        )
    return action


def choices_of(
    specs: NDArray[np.int64], spot_fractions: NDArray[np.float64], readings: NDArray[np.void], task: TaskSettings
) -> NDArray[np.int64]:
    """Return the launch-specification part of the action that stands for given candidates, [B] in 1..K.

    Args:
        specs: [B] candidate indices.
        spot_fractions: [B] spot share of the same action, 0..1; ranks depend on it.
        readings: [B] TELEMETRY records the actions answer to.
        task: Settings of the action.
    """
    if task.candidate_order == "fixed":
        return specs + 1
    choices = np.empty(len(readings), np.int64)
    _ranks_of(specs, spot_fractions, readings, len(task.candidates), task.rank_hysteresis, choices)
    return choices


@compiled
def _ranks_of(
    specs: NDArray[np.int64],
    spot_fractions: NDArray[np.float64],
    readings: NDArray[np.void],
    candidates: int,
    hysteresis: float,
    choices: NDArray[np.int64],
) -> None:
    prices, ranks = np.empty(candidates), np.empty(candidates, np.int64)
    for index in range(len(readings)):
        price_ranks(readings[index], spot_fractions[index], candidates, hysteresis, prices, ranks)
        choices[index] = ranks[specs[index]] + 1
