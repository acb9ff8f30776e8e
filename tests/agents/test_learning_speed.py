"""The lean policy and buffer learn what stable-baselines3's do; how fast they are stays untested."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.lean_policy import JointCategorical, LeanPolicy
from agents.ppo import PPOSettings
from agents.rollout_buffer import GatheringRolloutBuffer
from agents.speed import ppo_speed, steps_from_defaults
from envs.sb3 import InfrastructureVecEnv
from envs.settings import EnvSettings
from simulators.bank import Bank

SIZES = [39, 9, 11, 12]


def logits_and_actions(rows: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = spread * torch.randn(rows, sum(SIZES), generator=generator)
    actions = [torch.randint(0, size, (rows,), generator=generator) for size in SIZES]
    return logits.requires_grad_(), torch.stack(actions, dim=1)


@pytest.mark.parametrize("spread", [0.1, 3.0, 60.0])
def test_values_and_gradients_are_those_of_separate_categoricals(spread: float) -> None:
    results = []
    for kind in (MultiCategoricalDistribution, JointCategorical):
        logits, actions = logits_and_actions(64, spread)
        distribution = kind(SIZES).proba_distribution(logits)
        log_prob, entropy = distribution.log_prob(actions), distribution.entropy()
        (log_prob * torch.linspace(-1, 1, 64) + 0.3 * entropy).sum().backward()
        assert logits.grad is not None
        results.append((log_prob.detach(), entropy.detach(), logits.grad, distribution.mode().float()))
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_parts_can_be_looked_at_one_by_one() -> None:
    logits, _ = logits_and_actions(8, 2.0)
    parts = JointCategorical(SIZES).proba_distribution(logits.detach()).distribution
    for part, own in zip(parts, logits.detach().split(SIZES, dim=1), strict=True):
        torch.testing.assert_close(part.probs, own.softmax(1))


def test_samples_come_as_often_as_their_probability_says() -> None:
    logits = logits_and_actions(1, 1.5)[0].detach()
    logits[0, [0, 38, 39 + 8]] = -200.0
    rows = 40_000
    torch.manual_seed(0)
    samples = JointCategorical(SIZES).proba_distribution(logits.expand(rows, -1)).sample()
    assert samples.shape == (rows, len(SIZES))
    for part, own in enumerate(logits.split(SIZES, dim=1)):
        expected = own.softmax(1)[0].numpy()
        seen = np.bincount(samples[:, part].numpy(), minlength=SIZES[part]) / rows
        assert (np.abs(seen - expected) <= 5 * np.sqrt(expected * (1 - expected) / rows)).all()
    pairs = np.corrcoef(samples.numpy().T)[np.triu_indices(len(SIZES), 1)]
    assert (np.abs(pairs) < 0.03).all(), "parts are drawn independently"


def filled(kind: type[RolloutBuffer]) -> RolloutBuffer:
    buffer = kind(5, Box(-1, 1, (3,), np.float32), MultiDiscrete(SIZES), device="cpu", n_envs=4)
    rng = np.random.default_rng(1)
    for _ in range(5):
        buffer.add(
            rng.random((4, 3), np.float32),
            rng.integers(0, SIZES, (4, 4)),
            rng.random(4),
            np.zeros(4),
            torch.from_numpy(rng.random((4, 1), np.float32)),
            torch.from_numpy(rng.random(4, np.float32)),
        )
    buffer.compute_returns_and_advantage(torch.zeros(4), np.zeros(4))
    return buffer


@pytest.mark.parametrize("batch_size", [6, 20, None])
def test_minibatches_are_those_of_the_parent(batch_size: int | None) -> None:
    batches = []
    for kind in (RolloutBuffer, GatheringRolloutBuffer):
        buffer = filled(kind)
        np.random.seed(3)  # noqa: NPY002  (the stream that stable-baselines3 seeds)
        batches.append([sample for _ in range(2) for sample in buffer.get(batch_size)])
    assert len(batches[0]) == len(batches[1])
    for theirs, ours in zip(*batches, strict=True):
        for name in theirs._fields:
            assert torch.equal(getattr(theirs, name), getattr(ours, name).to(getattr(theirs, name).dtype)), name


def test_a_buffer_that_is_not_full_is_refused() -> None:
    buffer = GatheringRolloutBuffer(5, Box(-1, 1, (3,), np.float32), MultiDiscrete(SIZES), device="cpu", n_envs=4)
    with pytest.raises(ValueError, match="holds 0 of 5 steps"):
        next(buffer.get())


def invert(distribution: MultiCategoricalDistribution) -> torch.Tensor:
    """Draw from separate categoricals as the joint distribution does."""
    draws = torch.rand(len(distribution.distribution), len(distribution.distribution[0].probs))
    parts = [part.probs.t().cumsum(0)[:-1] <= draw for part, draw in zip(distribution.distribution, draws, strict=True)]
    return torch.stack([part.sum(0) for part in parts], dim=1)


def small_model(
    settings: EnvSettings,
    bank: Bank,
    policy: str | type[ActorCriticPolicy] = LeanPolicy,
    buffer: type[RolloutBuffer] = GatheringRolloutBuffer,
) -> PPO:
    return PPO(
        policy,
        InfrastructureVecEnv(settings, 8, bank=bank),
        n_steps=32,
        batch_size=64,
        n_epochs=2,
        ent_coef=0.01,
        rollout_buffer_class=buffer,
        seed=4,
        device="cpu",
    )


def test_two_updates_end_where_those_of_stable_baselines3_do(
    settings: EnvSettings, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same random numbers behind the actions, which are the one thing that differs."""
    monkeypatch.setattr(MultiCategoricalDistribution, "sample", invert)
    parameters = []
    for policy, buffer in (("MlpPolicy", RolloutBuffer), (LeanPolicy, GatheringRolloutBuffer)):
        model = small_model(settings, bank, policy, buffer)
        first = {name: value.clone() for name, value in model.policy.state_dict().items()}
        model.learn(2 * 8 * 32)
        parameters.append(model.policy.state_dict())
    assert all((first[name] - value).abs().max() > 1e-4 for name, value in parameters[0].items())
    for name, theirs in parameters[0].items():
        torch.testing.assert_close(parameters[1][name], theirs, rtol=0, atol=1e-5)


