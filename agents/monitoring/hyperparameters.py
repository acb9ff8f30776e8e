"""Hyper-parameters for TensorBoard's HParams tab."""

from collections.abc import Mapping, Sequence
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import HParam

Value = bool | int | float | str | None


class HyperParametersCallback(BaseCallback):
    """Names a run's hyper-parameters and the curves that judge it; the tab shows each curve's latest value.

    Args:
        values: Hyper-parameters; groups of them are named ``group.key``, what is None is left out.
        metrics: Tags of scalar curves that the run logs.

    Raises:
        ValueError: No hyper-parameter, no metric, or a value of another kind than number, truth, text or list of these.
    """

    def __init__(self, values: Mapping[str, Any], metrics: Sequence[str]) -> None:
        super().__init__()
        self._values = flat_values(values)
        self._metrics = tuple(metrics)
        if not self._values or not self._metrics:
            raise ValueError("hyper-parameters: expected at least one hyper-parameter and one metric")

    def _on_training_start(self) -> None:
        summary = HParam(self._values, dict.fromkeys(self._metrics, 0.0))
        self.logger.record("hparams", summary, exclude=("stdout", "log", "json", "csv"))

    def _on_step(self) -> bool:
        return True


def flat_values(values: Mapping[str, Any], group: str = "") -> dict[str, Value]:
    """Return hyper-parameters without nesting, named by dotted keys; lists become text.

    Raises:
        ValueError: A value of another kind; names key and value.
    """
    found: dict[str, Value] = {}
    for key, value in values.items():
        name = f"{group}{key}"
        if isinstance(value, Mapping):
            found |= flat_values(value, f"{name}.")
        elif isinstance(value, list | tuple):
            found[name] = ", ".join(str(item) for item in value)
        elif value is None or isinstance(value, bool | int | float | str):
            found[name] = value
        else:
            raise ValueError(
                f"hyper-parameter {name!r} is {value!r}, a {type(value).__name__}; expected a number, a truth value, "
                "text or a list of these"
            )
    return found
