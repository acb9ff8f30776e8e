"""The scaling-policy menu: every calibrated rule's policy, as settings and as the kernel's records."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from simulators.records import (
    LEAD_MINUTES,
    POLICY,
    POLICY_FORECAST,
    POLICY_MANUAL,
    POLICY_STATIC,
    POLICY_TARGET_CPU,
    POLICY_TARGET_REQUESTS,
    QUANTILE_LEVELS,
)

PolicyKind = Literal["manual", "static", "target_tracking_cpu", "target_tracking_requests", "forecast"]

_KINDS: Final[dict[PolicyKind, int]] = {
    "manual": POLICY_MANUAL,
    "static": POLICY_STATIC,
    "target_tracking_cpu": POLICY_TARGET_CPU,
    "target_tracking_requests": POLICY_TARGET_REQUESTS,
    "forecast": POLICY_FORECAST,
}
_NATIVE: Final[frozenset[PolicyKind]] = frozenset(
    {"manual", "static", "target_tracking_cpu", "target_tracking_requests"}
)


class ScalingPolicy(BaseModel):
    """One menu entry; a kind reads only the fields that it names.

    Attributes:
        name: Unique in its menu.
        kind: Manual and static (a fixed size) need nothing; target tracking on CPU or on requests per target; forecast.
        target_utilization: Utilisation aimed at: target tracking, static, forecast.
        out_points: Consecutive breaching minutes before target tracking adds capacity.
        in_points: Consecutive low minutes before it removes capacity.
        low_ratio: The low threshold over the target (0.70 for CPU, 0.90 for request counts).
        quantile: Fractional position in the forecast levels (0 is 0.1, 1 is 0.5, 2 is 0.9, 3 is 0.99).
        lead: Index of the longest forecast lead looked at.
        hold_minutes: How long a forecast policy waits before it removes capacity.
        spot_margin: Extra capacity at 100 % spot, share; static and forecast.
        mean_demand_ratio: Demand a static policy provides for, over mean demand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    kind: PolicyKind
    target_utilization: float = Field(0.6, gt=0.05, lt=1.0)
    out_points: int = Field(3, ge=1, le=60)
    in_points: int = Field(15, ge=1, le=120)
    low_ratio: float = Field(0.7, gt=0, lt=1)
    quantile: float = Field(2.0, ge=0, le=len(QUANTILE_LEVELS) - 1)
    lead: int = Field(2, ge=0, le=len(LEAD_MINUTES) - 1)
    hold_minutes: int = Field(10, ge=0, le=240)
    spot_margin: float = Field(0.0, ge=0, le=1)
    mean_demand_ratio: float = Field(1.5, gt=0, le=20)

    @property
    def native(self) -> bool:
        """Whether an Auto Scaling group runs this policy by itself between decisions."""
        return self.kind in _NATIVE


def menu_records(menu: Sequence[ScalingPolicy]) -> NDArray[np.void]:
    """Return the menu as [M] POLICY records.

    Raises:
        ValueError: An empty menu, or a name that stands twice.
    """
    names = [policy.name for policy in menu]
    if not menu:
        raise ValueError("the scaling-policy menu is empty")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"scaling policy {name!r} stands twice in the menu")
    records = np.zeros(len(menu), POLICY)
    for position, policy in enumerate(menu):
        record = records[position]
        record["kind"] = _KINDS[policy.kind]
        record["lead"] = policy.lead
        record["hold_ticks"] = policy.hold_minutes
        for name in (
            "out_points",
            "in_points",
            "target_utilization",
            "low_ratio",
            "quantile",
            "spot_margin",
            "mean_demand_ratio",
        ):
            record[name] = getattr(policy, name)
    return records
