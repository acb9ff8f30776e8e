"""PPO with a Gaussian over the action box."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch_export import exporting

from agents.bundle import load_bundle
from agents.continuous import choice_logits
from agents.experiment import BEST_FILE, TrainSettings, export_run, run_training
from agents.ppo import PPOSettings, load_model, make_model, training_codec
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from agents.trained import TorchPolicy
from envs.action import action_space
from envs.box import ActionBox
from envs.settings import EnvSettings
from simulators.bank import Bank


@pytest.fixture(scope="module")
def continuous_ppo(tiny_ppo: PPOSettings) -> PPOSettings:
    return tiny_ppo.model_copy(update={"continuous": True})


@pytest.mark.parametrize("name", ["spot-hedge", "aws-best-practice", "forecast-cautious", "manual"])
def test_the_first_continuous_policy_is_the_rule_it_starts_from(
    settings: EnvSettings, book: RuleBook, bank: Bank, continuous_ppo: PPOSettings, name: str
) -> None:
    rule = book.policy(name, settings.task)
    model = make_model(settings, continuous_ppo, bank=bank, advisor=rule, seed=0)
    windows = random_windows(bank, 3, 1, seed=5)
    theirs = play(rule, bank, settings.task, windows)
    codec = training_codec(settings.task, continuous_ppo, rule)
    ours = play(TorchPolicy(model, codec), bank, settings.task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)


def test_training_strays_as_far_as_over_the_integers(
    settings: EnvSettings, book: RuleBook, bank: Bank, continuous_ppo: PPOSettings
) -> None:
    exploration = continuous_ppo.exploration
    rule = book.policy("forecast-cautious", settings.task)  # its choices lie away from the edges
    model = make_model(settings, continuous_ppo, bank=bank, advisor=rule, seed=0)
    box = model.action_space
    assert isinstance(box, ActionBox)
    observations = torch.as_tensor(model.env.reset()).repeat(1000, 1)  # type: ignore[union-attr]
    advised = np.round(observations[:, -4:].numpy() * (box.nvec - 1)).astype(np.int64)
    assert (advised[:, [0, 1, 3]] > 0).all()
    assert (advised[:, [0, 1, 3]] < box.nvec[[0, 1, 3]] - 1).all()
    model.policy._exploration = exploration.model_copy(update={"correlation": 0.0})  # type: ignore[assignment]
    with torch.no_grad():
        points, _, log_probability = model.policy(observations)
        again = model.policy.evaluate_actions(observations, points)[1]
    torch.testing.assert_close(log_probability, again)
    strayed = box.integers(points.numpy().clip(-1.0, 1.0)) - advised
    sizes = np.round(strayed[:, 0])
    assert np.abs(sizes.mean()) < 0.05
    assert sizes.var() == pytest.approx(exploration.scale_sigma**2 + 1.0 / 12.0, rel=0.1)
    assert (strayed[:, 1] != 0).mean() == pytest.approx(exploration.specification_share, rel=0.5)
    assert (strayed[:, 3] != 0).mean() == pytest.approx(exploration.policy_share, rel=0.3)
    assert (strayed[:, 2] != 0).mean() == pytest.approx(norm.sf(0.5 / exploration.spot_sigma), rel=0.2)


def test_noise_lasts(settings: EnvSettings, book: RuleBook, bank: Bank, continuous_ppo: PPOSettings) -> None:
    rule = book.policy("forecast-cautious", settings.task)
    model = make_model(settings, continuous_ppo, bank=bank, advisor=rule, seed=0)
    observations = torch.as_tensor(model.env.reset()).repeat(500, 1)  # type: ignore[union-attr]
    with torch.no_grad():
        first, second = (model.policy(observations)[0][:, 0].numpy() for _ in range(2))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(continuous_ppo.exploration.correlation, abs=0.02)


def test_the_best_logit_is_the_choice_of_the_point(settings: EnvSettings) -> None:
    box = ActionBox(action_space(settings.task).nvec)
    rng = np.random.default_rng(2)
    points = rng.uniform(-1.2, 1.2, (4000, 4)).astype(np.float32)
    sigma = np.array([0.03, 0.5, 0.1, 0.01], np.float32)
    logits = choice_logits(torch.as_tensor(points), torch.as_tensor(sigma), box).numpy()
    parts = np.split(logits, np.cumsum(box.nvec)[:-1], axis=1)
    best = np.stack([part.argmax(axis=1) for part in parts], axis=1)
    np.testing.assert_array_equal(best, box.integers(points.clip(-1.0, 1.0)))
    place = (points[0, 0] + 1.0) / 2.0 * 38
    expected = norm.logpdf(np.arange(39), place, 0.03 * 19)
    np.testing.assert_allclose(np.diff(parts[0][0]), np.diff(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "best"])
def test_a_continuous_run_is_exported_and_plays_the_same(
    train_settings: TrainSettings, continuous_ppo: PPOSettings, bank: Bank, tmp_path: Path, name: str | None
) -> None:
    settings = train_settings.model_copy(update={"ppo": continuous_ppo, "advisor": name})
    model, task, book, best_rule = run_training(settings, tmp_path / "run", seed=1)
    with exporting():
        export_run(tmp_path / "run", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    advisor = None if name is None else book.policy(best_rule, task)
    trained = load_model(tmp_path / "run" / BEST_FILE, continuous_ppo)
    windows = random_windows(bank, 3, 1, seed=4)
    codec = training_codec(task, continuous_ppo, advisor)
    ours = play(TorchPolicy(trained, codec), bank, task, windows)
    theirs = play(bundle.policy(), bank, task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)
    assert isinstance(model.action_space, ActionBox)
