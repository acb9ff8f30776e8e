import json
import shutil
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from torch_export import exporting

from agents.averaging import average_bundles
from agents.experiment import BEST_FILE, TrainSettings, export_run, run_training
from agents.ppo import PPOSettings, save_model
from agents.rules import RuleBook, load_rules
from envs.settings import EnvSettings, TaskSettings, WorldSource
from envs.worlds import make_bank
from simulators.bank import Bank
from telemetry.provenance import RECORD_FILE, write_json

SOURCE = WorldSource(patterns=("bursty", "diurnal"), days=2, scenarios_per_source=1, markets=2, mean_instances=6)


@pytest.fixture(scope="session")
def book() -> RuleBook:
    return load_rules()


@pytest.fixture(scope="session")
def task(book: RuleBook) -> TaskSettings:
    return book.task(TaskSettings())


@pytest.fixture(scope="session")
def settings(task: TaskSettings) -> EnvSettings:
    return EnvSettings(task=task, source=SOURCE)


@pytest.fixture(scope="session")
def bank(settings: EnvSettings) -> Bank:
    return make_bank(settings.source, settings.task)


@pytest.fixture(scope="session")
def tiny_ppo() -> PPOSettings:
    """A few hundred decisions."""
    return PPOSettings(n_timesteps=512, n_envs=8, n_steps=16, batch_size=64, n_epochs=2, hidden=16)


@pytest.fixture(scope="session")
def train_settings(tiny_ppo: PPOSettings) -> TrainSettings:
    return TrainSettings(
        env=EnvSettings(source=SOURCE), ppo=tiny_ppo, validation_windows=2, validation_days=1, validate_every=2
    )


@pytest.fixture(scope="session")
def run_folder(train_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished, very short training run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_training(train_settings, folder, seed=3)
    return folder


@pytest.fixture(scope="session")
def bundle_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run; tests that change a bundle copy it first."""
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    with exporting():
        export_run(run_folder, folder)
    return folder


@pytest.fixture(scope="session")
def other_run_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another seed of the same training, which asks for more instances than the first."""
    folder = tmp_path_factory.mktemp("other_runs") / "run"
    shutil.copytree(run_folder, folder)
    model = PPO.load(folder / BEST_FILE, device="cpu")
    with torch.no_grad():
        model.policy.action_net.linear.bias[0] += 2.0
    save_model(model, folder / BEST_FILE)
    record = json.loads((folder / RECORD_FILE).read_text())
    write_json(folder / RECORD_FILE, record | {"seed": 8})
    return folder


@pytest.fixture(scope="session")
def other_folder(other_run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that run."""
    folder = tmp_path_factory.mktemp("other_bundles") / "bundle"
    with exporting():
        export_run(other_run_folder, folder)
    return folder


@pytest.fixture(scope="session")
def mean_folder(bundle_folder: Path, other_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mean of the two bundles."""
    folder = tmp_path_factory.mktemp("means") / "bundle"
    average_bundles([bundle_folder, other_folder], folder, "# A mean\n")
    return folder
