"""Bundles: what training hands to serving. A folder or one .zip; loading needs neither torch nor stable-baselines3.

| file | holds |
| --- | --- |
| policy.onnx | ``observation`` [B, F] float32 in; ``logits`` [B, choices] and ``value`` [B] out, a mean's the first's |
| rules.json | the calibrated rules, in the order of the menu |
| forecaster.npz | weights of the demand forecaster that the policy was trained with |
| forecaster.json, detector.json | settings of the demand forecaster and the anomaly detector |
| spec.json | environment version, schema hash, observation features, task, catalogue snapshot |
| card.md | data and licences, training, evaluation table, limits |
| manifest.json | versions, seeds, commit, SHA-256 of every other file |
"""

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agents.advice import AdvisedCodec, make_codec
from agents.rules import RuleBook
from envs.action import PARTS, action_space
from envs.masks import ActionMasks, MenuPart
from envs.observation import (
    OBSERVATION_VERSION,
    ObservationCodec,
    ObservationEncoder,
    observation_features,
    schema_hash,
)
from envs.settings import ENVIRONMENT_VERSION, TaskSettings
from forecasting.demand.boosted import Boosted, load_boosted
from simulators.catalogue import PRICE_DATE, PRICE_SOURCE
from simulators.records import LEAD_MINUTES, QUANTILE_LEVELS, TICK_S
from telemetry.provenance import git_commit, versions, write_text

POLICY_FILE: Final = "policy.onnx"
RULES_NAME: Final = "rules.json"
SPEC_FILE: Final = "spec.json"
CARD_FILE: Final = "card.md"
FORECASTER_FILE: Final = "forecaster.json"
WEIGHTS_FILE: Final = "forecaster.npz"
DETECTOR_FILE: Final = "detector.json"
MANIFEST_FILE: Final = "manifest.json"
FILES: Final = (POLICY_FILE, RULES_NAME, SPEC_FILE, CARD_FILE, FORECASTER_FILE, WEIGHTS_FILE, DETECTOR_FILE)
_MASKED: Final = -1e9
MAX_BUNDLE_BYTES: Final = 6_000_000
MAX_POLICY_BYTES: Final = 1_000_000


class BundleError(ValueError):
    """A bundle that cannot be trusted or is of another version; the message names the file and the cause."""


def advised_schema(task: TaskSettings, advisor: str | None) -> str:
    """Return the hash of what gives a policy's observation and action their meaning, its advising rule included."""
    plain = schema_hash(task)
    return plain if advisor is None else hashlib.sha256(f"{plain} advised by {advisor}".encode()).hexdigest()[:16]


def observation_length(task: TaskSettings, advisor: str | None) -> int:
    """Return how many numbers a policy is shown at a decision."""
    return len(observation_features(task)) + (0 if advisor is None else len(PARTS))


def spec_content(task: TaskSettings, *, best_rule: str, advisor: str | None, masks: MenuPart | None) -> dict[str, Any]:
    """Return what ``spec.json`` holds for a task and a policy that is shown what ``advisor`` would do."""
    catalogue = task.catalogue()
    return {
        "environment": ENVIRONMENT_VERSION,
        "observation_version": OBSERVATION_VERSION,
        "schema_hash": advised_schema(task, advisor),
        "advisor": advisor,
        "masks": masks,
        "features": [asdict(feature) for feature in observation_features(task)],
        "action_choices": action_space(task).nvec.tolist(),
        "task": task.model_dump(mode="json"),
        "best_rule": best_rule,
        "tick_s": TICK_S,
        "slo": task.world.objective.model_dump(mode="json"),
        "catalogue": {
            "source": PRICE_SOURCE,
            "date": PRICE_DATE,
            "types": [asdict(item) for item in catalogue.types],
        },
    }


def forecaster_content() -> dict[str, Any]:
    """Return the settings of the shipped demand forecaster."""
    return {"kind": "demand", "step_s": 300, "lead_minutes": LEAD_MINUTES, "levels": QUANTILE_LEVELS}


def detector_content() -> dict[str, Any]:
    """Return the settings of the shipped anomaly detector."""
    return {"kind": "anomaly", "step_s": 300}


