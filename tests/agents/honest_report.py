"""A report by hand that follows from itself, to be falsified."""

import json


def row(infra: float, penalty: float, refunds: float = 0.5, launches: float = 7.0) -> dict[str, float]:
    return {
        "total_usd": infra + penalty,
        "infra_usd": infra,
        "slo_penalty_usd": penalty,
        "refunds_usd": refunds,
        "bad_minutes_fraction": 0.004,
        "longest_bad_run_minutes": 6.0,
        "slo_attainment_requests": 0.998,
        "p95_ms": 120.0,
        "p99_ms": 210.0,
        "mean_utilization": 0.55,
        "interruptions": 3.0,
        "launches_per_day": launches,
        "type_changes_per_day": 0.5,
    }


def repair(content: dict) -> None:
    """Make gap and waterfall follow from the figures, as an honest report would."""
    traces, reference = list(content["reference"]), content["reference"]
    ours, rule = content["policies"]["ppo"], content["policies"][content["best_rule"]]
    saved = {trace: rule[trace]["total_usd"] - ours[trace]["total_usd"] for trace in traces}
    possible = {trace: rule[trace]["total_usd"] - content["bound"][trace] for trace in traces}
    over = {
        name: sum(item[trace] / reference[trace] for trace in traces) for name, item in (("s", saved), ("p", possible))
    }
    value = over["s"] / over["p"]
    content["gap_closed"] = {
        "vs": content["best_rule"],
        "value": round(value, 6),
        "ci95": [value - 0.1, value + 0.1],
        "wins": sum(item > 0 for item in saved.values()),
        "of": len(traces),
    }

    def steps(total: float) -> dict[str, float]:
        return {"spot": total - 1.0, "type": 0.25, "size": 0.25, "timing": 0.25, "other": 0.25, "total": total}

    content["waterfall"] = {
        "of": "ppo",
        "vs": content["best_rule"],
        "usd": {trace: steps(saved[trace]) for trace in traces},
        "over_reference": steps(over["s"] / len(traces)),
    }


def honest_report() -> dict:
    """Two traces of very different size: on the small one the learned policy closes most of a tiny gap."""
    content = {
        "learned": "ppo",
        "best_rule": "rule-a",
        "validation_total_over_reference": {"rule-a": 0.3, "rule-b": 0.4},
        "reference": {"shop": 100.0, "radio": 1000.0},
        "bound": {"shop": 12.0, "radio": 240.0},
        "policies": {
            "rule-a": {"shop": row(30.0, 5.0), "radio": row(245.0, 5.0)},
            "rule-b": {"shop": row(33.0, 6.0, launches=9.0), "radio": row(270.0, 5.0, launches=9.0)},
            "ppo": {"shop": row(28.0, 4.0), "radio": row(240.0, 2.0)},
        },
        "kind": {"rule-a": "rule", "rule-b": "aws", "ppo": "rl"},
    }
    repair(content)
    return json.loads(json.dumps(content))
