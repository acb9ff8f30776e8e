"""Observations of several decisions side by side."""

from pathlib import Path

import numpy as np
import pytest

from agents.advice import make_codec
from agents.experiment import TrainSettings, export_run, run_training
from agents.export import ExportError
from agents.ppo import PPOSettings, make_model, training_codec
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from agents.stacking import StackedCodec
from agents.trained import TorchPolicy, stacked_for
from envs.settings import EnvSettings
from simulators.bank import Bank


@pytest.fixture(scope="module")
def stacked_ppo(tiny_ppo: PPOSettings) -> PPOSettings:
    return tiny_ppo.model_copy(update={"stack": 3})


def test_stacks_are_those_that_training_sees(
    settings: EnvSettings, book: RuleBook, bank: Bank, stacked_ppo: PPOSettings
) -> None:
    rule = book.policy("spot-hedge", settings.task)
    env = make_model(settings, stacked_ppo, bank=bank, advisor=rule, seed=0).env
    assert env is not None
    encoder = StackedCodec(training_codec(settings.task, stacked_ppo, rule), 3)
    assert encoder.space.shape == env.observation_space.shape
    episodes = env.get_attr("episodes")[0]
    np.testing.assert_array_equal(env.reset(), encoder.encode(episodes.fleets.readings))
    rng = np.random.default_rng(0)
    for _ in range(3):  # no first episode is over so soon
        actions = np.column_stack([rng.integers(0, size, 8) for size in env.action_space.nvec])  # type: ignore[attr-defined]
        observations, _, dones, _ = env.step(actions)
        assert not dones.any()
        np.testing.assert_array_equal(observations, encoder.encode(episodes.fleets.readings))
    features = encoder.space.shape[0] // 3
    assert (observations[:, :features] != observations[:, -features:]).any(axis=1).all()  # type: ignore[index]


def test_a_stack_keeps_to_its_fleets(settings: EnvSettings, bank: Bank) -> None:
    env = make_model(settings, PPOSettings(n_envs=4, n_steps=4, batch_size=16), bank=bank, advisor=None, seed=0).env
    assert env is not None
    env.reset()
    readings = env.get_attr("episodes")[0].fleets.readings
    encoder = StackedCodec(make_codec(settings.task, None), 2)
    first = encoder.encode(readings)
    features = first.shape[1] // 2
    assert (first[:, :features] == 0.0).all()
    with pytest.raises(ValueError, match="stacks of 4 fleets, got readings of 2"):
        encoder.encode(readings[:2])
    second = encoder.encode(readings)
    np.testing.assert_array_equal(second[:, :features], first[:, features:])


@pytest.mark.parametrize("change", [{}, {"masks": True}, {"continuous": True}])
def test_the_first_stacked_policy_is_the_rule_it_starts_from(
    settings: EnvSettings, book: RuleBook, bank: Bank, stacked_ppo: PPOSettings, change: dict[str, bool]
) -> None:
    ppo = stacked_ppo.model_copy(update=change)
    rule = book.policy("spot-hedge", settings.task)
    model = make_model(settings, ppo, bank=bank, advisor=rule, seed=0)
    windows = random_windows(bank, 3, 1, seed=5)
    theirs = play(rule, bank, settings.task, windows)
    ours = play(TorchPolicy(model, training_codec(settings.task, ppo, rule)), bank, settings.task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)


def test_the_unit_of_a_shift_is_the_present_desired_capacity(
    settings: EnvSettings, book: RuleBook, bank: Bank, stacked_ppo: PPOSettings
) -> None:
    rule = book.policy("spot-hedge", settings.task)
    model = make_model(settings, stacked_ppo, bank=bank, advisor=rule, seed=0)
    features = model.policy.extract_features(model.policy.obs_to_tensor(model.env.reset())[0])  # type: ignore[union-attr, arg-type]
    latent = model.policy.mlp_extractor.forward_actor(features)  # type: ignore[arg-type]
    desired = model.env.get_attr("episodes")[0].fleets.readings["desired"]  # type: ignore[union-attr]
    np.testing.assert_allclose(latent[:, -5].detach().numpy(), desired, rtol=1e-5)


def test_a_model_of_other_observations_is_refused(
    settings: EnvSettings, book: RuleBook, bank: Bank, stacked_ppo: PPOSettings
) -> None:
    rule = book.policy("spot-hedge", settings.task)
    model = make_model(settings, stacked_ppo, bank=bank, advisor=rule, seed=0)
    with pytest.raises(ValueError, match="the model was made for observations of shape"):
        stacked_for(model, make_codec(settings.task, None))


def test_a_stacked_run_trains_validates_and_is_not_exported(
    train_settings: TrainSettings, stacked_ppo: PPOSettings, tmp_path: Path
) -> None:
    settings = train_settings.model_copy(update={"ppo": stacked_ppo})
    run_training(settings, tmp_path / "run", seed=1)
    with pytest.raises(ExportError, match="stacked observations cannot be exported"):
        export_run(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    assert not (tmp_path / "bundle.part").exists()
