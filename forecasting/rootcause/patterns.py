"""The library of known patterns: what each kind of trouble looks like, what causes it, and what to do about it.

The library is data (``configs/rootcause/patterns.json``). A fingerprint names pieces of evidence and, for each, a
direction: ``up``, ``down`` or ``same``. How well a pattern fits is the mean over its pieces of the logarithm of the
chance of that direction, where ``up`` has a chance of one half at the evidence's ``threshold``; a piece that is unknown
counts as a coin.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from forecasting.rootcause.incident import FloatArray

LIBRARY: Final = Path(__file__).resolve().parents[2] / "configs" / "rootcause" / "patterns.json"
Scope = Literal["graph", "service"]
_DIRECTIONS: Final = ("up", "down", "same")
_STEEPNESS: Final = 3.0
_LEAST: Final = 0.02
_COIN: Final = 0.5


@dataclass(frozen=True)
class Pattern:
    """One known kind of trouble.

    Attributes:
        kind: its name.
        strikes: ``service``, ``call``, ``demand``, ``market`` or ``metrics``.
        cause: root cause in one phrase.
        fingerprint: direction of each piece of evidence that it moves, or is known not to move.
        actions: what to do, the first first.
        source: where the fingerprint comes from.
    """

    kind: str
    strikes: str
    cause: str
    fingerprint: Mapping[str, str]
    actions: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Library:
    """Patterns of one scope and the thresholds of the evidence they speak of.

    Attributes:
        patterns: the patterns.
        thresholds: size from which a piece of evidence counts as moved.
    """

    patterns: tuple[Pattern, ...]
    thresholds: Mapping[str, float]

    @property
    def kinds(self) -> tuple[str, ...]:
        """[K] names of the patterns."""
        return tuple(pattern.kind for pattern in self.patterns)

    def pattern(self, kind: str) -> Pattern:
        """Return a pattern by name; ValueError names the known ones."""
        for pattern in self.patterns:
            if pattern.kind == kind:
                return pattern
        raise ValueError(f"unknown pattern {kind!r}; known: {', '.join(self.kinds)}")

    def fit(self, evidence: FloatArray, names: Sequence[str]) -> FloatArray:
        """Return float64[N, K], how well each pattern fits each row of evidence: 0 perfectly, below 0 less well.

        Args:
            evidence: float64[N, F]; NaN where unknown.
            names: [F] names of the columns.
        """
        fits = np.empty((len(evidence), len(self.patterns)))
        for column, pattern in enumerate(self.patterns):
            chances = [
                _chance(evidence[:, names.index(name)] / self.thresholds[name], direction)
                for name, direction in pattern.fingerprint.items()
            ]
            known = np.where(np.isnan(chances), _COIN, chances)
            fits[:, column] = np.log(np.maximum(known, _LEAST)).mean(axis=0)
        return fits


def _chance(size: FloatArray, direction: str) -> FloatArray:
    """Return the chance that evidence of ``size`` thresholds moved in a direction; NaN where unknown."""
    up = 1.0 / (1.0 + np.exp(-_STEEPNESS * np.clip(size - 1.0, -50.0, 50.0)))
    down = 1.0 / (1.0 + np.exp(-_STEEPNESS * np.clip(-size - 1.0, -50.0, 50.0)))
    return {"up": up, "down": down, "same": 1.0 - up - down}[direction]


@cache
def load_library(scope: Scope, path: Path = LIBRARY) -> Library:
    """Return the patterns of a service graph (``graph``) or of one service's own signals (``service``).

    Raises:
        ValueError: the file does not hold the scope, or a pattern lacks a field, has an unknown direction, or speaks
            of evidence without a threshold.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if scope not in content:
        raise ValueError(f"{path.name} has no scope {scope!r}; it has: {', '.join(content)}")
    part: dict[str, Any] = content[scope]
    thresholds = {name: float(value) for name, value in part["thresholds"].items()}
    return Library(tuple(_pattern(row, thresholds, path) for row in part["patterns"]), thresholds)


def _pattern(row: Mapping[str, Any], thresholds: Mapping[str, float], path: Path) -> Pattern:
    missing = [name for name in Pattern.__dataclass_fields__ if name not in row]
    if missing:
        raise ValueError(f"{path.name}: pattern {row.get('kind')!r} lacks {', '.join(missing)}")
    for name, direction in row["fingerprint"].items():
        if direction not in _DIRECTIONS:
            raise ValueError(f"{path.name}: {row['kind']} says {name!r} goes {direction!r}; known: up, down, same")
        if name not in thresholds:
            raise ValueError(f"{path.name}: {row['kind']} speaks of {name!r}, which has no threshold")
    fields = dict(row) | {"actions": tuple(row["actions"])}
    return Pattern(**fields)
