"""The committed split: which part of which demand may train, validate or test."""

import os
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Generic, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Split = Literal["train", "validate", "test"]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
T = TypeVar("T")

SPLITS: tuple[Split, ...] = ("train", "validate", "test")
SPLITS_FILE = Path(__file__).resolve().parent.parent / "configs" / "splits.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Divided(_Strict):
    """Traces cut by time: first ``train``, then ``validate``, the rest is test."""

    traces: tuple[str, ...]
    train: Share
    validate_: Annotated[Share, Field(alias="validate")]

    @model_validator(mode="after")
    def _leave_something_to_test(self) -> Self:
        if self.train + self.validate_ >= 1.0:
            raise ValueError(f"train {self.train} and validate {self.validate_} leave nothing to test")
        return self


class PerSplit(_Strict, Generic[T]):
    """One thing for each split."""

    train: T
    validate_: Annotated[T, Field(alias="validate")]
    test: T

    def of(self, split: Split) -> T:
        """Return the thing of one split."""
        return {"train": self.train, "validate": self.validate_, "test": self.test}[split]


class Splits(_Strict):
    """The split file.

    Attributes:
        divided: traces cut by time.
        whole_test_traces: traces nobody may train or validate on.
        operator_history: share of an unlisted trace that is history; the rest is scored.
        patterns: names of the demand patterns of each split.
        seeds: half-open seed range of each split.
    """

    divided: Divided
    whole_test_traces: tuple[str, ...]
    operator_history: Share
    patterns: PerSplit[tuple[str, ...]]
    seeds: PerSplit[tuple[int, int]]

    @model_validator(mode="after")
    def _keep_splits_apart(self) -> Self:
        _refuse_repeats("trace", [*self.divided.traces, *self.whole_test_traces])
        _refuse_repeats("pattern", [name for split in SPLITS for name in self.patterns.of(split)])
        ranges = sorted((*self.seeds.of(split), split) for split in SPLITS)
        for first, last, split in ranges:
            if first < 0 or last <= first:
                raise ValueError(f"seeds of {split}: [{first}, {last}) is empty or negative")
        for (_, last, split), (first, _, other) in pairwise(ranges):
            if first < last:
                raise ValueError(f"seeds of {split} and {other} overlap: {first} lies below {last}")
        return self

    def traces(self, split: Split) -> tuple[str, ...]:
        """Return the names of the listed traces that have a part in this split."""
        return self.divided.traces + (self.whole_test_traces if split == "test" else ())

    def window(self, trace_name: str, split: Split, length: int) -> slice:
        """Return the ticks of a trace that belong to a split.

        Args:
            trace_name: file name without suffix; an unlisted one follows the operator rule: its history is
                "train", the rest "test", and there is no "validate".
            split: which part.
            length: number of ticks of the whole trace.

        Raises:
            ValueError: the trace has no such part, or the part is empty.
        """
        if trace_name in self.divided.traces:
            cuts = (self.divided.train, self.divided.train + self.divided.validate_)
        elif trace_name in self.whole_test_traces:
            cuts = (0.0, 0.0)
        else:
            cuts = (self.operator_history, self.operator_history)
        edges = (0, *(int(round(cut * length, 6)) for cut in cuts), length)
        index = SPLITS.index(split)
        if edges[index] >= edges[index + 1]:
            raise ValueError(f"trace {trace_name!r} of {length} ticks has no {split} part")
        return slice(edges[index], edges[index + 1])

    def seed_range(self, split: Split) -> range:
        """Return the seeds of generated worlds that belong to a split."""
        return range(*self.seeds.of(split))


@cache
def load_splits(path: Path = SPLITS_FILE) -> Splits:
    """Load a split file (by default the committed one).

    Raises:
        ValueError: a key is unknown, missing or has the wrong type, a name stands twice, or seed ranges
            overlap.
    """
    try:
        return Splits.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: key {key!r}: {first['msg']} (got {first['input']!r})") from error


def _refuse_repeats(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name!r} is listed twice")


def data_folder() -> Path:
    """Return the folder of the public traces: FLEETGYM_DATA, or shared/data beside the project."""
    return Path(os.environ.get("FLEETGYM_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))
