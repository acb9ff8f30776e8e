"""The spot market generator: states, reclaims, announcements, outages and prices against theory."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from facts import fact
from scipy.stats import norm

from simulators.catalogue import TYPES, Catalogue, LaunchSpecification
from simulators.market import MarketSettings, MarketTape, draw_market
from simulators.market_settings import Contagion, HotGroup, Outages, Pressure, Prices, Reclaims
from simulators.records import AMPLE, DRY, TIGHT, ZONES
from simulators.spot_pools import CALM, draw_pressure, draw_regimes, hourly_interruptions, lay_out_pools
from simulators.spot_prices import sample_bands
from simulators.validation.spot_statistics import Spells, batch_shares, drops, pooled, probe, spells

CATALOGUE = Catalogue()
LIST_PRICE = np.repeat([item.price_usd_per_hour for item in CATALOGUE.types], ZONES)
HOT: dict[str, Any] = {"hot_share_by_band": (1, 1, 1, 1, 1)}
CALM_ONLY: dict[str, Any] = {"hot_share_by_band": (0, 0, 0, 0, 0)}
ALONE: dict[str, Any] = {
    "pressure": Pressure(up_gain=0, dry_gain=0),
    "contagion": Contagion(sibling_zone=0, sibling_size=0),
}
FIELDS = ("spot_usd_per_s", "pool_state", "reclaim", "rebalance_lead", "zone_down")


@cache
def hot(seed: int = 0) -> MarketTape:
    return draw_market(CATALOGUE, days=20, seed=seed, settings=MarketSettings(**HOT))


def minute_spells(tape: MarketTape) -> Spells:
    up = probe(tape, 60)
    return pooled([spells(up[:, pool], 60) for pool in range(up.shape[1])])


@fact("SP-01")
def test_same_seed_same_bits_and_a_pool_for_each_type_and_zone() -> None:
    first, again, other = (draw_market(CATALOGUE, days=3, seed=seed) for seed in (5, 5, 6))
    for name in FIELDS:
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.spot_usd_per_s.tobytes() != other.spot_usd_per_s.tobytes()
    pools = len(CATALOGUE.types) * ZONES
    assert first.spot_usd_per_s.shape == (3 * 24, pools)
    assert first.pool_state.shape == first.reclaim.shape == first.rebalance_lead.shape == (3 * 1440, pools)
    assert first.zone_down.shape == (3 * 1440,)
    states = hot().pool_state
    assert len({states[:, pool].tobytes() for pool in range(pools)}) == pools


def test_less_than_a_day_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 day"):
        draw_market(CATALOGUE, days=0, seed=1)


def test_recommendations_and_outages_may_be_left_out_of_a_tape() -> None:
    tape = MarketTape(np.ones((24, 6), np.float32), np.zeros((1440, 6), np.uint8), np.ones((1440, 6), np.uint8))
    assert tape.rebalance_lead.shape == (1440, 6)
    assert tape.zone_down.shape == (1440,)
    assert not tape.rebalance_lead.any()
    assert not tape.zone_down.any()


@fact("TR-07")
@pytest.mark.parametrize(("up", "dry"), [((0.28, 1.74), (-0.68, 0.96)), ((-0.92, 1.71), (-1.74, 1.17))])
def test_without_pressure_and_contagion_spells_are_lognormal(up: tuple[float, float], dry: tuple[float, float]) -> None:
    """A spell of L minutes fills ceil(L) ticks, so P(ticks <= k) is the law's distribution function at k minutes."""
    group = HotGroup(weight=1, availability=0.9, up=up, dry=dry)
    settings = MarketSettings(**HOT, **ALONE, hot_groups={"one": group})
    seen = pooled([minute_spells(draw_market(CATALOGUE, days=90, seed=seed, settings=settings)) for seed in range(3)])
    minutes = np.array([3, 5, 10, 20, 40, 80, 160, 320, 640, 1280])
    for hours, (mu, sigma) in ((seen.up, up), (seen.dry, dry)):
        assert len(hours) > 15_000
        shares = (np.round(hours[:, None] * 60) <= minutes).mean(axis=0)
        assert shares == pytest.approx(norm.cdf((np.log(minutes / 60) - mu) / sigma), abs=0.015)


def test_hot_up_replaces_the_law_of_every_group() -> None:
    settings = MarketSettings(**HOT, **ALONE, hot_up=(3.0, 0.1))
    seen = minute_spells(draw_market(CATALOGUE, days=30, seed=1, settings=settings))
    assert np.log(seen.up).mean() == pytest.approx(3.0, abs=0.03)


