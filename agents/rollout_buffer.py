"""A rollout buffer that copies a transition once on its way into a minibatch."""

from collections.abc import Generator

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import RolloutBufferSamples


class GatheringRolloutBuffer(RolloutBuffer):
    """stable-baselines3's buffer with the same minibatches, gathered from the arrays as they were filled.

    The parent turns every array from [steps, fleets] to [fleets, steps] first, then copies each minibatch twice.
    """

    def get(self, batch_size: int | None = None) -> Generator[RolloutBufferSamples, None, None]:
        """Yield every transition once, in random order, ``batch_size`` at a time (all at once if None).

        Raises:
            ValueError: The buffer is not full.
        """
        if not self.full:
            raise ValueError(f"the rollout buffer holds {self.pos} of {self.buffer_size} steps")
        count = self.buffer_size * self.n_envs
        order = np.random.permutation(count)  # noqa: NPY002  (the stream that stable-baselines3 seeds)
        fleets, steps = np.divmod(order, self.buffer_size)
        rows = torch.from_numpy(steps * self.n_envs + fleets)
        columns = [
            torch.from_numpy(array).flatten(0, 1)
            for array in (
                self.observations,
                self.actions,
                self.values,
                self.log_probs,
                self.advantages,
                self.returns,
            )
        ]
        for chosen in torch.split(rows, batch_size or count):
            yield RolloutBufferSamples(*(column.index_select(0, chosen).to(self.device) for column in columns))
