"""The second bound: its cheapest fleets, its drains and its choice of bad minutes, each against a slow reference."""

from itertools import product

import numpy as np
import pytest
from bound_players import Restless, costs, random_menu, wander_usd, windows_of
from reference.small_worlds import small_bank, start_run
from reference.tiny_worlds import reclaim_all_at, tiny_bank

from agents.evaluation.bound import bound_usd, used_types
from agents.evaluation.tight_bound import (
    billed_after,
    least_total_usd,
    tight_bound_per_tick,
    tight_bound_usd,
)
from agents.evaluation.whole_fleet import WholeFleet
from agents.policies import ConstantPolicy
from agents.rules import RuleBook
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.catalogue import Catalogue, LaunchSpecification
from simulators.latency import overloaded_tail, response_tail
from simulators.physics import Physics, WorldSettings

THREE_TYPES = ("m6i.large", "c7g.large", "c7g.xlarge")


@pytest.fixture(scope="module")
def hard_bank() -> Bank:
    return small_bank()


@pytest.fixture(scope="module")
def minutely(task: TaskSettings) -> TaskSettings:
    return task.model_copy(update={"decision_minutes": 1})


def bank_of_three(routing: str) -> Bank:
    catalogue = Catalogue(Catalogue().types[:12], tuple(LaunchSpecification.single(name) for name in THREE_TYPES))
    settings = WorldSettings(physics=Physics.model_validate({"routing": routing}))
    return tiny_bank(np.full(60, 100.0), catalogue=catalogue, settings=settings)


def late_of_fleet(bank: Bank, counts: tuple[int, ...], demand_rps: float) -> float:
    """Late share of a minute that whole instances serve from its first second to its last, rejected ones included."""
    physics, tables = bank.physics[0], bank.log_tails[0]
    kinds = used_types(physics)
    capacity = physics["capacity_rps"][kinds]
    weight = capacity if physics["least_outstanding"] else np.ones(len(kinds))
    rates = demand_rps * weight / (weight @ counts)
    late = 0.0
    for kind, number, rate, most in zip(kinds, counts, rates, capacity, strict=True):
        table, service = tables[physics["servers"][kind]], float(physics["service_s"][kind])
        if rate <= most:
            share = response_tail(table, sum(counts), rate / most, 0.25 / service)
        else:
            after = (rate - most) * 60.0
            rejected = max(0.0, after - physics["queue_limit_requests"][kind])
            wait = (after - rejected) / most / service
            admitted = 1.0 - rejected / (60.0 * rate)
            share = 1.0 - admitted * (1.0 - overloaded_tail(table, sum(counts), rate / most, 0.0, wait, 0.25 / service))
        late += number * rate * share / demand_rps
    return late


@pytest.mark.parametrize("routing", ["round_robin", "least_outstanding_requests"])
def test_the_cheapest_fleet_costs_no_more_than_any_that_can_be_counted_out(routing: str) -> None:
    """All fleets of up to six of each of three types; where one type is in question the cost is that of 1 % less."""
    bank, rng = bank_of_three(routing), np.random.default_rng(1)
    fleet = WholeFleet(bank.log_tails[0], bank.physics[0])
    fleets = [counts for counts in product(range(7), repeat=3) if sum(counts) > 0]
    for demand in rng.uniform(5.0, 180.0, 12):
        good = np.array([counts for counts in fleets if late_of_fleet(bank, counts, demand) <= 0.05])
        nearly = np.array([counts for counts in fleets if late_of_fleet(bank, counts, 0.99 * demand) <= 0.05])
        step = np.searchsorted(fleet.demand_rps, demand, side="right") - 1
        for prices in rng.uniform(0.3, 1.0, (4, 3)):
            assert fleet.usd_per_s(prices[None])[0, step] <= (good @ prices).min() * (1 + 1e-9)
        for only in range(3 if routing == "round_robin" else 0):
            prices = np.where(np.arange(3) == only, 1.0, 1e6)
            assert fleet.usd_per_s(prices[None])[0, step] >= (nearly @ prices).min() * (1 - 1e-9)


def test_one_type_costs_whole_instances() -> None:
    """One m6i.large at a time: the steps come where its late share passes 5 %, and the 129th never comes."""
    catalogue = Catalogue(Catalogue().types[:12], (LaunchSpecification.single("m6i.large"),))
    bank = tiny_bank(np.full(60, 100.0), catalogue=catalogue)
    fleet = WholeFleet(bank.log_tails[0], bank.physics[0])
    usd = fleet.usd_per_s(np.array([[2.0]]))[0]
    for demand, instances in ((1.0, 1), (25.0, 1), (30.0, 2), (57.0, 2), (61.0, 3), (310.0, 10), (3900.0, 121)):
        assert usd[np.searchsorted(fleet.demand_rps, demand) - 1] == pytest.approx(2.0 * instances)
    assert np.isinf(usd[np.searchsorted(fleet.demand_rps, 4400.0) - 1])
    assert (np.diff(usd[np.isfinite(usd)]) >= 0).all()


