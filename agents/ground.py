"""What rules are calibrated on: training worlds for all traces together, or the history of one trace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from agents.evaluation.worlds import cut
from agents.rollout import Windows, random_windows
from envs.settings import TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.market import draw_market
from simulators.physics import reference_rps_per_instance
from simulators.scenario import replay
from simulators.worlds import build_bank, cross
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

POOLED: Final = "pooled"
_DAY: Final = 1440


@dataclass(frozen=True)
class Ground:
    """What rules are calibrated on.

    Attributes:
        bank: Worlds.
        task: Settings of the action; the menu is the rule's own.
        search: Windows that every trial plays.
        final: Twice as many further windows, which the finalists play.
        scope: ``pooled``, or the name of the trace whose history this is.
        origin: Split, source, seeds and windows, for the record; JSON.
    """

    bank: Bank
    task: TaskSettings
    search: Windows
    final: Windows
    scope: str
    origin: dict[str, Any]


class GroundSettings(BaseModel):
    """What rules are calibrated on, as settings.

    Attributes:
        task: Task of the rules; its menu is replaced by theirs.
        source: Training worlds of the pooled calibration.
        windows: Fleets played per trial.
        window_days: Length of each window.
        trace_windows: Fleets played per trial on the history of one trace.
        trace_markets: Market tapes it is crossed with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSettings = TaskSettings()
    source: WorldSource = WorldSource()
    windows: int = Field(96, ge=1)
    window_days: int = Field(2, ge=1)
    trace_windows: int = Field(12, ge=1)
    trace_markets: int = Field(6, ge=1)


def pooled_ground(settings: GroundSettings, *, seed: int = 0) -> Ground:
    """Return the training worlds of a source, with random windows in them.

    Raises:
        ValueError: The source is not of the training split.
    """
    if settings.source.split != "train":
        raise ValueError(f"rules are calibrated on the train split, not on {settings.source.split!r}")
    bank = make_bank(settings.source, settings.task)
    search, final = _windows(bank, settings.windows, settings.window_days, seed)
    origin = {
        "split": "train",
        "source": settings.source.model_dump(mode="json"),
        "windows": settings.windows,
        "window_days": settings.window_days,
        "seed": seed,
    }
    return Ground(bank, settings.task, search, final, POOLED, origin)


def history_ground(path: Path, settings: GroundSettings, *, seed: int = 0) -> Ground:
    """Return the history of a trace, the part before what is scored, in training markets.

    The first day only warms the forecaster up. Windows last two days, or one where the history is short.

    Raises:
        TraceError: The trace cannot be read.
        ValueError: Its history is shorter than two days.
    """
    trace, task, splits = load_trace(path), settings.task, load_splits()
    history, _ = cut(trace.name, len(to_ticks(trace).values), splits)
    window = slice(history.start + _DAY, history.stop)
    scenario = replay(
        trace,
        history=history,
        window=window,
        rps_per_reference_instance=reference_rps_per_instance(task.catalogue(), task.world.workload),
        mean_instances=settings.source.mean_instances,
        forecasts=settings.source.forecasts,
        metric_delay_ticks=task.world.physics.metric_delay_ticks,
    )
    catalogue = task.catalogue()
    seeds = [int(number) for number in splits.seed_range("train")[: settings.trace_markets]]
    days = min(14, (window.stop - window.start) // _DAY + 2)
    markets = [draw_market(catalogue, days=days, seed=number) for number in seeds]
    bank = build_bank([scenario], markets, cross(1, len(markets)), catalogue=catalogue, settings=(task.world,))
    window_days = 2 if window.stop - window.start >= 4 * _DAY else 1
    search, final = _windows(bank, settings.trace_windows, window_days, seed)
    origin = {
        "split": "history",
        "trace": trace.name,
        "ticks": [window.start, window.stop],
        "market_seeds": seeds,
        "windows": settings.trace_windows,
        "window_days": window_days,
        "seed": seed,
    }
    return Ground(bank, task, search, final, trace.name, origin)


def _windows(bank: Bank, count: int, days: int, seed: int) -> tuple[Windows, Windows]:
    return random_windows(bank, count, days, 2 * seed), random_windows(bank, 2 * count, days, 2 * seed + 1)
