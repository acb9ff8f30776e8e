"""How well anomalies are found: NAB, simulated faults in unseen services, machines of many metrics, cost of a point."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd

from forecasting.anomaly.table_detector import TableDetector, read_table
from forecasting.anomaly.tables import FaultTable
from forecasting.metrics.events import count_events
from forecasting.metrics.vus import acf_window, vus_pr
from forecasting.suites.anomaly_faults import faults_part
from forecasting.suites.anomaly_nab import nab_part
from forecasting.suites.finding import Finding
from forecasting.trees import FlatTrees
from telemetry.check import Check
from telemetry.labelled import LabelledSeries, LabelledTable, spans

_EXTRA_QUANTILE: Final = 0.999


def anomaly_suite(
    nab_series: Sequence[LabelledSeries],
    faults_train: Sequence[FaultTable],
    faults_scored: Mapping[str, Sequence[FaultTable]],
    multivariate: Mapping[str, Sequence[LabelledTable]],
    seed: int,
    *,
    trees: FlatTrees | None = None,
    members: bool = True,
) -> Finding:
    """Evaluate the anomaly detectors.

    Args:
        nab_series: NAB files.
        faults_train: Simulated services to train on.
        faults_scored: Others, of other seeds, by difficulty (``easy``, ``hard``).
        multivariate: Machines by collection (SMD, ASD); fed their history first, scored on what follows it.
        seed: Of splits, training and random scores.
        trees: A ranker trained on ``faults_train``; by default it is trained here.
        members: Whether to run isolation forest, one-class SVM and LSTM autoencoder too (minutes).
    """
    checks: list[Check] = []
    tables: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    for part in (
        nab_part(nab_series, seed, members=members),
        faults_part(faults_train, faults_scored, seed, trees),
        machines_part(multivariate, seed),
    ):
        checks += part[0]
        tables |= part[1]
        notes += part[2]
    return Finding(checks=checks, tables=tables, notes=notes)


def machines_part(
    machines: Mapping[str, Sequence[LabelledTable]], seed: int
) -> tuple[list[Check], dict[str, pd.DataFrame], list[str]]:
    """Score machines with many metrics by the mean of tails over all metrics; nothing is fitted to their labels."""
    rows = []
    rng = np.random.default_rng([seed, 0x3D])
    for collection, group in machines.items():
        for machine in group:
            rows.append({"collection": collection} | _machine_row(machine, rng))
    notes = [
        "Machines (SMD, ASD): streams run over the unlabelled history, then over the scored part. Extent for VUS-PR, "
        f"alarms where the score passes the {_EXTRA_QUANTILE:.1%} quantile of its history; window from the "
        "mean metric.",
    ]
    frame = pd.DataFrame(rows)
    checks = []
    for collection in machines:
        mine = frame[frame["collection"] == collection]
        chance = float(mine["VUS-PR, random"].mean())
        checks.append(
            Check(f"VUS-PR, {collection}", float(mine["VUS-PR"].mean()), chance, math.inf, "1", "above random scores")
        )
    return checks, {"Machines with many metrics": frame}, notes


def _machine_row(machine: LabelledTable, rng: np.random.Generator) -> dict[str, object]:
    detector = TableDetector(machine.step_s, machine.values.shape[1])
    past = read_table(detector, machine.history)
    reading = read_table(detector, machine.values)
    window = acf_window(machine.values.mean(axis=1))
    on = reading.score > np.quantile(past.score[len(past.score) // 4 :], _EXTRA_QUANTILE)
    events_s = (spans(machine.is_anomaly) + np.array([0, 1])) * machine.step_s
    counts = count_events(on, events_s, machine.step_s)
    return {
        "machine": machine.name,
        "window": window,
        "VUS-PR": vus_pr(machine.is_anomaly, reading.extent, window),
        "VUS-PR of the score": vus_pr(machine.is_anomaly, reading.score, window),
        "VUS-PR, random": vus_pr(machine.is_anomaly, rng.random(len(on)), window),
        "event F1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "false alarms/day": counts.false_alarms_per_day,
        "point accuracy": counts.accuracy,
        "never-alarm accuracy": counts.never_alarm_accuracy,
    }
