"""A start by imitation: a policy is cloned into the network before it learns from rewards.

The teacher plays training worlds once; its telemetry and actions are kept in a folder, block by block, so that nothing
is played again for another seed, another observation or after an interruption. Then the network's probability of the
teacher's action is maximised (behaviour cloning).
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from stable_baselines3 import PPO

from agents.planner import Planner
from agents.policies import Policy
from agents.rollout import Windows, play, random_windows
from agents.rules import RuleBook
from agents.trained import most_probable, stacked_for
from envs.box import ActionBox
from envs.masks import MaskedCodec
from envs.observation import ObservationEncoder
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank
from simulators.records import TELEMETRY
from telemetry.provenance import write_arrays

PLANNER: Final = "planner"
_BLOCK_FLEETS: Final = 16
_HELD_OUT_EVERY: Final = 10
_WINDOWS_SEED: Final = 1
_DAY_MINUTES: Final = 1440


class ImitationSettings(BaseModel):
    """Whom to imitate, and for how long.

    Attributes:
        policy: ``planner``, or the name of a rule.
        decisions: Decisions of the teacher to learn from, rounded up to whole blocks of 16 fleet-days.
        epochs: Passes over them.
        learning_rate: Of Adam.
        batch_size: Minibatch.
        folder: Where the teacher's decisions are kept for every run that asks for the same ones; the run's if None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = PLANNER
    decisions: int = Field(20_000, ge=1)
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    batch_size: int = Field(512, ge=2)
    folder: Path | None = None


@dataclass(frozen=True)
class Demonstration:
    """What a teacher saw and did: T decisions of B fleets that started together.

    Attributes:
        readings: [T, B] TELEMETRY records.
        actions: [T, B, 4] integers.
    """

    readings: NDArray[np.void]
    actions: NDArray[np.int64]


@dataclass(frozen=True)
class Imitation:
    """How well the network imitates on fleets that it did not learn from, before and after.

    Attributes:
        loss_before: Mean negative log-probability of the teacher's action (density, for a continuous one).
        loss_after: The same after.
        agreement_before: Share of decisions in which the most probable action is the teacher's, all four parts.
        agreement_after: The same after.
        agreement_by_part: [4] shares after, part by part.
    """

    loss_before: float
    loss_after: float
    agreement_before: float
    agreement_after: float
    agreement_by_part: tuple[float, ...]


class _Recording:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.readings: list[NDArray[np.void]] = []
        self.actions: list[NDArray[np.int64]] = []

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        self.readings.append(readings.copy())
        self.actions.append(np.array(self._policy.act(readings)))
        return self.actions[-1]


def demonstrate(policy: Policy, bank: Bank, task: TaskSettings, windows: Windows) -> Demonstration:
    """Play a policy through windows of one length and return what it saw and did."""
    recording = _Recording(policy)
    play(recording, bank, task, windows)
    return Demonstration(np.stack(recording.readings), np.stack(recording.actions))


def make_teacher(name: str, book: RuleBook, task: TaskSettings) -> Policy:
    """Return the planner or a rule; KeyError names the known rules."""
    return Planner(task, book) if name == PLANNER else book.policy(name, task)


