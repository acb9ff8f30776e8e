import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from torch_export import exporting

from agents.bundle import load_bundle
from agents.experiment import BEST_FILE, VALIDATION_FILE, TrainSettings, export_run
from agents.export import check_parity
from agents.ppo import MODEL_FILE, STATE_FILE, PPOSettings, make_model
from agents.rules import RuleBook
from envs.action import action_space
from envs.settings import EnvSettings, TaskSettings
from envs.worlds import make_bank

pytest.importorskip("ray", reason="Ray is not installed: pip install --editable '.[serve,train,scale]' elsewhere")

from ray.rllib.core.columns import Columns

from agents.rllib import (
    CHECKPOINT_FOLDER,
    Cluster,
    FleetRunner,
    PolicyModule,
    Recipe,
    algorithm_config,
    ray_session,
    run_rllib_training,
)

ROOT = Path(__file__).resolve().parents[2]
TWO = Cluster(os.environ.get("RAY_ADDRESS"), workers=2)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def recipe(settings: EnvSettings, tiny_ppo: PPOSettings, book: RuleBook) -> Recipe:
    return Recipe(settings, tiny_ppo, book.policy("spot-hedge", settings.task), seed=0, first_seed=0)


@pytest.fixture(scope="module")
def module(recipe: Recipe) -> PolicyModule:
    policy = recipe.model(1).policy
    return PolicyModule(
        observation_space=policy.observation_space,
        action_space=policy.action_space,
        model_config={"recipe": recipe},
    )


