"""What an operator would send for a fleet of the simulator (the inverse of ``advisory.reading``), and a client."""

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch

Json = dict[str, Any]
MONDAY = datetime(2026, 7, 20, tzinfo=UTC)


class Client:
    """Talks to an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(method, path, **arguments)

        return anyio.run(send)

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def recommend(self, body: Json, **headers: str) -> httpx.Response:
        return self.request("POST", "/v1/recommendations", json=body, headers=headers)


def number_or_null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def by_type(values: NDArray[np.float64], task: TaskSettings) -> dict[str, float]:
    """Return values of types whose least over each launch specification is the given one."""
    found: dict[str, float] = {}
    for candidate, value in zip(task.candidates, values, strict=False):
        for name in candidate.types:
            found[name] = max(found.get(name, -np.inf), float(value))
    return found


def visible_demand(fleets: FleetBatch, index: int, points: int) -> list[float]:
    """Return the newest visible minutes of a fleet's demand tape."""
    bank: Bank = fleets.bank
    fleet = fleets.state[index]
    world = bank.worlds[fleet["world"]]
    delay = int(bank.physics[world["physics"]]["metric_delay_ticks"])
    end = int(bank.tapes[world["tape"]]["start"]) + int(fleet["tick"]) - delay
    first = max(int(bank.tapes[world["tape"]]["start"]), end - points)
    return [float(value) for value in bank.demand_rps[first:end]]


def request_of(fleets: FleetBatch, index: int, task: TaskSettings, points: int = 60) -> Json:
    """Return the request that carries a fleet's TELEMETRY record, every field of it."""
    record = fleets.readings[index]
    delay_s = task.world.physics.metric_delay_s
    decided = MONDAY + timedelta(minutes=float(record["minute_of_week"]))
    types = [item.name for item in task.catalogue().types]
    counts = {name: int(count) for name, count in zip(types, record["type_count"], strict=False) if count}
    return {
        "demand": {
            "requests_per_second": visible_demand(fleets, index, points),
            "step_s": 60,
            "last_timestamp": (decided - timedelta(seconds=60 + delay_s)).isoformat(),
        },
        "fleet": {
            "launch_specification": task.candidates[int(record["spec"])].name,
            "desired": int(record["desired"]),
            "in_service": int(record["in_service"]),
            "pending": int(record["pending"]),
            "draining": int(record["draining"]),
            "spot_instances": int(record["spot_in_use"]),
            "spot_percent": 100.0 * float(record["spot_fraction"]),
            "scaling_policy": task.menu[int(record["policy"])].name,
            "type_counts": counts,
            "leaving": int(record["leaving"]),
            "commitment_usd_per_hour": float(record["commitment_usd_per_hour"]),
            "commitment_used": float(record["commitment_used"]),
            "refreshing": bool(record["refreshing"]),
        },
        "metrics": {
            "cpu_utilization": number_or_null(record["cpu_utilization"]),
            "requests_per_target": number_or_null(record["requests_per_target"]),
            "late_fraction": float(record["late_fraction"]),
            "error_fraction": float(record["error_fraction"]),
            "bad_recent": float(record["bad_recent"]),
            "minutes_since_bad": float(record["minutes_since_bad"]),
        },
        "market": {
            "spot_usd_per_hour": by_type(record["candidate_spot_usd_per_hour"], task),
            "minutes_since_launch_failure": by_type(record["minutes_since_launch_failure"], task),
            "minutes_since_interruption": by_type(record["minutes_since_interruption"], task),
        },
        "mean_demand_rps": float(record["mean_demand_rps"]),
        "telemetry": {
            "capacity_rps": float(record["capacity_rps"]),
            "forecast_rps": record["forecast_rps"].tolist(),
            "forecast_available": bool(record["forecast_available"]),
            "anomaly_score": float(record["anomaly_score"]),
        },
        "detail": True,
    }


def fresh_fleets(bank: Bank, menu: NDArray[np.void], size: int, seed: int = 0) -> FleetBatch:
    """Return fleets at the start of a day, worlds in turn."""
    fleets = FleetBatch(bank, menu, size)
    worlds = np.arange(size) % len(bank.worlds)
    starts = bank.tapes["first_tick"][bank.worlds["tape"][worlds]].astype(np.int64) + 5 * np.arange(size)
    seeds = np.arange(seed, seed + size, dtype=np.uint64)
    fleets.reset(np.arange(size), worlds, starts, starts + 1000, seeds)
    return fleets
