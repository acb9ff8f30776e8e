"""Instance refresh as AWS documents it, played by the kernel and by the reference."""

import math
from typing import Any

import numpy as np
import pytest
from facts import fact
from reference.tiny_worlds import BOTH, CLOCKWORK, INSTANT, OneFleet, tiny_bank

from simulators.physics import Physics, WorldSettings
from simulators.records import FOREVER, LEAVING, WANTED

RPS_OF_ONE = 24.0
OLD_TYPE, NEW_SPEC, NEW_TYPE = 0, 2, 5


def refreshing(
    player: type[OneFleet], instances: int, physics: Physics = CLOCKWORK, ticks: int = 240, **changes: Any
) -> OneFleet:
    """A warm fleet that has not yet been told of its new type."""
    settings = WorldSettings(physics=physics.model_copy(update=changes))
    fleet = player(tiny_bank(np.full(ticks, RPS_OF_ONE * instances), settings=settings))
    assert fleet.state["live"] == instances
    return fleet


def launches_by_minute(fleet: OneFleet, ticks: int) -> dict[int, int]:
    """Minutes after the change of type in which instances were launched, and how many."""
    launches = [int(fleet.step(1, spec=NEW_SPEC)["launches"]) for _ in range(ticks)]
    return {minute: count for minute, count in enumerate(launches) if count}


def new_ones(fleet: OneFleet) -> int:
    return int((fleet.slots("type") != OLD_TYPE).sum())


@fact("IR-03")
@BOTH
@pytest.mark.parametrize(
    ("instances", "healthy", "batch"),
    [(10, 0.9, 1), (10, 0.8, 2), (4, 0.9, 1), (1, 0.9, 1), (10, 1.0, 1), (10, 0.0, 10), (10, 0.3, 7)],
)
def test_replacement_batches(player: type[OneFleet], instances: int, healthy: float, batch: int) -> None:
    fleet = refreshing(player, instances, min_healthy_fraction=healthy)
    fleet.step(1, spec=NEW_SPEC)
    assert fleet.gone_down().sum() == batch
    assert (fleet.slots("type") == NEW_TYPE).sum() == batch


@fact("IR-06")
@BOTH
def test_the_published_timeline_of_checkpoints(player: type[OneFleet]) -> None:
    """Ten instances, 20 % and 50 %, 15 minutes: 2 at 0:00, 2 at 0:25, 1 at 0:35, over at 0:45."""
    fleet = refreshing(
        player,
        10,
        INSTANT,
        min_healthy_fraction=0.8,
        checkpoints=(0.2, 0.5),
        checkpoint_delay_s=15 * 60,
        instance_warmup_s=600,
    )
    over = []
    launches = {}
    for minute in range(120):
        launched = int(fleet.step(1, spec=NEW_SPEC)["launches"])
        if launched:
            launches[minute] = launched
        if not fleet.state["refreshing"]:
            over.append(minute)
    assert launches == {0: 2, 25: 2, 35: 1}
    assert over[0] == 45
    assert new_ones(fleet) == 5


@fact("IR-05")
@BOTH
def test_a_refresh_takes_as_long_as_its_batches_need_to_become_warm(player: type[OneFleet]) -> None:
    fleet = refreshing(player, 10, INSTANT, min_healthy_fraction=0.8, instance_warmup_s=600)
    assert launches_by_minute(fleet, 60) == {0: 2, 10: 2, 20: 2, 30: 2, 40: 2}
    slow = refreshing(player, 10, INSTANT, min_healthy_fraction=0.8, instance_warmup_s=0, app_median_s=290.0)
    assert launches_by_minute(slow, 60) == {0: 2, 5: 2, 10: 2, 15: 2, 20: 2}


@fact("IR-04")
@BOTH
@pytest.mark.parametrize(
    ("instances", "healthy", "most"), [(10, 0.8, 1.0), (10, 0.9, 1.1), (10, 1.0, 1.2), (7, 0.5, 1.3), (3, 1.0, 1.1)]
)
def test_capacity_stays_between_the_floor_and_the_ceiling(
    player: type[OneFleet], instances: int, healthy: float, most: float
) -> None:
    fleet = refreshing(
        player, instances, min_healthy_fraction=healthy, max_healthy_fraction=most, instance_warmup_s=100
    )
    serving, there = [], []
    for _ in range(80):
        fleet.step(1, spec=NEW_SPEC)
        now = 60 * int(fleet.state["tick"])
        up = fleet.slots("off_s") == FOREVER
        serving.append(int((up & (fleet.slots("launch_s") + fleet.slots("ready_delay_s") <= now)).sum()))
        there.append(int(up.sum()))
    floor = min(math.ceil(healthy * instances - 1e-9), instances - (most == 1.0))
    assert min(serving) == floor
    assert max(there) == max(math.floor(most * instances + 1e-9), instances + (most > 1.0))
    assert new_ones(fleet) == instances
    assert (fleet.slots("state") == WANTED).all()


@fact("IR-10")
@BOTH
@pytest.mark.parametrize(("most", "outage"), [(1.0, True), (1.9, False)])
def test_replacing_a_single_instance_is_an_outage_unless_it_is_launched_first(
    player: type[OneFleet], most: float, outage: bool
) -> None:
    fleet = refreshing(player, 1, max_healthy_fraction=most)
    first = fleet.step(1, spec=NEW_SPEC)
    assert (first["in_service_vcpu_s"] == 0) == outage
    assert first["bad_minutes"] == outage
    assert (fleet.slots("state") == LEAVING).any() != outage
    fleet.step(20)
    assert fleet.slots("type").tolist() == [NEW_TYPE]


@fact("IR-01")
@BOTH
def test_a_new_type_is_for_new_launches_only(player: type[OneFleet]) -> None:
    """After its last checkpoint a refresh replaces nobody: the old stay for hours, what is launched is new."""
    fleet = refreshing(player, 10, checkpoints=(0.1,))
    fleet.step(60, spec=NEW_SPEC)
    assert not fleet.state["refreshing"]
    assert np.bincount(fleet.slots("type"))[[OLD_TYPE, NEW_TYPE]].tolist() == [9, 1]
    fleet.step(60)
    assert new_ones(fleet) == 1
    fleet.step(1, scale=3)
    assert np.bincount(fleet.slots("type"))[[OLD_TYPE, NEW_TYPE]].tolist() == [9, 4]


@fact("IR-07")
@BOTH
def test_what_is_launched_during_a_refresh_is_of_the_new_type(player: type[OneFleet]) -> None:
    fleet = refreshing(player, 10)
    fleet.step(1, spec=NEW_SPEC)
    assert new_ones(fleet) == 1
    fleet.step(1, scale=5)
    assert new_ones(fleet) == 6


@BOTH
def test_a_new_refresh_does_not_wait_for_the_checkpoint_of_the_one_before(player: type[OneFleet]) -> None:
    fleet = refreshing(player, 10, INSTANT, checkpoints=(0.2, 1.0), checkpoint_delay_s=3600, min_healthy_fraction=0.8)
    fleet.step(3, spec=NEW_SPEC)
    assert fleet.state["refresh_hold_tick"] > 60
    assert fleet.step(1, spec=1)["launches"] == 2


@BOTH
def test_a_batch_ends_at_the_next_checkpoint(player: type[OneFleet]) -> None:
    fleet = refreshing(player, 10, INSTANT, checkpoints=(0.25, 1.0), checkpoint_delay_s=600, min_healthy_fraction=0.5)
    assert launches_by_minute(fleet, 40) == {0: 3, 11: 5, 12: 2}