@pytest.fixture(scope="module")
def finished(train_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A very short run on two workers, and how far it said it was."""
    folder = tmp_path_factory.mktemp("rllib") / "run"
    shown: list[int] = []
    run_rllib_training(train_settings, folder, seed=3, cluster=TWO, show=shown.append)
    return folder, shown


def test_the_module_is_the_policy_of_stable_baselines3(recipe: Recipe, module: PolicyModule) -> None:
    model = recipe.model(6)
    observations = model.env.reset()  # type: ignore[union-attr]
    batch = {Columns.OBS: torch.as_tensor(observations)}
    assert isinstance(module, PolicyModule)
    module.policy.load_state_dict(model.policy.state_dict())
    out = module.forward_inference(batch)
    chosen = module.get_inference_action_dist_cls().from_logits(out[Columns.ACTION_DIST_INPUTS]).to_deterministic()
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(chosen.sample().numpy(), expected)
    tried = module.forward_exploration(batch)
    values, log_probability, _ = model.policy.evaluate_actions(batch[Columns.OBS], tried[Columns.ACTIONS])
    torch.testing.assert_close(tried[Columns.ACTION_LOGP], log_probability.detach())
    torch.testing.assert_close(module.compute_values(batch), values.squeeze(-1))
    distribution = module.get_train_action_dist_cls().from_logits(tried[Columns.ACTION_DIST_INPUTS])
    torch.testing.assert_close(distribution.logp(tried[Columns.ACTIONS]), log_probability.detach())


def test_the_workers_together_play_the_fleets_of_one_batch(recipe: Recipe) -> None:
    whole = recipe.model(4).env.episodes  # type: ignore[union-attr]
    whole.seed(np.arange(4, dtype=np.uint64))
    whole.begin(np.arange(4))
    halves = [recipe.environment(2, worker) for worker in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([half.reset()[0] for half in halves]), whole.observe())


def test_a_worker_whose_policy_does_not_explore_plays_the_advising_rule(recipe: Recipe) -> None:
    runner = FleetRunner(config=algorithm_config(recipe, 2), worker_index=1)
    played = runner.sample(num_timesteps=1200, explore=False)
    assert sum(len(episode) for episode in played) >= 1200
    assert max(np.abs(episode.get_rewards()).max() for episode in played) == 0.0


def test_a_worker_records_the_probability_of_what_it_did(recipe: Recipe) -> None:
    runner = FleetRunner(config=algorithm_config(recipe, 2), worker_index=1)
    played = [*runner.sample(num_timesteps=600), *runner.sample(num_timesteps=600)]
    assert any(episode.is_done for episode in played)
    assert max(np.abs(episode.get_rewards()).max() for episode in played) > 0.0
    for episode in played:
        observations = torch.as_tensor(np.asarray(episode.get_observations(slice(0, len(episode)))))
        actions = torch.as_tensor(np.asarray(episode.get_actions()))
        _, expected, _ = runner.module.policy.evaluate_actions(observations, actions)
        found = np.asarray(episode.get_extra_model_outputs(Columns.ACTION_LOGP))
        np.testing.assert_allclose(found, expected.detach().numpy(), atol=1e-4)


def test_a_setting_without_counterpart_is_refused_by_name(recipe: Recipe) -> None:
    with pytest.raises(ValueError, match=r"ppo\.n_envs: 8 fleets cannot be divided among 3 workers"):
        algorithm_config(recipe, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("constraints", {"launches": {"limit": 1.0}}),
        ("masks", True),
        ("continuous", True),
        ("stack", 2),
        ("imitate", {"policy": "static"}),
    ],
)
def test_what_only_the_other_engine_does_is_refused_before_anything_is_made(
    train_settings: TrainSettings, tmp_path: Path, name: str, value: object
) -> None:
    ppo = PPOSettings.model_validate(train_settings.ppo.model_dump() | {name: value})
    settings = train_settings.model_copy(update={"ppo": ppo})
    with pytest.raises(ValueError, match=rf"ppo\.{name}: not available with RLlib"):
        run_rllib_training(settings, tmp_path / "run", seed=0, cluster=TWO)
    assert not (tmp_path / "run").exists()


def test_a_run_has_the_folder_of_any_run(finished: tuple[Path, list[int]], train_settings: TrainSettings) -> None:
    folder, shown = finished
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "rules.json", "record.json", MODEL_FILE, STATE_FILE, BEST_FILE, "tensorboard"} <= names
    assert not [name for name in names if "tmp" in name or "part" in name]
    assert shown == sorted(shown)
    assert shown[-1] >= train_settings.ppo.n_timesteps
    history = json.loads((folder / VALIDATION_FILE).read_text())["history"]
    assert history[0]["timesteps"] == 0
    assert history[-1]["timesteps"] == shown[-1]
    header = (folder / "tensorboard" / "progress.csv").read_text().splitlines()[0]
    assert "validation/gap_closed" in header
    assert "train/policy_gradient_loss" in header


def test_the_bundle_does_what_the_trained_module_does(
    finished: tuple[Path, list[int]], recipe: Recipe, module: PolicyModule, task: TaskSettings, tmp_path: Path
) -> None:
    folder, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    shutil.copyfile(folder / MODEL_FILE, copy / BEST_FILE)
    with exporting():
        export_run(copy, tmp_path / "bundle")
    exported = load_bundle(tmp_path / "bundle").policy()
    last = PPO.load(folder / MODEL_FILE, device="cpu")
    assert check_parity(last, (tmp_path / "bundle" / "policy.onnx").read_bytes(), task) < 1e-4
    module.restore_from_path(
        str(folder / CHECKPOINT_FOLDER / "learner_group" / "learner" / "rl_module" / "default_policy")
    )
    observations = recipe.model(64).env.reset()  # type: ignore[union-attr]
    out = module.forward_inference({Columns.OBS: torch.as_tensor(observations)})
    ours = [part.argmax(axis=1) for part in exported.parts(exported.logits(observations))]
    sizes = action_space(task).nvec.tolist()
    theirs = [part.argmax(dim=1).numpy() for part in out[Columns.ACTION_DIST_INPUTS].split(sizes, dim=1)]
    np.testing.assert_array_equal(np.stack(ours), np.stack(theirs))


def test_training_moves_every_network(finished: tuple[Path, list[int]], recipe: Recipe) -> None:
    folder, _ = finished
    first = make_model(
        recipe.settings,
        recipe.ppo,
        bank=make_bank(recipe.settings.source, recipe.settings.task),
        advisor=recipe.advisor,
        seed=3,
    ).policy.state_dict()
    last = PPO.load(folder / MODEL_FILE, device="cpu").policy.state_dict()
    assert first.keys() == last.keys()
    still = [name for name in first if torch.equal(first[name], last[name])]
    assert not still


def test_a_run_goes_on_from_its_checkpoint(
    finished: tuple[Path, list[int]], train_settings: TrainSettings, tmp_path: Path
) -> None:
    folder, shown = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    longer = train_settings.model_copy(update={"ppo": train_settings.ppo.model_copy(update={"n_timesteps": 640})})
    further: list[int] = []
    run_rllib_training(longer, copy, seed=3, cluster=TWO, resume=True, show=further.append)
    assert len(further) == 1
    assert further[0] >= 640 > shown[-1]
    state = json.loads((copy / STATE_FILE).read_text())
    assert state["num_timesteps"] == further[0]
    assert state["validation"]["history"][-1][0] == further[0]
    curves = (copy / "tensorboard" / f"progress_from_{shown[-1]}.csv").read_text().splitlines()
    row = dict(zip(curves[0].split(","), curves[1].split(","), strict=True))
    assert float(row["train/learning_rate"]) < train_settings.ppo.learning_rate / 2

    other = longer.model_copy(update={"ppo": longer.ppo.model_copy(update={"gamma": 0.9})})
    with pytest.raises(ValueError, match="trained with another ppo"):
        run_rllib_training(other, copy, seed=3, cluster=TWO, resume=True)
    with pytest.raises(ValueError, match="trained with another seed"):
        run_rllib_training(longer, copy, seed=4, cluster=TWO, resume=True)
    shutil.rmtree(copy / CHECKPOINT_FOLDER)
    with pytest.raises(FileNotFoundError, match="no checkpoint of RLlib"):
        run_rllib_training(longer, copy, seed=3, cluster=TWO, resume=True)


def test_an_unreachable_cluster_is_one_line_and_no_folder(train_settings: TrainSettings, tmp_path: Path) -> None:
    nowhere = Cluster("127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=r"--address 127\.0\.0\.1:1: no Ray cluster answers there"):
        run_rllib_training(train_settings, tmp_path / "run", seed=0, cluster=nowhere)
    assert time.monotonic() - started < 20.0
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConnectionError, match="no Ray cluster answers"), ray_session(nowhere):
        pass
    with pytest.raises(ValueError, match="expected HOST:PORT"), ray_session(Cluster("ray://somewhere:10001")):
        pass
