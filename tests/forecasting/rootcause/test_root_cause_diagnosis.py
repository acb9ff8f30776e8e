from dataclasses import asdict, replace

import numpy as np
import pytest

from forecasting.rootcause.diagnosis import diagnose, rank_candidates
from forecasting.rootcause.explanation import correlate, correlated_metrics, shared_factors
from forecasting.rootcause.incident import DEMAND, METRICS, Look

SEED_FIELDS = {
    "primary_cause",
    "contributing_factors",
    "correlated_metrics",
    "pattern_match",
    "confidence_score",
    "recommended_actions",
}


@pytest.mark.parametrize(
    ("fault", "cause", "kind"),
    [
        ({"cpu": {"cart": 2.0}, "own_ms": {"cart": 8.0}}, "cart", "cpu_hog"),
        ({"errors": {"search": 0.05}}, "search", "error_burst"),
        ({"network_ms": 20.0}, "front", "network_delay"),
        ({"demand": 1.8}, DEMAND, "load_surge"),
    ],
)
def test_without_training_the_rule_names_clear_causes(played, fault, cause: str, kind: str) -> None:
    verdict = diagnose(played(**fault))
    assert verdict.primary_cause == cause
    assert verdict.patterns[0].name == kind
    assert verdict.recommended_actions


def test_a_verdict_has_the_fields_asked_for_and_adds_up(played) -> None:
    verdict = diagnose(played(own_ms={"database": 12.0}))
    assert set(asdict(verdict)) >= SEED_FIELDS
    assert sum(item.probability for item in verdict.candidates) == pytest.approx(1.0)
    assert sum(item.probability for item in verdict.patterns) == pytest.approx(1.0)
    assert sum(item.share for item in verdict.contributing_factors) == pytest.approx(1.0)
    assert verdict.confidence_score == max(item.probability for item in verdict.candidates)
    assert verdict.candidates[0].name == verdict.primary_cause
    assert verdict.contributing_factors[0].metric.startswith("database latency")
    assert verdict.contributing_factors[0].ratio == pytest.approx(2.0, abs=0.05)
    assert "cart latency_p95_ms" in {item.metric for item in verdict.correlated_metrics}
    assert all("{" not in action for action in verdict.recommended_actions)


def test_a_surge_names_requests_everywhere_as_correlated(played) -> None:
    verdict = diagnose(played(demand=1.8))
    assert {item.metric for item in verdict.correlated_metrics} >= {"front request_rps", "database request_rps"}


def test_what_comes_after_the_window_changes_no_verdict(played) -> None:
    incident = played(own_ms={"database": 12.0}).seen(Look(15))
    values = incident.values.copy()
    values[incident.end_tick :] *= 50.0
    assert diagnose(replace(incident, values=values)) == diagnose(incident)


def test_a_calm_window_is_a_guess_and_says_so(played) -> None:
    assert diagnose(played(seed=8)).confidence_score < 0.6


@pytest.mark.parametrize("damage", ["all missing", "one service missing", "constant", "outlier", "window missing"])
def test_damaged_telemetry_gives_a_finite_verdict(played, damage: str) -> None:
    incident = played(own_ms={"database": 12.0})
    values = incident.values.copy()
    if damage == "all missing":
        values[:] = np.nan
    elif damage == "one service missing":
        values[:, 3] = np.nan
    elif damage == "constant":
        values[:] = 1.0
    elif damage == "outlier":
        values[-5, 3] = 1e12
    else:
        values[incident.start_tick :] = np.nan
    verdict = diagnose(replace(incident, values=values))
    assert np.isfinite([item.probability for item in verdict.candidates]).all()
    assert np.isfinite([(item.deviation_z, item.ratio, item.share) for item in verdict.contributing_factors]).all()
    assert np.isfinite([item.correlation for item in verdict.correlated_metrics]).all()
    chances, patterns = rank_candidates(replace(incident, values=values))
    np.testing.assert_allclose([chances.sum(), patterns.sum()], 1.0)


def test_a_silent_culprit_is_seen_by_its_callers(played) -> None:
    incident = played(own_ms={"database": 12.0})
    values = incident.values.copy()
    values[:, 3] = np.nan
    verdict = diagnose(replace(incident, values=values))
    assert verdict.primary_cause in ("cart", "database")
    assert len(METRICS) == values.shape[2]


def test_correlations_by_hand() -> None:
    path = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert correlate(path, 7.0 - path) == pytest.approx(-1.0)
    assert correlate(path, np.ones(6)) == 0.0
    assert correlate(path, np.where(path > 3.0, np.nan, path)) == 0.0
    found = correlated_metrics("a", {"a": path, "b": 2.0 * path, "c": np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])})
    assert [item.metric for item in found] == ["b"]


def test_shares_follow_weights_and_without_any_the_deviations() -> None:
    assert [item.share for item in shared_factors([("a", 3.0, 1.0, 3.0), ("b", 9.0, 1.0, 1.0)])] == [0.75, 0.25]
    assert [item.metric for item in shared_factors([("a", 3.0, 1.0, -1.0), ("b", -9.0, 1.0, 0.0)])] == ["b", "a"]
    assert shared_factors([("a", 1.0, 1.0, 5.0)]) == ()
