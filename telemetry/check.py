"""One line of a report: a measured figure and the range it has to lie in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A measured figure beside the range that a document, a theory or a public measurement gives.

    Attributes:
        name: What was measured.
        measured: The figure.
        low: Least value that agrees with the source.
        high: Greatest value that agrees.
        unit: Unit of the three figures; ``1`` for ratios and shares.
        source: Where the range comes from.
    """

    name: str
    measured: float
    low: float
    high: float
    unit: str
    source: str

    @property
    def holds(self) -> bool:
        """Whether the figure lies in its range."""
        return self.low <= self.measured <= self.high
