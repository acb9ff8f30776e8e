import json

import numpy as np
import pytest
from advisory_requests import Json, fresh_fleets, request_of
from hypothesis import given, settings
from hypothesis import strategies as st

from advisory.decision import Decision, decide, rule_preferences
from advisory.examples import day_example, short_example
from advisory.guardrails import Preference, choose_specification, choose_spot, limit_capacity, limit_change
from advisory.reading import RequestError, Situation, read_situation
from advisory.schemas import Constraints, RecommendationRequest
from advisory.served import ServedModel
from envs.action import action_space, decode
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.records import LEAD_MINUTES, POLICY_FORECAST, POLICY_PREDICTIVE, QUANTILE_LEVELS


def situation_of(body: Json, model: ServedModel) -> Situation:
    return read_situation(RecommendationRequest.model_validate_json(json.dumps(body)), model)


def only(action: np.ndarray, model: ServedModel) -> list[Preference]:
    """Return preferences for one action."""
    sizes = action_space(model.task).nvec
    return [np.eye(size)[choice] for size, choice in zip(sizes, action, strict=True)]


def test_capacity_is_what_the_kernel_sets_in_the_first_minute(
    bank: Bank, model: ServedModel, task: TaskSettings
) -> None:
    fleets, rng = fresh_fleets(bank, model.menu, 16, seed=3), np.random.default_rng(5)
    compared, held, clamped, switched = 0, 0, 0, 0
    for _ in range(60):
        actions = rng.integers(0, action_space(task).nvec, (len(fleets), 4))
        same = actions[:, 3] == fleets.readings["policy"]
        actions[same, 3] = (actions[same, 3] + 1) % len(task.menu)
        advised: list[Decision] = []
        for index, action in enumerate(actions):
            situation = situation_of(request_of(fleets, index, task), model)
            advised.append(decide(model, situation, Constraints(), only(action, model)))
        desired_before = fleets.readings["desired"].copy()
        spec_before = fleets.readings["spec"].copy()
        decode(actions, fleets.readings, fleets.decisions, task)
        fleets.step(1)
        for index, decision in enumerate(advised):
            assert decision.spec == fleets.decisions["spec"][index]
            assert decision.spot_fraction == fleets.decisions["spot_fraction"][index]
            if fleets.outcomes["interruptions"][index]:
                continue
            kernel = int(fleets.state["desired"][index])
            entry = model.menu[decision.policy]
            waits = entry["kind"] == POLICY_FORECAST and entry["hold_ticks"] > 0
            if waits and decision.want.need_now < desired_before[index]:
                assert kernel == desired_before[index], "a controller that has just taken over waits"
                assert decision.capacity <= kernel
                held += 1
            elif any(model.menu[other]["kind"] == POLICY_PREDICTIVE for other in entry["also"] if other >= 0):
                assert decision.capacity <= kernel, "predictive scaling beside it only raises"
            else:
                assert decision.capacity == kernel, (task.menu[decision.policy].name, decision)
                compared += 1
            clamped += bool(decision.bounds)
            switched += decision.spec != spec_before[index]
        fleets.step(4)
    assert min(compared, held, clamped, switched) > 20, (compared, held, clamped, switched)


def falling_demand(model: ServedModel, values: list[float]) -> Situation:
    body = short_example(model)
    body["demand"]["requests_per_second"] = values
    body["fleet"] = {"launch_specification": "m6i.large", "desired": 40}
    return situation_of(body, model)


def forecast_capacity(model: ServedModel, values: list[float]) -> int:
    choice = model.policy_names.index("forecast")
    action = np.array([19, 0, 0, choice])
    return decide(model, falling_demand(model, values), Constraints(), only(action, model)).capacity


def test_scale_in_waits_for_the_highest_need_of_the_hold_time(model: ServedModel) -> None:
    each = 0.7 * 40.0
    need_500, need_100 = int(np.ceil(500 / each)), int(np.ceil(100 / each))
    assert forecast_capacity(model, [500, 500, 500]) == need_500
    assert forecast_capacity(model, [500, 500, 100]) == need_500
    assert forecast_capacity(model, [500, 100, 100]) == need_500
    assert forecast_capacity(model, [500, 100, 100, 100]) == need_100
    assert forecast_capacity(model, [100, 100, 5000]) == 99


def test_a_weaker_new_type_counts_at_once_and_a_stronger_one_after_the_replacement(model: ServedModel) -> None:
    choice = model.policy_names.index("forecast-at-once")
    situation = falling_demand(model, [500.0])
    names = model.specification_names
    keep = decide(model, situation, Constraints(), only(np.array([19, 0, 0, choice]), model))
    assert keep.capacity_after_replacement is None
    for rank in range(1, len(names) + 1):
        action = only(np.array([19, rank, 0, choice]), model)
        decision = decide(model, situation, Constraints(), action)
        each = model.physics["candidate_capacity_rps"][decision.spec]
        if names[decision.spec] == "m6i.large":
            continue
        assert decision.capacity == max(keep.capacity, int(np.ceil(500 / (0.6 * each))))
        assert decision.capacity_after_replacement == int(np.ceil(500 / (0.6 * each)))


levels = st.lists(st.floats(0, 3000), min_size=4, max_size=4).map(sorted)


