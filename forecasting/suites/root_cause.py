"""How well root-cause analysis names the cause, beside chance and two rules that learn nothing.

The suite knows only tables; whoever calls it makes them, trains on some and scores on others.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.metrics.ranking import accuracy_at, average_at, calibration_error, chance_at, place_of, reliability
from forecasting.rootcause.deviations import measure_deviations
from forecasting.rootcause.diagnosis import diagnose, rank_candidates
from forecasting.rootcause.incident import LabelledIncident, Look
from forecasting.rootcause.model import CauseModel, KindModel
from forecasting.rootcause.patterns import load_library
from forecasting.rootcause.rule import largest_deviation, topology_rule
from forecasting.rootcause.signal_diagnosis import rank_kinds
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
    headline = {"easy": test_easy, "hard": test_hard}
    tests = headline | {"all": [*test_easy, *test_hard]} | dict(other_tests or {})
    answers = {title: _answer(items, cause_model, Look()) for title, items in tests.items()}
    right = answers["all"].places["trained"] == 1
    confidence = answers["all"].confidence
    early = _by_look(headline, cause_model, looks)
    tables = {
        "Cause among the first k": _summary(tests, answers),
        "Right at first try, by fault": _by_fault(headline, answers),
        "How early": early,
        "Known patterns": _patterns(tests, answers, cause_model),
        "Confidence and truth": _confidence(confidence, right),
        "Cost": _cost(tests["all"][:40], cause_model),
    }
    if kind_model is not None and events is not None:
        tables["Kinds in the signals of one service, by look"] = _kinds_by_look(events, kind_model, looks)
        tables["Kinds in the signals of one service"] = _kinds(events, kind_model)
    checks = [
        Check(f"root cause, {title}: AC@{k}", accuracy_at(answers[title].places["trained"], k), low, 1.0, "1", _TARGET)
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


@dataclass(frozen=True)
class _Answers:
    """What was answered about some incidents: place of the true cause by method, confidence, and the first pattern."""

    places: dict[str, npt.NDArray[np.int64]]
    confidence: npt.NDArray[np.float64]
    kinds: list[str]


def _answer(items: Sequence[LabelledIncident], model: CauseModel, look: Look) -> _Answers:
    rows, confidence, kinds = [], [], []
    for item in items:
        incident = item.incident.seen(look)
        truth = incident.topology.candidates.index(item.cause)
        chances, patterns = rank_candidates(incident, model)
        found = measure_deviations(incident)
        scores = (chances, topology_rule(found, incident.topology), largest_deviation(found))
        rows.append([place_of(score, truth) for score in scores])
        confidence.append(float(chances.max()))
        kinds.append(load_library("graph").kinds[int(patterns.argmax())])
    places = dict(zip(_METHODS, np.array(rows, dtype=np.int64).T, strict=True))
    return _Answers(places, np.array(confidence), kinds)


def _share_right(said: Sequence[str], items: Sequence[LabelledIncident | LabelledEvent]) -> float:
    return float(np.mean([kind == item.kind for kind, item in zip(said, items, strict=True)]))


def _summary(tests: Mapping[str, Sequence[LabelledIncident]], answers: Mapping[str, _Answers]) -> pd.DataFrame:
    rows: list[tuple[str, int, str, float, float, float]] = []
    for title, items in tests.items():
        for method, found in answers[title].places.items():
            figures = (accuracy_at(found, 1), accuracy_at(found, 3), average_at(found, 5))
            rows.append((title, len(items), method, *figures))
        counts = [len(item.incident.topology.candidates) for item in items]
        chance = [chance_at(counts, k) for k in range(1, 6)]
        rows.append((title, len(items), "chance", chance[0], chance[2], float(np.mean(chance))))
    return pd.DataFrame(rows, columns=["incidents", "number", "method", "AC@1", "AC@3", "Avg@5"])


def _by_fault(tests: Mapping[str, Sequence[LabelledIncident]], answers: Mapping[str, _Answers]) -> pd.DataFrame:
    columns: dict[str, dict[str, float]] = {}
    for title, items in tests.items():
        kinds = np.array([item.kind for item in items])
        counts = np.array([len(item.incident.topology.candidates) for item in items])
        for kind in sorted(set(kinds.tolist())):
            row = columns.setdefault(kind, {})
            places = answers[title].places
            row |= {f"{title}, {method}": accuracy_at(places[method][kinds == kind], 1) for method in _METHODS}
            row[f"{title}, chance"] = chance_at(counts[kinds == kind], 1)
    return pd.DataFrame.from_dict(columns, orient="index").rename_axis("fault").reset_index()


def _by_look(
    tests: Mapping[str, Sequence[LabelledIncident]], model: CauseModel, looks: Mapping[str, Look]
) -> pd.DataFrame:
    rows: list[tuple[object, ...]] = []
    for name, look in looks.items():
        for title, items in tests.items():
            found = _answer(items, model, look)
            firsts = [accuracy_at(found.places[method], 1) for method in _METHODS]
            thirds = accuracy_at(found.places["trained"], 3)
            error = calibration_error(found.confidence, found.places["trained"] == 1, EDGES)
            kinds = _share_right(found.kinds, items)
            rows.append((name, title, firsts[0], thirds, *firsts[1:], kinds, found.confidence.mean(), error))
    header = ["look", "incidents", "AC@1", "AC@3", "topology rule AC@1", "largest deviation AC@1"]
    return pd.DataFrame(rows, columns=[*header, "kind right", "mean confidence", "calibration error"])


def _patterns(
    tests: Mapping[str, Sequence[LabelledIncident]], answers: Mapping[str, _Answers], model: CauseModel
) -> pd.DataFrame:
    library = load_library("graph")
    rows: list[tuple[str, float, float, float, float]] = []
    for title, items in tests.items():
        patterns = [rank_candidates(item.incident)[1] for item in items]
        untrained = [library.kinds[int(chances.argmax())] for chances in patterns]
        found = answers[title].places["trained"] == 1
        given = [kind == item.kind for kind, item in zip(answers[title].kinds, items, strict=True)]
        shares = (_share_right(answers[title].kinds, items), float(np.mean(np.array(given)[found])))
        rows.append((title, *shares, _share_right(untrained, items), 1.0 / len(model.kind.kinds)))
    return pd.DataFrame(
        rows, columns=["incidents", "kind right", "kind right where the cause is", "untrained", "chance"]
    )


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
    rows: list[tuple[object, ...]] = []
    for name, look in looks.items():
        for title, items in events.items():
            trained = np.array([rank_kinds(item.event.seen(look), model) for item in items])
            said, stated = _first_kinds(trained), trained.max(axis=1)
            untrained = _share_right(_first_kinds([rank_kinds(item.event.seen(look)) for item in items]), items)
            right = np.array([kind == item.kind for kind, item in zip(said, items, strict=True)])
            error = calibration_error(stated, right, EDGES)
            chance = 1.0 / len(model.kinds)
            rows.append((name, title, len(items), right.mean(), untrained, chance, stated.mean(), error))
    header = ["look", "events", "number", "kind right", "untrained", "chance", "mean confidence", "calibration error"]
    return pd.DataFrame(rows, columns=header)


def _first_kinds(chances: Sequence[npt.NDArray[np.float64]] | npt.NDArray[np.float64]) -> list[str]:
    kinds = load_library("service").kinds
    return [kinds[int(row.argmax())] for row in chances]


def _kinds(events: Mapping[str, Sequence[LabelledEvent]], model: KindModel) -> pd.DataFrame:
    columns: dict[str, dict[str, float]] = {kind: {} for kind in model.kinds}
    for title, items in events.items():
        said = np.array(_first_kinds([rank_kinds(item.event, model) for item in items]))
        true = np.array([item.kind for item in items])
        for kind, row in columns.items():
            right = float(((said == kind) & (true == kind)).sum())
            number, named = int((true == kind).sum()), int((said == kind).sum())
            row[f"{title}, events"] = float(number)
            row[f"{title}, found"] = right / number if number else np.nan
            row[f"{title}, right when named"] = right / named if named else np.nan
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
