"""The development series of the forecast suite: which files, on which step, and which part may be used for what."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Part = Literal["validate", "test"]
Role = Literal["pooled", "unseen"]
Kind = Literal["requests", "other"]
FloatArray = npt.NDArray[np.float64]

SERIES_FILE = Path(__file__).resolve().parent.parent / "configs" / "forecast_series.yaml"
_LEAST_KNOWN_SHARE = 0.5


class SeriesEntry(BaseModel):
    """One line of the file.

    Attributes:
        name: unique name.
        file: path below the data folder.
        column: column of the values.
        source_step_s: step of the file in seconds.
        step_s: step of the suite in seconds, a multiple of the file's.
        role: "pooled" may train shipped weights, "unseen" may not.
        kind: "requests" for request rates, "other" for the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    file: str
    column: str
    source_step_s: Annotated[int, Field(ge=1, le=3600)]
    step_s: Annotated[int, Field(ge=1, le=3600)]
    role: Role
    kind: Kind

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.step_s % self.source_step_s:
            raise ValueError(f"{self.name}: a step of {self.step_s} s is no multiple of {self.source_step_s} s")
        return self


class SeriesList(BaseModel):
    """The file: shares of each series by time, and the series.

    Attributes:
        train: share of a series a model under development is trained on.
        validate_: share after it on which models under development are compared; the rest is the test.
        series: the series, in the order of the tables.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: Annotated[float, Field(gt=0.0, lt=1.0)]
    validate_: Annotated[float, Field(gt=0.0, lt=1.0, alias="validate")]
    series: tuple[SeriesEntry, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.train + self.validate_ >= 1.0:
            raise ValueError(f"train {self.train} and validate {self.validate_} leave nothing to test")
        names = [entry.name for entry in self.series]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"series {name!r} is listed twice")
        return self


@dataclass(frozen=True)
class DevelopmentSeries:
    """A series on a regular grid.

    Attributes:
        name: unique name.
        step_s: length of a step in seconds.
        start: datetime64[s], UTC, start of the first step.
        values: float64[N], in the file's unit; NaN where the source had no reading.
        role: "pooled" or "unseen".
        kind: "requests" or "other".
        cuts: steps before the validation part and before the test part.
    """

    name: str
    step_s: int
    start: np.datetime64
    values: FloatArray
    role: Role
    kind: Kind
    cuts: tuple[int, int]

    def history(self, part: Part) -> FloatArray:
        """Return what a model may be trained on before it is scored on ``part``: everything before it."""
        return self.values[: self.scored(part).start]

    def scored(self, part: Part) -> slice:
        """Return the steps of a part."""
        return slice(*self.cuts) if part == "validate" else slice(self.cuts[1], len(self.values))


@cache
def load_series_list(path: Path = SERIES_FILE) -> SeriesList:
    """Load the list of series (by default the committed one).

    Raises:
        ValueError: a key is unknown, missing or of the wrong type, or a name stands twice.
    """
    try:
        return SeriesList.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: key {key!r}: {first['msg']} (got {first['input']!r})") from error


def load_forecast_series(
    data_dir: Path, *, names: Iterable[str] | None = None, role: Role | None = None
) -> tuple[DevelopmentSeries, ...]:
    """Load development series in the order of the list.

    Args:
        data_dir: the data folder (it holds ``demand/`` and ``anomalies/``).
        names: only these; by default all.
        role: only those of a role.

    Raises:
        ValueError: an unknown name, or a file that is missing or does not hold what the list says.
    """
    listed = load_series_list()
    wanted = [entry.name for entry in listed.series] if names is None else list(names)
    unknown = sorted(set(wanted) - {entry.name for entry in listed.series})
    if unknown:
        raise ValueError(f"series {unknown[0]!r} is not in {SERIES_FILE.name}")
    entries = [entry for entry in listed.series if entry.name in wanted and role in (None, entry.role)]
    return tuple(_load(data_dir, entry, (listed.train, listed.train + listed.validate_)) for entry in entries)


def _load(data_dir: Path, entry: SeriesEntry, shares: tuple[float, float]) -> DevelopmentSeries:
    path = data_dir / entry.file
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    columns = pq.read_schema(path).names
    if entry.column not in columns:
        raise ValueError(f"{path}: no column {entry.column!r}")
    table = pq.read_table(path, columns=["timestamp", entry.column, *({"imputed"} & set(columns))])
    seconds = pc.cast(table["timestamp"], pa.timestamp("s", tz="UTC")).cast(pa.int64()).to_numpy()
    readings = pc.cast(table[entry.column], pa.float64()).to_numpy().astype(np.float64)
    if "imputed" in table.column_names:
        readings = np.where(table["imputed"].to_numpy(), np.nan, readings)
    start_s = int(seconds.min())
    values = to_grid(seconds - start_s, readings, source_step_s=entry.source_step_s, step_s=entry.step_s)
    first, second = (int(round(share * len(values), 6)) for share in shares)
    return DevelopmentSeries(
        entry.name, entry.step_s, np.datetime64(start_s, "s"), values, entry.role, entry.kind, (first, second)
    )


def to_grid(seconds: npt.ArrayLike, readings: npt.ArrayLike, *, source_step_s: int, step_s: int) -> FloatArray:
    """Return the mean reading of each step; NaN where less than half of the step's readings are known.

    Args:
        seconds: int64[M], seconds since the start of the first step, in any order; repeated times are averaged.
        readings: float64[M], NaN where there is none.
        source_step_s: seconds between readings.
        step_s: seconds of a step.

    Returns:
        float64[N], up to the step of the last reading.
    """
    at = np.asarray(seconds, dtype=np.int64) // step_s
    readings = np.asarray(readings, dtype=np.float64)
    known = np.isfinite(readings)
    steps = int(at.max()) + 1
    counts = np.bincount(at[known], minlength=steps)
    sums = np.bincount(at[known], weights=readings[known], minlength=steps)
    enough = counts >= max(1.0, _LEAST_KNOWN_SHARE * step_s / source_step_s)
    return np.where(enough, sums / np.maximum(counts, 1), np.nan)
