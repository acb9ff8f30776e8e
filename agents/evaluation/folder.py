"""The pictures and the page of a report's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.evaluation.day import DAY_GIF, Days, day_gif, liveliest, plot_day, write_days
from agents.evaluation.page import write_page
from agents.evaluation.plots import draw_plots
from envs.settings import TaskSettings


def day_file(trace: str) -> str:
    """Return the file name of a trace's day."""
    return f"day_{trace.replace('#', '_').replace(':', '_')}.png"


def _title(trace: str) -> str:
    return f"{trace}: first scored day"


def write_pictures_and_page(content: dict[str, Any], days: Mapping[str, Days], task: TaskSettings, out: Path) -> Path:
    """Write every plot, each trace's day, the liveliest as a GIF too, and ``report.html``; return its path.

    Args:
        content: Of ``report.json``.
        days: By trace, the history of each shown policy in the same world; may be empty.
        task: Names of candidates and policies, minutes of a decision.
        out: Folder of the report.
    """
    draw_plots(content, out)
    minutes = task.decision_minutes
    for trace, histories in days.items():
        plot_day(histories, _title(trace), minutes, out / day_file(trace))
    if days:
        shown = liveliest(days)
        day_gif(days[shown], out / DAY_GIF, title=_title(shown), minutes=minutes)
        write_days(days, task, out)
    return write_page(content, out)
