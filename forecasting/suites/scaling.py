"""The suite of the capacity models: performance predictor and capacity planner on states and cases they never saw."""

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecasting.capacity.columns import (
    LEVELS,
    MAX_INSTANCES,
    PLAN_MINUTES,
    SLO_P95_MS,
    demand_column,
)
from forecasting.capacity.performance import PerformanceForecast, performance_features
from forecasting.capacity.planner import CapacityPlan, capacity_features
from forecasting.capacity.requirements import CapacityModels, predict_scaling_requirements
from forecasting.capacity.scaling import FleetState
from forecasting.suites.finding import Finding
from telemetry.check import Check

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

NEAR: Final = 1.25
"""A state is near the objective if its p95 is within this factor of 250 ms."""
TARGET_UTILIZATION: Final = 0.6
TIMED_CALLS: Final = 30
LARGEST_MODELS_KB: Final = 800.0
_TARGET: Final = "figures the models are asked for"
_NOTES: Final = (
    "Training and test tables come from the simulator with different seeds; every row is a service, a fleet and a load "
    "of its own. Residual quantiles and the planner's guard come from rows of the training table that the models were "
    "not fitted on; nothing was chosen on the test tables.",
    "Near the objective: states whose true p95 is within a factor 1.25 of 250 ms. The majority class is the accuracy "
    "of always saying the more frequent answer.",
    "A plan is compared with the least size that the kernel finds adequate; short by n means n instances below it.",
    "The tuned rule uses the one target utilization that puts most training cases within one instance.",
)


def scaling_suite(
    models: CapacityModels,
    performance_train: pd.DataFrame,
    performance_test: pd.DataFrame,
    capacity_train: pd.DataFrame,
    capacity_test: pd.DataFrame,
) -> Finding:
    """Measure both models, with simple rivals beside them.

    Args:
        models: Trained on ``performance_train`` and ``capacity_train``.
        performance_train: Performance table (``forecasting.capacity.columns``); the rivals' training.
        performance_test: The same from another seed.
        capacity_train: Capacity table; the rivals' training.
        capacity_test: The same from another seed.
    """
    planner, predictor = models.planner, models.predictor
    answers, plan = predictor.predict(performance_test), planner.plan(capacity_test)
    size = capacity_test["instances"].to_numpy(np.int64)
    plans = rival_plans(capacity_train, capacity_test) | {"planner": plan.adequate}
    seconds = _call_seconds(models, performance_test, capacity_test)
    kilobytes = (len(predictor.content) + len(planner.content)) / 1000.0
    checks = (
        *_performance_checks(performance_test, answers),
        *_plan_checks(plan.adequate, size),
        Check("both models", kilobytes, 0.0, LARGEST_MODELS_KB, "kB", _TARGET),
    )
    return Finding(
        checks=checks,
        tables={
            "Performance predictor, by part of the states": performance_parts(
                performance_train, performance_test, answers
            ),
            "Capacity plans against the least adequate fleet": plan_table(plans, size),
            "Capacity planner, by kind of case": _case_table(capacity_test, plan, size),
            "Intervals": _interval_table(performance_test, answers, plan, size),
            "Seconds": pd.DataFrame({"what": list(seconds), "seconds": list(seconds.values())}),
        },
        figures={
            "scaling_p95": _p95_figure(performance_test, answers),
            "scaling_plans": _plan_figure(plans, size),
        },
        notes=_NOTES,
    )


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _performance_checks(table: pd.DataFrame, answers: PerformanceForecast) -> tuple[Check, ...]:
    error = np.median(_relative(answers.p95_ms, table["p95_ms"]))
    right = float((answers.is_bad == (table["is_bad"] > 0)).mean())
    return (
        Check("p95 of unseen states, median absolute error", float(error), 0.0, 0.10, "1", _TARGET),
        Check("unseen states on the right side of the objective", right, 0.92, 1.0, "1", _TARGET),
    )


def _plan_checks(planned: NDArray[np.int64], size: NDArray[np.int64]) -> tuple[Check, ...]:
    error = planned - size
    return (
        Check("unseen cases within one instance", float((np.abs(error) <= 1).mean()), 0.89, 1.0, "1", _TARGET),
        Check("unseen cases short by more than one", float((error < -1).mean()), 0.0, 0.0, "1", _TARGET),
        Check("shortest plan", float(max(-error.min(), 0)), 0.0, 1.0, "instances", _TARGET),
    )


def _relative(found: FloatArray, wanted: pd.Series) -> FloatArray:
    true = wanted.to_numpy(np.float64)
    return np.asarray(np.abs(found - true) / true)


