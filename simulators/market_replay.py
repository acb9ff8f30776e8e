"""Recorded spot prices and availability, laid out as a market tape.

A price file is Parquet or CSV with the columns

- ``timestamp``: UTC; a price holds until the next row;
- ``spot_price_usd_per_hour``: above 0;
- ``instance_type``;
- ``az`` (optional): zone; rows without this column are one zone;
- ``on_demand_usd_per_hour`` (optional): list price of the type at that time.

An availability file has ``timestamp``, ``zone``, ``instance_type``, ``instances`` (alive; a count holds until the next
row) and optionally ``requested`` (instances asked for; the largest count of the series if absent).

A recorded series belongs to one type and zone. Types of the catalogue keep their own series; where a file holds no
type of the catalogue, its types are dealt to the catalogue's types in turn. Recorded zones are dealt to the zones in
turn. Pools without a series keep what the generator draws.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simulators.catalogue import Catalogue, InstanceType
from simulators.market import MarketTape, draw_market
from simulators.market_settings import MarketSettings, Reclaims
from simulators.records import AMPLE, DRY, TIGHT, ZONES

PRICE: Final = "spot_price_usd_per_hour"
LIST_PRICE: Final = "on_demand_usd_per_hour"
_DAY_S: Final = 86_400
_READERS: Final[dict[str, Callable[[Path], pd.DataFrame]]] = {".parquet": pd.read_parquet, ".csv": pd.read_csv}


@dataclass(frozen=True)
class _Series:
    """Values of one type in one zone; ``seconds`` since 1970, ascending."""

    type_name: str
    zone: str
    seconds: NDArray[np.int64]
    rows: pd.DataFrame


def replay_market(
    catalogue: Catalogue,
    *,
    price_file: Path | None = None,
    availability_file: Path | None = None,
    days: int,
    seed: int,
    settings: MarketSettings | None = None,
    allow_above_on_demand: bool = False,
) -> MarketTape:
    """Return a market tape of recorded prices, recorded availability, or both.

    What is not recorded is drawn as ``draw_market`` draws it from the same seed. The seed also chooses the first day
    (the files are played from the same offset into each) and the lead of the rebalance recommendations.

    Recorded prices of a catalogue type are taken as they are; with a list price in the file their ratio to it is
    applied to the catalogue's list price; prices of another type without list price keep their movement around the
    saving of the catalogue type.

    Args:
        catalogue: Types whose pools exist.
        price_file: Recorded prices.
        availability_file: Recorded availability.
        days: Length, whole days, at least 1.
        seed: Any non-negative integer.
        settings: Parameters of what is drawn.
        allow_above_on_demand: Accept prices above the list price (the bidding era, before November 2017).

    Raises:
        ValueError: Neither file is given, or one cannot be used; the message names file, column, row and value.
    """
    if price_file is None and availability_file is None:
        raise ValueError("replay_market needs a price_file or an availability_file")
    settings = settings or MarketSettings()
    tape = draw_market(catalogue, days=days, seed=seed, settings=settings)
    start = np.random.default_rng([seed, 0x4E91])
    position = start.random()
    if price_file is not None:
        series = _read(price_file, (PRICE, "instance_type"), zone_column="az")
        _check_prices(price_file, series, catalogue, allow_above_on_demand)
        first_s = _first_second(price_file, series, days, position)
        prices = _replay_prices(tape.spot_usd_per_s, series, catalogue, first_s, capped=not allow_above_on_demand)
        tape = replace(tape, spot_usd_per_s=prices)
    if availability_file is not None:
        series = _read(availability_file, ("instances", "zone", "instance_type"), zone_column="zone")
        _check_counts(availability_file, series)
        first_s = _first_second(availability_file, series, days, position)
        tape = _replay_availability(tape, series, catalogue, first_s, start, settings.reclaims)
    return tape


def _read(path: Path, columns: Iterable[str], *, zone_column: str) -> list[_Series]:
    """Return the series of a file in the order of their types and zones."""
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise ValueError(f"{path}: unknown file type {path.suffix!r}; expected .parquet or .csv")
    table = reader(path)
    for column in ("timestamp", *columns):
        if column not in table:
            raise ValueError(f"{path}: no column {column!r}; found {', '.join(map(str, table.columns))}")
    if table.empty:
        raise ValueError(f"{path}: no rows")
    times = pd.to_datetime(table["timestamp"], utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise ValueError(f"{path}: row {row + 1}, column timestamp: {table['timestamp'].iloc[row]!r} is not a time")
    table = table.assign(row=np.arange(1, len(table) + 1), seconds=times.astype("datetime64[s, UTC]").astype(np.int64))
    table["zone_name"] = table[zone_column].astype(str) if zone_column in table else "all"
    series = []
    for (kind, zone), rows in table.groupby(["instance_type", "zone_name"], observed=True):
        rows = rows.sort_values("seconds", kind="stable")
        series.append(_Series(str(kind), str(zone), rows["seconds"].to_numpy(np.int64), rows))
    return series


def _check_prices(path: Path, series: list[_Series], catalogue: Catalogue, allow_above: bool) -> None:
    for item in series:
        prices = _numbers(path, item.rows, PRICE)
        _refuse(path, item.rows, PRICE, ~(prices > 0) | ~np.isfinite(prices), "a price above 0")
        if LIST_PRICE in item.rows:
            ceiling = _numbers(path, item.rows, LIST_PRICE)
            _refuse(path, item.rows, LIST_PRICE, ~(ceiling > 0) | ~np.isfinite(ceiling), "a price above 0")
        elif item.type_name in catalogue.index:
            ceiling = np.full(len(prices), catalogue[item.type_name].price_usd_per_hour)
        else:
            continue
        if not allow_above:
            expected = f"at most the on-demand price ({ceiling[0]:g}), or allow_above_on_demand"
            _refuse(path, item.rows, PRICE, prices > ceiling * (1 + 1e-9), expected)


def _check_counts(path: Path, series: list[_Series]) -> None:
    for item in series:
        counts = _numbers(path, item.rows, "instances")
        _refuse(path, item.rows, "instances", ~(counts >= 0) | ~np.isfinite(counts), "a count of at least 0")
        if "requested" in item.rows:
            asked = _numbers(path, item.rows, "requested")
            _refuse(path, item.rows, "requested", ~(asked >= 1) | ~np.isfinite(asked), "a count of at least 1")


def _numbers(path: Path, rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    numbers = pd.to_numeric(rows[column], errors="coerce").to_numpy(np.float64)
    _refuse(path, rows, column, np.isnan(numbers), "a number")
    return numbers


def _refuse(path: Path, rows: pd.DataFrame, column: str, wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        row = rows.iloc[int(np.flatnonzero(wrong)[0])]
        raise ValueError(f"{path}: row {row['row']}, column {column}: got {row[column]}, expected {expected}")


def _first_second(path: Path, series: list[_Series], days: int, position: float) -> int:
    """Return where the replay starts: a whole number of days after all series have begun."""
    begin = max(int(item.seconds[0]) for item in series)
    end = max(int(item.seconds[-1]) for item in series)
    spare = (end - begin) // _DAY_S - days
    if spare < 0:
        length = (end - begin) / _DAY_S
        raise ValueError(f"{path}: column timestamp spans {length:.1f} days with all series, expected at least {days}")
    return begin + int(position * (spare + 1)) * _DAY_S


def _deal(series: list[_Series], catalogue: Catalogue) -> dict[int, _Series]:
    """Return which series each pool replays."""
    by_type: dict[str, list[_Series]] = {}
    for item in series:
        by_type.setdefault(item.type_name, []).append(item)
    known = [name for name in by_type if name in catalogue.index]
    dealt = {}
    for kind, name in enumerate(catalogue.index):
        recorded = name if known else list(by_type)[kind % len(by_type)]
        for zone in range(ZONES):
            zones = by_type.get(recorded, [])
            if zones:
                dealt[kind * ZONES + zone] = zones[zone % len(zones)]
    return dealt


def _held(seconds: NDArray[np.int64], values: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the value that holds at each second."""
    return values[np.searchsorted(seconds, at, side="right") - 1]


