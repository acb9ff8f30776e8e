"""Plain tables from the simulator's own physics, for the models that learn from it (``forecasting.capacity``)."""

from simulators.tables.capacity import capacity_table
from simulators.tables.performance import performance_table

__all__ = ["capacity_table", "performance_table"]