def gather(
    settings: ImitationSettings,
    env: EnvSettings,
    book: RuleBook,
    bank: Bank,
    folder: Path,
    *,
    show: Callable[[int, int], None] = lambda done, total: None,
) -> list[Demonstration]:
    """Return the teacher's decisions on days of training worlds; those that are kept already are not played again.

    Args:
        settings: Teacher and number of decisions.
        env: Task and training worlds; part of what the kept decisions are known by.
        book: Calibrated rules.
        bank: The training worlds.
        folder: Holds the blocks of this task, these worlds and this teacher, and of others.
        show: Called with (decisions there, decisions in all).

    Raises:
        KeyError: No such rule.
        ValueError: A demand tape is shorter than a day, or the planner finds no manual entry in the menu.
    """
    make_teacher(settings.policy, book, env.task)
    own = folder / _key(settings.policy, env, book)
    per_block = _BLOCK_FLEETS * -(-_DAY_MINUTES // env.task.decision_minutes)
    count = -(-settings.decisions // per_block)
    blocks = []
    for number in range(count):
        path = own / f"block-{number:03d}.npz"
        if not path.exists():
            teacher = make_teacher(settings.policy, book, env.task)
            windows = random_windows(bank, _BLOCK_FLEETS, 1, seed=_WINDOWS_SEED + number)
            done = demonstrate(teacher, bank, env.task, windows)
            write_arrays(path, {"readings": done.readings, "actions": done.actions.astype(np.uint8)})
        blocks.append(_load(path))
        show((number + 1) * per_block, count * per_block)
    return blocks


def _key(teacher: str, env: EnvSettings, book: RuleBook) -> str:
    rules = [rule.model_dump(mode="json") for rule in book.rules]
    content = {"teacher": teacher, "rules": rules, "env": env.model_dump(mode="json")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return f"{teacher}-{digest}"


def _load(path: Path) -> Demonstration:
    with np.load(path, allow_pickle=False) as arrays:
        readings, actions = arrays["readings"], arrays["actions"]
    if readings.dtype != TELEMETRY:
        raise ValueError(f"{path}: readings of another layout than this version's; remove the file")
    return Demonstration(readings, actions.astype(np.int64))


@dataclass(frozen=True)
class _Lessons:
    """[N, F] observations, [N, 4] integers and what they are in the model's action space, [N, sum of choices] masks."""

    observations: torch.Tensor
    actions: NDArray[np.int64]
    targets: torch.Tensor
    masks: NDArray[np.bool_] | None

    def log_probability(self, model: PPO, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return the log-probability of the teacher's action, [rows]."""
        policy: Any = model.policy
        masks = {} if self.masks is None else {"action_masks": torch.as_tensor(self.masks[rows])}
        return torch.as_tensor(policy.evaluate_actions(self.observations[rows], self.targets[rows], **masks)[1])


def _lessons(model: PPO, codec: ObservationEncoder, blocks: list[Demonstration], learning: bool) -> _Lessons:
    """Return the lessons of every tenth fleet, which is held out, or of the others (``learning``)."""
    fleets = np.cumsum([0, *(block.actions.shape[1] for block in blocks)])
    observations, actions, masks = [], [], []
    permitted = codec.masks if isinstance(codec, MaskedCodec) else None
    for first, block in zip(fleets, blocks, strict=False):
        encoder = stacked_for(model, codec)
        chosen = ((first + np.arange(block.actions.shape[1])) % _HELD_OUT_EVERY != 0) == learning
        for readings, own in zip(block.readings[:, chosen], block.actions[:, chosen], strict=True):
            if len(readings) == 0:
                continue
            observations.append(encoder.encode(readings))
            actions.append(own if permitted is None else permitted.canonical(own, readings))
            if permitted is not None:
                masks.append(permitted(readings))
    done = np.concatenate(actions)
    targets = model.action_space.points(done) if isinstance(model.action_space, ActionBox) else done
    return _Lessons(
        torch.as_tensor(np.concatenate(observations)),
        done,
        torch.as_tensor(targets),
        np.concatenate(masks) if masks else None,
    )


def imitate(
    model: PPO,
    codec: ObservationEncoder,
    blocks: list[Demonstration],
    settings: ImitationSettings,
    *,
    seed: int,
) -> Imitation:
    """Clone a teacher's decisions into a model's policy, by maximum likelihood over the four parts.

    How far training strays is no matter of the teacher's: the learned spread of a continuous policy stays.

    Args:
        model: Its actor is changed, its critic and its optimiser are not.
        codec: Turns telemetry into the model's single observations; a ``MaskedCodec`` where it has masks.
        blocks: The teacher's decisions; every tenth fleet is held out.
        settings: Epochs, minibatch and learning rate.
        seed: Of the order of the minibatches.
    """
    held_out, lessons = (_lessons(model, codec, blocks, learning) for learning in (False, True))
    before = _loss(model, held_out), _agreement(model, held_out)
    learned = [value for name, value in model.policy.named_parameters() if name != "log_std"]
    optimizer = torch.optim.Adam(learned, lr=settings.learning_rate)
    rng = np.random.default_rng([seed, 0x1417])
    model.policy.set_training_mode(True)
    for _ in range(settings.epochs):
        order = rng.permutation(len(lessons.actions))
        for start in range(0, len(order), settings.batch_size):
            loss = -lessons.log_probability(model, order[start : start + settings.batch_size]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.policy.set_training_mode(False)
    agreement = _agreement(model, held_out)
    return Imitation(
        loss_before=before[0],
        loss_after=_loss(model, held_out),
        agreement_before=float(before[1].all(axis=1).mean()),
        agreement_after=float(agreement.all(axis=1).mean()),
        agreement_by_part=tuple(agreement.mean(axis=0).tolist()),
    )


def _loss(model: PPO, lessons: _Lessons) -> float:
    with torch.no_grad():
        return float(-lessons.log_probability(model, np.arange(len(lessons.actions))).mean())


def _agreement(model: PPO, lessons: _Lessons) -> NDArray[np.bool_]:
    """Return [N, 4] where the most probable choice is the teacher's."""
    return np.equal(most_probable(model, lessons.observations.numpy(), lessons.masks), lessons.actions)
