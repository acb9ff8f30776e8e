"""A report as the comparison writes it, with made-up figures, and days of made-up fleets."""

from typing import Any

import numpy as np

from envs.history import COLUMNS, FleetHistory

Json = dict[str, Any]
TRACES = {
    "worldcup98_1min": "requests",
    "aws_elb_request_count": "requests",
    "google_cluster": "other",
    "twitter_stream": "other",
    "flash_crowd#2000000": "other",
}
PATTERN = "flash_crowd#2000000"
LEARNED, BEST = "ppo", "forecast-lean"
POLICIES = {
    LEARNED: ("rl", 0.231, 0.0019),
    BEST: ("rule", 0.246, 0.0035),
    "forecast <b>cautious</b>": ("rule", 0.262, 0.0012),
    "spot-mix": ("rule", 0.251, 0.0042),
    "target-tracking-cpu": ("aws", 0.347, 0.0072),
    "mixed-group": ("aws", 0.301, 0.0061),
}


def history_of(**columns: Any) -> FleetHistory:
    """A history with these columns, every other one 0."""
    history = FleetHistory()
    entries = len(next(iter(columns.values())))
    for name in COLUMNS:
        history._columns[name].extend(float(value) for value in columns.get(name, np.zeros(entries)))
    return history


def example_day(seed: int, *, spot_share: float = 0.6, steps: int = 288) -> FleetHistory:
    """A day of a fleet that follows a daily wave."""
    rng = np.random.default_rng(seed)
    hours = np.arange(1, steps + 1) / 12.0
    demand = 500 * (1.2 + np.sin(2 * np.pi * (hours - 8) / 24)) * rng.lognormal(0, 0.03, steps)
    wanted = np.ceil(demand / 40) + 2
    spot = np.floor(spot_share * wanted)
    pending = np.maximum(0, np.diff(wanted, prepend=wanted[0]))
    return history_of(
        on_demand=wanted - spot,
        spot=spot,
        pending=pending,
        draining=np.maximum(0, -np.diff(wanted, prepend=wanted[0])),
        desired=wanted + pending,
        capacity_rps=70 * wanted,
        demand_rps=demand,
        bad_minutes=(rng.random(steps) < 0.01) * 3,
        interruptions=rng.random(steps) < 0.004,
        bill_usd=wanted * 0.004,
        penalty_usd=(rng.random(steps) < 0.01) * 0.4,
        reference_usd=demand / 24 * 0.096 / 12,
        spec=rng.integers(0, 2, 1).repeat(steps),
        policy=np.full(steps, 3),
        spot_fraction=np.full(steps, spot_share),
        minute_of_week=(np.arange(1, steps + 1) * 5 + 3 * 1440) % 10080,
    )


def _figures(total: float, bad: float, reference: float) -> Json:
    bill = 0.93 * total * reference
    return {
        "total_usd": total * reference,
        "infra_usd": bill,
        "slo_penalty_usd": total * reference - bill,
        "refunds_usd": 0.01 * reference,
        "bad_minutes_fraction": bad,
        "longest_bad_run_minutes": 7.0,
        "slo_attainment_requests": 1.0 - bad / 3,
        "p95_ms": 143.2,
        "p99_ms": 251.8,
        "mean_utilization": 0.47,
        "interruptions": 3.2,
        "launches_per_day": 41.0,
        "type_changes_per_day": 0.4,
    }


def contract_content() -> Json:
    """Only what the contract of report.json demands."""
    rng = np.random.default_rng(5)
    reference = {trace: 180.0 + 25 * place for place, trace in enumerate(TRACES)}
    spread = {trace: 0.85 + 0.08 * place for place, trace in enumerate(TRACES)}
    kinds = {name: kind for name, (kind, _, _) in POLICIES.items()}
    policies = {
        name: {trace: _figures(total * spread[trace], bad * spread[trace], reference[trace]) for trace in TRACES}
        for name, (_, total, bad) in POLICIES.items()
    }
    for number in range(60):
        name = f"forecast, price rank {1 + number // 11}, {number % 11 * 10} % spot"
        total, bad = float(rng.uniform(0.236, 0.9)), float(rng.lognormal(-5.5, 1.2))
        kinds[name] = "constant"
        policies[name] = {trace: _figures(total * spread[trace], bad, reference[trace]) for trace in TRACES}
    return {
        "learned": LEARNED,
        "best_rule": BEST,
        "reference": reference,
        "bound": {trace: 0.17 * spread[trace] * reference[trace] for trace in TRACES},
        "policies": policies,
        "kind": kinds,
        "calibration": {BEST: "300 trials on 24 training worlds: 0.241 of reference.", "mixed-group": "300 trials."},
        "trace_kind": dict(TRACES),
        "infeasible_minutes": dict.fromkeys(TRACES, 0.0) | {PATTERN: 12.0},
        "gap_closed": {"vs": BEST, "value": 0.197, "ci95": [0.121, 0.272], "wins": 4, "of": 5},
        "bill_at_equal_bad_minutes": {"vs": BEST, "value": 0.263, "ci95": [0.182, 0.331]},
        "seeds": [1, 2, 3],
    }


