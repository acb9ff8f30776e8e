"""From a trained model to a bundle; refuses to write a policy whose outputs differ from the trained one's."""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from gymnasium.spaces import Box
from numpy.typing import NDArray
from stable_baselines3 import PPO

from agents.bundle import (
    CARD_FILE,
    DETECTOR_FILE,
    FORECASTER_FILE,
    POLICY_FILE,
    RULES_NAME,
    SPEC_FILE,
    WEIGHTS_FILE,
    LearnedPolicy,
    advised_schema,
    detector_content,
    forecaster_content,
    observation_length,
    spec_content,
    write_manifest,
)
from agents.continuous import choice_logits
from agents.rules import RuleBook, save_rules
from agents.trained import most_probable
from envs.action import action_space
from envs.box import ActionBox
from envs.masks import MenuPart
from envs.observation import ObservationCodec
from envs.settings import TaskSettings
from forecasting.shipped import DEMAND_FILE, WEIGHTS
from telemetry.provenance import write_json, write_text

TOLERANCE = 1e-4
PARITY_OBSERVATIONS = 2000


class ExportError(ValueError):
    """The exported policy does not do what the trained one does."""


class _Exported(torch.nn.Module):
    """The policy network as one graph: observation to logits and value; logits of the integers in any case."""

    def __init__(self, model: PPO) -> None:
        super().__init__()
        self.policy = model.policy

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.policy.extract_features(observation, self.policy.features_extractor)
        latent_policy, latent_value = self.policy.mlp_extractor(features)
        logits = self.policy.action_net(latent_policy)
        if isinstance(self.policy.action_space, ActionBox):
            logits = choice_logits(logits, self.policy.log_std.exp(), self.policy.action_space)
        return logits, self.policy.value_net(latent_value).squeeze(-1)


def export_policy(model: PPO, schema: str, path: Path) -> None:
    """Write the policy as ONNX, without source paths, with the schema hash in its metadata."""
    module = _Exported(model).eval()
    example = torch.zeros(2, *model.observation_space.shape)  # type: ignore[misc]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["observation"],
            output_names=["logits", "value"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
            dynamo=True,
        )
    proto = program.model_proto  # type: ignore[union-attr]
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    proto.metadata_props.add(key="schema_hash", value=schema)
    onnx.save(proto, path)


def observations_everywhere(space: Box, seed: int) -> NDArray[np.float32]:
    """Return observations drawn from all over a space, [PARITY_OBSERVATIONS, F]."""
    rng = np.random.default_rng(seed)
    return rng.uniform(space.low, space.high, (PARITY_OBSERVATIONS, *space.shape)).astype(np.float32)


def logits_difference(found: NDArray[Any], expected: NDArray[Any], complaint: str) -> float:
    """Return the largest difference of two logits, as a share of the expected one where that is beyond 1.

    Raises:
        ExportError: That is more than 1e-4; begins with the complaint.
    """
    difference = float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max())
    if not difference <= TOLERANCE:
        raise ExportError(f"{complaint} by {difference:.2e} (at most {TOLERANCE})")
    return difference


def check_parity(model: PPO, policy_onnx: bytes, task: TaskSettings, seed: int = 0) -> float:
    """Compare exported and trained logits and actions on observations from all over the space.

    Returns:
        The largest difference of two logits, as a share of the logit where that is beyond 1: far from the mode of a
        narrow normal logits are in the thousands, and so are their rounding errors.

    Raises:
        ExportError: That is more than 1e-4, or an action differs.
    """
    observations = observations_everywhere(cast(Box, model.observation_space), seed)
    exported = LearnedPolicy(policy_onnx, task, ObservationCodec(task))
    found = exported.logits(observations)
    with torch.no_grad():
        trained = _Exported(model).eval()(torch.as_tensor(observations))[0].numpy()
    difference = logits_difference(found, trained, "exported logits differ from the trained ones")
    actions = most_probable(model, observations)
    ours: NDArray[np.int64] = np.stack([part.argmax(axis=1) for part in exported.parts(found)], axis=1)
    ties = _near_ties(found, action_space(task).nvec)
    wrong = int(((ours != actions) & ~ties).sum())
    if wrong:
        raise ExportError(f"{wrong} of {PARITY_OBSERVATIONS} exported actions differ from the trained ones")
    return difference


def _near_ties(logits: NDArray[np.float32], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say where the two best choices of a part are closer than the tolerance, [B, parts]."""
    parts = np.split(logits, np.cumsum(sizes)[:-1], axis=1)
    best = [np.sort(part, axis=1)[:, -2:] if part.shape[1] > 1 else part for part in parts]
    return np.stack(
        [
            (pair[:, 1] - pair[:, 0] < TOLERANCE) if pair.shape[1] > 1 else np.zeros(len(pair), np.bool_)
            for pair in best
        ],
        axis=1,
    )


@contextmanager
def building_bundle(out: Path, seeds: list[int]) -> Iterator[Path]:
    """Give an empty folder for the files of a bundle; with its manifest it takes ``out``'s place at the end.

    Raises:
        BundleError: A file is missing, or the bundle is too large; ``out`` stays as it was.
    """
    building = out.with_name(out.name + ".part")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    write_manifest(building, seeds=seeds)
    shutil.rmtree(out, ignore_errors=True)
    building.replace(out)


def export_bundle(
    model: PPO,
    task: TaskSettings,
    book: RuleBook,
    out: Path,
    *,
    best_rule: str,
    advisor: str | None,
    masks: MenuPart | None,
    card: str,
    seeds: list[int],
) -> float:
    """Write a whole bundle folder, or nothing; return the largest difference of logits.

    Raises:
        ExportError: The exported policy differs from the trained one, or needs the observations of several decisions,
            where serving is shown one reading at a time.
        BundleError: The bundle is too large.
    """
    single = observation_length(task, advisor)
    if model.observation_space.shape != (single,):
        raise ExportError(
            f"the policy was trained on observations of shape {model.observation_space.shape}, {single} numbers a "
            "decision: stacked observations cannot be exported, because a request to the service brings one reading"
        )
    with building_bundle(out, seeds) as building:
        export_policy(model, advised_schema(task, advisor), building / POLICY_FILE)
        difference = check_parity(model, (building / POLICY_FILE).read_bytes(), task)
        save_rules(book, building / RULES_NAME)
        write_json(building / SPEC_FILE, spec_content(task, best_rule=best_rule, advisor=advisor, masks=masks))
        write_json(building / FORECASTER_FILE, forecaster_content())
        write_json(building / DETECTOR_FILE, detector_content())
        shutil.copyfile(WEIGHTS / DEMAND_FILE, building / WEIGHTS_FILE)
        write_text(building / CARD_FILE, card)
    return difference
