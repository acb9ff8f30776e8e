"""The measures of spot markets against hand-made tapes, the validation itself, and faults it must find."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from facts import fact

from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, MarketTape, draw_market
from simulators.market_settings import Contagion, HotGroup, Pressure, fitted
from simulators.records import DRY, TIGHT, ZONES
from simulators.validation import spot, spot_statistics
from simulators.validation.recorded_spells import GROUPS, probe_period_s, recorded_spells
from simulators.validation.spot_hot_pools import match_group, only_hot
from telemetry.check import Check

CATALOGUE = Catalogue()
POOLS = len(CATALOGUE.types) * ZONES


def blank(ticks: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((ticks, POOLS), np.uint8), np.zeros((ticks, POOLS), np.uint8)


def tape_of(state: np.ndarray, reclaim: np.ndarray) -> MarketTape:
    return MarketTape(np.ones((math.ceil(len(state) / 60), POOLS), np.float32), state, reclaim)


def test_spells_are_those_between_two_changes() -> None:
    up = np.array([1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0], bool)
    seen = spot_statistics.spells(up, 1800.0)
    assert seen.up.tolist() == [0.5, 1.5]
    assert seen.dry.tolist() == [1.5, 0.5]


def test_probes_see_the_state_of_their_minute() -> None:
    state, reclaim = blank(120)
    state[10:20, 3] = DRY
    state[20:30, 3] = TIGHT
    seen = spot_statistics.probe(tape_of(state, reclaim), 631)
    assert len(seen) == 12
    assert np.flatnonzero(~seen[:, 3]).tolist() == [1]
    assert seen[:, 4].all()


def test_a_sine_has_its_amplitude_and_autocorrelation() -> None:
    hours = np.arange(0, 240, 0.1)
    series = np.sin(2 * np.pi * hours / 24)
    assert spot_statistics.daily_amplitude(series, 360.0) == pytest.approx(1.0, abs=0.01)
    for lag in (6, 12, 24):
        expected = np.cos(2 * np.pi * lag / 24)
        assert spot_statistics.autocorrelation(series, 360.0, lag) == pytest.approx(expected, abs=0.05)


def test_exponential_spells_have_a_constant_hazard_and_lognormal_ones_a_falling_one() -> None:
    rng = np.random.default_rng(0)
    constant = spot_statistics.hazard_by_age(rng.exponential(2.0, 200_000))[:6]
    assert constant == pytest.approx([0.5] * 6, rel=0.05)
    falling = spot_statistics.hazard_by_age(rng.lognormal(0.28, 1.74, 200_000))
    assert (np.diff(falling) < 0).all()


def test_copied_pools_correlate_and_independent_ones_do_not() -> None:
    rng = np.random.default_rng(1)
    columns = rng.random((4000, POOLS)) < 0.5
    columns[:, 1] = columns[:, 0]
    columns[:, 2] = ~columns[:, 0]
    seen = spot_statistics.correlations(columns, CATALOGUE)
    assert np.sort(seen.sibling_zone)[[0, 1, -1]] == pytest.approx([-1, -1, 1])
    assert abs(np.median(seen.sibling_size)) < 0.05
    pairs = POOLS * (POOLS - 1) // 2
    assert len(seen.sibling_zone) == POOLS
    assert len(seen.sibling_zone) + len(seen.sibling_size) + len(seen.other_family) < pairs
    same_family = [(a, b) for a in CATALOGUE.types for b in CATALOGUE.types if a.name < b.name and a.family == b.family]
    assert len(seen.sibling_size) == ZONES * len(same_family)


def test_contagion_counts_neighbours_within_five_ticks() -> None:
    state, reclaim = blank(1000)
    state[100:110, 0] = state[105:110, 1] = state[106:110, 2] = DRY
    seen = spot_statistics.contagion(spot_statistics.contagion_counts(tape_of(state, reclaim)))
    # Three drops, two siblings each: 0-1 and 1-2 within five ticks, 0-2 six apart.
    assert seen.given_a_drop == pytest.approx(4 / 6)
    assert seen.at_any_time == pytest.approx(11 * 6 / (1000 * POOLS * 2))


def test_batches_add_up_over_three_ticks() -> None:
    state, reclaim = blank(100)
    state[10:20, 0] = state[50:60, 0] = DRY
    reclaim[10:13, 0] = (85, 128, 255)
    reclaim[50, 0] = 51
    tape = tape_of(state, reclaim)
    assert spot_statistics.batch_shares(tape) == pytest.approx([1.0, 0.2])
    assert spot_statistics.share_within_notice_time(tape) == 1.0
    reclaim[57, 0] = 173
    assert spot_statistics.share_within_notice_time(tape) == pytest.approx(1 - 173 / (85 + 128 + 255 + 51 + 173))


def test_the_probing_period_is_found_behind_a_finer_grid() -> None:
    probes = np.random.default_rng(2).integers(1, 20, 500) * 631.0
    rows = np.round(probes / 195.0) * 195.0
    assert probe_period_s(rows) == pytest.approx(631, abs=3)


@pytest.mark.slow
def test_the_match_finds_a_law_that_shows_the_wanted_spells() -> None:
    """Without pressure or contagion the law is the distribution of the spells itself."""
    rng = np.random.default_rng(3)
    wanted = spot_statistics.Spells(rng.lognormal(0.5, 1.0, 4000), rng.lognormal(0.0, 0.8, 4000))
    alone = MarketSettings(
        pressure=Pressure(up_gain=0, dry_gain=0), contagion=Contagion(sibling_zone=0, sibling_size=0)
    )
    up, dry = match_group(wanted, 0.7, 60, alone)
    assert up == pytest.approx((0.5, 1.0), abs=0.05)
    assert dry == pytest.approx((0.0, 0.8), abs=0.05)


@cache
def measured(name: str, **changes: Any) -> spot.Measured:
    """Two markets of one hot group, with changed settings."""
    settings = only_hot(MarketSettings(**dict(changes)), MarketSettings().hot_groups[name])
    tapes = (draw_market(CATALOGUE, days=42, seed=seed, settings=settings) for seed in (1, 2))
    return spot.measure(tapes, CATALOGUE, GROUPS[name].step_s)


def failing(lines: list[Check]) -> list[str]:
    return [line.name for line in lines if not line.holds]


@fact("TR-01")
def test_hot_pools_are_not_memoryless_and_a_memoryless_market_is_found_out() -> None:
    group = measured("v100_us_west_2")
    assert 1.5 < group.variation < 2.7
    assert (np.diff(spot_statistics.hazard_by_age(group.minute_spells.up)) < 0).all()
    # A lognormal of this spread has the variation of an exponential.
    plain = HotGroup(weight=1, availability=0.6, up=(0.5, 0.8), dry=(-0.3, 0.8))
    alone = MarketSettings(
        pressure=Pressure(up_gain=0, dry_gain=0), contagion=Contagion(sibling_zone=0, sibling_size=0)
    )
    tape = draw_market(CATALOGUE, days=42, seed=1, settings=only_hot(alone, plain))
    assert spot_statistics.measure_tape(tape, CATALOGUE).variation.mean() < 1.2


@pytest.mark.slow
@fact("TR-03", "TR-04")
def test_siblings_share_fate_and_independent_pools_are_found_out() -> None:
    group = measured("r5_us_east_1")
    assert 0.25 < group.correlation("sibling_zone") < 0.59
    assert 0.10 < group.correlation("sibling_size") < 0.36
    assert abs(group.correlation("other_family")) < 0.05
    assert spot_statistics.contagion(group.contagion_counts).lift > 1.8
    lonely = measured(
        "r5_us_east_1",
        pressure=Pressure(up_gain=0, dry_gain=0),
        contagion=Contagion(sibling_zone=0, sibling_size=0),
    )
    assert abs(lonely.correlation("sibling_zone")) < 0.05
    assert spot_statistics.contagion(lonely.contagion_counts).lift < 1.3


@fact("TR-05")
def test_the_daily_rhythm_shows_where_the_pool_is_tight() -> None:
    tight, loose = measured("v100_us_east_1"), measured("v100_us_west_2")
    assert tight.daily_amplitude > 3 * loose.daily_amplitude
    flat = measured("v100_us_east_1", pressure=Pressure(daily=0))
    assert flat.daily_amplitude < 0.6 * tight.daily_amplitude


@fact("TR-07")
def test_the_fitted_spells_lie_near_the_published_ones() -> None:
    published = {
        "v100_us_west_2": ((0.28, 1.74), (-0.68, 0.96)),
        "v100_us_east_2": ((0.25, 1.62), (-0.28, 1.32)),
        "v100_us_east_1": ((-0.53, 1.22), (-0.34, 1.35)),
        "r5_us_east_1": ((-0.92, 1.71), (-1.74, 1.17)),
    }
    for name, laws in published.items():
        recorded = fitted()["hot_groups"][name]["recorded"]
        for part, (mu, sigma) in zip(("up", "dry"), laws, strict=True):
            assert recorded[part]["mu"] == pytest.approx(mu, abs=0.25), (name, part)
            assert recorded[part]["sigma"] == pytest.approx(sigma, abs=0.15), (name, part)


@fact("SP-04", "SP-11", "SP-05")
def test_resampled_savings_and_bands_are_spread_as_the_advisor_says() -> None:
    assert failing(spot._advisor_checks()) == []
    settings = MarketSettings(resample=True)
    assert settings.advisor.band_shares == pytest.approx((0.215, 0.154, 0.091, 0.092, 0.449), abs=0.001)
    assert settings.advisor.saving_quantiles[3:8] == pytest.approx((0.53, 0.59, 0.66, 0.72, 0.76))


@fact("SP-05")
def test_price_says_nothing_about_dryness_and_a_planted_link_is_found() -> None:
    tape = draw_market(CATALOGUE, days=20, seed=0, settings=MarketSettings(hot_share_by_band=(1, 1, 1, 1, 1)))
    assert abs(spot_statistics.price_state_correlation(tape).mean()) < 0.06
    dry = (tape.pool_state == DRY).reshape(-1, 60, POOLS).mean(axis=1)
    linked = MarketTape((tape.spot_usd_per_s * (1 + 0.3 * dry)).astype(np.float32), tape.pool_state, tape.reclaim)
    assert spot_statistics.price_state_correlation(linked).mean() > 0.5


def test_recorded_spells_are_multiples_of_their_probes(traces_dir: Path) -> None:
    for name, group in GROUPS.items():
        seen = recorded_spells(traces_dir.parent, group)
        recorded = fitted()["hot_groups"][name]["recorded"]
        for hours, part in zip(seen, ("up", "dry"), strict=True):
            probes = hours * 3600 / group.step_s
            assert probes == pytest.approx(np.round(probes))
            assert len(hours) == recorded[part]["spells"]
            assert spot_statistics.log_moments(hours) == pytest.approx(
                (recorded[part]["mu"], recorded[part]["sigma"]), abs=1e-3
            )


def test_without_recorded_traces_nothing_is_compared_with_them(tmp_path: Path) -> None:
    assert spot._recorded_checks("r5_us_east_1", measured("r5_us_east_1"), tmp_path) == []


def test_a_wrong_spell_law_fails_the_comparison_with_the_recorded_ones(traces_dir: Path) -> None:
    right = spot._recorded_checks("r5_us_east_1", measured("r5_us_east_1"), traces_dir.parent)
    assert failing(right) == []
    wrong = spot._recorded_checks("r5_us_east_1", measured("v100_us_west_2"), traces_dir.parent)
    assert len(failing(wrong)) == 4


@pytest.mark.slow
@fact("TR-01", "TR-02", "TR-03", "TR-04", "TR-05", "TR-06", "SP-04", "SP-05", "SP-11")
def test_every_figure_of_ten_thousand_pool_weeks_lies_in_its_range(tmp_path: Path) -> None:
    lines = spot.checks(tmp_path)
    assert len(lines) > 50
    assert failing(lines) == []


@pytest.mark.slow
def test_the_shipped_parameters_come_from_the_shared_data(traces_dir: Path, tmp_path: Path) -> None:
    """Everything but the matched laws, which take a minute, is fitted again and compared."""
    from scripts import fit_market

    data = traces_dir.parent
    assert fit_market.fit_reclaims(data) == fitted()["reclaims"]
    assert fit_market.fit_prices(data) == fitted()["prices"]
    assert fit_market.fit_advisor(data) == fitted()["advisor"]
    assert fit_market.fit_rhythm(data) == fitted()["daily_amplitude"]
    simulated = measured("r5_us_east_1").spells
    recorded = recorded_spells(data, GROUPS["r5_us_east_1"])
    for part in ("up", "dry"):
        shown = spot_statistics.log_moments(getattr(simulated, part))
        assert shown == pytest.approx(spot_statistics.log_moments(getattr(recorded, part)), abs=0.05)
