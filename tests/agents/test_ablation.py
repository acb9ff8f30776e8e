"""Ablations: rows that mean what they say, runs that can be resumed, a table that follows from them."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.stats import ttest_rel

from agents.ablation import (
    ANOMALIES,
    BASE,
    RESULT_FILE,
    TEST,
    VALIDATION,
    Row,
    Trial,
    difference,
    judges_worlds,
    load_rows,
    mean_figures,
    results,
    run_row,
    table,
    write_csv,
)
from agents.evaluation.worlds import Worlds, make_worlds
from agents.experiment import BEST_FILE, TrainSettings
from agents.policies import ConstantPolicy
from agents.rollout import cost_ratio, play
from agents.rules import RuleBook
from agents.training_jobs import TrainingJob, decisions_per_second
from envs.settings import TaskSettings, WorldSource
from envs.worlds import draw_scenarios
from scripts.command import load_config
from simulators.physics import reference_rps_per_instance
from simulators.records import TICKS_PER_ROW
from simulators.scenario import generate, with_anomaly_scores

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "configs" / "ablations.yaml"
VARIANTS = ROOT / "configs" / "ablations_variants.yaml"


def small_worlds(task: TaskSettings, source: WorldSource) -> Mapping[str, Worlds]:
    """Stand for the judge's: a day of one pattern in one market, with the source's forecasts."""
    rps = reference_rps_per_instance(task.catalogue(), task.world.workload)

    def worlds(seed: int) -> Worlds:
        scenario = generate(
            "bursty",
            days=1,
            seed=seed,
            rps_per_reference_instance=rps,
            mean_instances=6,
            forecasts=source.forecasts,
        )
        return make_worlds([scenario], task, seeds=[seed], days=3)

    return {VALIDATION: worlds(1_000_000), TEST: worlds(2_000_000)}


def settings_of(row: Row, base: Path | None = None) -> TrainSettings:
    return load_config(TrainSettings, base, [f"{key}={json.dumps(value)}" for key, value in row.set.items()])


def flat(content: dict, prefix: str = "") -> dict[str, str]:
    """Values by dotted key, constraints and imitation whole."""
    found: dict[str, str] = {}
    for key, value in content.items():
        inner = isinstance(value, dict) and value and key not in {"constraints", "imitate"}
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": json.dumps(value)}
    return found


def changes(path: Path, tmp_path: Path) -> dict[str, set[str]]:
    """Keys that each row of a file changes in a base in which every part is there."""
    base = tmp_path / "base.yaml"
    source = {
        "anomalies_per_week": 2,
        "futures": ["worldcup98_1min"],
        "scenarios_per_source": 3,
        "randomization": {"services": 2},
    }
    full = {
        "env": {"source": source},
        "divided_traces": True,
        "ppo": {"constraints": {"launches": {"limit": 1.0}}, "exploration": {"correlation": 0.9}},
    }
    base.write_text(yaml.safe_dump(full))
    whole = flat(load_config(TrainSettings, base, []).model_dump(mode="json"))
    contents = {row.name: flat(settings_of(row, base).model_dump(mode="json")) for row in load_rows([path])}
    return {name: {key for key, value in content.items() if whole[key] != value} for name, content in contents.items()}


def test_every_shipped_row_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    found = changes(SHIPPED, tmp_path)
    assert next(iter(found)) == BASE
    assert found == {
        "base": set(),
        "no-warm-start": {"advisor", "ppo.paired", "ppo.constraints"},
        "no-pairing": {"ppo.paired", "ppo.constraints"},
        "no-constraints": {"ppo.constraints"},
        "white-noise": {"ppo.exploration.correlation"},
        "forecasts-none": {"env.source.forecasts", "advisor"},
        "forecasts-point": {"env.source.forecasts", "advisor"},
        "forecasts-perfect": {"env.source.forecasts", "advisor"},
        "anomaly-score-none": {"env.source.anomaly_scores"},
        "anomaly-score-perfect": {"env.source.anomaly_scores"},
        "native-only": {"ppo.native_only", "advisor"},
        "less-randomisation": {
            f"env.source.{key}"
            for key in ("scenarios_per_source", "markets", "anomalies_per_week", "futures", "randomization.services")
        },
        "no-real-traces": {"divided_traces"},
    }


def test_every_variant_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    from_noise = {"advisor", "ppo.paired", "ppo.constraints"}
    assert changes(VARIANTS, tmp_path) == {
        "masks": {"ppo.masks"},
        "masks-from-noise": {"ppo.masks", *from_noise},
        "box-action": {"ppo.continuous"},
        "box-action-from-noise": {"ppo.continuous", *from_noise},
        "stacked-observations": {"ppo.stack"},
        "imitation": {"ppo.imitate"},
        "imitation-from-noise": {"ppo.imitate", *from_noise},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: a, claim: one}\n- {name: a, claim: two}", "row 'a' is there twice"),
        ("- {name: A B, claim: one}", r"0\.name: .*'A B'"),
        ("- {name: a, claim: one, sets: {}}", r"0\.sets: "),
        ("rows: []", "file: "),
        ("- {name: a", "not YAML"),
    ],
)
def test_a_file_that_holds_no_rows_is_refused_by_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        load_rows([path])
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_rows_of_several_files_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text("- {name: masks, claim: Masks matter., set: {ppo.gamma: 0.9}}\n")
    assert [row.name for row in load_rows([SHIPPED, path], ["masks", "base"])] == ["masks", "base"]
    with pytest.raises(ValueError, match=r"unknown row 'mask'; known: base, .*masks"):
        load_rows([SHIPPED, path], ["mask"])
    path.write_text("- {name: base, claim: Another one.}\n")
    with pytest.raises(ValueError, match="row 'base' is there twice"):
        load_rows([SHIPPED, path])


def troubled(task: TaskSettings, **settings: object) -> WorldSource:
    return WorldSource(patterns=("diurnal",), days=3, scenarios_per_source=2, anomalies_per_week=14, **settings)  # type: ignore[arg-type]


def test_a_perfect_anomaly_score_is_1_once_an_anomaly_can_be_seen_and_until_it_cannot(task: TaskSettings) -> None:
    delay = task.world.physics.metric_delay_ticks
    scenarios = draw_scenarios(troubled(task, anomaly_scores="perfect"), task)
    assert any(scenario.labels for scenario in scenarios)
    for scenario in scenarios:
        wrong = np.zeros(len(scenario.demand_rps), bool)
        for label in scenario.labels:
            wrong[label.start_tick : label.end_tick] = True
        for row, score in enumerate(scenario.annotation.anomaly_score):
            last = TICKS_PER_ROW * row - delay
            assert score == wrong[max(0, last - TICKS_PER_ROW) : max(0, last)].any(), row
        assert 0.0 < scenario.annotation.anomaly_score.mean() < 1.0 or not scenario.labels


def test_anomaly_scores_change_nothing_else(task: TaskSettings) -> None:
    own = draw_scenarios(troubled(task), task)
    none = draw_scenarios(troubled(task, anomaly_scores="none"), task)
    for one, other in zip(own, none, strict=True):
        assert one.annotation.anomaly_score.max() > 0.0
        assert other.annotation.anomaly_score.max() == 0.0
        np.testing.assert_array_equal(one.annotation.forecast_rps, other.annotation.forecast_rps)
        np.testing.assert_array_equal(one.demand_rps, other.demand_rps)
    assert with_anomaly_scores(own[0], "detector", 1) is own[0]


def test_figures_are_means_over_the_scenarios_that_count(book: RuleBook, task: TaskSettings) -> None:
    worlds = small_worlds(task, WorldSource())[VALIDATION]
    policy = ConstantPolicy(book.action("forecast", task))
    found = mean_figures(policy, worlds, task)
    played = play(policy, worlds.bank, task, worlds.windows)
    assert found["total"] == pytest.approx(cost_ratio(played), abs=1e-6)
    assert found["launches_per_day"] == pytest.approx(played.totals["launches"].mean(), abs=1e-6)
    assert set(found) == {"total", "bad_minutes_fraction", "launches_per_day", "type_changes_per_day"}


@pytest.fixture(scope="module")
def trial(train_settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A finished trial without forecasts."""
    source = train_settings.env.source.model_copy(update={"forecasts": "none"})
    settings = train_settings.model_copy(
        update={"env": train_settings.env.model_copy(update={"source": source}), "validation_windows": 1}
    )
    job = TrainingJob(settings, 2, tmp_path_factory.mktemp("ablations") / "forecasts-none" / "seed-2")
    trial = Trial("forecasts-none", job, small_worlds)
    assert not trial.is_done
    run_row([trial])
    return trial