def scaled_rule_capacity(model: ServedModel, forecast: np.ndarray, demand: list[float], scale: float) -> int:
    body = short_example(model)
    body["demand"]["requests_per_second"] = [scale * value for value in demand]
    body["telemetry"] = {"forecast_rps": (scale * forecast).tolist()}
    situation = situation_of(body, model)
    return decide(model, situation, Constraints(), rule_preferences(model, situation)).capacity


@given(
    forecast=st.lists(levels, min_size=7, max_size=7),
    demand=st.lists(st.floats(0, 3000), min_size=1, max_size=8),
    more=st.floats(1.0, 3.0),
)
@settings(max_examples=60, deadline=None)
def test_more_demand_never_means_fewer_instances_by_the_same_rule(
    model: ServedModel, forecast: list[list[float]], demand: list[float], more: float
) -> None:
    rows = np.array(forecast).reshape(len(LEAD_MINUTES), len(QUANTILE_LEVELS))
    few = scaled_rule_capacity(model, rows, demand, 1.0)
    many = scaled_rule_capacity(model, rows, demand, more)
    assert many >= few


names = [
    "m6i.large",
    "m7i.large",
    "m7g.large",
    "m8g.large",
    "c7g.large",
    "c7g.xlarge",
    "x86-large-mix",
    "arm-large-mix",
]
ranges = st.tuples(st.integers(1, 99), st.integers(1, 99)).map(sorted)
limits = st.fixed_dictionaries(
    {},
    optional={
        "range": ranges,
        "max_spot_percent": st.floats(0, 100),
        "allowed_launch_specifications": st.lists(st.sampled_from(names), min_size=1, max_size=8),
        "max_change": st.integers(0, 40),
        "keep_type": st.booleans(),
    },
)


@given(asked=limits, seed=st.integers(0, 2**32), desired=st.integers(0, 99), current=st.sampled_from(names))
@settings(max_examples=300, deadline=None)
def test_constraints_are_always_kept_and_only_what_they_change_is_named(
    model: ServedModel, asked: Json, seed: int, desired: int, current: str
) -> None:
    low, high = asked.pop("range", (1, 99))
    constraints = Constraints(min_instances=low, max_instances=high, **asked)
    body = day_example(model)
    body["fleet"] = {"launch_specification": current, "desired": desired, "spot_percent": 40}
    situation = situation_of(body, model)
    rng = np.random.default_rng(seed)
    preferences: list[Preference] = [rng.normal(size=size) for size in action_space(model.task).nvec]
    allowed = constraints.allowed_launch_specifications or names
    if constraints.keep_type and current not in allowed:
        with pytest.raises(RequestError, match="keep_type"):
            decide(model, situation, constraints, preferences)
        return
    decision = decide(model, situation, constraints, preferences)
    free = decide(model, situation, Constraints(), preferences)
    bounds = {bound.constraint for bound in decision.bounds}

    assert low <= decision.capacity <= high
    change = abs(decision.capacity - desired)
    if constraints.max_change is not None and change > constraints.max_change:
        assert decision.capacity in (low, high), "only the limits of the group come before max_change"
    if constraints.max_spot_percent is not None:
        assert 100 * decision.spot_fraction <= constraints.max_spot_percent + 1e-9
    assert ("max_spot_percent" in bounds) == (decision.spot_fraction != free.spot_fraction)
    assert names[decision.spec] in allowed
    if constraints.keep_type:
        assert names[decision.spec] == current
    if "allowed_launch_specifications" in bounds or "keep_type" in bounds:
        assert decision.choices[1] != int(np.argmax(preferences[1]))
    else:
        assert decision.choices[1] == int(np.argmax(preferences[1]))
    capacity_bounds = bounds & {"min_instances", "max_instances", "max_change"}
    assert bool(capacity_bounds) == (decision.capacity != decision.want.capacity) or len(capacity_bounds) > 1
    assert (decision.scale, decision.policy) == (free.scale, free.policy)


def test_the_best_allowed_choice_is_taken() -> None:
    preference = np.array([0.0, 3.0, 5.0, 4.0, 9.0])
    assert choose_spot(preference, None) == (4, None)
    assert choose_spot(preference, 80.0).value == 2
    assert choose_spot(preference, 24.9).value == 0
    given_back = choose_specification(preference, [0, 1, 2, 0, 1], {0}, ["a", "b", "c"], "keep_type")
    assert given_back.value == 3
    assert given_back.bound is not None
    assert given_back.bound.effect == "a instead of b: the latter is not allowed"


def test_limits_move_capacity_as_little_as_they_can() -> None:
    assert limit_change(10, 4, None) == (10, None)
    assert limit_change(10, 4, 3).value == 7
    assert limit_change(1, 4, 2).value == 2
    assert limit_capacity(5, 5, 9) == (5, None)
    assert limit_capacity(4, 5, 9).value == 5
    bound = limit_capacity(12, 5, 9).bound
    assert bound is not None
    assert bound.constraint == "max_instances"


def test_a_limit_that_contradicts_the_task_is_refused(model: ServedModel) -> None:
    body = short_example(model)
    body["constraints"] = {"allowed_launch_specifications": ["z9.mega"]}
    situation = situation_of(body, model)
    with pytest.raises(RequestError) as caught:
        decide(model, situation, Constraints(**body["constraints"]), rule_preferences(model, situation))
    assert caught.value.pointer == "#/constraints/allowed_launch_specifications/0"
