"""Validation while a run trains: the deterministic policy against the best rule and the clairvoyant bound."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image

from agents.monitoring.day import DayRecorder, telling_day
from agents.monitoring.logbook import write_at
from agents.rollout import Played, Windows, bad_fraction, cost_ratio, over_reference, play
from agents.trained import TorchPolicy
from envs.observation import ObservationEncoder
from envs.picture import FleetPicture
from envs.settings import TaskSettings
from simulators.bank import Bank

VALIDATION_METRICS: Final = (
    "validation/best_total_over_reference",
    "validation/total_over_reference",
    "validation/gap_to_best_rule",
    "validation/gap_closed",
    "validation/bad_minutes_percent",
)
"""Curves of every validated run that sum it up."""
_DAY_MINUTES: Final = 1440


class ValidationCallback(BaseCallback):
    """Plays the deterministic policy on validation worlds and keeps the model that is best there.

    It validates before the first decision, every ``every_rollouts`` rollouts and at the end. Each curve is written at
    the decision it was measured at:

    - ``validation/total_over_reference``, ``validation/best_total_over_reference`` so far and
      ``validation/decisions_since_best``; ``validation/bad_minutes_percent``;
    - ``validation/gap_to_best_rule`` (share of the rule's total saved, positive is better), ``validation/gap_closed``
      (of the way to the bound), ``validation/windows_won_percent``;
    - of a fleet, ``validation/infra_usd_per_day`` and ``penalty_usd_per_day``, ``launches_per_day`` and
      ``type_changes_per_day``;
    - ``validation/by_source/<name>`` (total over reference) and ``validation/gap_by_source/<name>``;
    - ``validation/day``, a picture, always of the same day (``agents.monitoring.day.telling_day``);
    - ``time/validation_seconds``.

    Args:
        bank: Validation worlds.
        task: Action settings and menu.
        windows: What is played.
        codec: Turns telemetry into the model's observations.
        rule: What the best rule did in these windows.
        bound_usd: [B] clairvoyant bound of each window, USD.
        every_rollouts: Rollouts between two validations.
        save_best: Called with the model whenever it is better than all before.
        tape_sources: Name of the source of each of the bank's demand tapes; no curves by source if None.
        picture: Draw the day (needs matplotlib).
        report: Called with decisions trained on and total over reference; training stops where it returns True.

    Attributes:
        best: Lowest total over reference so far.
        history: Decisions trained on, total over reference and share of bad minutes of each validation.
        seconds: Time spent here so far.

    Raises:
        ValueError: ``every_rollouts`` is below 1, or rule, bound or sources do not belong to these windows.
    """

    def __init__(
        self,
        bank: Bank,
        task: TaskSettings,
        windows: Windows,
        *,
        codec: ObservationEncoder,
        rule: Played,
        bound_usd: NDArray[np.float64],
        every_rollouts: int,
        save_best: Callable[[PPO], None],
        tape_sources: Sequence[str] | None = None,
        picture: bool = True,
        report: Callable[[int, float], bool] | None = None,
    ) -> None:
        super().__init__()
        if every_rollouts < 1:
            raise ValueError(f"validation: every_rollouts is {every_rollouts}; expected at least 1")
        if not len(rule.totals) == len(bound_usd) == len(windows):
            raise ValueError(
                f"validation: {len(windows)} windows, but a rule in {len(rule.totals)} and a bound of {len(bound_usd)}"
            )
        if tape_sources is not None and len(tape_sources) != len(bank.tapes):
            raise ValueError(
                f"validation: {len(tape_sources)} names of sources; expected one for each of the bank's "
                f"{len(bank.tapes)} demand tapes"
            )
        self._bank, self._task, self._windows = bank, task, windows
        self._rule = rule
        self._rule_ratio, self._bound_ratio = cost_ratio(rule), over_reference(rule, bound_usd)
        if not self._bound_ratio < self._rule_ratio:
            raise ValueError(
                f"validation: the bound {self._bound_ratio:.4f} is not below the rule's {self._rule_ratio:.4f}; "
                "expected both from the same windows"
            )
        self._sources = None if tape_sources is None else np.array(tape_sources)[bank.worlds["tape"][windows.worlds]]
        self._codec = codec
        self._save_best = save_best
        self._report = report
        self._day = telling_day(rule, bound_usd)
        self._picture: FleetPicture | None = FleetPicture(task, _DAY_MINUTES) if picture else None
        self._every, self._rollouts = every_rollouts, 0
        self._stop = False
        self.best = np.inf
        self.history: list[tuple[int, float, float]] = []
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """Return what a resumed run has to know, as plain data."""
        return {"best": self.best if np.isfinite(self.best) else None, "history": self.history}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where the run that wrote ``state`` stopped."""
        self.best = np.inf if state["best"] is None else float(state["best"])
        self.history = [(int(steps), float(ratio), float(bad)) for steps, ratio, bad in state["history"]]

    def _on_step(self) -> bool:
        return not self._stop

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._every == 0 and not self._is_validated:
            self.validate()
        self._rollouts += 1

    def _on_training_end(self) -> None:
        if not (self._stop or self._is_validated):
            self.validate()

    @property
    def _is_validated(self) -> bool:
        """Whether this very model was, such as the one a resumed run begins with."""
        return bool(self.history) and self.history[-1][0] == self.model.num_timesteps

    def validate(self) -> None:
        """Play the current policy on the validation windows, log it, keep it if it is the best."""
        began = time.perf_counter()
        model = cast(PPO, self.model)
        step = int(model.num_timesteps)
        day = DayRecorder(*self._day, self._task.decision_minutes)
        played = play(TorchPolicy(model, self._codec), self._bank, self._task, self._windows, watch=day.watch)
        ratio = cost_ratio(played)
        self.history.append((step, ratio, bad_fraction(played)))
        if ratio < self.best:
            self.best = ratio
            self._save_best(model)
        values: dict[str, float | Image] = {**self._curves(played), **self._curves_by_source(played)}
        if self._picture is not None:
            values["validation/day"] = Image(self._picture.draw(day.history), "HWC")
        values["time/validation_seconds"] = time.perf_counter() - began
        write_at(self.logger, step, values)
        self._stop = self._report is not None and self._report(step, ratio)
        self.seconds += time.perf_counter() - began

    def _curves(self, played: Played) -> dict[str, float]:
        step, ratio, bad = self.history[-1]
        best_step = min(self.history, key=lambda item: item[1])[0]
        days = float(played.totals["ticks"].sum()) / _DAY_MINUTES
        return {
            "validation/total_over_reference": ratio,
            "validation/best_total_over_reference": self.best,
            "validation/bad_minutes_percent": 100.0 * bad,
            "validation/gap_to_best_rule": 1.0 - ratio / self._rule_ratio,
            "validation/gap_closed": (self._rule_ratio - ratio) / (self._rule_ratio - self._bound_ratio),
            "validation/windows_won_percent": 100.0 * float((played.total_usd < self._rule.total_usd).mean()),
            "validation/infra_usd_per_day": float(played.daily_infra_usd.sum()) / days,
            "validation/penalty_usd_per_day": float(played.totals["slo_penalty_usd"].sum()) / days,
            "validation/launches_per_day": float(played.totals["launches"].sum()) / days,
            "validation/type_changes_per_day": float(played.totals["type_changes"].sum()) / days,
            "validation/decisions_since_best": float(step - best_step),
        }

    def _curves_by_source(self, played: Played) -> dict[str, float]:
        if self._sources is None:
            return {}
        ours = played.total_usd / played.totals["reference_usd"]
        rule = self._rule.total_usd / self._rule.totals["reference_usd"]
        values = {}
        for name in np.unique(self._sources):
            own = self._sources == name
            values[f"validation/by_source/{name}"] = float(ours[own].mean())
            values[f"validation/gap_by_source/{name}"] = 1.0 - float(ours[own].mean() / rule[own].mean())
        return values
