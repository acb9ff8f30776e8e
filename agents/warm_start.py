"""Training that goes on from a bundle: the weights of its ONNX policy in a new model."""

import re

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from stable_baselines3 import PPO

_PREFIX = re.compile(r"^(0/)?policy\.")
"""Of weights' names, with the mark of the first policy of a mean (``agents.averaging``)."""


def load_weights(model: PPO, policy_onnx: bytes) -> None:
    """Give a model the weights of an exported policy, value function included; its exploration stays its own.

    Of a mean of policies they are the first one's.

    Raises:
        ValueError: The exported policy lacks a weight of the model, or has it in another shape; names it.
    """
    graph = onnx.load_from_string(policy_onnx).graph
    stored = {_PREFIX.sub("", item.name): item for item in graph.initializer}
    for name, parameter in model.policy.named_parameters():
        if name not in stored:
            raise ValueError(
                f"the bundle's policy has no weight {name!r}; expected one made by this version and network"
            )
        value = numpy_helper.to_array(stored[name])
        if value.shape != tuple(parameter.shape):
            raise ValueError(
                f"the bundle's policy has {name!r} in shape {value.shape}; expected {tuple(parameter.shape)}: "
                "train with its ppo.hidden and observation"
            )
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.array(value)))
