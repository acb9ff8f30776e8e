"""The spot market generator: prices, drops, contagion, and their independence."""

from functools import cache

import numpy as np
import pytest

from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, MarketTape, calm_up_hours, draw_market
from simulators.records import DRY, TIGHT, ZONES

CATALOGUE = Catalogue()
LIST_PRICE = np.repeat([item.price_usd_per_hour for item in CATALOGUE.types], ZONES)
ALWAYS_HOT = MarketSettings(hot_share_by_band=(1, 1, 1, 1, 1))
NEVER_HOT = MarketSettings(hot_share_by_band=(0, 0, 0, 0, 0))
ALONE = {"sibling_zone": 0.0, "sibling_size": 0.0}


@cache
def hot(seed: int = 0) -> MarketTape:
    return draw_market(CATALOGUE, days=20, seed=seed, settings=ALWAYS_HOT)


def entries(tape: MarketTape) -> np.ndarray:
    """[drops, 2] tick and pool of each drop into DRY."""
    dry = tape.pool_state == DRY
    return np.argwhere(dry[1:] & ~dry[:-1]) + np.array([1, 0])


def test_same_seed_same_bits_and_another_seed_others() -> None:
    first, again, other = (draw_market(CATALOGUE, days=3, seed=seed) for seed in (5, 5, 6))
    for name in ("spot_usd_per_s", "pool_state", "reclaim"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.spot_usd_per_s.tobytes() != other.spot_usd_per_s.tobytes()
    assert first.pool_state.shape == (3 * 1440, len(LIST_PRICE))
    assert first.spot_usd_per_s.shape == (3 * 24, len(LIST_PRICE))


def test_less_than_a_day_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 day"):
        draw_market(CATALOGUE, days=0, seed=1)


def test_discounts_lie_around_each_types_saving() -> None:
    discounts = [
        1.0 - draw_market(CATALOGUE, days=2, seed=seed).spot_usd_per_s.mean(axis=0) * 3600 / LIST_PRICE
        for seed in range(40)
    ]
    by_type = np.array(discounts).reshape(40, len(CATALOGUE.types), ZONES)
    for item, sample in zip(CATALOGUE.types, by_type.transpose(1, 0, 2).reshape(len(CATALOGUE.types), -1), strict=True):
        low, middle, high = np.quantile(sample, [0.05, 0.5, 0.95])
        assert middle == pytest.approx(item.spot_saving, abs=0.015)
        assert item.spot_saving - 0.08 < low < item.spot_saving - 0.01
        assert item.spot_saving + 0.01 < high < item.spot_saving + 0.08


def test_daily_price_moves_have_the_stated_size() -> None:
    price = np.log(draw_market(CATALOGUE, days=60, seed=3).spot_usd_per_s)
    daily = price[24::24] - price[:-24:24]
    assert daily.std() == pytest.approx(0.015, rel=0.15)


def test_the_price_is_positive_and_never_above_on_demand() -> None:
    wild = MarketSettings(daily_price_sigma=0.2, zone_price_sigma=0.5)
    price = draw_market(CATALOGUE, days=20, seed=1, settings=wild).spot_usd_per_s * 3600
    assert price.min() > 0
    assert (price <= LIST_PRICE * (1 + 1e-6)).all()
    assert (price > LIST_PRICE * (1 - 1e-6)).any(), "the cap is never reached, so it is not tested"


def test_a_share_of_reclaims_takes_every_instance() -> None:
    share = np.concatenate([hot(seed).reclaim[hot(seed).reclaim > 0] for seed in range(2)])
    assert len(share) > 4000
    assert (share == 255).mean() == pytest.approx(0.6, abs=0.025)
    assert share.min() >= 25


def test_reclaims_happen_where_a_pool_goes_dry_and_nowhere_else() -> None:
    tape = hot()
    reclaiming = np.argwhere(tape.reclaim > 0)
    assert (tape.pool_state[tape.reclaim > 0] == DRY).all()
    drops = {tuple(drop) for drop in entries(tape).tolist()}
    assert drops <= {tuple(place) for place in reclaiming.tolist()}


def test_a_tight_spell_comes_before_each_drop() -> None:
    tape = hot()
    for tick, pool in entries(tape)[:500]:
        assert tape.pool_state[tick - 1, pool] == TIGHT


def test_hot_pools_drop_within_hours() -> None:
    alone = MarketSettings(hot_share_by_band=(1, 1, 1, 1, 1), **ALONE)
    state = draw_market(CATALOGUE, days=60, seed=2, settings=alone).pool_state
    gaps = []
    for pool in range(state.shape[1]):
        dry = state[:, pool] == DRY
        starts = np.flatnonzero(dry[1:] & ~dry[:-1]) + 1
        ends = np.flatnonzero(~dry[1:] & dry[:-1]) + 1
        gaps += [(start - ends[ends < start][-1]) / 60 for start in starts if (ends < start).any()]
    assert np.median(gaps) == pytest.approx(np.exp(0.28), rel=0.1)
    assert np.quantile(gaps, 0.9) == pytest.approx(np.exp(0.28 + 1.2816 * 1.74), rel=0.15)


def test_calm_pools_drop_in_months() -> None:
    alone = MarketSettings(hot_share_by_band=(0, 0, 0, 0, 0), **ALONE)
    days, seeds = 120, 12
    tapes = [draw_market(CATALOGUE, days=days, seed=seed, settings=alone) for seed in range(seeds)]
    for band in (0, 3):
        types = [index for index, item in enumerate(CATALOGUE.types) if item.interruption_band == band]
        pools = [kind * ZONES + zone for kind in types for zone in range(ZONES)]
        drops = sum(int((tape.reclaim[:, pools] > 0).sum()) for tape in tapes)
        hours = days * 24 * seeds * len(pools)
        expected = hours / calm_up_hours(CATALOGUE, CATALOGUE.types[types[0]], alone)
        assert abs(drops - expected) < 4 * np.sqrt(expected)
        assert hours / drops > 24 * 30


def test_instances_of_a_calm_pool_are_interrupted_as_often_as_their_band_says() -> None:
    days, seeds = 120, 12
    lost, expected = 0.0, 0.0
    for seed in range(seeds):
        tape = draw_market(CATALOGUE, days=days, seed=seed, settings=NEVER_HOT)
        lost += tape.reclaim.sum() / 255
        for item in CATALOGUE.types:
            monthly = (0.025, 0.075, 0.125, 0.175, 0.30)[item.interruption_band]
            expected += ZONES * days / 30 * -np.log(1 - monthly)
    assert lost / expected == pytest.approx(1.0, abs=0.25)


def test_a_drop_drags_sibling_zones_along() -> None:
    tape = hot()
    reclaims = tape.reclaim > 0
    drops = [(tick, pool) for tick, pool in entries(tape) if tick < len(reclaims) - 6]

    def share_followed(others: list[int]) -> float:
        """Share of drops after which another pool drops within five minutes."""
        pairs = zip(drops, others, strict=True)
        return float(np.mean([reclaims[tick : tick + 6, other].any() for (tick, _), other in pairs]))

    sibling = share_followed([pool // ZONES * ZONES + (pool + 1) % ZONES for _, pool in drops])
    other_family = share_followed([(pool + 4 * ZONES) % reclaims.shape[1] for _, pool in drops])
    assert sibling > 3 * other_family
    assert sibling > 0.15


def test_price_says_nothing_about_the_state_of_a_pool() -> None:
    price = np.concatenate([np.log(hot(seed).spot_usd_per_s) for seed in range(2)])
    dry = np.concatenate(
        [(hot(seed).pool_state == DRY).reshape(-1, 60, len(LIST_PRICE)).mean(axis=1) for seed in range(2)]
    )
    correlations = [np.corrcoef(price[:, pool], dry[:, pool])[0, 1] for pool in range(len(LIST_PRICE))]
    assert abs(np.mean(correlations)) < 0.03