def full_content() -> Json:
    """Every key that a report can have."""
    content = contract_content()

    def summary(factor: float, traces: list[str]) -> Json:
        return {
            "traces": traces,
            "policies": {
                name: {"total": factor * total, "bad_minutes_fraction": factor * bad}
                for name, (_, total, bad) in POLICIES.items()
            },
            "bound": 0.17 * factor,
            "gap_closed": {"vs": BEST, "value": 0.2 / factor, "ci95": [0.1, 0.3], "wins": 1, "of": len(traces)},
        }

    groups = {
        "requests": [trace for trace, kind in TRACES.items() if kind == "requests"],
        "other": ["google_cluster", "twitter_stream"],
        "pattern": [PATTERN],
    }
    shift = ("as tested", "every spot pool hot", "boot and application start doubled", "arm64 compute units -20 %")
    steps = {"spot": 0.004, "type": 0.006, "size": 0.009, "timing": -0.005, "other": 0.001, "total": 0.015}
    cells = {
        name: {key: {"total": total * factor, "bad_minutes_fraction": 0.004} for key, factor in factors.items()}
        for factors in ({"5 min": 1.0, "1 h": 1.08, "1 day": 1.3},)
        for name, total in ((BEST, 0.246), (LEARNED, 0.231))
    }
    return content | {
        "first_line": "The learned policy costs 0.0112 of reference less than forecast, price rank 1, 60 % spot, the "
        "best constant action in hindsight (95 % interval 0.0061 to 0.0165).",
        "partial": False,
        "rows": [
            {
                "name": name,
                "kind": kind,
                "total": total,
                "bill": 0.93 * total,
                "penalty": 0.07 * total,
                "refunds": 0.01,
                "bad_minutes_fraction": bad,
            }
            for name, (kind, total, bad) in POLICIES.items()
        ],
        "bound_over_reference": 0.17,
        "by_kind": {kind: summary(1.0 + 0.1 * place, traces) for place, (kind, traces) in enumerate(groups.items())},
        "per_trace": {
            trace: {
                "kind": next(kind for kind, traces in groups.items() if trace in traces),
                "best_rule": 0.246 * factor,
                "aws": 0.301 * factor,
                "learned": 0.231 * factor,
                "bound": 0.17 * factor,
                "gap_closed": {"vs": BEST, "value": 0.2, "ci95": [0.1, 0.3], "wins": 1, "of": 1},
            }
            for trace, factor in ((trace, 0.85 + 0.08 * place) for place, trace in enumerate(TRACES))
        },
        "shift": {name: summary(1.0 + 0.12 * place, list(TRACES)) for place, name in enumerate(shift)},
        "cadence": cells,
        "adherence": {
            BEST: {
                "all": {"total": 0.246, "bad_minutes_fraction": 0.003},
                "half": {"total": 0.259, "bad_minutes_fraction": 0.006},
            },
            LEARNED: {
                "all": {"total": 0.231, "bad_minutes_fraction": 0.002},
                "half": {"total": 0.241, "bad_minutes_fraction": 0.005},
            },
        },
        "perfect_forecasts": {"rule": BEST, "own": 0.246, "perfect": 0.219, "bound": 0.17},
        "front": {BEST: [[0.0005, 0.31], [0.0019, 0.27], [0.0035, 0.229], [0.012, 0.205]]},
        "waterfall": {"of": LEARNED, "vs": BEST, "over_reference": steps, "usd": dict.fromkeys(TRACES, steps)},
        "target_tracking": {
            "calibrated": [
                {
                    "name": "target-tracking-cpu",
                    "total_saved": {"vs": "target-tracking-cpu", "value": 0.41, "ci95": [0.3, 0.5]},
                    "bad_minutes_less": 0.62,
                    "bill_at_equal_bad_minutes": {"vs": "target-tracking-cpu", "value": None, "ci95": [None, None]},
                }
            ],
            "on_demand": [
                {
                    "name": "target-tracking-cpu, price rank 1, 0 % spot",
                    "bill_saved": 0.55,
                    "bad_minutes_fraction": [0.01, 0.02],
                    "bill": [0.3, 0.6666],
                    "waterfall": steps,
                }
            ],
        },
        "tight_bound": {trace: 1.08 * usd for trace, usd in content["bound"].items()},
        "validation_total_over_reference": {BEST: 0.244, "spot-mix": 0.25},
        "one_action": {LEARNED: {"action": "forecast, price rank 1, 60 % spot", "share": 0.62}},
        "apart": [],
        "findings": [],
        "planner": {
            "windows": "First two days of each trace, one market.",
            **summary(0.9, list(TRACES)),
            "per_trace": {
                trace: {"planner": 0.25 - 0.01 * place, **{name: total for name, (_, total, _) in POLICIES.items()}}
                for place, trace in enumerate(TRACES)
            },
        },
        "seeds": [2, 1, 3],
        "seeds_table": [
            {
                "seed": seed,
                "name": LEARNED if seed == 2 else f"{LEARNED} seed {seed}",
                "total": 0.229 + 0.001 * seed,
                "bad_minutes_fraction": 0.0019,
                "gap_closed": {"vs": BEST, "value": 0.22 - 0.01 * seed, "ci95": [0.1, 0.3], "wins": 4, "of": 5},
                "launches_per_day": 40.0 + seed,
                "type_changes_per_day": 0.4,
                "worst_trace": {"trace": "twitter_stream", "ratio": 1.01},
            }
            for seed in (2, 1, 3)
        ],
        "gap_closed_over_seeds": {"vs": BEST, "value": 0.2, "ci95": [0.11, 0.29], "seeds": 3},
    }


def example_days() -> dict[str, dict[str, FleetHistory]]:
    """Two traces' days under three policies."""
    names = (LEARNED, BEST, "mixed-group")
    return {
        trace: {name: example_day(place, spot_share=0.3 + 0.2 * number) for number, name in enumerate(names)}
        for place, trace in enumerate(("worldcup98_1min", PATTERN))
    }
