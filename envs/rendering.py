"""One fleet as text (``ansi``)."""

from typing import Final

import numpy as np

from envs.settings import TaskSettings
from simulators.fleets import infra_usd

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BAR: Final = 40


def clock(minute_of_week: float) -> str:
    """Return weekday and time of a minute of the week."""
    minute = int(minute_of_week)
    return f"{WEEKDAYS[minute // 1440 % 7]} {minute % 1440 // 60:02d}:{minute % 60:02d}"


def render_text(reading: np.void, outcome: np.void, task: TaskSettings) -> str:
    """Return a few lines that say what the fleet is, what it serves and what the last decision cost."""
    capacity = float(reading["capacity_rps"])
    demand = float(reading["demand_rps"])
    load = demand / capacity if capacity > 0 else 1.0
    filled = min(_BAR, int(load * _BAR))
    usd = float(infra_usd(np.atleast_1d(outcome))[0])
    spec = task.candidates[int(reading["spec"])].name
    policy = task.menu[int(reading["policy"])].name
    return "\n".join(
        (
            f"{clock(float(reading['minute_of_week']))}  {demand:8.1f} of {capacity:8.1f} requests/s"
            f"  [{'#' * filled}{'.' * (_BAR - filled)}]",
            f"instances {reading['in_service']:.0f} in service, {reading['pending']:.0f} pending, "
            f"{reading['draining']:.0f} draining, desired {reading['desired']:.0f}, spot {reading['spot_in_use']:.0f}",
            f"{spec}, spot {100 * float(reading['spot_fraction']):.0f} %, policy {policy}",
            f"last decision: ${usd:.4f}, penalty ${float(outcome['slo_penalty_usd']):.4f}, "
            f"bad minutes {int(outcome['bad_minutes'])}, interruptions {int(outcome['interruptions'])}",
        )
    )
