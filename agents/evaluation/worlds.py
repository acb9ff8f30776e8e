"""Which worlds a comparison is played on: traces of a folder or of the committed split, and generated ones.

The markets and the fleets' luck of a scenario are drawn from its name, so no two scenarios share them, and a scenario
played alone meets the same ones as among others.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.rollout import Windows
from envs.settings import TaskSettings, WorldSource
from envs.worlds import draw_scenarios, load_named_workload, shipped_workloads
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, draw_market
from simulators.physics import reference_rps_per_instance
from simulators.scenario import Forecasts, Scenario, generate, minute_of_week, replay
from simulators.workload import fit_workload, save_workload
from simulators.worlds import WorldPlan, build_bank
from telemetry.resample import to_ticks
from telemetry.scale import COUNTING_NOISE_EVENTS, events_per_step
from telemetry.splits import SPLITS, Splits, load_splits
from telemetry.trace import Trace, TraceError, load_trace

TRACE_SUFFIXES: Final = (".parquet", ".csv")
DEFAULT_MARKET_SEEDS: Final = 5
MARKET_DAYS: Final = 28
_HISTORY_OF_WHOLE_TRACES: Final = 0.3


@dataclass(frozen=True)
class Worlds:
    """Scenarios, each played in as many markets of its own.

    Attributes:
        scenarios: Demand tapes with their playable windows.
        seeds: One for each market of a scenario; with the scenario's name they give the seed the market is drawn with.
        bank: The worlds, scenario by scenario, ``len(seeds)`` each.
        setting: Catalogue, physics and market settings in words; with a scenario they say what its worlds are.
        apart: Traces whose steps hold too few requests to be compared with others, and how many they hold.
        market_days: Length of the markets.
    """

    scenarios: list[Scenario]
    seeds: list[int]
    bank: Bank
    setting: str = ""
    apart: dict[str, float] = field(default_factory=dict)
    market_days: int = MARKET_DAYS

    @property
    def windows(self) -> Windows:
        """Every world, whole; ``len(seeds)`` per scenario, scenario by scenario."""
        parts = [self.windows_of(index) for index in range(len(self.scenarios))]
        return Windows(
            *(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Windows)),
        )

    def windows_of(self, scenario: int) -> Windows:
        """Return the worlds of one scenario, whole."""
        item, count = self.scenarios[scenario], len(self.seeds)
        return Windows(
            np.arange(scenario * count, (scenario + 1) * count),
            np.full(count, item.first_tick, np.int64),
            np.full(count, item.last_tick, np.int64),
            np.array([_hash(f"{item.name}/{seed}/fleet") for seed in self.seeds], np.uint64),
        )

    def of(self, values: NDArray[Any], scenario: int) -> NDArray[Any]:
        """Return the part of per-fleet values that belongs to a scenario, [seeds, ...]."""
        return values[scenario * len(self.seeds) : (scenario + 1) * len(self.seeds)]

    @property
    def counted(self) -> list[int]:
        """Scenarios that are not to be reported apart, or all if there is no other."""
        found = [index for index, scenario in enumerate(self.scenarios) if scenario.name not in self.apart]
        return found or list(range(len(self.scenarios)))

    def days_of(self, scenario: int) -> int:
        """Return how many days a scenario's window has, a begun one included."""
        item = self.scenarios[scenario]
        return -(-(item.last_tick - item.first_tick) // 1440)

    def rows_of(self, scenarios: Sequence[int], seeds: int) -> NDArray[np.int64]:
        """Return which fleets play the first ``seeds`` markets of some scenarios."""
        starts = len(self.seeds) * np.asarray(scenarios, np.int64)
        return np.asarray((starts[:, None] + np.arange(seeds)).ravel())

    def fewer(self, seeds: int) -> "Worlds":
        """Return the same scenarios in the first ``seeds`` of their markets."""
        rows = self.rows_of(range(len(self.scenarios)), seeds)
        return replace(self, seeds=self.seeds[:seeds], bank=self.bank._replace(worlds=self.bank.worlds[rows]))

    @property
    def market_seeds(self) -> dict[str, list[int]]:
        """Seeds that the markets of each scenario were drawn with."""
        return {item.name: [market_seed(item.name, seed) for seed in self.seeds] for item in self.scenarios}

    @cached_property
    def identities(self) -> list[str]:
        """SHA-256 over everything that the worlds of each scenario depend on."""
        return [_digest(item, self.seeds, self.setting) for item in self.scenarios]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def market_seed(scenario: str, seed: int) -> int:
    """Return the seed of a scenario's own market for a seed of a split's range: another one of the same range.

    Raises:
        ValueError: The seed belongs to no split.
    """
    for split in SPLITS:
        own = load_splits().seed_range(split)
        if seed in own:
            return own[_hash(f"{scenario}/{seed}/market") % len(own)]
    raise ValueError(f"market seed {seed} belongs to no split")


def _digest(scenario: Scenario, seeds: Sequence[int], setting: str) -> str:
    digest = hashlib.sha256(f"{setting}\n{list(seeds)}".encode())
    for part in (scenario, scenario.annotation):
        for item in fields(part):
            value = getattr(part, item.name)
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def make_worlds(
    scenarios: list[Scenario],
    task: TaskSettings,
    *,
    seeds: list[int],
    days: int = MARKET_DAYS,
    catalogue: Catalogue | None = None,
    market: MarketSettings | None = None,
    apart: dict[str, float] | None = None,
) -> Worlds:
    """Give each scenario one market of its own per seed; a scenario longer than ``days`` plays its market again.

    Args:
        scenarios: Demand tapes.
        task: Its physics, and its catalogue where no other is given.
        seeds: Of one split's range.
        days: Length of the markets.
        catalogue: Types and launch specifications.
        market: Settings of the markets; the defaults if absent.
        apart: As in ``Worlds``.
    """
    catalogue, market = catalogue or task.catalogue(), market or MarketSettings()
    markets = [
        draw_market(catalogue, days=days, seed=market_seed(item.name, seed), settings=market)
        for item in scenarios
        for seed in seeds
    ]
    plans = [WorldPlan(number // len(seeds), number) for number in range(len(markets))]
    bank = build_bank(scenarios, markets, plans, catalogue=catalogue, settings=(task.world,))
    setting = f"{days} {catalogue.types} {catalogue.candidates} {task.world!r} {market!r}"
    return Worlds(scenarios, seeds, bank, setting, apart or {}, days)


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
    forecasts: Forecasts = "quantiles",
    on_broken: Callable[[str], None],
    say: Callable[[str], None] = lambda _: None,
    apart: dict[str, float] | None = None,
) -> list[Scenario]:
    """Load the scored part of each file; a broken one is told to ``on_broken`` and left out.

    ``say`` is told what was repaired in a file. A trace whose steps hold so few requests that their counting noise
    looks like demand is written to ``apart``, with their mean number.

    Raises:
        ValueError: No file could be used.
    """
    scenarios: list[Scenario] = []
    for path in files:
        try:
            trace = load_trace(path)
            if trace.name in [scenario.name for scenario in scenarios]:
                raise TraceError(f"{path}: a trace named {trace.name!r} was already given; rename one of them")
            scenarios.append(scored_scenario(trace, task, mean_instances=mean_instances, forecasts=forecasts))
        except (TraceError, ValueError) as error:
            on_broken(str(error))
            continue
        for repair in trace.repairs:
            say(f"{path}: {repair}")
        events = events_per_step(trace)
        if events is not None and events < COUNTING_NOISE_EVENTS:
            say(f"{path}: {events:.1f} requests a step, below {COUNTING_NOISE_EVENTS:.0f}: reported apart")
            if apart is not None:
                apart[trace.name] = events
    if not scenarios:
        raise ValueError("no trace could be used")
    return scenarios


def split_files(data: Path) -> list[Path]:
    """Return the trace files of the committed test split in a folder, whether they are there or not."""
    return [data / f"{name}.parquet" for name in load_splits().traces("test")]


def held_out_patterns(task: TaskSettings, *, forecasts: Forecasts = "quantiles") -> list[Scenario]:
    """Return a week of each pattern of the test split."""
    splits = load_splits()
    seeds = splits.seed_range("test")
    return [
        generate(
            pattern,
            days=7,
            seed=seeds[position],
            rps_per_reference_instance=reference_rps_per_instance(task.catalogue(), task.world.workload),
            forecasts=forecasts,
            metric_delay_ticks=task.world.physics.metric_delay_ticks,
        )
        for position, pattern in enumerate(splits.patterns.of("test"))
    ]


@dataclass(frozen=True)
class TestDemand:
    """Where test scenarios come from.

    Attributes:
        files: Trace files.
        patterns: Whether the held-out patterns belong to them.
        mean_instances: Reference instances that mean demand needs.
    """

    __test__ = False

    files: list[Path]
    patterns: bool
    mean_instances: float = 20.0

    def scenarios(
        self,
        task: TaskSettings,
        *,
        forecasts: Forecasts = "quantiles",
        on_broken: Callable[[str], None],
        say: Callable[[str], None] = lambda _: None,
        apart: dict[str, float] | None = None,
    ) -> list[Scenario]:
        """Return every scenario that can be made, as ``load_scenarios`` does."""
        found = load_scenarios(
            self.files,
            task,
            mean_instances=self.mean_instances,
            forecasts=forecasts,
            on_broken=on_broken,
            say=say,
            apart=apart,
        )
        return found + (held_out_patterns(task, forecasts=forecasts) if self.patterns else [])


def worlds_for_test(
    scenarios: list[Scenario],
    task: TaskSettings,
    *,
    markets: int = DEFAULT_MARKET_SEEDS,
    apart: dict[str, float] | None = None,
) -> Worlds:
    """Give each test scenario markets with seeds of the test range."""
    return make_worlds(scenarios, task, seeds=list(load_splits().seed_range("test")[:markets]), apart=apart)


def validation_source(files: Sequence[Path] = ()) -> WorldSource:
    """Return what names the best rule: training patterns, shipped workload models and divided traces.

    Of ``files`` those are taken that exist and that the committed split divides; they play their validation part.
    """
    divided = load_splits().divided.traces
    traces = tuple(str(path) for path in files if path.stem in divided and path.is_file())
    return WorldSource(models=tuple(shipped_workloads()), traces=traces)


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
