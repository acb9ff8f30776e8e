import numpy as np
import optuna
import pytest

from agents.rules import CONFIGS, Rule, RuleBook, load_rules
from agents.search_space import Parameters, parameters_of, search_space, with_parameters
from envs.settings import DEFAULT_MENU, TaskSettings
from simulators.menu import ScalingPolicy

TASK = TaskSettings()
UNTUNED = load_rules(CONFIGS / "rules_untuned.yaml")


def assert_same(found: Parameters, expected: Parameters) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9)), name


@pytest.mark.parametrize("rule", UNTUNED.rules, ids=lambda rule: rule.name)
def test_a_rule_is_a_point_of_its_space_and_back(rule: Rule) -> None:
    space, point = search_space(rule, TASK), parameters_of(rule)
    assert set(space) == set(point)
    for name, distribution in space.items():
        assert distribution._contains(distribution.to_internal_repr(point[name])), name
    again = with_parameters(rule, point)
    assert_same(parameters_of(again), point)
    assert again.policy.model_copy(update={"low_threshold": None, "steps_in": ()}) == rule.policy.model_copy(
        update={"low_threshold": None, "steps_in": ()}
    )


@pytest.mark.parametrize("rule", UNTUNED.rules, ids=lambda rule: rule.name)
def test_every_point_is_a_valid_rule_of_the_same_kind(rule: Rule) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        point = study.ask(search_space(rule, TASK)).params
        made = with_parameters(rule, point)
        assert Rule.model_validate(made.model_dump()) == made
        assert (made.name, made.policy.kind, made.kind) == (rule.name, rule.policy.kind, rule.kind)
        book = RuleBook(rules=(made,))
        book.policy(made.name, book.task(TASK))
        if point and made.policy.kind != "scheduled":
            assert_same(parameters_of(made), point)


def test_a_timetable_that_wraps_midnight_is_the_same_read_either_way() -> None:
    rule = UNTUNED.rules[UNTUNED.index("scheduled")]
    rng = np.random.default_rng(0)
    for _ in range(50):
        point = parameters_of(rule) | {
            "first_hour": int(rng.integers(0, 24)),
            "hours": int(rng.integers(1, 24)),
            "ratio": float(rng.uniform(0.5, 5)),
            "other_ratio": float(rng.uniform(0.5, 5)),
            "weekend_factor": float(rng.uniform(0.5, 1.5)),
        }
        made = with_parameters(rule, point)
        assert len(made.policy.schedule) == 14
        again = with_parameters(rule, parameters_of(made)).policy.schedule
        assert [entry.minute_of_week for entry in again] == [entry.minute_of_week for entry in made.policy.schedule]
        np.testing.assert_allclose(
            [entry.mean_demand_ratio or 0 for entry in again],
            [entry.mean_demand_ratio or 0 for entry in made.policy.schedule],
        )


def test_what_cannot_be_calibrated_is_named() -> None:
    beside = ScalingPolicy(
        name="beside", kind="step", low_threshold=None, high_threshold=0.7, steps_out=({"lower": 0.0, "change": 1.0},)
    )  # type: ignore[arg-type]
    rule = Rule(policy=ScalingPolicy(name="mine", kind="static", also=(beside,)))
    with pytest.raises(ValueError, match="rule 'mine': no search space for kind 'static'"):
        search_space(rule, TASK)


def test_the_default_menu_has_the_names_and_kinds_of_the_rules() -> None:
    assert [(item.name, item.kind) for item in DEFAULT_MENU] == [
        (rule.name, rule.policy.kind) for rule in UNTUNED.rules
    ]
