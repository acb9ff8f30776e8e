"""Advice beside the observation: what the rule would do, exactly, wherever the observation is made."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from advisory.served import serve_bundle
from agents.advice import AdvisedCodec, make_codec
from agents.bundle import SPEC_FILE, BundleError, advised_schema, load_bundle, write_manifest
from agents.policies import ConstantPolicy
from agents.rollout import play, random_windows
from agents.rules import RuleBook
from envs.action import PARTS, action_space
from envs.observation import ObservationCodec, observation_features
from envs.settings import DEFAULT_MENU, TaskSettings
from simulators.bank import Bank
from simulators.fleets import FleetBatch
from simulators.records import TELEMETRY


def readings_in_play(task: TaskSettings, bank: Bank, book: RuleBook, rule: str) -> np.ndarray:
    """Return telemetry records of two fleets over a day."""
    seen: list[np.ndarray] = []

    def watch(fleets: FleetBatch) -> None:
        seen.append(fleets.readings.copy())

    play(book.policy(rule, task), bank, task, random_windows(bank, 2, 1, seed=9), watch=watch)
    return np.concatenate(seen)


@pytest.fixture(scope="module")
def readings(task: TaskSettings, bank: Bank, book: RuleBook) -> np.ndarray:
    return readings_in_play(task, bank, book, "spot-hedge")


def test_the_observation_is_the_tasks_own_and_the_advice_behind_it(
    task: TaskSettings, book: RuleBook, readings: np.ndarray
) -> None:
    for rule in book.rules:
        advisor = book.policy(rule.name, task)
        codec = AdvisedCodec(task, advisor)
        observations = codec.encode(readings)
        assert observations.dtype == np.float32
        assert codec.space.shape == (len(observation_features(task)) + 4,)
        assert all(codec.space.contains(observation) for observation in observations)
        np.testing.assert_array_equal(observations[:, :-4], ObservationCodec(task).encode(readings))
        largest = (action_space(task).nvec - 1).astype(np.float32)
        np.testing.assert_array_equal(np.rint(observations[:, -4:] * largest), advisor.act(readings))
        assert not np.shares_memory(observations, codec.encode(readings))


def test_the_space_ends_with_shares(task: TaskSettings, book: RuleBook) -> None:
    space = AdvisedCodec(task, book.policy("forecast", task)).space
    assert space.low[-4:].tolist() == [0.0] * 4
    assert space.high[-4:].tolist() == [1.0] * 4
    np.testing.assert_array_equal(space.low[:-4], ObservationCodec(task).space.low)
    np.testing.assert_array_equal(space.high[:-4], ObservationCodec(task).space.high)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spot_step_percent": 1},
        {"spot_step_percent": 100},
        {"menu": DEFAULT_MENU[:1]},
        {"menu": DEFAULT_MENU[:7]},
        {"candidates": TaskSettings().candidates[:1]},
        {"candidates": TaskSettings().candidates[:5]},
    ],
)
def test_every_value_of_every_part_comes_back(changes: dict[str, object]) -> None:
    task = TaskSettings().model_copy(update=changes)
    sizes = action_space(task).nvec
    actions = np.arange(max(sizes))[:, None] % sizes
    codec = AdvisedCodec(task, ConstantPolicy(actions))
    fleets = np.zeros(len(actions), TELEMETRY)
    for name in ("mean_demand_rps", "dependable_rps", "candidate_capacity_rps", "candidate_on_demand_usd_per_hour"):
        fleets[name] = 1.0
    advice = codec.encode(fleets)[:, -4:]
    assert advice.min() >= 0.0
    assert advice.max() <= 1.0
    largest = torch.as_tensor(np.maximum(sizes - 1, 1))
    np.testing.assert_array_equal(torch.round(torch.as_tensor(advice) * largest).numpy(), actions)


def test_the_advice_is_named(task: TaskSettings, book: RuleBook, readings: np.ndarray) -> None:
    codec = AdvisedCodec(task, book.policy("forecast", task))
    observation = codec.encode(readings[:1])[0]
    named = codec.as_dict(observation)
    features = [feature.name for feature in observation_features(task)]
    assert list(named) == [*features, *(f"advice {part}" for part in PARTS)]
    assert list(named.values()) == observation.tolist()


def test_without_an_advisor_the_codec_is_the_tasks_own(task: TaskSettings) -> None:
    assert isinstance(make_codec(task, None), ObservationCodec)


def test_bundle_service_and_training_make_the_same_observation(
    bundle_folder: Path, task: TaskSettings, book: RuleBook, readings: np.ndarray
) -> None:
    bundle = load_bundle(bundle_folder)
    assert bundle.advisor is not None
    expected = make_codec(task, book.policy(bundle.advisor, task)).encode(readings)
    np.testing.assert_array_equal(bundle.codec().encode(readings), expected)
    served = serve_bundle(bundle_folder)
    np.testing.assert_array_equal(served.codec.encode(readings), expected)
    np.testing.assert_array_equal(served.policy.logits(expected), bundle.policy().logits(expected))


def with_advisor(bundle_folder: Path, out: Path, advisor: str | None, *, signed: bool) -> Path:
    """Return a copy of a bundle that names another advisor; ``signed`` gives it the hash of that advisor."""
    folder = Path(shutil.copytree(bundle_folder, out))
    spec = json.loads((folder / SPEC_FILE).read_text())
    spec["advisor"] = advisor
    if signed:
        spec["schema_hash"] = advised_schema(TaskSettings.model_validate(spec["task"]), advisor)
    (folder / SPEC_FILE).write_text(json.dumps(spec))
    write_manifest(folder, seeds=[3])
    return folder


@pytest.mark.parametrize("advisor", [None, "static", "nobody"])
def test_a_bundle_of_another_advisor_is_refused(bundle_folder: Path, tmp_path: Path, advisor: str | None) -> None:
    assert load_bundle(bundle_folder).advisor != advisor
    changed = with_advisor(bundle_folder, tmp_path / "bundle", advisor, signed=False)
    with pytest.raises(BundleError, match=r"its observation and action schema .* differs from this version's"):
        load_bundle(changed)


def test_a_bundle_of_an_unknown_advisor_is_refused_by_name(bundle_folder: Path, tmp_path: Path) -> None:
    changed = with_advisor(bundle_folder, tmp_path / "bundle", "nobody", signed=True)
    for load in (load_bundle, serve_bundle):
        with pytest.raises(BundleError, match=r"spec\.json: advisor: unknown rule 'nobody'; known: .*spot-hedge"):
            load(changed)


def test_a_bundle_of_an_unknown_best_rule_is_refused_by_name(bundle_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    spec = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps(spec | {"best_rule": "nobody"}))
    write_manifest(folder, seeds=[3])
    with pytest.raises(BundleError, match=r"spec\.json: best_rule: unknown rule 'nobody'"):
        load_bundle(folder)


def test_the_schema_tells_advisors_apart(task: TaskSettings) -> None:
    hashes = [advised_schema(task, advisor) for advisor in (None, "forecast", "spot-hedge")]
    assert len(set(hashes)) == 3
    assert advised_schema(task.model_copy(update={"rank_hysteresis": 0.2}), "forecast") not in hashes