@pytest.mark.slow
@fact("SP-13", "SP-10")
def test_instances_of_a_calm_pool_are_interrupted_as_often_as_their_band_says() -> None:
    """Without pressure, so that the count is nearly Poisson; contagion raises its variance a little."""
    assert [hourly_interruptions(band) for band in range(5)] == pytest.approx(
        [3.5e-5, 1.08e-4, 1.85e-4, 2.67e-4, 4.95e-4], rel=0.01
    )
    settings = MarketSettings(**CALM_ONLY, pressure=Pressure(up_gain=0))
    lost = np.zeros(len(CATALOGUE.types))
    for seed in range(8):
        tape = draw_market(CATALOGUE, days=360, seed=seed, settings=settings)
        taken = np.zeros(tape.reclaim.shape[1])
        np.add.at(taken, np.nonzero(drops(tape))[1][: len(batch_shares(tape))], batch_shares(tape))
        lost += taken.reshape(-1, ZONES).sum(axis=1)
    expected = np.array([hourly_interruptions(item.interruption_band) for item in CATALOGUE.types])
    expected *= ZONES * 8 * 360 * 24
    assert lost.sum() / expected.sum() == pytest.approx(1.0, abs=0.10)
    for band in range(5):
        chosen = [item.interruption_band == band for item in CATALOGUE.types]
        assert abs(lost[chosen].sum() - expected[chosen].sum()) < 4 * np.sqrt(expected[chosen].sum())


def test_pressure_does_not_change_how_often_calm_pools_drop_on_average() -> None:
    settings = MarketSettings(**CALM_ONLY)
    counts = [int(drops(draw_market(CATALOGUE, days=360, seed=seed, settings=settings)).sum()) for seed in range(8)]
    hazard = sum(hourly_interruptions(item.interruption_band) for item in CATALOGUE.types) * ZONES
    expected = hazard / settings.reclaims.mean_share * 360 * 24
    assert np.mean(counts) / expected == pytest.approx(1.0, abs=0.15)


@fact("TR-06")
def test_both_regimes_exist_in_the_shipped_mixture() -> None:
    """Over forty markets some pools drop daily or more often and some not at all in twenty days."""
    per_pool = np.concatenate([drops(draw_market(CATALOGUE, days=20, seed=seed)).sum(axis=0) for seed in range(40)])
    assert (per_pool >= 20).mean() > 0.05
    assert (per_pool == 0).mean() > 0.5


def test_a_hotter_band_of_a_family_is_hot_whenever_the_calmer_one_is() -> None:
    types = [CATALOGUE["m7g.large"], CATALOGUE["m7g.xlarge"], CATALOGUE["c7g.large"]]
    regimes = np.array(
        [
            draw_regimes(
                types, (4, 1, 0), np.random.default_rng(seed), MarketSettings(hot_share_by_band=(0, 0.3, 0, 0, 0.6))
            )
            for seed in range(2000)
        ]
    )
    is_hot = regimes != CALM
    assert is_hot.mean(axis=0) == pytest.approx([0.6, 0.3, 0.0], abs=0.04)
    assert (is_hot[:, 0] >= is_hot[:, 1]).all()
    both = is_hot[:, 0] & is_hot[:, 1]
    assert (regimes[both, 0] == regimes[both, 1]).all()


def test_pressure_has_unit_variance_and_the_shares_it_is_made_of() -> None:
    settings = MarketSettings(**HOT)
    bands = [item.interruption_band for item in CATALOGUE.types]
    regimes = draw_regimes(CATALOGUE.types, bands, np.random.default_rng(0), settings)
    pools = lay_out_pools(CATALOGUE.types, bands, regimes, settings)
    hours = np.arange(0, 60_000, 1.0)
    shares = Pressure(daily=0, region_share=0.1, family_share=0.5)
    pressure = draw_pressure(pools, hours, np.random.default_rng(1), shares)
    matrix = np.corrcoef(pressure.T)
    index = CATALOGUE.index
    large, xlarge, other = (index[name] * ZONES for name in ("m7g.large", "m7g.xlarge", "c7g.large"))
    assert pressure.std(axis=0) == pytest.approx(1.0, abs=0.06)
    assert matrix[large, large + 1] == pytest.approx(1.0)
    assert matrix[large, xlarge] == pytest.approx(0.6, abs=0.06)
    assert matrix[large, other] == pytest.approx(0.1, abs=0.06)


