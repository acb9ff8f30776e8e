"""Training on the traces that the committed split divides: those that are there are replayed, the others named."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from agents.experiment import CONFIG_FILE, VALIDATION_FILE, TrainSettings, with_divided_traces
from envs.settings import EnvSettings, WorldSource
from scripts.train import train
from telemetry.splits import load_splits

TRACES = load_splits().divided.traces
HERE = "tweets_AAPL_2015_5min"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a fortnight of one of the traces."""
    folder = tmp_path / "data"
    folder.mkdir()
    times = pd.date_range("2026-03-02", periods=14 * 288, freq="5min", tz="UTC")
    load = 100.0 + 40.0 * np.sin(2.0 * np.pi * np.arange(len(times)) / 288)
    pd.DataFrame({"timestamp": times, "requests_per_second": load}).to_parquet(folder / f"{HERE}.parquet")
    return folder


def test_traces_that_are_there_are_named_and_the_others_are_told(data: Path) -> None:
    own = WorldSource(traces=("mine.csv",))
    settings = TrainSettings(env=EnvSettings(source=own), divided_traces=True)
    found, missing = with_divided_traces(settings, data)
    assert missing == [name for name in TRACES if name != HERE]
    assert found.env.source.traces == ("mine.csv", str(data / f"{HERE}.parquet"))
    back = found.model_copy(update={"env": settings.env})
    assert back == settings, "nothing else changes"


def test_a_trace_that_is_named_already_is_not_named_again(data: Path) -> None:
    once, missing = with_divided_traces(TrainSettings(divided_traces=True), data)
    twice, still_missing = with_divided_traces(once, data)
    assert twice == once
    assert still_missing == missing


def test_without_the_switch_nothing_changes(data: Path) -> None:
    assert with_divided_traces(TrainSettings(), data) == (TrainSettings(), [])


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
    done = CliRunner().invoke(app, ["--out", str(run), "--data", str(data), *options])
    assert done.exit_code == 0, done.output
    others = ", ".join(name for name in TRACES if name != HERE)
    assert done.stderr == f"train: without the traces that are not there: {others}\n"
    config = json.loads((run / CONFIG_FILE).read_text())
    assert config["env"]["source"]["traces"] == [str(data / f"{HERE}.parquet")]
    assert json.loads((run / VALIDATION_FILE).read_text())["history"]
