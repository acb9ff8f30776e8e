"""Bundles for the service to be tested with."""

import logging
import warnings
from pathlib import Path

from agents.rules import RuleBook
from envs.settings import EnvSettings, TaskSettings
from simulators.bank import Bank


def untrained_bundle(rules: RuleBook, advisor: str, task: TaskSettings, bank: Bank, path: Path) -> Path:
    """Write a real bundle of an untrained policy, which does what its advisor does, and return its path."""
    from agents.export import export_bundle
    from agents.ppo import PPOSettings, make_model

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    ppo = PPOSettings(n_envs=2, n_steps=8, batch_size=8)
    with warnings.catch_warnings():
        # torch 2.13's exporter warns about its own use of a pytree class.
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        model = make_model(EnvSettings(task=task), ppo, bank=bank, advisor=rules.policy(advisor, task), seed=0)
        export_bundle(
            model, task, rules, path, best_rule=advisor, advisor=advisor, masks=None, card="# Card\n", seeds=[0]
        )
    return path
