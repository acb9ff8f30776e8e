"""Writing to a run's log at a step of one's own."""

from collections.abc import Mapping

from stable_baselines3.common.logger import Image, KVWriter, Logger


def write_at(logger: Logger, step: int, values: Mapping[str, float | Image]) -> None:
    """Write values at a step, at once; what the logger keeps for its next line stays there.

    Text formats get the numbers and, as in their other lines, the step as ``time/total_timesteps``.
    """
    step_tag = "time/total_timesteps"
    excluded = {
        name: ("stdout", "log", "json", "csv") if isinstance(value, Image) else () for name, value in values.items()
    }
    line = {**values, step_tag: step}
    for output in logger.output_formats:
        if isinstance(output, KVWriter):
            output.write(line, {**excluded, step_tag: ("tensorboard",)}, step)