def _replay_prices(
    drawn: NDArray[np.float32], series: list[_Series], catalogue: Catalogue, first_s: int, *, capped: bool
) -> NDArray[np.float32]:
    prices = drawn.copy()
    at = first_s + 3600 * np.arange(len(drawn))
    for pool, item in _deal(series, catalogue).items():
        price = _usd_per_hour(item, catalogue.types[pool // ZONES], at)
        if capped:
            price = np.minimum(price, catalogue.types[pool // ZONES].price_usd_per_hour)
        prices[:, pool] = price / 3600.0
    return prices


def _usd_per_hour(item: _Series, kind: InstanceType, at: NDArray[np.int64]) -> NDArray[np.float64]:
    recorded = item.rows[PRICE].to_numpy(np.float64)
    price = _held(item.seconds, recorded, at)
    if LIST_PRICE in item.rows:
        ratio = price / _held(item.seconds, item.rows[LIST_PRICE].to_numpy(np.float64), at)
        return np.asarray(kind.price_usd_per_hour * ratio)
    if item.type_name == kind.name:
        return price
    level = np.exp(np.log(price).mean())
    return np.asarray(kind.price_usd_per_hour * (1.0 - kind.spot_saving) * price / level)


def _replay_availability(
    drawn: MarketTape,
    series: list[_Series],
    catalogue: Catalogue,
    first_s: int,
    rng: np.random.Generator,
    settings: Reclaims,
) -> MarketTape:
    state, reclaim, lead = (array.copy() for array in (drawn.pool_state, drawn.reclaim, drawn.rebalance_lead))
    # The tick before the first tells whether instances are lost in the first.
    at = first_s + 60 * np.arange(-1, len(state))
    for pool, item in _deal(series, catalogue).items():
        counts = item.rows["instances"].to_numpy(np.float64)
        asked = (
            item.rows["requested"].to_numpy(np.float64)
            if "requested" in item.rows
            else np.full_like(counts, counts.max())
        )
        alive, wanted = _held(item.seconds, counts, np.maximum(at, item.seconds[0])), _held(item.seconds, asked, at[1:])
        state[:, pool] = np.select([alive[1:] <= 0, alive[1:] < wanted], [DRY, TIGHT], AMPLE)
        lost = np.maximum(0.0, alive[:-1] - alive[1:])
        share = np.divide(lost, alive[:-1], out=np.zeros_like(lost), where=alive[:-1] > 0)
        reclaim[:, pool] = np.ceil(255.0 * share)
        lead[:, pool] = _announce(np.flatnonzero(share > 0), len(state), rng, settings)
    return replace(drawn, pool_state=state, reclaim=reclaim, rebalance_lead=lead)


def _announce(
    reclaims: NDArray[np.int64], ticks: int, rng: np.random.Generator, settings: Reclaims
) -> NDArray[np.uint8]:
    """Return [ticks] leads of the recommendations of recorded reclaims, which no file records."""
    leads = np.minimum(240, np.ceil(settings.lead_minutes * rng.standard_exponential(len(reclaims)))).astype(np.int64)
    leads[rng.random(len(reclaims)) < settings.sudden] = 0
    announced = reclaims - leads
    column = np.zeros(ticks, np.uint8)
    told = (leads > 0) & (announced >= 0)
    column[announced[told]] = leads[told]
    return column
