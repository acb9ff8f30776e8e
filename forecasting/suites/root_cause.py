"""How well root-cause analysis names the cause, beside chance and two rules that learn nothing.

The suite knows only tables; whoever calls it makes them, trains on some and scores on others.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.metrics.ranking import accuracy_at, average_at, calibration_error, chance_at, place_of, reliability
from forecasting.rootcause.deviations import measure_deviations
from forecasting.rootcause.diagnosis import diagnose
from forecasting.rootcause.incident import LabelledIncident, Look
from forecasting.rootcause.model import CauseModel, KindModel
from forecasting.rootcause.result import RootCause
from forecasting.rootcause.rule import largest_deviation, topology_rule
from forecasting.rootcause.signal_diagnosis import diagnose_signals
from forecasting.rootcause.signals import LabelledEvent
from forecasting.suites.finding import Finding
from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS: Final = {
    "whole window": Look(),
    "first 10 min": Look(10),
    "first 20 min": Look(20),
    "first 30 min": Look(30),
    "noticed 5 min late, 10 min on": Look(10, late_ticks=5),
    "noticed 5 min late, 20 min on": Look(20, late_ticks=5),
    "noticed 5 min late, 30 min on": Look(30, late_ticks=5),
    "noticed 15 min late, 30 min on": Look(30, late_ticks=15),
}
"""When the verdict is asked for."""

EDGES: Final = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Bins of the confidence."""

_TARGET: Final = "target: right at first try >= 0.85, among the first three >= 0.97"
_METHODS: Final = ("trained", "topology rule", "largest deviation")
Places = dict[str, npt.NDArray[np.int64]]


def root_cause_suite(
    cause_model: CauseModel,
    test_easy: Sequence[LabelledIncident],
    test_hard: Sequence[LabelledIncident],
    *,
    other_tests: Mapping[str, Sequence[LabelledIncident]] | None = None,
    kind_model: KindModel | None = None,
    events: Mapping[str, Sequence[LabelledEvent]] | None = None,
    looks: Mapping[str, Look] = LOOKS,
) -> Finding:
    """Return how often the cause is found, by difficulty, fault, look and share of missing metrics.

    Args:
        cause_model: trained on incidents of other seeds.
        test_easy: incidents of graphs never seen, a quarter of the metrics missing.
        test_hard: the same, with weak faults.
        other_tests: further incidents by title, for example with other shares missing.
        kind_model: names kinds in one service's signals; with ``events`` it is scored too.
        events: labelled events by title.
        looks: when verdicts are asked for, by title.
    """
    tests = {"easy": test_easy, "hard": test_hard, "all": [*test_easy, *test_hard]} | dict(other_tests or {})
    verdicts = {title: [diagnose(item.incident, cause_model) for item in items] for title, items in tests.items()}
    places = {title: _places(items, verdicts[title]) for title, items in tests.items()}
    both = [*test_easy, *test_hard]
    right = np.array([answer.primary_cause == item.cause for answer, item in zip(verdicts["all"], both, strict=True)])
    confidence = np.array([answer.confidence_score for answer in verdicts["all"]])
    early = _by_look({"easy": test_easy, "hard": test_hard}, cause_model, looks)
    tables = {
        "Cause among the first k": _summary(tests, places),
        "Right at first try, by fault": _by_fault(test_easy, test_hard, places),
        "How early": early,
        "Known patterns": _patterns(tests, verdicts, cause_model),
        "Confidence and truth": _confidence(confidence, right),
        "Cost": _cost(both[:40], cause_model),
    }
    if kind_model is not None and events is not None:
        tables["Kinds in the signals of one service, by look"] = _kinds_by_look(events, kind_model, looks)
        tables["Kinds in the signals of one service"] = _kinds(events, kind_model)
    checks = [
        Check(f"root cause, {title}: AC@{k}", accuracy_at(places[title]["trained"], k), low, 1.0, "1", _TARGET)
        for title in ("easy", "hard", "all")
        for k, low in ((1, 0.85), (3, 0.97))
    ]
    return Finding(
        checks=checks, tables=tables, figures={"root_cause": _figure(early, confidence, right)}, notes=_NOTES
    )


