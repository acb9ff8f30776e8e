from dataclasses import replace

import numpy as np
import pytest

from forecasting.metrics.ranking import accuracy_at, chance_at, place_of
from forecasting.rootcause.deviations import measure_deviations
from forecasting.rootcause.diagnosis import diagnose, rank_candidates
from forecasting.rootcause.evidence import EVIDENCE
from forecasting.rootcause.incident import LabelledIncident, Look
from forecasting.rootcause.model import load_cause_model, load_kind_model, save_model, sharpened
from forecasting.rootcause.rule import largest_deviation
from forecasting.rootcause.training import fit_sharpness, train_root_cause
from simulators.validation.incident_tables import SCORING_SEED, TRAINING_SEED, incident_tables


def labelled(played, n: int) -> list[LabelledIncident]:
    """Incidents of the small test world, kinds and places in turn."""
    services = ("front", "cart", "search", "database")
    tables = []
    for at in range(n):
        name = services[at // 3 % 4]
        kind, fault = (
            ("slow_disk", {"own_ms": {name: 10.0}}),
            ("error_burst", {"errors": {name: 0.02}}),
            ("load_surge", {"demand": 1.5}),
        )[at % 3]
        incident = played(**fault, seed=at)
        tables.append(LabelledIncident(incident, "demand" if kind == "load_surge" else name, kind))
    return tables


@pytest.fixture(scope="module")
def model(played):
    return train_root_cause(labelled(played, 30), seed=3)


def test_the_sharpness_that_made_the_luck_is_recovered() -> None:
    rng = np.random.default_rng(0)
    odds = rng.normal(0.0, 3.0, (6_000, 5))
    chances = sharpened(odds, 0.6)
    truths = np.array([rng.choice(5, p=row) for row in chances])
    assert fit_sharpness(list(odds), truths) == pytest.approx(0.6, abs=0.04)


def test_a_saved_model_gives_the_same_answers(played, model, tmp_path) -> None:
    path = tmp_path / "deep" / "cause.npz"
    save_model(path, model)
    loaded = load_cause_model(path, EVIDENCE)
    incident = played(own_ms={"cart": 9.0}, seed=99)
    assert diagnose(incident, loaded) == diagnose(incident, model)
    assert [item.name for item in path.parent.iterdir()] == ["cause.npz"]


def test_a_model_of_other_evidence_or_kinds_alone_is_refused(model, tmp_path) -> None:
    path = tmp_path / "cause.npz"
    save_model(path, replace(model, kind=replace(model.kind, evidence=("something else",))))
    with pytest.raises(ValueError, match="other evidence"):
        load_cause_model(path, EVIDENCE)
    save_model(path, model.kind)
    assert load_kind_model(path, EVIDENCE).kinds == ("error_burst", "load_surge", "slow_disk")
    with pytest.raises(ValueError, match="ranks no candidates"):
        load_cause_model(path, EVIDENCE)
    np.savez(path, something=np.zeros(1))
    with pytest.raises(ValueError, match="lacks"):
        load_kind_model(path, EVIDENCE)


def test_a_model_finds_what_it_was_taught_and_what_comes_later_is_not_read(played, model) -> None:
    for item in labelled(played, 12):
        incident = played(**{"own_ms": {item.cause: 10.0}}, seed=500) if item.kind == "slow_disk" else item.incident
        assert diagnose(incident, model).primary_cause == item.cause
    early = played(own_ms={"database": 10.0}, seed=77).seen(Look(10))
    values = early.values.copy()
    values[early.end_tick :] = np.nan
    assert diagnose(replace(early, values=values), model) == diagnose(early, model)


def test_a_pattern_that_was_not_learnt_is_judged_by_its_fingerprint(played, model) -> None:
    kinds = tuple("burst" if kind == "error_burst" else kind for kind in model.kind.kinds)
    ignorant = replace(model, kind=replace(model.kind, kinds=kinds))
    for seen in (model, ignorant):
        assert diagnose(played(errors={"cart": 0.02}, seed=78), seen).patterns[0].name == "error_burst"
    assert "burst" not in {item.name for item in diagnose(played(seed=79), ignorant).patterns}


def test_too_few_incidents_are_refused(played) -> None:
    with pytest.raises(ValueError, match="at least 30"):
        train_root_cause(labelled(played, 3), seed=0)


def test_a_cause_that_is_no_candidate_is_refused(played) -> None:
    with pytest.raises(ValueError, match="no candidate"):
        LabelledIncident(played(), "printer", "slow_disk")


@pytest.mark.slow
def test_training_twice_gives_the_same_bits(played, model) -> None:
    again = train_root_cause(labelled(played, 30), seed=3)
    incident = played(own_ms={"cart": 9.0}, seed=99)
    for first, second in zip(rank_candidates(incident, again), rank_candidates(incident, model), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_causes_in_unseen_graphs_are_found_far_above_chance_and_largest_deviation() -> None:
    train = incident_tables(TRAINING_SEED, 56, "easy") + incident_tables(TRAINING_SEED + 1, 56, "hard")
    tests = incident_tables(301, 28, "easy") + incident_tables(301, 28, "hard")
    model = train_root_cause(train, seed=0)
    learnt, plain, counts = [], [], []
    for item in tests:
        truth = item.incident.topology.candidates.index(item.cause)
        learnt.append(place_of(rank_candidates(item.incident, model)[0], truth))
        plain.append(place_of(largest_deviation(measure_deviations(item.incident)), truth))
        counts.append(len(item.incident.topology.candidates))
    assert accuracy_at(learnt, 1) >= 0.85
    assert accuracy_at(learnt, 3) >= 0.95
    assert accuracy_at(learnt, 1) > accuracy_at(plain, 1) > chance_at(counts, 1) + 0.2


def test_training_and_scoring_seeds_are_disjoint() -> None:
    assert SCORING_SEED not in range(TRAINING_SEED, TRAINING_SEED + 6)
    first, other = incident_tables(TRAINING_SEED, 2, "hard"), incident_tables(SCORING_SEED, 2, "hard")
    for one in first:
        for two in other:
            assert one.incident.values.shape != two.incident.values.shape or not np.array_equal(
                one.incident.values, two.incident.values, equal_nan=True
            )
