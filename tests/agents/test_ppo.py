import json
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from agents.advice import make_codec
from agents.bundle import load_bundle
from agents.experiment import BEST_FILE, VALIDATION_FILE, TrainSettings, run_training
from agents.policies import ConstantPolicy
from agents.ppo import MODEL_FILE, STATE_FILE, PPOSettings, TrainingRun, make_model
from agents.rollout import cost_ratio, play, random_windows
from agents.rules import RuleBook, load_rules
from agents.trained import TorchPolicy
from envs.action import action_space
from envs.observation import ObservationCodec
from envs.settings import EnvSettings, TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank


@pytest.mark.parametrize("name", ["spot-hedge", "aws-best-practice", "forecast", "target-tracking-cpu"])
def test_the_first_policy_is_the_rule_it_starts_from(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, name: str
) -> None:
    rule = book.policy(name, settings.task)
    model = make_model(settings, tiny_ppo, bank=bank, advisor=rule, seed=0)
    windows = random_windows(bank, 4, 1, seed=5)
    theirs = play(rule, bank, settings.task, windows)
    ours = play(TorchPolicy(model, make_codec(settings.task, rule)), bank, settings.task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)


def test_runs_of_neighbouring_seeds_share_no_episode(settings: EnvSettings, bank: Bank, tiny_ppo: PPOSettings) -> None:
    seen: list[set[int]] = []
    for seed in (0, 1, 2):
        model = make_model(settings, tiny_ppo, bank=bank, advisor=None, seed=seed)
        model.env.reset()  # type: ignore[union-attr]
        fleets = model.env.get_attr("episodes")[0].fleets  # type: ignore[union-attr]
        seen.append(set(fleets.state["seed"].tolist()))
    assert [len(item) for item in seen] == [tiny_ppo.n_envs] * 3
    assert len(set.union(*seen)) == 3 * tiny_ppo.n_envs


