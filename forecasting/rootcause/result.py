"""What root-cause analysis answers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Factor:
    """One metric that speaks for the cause.

    Attributes:
        metric: service and metric, or the metric alone where there is one service.
        deviation_z: how far it is from what was expected, in its own usual spreads.
        ratio: actual over expected.
        share: its part in the verdict, 0..1; the shares of a verdict add up to 1.
    """

    metric: str
    deviation_z: float
    ratio: float
    share: float


@dataclass(frozen=True)
class Correlation:
    """A metric that moved with the leading one, and their correlation, -1..1."""

    metric: str
    correlation: float


@dataclass(frozen=True)
class Candidate:
    """A possible cause and its probability, 0..1."""

    name: str
    probability: float


@dataclass(frozen=True)
class RootCause:
    """The verdict on one incident.

    Attributes:
        primary_cause: the most likely cause: a service, ``demand``, or the cause in words where there is one service.
        contributing_factors: metrics that speak for it, the strongest first.
        correlated_metrics: other metrics that moved with the strongest one, the closest first.
        pattern_match: the known pattern that it is most like, or None where none fits.
        confidence_score: probability that ``primary_cause`` is right, 0..1.
        recommended_actions: what to do, the first first.
        candidates: every candidate, the most likely first; probabilities add up to 1.
        patterns: every known pattern, the most likely first.
    """

    primary_cause: str
    contributing_factors: tuple[Factor, ...]
    correlated_metrics: tuple[Correlation, ...]
    pattern_match: str | None
    confidence_score: float
    recommended_actions: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    patterns: tuple[Candidate, ...]


def ranked(names: tuple[str, ...], probabilities: list[float]) -> tuple[Candidate, ...]:
    """Return candidates by falling probability; ties keep their order."""
    pairs = [Candidate(name, float(value)) for name, value in zip(names, probabilities, strict=True)]
    return tuple(sorted(pairs, key=lambda item: -item.probability))
