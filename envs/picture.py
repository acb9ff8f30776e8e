"""Pictures of one fleet: an RGB frame of what it is now and what it has done since its start.

matplotlib is imported when a picture is made, never before: it is part of the ``train`` extra only.
"""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.history import FleetHistory
from envs.rendering import clock
from envs.settings import TaskSettings

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
RED: Final = "#D55E00"
PURPLE: Final = "#AA4499"
GREY: Final = "#9A9A9A"
LIGHT: Final = "#D5D5D5"
DARK: Final = "#333333"
STAGE_COLOURS: Final = {"on_demand": BLUE, "spot": ORANGE, "pending": GREY, "draining": LIGHT}
STAGE_LABELS: Final = {
    "on_demand": "on demand, in service",
    "spot": "spot, in service",
    "pending": "pending",
    "draining": "draining",
}
DRAWN_COLOURS: Final = (BLUE, ORANGE, GREY, LIGHT, GREEN, RED, DARK)
DASHES: Final = (0, (3, 1.5))
_DPI: Final = 100
_FACT_ROWS: Final = 9


def make_figure(width_inches: float, height_inches: float) -> Any:
    """Return an empty matplotlib figure with a raster canvas; DependencyNotInstalled names the extra that has it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise gymnasium.error.DependencyNotInstalled(
            "pictures need matplotlib: pip install --editable '.[train]'"
        ) from error
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI)
    FigureCanvasAgg(figure)
    return figure


def axis_limit(largest: float) -> float:
    """Return a round upper limit that leaves room, so that it changes seldom while values grow."""
    needed = max(1.15 * largest, 1e-6)
    power = 10.0 ** np.floor(np.log10(needed))
    return float(power * next(step for step in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * power >= needed))


class FleetPanels:
    """Three panels over hours, drawn once and then only filled in.

    Instances by stage of their life with the desired number, demand against capacity with bad minutes marked, and USD
    so far against the reference cost.

    Args:
        axes: The three matplotlib axes.
        hours: Length of the time axis.
    """

    def __init__(self, axes: Sequence[Any], hours: float) -> None:
        self.axes = tuple(axes)
        fleet, load, cost = self.axes
        every = 3.0 if hours <= 24 else 24.0
        for panel, label in zip(self.axes, ("instances", "requests/s", "USD so far"), strict=True):
            panel.set_xlim(0, hours)
            panel.set_xticks(np.arange(0, hours + 0.1, every))
            panel.set_ylabel(label, fontsize=9)
            panel.tick_params(labelsize=8, labelbottom=panel is cost)
            panel.grid(color="0.92")
            panel.set_axisbelow(True)
            panel.spines[["top", "right"]].set_visible(False)
        cost.set_xlabel("hours since the start", fontsize=9)
        empty = np.zeros(1)
        self._areas = {
            name: fleet.fill_between(empty, empty, empty, step="pre", color=colour, linewidth=0)
            for name, colour in STAGE_COLOURS.items()
        }
        (self._desired,) = fleet.step([], [], where="pre", color=DARK, linewidth=1.1, linestyle=DASHES)
        (self._capacity,) = load.step([], [], where="pre", color=BLUE, linewidth=1.6)
        (self._demand,) = load.plot([], [], color=DARK, linewidth=1.2)
        (self._bad,) = load.plot([], [], color=RED, marker="|", markersize=9, markeredgewidth=1.8, linestyle="")
        self._bill = cost.fill_between(empty, empty, empty, color=GREEN, alpha=0.75, linewidth=0)
        self._penalty = cost.fill_between(empty, empty, empty, color=RED, alpha=0.8, linewidth=0)
        (self._reference,) = cost.plot([], [], color=DARK, linewidth=1.0, linestyle=":")
        self.artists = [*self._areas.values(), self._desired, self._capacity, self._demand, self._bad]
        self.artists += [self._bill, self._penalty, self._reference]

    def limits(self, history: FleetHistory) -> tuple[float, float, float]:
        """Return round upper limits of the three panels that hold a history."""
        instances = np.sum([history[name] for name in STAGE_COLOURS], axis=0)
        total = float(history["bill_usd"].sum() + history["penalty_usd"].sum())
        return (
            axis_limit(max(float(instances.max()), float(history["desired"].max()))),
            axis_limit(max(float(history["capacity_rps"].max()), float(history["demand_rps"].max()))),
            axis_limit(max(total, float(history["reference_usd"].sum()), 0.01)),
        )

    def fill(self, history: FleetHistory, hours: NDArray[np.float64]) -> None:
        """Show the first ``len(hours)`` entries of a history at these hours."""
        seen = slice(len(hours))
        floor = np.zeros(len(hours))
        for name, area in self._areas.items():
            top = floor + history[name][seen]
            area.set_data(hours, floor, top)
            floor = top
        self._desired.set_data(hours, history["desired"][seen])
        self._capacity.set_data(hours, history["capacity_rps"][seen])
        self._demand.set_data(hours, history["demand_rps"][seen])
        bad = hours[history["bad_minutes"][seen] > 0]
        self._bad.set_data(bad, np.full(len(bad), 0.03 * self.axes[1].get_ylim()[1]))
        bill = np.cumsum(history["bill_usd"][seen])
        self._bill.set_data(hours, np.zeros(len(hours)), bill)
        self._penalty.set_data(hours, bill, bill + np.cumsum(history["penalty_usd"][seen]))
        self._reference.set_data(hours, np.cumsum(history["reference_usd"][seen]))


def legend_handles() -> list[Any]:
    """Return what a legend of FleetPanels lists."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    bad = Line2D([], [], color=RED, marker="|", markersize=9, markeredgewidth=1.8, linestyle="", label="bad minutes")
    handles: list[Any] = [
        *(Patch(color=colour, label=STAGE_LABELS[name]) for name, colour in STAGE_COLOURS.items()),
        Line2D([], [], color=DARK, linestyle=DASHES, linewidth=1.1, label="desired"),
        Line2D([], [], color=BLUE, linewidth=1.6, label="capacity at 100 %"),
        Line2D([], [], color=DARK, linewidth=1.2, label="demand"),
        bad,
        Patch(facecolor=GREEN, alpha=0.75, label="bill"),
        Patch(facecolor=RED, alpha=0.8, label="penalty"),
        Line2D([], [], color=DARK, linewidth=1.0, linestyle=":", label="reference cost"),
    ]
    return handles


