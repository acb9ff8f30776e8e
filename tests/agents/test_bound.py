"""The clairvoyant bound: equal to its linear program, and below everything that anyone can play, minute by minute."""

from collections.abc import Callable

import numpy as np
import pytest
from bound_players import Restless, costs, random_menu, wander_usd, windows_of
from reference.small_worlds import small_bank
from reference.tiny_worlds import OneFleet, tiny_bank
from scipy.optimize import linprog

from agents.evaluation import bound
from agents.evaluation.bound import GoodMinute, bound_per_tick, bound_usd, late_share, lowest_prices, used_types
from agents.policies import ConstantPolicy
from agents.rollout import Windows
from agents.rules import RuleBook
from envs.action import encode_action
from envs.settings import TaskSettings
from simulators.bank import Bank
from simulators.fleets import infra_usd
from simulators.latency import response_tail


def bounds(bank: Bank, windows: Windows) -> np.ndarray:
    """[B, ticks] bound of every minute."""
    programs: bound.Programs = {}
    return np.stack(
        [
            bound_per_tick(bank, int(world), int(start), int(end), programs)
            for world, start, end in zip(windows.worlds, windows.starts, windows.ends, strict=True)
        ]
    )


def commitments(bank: Bank, windows: Windows) -> np.ndarray:
    """[B] whether the account has a Savings Plan."""
    return bank.physics["commitment_usd_per_s"][bank.worlds["physics"][windows.worlds]] > 0


def assert_above(cost: np.ndarray, lowest: np.ndarray, committed: np.ndarray | None = None) -> None:
    """Every decision costs at least its bound; with a Savings Plan, which is used up as it comes, every window does."""
    lowest = lowest.reshape(*cost.shape, -1).sum(axis=2)
    if committed is not None:
        cost = np.where(committed[:, None], cost.mean(axis=1, keepdims=True), cost)
        lowest = np.where(committed[:, None], lowest.mean(axis=1, keepdims=True), lowest)
    below = cost < lowest * (1 - 1e-9) - 1e-12
    assert not below.any(), f"{int(below.sum())} of {below.size} below the bound, the worst by {(lowest - cost).max()}"


@pytest.fixture(scope="module")
def hard_bank() -> Bank:
    """Calm and hot markets, flat and traffic penalties, both routings, heavy work, gaps, silence, retries."""
    return small_bank()


@pytest.fixture(scope="module")
def minutely(task: TaskSettings) -> TaskSettings:
    return task.model_copy(update={"decision_minutes": 1})


def program_optimum(
    good: GoodMinute, shares: list[np.ndarray], prices: np.ndarray, errors: float, late: float
) -> float:
    """The primal program of the module's text, for one request per second."""
    fractions = bound.UTILIZATIONS
    capacity = np.concatenate([one * fractions for one in good._capacity])
    unit = float((prices / good._capacity).min())
    price = np.repeat(prices, len(fractions)) / unit
    tails = np.concatenate(shares)
    result = linprog(
        np.append(price, 0.0),
        A_ub=np.array([np.append(-capacity, -1.0), np.append(capacity * tails, 1.0)]),
        b_ub=np.array([-(1 - errors), late]),
        method="highs",
    )
    assert result.status == 0
    return float(result.fun) * unit


@pytest.mark.parametrize(("physics_index", "slack"), [(0, 0.01), (1, 0.06), (3, 0.06)])
def test_a_good_minute_costs_what_the_linear_program_says(hard_bank: Bank, physics_index: int, slack: float) -> None:
    """Never more, and little less: 1 % in the default physics, one step of the grid above saturation elsewhere."""
    physics, tails = hard_bank.physics[physics_index], hard_bank.log_tails[physics_index]
    rng = np.random.default_rng(physics_index)
    listed = physics["on_demand_usd_per_s"][used_types(physics)].astype(np.float64)
    for scale in (1.0, 1.7):
        good = GoodMinute(tails, physics, scale)
        shares = [late_share(tails, physics, kind, scale) for kind in used_types(physics)]
        prices = listed * rng.uniform(0.1, 1.0, (8, len(listed)))
        found = good.usd_per_request(prices)
        for row in range(len(prices)):
            errors, late = float(physics["slo_error_fraction"]), float(physics["slo_late_fraction"])
            optimum = program_optimum(good, shares, prices[row], errors, late)
            assert found[row] <= optimum * (1 + 1e-9)
            assert found[row] >= (1 - slack) * optimum


