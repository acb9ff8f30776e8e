"""The simulated part of the anomaly suite: faults in unseen services, a static alarm beside, cost per row."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.anomaly.alarm import AlarmRule, alarms
from forecasting.anomaly.detector import AnomalyDetector, score_series
from forecasting.anomaly.ranker import MOST_FALSE_ALARMS_PER_DAY, WARM_UP_S, train_ranker
from forecasting.anomaly.static_alarm import static_alarms, tune_static_alarms
from forecasting.anomaly.table_detector import TableDetector, read_table
from forecasting.anomaly.tables import FaultTable
from forecasting.metrics.events import GRACE_S, EventCounts, count_events, pool_counts
from forecasting.trees import FlatTrees
from telemetry.check import Check

BoolArray = npt.NDArray[np.bool_]
Alarms = list[BoolArray]

DEMAND: Final = "demand_rps"
DEMAND_KINDS: Final = frozenset({"flash_crowd", "retry_storm", "bot_traffic", "metric_gap"})
ALARMED: Final = ("demand_rps", "cpu_utilization", "latency_p95_ms", "error_fraction", "spot_usd_per_hour")
_COST: Final = "budget of a point"
_TARGETS: Final = {"easy": 0.95, "hard": 0.90}


def count_alarms(tables: Sequence[FaultTable], on: Alarms) -> EventCounts:
    """Return what alarms do on several services from their third day on."""
    return pool_counts(_counts(table, one) for table, one in zip(tables, on, strict=True))


def ranked_alarms(tables: Sequence[FaultTable], trees: FlatTrees) -> Alarms:
    """Return the alarms of a ranker on each service."""
    return [
        read_table(TableDetector(table.step_s, len(table.metrics), trees=trees), table.values).alarm for table in tables
    ]


def faults_part(
    train: Sequence[FaultTable], scored: Mapping[str, Sequence[FaultTable]], seed: int, trees: FlatTrees | None = None
) -> tuple[list[Check], dict[str, pd.DataFrame], list[str]]:
    """Train on some services and score on others, every figure beside never alarming and a static alarm.

    Args:
        train: Services for the ranker and for tuning the static alarm.
        scored: Services never seen, by difficulty (``easy``, ``hard``).
        seed: Of the training.
        trees: A ranker trained on ``train`` before; by default it is trained here.
    """
    trees = train_ranker(train, seed) if trees is None else trees
    demand_train = [table.only(DEMAND, DEMAND_KINDS) for table in train]
    demand_trees = train_ranker(demand_train, seed)
    threshold = _tuned_threshold(demand_train)
    rows, checks, kinds, delays = [], [], [], []
    started = process_time()
    ranked = {difficulty: ranked_alarms(tables, trees) for difficulty, tables in scored.items()}
    values = sum(table.values.size for tables in scored.values() for table in tables)
    checks.append(
        Check("microseconds per point, ranker", 1e6 * (process_time() - started) / values, 0.0, 20.0, "us", _COST)
    )
    rate = float(np.mean([count_alarms(scored[name], on).false_alarms_per_day for name, on in ranked.items()]))
    by_hand = tune_static_alarms(train[::2], ALARMED, rate)
    for difficulty, tables in scored.items():
        on = ranked[difficulty]
        counts = count_alarms(tables, on)
        rows.append(_row(difficulty, "ranker, all metrics", counts))
        fixed = [static_alarms(table, by_hand) for table in tables]
        rows.append(_row(difficulty, "static alarms", count_alarms(tables, fixed)))
        demand = [table.only(DEMAND, DEMAND_KINDS) for table in tables]
        name = "demand only, its four kinds"
        rows.append(_row(difficulty, f"ranker, {name}", count_alarms(demand, ranked_alarms(demand, demand_trees))))
        rows.append(_row(difficulty, f"mean of tails, {name}", count_alarms(demand, _mean_alarms(demand, threshold))))
        rows.append(_row(difficulty, "random alarms", count_alarms(tables, _random_alarms(tables, seed))))
        rows.append(_row(difficulty, "never alarming", count_alarms(tables, [np.zeros_like(one) for one in on])))
        kinds.append(_by_kind(difficulty, tables, on))
        delays.append(_delay_row(difficulty, tables, on, fixed))
        suite = "simulated faults, services unseen"
        checks += [
            Check(f"event F1, {difficulty}", counts.f1, _TARGETS.get(difficulty, 0.0), 1.0, "1", suite),
            Check(f"false alarms a day, {difficulty}", counts.false_alarms_per_day, 0.0, 0.02, "1/day", suite),
            Check(
                f"delay, static alarm over ranker, {difficulty}",
                delays[-1]["ratio, misses as length"],
                5.0,
                math.inf,
                "1",
                "static alarm tuned to the same rate of false alarms; misses count as the fault's length",
            ),
        ]
    notes = [
        f"Faults: trained on {len(train)} services, scored on {', '.join(f'{len(t)} {d}' for d, t in scored.items())}, "
        f"seeds disjoint, rows of {train[0].step_s:.0f} s, from the third day of each series on. An event is found if "
        "a row in alarm overlaps it or ten minutes after; alarms within half an hour are one; an alarm is true if it "
        "begins in an event or those ten minutes. A delay runs to the end of the row in alarm. No point adjustment.",
        f"Static alarms: one per metric ({', '.join(ALARMED)}), m of n rows above factor x the highest value of the "
        "service's first two days; each tuned on half of the training services to find most within its share of "
        "the ranker's rate of false alarms.",
        f"Demand only: kinds that show in demand ({', '.join(sorted(DEMAND_KINDS))}); other faults happen unlabelled.",
    ]
    tables_out = {
        "Simulated faults": pd.DataFrame(rows),
        "Share of faults found, by kind": pd.DataFrame(kinds),
        "Delay in minutes": pd.DataFrame(delays),
        "Static alarms: factor, m, n, missing breaches": pd.DataFrame(
            [{metric: str(tuple(one)) for metric, one in by_hand.items()}]
        ),
    }
    return checks, tables_out, notes


def _counts(table: FaultTable, on: BoolArray) -> EventCounts:
    warm = round(WARM_UP_S / table.step_s)
    return count_events(on[warm:], table.events_s - warm * table.step_s, table.step_s)


def _row(difficulty: str, name: str, counts: EventCounts) -> dict[str, object]:
    return {
        "suite": difficulty,
        "detector": name,
        "events": counts.events,
        "F1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "false alarms/day": counts.false_alarms_per_day,
        "median delay, min": counts.median_delay_s / 60.0,
        "point accuracy": counts.accuracy,
        "never-alarm accuracy": counts.never_alarm_accuracy,
    }


def _mean_scores(table: FaultTable) -> npt.NDArray[np.float64]:
    scores = score_series(AnomalyDetector(table.step_s), table.values[:, 0])
    scores[: round(WARM_UP_S / table.step_s)] = 0.0
    return scores


def _rule(table: FaultTable, on: float) -> AlarmRule:
    hour = max(round(3600.0 / table.step_s), 1)
    return AlarmRule(on, 0.6 * on, float(max(hour // 4, 1)), float(hour))


def _mean_alarms(tables: Sequence[FaultTable], on: float) -> Alarms:
    return [alarms(_mean_scores(table), _rule(table, on)) for table in tables]


def _tuned_threshold(tables: Sequence[FaultTable]) -> float:
    """Return the score with the best event F1 among those with few enough false alarms, else the highest."""
    scores = [_mean_scores(table) for table in tables]
    best, chosen = -1.0, 0.75
    for on in np.arange(0.2, 0.76, 0.025):
        raised = [alarms(score, _rule(table, float(on))) for score, table in zip(scores, tables, strict=True)]
        counts = count_alarms(tables, raised)
        if counts.false_alarms_per_day <= 2.0 * MOST_FALSE_ALARMS_PER_DAY and counts.f1 > best:
            best, chosen = counts.f1, float(on)
    return chosen


def _random_alarms(tables: Sequence[FaultTable], seed: int) -> Alarms:
    """Return single rows in alarm, about one in two days."""
    rng = np.random.default_rng([seed, 0xA1])
    return [rng.random(len(table.values)) < table.step_s / 172_800.0 for table in tables]


def _first_alarms(table: FaultTable, on: BoolArray) -> list[float]:
    """Return each event's delay in seconds; its length plus the grace where it was missed."""
    delays = []
    for start_s, end_s in table.events_s:
        one = FaultTable(table.name, table.metrics, table.values, table.step_s, np.array([[start_s, end_s]]), ("",))
        found = _counts(one, on).delays_s
        delays.append(found[0] if found else float(end_s - start_s) + GRACE_S)
    return delays


