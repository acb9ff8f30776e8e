"""Recorded spot availability: which public series stand for which kind of pool, and their spells.

Source of all of them: traces of Wu et al., "Can't Be Late" (NSDI 2024), github.com/skypilot-org/spot-traces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simulators.validation.spot_statistics import Spells, pooled, spells

PROBES_2023_02: Final = "skypilot_availability_1-node_aws-02-15-2023.parquet"
HELD_2023_05: Final = "skypilot_preemption_1-node_aws-04-19-2023.parquet"


@dataclass(frozen=True)
class RecordedGroup:
    """Recorded pools of one kind.

    Attributes:
        file: Availability file.
        zones: Zones in it.
        step_s: Time between probes. The 2023-02 file has a row every 195 s, but its changes come in multiples of
            about 631 s (``probe_period_s``): a row repeats the last probe. The 2023-05 file has a row every 34 s and
            is read at the simulator's minute.
    """

    file: str
    zones: tuple[str, ...]
    step_s: int


GROUPS: Final = {
    "v100_us_west_2": RecordedGroup(PROBES_2023_02, ("us-west-2a", "us-west-2c"), 631),
    "v100_us_east_2": RecordedGroup(PROBES_2023_02, ("us-east-2b",), 631),
    "v100_us_east_1": RecordedGroup(PROBES_2023_02, ("us-east-1a", "us-east-1c", "us-east-1d"), 631),
    "r5_us_east_1": RecordedGroup(HELD_2023_05, ("us-east-1b", "us-east-1c"), 60),
}


def read_availability(path: Path, zones: Sequence[str]) -> pd.DataFrame:
    """Return, by time and zone, whether all instances asked for were there.

    Raises:
        ValueError: The file holds no row of a zone.
    """
    table = pd.read_parquet(path)
    missing = sorted(set(zones) - set(table["zone"].unique()))
    if missing:
        raise ValueError(
            f"{path}: column zone has no {missing[0]!r}; found {', '.join(sorted(table['zone'].unique()))}"
        )
    table["up"] = table["instances"] >= table["requested"]
    return table.pivot(index="timestamp", columns="zone", values="up")[list(zones)]


def recorded_series(data: Path, group: RecordedGroup) -> list[NDArray[np.bool_]]:
    """Return each zone's availability at steps of ``group.step_s``: the row last seen at each step."""
    table = read_availability(data / "spot" / group.file, group.zones)
    table = table.resample(f"{group.step_s}s").last().ffill()
    return [table[zone].to_numpy(bool) for zone in group.zones]


def recorded_spells(data: Path, group: RecordedGroup) -> Spells:
    """Return the spells of a group, in multiples of its probing step.

    Spells are cut from the file's own rows and then rounded, so that rows that repeat a probe shift no spell.
    """
    table = read_availability(data / "spot" / group.file, group.zones)
    if group.step_s == 60:
        table = table.resample("60s").last().ffill()
    row_s = (table.index[1] - table.index[0]).total_seconds()
    parts = pooled([spells(table[zone].to_numpy(bool), row_s) for zone in group.zones])
    return Spells(*(np.maximum(1, np.round(part * 3600.0 / group.step_s)) * group.step_s / 3600.0 for part in parts))


def probe_period_s(lengths_s: NDArray[np.float64], low: float = 400.0, high: float = 900.0) -> float:
    """Return the period, seconds, of which spell lengths are most nearly whole multiples (those under eight hours)."""
    short = lengths_s[lengths_s < 8 * 3600.0]
    periods = np.arange(low, high, 1.0)
    misfit = [np.sqrt(((short / period - np.round(short / period)) ** 2).mean()) for period in periods]
    return float(periods[int(np.argmin(misfit))])
