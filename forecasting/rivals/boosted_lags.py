"""Plain LightGBM: one pooled direct multi-horizon quantile regression on lag features, a model per level.

The rival of the project's own forecaster. Trained once on many series, never updated: no blend, no calibration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from forecasting.base import FloatArray
from forecasting.history import HeldHistory, History, held, require_leads
from forecasting.rivals.lag_features import DAY_S, KEPT_DAYS, NAMES, lag_features, scales

if TYPE_CHECKING:
    from lightgbm import Booster

_SHORT_S = 86_400


@dataclass(frozen=True)
class BoostingSettings:
    """How the trees are grown; chosen on the validation part of the development series (docs/models/rivals.md).

    Attributes:
        origins_per_series: origins drawn from each series.
        leads_per_origin: leads drawn for each of them.
        trees: trees per level.
        leaves: leaves per tree.
        rate: learning rate.
        least_rows: rows a leaf must hold.
        feature_share: share of the features tried per tree.
        row_share: share of the rows used per tree.
        seed: of the draws.
    """

    origins_per_series: int = 1500
    leads_per_origin: int = 4
    trees: int = 300
    leaves: int = 63
    rate: float = 0.03
    least_rows: int = 100
    feature_share: float = 0.8
    row_share: float = 0.8
    seed: int = 0


def training_rows(
    histories: Sequence[History], *, horizon_s: int, settings: BoostingSettings
) -> tuple[FloatArray, FloatArray]:
    """Return features float64[R, F] and scaled targets float64[R], as many rows from each series as it allows.

    Raises:
        ValueError: no series is longer than a day and a horizon.
    """
    rng = np.random.default_rng(settings.seed)
    features, targets = [], []
    for history in histories:
        values, horizon = held(history.values), horizon_s // history.step_s
        first, last = DAY_S // history.step_s, len(values) - horizon
        if last <= first:
            continue
        origins = np.sort(rng.integers(first, last, settings.origins_per_series))
        leads = list(range(1, horizon + 1))
        mean, spread = scales(values, origins, history.step_s)
        rows = lag_features(values, origins, leads, step_s=history.step_s, start_s=history.start_s)
        actual = history.values[origins[:, None] + np.asarray(leads)[None, :]]
        wanted = (actual - mean[:, None]) / spread[:, None]
        drawn = rng.random(wanted.shape).argsort(axis=1)[:, : min(settings.leads_per_origin, horizon)]
        at = np.arange(len(origins))[:, None]
        known = np.isfinite(wanted[at, drawn])
        features.append(rows[at, drawn][known])
        targets.append(wanted[at, drawn][known])
    if not features:
        raise ValueError("no series is longer than a day and a horizon; nothing to train on")
    return np.concatenate(features), np.concatenate(targets)


def train(
    histories: Sequence[History],
    *,
    levels: Sequence[float],
    horizon_s: int,
    settings: BoostingSettings | None = None,
) -> "BoostedLags":
    """Train a model per level on the pooled rows of many series, single-threaded and repeatable."""
    import lightgbm

    settings = settings or BoostingSettings()
    features, targets = training_rows(histories, horizon_s=horizon_s, settings=settings)
    data = lightgbm.Dataset(features, targets, feature_name=[name.replace(" ", "_").replace(",", "") for name in NAMES])
    common: dict[str, Any] = {
        "objective": "quantile",
        "num_leaves": settings.leaves,
        "learning_rate": settings.rate,
        "min_data_in_leaf": settings.least_rows,
        "feature_fraction": settings.feature_share,
        "bagging_fraction": settings.row_share,
        "bagging_freq": 1,
        "num_threads": 1,
        "seed": settings.seed,
        "deterministic": True,
        "verbosity": -1,
    }
    return BoostedLags({level: lightgbm.train(common | {"alpha": level}, data, settings.trees) for level in levels})


class BoostedLags:
    """The trained models, one per level.

    Args:
        models: a LightGBM model per quantile level.
    """

    def __init__(self, models: Mapping[float, "Booster"]) -> None:
        self.models = dict(sorted(models.items()))

    def forecaster(self, *, step_s: int, start: np.datetime64) -> "BoostedLagsForecaster":
        """Return a stream of one series.

        Args:
            step_s: seconds per step.
            start: datetime64, UTC, start of the first step it will see.
        """
        return BoostedLagsForecaster(self, step_s=step_s, start_s=int(start.astype("datetime64[s]").astype(np.int64)))

    def save(self, folder: Path) -> None:
        """Write a text file per level."""
        from telemetry.provenance import write_text

        for level, model in self.models.items():
            write_text(folder / f"q{level}.txt", model.model_to_string())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: the folder holds no model.
        """
        import lightgbm

        files = sorted(folder.glob("q*.txt"))
        if not files:
            raise ValueError(f"{folder}: no model files q*.txt")
        return cls(
            {float(file.stem[1:]): lightgbm.Booster(model_str=file.read_text(encoding="utf-8")) for file in files}
        )


class BoostedLagsForecaster:
    """A stream of one series, forecast by shared models.

    Args:
        models: the trained models.
        step_s: seconds per step.
        start_s: seconds since 1970 of the first step it will see.
    """

    def __init__(self, models: BoostedLags, *, step_s: int, start_s: int) -> None:
        if step_s < 1 or DAY_S % step_s:
            raise ValueError(f"step_s is {step_s}; expected a whole part of a day")
        self._models = models
        self._step_s = step_s
        self._start_s = start_s
        self._steps = 0
        self._past = HeldHistory(KEPT_DAYS * DAY_S // step_s)

    @property
    def ready(self) -> bool:
        """Whether a full day has been seen."""
        return self._past.seen * self._step_s >= _SHORT_S

    def fit(self, history: npt.ArrayLike) -> Self:
        """Start again from ``history``; the shared models stay as they are."""
        values = np.asarray(history, dtype=np.float64)
        self._past.restart(values)
        self._steps = len(values)
        return self

    def update(self, value: float) -> None:
        """Take the value of the next step."""
        self._past.append(value)
        self._steps += 1

    def forecast(self, leads: Sequence[int], levels: Sequence[float]) -> FloatArray:
        """Return float64[len(leads), len(levels)]; before a full day the last value (zeros before any)."""
        steps = require_leads(leads)
        unknown = [level for level in levels if level not in self._models.models]
        if unknown:
            raise ValueError(f"level {unknown[0]} was not trained; there are {list(self._models.models)}")
        past = self._past.values()
        if not self.ready:
            return np.full((len(steps), len(levels)), past[-1] if len(past) else 0.0)
        origin = np.array([len(past) - 1])
        start_s = self._start_s + (self._steps - len(past)) * self._step_s
        rows = lag_features(past, origin, steps.tolist(), step_s=self._step_s, start_s=start_s)[0]
        mean, spread = scales(past, origin, self._step_s)
        columns = [np.asarray(self._models.models[level].predict(rows, num_threads=1)) for level in levels]
        return np.maximum.accumulate(np.maximum(mean[0] + spread[0] * np.stack(columns, axis=1), 0.0), axis=1)
