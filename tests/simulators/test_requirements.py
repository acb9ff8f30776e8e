"""Attribute-based selection on the type catalogue."""

import pytest
from facts import fact

from simulators.catalogue import TYPES, InstanceType
from simulators.instance_types import FAMILIES
from simulators.requirements import Requirements, select_types

BY_NAME = {item.name: item for item in TYPES}
NO_LIMIT = 100.0


def brute_force(wanted: Requirements) -> list[InstanceType]:
    return [
        item
        for item in TYPES
        if wanted.vcpu[0] <= item.vcpu <= wanted.vcpu[1]
        and wanted.memory_gib[0] <= item.memory_gib <= wanted.memory_gib[1]
    ]


@fact("MI-10")
def test_ranges_architecture_and_order() -> None:
    wanted = Requirements((4, 8), (16, 32), ("arm64",), price_protection=NO_LIMIT)
    names = select_types(wanted)
    assert names == tuple(
        item.name for item in brute_force(wanted) if item.architecture == "arm64" and not item.is_burstable
    )
    assert {"m7g.xlarge", "m7g.2xlarge", "c7g.2xlarge", "r7g.xlarge"} <= set(names)
    assert not {"m7g.large", "m7g.4xlarge", "c7g.xlarge", "m7i.xlarge", "t4g.xlarge"} & set(names)


@fact("MI-10")
def test_burstable_types_are_left_out_unless_asked_for() -> None:
    def chosen(burstable: str) -> set[str]:
        return set(
            select_types(Requirements((2, 2), (8, 8), burstable=burstable, price_protection=NO_LIMIT))  # type: ignore[arg-type]
        )

    burst = {"t3.large", "t3a.large", "t4g.large"}
    assert not chosen("excluded") & burst
    assert chosen("required") == burst
    assert chosen("included") == chosen("excluded") | burst


@fact("MI-10")
def test_price_protection_is_twenty_percent_over_the_cheapest_current_match() -> None:
    # m6g.large is the cheapest current M of 2 vCPU and 8 GiB: 0.077; 20 % over it is 0.0924
    names = select_types(Requirements((2, 2), (8, 8)))
    assert set(names) == {"m6a.large", "m7g.large", "m8g.large", "m6g.large", "m5a.large"}
    assert BY_NAME["m6g.large"].price_usd_per_hour == 0.077
    assert all(BY_NAME[name].price_usd_per_hour <= 1.2 * 0.077 for name in names)
    assert "m6i.large" not in names  # 0.096
    assert "m6i.large" in select_types(Requirements((2, 2), (8, 8), price_protection=0.25))
    # the cheapest C protects, not the cheaper burstable type that matches as well
    both = select_types(Requirements((2, 2), (4, 8), burstable="included"))
    assert set(both) == {
        item.name for item in brute_force(Requirements((2, 2), (4, 8))) if item.price_usd_per_hour <= 1.2 * 0.068
    }
    assert "t4g.large" in both


@fact("MI-10")
def test_without_a_current_type_the_cheapest_match_protects() -> None:
    old = [item for item in TYPES if item.family in ("m5", "r5")]
    assert not any(FAMILIES[item.family].is_current for item in old)
    assert select_types(Requirements((2, 2), (8, 16)), types=old) == ("m5.large",)  # r5.large is 31 % dearer
    burst = select_types(Requirements((2, 2), (8, 8), burstable="required"))
    assert burst == ("t3a.large", "t4g.large")  # 20 % over t4g: 0.08064, t3 is 0.0832


@fact("MI-10")
def test_up_to_four_sets_are_united() -> None:
    small, large = Requirements((2, 2), (4, 4)), Requirements((16, 16), (64, 64))
    assert set(select_types(small, large)) == set(select_types(small)) | set(select_types(large))
    assert select_types(small, small, small, small) == select_types(small)
    for sets in ((), (small,) * 5):
        with pytest.raises(ValueError, match=rf"{len(sets)} sets of requirements; expected 1\.\.4"):
            select_types(*sets)


@fact("MI-11")
def test_types_slower_than_the_reference_family_are_left_out() -> None:
    wanted = Requirements((2, 2), (4, 8), price_protection=NO_LIMIT, baseline_family="c6i")
    names = select_types(wanted)
    slowest = FAMILIES["c6i"].coremark_per_vcpu
    fits = [item for item in brute_force(wanted) if not item.is_burstable]
    assert names == tuple(item.name for item in fits if item.coremark_per_vcpu >= slowest)
    assert "c6i.large" in names
    assert not {"m5.large", "c5.large", "m6i.large"} & set(names)
    # price protection starts from the cheapest type that is fast enough
    assert "m5a.large" in select_types(Requirements((2, 2), (8, 8)))
    assert "m5a.large" not in select_types(Requirements((2, 2), (8, 8), baseline_family="c6i"))


def test_nothing_matches_and_requirements_that_cannot_be() -> None:
    assert select_types(Requirements((3, 3), (8, 8))) == ()
    with pytest.raises(ValueError, match=r"vcpu \(4, 2\) is not a range"):
        Requirements((4, 2), (8, 8))
    with pytest.raises(ValueError, match="baseline_family 'z9' is unknown; known: m5"):
        Requirements((2, 2), (8, 8), baseline_family="z9")
    with pytest.raises(ValueError, match=r"price_protection -0\.1 is below 0"):
        Requirements((2, 2), (8, 8), price_protection=-0.1)