def test_a_trial_leaves_its_best_model_and_small_files_only(trial: Trial) -> None:
    assert trial.is_done
    sizes = {path.name: path.stat().st_size for path in trial.job.folder.iterdir()}
    assert sizes.pop(BEST_FILE) > 0
    assert set(sizes) == {"config.json", "rules.json", "record.json", "validation.json", "minutes.json", RESULT_FILE}
    (found,) = results([trial])
    assert (found["row"], found["seed"]) == ("forecasts-none", 2)
    assert found["training_minutes"] > 0.0
    assert set(found["played"]) == {VALIDATION, TEST}
    assert 0.1 < found["played"][TEST]["total"] < 10.0


def test_a_trial_of_other_settings_is_refused(trial: Trial) -> None:
    other = trial.job.settings.model_copy(update={"advisor": None})
    with pytest.raises(ValueError, match=r"config\.json: trained with another advisor"):
        TrainingJob(other, 2, trial.job.folder).check_same()


def test_the_judges_worlds_take_forecasts_and_scores_of_the_training(
    task: TaskSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETGYM_DATA", str(tmp_path))
    worlds = judges_worlds(task, WorldSource(forecasts="none", anomaly_scores="perfect"))
    assert set(worlds) == {VALIDATION, ANOMALIES}
    labels = [scenario.labels for scenario in worlds[ANOMALIES].scenarios]
    assert sum(map(len, labels)) > 10
    for name, item in worlds.items():
        scores = np.concatenate([scenario.annotation.anomaly_score for scenario in item.scenarios])
        assert set(np.unique(scores)) <= {0.0, 1.0}, name
        assert (scores.max() > 0.0) == (name == ANOMALIES)
        assert not any(scenario.annotation.available.any() for scenario in item.scenarios)


def found_by_hand() -> list[dict]:
    totals = {"base": (0.50, 0.52, 0.51), "white-noise": (0.53, 0.56, 0.52)}
    return [
        {
            "row": row,
            "seed": seed,
            "training_minutes": 4.0,
            "played": {
                where: {
                    "total": total + extra,
                    "bad_minutes_fraction": 0.002,
                    "launches_per_day": 40.0 + seed,
                    "type_changes_per_day": 1.0,
                }
                for where, extra in ((VALIDATION, 0.0), (ANOMALIES, 0.1), (TEST, 0.2))
            },
        }
        for row, values in totals.items()
        for seed, total in enumerate(values)
    ]


def test_the_table_has_means_ranges_and_paired_differences() -> None:
    rows = load_rows([SHIPPED], ["base", "white-noise", "native-only"])
    lines = table(rows, found_by_hand()).splitlines()
    assert len(lines) == 5
    assert lines[2].startswith(
        "| base | The shipped configuration, seed by seed. | 0.5100 (0.5000 to 0.5200) | 0.6100 ("
    )
    interval = ttest_rel([0.53, 0.56, 0.52], [0.50, 0.52, 0.51]).confidence_interval()
    assert f"| +0.0267 ({interval.low:+.4f} to {interval.high:+.4f}) |" in lines[3]
    assert "| 0.20 % (0.20 to 0.20) | 41.0 (40.0 to 42.0) | 1.0 (1.0 to 1.0) | 3 |" in lines[3]
    assert lines[4].endswith("|  |  |  |  |  |  |  | 0 |")


def test_differences_are_paired_by_seed() -> None:
    assert difference({0: 0.6, 5: 9.0}, {0: 0.5, 1: 0.1}) == "+0.1000"
    assert difference({3: 0.6}, {0: 0.5}) == ""
    assert difference({1: 0.3, 0: 0.4}, {0: 0.5, 1: 0.4}) == "-0.1000 (-0.1000 to -0.1000)"


def test_the_csv_has_a_line_per_trial(tmp_path: Path) -> None:
    found = found_by_hand()
    del found[0]["played"][TEST], found[0]["played"][ANOMALIES]
    write_csv(found, tmp_path / "ablations.csv")
    lines = list(csv.DictReader((tmp_path / "ablations.csv").read_text().splitlines()))
    assert len(lines) == 6
    assert (lines[0]["row"], lines[0]["seed"], lines[0]["validation_total"]) == ("base", "0", "0.5")
    assert (lines[0]["test_total"], lines[0]["launches_per_day"]) == ("", "40.0")
    assert float(lines[4]["test_total"]) == pytest.approx(0.76)
    assert lines[4]["training_minutes"] == "4.0"


def test_without_test_worlds_differences_are_those_on_validation() -> None:
    found = found_by_hand()
    for item in found:
        del item["played"][TEST]
    text = table(load_rows([SHIPPED], ["base", "white-noise"]), found)
    assert "less the base (validation, 95 %)" in text
    assert "| +0.0267 (" in text


def test_a_probe_measures_a_speed(train_settings: TrainSettings) -> None:
    assert decisions_per_second(train_settings, 1) > 10.0


def ablate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "ablate.py"), *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLEETGYM_DATA": str(ROOT / "no traces")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def command(train_settings: TrainSettings, tmp_path: Path) -> list[str]:
    """Arguments of a tiny ablation without traces."""
    base, page, rows = tmp_path / "base.yaml", tmp_path / "ablations.md", tmp_path / "rows.yaml"
    base.write_text(yaml.safe_dump(train_settings.model_dump(mode="json", exclude_defaults=True)))
    page.write_text("# Ablations\n\n<!-- ablations: begin -->\n<!-- ablations: end -->\n")
    rows.write_text("- {name: base, claim: All of it.}\n- {name: wrong, claim: Wrong., set: {ppo.gama: 0.9}}\n")
    out = str(tmp_path / "out")
    return ["--base", str(base), "--page", str(page), "--config", str(rows), "--out", out]


