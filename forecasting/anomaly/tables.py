"""A service's metrics with the faults in them: what a ranker is trained and an evaluation is scored on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FaultTable:
    """Metrics of one service and its labelled faults.

    Attributes:
        name: Where it comes from.
        metrics: Names of the columns.
        values: float64[T, M], a row a step; NaN where a metric was not delivered.
        step_s: Seconds a row.
        events_s: float64[E, 2], start and end of each fault, seconds from the start of the first row.
        kinds: Kind of each fault.
    """

    name: str
    metrics: tuple[str, ...]
    values: FloatArray
    step_s: float
    events_s: FloatArray
    kinds: tuple[str, ...]

    def only(self, metric: str, kinds: frozenset[str] | None = None) -> "FaultTable":
        """Return the table with one metric, and only the events of some kinds.

        Raises:
            ValueError: no such metric.
        """
        if metric not in self.metrics:
            raise ValueError(f"{self.name} has no metric {metric!r}; it has {', '.join(self.metrics)}")
        kept = [at for at, kind in enumerate(self.kinds) if kinds is None or kind in kinds]
        column = self.metrics.index(metric)
        return FaultTable(
            self.name,
            (metric,),
            self.values[:, column : column + 1],
            self.step_s,
            self.events_s[kept].reshape(-1, 2),
            tuple(self.kinds[at] for at in kept),
        )
