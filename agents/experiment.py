"""A whole training run from one typed configuration: worlds, rules, PPO, validation, checkpoints."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.bundle import RULES_NAME
from agents.card import model_card
from agents.evaluation.bound import bound_usd
from agents.export import export_bundle
from agents.imitation import gather, imitate
from agents.monitoring import ValidationCallback
from agents.ppo import PPOSettings, TrainingRun, load_model, save_model, training_codec
from agents.rollout import cost_ratio, over_reference, play, random_windows
from agents.rules import RULES_FILE, RuleBook, load_rules, save_rules
from envs.settings import EnvSettings, TaskSettings
from envs.worlds import make_bank
from telemetry.provenance import RECORD_FILE, write_json, write_record
from telemetry.splits import load_splits

BEST_FILE: Final = "best.zip"
CONFIG_FILE: Final = "config.json"
VALIDATION_FILE: Final = "validation.json"
IMITATION_FILE: Final = "imitation.json"
DEMONSTRATIONS: Final = "demonstrations"
BEST: Final = "best"


class TrainSettings(BaseModel):
    """Everything a training run depends on, its seed apart.

    Attributes:
        env: Task, training worlds and episode length; the task's menu is replaced by the rules'.
        ppo: Hyper-parameters.
        rules: Rule book; the shipped one if None.
        advisor: Rule the policy starts at: ``best`` takes the one that is best on validation; None starts from noise.
        divided_traces: Also replay the committed split's divided traces, from the folder that holds the traces.
        validation_windows: Fleets of the validation set.
        validation_days: Length of each validation window.
        validate_every: Rollouts between two validations.
        max_minutes: Stop training, as if finished, after this long; None never stops.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: EnvSettings = EnvSettings()
    ppo: PPOSettings = PPOSettings()
    rules: Path | None = None
    advisor: str | None = BEST
    divided_traces: bool = False
    validation_windows: int = Field(64, ge=1)
    validation_days: int = Field(2, ge=1)
    validate_every: int = Field(10, ge=1)
    max_minutes: float | None = Field(None, gt=0)

    def rule_book(self) -> RuleBook:
        """Return the rules the run starts from."""
        return load_rules(self.rules or RULES_FILE)


def with_divided_traces(settings: TrainSettings, folder: Path) -> tuple[TrainSettings, list[str]]:
    """Return settings that name the divided traces' files in a folder, and the traces that are not there.

    Without ``divided_traces`` nothing changes.
    """
    if not settings.divided_traces:
        return settings, []
    files = {name: folder / f"{name}.parquet" for name in load_splits().divided.traces}
    missing = [name for name, path in files.items() if not path.is_file()]
    traces = tuple(str(path) for name, path in files.items() if name not in missing)
    source = settings.env.source.model_copy(update={"traces": settings.env.source.traces + traces})
    return settings.model_copy(update={"env": settings.env.model_copy(update={"source": source})}), missing


class ProgressCallback(BaseCallback):
    """Tells how many decisions have been trained on, and ends training when its time is up."""

    def __init__(self, show: Callable[[int], None], max_minutes: float | None) -> None:
        super().__init__()
        self._show = show
        self._deadline = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes

    def _on_step(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _on_rollout_end(self) -> None:
        self._show(self.num_timesteps)


def run_training(
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    resume: bool = False,
    show: Callable[[int], None] = lambda _: None,
) -> tuple[PPO, TaskSettings, RuleBook, str]:
    """Train into a folder; return the model that is best on validation, its task, the rules and the best rule.

    The folder holds ``config.json``, ``rules.json``, checkpoints (``model.zip``, ``state.json``), ``best.zip``,
    ``validation.json`` and TensorBoard curves, and where the run began by imitation, ``imitation.json`` and the
    teacher's decisions; an interrupted run goes on with ``resume``.

    Raises:
        FileNotFoundError: ``resume`` without a checkpoint.
        ValueError: The checkpoint belongs to other settings, or the worlds cannot be made.
    """
    book = settings.rule_book()
    task = book.task(settings.env.task)
    env = settings.env.model_copy(update={"task": task})
    bank = make_bank(env.source, task)
    source = env.source.model_copy(update={"split": "validate"})
    validation_bank = make_bank(source, task)
    windows = random_windows(validation_bank, settings.validation_windows, settings.validation_days, seed=0)
    ratios = {rule.name: play(book.policy(rule.name, task), validation_bank, task, windows) for rule in book.rules}
    best_rule = min(ratios, key=lambda name: cost_ratio(ratios[name]))
    named = best_rule if settings.advisor == BEST else settings.advisor
    advisor = None if named is None else book.policy(named, task)

    codec = training_codec(task, settings.ppo, advisor)

    def keep_best(model: PPO) -> None:
        save_model(model, folder / BEST_FILE)

    def start_by_imitation(model: PPO) -> None:
        if settings.ppo.imitate is not None:
            blocks = gather(
                settings.ppo.imitate, env, book, bank, settings.ppo.imitate.folder or folder / DEMONSTRATIONS
            )
            done = imitate(model, codec, blocks, settings.ppo.imitate, seed=seed)
            write_json(folder / IMITATION_FILE, asdict(done))

    validation = ValidationCallback(
        validation_bank,
        task,
        windows,
        codec=codec,
        rule_ratio=cost_ratio(ratios[best_rule]),
        bound_ratio=over_reference(ratios[best_rule], bound_usd(validation_bank, windows)),
        every_rollouts=settings.validate_every,
        save_best=keep_best,
    )
    run = TrainingRun(folder, env, settings.ppo, bank, seed, advisor)
    if resume:
        run.checkpoint_state()
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, config=settings.model_dump(mode="json"), seed=seed)
    write_json(folder / CONFIG_FILE, settings.model_dump(mode="json"))
    save_rules(book, folder / RULES_NAME)
    progress = ProgressCallback(show, settings.max_minutes)
    model = run.train(resume=resume, validation=validation, extra=progress, prepare=start_by_imitation)
    write_json(
        folder / VALIDATION_FILE,
        {
            "best_rule": best_rule,
            "advisor": named,
            "rules": {name: cost_ratio(item) for name, item in ratios.items()},
            "history": [
                {"timesteps": n, "total_over_reference": r, "bad_fraction": b} for n, r, b in validation.history
            ],
        },
    )
    model.set_parameters(str(folder / BEST_FILE), device="cpu")
    return model, task, book, best_rule


def export_run(folder: Path, out: Path) -> float:
    """Export the model of a run that was best on validation; return the largest difference of logits.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        ExportError: The exported policy differs from the trained one.
        BundleError: The bundle is too large.
    """
    for name in (CONFIG_FILE, RULES_NAME, BEST_FILE, VALIDATION_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing: not a finished training run")
    settings = TrainSettings.model_validate_json((folder / CONFIG_FILE).read_text())
    validation = json.loads((folder / VALIDATION_FILE).read_text())
    record = json.loads((folder / RECORD_FILE).read_text())
    book = load_rules(folder / RULES_NAME)
    task = book.task(settings.env.task)
    model = load_model(folder / BEST_FILE, settings.ppo)
    return export_bundle(
        model,
        task,
        book,
        out,
        best_rule=validation["best_rule"],
        advisor=validation["advisor"],
        masks=settings.ppo.permitted,
        card=model_card(settings.model_dump(mode="json"), book.calibration, validation, int(record["seed"])),
        seeds=[int(record["seed"])],
    )
