"""Recorded prices and availability become market tapes, or a clear refusal."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from facts import fact

from simulators.catalogue import Catalogue
from simulators.market import draw_market
from simulators.market_replay import replay_market
from simulators.records import AMPLE, DRY, TIGHT, ZONES

CATALOGUE = Catalogue()
M7G = CATALOGUE.index["m7g.large"] * ZONES
START = pd.Timestamp("2026-01-05T00:00Z")


def write(path: Path, rows: pd.DataFrame) -> Path:
    rows.to_parquet(path) if path.suffix == ".parquet" else rows.to_csv(path, index=False)
    return path


def prices(kind: str = "m7g.large", zones: tuple[str, ...] = ("a", "b", "c")) -> pd.DataFrame:
    """Four days in which zone z costs (z + 1) cents, and 0.5 cents more from the second hour on."""
    rows = []
    for number, zone in enumerate(zones):
        for hour, usd in ((0, 0.0), (1, 0.005), (96, 0.005)):
            rows.append((START + pd.Timedelta(hours=hour), 0.01 * (number + 1) + usd, kind, zone))
    return pd.DataFrame(rows, columns=["timestamp", "spot_price_usd_per_hour", "instance_type", "az"])


def availability() -> pd.DataFrame:
    """Sixteen nodes: all, twelve from minute 10, none from minute 20, all from minute 30; then one day of the same."""
    steps = ((0, 16), (10, 12), (20, 0), (30, 16), (1440, 16))
    rows = [(START + pd.Timedelta(minutes=minute), "z1", "m7g.large", alive, 16) for minute, alive in steps]
    return pd.DataFrame(rows, columns=["timestamp", "zone", "instance_type", "instances", "requested"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_prices_of_a_known_type_are_played_in_its_zones(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"p{suffix}", prices())
    tape = replay_market(CATALOGUE, price_file=file, days=4, seed=1)
    cents = tape.spot_usd_per_s[:, M7G : M7G + 3] * 360_000
    assert cents[0] == pytest.approx([1, 2, 3], rel=1e-5)
    assert cents[1:] == pytest.approx(np.tile([1.5, 2.5, 3.5], (95, 1)), rel=1e-5)


def test_what_is_not_recorded_is_drawn_as_without_a_recording(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", prices())
    tape, drawn = replay_market(CATALOGUE, price_file=file, days=3, seed=9), draw_market(CATALOGUE, days=3, seed=9)
    assert tape.pool_state.tobytes() == drawn.pool_state.tobytes()
    others = np.arange(tape.spot_usd_per_s.shape[1]) // ZONES * ZONES != M7G
    assert (tape.spot_usd_per_s[:, others] == drawn.spot_usd_per_s[:, others]).all()


def test_unknown_types_keep_their_movement_around_the_saving_of_the_catalogue(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", prices("zz9.large"))
    tape = replay_market(CATALOGUE, price_file=file, days=4, seed=1)
    for kind, item in enumerate(CATALOGUE.types):
        price = tape.spot_usd_per_s[:, kind * ZONES].astype(float) * 3600
        assert price[5] / price[0] == pytest.approx(1.5, rel=1e-5)
        level = item.price_usd_per_hour * (1 - item.spot_saving)
        assert np.exp(np.log(price).mean()) == pytest.approx(level, rel=1e-5)


def test_with_a_list_price_the_ratio_to_it_is_replayed(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", prices("zz9.large").assign(on_demand_usd_per_hour=0.1))
    tape = replay_market(CATALOGUE, price_file=file, days=4, seed=1)
    for kind, item in enumerate(CATALOGUE.types):
        assert tape.spot_usd_per_s[2, kind * ZONES] * 3600 == pytest.approx(0.15 * item.price_usd_per_hour, rel=1e-5)


def test_the_seed_chooses_the_day(tmp_path: Path) -> None:
    later = prices()
    later["timestamp"] += pd.Timedelta(days=30)
    rows = pd.concat([prices(), later])
    file = write(tmp_path / "p.csv", rows.sort_values("timestamp"))
    first = {replay_market(CATALOGUE, price_file=file, days=1, seed=seed).spot_usd_per_s[0, M7G] for seed in range(40)}
    assert len(first) > 1
    again = [replay_market(CATALOGUE, price_file=file, days=1, seed=3).spot_usd_per_s.tobytes() for _ in range(2)]
    assert again[0] == again[1]


def test_counts_of_instances_become_states_and_reclaims(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", availability())
    tape = replay_market(CATALOGUE, availability_file=file, days=1, seed=2)
    for pool in range(M7G, M7G + ZONES):
        state = tape.pool_state[:, pool]
        assert (state[:10] == AMPLE).all()
        assert (state[10:20] == TIGHT).all()
        assert (state[20:30] == DRY).all()
        assert (state[30:] == AMPLE).all()
        assert np.flatnonzero(tape.reclaim[:, pool]).tolist() == [10, 20]
        assert tape.reclaim[[10, 20], pool].tolist() == [64, 255]
        ticks = np.flatnonzero(tape.rebalance_lead[:, pool])
        assert {int(t + tape.rebalance_lead[t, pool]) for t in ticks} <= {10, 20}


def test_a_file_without_requested_takes_the_largest_count(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", availability().drop(columns="requested"))
    assert replay_market(CATALOGUE, availability_file=file, days=1, seed=2).pool_state[15, M7G] == TIGHT


@fact("MI-06")
def test_a_price_above_on_demand_needs_the_flag(tmp_path: Path) -> None:
    rows = prices()
    rows.loc[4, "spot_price_usd_per_hour"] = 0.9
    file = write(tmp_path / "p.csv", rows)
    with pytest.raises(
        ValueError, match=r"p\.csv: row 5, column spot_price_usd_per_hour: got 0\.9.*allow_above_on_demand"
    ):
        replay_market(CATALOGUE, price_file=file, days=4, seed=1)
    tape = replay_market(CATALOGUE, price_file=file, days=4, seed=1, allow_above_on_demand=True)
    assert tape.spot_usd_per_s.max() * 3600 == pytest.approx(0.9, rel=1e-5)


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        (
            "spot_price_usd_per_hour",
            1,
            0.0,
            r"row 2, column spot_price_usd_per_hour: got 0\.0, expected a price above 0",
        ),
        ("spot_price_usd_per_hour", 3, -0.1, r"row 4, column spot_price_usd_per_hour: got -0\.1"),
        ("spot_price_usd_per_hour", 3, "cheap", "row 4, column spot_price_usd_per_hour: got cheap, expected a number"),
        ("timestamp", 2, "noon", "row 3, column timestamp: 'noon' is not a time"),
    ],
)
def test_bad_price_cells_are_named(tmp_path: Path, column: str, row: int, value: object, said: str) -> None:
    rows = prices().astype(object)
    rows.loc[row, column] = value
    file = write(tmp_path / "bad.csv", rows)
    with pytest.raises(ValueError, match=rf"bad\.csv: {said}"):
        replay_market(CATALOGUE, price_file=file, days=1, seed=1)


@pytest.mark.parametrize(("column", "value"), [("instances", -1), ("requested", 0), ("instances", "many")])
def test_bad_availability_cells_are_named(tmp_path: Path, column: str, value: object) -> None:
    rows = availability().astype(object)
    rows.loc[1, column] = value
    file = write(tmp_path / "bad.csv", rows)
    with pytest.raises(ValueError, match=rf"bad\.csv: row 2, column {column}: got {value}, expected"):
        replay_market(CATALOGUE, availability_file=file, days=1, seed=1)


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a price_file or an availability_file"):
        replay_market(CATALOGUE, days=1, seed=0)
    with pytest.raises(ValueError, match=r"p\.txt: unknown file type '\.txt'"):
        replay_market(CATALOGUE, price_file=tmp_path / "p.txt", days=1, seed=0)
    short = write(tmp_path / "short.csv", prices())
    with pytest.raises(ValueError, match=r"short\.csv: column timestamp spans 4\.0 days .* at least 5"):
        replay_market(CATALOGUE, price_file=short, days=5, seed=0)
    lacking = write(tmp_path / "lacking.csv", prices().drop(columns="instance_type"))
    with pytest.raises(ValueError, match=r"lacking\.csv: no column 'instance_type'; found timestamp"):
        replay_market(CATALOGUE, price_file=lacking, days=1, seed=0)
    empty = write(tmp_path / "empty.csv", prices().iloc[:0])
    with pytest.raises(ValueError, match=r"empty\.csv: no rows"):
        replay_market(CATALOGUE, price_file=empty, days=1, seed=0)


@pytest.mark.parametrize(
    "name",
    ["spot_price_history_2025_2026_t3micro", "spot_price_history_2019_2020_gpu", "spot_price_history_2015_us_east_1"],
)
def test_recorded_prices_can_be_replayed(traces_dir: Path, name: str) -> None:
    file = traces_dir.parent / "prices" / f"{name}.parquet"
    bids = "2015" in name
    tape = replay_market(CATALOGUE, price_file=file, days=7, seed=1, allow_above_on_demand=bids)
    list_price = np.repeat([item.price_usd_per_hour for item in CATALOGUE.types], ZONES)
    assert (tape.spot_usd_per_s > 0).all()
    assert bids or (tape.spot_usd_per_s * 3600 <= list_price * (1 + 1e-6)).all()


def test_recorded_availability_is_replayed_with_the_recorded_share_of_time(traces_dir: Path) -> None:
    file = traces_dir.parent / "spot" / "skypilot_availability_1-node_aws-02-15-2023.parquet"
    recorded = pd.read_parquet(file)
    shares = recorded.groupby("zone", observed=True)["instances"].mean().sort_index()
    tape = replay_market(CATALOGUE, availability_file=file, days=45, seed=1)
    up = (tape.pool_state != DRY).mean(axis=0)
    assert up[:ZONES] == pytest.approx(shares.to_numpy()[:ZONES], abs=0.01)
    assert (tape.reclaim[tape.reclaim > 0] == 255).all()
