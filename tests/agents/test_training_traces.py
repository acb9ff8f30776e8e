"""Training on the traces that the committed split divides: those that are there are replayed, the others named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from agents.experiment import VALIDATION_FILE, TrainSettings, missing_traces, with_divided_traces
from agents.ppo import STATE_FILE
from envs.settings import EnvSettings, WorldSource
from scripts.train import train
from telemetry.splits import load_splits

TRACES = load_splits().divided.traces
HERE = "tweets_AAPL_2015_5min"


@pytest.fixture(autouse=True)
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fortnight of one of the traces, alone in the folder of the public traces."""
    folder = tmp_path / "data" / "demand"
    folder.mkdir(parents=True)
    times = pd.date_range("2026-03-02", periods=14 * 288, freq="5min", tz="UTC")
    load = 100.0 + 40.0 * np.sin(2.0 * np.pi * np.arange(len(times)) / 288)
    pd.DataFrame({"timestamp": times, "requests_per_second": load}).to_parquet(folder / f"{HERE}.parquet")
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path / "data"))
    return folder / f"{HERE}.parquet"


def test_traces_that_are_there_are_replayed_and_the_others_are_told(trace: Path) -> None:
    env = EnvSettings(source=WorldSource(traces=("mine.csv",)))
    settings = TrainSettings(env=env, divided_traces=True)
    assert missing_traces(settings) == [name for name in TRACES if name != HERE]
    found = with_divided_traces(settings)
    assert found.source.traces == ("mine.csv", str(trace))
    own = found.source.model_copy(update={"traces": env.source.traces})
    assert found.model_copy(update={"source": own}) == env, "nothing else changes"


def test_a_trace_that_is_named_already_is_neither_named_again_nor_missing(trace: Path) -> None:
    named = (f"elsewhere/{TRACES[0]}.parquet", str(trace))
    settings = TrainSettings(env=EnvSettings(source=WorldSource(traces=named)), divided_traces=True)
    assert with_divided_traces(settings) == settings.env
    assert missing_traces(settings) == [name for name in TRACES if name not in (HERE, TRACES[0])]


def test_without_the_switch_nothing_changes() -> None:
    assert with_divided_traces(TrainSettings()) == EnvSettings()
    assert missing_traces(TrainSettings()) == []


@pytest.mark.slow
def test_training_goes_on_without_the_traces_that_are_missing(trace: Path, tmp_path: Path) -> None:
    sets = (
        "divided_traces=true",
        "env.source={patterns: [steady], days: 2, scenarios_per_source: 1, markets: 1, mean_instances: 6}",
        "ppo={n_timesteps: 128, n_envs: 4, n_steps: 16, batch_size: 32, n_epochs: 1, hidden: 8}",
        "validation_windows=2",
        "validation_days=1",
    )
    run, app = tmp_path / "run", typer.Typer()
    app.command()(train)
    options = [part for item in sets for part in ("--set", item)]
    done = CliRunner().invoke(app, ["--out", str(run), *options])
    assert done.exit_code == 0, done.output
    others = ", ".join(name for name in TRACES if name != HERE)
    assert done.stderr == f"train: without the traces that are not there: {others}\n"
    replayed = json.loads((run / STATE_FILE).read_text())["settings"]["source"]["traces"]
    assert replayed == [str(trace)]
    assert json.loads((run / VALIDATION_FILE).read_text())["history"]
