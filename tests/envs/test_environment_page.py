"""The page of the environment says what the code does, and its example runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from envs.action import action_space
from envs.observation import Feature, observation_features, schema_hash
from envs.reward import TERMS
from envs.settings import DEFAULT_MENU, RewardWeights, TaskSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "environment.md").read_text()


def family(feature: Feature) -> Feature:
    """A component with its lead, level, rank or menu entry left open."""
    name, meaning = feature.name, feature.meaning
    name = re.sub(r"needed_\d+m_q[\d.]+", "needed_MINUTESm_qLEVEL", name)
    meaning = re.sub(r"the [\d.]+ quantile \d+ min", "the LEVEL quantile MINUTES min", meaning)
    if "candidate at rank" in meaning:
        name = re.sub(r"_\d+$", "_RANK", name)
        meaning = re.sub(r"rank \d+", "RANK", meaning)
    name = re.sub(r"^policy_.*", "policy_ENTRY", name)
    return Feature(name, feature.unit, meaning)


def observation_table(task: TaskSettings) -> str:
    """The table of the page: each family of components once, with the positions it takes."""
    positions: dict[Feature, list[int]] = {}
    for position, feature in enumerate(observation_features(task)):
        positions.setdefault(family(feature), []).append(position)
    lines = ["| position | component | unit | meaning |", "| --- | --- | --- | --- |"]
    for feature, places in positions.items():
        first, count = places[0], len(places)
        where = str(first)
        if count > 1:
            step = places[1] - first
            assert places == list(range(first, first + step * count, step))
            where = f"{first} to {places[-1]}" + (f", every {step}th" if step > 1 else "")
        lines.append(f"| {where} | `{feature.name}` | {feature.unit} | {feature.meaning} |")
    return "\n".join(lines)


def test_the_observation_table_of_the_page_is_the_codes() -> None:
    table = observation_table(TaskSettings())
    assert table in PAGE, f"docs/environment.md is out of date; its observation table should be:\n{table}"


def test_the_page_states_the_sizes_of_the_spaces() -> None:
    task = TaskSettings()
    assert f"`MultiDiscrete({action_space(task).nvec.tolist()})`" in PAGE
    assert f"`Box(-5, 5, ({len(observation_features(task))},), float32)`" in PAGE


def test_the_page_lists_reward_terms_with_their_weights_and_the_menu() -> None:
    weights = RewardWeights()
    for name in TERMS:
        assert re.search(rf"\| `{name}` \| .* \| {getattr(weights, name):g} \|", PAGE), name
    for policy in DEFAULT_MENU:
        assert f"`{policy.name}`" in PAGE, policy.name


def test_a_table_that_misses_a_feature_would_be_noticed() -> None:
    shorter = TaskSettings().model_copy(update={"candidates": TaskSettings().candidates[:-1]})
    assert observation_table(shorter) not in PAGE
    assert schema_hash(shorter) != schema_hash(TaskSettings())


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/environment.md", "exec"), names)
    assert isinstance(names["env"], gymnasium.Env)


def test_the_quickstart_draws_a_day(tmp_path: Path) -> None:
    script = ROOT / "examples" / "quickstart.py"
    assert len(script.read_text().splitlines()) < 25
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "quickstart.png").read_bytes()[:4] == b"\x89PNG"
