"""Ratios of sums, their intervals, and the mistakes that look like them."""

import numpy as np
import pytest

from agents.evaluation.statistics import (
    PairedTotals,
    equivalent_days,
    ratio_of_sums,
    resampled_sums,
    standard_error_of_sum,
    standard_error_over_runs,
)

SEEDS, DAYS = 3, 8


def flat(values: list[float]) -> list[np.ndarray]:
    return [np.full((SEEDS, DAYS), value) for value in values]


UNEVEN = PairedTotals({"rule": flat([1.0, 0.4]), "learned": flat([0.6, 0.39]), "bound": flat([0.2, 0.38])})


def test_gap_closed_is_a_ratio_of_sums() -> None:
    estimate = UNEVEN.gap_closed("learned", "rule", "bound")
    assert estimate.value == pytest.approx((0.4 + 0.01) / (0.8 + 0.02))


def test_an_average_of_ratios_would_be_another_number() -> None:
    average_of_ratios = ((1.0 - 0.6) / (1.0 - 0.2) + (0.4 - 0.39) / (0.4 - 0.38)) / 2
    uneven = PairedTotals({"rule": flat([1.0, 0.4]), "learned": flat([0.6, 0.44]), "bound": flat([0.2, 0.38])})
    wrong = ((1.0 - 0.6) / (1.0 - 0.2) + (0.4 - 0.44) / (0.4 - 0.38)) / 2
    assert average_of_ratios == pytest.approx(0.5)
    assert wrong == pytest.approx(-0.75)
    assert uneven.gap_closed("learned", "rule", "bound").value == pytest.approx(0.36 / 0.82)


def test_saving_is_a_ratio_of_sums_and_difference_a_mean() -> None:
    assert UNEVEN.saving("learned", "rule").value == pytest.approx(1 - 0.99 / 1.4)
    assert UNEVEN.difference("learned", "rule").value == pytest.approx((-0.4 - 0.01) / 2)


def test_identical_policies_differ_by_nothing() -> None:
    rng = np.random.default_rng(0)
    values = [rng.lognormal(0, 1, (SEEDS, DAYS)) for _ in range(4)]
    paired = PairedTotals({"a": values, "b": [item.copy() for item in values], "bound": flat([0.0] * 4)})
    for estimate in (paired.difference("a", "b"), paired.saving("a", "b"), paired.gap_closed("a", "b", "bound")):
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_the_worse_policy_closes_a_negative_gap_and_the_bound_all_of_it() -> None:
    paired = PairedTotals({"rule": flat([1.0, 1.0]), "worse": flat([1.2, 1.4]), "bound": flat([0.5, 0.5])})
    assert paired.gap_closed("worse", "rule", "bound").value == pytest.approx(-0.6)
    assert paired.gap_closed("bound", "rule", "bound").value == pytest.approx(1.0)
    assert paired.gap_closed("rule", "rule", "bound").value == 0.0


def test_a_resample_counts_every_draw() -> None:
    """What is the same everywhere stays the same in every resample; what differs, differs."""
    rng = np.random.default_rng(1)
    shapes = [(2, 5), (4, 3), (1, 1), (3, 38)]
    constant = [np.full((2, *shape), 7.0) for shape in shapes]
    np.testing.assert_allclose(resampled_sums(constant, 50, rng), 28.0, rtol=1e-12)
    by_trace = [np.full((1, *shape), 10.0**position) for position, shape in enumerate(shapes)]
    sums = resampled_sums(by_trace, 500, rng).ravel()
    assert set(np.round(sums, 9)) <= {
        float(sum(item)) for item in np.array(np.meshgrid(*[[1, 10, 100, 1000]] * 4)).reshape(4, -1).T
    }
    assert len(set(np.round(sums, 9))) > 20


def test_resamples_centre_on_the_sample_and_keep_policies_together() -> None:
    rng = np.random.default_rng(2)
    values = [rng.lognormal(0, 1, (1, 3, days)) for days in (5, 9, 20)]
    pairs = [np.concatenate([item, 2 * item + 1]) for item in values]
    sums = resampled_sums(pairs, 20_000, rng)
    np.testing.assert_allclose(sums[:, 1], 2 * sums[:, 0] + 3, rtol=1e-9)
    assert sums[:, 0].mean() == pytest.approx(sum(item.mean() for item in values), rel=0.01)


