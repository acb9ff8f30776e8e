"""The shipped agent: small, of this version, made by the shipped configuration, better than the rule it starts at."""

import json

import numpy as np
import pytest
import yaml

from agents.bundle import MAX_BUNDLE_BYTES, MAX_POLICY_BYTES, POLICY_FILE, Bundle, load_bundle
from agents.card import SOURCES
from agents.experiment import TrainSettings
from agents.rollout import play, random_windows
from agents.rules import CONFIGS, load_rules
from envs.settings import TaskSettings, WorldSource
from envs.worlds import make_bank
from scripts.command import DEFAULT_BUNDLE
from telemetry.splits import load_splits


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(DEFAULT_BUNDLE)


def test_it_is_small_and_of_this_version(bundle: Bundle) -> None:
    sizes = {path.name: path.stat().st_size for path in DEFAULT_BUNDLE.iterdir()}
    assert sum(sizes.values()) <= MAX_BUNDLE_BYTES
    assert sizes[POLICY_FILE] <= MAX_POLICY_BYTES
    assert bundle.rules == load_rules()
    assert bundle.task == load_rules().task(TaskSettings())


def test_its_card_names_every_source_of_its_configuration(bundle: Bundle) -> None:
    settings = TrainSettings.model_validate(yaml.safe_load((CONFIGS / "train" / "default.yaml").read_text()))
    names = {*settings.env.source.models, *load_splits().divided.traces}
    assert names <= set(SOURCES), "only demand whose licence is known is trained on"
    for name in names:
        assert name in bundle.card
        assert SOURCES[name][1] in bundle.card
    assert f"{settings.ppo.n_timesteps:,} decisions" in bundle.card


def test_nothing_in_it_tells_of_the_machine_it_was_made_on() -> None:
    for path in DEFAULT_BUNDLE.iterdir():
        content = path.read_bytes()
        for trace in (b"/work/", b"/home/", b"/tmp/", b"/root/"):
            assert trace not in content, (path.name, trace)


@pytest.mark.slow
def test_it_costs_less_than_its_rule_on_worlds_of_the_test_seeds(bundle: Bundle) -> None:
    settings = yaml.safe_load((CONFIGS / "train" / "default.yaml").read_text())
    source = WorldSource(split="test", models=settings["env"]["source"]["models"], scenarios_per_source=1, markets=3)
    bank = make_bank(source, bundle.task)
    windows = random_windows(bank, 84, 2, seed=3)
    rule = bundle.rules.policy(str(bundle.advisor), bundle.task)
    ours, theirs = (play(policy, bank, bundle.task, windows) for policy in (bundle.policy(), rule))
    reference = theirs.totals["reference_usd"]
    saved = (theirs.total_usd - ours.total_usd) / reference
    assert saved.mean() > 3.0 * saved.std(ddof=1) / np.sqrt(len(saved))
    assert ours.totals["launches"].sum() <= 1.25 * theirs.totals["launches"].sum()
    days = ours.totals["ticks"].sum() / 1440
    assert ours.totals["type_changes"].sum() / days <= 2.0


def test_it_is_the_mean_of_all_seeds_or_one_of_them(bundle: Bundle) -> None:
    assert bundle.manifest["seeds"] in (list(range(5)), *([seed] for seed in range(5)))
    assert json.loads((DEFAULT_BUNDLE / "spec.json").read_text())["advisor"] == bundle.advisor == "spot-hedge"