_NOTES: Final = (
    "Graphs, demand, faults and holes of the test incidents come from seeds that no training incident has.",
    "A candidate is each service and the demand; chance is one over their number. A tie counts against the method.",
    "The largest deviation is that of any metric of a service, or of the load for the demand; it knows no topology.",
    "Whole window: start and end of the fault are known. The other looks know a start, true or noticed late, and "
    "nothing after the minutes named; a minute that has not come is never read.",
    "Confidence is calibrated on held-out training incidents; the table shows test incidents, whole window.",
    "A kind is right when the first pattern is the true one, whether or not the cause was found.",
)


def _places(items: Sequence[LabelledIncident], verdicts: Sequence[RootCause]) -> Places:
    """Return the place of the true cause by method, int[N]."""
    rows = []
    for item, verdict in zip(items, verdicts, strict=True):
        topology = item.incident.topology
        truth = topology.candidates.index(item.cause)
        chances = {candidate.name: candidate.probability for candidate in verdict.candidates}
        found = measure_deviations(item.incident)
        rows.append(
            (
                place_of([chances[name] for name in topology.candidates], truth),
                place_of(topology_rule(found, topology), truth),
                place_of(largest_deviation(found), truth),
            )
        )
    return dict(zip(_METHODS, np.array(rows, dtype=np.int64).T, strict=True))


def _summary(tests: Mapping[str, Sequence[LabelledIncident]], places: Mapping[str, Places]) -> pd.DataFrame:
    rows: list[tuple[str, int, str, float, float, float]] = []
    for title, items in tests.items():
        counts = [len(item.incident.topology.candidates) for item in items]
        for method, found in places[title].items():
            figures = (accuracy_at(found, 1), accuracy_at(found, 3), average_at(found, 5))
            rows.append((title, len(items), method, *figures))
        chance = [chance_at(counts, k) for k in range(1, 6)]
        rows.append((title, len(items), "chance", chance[0], chance[2], float(np.mean(chance))))
    return pd.DataFrame(rows, columns=["incidents", "number", "method", "AC@1", "AC@3", "Avg@5"])


def _by_fault(
    easy: Sequence[LabelledIncident], hard: Sequence[LabelledIncident], places: Mapping[str, Places]
) -> pd.DataFrame:
    columns: dict[str, dict[str, float]] = {}
    for title, items in (("easy", easy), ("hard", hard)):
        kinds = np.array([item.kind for item in items])
        counts = np.array([len(item.incident.topology.candidates) for item in items])
        for kind in sorted(set(kinds.tolist())):
            row = columns.setdefault(kind, {})
            row |= {f"{title}, {method}": accuracy_at(places[title][method][kinds == kind], 1) for method in _METHODS}
            row[f"{title}, chance"] = chance_at(counts[kinds == kind], 1)
    return pd.DataFrame.from_dict(columns, orient="index").rename_axis("fault").reset_index()


def _by_look(
    tests: Mapping[str, Sequence[LabelledIncident]], model: CauseModel, looks: Mapping[str, Look]
) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for name, look in looks.items():
        for title, items in tests.items():
            seen = [LabelledIncident(item.incident.seen(look), item.cause, item.kind) for item in items]
            verdicts = [diagnose(item.incident, model) for item in seen]
            places = _places(seen, verdicts)
            firsts = [accuracy_at(places[method], 1) for method in _METHODS]
            kinds = np.mean([answer.patterns[0].name == item.kind for answer, item in zip(verdicts, seen, strict=True)])
            stated = np.mean([answer.confidence_score for answer in verdicts])
            rows.append(
                (name, title, firsts[0], accuracy_at(places["trained"], 3), *firsts[1:], float(kinds), float(stated))
            )
    header = ["look", "incidents", "AC@1", "AC@3", "topology rule AC@1", "largest deviation AC@1"]
    return pd.DataFrame(rows, columns=[*header, "kind right", "mean confidence"])


def _patterns(
    tests: Mapping[str, Sequence[LabelledIncident]], verdicts: Mapping[str, Sequence[RootCause]], model: CauseModel
) -> pd.DataFrame:
    rows = []
    for title, items in tests.items():
        kinds = [item.kind for item in items]
        first = [answer.patterns[0].name for answer in verdicts[title]]
        untrained = [diagnose(item.incident).patterns[0].name for item in items]
        none = np.mean([answer.pattern_match is None for answer in verdicts[title]])
        shares = [float(np.mean([a == b for a, b in zip(found, kinds, strict=True)])) for found in (first, untrained)]
        rows.append((title, *shares, 1.0 / len(model.kind.kinds), float(none)))
    return pd.DataFrame(rows, columns=["incidents", "kind right", "untrained", "chance", "no pattern named"])


