"""Calibrated rules: a scaling policy, a launch-specification choice and a spot share.

The scaling policies of a file's rules are the menu of the task, in the same order. Most rules are one constant action,
so that the agent can start from the best of them; two read the telemetry first (``agents.rule_policies``).
"""

from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from agents.policies import ConstantPolicy, Policy
from agents.rule_policies import FixedSpecification, Hedge, SpotHedge
from envs.action import encode_action
from envs.settings import ENVIRONMENT_VERSION, TaskSettings
from simulators.menu import ScalingPolicy
from telemetry.provenance import write_json, write_text

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RULES_FILE = CONFIGS / "rules.yaml"
TRACE_RULES_FILE = CONFIGS / "rules_per_trace.yaml"
Content = TypeVar("Content", bound=BaseModel)


class Rule(BaseModel):
    """One rule.

    Attributes:
        policy: What scales the fleet; its name is the rule's.
        candidate: 0 keeps the launch specification; r takes the r-th cheapest (or r-th, in fixed order).
        specification: In place of ``candidate``, a launch specification by name.
        spot_percent: Spot share asked for.
        hedge: Makes it a spot-hedge rule, which takes the cheapest candidate that is not in trouble.
        kind: ``rule``, or ``aws`` for a policy that AWS runs by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ScalingPolicy
    candidate: int = Field(1, ge=0)
    specification: str | None = None
    spot_percent: int = Field(0, ge=0, le=100)
    hedge: Hedge | None = None
    kind: Literal["rule", "aws"] = "rule"

    @model_validator(mode="after")
    def _one_way(self) -> "Rule":
        if self.specification is not None and self.hedge is not None:
            raise ValueError(f"{self.name}: a hedge chooses the launch specification itself; leave specification out")
        return self

    @property
    def name(self) -> str:
        """Name of the rule and of its menu entry."""
        return self.policy.name

    @property
    def is_constant(self) -> bool:
        """Whether the rule is one constant action."""
        return self.specification is None and self.hedge is None

    def acting(self, position: int, task: TaskSettings) -> Policy:
        """Return the rule as a policy where its scaling policy is the menu's entry ``position``."""
        if self.hedge is not None:
            return SpotHedge(self.hedge, self.spot_percent, position, task)
        if self.specification is not None:
            return FixedSpecification(self.specification, self.spot_percent, position, task)
        return ConstantPolicy(self.action(position, task))

    def action(self, position: int, task: TaskSettings) -> NDArray[np.int64]:
        """Return the constant action; ValueError where the rule is more than that."""
        if not self.is_constant:
            raise ValueError(f"rule {self.name!r} is not one constant action")
        return encode_action(task, scale=0, candidate=self.candidate, spot_percent=self.spot_percent, policy=position)


class RuleBook(BaseModel):
    """All rules of a task and how they were calibrated.

    Attributes:
        environment: Environment version they were calibrated for.
        calibrated_on: Split, source, seeds and windows of the worlds they were calibrated on; empty for untuned ones.
        calibration: One sentence per rule name: budget, worlds, value reached.
        rules: In the order of the menu.
        fronts: For each rule the settings on its own front of bill against bad minutes, by rising bill.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = ENVIRONMENT_VERSION
    calibrated_on: dict[str, Any] = {}
    calibration: dict[str, str] = {}
    rules: tuple[Rule, ...] = Field(min_length=1)
    fronts: dict[str, tuple[Rule, ...]] = {}

    @model_validator(mode="after")
    def _version(self) -> "RuleBook":
        if self.environment != ENVIRONMENT_VERSION:
            raise ValueError(
                f"rules were calibrated for {self.environment!r}, this is {ENVIRONMENT_VERSION!r}: calibrate them again"
            )
        return self

    def task(self, base: TaskSettings) -> TaskSettings:
        """Return a task whose menu is these rules' policies."""
        return base.model_copy(update={"menu": tuple(rule.policy for rule in self.rules)})

    def index(self, name: str) -> int:
        """Return the position of a rule; KeyError names the known ones."""
        names = [rule.name for rule in self.rules]
        if name not in names:
            raise KeyError(f"unknown rule {name!r}; known: {', '.join(names)}")
        return names.index(name)

    def policy(self, name: str, task: TaskSettings) -> Policy:
        """Return a rule as a policy of a task whose menu is this book's."""
        position = self.index(name)
        return self.rules[position].acting(position, task)

    def action(self, name: str, task: TaskSettings) -> NDArray[np.int64]:
        """Return the constant action of a rule in a task whose menu is this book's.

        Raises:
            KeyError: No such rule.
            ValueError: The rule is more than one constant action.
        """
        position = self.index(name)
        return self.rules[position].action(position, task)


def load_rules(path: Path = RULES_FILE) -> RuleBook:
    """Read a rule book from YAML or JSON.

    Raises:
        ValueError: Not a rule book of this environment version; names file, key and value.
    """
    return _validated(RuleBook, path)


def save_rules(book: RuleBook, path: Path) -> None:
    """Write a rule book, JSON (whole) or YAML (what differs from defaults), by a temporary file and a rename."""
    if path.suffix == ".json":
        write_json(path, book.model_dump(mode="json"))
    else:
        write_text(path, yaml.safe_dump(_differences(book), sort_keys=False, width=110))


class TraceBooks(RootModel[dict[str, RuleBook]]):
    """A rule book for each of some traces, by name."""


def load_books(path: Path = TRACE_RULES_FILE) -> dict[str, RuleBook]:
    """Read the rule books of traces; ValueError as ``load_rules``."""
    return _validated(TraceBooks, path).root


def save_books(books: dict[str, RuleBook], path: Path) -> None:
    """Write a rule book per trace as YAML, without fronts, by a temporary file and a rename."""
    content = {name: _differences(book.model_copy(update={"fronts": {}})) for name, book in books.items()}
    write_text(path, yaml.safe_dump(content, sort_keys=False, width=110))


def _differences(book: RuleBook) -> dict[str, Any]:
    return {"environment": book.environment, **book.model_dump(mode="json", exclude_defaults=True)}


def _validated(model: type[Content], path: Path) -> Content:
    try:
        return model.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise ValueError(f"{path}: {key}: {first['msg']} (got {str(first['input'])[:80]!r})") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
