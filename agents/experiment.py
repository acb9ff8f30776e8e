"""A whole training run from one typed configuration: worlds, rules, PPO, validation, checkpoints."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.bundle import RULES_NAME, load_bundle
from agents.card import model_card
from agents.evaluation.bound import bound_usd
from agents.export import export_bundle
from agents.imitation import gather, imitate
from agents.monitoring import ValidationCallback
from agents.policies import Policy
from agents.ppo import PPOSettings, TrainingRun, load_model, save_model, training_codec
from agents.rollout import cost_ratio, play, random_windows
from agents.rules import RULES_FILE, RuleBook, load_rules, save_rules
from agents.warm_start import load_weights
from envs.settings import EnvSettings, TaskSettings, WorldSource
from envs.worlds import make_bank, tape_sources
from simulators.bank import Bank
from simulators.randomization import Randomization
from telemetry.provenance import RECORD_FILE, write_json, write_record
from telemetry.splits import data_folder, load_splits

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
        start_from: Bundle whose policy training goes on from, at the rule that advises it; None starts at the advisor.
        divided_traces: Also replay those of the committed split's divided traces that are in ``data_folder()``.
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
    start_from: Path | None = None
    divided_traces: bool = False
    validation_windows: int = Field(64, ge=1)
    validation_days: int = Field(2, ge=1)
    validate_every: int = Field(10, ge=1)
    max_minutes: float | None = Field(None, gt=0)

    def rule_book(self) -> RuleBook:
        """Return the rules the run starts from."""
        return load_rules(self.rules or RULES_FILE)


def validating(source: WorldSource) -> WorldSource:
    """Return what a run on a training source is validated on: the same demand, as the task's own service meets it.

    Few draws and markets, with seeds of the validation split; nothing is randomised, repeated or planted.
    """
    return source.model_copy(
        update={
            "split": "validate",
            "patterns": None if source.patterns is None else tuple(dict.fromkeys(source.patterns)),
            "futures": (),
            "trace_repeats": min(source.trace_repeats, 2),
            "scenarios_per_source": min(source.scenarios_per_source, 2),
            "markets": min(source.markets, 4),
            "anomalies_per_week": 0.0,
            "randomization": Randomization(),
        }
    )


def missing_traces(settings: TrainSettings) -> list[str]:
    """Return which of the divided traces that a run asks for are not in the folder of the public traces."""
    return [path.stem for path in _divided_traces(settings) if not path.is_file()]


def with_divided_traces(settings: TrainSettings) -> EnvSettings:
    """Return the environment of a run, with the divided traces that it asks for and that are there."""
    source = settings.env.source
    found = tuple(str(path) for path in _divided_traces(settings) if path.is_file())
    return settings.env.model_copy(update={"source": source.model_copy(update={"traces": source.traces + found})})


def _divided_traces(settings: TrainSettings) -> list[Path]:
    """Return the files of the divided traces that a run asks for and does not name itself."""
    named = {Path(trace).stem for trace in settings.env.source.traces}
    names = load_splits().divided.traces if settings.divided_traces else ()
    return [data_folder() / "demand" / f"{name}.parquet" for name in names if name not in named]


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


@dataclass(frozen=True)
class Preparation:
    """Everything a run needs before it learns, whichever engine trains.

    Attributes:
        book: Rules.
        env: Environment to train in, its menu the rules' and its traces found.
        bank: Training worlds.
        ratios: Cost over reference of each rule on validation.
        best_rule: The lowest.
        advisor_name: Rule that the policy starts at; None for noise.
        advisor: The same as a policy.
        validation: Plays the model on the validation worlds and keeps the best.
        policy_onnx: Policy that training goes on from; None for none.
    """

    book: RuleBook
    env: EnvSettings
    bank: Bank
    ratios: dict[str, float]
    best_rule: str
    advisor_name: str | None
    advisor: Policy | None
    validation: ValidationCallback
    policy_onnx: bytes | None

    @property
    def task(self) -> TaskSettings:
        """Action, observation and reward settings."""
        return self.env.task


def prepare(
    settings: TrainSettings, folder: Path, *, report: Callable[[int, float], bool] | None = None
) -> Preparation:
    """Make the worlds of a run, play the rules on validation and name the one to start at; writes nothing.

    Raises:
        ValueError: The worlds cannot be made.
        BundleError: The bundle to start from cannot be loaded.
    """
    book = settings.rule_book()
    task = book.task(settings.env.task)
    env = with_divided_traces(settings).model_copy(update={"task": task})
    source = validating(env.source)
    validation_bank = make_bank(source, task)
    windows = random_windows(validation_bank, settings.validation_windows, settings.validation_days, seed=0)
    played = {rule.name: play(book.policy(rule.name, task), validation_bank, task, windows) for rule in book.rules}
    ratios = {name: cost_ratio(item) for name, item in played.items()}
    best_rule = min(ratios, key=ratios.__getitem__)
    bundle = None if settings.start_from is None else load_bundle(settings.start_from)
    named = best_rule if settings.advisor == BEST else settings.advisor
    if bundle is not None:
        named = bundle.advisor
    advisor = None if named is None else book.policy(named, task)
    validation = ValidationCallback(
        validation_bank,
        task,
        windows,
        codec=training_codec(task, settings.ppo, advisor),
        rule=played[best_rule],
        bound_usd=bound_usd(validation_bank, windows),
        every_rollouts=settings.validate_every,
        save_best=lambda model: save_model(model, folder / BEST_FILE),
        tape_sources=tape_sources(source),
        report=report,
    )
    return Preparation(
        book,
        env,
        make_bank(env.source, task),
        ratios,
        best_rule,
        named,
        advisor,
        validation,
        None if bundle is None else bundle.policy_onnx,
    )


def write_beginning(folder: Path, settings: TrainSettings, prepared: Preparation, seed: int) -> None:
    """Write what a run is made from into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_record(folder, config=settings.model_dump(mode="json"), seed=seed)
    write_json(folder / CONFIG_FILE, settings.model_dump(mode="json"))
    save_rules(prepared.book, folder / RULES_NAME)


