"""Policies that play windows of hard worlds, for tests of the bounds."""

import numpy as np
from reference.small_worlds import start_run

from agents.policies import Policy
from agents.rollout import Windows, play
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd
from simulators.menu import ScalingPolicy

HOURS = 6


def windows_of(bank: Bank, count: int, seed: int, *, minutes: int = 60 * HOURS) -> Windows:
    """Random stretches; worlds in turn, so that every physics, market and demand takes part."""
    rng = np.random.default_rng(seed)
    worlds = np.resize(rng.permutation(len(bank.worlds)), count)
    starts = rng.integers(1440, 4320 - minutes, count)
    return Windows(worlds, starts, starts + minutes, rng.integers(0, 2**62, count).astype(np.uint64))


def costs(policy: Policy, bank: Bank, task: TaskSettings, windows: Windows) -> np.ndarray:
    """[B, decisions] bill before refunds, and penalty."""
    seen: list[np.ndarray] = []

    def watch(fleets: FleetBatch) -> None:
        outcome = fleets.outcomes
        seen.append(infra_usd(outcome) + outcome["slo_penalty_usd"])

    play(policy, bank, task, windows, watch=watch)
    return np.stack(seen, axis=1)


class Restless:
    """Any action at any time; some fleets change often, some hardly ever."""

    def __init__(self, task: TaskSettings, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._sizes = (39, len(task.candidates) + 1, task.num_spot_levels, len(task.menu))
        self._kept: np.ndarray | None = None

    def act(self, readings: np.ndarray) -> np.ndarray:
        count = len(readings)
        fresh = np.column_stack([self._rng.integers(0, size, count) for size in self._sizes])
        if self._kept is None:
            self._kept = fresh
        change = self._rng.random(count) < np.linspace(0.02, 0.6, count)
        self._kept = np.where(change[:, None], fresh, self._kept)
        actions = self._kept.copy()
        actions[~change, 0] = 19
        return actions


def random_menu(count: int, seed: int) -> tuple[ScalingPolicy, ...]:
    rng = np.random.default_rng(seed)
    kinds = ("static", "target_tracking_cpu", "target_tracking_requests", "forecast", "forecast")
    return tuple(
        ScalingPolicy.model_validate(
            {
                "name": str(number),
                "kind": kinds[number % len(kinds)],
                "target_utilization": rng.uniform(0.4, 0.97),
                "out_points": int(rng.integers(1, 5)),
                "in_points": int(rng.integers(1, 16)),
                "low_ratio": rng.uniform(0.5, 0.95),
                "quantile": rng.uniform(0, 3),
                "lead": int(rng.integers(0, 7)),
                "hold_minutes": int(rng.integers(0, 40)),
                "spot_margin": rng.uniform(0, 0.3),
                "mean_demand_ratio": rng.uniform(0.3, 3.0),
            }
        )
        for number in range(count)
    )


def wander_usd(bank: Bank, windows: Windows, seed: int) -> np.ndarray:
    """[B, ticks] cost of fleets that wander between scaling policies of every kind, candidates and spot shares."""
    run = start_run(bank, len(windows), seed, first_tick=windows.starts, worlds=windows.worlds)
    seen: list[np.ndarray] = []
    for _ in range(int((windows.ends - windows.starts)[0])):
        run.decide(0.03)
        outcomes = run.step()
        seen.append(infra_usd(outcomes) + outcomes["slo_penalty_usd"])
    return np.stack(seen, axis=1)
