from pathlib import Path

import numpy as np
import pytest

from forecasting.demand.lstm import (
    HORIZON_BINS,
    LEVELS,
    PATCH_BINS,
    PATCHES,
    PLAIN_INPUTS,
    SEASONAL_INPUTS,
    LstmForecaster,
    Weights,
    bins_up_to,
    scaled_inputs,
    scaled_quantiles,
)
from forecasting.history import History

START = np.datetime64("2026-01-05", "s")
STEP_S = 300


def random_weights(*, seasonal: bool = False, units: int = 8, hidden: int = 16, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    inputs = SEASONAL_INPUTS if seasonal else PLAIN_INPUTS

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.3, shape).astype(np.float32)

    return Weights(
        draw(PATCH_BINS, 4 * units),
        draw(units, 4 * units),
        draw(4 * units),
        draw(units + inputs, hidden),
        draw(hidden),
        0.1 * draw(hidden, HORIZON_BINS * len(LEVELS)),
        0.1 * draw(HORIZON_BINS * len(LEVELS)),
    )


def wave(days: float, step_s: int = STEP_S, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    second = step_s * np.arange(int(days * 86_400 / step_s))
    return scale * (100.0 + 60.0 * np.sin(2 * np.pi * second / 86_400) + rng.gamma(2.0, 3.0, len(second)))


@pytest.mark.slow
def test_the_compiled_pass_equals_torch() -> None:
    torch = pytest.importorskip("torch")
    weights, rng = random_weights(), np.random.default_rng(1)
    units = weights.from_state.shape[0]
    layer = torch.nn.LSTM(PATCH_BINS, units, batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(weights.from_input.T.copy()))
        layer.weight_hh_l0.copy_(torch.from_numpy(weights.from_state.T.copy()))
        layer.bias_ih_l0.copy_(torch.from_numpy(weights.gate_bias))
        layer.bias_hh_l0.zero_()
        for _ in range(5):
            patches = rng.normal(0.0, 1.0, (PATCHES, PATCH_BINS)).astype(np.float32)
            inputs = rng.normal(0.0, 1.0, PLAIN_INPUTS).astype(np.float32)
            _, (state, _) = layer(torch.from_numpy(patches)[None])
            head = torch.cat((state[0, 0], torch.from_numpy(inputs))) @ torch.from_numpy(weights.hidden)
            head = torch.relu(head + torch.from_numpy(weights.hidden_bias))
            steps = head @ torch.from_numpy(weights.output) + torch.from_numpy(weights.output_bias)
            expected = float(patches[-1, -1]) + steps.numpy().reshape(HORIZON_BINS, len(LEVELS))
            np.testing.assert_allclose(scaled_quantiles(weights, patches, inputs), expected, rtol=1e-4, atol=1e-5)


def test_bins_are_means_by_time_whatever_the_step() -> None:
    minutes = np.arange(30.0)
    np.testing.assert_allclose(bins_up_to(minutes, 60, 1800, 2), [minutes[20:25].mean(), minutes[25:].mean()])
    np.testing.assert_allclose(bins_up_to(np.array([6.0, 12.0]), 3600, 7200, 13), [6.0] + 12 * [12.0])
    assert np.isnan(bins_up_to(minutes, 60, 1800, 7)[0])
    np.testing.assert_allclose(bins_up_to(np.array([1.0, 3.0, 5.0, 7.0]), 150, 600, 2), [2.0, 6.0])


@pytest.mark.parametrize("seasonal", [False, True])
def test_forecasts_scale_with_the_series(seasonal: bool) -> None:
    weights = random_weights(seasonal=seasonal)
    rows = [
        LstmForecaster(weights, step_s=STEP_S, start=START).fit(wave(9, scale=scale)).forecast([1, 12, 48], LEVELS)
        for scale in (1.0, 1e5)
    ]
    np.testing.assert_allclose(rows[1], 1e5 * rows[0], rtol=1e-4)
    assert (np.diff(rows[0], axis=1) >= 0.0).all()


def test_the_week_before_counts_only_with_seasonal_inputs() -> None:
    values = wave(9)
    changed = values.copy()
    changed[len(values) - 7 * 288 : len(values) - 7 * 288 + 48] *= 3.0
    for seasonal in (False, True):
        before, after = (
            LstmForecaster(random_weights(seasonal=seasonal), step_s=STEP_S, start=START).fit(past).forecast([9], [0.5])
            for past in (values, changed)
        )
        assert (before == after).all() == (not seasonal)


def test_a_day_of_history_is_what_the_plain_network_sees() -> None:
    weights, values = random_weights(), wave(3)
    longer = LstmForecaster(weights, step_s=STEP_S).fit(values)
    shorter = LstmForecaster(weights, step_s=STEP_S).fit(values[-288:])
    np.testing.assert_allclose(longer.forecast([1, 48], LEVELS), shorter.forecast([1, 48], LEVELS), rtol=1e-5)
    streamed = LstmForecaster(weights, step_s=STEP_S).fit(values[:400])
    for value in values[400:]:
        streamed.update(value)
    np.testing.assert_array_equal(streamed.forecast([1, 48], LEVELS), longer.forecast([1, 48], LEVELS))


@pytest.mark.parametrize("step_s", [60, 90, 600, 3600])
def test_other_steps_are_laid_on_the_same_bins(step_s: int) -> None:
    leads = [1, 4 * 3600 // step_s]
    rows = LstmForecaster(random_weights(), step_s=step_s).fit(wave(2, step_s)).forecast(leads, LEVELS)
    assert rows.shape == (2, len(LEVELS))
    with pytest.raises(ValueError, match="beyond four hours"):
        LstmForecaster(random_weights(), step_s=step_s).fit(wave(2, step_s)).forecast([leads[1] + 1], LEVELS)


@pytest.mark.parametrize("past", [[], [5.0], [np.nan] * 400, [0.0] * 400, [7.0] * 400, [1.0] * 399 + [1e12]])
@pytest.mark.parametrize("seasonal", [False, True])
def test_any_history_gives_ordered_finite_forecasts(past: list[float], seasonal: bool) -> None:
    weights = random_weights(seasonal=seasonal)
    rows = LstmForecaster(weights, step_s=STEP_S, start=START).fit(past).forecast([1, 48], LEVELS)
    assert np.isfinite(rows).all()
    assert (rows >= 0.0).all()
    assert (np.diff(rows, axis=1) >= 0.0).all()


def test_weights_survive_a_file_and_foreign_files_are_refused(tmp_path: Path) -> None:
    weights = random_weights(seasonal=True)
    weights.save(tmp_path / "lstm.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["lstm.npz"]
    again = Weights.load(tmp_path / "lstm.npz")
    assert again.seasonal
    np.testing.assert_array_equal(again.hidden, weights.hidden)
    np.savez(tmp_path / "other.npz", from_input=weights.from_input)
    with pytest.raises(ValueError, match="no array"):
        Weights.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="no such file"):
        Weights.load(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match="needs the start"):
        LstmForecaster(weights, step_s=STEP_S)


def test_scaled_values_come_back() -> None:
    day = wave(1)[None]
    shown = scaled_inputs(day, None, np.array([0]))
    values = shown.patches.reshape(1, -1).astype(np.float64)
    np.testing.assert_allclose(shown.middle[:, None] + shown.spread[:, None] * np.sinh(values), day, rtol=1e-5)


@pytest.mark.slow
def test_training_learns_a_wave_and_repeats_itself() -> None:
    torch = pytest.importorskip("torch")
    from forecasting.demand.lstm_training import LstmSettings, train_lstm

    torch.set_num_threads(1)
    pool = [History(wave(6, scale=scale), STEP_S, 0) for scale in (1.0, 1e3)]
    settings = LstmSettings(units=8, hidden=32, batches=60, batch=64, rate=1e-2)
    first, second = train_lstm(pool, settings), train_lstm(pool, settings)
    np.testing.assert_array_equal(first.output, second.output)
    values = wave(8, scale=50.0)
    leads = range(1, 49)
    rows = LstmForecaster(first, step_s=STEP_S).fit(values[:-48]).forecast(leads, LEVELS)
    assert np.abs(rows[:, 1] - values[-48:]).mean() < 0.4 * np.abs(values[-49] - values[-48:]).mean()
    with pytest.raises(ValueError, match="nothing to train on"):
        train_lstm([History(values[:300], STEP_S, 0)], settings)