def _by_kind(difficulty: str, tables: Sequence[FaultTable], on: Alarms) -> dict[str, object]:
    found: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for table, one in zip(tables, on, strict=True):
        for (start_s, end_s), kind, delay in zip(table.events_s, table.kinds, _first_alarms(table, one), strict=True):
            total[kind] += 1
            found[kind] += delay < end_s - start_s + GRACE_S
    return {"suite": difficulty} | {kind: found[kind] / total[kind] for kind in sorted(total)}


def _delay_row(difficulty: str, tables: Sequence[FaultTable], ranked: Alarms, fixed: Alarms) -> dict[str, Any]:
    """Return median delays of both: over the faults each found, over those both found, and over all."""
    pairs = np.array(
        [
            (*both, end_s - start_s + GRACE_S)
            for table, one, two in zip(tables, ranked, fixed, strict=True)
            for both, (start_s, end_s) in zip(
                zip(_first_alarms(table, one), _first_alarms(table, two), strict=True), table.events_s, strict=True
            )
        ]
    )
    ours, theirs = pairs[:, 0], pairs[:, 1]
    both_found = (ours < pairs[:, 2]) & (theirs < pairs[:, 2])
    row: dict[str, Any] = {"suite": difficulty}
    row["ranker, both found"] = float(np.median(ours[both_found])) / 60.0 if both_found.any() else math.nan
    row["static, both found"] = float(np.median(theirs[both_found])) / 60.0 if both_found.any() else math.nan
    row["static finds"] = float((theirs < pairs[:, 2]).mean())
    row["ranker, misses as length"] = float(np.median(ours)) / 60.0
    row["static, misses as length"] = float(np.median(theirs)) / 60.0
    row["ratio, misses as length"] = float(np.median(theirs) / np.median(ours))
    return row