def test_a_saved_model_goes_on_as_it_would_have(settings: EnvSettings, bank: Bank, tmp_path: Path) -> None:
    model = small_model(settings, bank)
    model.learn(256)
    model.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", env=InfrastructureVecEnv(settings, 8, bank=bank), device="cpu")
    assert isinstance(loaded.policy, LeanPolicy)
    observations = torch.randn(16, *model.observation_space.shape)  # type: ignore[misc]
    for item in (model, loaded):
        item.policy.optimizer.zero_grad()
        values, log_prob, _ = item.policy.evaluate_actions(observations, torch.zeros(16, 4))
        (values.mean() - log_prob.mean()).backward()
        item.policy.optimizer.step()
    for name, value in model.policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value), name


def test_other_action_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a MultiDiscrete action space, got Box"):
        LeanPolicy(Box(-1, 1, (3,)), Box(-1, 1, (2,)), lambda _: 1e-3)


def test_figures_of_learning_hang_together(settings: EnvSettings, bank: Bank) -> None:
    figures = ppo_speed(lambda: small_model(settings, bank), passes=1)
    ratio = figures["ppo_steps_per_second"] / figures["ppo_ceiling_steps_per_second"]
    assert figures["ppo_share_of_ceiling"] == pytest.approx(ratio)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_the_steps_from_the_defaults_multiply_to_the_whole(
    settings: EnvSettings, bank: Bank, tiny_ppo: PPOSettings
) -> None:
    rows = list(steps_from_defaults(settings, tiny_ppo, lambda: small_model(settings, bank), passes=1).values())
    assert rows[0]["over_previous"] == rows[0]["over_defaults"] == 1.0
    assert np.prod([row["over_previous"] for row in rows]) == pytest.approx(rows[-1]["over_defaults"])
    for before, after in pairwise(rows):
        assert after["steps_per_second"] / before["steps_per_second"] == pytest.approx(after["over_previous"])
