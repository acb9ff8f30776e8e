"""The shipped weights of the pooled model, read once."""

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from forecasting.demand.boosted import Boosted, load_boosted

WEIGHTS: Final = Path(__file__).resolve().parents[1] / "weights"
DEMAND_FILE: Final = "demand.npz"


@cache
def shipped_boosted(path: Path = WEIGHTS / DEMAND_FILE) -> Boosted:
    """Return the pooled demand model.

    Raises:
        ValueError: The file is missing or was made for another version; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return load_boosted(arrays)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}; make it with scripts/train_models.py") from error