def test_the_error_of_a_sum_over_traces_is_the_textbooks() -> None:
    means = [1.0, 2.0, 4.0, 9.0]
    error, freedom = standard_error_of_sum([np.full((SEEDS, DAYS), mean) for mean in means])
    assert error == pytest.approx(np.sqrt(4 * np.var(means, ddof=1)))
    assert freedom == 3


def test_the_error_of_one_trace_adds_days_and_seeds_and_takes_off_what_both_hold() -> None:
    rng = np.random.default_rng(3)
    by_day, by_seed = rng.permutation([-1.0, 1.0, -1.0, 1.0, 0.5, -0.5, 0.2, -0.2]), np.array([-0.3, 0.1, 0.2])
    only_days, freedom = standard_error_of_sum([np.tile(by_day, (3, 1))])
    rate = equivalent_days(by_day)
    assert only_days == pytest.approx(np.sqrt((by_day**2).mean() / (rate - 1)))
    assert freedom == pytest.approx(rate - 1)
    only_seeds, freedom = standard_error_of_sum([np.tile(by_seed[:, None], (1, 8))])
    assert only_seeds == pytest.approx(np.sqrt(np.var(by_seed, ddof=1) / 3))
    assert freedom == 2
    both, freedom = standard_error_of_sum([by_seed[:, None] + by_day[None, :]])
    assert both == pytest.approx(np.hypot(only_days, only_seeds))
    assert min(2, rate - 1) <= freedom <= 2 + rate - 1
    noise = rng.normal(size=(40, 40))
    assert standard_error_of_sum([noise])[0] == pytest.approx(1 / 40, rel=0.35)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_equivalent_days_of_an_autoregression(rho: float) -> None:
    days = np.mean([equivalent_days(autoregression(np.random.default_rng(seed), 2000, rho)) for seed in range(10)])
    assert days / 2000 == pytest.approx((1 - rho) / (1 + rho), abs=0.05)


def test_what_was_not_repeated_has_no_interval() -> None:
    once = PairedTotals({"a": [np.array([[0.3]])], "b": [np.array([[0.5]])]}).difference("a", "b")
    assert once.value == pytest.approx(-0.2)
    assert np.isnan([once.low, once.high]).all()
    days_only = ratio_of_sums([np.array([[1.0, 2.0, 4.0]])], [np.ones((1, 3))])
    assert days_only.low < days_only.value < days_only.high


def test_figures_do_not_depend_on_units_or_on_a_common_cost() -> None:
    rng = np.random.default_rng(4)
    rule = [rng.lognormal(0, 0.5, (3, days)) for days in (5, 9, 14)]
    values = {"rule": rule, "ours": [0.8 * item + 0.05 for item in rule], "bound": [0.4 * item for item in rule]}
    other = {name: [100.0 * (item + 0.7) for item in items] for name, items in values.items()}
    before, after = (PairedTotals(item).gap_closed("ours", "rule", "bound") for item in (values, other))
    assert (after.value, after.low, after.high) == pytest.approx((before.value, before.low, before.high), rel=1e-9)


def test_the_interval_is_the_same_twice() -> None:
    rng = np.random.default_rng(2)
    values = {name: [rng.lognormal(0, 1, (2, 6)) for _ in range(3)] for name in ("a", "b")}
    assert PairedTotals(values).difference("a", "b") == PairedTotals(values).difference("a", "b")


def runs_of(count: int, *, traces: int = 4) -> PairedTotals:
    rng = np.random.default_rng(7)
    rule = [rng.lognormal(0, 0.2, (SEEDS, DAYS)) for _ in range(traces)]
    values = {f"run {n}": [0.9 * item + rng.normal(0, 0.02) for item in rule] for n in range(count)}
    return PairedTotals({"rule": rule, "bound": [0.4 * item for item in rule], **values})


