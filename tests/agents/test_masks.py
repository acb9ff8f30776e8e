"""MaskablePPO with and without an advising rule, in training, in validation and from a bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from torch_export import exporting

from agents.bundle import load_bundle
from agents.experiment import TrainSettings, export_run, run_training
from agents.ppo import PPOSettings, load_model, make_model, save_model, training_codec
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from agents.trained import TorchPolicy
from envs.action import KEEP, action_space
from envs.masks import ActionMasks
from envs.settings import EnvSettings
from simulators.bank import Bank


@pytest.fixture(scope="module")
def masked_ppo(tiny_ppo: PPOSettings) -> PPOSettings:
    return tiny_ppo.model_copy(update={"masks": True, "native_only": True})


def permitted(masks: np.ndarray, actions: np.ndarray, settings: EnvSettings) -> np.ndarray:
    """[B, 4] whether each part of each action is left by the masks."""
    edges = np.concatenate(([0], np.cumsum(action_space(settings.task).nvec)))[:-1]
    return np.take_along_axis(masks, edges + actions, axis=1)


@pytest.mark.parametrize("name", [None, "target-tracking-cpu"])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_masked_choices_are_never_drawn(
    settings: EnvSettings, book: RuleBook, bank: Bank, masked_ppo: PPOSettings, name: str | None, correlation: float
) -> None:
    advisor = None if name is None else book.policy(name, settings.task)
    exploration = masked_ppo.exploration.model_copy(update={"correlation": correlation})
    ppo = masked_ppo.model_copy(update={"exploration": exploration})
    model = make_model(settings, ppo, bank=bank, advisor=advisor, seed=0)
    policy, rng = model.policy, np.random.default_rng(0)
    with torch.no_grad():
        for parameter in policy.action_net.parameters():
            parameter.add_(torch.randn(parameter.shape))
    observations = torch.as_tensor(model.env.reset()).repeat_interleave(64, dim=0)  # type: ignore[union-attr]
    choices = action_space(settings.task).nvec
    drawn = 0
    while drawn < 10_000:
        masks = np.concatenate([rng.random((len(observations), size)) < 0.3 for size in choices], axis=1)
        for first, size in zip(np.cumsum(choices) - choices, choices, strict=True):
            masks[np.arange(len(masks)), first + rng.integers(0, size, len(masks))] = True
        with torch.no_grad():
            actions, _, log_probability = policy(observations, action_masks=masks)
            _, again, _ = policy.evaluate_actions(observations, actions, torch.as_tensor(masks))
        assert permitted(masks, actions.numpy(), settings).all()
        torch.testing.assert_close(log_probability, again)
        drawn += len(actions)


def test_the_ends_of_the_uniform_numbers_draw_permitted_choices(
    settings: EnvSettings, book: RuleBook, bank: Bank, masked_ppo: PPOSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    advisor = book.policy("target-tracking-cpu", settings.task)
    model = make_model(settings, masked_ppo, bank=bank, advisor=advisor, seed=0)
    observations = torch.as_tensor(model.env.reset())  # type: ignore[union-attr]
    masks = np.ones((len(observations), action_space(settings.task).nvec.sum()), np.bool_)
    first = 0
    for size in action_space(settings.task).nvec:
        masks[:, first] = masks[:, first + size - 1] = False
        first += size
    for value in (1e-9, 1.0):
        monkeypatch.setattr(model.policy, "_correlated_quantiles", lambda fleets, v=value: torch.full((fleets, 4), v))
        with torch.no_grad():
            actions = model.policy(observations, action_masks=masks)[0].numpy()
        assert permitted(masks, actions, settings).all()


@pytest.mark.parametrize("name", ["spot-hedge", "aws-best-practice", "forecast-cautious", "step"])
def test_the_first_masked_policy_is_the_rule_it_starts_from(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, name: str
) -> None:
    ppo = tiny_ppo.model_copy(update={"masks": True})
    rule = book.policy(name, settings.task)
    model = make_model(settings, ppo, bank=bank, advisor=rule, seed=0)
    assert isinstance(model, MaskablePPO)
    windows = random_windows(bank, 3, 1, seed=5)
    theirs = play(rule, bank, settings.task, windows)
    ours = play(TorchPolicy(model, training_codec(settings.task, ppo, rule)), bank, settings.task, windows)
    np.testing.assert_array_equal(ours.total_usd, theirs.total_usd)


def test_what_is_learned_from_was_permitted(
    settings: EnvSettings, book: RuleBook, bank: Bank, masked_ppo: PPOSettings, tmp_path: Path
) -> None:
    advisor = book.policy("aws-best-practice", settings.task)
    model = make_model(settings, masked_ppo, bank=bank, advisor=advisor, seed=0)
    model.learn(128)
    buffer = model.rollout_buffer
    actions = buffer.actions.reshape(-1, 4).astype(np.int64)
    masks = buffer.action_masks.reshape(len(actions), -1) > 0  # type: ignore[attr-defined]
    assert permitted(masks, actions, settings).all()
    assert not masks.all()
    native = [index for index, entry in enumerate(settings.task.menu) if entry.native]
    assert set(actions[:, 3]) <= set(native)
    save_model(model, tmp_path / "model.zip")
    again = load_model(tmp_path / "model.zip", masked_ppo)
    assert isinstance(again, MaskablePPO)
    for name, value in model.policy.state_dict().items():
        assert torch.equal(again.policy.state_dict()[name], value)


@pytest.mark.slow
def test_masks_hold_in_validation_and_in_a_bundle(
    train_settings: TrainSettings, masked_ppo: PPOSettings, bank: Bank, tmp_path: Path
) -> None:
    settings = train_settings.model_copy(update={"ppo": masked_ppo, "advisor": "aws-best-practice"})
    model, task, book, _ = run_training(settings, tmp_path / "run", seed=1)
    with torch.no_grad():  # a policy that would rather do what it may not
        model.policy.action_net.linear.bias[2 + KEEP + 1] += 50.0  # type: ignore[union-attr, operator]
    save_model(model, tmp_path / "run" / "best.zip")
    with exporting():
        export_run(tmp_path / "run", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.spec["masks"] == "native"
    advisor = book.policy("aws-best-practice", task)
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    class Watching:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def act(self, readings: np.ndarray) -> np.ndarray:
            actions = self._inner.act(readings)  # type: ignore[attr-defined]
            seen.append((ActionMasks(task, "native")(readings), actions))
            return np.asarray(actions)

    windows = random_windows(bank, 3, 1, seed=4)
    served = play(Watching(bundle.policy()), bank, task, windows)
    masks, actions = (np.concatenate(items) for items in zip(*seen, strict=True))
    settings_of_task = EnvSettings(task=task)
    assert permitted(masks, actions, settings_of_task).all()
    trained = play(TorchPolicy(model, training_codec(task, masked_ppo, advisor)), bank, task, windows)
    np.testing.assert_array_equal(served.total_usd, trained.total_usd)

    logits = np.zeros((1, masks.shape[1]), np.float32)
    kept = []
    play(Watching(bundle.policy()), bank, task, windows, watch=lambda fleets: kept.append(fleets.readings[:1].copy()))
    lowered = bundle.policy().permitted(logits, kept[0])
    assert np.isfinite(lowered).all()
    np.testing.assert_array_equal(lowered == 0.0, ActionMasks(task, "native")(kept[0]))
    unmasked = replace(bundle, masks=None).policy()
    assert unmasked.permitted(logits, kept[0]) is logits


def test_masks_and_single_choices_do_not_go_with_a_continuous_policy() -> None:
    for name in ("masks", "native_only"):
        with pytest.raises(ValueError, match=f"{name} bars single choices"):
            PPOSettings(continuous=True, **{name: True})  # type: ignore[arg-type]
