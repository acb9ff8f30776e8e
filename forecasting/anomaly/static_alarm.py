"""The alarms an operator sets by hand: thresholds on metrics, M of N datapoints, as CloudWatch metric alarms have them.

One alarm per metric, in alarm when at least ``m`` of the last ``n`` rows breach: they lie above the threshold, or are
missing where missing data counts as breaching. The threshold is ``factor`` times the highest value of the service's
first two days. The service is in alarm when any of its alarms is. Each alarm has its own setting, tuned on training
tables: the most faults found within its share of a rate of false alarms.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.ranker import WARM_UP_S
from forecasting.anomaly.tables import FaultTable
from forecasting.metrics.events import EventCounts, count_events, pool_counts

_FACTORS: Final = (0.9, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 8.0, 16.0)
_DATAPOINTS: Final = ((1, 1), (2, 2), (2, 3), (3, 3), (3, 5), (6, 6))


class StaticAlarm(NamedTuple):
    """A threshold ``factor`` times the history's highest value, breached in ``m`` of ``n`` rows."""

    factor: float
    m: int
    n: int
    missing_breaches: bool = False


def static_alarms(table: FaultTable, alarms: Mapping[str, StaticAlarm]) -> npt.NDArray[np.bool_]:
    """Return bool[T], whether any metric's alarm is on; never in the two days that the thresholds come from.

    Raises:
        ValueError: the table lacks one of the metrics.
    """
    warm = round(WARM_UP_S / table.step_s)
    on = np.zeros(len(table.values), dtype=np.bool_)
    for metric, alarm in alarms.items():
        column = table.only(metric).values[:, 0]
        known = column[:warm][~np.isnan(column[:warm])]
        threshold = alarm.factor * float(known.max(initial=0.0))
        above = np.nan_to_num(column, nan=np.inf if alarm.missing_breaches else -np.inf) > threshold
        breaches: npt.NDArray[np.int64] = np.cumsum(np.concatenate((np.zeros(alarm.n, dtype=np.int64), above)))
        on |= breaches[alarm.n :] - breaches[: -alarm.n] >= alarm.m
    on[:warm] = False
    return on


def count_static(tables: Sequence[FaultTable], alarms: Mapping[str, StaticAlarm]) -> EventCounts:
    """Return what the alarms do on several services, from their third day on."""
    return pool_counts(_scored(static_alarms(table, alarms), table) for table in tables)


def tune_static_alarms(
    tables: Sequence[FaultTable], metrics: Sequence[str], most_false_alarms_per_day: float
) -> dict[str, StaticAlarm]:
    """Return the alarm of each metric that finds most at no more than its equal share of a rate of false alarms.

    A metric whose every setting raises more gets none.
    """
    share = most_false_alarms_per_day / len(metrics)
    chosen = {}
    for metric in metrics:
        best = 0
        for alarm in _settings():
            counts = count_static(tables, {metric: alarm})
            if counts.false_alarms_per_day <= share and counts.found > best:
                best, chosen[metric] = counts.found, alarm
    return chosen


def _settings() -> list[StaticAlarm]:
    pairs = [(factor, m, n) for factor in _FACTORS for m, n in _DATAPOINTS]
    return [StaticAlarm(*pair, missing) for pair in pairs for missing in (False, True)]


def _scored(on: npt.NDArray[np.bool_], table: FaultTable) -> EventCounts:
    warm = round(WARM_UP_S / table.step_s)
    return count_events(on[warm:], table.events_s - warm * table.step_s, table.step_s)
