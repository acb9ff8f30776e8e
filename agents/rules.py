"""Calibrated rules: a scaling policy, a launch-specification choice and a spot share, as one constant action.

The rules of a file are the scaling-policy menu of the task, in the same order, so that every rule is one action of the
agent and the agent can start from the best of them.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.action import encode_action
from envs.settings import ENVIRONMENT_VERSION, TaskSettings
from simulators.menu import ScalingPolicy
from telemetry.provenance import write_json, write_text

RULES_FILE = Path(__file__).resolve().parent.parent / "configs" / "rules.yaml"


class Rule(BaseModel):
    """One rule.

    Attributes:
        policy: What scales the fleet; its name is the rule's.
        candidate: 0 keeps the launch specification; r takes the r-th cheapest (or r-th, in fixed order).
        spot_percent: Spot share asked for.
        kind: ``rule``, or ``aws`` for a policy that AWS runs by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: ScalingPolicy
    candidate: int = Field(1, ge=0)
    spot_percent: int = Field(0, ge=0, le=100)
    kind: Literal["rule", "aws"] = "rule"

    @property
    def name(self) -> str:
        """Name of the rule and of its menu entry."""
        return self.policy.name


class RuleBook(BaseModel):
    """All rules of a task and how they were calibrated.

    Attributes:
        environment: Environment version they were calibrated for.
        calibration: One sentence per rule name: budget, worlds, value reached.
        rules: In the order of the menu.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str = ENVIRONMENT_VERSION
    calibration: dict[str, str] = {}
    rules: tuple[Rule, ...] = Field(min_length=1)

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

    def action(self, name: str, task: TaskSettings) -> NDArray[np.int64]:
        """Return the constant action of a rule in a task whose menu is this book's."""
        position = self.index(name)
        rule = self.rules[position]
        return encode_action(task, scale=0, candidate=rule.candidate, spot_percent=rule.spot_percent, policy=position)


def load_rules(path: Path = RULES_FILE) -> RuleBook:
    """Read a rule book from YAML or JSON.

    Raises:
        ValueError: Not a rule book of this environment version; names file, key and value.
    """
    try:
        return RuleBook.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise ValueError(f"{path}: {key}: {first['msg']} (got {str(first['input'])[:80]!r})") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error


def save_rules(book: RuleBook, path: Path) -> None:
    """Write a rule book, JSON or YAML by its suffix, by a temporary file and a rename."""
    content = book.model_dump(mode="json")
    if path.suffix == ".json":
        write_json(path, content)
    else:
        write_text(path, yaml.safe_dump(content, sort_keys=False, width=110))
