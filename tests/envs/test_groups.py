"""An Auto Scaling group's own documents, played in the environment's worlds."""

from pathlib import Path

import numpy as np
import pytest

from envs.groups import group_task
from envs.settings import TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.aws_policies import load_group
from simulators.fleets import FleetBatch, infra_usd
from simulators.menu import menu_records

DOCUMENTS = Path(__file__).resolve().parents[2] / "configs" / "aws"
SOURCE = WorldSource(patterns=("diurnal",), days=1, scenarios_per_source=1, markets=1)


@pytest.mark.parametrize("name", ["best-practice", "step", "target-tracking"])
def test_a_shipped_group_plays_with_its_own_types_limits_and_policy(name: str) -> None:
    group = load_group(DOCUMENTS / f"{name}.json")
    task = group_task(group)
    assert task.candidates[0].types == group.candidate.types
    assert task.menu == (group.policy,)
    assert all(getattr(task.world.physics, key) == value for key, value in group.physics.items())
    assert task.world.objective == TaskSettings().world.objective
    bank = make_bank.__wrapped__(SOURCE, task)
    fleets, world = FleetBatch(bank, menu_records(task.menu), 1), np.zeros(1, np.int64)
    first, last = (bank.tapes[name][:1].astype(np.int64) for name in ("first_tick", "last_tick"))
    fleets.reset(world, world, first, last, np.ones(1, np.uint64))
    fleets.decisions["spot_fraction"] = group.spot_fraction
    fleets.step(240)
    assert infra_usd(fleets.outcomes)[0] > 0
    assert fleets.outcomes["launches"][0] > 0
    assert task.world.physics.min_instances <= fleets.state["desired"][0] <= task.world.physics.max_instances