def test_pools_pass_from_ample_through_tight_to_dry() -> None:
    state = hot().pool_state
    before, after = state[:-1], state[1:]
    assert not ((before == AMPLE) & (after == DRY)).any()
    assert ((before == TIGHT) & (after == DRY)).sum() > 1000
    assert ((before == DRY) & (after == AMPLE)).sum() > 500


@fact("TR-02")
def test_a_share_of_drops_takes_every_instance() -> None:
    settings = MarketSettings(**HOT)
    shares = np.concatenate([batch_shares(hot(seed)) for seed in range(2)])
    assert len(shares) > 3000
    assert (shares > 0.999).mean() == pytest.approx(settings.reclaims.take_all, abs=0.03)
    assert 0.5 < settings.reclaims.take_all < 0.7
    assert shares.mean() == pytest.approx(settings.reclaims.mean_share, abs=0.02)


@fact("TR-02")
def test_reclaims_come_within_three_ticks_of_a_drop_while_the_pool_is_dry() -> None:
    tape = hot()
    entered = drops(tape)
    near = entered.copy()
    near[1:] |= entered[:-1]
    near[2:] |= entered[:-2]
    assert (tape.pool_state[tape.reclaim > 0] == DRY).all()
    assert (tape.reclaim[entered] > 0).all()
    assert near[1:][tape.reclaim[1:] > 0].mean() > 0.999
    parts = [np.count_nonzero(tape.reclaim[tick : tick + 3, pool]) for tick, pool in np.argwhere(entered)[:3000]]
    assert np.bincount(parts, minlength=4)[1:] / len(parts) == pytest.approx([1 / 3] * 3, abs=0.05)


@fact("SP-08")
def test_recommendations_announce_a_reclaim_or_come_with_the_notice() -> None:
    sudden = MarketSettings(**HOT, reclaims=Reclaims(notice_minutes=1))
    tape = draw_market(CATALOGUE, days=40, seed=3, settings=sudden)
    ticks, pools = np.nonzero(tape.rebalance_lead)
    leads = tape.rebalance_lead[ticks, pools].astype(int)
    inside = ticks + leads < len(tape.reclaim)
    assert (tape.reclaim[ticks[inside] + leads[inside], pools[inside]] > 0).all()
    assert leads.max() <= 240
    announced, reclaimed = len(leads), int((tape.reclaim > 0).sum())
    assert reclaimed > 3000
    assert announced / reclaimed == pytest.approx(0.7, abs=0.03)
    # The ceiling of an exponential of mean m is geometric with mean 1 / (1 - exp(-1 / m)).
    assert leads.mean() == pytest.approx(1 / (1 - np.exp(-0.1)), rel=0.06)


def test_recommendations_can_be_turned_off() -> None:
    tape = draw_market(CATALOGUE, days=5, seed=3, settings=MarketSettings(**HOT, reclaims=Reclaims(sudden=1)))
    assert (tape.reclaim > 0).any()
    assert not tape.rebalance_lead.any()


def test_zone_outages_come_at_their_rate_and_last_as_long_as_set() -> None:
    often = MarketSettings(outages=Outages(per_zone_year=12, hours=(1, 3)), **CALM_ONLY)
    down = [draw_market(CATALOGUE, days=90, seed=seed, settings=often).zone_down for seed in range(20)]
    starts, lengths = 0, []
    for mask in down:
        for zone in range(ZONES):
            out = np.concatenate(([0], mask >> zone & 1, [0])).astype(int)
            begin, end = np.flatnonzero(np.diff(out) == 1), np.flatnonzero(np.diff(out) == -1)
            starts += len(begin)
            lengths += (end - begin).tolist()
    expected = 20 * 90 * ZONES * 12 / 365.25
    assert abs(starts - expected) < 4 * np.sqrt(expected)
    assert np.mean(lengths) == pytest.approx(120, rel=0.1)
    none = draw_market(CATALOGUE, days=90, seed=0, settings=MarketSettings(outages=Outages(per_zone_year=0)))
    assert not none.zone_down.any()


