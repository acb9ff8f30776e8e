"""The deterministic policy of a model in training, whichever variant of PPO it is."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO

from agents.stacking import StackedCodec
from envs.box import ActionBox
from envs.masks import MaskedCodec
from envs.observation import ObservationEncoder


def stacked_for(model: PPO, codec: ObservationEncoder) -> ObservationEncoder:
    """Return a fresh encoder of as many observations side by side as a model was made for.

    Raises:
        ValueError: The model's observation is no multiple of the encoder's.
    """
    single, whole = codec.space.shape, model.observation_space.shape
    if single is None or whole is None or len(single) != 1 or len(whole) != 1 or whole[0] % single[0]:
        raise ValueError(f"the model was made for observations of shape {whole}; the encoder gives {single}")
    count = whole[0] // single[0]
    return codec if count == 1 else StackedCodec(codec, count)


def most_probable(
    model: PPO, observations: NDArray[np.float32], masks: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the most probable permitted choice of each part, [B, 4], for [B, F] observations."""
    policy: Any = model.policy
    masking = {} if masks is None else {"action_masks": masks}
    with torch.no_grad():
        actions = policy.get_distribution(torch.as_tensor(observations), **masking).mode().numpy()
    if isinstance(model.action_space, ActionBox):
        return model.action_space.integers(np.clip(actions, -1.0, 1.0))
    return np.asarray(actions, np.int64)


class TorchPolicy:
    """The deterministic policy of a model being trained; with stacked observations, each play needs a fresh one.

    Args:
        model: The model.
        codec: Turns telemetry into single observations; a ``MaskedCodec`` brings the masks of a model that has them.
    """

    def __init__(self, model: PPO, codec: ObservationEncoder) -> None:
        self._model = model
        self._codec = stacked_for(model, codec)
        self._masks = codec.masks if isinstance(codec, MaskedCodec) else None

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the most probable action of each part, [B, 4]."""
        masks = None if self._masks is None else self._masks(readings)
        return most_probable(self._model, self._codec.encode(readings), masks)
