"""A request in, a recommendation out: no HTTP, no state, the same answer for the same request."""

from typing import Any

import numpy as np

from advisory.decision import Decision, decide, rule_preferences
from advisory.estimate import (
    Part,
    current_parts,
    expected_service,
    hourly_cost_usd,
    performance_risk,
    recommended_parts,
    resized,
)
from advisory.guardrails import Preference
from advisory.reading import Situation, near_demand_rps, read_situation
from advisory.reasons import limits_of, reasons_for
from advisory.schemas import (
    Confidence,
    Expected,
    ForecastDetail,
    Recommendation,
    RecommendationRequest,
    RecommendedFleet,
    RuleAdvice,
)
from advisory.served import ServedModel
from envs.settings import ENVIRONMENT_VERSION
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS


class NoRecommendation(RuntimeError):
    """The policy gave no usable answer."""


def policy_preferences(model: ServedModel, situation: Situation) -> list[Preference]:
    """Return the policy's logits for each part of the action.

    Raises:
        NoRecommendation: The observation or a logit is not finite.
    """
    observations = model.codec.encode(situation.records)
    if not np.isfinite(observations).all():
        raise NoRecommendation("the observation holds a value that is not finite")
    logits = model.policy.logits(observations)
    if not np.isfinite(logits).all():
        raise NoRecommendation("the policy returned a value that is not finite")
    return [part[0] for part in model.policy.parts(model.policy.permitted(logits, situation.records))]


def _confidence(preferences: list[Preference], choices: tuple[int, ...]) -> Confidence:
    chances = []
    for preference, choice in zip(preferences, choices, strict=True):
        weights = np.exp(preference.astype(np.float64) - preference.max())
        chances.append(float(weights[choice] / weights.sum()))
    return Confidence(
        scale=chances[0], launch_specification=chances[1], spot_percent=chances[2], scaling_policy=chances[3]
    )


def _expected(model: ServedModel, situation: Situation, parts: list[Part]) -> Expected:
    demand_rps = near_demand_rps(situation, 0.9)
    service = expected_service(model, situation, parts, demand_rps)
    cost, current = hourly_cost_usd(parts), hourly_cost_usd(current_parts(model, situation))
    return Expected(
        hourly_cost_usd=cost,
        current_hourly_cost_usd=current,
        saving_usd_per_hour=current - cost,
        saving_percent=100.0 * (current - cost) / current if current > 0 else None,
        demand_rps=demand_rps / situation.work,
        p95_ms=service.p95_ms,
        late_fraction=service.late_fraction,
        utilization=service.utilization,
    )


def _fleets(model: ServedModel, situation: Situation, decision: Decision) -> tuple[list[Part], list[Part] | None]:
    """Return the recommended fleet, and what a replacement ends with."""
    spec, after, spot_fraction = decision.spec, decision.capacity_after_replacement, decision.spot_fraction
    fleet = recommended_parts(model, situation, spec, decision.capacity, spot_fraction)
    return fleet, None if after is None else recommended_parts(model, situation, spec, after, spot_fraction)


def _risk(model: ServedModel, situation: Situation, decision: Decision) -> int:
    """Return the worst risk of the fleets that a decision leads through."""
    fleet, after = _fleets(model, situation, decision)
    stages = [fleet, *([] if after is None else [after])]
    if decision.replaces:
        stages.append(resized(current_parts(model, situation), decision.capacity))
    return max(performance_risk(model, situation, parts) for parts in stages)


def _rule_advice(model: ServedModel, situation: Situation, decision: Decision) -> RuleAdvice:
    fleet, _ = _fleets(model, situation, decision)
    return RuleAdvice(
        name=str(model.bundle.spec["best_rule"]),
        capacity=decision.capacity,
        launch_specification=model.specification_names[decision.spec],
        spot_percent=round(100.0 * decision.spot_fraction, 6),
        scaling_policy=model.policy_names[decision.policy],
        hourly_cost_usd=hourly_cost_usd(fleet),
        performance_risk=_risk(model, situation, decision),
    )


def _detail(model: ServedModel, situation: Situation) -> dict[str, Any]:
    record = situation.record
    forecast = ForecastDetail(
        lead_minutes=list(LEAD_MINUTES),
        levels=list(QUANTILE_LEVELS),
        requests_per_second=(record["forecast_rps"] / situation.work).tolist(),
        available=bool(record["forecast_available"]),
        anomaly_score=float(record["anomaly_score"]),
    )
    observation = model.codec.as_dict(model.codec.encode(situation.records)[0])
    return {"forecast": forecast, "observation": observation}


def advise(request: RecommendationRequest, model: ServedModel, request_id: str) -> Recommendation:
    """Return the policy's advice for a request, with its expected effect and the reasons.

    Raises:
        RequestError: The request does not fit the bundle, or its constraints leave nothing.
        NoRecommendation: The policy gave no usable answer.
    """
    situation = read_situation(request, model)
    preferences = policy_preferences(model, situation)
    decision = decide(model, situation, request.constraints, preferences)
    rule = decide(model, situation, request.constraints, rule_preferences(model, situation))
    fleet, after = _fleets(model, situation, decision)
    return Recommendation(
        request_id=request_id,
        policy_version=model.bundle.version,
        environment=ENVIRONMENT_VERSION,
        recommendation=RecommendedFleet(
            capacity=decision.capacity,
            change=decision.capacity - int(situation.record["desired"]),
            launch_specification=model.specification_names[decision.spec],
            instance_types=list(model.task.candidates[decision.spec].types),
            spot_percent=round(100.0 * decision.spot_fraction, 6),
            scaling_policy=model.policy_names[decision.policy],
            capacity_after_replacement=decision.capacity_after_replacement,
        ),
        expected=_expected(model, situation, fleet),
        expected_after_replacement=None if after is None else _expected(model, situation, after),
        performance_risk=_risk(model, situation, decision),
        current_performance_risk=performance_risk(
            model, situation, resized(current_parts(model, situation), float(situation.record["in_service"]))
        ),
        reasons=reasons_for(model, situation, decision),
        bounds_applied=list(decision.bounds),
        confidence=_confidence(preferences, decision.choices),
        rule=_rule_advice(model, situation, rule),
        limits=limits_of(situation),
        **(_detail(model, situation) if request.detail else {}),
    )
