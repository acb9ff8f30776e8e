"""The labelled anomaly library: labels tell the truth, effects compose, and nothing shows before its start."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.anomalies import (
    CLEAN_DAYS,
    KINDS,
    METRICS,
    SIGNALS,
    Anomaly,
    demand_effects,
    draw_anomalies,
    labelled_suite,
    make_anomaly,
    market_effects,
    pools_hit,
)
from simulators.anomalies.suite import observe
from simulators.catalogue import Catalogue
from simulators.market import MarketTape, draw_market
from simulators.patterns import draw_pattern
from simulators.records import AMPLE, DRY, TIGHT, ZONES

CATALOGUE = Catalogue()
POOLS = ZONES * len(CATALOGUE.types)
ON_DEMAND = np.repeat([item.price_usd_per_hour / 3600.0 for item in CATALOGUE.types], ZONES)
DAY, WEEK = 1440, 10080
NEUTRAL = {"demand_factor": 1.0, "work_scale": 1.0, "fault_fraction": 0.0, "metric_gap": False}
ALL = tuple(KINDS)


@cache
def market_tape(days: int, seed: int = 0) -> MarketTape:
    return draw_market(CATALOGUE, days=days, seed=seed)


def calm_tape(days: int) -> MarketTape:
    prices = np.tile((0.4 * ON_DEMAND).astype(np.float32), (24 * days, 1))
    pools = np.zeros((days * DAY, POOLS), np.uint8)
    return MarketTape(prices, pools, pools, pools, np.zeros(days * DAY, np.uint8))


def changed_signals(anomalies: tuple[Anomaly, ...], days: int) -> dict[str, np.ndarray]:
    """[T] for each signal, where it is not what it is without any anomaly."""
    effects, before = demand_effects(anomalies, days * DAY), calm_tape(days)
    after = market_effects(anomalies, before, CATALOGUE)
    changed = {name: getattr(effects, name) != value for name, value in NEUTRAL.items()}
    for item in fields(before):
        different = getattr(before, item.name) != getattr(after, item.name)
        rows = different if different.ndim == 1 else different.any(axis=1)
        changed[item.name] = np.repeat(rows, 60) if item.name == "spot_usd_per_s" else rows
    return changed


def drawn(kind: str, difficulty: str, seeds: range = range(6)) -> list[Anomaly]:
    return [
        item
        for seed in seeds
        for item in draw_anomalies(
            [kind], ticks=3 * WEEK, rate_per_week=2.0, seed=seed, difficulty=difficulty, first_tick=WEEK
        )
    ]


def test_there_are_nine_kinds_with_a_cause_and_known_signals() -> None:
    assert ALL == (
        "flash_crowd",
        "slow_dependency",
        "retry_storm",
        "zone_outage",
        "reclaim_wave",
        "metric_gap",
        "cost_spike",
        "bot_traffic",
        "bad_deploy",
    )
    assert len({kind.cause for kind in KINDS.values()}) == 9
    for kind in KINDS.values():
        assert set(kind.affected) <= set(SIGNALS)


def test_ranges_nest_and_hard_is_weaker_or_shorter_than_easy() -> None:
    strengths = {"extra_demand", "extra_work", "extra_price", "failing_fraction", "taken_share"}
    for kind in KINDS.values():
        for span in (kind.minutes, *kind.parameters.values()):
            for low, high in (span.easy, span.hard):
                assert span.allowed[0] <= low <= high <= span.allowed[1]
    compared = [
        span.hard[1] <= span.easy[0]
        for kind in KINDS.values()
        for name, span in kind.parameters.items()
        if name in strengths and (name, kind.cause) != ("extra_work", KINDS["bad_deploy"].cause)
    ]
    assert len(compared) == 7
    assert all(compared)
    for name in ("zone_outage", "metric_gap"):
        assert KINDS[name].minutes.hard[1] < KINDS[name].minutes.easy[0]


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
@pytest.mark.parametrize("kind", ALL)
def test_the_label_covers_exactly_the_ticks_that_are_not_neutral(kind: str, difficulty: str) -> None:
    items = drawn(kind, difficulty)
    assert len(items) >= 10
    for item in items[:8]:
        days = item.end_tick // DAY + 1
        changed = changed_signals((item,), days)
        inside = np.zeros(days * DAY, np.bool_)
        inside[item.start_tick : item.end_tick] = True
        np.testing.assert_array_equal(np.any(list(changed.values()), axis=0), inside)


@pytest.mark.parametrize("kind", ALL)
def test_a_kind_touches_the_signals_it_claims_and_no_others(kind: str) -> None:
    touched: set[str] = set()
    for item in drawn(kind, "hard")[:12]:
        changed = changed_signals((item,), item.end_tick // DAY + 1)
        touched |= {name for name, ticks in changed.items() if ticks.any()}
        assert item.affected == KINDS[kind].affected
        assert item.cause == KINDS[kind].cause
    assert touched == set(KINDS[kind].affected)


def test_every_effect_stays_in_its_range_when_everything_happens_at_once() -> None:
    items = draw_anomalies(ALL, ticks=4 * WEEK, rate_per_week=120.0, seed=3, difficulty="mixed")
    effects = demand_effects(items, 4 * WEEK)
    assert {item.difficulty for item in items} == {"easy", "hard"}
    assert (effects.demand_factor >= 1.0).all()
    assert np.isfinite(effects.demand_factor).all()
    assert (effects.work_scale > 0.0).all()
    assert ((effects.fault_fraction >= 0.0) & (effects.fault_fraction <= 1.0)).all()
    assert effects.demand_factor.dtype == effects.work_scale.dtype == effects.fault_fraction.dtype == np.float32
    market = market_tape(28)
    after = market_effects(items, market, CATALOGUE)
    assert (after.spot_usd_per_s <= np.maximum(ON_DEMAND * (1 + 1e-6), market.spot_usd_per_s)).all()
    assert (after.spot_usd_per_s >= market.spot_usd_per_s).all()
    assert (after.pool_state >= market.pool_state).all()
    assert (after.reclaim >= market.reclaim).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 2 * WEEK - 1))
def test_what_has_not_begun_leaves_no_trace(seed: int, cut: int) -> None:
    items = draw_anomalies(ALL, ticks=2 * WEEK, rate_per_week=25.0, seed=seed, difficulty="mixed")
    begun = tuple(item for item in items if item.start_tick < cut)
    full, part = demand_effects(items, 2 * WEEK), demand_effects(begun, 2 * WEEK)
    for name in NEUTRAL:
        np.testing.assert_array_equal(getattr(full, name)[:cut], getattr(part, name)[:cut])


def test_what_has_not_begun_leaves_no_trace_in_the_market() -> None:
    market = market_tape(14, seed=2)
    items = draw_anomalies(ALL, ticks=2 * WEEK, rate_per_week=40.0, seed=5, difficulty="mixed")
    for cut in range(600, 2 * WEEK, 2511):
        begun = tuple(item for item in items if item.start_tick < cut)
        full, part = (market_effects(some, market, CATALOGUE) for some in (items, begun))
        for item in fields(market):
            until = -(-cut // 60) if item.name == "spot_usd_per_s" else cut
            np.testing.assert_array_equal(getattr(full, item.name)[:until], getattr(part, item.name)[:until])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_anomalies_compose_in_any_order(seed: int) -> None:
    items = draw_anomalies(ALL, ticks=WEEK, rate_per_week=60.0, seed=seed, difficulty="mixed")
    together, backwards = demand_effects(items, WEEK), demand_effects(items[::-1], WEEK)
    alone = [demand_effects((item,), WEEK) for item in items]
    expected = {
        "demand_factor": np.prod([item.demand_factor for item in alone], axis=0),
        "work_scale": np.prod([item.work_scale for item in alone], axis=0),
        "fault_fraction": 1.0 - np.prod([1.0 - item.fault_fraction for item in alone], axis=0),
        "metric_gap": np.any([item.metric_gap for item in alone], axis=0),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(together, name), value, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(getattr(together, name), getattr(backwards, name))


def test_market_anomalies_compose_by_the_worse_and_leave_the_given_tape_alone() -> None:
    market = market_tape(7, seed=1)
    kept = {item.name: getattr(market, item.name).copy() for item in fields(market)}
    items = draw_anomalies(("zone_outage", "reclaim_wave", "cost_spike"), ticks=WEEK, rate_per_week=30.0, seed=4)
    together = market_effects(items, market, CATALOGUE)
    alone = [market_effects((item,), market, CATALOGUE) for item in items]
    for name in ("pool_state", "reclaim"):
        worst = np.max([getattr(item, name) for item in alone], axis=0)
        np.testing.assert_array_equal(getattr(together, name), worst)
    np.testing.assert_array_equal(together.zone_down, np.bitwise_or.reduce([item.zone_down for item in alone]))
    for item in fields(market):
        np.testing.assert_array_equal(getattr(market, item.name), kept[item.name])


def test_the_same_seed_draws_the_same_and_another_one_others() -> None:
    first, again, other = (draw_anomalies(ALL, ticks=WEEK, rate_per_week=20, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert hash(first) == hash(again)
    for name in NEUTRAL:
        assert (
            getattr(demand_effects(first, WEEK), name).tobytes() == getattr(demand_effects(again, WEEK), name).tobytes()
        )


def test_a_longer_tape_keeps_the_anomalies_of_a_shorter_one_and_kinds_do_not_disturb_each_other() -> None:
    short, long = (draw_anomalies(ALL, ticks=ticks, rate_per_week=30, seed=7) for ticks in (WEEK, 3 * WEEK))
    assert set(short) <= set(long)
    assert {item for item in long if item.end_tick <= WEEK} == set(short)
    pair = draw_anomalies(("flash_crowd", "metric_gap"), ticks=WEEK, rate_per_week=20, seed=7)
    swapped = draw_anomalies(("flash_crowd", "bad_deploy"), ticks=WEEK, rate_per_week=20, seed=7)
    crowds = [[item for item in some if item.kind == "flash_crowd"] for some in (pair, swapped)]
    assert crowds[0] == crowds[1]
    assert len(crowds[0]) > 3


def test_starts_come_at_the_asked_rate_and_never_too_early() -> None:
    weeks, rate = 30, 9.0
    counts = {kind: 0 for kind in ALL}
    for seed in range(10):
        for item in draw_anomalies(ALL, ticks=weeks * WEEK, rate_per_week=rate, seed=seed, first_tick=2 * WEEK):
            counts[item.kind] += 1
            assert item.start_tick >= 2 * WEEK
            assert item.end_tick <= weeks * WEEK
    expected = 10 * (weeks - 2) * rate / len(ALL)
    for count in counts.values():
        assert abs(count - expected) < 4.5 * np.sqrt(expected)
    assert draw_anomalies(ALL, ticks=WEEK, rate_per_week=0.0, seed=0) == ()


def test_drawn_values_lie_in_the_range_of_their_difficulty() -> None:
    for item in draw_anomalies(ALL, ticks=20 * WEEK, rate_per_week=30, seed=11, difficulty="mixed"):
        kind = KINDS[item.kind]
        for name, value in item.parameters:
            low, high = getattr(kind.parameters[name], item.difficulty)
            assert low <= value <= high
        low, high = getattr(kind.minutes, item.difficulty)
        assert low - kind.step_ticks <= item.ticks <= high + kind.step_ticks


def test_a_flash_crowd_rises_to_its_peak_and_fades() -> None:
    item = make_anomaly("flash_crowd", 100, 300, extra_demand=4.0, rise_share=0.1)
    extra = demand_effects((item,), 400).demand_factor[100:300] - 1.0
    smooth = np.convolve(extra, np.ones(9) / 9, mode="same")
    assert 12 <= int(smooth.argmax()) <= 40
    assert smooth.max() == pytest.approx(4.0, rel=0.2)
    assert extra[-1] == pytest.approx(0.08 * 4.0, rel=0.3)
    assert extra[0] < 0.1 * extra.max()


def test_a_retry_storm_multiplies_demand_but_not_the_requests_that_succeed() -> None:
    item = make_anomaly("retry_storm", 10, 50, failing_fraction=0.6, retries=3)
    effects = demand_effects((item,), 60)
    failing = effects.fault_fraction[10:50].astype(float)
    np.testing.assert_allclose(effects.demand_factor[10:50], sum(failing**k for k in range(4)), rtol=1e-5)
    useful = effects.demand_factor * (1.0 - effects.fault_fraction)
    assert (useful <= 1.0 + 1e-6).all()
    assert effects.demand_factor[15:35].min() > 1.7


def test_bots_come_at_night_on_the_half_hour_and_add_just_their_own_work() -> None:
    for offset in (0, 777):
        items = draw_anomalies(
            ["bot_traffic"], ticks=20 * WEEK, rate_per_week=5, seed=3, first_tick=300, minute_of_week=offset
        )
        clock = np.array([(item.start_tick + offset) % DAY for item in items])
        assert len(items) > 60
        assert (clock < 360).all()
        assert (clock % 30 == 0).all()
        assert min(item.start_tick for item in items) >= 300
    item = make_anomaly("bot_traffic", 0, 90, extra_demand=2.0, work_ratio=0.2)
    effects = demand_effects((item,), 90)
    extra = effects.demand_factor - 1.0
    np.testing.assert_allclose(effects.demand_factor * effects.work_scale, 1.0 + 0.2 * extra, rtol=1e-5)
    assert extra[0] > 1.8
    assert extra[-1] > 1.8


def test_a_bad_deployment_reaches_the_fleet_in_batches_until_it_is_rolled_back() -> None:
    item = make_anomaly("bad_deploy", 0, 200, failing_fraction=0.3, extra_work=0.5, rollout_share=0.2)
    failing = demand_effects((item,), 200).fault_fraction
    assert failing[:4].mean() == pytest.approx(0.03, rel=0.3)
    assert failing[60:180].mean() == pytest.approx(0.3, rel=0.1)
    assert failing[:20].mean() < failing[20:40].mean() < failing[60:180].mean()


def test_a_slow_dependency_holds_its_level_after_the_rise() -> None:
    item = make_anomaly("slow_dependency", 0, 100, extra_work=2.0, rise_share=0.5)
    work = demand_effects((item,), 100).work_scale - 1.0
    assert work[:10].mean() < 0.25 * work[60:90].mean()
    assert work[60:90].mean() == pytest.approx(2.0, rel=0.15)


def test_a_zone_that_is_out_has_no_spot_room_and_its_bit_is_set() -> None:
    items = (make_anomaly("zone_outage", 100, 160, zone=1), make_anomaly("zone_outage", 130, 200, zone=2))
    after = market_effects(items, calm_tape(1), CATALOGUE)
    np.testing.assert_array_equal(after.zone_down[[99, 100, 129, 130, 159, 160, 199, 200]], [0, 2, 2, 6, 6, 4, 4, 0])
    state = after.pool_state.reshape(DAY, -1, ZONES)
    assert (state[100:160, :, 1] == DRY).all()
    assert (state[:, :, 0] == AMPLE).all()
    assert (after.reclaim == 0).all()


def test_a_reclaim_wave_takes_one_family_in_every_zone_or_the_whole_region() -> None:
    families = np.repeat([item.family for item in CATALOGUE.types], ZONES)
    hit = [pools_hit(make_anomaly("reclaim_wave", 0, 100, seed=seed), CATALOGUE) for seed in range(60)]
    assert {len(set(families[pools])) for pools in hit} == {1}
    assert {families[pools[0]] for pools in hit} == set(families)
    for pools in hit:
        assert (families == families[pools[0]]).sum() == len(pools)
    assert len(pools_hit(make_anomaly("reclaim_wave", 0, 100, whole_region=1), CATALOGUE)) == POOLS


def test_a_reclaim_wave_gives_notice_once_a_pool_then_leaves_it_dry() -> None:
    item = make_anomaly("reclaim_wave", 200, 320, seed=9, taken_share=0.5, stagger_share=0.3, whole_region=1)
    after = market_effects((item,), calm_tape(1), CATALOGUE)
    assert (np.count_nonzero(after.reclaim, axis=0) == 1).all()
    shares = after.reclaim.max(axis=0) / 255.0
    assert shares.min() > 0.4
    assert shares.max() < 0.6
    hits = after.reclaim.argmax(axis=0)
    assert hits.min() == 200
    assert 220 < hits.max() <= 236
    for pool, hit in enumerate(hits):
        states = after.pool_state[:, pool]
        assert (states[200:hit] >= TIGHT).all() or hit > 230
        assert (states[hit : 200 + 84] == DRY).all()
    announced = np.argwhere(after.rebalance_lead)
    assert 5 < len(announced) < POOLS
    for tick, pool in announced:
        assert hits[pool] == tick + after.rebalance_lead[tick, pool]


def test_a_price_spike_raises_whole_hours_and_stops_at_the_on_demand_price() -> None:
    item = make_anomaly("cost_spike", 120, 720, extra_price=1.0, rise_share=0.1, whole_region=1)
    before = calm_tape(1)
    ratio = market_effects((item,), before, CATALOGUE).spot_usd_per_s / before.spot_usd_per_s
    assert (ratio[:2] == 1.0).all()
    assert (ratio[12:] == 1.0).all()
    assert 1.8 < np.median(ratio[4:10]) < 2.2
    steep = replace(item, parameters=(("extra_price", 3.0), *item.parameters[1:]))
    capped = market_effects((steep,), before, CATALOGUE).spot_usd_per_s
    np.testing.assert_allclose(capped[5], ON_DEMAND, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_anomaly("meteor", 0, 5), "unknown anomaly kind 'meteor'; known: flash_crowd, slow"),
        (lambda: make_anomaly("metric_gap", 9, 9), "metric_gap: end_tick 9 does not lie after start_tick 9"),
        (lambda: make_anomaly("metric_gap", -1, 9), "metric_gap: start_tick -1 is below 0"),
        (lambda: make_anomaly("metric_gap", 0, 9, seed=-4), "metric_gap: seed -4 is below 0"),
        (
            lambda: make_anomaly("flash_crowd", 0, 9, extra_demand=50.0),
            "flash_crowd: extra_demand 50 lies outside 0.05..20",
        ),
        (lambda: make_anomaly("flash_crowd", 0, 9, extra_demand=float("nan")), "flash_crowd: extra_demand nan lies"),
        (lambda: make_anomaly("retry_storm", 0, 9, retries=2.5), "retry_storm: retries 2.5 is not a whole number"),
        (lambda: make_anomaly("zone_outage", 0, 9, zone=3), "zone_outage: zone 3 lies outside 0..2"),
        (lambda: make_anomaly("zone_outage", 0, 9, depth=1), "zone_outage: unknown parameter 'depth'; known: zone"),
        (lambda: make_anomaly("cost_spike", 0, 90), "cost_spike: end_tick 90 is not a multiple of 60"),
        (lambda: Anomaly("zone_outage", 0, 9), r"zone_outage: parameters are \[\], expected \['zone'\]"),
        (lambda: demand_effects((make_anomaly("bad_deploy", 5, 99),), 60), "bad_deploy: end_tick 99 lies beyond"),
        (lambda: pools_hit(make_anomaly("bad_deploy", 5, 99), CATALOGUE), "bad_deploy: this kind touches no spot pool"),
        (
            lambda: market_effects((make_anomaly("zone_outage", 5, 2000),), market_tape(1), CATALOGUE),
            "zone_outage: end_tick 2000 lies beyond the tape's 1440",
        ),
        (
            lambda: market_effects((), market_tape(1), Catalogue(types=CATALOGUE.types[:1], candidates=())),
            "the market tape has 36 pools, the catalogue 3",
        ),
    ],
)
def test_bad_anomalies_are_refused_by_kind_and_field(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kinds": ("flash_crowd", "meteor")}, "unknown anomaly kind 'meteor'"),
        ({"kinds": ("flash_crowd", "flash_crowd")}, "named twice"),
        ({"difficulty": "medium"}, "unknown difficulty 'medium'; known: easy, hard, mixed"),
        ({"rate_per_week": -1.0}, "rate_per_week -1.0 is not"),
        ({"first_tick": WEEK + 1}, "first_tick 10081 lies outside the tape of 10080"),
    ],
)
def test_bad_draws_are_refused(change: dict, message: str) -> None:
    asked = {"kinds": ALL, "ticks": WEEK, "rate_per_week": 5.0, "seed": 0} | change
    with pytest.raises(ValueError, match=message):
        draw_anomalies(**asked)


def test_the_suite_is_frozen_and_its_series_do_not_depend_on_their_number() -> None:
    three, again, one = labelled_suite(5, 3, "mixed"), labelled_suite(5, 3, "mixed"), labelled_suite(5, 1, "mixed")
    for first, second in zip([*three, three[0]], [*again, one[0]], strict=True):
        assert first.labels == second.labels
        for name in METRICS:
            assert first.signals[name].tobytes() == second.signals[name].tobytes()
    windows = [(item.kind, item.start_tick, item.end_tick) for item in labelled_suite(0, 1, "easy")[0].labels]
    assert windows[:3] == [("slow_dependency", 7193, 7276), ("zone_outage", 8612, 8660), ("zone_outage", 9700, 9952)]


def test_metrics_are_missing_just_in_the_gaps_and_the_first_days_are_clean() -> None:
    gaps = 0
    for series in labelled_suite(1, 6, "easy", kinds=("metric_gap", "flash_crowd"), rate_per_week=8.0):
        expected = np.zeros(14 * DAY, np.bool_)
        for label in series.labels:
            if label.kind == "metric_gap":
                expected[label.start_tick : label.end_tick] = True
        for name in METRICS:
            missing = np.isnan(series.signals[name])
            np.testing.assert_array_equal(missing, np.zeros_like(expected) if name == "spot_usd_per_hour" else expected)
        assert not series.is_anomalous()[: CLEAN_DAYS * DAY].any()
        assert series.is_anomalous().sum() <= sum(label.ticks for label in series.labels)
        gaps += int(expected.any())
    assert gaps >= 4


SEEN_IN = {
    "flash_crowd": "demand_rps",
    "slow_dependency": "latency_p95_ms",
    "retry_storm": "error_fraction",
    "zone_outage": "in_service",
    "reclaim_wave": "interruptions",
    "cost_spike": "spot_usd_per_hour",
    "bot_traffic": "demand_rps",
    "bad_deploy": "error_fraction",
}


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "metric_gap"])
def test_an_anomaly_shows_in_the_metrics_inside_its_window_and_not_before(kind: str) -> None:
    relative, market = draw_pattern("diurnal", days=7, seed=1), draw_market(CATALOGUE, days=7, seed=1)
    extent = {"parameters": {"whole_region": 1.0}} if "whole_region" in KINDS[kind].parameters else {"parameters": {}}
    item = make_anomaly(kind, 4 * DAY, 4 * DAY + 120, seed=3, **extent["parameters"])
    calm, struck = (observe(relative, labels, market, CATALOGUE, seed=2) for labels in ((), (item,)))
    for name in METRICS:
        np.testing.assert_array_equal(calm[name][: item.start_tick], struck[name][: item.start_tick])
    inside = slice(item.start_tick, item.end_tick)
    apart = np.abs(struck[SEEN_IN[kind]][inside] - calm[SEEN_IN[kind]][inside]).max()
    assert apart > 4 * np.diff(calm[SEEN_IN[kind]][:DAY]).std()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "at least 1 series, got 0"),
        ({"days": 3}, "more than its 3 clean days, got 3"),
        ({"sources": ()}, "source"),
    ],
)
def test_bad_suites_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labelled_suite(**({"seed": 0, "n": 1, "difficulty": "easy"} | change))
