"""Who is scored: a shipped rule, a bundle or anyone's policy, named by one reference each."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agents.bundle import POLICY_FILE, load_bundle
from agents.policies import CheckedPolicy, Policy, load_policy
from agents.rules import RULES_FILE, load_rules
from envs.settings import TaskSettings

RULE: Final = "rule"
BUNDLE: Final = "bundle"


@dataclass(frozen=True)
class Entrant:
    """A policy and the task it acts in.

    Attributes:
        policy: A new one, every action checked.
        task: Its menu, candidates and minutes between decisions.
        reference: What it was loaded by.
        sha256: Of the file that says what it does: rule book, exported policy or module.
    """

    policy: Policy
    task: TaskSettings
    reference: str
    sha256: str


def load_entrant(reference: str, *, rules: Path = RULES_FILE) -> Entrant:
    """Load who is scored.

    Args:
        reference: ``rule:NAME`` of the rule book, ``bundle:PATH``, or ``module:factory`` (``agents.policies``).
        rules: Rule book; the menu of rules and of anyone's policy.

    Raises:
        ValueError: There is no such rule, bundle or policy.
    """
    kind, _, name = reference.partition(":")
    if kind == BUNDLE:
        bundle = load_bundle(Path(name))
        learned = bundle.policy()
        checked = CheckedPolicy(learned, bundle.task, reference)
        return Entrant(checked, bundle.task, reference, str(bundle.manifest["files"][POLICY_FILE]))
    book = load_rules(rules)
    task = book.task(TaskSettings())
    if kind == RULE:
        try:
            rule = book.policy(name, task)
        except KeyError as error:
            raise ValueError(f"{rules}: {error.args[0]}") from error
        return Entrant(CheckedPolicy(rule, task, reference), task, reference, _sha256(rules))
    policy = load_policy(reference, task)
    module = importlib.import_module(kind)
    return Entrant(policy, task, reference, _sha256(Path(str(module.__file__))))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
