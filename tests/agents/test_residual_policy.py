"""The residual policy: at first the rule, then the rule and a learned shift, with noise that lasts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import ValidationError
from scipy import stats
from stable_baselines3 import PPO
from torch_export import exporting

from agents.advice import make_codec
from agents.export import TOLERANCE, check_parity, export_policy
from agents.policies import Policy
from agents.ppo import PPOSettings, make_model
from agents.residual import ExplorationSettings, ResidualHead, ResidualPolicy
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from agents.trained import TorchPolicy
from envs.action import KEEP, MAX_SCALE, action_space
from envs.observation import DESIRED_UNIT
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank

CHOICES = (39, 9, 11, 12)
HIDDEN = 8
FEATURES = 20
DESIRED = 6


def head_of(
    exploration: ExplorationSettings | None = None,
    *,
    relative_scale: float = 0.0,
    allowed: tuple[int, ...] = (),
    choices: tuple[int, ...] = CHOICES,
) -> ResidualHead:
    return ResidualHead(HIDDEN, list(choices), exploration or ExplorationSettings(), relative_scale, allowed)


def latent_of(actions: list[list[int]], *, desired: float = 0.0, choices: tuple[int, ...] = CHOICES) -> torch.Tensor:
    """Return hidden units of 0, desired size and advice."""
    largest = np.maximum(np.array(choices) - 1, 1)
    rows = [[*np.zeros(HIDDEN), desired, *(np.array(action) / largest)] for action in actions]
    return torch.tensor(np.array(rows), dtype=torch.float32)


def probabilities(head: ResidualHead, latent: torch.Tensor, choices: tuple[int, ...] = CHOICES) -> list[np.ndarray]:
    with torch.no_grad():
        parts = torch.split(head(latent).double(), list(choices), dim=1)
    return [part.softmax(dim=1).numpy() for part in parts]


def discretised_normal(mean: float, sigma: float, count: int) -> np.ndarray:
    density = stats.norm.pdf(np.arange(count), mean, sigma)
    return np.asarray(density / density.sum())


class Same:
    """Plays a rule, and asserts at every decision that a learned policy would do the same."""

    def __init__(self, rule: Policy, learned: Policy) -> None:
        self._rule, self._learned = rule, learned
        self.seen: list[np.ndarray] = []

    def act(self, readings: np.ndarray) -> np.ndarray:
        actions = self._rule.act(readings)
        np.testing.assert_array_equal(self._learned.act(readings), actions)
        self.seen.append(actions.copy())
        return actions


@pytest.fixture(scope="module")
def model(settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings) -> PPO:
    """An advised model before training; whose advice its codec shows does not matter to the network."""
    return make_model(settings, tiny_ppo, bank=bank, advisor=book.policy("forecast", settings.task), seed=0)


def test_the_first_policy_is_every_rule_of_the_book(model: PPO, book: RuleBook, task: TaskSettings, bank: Bank) -> None:
    windows = random_windows(bank, 2, 1, seed=5)
    several = 0
    for rule in book.rules:
        advisor = book.policy(rule.name, task)
        both = Same(advisor, TorchPolicy(model, make_codec(task, advisor)))
        play(both, bank, task, windows)
        several += len(np.unique(np.concatenate(both.seen), axis=0)) > 1
    assert several >= 1, "one rule at least is more than a constant"


@pytest.mark.parametrize("specification", [1, 3, 8])
def test_each_part_has_the_stated_probabilities(specification: int) -> None:
    stated = ExplorationSettings(
        scale_sigma=0.9, spot_sigma=0.6, specification_share=0.07, keep_share=0.2, policy_share=0.15
    )
    action = [24, specification, 4, 7]
    scale, spec, spot, policy = (part[0] for part in probabilities(head_of(stated), latent_of([action])))
    assert scale == pytest.approx(discretised_normal(24, 0.9, 39), abs=1e-6)
    assert spot == pytest.approx(discretised_normal(4, 0.6, 11), abs=1e-6)
    assert spec[KEEP] == pytest.approx(0.2, abs=1e-6)
    assert spec[specification] == pytest.approx(0.73, abs=1e-6)
    others = np.delete(spec, [KEEP, specification])
    assert others.sum() == pytest.approx(0.07, abs=1e-6)
    assert np.ptp(others) < 1e-7
    assert policy[7] == pytest.approx(0.85, abs=1e-6)
    assert np.ptp(np.delete(policy, 7)) < 1e-7


def test_where_keeping_is_advised_the_others_together_have_their_share() -> None:
    stated = ExplorationSettings(specification_share=0.07, keep_share=0.2)
    spec = probabilities(head_of(stated), latent_of([[19, KEEP, 0, 0]]))[1][0]
    assert spec[KEEP] == pytest.approx(0.93, abs=1e-6)
    assert np.ptp(spec[1:]) < 1e-7


def test_a_single_choice_is_certain() -> None:
    choices = (39, 2, 2, 1)
    head = head_of(choices=choices)
    _, spec, spot, policy = probabilities(head, latent_of([[19, 1, 1, 0]], choices=choices), choices)
    assert spec[0].argmax() == 1
    assert spot[0].argmax() == 1
    assert policy.tolist() == [[1.0]]


@pytest.mark.parametrize(
    "stray",
    [{"specification_share": 0.3, "keep_share": 0.3}, {"keep_share": 0.9}, {"policy_share": 0.9}, {"correlation": 1.0}],
)
def test_straying_so_far_that_the_rule_is_no_longer_likeliest_is_refused(stray: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(stray))):
        ExplorationSettings.model_validate(stray)


@pytest.mark.parametrize(
    ("advised", "desired", "relative", "learned", "expected"),
    [
        (19, 0.0, 0.1, 3.0, 22),
        (19, 40.0, 0.1, 2.0, 29),
        (19, 40.0, 0.1, -1.0, 14),
        (19, 40.0, 0.0, 2.0, 21),
        (19, 40.0, 0.1, 0.09, 19),
        (19, 40.0, 0.1, 0.11, 20),
        (37, 40.0, 0.1, 3.0, 38),
        (1, 40.0, 0.1, -3.0, 0),
    ],
)
def test_a_learned_shift_moves_the_size_by_that_many_units(
    advised: int, desired: float, relative: float, learned: float, expected: int
) -> None:
    head = head_of(relative_scale=relative)
    head.linear.bias.data[0] = learned
    scale = probabilities(head, latent_of([[advised, 1, 5, 0]], desired=desired))[0][0]
    assert scale.argmax() == expected
    inside = 0 < expected < 2 * MAX_SCALE
    mean = advised + (1.0 + relative * desired) * learned
    assert not inside or scale == pytest.approx(discretised_normal(mean, 0.7, 39), abs=1e-5)


@pytest.mark.parametrize(("advised", "learned", "expected"), [(5, 1.0, 7), (5, -1.0, 3), (9, 4.0, 10), (1, -4.0, 0)])
def test_a_learned_shift_moves_the_spot_share_by_two_steps(advised: int, learned: float, expected: int) -> None:
    head = head_of()
    head.linear.bias.data[1] = learned
    assert probabilities(head, latent_of([[19, 1, advised, 0]]))[2][0].argmax() == expected


def test_specification_and_policy_are_left_by_their_own_logits() -> None:
    head = head_of()
    head.linear.bias.data[2 + 6] = 20.0
    head.linear.bias.data[2 + CHOICES[1] + 3] = 20.0
    _, spec, _, policy = probabilities(head, latent_of([[19, 1, 5, 7]]))
    assert (spec[0].argmax(), policy[0].argmax()) == (6, 3)


@pytest.mark.parametrize("logit", [10.0, 1e4, 1e6])
def test_a_barred_policy_is_never_taken_whatever_was_learned(logit: float) -> None:
    head = head_of(allowed=(2, 5))
    head.linear.bias.data[2 + CHOICES[1] :] = logit
    head.linear.bias.data[2 + CHOICES[1] + 5] = 0.0
    for advised in (2, 9):
        policy = probabilities(head, latent_of([[19, 1, 5, advised]]))[3][0]
        assert policy[[2, 5]].sum() == 1.0
        assert policy.argmax() == 2


def policy_of(
    exploration: ExplorationSettings, *, allowed: tuple[int, ...] = (), choices: tuple[int, ...] = CHOICES
) -> ResidualPolicy:
    torch.manual_seed(0)
    return ResidualPolicy(
        Box(-5.0, 5.0, (FEATURES,), np.float32),
        MultiDiscrete(list(choices)),
        lambda _: 1e-3,
        net_arch=[HIDDEN, HIDDEN],
        exploration=exploration.model_dump(),
        desired_feature=DESIRED,
        desired_unit=DESIRED_UNIT,
        relative_scale=0.1,
        allowed_policies=allowed,
    )


def observations_of(action: list[int], count: int, desired: float = 10.0) -> torch.Tensor:
    """Return the same observation many times: one fleet with one advice."""
    row = np.zeros(FEATURES)
    row[DESIRED] = desired / DESIRED_UNIT
    row[-4:] = np.array(action) / (np.array(CHOICES) - 1)
    return torch.tensor(np.tile(row, (count, 1)), dtype=torch.float32)


def test_the_size_of_the_fleet_sets_the_unit_of_the_shift() -> None:
    policy = policy_of(ExplorationSettings())
    policy.action_net.linear.bias.data[0] = 1.0  # type: ignore[union-attr]
    for desired, unit in ((0.0, 1), (20.0, 3), (60.0, 7)):
        mode = policy.get_distribution(observations_of([19, 1, 5, 7], 1, desired)).mode()
        assert mode.tolist() == [[19 + unit, 1, 5, 7]]


def test_the_spread_of_the_size_falls_linearly() -> None:
    policy = policy_of(ExplorationSettings(scale_sigma=0.9, final_scale_sigma=0.3))
    observation = observations_of([19, 1, 5, 7], 1)
    for left, sigma in ((1.0, 0.9), (0.5, 0.6), (0.25, 0.45), (0.0, 0.3)):
        policy.explore(left)
        scale = policy.get_distribution(observation).distribution[0].probs[0].detach().numpy()
        assert scale == pytest.approx(discretised_normal(19, sigma, 39), abs=1e-5)


def test_a_saved_model_is_the_same_policy(model: PPO, book: RuleBook, task: TaskSettings, tmp_path: Path) -> None:
    policy = model.policy
    assert isinstance(policy, ResidualPolicy)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    try:
        policy.explore(0.3)
        with torch.no_grad():
            policy.action_net.linear.weight.normal_(std=0.1)  # type: ignore[union-attr]
        model.save(tmp_path / "model.zip")
        loaded = PPO.load(tmp_path / "model.zip", device="cpu").policy
        assert isinstance(loaded, ResidualPolicy)
        observations = torch.as_tensor(
            np.random.default_rng(0).random((50, make_codec(task, book.policy("forecast", task)).space.shape[0]))
        )
        ours, theirs = (item.get_distribution(observations.float()).distribution for item in (policy, loaded))
        for own, other in zip(ours, theirs, strict=True):
            assert torch.equal(own.logits, other.logits)
        loaded.explore(0.0)
        assert float(loaded.action_net.scale_sigma) == pytest.approx(0.25)  # type: ignore[arg-type]
    finally:
        policy.load_state_dict(before)


def test_a_model_of_native_policies_stays_so_when_saved(
    settings: EnvSettings, book: RuleBook, bank: Bank, tiny_ppo: PPOSettings, tmp_path: Path
) -> None:
    native = [index for index, entry in enumerate(settings.task.menu) if entry.native]
    assert 0 < len(native) < len(settings.task.menu)
    ppo = tiny_ppo.model_copy(update={"native_only": True})
    advisor = book.policy("target-tracking-cpu", settings.task)
    made = make_model(settings, ppo, bank=bank, advisor=advisor, seed=0)
    made.save(tmp_path / "model.zip")
    loaded = PPO.load(tmp_path / "model.zip", device="cpu").policy
    with torch.no_grad():
        loaded.action_net.linear.bias.fill_(1e3)  # type: ignore[union-attr]
        observation = torch.as_tensor(made.env.reset())  # type: ignore[union-attr]
        chances = loaded.get_distribution(observation).distribution[3].probs
    assert chances[:, native].sum(dim=1).numpy() == pytest.approx(1.0)
    assert (np.delete(chances.numpy(), native, axis=1) == 0.0).all()


def test_lasting_noise_takes_each_action_as_often_as_its_probability() -> None:
    exploration = ExplorationSettings(
        scale_sigma=1.5, spot_sigma=1.0, specification_share=0.2, keep_share=0.2, policy_share=0.3, correlation=0.9
    )
    policy, fleets = policy_of(exploration), 40_000
    observation = observations_of([20, 3, 4, 7], fleets)
    chances = [
        part.probs[0].detach().double().numpy() for part in policy.get_distribution(observation[:1]).distribution
    ]
    with torch.no_grad():
        for _ in range(5):
            actions, _, _ = policy.forward(observation)
    for part, chance in enumerate(chances):
        counts = np.bincount(actions[:, part], minlength=len(chance))
        often = chance * fleets >= 10
        assert counts[~often].sum() < 100
        expected = np.append(chance[often], chance[~often].sum() + 1e-12) * fleets
        found = np.append(counts[often], counts[~often].sum())
        keep = expected >= 5
        statistic = (((found - expected) ** 2) / expected)[keep].sum()
        assert stats.chi2.sf(statistic, keep.sum() - 1) > 1e-4, f"part {part}"


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_what_is_tried_lasts_as_long_as_stated(correlation: float) -> None:
    """A wide scale part is nearly its underlying normal: both have the same autocorrelation."""
    exploration = ExplorationSettings(scale_sigma=4.0, correlation=correlation)
    policy = policy_of(exploration)
    observation = observations_of([19, 3, 4, 7], 20_000)
    with torch.no_grad():
        history = [policy.forward(observation)[0][:, 0].double().numpy() for _ in range(4)]
    for lag in (1, 2, 3):
        found = np.corrcoef(history[0], history[lag])[0, 1]
        assert found == pytest.approx(correlation**lag, abs=0.02)


def test_fleets_and_parts_stray_independently() -> None:
    policy = policy_of(ExplorationSettings(scale_sigma=4.0, spot_sigma=3.0, correlation=0.9))
    observation = observations_of([19, 3, 5, 7], 20_000)
    with torch.no_grad():
        for _ in range(3):
            actions = policy.forward(observation)[0].double().numpy()
    assert abs(np.corrcoef(actions[:, 0], actions[:, 2])[0, 1]) < 0.03
    assert abs(np.corrcoef(actions[:-1, 0], actions[1:, 0])[0, 1]) < 0.03


def test_a_batch_of_another_size_begins_new_noise() -> None:
    policy = policy_of(ExplorationSettings(correlation=0.9))
    with torch.no_grad():
        for fleets in (5, 3, 5):
            assert policy.forward(observations_of([19, 3, 5, 7], fleets))[0].shape == (fleets, 4)


def test_without_correlation_it_is_plain_sampling() -> None:
    policy = policy_of(ExplorationSettings(correlation=0.0))
    observation = observations_of([19, 3, 5, 7], 500)
    with torch.no_grad():
        torch.manual_seed(3)
        actions, _, chances = policy.forward(observation)
        torch.manual_seed(3)
        distribution = policy.get_distribution(observation)
        expected = distribution.sample()
    assert torch.equal(actions, expected)
    assert torch.equal(chances, distribution.log_prob(expected))


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_probability_told_is_the_one_that_is_learned_from(correlation: float) -> None:
    policy = policy_of(ExplorationSettings(scale_sigma=2.0, correlation=correlation))
    with torch.no_grad():
        policy.action_net.linear.weight.normal_(std=0.3)  # type: ignore[union-attr]
        observation = torch.rand(300, FEATURES)
        actions, values, chances = policy.forward(observation)
        again, log_prob, entropy = policy.evaluate_actions(observation, actions)
    assert torch.allclose(chances, log_prob, atol=1e-5)
    assert torch.allclose(values, again, atol=1e-6)
    assert entropy is not None
    assert bool((entropy > 0).all())
    by_hand = sum(
        part.log_prob(actions[:, index]) for index, part in enumerate(policy.get_distribution(observation).distribution)
    )
    assert torch.allclose(chances, torch.as_tensor(by_hand), atol=1e-5)


def test_deterministic_is_the_mode_and_leaves_the_noise_alone() -> None:
    policy = policy_of(ExplorationSettings(correlation=0.9))
    observation = observations_of([22, 3, 5, 7], 4)
    with torch.no_grad():
        torch.manual_seed(1)
        policy.forward(observation)
        policy.forward(observation, deterministic=True)
        first = policy.forward(observation)[0]
        other = policy_of(ExplorationSettings(correlation=0.9))
        torch.manual_seed(1)
        other.forward(observation)
        assert torch.equal(other.forward(observation)[0], first)
        assert policy.forward(observation, deterministic=True)[0].tolist() == [[22, 3, 5, 7]] * 4


@pytest.mark.parametrize("end", [0.0, 1.0 - 2**-24, 1.0])
def test_the_ends_of_the_noise_take_no_impossible_action(end: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cumulative probabilities in single precision may end below 1; the rest is nobody's."""
    policy = policy_of(ExplorationSettings(correlation=0.9), allowed=tuple(range(1, 7)))
    observation = observations_of([19, 3, 5, 5], 200)
    observation[:, DESIRED] = torch.linspace(0.0, 2.0, 200)
    with torch.no_grad():
        policy.action_net.linear.weight.normal_(std=0.5)  # type: ignore[union-attr]
        monkeypatch.setattr(policy, "_correlated_quantiles", lambda fleets: torch.full((fleets, 4), end))
        actions, _, chances = policy.forward(observation)
    assert bool((actions[:, 3] >= 1).all())
    assert bool((actions[:, 3] <= 6).all())
    assert bool((chances > -400.0).all())


@pytest.mark.slow
@pytest.mark.parametrize("progress", [1.0, 0.0])
def test_a_policy_far_from_its_rule_is_exported_as_it_is(
    model: PPO, task: TaskSettings, tmp_path: Path, progress: float
) -> None:
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    try:
        with torch.no_grad():
            model.policy.explore(progress)  # type: ignore[operator]
            torch.manual_seed(2)
            model.policy.action_net.linear.weight.normal_(std=0.5)  # type: ignore[union-attr]
            model.policy.action_net.linear.bias.normal_(std=0.5)  # type: ignore[union-attr]
        with exporting():
            export_policy(model, "schema", tmp_path / "policy.onnx")
        assert check_parity(model, (tmp_path / "policy.onnx").read_bytes(), task) <= TOLERANCE
    finally:
        model.policy.load_state_dict(before)


def test_the_action_space_is_the_one_these_tests_assume(task: TaskSettings) -> None:
    assert tuple(action_space(task).nvec) == CHOICES