def performance_parts(train: pd.DataFrame, test: pd.DataFrame, answers: PerformanceForecast) -> pd.DataFrame:
    """Return errors of the predictor and of a linear model on the same features, by part of the states."""
    true, is_bad = test["p95_ms"].to_numpy(), test["is_bad"].to_numpy() > 0
    load = (test["demand_rps"] / (test["capacity_rps"] * test["in_service"])).to_numpy()
    linear = _linear_p95(train, test)
    fails = test["error_rate"].to_numpy() > 0.01
    parts = {
        "all": np.ones(len(test), np.bool_),
        "near the objective": np.abs(np.log(true / SLO_P95_MS)) < np.log(NEAR),
        "below saturation": load < 1.0,
        "beyond saturation": load >= 1.0,
        "with instances on their way": test["booting"].to_numpy() > 0,
        "more than 1 % errors": fails,
    }
    p95, p99 = _relative(answers.p95_ms, test["p95_ms"]), _relative(answers.p99_ms, test["p99_ms"])
    errors = np.abs(answers.error_rate - test["error_rate"].to_numpy())
    rows = []
    for name, part in parts.items():
        if not part.any():
            continue
        share = float(is_bad[part].mean())
        rows.append(
            {
                "states": name,
                "number": int(part.sum()),
                "p95 error, median": float(np.median(p95[part])),
                "p95 error, 90 %": float(np.quantile(p95[part], 0.9)),
                "p99 error, median": float(np.median(p99[part])),
                "error rate, median absolute error": float(np.median(errors[part])),
                "right side": float((answers.is_bad == is_bad)[part].mean()),
                "majority class": max(share, 1.0 - share),
                "linear model: p95 error, median": float(np.median(_relative(linear, test["p95_ms"])[part])),
                "linear model: right side": float(((linear > SLO_P95_MS) == is_bad)[part].mean()),
            }
        )
    return pd.DataFrame(rows)


def _linear_p95(train: pd.DataFrame, test: pd.DataFrame) -> FloatArray:
    values, ahead = performance_features(train)[0], performance_features(test)[0]
    return np.exp(_least_squares(values, np.log(train["p95_ms"].to_numpy()), ahead))


def _least_squares(
    values: NDArray[np.float32], wanted: FloatArray, ahead: NDArray[np.float32], weights: FloatArray | None = None
) -> FloatArray:
    """Return what a linear model of standardised features says of other rows."""
    middle, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    design = np.column_stack([np.ones(len(values)), (values - middle) / spread]).astype(np.float64)
    root = np.ones(len(values)) if weights is None else np.sqrt(weights)
    solution = np.linalg.lstsq(design * root[:, None], wanted * root, rcond=None)[0]
    return np.asarray(np.column_stack([np.ones(len(ahead)), (ahead - middle) / spread]) @ solution)


