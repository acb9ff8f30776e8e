"""A day of the fleet under several policies: as a picture, a GIF, and data that the page's viewer steps through."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agents.policies import Policy
from agents.rollout import Windows, play
from envs.history import LIFE_CYCLE, FleetHistory
from envs.picture import DRAWN_COLOURS, Canvas, FleetPanels, legend_handles, make_figure
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from telemetry.provenance import write_bytes, write_text

Days = dict[str, FleetHistory]

DAYS_FILE: Final = "days.json"
DAY_GIF: Final = "day.gif"
_WHOLE: Final = (*LIFE_CYCLE, "desired", "capacity_rps", "bad_minutes", "interruptions", "spec", "policy")
_DAY_MINUTES: Final = 1440
GIF_BYTES: Final = 2_000_000
_REST_MS: Final = 3000
_SHADES: Final = 8
_WHITISH: Final = 236
_COLUMN_INCHES: Final = 3.3


def record_day(policy: Policy, bank: Bank, task: TaskSettings, world: int, start: int) -> FleetHistory:
    """Play one world for a day from a tick; return an entry for every decision's end."""
    windows = Windows(
        np.array([world]), np.array([start]), np.array([start + _DAY_MINUTES]), np.array([world], np.uint64)
    )
    history = FleetHistory()

    def watch(fleets: FleetBatch) -> None:
        history.record(fleets)

    play(policy, bank, task, windows, watch=watch)
    return history


class DayPicture:
    """Panels of every policy's fleet side by side, on common axes.

    Args:
        days: History of each policy, in the same world.
        title: What is shown.
        minutes: Minutes of a decision.
    """

    def __init__(self, days: Days, title: str, minutes: int) -> None:
        if not days:
            raise ValueError("a day needs at least one policy to show")
        self.hours = np.arange(1, 1 + max(len(day) for day in days.values())) * minutes / 60.0
        self._days = days
        width = max(2, len(days)) * _COLUMN_INCHES
        figure = make_figure(width, 5.4)
        axes = figure.subplots(
            3, len(days), sharex=True, sharey="row", squeeze=False, gridspec_kw={"height_ratios": (1.2, 1.1, 0.8)}
        )
        figure.subplots_adjust(left=0.6 / width, right=1 - 0.1 / width, top=0.87, bottom=0.2, hspace=0.14, wspace=0.06)
        self._panels = [FleetPanels(axes[:, column], 24.0) for column in range(len(days))]
        for column, name in enumerate(days):
            axes[0, column].set_title(name, fontsize=9.5, loc="left", parse_math=False)
            if column:
                for panel in axes[:, column]:
                    panel.set_ylabel("")
        limits = np.max([panels.limits(day) for panels, day in zip(self._panels, days.values(), strict=True)], axis=0)
        for row, limit in enumerate(limits):
            axes[row, 0].set_ylim(0, limit)
        figure.suptitle(title, fontsize=11, parse_math=False)
        figure.legend(handles=legend_handles(), loc="lower center", ncols=6, fontsize=8, frameon=False)
        self._sums = [
            panels.axes[2].text(0.03, 0.86, "", fontsize=8, va="top", transform=panels.axes[2].transAxes)
            for panels in self._panels
        ]
        artists = [artist for panels in self._panels for artist in panels.artists]
        self._canvas = Canvas(figure, [*artists, *self._sums])
        self._canvas.redraw()

    def draw(self, entries: int) -> NDArray[np.uint8]:
        """Return the picture after so many decisions, [H, W, 3] RGB."""
        for panels, text, day in zip(self._panels, self._sums, self._days.values(), strict=True):
            panels.fill(day, self.hours[:entries])
            usd = float((day["bill_usd"] + day["penalty_usd"])[:entries].sum())
            reference = float(day["reference_usd"][:entries].sum())
            bad = int(day["bad_minutes"][:entries].sum())
            ratio = f"{usd / reference:.3f} of reference" if reference > 0 else f"{usd:.2f} USD"
            text.set_text(f"{ratio}, {bad} bad min")
        return self._canvas.paint()