def write_manifest(folder: Path, *, seeds: list[int]) -> None:
    """Hash every file of a bundle folder and write its manifest.

    Raises:
        BundleError: A file is missing, or the bundle or its policy is too large.
    """
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        raise BundleError(f"{folder}: {missing[0]} is missing")
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    if sizes[POLICY_FILE] > MAX_POLICY_BYTES or sum(sizes.values()) > MAX_BUNDLE_BYTES:
        raise BundleError(f"{folder}: {sum(sizes.values())} bytes, policy {sizes[POLICY_FILE]}: too large for a bundle")
    content = {
        "versions": versions(),
        "git_commit": git_commit(),
        "seeds": seeds,
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES},
    }
    write_text(folder / MANIFEST_FILE, _manifest_text(content))


def _manifest_text(content: dict[str, Any]) -> str:
    """Return the one way to write a manifest: its content, and the hash of its content."""
    own = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "sha256": own}, indent=1) + "\n"


def _read_files(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {item.name: item.read_bytes() for item in path.iterdir() if item.is_file()}
    if not path.exists():
        raise BundleError(f"{path}: no such bundle")
    if not zipfile.is_zipfile(path):
        raise BundleError(f"{path}: neither a bundle folder nor a zip file")
    files = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            try:
                files[Path(name).name] = archive.read(name)
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
                raise BundleError(f"{path}: {name} is damaged: {error}") from error
    return files


def _verified(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle once every hash of its manifest holds."""
    files = _read_files(path)
    if MANIFEST_FILE not in files:
        raise BundleError(f"{path}: {MANIFEST_FILE} is missing")
    try:
        manifest = json.loads(files[MANIFEST_FILE])
        expected = manifest["files"]
        del manifest["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: {MANIFEST_FILE} cannot be read: {error}") from error
    if files[MANIFEST_FILE] != _manifest_text(manifest).encode():
        raise BundleError(f"{path}: {MANIFEST_FILE} was changed: it does not match its own hash")
    for name in FILES:
        if name not in files or name not in expected:
            raise BundleError(f"{path}: {name} is missing")
        if hashlib.sha256(files[name]).hexdigest() != expected[name]:
            raise BundleError(f"{path}: {name} does not match the hash in {MANIFEST_FILE}; the bundle was changed")
    return files


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        task: Action, observation and reward settings; its menu is the rules'.
        rules: Calibrated rules.
        advisor: Name of the rule whose action the policy is shown; None if it is shown none.
        masks: What the policy may choose from the readings it is shown; None if everything.
        spec: Content of ``spec.json``.
        manifest: Content of ``manifest.json``.
        card: Content of ``card.md``.
        policy_onnx: The serialised policy.
        forecaster_npz: Weights of the demand model whose forecasts it was trained with.
    """

    task: TaskSettings
    rules: RuleBook
    advisor: str | None
    masks: ActionMasks | None
    spec: dict[str, Any]
    manifest: dict[str, Any]
    card: str
    policy_onnx: bytes
    forecaster_npz: bytes

    @property
    def version(self) -> str:
        """Short name of the policy: the first 12 hex digits of its hash."""
        return str(self.manifest["files"][POLICY_FILE])[:12]

    def codec(self) -> ObservationCodec | AdvisedCodec:
        """Return what turns telemetry into the policy's observation."""
        advisor = None if self.advisor is None else self.rules.policy(self.advisor, self.task)
        return make_codec(self.task, advisor, self.masks)

    def policy(self) -> "LearnedPolicy":
        """Return the policy, ready to decide; each call makes a new one."""
        return LearnedPolicy(self.policy_onnx, self.task, self.codec(), self.masks)

    def demand_model(self) -> Boosted:
        """Return the pooled demand model.

        Raises:
            BundleError: Its weights were made for another version.
        """
        try:
            with np.load(io.BytesIO(self.forecaster_npz), allow_pickle=False) as arrays:
                return load_boosted(arrays)
        except (OSError, ValueError) as error:
            raise BundleError(f"{WEIGHTS_FILE}: {error}") from error


def load_bundle(path: Path) -> Bundle:
    """Load and verify a bundle, a folder or a .zip.

    Raises:
        BundleError: A file is missing or changed, or the bundle belongs to another environment version or schema.
    """
    try:
        return _load(path, _verified(path))
    except BundleError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise BundleError(f"{path}: not a bundle of this version: {type(error).__name__}: {line}") from error


def _load(path: Path, files: dict[str, bytes]) -> Bundle:
    spec = json.loads(files[SPEC_FILE])
    if spec["environment"] != ENVIRONMENT_VERSION:
        raise BundleError(
            f"{path}: made for environment {spec['environment']}, this is {ENVIRONMENT_VERSION}; "
            "make it again with: python scripts/export.py RUN --out BUNDLE"
        )
    for name, known in ((FORECASTER_FILE, forecaster_content()), (DETECTOR_FILE, detector_content())):
        if json.loads(files[name]) != json.loads(json.dumps(known)):
            raise BundleError(f"{path}: {name} asks for a model that this version does not have")
    task = TaskSettings.model_validate(spec["task"])
    expected = advised_schema(task, spec["advisor"])
    if expected != spec["schema_hash"]:
        raise BundleError(
            f"{path}: its observation and action schema {spec['schema_hash']} differs from this version's "
            f"{expected}; make it again with: python scripts/export.py RUN --out BUNDLE"
        )
    rules = RuleBook.model_validate_json(files[RULES_NAME])
    names = [rule.name for rule in rules.rules]
    for key, allowed in (("best_rule", names), ("advisor", [*names, None])):
        if spec[key] not in allowed:
            raise BundleError(f"{path}: {SPEC_FILE}: {key}: unknown rule {spec[key]!r}; known: {', '.join(names)}")
    return Bundle(
        task=task,
        rules=rules,
        advisor=spec["advisor"],
        masks=None if spec["masks"] is None else ActionMasks(task, spec["masks"]),
        spec=spec,
        manifest=json.loads(files[MANIFEST_FILE]),
        card=files[CARD_FILE].decode(),
        policy_onnx=files[POLICY_FILE],
        forecaster_npz=files[WEIGHTS_FILE],
    )


def differing_part(one: Bundle, other: Bundle) -> str | None:
    """Return the first of task, rules and advisor in which two bundles differ; None for runs of one training."""
    parts = ("task", "rules", "advisor")
    return next((part for part in parts if getattr(one, part) != getattr(other, part)), None)


class LearnedPolicy:
    """The exported policy, run by ONNX Runtime on one thread.

    Args:
        policy_onnx: Serialised model.
        task: Task it was trained for.
        codec: Turns telemetry into its observation.
        masks: What it was permitted in training; everything if None.
    """

    def __init__(
        self, policy_onnx: bytes, task: TaskSettings, codec: ObservationEncoder, masks: ActionMasks | None = None
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(policy_onnx, options, providers=["CPUExecutionProvider"])
        self._codec = codec
        self._masks = masks
        self._edges = np.concatenate(([0], np.cumsum(action_space(task).nvec)))

    def logits(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits of every choice, [B, sum of choices].

        Raises:
            ValueError: An observation that is not finite.
        """
        if not np.isfinite(observations).all():
            raise ValueError("an observation holds a value that is not finite")
        return np.asarray(self._session.run(["logits"], {"observation": observations})[0])

    def permitted(self, logits: NDArray[np.float32], readings: NDArray[np.void]) -> NDArray[np.float32]:
        """Return logits with those of masked choices far below all others; finite, so that guardrails can take them."""
        if self._masks is None:
            return logits
        return np.where(self._masks(readings), logits, np.float32(_MASKED))

    def parts(self, logits: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Split logits into the parts of the action."""
        return [logits[:, start:end] for start, end in zip(self._edges, self._edges[1:], strict=False)]

    def act(self, readings: NDArray[np.void]) -> NDArray[np.int64]:
        """Return the most probable action of each part, [B, 4]."""
        parts = self.parts(self.permitted(self.logits(self._codec.encode(readings)), readings))
        return np.stack([part.argmax(axis=1) for part in parts], axis=1)