class Canvas:
    """A figure whose changing artists are painted over a background that is drawn once per set of axis limits."""

    def __init__(self, figure: Any, artists: Sequence[Any]) -> None:
        self._figure = figure
        self._artists = artists
        self._background: Any = None
        for artist in artists:
            artist.set_animated(True)

    def redraw(self) -> None:
        """Draw the background, after a change of limits."""
        self._figure.canvas.draw()
        self._background = self._figure.canvas.copy_from_bbox(self._figure.bbox)

    def paint(self) -> NDArray[np.uint8]:
        """Return the picture, [H, W, 3] RGB."""
        canvas = self._figure.canvas
        canvas.restore_region(self._background)
        for artist in self._artists:
            self._figure.draw_artist(artist)
        return np.array(canvas.buffer_rgba())[:, :, :3].copy()


class FleetPicture:
    """One fleet's panels beside the figures of this moment, about 40 ms a frame.

    Args:
        task: Names of candidates and policies, minutes of a decision.
        episode_minutes: Length of the time axis.
    """

    def __init__(self, task: TaskSettings, episode_minutes: int) -> None:
        self._task = task
        figure = make_figure(9.6, 5.6)
        grid = figure.add_gridspec(3, 2, width_ratios=(3.4, 1.0), height_ratios=(1.25, 1.15, 0.8), hspace=0.16)
        figure.subplots_adjust(left=0.065, right=0.985, top=0.93, bottom=0.085, wspace=0.04)
        self._panels = FleetPanels([figure.add_subplot(grid[row, 0]) for row in range(3)], episode_minutes / 60.0)
        side = figure.add_subplot(grid[:, 1])
        side.set_axis_off()
        side.legend(handles=legend_handles(), loc="lower left", fontsize=8, frameon=False, bbox_to_anchor=(0.0, -0.02))
        self._title = figure.text(0.065, 0.955, "", fontsize=11, weight="bold", parse_math=False)
        place = {"fontsize": 9.5, "va": "top", "parse_math": False, "transform": side.transAxes}
        self._facts = [side.text(0.05, 1.0 - 0.04 * row, "", **place) for row in range(_FACT_ROWS)]
        self._canvas = Canvas(figure, [*self._panels.artists, self._title, *self._facts])
        self._limits: tuple[float, ...] = ()

    def draw(self, history: FleetHistory) -> NDArray[np.uint8]:
        """Return the picture of a history with at least one entry, [560, 960, 3] RGB."""
        limits = self._panels.limits(history)
        if limits != self._limits:
            self._limits = limits
            for panel, limit in zip(self._panels.axes, limits, strict=True):
                panel.set_ylim(0, limit)
            self._canvas.redraw()
        self._panels.fill(history, np.arange(len(history)) * self._task.decision_minutes / 60.0)
        self._fill_side(history)
        return self._canvas.paint()

    def _fill_side(self, history: FleetHistory) -> None:
        now = {name: float(history[name][-1]) for name in ("minute_of_week", "spec", "policy", "spot_fraction")}
        spec = self._task.candidates[int(now["spec"])].name
        policy = self._task.menu[int(now["policy"])].name
        bill, penalty = float(history["bill_usd"].sum()), float(history["penalty_usd"].sum())
        reference = float(history["reference_usd"].sum())
        demand, capacity = float(history["demand_rps"][-1]), float(history["capacity_rps"][-1])
        self._title.set_text(
            f"{clock(now['minute_of_week'])}    {spec}    spot {100 * now['spot_fraction']:.0f} %    policy {policy}"
        )
        on_demand, spot, pending, draining = (int(history[name][-1]) for name in STAGE_COLOURS)
        lines = (
            f"{on_demand} on demand, {spot} spot",
            f"{pending} pending, {draining} draining",
            "",
            f"{demand:.0f} of {capacity:.0f} requests/s",
            f"{int(history['bad_minutes'].sum())} bad minutes",
            f"{int(history['interruptions'].sum())} interruptions",
            "",
            f"bill ${bill:.2f}, penalty ${penalty:.2f}",
            f"{(bill + penalty) / reference:.3f} of reference cost" if reference > 0 else "reference cost $0.00",
        )
        for text, line in zip(self._facts, lines, strict=True):
            text.set_text(line)
