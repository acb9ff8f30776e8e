"""The bundle being served, with everything derived from it once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agents.advice import AdvisedCodec
from agents.bundle import POLICY_FILE, Bundle, BundleError, LearnedPolicy, load_bundle
from envs.action import action_space
from envs.observation import ObservationCodec
from envs.settings import TaskSettings
from forecasting.demand.boosted import Boosted
from simulators.catalogue import Catalogue
from simulators.latency import load_tail_table
from simulators.menu import menu_records
from simulators.physics import physics_record


@dataclass(frozen=True)
class ServedModel:
    """A verified bundle ready to answer.

    Attributes:
        bundle: The bundle.
        policy: Its policy in ONNX Runtime.
        codec: Telemetry to observation.
        catalogue: Instance types and launch specifications of the task.
        physics: PHYSICS record of the task.
        menu: [M] POLICY records of the task.
        boosted: The bundle's demand model.
        log_tails: [servers, targets, utilisation, response] log P(response > x), x in mean service times.
    """

    bundle: Bundle
    policy: LearnedPolicy
    codec: ObservationCodec | AdvisedCodec
    catalogue: Catalogue
    physics: np.void
    menu: NDArray[np.void]
    boosted: Boosted
    log_tails: NDArray[np.float32]

    @property
    def task(self) -> TaskSettings:
        """Action, observation and reward settings."""
        return self.bundle.task

    @property
    def specification_names(self) -> list[str]:
        """Names of the launch specifications, in order."""
        return [item.name for item in self.task.candidates]

    @property
    def policy_names(self) -> list[str]:
        """Names of the scaling policies, in order."""
        return [item.name for item in self.task.menu]

    def members(self, spec: int) -> NDArray[np.int64]:
        """Return the type indices of a launch specification."""
        return np.asarray(self.physics["members"][spec, : self.physics["num_members"][spec]], np.int64)


def _tried_policy(path: Path, bundle: Bundle) -> LearnedPolicy:
    """Return the policy once it has answered an observation of zeros with a logit for each choice."""
    observation = np.zeros((1, *bundle.codec().space.shape), np.float32)
    choices = int(action_space(bundle.task).nvec.sum())
    try:
        policy = bundle.policy()
        found = policy.logits(observation).shape
    except Exception as error:  # ONNX Runtime's errors share no other base class
        raise BundleError(f"{path}: {POLICY_FILE} cannot be run: {str(error).splitlines()[0]}") from error
    if found != (1, choices):
        raise BundleError(f"{path}: {POLICY_FILE} returns logits of shape {found}; expected {(1, choices)}")
    return policy


def serve_bundle(path: Path) -> ServedModel:
    """Load a bundle and derive what answering needs.

    Raises:
        BundleError: The bundle is damaged, or made for another version.
    """
    bundle = load_bundle(path)
    policy = _tried_policy(path, bundle)
    world = bundle.task.world
    catalogue = bundle.task.catalogue()
    return ServedModel(
        bundle=bundle,
        policy=policy,
        codec=bundle.codec(),
        catalogue=catalogue,
        physics=physics_record(catalogue, world)[0],
        menu=menu_records(bundle.task.menu),
        boosted=bundle.demand_model(),
        log_tails=load_tail_table(world.physics.routing, world.workload.cv2),
    )
