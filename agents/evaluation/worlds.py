"""Which worlds a comparison is played on: traces of a folder or of the committed split, and generated ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from agents.rollout import Windows, whole_windows
from envs.settings import TaskSettings, WorldSource
from envs.worlds import draw_scenarios, load_named_workload
from simulators.bank import Bank
from simulators.market import draw_market
from simulators.physics import reference_rps_per_instance
from simulators.scenario import Forecasts, Scenario, generate, minute_of_week, replay
from simulators.workload import fit_workload, save_workload
from simulators.worlds import build_bank, cross
from telemetry.resample import to_ticks
from telemetry.splits import Splits, load_splits
from telemetry.trace import Trace, TraceError, load_trace

TRACE_SUFFIXES: Final = (".parquet", ".csv")
DEFAULT_MARKET_SEEDS: Final = 5
_HISTORY_OF_WHOLE_TRACES: Final = 0.3


@dataclass(frozen=True)
class Worlds:
    """Scenarios, each played in the same markets.

    Attributes:
        scenarios: Demand tapes with their playable windows.
        seeds: Market seeds; a scenario's fleets differ by them.
        bank: Scenario-major crossing of both.
    """

    scenarios: list[Scenario]
    seeds: list[int]
    bank: Bank

    @property
    def windows(self) -> Windows:
        """Every world, whole; ``len(seeds)`` per scenario, scenario by scenario."""
        return whole_windows(self.bank)

    def of(self, values: NDArray[Any], scenario: int) -> NDArray[Any]:
        """Return the part of per-fleet values that belongs to a scenario, [seeds, ...]."""
        return values[scenario * len(self.seeds) : (scenario + 1) * len(self.seeds)]


def make_worlds(scenarios: list[Scenario], task: TaskSettings, *, seeds: list[int], days: int = 14) -> Worlds:
    """Cross scenarios with one market per seed; a scenario longer than ``days`` plays the market again."""
    catalogue = task.catalogue()
    markets = [draw_market(catalogue, days=days, seed=seed) for seed in seeds]
    bank = build_bank(
        scenarios, markets, cross(len(scenarios), len(markets)), catalogue=catalogue, settings=(task.world,)
    )
    return Worlds(scenarios, seeds, bank)


def trace_files(folder: Path) -> list[Path]:
    """Return the trace files of a folder, or the one file it is; ValueError if there is none."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such file or folder")
    files = sorted(path for path in folder.iterdir() if path.suffix in TRACE_SUFFIXES)
    if not files:
        raise ValueError(f"{folder}: holds no trace file ({', '.join(TRACE_SUFFIXES)})")
    return files


def scored_scenario(
    trace: Trace, task: TaskSettings, *, mean_instances: float = 20.0, forecasts: Forecasts = "quantiles"
) -> Scenario:
    """Return the part of a trace that may be scored.

    Listed traces follow the committed split: the last 15 % of divided ones, and of whole test traces everything after
    the first 30 %, which is the history that scales them. Any other trace is an operator's: its first 70 % is history.
    """
    splits = load_splits()
    ticks = len(to_ticks(trace).values)
    history, window = cut(trace.name, ticks, splits)
    return replay(
        trace,
        history=history,
        window=window,
        rps_per_reference_instance=reference_rps_per_instance(task.catalogue(), task.world.workload),
        mean_instances=mean_instances,
        forecasts=forecasts,
        metric_delay_ticks=task.world.physics.metric_delay_ticks,
    )


def cut(name: str, ticks: int, splits: Splits) -> tuple[slice, slice]:
    """Return the ticks of a trace that are its history, and those that are scored."""
    if name in splits.whole_test_traces:
        cut = int(_HISTORY_OF_WHOLE_TRACES * ticks)
        return slice(0, cut), slice(cut, ticks)
    window = splits.window(name, "test", ticks)
    if name in splits.divided.traces:
        return splits.window(name, "train", ticks), window
    return slice(0, window.start), window


def load_scenarios(
    files: list[Path],
    task: TaskSettings,
    *,
    mean_instances: float = 20.0,
    on_broken: Callable[[str], None],
    say: Callable[[str], None] = lambda _: None,
) -> list[Scenario]:
    """Load the scored part of each file; a broken one is told to ``on_broken`` and left out.

    ``say`` is told what was repaired in a file.

    Raises:
        ValueError: No file could be used.
    """
    scenarios: list[Scenario] = []
    for path in files:
        try:
            trace = load_trace(path)
            if trace.name in [scenario.name for scenario in scenarios]:
                raise TraceError(f"{path}: a trace named {trace.name!r} was already given; rename one of them")
            scenarios.append(scored_scenario(trace, task, mean_instances=mean_instances))
        except (TraceError, ValueError) as error:
            on_broken(str(error))
            continue
        for repair in trace.repairs:
            say(f"{path}: {repair}")
    if not scenarios:
        raise ValueError("no trace could be used")
    return scenarios


def split_scenarios(task: TaskSettings, data: Path, *, on_broken: Callable[[str], None]) -> list[Scenario]:
    """Return the committed test split: the listed traces found in a folder, and the two held-out patterns."""
    files = [data / f"{name}.parquet" for name in load_splits().traces("test")]
    scenarios = load_scenarios(files, task, on_broken=on_broken)
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    splits, delay = load_splits(), task.world.physics.metric_delay_ticks
    for position, pattern in enumerate(splits.patterns.of("test")):
        seed = splits.seed_range("test")[position]
        scenarios.append(generate(pattern, days=7, seed=seed, rps_per_reference_instance=rps, metric_delay_ticks=delay))
    return scenarios


def worlds_for_test(scenarios: list[Scenario], task: TaskSettings, *, markets: int = DEFAULT_MARKET_SEEDS) -> Worlds:
    """Cross test scenarios with market seeds of the test range."""
    return make_worlds(scenarios, task, seeds=list(load_splits().seed_range("test")[:markets]))


def validation_worlds(task: TaskSettings, source: WorldSource, *, markets: int = 2, days: int = 3) -> Worlds:
    """Return worlds of the validation split: the source's patterns and models with validation seeds.

    Traces named in the source take part with their validation windows.
    """
    seeds = list(load_splits().seed_range("validate")[:markets])
    own = source.model_copy(update={"split": "validate", "days": days, "scenarios_per_source": 2})
    return make_worlds(draw_scenarios(own, task), task, seeds=seeds, days=days + 2)


def generated_test_scenarios(task: TaskSettings, models: Sequence[str], *, days: int) -> list[Scenario]:
    """Return one draw of each workload model with a seed of the test range."""
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    seeds = load_splits().seed_range("test")
    return [
        generate(
            load_named_workload(name),
            days=days,
            seed=seeds[100 + position],
            rps_per_reference_instance=rps,
            metric_delay_ticks=task.world.physics.metric_delay_ticks,
        )
        for position, name in enumerate(models)
    ]


def fit_training_part(path: Path, out: Path) -> None:
    """Fit a workload model to the training part of a trace and save it as ``out``.

    Raises:
        TraceError: The trace cannot be read.
        ValueError: Its training part is shorter than two days.
    """
    trace = load_trace(path)
    ticks = to_ticks(trace)
    part = load_splits().window(trace.name, "train", len(ticks.values))
    model = fit_workload(out.stem, ticks.values[part], minute_of_week=minute_of_week(ticks.start))
    save_workload(model, out)
