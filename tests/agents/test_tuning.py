import csv
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from pydantic import ValidationError

from agents.experiment import TrainSettings
from agents.ppo import PPOSettings
from agents.tuning import (
    BEST_CONFIG_FILE,
    STUDY_FILE,
    TRIALS_FILE,
    Outcome,
    TuneSettings,
    _Watch,
    finish,
    finished_trials,
    open_study,
    write_results,
)
from agents.tuning_workers import _Job, _Workers, run_study

ROOT = Path(__file__).resolve().parents[2]
SPACE = {"learning_rate": {"low": 1e-3, "high": 0.2, "log": True}, "gamma": {"choices": [0.9, 0.98]}}


def configuration(train_settings: TrainSettings, **changes: Any) -> dict[str, Any]:
    """Return a search around rates so high that a few hundred decisions change the policy."""
    train = train_settings.model_dump(mode="json", exclude_defaults=True)
    train["ppo"]["learning_rate"] = 0.02
    return {"train": train, "space": SPACE, "trial_timesteps": 2048, "validations": 4, **changes}


def settings_of(content: dict[str, Any]) -> TuneSettings:
    return TuneSettings.model_validate(content)


def command(config: Path, out: Path, *arguments: str) -> list[str]:
    script = str(ROOT / "scripts" / "tune.py")
    return [sys.executable, script, "--config", str(config), "--out", str(out), *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def config(train_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tune.yaml"
    path.write_text(yaml.safe_dump(configuration(train_settings)))
    return path


@pytest.fixture(scope="module")
def tuned(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished study of three trials."""
    out = tmp_path_factory.mktemp("studies") / "study"
    done = subprocess.run(
        command(config, out, "--trials", "3"), capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return out, done


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / TRIALS_FILE).read_text().splitlines()))


@pytest.mark.slow
def test_a_study_leaves_its_results_and_no_trial_folders(
    tuned: tuple[Path, subprocess.CompletedProcess[str]], train_settings: TrainSettings
) -> None:
    out, done = tuned
    assert done.stderr == "", "quiet off a terminal"
    assert {item.name for item in out.iterdir()} == {BEST_CONFIG_FILE, TRIALS_FILE, STUDY_FILE, "record.json"}
    table = rows(out)
    assert [row["trial"] for row in table] == ["0", "1", "2"]
    assert [row["seed"] for row in table] == ["0", "1", "2"]
    assert len({row["cost_over_reference"] for row in table}) > 1
    assert float(table[0]["learning_rate"]) == 0.02
    assert float(table[0]["gamma"]) == train_settings.ppo.gamma
    best = min((row for row in table if row["state"] == "complete"), key=lambda row: float(row["cost_over_reference"]))
    lines = done.stdout.splitlines()
    assert (
        lines[0] == f"best: trial {best['trial']}, {float(best['cost_over_reference']):.4f} of reference on validation"
    )
    assert f"  learning_rate: {best['learning_rate']}" in lines
    assert lines[-1] == f"watch: optuna-dashboard sqlite:///{out / STUDY_FILE}"


@pytest.mark.slow
def test_the_best_configuration_is_the_base_with_the_best_trials_hyper_parameters(
    tuned: tuple[Path, subprocess.CompletedProcess[str]], train_settings: TrainSettings
) -> None:
    out, _ = tuned
    best = TrainSettings.model_validate(yaml.safe_load((out / BEST_CONFIG_FILE).read_text()))
    complete = [row for row in rows(out) if row["state"] == "complete"]
    row = min(complete, key=lambda row: float(row["cost_over_reference"]))
    assert best.ppo.learning_rate == float(row["learning_rate"])
    assert best.ppo.gamma == float(row["gamma"])
    tuned_away = {name: getattr(train_settings.ppo, name) for name in SPACE}
    assert best.ppo.n_timesteps == train_settings.ppo.n_timesteps
    same = best.model_copy(update={"ppo": best.ppo.model_copy(update=tuned_away)})
    assert same == train_settings


@pytest.mark.slow
def test_one_seed_and_one_worker_give_the_same_trials_twice(
    tuned: tuple[Path, subprocess.CompletedProcess[str]], config: Path, tmp_path: Path
) -> None:
    settings = settings_of(yaml.safe_load(config.read_text()))
    with open_study(tmp_path, settings, seed=0) as study:
        run_study(study, settings, tmp_path, trials=3, workers=1, seed=0)
        write_results(study, settings, tmp_path)
    compared = ("state", "cost_over_reference", "steps", "seed", *SPACE)
    assert [[row[key] for key in compared] for row in rows(tmp_path)] == [
        [row[key] for key in compared] for row in rows(tuned[0])
    ]


@pytest.mark.slow
def test_a_trial_worse_than_the_others_is_pruned(train_settings: TrainSettings, tmp_path: Path) -> None:
    content = configuration(train_settings, startup_trials=1, warmup_steps=1)
    content["space"] = {"learning_rate": {"low": 1e-3, "high": 0.5, "log": True}}
    content["train"]["ppo"]["learning_rate"] = 1e-3
    settings = settings_of(content)
    with open_study(tmp_path, settings, seed=0) as study:
        study.enqueue_trial({"learning_rate": 0.5})
        run_study(study, settings, tmp_path, trials=2, workers=1, seed=0)
        good, bad = study.trials
    assert good.state == TrialState.COMPLETE
    assert good.value == good.intermediate_values[settings.validations] == min(good.intermediate_values.values())
    assert bad.state == TrialState.PRUNED
    assert bad.last_step is not None
    assert bad.last_step < settings.validations
    assert bad.intermediate_values[bad.last_step] > good.intermediate_values[bad.last_step]


def in_the_middle(database: Path) -> bool:
    """Return whether a trial is complete and another has reported a step."""
    if not database.exists():
        return False
    query = (
        "SELECT EXISTS (SELECT 1 FROM trials WHERE state = 'COMPLETE') AND EXISTS (SELECT 1 FROM trials "
        "JOIN trial_intermediate_values USING (trial_id) WHERE state = 'RUNNING')"
    )
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as opened:
            return bool(opened.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return False


@pytest.mark.slow
def test_an_interrupted_study_goes_on_to_exactly_the_trials_asked_for(
    train_settings: TrainSettings, tmp_path: Path
) -> None:
    content = configuration(train_settings, trial_timesteps=8192)
    path, out = tmp_path / "tune.yaml", tmp_path / "study"
    path.write_text(yaml.safe_dump(content))
    started = subprocess.Popen(
        command(path, out, "--trials", "40"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    while started.poll() is None:
        if in_the_middle(out / STUDY_FILE):
            started.send_signal(signal.SIGINT)
            break
        time.sleep(0.05)
    _, errors = started.communicate(timeout=300)
    assert started.returncode == 1
    assert errors == "tune: interrupted\n"
    assert not (out / "running").exists()
    settings = settings_of(content)
    before = rows(out)
    (stopped,) = (row for row in before if row["state"] == "fail")
    with open_study(out, settings, seed=0) as study:
        wanted = len(finished_trials(study)) + 2
        assert wanted < 40
        run_study(study, settings, out, trials=wanted, workers=2, seed=0)
        assert len(finished_trials(study)) == wanted
        assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
        again = [trial for trial in finished_trials(study) if trial.user_attrs["seed"] == int(stopped["seed"])]
        assert [str(trial.params["learning_rate"]) for trial in again] == [stopped["learning_rate"]]
        run_study(study, settings, out, trials=wanted, workers=2, seed=0)
        assert len(finished_trials(study)) == wanted, "nothing is left to do"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"space": {**SPACE, "gamma": {"choices": [0.9, 0.95, 0.98]}}}, "space.gamma"),
        ({"space": {**SPACE, "learning_rate": {"low": 1e-3, "high": 0.1, "log": True}}}, "space.learning_rate"),
        ({"space": {**SPACE, "clip_range": {"low": 0.1, "high": 0.3}}}, "space.clip_range"),
        ({"trial_timesteps": 1024}, "trial_timesteps"),
    ],
)
def test_a_study_of_another_space_is_refused_by_name(
    train_settings: TrainSettings, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with open_study(tmp_path, settings_of(configuration(train_settings)), seed=0):
        pass
    other = settings_of(configuration(train_settings, **change))
    with (
        pytest.raises(ValueError, match=rf"study\.db: the study has another {named}: .*give another --out"),
        open_study(tmp_path, other, seed=0),
    ):
        pass


def test_a_folder_holds_one_process_and_one_study(train_settings: TrainSettings, tmp_path: Path) -> None:
    settings = settings_of(configuration(train_settings))
    with (
        open_study(tmp_path, settings, seed=0),
        pytest.raises(ValueError, match="another process is tuning"),
        open_study(tmp_path, settings, seed=0),
    ):
        pass
    other = tmp_path / "other"
    other.mkdir()
    (other / STUDY_FILE).write_text("not a database, but long enough to be looked at as one" * 40)
    with pytest.raises(ValueError, match=r"study\.db: not a study"), open_study(other, settings, seed=0):
        pass


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"learning_rat": {"low": 1e-4, "high": 1e-3}}, "learning_rat: not a hyper-parameter.*learning_rate"),
        ({"n_timesteps": {"low": 1, "high": 10}}, "n_timesteps: not a hyper-parameter"),
        ({"exploration": {"low": 0, "high": 1}}, "exploration: not a hyper-parameter.*exploration.scale_sigma"),
        ({"exploration.keep_share": {"low": 0.1, "high": 0.6}}, "exploration.keep_share: .*add up to"),
        ({"paired": {"low": 0, "high": 1}}, "paired: takes choices, not a range"),
        ({"gamma": {"low": 0.5, "high": 1.5}}, "gamma: Input should be less than 1"),
        ({"n_epochs": {"low": 1.5, "high": 4}}, "n_epochs: Input should be a valid integer"),
        ({"gamma": {"low": 0.99, "high": 0.5}}, "low 0.99 is not below high 0.5"),
        ({"ent_coef": {"low": 0.0, "high": 0.1, "log": True}}, "not above 0, which log asks for"),
        ({"gamma": {"low": 0.5, "high": 0.6}}, "gamma: does not hold 0.98"),
        ({"gamma": {"choices": [0.5]}}, "at least 2 items"),
        ({"gamma": {"lowest": 0.5}}, "Extra inputs|Field required"),
        ({}, "at least 1 item"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TuneSettings(space=space)


def test_values_become_what_the_hyper_parameter_is() -> None:
    settings = TuneSettings.model_validate(
        {
            "space": {
                "n_epochs": {"low": 2, "high": 10.0},
                "target_kl": {"choices": [None, "1e-2"]},
                "learning_rate": {"low": "1e-5", "high": 1, "log": True},
                "exploration.scale_sigma": {"low": 0.5, "high": 1},
            }
        }
    )
    assert settings.distributions() == {
        "n_epochs": optuna.distributions.IntDistribution(2, 10),
        "target_kl": optuna.distributions.CategoricalDistribution([None, 0.01]),
        "learning_rate": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True),
        "exploration.scale_sigma": optuna.distributions.FloatDistribution(0.5, 1.0),
    }
    own = PPOSettings()
    assert settings.first_parameters() == {
        "n_epochs": own.n_epochs,
        "target_kl": own.target_kl,
        "learning_rate": own.learning_rate,
        "exploration.scale_sigma": own.exploration.scale_sigma,
    }
    assert settings.whole_run({"exploration.scale_sigma": 0.9}).ppo.exploration.scale_sigma == 0.9
    assert settings.whole_run({}) == settings.train


def test_the_shipped_search_starts_at_the_shipped_agent() -> None:
    settings = settings_of(yaml.safe_load((ROOT / "configs" / "tune.yaml").read_text()))
    shipped = yaml.safe_load((ROOT / "configs" / "train" / "default.yaml").read_text())
    assert settings.train == TrainSettings.model_validate(shipped)


@pytest.mark.parametrize("n_steps", [8, 16, 50])
def test_a_short_run_validates_in_equal_shares_whatever_a_rollout_is(n_steps: int) -> None:
    settings = TuneSettings.model_validate(
        {"space": {"n_steps": {"low": 8, "high": 64}}, "trial_timesteps": 40_000, "validations": 5}
    )
    run = settings.short_run({"n_steps": n_steps})
    assert run.ppo == PPOSettings(n_steps=n_steps, n_timesteps=40_000)
    rollouts = math.ceil(40_000 / (256 * n_steps))
    reported: list[int] = []
    watch = _Watch(40_000, 5, lambda step, _: bool(reported.append(step)))
    for rollout in range(0, rollouts, run.validate_every):
        watch(rollout * 256 * n_steps, 1.0)
    watch(rollouts * 256 * n_steps, 1.0)
    assert reported == sorted(set(reported))
    assert set(reported) <= {1, 2, 3, 4}
    assert len(reported) >= min(rollouts - 1, 4) - 1


def test_the_first_policy_counts_for_nothing_and_a_pruned_trial_says_no_more() -> None:
    reported: list[tuple[int, float]] = []

    def report(step: int, value: float) -> bool:
        reported.append((step, value))
        return step == 2

    watch = _Watch(100, 4, report)
    played = [(0, 0.1), (10, 0.9), (30, 0.8), (55, 0.85), (80, 0.2)]
    assert [watch(*item) for item in played] == [False, False, False, True, True]
    assert reported == [(1, 0.8), (2, 0.8)]
    assert watch.pruned
    assert watch.best == 0.8


def test_a_failed_trial_counts_but_not_one_of_the_base_configuration(
    train_settings: TrainSettings, tmp_path: Path
) -> None:
    settings = settings_of(configuration(train_settings))
    with open_study(tmp_path, settings, seed=7) as study:
        with pytest.raises(ValueError, match="base configuration cannot be trained with: no world"):
            finish(study, study.ask(settings.distributions()), settings, Outcome(error="no world"))
        assert not finished_trials(study)
        finish(study, study.ask(settings.distributions()), settings, Outcome(error="diverged"))
        assert len(finished_trials(study)) == 1
        assert write_results(study, settings, tmp_path) is None
    assert [row["error"] for row in rows(tmp_path)] == ["", "diverged"]
    assert not (tmp_path / BEST_CONFIG_FILE).exists()
    with open_study(tmp_path, settings, seed=7) as study:
        assert study.ask(settings.distributions()).params == settings.first_parameters(), "queued again"


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_trial_and_is_replaced(
    train_settings: TrainSettings, tmp_path: Path
) -> None:
    settings = settings_of(configuration(train_settings))
    pool = _Workers(1, settings, tmp_path)
    study = optuna.create_study()
    try:
        pool.begin(study.ask(settings.distributions()), _Job(settings.first_parameters(), 0))
        ((connection, (worker, _)),) = pool.busy.items()
        assert not pool.available
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        worker.send(False)
        assert pool.next_message(connection) == Outcome(error="its process ended with exit code -9")
        pool.release(connection)
        assert pool.available
        pool.begin(study.ask(settings.distributions()), _Job({"gamma": 2.0}, 0))
        (connection,) = pool.busy
        message = pool.next_message(connection)
        assert isinstance(message, Outcome)
        assert message.error is not None
    finally:
        pool.stop()


def test_ray_is_asked_for_only_where_it_is(config: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import importlib.util, runpy, sys; find = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
            "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')",
            *command(config, tmp_path, "--engine", "ray")[1:],
        ],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Ray is not installed; run: python -m pip install" in done.stderr


@pytest.mark.slow
def test_ray_runs_the_same_study(
    tuned: tuple[Path, subprocess.CompletedProcess[str]], config: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    done = subprocess.run(
        command(config, tmp_path, "--trials", "3", "--engine", "ray"),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet off a terminal"
    assert done.stdout.startswith("best: trial "), "Ray prints nothing of its own"
    left = {item.name for item in tmp_path.iterdir() if not item.name.startswith(f"{STUDY_FILE}-")}
    assert left == {BEST_CONFIG_FILE, TRIALS_FILE, STUDY_FILE, "record.json"}
    compared = ("trial", "seed", *SPACE)
    ours, theirs = rows(tuned[0]), rows(tmp_path)
    assert [ours[0][key] for key in compared] == [theirs[0][key] for key in compared]
    assert ours[0]["cost_over_reference"] == theirs[0]["cost_over_reference"]
    assert len(theirs) == 3
    assert {row["state"] for row in theirs} <= {"complete", "pruned"}
    assert TrainSettings.model_validate(yaml.safe_load((tmp_path / BEST_CONFIG_FILE).read_text()))
    assert json.loads((tmp_path / "record.json").read_text())["seed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_cluster_out_of_reach_is_one_line(config: Path, tmp_path: Path, address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    done = subprocess.run(
        command(config, tmp_path, "--engine", "ray", "--address", address),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == (2 if address == "nowhere" else 1)
    assert done.stderr.count("\n") == 1
    assert address in done.stderr
