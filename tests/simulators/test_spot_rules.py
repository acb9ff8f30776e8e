"""Mixed markets, allocation strategies, interruptions: as AWS documents them, by the kernel and by the reference."""

from typing import Any

import numpy as np
import pytest
from facts import fact
from numpy.typing import NDArray
from reference.tiny_worlds import BOTH, CLOCKWORK, MANUAL, OneFleet, reclaim_all_at, tiny_bank

from simulators.catalogue import Catalogue, LaunchSpecification
from simulators.physics import Physics, Workload, WorldSettings
from simulators.records import AMPLE, DRAINING, DRY, METRIC_RING, ON_DEMAND, RECLAIMED, SPOT, TIGHT, ZONES

QUIET = np.full(240, 1.0)
SETTINGS = WorldSettings(physics=CLOCKWORK)
MEMBERS = ("m6i.large", "m6a.large", "m7i.large", "c6a.large")
STRATEGIES = ("price-capacity-optimized", "capacity-optimized", "capacity-optimized-prioritized", "lowest-price")


def settings(**changes: Any) -> WorldSettings:
    return WorldSettings(physics=CLOCKWORK.model_copy(update=changes))


def markets_after_launching(
    player: type[OneFleet], instances: int, spot_fraction: float, base: int = 0
) -> tuple[int, int]:
    fleet = player(tiny_bank(QUIET, settings=settings(on_demand_base=base)), empty=True)
    fleet.step(1, scale=instances, spot=spot_fraction)
    market = fleet.slots("market")
    return int((market == ON_DEMAND).sum()), int((market == SPOT).sum())


@fact("MI-02")
@BOTH
@pytest.mark.parametrize(
    ("base", "on_demand_percent", "expected"),
    [(10, 50, (10, 15, 20, 25)), (12, 0, (10, 12, 12, 12)), (0, 60, (6, 12, 18, 24)), (0, 100, (10, 20, 30, 40))],
)
def test_the_published_table_of_on_demand_and_spot(
    player: type[OneFleet], base: int, on_demand_percent: int, expected: tuple[int, ...]
) -> None:
    for instances, on_demand in zip((10, 20, 30, 40), expected, strict=True):
        launched = markets_after_launching(player, instances, 1 - on_demand_percent / 100, base)
        assert launched == (on_demand, instances - on_demand)


@fact("MI-02")
@BOTH
@pytest.mark.parametrize(
    ("instances", "spot_fraction", "expected"),
    [
        (7, 0.5, (4, 3)),
        (10, 0.7, (3, 7)),
        (10, 0.3, (7, 3)),
        (1, 0.9, (1, 0)),
        (5, 1.0, (0, 5)),
        (5, 0.0, (5, 0)),
    ],
)
def test_fractions_favour_on_demand(
    player: type[OneFleet], instances: int, spot_fraction: float, expected: tuple[int, int]
) -> None:
    assert markets_after_launching(player, instances, spot_fraction) == expected


@fact("MI-05")
@BOTH
def test_a_dry_spot_market_is_not_replaced_by_on_demand(player: type[OneFleet]) -> None:
    fleet = player(tiny_bank(QUIET, settings=SETTINGS, pool_state=DRY), empty=True)
    first = fleet.step(1, scale=10, spot=0.5)
    assert first["launches"] == 5
    later = fleet.step(9)
    assert first["launch_failures"] + later["launch_failures"] == 10
    assert fleet.slots("market").tolist() == [ON_DEMAND] * 5
    assert fleet.state["desired"] == 10


def test_a_failed_launch_shows_in_telemetry() -> None:
    fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS, pool_state=DRY), empty=True)
    fleet.step(1, scale=10, spot=0.5)
    assert fleet.reading["minutes_since_launch_failure"][0] == 1


