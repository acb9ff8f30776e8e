"""The mean of several trained policies, as one bundle: what seeds of a training agree on.

Each seed of a training ends at another policy, and where demand is unlike anything it was trained on they differ most.
Their mean logits are the logarithm of the geometric mean of their distributions; of normals of one spread, as those of
scale and spot are (``agents.residual``), that is the normal around the mean of their shifts.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnx
from onnx.utils import Extractor

from agents.bundle import CARD_FILE, POLICY_FILE, Bundle, BundleError, LearnedPolicy, differing_part, load_bundle
from agents.experiment import export_run, run_card
from agents.export import building_bundle, logits_difference, observations_everywhere
from telemetry.provenance import write_bytes, write_text

_INPUT: Final = "observation"
_OUTPUT: Final = "logits"
_KEPT: Final = ("", _INPUT, "value")


def mean_policy(policies: Sequence[bytes]) -> bytes:
    """Return one ONNX policy whose logits are the mean of others'; its ``value`` is the first one's.

    Args:
        policies: Serialised policies of one observation and one action, at least one. Training goes on from the first
            (``agents.warm_start``).

    Raises:
        ValueError: None, or their schema hashes differ.
    """
    if not policies:
        raise ValueError("no policy to average; expected at least one")
    models = [onnx.load_from_string(policy) for policy in policies]
    if len({_metadata(model) for model in models}) > 1:
        raise ValueError("the policies have different schema hashes; expected one")
    actors = [Extractor(model).extract_model([_INPUT], [_OUTPUT]) for model in models[1:]]
    actors.insert(0, models[0])
    inputs, outputs = list(models[0].graph.input), list(models[0].graph.output)
    for number, actor in enumerate(actors):
        _rename(actor.graph, f"{number}/")
    graph = onnx.helper.make_graph(
        [
            *(node for actor in actors for node in actor.graph.node),
            onnx.helper.make_node("Mean", [f"{number}/{_OUTPUT}" for number in range(len(actors))], [_OUTPUT]),
        ],
        "mean",
        inputs,
        outputs,
        [weights for actor in actors for weights in actor.graph.initializer],
    )
    merged = onnx.helper.make_model(graph, opset_imports=models[0].opset_import, ir_version=models[0].ir_version)
    merged.metadata_props.extend(models[0].metadata_props)
    onnx.checker.check_model(merged)
    return bytes(merged.SerializeToString())


def _metadata(model: onnx.ModelProto) -> tuple[tuple[str, str], ...]:
    return tuple((item.key, item.value) for item in model.metadata_props)


def _rename(graph: onnx.GraphProto, prefix: str) -> None:
    """Put a prefix before every name of a graph but those of its input and its value."""
    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [name if name in _KEPT else prefix + name for name in node.input]
        node.output[:] = [name if name in _KEPT else prefix + name for name in node.output]
    for weights in graph.initializer:
        weights.name = prefix + weights.name


def check_mean(merged: bytes, members: Sequence[Bundle], seed: int = 0) -> float:
    """Compare a merged policy's logits with the mean of its members' on observations from all over the space.

    Returns:
        The largest difference of two logits, as a share of the logit where that is beyond 1.

    Raises:
        ExportError: That is more than 1e-4.
    """
    first = members[0]
    observations = observations_everywhere(first.codec().space, seed)
    found = LearnedPolicy(merged, first.task, first.codec()).logits(observations)
    expected = np.stack([member.policy().logits(observations) for member in members]).mean(axis=0, dtype=np.float64)
    return logits_difference(found, expected, "logits differ from the members' mean")


def average_bundles(paths: Sequence[Path], out: Path, card: str) -> float:
    """Write the bundle of the mean of several bundles' policies, or nothing; return the largest difference of logits.

    Args:
        paths: Bundle folders; what is not the policy, its card or the manifest is taken from the first.
        out: Bundle folder to write.
        card: Content of ``card.md``.

    Raises:
        BundleError: A bundle is damaged, differs from the first in task, rules, advisor or masks, repeats a training
            seed, or the mean is too large.
        ExportError: The merged policy does not give the mean.
    """
    members = [load_bundle(path) for path in paths]
    for path, member in zip(paths, members, strict=True):
        part = differing_part(members[0], member)
        if part is not None:
            raise BundleError(f"{path}: its {part} differs from that of {paths[0]}; expected runs of one training")
        if member.spec["masks"] != members[0].spec["masks"]:
            raise BundleError(f"{path}: its masks differ from those of {paths[0]}; expected runs of one training")
    seeds = [seed for member in members for seed in member.manifest["seeds"]]
    if len(set(seeds)) < len(seeds):
        raise BundleError(f"the training seeds are {seeds}; expected each once")
    merged = mean_policy([member.policy_onnx for member in members])
    difference = check_mean(merged, members)
    with building_bundle(out, seeds) as building:
        shutil.copytree(paths[0], building, dirs_exist_ok=True)
        write_bytes(building / POLICY_FILE, merged)
        write_text(building / CARD_FILE, card)
    return difference


def export_runs(folders: Sequence[Path], out: Path) -> float:
    """Export a run, or the mean of several runs of one training; return the largest difference of logits.

    Raises:
        FileNotFoundError: A folder holds no finished run.
        ExportError: An exported policy differs from the trained one.
        BundleError: The runs are not of one training, or the bundle is too large.
    """
    if len(folders) == 1:
        return export_run(folders[0], out)
    with TemporaryDirectory() as place:
        paths = [Path(place) / f"{number}-{folder.name}" for number, folder in enumerate(folders)]
        exported = [export_run(folder, path) for folder, path in zip(folders, paths, strict=True)]
        return max(*exported, average_bundles(paths, out, run_card(folders)))
