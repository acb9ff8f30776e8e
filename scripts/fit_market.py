"""Fit the spot market to recorded availability, prices and the Spot Advisor feed."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from scripts.command import clear_errors
from simulators.market_settings import (
    FITTED_FILE,
    SAVING_LEVELS,
    Advisor,
    HotGroup,
    MarketSettings,
    Prices,
    Reclaims,
)
from simulators.validation.recorded_spells import (
    GROUPS,
    probe_period_s,
    read_availability,
    recorded_spells,
)
from simulators.validation.spot_hot_pools import match_group
from simulators.validation.spot_statistics import daily_amplitude, log_moments, spells, variation
from telemetry.provenance import write_json
from telemetry.splits import data_folder

BATCH_FILES = {
    16: "skypilot_availability_16-node_aws-08-27-2023.parquet",
    4: "skypilot_preemption_4-node_aws-08-03-2023.parquet",
}
PRICE_FILE = "spot_price_history_2019_2020_gpu.parquet"
RECENT_PRICE_FILE = "spot_price_history_2025_2026_t3micro.parquet"
ADVISOR_FILE = "spot_advisor.parquet"
ADVISOR_DATE = "2025-06-28"
PRICE_LAGS_DAYS = (1, 2, 4, 7, 14, 28, 42)
LEAST_TYPES_OF_A_SIZE = 25

# What the documents and other readings of the same traces give; (low, high).
PUBLISHED = {
    "v100_us_west_2 up mu": (0.28, 0.28),
    "v100_us_west_2 up sigma": (1.74, 1.74),
    "v100_us_west_2 dry mu": (-0.68, -0.68),
    "v100_us_west_2 dry sigma": (0.96, 0.96),
    "v100_us_east_2 up mu": (0.25, 0.25),
    "v100_us_east_2 up sigma": (1.62, 1.62),
    "v100_us_east_2 dry mu": (-0.28, -0.28),
    "v100_us_east_2 dry sigma": (1.32, 1.32),
    "v100_us_east_1 up mu": (-0.53, -0.53),
    "v100_us_east_1 up sigma": (1.22, 1.22),
    "v100_us_east_1 dry mu": (-0.34, -0.34),
    "v100_us_east_1 dry sigma": (1.35, 1.35),
    "r5_us_east_1 up mu": (-0.92, -0.92),
    "r5_us_east_1 up sigma": (1.71, 1.71),
    "r5_us_east_1 dry mu": (-1.74, -1.74),
    "r5_us_east_1 dry sigma": (1.17, 1.17),
    "take all": (0.5, 0.7),
    "mean share": (0.61, 0.86),
    "daily sigma": (0.01, 0.02),
    "saving median us-east-1": (0.66, 0.66),
    "saving median all": (0.65, 0.65),
}


def fit_hot_groups(data: Path, settings: MarketSettings) -> dict[str, Any]:
    """Return the recorded spells of each kind of hot pool and the laws whose simulation reproduces them."""
    groups = {}
    for name, group in GROUPS.items():
        seen = recorded_spells(data, group)
        availability = float(read_availability(data / "spot" / group.file, group.zones).to_numpy(bool).mean())
        up, dry = match_group(seen, availability, group.step_s, settings)
        groups[name] = {
            "file": group.file,
            "zones": list(group.zones),
            "step_s": group.step_s,
            "recorded": {"availability": round(availability, 4), "up": _describe(seen.up), "dry": _describe(seen.dry)},
            "generator": {"up": _rounded(up), "dry": _rounded(dry)},
        }
    return groups


def _describe(hours: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    mu, sigma = log_moments(hours)
    figures = {
        "mu": mu,
        "sigma": sigma,
        "mean_h": hours.mean(),
        "median_h": np.median(hours),
        "p90_h": np.quantile(hours, 0.9),
        "variation": variation(hours),
    }
    return {"spells": len(hours), **{key: round(float(value), 4) for key, value in figures.items()}}


def _rounded(values: tuple[float, ...]) -> list[float]:
    return [round(float(value), 4) for value in values]


def fit_reclaims(data: Path) -> dict[str, Any]:
    """Return batch sizes (pools of 16 nodes) and the length of spells with some, not all, nodes (16 and 4 nodes)."""
    shares: dict[int, list[float]] = {nodes: [] for nodes in BATCH_FILES}
    between: list[float] = []
    recorded = []
    for nodes, file in BATCH_FILES.items():
        table = pd.read_parquet(data / "spot" / file)
        for zone, rows in table.groupby("zone", observed=True):
            alive = rows["instances"].to_numpy(float)
            lost = np.diff(alive)
            taken = -lost[lost < 0] / alive[:-1][lost < 0]
            partly = (alive > 0) & (alive < nodes)
            shares[nodes] += taken.tolist()
            between += (spells(partly, 300.0).up * 60.0).tolist()
            figures = (len(taken), float((taken == 1).mean()), float(taken.mean()), float(partly.mean()))
            recorded.append({"zone": str(zone), "nodes": nodes, **_figures(figures)})
    all_shares = np.array(shares[16])
    partial = all_shares[all_shares < 1]
    mean, spread = partial.mean(), partial.var()
    size = mean * (1 - mean) / spread - 1
    return {
        "files": list(BATCH_FILES.values()),
        "recorded": recorded,
        "take_all": round(float((all_shares == 1).mean()), 4),
        "partial": _rounded((mean * size, (1 - mean) * size)),
        "tight_spells": len(between),
        "tight": _rounded(log_moments(np.array(between))),
    }


def _figures(figures: tuple[float, ...]) -> dict[str, float]:
    names = ("drops", "take_all", "mean_share", "tight_share")
    return {name: round(value, 4) for name, value in zip(names, figures, strict=True)}


def fit_rhythm(data: Path) -> dict[str, float]:
    """Return the amplitude of the 24 h sine of each zone probed for 45 days."""
    group = GROUPS["v100_us_west_2"]
    table = pd.read_parquet(data / "spot" / group.file)
    amplitudes = {}
    for zone in sorted(table["zone"].unique()):
        series = read_availability(data / "spot" / group.file, [zone])[zone].to_numpy(bool)
        amplitudes[zone] = round(daily_amplitude(series, 195.0), 4)
    return amplitudes


def fit_prices(data: Path) -> dict[str, Any]:
    """Return pace and size of price moves: an Ornstein-Uhlenbeck variogram fitted to the series that move."""
    table = pd.read_parquet(data / "prices" / PRICE_FILE)
    daily = {}
    for (kind, zone), rows in table.groupby(["instance_type", "az"], observed=True):
        prices = rows.sort_values("timestamp").set_index("timestamp")["spot_price_usd_per_hour"]
        daily[(kind, zone)] = np.log(prices.resample("1D").last().ffill().dropna())
    moving = [series for series in daily.values() if len(series) > 60 and series.std() > 0.003]
    rms = np.array([np.median([_rms(series, lag) for series in moving]) for lag in PRICE_LAGS_DAYS])
    best = min(
        ((_variogram_misfit(rms, days, sigma), days, sigma) for days in range(2, 61) for sigma in _SIGMAS),
        key=lambda x: x[0],
    )
    _, days, spread = best
    levels = pd.Series({key: series.mean() for key, series in daily.items()})
    frame = levels.rename_axis(["type", "zone"]).reset_index(name="level")
    frame["region"] = frame["zone"].str[:-1]
    apart = (frame["level"] - frame.groupby(["type", "region"])["level"].transform("median")).abs()
    apart = apart[(apart > 0.001) & (apart < 0.3)]
    recent = pd.read_parquet(data / "prices" / RECENT_PRICE_FILE)
    return {
        "files": [PRICE_FILE, RECENT_PRICE_FILE],
        "series": len(daily),
        "moving_series": len(moving),
        "lags_days": list(PRICE_LAGS_DAYS),
        "rms_log_change": _rounded(tuple(rms)),
        "rms_log_change_t3_micro": {
            str(region): _rounded(tuple(_rms(_daily_median(rows), lag) for lag in PRICE_LAGS_DAYS))
            for region, rows in recent.groupby("region", observed=True)
        },
        "daily_sigma": round(float(spread * np.sqrt(2 * (1 - np.exp(-1 / days)))), 4),
        "reversion_days": float(days),
        "zones_apart": len(apart),
        "zone_sigma": round(float(1.4826 * apart.median()), 4),
    }


_SIGMAS = np.arange(0.01, 0.1, 0.0005)


def _rms(series: "pd.Series[float]", lag: int) -> float:
    return float(np.sqrt((series.diff(lag).dropna() ** 2).mean()))


def _daily_median(rows: pd.DataFrame) -> "pd.Series[float]":
    prices = rows.set_index("timestamp")["spot_price_usd_per_hour"].resample("1D").median().ffill()
    return pd.Series(np.log(prices))


def _variogram_misfit(rms: np.ndarray[Any, np.dtype[np.float64]], days: int, spread: float) -> float:
    model = spread * np.sqrt(2 * (1 - np.exp(-np.array(PRICE_LAGS_DAYS) / days)))
    return float((np.log(rms / model) ** 2).sum())


def fit_advisor(data: Path) -> dict[str, Any]:
    """Return savings and interruption bands over all Linux types, of us-east-1 and of all Regions."""
    table = pd.read_parquet(data / "prices" / ADVISOR_FILE)
    table = table[(table["os"] == "Linux") & (table["as_of"] == ADVISOR_DATE)]
    parts = {"us-east-1": table[table["region"] == "us-east-1"], "all": table}
    advisor: dict[str, Any] = {}
    for name, rows in parts.items():
        size = rows["instance_type"].str.partition(".")[2]
        common = size.value_counts()
        sizes = sorted(common[common >= LEAST_TYPES_OF_A_SIZE].index)
        advisor[name] = {
            "saving_quantiles": _rounded(tuple(rows["savings_pct"].quantile(list(SAVING_LEVELS)) / 100.0)),
            "band_shares": _band_shares(rows),
            "band_shares_by_size": {item: _band_shares(rows[size == item]) for item in sizes},
        }
    advisor["types"] = {name: len(rows) for name, rows in parts.items()}
    advisor["file"] = ADVISOR_FILE
    return advisor


def _band_shares(rows: pd.DataFrame) -> list[float]:
    return [round(float((rows["band"] == band).mean()), 4) for band in range(5)]


def side_by_side(fit: dict[str, Any]) -> pd.DataFrame:
    """Return the fitted figures beside the published ones."""
    figures = {}
    for name, group in fit["hot_groups"].items():
        for part in ("up", "dry"):
            for moment in ("mu", "sigma"):
                figures[f"{name} {part} {moment}"] = group["recorded"][part][moment]
    reclaims, advisor = fit["reclaims"], fit["advisor"]
    a, b = reclaims["partial"]
    figures["take all"] = reclaims["take_all"]
    figures["mean share"] = reclaims["take_all"] + (1 - reclaims["take_all"]) * a / (a + b)
    figures["daily sigma"] = fit["prices"]["daily_sigma"]
    median = SAVING_LEVELS.index(0.5)
    for name in ("us-east-1", "all"):
        figures[f"saving median {name}"] = advisor[name]["saving_quantiles"][median]
    rows = [(name, value, *PUBLISHED[name]) for name, value in figures.items()]
    return pd.DataFrame(rows, columns=["figure", "fitted", "published low", "published high"]).set_index("figure")


def fit_market(
    data: Annotated[Path | None, typer.Option(help="Folder with spot/ and prices/.")] = None,
    out: Annotated[Path, typer.Option(help="File to write.")] = FITTED_FILE,
) -> None:
    """Write the fitted market parameters and print them beside the published figures."""
    with clear_errors("fit_market"):
        folder = data or data_folder()
        group = GROUPS["v100_us_west_2"]
        raw = read_availability(folder / "spot" / group.file, [*group.zones, *GROUPS["v100_us_east_1"].zones])
        lengths = [spells(raw[zone].to_numpy(bool), 195.0) for zone in raw]
        reclaims, prices, advisor = fit_reclaims(folder), fit_prices(folder), fit_advisor(folder)
        settings = MarketSettings(
            hot_groups={"unknown yet": HotGroup(weight=1, availability=0.5, up=(0, 1), dry=(0, 1))},
            calm_dry=(0, 1),
            reclaims=Reclaims(**{key: reclaims[key] for key in ("take_all", "partial", "tight")}),
            prices=Prices(**{key: prices[key] for key in ("daily_sigma", "reversion_days", "zone_sigma")}),
            advisor=Advisor(**advisor["us-east-1"]),
        )
        fit = {
            "source": "recorded by skypilot-org/spot-traces, AWS spot price history and Spot Advisor; see files",
            "probe_period_s": probe_period_s(np.concatenate([np.concatenate(part) for part in lengths]) * 3600.0),
            "hot_groups": fit_hot_groups(folder, settings),
            "reclaims": reclaims,
            "daily_amplitude": fit_rhythm(folder),
            "prices": prices,
            "advisor": advisor,
        }
        write_json(out, fit)
        typer.echo(side_by_side(fit).round(3).to_string())
        typer.echo(str(out))


if __name__ == "__main__":
    typer.run(fit_market)
