"""The catalogue against facts of the public price list and instance-type pages, and its own refusals."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest
from facts import fact

from simulators.catalogue import (
    DEFAULT_CANDIDATES,
    DEFAULT_TYPES,
    REFERENCE_TYPE,
    TYPES,
    Catalogue,
    InstanceType,
    LaunchSpecification,
    SpotAllocation,
)
from simulators.instance_types import (
    BURST_OF_SIZE,
    FAMILIES,
    OFFERS,
    SPOT_BORROWED_FROM,
    T2_BURST_OF_SIZE,
    VCPU_OF_SIZE,
    Burst,
)
from simulators.physics import Workload, reference_rps_per_instance, reference_usd_per_request, service_s


def test_the_reference_type_works_at_speed_one() -> None:
    reference = Catalogue()[REFERENCE_TYPE]
    assert reference.speed == 1.0
    assert reference.capacity == 2.0
    assert reference.price_usd_per_hour == 0.096


BY_NAME = {item.name: item for item in TYPES}


@pytest.fixture(scope="module")
def public_list(traces_dir: Path) -> pd.DataFrame:
    """The public price list and instance-type pages, one row a type."""
    path = traces_dir.parent / "prices" / "instance_catalog_us_east_1.parquet"
    if not path.exists():
        pytest.skip(f"price list not found: {path}")
    return pd.read_parquet(path).drop_duplicates("instance_type").set_index("instance_type")


@pytest.mark.parametrize("item", TYPES, ids=lambda item: item.name)
def test_sizes_follow_the_naming_of_ec2(item: InstanceType) -> None:
    family, size = item.name.split(".")
    vcpu = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16}[size]
    assert item.family == family
    assert item.vcpu == vcpu
    assert item.memory_gib == vcpu * {"m": 4, "c": 2, "r": 8, "t": 4}[family[0]]
    assert item.architecture == ("arm64" if family.endswith("g") else "x86_64")
    assert 0.0 < item.spot_saving < 1.0
    assert item.interruption_band in range(5)
    assert 0.03 < item.price_usd_per_hour / vcpu < 0.08
    assert item.is_burstable == (family[0] == "t")


def test_the_table_is_wide_and_the_default_world_is_not() -> None:
    assert len(TYPES) >= 40
    assert {name[0] for name in FAMILIES} == set("mcrt")
    assert {item.architecture for item in TYPES} == {"x86_64", "arm64"}
    assert {item.name for item in TYPES} == {f"{f}.{s}" for f in FAMILIES for s in VCPU_OF_SIZE} - {
        "t3.4xlarge",
        "t3a.4xlarge",
        "t4g.4xlarge",
    }
    assert [item.name for item in Catalogue().types] == [
        *("m6i.large", "m6a.large", "m7i.large", "c6a.large", "c7i.large", "m7g.large", "m8g.large", "c7g.large"),
        *("c8g.large", "c7g.xlarge", "m7i.xlarge", "m7g.xlarge"),
    ]


@pytest.mark.parametrize(
    ("name", "vcpu", "cores", "gib", "price", "coremark", "saving", "band"),
    [
        ("m6i.large", 2, 1, 8, 0.09600, 17_020, 0.63, 2),
        ("m6a.large", 2, 1, 8, 0.08640, 20_431, 0.59, 1),
        ("m7i.large", 2, 1, 8, 0.10080, 21_409, 0.68, 3),
        ("c6a.large", 2, 1, 4, 0.07650, 20_820, 0.62, 3),
        ("c7i.large", 2, 1, 4, 0.08925, 21_769, 0.66, 4),
        ("m7g.large", 2, 2, 8, 0.08160, 25_725, 0.64, 2),
        ("m8g.large", 2, 2, 8, 0.08976, 30_098, 0.65, 4),
        ("c7g.large", 2, 2, 4, 0.07250, 25_184, 0.49, 0),
        ("c8g.large", 2, 2, 4, 0.07976, 30_293, 0.61, 0),
        ("c7g.xlarge", 4, 4, 8, 0.14500, 25_184, 0.62, 0),
        ("m7i.xlarge", 4, 2, 16, 0.20160, 21_409, 0.53, 3),
        ("m7g.xlarge", 4, 4, 16, 0.16320, 25_725, 0.62, 1),
    ],
)
def test_the_default_world_keeps_its_numbers(
    name: str, vcpu: int, cores: int, gib: float, price: float, coremark: float, saving: float, band: int
) -> None:
    item = Catalogue()[name]
    assert (item.vcpu, item.physical_cores, item.memory_gib) == (vcpu, cores, gib)
    assert (item.price_usd_per_hour, item.coremark_per_vcpu) == (price, coremark)
    assert (item.spot_saving, item.interruption_band) == (saving, band)


@fact("BL-08")
def test_large_sizes_cost_what_the_price_list_says() -> None:
    expected = {
        **{"t3": 0.0832, "t3a": 0.0752, "t4g": 0.0672},
        **{"m5": 0.096, "m6i": 0.096, "m6a": 0.0864, "m6g": 0.077, "m7i": 0.1008, "m7i-flex": 0.09576, "m7a": 0.11592},
        **{"m7g": 0.0816, "m8g": 0.08976, "m8i": 0.10584, "m8a": 0.12172, "m9g": 0.09784},
        **{"c5": 0.085, "c6i": 0.085, "c6a": 0.0765, "c6g": 0.068, "c7g": 0.0725, "c7i": 0.08925, "c7a": 0.10264},
        **{"c8g": 0.07976, "r5": 0.126, "r6i": 0.126, "r6g": 0.1008, "r7i": 0.1323, "r7g": 0.1071, "r8g": 0.11782},
    }
    assert {family: BY_NAME[f"{family}.large"].price_usd_per_hour for family in expected} == expected


@fact("PM-01")
def test_a_vcpu_is_a_thread_or_a_core() -> None:
    one_core = ["t3", "m5", "m5a", "m6i", "m6a", "m7i", "m7i-flex", "m8i", "c5"]
    two_cores = ["t4g", "m6g", "m7g", "m8g", "m9g", "m7a", "m8a", "c7a", "c8g"]
    assert {BY_NAME[f"{family}.large"].physical_cores for family in one_core} == {1}
    assert {BY_NAME[f"{family}.large"].physical_cores for family in two_cores} == {2}
    assert {item.vcpu for item in TYPES if item.name.endswith(".large")} == {2}


@fact("PM-02")
def test_clock_and_bandwidth_of_large_sizes() -> None:
    clocks = {"m5": 3.1, "m6i": 3.5, "m6a": 3.6, "m7i": 3.2, "m7a": 3.7, "m7g": 2.6, "m8g": 2.8, "m8i": 3.9}
    clocks |= {"m8a": 4.5, "m9g": 3.3}
    assert {family: BY_NAME[f"{family}.large"].clock_ghz for family in clocks} == clocks
    larges = {item.family: item for item in TYPES if item.name.endswith(".large")}
    flex = larges.pop("m7i-flex")
    assert (flex.network_gbps, flex.ebs_mbps) == (pytest.approx(0.39, abs=0.005), 312)
    network = {family: item.network_gbps for family, item in larges.items()}
    assert (min(network.values()), max(network.values())) == (pytest.approx(0.51, abs=0.005), 1.0)
    assert network["m9g"] == 1.0
    assert network["t3"] == min(network.values())
    assert all(630 <= item.ebs_mbps <= 760 for item in larges.values())


@fact("PM-05")
@pytest.mark.parametrize(
    ("table", "sizes"),
    [
        (
            BURST_OF_SIZE,
            "nano 6 144 2 .05 micro 12 288 2 .1 small 24 576 2 .2 medium 24 576 2 .2 large 36 864 2 .3 "
            "xlarge 96 2304 4 .4 2xlarge 192 4608 8 .4",
        ),
        (
            T2_BURST_OF_SIZE,
            "nano 3 72 1 .05 micro 6 144 1 .1 small 12 288 1 .2 medium 24 576 2 .2 large 36 864 2 .3 "
            "xlarge 54 1296 4 .225 2xlarge 81.6 1958.4 8 .17",
        ),
    ],
    ids=["T3, T3a, T4g", "T2"],
)
def test_credits_of_burstable_sizes(table: dict[str, Burst], sizes: str) -> None:
    words = sizes.split()
    for size, *numbers in zip(*(words[start::5] for start in range(5)), strict=True):
        earned, cap, vcpu, baseline = map(float, numbers)
        assert table[size] == Burst(int(vcpu), earned, cap, baseline)
        assert earned == pytest.approx(baseline * vcpu * 60.0)
        assert cap == pytest.approx(24.0 * earned)
    assert len(table) == len(words) / 5


@fact("PM-05")
def test_burstable_types_carry_their_credits_and_others_none() -> None:
    for item in TYPES:
        if item.family in ("t3", "t3a", "t4g"):
            assert item.credits_per_hour == pytest.approx(item.baseline * item.vcpu * 60.0)
            assert item.max_credits == pytest.approx(24.0 * item.credits_per_hour)
            assert item.vcpu == BURST_OF_SIZE[item.name.partition(".")[2]].vcpu
        else:
            assert (item.credits_per_hour, item.max_credits, item.baseline) == (0.0, 0.0, 1.0)


@pytest.mark.traces
def test_the_table_is_the_public_one(public_list: pd.DataFrame) -> None:
    for offer in OFFERS:
        row, item = public_list.loc[offer.name], BY_NAME[offer.name]
        assert offer.price_usd_per_hour == pytest.approx(row.on_demand_usd_per_hour, abs=5e-6)
        assert (item.vcpu, item.memory_gib, item.architecture) == (row.vcpu, row.memory_gib, row.arch)
        assert item.physical_cores == row.vcpu // row.threads_per_core
        assert item.clock_ghz == pytest.approx(row.clock_ghz, abs=1e-3)
        assert item.network_gbps == pytest.approx(row.network_baseline_gbps, abs=1e-3)
        assert item.ebs_mbps == row.ebs_baseline_mbps
        assert item.is_burstable == row.burstable
        assert FAMILIES[item.family].is_current == row.current_generation
        older = SPOT_BORROWED_FROM.get(item.family)
        assert pd.isna(row.spot_savings_pct) == (older is not None)
        spot = public_list.loc[offer.name.replace(item.family, older)] if older else row
        assert (round(100 * item.spot_saving), item.interruption_band) == (
            spot.spot_savings_pct,
            spot.interruption_band,
        )


@pytest.mark.traces
def test_capacity_is_the_family_median_of_the_benchmark(traces_dir: Path, public_list: pd.DataFrame) -> None:
    runs = pd.read_parquet(traces_dir.parent / "prices" / "instance_benchmarks.parquet")
    median = runs.groupby("family").coremark_per_vcpu.median()
    for name, family in FAMILIES.items():
        assert family.coremark_per_vcpu == round(median[name])


@pytest.mark.traces
@fact("BL-06")
def test_price_is_linear_in_size_within_a_family(public_list: pd.DataFrame) -> None:
    price = public_list.on_demand_usd_per_hour
    for family in ("m5", "m6i", "m7g", "c7i", "r7g", "c6a"):
        for size, larges in (("xlarge", 2), ("2xlarge", 4), ("4xlarge", 8), ("8xlarge", 16), ("16xlarge", 32)):
            assert price[f"{family}.{size}"] == pytest.approx(larges * price[f"{family}.large"], rel=1e-4)


@fact("BL-06")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_the_table_is_priced_by_size(family: str) -> None:
    large = BY_NAME[f"{family}.large"].price_usd_per_hour
    for item in TYPES:
        if item.family == family:
            # prices are listed to 1e-5 USD, so a multiple is off by at most so many halves of it
            assert item.price_usd_per_hour == pytest.approx(item.vcpu / 2 * large, abs=item.vcpu * 0.5e-5)


def test_an_xlarge_costs_twice_its_large() -> None:
    catalogue = Catalogue()
    for family in ("c7g", "m7i", "m7g"):
        large, xlarge = catalogue[f"{family}.large"], catalogue[f"{family}.xlarge"]
        assert xlarge.price_usd_per_hour == pytest.approx(2 * large.price_usd_per_hour)
        assert xlarge.capacity == pytest.approx(2 * large.capacity)


def test_newer_generations_do_more_work_per_dollar() -> None:
    catalogue = Catalogue()

    def per_dollar(name: str) -> float:
        return catalogue[name].capacity / catalogue[name].price_usd_per_hour

    assert per_dollar("m6i.large") < per_dollar("m7i.large") < per_dollar("m7g.large") < per_dollar("m8g.large")
    assert per_dollar("c7g.large") < per_dollar("c8g.large")


def test_default_candidates_are_six_types_and_two_sets_of_equal_size() -> None:
    singles = [item for item in DEFAULT_CANDIDATES if len(item.types) == 1]
    sets = [item for item in DEFAULT_CANDIDATES if len(item.types) > 1]
    assert (len(singles), len(sets)) == (6, 2)
    assert all(item.name == item.types[0] for item in singles)
    catalogue = Catalogue()
    for item in sets:
        assert len({catalogue[name].vcpu for name in item.types}) == 1
        assert len({catalogue[name].architecture for name in item.types}) == 1
    assert {len(item.types) for item in sets} == {4}


def test_lookups_name_what_is_known() -> None:
    catalogue = Catalogue()
    assert catalogue.candidate_index("arm-large-mix") == 7
    assert [catalogue.index[item.name] for item in DEFAULT_TYPES] == list(range(12))
    with pytest.raises(KeyError, match=r"unknown instance type 't2\.nano'; known: m6i\.large"):
        catalogue["t2.nano"]
    with pytest.raises(KeyError, match=r"unknown launch specification 'best'; known: m6i\.large"):
        catalogue.candidate_index("best")


def test_candidates_that_cannot_be_are_refused() -> None:
    twice = LaunchSpecification.single("m6i.large")
    with pytest.raises(ValueError, match=r"launch specification 'm6i\.large' occurs twice"):
        Catalogue(candidates=(twice, twice))
    with pytest.raises(ValueError, match=r"instance type 'm6i\.large' occurs twice"):
        Catalogue(types=(TYPES[0], TYPES[0]))
    with pytest.raises(ValueError, match=r"'mix' names unknown type 'p5\.48xlarge'"):
        Catalogue(candidates=(LaunchSpecification("mix", ("m6i.large", "p5.48xlarge")),))
    with pytest.raises(ValueError, match=r"'mix' names unknown type 'm7g\.large'; known: m6i\.large"):
        Catalogue(types=(TYPES[0],), candidates=(LaunchSpecification("mix", ("m7g.large",)),))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": ()}, "names no type"),
        ({"types": ("m6i.large", "m6i.large")}, r"names type 'm6i\.large' twice"),
        ({"spot_pools": 0}, r"spot_pools 0 is not in 1\.\.20"),
        ({"spot_pools": 21}, r"spot_pools 21 is not in 1\.\.20"),
        ({"spot_allocation": "cheapest"}, "spot_allocation 'cheapest' is not one of price-capacity-optimized"),
        ({"on_demand_allocation": "cheapest"}, "on_demand_allocation 'cheapest' is not one of lowest-price"),
    ],
)
def test_specifications_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    candidate = replace(LaunchSpecification("mix", ("m6i.large",)), **change)
    with pytest.raises(ValueError, match=f"launch specification 'mix'.*{message}"):
        Catalogue(candidates=(candidate,))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("price_usd_per_hour", 0.0), ("price_usd_per_hour", float("nan")), ("vcpu", 0), ("physical_cores", 3)),
        *(("spot_saving", 1.0), ("interruption_band", 5), ("baseline", 0.0), ("network_gbps", -1.0)),
    ],
)
def test_numbers_that_cannot_be_are_refused(key: str, value: float) -> None:
    broken = replace(TYPES[0], **{key: value})
    only = (LaunchSpecification.single("m6i.large"),)
    with pytest.raises(ValueError, match=rf"instance type 'm6i\.large': {key} {value}"):
        Catalogue(types=(broken,), candidates=only)


def test_a_world_holds_the_types_it_names_and_the_reference() -> None:
    wide = LaunchSpecification("wide", ("t3.large", "r7g.2xlarge", "m7g.large"))
    assert [item.name for item in Catalogue(candidates=(wide,)).types] == [
        *("m6i.large", "m7g.large", "r7g.2xlarge", "t3.large"),
    ]
    known = Catalogue(candidates=(LaunchSpecification.single("c8g.large"),))
    assert known.types == DEFAULT_TYPES
    assert Catalogue(types=TYPES).index[REFERENCE_TYPE] == 0


@fact("MI-03")
def test_spot_strategies_are_those_of_the_api() -> None:
    assert set(get_args(SpotAllocation)) == {
        *("lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized"),
    }
    candidate = LaunchSpecification.single("m6i.large")
    assert (candidate.spot_allocation, candidate.spot_pools) == ("price-capacity-optimized", 2)
    for pools in (1, 20):
        Catalogue(candidates=(replace(candidate, spot_allocation="lowest-price", spot_pools=pools),))
    for pools in (0, 21):
        with pytest.raises(ValueError, match="spot_pools"):
            Catalogue(candidates=(replace(candidate, spot_pools=pools),))


def test_what_a_request_costs_by_hand() -> None:
    catalogue, workload = Catalogue(), Workload()
    assert reference_rps_per_instance(catalogue, workload) == pytest.approx(0.6 * 2 / 0.050)
    assert reference_usd_per_request(catalogue, workload) == pytest.approx(0.096 / 3600 / 24)
    seconds = service_s(catalogue, workload)
    assert seconds[catalogue.index["m6i.large"]] == pytest.approx(0.050)
    assert seconds[catalogue.index["m7g.large"]] == pytest.approx(0.050 * 17_020 / 25_725)
    heavy = Workload(cpu_ms_per_request=200.0)
    assert service_s(catalogue, heavy) == pytest.approx(4 * seconds)