@fact("MI-05")
@BOTH
def test_other_spot_pools_are_tried_before_a_launch_fails(player: type[OneFleet]) -> None:
    bank = tiny_bank(QUIET, settings=SETTINGS, pool_state=DRY)
    mix = list(bank.physics[0]["members"][6][: bank.physics[0]["num_members"][6]])
    bank.pool_state[0, :, mix[2] * ZONES + 2] = AMPLE
    fleet = player(bank, empty=True)
    outcome = fleet.step(1, scale=6, spot=1.0, spec=6)
    assert (outcome["launches"], outcome["launch_failures"]) == (6, 0)
    assert set(fleet.slots("type")) == {mix[2]}
    assert set(fleet.slots("zone")) == {2}


@fact("AS-11", "MI-05")
@BOTH
def test_with_one_dry_zone_the_others_take_its_share(player: type[OneFleet]) -> None:
    bank = tiny_bank(QUIET, settings=SETTINGS)
    bank.pool_state[0, :, 1::ZONES] = DRY
    fleet = player(bank, empty=True)
    outcome = fleet.step(1, scale=10, spot=1.0)
    assert (outcome["launches"], outcome["launch_failures"]) == (10, 0)
    assert np.bincount(fleet.slots("zone"), minlength=ZONES).tolist() == [5, 0, 5]


def launched_types(player: type[OneFleet], strategy: str, *, pools: int = 2, **changes: Any) -> list[str]:
    """Types of nine launches of four members whose states and prices are given by member."""
    specification = LaunchSpecification("mix", MEMBERS, spot_allocation=strategy, spot_pools=pools)
    catalogue = Catalogue(Catalogue().types, (specification,))
    states, prices = np.full(36, DRY, np.uint8), np.full(36, 0.1)
    for name, state, price in zip(MEMBERS, changes["states"], changes["prices"], strict=True):
        place = slice(catalogue.index[name] * ZONES, (catalogue.index[name] + 1) * ZONES)
        states[place], prices[place] = state, price
    bank = tiny_bank(QUIET, settings=settings(tight_failure_probability=0.0), catalogue=catalogue, pool_state=states)
    bank.spot_usd_per_s[:] = (prices / 3600).astype(np.float32)
    fleet = player(bank, empty=True)
    fleet.step(1, scale=9, spot=1.0)
    return [catalogue.types[kind].name for kind in fleet.slots("type")]


@BOTH
def test_what_each_allocation_strategy_takes(player: type[OneFleet]) -> None:
    m6i, m6a, m7i, c6a = MEMBERS
    all_ample, second_tight = (AMPLE,) * 4, (AMPLE, TIGHT, AMPLE, AMPLE)
    prices = (0.04, 0.01, 0.03, 0.02)

    def taken(strategy: str, states: tuple[int, ...], **more: Any) -> set[str]:
        return set(launched_types(player, strategy, states=states, prices=prices, **more))

    assert taken("price-capacity-optimized", all_ample) == {m6a}
    assert taken("price-capacity-optimized", second_tight) == {c6a}
    assert taken("capacity-optimized-prioritized", all_ample) == {m6i}
    assert taken("capacity-optimized-prioritized", (TIGHT, TIGHT, AMPLE, AMPLE)) == {m7i}
    assert taken("lowest-price", all_ample, pools=1) == {m6a}
    assert taken("lowest-price", all_ample, pools=2) == {m6a, c6a}
    assert taken("lowest-price", second_tight, pools=3) == {m6a, c6a, m7i}
    assert taken("lowest-price", (AMPLE, DRY, AMPLE, AMPLE), pools=1) == {c6a}
    assert taken("capacity-optimized", (TIGHT, TIGHT, AMPLE, AMPLE)) <= {m7i, c6a}
    assert len(taken("capacity-optimized", all_ample)) > 1


