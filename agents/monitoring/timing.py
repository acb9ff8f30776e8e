"""Where the time of a run goes."""

import time

from stable_baselines3.common.callbacks import BaseCallback

from agents.monitoring.validation import ValidationCallback


class TimingCallback(BaseCallback):
    """Logs how long rollouts and updates take, by a clock that stands still during validation.

    Curves: ``time/rollout_seconds``, ``time/update_seconds`` (until the next rollout begins, so writing curves and
    checkpoints is in it) and ``time/decisions_per_second`` of both together. The ``train/`` curves that
    stable-baselines3 keeps for its next line are written along with the update they belong to, the last one's too.

    Args:
        validation: What stops the clock.
    """

    def __init__(self, validation: ValidationCallback | None = None) -> None:
        super().__init__()
        self._validation = validation
        self._rollout_began = 0.0
        self._rollout_seconds = 0.0
        self._update_began: float | None = None
        self._first_decision = 0

    def _clock(self) -> float:
        validating = 0.0 if self._validation is None else self._validation.seconds
        return time.perf_counter() - validating

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self._log_update()
        self._rollout_began = self._clock()
        self._first_decision = self.model.num_timesteps

    def _on_rollout_end(self) -> None:
        self._update_began = self._clock()
        self._rollout_seconds = self._update_began - self._rollout_began
        self.logger.record("time/rollout_seconds", self._rollout_seconds)

    def _on_training_end(self) -> None:
        self._log_update()

    def _log_update(self) -> None:
        if self._update_began is None:
            return
        update_seconds = self._clock() - self._update_began
        decisions = self.num_timesteps - self._first_decision
        self.logger.record("time/update_seconds", update_seconds)
        self.logger.record("time/decisions_per_second", decisions / (self._rollout_seconds + update_seconds))
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(self.num_timesteps)
        self._update_began = None
