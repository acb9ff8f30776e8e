"""The catalogue against facts of the public price list and instance-type pages, and its own refusals."""

import pytest

from simulators.catalogue import (
    DEFAULT_CANDIDATES,
    REFERENCE_TYPE,
    TYPES,
    Catalogue,
    InstanceType,
    LaunchSpecification,
)
from simulators.physics import Workload, reference_rps_per_instance, reference_usd_per_request, service_s


def test_the_reference_type_works_at_speed_one() -> None:
    reference = Catalogue()[REFERENCE_TYPE]
    assert reference.speed == 1.0
    assert reference.capacity == 2.0
    assert reference.price_usd_per_hour == 0.096


@pytest.mark.parametrize("item", TYPES, ids=lambda item: item.name)
def test_sizes_follow_the_naming_of_ec2(item: InstanceType) -> None:
    family, size = item.name.split(".")
    vcpu = {"large": 2, "xlarge": 4}[size]
    assert item.family == family
    assert item.vcpu == vcpu
    assert item.memory_gib == vcpu * {"m": 4, "c": 2}[family[0]]
    graviton = family.endswith("g")
    assert item.architecture == ("arm64" if graviton else "x86_64")
    # m7a and c7a apart, x86 vCPUs are hardware threads: two on a core
    assert item.physical_cores == (vcpu if graviton else vcpu // 2)
    assert 0.0 < item.spot_saving < 1.0
    assert item.interruption_band in range(5)
    assert 0.03 < item.price_usd_per_hour / vcpu < 0.06


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
    assert [catalogue.index[item.name] for item in TYPES] == list(range(len(TYPES)))
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


def test_what_a_request_costs_by_hand() -> None:
    catalogue, workload = Catalogue(), Workload()
    assert reference_rps_per_instance(catalogue, workload) == pytest.approx(0.6 * 2 / 0.050)
    assert reference_usd_per_request(catalogue, workload) == pytest.approx(0.096 / 3600 / 24)
    seconds = service_s(catalogue, workload)
    assert seconds[catalogue.index["m6i.large"]] == pytest.approx(0.050)
    assert seconds[catalogue.index["m7g.large"]] == pytest.approx(0.050 * 17_020 / 25_725)
    heavy = Workload(cpu_ms_per_request=200.0)
    assert service_s(catalogue, heavy) == pytest.approx(4 * seconds)
