import numpy as np
import pytest

from forecasting.rootcause.evidence import EVIDENCE
from forecasting.rootcause.incident import LabelledIncident, Look
from forecasting.rootcause.model import CauseModel, KindModel
from forecasting.suites.root_cause import EDGES, root_cause_suite
from forecasting.trees import FlatTrees


def tree(column: str, threshold: float) -> FlatTrees:
    """One split: suspect above a threshold of one piece of evidence."""
    return FlatTrees(
        roots=np.zeros(1, np.int32),
        feature=np.array([EVIDENCE.index(column)], np.int32),
        threshold=np.array([threshold]),
        children=np.array([[~0, ~1]], np.int32),
        missing_left=np.ones(1, np.int32),
        leaf=np.array([-3.0, 3.0]),
        steepness=np.ones(1),
        num_features=np.array([len(EVIDENCE)], np.int32),
    )


def hand_made() -> CauseModel:
    kinds = KindModel(EVIDENCE, ("error_burst", "slow_disk"), (tree("error_fraction z", 2.0),) * 2, 1.0)
    return CauseModel(EVIDENCE, tree("errors unexplained, log", 2.0), 1.0, kinds)


@pytest.fixture
def incidents(played) -> list[LabelledIncident]:
    names = ("front", "cart", "search", "database")
    return [
        LabelledIncident(played(errors={name: 0.05}, seed=at), name, "error_burst") for at, name in enumerate(names)
    ]


def test_a_model_that_is_right_scores_one_beside_chance_and_rules(incidents) -> None:
    looks = {"at the end": Look(), "late": Look(20, late_ticks=5)}
    again = {"again": incidents[:2]}
    finding = root_cause_suite(hand_made(), incidents, incidents[::-1], other_tests=again, looks=looks)
    assert [check.measured for check in finding.checks] == [1.0] * 6
    assert all(check.holds for check in finding.checks)
    summary = finding.tables["Cause among the first k"].set_index(["incidents", "method"])
    assert summary.loc[("easy", "chance"), "AC@1"] == pytest.approx(0.2)
    assert summary.loc[("easy", "chance"), "Avg@5"] == pytest.approx(0.6)
    assert summary.loc[("again", "trained"), "number"] == 2
    assert set(finding.tables["How early"]["look"]) == set(looks)
    confidence = finding.tables["Confidence and truth"]
    assert confidence["answers"].iloc[:-1].sum() == confidence["answers"].iloc[-1] == 8
    assert len(confidence) == len(EDGES)
    assert len(finding.figures["root_cause"].axes) == 2


def test_a_planted_wrong_label_is_seen(incidents) -> None:
    wrong = [LabelledIncident(incidents[0].incident, "cart", "error_burst"), *incidents[1:]]
    finding = root_cause_suite(hand_made(), wrong, incidents, looks={"at the end": Look()})
    measured = {check.name: check.measured for check in finding.checks}
    assert measured["root cause, easy: AC@1"] == 0.75
    assert measured["root cause, hard: AC@1"] == 1.0
    assert measured["root cause, all: AC@1"] == 0.875