@pytest.mark.slow
def test_the_command_trains_plays_and_writes_its_page(command: list[str], tmp_path: Path) -> None:
    budget = ("--rows", "base", "--seeds", "1", "--steps", "256")
    done = ablate(*command, *budget)
    assert done.returncode == 0, done.stderr
    assert "the test worlds are not played" in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:6]] == [
        "rows",
        "seeds",
        "decisions each",
        "runs left",
        "decisions/s",
        "hours",
    ]
    assert "runs left       1 of 1" in lines
    assert lines[6].startswith("base: 1 seeds trained in ")
    assert lines[6].endswith(" min and played (1 of 1 rows)")
    page = (tmp_path / "ablations.md").read_text()
    assert "| base | All of it. | 0." in page
    assert "1 runs (1 seeds a row, 256 decisions each)" in page
    (line,) = csv.DictReader((tmp_path / "out" / "ablations.csv").read_text().splitlines())
    assert float(line["validation_total"]) > 0.0
    assert line["test_total"] == ""
    (tmp_path / "out" / "base" / "seed-0" / "best.zip").unlink()
    again = ablate(*command, *budget)
    assert again.returncode == 0, "what is finished is not run again"
    assert ablate(*command, *budget, "--table-only").returncode == 0


@pytest.mark.slow
def test_the_command_refuses_what_it_cannot_use(command: list[str], tmp_path: Path) -> None:
    for arguments, words in (
        ((), "row 'wrong': "),
        (("--rows", "bass"), "unknown row 'bass'; known: base, wrong"),
        (("--rows", "base", "--table-only"), "holds no finished run"),
    ):
        done = ablate(*command, *arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "ablations.md").write_text("nothing")
    done = ablate(*command, "--rows", "base")
    assert done.returncode == 2
    assert "<!-- ablations: begin -->" in done.stderr
