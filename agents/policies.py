"""Who decides: anything that turns telemetry into actions. Policies see TELEMETRY records and nothing else."""

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.action import PARTS, action_space
from envs.settings import TaskSettings

_INTEGERS: Final = "iu"
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class PolicyError(ValueError):
    """A policy that cannot be loaded, or that does something that is no action; the message names it and the cause."""


class Policy(Protocol):
    """A decision maker over a batch of fleets."""

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return one action per fleet, [B, 4] integers inside the action space, for [B] TELEMETRY records."""
        ...


class ConstantPolicy:
    """Always the same action; each calibrated rule is one of these.

    Args:
        action: [4] integers, or [B, 4] to give each fleet its own.
    """

    def __init__(self, action: NDArray[np.int64]) -> None:
        self._action = np.asarray(action, np.int64)

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the action for every fleet."""
        return np.broadcast_to(self._action, (len(readings), 4))


class SideBySide:
    """Several policies in one batch, each in charge of an equal share of the fleets, one after the other."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the action of every fleet by the policy in charge of it."""
        shares = np.split(readings, len(self._policies))
        return np.concatenate([policy.act(share) for policy, share in zip(self._policies, shares, strict=True)])


class CheckedPolicy:
    """Someone's policy with every action checked. It decides on a copy of the telemetry, so it can change nothing.

    Args:
        policy: Decides.
        task: Settings of the action.
        name: What errors call it.
    """

    def __init__(self, policy: Policy, task: TaskSettings, name: str) -> None:
        self._policy = policy
        self._sizes = action_space(task).nvec
        self._name = name
        self._decision = 0

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the policy's actions, [B, 4].

        Raises:
            PolicyError: It failed, or answered with another shape, something else than integers, or an action out of
                range; the message names policy, decision (the first is 1), fleet, part, value and what was expected.
        """
        self._decision += 1
        try:
            actions = np.asarray(self._policy.act(readings.copy()))
        except Exception as error:
            raise self._error(_one_line(error)) from error
        expected = (len(readings), len(PARTS))
        if actions.shape != expected:
            raise self._error(f"actions have shape {actions.shape}; expected {expected}")
        if actions.dtype.kind not in _INTEGERS:
            raise self._not_integers(actions)
        outside = np.argwhere((actions < 0) | (actions >= self._sizes))
        if len(outside):
            raise self._value_error(actions, *outside[0])
        return actions.astype(np.int64)

    def _error(self, cause: str) -> PolicyError:
        return PolicyError(f"policy {self._name!r}, decision {self._decision}: {cause}")

    def _not_integers(self, actions: NDArray[Any]) -> PolicyError:
        """Return the error of a [B, 4] array of another type; a value that is not finite is the one to name."""
        if actions.dtype.kind == "f" and not np.isfinite(actions).all():
            return self._value_error(actions, *np.argwhere(~np.isfinite(actions))[0])
        return self._error(f"actions are {actions.dtype}; expected integers, such as int64")

    def _value_error(self, actions: NDArray[Any], fleet: int, part: int) -> PolicyError:
        last = self._sizes[part] - 1
        return self._error(
            f"fleet {fleet}: {PARTS[part]} is {actions[fleet, part]}; expected an integer from 0 to {last}"
        )


def load_policy(reference: str, task: TaskSettings) -> CheckedPolicy:
    """Make anyone's policy; each call makes a new one.

    Args:
        reference: ``module:factory``. The module is looked for among the installed ones, then in the current
            directory. The factory takes the task, or nothing, and returns an object with ``act``.
        task: Action space, menu and candidates.

    Raises:
        PolicyError: There is no such module or factory, or it makes no policy.
    """
    module, _, factory = reference.partition(":")
    if not module or not factory:
        raise PolicyError(f"policy {reference!r}: expected module:factory")
    try:
        policy = _factory(reference, module, factory, task)()
    except PolicyError:
        raise
    except Exception as error:
        raise PolicyError(f"policy {reference!r}: {_one_line(error)}") from error
    if not callable(getattr(policy, "act", None)):
        raise PolicyError(
            f"policy {reference!r} makes a {type(policy).__name__}; expected an object with act(readings)"
        )
    return CheckedPolicy(policy, task, reference)


def _factory(reference: str, module: str, name: str, task: TaskSettings) -> Callable[[], Any]:
    """Return the factory, given the task where it takes one."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    found = importlib.import_module(module)
    if not hasattr(found, name):
        raise PolicyError(f"policy {reference!r}: {module} ({found.__file__}) has no {name!r}")
    factory = getattr(found, name)
    if not callable(factory):
        raise PolicyError(f"policy {reference!r}: {name} is a {type(factory).__name__}; expected a function or a class")
    parameters = inspect.signature(factory).parameters.values()
    needed = [item for item in parameters if item.default is item.empty and item.kind in _POSITIONAL]
    if len(needed) > 1:
        names = ", ".join(item.name for item in needed)
        raise PolicyError(f"policy {reference!r}: {name} needs {names}; expected the task, or nothing")
    if needed:
        return partial(factory, task)
    return partial(factory, task=task) if any(item.name == "task" for item in parameters) else factory


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
