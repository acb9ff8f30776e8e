"""A batch of fleets over one world bank: owns the records, calls the kernel."""

import numpy as np
from numpy.typing import NDArray

from simulators.bank import Bank
from simulators.kernel import reset_batch, step_batch
from simulators.records import BILL_LINES, DECISION, FLEET, MAX_TYPES, OUTCOME, TELEMETRY
from simulators.service import SCRATCH_ROWS

IntArray = NDArray[np.int64]


def infra_usd(outcomes: NDArray[np.void]) -> NDArray[np.float64]:
    """Return the bill before refunds, USD, of each OUTCOME record: the sum of its lines."""
    return np.asarray(np.sum([outcomes[line] for line in BILL_LINES], axis=0, dtype=np.float64))


def work_space() -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """Return the scratch arrays that ``step_batch`` writes to: unscored outcome, sums by type."""
    return np.zeros(1, OUTCOME), np.zeros((SCRATCH_ROWS, MAX_TYPES))


class FleetBatch:
    """Many fleets stepped together.

    Args:
        bank: World tapes, shared and never written.
        menu: [M] POLICY records.
        size: Number of fleets, at least 1.

    Attributes:
        state: [B] FLEET records.
        readings: [B] TELEMETRY records after the latest reset or step.
        outcomes: [B] OUTCOME records of the latest step.
    """

    def __init__(self, bank: Bank, menu: NDArray[np.void], size: int) -> None:
        if size < 1:
            raise ValueError(f"a batch needs at least one fleet, got {size}")
        self.bank = bank
        self.menu = menu
        self.state = np.zeros(size, FLEET)
        self.readings = np.zeros(size, TELEMETRY)
        for name in TELEMETRY.names or ():
            if TELEMETRY[name].shape:
                self.readings[name] = np.nan
        self.outcomes = np.zeros(size, OUTCOME)
        self.decisions = np.zeros(size, DECISION)
        self._work_space = work_space()

    def __len__(self) -> int:
        """Number of fleets."""
        return len(self.state)

    def reset(
        self, indices: IntArray, worlds: IntArray, starts: IntArray, ends: IntArray, seeds: NDArray[np.uint64]
    ) -> None:
        """Start the fleets at ``indices`` anew, each in a world, from a tick, until a tick, with a seed."""
        reset_batch(self.state, self.bank, indices, worlds, starts, ends, seeds, self.readings)

    def step(self, ticks: int, *, detail: bool = False) -> None:
        """Apply ``self.decisions`` and play ``ticks`` ticks; fills ``outcomes`` and ``readings``."""
        self.outcomes.view(np.uint8)[:] = 0
        step_batch(
            self.state,
            self.bank,
            self.menu,
            self.decisions,
            self.outcomes,
            self.readings,
            ticks,
            detail,
            *self._work_space,
        )

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Which fleets have reached their end tick."""
        return np.asarray(self.state["tick"] >= self.state["end_tick"])