def test_no_instance_answers_more_in_time_than_the_bound_allows(hard_bank: Bank) -> None:
    physics, tails = hard_bank.physics[2], hard_bank.log_tails[2]
    rng = np.random.default_rng(0)
    for kind in used_types(physics):
        shares = late_share(tails, physics, kind, 1.3)
        assert (np.diff(shares) >= 0).all()
        service = float(physics["service_s"][kind]) * 1.3
        for utilization in rng.uniform(0.02, 0.99, 40):
            below = np.searchsorted(bound.UTILIZATIONS, utilization) - 1
            for targets in (1, 3, 7, 20, 99):
                tail = response_tail(tails[physics["servers"][kind]], targets, utilization, 0.25 / service)
                assert shares[below] <= tail + 1e-12


def test_no_random_policy_is_below_the_bound_in_any_minute(hard_bank: Bank, minutely: TaskSettings) -> None:
    windows = windows_of(hard_bank, 120, seed=1)
    cost = costs(Restless(minutely, seed=2), hard_bank, minutely, windows)
    lowest = bounds(hard_bank, windows)
    assert_above(cost, lowest, commitments(hard_bank, windows))
    assert (lowest > 0).mean() > 0.9


def test_no_scaling_policy_is_below_the_bound(hard_bank: Bank) -> None:
    """Step, scheduled, predictive and all other kinds, alone and together, with any candidate and spot share."""
    windows = windows_of(hard_bank, 120, seed=10, minutes=180)
    cost = wander_usd(hard_bank, windows, seed=11)
    assert_above(cost, bounds(hard_bank, windows), commitments(hard_bank, windows))


def test_no_rule_is_below_the_bound_in_any_minute(hard_bank: Bank, minutely: TaskSettings, book: RuleBook) -> None:
    windows = windows_of(hard_bank, 60, seed=3)
    lowest = bounds(hard_bank, windows)
    for rule in book.rules:
        cost = costs(book.policy(rule.name, minutely), hard_bank, minutely, windows)
        assert_above(cost, lowest, commitments(hard_bank, windows))


@pytest.mark.parametrize("scale", [-19, 0, 19])
@pytest.mark.parametrize("spot_percent", [0, 100])
def test_no_fixed_fleet_is_below_the_bound(
    hard_bank: Bank, minutely: TaskSettings, book: RuleBook, scale: int, spot_percent: int
) -> None:
    """One instance that never serves in time, the best of sizes, and far too many; every candidate."""
    static = book.index("static")
    windows = windows_of(hard_bank, 64, seed=4)
    lowest = bounds(hard_bank, windows)
    for candidate in (1, 4, 8):
        action = encode_action(minutely, scale=scale, candidate=candidate, spot_percent=spot_percent, policy=static)
        assert_above(
            costs(ConstantPolicy(action), hard_bank, minutely, windows), lowest, commitments(hard_bank, windows)
        )