def write_validation(folder: Path, prepared: Preparation) -> None:
    """Write what validation found: the rules' ratios and the model's at each validation."""
    history = prepared.validation.history
    write_json(
        folder / VALIDATION_FILE,
        {
            "best_rule": prepared.best_rule,
            "advisor": prepared.advisor_name,
            "rules": prepared.ratios,
            "replayed": [Path(trace).stem for trace in prepared.env.source.traces],
            "history": [{"timesteps": n, "total_over_reference": r, "bad_fraction": b} for n, r, b in history],
        },
    )


def run_training(
    settings: TrainSettings,
    folder: Path,
    *,
    seed: int,
    resume: bool = False,
    show: Callable[[int], None] = lambda _: None,
    report: Callable[[int, float], bool] | None = None,
) -> tuple[PPO, TaskSettings, RuleBook, str]:
    """Train into a folder; return the model that is best on validation, its task, the rules and the best rule.

    The folder holds ``config.json``, ``rules.json``, checkpoints (``model.zip``, ``state.json``), ``best.zip``,
    ``validation.json`` and TensorBoard curves, and where the run began by imitation, ``imitation.json`` and the
    teacher's decisions; an interrupted run goes on with ``resume``. ``report`` is told decisions and cost over
    reference of every validation and ends training by returning True.

    Raises:
        FileNotFoundError: ``resume`` without a checkpoint.
        ValueError: The checkpoint belongs to other settings, or the worlds cannot be made.
    """
    prepared = prepare(settings, folder, report=report)

    def start(model: PPO) -> None:
        if prepared.policy_onnx is not None:
            load_weights(model, prepared.policy_onnx)
        teacher = settings.ppo.imitate
        if teacher is not None:
            decisions = teacher.folder or folder / DEMONSTRATIONS
            blocks = gather(teacher, prepared.env, prepared.book, prepared.bank, decisions)
            codec = training_codec(prepared.task, settings.ppo, prepared.advisor)
            write_json(folder / IMITATION_FILE, asdict(imitate(model, codec, blocks, teacher, seed=seed)))

    run = TrainingRun(folder, prepared.env, settings.ppo, prepared.bank, seed, prepared.advisor)
    if resume:
        run.checkpoint_state()
    write_beginning(folder, settings, prepared, seed)
    progress = ProgressCallback(show, settings.max_minutes)
    model = run.train(resume=resume, validation=prepared.validation, extra=progress, prepare=start)
    write_validation(folder, prepared)
    model.set_parameters(str(folder / BEST_FILE), device="cpu")
    return model, prepared.task, prepared.book, prepared.best_rule


def export_run(folder: Path, out: Path) -> float:
    """Export the model of a run that was best on validation; return the largest difference of logits.

    Raises:
        FileNotFoundError: The folder holds no finished run.
        ExportError: The exported policy differs from the trained one.
        BundleError: The bundle is too large.
    """
    settings, book, validation, seed = _finished(folder)
    return export_bundle(
        load_model(folder / BEST_FILE, settings.ppo),
        book.task(settings.env.task),
        book,
        out,
        best_rule=validation["best_rule"],
        advisor=validation["advisor"],
        masks=settings.ppo.permitted,
        card=model_card(settings.model_dump(mode="json"), book.calibration, {seed: validation}),
        seeds=[seed],
    )


def run_card(folders: Sequence[Path]) -> str:
    """Return the model card of the mean of several runs of one training.

    Raises:
        FileNotFoundError: A folder holds no finished run.
    """
    runs = [_finished(folder) for folder in folders]
    settings, book, _, _ = runs[0]
    validations = {seed: validation for _, _, validation, seed in runs}
    return model_card(settings.model_dump(mode="json"), book.calibration, validations)


def _finished(folder: Path) -> tuple[TrainSettings, RuleBook, dict[str, Any], int]:
    """Return a finished run's settings, rules, content of ``validation.json`` and seed."""
    for name in (CONFIG_FILE, RULES_NAME, BEST_FILE, VALIDATION_FILE):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing: not a finished training run")
    settings = TrainSettings.model_validate_json((folder / CONFIG_FILE).read_text())
    validation = json.loads((folder / VALIDATION_FILE).read_text())
    record = json.loads((folder / RECORD_FILE).read_text())
    return settings, load_rules(folder / RULES_NAME), validation, int(record["seed"])
