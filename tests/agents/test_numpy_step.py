"""The plain NumPy step of benchmarks/ plays the same decisions as the kernel."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from envs.settings import EnvSettings
from envs.worlds import make_bank
from simulators.bank import Bank
from simulators.records import AMPLE, DRY, EVENT_REBALANCE, EVENT_RECLAIM, OUTCOME, TIGHT

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
COUNTS = [name for name in OUTCOME.names or () if OUTCOME[name].kind == "i"]
AMOUNTS = [name for name in OUTCOME.names or () if OUTCOME[name].kind == "f" and name != "slower_requests"]


@pytest.fixture
def numpy_step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("numpy_step")


def with_many_reclaims(bank: Bank) -> Bank:
    """The same worlds, where in any minute a pool in a hundred takes a tenth of its instances and half have no room."""
    rng = np.random.default_rng(5)
    struck = rng.random(bank.reclaim.shape) < 0.01
    told = struck & (rng.random(struck.shape) < 0.5)
    reclaim = np.where(struck, 25, 0).astype(np.uint8)
    lead = np.zeros_like(bank.rebalance_lead)
    lead[:, :-3] = np.where(told[:, 3:], 3, 0)
    events = EVENT_RECLAIM * reclaim.any(axis=2) + EVENT_REBALANCE * lead.any(axis=2)
    states = rng.choice([AMPLE, TIGHT, DRY], bank.pool_state.shape, p=[0.3, 0.2, 0.5]).astype(np.uint8)
    return bank._replace(reclaim=reclaim, rebalance_lead=lead, events=events.astype(np.uint8), pool_state=states)


@pytest.mark.slow
@pytest.mark.parametrize("reclaims", ["the world's", "many"])
def test_numpy_and_the_kernel_book_the_same(numpy_step: ModuleType, reclaims: str) -> None:
    settings = EnvSettings()
    bank = make_bank(settings.source, settings.task)
    if reclaims == "many":
        bank = with_many_reclaims(bank)
    fleets, start, decisions = numpy_step.played_decisions(settings, 64, 60, bank)
    ours = numpy_step.NumpyFleets(bank, fleets.menu, start)
    fleets.state[:] = start
    seen = dict.fromkeys(COUNTS, 0)
    for step, decision in enumerate(decisions):
        fleets.decisions[:] = decision
        fleets.step(5)
        ours.step(decision, 5)
        for name in COUNTS:
            np.testing.assert_array_equal(ours.outcomes[name], fleets.outcomes[name], err_msg=f"{name}, step {step}")
            seen[name] += int(fleets.outcomes[name].sum())
        for name in AMOUNTS:
            np.testing.assert_allclose(
                ours.outcomes[name], fleets.outcomes[name], rtol=1e-6, atol=1e-9, err_msg=f"{name}, step {step}"
            )
    expected = {"bad_minutes", "launches", "terminations", "type_changes"}
    for name in expected | ({"interruptions", "launch_failures"} if reclaims == "many" else set()):
        assert seen[name] > 0, name


def test_what_the_numpy_step_leaves_out_is_refused(numpy_step: ModuleType, settings: EnvSettings, bank: Bank) -> None:
    fleets, start, _ = numpy_step.played_decisions(settings, 2, 1, bank)
    down = bank.zone_down.copy()
    down[0, 7] = 1
    with pytest.raises(ValueError, match="leaves out zone outages"):
        numpy_step.NumpyFleets(bank._replace(zone_down=down), fleets.menu, start)
    with pytest.raises(ValueError, match="ends within this decision"):
        numpy_step.NumpyFleets(bank, fleets.menu, start).step(fleets.decisions, 1441)
    with pytest.raises(ValueError, match="more than an episode has"):
        numpy_step.played_decisions(settings, 2, 289, bank)
