"""Detectors from libraries behind the same interface: isolation forest, one-class SVM, LSTM autoencoder.

Each looks at windows of the last values, scaled by the mean and spread of what it was fitted on. It is fitted on the
past only, first after ``first_fit`` values and again every ``refit`` values, on at most the newest ``history`` windows.
Its raw scores go through the calibration that every stream uses (``forecasting.anomaly.tail``, compiled), so that the
score is ``n / (n + 2)`` of ``n = -log10 p`` here too. A missing value is read as the last one and scores 0.
"""

from abc import ABC, abstractmethod
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from forecasting.anomaly.tail import SKETCH_SIZE, learn, rarity
from telemetry.compiled import compiled

FloatArray = npt.NDArray[np.float64]

_HALF_SCORE: Final = 2.0
_LARGEST_VALUE: Final = 1e15
_LARGEST_SCALED: Final = 50.0


class WindowDetector(ABC):
    """A model of windows, refitted on the past as a series goes on.

    Args:
        window: Values a window holds, 2 or more.
        first_fit: Values before the first fit, more than two windows.
        refit: Values between fits.
        history: Newest windows a fit sees.
        seed: Of the model.

    Raises:
        ValueError: a parameter outside its range.
    """

    def __init__(
        self, *, window: int = 24, first_fit: int = 500, refit: int = 1000, history: int = 4000, seed: int = 0
    ) -> None:
        if window < 2 or first_fit <= 2 * window or refit < 1 or history < window:
            raise ValueError(f"window {window}, first_fit {first_fit}, refit {refit} or history {history} is too small")
        self.window, self.first_fit, self.refit, self.history, self.seed = window, first_fit, refit, history, seed
        self._clear()

    def fit(self, history: npt.ArrayLike) -> Self:
        """Take ``history`` (float64[N]) as the past and end at its last value."""
        self._clear()
        self.score_series(history)
        return self

    def update(self, value: float) -> float:
        """Take the next value and return its score, 0..1; 0 while nothing is fitted."""
        return float(self.score_series([value])[0])

    def score_series(self, values: npt.ArrayLike) -> FloatArray:
        """Feed a series and return the score of each value, float64[T]; the same as one value at a time."""
        series = np.clip(np.asarray(values, dtype=np.float64), -_LARGEST_VALUE, _LARGEST_VALUE)
        scores = np.zeros(len(series))
        at = 0
        while at < len(series):
            if self._seen == self._next_fit:
                self._refit()
            stop = min(at + self._next_fit - self._seen, len(series))
            scores[at:stop] = self._take(series[at:stop])
            at = stop
        return scores

    @abstractmethod
    def _fit_model(self, windows: FloatArray) -> Any:
        """Return a model of scaled windows (float64[N, W])."""

    @abstractmethod
    def _distances(self, model: Any, windows: FloatArray) -> FloatArray:
        """Return how unlike the model each window is, float64[N], on one scale for all refits."""

    def _clear(self) -> None:
        self._past: FloatArray = np.empty(0)
        self._seen = 0
        self._next_fit = self.first_fit
        self._model: Any = None
        self._scale = (0.0, 1.0)
        self._sketch = np.zeros(SKETCH_SIZE)

    def _windows(self, values: FloatArray) -> FloatArray:
        centre, spread = self._scale
        scaled = np.clip((values - centre) / spread, -_LARGEST_SCALED, _LARGEST_SCALED)
        return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(scaled, self.window))

    def _refit(self) -> None:
        centre = float(np.median(self._past))
        deviation = float(np.median(np.abs(self._past - centre)))
        self._scale = (centre, deviation or float(self._past.std()) or 1.0)
        self._model = self._fit_model(self._windows(self._past))
        self._next_fit = self._seen + self.refit

    def _take(self, values: FloatArray) -> FloatArray:
        known = ~np.isnan(values)
        last = self._past[-1] if len(self._past) else 0.0
        newest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
        held = np.where(newest >= 0, values[newest], last)
        joined = np.concatenate((self._past[-(self.window - 1) :], held))
        self._seen += len(values)
        self._past = np.concatenate((self._past, held))[-(self.history + self.window - 1) :]
        scores = np.zeros(len(values))
        if self._model is None:
            return scores
        distances = np.maximum(self._distances(self._model, self._windows(joined)), 0.0)
        _calibrate(self._sketch, distances, known, float(4 * self.history), scores)
        return scores


class IsolationForestDetector(WindowDetector):
    """scikit-learn's isolation forest of 100 trees; the distance is its score above one half."""

    def _fit_model(self, windows: FloatArray) -> Any:
        from sklearn.ensemble import IsolationForest

        return IsolationForest(n_estimators=100, random_state=self.seed).fit(windows)

    def _distances(self, model: Any, windows: FloatArray) -> FloatArray:
        return np.asarray(-model.score_samples(windows), dtype=np.float64)


class OneClassSvmDetector(WindowDetector):
    """scikit-learn's one-class SVM, radial kernel, nu 0.05, on at most 1,000 windows spread over the past."""

    def _fit_model(self, windows: FloatArray) -> Any:
        from sklearn.svm import OneClassSVM

        chosen = windows[np.linspace(0, len(windows) - 1, min(len(windows), 1000)).astype(np.int64)]
        return OneClassSVM(nu=0.05, gamma="scale").fit(chosen)

    def _distances(self, model: Any, windows: FloatArray) -> FloatArray:
        return np.asarray(1.0 - model.score_samples(windows) / model.offset_[0], dtype=np.float64)


class LstmAutoencoderDetector(WindowDetector):
    """A 16-unit LSTM encoder and decoder; the distance is the mean absolute error of the window it gives back."""

    def _fit_model(self, windows: FloatArray) -> Any:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = _autoencoder()
            inputs = torch.from_numpy(windows.astype(np.float32))
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(4):
                for batch in torch.split(torch.randperm(len(inputs)), 128):
                    optimizer.zero_grad()
                    loss = (model(inputs[batch]) - inputs[batch]).abs().mean()
                    loss.backward()
                    optimizer.step()
        return model

    def _distances(self, model: Any, windows: FloatArray) -> FloatArray:
        import torch

        with torch.no_grad():
            inputs = torch.from_numpy(windows.astype(np.float32))
            return np.asarray((model(inputs) - inputs).abs().mean(dim=1).numpy(), dtype=np.float64)


def _autoencoder() -> Any:
    import torch

    class Autoencoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.LSTM(1, 16, batch_first=True)
            self.decoder = torch.nn.LSTM(16, 16, batch_first=True)
            self.output = torch.nn.Linear(16, 1)

        def forward(self, windows: torch.Tensor) -> torch.Tensor:
            code = self.encoder(windows[..., None])[1][0][-1]
            decoded = self.decoder(code[:, None].expand(-1, windows.shape[1], -1))[0]
            return torch.as_tensor(self.output(decoded)[..., 0])

    return Autoencoder()


@compiled
def _calibrate(
    sketch: FloatArray, distances: FloatArray, known: npt.NDArray[np.bool_], full: float, scores: FloatArray
) -> None:
    for index in range(len(distances)):
        if known[index]:
            tail = rarity(sketch, distances[index])
            learn(sketch, distances[index], full)
            scores[index] = tail / (tail + _HALF_SCORE)
