"""The nine kinds of anomaly and the label that each instance carries: window, kind, cause, affected signals.

A kind is a row of the table `KINDS`: its cause, the tape signals it touches, and for every parameter the range that is
accepted, the range of easy instances (strong and clean) and that of hard ones (weak, slow or short, yet something an
operator would want to know). Why each range is what it is stands in docs/anomalies.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from simulators.records import ZONES

Difficulty = Literal["easy", "hard"]
Interval = tuple[float, float]

MINUTES_PER_WEEK: Final = 7 * 1440
_LONGEST = 14 * 1440.0


@dataclass(frozen=True)
class Span:
    """Where a parameter may lie, and where easy and hard instances draw it (log-uniform, or whole numbers).

    Attributes:
        allowed: What an `Anomaly` accepts, both ends included.
        easy: What easy instances draw from.
        hard: What hard instances draw from.
        whole: The value is a whole number, drawn uniformly.
    """

    allowed: Interval
    easy: Interval
    hard: Interval
    whole: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of anomaly.

    Attributes:
        cause: Root cause in one phrase: what root-cause analysis should answer.
        affected: Names of the tape signals it changes (`SIGNALS`), and no others.
        minutes: Length of the window.
        parameters: Strength and shape, by name.
        step_ticks: Start and end are multiples of this.
        starts_at_night: It is drawn between 00:00 and 06:00 of the service's clock, on the full or half hour.
    """

    cause: str
    affected: tuple[str, ...]
    minutes: Span
    parameters: Mapping[str, Span] = field(default_factory=dict)
    step_ticks: int = 1
    starts_at_night: bool = False


SIGNALS: Final = (
    "demand_factor",
    "work_scale",
    "fault_fraction",
    "metric_gap",
    "spot_usd_per_s",
    "pool_state",
    "reclaim",
    "rebalance_lead",
    "zone_down",
)
"""Signals of the demand tape (the first four) and of the market tape."""


def _minutes(easy: Interval, hard: Interval) -> Span:
    return Span((1.0, _LONGEST), easy, hard)


KINDS: Final[Mapping[str, Kind]] = {
    "flash_crowd": Kind(
        cause="a crowd of new users arrives",
        affected=("demand_factor",),
        minutes=_minutes((40.0, 240.0), (60.0, 360.0)),
        parameters={
            "extra_demand": Span((0.05, 20.0), (1.5, 8.0), (0.3, 0.8)),
            "rise_share": Span((0.01, 0.6), (0.04, 0.15), (0.25, 0.45)),
        },
    ),
    "slow_dependency": Kind(
        cause="a dependency answers slowly",
        affected=("work_scale",),
        minutes=_minutes((30.0, 180.0), (60.0, 360.0)),
        parameters={
            "extra_work": Span((0.05, 9.0), (0.8, 3.0), (0.2, 0.5)),
            "rise_share": Span((0.01, 0.9), (0.02, 0.1), (0.3, 0.6)),
        },
    ),
    "retry_storm": Kind(
        cause="clients retry what fails",
        affected=("demand_factor", "fault_fraction"),
        minutes=_minutes((12.0, 60.0), (10.0, 45.0)),
        parameters={
            "failing_fraction": Span((0.01, 0.95), (0.4, 0.85), (0.08, 0.2)),
            "retries": Span((1.0, 5.0), (3.0, 5.0), (2.0, 3.0), whole=True),
        },
    ),
    "zone_outage": Kind(
        cause="a zone is out",
        affected=("pool_state", "zone_down"),
        minutes=_minutes((30.0, 360.0), (8.0, 20.0)),
        parameters={"zone": Span((0.0, ZONES - 1.0), (0.0, ZONES - 1.0), (0.0, ZONES - 1.0), whole=True)},
    ),
    "reclaim_wave": Kind(
        cause="AWS takes spot capacity back",
        affected=("pool_state", "reclaim", "rebalance_lead"),
        minutes=_minutes((60.0, 240.0), (90.0, 240.0)),
        parameters={
            "taken_share": Span((0.05, 1.0), (0.7, 1.0), (0.25, 0.5)),
            "stagger_share": Span((0.0, 0.5), (0.02, 0.06), (0.2, 0.4)),
            "whole_region": Span((0.0, 1.0), (0.0, 1.0), (0.0, 0.0), whole=True),
        },
    ),
    "metric_gap": Kind(
        cause="metrics are not delivered",
        affected=("metric_gap",),
        minutes=_minutes((15.0, 120.0), (3.0, 8.0)),
    ),
    "cost_spike": Kind(
        cause="spot prices rise",
        affected=("spot_usd_per_s",),
        minutes=_minutes((360.0, 1440.0), (480.0, 1440.0)),
        parameters={
            "extra_price": Span((0.05, 3.0), (0.5, 1.5), (0.12, 0.3)),
            "rise_share": Span((0.01, 0.9), (0.01, 0.1), (0.3, 0.6)),
            "whole_region": Span((0.0, 1.0), (1.0, 1.0), (0.0, 1.0), whole=True),
        },
        step_ticks=60,
    ),
    "bot_traffic": Kind(
        cause="a machine sends requests",
        affected=("demand_factor", "work_scale"),
        minutes=_minutes((60.0, 300.0), (60.0, 180.0)),
        parameters={
            "extra_demand": Span((0.05, 10.0), (0.8, 3.0), (0.2, 0.5)),
            "work_ratio": Span((0.05, 8.0), (0.1, 4.0), (0.4, 2.0)),
        },
        starts_at_night=True,
    ),
    "bad_deploy": Kind(
        cause="a deployment is faulty",
        affected=("work_scale", "fault_fraction"),
        minutes=_minutes((20.0, 180.0), (40.0, 300.0)),
        parameters={
            "failing_fraction": Span((0.001, 0.95), (0.05, 0.4), (0.004, 0.02)),
            "extra_work": Span((0.01, 5.0), (0.1, 1.5), (0.05, 0.25)),
            "rollout_share": Span((0.01, 0.9), (0.05, 0.15), (0.2, 0.5)),
        },
    ),
}
"""The library: every kind by name."""


