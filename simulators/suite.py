"""A frozen set of worlds to cite by name: six patterns x three sizes x calm and hot markets, and replayed traces.

The suite file (``configs/suite/NAME.yaml``) lists each entry with everything it is built from and the hash of what
comes out (``simulators.scenario_files.world_hash``). Building an entry whose world hashes differently is an error: what
two papers call ``fleetgym-suite-1/bursty-20-hot`` is the same world, bit by bit.

So that it stays so on other machines, whose ``exp`` and ``log`` may differ in the last bit, every real number of a
suite world is rounded to 16 binary digits (a relative error below 0.001 %).
"""

import hashlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, draw_market
from simulators.physics import WorldSettings, reference_rps_per_instance
from simulators.scenario import WARMUP_DAYS, generate, replay
from simulators.scenario_files import World, world_hash
from telemetry.provenance import write_text
from telemetry.trace import load_trace

SUITES: Final = Path(__file__).resolve().parent.parent / "configs" / "suite"
HASH: Final = r"^[0-9a-f]{64}$"
_BINARY_DIGITS: Final = 16
_TICKS_PER_DAY: Final = 1440
_HISTORY_TICKS: Final = 7 * _TICKS_PER_DAY
T = TypeVar("T")


class TraceAbsent(FileNotFoundError):
    """A replayed entry whose trace file is not there; the message says which file is needed, and where from."""


class SuiteError(ValueError):
    """A suite file that is wrong, or an entry that no longer builds what it was frozen as."""


class _Entry(BaseModel):
    """What every entry says.

    Attributes:
        id: Name within the suite.
        mean_instances: Reference instances that mean demand needs (fewer where peaks would need more than 90).
        market: ``calm``: no family is hot; ``hot``: every family is.
        market_seed: Seed of the market tape.
        hash: SHA-256 of the world; None until the suite is frozen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    mean_instances: float = Field(gt=0, le=90)
    market: Literal["calm", "hot"]
    market_seed: int = Field(ge=0)
    hash: Annotated[str, Field(pattern=HASH)] | None = None


class GeneratedEntry(_Entry):
    """A world drawn from a named pattern.

    Attributes:
        pattern: Name of the pattern.
        seed: Seed of the demand.
    """

    pattern: str
    seed: int = Field(ge=0)


class ReplayedEntry(_Entry):
    """A world that replays a real trace.

    Attributes:
        trace: File name without suffix.
        file_sha256: Of the trace file.
        first_tick: First playable tick of the trace on one-minute ticks; the week before it is the history that scales
            the trace.
        last_tick: One past the last playable tick.
        seed: Seed of the noise inside steps longer than a minute.
    """

    trace: str
    file_sha256: Annotated[str, Field(pattern=HASH)]
    first_tick: int = Field(ge=_TICKS_PER_DAY)
    last_tick: int
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _a_day_or_more(self) -> Self:
        if self.last_tick - self.first_tick < _TICKS_PER_DAY:
            raise ValueError(f"ticks {self.first_tick}..{self.last_tick} are less than a day ({_TICKS_PER_DAY})")
        return self


class Suite(BaseModel):
    """A suite file.

    Attributes:
        name: The file's name without suffix.
        released: Whether results were published on it; then it is never frozen again, a change is a new suite.
        days: Playable days of a generated entry, after two days that only the forecaster sees.
        generated: Entries that can be built anywhere.
        replayed: Entries that need the real traces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    released: bool
    days: int = Field(ge=1, le=60)
    generated: tuple[GeneratedEntry, ...]
    replayed: tuple[ReplayedEntry, ...] = ()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [entry.id for entry in self.entries]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"entry {name!r} is listed twice")
        return self

    @property
    def entries(self) -> tuple[GeneratedEntry | ReplayedEntry, ...]:
        """All entries, generated ones first."""
        return (*self.generated, *self.replayed)

    def __getitem__(self, name: str) -> GeneratedEntry | ReplayedEntry:
        """Return an entry by id; KeyError names the known ones."""
        for entry in self.entries:
            if entry.id == name:
                return entry
        known = ", ".join(entry.id for entry in self.entries)
        raise KeyError(f"{self.name} has no entry {name!r}; it has {known}")