def test_a_search_over_policies_finds_none_below_the_bound(hard_bank: Bank, task: TaskSettings) -> None:
    """300 settings x 6 windows, all of the bank's tapes knowing the future as perfect forecasts."""
    menu, rng = random_menu(300, seed=5), np.random.default_rng(6)
    task = task.model_copy(update={"menu": menu})
    actions = np.column_stack(
        [
            rng.integers(17, 22, len(menu)),
            rng.integers(1, 9, len(menu)),
            rng.choice([0, 5, 10, 10, 10], len(menu)),
            np.arange(len(menu)),
        ]
    )
    windows = windows_of(hard_bank, 6, seed=7)
    lowest = bounds(hard_bank, windows)
    cost = costs(ConstantPolicy(np.repeat(actions, len(windows), axis=0)), hard_bank, task, windows.repeat(len(menu)))
    repeated = np.tile(commitments(hard_bank, windows), len(menu))
    assert_above(cost, np.tile(lowest, (len(menu), 1)), repeated)
    by_decision = np.tile(lowest.reshape(len(windows), -1, 5).sum(axis=2), (len(menu), 1))
    nearest = (cost[by_decision > 0] / by_decision[by_decision > 0]).min()
    assert nearest < 1.25, f"a search that stays {nearest:.2f} times above the bound tests nothing"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_policy_is_below_the_bound_on_many_windows(hard_bank: Bank, minutely: TaskSettings, seed: int) -> None:
    windows = windows_of(hard_bank, 240, seed=100 + seed)
    lowest = bounds(hard_bank, windows)
    assert_above(costs(Restless(minutely, seed), hard_bank, minutely, windows), lowest, commitments(hard_bank, windows))
    menu = random_menu(240, seed=200 + seed)
    tuned = minutely.model_copy(update={"menu": menu})
    rng = np.random.default_rng(seed)
    actions = np.column_stack([np.full(240, 19), rng.integers(1, 9, 240), rng.integers(0, 11, 240), np.arange(240)])
    assert_above(costs(ConstantPolicy(actions), hard_bank, tuned, windows), lowest, commitments(hard_bank, windows))


def test_a_bound_that_may_not_pay_the_penalty_is_beaten(
    hard_bank: Bank, minutely: TaskSettings, book: RuleBook
) -> None:
    """Where bad minutes are cheap, one idle instance and the penalty cost less than any good minute."""
    lenient, strict = hard_bank.physics.copy(), hard_bank.physics.copy()
    lenient["penalty_multiple"], strict["penalty_multiple"] = 0.02, 1e6
    windows = windows_of(hard_bank, 60, seed=8)
    too_high = bounds(hard_bank._replace(physics=strict), windows)
    action = encode_action(minutely, scale=-19, candidate=1, spot_percent=100, policy=book.index("static"))
    bank = hard_bank._replace(physics=lenient)
    cost = costs(ConstantPolicy(action), bank, minutely, windows)
    assert (cost < too_high).sum() > 100
    assert_above(cost, bounds(bank, windows), commitments(bank, windows))


