"""Rules that read the telemetry: against their sentences, on readings made by hand."""

import numpy as np
import pytest

from agents.rule_policies import FixedSpecification, Hedge, SpotHedge
from agents.rules import Rule, RuleBook
from envs.action import choices_of, decode
from envs.settings import TaskSettings
from simulators.menu import ScalingPolicy
from simulators.records import DECISION, TELEMETRY

TASK = TaskSettings(menu=(ScalingPolicy(name="only", kind="forecast"),))
COUNT = len(TASK.candidates)
LONG_AGO = 1440.0


def readings_of(size: int = 1, *, current: int = 2) -> np.ndarray:
    """Fleets of candidate ``current``; prices rise with the index on demand and fall with it on spot."""
    readings = np.zeros(size, TELEMETRY)
    readings["spec"] = current
    readings["candidate_capacity_rps"][:, :COUNT] = 10.0
    readings["candidate_on_demand_usd_per_hour"][:, :COUNT] = 1.0 + 0.2 * np.arange(COUNT)
    readings["candidate_spot_usd_per_hour"][:, :COUNT] = 0.9 - 0.1 * np.arange(COUNT)
    readings["minutes_since_interruption"][:, :COUNT] = LONG_AGO
    readings["minutes_since_launch_failure"][:, :COUNT] = LONG_AGO
    return readings


def decided(policy: SpotHedge | FixedSpecification, readings: np.ndarray) -> np.ndarray:
    decisions = np.zeros(len(readings), DECISION)
    decode(policy.act(readings), readings, decisions, TASK)
    return decisions


@pytest.mark.parametrize("order", ["price", "fixed"])
def test_the_choice_of_a_candidate_is_decoded_as_that_candidate(order: str) -> None:
    task = TaskSettings.model_validate({**TASK.model_dump(), "candidate_order": order})
    rng = np.random.default_rng(0)
    readings = readings_of(200)
    readings["spec"] = rng.integers(0, COUNT, 200)
    for name in ("candidate_on_demand_usd_per_hour", "candidate_spot_usd_per_hour", "candidate_capacity_rps"):
        readings[name][:, :COUNT] = rng.uniform(0.5, 2.0, (200, COUNT)).round(1)
    specs, levels = rng.integers(0, COUNT, 200), rng.integers(0, 11, 200)
    choices = choices_of(specs, levels / 10, readings, task)
    actions = np.column_stack([np.full(200, 19), choices, levels, np.zeros(200, np.int64)])
    decisions = np.zeros(200, DECISION)
    decode(actions, readings, decisions, task)
    np.testing.assert_array_equal(decisions["spec"], specs)


def test_a_named_specification_is_kept_whatever_prices_do() -> None:
    policy = FixedSpecification(TASK.candidates[6].name, 70, 0, TASK)
    readings = readings_of(5)
    readings["candidate_spot_usd_per_hour"][2:, 6] = 50.0
    decisions = decided(policy, readings)
    assert (decisions["spec"] == 6).all()
    np.testing.assert_allclose(decisions["spot_fraction"], 0.7)
    assert (decisions["scale"] == 0).all()


def test_without_trouble_the_cheapest_spot_is_taken() -> None:
    decisions = decided(SpotHedge(Hedge(), 100, 0, TASK), readings_of())
    assert decisions["spec"][0] == COUNT - 1
    assert decisions["spot_fraction"][0] == 1.0


@pytest.mark.parametrize("trouble", ["minutes_since_interruption", "minutes_since_launch_failure"])
def test_in_trouble_what_is_missing_is_launched_on_demand(trouble: str) -> None:
    hedge = Hedge(fallback_minutes=30, fallback_percent=20, avoid_minutes=0)
    readings = readings_of(4)
    readings[trouble][1, 2] = 29.0
    readings[trouble][2, 2] = 30.0
    readings[trouble][3, 5] = 1.0
    decisions = decided(SpotHedge(hedge, 100, 0, TASK), readings)
    np.testing.assert_allclose(decisions["spot_fraction"], [1.0, 0.2, 1.0, 1.0])


def test_pools_in_trouble_are_passed_over_unless_the_rest_is_much_dearer() -> None:
    hedge = Hedge(fallback_minutes=0, avoid_minutes=60, avoid_share=0.5)
    readings = readings_of(3)
    readings["minutes_since_interruption"][1:, COUNT - 1] = 10.0
    readings["candidate_spot_usd_per_hour"][2, : COUNT - 1] = 10.0
    assert decided(SpotHedge(hedge, 100, 0, TASK), readings)["spec"].tolist() == [COUNT - 1, COUNT - 2, COUNT - 1]


def test_diversified_candidates_are_preferred_by_their_share() -> None:
    """Candidates 6 and 7 are sets of types; 5 is the cheapest single one here."""
    readings = readings_of(2)
    readings["candidate_spot_usd_per_hour"][:, :COUNT] = 1.0
    readings["candidate_spot_usd_per_hour"][:, 5] = 0.5
    readings["candidate_spot_usd_per_hour"][:, 6] = [0.62, 0.63]
    assert decided(SpotHedge(Hedge(diversified_share=0.2), 100, 0, TASK), readings)["spec"].tolist() == [6, 5]
    assert decided(SpotHedge(Hedge(), 100, 0, TASK), readings)["spec"].tolist() == [5, 5]


def test_the_current_candidate_counts_cheaper() -> None:
    readings = readings_of(2, current=COUNT - 2)
    readings["candidate_spot_usd_per_hour"][:, COUNT - 2 : COUNT] = [[0.21, 0.20], [0.23, 0.20]]
    readings["candidate_spot_usd_per_hour"][:, : COUNT - 2] = 1.0
    assert decided(SpotHedge(Hedge(), 100, 0, TASK), readings)["spec"].tolist() == [COUNT - 2, COUNT - 1]


def test_what_the_task_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown launch specification 'none'; known: m6i"):
        FixedSpecification("none", 70, 0, TASK)
    with pytest.raises(ValueError, match="spot share 75 % is not a multiple of spot_step_percent 10"):
        FixedSpecification(TASK.candidates[0].name, 75, 0, TASK)
    with pytest.raises(ValueError, match="spot share 5 %"):
        SpotHedge(Hedge(fallback_percent=5), 100, 0, TASK)
    with pytest.raises(ValueError, match="a hedge chooses the launch specification itself"):
        Rule(policy=TASK.menu[0], specification="m6i.large", hedge=Hedge())


def test_a_rule_that_reads_is_no_constant_action() -> None:
    book = RuleBook(rules=(Rule(policy=TASK.menu[0], hedge=Hedge()),))
    with pytest.raises(ValueError, match="rule 'only' is not one constant action"):
        book.action("only", TASK)