def _confidence(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> pd.DataFrame:
    found = pd.DataFrame(reliability(confidence, right, EDGES), columns=["answers", "mean confidence", "share right"])
    found.insert(0, "confidence", [f"{low:g}-{high:g}" for low, high in pairwise(EDGES)])
    found["gap"] = (found["mean confidence"] - found["share right"]).abs()
    error = calibration_error(confidence, right, EDGES)
    whole = pd.DataFrame([("all", len(right), confidence.mean(), right.mean(), error)], columns=found.columns)
    return pd.concat([found, whole], ignore_index=True)


def _cost(items: Sequence[LabelledIncident], model: CauseModel) -> pd.DataFrame:
    began = time.process_time()
    for item in items:
        diagnose(item.incident, model)
    return pd.DataFrame({"what": ["one verdict, CPU ms"], "value": [1e3 * (time.process_time() - began) / len(items)]})


def _kinds_by_look(
    events: Mapping[str, Sequence[LabelledEvent]], model: KindModel, looks: Mapping[str, Look]
) -> pd.DataFrame:
    rows = []
    for name, look in looks.items():
        for title, items in events.items():
            seen = [item.event.seen(look) for item in items]
            trained = [diagnose_signals(event, model) for event in seen]
            right = np.array([a.patterns[0].name == item.kind for a, item in zip(trained, items, strict=True)])
            plain = [diagnose_signals(event).patterns[0].name for event in seen]
            untrained = np.mean([a == item.kind for a, item in zip(plain, items, strict=True)])
            stated = np.array([answer.confidence_score for answer in trained])
            error = calibration_error(stated, right, EDGES)
            rows.append(
                (name, title, len(items), right.mean(), float(untrained), 1 / len(model.kinds), stated.mean(), error)
            )
    header = ["look", "events", "number", "kind right", "untrained", "chance", "mean confidence", "calibration error"]
    return pd.DataFrame(rows, columns=header)


def _kinds(events: Mapping[str, Sequence[LabelledEvent]], model: KindModel) -> pd.DataFrame:
    columns: dict[str, dict[str, float]] = {kind: {} for kind in model.kinds}
    for title, items in events.items():
        said = np.array([diagnose_signals(item.event, model).patterns[0].name for item in items])
        true = np.array([item.kind for item in items])
        for kind in model.kinds:
            number = int((true == kind).sum())
            columns[kind][f"{title}, events"] = float(number)
            columns[kind][f"{title}, found"] = float((said[true == kind] == kind).mean()) if number else np.nan
            named = int((said == kind).sum())
            columns[kind][f"{title}, right when named"] = (
                float((true[said == kind] == kind).mean()) if named else np.nan
            )
    return pd.DataFrame.from_dict(columns, orient="index").rename_axis("kind").reset_index()


def _figure(looks: pd.DataFrame, confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_]) -> "Figure":
    from matplotlib.figure import Figure

    page = Figure(figsize=(12, 4.5), layout="constrained")
    early, reliable = page.subplots(1, 2)
    names = list(dict.fromkeys(looks["look"]))
    for title, marker in (("easy", "o"), ("hard", "s")):
        own = looks[looks["incidents"] == title]
        early.plot(own["AC@1"].to_numpy(), range(len(names)), marker, label=f"{title}, trained")
        early.plot(own["topology rule AC@1"].to_numpy(), range(len(names)), marker, mfc="none", label=f"{title}, rule")
    early.set_yticks(range(len(names)), names)
    early.set(xlabel="right at first try", xlim=(0, 1))
    early.legend(loc="lower left")
    rows = reliability(confidence, right, EDGES)
    rows = rows[rows[:, 0] > 0]
    reliable.plot([0, 1], [0, 1], color="0.7")
    reliable.scatter(rows[:, 1], rows[:, 2], s=20 + rows[:, 0])
    reliable.set(xlabel="stated confidence", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02))
    return page
