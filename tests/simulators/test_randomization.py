"""Domain randomisation: what is drawn, from what, and that nothing is drawn where nothing was asked for."""

import numpy as np
import pytest
from pydantic import ValidationError

from simulators.catalogue import Catalogue
from simulators.market import MarketSettings, draw_market
from simulators.physics import WorldSettings
from simulators.randomization import Randomization
from simulators.scenario import Scenario, make_scenario
from simulators.workload import WorkloadModel, sample_workload

OWN = WorldSettings()
SEEDS = range(400)


def model(noise: float) -> WorkloadModel:
    return WorkloadModel(
        name="made",
        profile=(0.0,) * 168,
        hour_shape=(0.0,) * 12,
        trend_per_week=0.0,
        noise_sizes=(noise,) * 8,
        noise_freedom=20.0,
        noise_exponent=0.0,
        bursts_per_day=2.0,
        burst_heights=(0.2, 0.3, 0.5, 0.7, 1.0, 1.2, 1.5),
        burst_decay_minutes=10.0,
        peak=4.0,
        trace_days=14,
    )


def test_nothing_is_randomised_unless_asked_for() -> None:
    plain = Randomization()
    assert plain.worlds(OWN, 7) == [OWN]
    assert plain.market(7) == MarketSettings()
    assert plain.workload(model(0.1), 7) == model(0.1)


def test_services_are_drawn_from_their_ranges_and_leave_the_rest_alone() -> None:
    own, *drawn = Randomization(services=50).worlds(OWN, 3)
    assert own == OWN
    assert len(drawn) == 50
    cpu_ms = np.array([item.workload.cpu_ms_per_request for item in drawn])
    cv2 = np.array([item.workload.cv2 for item in drawn])
    start = np.array([item.physics.boot_median_s / OWN.physics.boot_median_s for item in drawn])
    assert 25.0 <= cpu_ms.min() < 32.0 < 50.0 < cpu_ms.max() <= 65.0
    assert 1.0 <= cv2.min() < cv2.max() <= 1.5
    assert 0.49 <= start.min() < 0.7 < 1.4 < start.max() <= 2.01
    back = [
        item.model_copy(
            update={
                "workload": item.workload.model_copy(
                    update={
                        "cpu_ms_per_request": OWN.workload.cpu_ms_per_request,
                        "cv2": OWN.workload.cv2,
                    }
                ),
                "physics": item.physics.model_copy(
                    update={
                        "boot_median_s": OWN.physics.boot_median_s,
                        "app_median_s": OWN.physics.app_median_s,
                    }
                ),
            }
        )
        for item in drawn
    ]
    assert back == [OWN] * 50
    assert Randomization(services=50).worlds(OWN, 3) == [own, *drawn]
    assert Randomization(services=50).worlds(OWN, 4) != [own, *drawn]


def test_the_stated_shares_of_the_markets_are_hot_or_of_unknown_types() -> None:
    drawn = [Randomization(hot_markets=0.3, unknown_types=0.5).market(seed) for seed in SEEDS]
    hot = [item.hot_share_by_band for item in drawn if item.hot_share_by_band != MarketSettings().hot_share_by_band]
    assert len(hot) / len(drawn) == pytest.approx(0.3, abs=0.07)
    assert sum(item.resample for item in drawn) / len(drawn) == pytest.approx(0.5, abs=0.08)
    assert all(len(set(shares)) == 1 and 0.2 <= shares[0] <= 1.0 for shares in hot)


def test_a_hot_market_takes_more_back_than_an_ordinary_one() -> None:
    catalogue = Catalogue()
    taken = {}
    for share in (0.0, 1.0):
        tapes = [
            draw_market(catalogue, days=4, seed=seed, settings=Randomization(hot_markets=share).market(seed))
            for seed in range(6)
        ]
        taken[share] = np.mean([(tape.reclaim > 0).mean() for tape in tapes])
    assert taken[1.0] > 2.0 * taken[0.0]


def test_volatility_makes_samples_wilder_and_never_calmer() -> None:
    wild = Randomization(volatility=3.0)
    factors = np.array([wild.workload(model(0.1), seed).noise_sizes[0] / 0.1 for seed in SEEDS])
    assert 1.0 <= factors.min() < 1.05
    assert 2.8 < factors.max() <= 3.0
    assert np.median(factors) == pytest.approx(np.sqrt(3.0), rel=0.1), "log-uniform"
    louder = max(SEEDS, key=lambda seed: factors[seed])
    changed = wild.workload(model(0.1), louder)
    assert changed.bursts_per_day == pytest.approx(factors[louder] * 2.0)
    paths = [np.log(sample_workload(item, days=7, seed=5)) for item in (model(0.1), changed)]
    assert paths[1].std() > 1.5 * paths[0].std()


@pytest.mark.parametrize(
    ("name", "value"),
    [("services", -1), ("hot_markets", 1.5), ("unknown_types", -0.1), ("volatility", 0.5), ("quietest", 0), ("x", 1)],
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Randomization.model_validate({name: value})


def tape(mean_rps: float) -> Scenario:
    demand = mean_rps * np.ones(3 * 1440)
    return make_scenario("made", demand, history=slice(0, 1440), window=slice(2 * 1440, 3 * 1440), forecasts="point")


def test_levels_fall_on_every_second_tape_and_the_known_mean_on_half_of_those() -> None:
    own = tape(100.0)
    drawn = [Randomization(quietest=0.05).level(own, position, 9) for position in range(400)]
    assert all(item is own for item in drawn[::2])
    factors = np.array([item.reference_demand_rps / 100.0 for item in drawn[1::2]])
    assert 0.05 <= factors.min() < 0.06
    assert 0.9 < factors.max() <= 1.0
    assert np.median(factors) == pytest.approx(np.sqrt(0.05), rel=0.35), "log-uniform"
    known = np.array([item.mean_demand_rps / 100.0 for item in drawn[1::2]])
    np.testing.assert_allclose(known[0::2], factors[0::2])
    np.testing.assert_array_equal(known[1::2], 1.0)
    for item, factor in zip(drawn[1::2], factors, strict=True):
        np.testing.assert_allclose(item.demand_rps, factor * own.demand_rps, rtol=1e-5)
        np.testing.assert_allclose(item.annotation.forecast_rps, factor * own.annotation.forecast_rps, rtol=1e-5)
    assert Randomization().level(own, 1, 9) is own