def test_the_gap_over_runs_is_the_mean_of_theirs_and_inside_its_interval() -> None:
    paired, names = runs_of(5), [f"run {n}" for n in range(5)]
    over = paired.gap_closed_over_runs(names, "rule", "bound")
    assert over.value == pytest.approx(np.mean([paired.gap_closed(name, "rule", "bound").value for name in names]))
    assert over.low < over.value < over.high
    assert paired.gap_closed_over_runs(names[::-1], "rule", "bound").value == pytest.approx(over.value)


def test_one_run_or_the_same_run_again_has_the_interval_of_that_run() -> None:
    paired = runs_of(1)
    alone = paired.gap_closed("run 0", "rule", "bound")
    assert paired.gap_closed_over_runs(["run 0"], "rule", "bound") == alone
    again = paired.gap_closed_over_runs(["run 0"] * 4, "rule", "bound")
    assert (again.value, again.low, again.high) == pytest.approx((alone.value, alone.low, alone.high), rel=1e-9)


def test_the_error_over_runs_adds_runs_and_traces_and_takes_off_what_both_hold() -> None:
    by_run, by_trace = np.array([-0.3, 0.1, 0.2]), np.array([1.0, 2.0, 4.0, 9.0])

    def values(table: np.ndarray) -> list[list[np.ndarray]]:
        return [flat(list(run)) for run in table]

    only_runs, freedom = standard_error_over_runs(values(np.tile(by_run[:, None], (1, 4))))
    assert only_runs == pytest.approx(4 * np.sqrt(np.var(by_run, ddof=1) / 3))
    assert freedom == 2
    only_traces = standard_error_over_runs(values(np.tile(by_trace, (3, 1))))
    assert only_traces == pytest.approx(standard_error_of_sum(flat(list(by_trace))))
    both, freedom = standard_error_over_runs(values(by_run[:, None] + by_trace))
    assert both == pytest.approx(np.hypot(only_runs, only_traces[0]))
    assert 2 < freedom < 5
    noise = np.random.default_rng(8).normal(size=(30, 30))
    assert standard_error_over_runs(values(noise))[0] == pytest.approx(1.0, rel=0.35)


def autoregression(rng: np.random.Generator, days: int, rho: float) -> np.ndarray:
    """First-order, with variance 1."""
    values = rng.normal(size=days)
    for day in range(1, days):
        values[day] = rho * values[day - 1] + np.sqrt(1 - rho**2) * values[day]
    return values


MANY = [(5, days) for days in (5, 7, 7, 8, 9, 13, 15, 18, 20, 27, 38)]
FEW = [(3, days) for days in (5, 9, 14, 20)]
GAP, SAVED, FLOOR = 0.10, 0.02, 0.18


def simulated(rng: np.random.Generator, shapes: list[tuple[int, int]], *, skewed: bool) -> dict[str, list[np.ndarray]]:
    """Daily totals whose expected gap, saving and floor over all traces, markets and days are those above.

    Traces differ (with one trace they do not: it is the population), markets belong to their trace, days follow each
    other with an autocorrelation of 0.4. ``skewed`` traces have exponential gaps.
    """
    between = 0.0 if len(shapes) == 1 else 1.0
    totals: dict[str, list[np.ndarray]] = {"rule": [], "learned": [], "bound": []}
    for seeds, days in shapes:

        def inside(seeds: int = seeds, days: int = days) -> np.ndarray:
            by_day, by_seed = autoregression(rng, days, 0.4), rng.normal(size=(seeds, 1))
            return 0.5 * by_day + 0.4 * by_seed + 0.3 * rng.normal(size=(seeds, days))

        gap = GAP * (rng.exponential() if skewed else 1 + 0.4 * between * rng.normal())
        bound = FLOOR * (1 + 0.2 * between * rng.normal()) + 0.02 * inside()
        rule = bound + gap * (1 + inside())
        saved = SAVED / GAP * gap + 0.02 * between * rng.normal() + SAVED * inside()
        for name, item in (("bound", bound), ("rule", rule), ("learned", rule - saved)):
            totals[name].append(item)
    return totals


