"""A model that goes on from a bundle's policy is that policy."""

from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO
from torch_export import exporting

from agents.averaging import mean_policy
from agents.export import export_policy
from agents.ppo import PPOSettings, make_model
from agents.rules import RuleBook
from agents.warm_start import load_weights
from envs.settings import EnvSettings
from simulators.bank import Bank


def model_of(settings: EnvSettings, ppo: PPOSettings, bank: Bank, book: RuleBook, seed: int) -> PPO:
    model = make_model(settings, ppo, bank=bank, advisor=book.policy("spot-hedge", settings.task), seed=seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.fixture
def policy_onnx(settings: EnvSettings, tiny_ppo: PPOSettings, bank: Bank, book: RuleBook, tmp_path: Path) -> bytes:
    model = model_of(settings, tiny_ppo, bank, book, seed=1)
    torch.save(dict(model.policy.named_parameters()), tmp_path / "weights.pt")
    with exporting():
        export_policy(model, "schema", tmp_path / "policy.onnx")
    return (tmp_path / "policy.onnx").read_bytes()


def test_every_weight_is_the_exported_one(
    settings: EnvSettings, tiny_ppo: PPOSettings, bank: Bank, book: RuleBook, policy_onnx: bytes, tmp_path: Path
) -> None:
    expected = torch.load(tmp_path / "weights.pt")
    model = model_of(settings, tiny_ppo, bank, book, seed=2)
    sigma = model.policy.action_net.scale_sigma.clone()  # type: ignore[union-attr, operator]
    assert not all(torch.equal(value, expected[name]) for name, value in model.policy.named_parameters())
    load_weights(model, policy_onnx)
    for name, value in model.policy.named_parameters():
        assert torch.equal(value, expected[name]), name
    assert torch.equal(model.policy.action_net.scale_sigma, sigma)  # type: ignore[union-attr, arg-type]


def test_training_goes_on_from_the_first_of_a_mean(
    settings: EnvSettings, tiny_ppo: PPOSettings, bank: Bank, book: RuleBook, policy_onnx: bytes, tmp_path: Path
) -> None:
    expected = torch.load(tmp_path / "weights.pt")
    other, model = (model_of(settings, tiny_ppo, bank, book, seed=seed) for seed in (2, 3))
    with exporting():
        export_policy(other, "schema", tmp_path / "other.onnx")
    load_weights(model, mean_policy([policy_onnx, (tmp_path / "other.onnx").read_bytes()]))
    for name, value in model.policy.named_parameters():
        assert torch.equal(value, expected[name]), name


def test_another_network_is_refused_by_name(
    settings: EnvSettings, tiny_ppo: PPOSettings, bank: Bank, book: RuleBook, policy_onnx: bytes
) -> None:
    wide = tiny_ppo.model_copy(update={"hidden": 2 * tiny_ppo.hidden})
    with pytest.raises(ValueError, match=r"policy_net\.0\.weight' in shape .*; expected"):
        load_weights(model_of(settings, wide, bank, book, seed=2), policy_onnx)
    plain = make_model(settings, tiny_ppo, bank=bank, advisor=None, seed=0)
    with pytest.raises(ValueError, match="has no weight"):
        load_weights(plain, policy_onnx)
