"""The alarm an operator sets by hand: thresholds on metrics, M of N datapoints, as a CloudWatch metric alarm has them.

One alarm per metric, in alarm when at least ``m`` of the last ``n`` rows lie above the threshold (a missing row does
not breach); the service is in alarm when any of them is. The threshold of a metric is ``factor`` times the highest
value of the service's first two days. Factor, m and n are tuned together on training tables: the best event F1 among
the settings that keep to a false-alarm rate.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.ranker import WARM_UP_S
from forecasting.anomaly.tables import FaultTable
from forecasting.metrics.events import EventCounts, count_events, pool_counts

_FACTORS: Final = (0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 8.0)
_DATAPOINTS: Final = ((1, 1), (2, 2), (2, 3), (3, 3), (3, 5), (5, 5), (6, 6))


class StaticAlarm(NamedTuple):
    """Thresholds ``factor`` times the history's highest values, breached in ``m`` of ``n`` rows."""

    factor: float
    m: int
    n: int


def static_alarms(table: FaultTable, metrics: Sequence[str], alarm: StaticAlarm) -> npt.NDArray[np.bool_]:
    """Return bool[T], whether any metric's alarm is on; never in the two days that the thresholds come from.

    Raises:
        ValueError: the table lacks one of the metrics.
    """
    warm = round(WARM_UP_S / table.step_s)
    on = np.zeros(len(table.values), dtype=np.bool_)
    for metric in metrics:
        column = table.only(metric).values[:, 0]
        known = column[:warm][~np.isnan(column[:warm])]
        threshold = alarm.factor * float(known.max(initial=0.0))
        breaches = np.cumsum(np.concatenate(([0] * alarm.n, np.nan_to_num(column, nan=-np.inf) > threshold)))
        on |= breaches[alarm.n :] - breaches[: -alarm.n] >= alarm.m
    on[:warm] = False
    return on


def count_static(tables: Sequence[FaultTable], metrics: Sequence[str], alarm: StaticAlarm) -> EventCounts:
    """Return what the alarms do on several services, from their third day on."""
    return pool_counts(_scored(static_alarms(table, metrics, alarm), table) for table in tables)


def tune_static_alarm(
    tables: Sequence[FaultTable], metrics: Sequence[str], most_false_alarms_per_day: float
) -> StaticAlarm:
    """Return the setting with the best event F1 at no more than a rate of false alarms; else that with the fewest."""
    counted = [
        (alarm, count_static(tables, metrics, alarm))
        for alarm in (StaticAlarm(factor, m, n) for factor in _FACTORS for m, n in _DATAPOINTS)
    ]
    few = [(alarm, one) for alarm, one in counted if one.false_alarms_per_day <= most_false_alarms_per_day]
    if few:
        return max(few, key=lambda pair: pair[1].f1)[0]
    return min(counted, key=lambda pair: pair[1].false_alarms_per_day)[0]


def _scored(on: npt.NDArray[np.bool_], table: FaultTable) -> EventCounts:
    warm = round(WARM_UP_S / table.step_s)
    return count_events(on[warm:], table.events_s - warm * table.step_s, table.step_s)
