"""Random services on random instance types: the part of a table row that does not change with time.

Ranges are those the environment randomises in training, and AWS's instance types of 2 to 16 vCPU that are not
burstable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simulators.catalogue import REFERENCE_TYPE, TYPES, Catalogue, InstanceType, LaunchSpecification
from simulators.physics import Physics, ServiceObjective, Workload, WorldSettings, memory_slots, physics_record
from simulators.records import PHYSICS

Routing = Literal["round_robin", "least_outstanding_requests"]

CV2: Final = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
ROUTINGS: Final[tuple[Routing, ...]] = ("round_robin", "least_outstanding_requests")
STEADY_TYPES: Final = tuple(item for item in TYPES if not item.is_burstable)
CPU_MS: Final = (10.0, 200.0)
TIMEOUT_S: Final = (1.0, 30.0)
QUEUE_LIMIT_S: Final = (2.0, 30.0)
APP_MEDIAN_S: Final = (15.0, 240.0)
REGISTER_S: Final = 30
_LARGE_REQUEST_SHARE: Final = 0.15


@dataclass(frozen=True)
class Service:
    """One service on one instance type.

    Attributes:
        item: The instance type.
        settings: Physics, workload and objective.
    """

    item: InstanceType
    settings: WorldSettings

    @property
    def boot_s(self) -> float:
        """Usual seconds from the launch of an instance to its first request."""
        physics = self.settings.physics
        return physics.boot_median_s + physics.app_median_s + physics.register_s / 2.0


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> NDArray[np.float64]:
    """Return draws whose logarithm is uniform."""
    return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), size)))


def draw_services(
    rng: np.random.Generator,
    size: int,
    *,
    cpu_ms: tuple[float, float] = CPU_MS,
    app_median_s: tuple[float, float] = APP_MEDIAN_S,
    p95_ms: Sequence[float] | NDArray[np.float64] | None = None,
) -> list[Service]:
    """Draw services; every one fits into the memory of its instance.

    Args:
        rng: Source of the draws.
        size: How many.
        cpu_ms: Range of the CPU time of a request on the reference type, log-uniform.
        app_median_s: Range of the median start-up time of the application, log-uniform.
        p95_ms: [size] objectives; 250 ms if absent.
    """
    items = rng.integers(len(STEADY_TYPES), size=size)
    cpu = log_uniform(rng, *cpu_ms, size)
    cv2 = rng.choice(CV2, size)
    timeout = log_uniform(rng, *TIMEOUT_S, size)
    retries = rng.integers(0, 4, size)
    queue = log_uniform(rng, *QUEUE_LIMIT_S, size)
    large = rng.uniform(size=size) < _LARGE_REQUEST_SHARE
    memory = np.where(large, log_uniform(rng, 16.0, 256.0, size), log_uniform(rng, 0.5, 16.0, size))
    kilobytes = np.where(large, log_uniform(rng, 64.0, 1024.0, size), log_uniform(rng, 1.0, 64.0, size))
    routing = rng.integers(0, 2, size)
    app = log_uniform(rng, *app_median_s, size)
    objectives = np.full(size, ServiceObjective().p95_ms) if p95_ms is None else np.asarray(p95_ms)
    return [
        Service(
            STEADY_TYPES[items[row]],
            WorldSettings(
                physics=Physics(app_median_s=float(app[row]), routing=ROUTINGS[routing[row]], register_s=REGISTER_S),
                workload=Workload(
                    cpu_ms_per_request=float(cpu[row]),
                    cv2=float(cv2[row]),
                    timeout_s=float(timeout[row]),
                    max_retries=int(retries[row]),
                    queue_limit_s=float(queue[row]),
                    memory_mib_per_request=float(memory[row]),
                    kb_per_request=float(kilobytes[row]),
                ),
                objective=ServiceObjective(p95_ms=float(objectives[row])),
            ),
        )
        for row in range(size)
    ]


@cache
def _catalogue(name: str) -> Catalogue:
    """Return the catalogue of one type: it first, and a second one, since a world prices the reference type."""
    items = {item.name: item for item in TYPES}
    other = REFERENCE_TYPE if name != REFERENCE_TYPE else "m7i.large"
    return Catalogue(types=(items[name], items[other]), candidates=(LaunchSpecification.single(name),))


def service_records(services: Sequence[Service]) -> NDArray[np.void]:
    """Return [N] PHYSICS records of services; type 0 is the service's own."""
    records = np.zeros(len(services), PHYSICS)
    for row, service in enumerate(services):
        records[row] = physics_record(_catalogue(service.item.name), service.settings)[0]
    return records


def service_columns(services: Sequence[Service], records: NDArray[np.void]) -> pd.DataFrame:
    """Return what a table says of its services: the type, the request, and what the physics makes of both."""
    rows = [
        (
            service.item.name,
            service.item.vcpu,
            service.item.memory_gib,
            service.item.network_gbps,
            service.item.price_usd_per_hour,
            service.item.price_usd_per_hour * (1.0 - service.item.spot_saving),
            service.settings.workload.cpu_ms_per_request,
            service.settings.workload.memory_mib_per_request,
            service.settings.workload.kb_per_request,
            service.settings.workload.cv2,
            service.settings.workload.timeout_s,
            service.settings.workload.max_retries,
            float(service.settings.physics.routing == "least_outstanding_requests"),
            service.boot_s,
            memory_slots(service.item, service.settings.workload),
        )
        for service in services
    ]
    table = pd.DataFrame(
        rows,
        columns=[
            "instance_type",
            "vcpu",
            "memory_gib",
            "network_gbps",
            "price_usd_per_hour",
            "spot_usd_per_hour",
            "cpu_ms_per_request",
            "memory_mib_per_request",
            "kb_per_request",
            "cv2",
            "timeout_s",
            "max_retries",
            "least_outstanding",
            "boot_s",
            "memory_slots",
        ],
    )
    table["service_ms"] = records["service_s"][:, 0] * 1000.0
    table["capacity_rps"] = records["capacity_rps"][:, 0]
    table["queue_s"] = records["queue_limit_requests"][:, 0] / records["capacity_rps"][:, 0]
    return table
