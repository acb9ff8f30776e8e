"""The influence study: arithmetic by hand, changes that do what they say, and rows that can be trusted."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from agents.fidelity import read_study
from agents.influence import (
    Influence,
    Result,
    baseline,
    compare_results,
    compared_policies,
    kendall_tau,
    play_setup,
    run_study,
    world_resamples,
)
from agents.influence_report import influence_page, largest_table, policy_table, tornado
from agents.rules import load_rules
from agents.variations import (
    CLAIMED_UNITS,
    Setup,
    Variation,
    VariationTable,
    independent,
    load_variations,
    predicted_perfectly,
    silent,
)
from envs.settings import WorldSource
from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, draw_market
from simulators.records import ZONES
from simulators.scenario import make_scenario

NAMES = ("cheap", "dear")


def variation(change: dict[str, object] | None = None, **fields: object) -> Variation:
    return Variation.model_validate(
        {"name": "v", "what": "w", "source": "s", "change": change or {"physics": {"drain_s": 0}}} | fields
    )


def result(total: list[list[float]], bill: list[list[float]], bad: list[list[float]], reference: list[float]) -> Result:
    launches = np.array(bad) * 100.0
    return Result(np.array(total), np.array(bill), np.array(bad), launches, np.array([reference, reference]))


CONTROL = result([[1.0, 4.0], [3.0, 6.0]], [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.1], [0.0, 0.2]], [1.0, 2.0])


@pytest.fixture(scope="module")
def small() -> Setup:
    """Three draws of one pattern in two markets, the second of them with anomalies."""
    source = WorldSource(
        split="validate", patterns=("bursty",), days=2, scenarios_per_source=3, anomalies_per_week=7.0, mean_instances=8
    )
    setup = baseline()
    return replace(setup, source=source, markets=(setup.markets[-1], setup.markets[1]), rules=setup.rules[1:4])


def test_changes_are_ratios_of_sums_over_the_reference_of_the_control() -> None:
    changed = result([[2.0, 2.0], [3.0, 6.0]], [[1.0, 2.0], [6.0, 4.0]], [[0.1, 0.1], [0.0, 0.0]], [7.0, 7.0])
    rows, ranking = compare_results(variation(), NAMES, CONTROL, changed, world_resamples(2))
    cheap, dear = rows
    assert cheap.total_percent == pytest.approx(100.0 * ((2.0 + 1.0) / (1.0 + 2.0) - 1.0))
    assert cheap.bad_points == pytest.approx(5.0)
    assert dear.bill_percent == pytest.approx(100.0 * ((6.0 + 2.0) / (3.0 + 2.0) - 1.0))
    assert dear.bad_points == pytest.approx(-10.0)
    assert dear.launches_per_day == pytest.approx(-10.0)
    assert (ranking.tau, ranking.best, ranking.best_before) == (1.0, "cheap", "cheap")
    assert cheap.total_low <= cheap.total_percent <= cheap.total_high


def test_a_mean_of_ratios_would_be_another_number() -> None:
    changed = replace(CONTROL, total_usd=np.array([[2.0, 2.0], [3.0, 6.0]]))
    rows, _ = compare_results(variation(), NAMES, CONTROL, changed, world_resamples(2))
    mean_of_ratios = 100.0 * np.mean([2.0 / 1.0 - 1.0, 2.0 / 4.0 - 1.0])
    assert rows[0].total_percent == pytest.approx(0.0)
    assert mean_of_ratios == pytest.approx(25.0)


def test_a_reversed_order_is_seen() -> None:
    changed = replace(CONTROL, total_usd=CONTROL.total_usd[::-1].copy())
    _, ranking = compare_results(variation(), NAMES, CONTROL, changed, world_resamples(2))
    assert (ranking.tau, ranking.tau_low, ranking.tau_high) == (-1.0, -1.0, -1.0)
    assert (ranking.best, ranking.best_before, ranking.other_best_share) == ("dear", "cheap", 1.0)


def test_an_effect_alike_in_all_worlds_has_a_point_for_an_interval_and_pairing_makes_it_so() -> None:
    rng = np.random.default_rng(0)
    total = rng.lognormal(0.0, 1.5, (2, 40))
    before = Result(total, total, np.zeros((2, 40)), np.zeros((2, 40)), np.ones((2, 40)))
    after = replace(before, total_usd=1.02 * total)
    rows, _ = compare_results(variation(), NAMES, before, after, world_resamples(40))
    assert (rows[0].total_low, rows[0].total_high) == (pytest.approx(2.0), pytest.approx(2.0))
    shuffled = replace(before, total_usd=1.02 * total[:, rng.permutation(40)])
    unpaired, _ = compare_results(variation(), NAMES, before, shuffled, world_resamples(40))
    assert unpaired[0].total_high - unpaired[0].total_low > 20.0


def test_kendall_tau_is_scipys() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 7, 20))
    expected = [kendalltau(first[:, column], second[:, column]).statistic for column in range(20)]
    assert kendall_tau(first, second) == pytest.approx(expected)


def test_resamples_count_as_many_worlds_as_there_are_and_begin_with_the_sample() -> None:
    weights = world_resamples(9, resamples=50)
    assert weights.shape == (51, 9)
    assert (weights[0] == 1.0).all()
    assert (weights.sum(axis=1) == 9.0).all()
    assert (weights == world_resamples(9, resamples=50)).all()
    assert (weights != world_resamples(9, resamples=50, seed=1)).any()


def test_policies_are_the_first_of_each_kind_all_on_demand_and_what_aws_advises() -> None:
    rules = {rule.name: rule for rule in compared_policies(load_rules())}
    assert {"static", "target-tracking-cpu", "target-tracking-requests", "forecast"} <= set(rules)
    assert rules["target-tracking-on-demand"].spot_percent == 0
    advised = rules["aws-best-practice"]
    assert [policy.kind for policy in advised.policy.also] == ["predictive"]
    assert advised.policy.target_utilization == rules["target-tracking-requests"].policy.target_utilization
    assert all(rule.policy.native for name, rule in rules.items() if name != "forecast")


def test_every_shipped_variation_changes_the_setup_and_nothing_twice() -> None:
    setup = replace(baseline(), bill_usd_per_hour=0.5)
    variations = load_variations()
    seen = [setup]
    for item in variations:
        changed = item.apply(setup)
        assert changed not in seen, item.name
        seen.append(changed)
    assert len({item.name for item in variations}) == len(variations)
    assert {item.treatment for item in variations} == {"modelled", "simplified"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"change": {"phisics": {}}}, "unknown change 'phisics'"),
        ({"change": {}}, "change"),
        ({"change": {"silent": None}, "against": "later"}, "'later', which does not stand before it"),
        ({"change": {"silent": None}, "treatment": "ignored"}, "treatment"),
    ],
)
def test_a_faulty_table_is_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VariationTable.model_validate({"variations": [{"name": "v", "what": "w", "source": "s"} | entry]})


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.yaml"
    table.write_text("variations:\n" + 2 * "  - {name: v, what: w, source: s, change: {silent: null}}\n")
    with pytest.raises(ValueError, match=r"t\.yaml.*'v' stands twice"):
        load_variations(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"physics": {"drain": 0}}, r"v: physics\.drain: Extra inputs"),
        ({"workload": {"cv2": 40.0}}, r"v: workload\.cv2: .* \(got 40"),
        ({"market": {"reclaims": {"take_all": 2.0}}}, r"v: market\.take_all: "),
    ],
)
def test_a_value_that_settings_do_not_take_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        variation(change).apply(baseline())


def test_a_change_of_a_part_leaves_its_other_values() -> None:
    changed = variation({"market": {"reclaims": {"take_all": 0.9}}}).apply(baseline())
    for before, after in zip(baseline().markets, changed.markets, strict=True):
        assert after.reclaims.take_all == 0.9
        assert after.reclaims.model_copy(update={"take_all": before.reclaims.take_all}) == before.reclaims
        assert after.model_copy(update={"reclaims": before.reclaims}) == before


def test_a_commitment_is_a_share_of_the_bill_and_an_instance_fee_a_volume() -> None:
    setup = replace(baseline(), bill_usd_per_hour=0.8)
    assert variation({"commitment": 0.5}).apply(setup).world.tariff.commitment_usd_per_hour == pytest.approx(0.4)
    tariff = variation({"usd_per_instance_hour": 0.005}).apply(setup).world.tariff
    per_hour = tariff.volume_gb * tariff.volume_usd_per_gb_month / 730.0
    before = setup.world.tariff.volume_gb * setup.world.tariff.volume_usd_per_gb_month / 730.0
    assert per_hour - before == pytest.approx(0.005)


def test_changes_of_speed_touch_the_types_they_name() -> None:
    before = baseline().catalogue
    slower = variation({"speed": {"factor": 0.8, "architecture": "arm64"}}).apply(baseline()).catalogue
    newer = variation({"speed": {"factor": 1.2, "generations": "78"}}).apply(baseline()).catalogue
    claimed = variation({"claimed_units": None}).apply(baseline()).catalogue
    assert slower["m7g.large"].speed == pytest.approx(0.8 * before["m7g.large"].speed)
    assert slower["m7i.large"] == before["m7i.large"]
    assert newer["c7i.large"].speed == pytest.approx(1.2 * before["c7i.large"].speed)
    assert newer["m6i.large"] == before["m6i.large"]
    assert claimed["m8g.large"].speed == pytest.approx(CLAIMED_UNITS["m8g"] / CLAIMED_UNITS["m6i"])
    assert claimed["m6i.large"].speed == pytest.approx(1.0)


def test_tracking_changes_reach_policies_beside_others() -> None:
    changed = variation({"tracking": {"out_points": 7}}).apply(baseline())
    for rule in changed.rules:
        for policy in (rule.policy, *rule.policy.also):
            assert (policy.out_points == 7) == policy.kind.startswith("target_tracking"), policy.name


@pytest.fixture(scope="module")
def hot_tape() -> tuple[Catalogue, object]:
    catalogue = Catalogue()
    return catalogue, draw_market(catalogue, days=30, seed=4, settings=MarketSettings(hot_share_by_band=(1,) * 5))


def test_a_silent_market_has_notices_but_no_recommendations(hot_tape) -> None:
    catalogue, tape = hot_tape
    quiet = silent(tape, catalogue)
    assert tape.rebalance_lead.any()
    assert not quiet.rebalance_lead.any()
    assert (quiet.reclaim == tape.reclaim).all()


def test_independent_reclaims_take_as_much_in_small_pieces(hot_tape) -> None:
    catalogue, tape = hot_tape
    spread = independent(tape, catalogue)
    assert tape.reclaim.max() > 200
    assert spread.reclaim.max() == 13
    taken, spread_over = tape.reclaim.sum(axis=0, dtype=float), spread.reclaim.sum(axis=0, dtype=float)
    assert spread_over.sum() == pytest.approx(taken.sum(), rel=0.05)
    assert (spread.pool_state == tape.pool_state).all()
    ticks, pools = np.nonzero(spread.rebalance_lead)
    assert (spread.reclaim[ticks + spread.rebalance_lead[ticks, pools], pools] > 0).all()


def test_spot_prices_move_by_their_factor_and_stop_at_on_demand(hot_tape) -> None:
    catalogue, tape = hot_tape
    setup = replace(baseline(), catalogue=catalogue)
    cap = np.repeat([item.price_usd_per_hour / 3600.0 for item in catalogue.types], ZONES)
    for factor in (0.9, 1.1, 50.0):
        (edit,) = variation({"spot_level": factor}).apply(setup).market_edits
        assert edit(tape, catalogue).spot_usd_per_s == pytest.approx(
            np.minimum(factor * tape.spot_usd_per_s, cap), rel=1e-5
        )


def test_perfect_hourly_forecasts_are_the_means_of_the_hours() -> None:
    demand = np.repeat([10.0, 20.0, 30.0], [60, 60, 30])
    demand[60:90] += 8.0
    scenario = predicted_perfectly(make_scenario("s", demand, history=slice(0, 150), window=slice(0, 150)))
    assert scenario.predictive_rps == pytest.approx([10.0, 24.0, 30.0])


def test_a_change_that_changes_nothing_moves_nothing(small: Setup) -> None:
    study = run_study(small, [variation({"physics": {"drain_s": small.world.physics.drain_s}})])
    for row in study.rows:
        assert (row.total_percent, row.total_low, row.total_high) == (0.0, 0.0, 0.0)
        assert (row.bad_points, row.launches_per_day, row.is_noticeable) == (0.0, 0.0, False)
    assert study.rankings[0].tau == 1.0
    assert study.worlds == 6


@pytest.fixture(scope="module")
def study(small: Setup) -> Influence:
    rows = (
        variation({"usd_per_instance_hour": 0.01}, name="fee", treatment="simplified"),
        variation({"usd_per_instance_hour": 0.00001}, name="tiny fee", treatment="simplified"),
        variation({"usd_per_instance_hour": 0.02}, name="second fee", against="fee"),
        variation({"demand_anomalies_per_week": 0.0, "market_anomalies": []}, name="no anomalies"),
        variation({"market": {"hot_share_by_band": [0, 0, 0, 0, 0]}}, name="calm"),
    )
    return run_study(small, rows)


def test_rows_point_the_way_the_change_must(study: Influence) -> None:
    frame = study.frame().set_index(["variation", "policy"])
    assert (frame.loc["fee", "bill_percent"] > 1.0).all()
    assert (frame.loc["fee", "bad_points"] == 0.0).all()
    assert (frame.loc["no anomalies", "total_percent"] < 0.0).all()
    assert (frame.loc["calm", "bad_points"] <= 0.0).all()
    assert (frame.loc["calm", "bad_points"] < 0.0).any()


def test_a_row_against_another_starts_from_that_one(study: Influence, small: Setup) -> None:
    frame = study.frame().set_index(["variation", "policy"])
    first = 1.0 + frame.loc["fee", "bill_percent"] / 100.0
    second = 1.0 + frame.loc["second fee", "bill_percent"] / 100.0
    twice = play_setup(variation({"usd_per_instance_hour": 0.02}).apply(small))
    plain = play_setup(small)
    expected = (twice.bill_usd / plain.reference_usd).sum(axis=1) / (plain.bill_usd / plain.reference_usd).sum(axis=1)
    assert (first * second).to_numpy() == pytest.approx(expected)


def test_only_what_is_simplified_and_over_one_percent_is_flagged(study: Influence) -> None:
    assert study.to_model() == ["fee"]
    text = largest_table(study)
    assert text.count("**simplified, over 1 %**") == 1
    sizes = study.largest()["total_percent"].abs()
    assert sizes.is_monotonic_decreasing
    assert len(sizes) == 5


def test_the_report_holds_every_policy_and_variation_and_survives_json(study: Influence) -> None:
    page = influence_page(study)
    for name in ("fee", "second fee", "no anomalies", *study.baseline):
        assert name in page
    assert len(policy_table(study).splitlines()) == 2 + len(study.rankings)
    assert read_study({"influence": json.loads(json.dumps(asdict(study)))}) == study
    (axes,) = tornado(study).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(study.largest()["variation"])
