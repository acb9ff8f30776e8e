"""Training on the traces that the committed split divides: those that are there are replayed, the others named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from agents.experiment import CONFIG_FILE, VALIDATION_FILE, TrainSettings, missing_traces, with_divided_traces
from envs.settings import EnvSettings, WorldSource
from scripts.train import train
from telemetry.splits import load_splits

TRACES = load_splits().divided.traces
HERE = "tweets_AAPL_2015_5min"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the traces, with a fortnight of one of them."""
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "demand"
    folder.mkdir(parents=True)
    times = pd.date_range("2026-03-02", periods=14 * 288, freq="5min", tz="UTC")
    load = 100.0 + 40.0 * np.sin(2.0 * np.pi * np.arange(len(times)) / 288)
    pd.DataFrame({"timestamp": times, "requests_per_second": load}).to_parquet(folder / f"{HERE}.parquet")
    return folder


def test_traces_that_are_there_are_named_and_the_others_are_told(data: Path) -> None:
    own = WorldSource(traces=("mine.csv",))
    settings = TrainSettings(env=EnvSettings(source=own), divided_traces=True)
    found = with_divided_traces(settings)
    assert missing_traces(settings) == [name for name in TRACES if name != HERE]
    assert found.source.traces == ("mine.csv", str(data / f"{HERE}.parquet"))
    assert found.model_copy(update={"source": own}) == settings.env, "nothing else changes"


def test_a_trace_that_is_named_already_is_not_named_again(data: Path) -> None:
    once = with_divided_traces(TrainSettings(divided_traces=True))
    assert with_divided_traces(TrainSettings(env=once, divided_traces=True)) == once


def test_without_the_switch_nothing_changes(data: Path) -> None:
    assert with_divided_traces(TrainSettings()) == TrainSettings().env
    assert missing_traces(TrainSettings()) == []


@pytest.mark.slow
def test_training_goes_on_without_the_traces_that_are_missing(data: Path, tmp_path: Path) -> None:
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
    config = json.loads((run / CONFIG_FILE).read_text())
    assert config["env"]["source"]["traces"] == []
    assert config["divided_traces"]
    assert json.loads((run / VALIDATION_FILE).read_text())["history"]
