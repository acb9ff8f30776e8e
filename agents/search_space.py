"""What calibration may change of a rule: a declared space, and the way from parameters to a rule and back.

Parameters are what an operator could set. Where two settings only act through their ratio, one is kept.
"""

from typing import Final

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from agents.rule_policies import Hedge
from agents.rules import Rule
from envs.settings import TaskSettings
from simulators.menu import ScalingPolicy, ScheduledSize, Step
from simulators.records import LEAD_MINUTES

Space = dict[str, BaseDistribution]
Value = float | int | str
Parameters = dict[str, Value]

_DEAREST_RANK: Final = 4
_DAY_MINUTES: Final = 1440
_WEEKEND: Final = (5, 6)
_STEEPER_FROM: Final = 0.15
"""A step policy's second step begins this far above its high threshold, utilisation."""

_UTILIZATION: Final = FloatDistribution(0.3, 0.95)
_RATIO: Final = FloatDistribution(0.3, 10.0, log=True)
_MARGIN: Final = FloatDistribution(0.0, 0.8)

_OF_KIND: Final[dict[str, Space]] = {
    "manual": {},
    "static": {"mean_demand_ratio": _RATIO, "spot_margin": _MARGIN},
    "scheduled": {
        "first_hour": IntDistribution(0, 23),
        "hours": IntDistribution(1, 23),
        "ratio": _RATIO,
        "other_ratio": _RATIO,
        "weekend_factor": FloatDistribution(0.3, 2.0, log=True),
        "spot_margin": _MARGIN,
    },
    "step": {
        "high_threshold": FloatDistribution(0.3, 0.9),
        "low_share": FloatDistribution(0.2, 0.9),
        "out_percent": FloatDistribution(3.0, 60.0, log=True),
        "steeper": FloatDistribution(1.0, 5.0),
        "in_percent": FloatDistribution(3.0, 60.0, log=True),
        "out_points": IntDistribution(1, 5),
        "in_points": IntDistribution(2, 30),
    },
    "target_tracking_cpu": {"target_utilization": _UTILIZATION},
    "target_tracking_requests": {"target_utilization": _UTILIZATION},
    "forecast": {
        "target_utilization": _UTILIZATION,
        "quantile": FloatDistribution(0.5, 3.0),
        "lead": IntDistribution(0, len(LEAD_MINUTES) - 1),
        "hold_minutes": IntDistribution(0, 60),
        "spot_margin": _MARGIN,
    },
}
_PREDICTIVE: Final[Space] = {
    "predicted_utilization": _UTILIZATION,
    "buffer_minutes": IntDistribution(0, 55),
}
_HEDGE: Final[Space] = {
    "fallback_minutes": IntDistribution(0, 240),
    "avoid_minutes": IntDistribution(0, 480),
    "avoid_share": FloatDistribution(0.0, 1.0),
    "diversified_share": FloatDistribution(0.0, 0.6),
}


def search_space(rule: Rule, task: TaskSettings) -> Space:
    """Return the parameters of a rule and their ranges; empty for a rule without any.

    Raises:
        ValueError: The rule's scaling policy is of a kind that is not calibrated, or has others beside it that are not.
    """
    policy = rule.policy
    if policy.kind not in _OF_KIND or any(other.kind != "predictive" for other in policy.also):
        raise ValueError(f"rule {rule.name!r}: no search space for kind {policy.kind!r} with what stands beside it")
    space = dict(_OF_KIND[policy.kind])
    if policy.kind == "manual":
        return space
    if policy.also:
        space |= _PREDICTIVE
    percent = IntDistribution(0, 100, step=task.spot_step_percent)
    space["spot_percent"] = percent
    if rule.hedge is not None:
        return space | _HEDGE | {"fallback_percent": percent}
    if rule.specification is not None:
        sets = tuple(item.name for item in task.candidates if len(item.types) > 1)
        space["specification"] = CategoricalDistribution(sets or tuple(item.name for item in task.candidates))
    else:
        space["candidate"] = CategoricalDistribution(range(min(_DEAREST_RANK, len(task.candidates)) + 1))
    return space


def with_parameters(rule: Rule, parameters: Parameters) -> Rule:
    """Return a rule with the parameters of a point of its search space."""
    update: dict[str, object] = {"policy": _policy_with(rule.policy, parameters)}
    update |= {name: parameters[name] for name in ("spot_percent", "candidate", "specification") if name in parameters}
    if rule.hedge is not None:
        update["hedge"] = Hedge.model_validate({name: parameters[name] for name in Hedge.model_fields})
    return rule.model_copy(update=update)