def trained(
    folder: Path, settings: EnvSettings, ppo: PPOSettings, book: RuleBook, bank: Bank, seed: int = 0
) -> dict[str, torch.Tensor]:
    model = TrainingRun(folder, settings, ppo, bank, seed, book.policy("spot-hedge", settings.task)).train()
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_one_seed_trains_the_same_parameters_twice(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    first = trained(tmp_path / "a", settings, tiny_ppo, book, bank)
    assert equal(first, trained(tmp_path / "b", settings, tiny_ppo, book, bank))
    assert not equal(first, trained(tmp_path / "c", settings, tiny_ppo, book, bank, seed=1))


class Interrupting(BaseCallback):
    """Presses control-C after some decisions."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._at:
            raise KeyboardInterrupt
        return True


def test_an_interrupted_run_goes_on_where_it_was_stopped(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    advisor = book.policy("spot-hedge", settings.task)
    run = TrainingRun(tmp_path, settings, tiny_ppo, bank, 0, advisor)
    with pytest.raises(KeyboardInterrupt):
        run.train(extra=Interrupting(200))
    state = json.loads((tmp_path / STATE_FILE).read_text())
    assert 200 <= state["num_timesteps"] < 256
    stopped = PPO.load(tmp_path / MODEL_FILE, device="cpu").policy.state_dict()
    fresh = make_model(settings, tiny_ppo, bank=bank, advisor=advisor, seed=0).policy.state_dict()
    assert not equal(stopped, fresh), "one update had been made"

    seen: list[tuple[int, float]] = []

    class Watching(BaseCallback):
        def _on_training_start(self) -> None:
            assert equal(self.model.policy.state_dict(), stopped)

        def _on_rollout_start(self) -> None:
            seen.append((self.num_timesteps, self.model._current_progress_remaining))

        def _on_step(self) -> bool:
            return True

    model = TrainingRun(tmp_path, settings, tiny_ppo, bank, 0, advisor).train(resume=True, extra=Watching())
    assert seen[0][0] == state["num_timesteps"]
    assert all(0.0 <= left <= 1.0 for _, left in seen)
    assert model.num_timesteps >= tiny_ppo.n_timesteps
    assert json.loads((tmp_path / STATE_FILE).read_text())["num_timesteps"] == model.num_timesteps


def test_a_finished_run_has_nothing_left_to_do(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    first = trained(tmp_path, settings, tiny_ppo, book, bank)
    advisor = book.policy("spot-hedge", settings.task)
    model = TrainingRun(tmp_path, settings, tiny_ppo, bank, 0, advisor).train(resume=True)
    assert equal(first, model.policy.state_dict())


@pytest.mark.parametrize("what", ["seed", "ppo", "settings"])
def test_a_run_of_other_settings_is_not_resumed(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path, what: str
) -> None:
    trained(tmp_path, settings, tiny_ppo, book, bank)
    before = (tmp_path / MODEL_FILE).read_bytes()
    seed = 1 if what == "seed" else 0
    ppo = tiny_ppo.model_copy(update={"gamma": 0.9}) if what == "ppo" else tiny_ppo
    other = settings
    if what == "settings":
        other = settings.model_copy(update={"task": settings.task.model_copy(update={"rank_hysteresis": 0.2})})
    with pytest.raises(ValueError, match=f"trained with another {what}"):
        TrainingRun(tmp_path, other, ppo, bank, seed, None).train(resume=True)
    assert (tmp_path / MODEL_FILE).read_bytes() == before


def test_resuming_nothing_is_refused(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        TrainingRun(tmp_path, settings, tiny_ppo, bank, 0, None).train(resume=True)


def test_a_run_folder_holds_what_made_it(run_folder: Path, train_settings: TrainSettings) -> None:
    names = {path.name for path in run_folder.iterdir()}
    assert {"config.json", "rules.json", "record.json", "model.zip", "state.json", BEST_FILE, "tensorboard"} <= names
    assert not [name for name in names if "tmp" in name or "part" in name]
    assert TrainSettings.model_validate_json((run_folder / "config.json").read_text()) == train_settings
    record = json.loads((run_folder / "record.json").read_text())
    assert record["seed"] == 3
    assert record["versions"]["torch"] == torch.__version__
    validation = json.loads((run_folder / VALIDATION_FILE).read_text())
    assert validation["best_rule"] == min(validation["rules"], key=lambda name: validation["rules"][name])
    assert [item["timesteps"] for item in validation["history"]] == [0, 256, 512]
    text = (run_folder / "tensorboard" / "progress.csv").read_text()
    assert "validation/gap_closed" in text.splitlines()[0]
    assert "train/loss" in text.splitlines()[0]


def test_the_curves_of_a_run_are_those_of_its_episodes(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    whole_days = tiny_ppo.model_copy(update={"n_timesteps": 8 * 320, "n_steps": 320})
    trained(tmp_path, settings, whole_days, book, bank)
    header, row = (line.split(",") for line in (tmp_path / "tensorboard" / "progress.csv").read_text().splitlines()[:2])
    curve = dict(zip(header, row, strict=True))
    total = float(curve["cost/infra_over_reference"]) + float(curve["cost/penalty_over_reference"])
    assert float(curve["cost/total_over_reference"]) == pytest.approx(total, rel=1e-4)
    terms = float(curve["reward/cost_savings"]) + float(curve["reward/sla_compliance"])
    assert terms == pytest.approx(-total, rel=0.1)
    assert float(curve["rollout/return"]) < 0.0
    assert 0.0 <= float(curve["slo/bad_minutes_percent"]) <= 100.0


def test_training_keeps_the_model_that_was_best_on_validation(
    run_folder: Path, train_settings: TrainSettings, task: TaskSettings
) -> None:
    history = json.loads((run_folder / VALIDATION_FILE).read_text())["history"]
    source = train_settings.env.source.model_copy(update={"split": "validate"})
    validation = make_bank(source, task)
    windows = random_windows(validation, 2, 1, seed=0)
    best = PPO.load(run_folder / BEST_FILE, device="cpu")
    rule = load_rules().policy(json.loads((run_folder / VALIDATION_FILE).read_text())["advisor"], task)
    again = cost_ratio(play(TorchPolicy(best, make_codec(task, rule)), validation, task, windows))
    assert again == pytest.approx(min(item["total_over_reference"] for item in history), rel=1e-9)


@pytest.mark.slow
def test_ppo_learns_a_small_steady_world_from_nothing(tmp_path: Path, task: TaskSettings) -> None:
    source = WorldSource(patterns=("steady",), days=2, scenarios_per_source=1, markets=1, mean_instances=6)
    settings = TrainSettings(
        env=EnvSettings(source=source),
        ppo=PPOSettings(n_timesteps=60_000, n_envs=32, n_steps=64, batch_size=512, learning_rate=1e-3, hidden=32),
        advisor=None,
        validation_windows=4,
        validation_days=1,
        validate_every=100,
    )
    model, own, _, _ = run_training(settings, tmp_path / "run", seed=0)
    history = json.loads((tmp_path / "run" / VALIDATION_FILE).read_text())["history"]
    bank = make_bank(source, own)
    windows = random_windows(bank, 16, 1, seed=1)
    rng = np.random.default_rng(0)
    uniform = np.column_stack([rng.integers(0, size, len(windows)) for size in action_space(own).nvec])
    learned = cost_ratio(play(TorchPolicy(model, ObservationCodec(own)), bank, own, windows))
    drawn = cost_ratio(play(ConstantPolicy(uniform), bank, own, windows))
    assert history[-1]["total_over_reference"] < 0.7 * history[0]["total_over_reference"]
    assert learned < 0.7 * drawn


def test_the_exported_policy_plays_like_the_trained_one(
    bundle_folder: Path, run_folder: Path, task: TaskSettings, bank: Bank
) -> None:
    model = PPO.load(run_folder / BEST_FILE, device="cpu")
    windows = random_windows(bank, 3, 1, seed=4)
    bundle = load_bundle(bundle_folder)
    ours = play(TorchPolicy(model, bundle.codec()), bank, task, windows)
    theirs = play(bundle.policy(), bank, task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)
