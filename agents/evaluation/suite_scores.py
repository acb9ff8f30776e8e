"""What one policy does on a frozen suite: every entry's bill, penalty and bad minutes, beside the bound.

The suite fixes the worlds; this fixes the rest. An entry is played whole by ``FLEETS_PER_ENTRY`` fleets, which differ
in the luck of their launches and boots, with the default candidates, physics and objective. The menu and the minutes
between decisions are the policy's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from agents.evaluation.bound import bound_usd
from agents.policies import Policy
from agents.rollout import Windows, play, whole_windows
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.suite import Suite, TraceAbsent, build
from simulators.worlds import WorldPlan, build_bank

FLEETS_PER_ENTRY: Final = 5
_FIXED: Final = ("region", "candidates", "types", "world")
_DECIMALS: Final = 6


class EntryScore(BaseModel):
    """One policy on one entry: means over its fleets.

    Attributes:
        total_usd: Bill before refunds, and penalty.
        infra_usd: Bill before refunds.
        slo_penalty_usd: Penalty of bad minutes.
        refunds_usd: First-hour spot refunds, apart.
        bad_minutes_fraction: Share of minutes that are bad.
        reference_usd: What on-demand m6i.large at 60 % utilisation costs for the mean demand.
        bound_usd: The clairvoyant bound.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    total_usd: float = Field(ge=0)
    infra_usd: float = Field(ge=0)
    slo_penalty_usd: float = Field(ge=0)
    refunds_usd: float = Field(ge=0)
    bad_minutes_fraction: float = Field(ge=0, le=1)
    reference_usd: float = Field(gt=0)
    bound_usd: float = Field(ge=0)


@dataclass(frozen=True)
class SuiteWorlds:
    """The worlds of a suite, ready to play.

    Attributes:
        entries: Names of the entries that could be built.
        absent: Names of those whose trace file is not there.
        bank: One world per entry built.
        windows: ``FLEETS_PER_ENTRY`` per entry, entry by entry.
        bound_usd: [entries] clairvoyant bound.
    """

    entries: tuple[str, ...]
    absent: tuple[str, ...]
    bank: Bank
    windows: Windows
    bound_usd: NDArray[np.float64]


def suite_worlds(suite: Suite, *, traces: Path | None = None, only: Sequence[str] | None = None) -> SuiteWorlds:
    """Build the entries of a suite, checked against their frozen hashes, and their bound.

    Args:
        suite: The suite.
        traces: Folder of the trace files; without them the replayed entries are absent.
        only: Names of the entries to build; all of them if None.

    Raises:
        KeyError: The suite has no entry of such a name.
        SuiteError: An entry is no longer what it was frozen as, or a trace file is another one.
    """
    worlds, absent = {}, []
    for entry in suite.entries if only is None else [suite[name] for name in only]:
        try:
            worlds[entry.id] = build(suite, entry, traces=traces)
        except TraceAbsent:
            absent.append(entry.id)
    task = TaskSettings()
    bank = build_bank(
        [world.scenario for world in worlds.values()],
        [world.market for world in worlds.values()],
        [WorldPlan(position, position) for position in range(len(worlds))],
        catalogue=task.catalogue(),
        settings=[task.world],
    )
    whole = whole_windows(bank)
    fleets = np.tile(np.arange(FLEETS_PER_ENTRY, dtype=np.uint64), len(worlds))
    indices, starts, ends = (np.repeat(part, FLEETS_PER_ENTRY) for part in (whole.worlds, whole.starts, whole.ends))
    return SuiteWorlds(
        tuple(worlds), tuple(absent), bank, Windows(indices, starts, ends, fleets), bound_usd(bank, whole)
    )


def check_suite_task(task: TaskSettings) -> None:
    """Refuse a task that would play the suite's worlds under other rules.

    Raises:
        ValueError: Region, candidates, types or world differ from the defaults.
    """
    for name in _FIXED:
        if getattr(task, name) != getattr(TaskSettings(), name):
            raise ValueError(f"task: key {name!r} differs from the default, which the suite is played with")


def score_on_suite(policy: Policy, task: TaskSettings, worlds: SuiteWorlds) -> dict[str, EntryScore]:
    """Play a policy on every entry built; USD are rounded to a millionth."""
    check_suite_task(task)
    totals = play(policy, worlds.bank, task, worlds.windows).totals
    scores = {}
    for position, name in enumerate(worlds.entries):
        part = totals[position * FLEETS_PER_ENTRY : (position + 1) * FLEETS_PER_ENTRY]
        infra, penalty = float(infra_usd(part).mean()), float(part["slo_penalty_usd"].mean())
        figures = {
            "total_usd": infra + penalty,
            "infra_usd": infra,
            "slo_penalty_usd": penalty,
            "refunds_usd": float(part["refund_usd"].mean()),
            "bad_minutes_fraction": float(part["bad_minutes"].sum() / part["ticks"].sum()),
            "reference_usd": float(part["reference_usd"].mean()),
            "bound_usd": float(worlds.bound_usd[position]),
        }
        scores[name] = EntryScore(**{key: round(value, _DECIMALS) for key, value in figures.items()})
    return scores