def test_capacity_optimized_spreads_over_pools_of_one_state() -> None:
    counts: dict[str, int] = {}
    for seed in range(60):
        specification = LaunchSpecification("mix", MEMBERS, spot_allocation="capacity-optimized")
        catalogue = Catalogue(Catalogue().types, (specification,))
        fleet = OneFleet(tiny_bank(QUIET, settings=SETTINGS, catalogue=catalogue), seed=seed, empty=True)
        fleet.step(1, scale=1, spot=1.0)
        name = catalogue.types[fleet.slots("type")[0]].name
        counts[name] = counts.get(name, 0) + 1
    assert set(counts) == set(MEMBERS)
    assert min(counts.values()) >= 5


def announced(bank_ticks: int, at: int, lead: int) -> NDArray[np.uint8]:
    """A recommendation for every pool, ``lead`` minutes before the reclaim of minute ``at``."""
    leads = np.zeros((bank_ticks, 36), np.uint8)
    leads[at - lead] = lead
    return leads


RECLAIM_AT, LEAD = 60, 10
FIRST_ZONE = slice(0, None, ZONES)


def spot_group(player: type[OneFleet], *, rebalancing: bool, lead: int = LEAD, zones: slice = slice(None)) -> OneFleet:
    """Six spot instances; the pools of some zones take all back in one minute and are dry from the warning on."""
    taken_back = np.zeros((240, 36), np.uint8)
    taken_back[RECLAIM_AT, zones] = 255
    bank = tiny_bank(
        np.full(240, 24.0 * 6),
        settings=settings(capacity_rebalancing=rebalancing, max_instances=6),
        reclaim=taken_back,
        rebalance_lead=announced(240, RECLAIM_AT, lead) if lead else None,
    )
    if zones != slice(None):
        bank.pool_state[0, RECLAIM_AT - lead :, zones] = DRY
    fleet = player(bank, empty=True)
    fleet.step(RECLAIM_AT - 20, scale=6, spot=1.0)
    return fleet


@fact("MI-08")
@BOTH
def test_a_recommendation_is_answered_before_the_interruption(player: type[OneFleet]) -> None:
    """Replacements first, the old ones stopped once they serve; the largest size is exceeded meanwhile."""
    lost_s, launches, most = {}, {}, {}
    for rebalancing in (True, False):
        fleet = spot_group(player, rebalancing=rebalancing, zones=FIRST_ZONE)
        served, launched, there = [], 0, []
        for _ in range(40):
            outcome = fleet.step(1)
            served.append(float(outcome["in_service_vcpu_s"]) / 2)
            launched += int(outcome["launches"])
            there.append(int((~fleet.gone_down()).sum()))
        lost_s[rebalancing] = sum(max(0.0, 6 * 60 - seconds) for seconds in served)
        launches[rebalancing] = launched
        most[rebalancing] = max(there)
    assert lost_s[True] == 0
    assert lost_s[False] > 2 * 120
    assert launches[True] >= launches[False] == 2
    assert most == {True: 8, False: 6}


@fact("MI-08")
@BOTH
def test_a_recommended_instance_is_stopped_when_its_replacement_serves(player: type[OneFleet]) -> None:
    fleet = spot_group(player, rebalancing=True)
    fleet.step(10)
    assert fleet.step(1)["launches"] == 6
    assert (fleet.slots("state") == DRAINING).sum() == 0
    fleet.step(1)
    assert (fleet.slots("state") == DRAINING).sum() == 0
    fleet.step(1)
    assert (fleet.slots("state") == DRAINING).sum() == 6
    interrupted = fleet.step(20)["interruptions"]
    assert interrupted == 6, "the replacements are in the pools that are taken back"


@fact("MI-09")
@BOTH
def test_a_notice_without_recommendation_is_answered_at_once(player: type[OneFleet]) -> None:
    launched = {}
    for rebalancing in (True, False):
        fleet = spot_group(player, rebalancing=rebalancing, lead=0)
        launched[rebalancing] = [minute for minute in range(40, 80) if fleet.step(1)["launches"]]
    assert launched[True] == [RECLAIM_AT]
    assert min(launched[False]) >= RECLAIM_AT + 2, "only when the instance is gone, two minutes after its notice"


