"""From settings to a world bank, built once and shared by every environment that asks for the same."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from envs.settings import TaskSettings, WorldSource
from simulators.anomalies import draw_anomalies, market_effects
from simulators.bank import Bank
from simulators.catalogue import Catalogue
from simulators.futures import DEMAND_KINDS, generate_future
from simulators.market import MarketTape, draw_market
from simulators.physics import WorldSettings, reference_rps_per_instance
from simulators.scenario import WARMUP_DAYS, Scenario, generate, replay, with_anomaly_scores
from simulators.workload import WorkloadModel, load_workload
from simulators.worlds import build_bank, cross
from telemetry.resample import to_ticks
from telemetry.splits import load_splits
from telemetry.trace import load_trace

_OPERATOR_TRAINING_SHARE = 0.8
_MARKET_KINDS = ("zone_outage", "reclaim_wave", "cost_spike")
WORKLOADS = Path(__file__).resolve().parent.parent / "configs" / "workloads"


def shipped_workloads() -> list[str]:
    """Return the names of the shipped workload models."""
    return sorted(path.stem for path in WORKLOADS.glob("*.json"))


def _patterns(source: WorldSource) -> tuple[str, ...]:
    """Return the named patterns of a source; ValueError for one of another split."""
    allowed = load_splits().patterns.of("train" if source.split == "validate" else source.split)
    patterns = allowed if source.patterns is None else source.patterns
    for name in patterns:
        if name not in allowed:
            known = ", ".join(allowed)
            raise ValueError(f"pattern {name!r} does not belong to the {source.split} split; those that do: {known}")
    return patterns


def draw_scenarios(source: WorldSource, task: TaskSettings) -> list[Scenario]:
    """Draw or replay the demand tapes of a source.

    Raises:
        ValueError: A pattern of another split, an unknown model, a seed outside the split's range.
        TraceError: A trace file that cannot be read.
    """
    seeds = load_splits().seed_range(source.split)
    patterns = _patterns(source)
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)
    scenarios = []
    sources: list[str | WorkloadModel] = [*patterns, *(load_named_workload(name) for name in source.models)]
    for position, item in enumerate(sources):
        for draw in range(source.scenarios_per_source):
            seed = seeds[source.first_seed + position * source.scenarios_per_source + draw]
            scenarios.append(
                generate(
                    item if isinstance(item, str) else source.randomization.workload(item, seed),
                    days=source.days,
                    seed=seed,
                    rps_per_reference_instance=rps,
                    mean_instances=source.mean_instances,
                    forecasts=source.forecasts,
                    metric_delay_ticks=task.world.physics.metric_delay_ticks,
                    anomalies=draw_anomalies(
                        DEMAND_KINDS,
                        ticks=(source.days + WARMUP_DAYS) * 1440,
                        rate_per_week=source.anomalies_per_week,
                        seed=seed,
                        difficulty=source.anomaly_difficulty,
                    ),
                )
            )
    for position, name in enumerate(source.futures, start=len(sources)):
        for draw in range(source.scenarios_per_source):
            scenarios.append(
                generate_future(
                    load_named_workload(name),
                    days=source.days,
                    seed=seeds[source.first_seed + position * source.scenarios_per_source + draw],
                    rps_per_reference_instance=rps,
                    mean_instances=source.mean_instances,
                    forecasts=source.forecasts,
                    metric_delay_ticks=task.world.physics.metric_delay_ticks,
                    anomalies_per_week=source.anomalies_per_week,
                    difficulty=source.anomaly_difficulty,
                )
            )
    scenarios += [_replay_split(Path(path), source, task) for path in source.traces]
    if not scenarios:
        raise ValueError("the world source names no pattern, no model, no future and no trace")
    delay = task.world.physics.metric_delay_ticks
    return [with_anomaly_scores(item, source.anomaly_scores, delay) for item in scenarios]


def tape_sources(source: WorldSource) -> list[str]:
    """Return what each demand tape of a source's bank comes from, in the order of the bank's tapes.

    A pattern's or a trace's name; ``model_<name>`` and ``future_<name>`` for a workload model.
    """
    patterns = _patterns(source)
    drawn = [*patterns, *(f"model_{Path(name).stem}" for name in source.models)]
    drawn += [f"future_{Path(name).stem}" for name in source.futures]
    repeated = [name for name in drawn for _ in range(source.scenarios_per_source)]
    return [*repeated, *(Path(path).stem for path in source.traces)]


def load_named_workload(name: str) -> WorkloadModel:
    """Return a shipped workload model by name, or a fitted one by its path (.json); ValueError if there is none."""
    path = Path(name) if name.endswith(".json") else WORKLOADS / f"{name}.json"
    if not path.exists():
        raise ValueError(f"unknown workload model {name!r}; shipped: {', '.join(shipped_workloads())}")
    return load_workload(path)


def _replay_split(path: Path, source: WorldSource, task: TaskSettings) -> Scenario:
    """Replay the part of a trace that a split may see; the training part is the history that scales it.

    The history of an operator's trace is divided: its first four fifths train, the rest validates. The first day of a
    trace only warms the forecaster up.
    """
    trace = load_trace(path)
    ticks = len(to_ticks(trace).values)
    splits = load_splits()
    history = splits.window(trace.name, "train", ticks)
    window = history
    listed = trace.name in splits.divided.traces
    if source.split == "test" or (source.split == "validate" and listed):
        window = splits.window(trace.name, source.split, ticks)
    elif not listed:
        cut = int(_OPERATOR_TRAINING_SHARE * history.stop)
        window = slice(0, cut) if source.split == "train" else slice(cut, history.stop)
    first = min(window.start + 1440, window.stop - 1440) if window.start == 0 else window.start
    return replay(
        trace,
        history=history,
        window=slice(max(first, 0), window.stop),
        rps_per_reference_instance=reference_rps_per_instance(task.catalogue(), task.world.workload),
        mean_instances=source.mean_instances,
        forecasts=source.forecasts,
        metric_delay_ticks=task.world.physics.metric_delay_ticks,
    )


def _draw_market(catalogue: Catalogue, source: WorldSource, seed: int) -> MarketTape:
    days = source.days + WARMUP_DAYS
    anomalies = draw_anomalies(
        _MARKET_KINDS,
        ticks=days * 1440,
        rate_per_week=source.anomalies_per_week,
        seed=seed,
        difficulty=source.anomaly_difficulty,
    )
    market = draw_market(catalogue, days=days, seed=seed, settings=source.randomization.market(seed))
    return market_effects(anomalies, market, catalogue)


@lru_cache(maxsize=4)
def make_bank(source: WorldSource, task: TaskSettings) -> Bank:
    """Return the world bank of a source: every scenario in every market, replayed traces more often."""
    seeds = load_splits().seed_range(source.split)
    catalogue = task.catalogue()
    scenarios = draw_scenarios(source, task)
    markets = [_draw_market(catalogue, source, seeds[source.first_seed + index]) for index in range(source.markets)]
    services = source.randomization.worlds(task.world, seeds[source.first_seed])
    plans = [replace(plan, settings=plan.scenario % len(services)) for plan in cross(len(scenarios), len(markets))]
    replayed = [plan for plan in plans if plan.scenario >= len(scenarios) - len(source.traces)]
    plans += replayed * (source.trace_repeats - 1)
    level, seed = source.randomization.level, seeds[source.first_seed]
    scenarios = [
        _for_service(level(item, n, seed), task, services[n % len(services)]) for n, item in enumerate(scenarios)
    ]
    return build_bank(scenarios, markets, plans, catalogue=catalogue, settings=services)


def _for_service(scenario: Scenario, task: TaskSettings, service: WorldSettings) -> Scenario:
    """Return a demand tape, made for the task's own service, that asks as many instances of another service."""
    catalogue = task.catalogue()
    own, other = (reference_rps_per_instance(catalogue, item.workload) for item in (task.world, service))
    return scenario.scaled(other / own)
