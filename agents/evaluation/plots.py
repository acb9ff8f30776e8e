"""Plots of a comparison: cost against bad minutes with its front, and a day of the fleet under each policy."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from agents.evaluation.contest import BOUND, Contest
from agents.policies import Policy
from agents.rollout import Windows, bad_fraction, play
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch, infra_usd

_MARKERS = {"rl": "*", "rule": "o", "aws": "s", "constant": "."}
_DEAREST_SHOWN = 1.5
_COLOURS = {"rl": "tab:red", "rule": "tab:blue", "aws": "tab:orange", "constant": "0.75"}


def _bill(contest: Contest, name: str) -> float:
    totals = contest.played[name].totals
    return float(infra_usd(totals).sum() / totals["reference_usd"].sum())


def plot_front(contest: Contest, path: Path) -> None:
    """Draw the bill over reference against the share of bad minutes for every policy, with the Pareto front.

    Policies dearer than 1.5 times the reference are not shown.
    """
    figure, axes = plt.subplots(figsize=(8, 5.5))
    points = {name: (100 * bad_fraction(contest.played[name]), _bill(contest, name)) for name in contest.played}
    for kind in ("constant", "aws", "rule", "rl"):
        names = contest.names(kind)
        if names:
            xs, ys = zip(*(points[name] for name in names), strict=True)
            axes.scatter(
                xs, ys, s=160 if kind == "rl" else 45, marker=_MARKERS[kind], color=_COLOURS[kind], label=kind, zorder=3
            )
    front = sorted(points.values())
    best: list[tuple[float, float]] = []
    for point in front:
        if not best or point[1] < best[-1][1]:
            best.append(point)
    axes.step(*zip(*best, strict=True), where="post", color="0.4", linewidth=1, label="Pareto front")
    bound = contest.bound_daily.sum() / contest.played[contest.best_rule].totals["reference_usd"].sum()
    axes.axhline(float(bound), color="tab:green", linestyle="--", linewidth=1, label=BOUND)
    named = sorted(contest.names("rl", "rule", "aws"), key=lambda name: points[name])
    for position, name in enumerate(named):
        offset = (0, 14 + 12 * (position % 4))
        arrow = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6}
        axes.annotate(
            name, points[name], xytext=offset, textcoords="offset points", fontsize=8, ha="center", arrowprops=arrow
        )
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=-0.01)
    axes.set_ylim(0, _DEAREST_SHOWN)
    axes.set_xlabel("bad minutes, %")
    axes.set_ylabel("bill over reference cost")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def record_day(
    policy: Policy, bank: Bank, task: TaskSettings, world: int, start: int
) -> dict[str, NDArray[np.float64]]:
    """Play one world for a day and return what its telemetry showed after every decision."""
    windows = Windows(np.array([world]), np.array([start]), np.array([start + 1440]), np.array([0], np.uint64))
    seen: dict[str, list[float]] = {name: [] for name in ("demand_rps", "in_service", "spot_in_use", "late_fraction")}

    def watch(fleets: FleetBatch) -> None:
        for name, values in seen.items():
            values.append(float(fleets.readings[name][0]))

    play(policy, bank, task, windows, watch=watch)
    return {name: np.array(values) for name, values in seen.items()}


def plot_day(days: dict[str, dict[str, NDArray[np.float64]]], title: str, minutes: int, path: Path) -> None:
    """Draw instances in service, spot among them, and late requests of a day under each policy."""
    figure, axes = plt.subplots(len(days), 1, figsize=(10, 2.1 * len(days)), sharex=True, squeeze=False)
    for axis, (name, day) in zip(axes[:, 0], days.items(), strict=True):
        hours = np.arange(1, len(day["demand_rps"]) + 1) * minutes / 60.0
        axis.fill_between(hours, day["in_service"], step="post", color="tab:blue", alpha=0.35, label="in service")
        axis.fill_between(hours, day["spot_in_use"], step="post", color="tab:orange", alpha=0.5, label="of these spot")
        bad = day["late_fraction"] > 0.05
        axis.plot(hours[bad], np.zeros(int(bad.sum())), "x", color="tab:red", label="late minute")
        axis.set_ylabel("instances")
        axis.set_title(name, fontsize=9, loc="left")
        demand = axis.twinx()
        demand.plot(hours, day["demand_rps"], color="0.3", linewidth=0.9)
        demand.set_ylabel("requests/s")
        demand.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=7, loc="upper right")
    axes[-1, 0].set_xlabel("hour")
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
