"""Export and bundles: what was written is what is loaded, or it is refused by name."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from stable_baselines3 import PPO
from torch_export import exporting

from agents import bundle as bundles
from agents.bundle import FILES, MANIFEST_FILE, POLICY_FILE, SPEC_FILE, BundleError, advised_schema, load_bundle
from agents.experiment import BEST_FILE, export_run
from agents.export import TOLERANCE, ExportError, check_parity
from agents.rules import RuleBook
from envs.action import action_space
from envs.observation import observation_features, schema_hash
from envs.settings import ENVIRONMENT_VERSION, EnvSettings, TaskSettings
from envs.vector import InfrastructureVectorEnv
from simulators.bank import Bank

ROOT = Path(__file__).resolve().parents[2]
LEARNED = 2 + 9 + 12  # a shift of scale and spot share, a logit of each launch specification and scaling policy


@pytest.fixture
def copied(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def model(run_folder: Path) -> PPO:
    return PPO.load(run_folder / BEST_FILE, device="cpu")


def signed_again(folder: Path) -> None:
    """Make the manifest agree with changed files, as a bundle of another version does."""
    bundles.write_manifest(folder, seeds=[3])


def test_exported_and_trained_policy_agree(model: PPO, bundle_folder: Path, task: TaskSettings) -> None:
    assert check_parity(model, (bundle_folder / POLICY_FILE).read_bytes(), task, seed=7) <= TOLERANCE


def test_they_agree_on_observations_of_real_fleets(
    model: PPO, bundle_folder: Path, settings: EnvSettings, bank: Bank
) -> None:
    env = InfrastructureVectorEnv(16, settings, bank=bank)
    env.reset(seed=0)
    bundle = load_bundle(bundle_folder)
    codec, exported = bundle.codec(), bundle.policy()
    for _ in range(30):
        readings = env.episodes.fleets.readings
        trained, _ = model.predict(codec.encode(readings), deterministic=True)
        np.testing.assert_array_equal(exported.act(readings), trained)
        env.step(trained)


def with_one_weight_changed(policy_onnx: bytes, by: float, place: int = 0) -> bytes:
    proto = onnx.load_from_string(policy_onnx)
    last = [item for item in proto.graph.initializer if list(item.dims) == [LEARNED, 16]]
    assert len(last) == 1
    values = onnx.numpy_helper.to_array(last[0]).copy()
    values[place, 0] += by
    last[0].CopyFrom(onnx.numpy_helper.from_array(values, last[0].name))
    return proto.SerializeToString()


def test_a_policy_with_another_weight_is_not_exported(model: PPO, bundle_folder: Path, task: TaskSettings) -> None:
    policy = (bundle_folder / POLICY_FILE).read_bytes()
    assert check_parity(model, with_one_weight_changed(policy, 0.0), task) <= TOLERANCE
    for place in range(LEARNED):
        with pytest.raises(ExportError, match="logits differ"):
            check_parity(model, with_one_weight_changed(policy, 0.01, place), task)


def test_a_policy_of_not_a_number_is_not_exported(model: PPO, bundle_folder: Path, task: TaskSettings) -> None:
    policy = with_one_weight_changed((bundle_folder / POLICY_FILE).read_bytes(), np.nan)
    with pytest.raises(ExportError, match="logits differ"):
        check_parity(model, policy, task)


def test_an_observation_that_is_not_finite_is_refused(bundle_folder: Path, task: TaskSettings) -> None:
    exported = load_bundle(bundle_folder).policy()
    observation = np.zeros((1, len(observation_features(task)) + 4), np.float32)
    assert exported.logits(observation).shape == (1, action_space(task).nvec.sum())
    observation[0, 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        exported.logits(observation)


def test_the_policy_file_tells_nothing_about_the_machine(bundle_folder: Path, task: TaskSettings) -> None:
    policy = (bundle_folder / POLICY_FILE).read_bytes()
    for trace in (str(ROOT), "site-packages", sys.prefix, str(Path.home()) + "/", ".py"):
        assert trace.encode() not in policy, trace
    for name in FILES:
        assert str(ROOT).encode() not in (bundle_folder / name).read_bytes(), name
    metadata = {item.key: item.value for item in onnx.load_from_string(policy).metadata_props}
    assert metadata == {"schema_hash": load_bundle(bundle_folder).spec["schema_hash"]}


def test_a_bundle_says_what_it_is(bundle_folder: Path, task: TaskSettings, book: RuleBook) -> None:
    loaded = load_bundle(bundle_folder)
    assert loaded.task == task
    assert loaded.rules == book
    assert loaded.spec["environment"] == ENVIRONMENT_VERSION
    assert loaded.spec["schema_hash"] == advised_schema(task, loaded.advisor) != schema_hash(task)
    assert loaded.advisor == loaded.spec["best_rule"]
    assert [item["name"] for item in loaded.spec["features"]] == [item.name for item in observation_features(task)]
    assert loaded.spec["action_choices"] == [39, 9, 11, len(book.rules)]
    assert loaded.spec["best_rule"] in {rule.name for rule in book.rules}
    assert loaded.manifest["seeds"] == [3]
    assert set(loaded.manifest["files"]) == set(FILES)
    assert loaded.version == loaded.manifest["files"][POLICY_FILE][:12]
    assert loaded.card.startswith("# Model card")
    assert {path.name for path in bundle_folder.iterdir()} == {*FILES, MANIFEST_FILE}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused_by_name(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(bytes(content))
    with pytest.raises(BundleError, match=f"{name} does not match the hash in {MANIFEST_FILE}"):
        load_bundle(copied)


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_missing_file_is_refused_by_name(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(copied)


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_manifest_without_hashes_is_refused(copied: Path, content: str) -> None:
    (copied / MANIFEST_FILE).write_text(content)
    with pytest.raises(BundleError, match=f"{MANIFEST_FILE} cannot be read"):
        load_bundle(copied)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "environment",
            "AWSInfrastructure-v9",
            "made for environment AWSInfrastructure-v9, this is AWSInfrastructure-v0",
        ),
        ("schema_hash", "0123456789abcdef", "schema 0123456789abcdef differs from this version's"),
    ],
)
def test_another_version_is_refused_with_the_command_that_helps(
    copied: Path, key: str, value: str, message: str
) -> None:
    spec = json.loads((copied / SPEC_FILE).read_text())
    (copied / SPEC_FILE).write_text(json.dumps(spec | {key: value}))
    signed_again(copied)
    with pytest.raises(BundleError, match=rf"{message}.*python scripts/export.py RUN --out BUNDLE"):
        load_bundle(copied)


def test_a_task_that_does_not_fit_the_hash_is_refused(copied: Path) -> None:
    spec = json.loads((copied / SPEC_FILE).read_text())
    spec["task"]["rank_hysteresis"] = 0.25
    (copied / SPEC_FILE).write_text(json.dumps(spec))
    signed_again(copied)
    with pytest.raises(BundleError, match="differs from this version's"):
        load_bundle(copied)


@pytest.mark.parametrize("inside", ["", "bundle/"])
def test_a_zip_is_as_good_as_its_folder(bundle_folder: Path, tmp_path: Path, inside: str) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle_folder.iterdir():
            archive.write(file, inside + file.name)
    assert load_bundle(path) == load_bundle(bundle_folder)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(BundleError, match="neither a bundle folder nor a zip file"):
        load_bundle(tmp_path / "text.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        load_bundle(tmp_path / "empty")


def test_a_bundle_is_small_enough(bundle_folder: Path) -> None:
    assert (bundle_folder / POLICY_FILE).stat().st_size <= 1_000_000
    assert sum(path.stat().st_size for path in bundle_folder.iterdir()) <= 6_000_000


@pytest.mark.parametrize("limit", ["MAX_POLICY_BYTES", "MAX_BUNDLE_BYTES"])
def test_a_bundle_that_grew_too_large_is_not_written(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(bundles, limit, 1000)
    with exporting(), pytest.raises(BundleError, match="too large for a bundle"):
        export_run(run_folder, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["config.json", "rules.json", BEST_FILE, "validation.json"])
def test_an_unfinished_run_is_not_exported(run_folder: Path, tmp_path: Path, name: str) -> None:
    unfinished = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (unfinished / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing: not a finished training run"):
        export_run(unfinished, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_loading_and_acting_imports_neither_torch_nor_stable_baselines(bundle_folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import numpy as np
from agents.bundle import load_bundle
from simulators.records import TELEMETRY
bundle = load_bundle(Path({str(bundle_folder)!r}))
reading = np.ones(1, TELEMETRY)
reading["spec"] = reading["policy"] = 0
print(bundle.policy().act(reading).shape)
heavy = {{"torch", "stable_baselines3", "ray", "matplotlib", "optuna", "onnx"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 4)"