def test_drains_are_billed_unless_aws_takes_the_instances() -> None:
    """Lags 1 to 5; a reclaim in minute 20 leaves two minutes, an outage that begins in minute 40 none."""
    down = np.where((np.arange(60) >= 40) & (np.arange(60) < 50), 2, 0)
    bank = tiny_bank(np.full(60, 100.0), reclaim=reclaim_all_at(60, 20), zone_down=down)
    billed = billed_after(bank, bank.worlds[0], 0, 60)
    expected = np.zeros((5, 60), bool)
    for lag, tick in product(range(1, 6), range(60)):
        served = tick - lag
        reclaimed = served <= 20 <= tick - 2
        expected[lag - 1, tick] = served >= 0 and not reclaimed and not served < 40 <= tick
    np.testing.assert_array_equal(billed, expected)
    np.testing.assert_array_equal(billed_after(bank, bank.worlds[0], 10, 60)[:, 5:], expected[:, 15:])


def test_what_served_is_billed_in_full_for_as_long_as_the_bound_says(hard_bank: Bank) -> None:
    """Any fleet under any policy: instances that served in a minute, counted in the kernel, against seconds billed."""
    ticks = 200
    windows = windows_of(hard_bank, 90, seed=21, minutes=ticks)
    run = start_run(hard_bank, 90, 22, first_tick=windows.starts, worlds=windows.worlds)
    served, billed_s, scored = (np.zeros((90, ticks)) for _ in range(3))
    for tick in range(ticks):
        run.decide(0.05)
        outcomes = run.step()
        billed_s[:, tick], scored[:, tick] = outcomes["billed_instance_s"], outcomes["ticks"]
        fleets, begin = run.fleets, 60 * (windows.starts + tick)[:, None]
        live = np.arange(fleets["launch_s"].shape[1]) < fleets["live"][:, None]
        ready = fleets["launch_s"] + fleets["ready_delay_s"]
        served[:, tick] = (live & (ready < begin + 60) & (fleets["off_s"] > np.maximum(begin, ready))).sum(axis=1)
    checked = 0
    for row in range(90):
        start = int(windows.starts[row])
        sure = billed_after(hard_bank, hard_bank.worlds[windows.worlds[row]], start, start + ticks)
        for lag in range(1, len(sure) + 1):
            at = np.flatnonzero(sure[lag - 1] & (scored[row] > 0))
            assert (billed_s[row, at] >= 60 * served[row, at - lag]).all()
            checked += len(at)
    assert checked > 10_000


@pytest.mark.parametrize("penalty", [0.1, 1.5, 4.0, 40.0])
def test_the_choice_of_bad_minutes_is_no_dearer_than_the_best_of_all(penalty: float) -> None:
    """All 1,024 choices for ten minutes; exact where penalties are small or large."""
    rng = np.random.default_rng(4)
    for _ in range(10):
        usd = rng.uniform(0.0, 1.0, (4, 10)) * (rng.random((4, 10)) < 0.8)
        for lag in range(1, 4):
            usd[lag, :lag] = 0.0
        penalties = penalty * rng.uniform(0.5, 1.0, 10)
        best = np.inf
        for good in product((False, True), repeat=10):
            bills = [max(usd[lag, t] if t >= lag and good[t - lag] else 0.0 for lag in range(4)) for t in range(10)]
            best = min(best, sum(bills) + penalties[~np.array(good)].sum())
        found = least_total_usd(usd, penalties).sum()
        assert np.minimum(usd[0], penalties).sum() <= found + 1e-12
        assert found <= best + 1e-12
        if penalty == 40.0:
            assert found == pytest.approx(best)


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "seed"), [(240, 12), (60, 13)])
def test_it_is_above_the_first_bound_and_below_every_policy(
    hard_bank: Bank, minutely: TaskSettings, book: RuleBook, minutes: int, seed: int
) -> None:
    """Random actions, random settings that know the future, every kind of scaling policy, and every rule."""
    count = 30
    windows = windows_of(hard_bank, count, seed, minutes=minutes)
    first, tight = bound_usd(hard_bank, windows), tight_bound_usd(hard_bank, windows)
    assert (tight >= first * (1 - 1e-9)).all()
    assert (tight > 1.02 * first).sum() > count // 3
    rng = np.random.default_rng(seed)
    actions = np.column_stack(
        [np.full(count, 19), rng.integers(1, 9, count), rng.integers(0, 11, count), np.arange(count)]
    )
    tuned = minutely.model_copy(update={"menu": random_menu(count, seed)})
    totals = [
        costs(Restless(minutely, seed), hard_bank, minutely, windows).sum(axis=1),
        costs(ConstantPolicy(actions), hard_bank, tuned, windows).sum(axis=1),
        wander_usd(hard_bank, windows, seed).sum(axis=1),
    ]
    for rule in book.rules:
        policy = book.policy(rule.name, minutely)
        totals.append(costs(policy, hard_bank, minutely, windows).sum(axis=1))
    assert (np.array(totals) >= tight * (1 - 1e-9)).all()


def test_a_minute_that_no_fleet_can_serve_costs_its_penalty() -> None:
    """128 of the largest type are too few; the first bound counts on a hundred more."""
    demand = np.full(1200, 50.0)
    demand[60] = 14_500.0
    bank = tiny_bank(demand)
    penalty = 10 * float(demand.mean()) / 24.0 * 0.096 / 60
    ticks = tight_bound_per_tick(bank, 0, 0, 1200)
    assert ticks[60] - ticks[600] > 0.99 * penalty


def test_the_same_window_gives_the_same_bits(hard_bank: Bank) -> None:
    windows = windows_of(hard_bank, 2, seed=17, minutes=60)
    np.testing.assert_array_equal(tight_bound_usd(hard_bank, windows), tight_bound_usd(hard_bank, windows))
