"""What one suite of the model evaluation found: figures beside their targets, tables, plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finding:
    """The result of a suite.

    Attributes:
        checks: Figures beside their targets.
        tables: Figures that have no target, by title; columns are the header.
        figures: Plots by file name without suffix.
        notes: What a reader has to know to read the tables: protocol, windows, what was left out and why.
    """

    checks: Sequence[Check] = ()
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    notes: Sequence[str] = ()