def rival_plans(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Return the sizes that simple rules and a linear model give unseen cases."""
    size = train["instances"].to_numpy(np.float64)
    known, ahead = _peak_instances(train), _peak_instances(test)
    utilizations = np.arange(0.3, 1.0, 0.01)
    hits = [(np.abs(_whole(known / level) - size) <= 1).mean() for level in utilizations]
    tuned = float(utilizations[int(np.argmax(hits))])
    seen, unseen = capacity_features(train), capacity_features(test)
    factor = _least_squares(seen.values, np.log((size - 0.5) / seen.theory), unseen.values, weights=size)
    return {
        f"rule: demand / {TARGET_UTILIZATION:g} of capacity": _whole(ahead / TARGET_UTILIZATION),
        f"rule, tuned: demand / {tuned:.2f}": _whole(ahead / tuned),
        "queueing and fluid theory": _whole(unseen.theory),
        "linear model on the planner's features": _whole(unseen.theory * np.exp(factor)),
    }


def _peak_instances(table: pd.DataFrame) -> FloatArray:
    """Return [N] the highest demand of the forecast at the case's level, in always busy instances."""
    level = table["demand_level"].to_numpy(np.float64)
    quantiles = [
        [table[demand_column(minutes, quantile)].to_numpy(np.float64) for quantile in LEVELS]
        for minutes in PLAN_MINUTES
    ]
    peak = np.max(quantiles, axis=0)
    at = np.array([np.interp(level[row], LEVELS, peak[:, row]) for row in range(len(table))])
    return np.asarray(at / table["capacity_rps"].to_numpy(np.float64))


def _whole(sizes: FloatArray) -> NDArray[np.int64]:
    return np.clip(np.ceil(sizes - 1e-6), 1, MAX_INSTANCES).astype(np.int64)


def plan_table(plans: dict[str, NDArray[np.int64]], size: NDArray[np.int64]) -> pd.DataFrame:
    """Return how plans compare with the least adequate size, a row for each."""
    rows = []
    for name, planned in plans.items():
        error = planned - size
        rows.append(
            {
                "plan": name,
                "within one": float((np.abs(error) <= 1).mean()),
                "exact": float((error == 0).mean()),
                "short by more than one": float((error < -1).mean()),
                "shortest": int(error.min()),
                "largest excess": int(error.max()),
                "instances over least adequate": float(planned.sum() / size.sum()),
            }
        )
    return pd.DataFrame(rows)


def _case_table(table: pd.DataFrame, plan: CapacityPlan, size: NDArray[np.int64]) -> pd.DataFrame:
    storm = capacity_features(table).is_storm
    spot = table["spot_share"].to_numpy() > 0
    kinds = {
        "overload coming or going on": storm,
        "calm, without spot": ~storm & ~spot,
        "calm, with spot": ~storm & spot,
        "1 to 10 instances": size <= 10,
        "11 to 40 instances": (size > 10) & (size <= 40),
        "41 to 99 instances": size > 40,
    }
    parts = [
        plan_table({name: plan.adequate[kind]}, size[kind]).assign(cases=int(kind.sum()))
        for name, kind in kinds.items()
        if kind.any()
    ]
    return pd.concat(parts, ignore_index=True).rename(columns={"plan": "cases of"})


def _interval_table(
    table: pd.DataFrame, answers: PerformanceForecast, plan: CapacityPlan, size: NDArray[np.int64]
) -> pd.DataFrame:
    p95 = table["p95_ms"].to_numpy()
    held = (p95 >= answers.p95_low_ms) & (p95 <= answers.p95_high_ms)
    sized = (size >= plan.low) & (size <= plan.high)
    return pd.DataFrame(
        {
            "interval": ["p95", "instances"],
            "meant to hold": [0.9, 0.9],
            "holds": [float(held.mean()), float(sized.mean())],
        }
    )


def _call_seconds(models: CapacityModels, states: pd.DataFrame, cases: pd.DataFrame) -> dict[str, float]:
    """Return median wall-clock seconds of single calls, and the seconds of a row in a call of many."""
    state, case = states.iloc[[0]], cases.iloc[[0]]
    fleet, demand = example_request(cases)
    leads = [float(minutes) for minutes in PLAN_MINUTES]

    def median(work: Callable[[], object], calls: int) -> float:
        return float(np.median([_seconds(work) for _ in range(calls)]))

    return {
        "predictor, one state": median(lambda: models.predictor.predict(state), TIMED_CALLS),
        "predictor, a state of many": _seconds(lambda: models.predictor.predict(states)) / len(states),
        "planner, one case": median(lambda: models.planner.plan(case), TIMED_CALLS),
        "planner, a case of many": _seconds(lambda: models.planner.plan(cases)) / len(cases),
        "predict_scaling_requirements, 4 hours": median(
            lambda: predict_scaling_requirements(fleet, demand, models, lead_minutes=leads), 5
        ),
    }


def example_request(cases: pd.DataFrame) -> tuple[FleetState, FloatArray]:
    """Return fleet and forecast, [``PLAN_MINUTES``, ``LEVELS``], of the first case of a capacity table."""
    row = cases.iloc[0]
    names = set(FleetState.__dataclass_fields__) & set(cases.columns)
    values = {name: row[name] for name in names} | {"demand_rps": float(row["demand_now_rps"])}
    demand = [[float(row[demand_column(minutes, level)]) for level in LEVELS] for minutes in PLAN_MINUTES]
    return FleetState(**values), np.array(demand)


def _p95_figure(table: pd.DataFrame, answers: PerformanceForecast) -> "Figure":
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(5.5, 5.5), layout="constrained")
    axis = drawn.subplots()
    axis.loglog(table["p95_ms"], answers.p95_ms, ".", markersize=2, alpha=0.5)
    ends = (10.0, 10_000.0)
    axis.plot(ends, ends, color="0.4", linewidth=0.8)
    axis.axvline(SLO_P95_MS, color="0.6", linewidth=0.8)
    axis.axhline(SLO_P95_MS, color="0.6", linewidth=0.8)
    axis.set_xlabel("p95 of the simulator, ms")
    axis.set_ylabel("p95 predicted, ms")
    return drawn


def _plan_figure(plans: dict[str, NDArray[np.int64]], size: NDArray[np.int64]) -> "Figure":
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.5, 4.5), layout="constrained")
    axis = drawn.subplots()
    edges = np.arange(-10, 21)
    for name, planned in plans.items():
        counts = np.histogram(np.clip(planned - size, -10, 20), bins=np.append(edges, 21) - 0.5)[0]
        axis.step(edges, counts / len(size), where="mid", label=name)
    axis.set_yscale("log")
    axis.set_xlabel("instances planned beyond the least adequate (ends hold what is further out)")
    axis.set_ylabel("share of cases")
    axis.legend(fontsize=8)
    return drawn
