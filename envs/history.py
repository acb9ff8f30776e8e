"""What one fleet has done since its start, decision by decision, for those who draw it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.fleets import FleetBatch, infra_usd
from simulators.records import FOREVER, SPOT, TICK_S

LIFE_CYCLE: Final = ("on_demand", "spot", "pending", "draining")
"""In service on demand, in service on spot, launched but not yet serving, and draining or under notice."""

_READ: Final = ("desired", "capacity_rps", "spec", "policy", "spot_fraction", "minute_of_week")
_COUNTED: Final = ("bad_minutes", "interruptions")
COLUMNS: Final = (*LIFE_CYCLE, *_READ, *_COUNTED, "demand_rps", "bill_usd", "penalty_usd", "reference_usd")


def life_cycle(fleet: np.void) -> dict[str, int]:
    """Return how many instances of a FLEET record are in each stage of LIFE_CYCLE at its present tick."""
    live = int(fleet["live"])
    now_s = int(fleet["tick"]) * TICK_S
    off_s = fleet["off_s"][:live]
    stays = off_s == FOREVER
    ready = fleet["launch_s"][:live].astype(np.int64) + fleet["ready_delay_s"][:live] <= now_s
    on_spot = fleet["market"][:live] == SPOT
    return {
        "on_demand": int((stays & ready & ~on_spot).sum()),
        "spot": int((stays & ready & on_spot).sum()),
        "pending": int((stays & ~ready).sum()),
        "draining": int((~stays).sum()),
    }


class FleetHistory:
    """Columns that grow by one entry a decision; the first entry is the fleet before any decision.

    Counts are instances, ``bad_minutes`` and ``interruptions`` and USD those of the decision that ended then,
    ``demand_rps`` its mean demand (at the start: the last visible minute), ``spot_fraction`` the share asked for.
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {name: [] for name in COLUMNS}

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._columns["demand_rps"])

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return one of COLUMNS, [entries]."""
        return np.array(self._columns[name])

    def record(self, fleets: FleetBatch, row: int = 0) -> None:
        """Add what a fleet of a batch is now and what its latest decision did."""
        reading, outcome = fleets.readings[row], fleets.outcomes[row]
        seconds = int(outcome["ticks"]) * TICK_S
        entry: dict[str, float] = dict(life_cycle(fleets.state[row]))
        entry |= {name: float(reading[name]) for name in _READ}
        entry |= {name: float(outcome[name]) for name in _COUNTED}
        entry["demand_rps"] = float(outcome["requests"]) / seconds if seconds else float(reading["demand_rps"])
        entry["bill_usd"] = float(infra_usd(fleets.outcomes[row : row + 1])[0])
        entry["penalty_usd"] = float(outcome["slo_penalty_usd"])
        entry["reference_usd"] = float(outcome["reference_usd"])
        for name, value in entry.items():
            self._columns[name].append(value)