def kind_of(name: str) -> Kind:
    """Return a kind by name.

    Raises:
        ValueError: There is none of that name; the message lists the known ones.
    """
    if name not in KINDS:
        raise ValueError(f"unknown anomaly kind {name!r}; known: {', '.join(KINDS)}")
    return KINDS[name]


@dataclass(frozen=True)
class Anomaly:
    """One anomaly: the label that detectors and root-cause analysis are scored on, and all that its effects need.

    Attributes:
        kind: A key of `KINDS`.
        start_tick: First tick it touches.
        end_tick: One past the last tick it touches.
        parameters: (name, value) of every parameter of its kind, in the table's order.
        seed: Of its own noise and choices; two anomalies never share their luck through the order they stand in.
        difficulty: Which ranges it was drawn from; ``easy`` for one made by hand.

    Raises:
        ValueError: Unknown kind, an empty or negative window, one that is not on the kind's step, a missing or unknown
            parameter, or a value out of range; names kind and field.
    """

    kind: str
    start_tick: int
    end_tick: int
    parameters: tuple[tuple[str, float], ...] = ()
    seed: int = 0
    difficulty: Difficulty = "easy"

    def __post_init__(self) -> None:
        kind = kind_of(self.kind)
        if self.start_tick < 0:
            raise ValueError(f"{self.kind}: start_tick {self.start_tick} is below 0")
        if self.end_tick <= self.start_tick:
            raise ValueError(f"{self.kind}: end_tick {self.end_tick} does not lie after start_tick {self.start_tick}")
        if self.seed < 0:
            raise ValueError(f"{self.kind}: seed {self.seed} is below 0")
        for name, tick in (("start_tick", self.start_tick), ("end_tick", self.end_tick)):
            if tick % kind.step_ticks:
                raise ValueError(f"{self.kind}: {name} {tick} is not a multiple of {kind.step_ticks}")
        if tuple(name for name, _ in self.parameters) != tuple(kind.parameters):
            given, wanted = [name for name, _ in self.parameters], list(kind.parameters)
            raise ValueError(f"{self.kind}: parameters are {given}, expected {wanted}")
        for name, value in self.parameters:
            _check(self.kind, name, value, kind.parameters[name])

    def __getitem__(self, name: str) -> float:
        """Return a parameter by name."""
        return dict(self.parameters)[name]

    @property
    def ticks(self) -> int:
        """Length of the window."""
        return self.end_tick - self.start_tick

    @property
    def cause(self) -> str:
        """Root cause in one phrase."""
        return KINDS[self.kind].cause

    @property
    def affected(self) -> tuple[str, ...]:
        """Tape signals it changes."""
        return KINDS[self.kind].affected

    def check_inside(self, ticks: int) -> None:
        """Refuse a tape of ``ticks`` that ends before the anomaly does.

        Raises:
            ValueError: With kind and field.
        """
        if self.end_tick > ticks:
            raise ValueError(f"{self.kind}: end_tick {self.end_tick} lies beyond the tape's {ticks} ticks")


def _check(kind: str, name: str, value: float, span: Span) -> None:
    low, high = span.allowed
    if not low <= value <= high:
        raise ValueError(f"{kind}: {name} {value:g} lies outside {low:g}..{high:g}")
    if span.whole and value != int(value):
        raise ValueError(f"{kind}: {name} {value:g} is not a whole number")


def make_anomaly(kind: str, start_tick: int, end_tick: int, *, seed: int = 0, **parameters: float) -> Anomaly:
    """Make an anomaly by hand; a parameter that is not given takes the middle of the easy range.

    Args:
        kind: A key of `KINDS`.
        start_tick: First tick.
        end_tick: One past the last tick.
        seed: Of its noise and choices.
        **parameters: Values by name.

    Raises:
        ValueError: As `Anomaly`, or a parameter the kind does not have.
    """
    spans = kind_of(kind).parameters
    for name in parameters:
        if name not in spans:
            raise ValueError(f"{kind}: unknown parameter {name!r}; known: {', '.join(spans) or 'none'}")
    values = {
        name: float(span.easy[0]) if span.whole else (span.easy[0] * span.easy[1]) ** 0.5
        for name, span in spans.items()
    }
    return Anomaly(kind, start_tick, end_tick, tuple((values | parameters).items()), seed)
