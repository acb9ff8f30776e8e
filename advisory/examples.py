"""Worked example requests that any bundle answers when they are posted as they stand."""

import math
from typing import Any

from advisory.served import ServedModel


def short_example(model: ServedModel) -> dict[str, Any]:
    """Return a request with an hour of demand: no forecast, the newest value stands for the future."""
    return {
        "demand": {
            "requests_per_second": [402, 410, 415, 431, 440, 452, 455, 470, 481, 490, 512, 520],
            "step_s": 300,
            "last_timestamp": "2026-07-20T09:55:00Z",
        },
        "fleet": {
            "launch_specification": model.specification_names[0],
            "desired": 22,
            "in_service": 21,
            "pending": 1,
            "spot_instances": 0,
        },
        "metrics": {"cpu_utilization": 0.61, "late_fraction": 0.012},
        "constraints": {"min_instances": 4, "max_instances": 60, "max_spot_percent": 60, "max_change": 10},
        "mean_demand_rps": 480,
    }


def day_example(model: ServedModel) -> dict[str, Any]:
    """Return a request with 30 hours of demand, enough for a forecast, and every group of fields."""
    points = [round(520 + 260 * math.sin((step - 100) / 288 * 2 * math.pi) + 9 * (step * 7 % 5)) for step in range(360)]
    return {
        "demand": {"requests_per_second": points, "step_s": 300, "last_timestamp": "2026-07-20T11:55:00Z"},
        "fleet": {
            "launch_specification": model.specification_names[0],
            "desired": 30,
            "in_service": 29,
            "pending": 1,
            "draining": 0,
            "spot_instances": 9,
            "spot_percent": 30,
            "scaling_policy": model.policy_names[0],
        },
        "metrics": {
            "cpu_utilization": 0.58,
            "late_fraction": 0.009,
            "error_fraction": 0.0,
            "minutes_since_bad": 240,
        },
        "market": {
            "spot_usd_per_hour": {model.task.candidates[0].types[0]: 0.0391},
            "minutes_since_interruption": {model.task.candidates[0].types[0]: 35},
        },
        "constraints": {
            "min_instances": 6,
            "max_instances": 60,
            "max_spot_percent": 70,
            "allowed_launch_specifications": model.specification_names,
            "max_change": 12,
            "keep_type": False,
        },
        "mean_demand_rps": 540,
        "detail": True,
    }
