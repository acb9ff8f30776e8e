"""Features as a model wants them: numbers without gaps, scaled, categories as columns of zeros and ones.

Everything is learnt from the training part and kept: median and spread of each number, the categories seen. A missing
number becomes its median, with a column of its own that says so where any was missing in training; a category that
was not seen has zeros throughout. Scaled numbers are clipped, so that one reading of 1e12 stays one large number.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.features.observations import UNKNOWN
from telemetry.provenance import write_json

FloatArray = npt.NDArray[np.float64]

_VERSION: Final = 1
_LARGEST: Final = 10.0
_IQR_TO_SIGMA: Final = 1.349


@dataclass(frozen=True)
class NumberScale:
    """How a number is scaled: ``(value - center) / spread``, clipped to ±10.

    Attributes:
        name: Feature name.
        center: Median in training, 0 if it never was known.
        spread: Interquartile range over 1.349 in training, else the standard deviation, else 1.
        is_flagged: Whether a column says that it is missing.
    """

    name: str
    center: float
    spread: float
    is_flagged: bool


@dataclass(frozen=True)
class FeatureTransformer:
    """Learnt encoding of a table of features (see the module). Make it with :func:`fit_transformer`.

    Attributes:
        numbers: Scales of the numeric features, in column order.
        categories: Values seen in training by category feature, sorted; ``unknown`` is never one of them.
    """

    numbers: tuple[NumberScale, ...]
    categories: Mapping[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the encoded columns: numbers, flags, categories."""
        return (
            *(number.name for number in self.numbers),
            *(f"{number.name}_is_missing" for number in self.numbers if number.is_flagged),
            *(f"{name}={value}" for name, values in self.categories.items() for value in values),
        )

    def transform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the encoded table: float64, the index of ``table``, never NaN.

        Raises:
            ValueError: A column of the training table is absent, or holds something else than numbers.
        """
        for name in (*(number.name for number in self.numbers), *self.categories):
            if name not in table:
                raise ValueError(f"column {name!r} is not in the table")
        values = {number.name: _as_numbers(table[number.name]) for number in self.numbers}
        columns = [_scaled(values[number.name], number) for number in self.numbers]
        columns += [np.isnan(values[number.name]).astype(np.float64) for number in self.numbers if number.is_flagged]
        for name, seen in self.categories.items():
            texts = table[name].to_numpy(dtype=object)
            columns += [(texts == value).astype(np.float64) for value in seen]
        encoded = np.column_stack(columns) if columns else np.zeros((len(table), 0))
        return pd.DataFrame(encoded, columns=list(self.columns), index=table.index)

    def transform_one(self, features: Mapping[str, float | str]) -> FloatArray:
        """Return one encoded row, float64 in the order of :attr:`columns`, as ``FeatureStream.update`` gives it.

        Raises:
            ValueError: A feature of the training table is absent.
        """
        row: list[float] = []
        flags: list[float] = []
        for number in self.numbers:
            value = float(_of(features, number.name))
            row.append(float(_scaled(np.array([value]), number)[0]))
            if number.is_flagged:
                flags.append(float(math.isnan(value)))
        texts = [float(_of(features, name) == value) for name, seen in self.categories.items() for value in seen]
        return np.array(row + flags + texts)

    def save(self, path: Path) -> None:
        """Write the encoding as JSON, by a temporary file and a rename."""
        write_json(path, {"version": _VERSION, **asdict(self)})


def fit_transformer(
    table: pd.DataFrame, *, categories: Sequence[str] = (), ignore: Sequence[str] = ("timestamp",)
) -> FeatureTransformer:
    """Learn the encoding of a table of features from its training part.

    Args:
        table: The training part, and nothing else.
        categories: Its text columns.
        ignore: Columns to leave out.

    Raises:
        ValueError: An empty table, an absent category column, or a column that holds something else than numbers.
    """
    if len(table) == 0:
        raise ValueError("the training table has no rows")
    for name in categories:
        if name not in table:
            raise ValueError(f"column {name!r} is not in the table")
    numeric = [str(name) for name in table.columns if name not in categories and name not in ignore]
    return FeatureTransformer(
        tuple(_fit_number(name, _as_numbers(table[name])) for name in numeric),
        {
            name: tuple(sorted({text for text in table[name] if isinstance(text, str)} - {UNKNOWN, ""}))
            for name in categories
        },
    )


def load_transformer(path: Path) -> FeatureTransformer:
    """Read an encoding written by :meth:`FeatureTransformer.save`.

    Raises:
        ValueError: The file is no encoding of this version, with its path.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise ValueError(f"{path}: version {content['version']} of the encoding; expected {_VERSION}")
        numbers = tuple(NumberScale(**number) for number in content["numbers"])
        categories = {str(name): tuple(map(str, seen)) for name, seen in content["categories"].items()}
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a feature encoding: {error}") from error
    for number in numbers:
        if not (math.isfinite(number.center) and number.spread > 0.0 and math.isfinite(number.spread)):
            raise ValueError(f"{path}: {number.name}: center {number.center}, spread {number.spread}")
    return FeatureTransformer(numbers, categories)


def _fit_number(name: str, values: FloatArray) -> NumberScale:
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return NumberScale(name, 0.0, 1.0, True)
    low, center, high = np.quantile(known, (0.25, 0.5, 0.75))
    spread = float(high - low) / _IQR_TO_SIGMA or float(known.std()) or 1.0
    return NumberScale(name, float(center), spread, len(known) < len(values))


def _scaled(values: FloatArray, number: NumberScale) -> FloatArray:
    scaled = (np.where(np.isnan(values), number.center, values) - number.center) / number.spread
    return np.clip(scaled, -_LARGEST, _LARGEST)


def _as_numbers(column: "pd.Series[Any]") -> FloatArray:
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name!r}: expected numbers, column is {column.dtype}") from error
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise ValueError(f"column {column.name!r}, row {row}: {values[row]} is not a finite number")
    return values


def _of(features: Mapping[str, float | str], name: str) -> Any:
    if name not in features:
        raise ValueError(f"feature {name!r} is absent")
    return features[name]
