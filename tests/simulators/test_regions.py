"""Price levels of Regions against the public figures they are medians of."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from simulators.catalogue import TYPES, Catalogue, LaunchSpecification
from simulators.regions import HOME_REGION, MAX_SPOT_SAVING, REGIONS, in_region


def test_home_is_home() -> None:
    assert in_region(Catalogue(), HOME_REGION) == Catalogue()


def test_prices_scale_and_savings_shift() -> None:
    there = in_region(Catalogue(), "eu-central-1")
    for item, home in zip(there.types, Catalogue().types, strict=True):
        assert item.price_usd_per_hour == pytest.approx(1.19 * home.price_usd_per_hour)
        assert item.spot_saving == pytest.approx(home.spot_saving + 0.01)
        assert replace(item, price_usd_per_hour=home.price_usd_per_hour, spot_saving=home.spot_saving) == home
    assert there.candidates == Catalogue().candidates


def test_savings_stay_between_nothing_and_nearly_all() -> None:
    only = (LaunchSpecification.single("m6i.large"),)
    low, high = (Catalogue((replace(TYPES[0], spot_saving=saving),), only) for saving in (0.05, 0.94))
    assert in_region(low, "eu-west-1").types[0].spot_saving == 0.0
    assert in_region(high, "sa-east-1").types[0].spot_saving == MAX_SPOT_SAVING


def test_an_unknown_region_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown Region 'mars-1'; known: us-east-1, us-east-2"):
        in_region(Catalogue(), "mars-1")


@pytest.mark.traces
def test_levels_are_the_medians_of_the_public_figures(traces_dir: Path) -> None:
    prices = traces_dir.parent / "prices"
    ratios = pd.read_parquet(prices / "regional_on_demand_ratio.parquet").query("as_of == '2017-11'")
    on_demand = ratios.groupby("region").ratio_to_us_east_1.median()
    advisor = pd.read_parquet(prices / "spot_advisor.parquet")
    advisor = advisor[(advisor.as_of.astype(str) == "2025-06-28") & (advisor.os == "Linux")]
    spot = advisor.groupby("region").savings_pct.median() / 100.0
    for name, region in REGIONS.items():
        assert region.on_demand_ratio == pytest.approx(on_demand[name], abs=0.005)
        assert region.spot_saving == pytest.approx(spot[name], abs=0.005)