@fact("SP-03", "SP-05")
def test_prices_and_pools_are_drawn_apart() -> None:
    """The same prices whatever happens to the pools, and the same interruptions whatever the price does."""
    plain = draw_market(CATALOGUE, days=10, seed=4)
    on_fire = draw_market(CATALOGUE, days=10, seed=4, settings=MarketSettings(**HOT))
    wild = draw_market(CATALOGUE, days=10, seed=4, settings=MarketSettings(prices=Prices(daily_sigma=0.2)))
    assert plain.spot_usd_per_s.tobytes() == on_fire.spot_usd_per_s.tobytes()
    assert plain.pool_state.tobytes() != on_fire.pool_state.tobytes()
    assert plain.pool_state.tobytes() == wild.pool_state.tobytes()
    assert plain.reclaim.tobytes() == wild.reclaim.tobytes()
    assert plain.spot_usd_per_s.tobytes() != wild.spot_usd_per_s.tobytes()


def test_discounts_lie_around_each_types_saving() -> None:
    settings = MarketSettings(**CALM_ONLY, prices=Prices(zone_sigma=0.05))
    discounts = np.array(
        [
            1.0
            - draw_market(CATALOGUE, days=2, seed=seed, settings=settings).spot_usd_per_s.mean(axis=0)
            * 3600
            / LIST_PRICE
            for seed in range(60)
        ]
    ).reshape(60, len(CATALOGUE.types), ZONES)
    for kind, item in enumerate(CATALOGUE.types):
        sample = discounts[:, kind].ravel()
        assert np.median(sample) == pytest.approx(item.spot_saving, abs=0.015)
        assert 0.01 < sample.std() < 0.06


@fact("SP-02")
def test_log_prices_move_as_an_ornstein_uhlenbeck_process_of_the_stated_pace() -> None:
    prices = MarketSettings().prices
    log_price = np.log(draw_market(CATALOGUE, days=300, seed=3, settings=MarketSettings(**CALM_ONLY)).spot_usd_per_s)
    for lag in (1, 7, 28):
        moves = log_price[24 * lag :: 24] - log_price[: -24 * lag : 24]
        growth = (1 - np.exp(-lag / prices.reversion_days)) / (1 - np.exp(-1 / prices.reversion_days))
        assert moves.std() == pytest.approx(prices.daily_sigma * np.sqrt(growth), rel=0.1)
    assert prices.daily_sigma < 0.02
    assert np.abs(np.diff(log_price[::24], axis=0)).max() < 0.10


@fact("MI-06", "SP-02")
def test_the_price_is_positive_and_never_above_on_demand() -> None:
    wild = MarketSettings(prices=Prices(daily_sigma=0.2, zone_sigma=0.5))
    price = draw_market(CATALOGUE, days=20, seed=1, settings=wild).spot_usd_per_s * 3600
    assert price.min() > 0
    assert (price <= LIST_PRICE * (1 + 1e-6)).all()
    assert (price > LIST_PRICE * (1 - 1e-6)).any(), "the cap is never reached, so it is not tested"


@fact("SP-12")
def test_larger_sizes_draw_higher_bands() -> None:
    advisor, rng = MarketSettings().advisor, np.random.default_rng(0)
    means = [sample_bands(20_000, rng, advisor, size=size).mean() for size in ("large", "xlarge", "2xlarge", "4xlarge")]
    assert means == pytest.approx([1.5, 2.2, 2.4, 2.85], abs=0.06)
    unknown = sample_bands(20_000, rng, advisor, size="7xlarge")
    assert np.bincount(unknown) / 20_000 == pytest.approx(list(advisor.band_shares), abs=0.02)


def test_resampled_worlds_have_other_savings_than_the_catalogue() -> None:
    own = draw_market(CATALOGUE, days=1, seed=2)
    drawn = draw_market(CATALOGUE, days=1, seed=2, settings=MarketSettings(resample=True))
    by_type = np.abs(np.log(drawn.spot_usd_per_s / own.spot_usd_per_s)).reshape(24, -1, ZONES).mean(axis=(0, 2))
    assert (by_type > 0.1).sum() >= len(CATALOGUE.types) // 2


def test_a_market_of_one_type_can_be_drawn() -> None:
    lone = Catalogue(types=(TYPES[0],), candidates=(LaunchSpecification.single(TYPES[0].name),))
    assert draw_market(lone, days=1, seed=0).pool_state.shape == (1440, ZONES)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pressure": {"region_share": 0.6, "family_share": 0.6}}, "above 1"),
        ({"hot_groups": {"x": {"weight": 0, "availability": 1, "up": (0, 1), "dry": (0, 1)}}}, "weight above 0"),
        ({"contagion": {"sibling_zone": 1.5}}, "less than or equal to 1"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MarketSettings(**wrong)
