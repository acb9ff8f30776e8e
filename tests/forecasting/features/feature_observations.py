"""Random observations of a service, for the tests of features."""

import numpy as np
import pandas as pd

from forecasting.features.observations import METRICS

SPRING_DST_S = 1_743_289_200 - 3600
"""2025-03-29 22:00 UTC, hours before Berlin's clocks go forward."""


def observations(
    *,
    step_s: int,
    days: float = 3.0,
    seed: int = 0,
    missing: float = 0.1,
    left_out: float = 0.05,
    outlier: bool = False,
) -> pd.DataFrame:
    """Return a table whose readings are random, missing here and there, with rows left out."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(rng.random(int(days * 86_400 / step_s)) >= left_out)
    table = pd.DataFrame({"timestamp": pd.to_datetime(SPRING_DST_S + rows * step_s, unit="s", utc=True)})
    for metric in METRICS:
        values = rng.random(len(rows)) * (1.0 if metric.high == 1.0 else 10.0 ** rng.integers(0, 8))
        values = np.round(values, 3) if rng.random() < 0.3 else values
        if outlier and metric.high > 1.0:
            values[rng.integers(len(values))] = 1e12
        values[rng.random(len(rows)) < missing] = np.nan
        table[metric.name] = values
    table["instance_type"] = rng.choice(["m6i.large", "c7g.xlarge"], len(rows))
    table["availability_zone"] = "eu-central-1a"
    return table