def load_suite(name: str, *, folder: Path = SUITES) -> Suite:
    """Load a suite by name.

    Raises:
        SuiteError: There is no such suite, or its file has an unknown, missing or wrong key.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(item.stem for item in folder.glob("*.yaml"))) or "none"
        raise SuiteError(f"{path}: no such suite; known: {known}")
    try:
        suite = Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise SuiteError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SuiteError(f"{path}: key {key!r}: {first['msg']} (got {first['input']!r})") from error
    if suite.name != name:
        raise SuiteError(f"{path}: key 'name' is {suite.name!r}, expected {name!r}")
    return suite


def build(suite: Suite, entry: GeneratedEntry | ReplayedEntry, *, traces: Path | None = None) -> World:
    """Build the world of an entry and check that it is the one that was frozen.

    Args:
        suite: The suite.
        entry: One of its entries.
        traces: Folder of the trace files; only replayed entries need it.

    Raises:
        TraceAbsent: The entry's trace file is not there.
        SuiteError: The trace file is another one, or the world differs from the frozen one.
    """
    world = draw(suite, entry, traces=traces)
    found = world_hash(world)
    if found != entry.hash:
        raise SuiteError(
            f"{suite.name}: entry {entry.id!r} builds {found}, expected {entry.hash}: the code that draws worlds has "
            "changed since the suite was frozen (scripts/freeze_suite.py)"
        )
    return world


def draw(suite: Suite, entry: GeneratedEntry | ReplayedEntry, *, traces: Path | None = None) -> World:
    """Build the world of an entry whatever its frozen hash; same arguments and errors as :func:`build`."""
    catalogue, settings = Catalogue(), WorldSettings()
    rps = reference_rps_per_instance(catalogue, settings.workload)
    delay = settings.physics.metric_delay_ticks
    if isinstance(entry, GeneratedEntry):
        scenario = generate(
            entry.pattern,
            days=suite.days,
            seed=entry.seed,
            rps_per_reference_instance=rps,
            mean_instances=entry.mean_instances,
            metric_delay_ticks=delay,
        )
    else:
        scenario = replay(
            load_trace(_trace_file(entry, traces)),
            history=slice(max(0, entry.first_tick - _HISTORY_TICKS), entry.first_tick),
            window=slice(entry.first_tick, entry.last_tick),
            rps_per_reference_instance=rps,
            mean_instances=entry.mean_instances,
            metric_delay_ticks=delay,
            seed=entry.seed,
        )
    days = suite.days + WARMUP_DAYS
    market = draw_market(catalogue, days=days, seed=entry.market_seed, settings=market_settings(entry.market))
    return World(_rounded(scenario), _rounded(market), settings, tuple(item.name for item in catalogue.types))


def market_settings(mood: Literal["calm", "hot"]) -> MarketSettings:
    """Return the market settings in which no family is hot, or every one."""
    share = 1.0 if mood == "hot" else 0.0
    return MarketSettings(hot_share_by_band=(share,) * 5)


def _trace_file(entry: ReplayedEntry, traces: Path | None) -> Path:
    """Return the path of an entry's trace, checked against its hash."""
    if traces is None:
        raise TraceAbsent(f"entry {entry.id!r} replays {entry.trace}.parquet: the folder of the traces is not given")
    path = traces / f"{entry.trace}.parquet"
    if not path.exists():
        raise TraceAbsent(f"entry {entry.id!r} replays {path}, which does not exist")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry.file_sha256:
        raise SuiteError(f"{path}: SHA-256 is {found}, expected {entry.file_sha256} for entry {entry.id!r}")
    return path


def _rounded(value: T) -> T:
    """Return a value with every real number in it, down through dataclasses, rounded to 16 binary digits."""
    rounded: Any = value
    if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
        mantissa, exponent = np.frexp(np.asarray(value, np.float64))
        scale = 2.0**_BINARY_DIGITS
        whole = np.ldexp(np.rint(mantissa * scale) / scale, exponent)
        rounded = whole.astype(value.dtype) if isinstance(value, np.ndarray) else float(whole)
    elif is_dataclass(value) and not isinstance(value, type):
        rounded = replace(value, **{item.name: _rounded(getattr(value, item.name)) for item in fields(value)})
    return rounded  # type: ignore[no-any-return]


def freeze(name: str, *, traces: Path | None, replace_released: bool = False, folder: Path = SUITES) -> Suite:
    """Build every entry and write its hash into the suite file; without traces, replayed entries keep theirs.

    Raises:
        SuiteError: The suite is released and ``replace_released`` is not set.
        TraceAbsent: A folder of traces is given that lacks one of them.
    """
    suite = load_suite(name, folder=folder)
    if suite.released and not replace_released:
        raise SuiteError(
            f"{folder / name}.yaml: key 'released' is true: results were published on this suite; "
            "make a new one, or say that it shall be replaced"
        )

    def frozen(entry: _Entry) -> _Entry:
        assert isinstance(entry, (GeneratedEntry, ReplayedEntry))
        if isinstance(entry, ReplayedEntry) and traces is None:
            return entry
        return entry.model_copy(update={"hash": world_hash(draw(suite, entry, traces=traces))})

    update = {part: tuple(frozen(entry) for entry in getattr(suite, part)) for part in ("generated", "replayed")}
    suite = suite.model_copy(update=update)
    write_text(folder / f"{name}.yaml", _suite_text(suite))
    return suite


_HEADER: Final = """\
# A frozen suite (docs/scenarios.md). The hashes are written by scripts/freeze_suite.py; nothing else here changes once
# `released` is true: a changed suite gets a new name.

"""


def _suite_text(suite: Suite) -> str:
    """Return a suite as YAML, one entry a line."""
    lines = [f"name: {suite.name}", f"released: {str(suite.released).lower()}", f"days: {suite.days}"]
    for part in ("generated", "replayed"):
        lines += ["", f"{part}:" if getattr(suite, part) else f"{part}: []"]
        for entry in getattr(suite, part):
            text = yaml.safe_dump(entry.model_dump(), default_flow_style=True, sort_keys=False, width=10_000)
            lines.append(f"  - {text.strip()}")
    return _HEADER + "\n".join(lines) + "\n"