def parameters_of(rule: Rule) -> Parameters:
    """Return the point of the search space that a rule stands at."""
    policy = rule.policy
    parameters: Parameters = dict(policy.model_dump(include=set(_OF_KIND[policy.kind])))
    if policy.kind == "manual":
        return parameters
    if policy.kind == "scheduled":
        parameters |= _timetable_parameters(policy)
    if policy.kind == "step":
        parameters |= _step_parameters(policy)
    for other in policy.also:
        parameters["predicted_utilization"] = other.target_utilization
        parameters["buffer_minutes"] = other.buffer_minutes
    parameters["spot_percent"] = rule.spot_percent
    if rule.hedge is not None:
        return parameters | rule.hedge.model_dump()
    if rule.specification is not None:
        return parameters | {"specification": rule.specification}
    return parameters | {"candidate": rule.candidate}


def starting_points(rule: Rule) -> list[Parameters]:
    """Return where a search begins: the rule as it stands, then neighbours that its other parameters have to suit.

    Those are half and all of the fleet on spot, and for a timetable also one size all week, all of it on spot: a search
    that begins in one of these regions only may never leave it.
    """
    point = parameters_of(rule)
    if not point:
        return [point]
    points = [point, {**point, "spot_percent": 50}, {**point, "spot_percent": 100}]
    if rule.policy.kind == "scheduled":
        points.append({**points[-1], "other_ratio": point["ratio"], "weekend_factor": 1.0})
    return points


def _policy_with(policy: ScalingPolicy, parameters: Parameters) -> ScalingPolicy:
    update: dict[str, object] = {
        name: value for name, value in parameters.items() if name in ScalingPolicy.model_fields
    }
    if policy.kind == "scheduled":
        update["schedule"] = _timetable(parameters)
    if policy.kind == "step":
        update |= _steps(parameters)
    if policy.also:
        predicted = {
            "target_utilization": parameters["predicted_utilization"],
            "buffer_minutes": parameters["buffer_minutes"],
        }
        update["also"] = tuple(other.model_copy(update=predicted) for other in policy.also)
        update.pop("buffer_minutes")
    return policy.model_copy(update=update)


def _timetable(parameters: Parameters) -> tuple[ScheduledSize, ...]:
    """Return a week of days with two sizes each: one for some hours of the day, the other for the rest."""
    entries = []
    for day in range(7):
        factor = float(parameters["weekend_factor"]) if day in _WEEKEND else 1.0
        begin = 60 * int(parameters["first_hour"])
        end = (begin + 60 * int(parameters["hours"])) % _DAY_MINUTES
        for minute, ratio in ((begin, parameters["ratio"]), (end, parameters["other_ratio"])):
            size = min(20.0, factor * float(ratio))
            entries.append(ScheduledSize(minute_of_week=day * _DAY_MINUTES + minute, mean_demand_ratio=size))
    return tuple(sorted(entries, key=lambda entry: entry.minute_of_week))


def _timetable_parameters(policy: ScalingPolicy) -> Parameters:
    """Read Monday's two sizes and Saturday's first; the hours of a day that wraps are read the other way round."""
    first, second, saturday = policy.schedule[0], policy.schedule[1], policy.schedule[10]
    ratios = [float(entry.mean_demand_ratio or 0.0) for entry in (first, second, saturday)]
    return {
        "first_hour": first.minute_of_week // 60,
        "hours": (second.minute_of_week - first.minute_of_week) // 60,
        "ratio": ratios[0],
        "other_ratio": ratios[1],
        "weekend_factor": ratios[2] / ratios[0],
    }


def _steps(parameters: Parameters) -> dict[str, object]:
    high, percent = float(parameters["high_threshold"]), float(parameters["out_percent"])
    return {
        "low_threshold": high * float(parameters["low_share"]),
        "steps_out": (
            Step(lower=0.0, upper=_STEEPER_FROM, change=percent),
            Step(lower=_STEEPER_FROM, change=percent * float(parameters["steeper"])),
        ),
        "steps_in": (Step(upper=0.0, change=-float(parameters["in_percent"])),),
    }


def _step_parameters(policy: ScalingPolicy) -> Parameters:
    high, low = float(policy.high_threshold or 0.0), float(policy.low_threshold or 0.0)
    out_percent = policy.steps_out[0].change
    return {
        "low_share": low / high,
        "out_percent": out_percent,
        "steeper": policy.steps_out[1].change / out_percent,
        "in_percent": -policy.steps_in[0].change,
    }