def covered(shapes: list[tuple[int, int]], *, skewed: bool, experiments: int) -> dict[str, float]:
    """Share of simulated experiments whose interval holds the truth."""
    truth = {"gap": SAVED / GAP, "difference": -SAVED, "saving": SAVED / (GAP + FLOOR)}
    held = dict.fromkeys(truth, 0)
    rng = np.random.default_rng(5)
    for _ in range(experiments):
        paired = PairedTotals(simulated(rng, shapes, skewed=skewed), resamples=200)
        found = {
            "gap": paired.gap_closed("learned", "rule", "bound"),
            "difference": paired.difference("learned", "rule"),
            "saving": paired.saving("learned", "rule"),
        }
        for name, estimate in found.items():
            held[name] += estimate.low <= truth[name] <= estimate.high
    return {name: count / experiments for name, count in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shapes", "skewed"),
    [(MANY, False), (MANY, True), (FEW, False), (FEW, True), ([(5, 7)], False), ([(5, 14)], False), ([(3, 38)], False)],
    ids=["11 traces", "11 uneven traces", "4 traces", "4 uneven traces", "a week", "a fortnight", "38 days"],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(shapes: list[tuple[int, int]], skewed: bool) -> None:
    found = covered(shapes, skewed=skewed, experiments=300)
    assert all(0.90 <= share <= 0.99 for share in found.values()), found


@pytest.mark.slow
def test_plain_percentiles_of_four_traces_would_cover_too_rarely() -> None:
    """What the check above is there to catch."""
    rng = np.random.default_rng(6)
    held = 0
    for _ in range(300):
        totals = simulated(rng, FEW, skewed=False)
        less = [(one - other)[None] for one, other in zip(totals["rule"], totals["learned"], strict=True)]
        low, high = np.quantile(resampled_sums(less, 200, rng) / len(FEW), [0.025, 0.975])
        held += low <= SAVED <= high
    assert held / 300 < 0.90, held / 300


def with_runs(rng: np.random.Generator, shapes: list[tuple[int, int]], runs: int, luck: float) -> PairedTotals:
    """Simulated totals of several training runs: each is lucky as a whole, on each trace, and on each day."""
    totals = simulated(rng, shapes, skewed=False)
    learned = totals.pop("learned")
    for run in range(runs):
        whole = luck * rng.normal()
        totals[f"run {run}"] = [
            item + whole + luck * rng.normal() + luck * rng.normal(size=item.shape) for item in learned
        ]
    return PairedTotals(totals, resamples=200)


def covered_over_runs(shapes: list[tuple[int, int]], runs: int, luck: float) -> tuple[float, float]:
    """Share of simulated experiments whose interval over runs holds the truth; the same of the first run's own."""
    rng, held = np.random.default_rng(9), np.zeros(2)
    for _ in range(300):
        paired = with_runs(rng, shapes, runs, luck)
        over = paired.gap_closed_over_runs([f"run {run}" for run in range(runs)], "rule", "bound")
        alone = paired.gap_closed("run 0", "rule", "bound")
        held += [item.low <= SAVED / GAP <= item.high for item in (over, alone)]
    return held[0] / 300, held[1] / 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shapes", "runs"),
    [(MANY, 5), (MANY, 3), (FEW, 5), ([(5, 14)], 5)],
    ids=["11 traces, 5 runs", "11 traces, 3 runs", "4 traces, 5 runs", "a fortnight, 5 runs"],
)
@pytest.mark.parametrize("luck", [0.002, 0.02], ids=["much alike", "unlike"])
def test_the_interval_over_runs_covers_the_truth_as_often_as_it_says(
    shapes: list[tuple[int, int]], runs: int, luck: float
) -> None:
    over, _ = covered_over_runs(shapes, runs, luck)
    assert 0.90 <= over <= 0.995, over


@pytest.mark.slow
def test_the_interval_of_one_run_would_say_too_much_about_the_next() -> None:
    """What the runs are resampled for."""
    _, alone = covered_over_runs(MANY, 5, 0.02)
    assert alone < 0.90, alone
