"""The mean of policies: what its logits are, what it keeps of its members, what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch_export import exporting

from agents.averaging import average_bundles, check_mean, export_runs, mean_policy
from agents.bundle import CARD_FILE, POLICY_FILE, Bundle, BundleError, LearnedPolicy, load_bundle, write_manifest
from agents.export import ExportError


@pytest.fixture(scope="module")
def observations(bundle_folder: Path) -> NDArray[np.float32]:
    space = load_bundle(bundle_folder).codec().space
    return np.random.default_rng(5).uniform(space.low, space.high, (400, *space.shape)).astype(np.float32)


def logits(bundle: Bundle, observations: NDArray[np.float32]) -> NDArray[np.float32]:
    return bundle.policy().logits(observations)


def test_logits_are_the_mean_of_the_members(
    bundle_folder: Path, other_folder: Path, mean_folder: Path, observations: NDArray[np.float32]
) -> None:
    members = [logits(load_bundle(path), observations) for path in (bundle_folder, other_folder)]
    assert np.abs(members[0] - members[1]).max() > 1.0
    np.testing.assert_allclose(
        logits(load_bundle(mean_folder), observations), np.mean(members, axis=0), rtol=1e-4, atol=1e-4
    )


def test_sizes_lie_half_way(
    bundle_folder: Path, other_folder: Path, mean_folder: Path, observations: NDArray[np.float32]
) -> None:
    """Normals of one spread: the mean of their logarithms peaks at the mean of their centres."""
    sizes = []
    for path in (bundle_folder, other_folder, mean_folder):
        policy = load_bundle(path).policy()
        sizes.append(policy.parts(policy.logits(observations))[0].argmax(axis=1))
    first, second, mean = sizes
    inside = (first > 0) & (second < second.max())
    assert (second - first)[inside].min() >= 2
    assert np.abs(mean - (first + second) / 2)[inside].max() <= 1.0


def test_the_mean_of_one_is_itself(bundle_folder: Path, observations: NDArray[np.float32]) -> None:
    bundle = load_bundle(bundle_folder)
    same = LearnedPolicy(mean_policy([bundle.policy_onnx] * 3), bundle.task, bundle.codec())
    np.testing.assert_allclose(same.logits(observations), logits(bundle, observations), rtol=1e-5, atol=1e-4)


def test_another_policy_is_not_taken_for_the_mean(bundle_folder: Path, other_folder: Path, mean_folder: Path) -> None:
    members = [load_bundle(bundle_folder), load_bundle(other_folder)]
    assert check_mean(load_bundle(mean_folder).policy_onnx, members, seed=9) <= 1e-4
    with pytest.raises(ExportError, match="differ from the members' mean by"):
        check_mean(members[0].policy_onnx, members)


def test_several_runs_are_exported_as_their_mean(
    run_folder: Path, other_run_folder: Path, mean_folder: Path, tmp_path: Path, observations: NDArray[np.float32]
) -> None:
    with exporting():
        assert export_runs([run_folder, other_run_folder], tmp_path / "bundle") <= 1e-4
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest["seeds"] == [3, 8]
    assert "seed 3, 8, " in bundle.card
    assert "This policy is the mean of the 2, logit by logit." in bundle.card
    for seed in (3, 8):
        assert f"| seed {seed} (" in bundle.card
    np.testing.assert_array_equal(logits(bundle, observations), logits(load_bundle(mean_folder), observations))


def with_rules_changed(folder: Path, out: Path) -> Path:
    shutil.copytree(folder, out)
    text = (out / "rules.json").read_text()
    (out / "rules.json").write_text(text.replace("pooled", "tuned", 1))
    write_manifest(out, seeds=load_bundle(folder).manifest["seeds"])
    return out


def test_bundles_that_do_not_belong_together_are_refused(
    bundle_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    changed = with_rules_changed(other_folder, tmp_path / "changed")
    for others, words in (
        ([changed], rf"changed: its rules differs from that of {bundle_folder}"),
        ([bundle_folder], r"the training seeds are \[3, 3\]; expected each once"),
        ([tmp_path / "nowhere"], "nowhere: no such bundle"),
    ):
        with pytest.raises(BundleError, match=words):
            average_bundles([bundle_folder, *others], out, "# Card\n")
    assert not out.exists()
    average_bundles([bundle_folder, other_folder], out, "# Card\n")
    before = (out / POLICY_FILE).read_bytes()
    with pytest.raises(BundleError):
        average_bundles([bundle_folder, changed], out, "# Card\n")
    assert (out / POLICY_FILE).read_bytes() == before
    assert (out / CARD_FILE).read_text() == "# Card\n"


def test_policies_of_other_observations_are_refused(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    other = bundle.policy_onnx.replace(bundle.spec["schema_hash"].encode(), b"0" * 16)
    assert other != bundle.policy_onnx
    with pytest.raises(ValueError, match="different schema hashes"):
        mean_policy([bundle.policy_onnx, other])
    with pytest.raises(ValueError, match="no policy to average"):
        mean_policy([])