@fact("SP-07")
@BOTH
def test_an_instance_under_notice_drains_for_two_minutes(player: type[OneFleet]) -> None:
    """It takes no request after its notice, works on what it has, and is gone 120 s later."""
    bank = tiny_bank(QUIET, settings=SETTINGS, reclaim=reclaim_all_at(240, 30))
    bank.pool_state[0, 30:] = DRY
    fleet = player(bank, empty=True)
    fleet.step(30, scale=1, spot=1.0)
    work_of_100_s = 40.0 * 100
    fleet.state["backlog_requests"][0] = work_of_100_s
    fleet.inject(backlogged=1)
    fleet.step(1)
    assert fleet.slots("state").tolist() == [RECLAIMED]
    notice_s = int(fleet.slots("off_s")[0])
    assert 1800 <= notice_s < 1860
    fleet.step(1)
    assert fleet.slots("backlog_requests")[0] < work_of_100_s
    gone = 2
    while fleet.state["live"]:
        fleet.step(1)
        gone += 1
    assert 1800 + 60 * gone >= notice_s + 120 > 1800 + 60 * (gone - 1)
    assert fleet.state["lost_requests"] == 0


@fact("SP-07")
@BOTH
@pytest.mark.parametrize(("notice_s", "lost"), [(120, 0.0), (2, 200.0)])
def test_what_does_not_drain_in_time_is_lost(player: type[OneFleet], notice_s: int, lost: float) -> None:
    settings = WorldSettings(
        physics=CLOCKWORK.model_copy(update={"notice_s": notice_s}), workload=Workload(queue_limit_s=120.0)
    )
    bank = tiny_bank(QUIET, settings=settings, reclaim=reclaim_all_at(240, 30))
    bank.pool_state[0, 30:] = DRY
    fleet = player(bank, empty=True)
    fleet.step(30, scale=1, spot=1.0)
    fleet.state["backlog_requests"][0] = 4000.0
    fleet.inject(backlogged=1)
    failed = sum(float(fleet.step(1)["failed_requests"]) for _ in range(10))
    afterwards = sum(float(fleet.step(1)["failed_requests"]) for _ in range(1))
    assert afterwards == 60.0, "nobody is left to answer"
    assert failed - 60.0 * round((failed - lost) / 60.0) == pytest.approx(lost, abs=3.0)


@BOTH
def test_an_instance_under_notice_is_not_warm(player: type[OneFleet]) -> None:
    """Without rebalancing it counts as active until it is gone, yet it takes no request, has no metric."""
    share = reclaim_all_at(240, 20)
    warm_up = settings(capacity_rebalancing=False, instance_warmup_s=100)
    bank = tiny_bank(np.full(240, 24.0 * 4), settings=warm_up, reclaim=share)
    fleet = player(bank, MANUAL)
    fleet.step(21, scale=4, spot=1.0)
    noticed = int((fleet.slots("state") == RECLAIMED).sum())
    on_demand = 8 - noticed
    assert on_demand == int((fleet.slots("market") == ON_DEMAND).sum()) > 0
    fleet.step(1)
    assert fleet.state["cpu_targets"][21 % METRIC_RING] == on_demand


@fact("LT-07")
def test_the_first_health_check_comes_within_one_interval() -> None:
    physics = Physics(boot_sigma=0.0, app_sigma=0.0, boot_median_s=24.0, app_median_s=60.0, register_s=30)
    fleet = OneFleet(tiny_bank(QUIET, settings=WorldSettings(physics=physics)), empty=True)
    fleet.step(1, scale=99)
    waits = fleet.slots("ready_delay_s") - 84
    assert (waits.min(), waits.max()) == (1, 30)
    assert waits.mean() == pytest.approx(15.5, abs=3 * 8.7 / np.sqrt(99))
