"""Anyone's policy: how it is loaded, and that nothing but actions gets past the check."""

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.policies import CheckedPolicy, ConstantPolicy, Policy, PolicyError, load_policy
from agents.rollout import play, whole_windows
from agents.rules import RuleBook
from envs.action import action_space
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.records import TELEMETRY

GOOD = np.tile(np.array([19, 1, 5, 0]), (3, 1))


class Answers:
    """Gives its answers one after another, whatever it reads."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


def with_value(value: float, *, fleet: int, part: int) -> NDArray[np.generic]:
    changed = GOOD.astype(type(value))
    changed[fleet, part] = value
    return changed


def readings() -> NDArray[np.void]:
    return np.zeros(3, TELEMETRY)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (with_value(np.nan, fleet=1, part=0), "fleet 1: scale is nan; expected an integer from 0 to 38"),
        (with_value(np.inf, fleet=2, part=3), "fleet 2: policy is inf; expected an integer from 0 to {last}"),
        (with_value(-1, fleet=0, part=2), "fleet 0: spot is -1; expected an integer from 0 to 10"),
        (with_value(9, fleet=2, part=1), "fleet 2: launch specification is 9; expected an integer from 0 to 8"),
        (with_value(2**63 - 1, fleet=1, part=0), f"fleet 1: scale is {2**63 - 1}; expected an integer from 0 to 38"),
        (GOOD.astype(np.float32), "actions are float32; expected integers, such as int64"),
        (GOOD.astype(np.bool_), "actions are bool; expected integers, such as int64"),
        (GOOD.astype(object), "actions are object; expected integers, such as int64"),
        (GOOD[:2], "actions have shape (2, 4); expected (3, 4)"),
        (GOOD[0], "actions have shape (4,); expected (3, 4)"),
        (GOOD.T, "actions have shape (4, 3); expected (3, 4)"),
        (None, "actions have shape (); expected (3, 4)"),
        (KeyError("spot\n price"), "KeyError: 'spot\\n price'"),
        (RuntimeError("two\nlines"), "RuntimeError: two lines"),
    ],
)
def test_what_is_no_action_is_named(task: TaskSettings, answer: object, message: str) -> None:
    policy = CheckedPolicy(Answers(GOOD, answer), task, "mine:make")
    policy.act(readings())
    with pytest.raises(PolicyError) as caught:
        policy.act(readings())
    expected = message.format(last=len(task.menu) - 1)
    assert str(caught.value) == f"policy 'mine:make', decision 2: {expected}"


def test_every_action_of_the_space_passes_as_it_is(task: TaskSettings) -> None:
    sizes = action_space(task).nvec
    corners = np.array(np.meshgrid(*[[0, size - 1] for size in sizes])).reshape(4, -1).T
    for kind in (np.int64, np.int32, np.uint8):
        actions = CheckedPolicy(Answers(corners.astype(kind)), task, "corners").act(np.zeros(len(corners), TELEMETRY))
        assert actions.dtype == np.int64
        np.testing.assert_array_equal(actions, corners)


def test_a_checked_policy_plays_what_it_played_unchecked(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    rule = ConstantPolicy(book.action("forecast", task))
    windows = whole_windows(bank)
    checked = play(CheckedPolicy(rule, task, "forecast"), bank, task, windows)
    np.testing.assert_array_equal(checked.totals, play(rule, bank, task, windows).totals)


class Vandal:
    """Acts as another policy does, after it has written over everything it was shown."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        actions = self._policy.act(readings)
        for name in TELEMETRY.names or ():
            readings[name] = 0.0
        return actions


def test_writing_into_the_telemetry_changes_nothing(bank: Bank, task: TaskSettings, book: RuleBook) -> None:
    rule = ConstantPolicy(book.action("forecast", task))
    windows = whole_windows(bank)
    honest = play(rule, bank, task, windows).totals
    np.testing.assert_array_equal(play(CheckedPolicy(Vandal(rule), task, "vandal"), bank, task, windows).totals, honest)
    assert (play(Vandal(rule), bank, task, windows).totals != honest).any(), "unchecked, it does"


MODULE = """
import numpy as np

class Still:
    def act(self, readings):
        return np.tile(np.array([19, 0, 0, 0]), (len(readings), 1))

class Named:
    def __init__(self, task):
        self.entry = [policy.name for policy in task.menu].index("forecast")

    def act(self, readings):
        return np.tile(np.array([19, 1, 0, self.entry]), (len(readings), 1))

def keyword(*, task):
    return Named(task)

def optional(seed=0):
    assert seed == 0
    return Still()

def two(task, other):
    return Still()

def fails():
    raise RuntimeError("no weights here")

def nothing():
    return object()

constant = 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that only the current directory holds."""
    (tmp_path / "own_policies.py").write_text(MODULE)
    (tmp_path / "broken_policies.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_policies", raising=False)
    return "own_policies"


@pytest.mark.parametrize(("factory", "entry"), [("Still", 0), ("optional", 0), ("Named", 8), ("keyword", 8)])
def test_a_factory_takes_the_task_or_nothing(task: TaskSettings, own_module: str, factory: str, entry: int) -> None:
    policy = load_policy(f"{own_module}:{factory}", task)
    assert policy is not load_policy(f"{own_module}:{factory}", task)
    assert [policy.name for policy in task.menu].index("forecast") == 8
    np.testing.assert_array_equal(policy.act(readings())[:, 3], entry)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("own_policies", "policy 'own_policies': expected module:factory"),
        (":make", "policy ':make': expected module:factory"),
        (
            "absent_policies:make",
            "policy 'absent_policies:make': ModuleNotFoundError: No module named 'absent_policies'",
        ),
        (
            "broken_policies:make",
            "policy 'broken_policies:make': ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("own_policies:absent", "own_policies.py) has no 'absent'"),
        ("own_policies:constant", "constant is a int; expected a function or a class"),
        ("own_policies:two", "two needs task, other; expected the task, or nothing"),
        ("own_policies:fails", "policy 'own_policies:fails': RuntimeError: no weights here"),
        ("own_policies:nothing", "makes a object; expected an object with act(readings)"),
    ],
)
def test_what_cannot_be_loaded_is_named(task: TaskSettings, own_module: str, reference: str, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(reference, task)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_of_the_current_directory_hides_none_of_ours(
    task: TaskSettings, tmp_path: Path, own_module: str
) -> None:
    (tmp_path / "agents.py").write_text("raise SystemExit('the wrong agents')\n")
    assert load_policy("own_policies:Still", task).act(readings()).shape == (3, 4)
    assert sys.path[0] != str(tmp_path)
