"""Twenty-five thousand schedules try to go below the two bounds; planted errors in a bound are found the same way."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from plan_search import Found, search, whole_window
from small_markets import (
    TICKS,
    WORLDS,
    cheap_hour,
    cheap_penalty,
    committed,
    drains,
    few_instances,
    least_outstanding,
    mixture,
    outages,
    reclaim_wave,
    steady,
)

from agents.evaluation.bound import bound_per_tick, bound_usd
from agents.evaluation.tight_bound import tight_bound_usd
from simulators.bank import Bank

Make = Callable[[], Bank]
NEAREST: dict[Make, tuple[float, float]] = {
    steady: (1.02, 1.02),
    cheap_hour: (1.06, 1.06),
    drains: (1.5, 1.08),
    reclaim_wave: (1.4, 1.1),
    outages: (1.06, 1.05),
    cheap_penalty: (1.08, 1.08),
    committed: (1.1, 1.1),
    mixture: (1.8, 1.7),
    least_outstanding: (1.6, 1.6),
    few_instances: (1.4, 1.02),
}
"""How near the search must come to the first and the second bound: a search that stays far above tests nothing."""


@cache
def found(make: Make) -> Found:
    return search(make())


@pytest.mark.parametrize("make", WORLDS)
def test_no_schedule_is_below_either_bound(make: Make) -> None:
    bank, result = make(), found(make)
    first, tight = bound_usd(bank, whole_window(bank))[0], tight_bound_usd(bank, whole_window(bank))[0]
    assert result.tried >= 2500
    assert first * (1 - 1e-9) <= tight <= result.best_usd * (1 + 1e-9)
    if make is not committed:
        assert (result.lowest_by_tick >= bound_per_tick(bank, 0, 0, TICKS) * (1 - 1e-9)).all()
    near, nearer = NEAREST[make]
    assert result.best_usd < near * first
    assert result.best_usd < nearer * tight


def with_physics(**changes: float) -> Callable[[Bank], Bank]:
    def changed(bank: Bank) -> Bank:
        physics = bank.physics.copy()
        for name, factor in changes.items():
            physics[name] = physics[name] * factor
        return bank._replace(physics=physics)

    return changed


def without_cheap_hour(bank: Bank) -> Bank:
    return bank._replace(spot_usd_per_s=np.repeat(bank.spot_usd_per_s[:, -1:], 2, axis=1))


def without_reclaims(bank: Bank) -> Bank:
    return bank._replace(reclaim=np.zeros_like(bank.reclaim))


def without_outages(bank: Bank) -> Bank:
    return bank._replace(zone_down=np.zeros_like(bank.zone_down))


def with_dearer_pools(bank: Bank) -> Bank:
    return bank._replace(spot_usd_per_s=bank.spot_usd_per_s * np.float32(1.03))


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (steady, with_physics(slo_late_fraction=0.5)),
        (steady, with_physics(capacity_rps=0.97, network_rps=0.97, parallel=0.97)),
        (cheap_hour, without_cheap_hour),
        (cheap_penalty, with_physics(penalty_multiple=1.1)),
    ],
)
def test_the_search_finds_an_error_in_the_first_bound(make: Make, fault: Callable[[Bank], Bank]) -> None:
    """Half the late share forgotten, 3 % of the capacity, the hour before, a tenth too much for a bad minute."""
    wrong = fault(make())
    assert found(make).best_usd < bound_usd(wrong, whole_window(wrong))[0]


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (reclaim_wave, without_reclaims),
        (reclaim_wave, with_physics(notice_s=2.5)),
        (outages, without_outages),
        (drains, with_physics(drain_s=1.8)),
        (cheap_penalty, with_physics(penalty_multiple=100.0)),
        (few_instances, with_dearer_pools),
    ],
)
def test_the_search_finds_an_error_in_the_second_bound(make: Make, fault: Callable[[Bank], Bank]) -> None:
    """Drains that no reclaim cuts short, a longer notice, no outage, longer drains, no way out, prices 3 % too high."""
    wrong = fault(make())
    assert found(make).best_usd < tight_bound_usd(wrong, whole_window(wrong))[0]