def price_of_this_hour(
    bank: Bank, world: np.void, physics: np.void, first_tick: int, last_tick: int, on_demand_share: float
) -> np.ndarray:
    """The planted fault: an instance is taken to pay the price of the current market hour."""
    kinds = used_types(physics)
    hours = np.arange(first_tick // 60, (last_tick - 1) // 60 + 1)
    pools = bank.spot_usd_per_s[0, hours].astype(np.float64).reshape(len(hours), -1, 3).min(axis=2)
    listed = on_demand_share * physics["on_demand_usd_per_s"][kinds]
    return np.minimum(pools[:, kinds], listed) + float(physics["volume_usd_per_s"])


def fleet_of_a_cheap_hour() -> tuple[Bank, np.ndarray]:
    """Five spot c7g.xlarge launched half an hour before the price rises tenfold; the cost of the half hour after."""
    demand = np.where(np.arange(180) < 36, 0.0, 330.0)
    bank = tiny_bank(demand, spot_usd_per_hour=[0.012, 0.12, 0.12])
    fleet = OneFleet(bank, tick=30, empty=True)
    fleet.step(1, spec=5, spot=1.0, scale=5)
    fleet.step(29)
    minutes = [fleet.step(1) for _ in range(25)]
    assert sum(int(minute["bad_minutes"]) for minute in minutes) == 0
    return bank, np.array([float(infra_usd(np.atleast_1d(minute))[0]) for minute in minutes])


def test_prices_hold_for_an_hour_of_the_instance_not_of_the_market() -> None:
    bank, cost = fleet_of_a_cheap_hour()
    lowest = bound_per_tick(bank, 0, 60, 85)
    assert_above(cost[None], lowest[None])
    assert cost.sum() < 2.0 * lowest.sum()


def test_a_bound_without_the_hour_before_is_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, cost = fleet_of_a_cheap_hour()
    monkeypatch.setattr(bound, "lowest_prices", price_of_this_hour)
    too_high = bound_per_tick(bank, 0, 60, 85)
    assert (cost < too_high).all()


def test_prices_by_hand() -> None:
    bank = tiny_bank(np.full(240, 50.0), spot_usd_per_hour=[0.02, 0.05, 0.03, 9.0])
    world, physics = bank.worlds[0], bank.physics[0]
    found = (lowest_prices(bank, world, physics, 60, 240) - physics["volume_usd_per_s"]) * 3600
    types = used_types(physics)
    listed = physics["on_demand_usd_per_s"][types] * 3600
    np.testing.assert_allclose(found[0], 0.02, rtol=1e-6)
    np.testing.assert_allclose(found[1], 0.03, rtol=1e-6)
    np.testing.assert_allclose(found[2], 0.03, rtol=1e-6)
    assert (listed > 0.05).all()


def balancer_usd(bank: Bank, demand_rps: float) -> float:
    """The load balancer's cost of a minute, by hand from the price page: hours, and the largest of its dimensions."""
    units = max(demand_rps / 10 / 25, demand_rps * 4e3 * 3600 / 1e9)
    return (0.0225 + 0.008 * units) / 60


def test_a_silent_minute_costs_the_balancer_and_an_unscored_one_nothing() -> None:
    demand = np.full(120, 50.0)
    demand[10:20] = 0.0
    bank = tiny_bank(demand)
    bank.scored[30:40] = 0
    ticks = bound_per_tick(bank, 0, 0, 120)
    unscored = np.zeros(120, bool)
    unscored[30:40] = True
    np.testing.assert_array_equal(ticks == 0.0, unscored)
    np.testing.assert_allclose(ticks[10:20], balancer_usd(bank, 0.0), rtol=1e-9)


def test_a_minute_beyond_every_fleet_costs_its_penalty() -> None:
    demand = np.full(1200, 50.0)
    demand[60] = 1e6
    bank = tiny_bank(demand)
    # ten times m6i.large at 60 % for the mean demand, for a minute
    penalty = 10 * float(demand.mean()) / 24.0 * 0.096 / 60
    assert bound_per_tick(bank, 0, 60, 61)[0] == pytest.approx(penalty + balancer_usd(bank, 1e6), rel=1e-5)


def test_the_bound_of_a_window_is_the_sum_of_its_minutes(hard_bank: Bank) -> None:
    windows = windows_of(hard_bank, 10, seed=9)
    np.testing.assert_allclose(bound_usd(hard_bank, windows), bounds(hard_bank, windows).sum(axis=1), rtol=1e-12)


def test_knowing_more_types_or_paying_less_never_raises_the_bound(hard_bank: Bank) -> None:
    physics, tails = hard_bank.physics[0], hard_bank.log_tails[0]
    good = GoodMinute(tails, physics)
    prices = physics["on_demand_usd_per_s"][used_types(physics)].astype(np.float64)[None]
    whole = good.usd_per_request(prices)[0]
    change: Callable[[int], float] = lambda column: good.usd_per_request(  # noqa: E731
        np.where(np.arange(prices.shape[1]) == column, prices * 10, prices)
    )[0]
    assert all(change(column) >= whole * (1 - 1e-12) for column in range(prices.shape[1]))
    assert good.usd_per_request(prices / 2)[0] == pytest.approx(whole / 2, rel=1e-9)