def plot_day(days: Days, title: str, minutes: int, path: Path) -> None:
    """Write the whole day as a PNG file."""
    picture = DayPicture(days, title, minutes)
    content = io.BytesIO()
    Image.fromarray(picture.draw(len(picture.hours))).save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())


def _palette() -> Image.Image:
    """Return an image whose palette holds white, and every colour of the panels in shades clearly apart from white."""
    pure = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (*DRAWN_COLOURS, "#000000")])
    shares = np.arange(1, _SHADES + 1)[:, None, None] / _SHADES
    shades = np.round(255 - shares * (255 - pure)).reshape(-1, 3)
    shades = shades[shades.min(axis=1) < _WHITISH]
    image = Image.new("P", (1, 1))
    image.putpalette([255, 255, 255, *shades.astype(int).ravel().tolist()])
    return image


def day_gif(days: Days, path: Path, *, title: str, minutes: int, every_minutes: int = 15, frame_ms: int = 100) -> None:
    """Write the day as a GIF that rests on its last frame; frames are left out where it would exceed GIF_BYTES.

    Args:
        days: History of each policy, in the same world.
        path: GIF file.
        title: What is shown.
        minutes: Minutes of a decision.
        every_minutes: Minutes of the day between two frames.
        frame_ms: How long a frame stands.
    """
    picture = DayPicture(days, title, minutes)
    last = len(picture.hours)
    stops = [*range(1, last, max(1, every_minutes // minutes)), last]
    palette = _palette()
    frames = [Image.fromarray(picture.draw(stop)).quantize(palette=palette, dither=Image.Dither.NONE) for stop in stops]
    content = _gif(frames, frame_ms)
    while len(content) > GIF_BYTES and len(frames) > 2:
        frames, frame_ms = [*frames[:-1:2], frames[-1]], 2 * frame_ms
        content = _gif(frames, frame_ms)
    write_bytes(path, content)


def _gif(frames: Sequence[Image.Image], frame_ms: int) -> bytes:
    content = io.BytesIO()
    durations = [frame_ms] * (len(frames) - 1) + [_REST_MS]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    return content.getvalue()


def liveliest(days: Mapping[str, Days]) -> str:
    """Return the trace on whose day demand varies most about its mean."""

    def variation(trace: str) -> float:
        demand = next(iter(days[trace].values()))["demand_rps"]
        return float(demand.std() / max(float(demand.mean()), 1e-9))

    return max(days, key=variation)


def day_content(days: Days) -> dict[str, Any]:
    """Return a day as the page's viewer reads it: columns of each policy, USD added up, names as indices."""
    first = next(iter(days.values()))
    return {
        "minute_of_week": int(first["minute_of_week"][0]),
        "demand_rps": _rounded(first["demand_rps"], 1),
        "reference_usd": _rounded(np.cumsum(first["reference_usd"]), 3),
        "policies": {name: _policy_content(day) for name, day in days.items()},
    }


def _policy_content(day: FleetHistory) -> dict[str, list[int] | list[float]]:
    columns: dict[str, list[int] | list[float]] = {name: _whole(day[name]) for name in _WHOLE}
    columns["usd"] = _rounded(np.cumsum(day["bill_usd"] + day["penalty_usd"]), 3)
    columns["spot_percent"] = _whole(100.0 * day["spot_fraction"])
    return columns


def _whole(values: NDArray[np.float64]) -> list[int]:
    return [round(value) for value in values.tolist()]


def _rounded(values: NDArray[np.float64], digits: int) -> list[float]:
    return [round(value, digits) for value in values.tolist()]


def write_days(days: Mapping[str, Days], task: TaskSettings, out: Path) -> None:
    """Write the days of a report's traces to DAYS_FILE, where ``agents.evaluation.page`` looks for them.

    Args:
        days: By trace, the history of each policy in the same world.
        task: Names of candidates and policies, minutes of a decision.
        out: Folder of the report.
    """
    content = {
        "minutes": task.decision_minutes,
        "specifications": [candidate.name for candidate in task.candidates],
        "scaling": [policy.name for policy in task.menu],
        "days": {trace: day_content(item) for trace, item in days.items()},
    }
    write_text(out / DAYS_FILE, json.dumps(content, separators=(",", ":")) + "\n")
